//! CenterCropPad: along `axes` (all, unless given) as much around the centre as `shape` says, zeros beyond the input.
//!
//! Where what is taken away or put on is odd, one more is so at the end. The gradient is put back in place.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__CenterCropPad.html>.

use super::rearrange::{Axis, Fill, Rearrange, distinct_axes, kernel, strides};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::Kernel;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::{Dim, SymbolicShape};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "CenterCropPad", since: 18, parse };

#[derive(Clone, Debug)]
struct CenterCropPad {
    axes: Option<Vec<i64>>,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(CenterCropPad { axes: node.ints("axes")? }))
}

impl Op for CenterCropPad {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        self.axes.iter().map(|axes| ("axes", AttributeValue::Ints(axes.clone()))).collect()
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(2..=2, 1..=1)?;
        let x = inputs.required(0)?;
        let target = inputs.integers(1)?;
        let Some(dims) = x.dims() else { return Ok(vec![ValueType::new(x.dtype, SymbolicShape::Unranked)]) };
        let axes = match &self.axes {
            Some(axes) => distinct_axes(None, axes, dims.len())?,
            None => (0..dims.len()).collect(),
        };
        let mut dims = dims.to_vec();
        let Some(target) = target else {
            axes.into_iter().for_each(|axis| dims[axis] = Dim::Any);
            return Ok(vec![ValueType::ranked(x.dtype, dims)]);
        };
        let sizes: Option<Vec<usize>> = target.iter().map(|size| usize::try_from(*size).ok()).collect();
        let sizes = sizes.filter(|sizes| sizes.len() == axes.len()).ok_or_else(|| OpError::Value {
            input: 1,
            expected: format!("{} sizes, one for each axis", axes.len()),
            found: format!("{target:?}"),
        })?;
        for (axis, size) in axes.into_iter().zip(sizes) {
            dims[axis] = Dim::Known(size);
        }
        Ok(vec![ValueType::ranked(x.dtype, dims)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (x, y) = (signature.input(0)?, signature.output(0)?);
        let axes = x.shape.iter().zip(&y.shape).zip(strides(&x.shape)).map(|((given, size), stride)| {
            let (taken, put) = (given.saturating_sub(*size) / 2, size.saturating_sub(*given) / 2);
            let position = |at: usize| (at + taken).checked_sub(put).filter(|position| position < given);
            Axis::new(stride, (0..*size).map(position))
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
        let x = || Case::new().input(&[4], &[1.0, 2.0, 3.0, 4.0]);
        check(
            "CenterCropPad",
            &[
                x().constant_ints(&[2]).output(&[2], &[2.0, 3.0]),
                x().constant_ints(&[1]).output(&[1], &[2.0]),
                x().ints(&[1], &[7]).output(&[7], &[0.0, 1.0, 2.0, 3.0, 4.0, 0.0, 0.0]),
                x().constant_ints(&[0]).output(&[0], &[]),
                Case::new().random_input(&[4, 5, 3]).constant_ints(&[3, 6]).ints_attribute("axes", &[-1, 0]),
                Case::new().random_input(&[4, 5]).constant_ints(&[6, 2]),
                Case::new().random_input(&[0, 2]).constant_ints(&[2, 2]),
                Case::new()
                    .tensor(Tensor::from_vec(vec!["a".to_string()]))
                    .constant_ints(&[2])
                    .output_tensor(Tensor::from_vec(vec!["a".to_string(), String::new()])),
                x().constant_ints(&[1, 1]).error("1 sizes, one for each axis"),
                x().constant_ints(&[-1]).error("1 sizes, one for each axis"),
                x().constant_ints(&[1]).ints_attribute("axes", &[1]).error("different axes of rank 1"),
                x().constant_ints(&[i64::MAX]).error("which is more than"),
                x().input(&[1], &[1.0]).error("expected i64 or i32"),
                x().opset(17).constant_ints(&[1]).error("CenterCropPad"),
            ],
        );
    }
}
