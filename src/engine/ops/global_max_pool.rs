//! GlobalMaxPool: the largest element of each plane; a NaN counts as the largest. The gradient goes to the first of them.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__GlobalMaxPool.html>.

use super::global_pool::{Global, GlobalPool};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "GlobalMaxPool", since: 1, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(GlobalPool(Largest)))
}

#[derive(Clone, Debug)]
struct Largest;

impl Global for Largest {
    const READS: Reads = Reads::of(&[0], &[0]);

    fn value<T: Float>(&self, x: &[T]) -> T {
        x.iter().fold(T::neg_infinity(), |best, x| if *x > best || x.is_nan() { *x } else { best })
    }

    fn gradient<T: Float>(&self, x: &[T], y: T, dy: T, dx: &mut [T]) {
        dx.fill(T::zero());
        if let Some(winner) = x.iter().position(|x| *x == y || x.is_nan()) {
            dx[winner] = dy;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        check(
            "GlobalMaxPool",
            &[
                Case::new().input(&[1, 2, 2], &[-1., -2., 3., 5.]).output(&[1, 2, 1], &[-1., 5.]),
                Case::new().input(&[1, 1, 3], &[1., f64::NAN, 2.]).output(&[1, 1, 1], &[f64::NAN]).without_gradient(),
                Case::new().random_input(&[2, 3, 5, 7]),
                Case::new().random_input(&[0, 3, 5]),
                Case::new().random_input(&[1, 3, 0]).error("planes that are not empty"),
                Case::new().random_input(&[3]).error("expected rank 2 or more"),
                Case::new().random_input(&[1, 1, 2]).int("p", 2).error("attribute `p`"),
            ],
        );
    }
}
