//! Log: `y = ln x`; −∞ at zero, not a number below. Derivative: `1/x`.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Log.html>.

use super::unary::{Pointwise, Unary};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Log", since: 6, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Pointwise(Log)))
}

#[derive(Clone, Debug)]
struct Log;

impl Unary for Log {
    const READS: Reads = Reads::INPUTS;
    const COST: usize = 800;

    #[inline(always)]
    fn value<T: Float>(&self, x: T) -> T {
        x.quick_ln()
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, x: T, _: T) -> T {
        T::one() / x
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        check(
            "Log",
            &[
                Case::new().input(&[5], &[0.25, 1.0, 2.0, 9.0, 0.0625]).output(
                    &[5],
                    &[-1.3862943611198906, 0.0, std::f64::consts::LN_2, 2.1972245773362196, -2.772588722239781],
                ),
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
