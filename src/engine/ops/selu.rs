//! Selu: `y = gamma·x` above zero, else `gamma·alpha·(eˣ − 1)`. Derivative: gamma above zero, else `gamma·alpha·eˣ`.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Selu.html>.

use super::unary::{Pointwise, Unary, attribute};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};
use crate::onnx::AttributeValue;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Selu", since: 6, parse };

/// What alpha is unless given.
const ALPHA: f32 = 1.673_263_2;

/// What gamma is unless given.
const GAMMA: f32 = 1.050_701;

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let alpha = node.float("alpha")?.unwrap_or(ALPHA);
    let gamma = node.float("gamma")?.unwrap_or(GAMMA);
    Ok(Box::new(Pointwise(Selu { alpha, gamma })))
}

#[derive(Clone, Debug)]
struct Selu {
    alpha: f32,
    gamma: f32,
}

impl Unary for Selu {
    const READS: Reads = Reads::INPUTS;
    const COST: usize = 1_000;

    #[inline(always)]
    fn value<T: Float>(&self, x: T) -> T {
        let y = if x > T::zero() { x } else { T::of(f64::from(self.alpha)) * x.quick_exp_m1() };
        T::of(f64::from(self.gamma)) * y
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, x: T, _: T) -> T {
        let slope = if x > T::zero() { T::one() } else { T::of(f64::from(self.alpha)) * x.quick_exp() };
        T::of(f64::from(self.gamma)) * slope
    }

    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        [attribute("alpha", self.alpha, ALPHA), attribute("gamma", self.gamma, GAMMA)].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        check(
            "Selu",
            &[
                Case::new()
                    .input(&[6], &[-3.0, -1.0, -0.25, 0.5, 2.0, 40.0])
                    .output(
                        &[6],
                        &[
                            -1.6705687339891528,
                            -1.1113307412864784,
                            -0.38889019869375324,
                            0.5253505110740662,
                            2.1014020442962646,
                            42.02804088592529,
                        ],
                    )
                    .without_gradient(),
                Case::new()
                    .input(&[6], &[-3.0, -1.0, -0.25, 0.5, 2.0, 40.0])
                    .float("alpha", 2.0)
                    .float("gamma", 3.0)
                    .output(&[6], &[-5.7012775897928165, -3.792723352971346, -1.3271953015715707, 1.5, 6.0, 120.0])
                    .without_gradient(),
                Case::new().random_input(&[3, 7]).float("alpha", 2.0).float("gamma", 3.0),
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
