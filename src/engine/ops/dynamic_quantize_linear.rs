//! DynamicQuantizeLinear: quantizes to u8 with a scale and a zero point that cover the elements and zero, and returns both:
//! `scale = (max − min) / 255`, `zero point = saturate(round(−min / scale))`.
//!
//! Forward only. ONNX: <https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html>.

use super::quantized::{Quantum, round};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::{Forward, Kernel};
use crate::engine::op::{Inputs, Op, Signature, ValueType};
use crate::tensor::DType;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "DynamicQuantizeLinear", since: 11, parse };

#[derive(Clone, Debug)]
struct DynamicQuantizeLinear;

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(DynamicQuantizeLinear))
}

impl Op for DynamicQuantizeLinear {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(1..=1, 1..=3)?;
        let x = inputs.of(0, "f32", |dtype| dtype == DType::F32)?;
        let bytes = ValueType::new(DType::U8, x.shape.clone());
        Ok(vec![bytes, ValueType::known(DType::F32, &[]), ValueType::known(DType::U8, &[])])
    }

    fn build(&self, _: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        Ok(Box::new(DynamicKernel))
    }
}

struct DynamicKernel;

impl Kernel for DynamicKernel {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let x = io.input::<f32>(0)?;
        let (least, most) = x.iter().fold((0.0f32, 0.0f32), |(least, most), x| (least.min(*x), most.max(*x)));
        let scale = if most == least { 1.0 / 255.0 } else { (most - least) / 255.0 };
        let zero = u8::saturated(round(-least / scale));
        if let Some(y) = io.optional_output::<u8>(0)? {
            for (y, x) in y.iter_mut().zip(x) {
                *y = u8::saturated(round(*x / scale).saturating_add(zero.integer()));
            }
        }
        if let Some(to) = io.optional_output::<f32>(1)? {
            to.fill(scale);
        }
        if let Some(to) = io.optional_output::<u8>(2)? {
            to.fill(zero);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        let case = |x: &[f32], y: &[u8], scale: f32, zero: u8| {
            Case::new()
                .tensor(Tensor::from_vec(x.to_vec()))
                .output_tensor(Tensor::from_vec(y.to_vec()))
                .output_tensor(Tensor::scalar(scale))
                .output_tensor(Tensor::scalar(zero))
                .without_gradient()
        };
        check(
            "DynamicQuantizeLinear",
            &[
                // The examples of the specification.
                case(&[0., 2., -3., -2.5, 1.34, 0.5], &[153, 255, 0, 26, 221, 179], 0.019607844, 153),
                case(&[-1., -2.1, -1.3, -2.5, -3.34, -4.], &[191, 121, 172, 96, 42, 0], 0.015686275, 255),
                case(&[0., 0.], &[0, 0], 1.0 / 255.0, 0),
                case(&[], &[], 1.0 / 255.0, 0),
                Case::new().ints(&[1], &[1]).error("expected f32"),
            ],
        );
    }
}
