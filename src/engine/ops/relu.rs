//! Relu: `y = max(x, 0)`, for integers with a sign too. Derivative: 1 where `y > 0`, else 0.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Relu.html>.

use super::binary::Integer;
use super::unary::{Integers, Pointwise, Unary};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Relu", since: 1, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Pointwise(Relu)))
}

#[derive(Clone, Debug)]
struct Relu;

impl Unary for Relu {
    const READS: Reads = Reads::OUTPUTS;
    const INTEGERS: Integers = Integers::Signed;

    #[inline(always)]
    fn value<T: Float>(&self, x: T) -> T {
        if x < T::zero() { T::zero() } else { x }
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, _: T, y: T) -> T {
        if y > T::zero() { T::one() } else { T::zero() }
    }

    fn integer<T: Integer>(&self, x: T) -> T {
        x.max(T::default())
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        check(
            "Relu",
            &[
                Case::new()
                    .input(&[5], &[-2.0, -0.0, 0.0, 0.5, 3.0])
                    .output(&[5], &[0.0, 0.0, 0.0, 0.5, 3.0])
                    .without_gradient(),
                Case::new().random_input(&[2, 3, 5]),
                Case::new().random_input(&[0, 3]),
                Case::new().random_input(&[]),
                Case::new().ints(&[3], &[-5, 0, 7]).output_tensor(Tensor::from_vec(vec![0i64, 0, 7])),
                Case::new().tensor(Tensor::from_vec(vec![1u8])).error("an integer with a sign"),
            ],
        );
    }
}
