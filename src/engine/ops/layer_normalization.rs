//! LayerNormalization: `y = scale·(x - mean) / √(var + epsilon) + bias`, mean and variance over all axes from `axis` on.
//!
//! Scale and bias are broadcast to those axes. Sums are made in the type of `x`, which is at least as wide as `stash_type`
//! asks for. The mean and the reciprocal deviation can be had as outputs 1 and 2; no gradient flows back through them.
//! Derivative: see [`standardize`](super::standardize). ONNX: <https://onnx.ai/onnx/operators/onnx__LayerNormalization.html>.
//! Source: Ba, Kiros and Hinton, arXiv 1607.06450.

use super::axis::{self, Lanes};
use super::broadcast::Walk;
use super::standardize::{Factors, Standardize};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::Kernel;
use crate::engine::kernels::float::with_float;
use crate::engine::op::{Inputs, Op, Reads, Signature, TensorType, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::{DType, Dim, SymbolicShape};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "LayerNormalization", since: 17, parse };

const EPSILON: f32 = 1e-5;

#[derive(Clone, Debug)]
struct LayerNormalization {
    axis: i64,
    epsilon: f32,
    stash: DType,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(LayerNormalization {
        axis: node.int("axis")?.unwrap_or(-1),
        epsilon: node.float("epsilon")?.unwrap_or(EPSILON),
        stash: stash_type(node)?,
    }))
}

/// The type in which statistics are given out; `TensorProto.DataType` by number.
pub fn stash_type(node: &NodeReader<'_>) -> Result<DType, OpError> {
    match node.int("stash_type")? {
        None | Some(1) => Ok(DType::F32),
        Some(11) => Ok(DType::F64),
        Some(found) => Err(OpError::Attribute {
            name: "stash_type".into(),
            expected: "1 (f32) or 11 (f64)".into(),
            found: found.to_string(),
        }),
    }
}

/// The attributes that such operators share, without defaults.
pub fn attributes(axis: i64, epsilon: f32, stash: DType) -> Vec<(&'static str, AttributeValue)> {
    let mut attributes = Vec::new();
    if axis != -1 {
        attributes.push(("axis", AttributeValue::Int(axis)));
    }
    if epsilon != EPSILON {
        attributes.push(("epsilon", AttributeValue::Float(epsilon)));
    }
    if stash == DType::F64 {
        attributes.push(("stash_type", AttributeValue::Int(11)));
    }
    attributes
}

/// Refuses scales and biases (inputs 1 to `last`) that cannot be repeated along the axes that are normalised.
pub fn check_factors(inputs: &Inputs<'_>, axis: i64, last: usize) -> Result<(), OpError> {
    let x = inputs.float(0)?;
    for index in 1..=last {
        inputs.same_dtype(index, x.dtype)?;
        let Some(factors) = inputs.optional(index) else { continue };
        let (Some(dims), Some(found)) = (x.dims(), factors.dims()) else { continue };
        let first = axis::resolve("axis", axis, dims.len())?;
        let fits =
            found.iter().rev().enumerate().all(|(from_end, size)| match dims[first..].iter().rev().nth(from_end) {
                Some(dim) => *size == Dim::Known(1) || dim.accepts(size),
                None => size.known().is_none_or(|size| size == 1),
            });
        if !fits {
            let normalised = SymbolicShape::Ranked(dims[first..].to_vec());
            let expected = format!("a shape that can be repeated to {normalised}, the axes from `axis` on");
            return Err(OpError::Shape { input: index, expected, found: factors.shape.clone() });
        }
    }
    Ok(())
}

/// How the factors of a row lie in a tensor of shape `factors`, which [`check_factors`] accepted.
pub fn factors(x: &TensorType, first: usize, factors: &[usize]) -> Factors {
    let row = &x.shape[first..];
    let factors = &factors[factors.len().saturating_sub(row.len())..];
    Factors::Elements(if factors == row { None } else { Some(Walk::new(row, [factors])) })
}

