//! Compress: the slices along `axis` (without it, the elements of the flattened input) where `condition` is true.
//!
//! The gradient is put back in place, among zeros. How many slices there are depends on the condition's value, so the
//! graph is compiled anew for each that it takes. ONNX: <https://onnx.ai/onnx/operators/onnx__Compress.html>.

use super::rearrange::{Axis, Fill, Rearrange, attribute_axis, kernel, product, strides};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::Kernel;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::{DType, Dim, SymbolicShape};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Compress", since: 9, parse };

#[derive(Clone, Debug)]
struct Compress {
    axis: Option<i64>,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Compress { axis: node.int("axis")? }))
}

impl Op for Compress {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        self.axis.iter().map(|axis| ("axis", AttributeValue::Int(*axis))).collect()
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(2..=2, 1..=1)?;
        let x = inputs.required(0)?;
        let condition = inputs.of(1, "bool", |dtype| dtype == DType::Bool)?;
        let given = inputs.dims(1, 1..=1)?.and_then(|dims| dims.first().and_then(Dim::known));
        let chosen = condition.value.as_ref().and_then(|value| value.as_slice::<bool>().ok());
        let chosen = chosen.map_or(Dim::Any, |chosen| Dim::Known(chosen.iter().filter(|chosen| **chosen).count()));
        let mut dims = match (self.axis, x.dims()) {
            (None, Some(dims)) => vec![product(dims)?],
            (None, None) => vec![Dim::Any],
            (Some(_), Some(dims)) => dims.to_vec(),
            (Some(_), None) => return Ok(vec![ValueType::new(x.dtype, SymbolicShape::Unranked)]),
        };
        let axis = attribute_axis("axis", self.axis.unwrap_or(0), dims.len())?;
        if let (Some(size), Some(given)) = (dims[axis].known(), given)
            && given > size
        {
            let expected = format!("at most {size} elements");
            return Err(OpError::Shape { input: 1, expected, found: condition.shape.clone() });
        }
        dims[axis] = chosen;
        Ok(vec![ValueType::ranked(x.dtype, dims)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (x, condition, y) = (signature.input(0)?, signature.input(1)?, signature.output(0)?);
        let chosen = condition.value.as_ref().and_then(|value| value.as_slice::<bool>().ok());
        let chosen = chosen.ok_or_else(|| OpError::Plan { what: "the condition is not known".into() })?;
        let shape = if self.axis.is_none() { vec![x.len()] } else { x.shape.clone() };
        let chosen_axis = attribute_axis("axis", self.axis.unwrap_or(0), shape.len())?;
        let axes = shape.iter().zip(strides(&shape)).enumerate().map(|(axis, (size, stride))| {
            if axis != chosen_axis {
                return Axis::whole(stride, *size);
            }
            Axis::new(
                stride,
                chosen.iter().enumerate().filter(|(_, chosen)| **chosen).map(|(position, _)| Some(position)),
            )
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
        let x = || Case::new().input(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let bools = |values: &[bool]| Tensor::from_vec(values.to_vec());
        check(
            "Compress",
            &[
                x().tensor(bools(&[false, true, true])).int("axis", 0).output(&[2, 2], &[3.0, 4.0, 5.0, 6.0]),
                x().initializer(bools(&[false, true])).int("axis", -1).output(&[3, 1], &[2.0, 4.0, 6.0]),
                x().tensor(bools(&[false, true, false, false, true])).output(&[2], &[2.0, 5.0]),
                x().tensor(bools(&[false])).int("axis", 0).output(&[0, 2], &[]),
                x().tensor(bools(&[])).int("axis", 1).output(&[3, 0], &[]),
                Case::new().random_input(&[2, 5, 3]).tensor(bools(&[true, true, false, true])).int("axis", 1),
                Case::new().random_input(&[]).tensor(bools(&[true])),
                Case::new()
                    .tensor(Tensor::from_vec(vec!["a".to_string(), "b".to_string()]))
                    .tensor(bools(&[false, true]))
                    .output_tensor(Tensor::from_vec(vec!["b".to_string()])),
                x().tensor(bools(&[true; 4])).int("axis", 0).error("at most 3 elements"),
                x().tensor(bools(&[true])).int("axis", 2).error("an axis of rank 2"),
                x().ints(&[1], &[1]).error("input 1: expected bool"),
                x().tensor(Tensor::new(vec![1, 1], vec![true]).unwrap()).error("expected rank 1"),
                x().error("expected 2 inputs"),
            ],
        );
    }
}
