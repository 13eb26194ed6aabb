//! GatherND: slices of the input, one for each tuple of coordinates that the last axis of `indices` holds.
//!
//! The first `batch_dims` axes (from version 12 on) of both go together. Each slice of the input receives the sum of the
//! gradients of its copies. ONNX: <https://onnx.ai/onnx/operators/onnx__GatherND.html>.

use super::indexing::index_input;
use super::places::{self, Places};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::Kernel;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::{Dim, SymbolicShape};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "GatherND", since: 11, parse };

#[derive(Clone, Debug)]
struct GatherNd {
    batch_dims: usize,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let given = if node.opset() < 12 { 0 } else { node.int("batch_dims")?.unwrap_or(0) };
    let wrong =
        |_| OpError::Attribute { name: "batch_dims".into(), expected: "0 or more".into(), found: given.to_string() };
    Ok(Box::new(GatherNd { batch_dims: usize::try_from(given).map_err(wrong)? }))
}

impl Op for GatherNd {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        match self.batch_dims {
            0 => Vec::new(),
            count => vec![("batch_dims", AttributeValue::Int(count as i64))],
        }
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(2..=2, 1..=1)?;
        let x = inputs.required(0)?;
        let indices = index_input(inputs, 1)?;
        let (data, tuples) = (inputs.dims(0, 1..=usize::MAX)?, inputs.dims(1, 1..=usize::MAX)?);
        let unknown = Ok(vec![ValueType::new(x.dtype, SymbolicShape::Unranked)]);
        let (Some(data), Some((last, outer))) = (data, tuples.and_then(<[Dim]>::split_last)) else { return unknown };
        let batch = self.batch_dims;
        if batch >= data.len() || batch > outer.len() {
            return Err(OpError::Attribute {
                name: "batch_dims".into(),
                expected: format!("less than the ranks {} and {}", data.len(), outer.len() + 1),
                found: batch.to_string(),
            });
        }
        let fail = |expected: String| OpError::Shape { input: 1, expected, found: indices.shape.clone() };
        if let Some(axis) = (0..batch).find(|axis| !data[*axis].accepts(&outer[*axis])) {
            return Err(fail(format!("size {} along axis {axis} (batch_dims {batch})", data[axis])));
        }
        let Some(len) = last.known() else { return unknown };
        let rest = batch.checked_add(len).and_then(|end| data.get(end..)).filter(|_| len > 0);
        let rest = rest.ok_or_else(|| fail(format!("1 to {} coordinates along its last axis", data.len() - batch)))?;
        Ok(vec![ValueType::ranked(x.dtype, outer.iter().chain(rest).cloned().collect())])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (x, indices) = (signature.input(0)?, signature.input(1)?);
        places::gather(x.dtype, Places::tuples(&x.shape, &indices.shape, self.batch_dims)?)
    }

    fn is_differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        let x = || Case::new().input(&[2, 2], &[0.0, 1.0, 2.0, 3.0]);
        let cube = || Case::new().input(&[2, 2, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        check(
            "GatherND",
            &[
                x().ints(&[2, 2], &[0, 0, 1, 1]).output(&[2], &[0.0, 3.0]),
                x().ints(&[2, 1], &[1, -2]).output(&[2, 2], &[2.0, 3.0, 0.0, 1.0]),
                x().ints(&[2], &[1, 0]).output(&[], &[2.0]),
                cube().ints(&[2, 1, 2], &[0, 1, 1, 0]).output(&[2, 1, 2], &[2.0, 3.0, 4.0, 5.0]),
                cube().ints(&[2, 1], &[1, 0]).int("batch_dims", 1).output(&[2, 2], &[2.0, 3.0, 4.0, 5.0]),
                cube().ints(&[2, 2, 1], &[1, 0, 0, 1]).int("batch_dims", 2).output(&[2, 2], &[1.0, 2.0, 4.0, 7.0]),
                Case::new().random_input(&[2, 3, 4]).ints(&[2, 2, 1], &[0, 2, 2, 2]).int("batch_dims", 1),
                Case::new().random_input(&[3, 4]).ints(&[3, 1], &[0, 2, 2]),
                Case::new().random_input(&[3, 4]).ints(&[0, 2], &[]),
                Case::new().random_input(&[3, 0]).ints(&[2, 1], &[0, 2]),
                x().ints(&[1, 2], &[0, 2]).error("input 1: expected indices from -2 to below 2, found 2"),
                x().ints(&[1, 3], &[0, 0, 0]).error("1 to 2 coordinates"),
                x().ints(&[1, 0], &[]).error("1 to 2 coordinates"),
                x().ints(&[3, 1], &[0, 0, 0]).int("batch_dims", 1).error("size 2 along axis 0"),
                x().ints(&[2, 1], &[0, 0]).int("batch_dims", 2).error("less than the ranks 2 and 2"),
                x().ints(&[2, 1], &[0, 0]).int("batch_dims", -1).error("0 or more"),
                x().opset(11).ints(&[2, 1], &[0, 0]).int("batch_dims", 1).error("attribute `batch_dims`"),
                x().ints(&[], &[0]).error("expected rank 1 or more"),
                x().input(&[1, 1], &[0.0]).error("expected i64 or i32"),
            ],
        );
    }
}
