//! BitwiseAnd: bit by bit whether both are true, for integers, with broadcasting.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__BitwiseAnd.html>.

use std::marker::PhantomData;

use super::logic::{Bitwise, Both};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::op::Op;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "BitwiseAnd", since: 18, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Bitwise(PhantomData::<Both>)))
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        check(
            "BitwiseAnd",
            &[
                Case::new()
                    .tensor(Tensor::from_vec(vec![0b1100u8]))
                    .tensor(Tensor::scalar(0b1010u8))
                    .output_tensor(Tensor::from_vec(vec![8u8])),
                Case::new()
                    .ints(&[2, 1], &[-4, -4])
                    .ints(&[1], &[7])
                    .output_tensor(Tensor::new(vec![2, 1], vec![4i64, 4]).unwrap()),
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
