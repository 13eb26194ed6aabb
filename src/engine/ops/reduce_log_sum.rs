//! ReduceLogSum: `y = log Σ x` over the axes.
//!
//! `dx = dy / exp(y)`.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__ReduceLogSum.html>.

use super::reduce::{Reduce, Reduction};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "ReduceLogSum", since: 1, parse };

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Reduce::<ReduceLogSum>::read(node)?))
}

#[derive(Clone, Debug)]
struct ReduceLogSum;

impl Reduction for ReduceLogSum {
    const READS: Reads = Reads::OUTPUTS;

    fn finish<T: Float>(joined: T, _: T, _: usize) -> T {
        joined.ln()
    }

    fn slope<T: Float>(_: T, y: T, _: [T; 2], _: usize) -> T {
        (-y).exp()
    }

    fn integer_finish(joined: i128, _: usize) -> i128 {
        (joined as f64).ln() as i128
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    fn positive(shape: &[usize]) -> Tensor {
        let count: usize = shape.iter().product();
        Tensor::new(shape.to_vec(), (0..count).map(|i| 0.5 + (i * 7 % 13) as f64).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn cases() {
        let six = || Case::new().input(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        check(
            "ReduceLogSum",
            &[
                six().constant_ints(&[1]).output(&[2, 1], &[6f64.ln(), 15f64.ln()]),
                six().ints_attribute("axes", &[1]).opset(13).int("keepdims", 0).output(&[2], &[6f64.ln(), 15f64.ln()]),
                Case::new().ints(&[2], &[20, 4]).output_tensor(Tensor::from_vec(vec![3i64])),
                Case::new().input(&[2, 0], &[]).constant_ints(&[1]).output(&[2, 1], &[f64::NEG_INFINITY; 2]),
                Case::new().tensor(positive(&[2, 3, 4, 5])).constant_ints(&[1, 3]),
                Case::new().tensor(positive(&[3, 35])).constant_ints(&[-1]).int("keepdims", 0),
                Case::new().tensor(positive(&[3, 4, 2])).constant_ints(&[0]),
                Case::new().tensor(positive(&[2, 2])),
                Case::new().tensor(positive(&[])),
                Case::new().random_input(&[0, 3]).constant_ints(&[1]),
                Case::new().tensor(positive(&[2, 3])).constant_ints(&[]).int("noop_with_empty_axes", 1),
                six().constant_ints(&[2]).error("axes of -2 to 1, found 2"),
            ],
        );
    }
}
