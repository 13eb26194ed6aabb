//! Ceil: `y = ⌈x⌉`. Derivative: 0.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Ceil.html>.

use super::unary::{Pointwise, Unary};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Ceil", since: 6, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Pointwise(Ceil)))
}

#[derive(Clone, Debug)]
struct Ceil;

impl Unary for Ceil {
    const READS: Reads = Reads::NOTHING;

    #[inline(always)]
    fn value<T: Float>(&self, x: T) -> T {
        x.ceil()
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
            "Ceil",
            &[
                Case::new()
                    .input(&[4], &[-1.5, 0.5, 2.0, 2.75])
                    .output(&[4], &[-1.0, 1.0, 2.0, 3.0])
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
