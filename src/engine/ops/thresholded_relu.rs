//! ThresholdedRelu: `y = x` above alpha, else 0. Derivative: 1 above alpha, else 0.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__ThresholdedRelu.html>.

use super::unary::{Pointwise, Unary, attribute};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};
use crate::onnx::AttributeValue;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "ThresholdedRelu", since: 10, parse };

/// What alpha is unless given.
const ALPHA: f32 = 1.0;

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let alpha = node.float("alpha")?.unwrap_or(ALPHA);
    Ok(Box::new(Pointwise(ThresholdedRelu { alpha })))
}

#[derive(Clone, Debug)]
struct ThresholdedRelu {
    alpha: f32,
}

impl Unary for ThresholdedRelu {
    const READS: Reads = Reads::INPUTS;

    #[inline(always)]
    fn value<T: Float>(&self, x: T) -> T {
        if x > T::of(f64::from(self.alpha)) { x } else { T::zero() }
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, x: T, _: T) -> T {
        if x > T::of(f64::from(self.alpha)) { T::one() } else { T::zero() }
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
            "ThresholdedRelu",
            &[
                Case::new()
                    .input(&[7], &[-3.0, -1.0, -0.25, 0.0, 0.5, 2.0, 40.0])
                    .output(&[7], &[0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 40.0]),
                Case::new()
                    .input(&[7], &[-3.0, -1.0, -0.25, 0.0, 0.5, 2.0, 40.0])
                    .float("alpha", 0.25)
                    .output(&[7], &[0.0, 0.0, 0.0, 0.0, 0.5, 2.0, 40.0])
                    .without_gradient(),
                Case::new().random_input(&[3, 7]).float("alpha", 0.25),
                Case::new().random_input(&[2, 3, 5]),
                Case::new().random_input(&[]),
                Case::new().random_input(&[0, 3]),
                Case::new().ints(&[2], &[1, 2]).error("expected f32 or f64"),
                Case::new().random_input(&[2]).random_input(&[2]).error("expected 1 inputs, found 2"),
                Case::new().random_input(&[2]).int("axis", 1).error("attribute `axis`"),
            ],
        );
    }
}
