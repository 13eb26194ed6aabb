//! ReduceSum: `y = Σ x` over the axes.
//!
//! `dx = dy`.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__ReduceSum.html>.

use super::reduce::{Reduce, Reduction};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "ReduceSum", since: 1, parse };

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Reduce::<ReduceSum>::read(node)?))
}

#[derive(Clone, Debug)]
struct ReduceSum;

impl Reduction for ReduceSum {
    const READS: Reads = Reads::NOTHING;
    const AXES_ARE_INPUT_SINCE: i64 = 13;

    fn slope<T: Float>(_: T, _: T, _: [T; 2], _: usize) -> T {
        T::one()
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
            "ReduceSum",
            &[
                six().output(&[1, 1], &[21.0]),
                six().int("keepdims", 0).output(&[], &[21.0]),
                six().constant_ints(&[1]).output(&[2, 1], &[6.0, 15.0]),
                six().constant_ints(&[-2]).int("keepdims", 0).output(&[3], &[5.0, 7.0, 9.0]),
                six().ints(&[1], &[0]).int("keepdims", 0).output(&[3], &[5.0, 7.0, 9.0]),
                six().ints_attribute("axes", &[1]).opset(12).output(&[2, 1], &[6.0, 15.0]),
                six().constant_ints(&[]).output(&[1, 1], &[21.0]),
                six()
                    .constant_ints(&[])
                    .int("noop_with_empty_axes", 1)
                    .output(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
                Case::new().input(&[2, 0], &[]).constant_ints(&[1]).output(&[2, 1], &[0.0, 0.0]),
                Case::new().ints(&[2], &[i64::MAX, 2]).output_tensor(Tensor::from_vec(vec![i64::MIN + 1])),
                Case::new().tensor(Tensor::from_vec(vec![200u8, 100])).output_tensor(Tensor::from_vec(vec![44u8])),
                Case::new().random_input(&[2, 3, 4, 5]).constant_ints(&[1, 3]),
                Case::new().random_input(&[3, 35]).constant_ints(&[-1]).int("keepdims", 0),
                Case::new().random_input(&[3, 4, 2]).constant_ints(&[0]),
                Case::new().random_input(&[2, 2]),
                Case::new().random_input(&[]),
                Case::new().random_input(&[0, 3]).constant_ints(&[1]),
                Case::new().random_input(&[2, 3]).constant_ints(&[]).int("noop_with_empty_axes", 1),
                six().constant_ints(&[2]).error("axes of -2 to 1, found 2"),
                six().constant_ints(&[1, -1]).error("each axis once"),
                six().ints_attribute("axes", &[0, 0]).opset(11).error("each axis once"),
                six().ints_attribute("axes", &[1]).error("attribute `axes`"),
                six().constant_ints(&[1]).opset(12).error("expected 1 inputs, found 2"),
                six().int("keepdims", 2).error("expected 0 or 1"),
                Case::new().tensor(Tensor::from_vec(vec![true])).error("expected f32, f64 or an integer"),
                six().random_input(&[1]).error("input 1: expected i64 or i32"),
            ],
        );
    }
}
