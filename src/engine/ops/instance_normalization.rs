//! InstanceNormalization: `y = scale[c]·(x - mean) / √(var + epsilon) + bias[c]`, mean and variance over the positions of
//! each channel of each sample.
//!
//! Derivative: see [`standardize`](super::standardize).
//! ONNX: <https://onnx.ai/onnx/operators/onnx__InstanceNormalization.html>. Source: Ulyanov et al., arXiv 1607.08022.

use super::axis::Lanes;
use super::standardize::{Factors, Standardize};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::Kernel;
use crate::engine::kernels::float::with_float;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::Dim;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "InstanceNormalization", since: 6, parse };

const EPSILON: f32 = 1e-5;

#[derive(Clone, Debug)]
struct InstanceNormalization {
    epsilon: f32,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(InstanceNormalization { epsilon: node.float("epsilon")?.unwrap_or(EPSILON) }))
}

/// Refuses a scale or a bias (inputs 1 and 2) that is not a vector of `count`, of the type of `x`.
pub fn check_vectors(inputs: &Inputs<'_>, count: &Dim) -> Result<(), OpError> {
    let dtype = inputs.float(0)?.dtype;
    for index in 1..3 {
        inputs.same_dtype(index, dtype)?;
        if let Some([found]) = inputs.dims(index, 1..=1)?
            && !count.accepts(found)
        {
            let (expected, found) = (format!("[{count}]"), inputs.required(index)?.shape.clone());
            return Err(OpError::Shape { input: index, expected, found });
        }
    }
    Ok(())
}

impl Op for InstanceNormalization {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        if self.epsilon == EPSILON { Vec::new() } else { vec![("epsilon", AttributeValue::Float(self.epsilon))] }
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(3..=3, 1..=1)?;
        let x = inputs.float(0)?;
        let channels = inputs.dims(0, 2..=usize::MAX)?.and_then(|dims| dims.get(1)).cloned().unwrap_or(Dim::Any);
        check_vectors(inputs, &channels)?;
        Ok(vec![ValueType::new(x.dtype, x.shape.clone())])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let x = signature.input(0)?;
        let rows = Lanes::from(&x.shape, 2);
        let factors = Factors::Runs { length: rows.len, count: x.shape.get(1).copied().unwrap_or(1) };
        with_float!(x.dtype, T => Box::new(Standardize::<T>::new(rows, true, self.epsilon, factors, None)))
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

    #[test]
    fn cases() {
        let random = |shape: &[usize], factors: usize| {
            Case::new().random_input(shape).random_input(&[factors]).random_input(&[factors])
        };
        check(
            "InstanceNormalization",
            &[
                Case::new()
                    .input(&[1, 2, 2], &[1.0, 3.0, -2.0, 2.0])
                    .input(&[2], &[1.0, 2.0])
                    .input(&[2], &[0.5, 0.0])
                    .float("epsilon", 0.0)
                    .output(&[1, 2, 2], &[-0.5, 1.5, -2.0, 2.0]),
                random(&[2, 3, 4, 5], 3),
                random(&[2, 3, 7], 3).opset(7).float("epsilon", 0.5),
                random(&[2, 3], 3),
                random(&[0, 3, 2], 3),
                random(&[2, 3, 0], 3),
                random(&[2, 0, 2], 0),
                random(&[2, 3, 4], 2).error("input 1: expected [3]"),
                random(&[3], 3).error("expected rank 2 or more"),
                Case::new().random_input(&[2, 3, 4]).random_input(&[3]).error("expected 3 inputs, found 2"),
                Case::new()
                    .random_input(&[2, 3, 4])
                    .random_input(&[3])
                    .ints(&[3], &[1, 2, 3])
                    .error("input 2: expected f"),
                Case::new().random_input(&[2, 3, 4]).random_input(&[3]).random_input(&[1, 3]).error("expected rank 1"),
            ],
        );
    }
}
