//! Acosh: `y = acosh x`, for x of at least 1. Derivative: `1/√(x² − 1)`.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Acosh.html>.

use super::unary::{Pointwise, Unary};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Acosh", since: 9, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Pointwise(Acosh)))
}

#[derive(Clone, Debug)]
struct Acosh;

impl Unary for Acosh {
    const READS: Reads = Reads::INPUTS;
    const COST: usize = 10_000;

    #[inline(always)]
    fn value<T: Float>(&self, x: T) -> T {
        x.acosh()
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, x: T, _: T) -> T {
        (x * x - T::one()).sqrt().recip()
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        check(
            "Acosh",
            &[
                Case::new().input(&[4], &[1.25, 1.5, 2.0, 9.0]).output(
                    &[4],
                    &[std::f64::consts::LN_2, 0.9624236501192069, 1.3169578969248166, 2.8872709503576206],
                ),
                Case::new().input(&[2, 3], &[1.5, 2.5, 3.5, 4.5, 5.5, 6.5]),
                Case::new().input(&[], &[2.5]),
                Case::new().random_input(&[0, 3]),
                Case::new().input(&[1], &[f64::NAN]).output(&[1], &[f64::NAN]).without_gradient(),
                Case::new().ints(&[2], &[1, 2]).error("expected f32 or f64"),
                Case::new().random_input(&[2]).random_input(&[2]).error("expected 1 inputs, found 2"),
                Case::new().random_input(&[2]).int("axis", 1).error("attribute `axis`"),
            ],
        );
    }
}
