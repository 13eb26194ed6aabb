//! ReduceMean: `y = Σ x / n` over the axes, `n` elements each; of integers it is rounded towards zero.
//!
//! `dx = dy / n`.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__ReduceMean.html>.

use super::reduce::{Reduce, Reduction};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "ReduceMean", since: 1, parse };

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Reduce::<ReduceMean>::read(node)?))
}

#[derive(Clone, Debug)]
struct ReduceMean;

impl Reduction for ReduceMean {
    const READS: Reads = Reads::NOTHING;

    fn finish<T: Float>(joined: T, _: T, count: usize) -> T {
        joined / T::of(count as f64)
    }

    fn slope<T: Float>(_: T, _: T, _: [T; 2], count: usize) -> T {
        T::of(count as f64).recip()
    }

    fn integer_finish(joined: i128, count: usize) -> i128 {
        joined.checked_div(count as i128).unwrap_or(0)
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
            "ReduceMean",
            &[
                six().output(&[1, 1], &[3.5]),
                six().constant_ints(&[1]).output(&[2, 1], &[2.0, 5.0]),
                six().ints_attribute("axes", &[0]).opset(13).int("keepdims", 0).output(&[3], &[2.5, 3.5, 4.5]),
                Case::new().ints(&[2], &[-2, -3]).output_tensor(Tensor::from_vec(vec![-2i64])),
                Case::new().input(&[1, 0], &[]).output(&[1, 1], &[f64::NAN]),
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
