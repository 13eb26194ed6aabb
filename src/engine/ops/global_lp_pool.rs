//! GlobalLpPool: the `p`-norm of each plane. `dX = dY·sign(X)·(|X|/Y)^(p−1)`.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__GlobalLpPool.html>.

use super::global_pool::{Global, GlobalPool};
use super::lp_norm;
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};
use crate::onnx::AttributeValue;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "GlobalLpPool", since: 2, parse };

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(GlobalPool(Norm { p: lp_norm::order(node)? })))
}

#[derive(Clone, Debug)]
struct Norm {
    p: u16,
}

impl Global for Norm {
    const READS: Reads = Reads::ALL;

    fn value<T: Float>(&self, x: &[T]) -> T {
        lp_norm::root(x.iter().map(|x| lp_norm::power(*x, self.p)).sum(), self.p)
    }

    fn gradient<T: Float>(&self, x: &[T], y: T, dy: T, dx: &mut [T]) {
        for (dx, x) in dx.iter_mut().zip(x) {
            *dx = dy * lp_norm::derivative(*x, y, self.p);
        }
    }

    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        if self.p == 2 { Vec::new() } else { vec![("p", AttributeValue::Int(self.p.into()))] }
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        check(
            "GlobalLpPool",
            &[
                Case::new().input(&[1, 2, 2], &[3., -4., 0., 5.]).output(&[1, 2, 1], &[5., 5.]),
                Case::new().input(&[1, 1, 2], &[3., -4.]).int("p", 1).output(&[1, 1, 1], &[7.]),
                Case::new().random_input(&[2, 3, 5, 7]).int("p", 3),
                Case::new().random_input(&[0, 3, 5]),
                Case::new().random_input(&[1, 3, 2]).int("p", -1).error("`p`: expected an integer from 1"),
                Case::new().random_input(&[3]).error("expected rank 2 or more"),
            ],
        );
    }
}
