//! Round: `y` is the integer nearest to x, the even one of two. Derivative: 0.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Round.html>.

use super::unary::{Pointwise, Unary};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Round", since: 11, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Pointwise(Round)))
}

#[derive(Clone, Debug)]
struct Round;

impl Unary for Round {
    const READS: Reads = Reads::NOTHING;

    #[inline(always)]
    fn value<T: Float>(&self, x: T) -> T {
        // A number halfway between integers is even times a half, rounded.
        let half = (x - x.trunc()).abs() == T::of(0.5);
        if half { (x * T::of(0.5)).round() * T::of(2.0) } else { x.round() }
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, _: T, _: T) -> T {
        T::zero()
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        check(
            "Round",
            &[
                Case::new()
                    .input(&[9], &[-2.5, -1.5, -0.5, 0.5, 0.9, 1.5, 2.5, 3.5, 7.0])
                    .output(&[9], &[-2.0, -2.0, 0.0, 0.0, 1.0, 2.0, 2.0, 4.0, 7.0])
                    .without_gradient(),
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
