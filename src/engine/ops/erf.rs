//! Erf: `y = erf x`, the error function. Derivative: `2/√π·exp(−x²)`.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Erf.html>.

use super::unary::{Pointwise, Unary};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Erf", since: 9, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Pointwise(Erf)))
}

#[derive(Clone, Debug)]
struct Erf;

impl Unary for Erf {
    const READS: Reads = Reads::INPUTS;
    const COST: usize = 1_000;

    #[inline(always)]
    fn value<T: Float>(&self, x: T) -> T {
        x.quick_erf()
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, x: T, _: T) -> T {
        T::of(std::f64::consts::FRAC_2_SQRT_PI) * (-(x * x)).quick_exp()
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        check(
            "Erf",
            &[
                Case::new().input(&[7], &[-3.0, -1.0, -0.25, 0.0, 0.5, 2.0, 40.0]).output(
                    &[7],
                    &[
                        -0.9999779095030014,
                        -0.8427007929497149,
                        -0.2763263901682369,
                        0.0,
                        0.5204998778130465,
                        0.9953222650189527,
                        1.0,
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
