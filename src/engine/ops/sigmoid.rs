//! Sigmoid: `y = 1/(1 + e⁻ˣ)`. Derivative: `y(1 − y)`.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Sigmoid.html>.

use super::unary::{Pointwise, Unary};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Sigmoid", since: 6, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Pointwise(Sigmoid)))
}

#[derive(Clone, Debug)]
struct Sigmoid;

impl Unary for Sigmoid {
    const READS: Reads = Reads::OUTPUTS;
    const COST: usize = 800;

    #[inline(always)]
    fn value<T: Float>(&self, x: T) -> T {
        x.quick_sigmoid()
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, _: T, y: T) -> T {
        y * (T::one() - y)
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        check(
            "Sigmoid",
            &[
                Case::new().input(&[7], &[-3.0, -1.0, -0.25, 0.0, 0.5, 2.0, 40.0]).output(
                    &[7],
                    &[
                        0.04742587317756678,
                        0.2689414213699951,
                        0.43782349911420193,
                        0.5,
                        0.6224593312018546,
                        0.8807970779778823,
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
