//! Transpose: axis `i` of the output is axis `perm[i]` of the input; without `perm` the order is reversed.
//!
//! The gradient is permuted back. ONNX: <https://onnx.ai/onnx/operators/onnx__Transpose.html>.

use super::permute;
use super::rearrange::distinct_axes;
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::Kernel;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Transpose", since: 1, parse };

#[derive(Clone, Debug)]
struct Transpose {
    order: Option<Vec<i64>>,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Transpose { order: node.ints("perm")? }))
}

impl Transpose {
    fn order(&self, rank: usize) -> Result<Vec<usize>, OpError> {
        let Some(order) = &self.order else { return Ok((0..rank).rev().collect()) };
        let axes = distinct_axes(None, order, rank).ok();
        axes.filter(|axes| axes.len() == rank && order.iter().all(|axis| *axis >= 0)).ok_or_else(|| {
            OpError::Attribute {
                name: "perm".into(),
                expected: format!("an order of the {rank} axes of its input"),
                found: format!("{order:?}"),
            }
        })
    }
}

impl Op for Transpose {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        self.order.iter().map(|order| ("perm", AttributeValue::Ints(order.clone()))).collect()
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(1..=1, 1..=1)?;
        let x = inputs.required(0)?;
        let Some(dims) = x.dims() else { return Ok(vec![ValueType::new(x.dtype, x.shape.clone())]) };
        let order = self.order(dims.len())?;
        Ok(vec![ValueType::ranked(x.dtype, order.iter().map(|axis| dims[*axis].clone()).collect())])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let x = signature.input(0)?;
        permute::kernel(x.dtype, &x.shape, &self.order(x.shape.len())?)
    }

    fn is_differentiable(&self, _: usize) -> bool {
        true
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
        let x = || Case::new().input(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        check(
            "Transpose",
            &[
                x().output(&[3, 2], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]),
                x().ints_attribute("perm", &[0, 1]).output(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
                Case::new()
                    .tensor(Tensor::new(vec![1, 2], vec!["a".to_string(), "b".to_string()]).unwrap())
                    .output_tensor(Tensor::new(vec![2, 1], vec!["a".to_string(), "b".to_string()]).unwrap()),
                Case::new().random_input(&[2, 3, 4]).ints_attribute("perm", &[1, 2, 0]),
                Case::new().random_input(&[2, 3, 4]).ints_attribute("perm", &[1, 0, 2]),
                Case::new().random_input(&[2, 1, 3, 2]).ints_attribute("perm", &[0, 3, 1, 2]),
                Case::new().random_input(&[17, 18]),
                Case::new().random_input(&[3, 0, 2]),
                Case::new().random_input(&[]),
                x().ints_attribute("perm", &[0]).error("an order of the 2 axes"),
                x().ints_attribute("perm", &[0, 0]).error("an order of the 2 axes"),
                x().ints_attribute("perm", &[0, -1]).error("an order of the 2 axes"),
                x().int("perm", 0).error("expected integers"),
                x().random_input(&[2]).error("expected 1 inputs"),
            ],
        );
    }
}
