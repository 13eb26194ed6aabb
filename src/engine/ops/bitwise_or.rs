//! BitwiseOr: bit by bit whether one is true, or both, for integers, with broadcasting.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__BitwiseOr.html>.

use std::marker::PhantomData;

use super::logic::{Bitwise, Either};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::op::Op;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "BitwiseOr", since: 18, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Bitwise(PhantomData::<Either>)))
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        check(
            "BitwiseOr",
            &[
                Case::new()
                    .tensor(Tensor::from_vec(vec![0b1100u8]))
                    .tensor(Tensor::scalar(0b1010u8))
                    .output_tensor(Tensor::from_vec(vec![14u8])),
                Case::new()
                    .ints(&[2, 1], &[-4, -4])
                    .ints(&[1], &[7])
                    .output_tensor(Tensor::new(vec![2, 1], vec![-1i64, -1]).unwrap()),
                Case::new()
                    .ints(&[0], &[])
                    .ints(&[1], &[7])
                    .output_tensor(Tensor::new(vec![0], Vec::<i64>::new()).unwrap()),
                Case::new().random_input(&[1]).random_input(&[1]).error("an integer"),
                Case::new().ints(&[1], &[1]).tensor(Tensor::from_vec(vec![1u8])).error("input 1: expected i64"),
                Case::new().ints(&[2], &[1, 2]).ints(&[3], &[1, 2, 3]).error("cannot be broadcast"),
                Case::new().ints(&[1], &[1]).error("expected 2 inputs"),
            ],
        );
    }
}
