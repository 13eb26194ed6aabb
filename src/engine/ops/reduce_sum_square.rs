//! ReduceSumSquare: `y = Σ x²` over the axes.
//!
//! `dx = 2·x·dy`.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__ReduceSumSquare.html>.

use super::reduce::{Reduce, Reduction};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "ReduceSumSquare", since: 1, parse };

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Reduce::<ReduceSumSquare>::read(node)?))
}

#[derive(Clone, Debug)]
struct ReduceSumSquare;

impl Reduction for ReduceSumSquare {
    const READS: Reads = Reads::INPUTS;

    fn map<T: Float>(x: T) -> T {
        x * x
    }

    fn slope<T: Float>(x: T, _: T, _: [T; 2], _: usize) -> T {
        x + x
    }

    fn integer_map(x: i128) -> i128 {
        x.wrapping_mul(x)
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        let six = || Case::new().input(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        check(
            "ReduceSumSquare",
            &[
                six().constant_ints(&[1]).output(&[2, 1], &[14.0, 77.0]),
                six().ints_attribute("axes", &[1]).opset(13).int("keepdims", 0).output(&[2], &[14.0, 77.0]),
                Case::new().ints(&[2], &[3, -4]).output_tensor(Tensor::from_vec(vec![25i64])),
                Case::new().input(&[2, 0], &[]).constant_ints(&[1]).output(&[2, 1], &[0.0, 0.0]),
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
