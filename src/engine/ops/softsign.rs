//! Softsign: `y = x/(1 + |x|)`. Derivative: `1/(1 + |x|)²`.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Softsign.html>.

use super::unary::{Pointwise, Unary};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Softsign", since: 1, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Pointwise(Softsign)))
}

#[derive(Clone, Debug)]
struct Softsign;

impl Unary for Softsign {
    const READS: Reads = Reads::INPUTS;

    #[inline(always)]
    fn value<T: Float>(&self, x: T) -> T {
        x / (T::one() + x.abs())
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, x: T, _: T) -> T {
        let size = (T::one() + x.abs()).recip();
        size * size
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        check(
            "Softsign",
            &[
                Case::new()
                    .input(&[7], &[-3.0, -1.0, -0.25, 0.0, 0.5, 2.0, 40.0])
                    .output(&[7], &[-0.75, -0.5, -0.2, 0.0, 0.3333333333333333, 0.6666666666666666, 0.975609756097561])
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
