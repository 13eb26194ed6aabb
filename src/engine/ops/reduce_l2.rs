//! ReduceL2: `y = √(Σ x²)` over the axes.
//!
//! `dx = dy · x / y`, and 0 where `y` is 0.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__ReduceL2.html>.

use super::reduce::{Reduce, Reduction};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "ReduceL2", since: 1, parse };

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Reduce::<ReduceL2>::read(node)?))
}

#[derive(Clone, Debug)]
struct ReduceL2;

impl Reduction for ReduceL2 {
    const READS: Reads = Reads::ALL;

    fn map<T: Float>(x: T) -> T {
        x * x
    }

    fn finish<T: Float>(joined: T, _: T, _: usize) -> T {
        joined.sqrt()
    }

    fn slope<T: Float>(x: T, y: T, _: [T; 2], _: usize) -> T {
        if y == T::zero() { T::zero() } else { x / y }
    }

    fn integer_map(x: i128) -> i128 {
        x.wrapping_mul(x)
    }

    fn integer_finish(joined: i128, _: usize) -> i128 {
        (joined as f64).sqrt() as i128
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
            "ReduceL2",
            &[
                Case::new()
                    .input(&[2, 2], &[3.0, -4.0, 0.0, 0.0])
                    .constant_ints(&[1])
                    .output(&[2, 1], &[5.0, 0.0])
                    .without_gradient(),
                Case::new().input(&[2], &[3.0, 4.0]).ints_attribute("axes", &[0]).opset(11).output(&[1], &[5.0]),
                Case::new().ints(&[2], &[3, 4]).output_tensor(Tensor::from_vec(vec![5i64])),
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
