//! LpNormalization: `y = x / ‖x‖` along an axis, with the sum of magnitudes (`p` = 1) or the Euclidean norm (`p` = 2); a
//! lane of zeros stays one.
//!
//! `dx = (dy - s·Σ dy·y) / ‖x‖`, where `s` is `sign(x)` for `p` = 1 and `y` for `p` = 2; 0 where the norm is 0.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__LpNormalization.html>.

use super::along_axis::{AlongAxis, LaneFunction};
use super::axis::{sum, sum_of};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};
use crate::onnx::AttributeValue;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "LpNormalization", since: 1, parse };

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let function = match node.int("p")? {
        Some(1) => LpNormalization::Magnitudes,
        None | Some(2) => LpNormalization::Euclidean,
        Some(found) => {
            return Err(OpError::Attribute { name: "p".into(), expected: "1 or 2".into(), found: found.to_string() });
        }
    };
    Ok(Box::new(AlongAxis::read_single(node, function)?))
}

#[derive(Clone, Debug)]
enum LpNormalization {
    Magnitudes,
    Euclidean,
}

impl LpNormalization {
    fn norm<T: Float>(&self, x: &[T]) -> T {
        match self {
            LpNormalization::Magnitudes => sum(x, |x| x.abs()),
            LpNormalization::Euclidean => sum(x, |x| x * x).sqrt(),
        }
    }
}

impl LaneFunction for LpNormalization {
    const DIFFERENTIABLE: bool = true;
    const COST: usize = 1;
    const READS: Reads = Reads::INPUTS;

    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        match self {
            LpNormalization::Magnitudes => vec![("p", AttributeValue::Int(1))],
            LpNormalization::Euclidean => Vec::new(),
        }
    }

    fn forward<T: Float>(&self, x: &[T], y: &mut [T]) {
        let norm = self.norm(x);
        if norm == T::zero() {
            y.fill(T::zero());
            return;
        }
        y.iter_mut().zip(x).for_each(|(y, x)| *y = *x / norm);
    }

    fn backward<T: Float>(&self, x: &[T], dy: &[T], dx: &mut [T]) {
        let norm = self.norm(x);
        if norm == T::zero() {
            dx.fill(T::zero());
            return;
        }
        let along = sum_of(x, dy, |x, dy| x * dy) / norm;
        for ((dx, x), dy) in dx.iter_mut().zip(x).zip(dy) {
            let slope = match self {
                LpNormalization::Magnitudes if *x == T::zero() => T::zero(),
                LpNormalization::Magnitudes => x.signum(),
                LpNormalization::Euclidean => *x / norm,
            };
            *dx = (*dy - slope * along) / norm;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        let x = || Case::new().input(&[2, 2], &[3.0, -4.0, 0.0, 0.0]);
        check(
            "LpNormalization",
            &[
                x().output(&[2, 2], &[0.6, -0.8, 0.0, 0.0]).without_gradient(),
                x().int("p", 1).int("axis", 0).output(&[2, 2], &[1.0, -1.0, 0.0, 0.0]).without_gradient(),
                x().int("p", 2).opset(9).output(&[2, 2], &[0.6, -0.8, 0.0, 0.0]).without_gradient(),
                Case::new().random_input(&[2, 3, 5]).int("axis", 1),
                Case::new().random_input(&[2, 3, 5]).int("axis", 1).int("p", 1),
                Case::new().random_input(&[3, 19]),
                Case::new().random_input(&[3, 0]),
                Case::new().random_input(&[0, 3]).int("axis", 0),
                x().int("p", 3).error("expected 1 or 2, found 3"),
                x().int("axis", 2).error("expected -2 to 1"),
                Case::new().ints(&[1], &[1]).error("expected f32 or f64"),
                x().random_input(&[1]).error("expected 1 inputs"),
            ],
        );
    }
}
