//! HardSigmoid: `y = max(0, min(1, alpha·x + beta))`. Derivative: alpha where `0 < y < 1`, else 0.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__HardSigmoid.html>.

use super::unary::{Pointwise, Unary, attribute};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};
use crate::onnx::AttributeValue;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "HardSigmoid", since: 6, parse };

/// What alpha is unless given.
const ALPHA: f32 = 0.2;

/// What beta is unless given.
const BETA: f32 = 0.5;

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let alpha = node.float("alpha")?.unwrap_or(ALPHA);
    let beta = node.float("beta")?.unwrap_or(BETA);
    Ok(Box::new(Pointwise(HardSigmoid { alpha, beta })))
}

#[derive(Clone, Debug)]
struct HardSigmoid {
    alpha: f32,
    beta: f32,
}

impl Unary for HardSigmoid {
    const READS: Reads = Reads::OUTPUTS;

    #[inline(always)]
    fn value<T: Float>(&self, x: T) -> T {
        let line = T::of(f64::from(self.alpha)) * x + T::of(f64::from(self.beta));
        // Comparisons, not `max`: what is not a number stays so.
        let line = if line > T::one() { T::one() } else { line };
        if line < T::zero() { T::zero() } else { line }
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, _: T, y: T) -> T {
        if y > T::zero() && y < T::one() { T::of(f64::from(self.alpha)) } else { T::zero() }
    }

    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        [attribute("alpha", self.alpha, ALPHA), attribute("beta", self.beta, BETA)].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        check(
            "HardSigmoid",
            &[
                Case::new().input(&[7], &[-3.0, -1.0, -0.25, 0.0, 0.5, 2.0, 40.0]).output(
                    &[7],
                    &[0.0, 0.29999999701976776, 0.44999999925494194, 0.5, 0.6000000014901161, 0.9000000059604645, 1.0],
                ),
                Case::new()
                    .input(&[7], &[-3.0, -1.0, -0.25, 0.0, 0.5, 2.0, 40.0])
                    .float("alpha", 0.5)
                    .float("beta", 0.625)
                    .output(&[7], &[0.0, 0.125, 0.5, 0.625, 0.875, 1.0, 1.0])
                    .without_gradient(),
                Case::new().random_input(&[3, 7]).float("alpha", 0.5).float("beta", 0.625),
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
