//! QLinearConv: a convolution of quantized numbers, quantized again:
//! `Y = saturate(round((X'∗W' + B)·(x scale · w scale / y scale)) + y zero point)` of integers less their zero points.
//!
//! Forward only. ONNX: <https://onnx.ai/onnx/operators/onnx__QLinearConv.html>.

use super::conv;
use super::integer_conv::IntegerConvolution;
use super::integer_products::{Requantize, byte, single};
use super::window::Window;
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::{Forward, Kernel};
use crate::engine::op::{Inputs, Op, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::DType;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "QLinearConv", since: 10, parse };

#[derive(Clone, Debug)]
struct QLinearConv {
    group: usize,
    window: Window,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(QLinearConv { group: conv::group(node)?, window: Window::parse(node)? }))
}

impl Op for QLinearConv {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let mut attributes = self.window.attributes();
        if self.group != 1 {
            attributes.push(("group", AttributeValue::Int(self.group as i64)));
        }
        attributes
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(8..=9, 1..=1)?;
        for (index, zero) in [(0, 2), (3, 5)] {
            let dtype = byte(inputs, index)?;
            inputs.required(zero)?;
            inputs.same_dtype(zero, dtype)?;
        }
        for scale in [1, 4, 6] {
            inputs.of(scale, "f32", |dtype| dtype == DType::F32)?;
        }
        inputs.same_dtype(8, DType::I32)?;
        Ok(vec![ValueType::new(byte(inputs, 7)?, conv::shape(inputs, [0, 3, 8], self.group, &self.window)?)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        single(signature, 1)?;
        let convolution = IntegerConvolution::new(signature, [0, 2], [3, 5], Some(8), self.group, &self.window)?;
        let channels = signature.output(0)?.shape.len() - 1;
        Ok(Box::new(QLinearConvKernel(convolution, Requantize::new(signature, [1, 4, 6, 7], [1, channels])?)))
    }
}

struct QLinearConvKernel(IntegerConvolution, Requantize);

impl Kernel for QLinearConvKernel {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        self.0.run(io, io.optional_input::<i32>(8)?)?;
        self.1.write(io, &self.0.sums)
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        let bytes = |shape: &[usize], values: &[u8]| Tensor::new(shape.to_vec(), values.to_vec()).unwrap();
        let f32s = |values: &[f32]| Tensor::from_vec(values.to_vec());
        let case = |x_scale: &[f32], w_scale: &[f32], y_scale: &[f32]| {
            Case::new()
                .tensor(bytes(&[1, 1, 3], &[1, 2, 3]))
                .tensor(f32s(x_scale))
                .tensor(bytes(&[], &[1]))
                .tensor(bytes(&[2, 1, 1], &[4, 8]))
                .tensor(f32s(w_scale))
                .tensor(bytes(&[2], &[0, 4]))
                .tensor(f32s(y_scale))
                .tensor(bytes(&[], &[10]))
                .without_gradient()
        };
        check(
            "QLinearConv",
            &[
                // The integers are 0, 4, 8 for both filters.
                case(&[0.5], &[1.0], &[1.0]).output_tensor(bytes(&[1, 2, 3], &[10, 12, 14, 10, 12, 14])),
                case(&[0.5], &[1.0, 100.0], &[1.0]).output_tensor(bytes(&[1, 2, 3], &[10, 12, 14, 10, 210, 255])),
                case(&[1.0], &[1.0], &[2.0])
                    .tensor(Tensor::from_vec(vec![2i32, -100]))
                    .output_tensor(bytes(&[1, 2, 3], &[11, 13, 15, 0, 0, 0])),
                case(&[1.0; 2], &[1.0], &[1.0]).error("input 1: expected one value"),
                case(&[1.0], &[1.0; 3], &[1.0]).error("input 4: expected one value"),
                case(&[1.0], &[1.0], &[1.0; 2]).error("input 6: expected one value"),
                case(&[1.0], &[1.0], &[1.0])
                    .tensor(Tensor::from_vec(vec![1i32]))
                    .error("2 values, one for each filter"),
                case(&[1.0], &[1.0], &[1.0]).tensor(Tensor::from_vec(vec![1u8, 2])).error("input 8: expected i32"),
                case(&[1.0], &[1.0], &[1.0]).int("group", 2).error("1 channels in 2 groups"),
            ],
        );
    }
}
