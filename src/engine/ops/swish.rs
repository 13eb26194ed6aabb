//! Swish: `y = x/(1 + exp(−alpha·x))`. Derivative: `s + alpha·x·s(1 − s)` with `s = 1/(1 + exp(−alpha·x))`.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Swish.html>.

use super::unary::{Pointwise, Unary, attribute};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};
use crate::onnx::AttributeValue;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Swish", since: 24, parse };

/// What alpha is unless given.
const ALPHA: f32 = 1.0;

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let alpha = node.float("alpha")?.unwrap_or(ALPHA);
    Ok(Box::new(Pointwise(Swish { alpha })))
}

#[derive(Clone, Debug)]
struct Swish {
    alpha: f32,
}

impl Unary for Swish {
    const READS: Reads = Reads::INPUTS;
    const COST: usize = 1_000;

    #[inline(always)]
    fn value<T: Float>(&self, x: T) -> T {
        x * (T::of(f64::from(self.alpha)) * x).quick_sigmoid()
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, x: T, _: T) -> T {
        let alpha = T::of(f64::from(self.alpha));
        let s = (alpha * x).quick_sigmoid();
        s + alpha * x * s * (T::one() - s)
    }

    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        [attribute("alpha", self.alpha, ALPHA)].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        check(
            "Swish",
            &[
                Case::new().opset(24).input(&[7], &[-3.0, -1.0, -0.25, 0.0, 0.5, 2.0, 40.0]).output(
                    &[7],
                    &[
                        -0.14227761953270035,
                        -0.2689414213699951,
                        -0.10945587477855048,
                        0.0,
                        0.3112296656009273,
                        1.7615941559557646,
                        40.0,
                    ],
                ),
                Case::new()
                    .opset(24)
                    .input(&[7], &[-3.0, -1.0, -0.25, 0.0, 0.5, 2.0, 40.0])
                    .float("alpha", 0.5)
                    .output(
                        &[7],
                        &[
                            -0.547276571419069,
                            -0.3775406687981454,
                            -0.11719765665656094,
                            0.0,
                            0.28108825044289903,
                            1.4621171572600098,
                            39.99999991755385,
                        ],
                    )
                    .without_gradient(),
                Case::new().opset(24).random_input(&[3, 7]).float("alpha", 0.5),
                Case::new().opset(24).random_input(&[2, 3, 5]),
                Case::new().opset(24).random_input(&[]),
                Case::new().opset(24).random_input(&[0, 3]),
                Case::new().opset(24).input(&[1], &[f64::NAN]).output(&[1], &[f64::NAN]).without_gradient(),
                Case::new().opset(24).ints(&[2], &[1, 2]).error("expected f32 or f64"),
                Case::new().opset(24).random_input(&[2]).random_input(&[2]).error("expected 1 inputs, found 2"),
                Case::new().opset(24).random_input(&[2]).int("axis", 1).error("attribute `axis`"),
            ],
        );
    }
}
