//! Div: `y = a/b`, with broadcasting; integers are divided towards zero (by zero: zero). Derivatives: `1/b` and `−y/b`,
//! summed over what was repeated.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Div.html>.

use super::binary::{Binary, Broadcast, Integer};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Div", since: 7, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Broadcast::<Div>::new()))
}

#[derive(Clone, Debug)]
struct Div;

impl Binary for Div {
    const READS: Reads = Reads::of(&[1], &[0]);

    fn integer<T: Integer>(a: T, b: T) -> T {
        a.div(b)
    }

    #[inline(always)]
    fn value<T: Float>(a: T, b: T) -> T {
        a / b
    }

    #[inline(always)]
    fn derivatives<T: Float>(_: T, b: T, y: T) -> (T, T) {
        (T::one() / b, -(y / b))
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        check(
            "Div",
            &[
                Case::new()
                    .input(&[2], &[1.0, 2.0])
                    .input(&[2, 1], &[2.0, -4.0])
                    .output(&[2, 2], &[0.5, 1.0, -0.25, -0.5]),
                Case::new()
                    .input(&[3], &[1.0, -1.0, 0.0])
                    .input(&[], &[0.0])
                    .output(&[3], &[f64::INFINITY, f64::NEG_INFINITY, f64::NAN])
                    .without_gradient(),
                Case::new()
                    .ints(&[4], &[7, -7, i64::MIN, 5])
                    .ints(&[4], &[2, 2, -1, 0])
                    .output_tensor(Tensor::from_vec(vec![3, -3, i64::MIN, 0])),
                Case::new().random_input(&[2, 3, 4]).random_input(&[3, 1]),
                Case::new().random_input(&[3, 1]).random_input(&[2, 3, 4]),
                Case::new().random_input(&[1, 4]).random_input(&[3, 1]),
                Case::new().random_input(&[5, 300]).random_input(&[300]),
                Case::new().random_input(&[2, 3, 17]).random_input(&[1, 3, 1]),
                Case::new().random_input(&[2, 1, 2, 1, 2]).random_input(&[1, 3, 1, 3, 1]),
                Case::new().random_input(&[]).random_input(&[2, 300]),
                Case::new().random_input(&[0, 3]).random_input(&[3]),
                Case::new().random_input(&[]).random_input(&[]),
                Case::new().random_input(&[2]).random_input(&[3]).error("cannot be broadcast"),
                Case::new().random_input(&[2]).ints(&[2], &[1, 2]).error("input 1: expected f"),
                Case::new().tensor(Tensor::from_vec(vec![true])).random_input(&[1]).error("f32, f64 or an integer"),
                Case::new().random_input(&[2]).error("expected 2 inputs, found 1"),
            ],
        );
    }
}
