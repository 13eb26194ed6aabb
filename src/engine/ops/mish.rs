//! Mish: `y = x·tanh(ln(1 + eˣ))`. Derivative: `t + x·s(1 − t²)` with `t = tanh(ln(1 + eˣ))` and `s = 1/(1 + e⁻ˣ)`.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Mish.html>.

use super::unary::{Pointwise, Unary};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Mish", since: 18, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Pointwise(Mish)))
}

#[derive(Clone, Debug)]
struct Mish;

impl Unary for Mish {
    const READS: Reads = Reads::INPUTS;
    const COST: usize = 3_000;

    #[inline(always)]
    fn value<T: Float>(&self, x: T) -> T {
        x * softplus(x).quick_tanh()
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, x: T, _: T) -> T {
        let t = softplus(x).quick_tanh();
        t + x * x.quick_sigmoid() * (T::one() - t * t)
    }
}

/// `ln(1 + eˣ)` without overflow.
#[inline(always)]
fn softplus<T: Float>(x: T) -> T {
    x.max(T::zero()) + (-x.abs()).quick_exp().quick_ln_1p()
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        check(
            "Mish",
            &[
                Case::new().input(&[7], &[-3.0, -1.0, -0.25, 0.0, 0.5, 2.0, 40.0]).output(
                    &[7],
                    &[
                        -0.1456474612756246,
                        -0.30340146137410895,
                        -0.129926963679141,
                        0.0,
                        0.3752452113048951,
                        1.9439589595339946,
                        40.0,
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
