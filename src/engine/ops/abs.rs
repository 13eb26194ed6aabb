//! Abs: `y = |x|`, for integers too. Derivative: the sign of x, 0 at 0.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Abs.html>.

use super::binary::Integer;
use super::unary::{Integers, Pointwise, Unary};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Abs", since: 6, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Pointwise(Abs)))
}

#[derive(Clone, Debug)]
struct Abs;

impl Unary for Abs {
    const READS: Reads = Reads::INPUTS;
    const INTEGERS: Integers = Integers::All;

    #[inline(always)]
    fn value<T: Float>(&self, x: T) -> T {
        x.abs()
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, x: T, _: T) -> T {
        if x > T::zero() {
            T::one()
        } else if x < T::zero() {
            -T::one()
        } else {
            T::zero()
        }
    }

    fn integer<T: Integer>(&self, x: T) -> T {
        if x < T::default() { T::default().sub(x) } else { x }
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        check(
            "Abs",
            &[
                Case::new()
                    .input(&[7], &[-3.0, -1.0, -0.25, 0.0, 0.5, 2.0, 40.0])
                    .output(&[7], &[3.0, 1.0, 0.25, 0.0, 0.5, 2.0, 40.0])
                    .without_gradient(),
                Case::new().random_input(&[2, 3, 5]),
                Case::new().random_input(&[]),
                Case::new().random_input(&[0, 3]),
                Case::new().input(&[1], &[f64::NAN]).output(&[1], &[f64::NAN]).without_gradient(),
                Case::new().ints(&[3], &[-5, 0, i64::MIN]).output_tensor(Tensor::from_vec(vec![5i64, 0, i64::MIN])),
                Case::new().tensor(Tensor::from_vec(vec![200u8])).output_tensor(Tensor::from_vec(vec![200u8])),
                Case::new().tensor(Tensor::from_vec(vec![true])).error("f32, f64 or an integer"),
                Case::new().random_input(&[2]).random_input(&[2]).error("expected 1 inputs, found 2"),
                Case::new().random_input(&[2]).int("axis", 1).error("attribute `axis`"),
            ],
        );
    }
}
