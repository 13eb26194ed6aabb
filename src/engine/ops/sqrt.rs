//! Sqrt: `y = √x`; not a number below zero. Derivative: `1/(2y)`.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Sqrt.html>.

use super::unary::{Pointwise, Unary};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Sqrt", since: 6, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Pointwise(Sqrt)))
}

#[derive(Clone, Debug)]
struct Sqrt;

impl Unary for Sqrt {
    const READS: Reads = Reads::OUTPUTS;

    #[inline(always)]
    fn value<T: Float>(&self, x: T) -> T {
        x.sqrt()
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, _: T, y: T) -> T {
        T::of(0.5) / y
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        check(
            "Sqrt",
            &[
                Case::new()
                    .input(&[5], &[0.25, 1.0, 2.0, 9.0, 0.0625])
                    .output(&[5], &[0.5, 1.0, std::f64::consts::SQRT_2, 3.0, 0.25]),
                Case::new().input(&[2, 3], &[1.5, 2.5, 3.5, 4.5, 5.5, 6.5]),
                Case::new().input(&[], &[2.5]),
                Case::new().random_input(&[0, 3]),
                Case::new().input(&[1], &[f64::NAN]).output(&[1], &[f64::NAN]).without_gradient(),
                Case::new().ints(&[2], &[1, 2]).error("expected f32 or f64"),
                Case::new().random_input(&[2]).random_input(&[2]).error("expected 1 inputs, found 2"),
                Case::new().random_input(&[2]).int("axis", 1).error("attribute `axis`"),
            ],
        );
    }
}
