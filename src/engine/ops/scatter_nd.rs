//! ScatterND: its input, with the slices replaced that the tuples of coordinates in the last axis of `indices` name; or
//! combined with `updates` by sum, product, maximum or minimum.
//!
//! Derivatives: see [`places::scatter`](super::places::scatter).
//! ONNX: <https://onnx.ai/onnx/operators/onnx__ScatterND.html>.

use super::indexing::index_input;
use super::places::{self, Places, Reduction};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::Kernel;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::{Dim, SymbolicShape};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "ScatterND", since: 11, parse };

#[derive(Clone, Debug)]
struct ScatterNd {
    reduction: Reduction,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(ScatterNd { reduction: Reduction::parse(node)? }))
}

impl Op for ScatterNd {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        self.reduction.name().map(|name| ("reduction", AttributeValue::String(name.into()))).into_iter().collect()
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(3..=3, 1..=1)?;
        let x = inputs.required(0)?;
        let (indices, updates) = (index_input(inputs, 1)?, inputs.required(2)?);
        inputs.same_dtype(2, x.dtype)?;
        let (data, tuples) = (inputs.dims(0, 1..=usize::MAX)?, inputs.dims(1, 1..=usize::MAX)?);
        if let (Some(data), Some((last, outer))) = (data, tuples.and_then(<[Dim]>::split_last))
            && let Some(len) = last.known()
        {
            let wrong = || OpError::Shape {
                input: 1,
                expected: format!("at most {} coordinates along its last axis", data.len()),
                found: indices.shape.clone(),
            };
            let rest = data.get(len..).ok_or_else(wrong)?;
            let expected = SymbolicShape::Ranked(outer.iter().chain(rest).cloned().collect());
            if expected.accepts(&updates.shape).is_err() {
                let expected = format!("shape {expected}");
                return Err(OpError::Shape { input: 2, expected, found: updates.shape.clone() });
            }
        }
        Ok(vec![ValueType::new(x.dtype, x.shape.clone())])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (x, indices) = (signature.input(0)?, signature.input(1)?);
        places::scatter(x.dtype, &x.shape, Places::tuples(&x.shape, &indices.shape, 0)?, self.reduction)
    }

    fn is_differentiable(&self, index: usize) -> bool {
        index != 1
    }

    fn reads(&self) -> Reads {
        self.reduction.reads()
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        let line = || Case::new().input(&[4], &[1.0, 2.0, 3.0, 4.0]);
        let twice = || line().ints(&[2, 1], &[1, -3]).input(&[2], &[5.0, 0.5]);
        check(
            "ScatterND",
            &[
                line().ints(&[2, 1], &[3, 0]).input(&[2], &[9.0, 8.0]).output(&[4], &[8.0, 2.0, 3.0, 9.0]),
                line().opset(11).ints(&[1, 1], &[3]).input(&[1], &[9.0]).output(&[4], &[1.0, 2.0, 3.0, 9.0]),
                twice().string("reduction", "add").output(&[4], &[1.0, 7.5, 3.0, 4.0]),
                twice().string("reduction", "mul").output(&[4], &[1.0, 5.0, 3.0, 4.0]),
                twice().string("reduction", "max").output(&[4], &[1.0, 5.0, 3.0, 4.0]),
                twice().string("reduction", "min").output(&[4], &[1.0, 0.5, 3.0, 4.0]),
                line().ints(&[1, 0], &[]).input(&[1, 4], &[9.0; 4]).output(&[4], &[9.0; 4]),
                Case::new().random_input(&[3, 2, 2]).ints(&[2, 1], &[2, 0]).random_input(&[2, 2, 2]),
                Case::new().random_input(&[3, 4]).ints(&[2, 2, 2], &[0, 0, 1, 1, 2, 2, 0, 3]).random_input(&[2, 2]),
                Case::new()
                    .random_input(&[3, 4])
                    .ints(&[3, 1], &[1, 1, 0])
                    .random_input(&[3, 4])
                    .string("reduction", "add"),
                Case::new()
                    .random_input(&[3, 4])
                    .ints(&[3, 1], &[1, 1, 0])
                    .random_input(&[3, 4])
                    .string("reduction", "mul"),
                Case::new()
                    .random_input(&[3, 4])
                    .ints(&[3, 1], &[1, 1, 0])
                    .random_input(&[3, 4])
                    .string("reduction", "max"),
                Case::new().random_input(&[3, 4]).ints(&[0, 1], &[]).random_input(&[0, 4]),
                Case::new()
                    .tensor(Tensor::from_vec(vec![true, true]))
                    .ints(&[1, 1], &[0])
                    .tensor(Tensor::from_vec(vec![false]))
                    .output_tensor(Tensor::from_vec(vec![false, true])),
                line().ints(&[1, 1], &[4]).input(&[1], &[0.0]).error("indices from -4 to below 4"),
                line().ints(&[1, 2], &[0, 0]).input(&[1], &[0.0]).error("at most 1 coordinates"),
                line().ints(&[1, 1], &[0]).input(&[2], &[0.0, 0.0]).error("input 2: expected shape [1]"),
                line().ints(&[1, 1], &[0]).ints(&[1], &[0]).error("input 2: expected f"),
                twice().string("reduction", "sum").error("none, add, mul, max or min"),
                twice().opset(13).string("reduction", "add").error("attribute `reduction`"),
                line().error("expected 3 inputs"),
            ],
        );
    }
}
