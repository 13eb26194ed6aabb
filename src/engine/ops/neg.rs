//! Neg: `y = −x`, for integers with a sign too. Derivative: −1.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Neg.html>.

use super::binary::Integer;
use super::unary::{Integers, Pointwise, Unary};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Neg", since: 6, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Pointwise(Neg)))
}

#[derive(Clone, Debug)]
struct Neg;

impl Unary for Neg {
    const READS: Reads = Reads::NOTHING;
    const INTEGERS: Integers = Integers::Signed;

    #[inline(always)]
    fn value<T: Float>(&self, x: T) -> T {
        -x
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, _: T, _: T) -> T {
        -T::one()
    }

    fn integer<T: Integer>(&self, x: T) -> T {
        T::default().sub(x)
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        check(
            "Neg",
            &[
                Case::new()
                    .input(&[7], &[-3.0, -1.0, -0.25, 0.0, 0.5, 2.0, 40.0])
                    .output(&[7], &[3.0, 1.0, 0.25, -0.0, -0.5, -2.0, -40.0]),
                Case::new().random_input(&[2, 3, 5]),
                Case::new().random_input(&[]),
                Case::new().random_input(&[0, 3]),
                Case::new().input(&[1], &[f64::NAN]).output(&[1], &[f64::NAN]).without_gradient(),
                Case::new().ints(&[3], &[-5, 0, i64::MIN]).output_tensor(Tensor::from_vec(vec![5i64, 0, i64::MIN])),
                Case::new().tensor(Tensor::from_vec(vec![1u8])).error("an integer with a sign"),
                Case::new().tensor(Tensor::from_vec(vec![true])).error("f32, f64 or an integer"),
                Case::new().random_input(&[2]).random_input(&[2]).error("expected 1 inputs, found 2"),
                Case::new().random_input(&[2]).int("axis", 1).error("attribute `axis`"),
            ],
        );
    }
}
