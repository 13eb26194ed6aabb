//! ReduceL1: `y = Σ |x|` over the axes.
//!
//! `dx = dy · sign(x)`.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__ReduceL1.html>.

use super::reduce::{Reduce, Reduction};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "ReduceL1", since: 1, parse };

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Reduce::<ReduceL1>::read(node)?))
}

#[derive(Clone, Debug)]
struct ReduceL1;

impl Reduction for ReduceL1 {
    const READS: Reads = Reads::INPUTS;

    fn map<T: Float>(x: T) -> T {
        x.abs()
    }

    fn slope<T: Float>(x: T, _: T, _: [T; 2], _: usize) -> T {
        if x == T::zero() { T::zero() } else { x.signum() }
    }

    fn integer_map(x: i128) -> i128 {
        x.abs()
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
            "ReduceL1",
            &[
                Case::new().input(&[2, 2], &[1.0, -2.0, -3.0, 4.0]).constant_ints(&[1]).output(&[2, 1], &[3.0, 7.0]),
                six().ints_attribute("axes", &[0]).opset(11).int("keepdims", 0).output(&[3], &[5.0, 7.0, 9.0]),
                Case::new().ints(&[2], &[-3, 4]).output_tensor(Tensor::from_vec(vec![7i64])),
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
