//! Celu: `y = max(0, x) + min(0, alpha·(exp(x/alpha) − 1))`. Derivative: 1 above zero, else `exp(x/alpha)`.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Celu.html>.

use super::unary::{Pointwise, Unary, attribute};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};
use crate::onnx::AttributeValue;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Celu", since: 12, parse };

/// What alpha is unless given.
const ALPHA: f32 = 1.0;

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let alpha = node.float("alpha")?.unwrap_or(ALPHA);
    if alpha == 0.0 {
        let expected = "a number other than 0".into();
        return Err(OpError::Attribute { name: "alpha".into(), expected, found: alpha.to_string() });
    }
    Ok(Box::new(Pointwise(Celu { alpha })))
}

#[derive(Clone, Debug)]
struct Celu {
    alpha: f32,
}

impl Unary for Celu {
    const READS: Reads = Reads::INPUTS;
    const COST: usize = 1_000;

    #[inline(always)]
    fn value<T: Float>(&self, x: T) -> T {
        let alpha = T::of(f64::from(self.alpha));
        if x > T::zero() { x } else { alpha * (x / alpha).quick_exp_m1() }
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, x: T, _: T) -> T {
        if x > T::zero() { T::one() } else { (x / T::of(f64::from(self.alpha))).quick_exp() }
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
            "Celu",
            &[
                Case::new().input(&[7], &[-3.0, -1.0, -0.25, 0.0, 0.5, 2.0, 40.0]).output(
                    &[7],
                    &[-0.950212931632136, -0.6321205588285577, -0.22119921692859512, 0.0, 0.5, 2.0, 40.0],
                ),
                Case::new()
                    .input(&[7], &[-3.0, -1.0, -0.25, 0.0, 0.5, 2.0, 40.0])
                    .float("alpha", 2.0)
                    .output(&[7], &[-1.5537396797031404, -0.7869386805747332, -0.2350061948308092, 0.0, 0.5, 2.0, 40.0])
                    .without_gradient(),
                Case::new().random_input(&[3, 7]).float("alpha", 2.0),
                Case::new().random_input(&[2, 3, 5]),
                Case::new().random_input(&[]),
                Case::new().random_input(&[0, 3]),
                Case::new().input(&[1], &[f64::NAN]).output(&[1], &[f64::NAN]).without_gradient(),
                Case::new().ints(&[2], &[1, 2]).error("expected f32 or f64"),
                Case::new().random_input(&[2]).random_input(&[2]).error("expected 1 inputs, found 2"),
                Case::new().random_input(&[2]).float("alpha", 0.0).error("other than 0"),
                Case::new().random_input(&[2]).int("axis", 1).error("attribute `axis`"),
            ],
        );
    }
}
