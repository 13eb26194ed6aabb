//! ReduceLogSumExp: `y = log Σ exp(x)` over the axes; the largest is subtracted first, so nothing overflows.
//!
//! `dx = dy · exp(x - y)`.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__ReduceLogSumExp.html>.

use super::reduce::{Integers, Reduce, Reduction};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "ReduceLogSumExp", since: 1, parse };

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Reduce::<ReduceLogSumExp>::read(node)?))
}

#[derive(Clone, Debug)]
struct ReduceLogSumExp;

impl Reduction for ReduceLogSumExp {
    const READS: Reads = Reads::ALL;
    const INTEGERS: Integers = Integers::No;
    const SHIFTED: bool = true;

    fn map<T: Float>(x: T) -> T {
        x.exp()
    }

    fn finish<T: Float>(joined: T, shift: T, _: usize) -> T {
        joined.ln() + shift
    }

    fn slope<T: Float>(x: T, y: T, _: [T; 2], _: usize) -> T {
        (x - y).exp()
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        let six = || Case::new().input(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        check(
            "ReduceLogSumExp",
            &[
                Case::new()
                    .input(&[2, 2], &[1000.0, 1000.0, -1000.0, -1000.0])
                    .constant_ints(&[1])
                    .output(&[2, 1], &[1000.0 + 2f64.ln(), -1000.0 + 2f64.ln()])
                    .without_gradient(),
                Case::new()
                    .input(&[2, 2], &[0.0, 1.0, 0.0, 1.0])
                    .ints_attribute("axes", &[0])
                    .opset(13)
                    .int("keepdims", 0)
                    .output(&[2], &[2f64.ln(), 1.0 + 2f64.ln()]),
                Case::new()
                    .input(&[2, 2], &[f64::NEG_INFINITY, f64::NEG_INFINITY, f64::INFINITY, 1.0])
                    .constant_ints(&[1])
                    .output(&[2, 1], &[f64::NEG_INFINITY, f64::INFINITY])
                    .without_gradient(),
                Case::new().input(&[2, 0], &[]).constant_ints(&[1]).output(&[2, 1], &[f64::NEG_INFINITY; 2]),
                Case::new().ints(&[1], &[1]).error("expected f32 or f64"),
                Case::new().random_input(&[2, 3, 4, 5]).constant_ints(&[1, 3]),
                Case::new().random_input(&[3, 35]).constant_ints(&[-1]).int("keepdims", 0),
                Case::new().random_input(&[3, 4, 2]).constant_ints(&[0]),
                Case::new().random_input(&[2, 2]),
                Case::new().random_input(&[]),
                Case::new().random_input(&[0, 3]).constant_ints(&[1]),
                Case::new().random_input(&[2, 3]).constant_ints(&[]).int("noop_with_empty_axes", 1),
                six().constant_ints(&[2]).error("axes of -2 to 1, found 2"),
            ],
        );
    }
}
