//! Tanh: `y = tanh x`. Derivative: `1 − y²`.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Tanh.html>.

use super::unary::{Pointwise, Unary};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Tanh", since: 6, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Pointwise(Tanh)))
}

#[derive(Clone, Debug)]
struct Tanh;

impl Unary for Tanh {
    const READS: Reads = Reads::OUTPUTS;
    const COST: usize = 800;

    #[inline(always)]
    fn value<T: Float>(&self, x: T) -> T {
        x.quick_tanh()
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, _: T, y: T) -> T {
        T::one() - y * y
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        check(
            "Tanh",
            &[
                Case::new().input(&[7], &[-3.0, -1.0, -0.25, 0.0, 0.5, 2.0, 40.0]).output(
                    &[7],
                    &[
                        -0.9950547536867305,
                        -0.7615941559557649,
                        -0.24491866240370913,
                        0.0,
                        0.46211715726000974,
                        0.9640275800758169,
                        1.0,
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
