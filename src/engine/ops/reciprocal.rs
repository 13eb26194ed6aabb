//! Reciprocal: `y = 1/x`. Derivative: `−y²`.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Reciprocal.html>.

use super::unary::{Pointwise, Unary};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Reciprocal", since: 6, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Pointwise(Reciprocal)))
}

#[derive(Clone, Debug)]
struct Reciprocal;

impl Unary for Reciprocal {
    const READS: Reads = Reads::OUTPUTS;

    #[inline(always)]
    fn value<T: Float>(&self, x: T) -> T {
        T::one() / x
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, _: T, y: T) -> T {
        -(y * y)
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        check(
            "Reciprocal",
            &[
                Case::new().input(&[5], &[-4.0, -0.5, 0.25, 1.0, 8.0]).output(&[5], &[-0.25, -2.0, 4.0, 1.0, 0.125]),
                Case::new().random_input(&[2, 3, 5]),
                Case::new().random_input(&[]),
                Case::new().random_input(&[0, 3]),
                Case::new().input(&[1], &[f64::NAN]).output(&[1], &[f64::NAN]).without_gradient(),
                Case::new().ints(&[2], &[1, 2]).error("expected f32 or f64"),
                Case::new().random_input(&[2]).random_input(&[2]).error("expected 1 inputs, found 2"),
                Case::new().random_input(&[2]).int("axis", 1).error("attribute `axis`"),
            ],
        );
    }
}
