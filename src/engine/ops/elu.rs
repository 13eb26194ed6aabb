//! Elu: `y = x` from zero on, below `alpha·(eˣ − 1)`. Derivative: 1 from zero on, below `alpha·eˣ`.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Elu.html>.

use super::unary::{Pointwise, Unary, attribute};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};
use crate::onnx::AttributeValue;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Elu", since: 6, parse };

/// What alpha is unless given.
const ALPHA: f32 = 1.0;

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let alpha = node.float("alpha")?.unwrap_or(ALPHA);
    Ok(Box::new(Pointwise(Elu { alpha })))
}

#[derive(Clone, Debug)]
struct Elu {
    alpha: f32,
}

impl Unary for Elu {
    const READS: Reads = Reads::INPUTS;
    const COST: usize = 1_000;

    #[inline(always)]
    fn value<T: Float>(&self, x: T) -> T {
        if x < T::zero() { T::of(f64::from(self.alpha)) * x.quick_exp_m1() } else { x }
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, x: T, _: T) -> T {
        if x < T::zero() { T::of(f64::from(self.alpha)) * x.quick_exp() } else { T::one() }
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
            "Elu",
            &[
                Case::new()
                    .input(&[7], &[-3.0, -1.0, -0.25, 0.0, 0.5, 2.0, 40.0])
                    .output(&[7], &[-0.950212931632136, -0.6321205588285577, -0.22119921692859512, 0.0, 0.5, 2.0, 40.0])
                    .without_gradient(),
                Case::new()
                    .input(&[7], &[-3.0, -1.0, -0.25, 0.0, 0.5, 2.0, 40.0])
                    .float("alpha", 2.0)
                    .output(&[7], &[-1.900425863264272, -1.2642411176571153, -0.44239843385719024, 0.0, 0.5, 2.0, 40.0])
                    .without_gradient(),
                Case::new().random_input(&[3, 7]).float("alpha", 2.0),
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