impl Op for LayerNormalization {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        attributes(self.axis, self.epsilon, self.stash)
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(2..=3, 1..=3)?;
        let x = inputs.float(0)?;
        inputs.required(1)?;
        let statistics = match inputs.dims(0, 1..=usize::MAX)? {
            Some(dims) => {
                let first = axis::resolve("axis", self.axis, dims.len())?;
                let ones = std::iter::repeat_n(Dim::Known(1), dims.len() - first);
                SymbolicShape::Ranked(dims[..first].iter().cloned().chain(ones).collect())
            }
            None => SymbolicShape::Unranked,
        };
        check_factors(inputs, self.axis, 2)?;
        let statistics = ValueType::new(self.stash, statistics);
        Ok(vec![ValueType::new(x.dtype, x.shape.clone()), statistics.clone(), statistics])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (x, scale) = (signature.input(0)?, signature.input(1)?);
        let first = axis::resolve("axis", self.axis, x.shape.len())?;
        if let Some(bias) = signature.optional_input(2)
            && bias.shape != scale.shape
        {
            return Err(OpError::NotCovered { what: "a bias of another shape than the scale".into() });
        }
        let (rows, factors) = (Lanes::from(&x.shape, first), factors(x, first, &scale.shape));
        let wanted = signature.optional_output(1).or(signature.optional_output(2)).is_some();
        let stash = wanted.then_some(self.stash);
        with_float!(x.dtype, T => Box::new(Standardize::<T>::new(rows, true, self.epsilon, factors, stash)))
    }

    fn is_differentiable(&self, _: usize) -> bool {
        true
    }

    fn reads(&self) -> Reads {
        Reads::of(&[0, 1], &[])
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        let x = || Case::new().input(&[2, 2], &[1.0, 3.0, -2.0, 2.0]).float("epsilon", 0.0);
        let random = |shape: &[usize], factors: &[usize]| {
            Case::new().random_input(shape).random_input(factors).random_input(factors)
        };
        check(
            "LayerNormalization",
            &[
                x().input(&[2], &[1.0, 2.0]).input(&[2], &[0.5, 0.0]).output(&[2, 2], &[-0.5, 2.0, -0.5, 2.0]),
                x().input(&[2], &[1.0, 2.0])
                    .output(&[2, 2], &[-1.0, 2.0, -1.0, 2.0])
                    .output_tensor(Tensor::new(vec![2, 1], vec![2.0f32, 0.0]).unwrap())
                    .output_tensor(Tensor::new(vec![2, 1], vec![1.0f32, 0.5]).unwrap())
                    .without_gradient(),
                x().input(&[2], &[1.0, 2.0])
                    .int("stash_type", 11)
                    .output(&[2, 2], &[-1.0, 2.0, -1.0, 2.0])
                    .output_tensor(Tensor::new(vec![2, 1], vec![2.0f64, 0.0]).unwrap())
                    .without_gradient(),
                random(&[3, 5], &[5]),
                random(&[2, 3, 4], &[3, 4]).int("axis", 1),
                random(&[2, 3, 4], &[4]).int("axis", 1),
                random(&[2, 3, 4], &[1, 3, 1]).int("axis", -2),
                random(&[2, 3, 4], &[1]).int("axis", 0),
                random(&[2, 3, 4], &[]).int("axis", 2),
                random(&[2, 40], &[40]).float("epsilon", 0.1),
                random(&[0, 3], &[3]),
                random(&[3, 0], &[0]),
                random(&[3, 0], &[1]),
                random(&[0, 3], &[1]),
                Case::new().random_input(&[2, 0]).random_input(&[0]).output_count(2).without_gradient(),
                random(&[2, 3], &[2]).error("that can be repeated to [3]"),
                random(&[2, 3], &[2, 3]).error("that can be repeated to [3]"),
                random(&[2, 3], &[3]).int("axis", 2).error("expected -2 to 1, found 2"),
                random(&[], &[]).error("expected rank 1 or more"),
                random(&[2, 3], &[3]).int("stash_type", 7).error("1 (f32) or 11 (f64)"),
                random(&[2, 3], &[3]).opset(16).error("not covered"),
                x().error("expected 2 to 3 inputs, found 1"),
                x().ints(&[2], &[1, 1]).error("input 1: expected f"),
                Case::new().ints(&[2], &[1, 1]).ints(&[2], &[1, 1]).error("expected f32 or f64"),
            ],
        );
    }
}
