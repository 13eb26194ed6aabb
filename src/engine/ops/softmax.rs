//! Softmax: `y[i] = exp(x[i]) / Σ exp(x[j])` along an axis; the largest is subtracted first, so nothing overflows.
//!
//! `dx[i] = y[i]·(dy[i] - Σ dy[j]·y[j])`. Before version 13 the sum is over all axes from `axis` on.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Softmax.html>.

use super::along_axis::{AlongAxis, LaneFunction};
use super::axis::{largest, sum, sum_of};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::Op;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Softmax", since: 1, parse };

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(AlongAxis::read(node, Softmax)?))
}

#[derive(Clone, Debug)]
struct Softmax;

impl LaneFunction for Softmax {
    const DIFFERENTIABLE: bool = true;
    const COST: usize = 4;

    fn forward<T: Float>(&self, x: &[T], y: &mut [T]) {
        let top = largest(x);
        for (y, x) in y.iter_mut().zip(x) {
            *y = (*x - top).exp();
        }
        let scale = sum(y, |y| y).recip();
        y.iter_mut().for_each(|y| *y *= scale);
    }

    fn backward<T: Float>(&self, y: &[T], dy: &[T], dx: &mut [T]) {
        let dot = sum_of(y, dy, |y, dy| y * dy);
        for ((dx, y), dy) in dx.iter_mut().zip(y).zip(dy) {
            *dx = *y * (*dy - dot);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        let e = std::f64::consts::E;
        let (small, large) = (1.0 / (1.0 + e), e / (1.0 + e));
        check(
            "Softmax",
            &[
                Case::new().input(&[2, 2], &[0.0, 1.0, 5.0, 4.0]).output(&[2, 2], &[small, large, large, small]),
                Case::new()
                    .input(&[2, 2], &[0.0, 5.0, 1.0, 4.0])
                    .int("axis", 0)
                    .output(&[2, 2], &[small, large, large, small]),
                // Numbers whose exponentials overflow.
                Case::new().input(&[2], &[1000.0, 1001.0]).output(&[2], &[small, large]).tolerance(1e-5),
                // Before version 13: all axes from 1 on together.
                Case::new()
                    .input(&[1, 2, 2], &[0.0, 0.0, 0.0, 0.0])
                    .opset(11)
                    .output(&[1, 2, 2], &[0.25, 0.25, 0.25, 0.25]),
                Case::new().input(&[2], &[3.0, 4.0]).opset(11).int("axis", 1).output(&[2], &[1.0, 1.0]),
                Case::new().random_input(&[2, 3, 4]).opset(9).int("axis", 2),
                Case::new().random_input(&[2, 3, 4]).opset(12).int("axis", -3),
                Case::new().random_input(&[2, 3, 5]).int("axis", 1),
                Case::new().random_input(&[2, 3, 37]).int("axis", 1),
                Case::new().random_input(&[3, 37]),
                Case::new().random_input(&[1]),
                Case::new().random_input(&[0, 3]),
                Case::new().random_input(&[3, 0]),
                Case::new().random_input(&[2, 3]).int("axis", 2).error("expected -2 to 1, found 2"),
                Case::new().random_input(&[]).error("a scalar has none"),
                Case::new().ints(&[1], &[1]).error("expected f32 or f64"),
                Case::new().random_input(&[2]).random_input(&[2]).error("expected 1 inputs, found 2"),
                Case::new().random_input(&[2]).float("axis", 1.0).error("expected an integer"),
            ],
        );
    }
}
