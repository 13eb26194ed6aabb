//! Hardmax: 1 at the first largest element along an axis, 0 elsewhere. It has no useful derivative: none is defined.
//!
//! Before version 13 the largest is sought along all axes from `axis` on.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Hardmax.html>.

use super::along_axis::{AlongAxis, LaneFunction};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::Op;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Hardmax", since: 1, parse };

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(AlongAxis::read(node, Hardmax)?))
}

#[derive(Clone, Debug)]
struct Hardmax;

impl LaneFunction for Hardmax {
    const DIFFERENTIABLE: bool = false;
    const COST: usize = 2;

    fn forward<T: Float>(&self, x: &[T], y: &mut [T]) {
        let mut at = 0;
        for (index, value) in x.iter().enumerate() {
            // The first NaN counts as the largest.
            if *value > x[at] || value.is_nan() && !x[at].is_nan() {
                at = index;
            }
        }
        y.fill(T::zero());
        y[at] = T::one();
    }

    fn backward<T: Float>(&self, _: &[T], _: &[T], dx: &mut [T]) {
        dx.fill(T::zero());
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        check(
            "Hardmax",
            &[
                Case::new()
                    .input(&[2, 3], &[3.0, 0.0, 3.0, 1.0, 2.0, 0.0])
                    .output(&[2, 3], &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0]),
                Case::new()
                    .input(&[2, 3], &[3.0, 0.0, 3.0, 1.0, 2.0, 3.0])
                    .int("axis", 0)
                    .output(&[2, 3], &[1.0, 0.0, 1.0, 0.0, 1.0, 0.0]),
                Case::new()
                    .input(&[1, 2, 2], &[3.0, 0.0, 4.0, 1.0])
                    .opset(11)
                    .output(&[1, 2, 2], &[0.0, 0.0, 1.0, 0.0]),
                Case::new().input(&[3], &[1.0, f64::NAN, 2.0]).output(&[3], &[0.0, 1.0, 0.0]),
                Case::new().input(&[2, 0], &[]).output(&[2, 0], &[]),
                Case::new().random_input(&[2, 3]).int("axis", 2).error("expected -2 to 1, found 2"),
                Case::new().ints(&[1], &[1]).error("expected f32 or f64"),
                Case::new().error("expected 1 inputs, found 0"),
            ],
        );
    }
}
