//! GatherElements: `y[i, j, k] = x[i, indices[i, j, k], k]` for axis 1, and so for each other axis.
//!
//! Each element of the input receives the sum of the gradients of its copies.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__GatherElements.html>.

use super::indexing::index_input;
use super::places::{self, Places};
use super::rearrange::attribute_axis;
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::Kernel;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::{Dim, SymbolicShape};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "GatherElements", since: 11, parse };

#[derive(Clone, Debug)]
struct GatherElements {
    axis: i64,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(GatherElements { axis: node.int("axis")?.unwrap_or(0) }))
}

/// Refuses indices that lie outside of `data` along another axis than `axis`, whatever their values.
pub fn fits(data: &[Dim], indices: &[Dim], axis: usize) -> Result<(), OpError> {
    let beyond = |(other, (data, indices)): (usize, (&Dim, &Dim))| match (data.known(), indices.known()) {
        (Some(data), Some(indices)) => other != axis && indices > data,
        _ => false,
    };
    if data.len() != indices.len() || data.iter().zip(indices).enumerate().any(beyond) {
        let data = SymbolicShape::Ranked(data.to_vec());
        let expected = format!("the rank of {data}, and no larger size but along axis {axis}");
        return Err(OpError::Shape { input: 1, expected, found: SymbolicShape::Ranked(indices.to_vec()) });
    }
    Ok(())
}

impl Op for GatherElements {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        if self.axis == 0 { Vec::new() } else { vec![("axis", AttributeValue::Int(self.axis))] }
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(2..=2, 1..=1)?;
        let indices = index_input(inputs, 1)?;
        let x = inputs.required(0)?;
        if let Some(data) = inputs.dims(0, 1..=usize::MAX)? {
            let axis = attribute_axis("axis", self.axis, data.len())?;
            if let Some(indices) = indices.dims() {
                fits(data, indices, axis)?;
            }
        }
        Ok(vec![ValueType::new(x.dtype, indices.shape.clone())])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (x, indices) = (signature.input(0)?, signature.input(1)?);
        let axis = attribute_axis("axis", self.axis, x.shape.len())?;
        places::gather(x.dtype, Places::elements(&x.shape, &indices.shape, axis))
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
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        let x = || Case::new().input(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
        check(
            "GatherElements",
            &[
                x().ints(&[2, 2], &[0, 0, 1, 0]).int("axis", 1).output(&[2, 2], &[1.0, 1.0, 4.0, 3.0]),
                x().ints(&[3, 2], &[0, -1, 1, 0, -2, 1]).output(&[3, 2], &[1.0, 4.0, 3.0, 2.0, 1.0, 4.0]),
                x().tensor(Tensor::new(vec![1, 1], vec![1i32]).unwrap()).int("axis", -1).output(&[1, 1], &[2.0]),
                Case::new()
                    .tensor(Tensor::from_vec(vec![true, false]))
                    .ints(&[3], &[0, 1, 0])
                    .output_tensor(Tensor::from_vec(vec![true, false, true])),
                Case::new().random_input(&[2, 3, 2]).ints(&[2, 4, 1], &[0, 2, 2, 1, 1, 1, 1, 0]).int("axis", 1),
                Case::new().random_input(&[2, 3]).ints(&[0, 3], &[]),
                x().ints(&[1, 1], &[2]).error("input 1: expected indices from -2 to below 2, found 2"),
                x().ints(&[1, 3], &[0, 0, 0]).error("no larger size but along axis 0"),
                x().ints(&[1], &[0]).error("the rank of [2, 2]"),
                x().ints(&[1, 1], &[0]).int("axis", 2).error("an axis of rank 2"),
                x().input(&[1, 1], &[0.0]).error("expected i64 or i32"),
                Case::new().random_input(&[]).ints(&[], &[0]).error("expected rank 1 or more"),
                x().error("expected 2 inputs"),
            ],
        );
    }
}
