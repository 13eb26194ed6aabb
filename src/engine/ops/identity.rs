//! Identity: `y = x`, of any type, without a copy. Derivative: 1.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Identity.html>. Sequences and optional values are not covered.

use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::Kernel;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Identity", since: 1, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Identity))
}

#[derive(Clone, Debug)]
struct Identity;

impl Op for Identity {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(1..=1, 1..=1)?;
        Ok(vec![inputs.required(0)?.clone()])
    }

    fn build(&self, _: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        Err(OpError::Plan { what: "a view has no kernel".into() })
    }

    fn is_differentiable(&self, _: usize) -> bool {
        true
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
        let words = || Tensor::from_vec(vec!["a".to_owned(), "b".into()]);
        check(
            "Identity",
            &[
                Case::new().input(&[2], &[1.0, -2.0]).output(&[2], &[1.0, -2.0]),
                Case::new().tensor(words()).output_tensor(words()),
                Case::new().tensor(Tensor::scalar(true)).output_tensor(Tensor::scalar(true)),
                Case::new().initializer(Tensor::from_vec(vec![1i64, 2])).output_tensor(Tensor::from_vec(vec![1i64, 2])),
                Case::new().random_input(&[2, 3]),
                Case::new().random_input(&[0, 3]),
                Case::new().random_input(&[2]).random_input(&[2]).error("expected 1 inputs, found 2"),
                Case::new().random_input(&[2]).int("axis", 1).error("attribute `axis`"),
            ],
        );
    }
}
