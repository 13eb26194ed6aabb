//! Acos: `y = acos x`, for x between −1 and 1. Derivative: `−1/√(1 − x²)`.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Acos.html>.

use super::unary::{Pointwise, Unary};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Acos", since: 7, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Pointwise(Acos)))
}

#[derive(Clone, Debug)]
struct Acos;

impl Unary for Acos {
    const READS: Reads = Reads::INPUTS;
    const COST: usize = 10_000;

    #[inline(always)]
    fn value<T: Float>(&self, x: T) -> T {
        x.acos()
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, x: T, _: T) -> T {
        -(T::one() - x * x).sqrt().recip()
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        check(
            "Acos",
            &[
                Case::new().input(&[5], &[-0.75, -0.5, 0.0, 0.25, 0.9]).output(
                    &[5],
                    &[
                        2.4188584057763776,
                        2.0943951023931957,
                        std::f64::consts::FRAC_PI_2,
                        1.318116071652818,
                        0.45102681179626236,
                    ],
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
