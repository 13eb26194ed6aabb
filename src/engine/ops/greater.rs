//! Greater: whether `a > b`, with broadcasting, for numbers. What is not a number compares as false.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Greater.html>.

use std::marker::PhantomData;

use super::compare::{Comparison, Relation};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::op::Op;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Greater", since: 7, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Comparison(PhantomData::<Greater>)))
}

#[derive(Clone, Debug)]
struct Greater;

impl Relation for Greater {
    const ANY: bool = false;

    #[inline(always)]
    fn holds<T: PartialOrd>(a: &T, b: &T) -> bool {
        a > b
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::{DType, Tensor, f16};

    #[test]
    fn cases() {
        check(
            "Greater",
            &[
                Case::new()
                    .input(&[3], &[1.0, 2.0, 3.0])
                    .input(&[], &[2.0])
                    .output_tensor(Tensor::from_vec(vec![false, false, true])),
                Case::new().ints(&[2], &[3, 5]).ints(&[1], &[3]).output_tensor(Tensor::from_vec(vec![false, true])),
                Case::new()
                    .input(&[1], &[f64::NAN])
                    .input(&[1], &[f64::NAN])
                    .output_tensor(Tensor::from_vec(vec![false])),
                Case::new()
                    .tensor(Tensor::from_vec(vec![f16::from_f32(0.5)]))
                    .tensor(Tensor::from_vec(vec![f16::from_f32(0.5)]))
                    .output_tensor(Tensor::from_vec(vec![false])),
                Case::new()
                    .random_input(&[0, 3])
                    .random_input(&[3])
                    .output_tensor(Tensor::zeros(DType::Bool, vec![0, 3]).unwrap()),
                Case::new().random_input(&[2]).random_input(&[3]).error("cannot be broadcast"),
                Case::new().random_input(&[2]).ints(&[2], &[1, 2]).error("input 1: expected f"),
                Case::new().random_input(&[2]).error("expected 2 inputs, found 1"),
                Case::new()
                    .tensor(Tensor::from_vec(vec![true]))
                    .tensor(Tensor::from_vec(vec![true]))
                    .error("expected a number"),
            ],
        );
    }
}
