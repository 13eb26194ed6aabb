//! HardSwish: `y = x·max(0, min(1, x/6 + 1/2))`. Derivative: 0 up to −3, 1 from 3 on, `x/3 + 1/2` between.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__HardSwish.html>.

use super::unary::{Pointwise, Unary};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "HardSwish", since: 14, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Pointwise(HardSwish)))
}

#[derive(Clone, Debug)]
struct HardSwish;

impl Unary for HardSwish {
    const READS: Reads = Reads::INPUTS;

    #[inline(always)]
    fn value<T: Float>(&self, x: T) -> T {
        let three = T::of(3.0);
        if x <= -three {
            T::zero()
        } else if x >= three {
            x
        } else {
            x * (x + three) / T::of(6.0)
        }
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, x: T, _: T) -> T {
        let three = T::of(3.0);
        if x <= -three {
            T::zero()
        } else if x >= three {
            T::one()
        } else {
            x / three + T::of(0.5)
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        check(
            "HardSwish",
            &[
                Case::new()
                    .input(&[6], &[-4.0, -3.0, -1.0, 0.5, 3.0, 7.0])
                    .output(&[6], &[-0.0, -0.0, -0.33333333333333337, 0.2916666666666667, 3.0, 7.0])
                    .without_gradient(),
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
