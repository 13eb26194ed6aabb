//! Or: whether one is true, or both, with broadcasting.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Or.html>.

use std::marker::PhantomData;

use super::logic::{Either, Logical};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::op::Op;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Or", since: 7, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Logical(PhantomData::<Either>)))
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        check(
            "Or",
            &[
                Case::new()
                    .tensor(Tensor::new(vec![2, 1], vec![true, false]).unwrap())
                    .tensor(Tensor::from_vec(vec![true, false]))
                    .output_tensor(Tensor::new(vec![2, 2], vec![true, true, true, false]).unwrap()),
                Case::new()
                    .tensor(Tensor::new(vec![0], Vec::<bool>::new()).unwrap())
                    .tensor(Tensor::scalar(true))
                    .output_tensor(Tensor::new(vec![0], Vec::<bool>::new()).unwrap()),
                Case::new().ints(&[1], &[1]).ints(&[1], &[1]).error("expected bool"),
                Case::new().tensor(Tensor::from_vec(vec![true])).ints(&[1], &[1]).error("input 1: expected bool"),
                Case::new()
                    .tensor(Tensor::from_vec(vec![true; 2]))
                    .tensor(Tensor::from_vec(vec![true; 3]))
                    .error("cannot be broadcast"),
                Case::new().tensor(Tensor::from_vec(vec![true])).error("expected 2 inputs"),
            ],
        );
    }
}
