//! Sign: `y = −1`, 0 or 1, for integers too; what is not a number stays so. Derivative: 0.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Sign.html>.

use std::cmp::Ordering;

use super::binary::Integer;
use super::unary::{Integers, Pointwise, Unary};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Sign", since: 9, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Pointwise(Sign)))
}

#[derive(Clone, Debug)]
struct Sign;

impl Unary for Sign {
    const READS: Reads = Reads::NOTHING;
    const INTEGERS: Integers = Integers::All;

    #[inline(always)]
    fn value<T: Float>(&self, x: T) -> T {
        if x > T::zero() {
            T::one()
        } else if x < T::zero() {
            -T::one()
        } else {
            x
        }
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, _: T, _: T) -> T {
        T::zero()
    }

    fn integer<T: Integer>(&self, x: T) -> T {
        match x.cmp(&T::default()) {
            Ordering::Greater => T::one(),
            Ordering::Equal => x,
            Ordering::Less => T::default().sub(T::one()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        check(
            "Sign",
            &[
                Case::new()
                    .input(&[7], &[-3.0, -1.0, -0.25, 0.0, 0.5, 2.0, 40.0])
                    .output(&[7], &[-1.0, -1.0, -1.0, 0.0, 1.0, 1.0, 1.0])
                    .without_gradient(),
                Case::new().random_input(&[2, 3, 5]),
                Case::new().random_input(&[]),
                Case::new().random_input(&[0, 3]),
                Case::new().input(&[1], &[f64::NAN]).output(&[1], &[f64::NAN]).without_gradient(),
                Case::new().ints(&[3], &[-5, 0, 7]).output_tensor(Tensor::from_vec(vec![-1i64, 0, 1])),
                Case::new().tensor(Tensor::from_vec(vec![200u8, 0])).output_tensor(Tensor::from_vec(vec![1u8, 0])),
                Case::new().tensor(Tensor::from_vec(vec![true])).error("f32, f64 or an integer"),
                Case::new().random_input(&[2]).random_input(&[2]).error("expected 1 inputs, found 2"),
                Case::new().random_input(&[2]).int("axis", 1).error("attribute `axis`"),
            ],
        );
    }
}
