//! CastLike: the elements of input 0 as the type of input 1, see [`cast`](super::cast).
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__CastLike.html>.

use super::cast::{build, extras, write_extras};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::Kernel;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "CastLike", since: 15, parse };

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let (saturate, round_mode) = extras(node)?;
    Ok(Box::new(CastLike { saturate, round_mode }))
}

#[derive(Clone, Debug)]
struct CastLike {
    saturate: bool,
    round_mode: Option<String>,
}

impl Op for CastLike {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        write_extras(self.saturate, &self.round_mode)
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(2..=2, 1..=1)?;
        Ok(vec![ValueType::new(inputs.required(1)?.dtype, inputs.required(0)?.shape.clone())])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        build(signature.input(0)?.dtype, signature.input(1)?.dtype)
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
        check(
            "CastLike",
            &[
                Case::new()
                    .input(&[2], &[-1.5, 2.75])
                    .ints(&[1], &[0])
                    .output_tensor(Tensor::from_vec(vec![-1i64, 2]))
                    .without_gradient(),
                Case::new()
                    .ints(&[2], &[0, 3])
                    .tensor(Tensor::scalar(true))
                    .output_tensor(Tensor::from_vec(vec![false, true])),
                Case::new().ints(&[2], &[0, 3]).random_input(&[0]).output(&[2], &[0.0, 3.0]),
                Case::new().random_input(&[2, 3]).random_input(&[]),
                Case::new().random_input(&[0, 3]).random_input(&[]),
                Case::new().random_input(&[2]).int("saturate", 0).ints(&[1], &[0]).without_gradient(),
                Case::new().random_input(&[2]).error("expected 2 inputs"),
            ],
        );
    }
}
