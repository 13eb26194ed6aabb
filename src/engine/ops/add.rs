//! Add: `y = a + b`, with broadcasting. Derivatives: 1 and 1, summed over what was repeated.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Add.html>.

use super::binary::{Binary, Broadcast, Integer};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Add", since: 7, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Broadcast::<Add>::new()))
}

#[derive(Clone, Debug)]
struct Add;

impl Binary for Add {
    const READS: Reads = Reads::NOTHING;

    fn integer<T: Integer>(a: T, b: T) -> T {
        a.add(b)
    }

    #[inline(always)]
    fn value<T: Float>(a: T, b: T) -> T {
        a + b
    }

    #[inline(always)]
    fn derivatives<T: Float>(_: T, _: T, _: T) -> (T, T) {
        (T::one(), T::one())
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        check(
            "Add",
            &[
                Case::new()
                    .input(&[2], &[1.0, 2.0])
                    .input(&[2, 1], &[10.0, 20.0])
                    .output(&[2, 2], &[11.0, 12.0, 21.0, 22.0]),
                Case::new()
                    .ints(&[2], &[1, i64::MAX])
                    .ints(&[], &[1])
                    .output_tensor(Tensor::from_vec(vec![2, i64::MIN])),
                Case::new().random_input(&[2, 3, 4]).random_input(&[3, 1]),
                Case::new().random_input(&[0, 3]).random_input(&[3]),
                Case::new().random_input(&[]).random_input(&[]),
                Case::new().random_input(&[2]).random_input(&[3]).error("cannot be broadcast"),
                Case::new().random_input(&[2]).ints(&[2], &[1, 2]).error("input 1: expected f"),
                Case::new().random_input(&[2]).error("expected 2 inputs, found 1"),
                Case::new().random_input(&[2]).random_input(&[2]).int("axis", 1).error("attribute `axis`"),
            ],
        );
    }
}
