//! Squeeze: axes of size 1 are left out: those named, or all of them. The gradient is reshaped back.
//!
//! `axes` is an attribute below version 13, an input from there on.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Squeeze.html>.

use super::rearrange::distinct_axes;
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::Kernel;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::{Dim, SymbolicShape};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Squeeze", since: 1, parse };

#[derive(Clone, Debug)]
struct Squeeze {
    /// Whether the axes are an input.
    input: bool,
    axes: Option<Vec<i64>>,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let input = node.opset() >= 13;
    Ok(Box::new(Squeeze { input, axes: if input { None } else { node.ints("axes")? } }))
}

impl Op for Squeeze {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        self.axes.iter().map(|axes| ("axes", AttributeValue::Ints(axes.clone()))).collect()
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(1..=if self.input { 2 } else { 1 }, 1..=1)?;
        let x = inputs.required(0)?;
        let unknown = |shape| Ok(vec![ValueType::new(x.dtype, shape)]);
        let axes = match inputs.optional(1) {
            None => self.axes.clone(),
            Some(_) => match inputs.integers(1)? {
                Some(axes) => Some(axes),
                None => return unknown(SymbolicShape::Unranked),
            },
        };
        let Some(dims) = x.dims() else { return unknown(SymbolicShape::Unranked) };
        let Some(axes) = axes else {
            if dims.iter().any(|dim| dim.known().is_none()) {
                return unknown(SymbolicShape::Unranked);
            }
            let kept = dims.iter().filter(|dim| **dim != Dim::Known(1)).cloned();
            return Ok(vec![ValueType::ranked(x.dtype, kept.collect())]);
        };
        let axes = distinct_axes(self.input.then_some(1), &axes, dims.len())?;
        if let Some(axis) = axes.iter().find(|axis| !dims[**axis].accepts(&Dim::Known(1))) {
            let expected = format!("size 1 along axis {axis}, which is to be left out");
            return Err(OpError::Shape { input: 0, expected, found: x.shape.clone() });
        }
        let kept = dims.iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
        Ok(vec![ValueType::ranked(x.dtype, kept.map(|(_, dim)| dim.clone()).collect())])
    }

    fn build(&self, _: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        Err(OpError::Plan { what: "a view has no kernel".into() })
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

    fn is_view(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        let x = || Case::new().input(&[1, 3, 1, 1], &[1.0, 2.0, 3.0]);
        let three = [1.0, 2.0, 3.0];
        check(
            "Squeeze",
            &[
                x().output(&[3], &three),
                x().constant_ints(&[0]).output(&[3, 1, 1], &three),
                x().constant_ints(&[-1, 0]).output(&[3, 1], &three),
                x().ints(&[1], &[2]).output(&[1, 3, 1], &three),
                x().constant_ints(&[]).output(&[1, 3, 1, 1], &three),
                x().opset(11).ints_attribute("axes", &[0, -1]).output(&[3, 1], &three),
                x().opset(7).output(&[3], &three),
                Case::new().input(&[], &[1.0]).output(&[], &[1.0]),
                Case::new().input(&[1, 0], &[]).output(&[0], &[]),
                Case::new().ints(&[1, 1], &[1]).output_tensor(crate::tensor::Tensor::scalar(1i64)),
                x().constant_ints(&[1]).error("expected size 1 along axis 1"),
                x().constant_ints(&[4]).error("different axes of rank 4"),
                x().constant_ints(&[0, -4]).error("different axes of rank 4"),
                x().input(&[1], &[0.0]).error("expected i64 or i32"),
                x().ints_attribute("axes", &[0]).error("attribute `axes`"),
                x().opset(11).constant_ints(&[0]).error("expected 1 inputs, found 2"),
                x().opset(11).ints_attribute("axes", &[9]).error("attribute `axes`"),
            ],
        );
    }
}
