//! Expand: its input repeated to the shape that it and `shape` broadcast to. The gradient is summed over the repeats.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Expand.html>.

use super::broadcast;
use super::rearrange::{Axis, Fill, Rearrange, kernel, strides};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::Kernel;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::tensor::{Dim, SymbolicShape};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Expand", since: 8, parse };

/// The most axes that a result of unknown sizes may have.
const MAX_RANK: usize = 64;

#[derive(Clone, Debug)]
struct Expand;

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Expand))
}

impl Op for Expand {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(2..=2, 1..=1)?;
        let x = inputs.required(0)?;
        let shape = match (inputs.integers(1)?, inputs.required(1)?.dims()) {
            (Some(target), _) => {
                let sizes: Option<Vec<usize>> = target.iter().map(|size| usize::try_from(*size).ok()).collect();
                let wrong = || OpError::Value { input: 1, expected: "sizes".into(), found: format!("{target:?}") };
                SymbolicShape::known(&sizes.ok_or_else(wrong)?)
            }
            (None, Some([Dim::Known(rank)])) if *rank <= MAX_RANK => SymbolicShape::Ranked(vec![Dim::Any; *rank]),
            (None, _) => SymbolicShape::Unranked,
        };
        let together = broadcast::shapes(&x.shape, &shape)?;
        Ok(vec![ValueType::new(x.dtype, together)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (x, y) = (signature.input(0)?, signature.output(0)?);
        let places = strides(&x.shape);
        let new = y.shape.len() - x.shape.len().min(y.shape.len());
        let axes = y.shape.iter().enumerate().map(|(axis, size)| match axis.checked_sub(new) {
            Some(axis) if x.shape[axis] != 1 => Axis::whole(places[axis], *size),
            _ => Axis::new(0, (0..*size).map(|_| Some(0))),
        });
        kernel(x, Rearrange::new(&y.shape, axes), Fill::Number(0.0))
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1]
    }

    fn is_differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        let x = || Case::new().input(&[3, 1], &[1.0, 2.0, 3.0]);
        check(
            "Expand",
            &[
                x().constant_ints(&[3, 2]).output(&[3, 2], &[1.0, 1.0, 2.0, 2.0, 3.0, 3.0]),
                x().ints(&[2], &[3, 2]).output(&[3, 2], &[1.0, 1.0, 2.0, 2.0, 3.0, 3.0]),
                x().constant_ints(&[1]).output(&[3, 1], &[1.0, 2.0, 3.0]),
                x().constant_ints(&[]).output(&[3, 1], &[1.0, 2.0, 3.0]),
                x().ints(&[0], &[]).output(&[3, 1], &[1.0, 2.0, 3.0]),
                x().constant_ints(&[2, 1, 2])
                    .output(&[2, 3, 2], &[1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0]),
                Case::new()
                    .tensor(Tensor::scalar("a".to_string()))
                    .constant_ints(&[2])
                    .output_tensor(Tensor::from_vec(vec!["a".to_string(); 2])),
                Case::new().random_input(&[2, 1, 3, 1]).constant_ints(&[2, 2, 1, 4, 3, 5]),
                Case::new().random_input(&[1, 3]).constant_ints(&[0, 3]),
                Case::new().random_input(&[]).constant_ints(&[2, 2]),
                x().constant_ints(&[2, 2]).error("cannot be broadcast"),
                x().constant_ints(&[-1, 2]).error("input 1: expected sizes"),
                x().input(&[2], &[3.0, 2.0]).error("expected i64 or i32"),
                x().error("expected 2 inputs"),
            ],
        );
    }
}
