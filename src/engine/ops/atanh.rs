//! Atanh: `y = atanh x`, for x between −1 and 1. Derivative: `1/(1 − x²)`.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Atanh.html>.

use super::unary::{Pointwise, Unary};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Atanh", since: 9, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Pointwise(Atanh)))
}

#[derive(Clone, Debug)]
struct Atanh;

impl Unary for Atanh {
    const READS: Reads = Reads::INPUTS;
    const COST: usize = 10_000;

    #[inline(always)]
    fn value<T: Float>(&self, x: T) -> T {
        x.atanh()
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, x: T, _: T) -> T {
        (T::one() - x * x).recip()
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        check(
            "Atanh",
            &[
                Case::new().input(&[5], &[-0.75, -0.5, 0.0, 0.25, 0.9]).output(
                    &[5],
                    &[-0.9729550745276566, -0.5493061443340548, 0.0, 0.25541281188299536, 1.4722194895832204],
                ),
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
