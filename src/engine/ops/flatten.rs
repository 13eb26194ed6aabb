//! Flatten: the axes before `axis` as one, the others as another. The gradient is reshaped back.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Flatten.html>.

use super::rearrange::product;
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::Kernel;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::Dim;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Flatten", since: 1, parse };

#[derive(Clone, Debug)]
struct Flatten {
    axis: i64,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Flatten { axis: node.int("axis")?.unwrap_or(1) }))
}

impl Op for Flatten {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        if self.axis == 1 { Vec::new() } else { vec![("axis", AttributeValue::Int(self.axis))] }
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(1..=1, 1..=1)?;
        let x = inputs.required(0)?;
        let Some(dims) = x.dims() else { return Ok(vec![ValueType::ranked(x.dtype, vec![Dim::Any; 2])]) };
        let rank = dims.len();
        // The end of the axes is a place to cut too.
        let axis = if self.axis < 0 { self.axis.checked_add(rank as i64) } else { Some(self.axis) };
        let axis = axis.and_then(|axis| usize::try_from(axis).ok()).filter(|axis| *axis <= rank);
        let axis = axis.ok_or_else(|| OpError::Attribute {
            name: "axis".into(),
            expected: format!("-{rank} to {rank}"),
            found: self.axis.to_string(),
        })?;
        let (before, after) = dims.split_at(axis);
        Ok(vec![ValueType::ranked(x.dtype, vec![product(before)?, product(after)?])])
    }

    fn build(&self, _: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        Err(OpError::Plan { what: "a view has no kernel".into() })
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
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        let x = || Case::new().random_input(&[2, 3, 1, 2]);
        let six = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        check(
            "Flatten",
            &[
                Case::new().input(&[2, 3, 1], &six).output(&[2, 3], &six),
                Case::new().input(&[2, 3, 1], &six).int("axis", 0).output(&[1, 6], &six),
                Case::new().input(&[2, 3, 1], &six).int("axis", 3).output(&[6, 1], &six),
                Case::new().input(&[2, 3, 1], &six).int("axis", -1).output(&[6, 1], &six),
                Case::new().input(&[], &[1.0]).int("axis", 0).output(&[1, 1], &[1.0]),
                Case::new().input(&[0, 3], &[]).output(&[0, 3], &[]),
                Case::new()
                    .tensor(Tensor::from_vec(vec![true]))
                    .output_tensor(Tensor::new(vec![1, 1], vec![true]).unwrap()),
                x().int("axis", 2),
                x().int("axis", 5).error("expected -4 to 4, found 5"),
                x().int("axis", i64::MIN).error("attribute `axis`"),
                x().random_input(&[1]).error("expected 1 inputs"),
            ],
        );
    }
}
