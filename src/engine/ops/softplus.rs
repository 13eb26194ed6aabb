//! Softplus: `y = ln(1 + eˣ)`, computed as `max(x, 0) + ln(1 + e^−|x|)`, which never overflows. Derivative: `1/(1 +
//! e⁻ˣ)`.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Softplus.html>.

use super::unary::{Pointwise, Unary};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Softplus", since: 1, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Pointwise(Softplus)))
}

#[derive(Clone, Debug)]
struct Softplus;

impl Unary for Softplus {
    const READS: Reads = Reads::INPUTS;
    const COST: usize = 2_000;

    #[inline(always)]
    fn value<T: Float>(&self, x: T) -> T {
        x.max(T::zero()) + (-x.abs()).quick_exp().quick_ln_1p()
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, x: T, _: T) -> T {
        x.quick_sigmoid()
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        check(
            "Softplus",
            &[
                Case::new().input(&[7], &[-3.0, -1.0, -0.25, 0.0, 0.5, 2.0, 40.0]).output(
                    &[7],
                    &[
                        0.04858735157374206,
                        0.31326168751822286,
                        0.5759394198788436,
                        std::f64::consts::LN_2,
                        0.9740769841801067,
                        2.1269280110429727,
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
