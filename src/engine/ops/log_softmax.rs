//! LogSoftmax: `y[i] = x[i] - log Σ exp(x[j])` along an axis; the largest is subtracted first, so nothing overflows.
//!
//! `dx[i] = dy[i] - exp(y[i])·Σ dy[j]`. Before version 13 the sum is over all axes from `axis` on.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__LogSoftmax.html>.

use super::along_axis::{AlongAxis, LaneFunction};
use super::axis::{largest, sum};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::Op;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "LogSoftmax", since: 1, parse };

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(AlongAxis::read(node, LogSoftmax)?))
}

#[derive(Clone, Debug)]
struct LogSoftmax;

impl LaneFunction for LogSoftmax {
    const DIFFERENTIABLE: bool = true;
    const COST: usize = 4;

    fn forward<T: Float>(&self, x: &[T], y: &mut [T]) {
        let top = largest(x);
        let log = sum(x, |x| (x - top).exp()).ln();
        for (y, x) in y.iter_mut().zip(x) {
            *y = *x - top - log;
        }
    }

    fn backward<T: Float>(&self, y: &[T], dy: &[T], dx: &mut [T]) {
        let total = sum(dy, |dy| dy);
        for ((dx, y), dy) in dx.iter_mut().zip(y).zip(dy) {
            *dx = *dy - y.exp() * total;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        let log = (1.0 + std::f64::consts::E).ln();
        check(
            "LogSoftmax",
            &[
                Case::new().input(&[2, 2], &[0.0, 1.0, 5.0, 4.0]).output(&[2, 2], &[-log, 1.0 - log, 1.0 - log, -log]),
                Case::new()
                    .input(&[2, 2], &[0.0, 5.0, 1.0, 4.0])
                    .int("axis", 0)
                    .output(&[2, 2], &[-log, 1.0 - log, 1.0 - log, -log]),
                Case::new().input(&[2], &[1000.0, 1001.0]).output(&[2], &[-log, 1.0 - log]).tolerance(1e-5),
                Case::new().input(&[1, 2, 1], &[0.0, 0.0]).opset(11).output(&[1, 2, 1], &[-2f64.ln(), -2f64.ln()]),
                Case::new().random_input(&[2, 3, 4]).opset(9).int("axis", 2),
                Case::new().random_input(&[2, 3, 5]).int("axis", 1),
                Case::new().random_input(&[2, 3, 37]).int("axis", 1),
                Case::new().random_input(&[3, 37]),
                Case::new().random_input(&[0, 3]),
                Case::new().random_input(&[3, 0]),
                Case::new().random_input(&[2, 3]).int("axis", -3).error("expected -2 to 1, found -3"),
                Case::new().ints(&[1], &[1]).error("expected f32 or f64"),
                Case::new().random_input(&[2]).output_count(2).error("expected 1 outputs, found 2"),
            ],
        );
    }
}
