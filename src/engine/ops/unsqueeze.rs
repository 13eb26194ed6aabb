//! Unsqueeze: axes of size 1 are put in; `axes` says where they are in the result. The gradient is reshaped back.
//!
//! `axes` is an attribute below version 13, an input from there on.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Unsqueeze.html>.

use super::rearrange::distinct_axes;
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::Kernel;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::{Dim, SymbolicShape};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Unsqueeze", since: 1, parse };

/// The most axes that a result may have.
const MAX_RANK: usize = 64;

#[derive(Clone, Debug)]
struct Unsqueeze {
    /// `None`: they are an input.
    axes: Option<Vec<i64>>,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    if node.opset() >= 13 {
        return Ok(Box::new(Unsqueeze { axes: None }));
    }
    let missing = || OpError::Attribute { name: "axes".into(), expected: "integers".into(), found: "nothing".into() };
    Ok(Box::new(Unsqueeze { axes: Some(node.ints("axes")?.ok_or_else(missing)?) }))
}

impl Op for Unsqueeze {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        self.axes.iter().map(|axes| ("axes", AttributeValue::Ints(axes.clone()))).collect()
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        let count = if self.axes.is_some() { 1 } else { 2 };
        inputs.expect(count..=count, 1..=1)?;
        let x = inputs.required(0)?;
        let axes = match &self.axes {
            Some(axes) => Some(axes.clone()),
            None => inputs.integers(1)?,
        };
        let (Some(axes), Some(dims)) = (axes, x.dims()) else {
            return Ok(vec![ValueType::new(x.dtype, SymbolicShape::Unranked)]);
        };
        let rank = dims.len() + axes.len();
        if rank > MAX_RANK {
            return Err(OpError::NotCovered { what: format!("a result of rank {rank}") });
        }
        let axes = distinct_axes(self.axes.is_none().then_some(1), &axes, rank)?;
        let mut given = dims.iter().cloned();
        let dims = (0..rank).map(|axis| match axes.contains(&axis) {
            true => Dim::Known(1),
            false => given.next().unwrap_or(Dim::Known(1)),
        });
        Ok(vec![ValueType::ranked(x.dtype, dims.collect())])
    }

    fn build(&self, _: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        Err(OpError::Plan { what: "a view has no kernel".into() })
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1]
    }

    fn is_differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }

    fn is_view(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        let x = || Case::new().input(&[3, 1], &[1.0, 2.0, 3.0]);
        let three = [1.0, 2.0, 3.0];
        check(
            "Unsqueeze",
            &[
                x().constant_ints(&[0]).output(&[1, 3, 1], &three),
                x().constant_ints(&[4, 1, -5]).output(&[1, 1, 3, 1, 1], &three),
                x().ints(&[1], &[-1]).output(&[3, 1, 1], &three),
                x().constant_ints(&[]).output(&[3, 1], &three),
                x().opset(11).ints_attribute("axes", &[0, 3]).output(&[1, 3, 1, 1], &three),
                Case::new().input(&[], &[1.0]).constant_ints(&[0]).output(&[1], &[1.0]),
                Case::new().input(&[0], &[]).constant_ints(&[1]).output(&[0, 1], &[]),
                x().constant_ints(&[3]).error("different axes of rank 3"),
                x().constant_ints(&[0, 0]).error("different axes of rank 4"),
                x().error("expected 2 inputs, found 1"),
                x().opset(11).error("attribute `axes`"),
                x().opset(11).ints_attribute("axes", &[5]).error("attribute `axes`"),
                x().input(&[1], &[0.0]).error("expected i64 or i32"),
            ],
        );
    }
}
