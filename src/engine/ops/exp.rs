//! Exp: `y = eˣ`. Derivative: `y`.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Exp.html>.

use super::unary::{Pointwise, Unary};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Exp", since: 6, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Pointwise(Exp)))
}

#[derive(Clone, Debug)]
struct Exp;

impl Unary for Exp {
    const READS: Reads = Reads::OUTPUTS;
    const COST: usize = 600;

    #[inline(always)]
    fn value<T: Float>(&self, x: T) -> T {
        x.quick_exp()
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, _: T, y: T) -> T {
        y
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        check(
            "Exp",
            &[
                Case::new().input(&[6], &[-3.0, -1.0, -0.25, 0.0, 0.5, 2.0]).output(
                    &[6],
                    &[
                        0.049787068367863944,
                        0.36787944117144233,
                        0.7788007830714049,
                        1.0,
                        1.6487212707001282,
                        7.38905609893065,
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
