//! ArgMin: where along an axis the smallest element is; of equal ones the first, or the last with `select_last_index`.
//!
//! NaN counts as the smallest. There is no derivative. ONNX: <https://onnx.ai/onnx/operators/onnx__ArgMin.html>.

use super::arg_reduce::{ArgReduce, Choice};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::op::Op;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "ArgMin", since: 1, parse };

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(ArgReduce::<ArgMin>::read(node)?))
}

#[derive(Clone, Debug)]
struct ArgMin;

impl Choice for ArgMin {
    fn better<T: PartialOrd>(candidate: T, best: T) -> bool {
        candidate < best
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        let x = || Case::new().input(&[2, 3], &[1.0, 3.0, 1.0, 5.0, 0.0, 2.0]);
        let indices = |shape: &[usize], values: &[i64]| Tensor::new(shape.to_vec(), values.to_vec()).unwrap();
        check(
            "ArgMin",
            &[
                x().int("axis", 1).output_tensor(indices(&[2, 1], &[0, 1])),
                x().int("axis", -1)
                    .int("keepdims", 0)
                    .int("select_last_index", 1)
                    .output_tensor(indices(&[2], &[2, 1])),
                x().output_tensor(indices(&[1, 3], &[0, 1, 0])),
                x().opset(9).int("keepdims", 0).output_tensor(indices(&[3], &[0, 1, 0])),
                Case::new()
                    .input(&[2, 2, 2], &[0.0, 9.0, 9.0, 0.0, 4.0, 4.0, 4.0, 4.0])
                    .int("axis", 1)
                    .output_tensor(indices(&[2, 1, 2], &[0, 1, 0, 0])),
                Case::new().input(&[4], &[1.0, f64::NAN, f64::NAN, 0.0]).output_tensor(indices(&[1], &[1])),
                Case::new()
                    .input(&[4], &[1.0, f64::NAN, f64::NAN, 0.0])
                    .int("select_last_index", 1)
                    .output_tensor(indices(&[1], &[2])),
                Case::new().tensor(Tensor::from_vec(vec![3i8, -2])).output_tensor(indices(&[1], &[1])),
                Case::new().input(&[0, 3], &[]).int("axis", 1).output_tensor(indices(&[0, 1], &[])),
                Case::new().input(&[0, 3], &[]).error("at least one element along axis 0"),
                x().int("axis", 2).error("expected -2 to 1, found 2"),
                x().int("select_last_index", 1).opset(11).error("attribute `select_last_index`"),
                Case::new().tensor(Tensor::from_vec(vec![true])).error("expected f32, f64 or an integer"),
                Case::new().input(&[], &[1.0]).error("a scalar has none"),
                x().output_count(2).error("expected 1 outputs, found 2"),
            ],
        );
    }
}
