//! GlobalAveragePool: the mean of each plane. The gradient is shared evenly.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__GlobalAveragePool.html>.

use super::global_pool::{Global, GlobalPool};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::kernels::convolution::sum;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "GlobalAveragePool", since: 1, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(GlobalPool(Average)))
}

#[derive(Clone, Debug)]
struct Average;

impl Global for Average {
    const READS: Reads = Reads::NOTHING;

    fn value<T: Float>(&self, x: &[T]) -> T {
        sum(x) / T::of(x.len() as f64)
    }

    fn gradient<T: Float>(&self, _: &[T], _: T, dy: T, dx: &mut [T]) {
        dx.fill(dy / T::of(dx.len() as f64));
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        check(
            "GlobalAveragePool",
            &[
                Case::new().input(&[1, 2, 2], &[1., 2., 3., 5.]).output(&[1, 2, 1], &[1.5, 4.]),
                Case::new().random_input(&[2, 3, 5, 7]),
                Case::new().random_input(&[2, 1, 2, 3, 2, 2]),
                Case::new().random_input(&[0, 3, 5]),
                Case::new().random_input(&[1, 3, 0]).error("planes that are not empty"),
                Case::new().random_input(&[3]).error("expected rank 2 or more"),
                Case::new().ints(&[1, 1, 1], &[1]).error("expected f32 or f64"),
                Case::new().random_input(&[1, 1, 2]).int("p", 2).error("attribute `p`"),
            ],
        );
    }
}
