//! Sub: `y = a − b`, with broadcasting. Derivatives: 1 and −1, summed over what was repeated.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Sub.html>.

use super::binary::{Binary, Broadcast, Integer};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Sub", since: 7, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Broadcast::<Sub>::new()))
}

#[derive(Clone, Debug)]
struct Sub;

impl Binary for Sub {
    const READS: Reads = Reads::NOTHING;

    fn integer<T: Integer>(a: T, b: T) -> T {
        a.sub(b)
    }

    #[inline(always)]
    fn value<T: Float>(a: T, b: T) -> T {
        a - b
    }

    #[inline(always)]
    fn derivatives<T: Float>(_: T, _: T, _: T) -> (T, T) {
        (T::one(), -T::one())
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        check(
            "Sub",
            &[
                Case::new()
                    .input(&[2], &[1.0, 2.0])
                    .input(&[2, 1], &[10.0, 20.0])
                    .output(&[2, 2], &[-9.0, -8.0, -19.0, -18.0]),
                Case::new()
                    .ints(&[2], &[1, i64::MIN])
                    .ints(&[], &[1])
                    .output_tensor(Tensor::from_vec(vec![0, i64::MAX])),
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
