//! ConvInteger: a convolution of 8-bit integers less their zero points, in i32.
//!
//! Forward only. ONNX: <https://onnx.ai/onnx/operators/onnx__ConvInteger.html>.

use super::conv;
use super::integer_conv::IntegerConvolution;
use super::integer_products::{byte, write_integers};
use super::window::Window;
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::{Forward, Kernel};
use crate::engine::op::{Inputs, Op, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::DType;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "ConvInteger", since: 10, parse };

#[derive(Clone, Debug)]
struct ConvInteger {
    group: usize,
    window: Window,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(ConvInteger { group: conv::group(node)?, window: Window::parse(node)? }))
}

impl Op for ConvInteger {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let mut attributes = self.window.attributes();
        if self.group != 1 {
            attributes.push(("group", AttributeValue::Int(self.group as i64)));
        }
        attributes
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(2..=4, 1..=1)?;
        let (x, w) = (byte(inputs, 0)?, byte(inputs, 1)?);
        inputs.same_dtype(2, x)?;
        inputs.same_dtype(3, w)?;
        Ok(vec![ValueType::new(DType::I32, conv::shape(inputs, [0, 1, usize::MAX], self.group, &self.window)?)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let convolution = IntegerConvolution::new(signature, [0, 2], [1, 3], None, self.group, &self.window)?;
        Ok(Box::new(ConvIntegerKernel(convolution)))
    }
}

struct ConvIntegerKernel(IntegerConvolution);

impl Kernel for ConvIntegerKernel {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        self.0.run(io, None)?;
        write_integers(&self.0.sums, io.output::<i32>(0)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        let bytes = |shape: &[usize], values: &[u8]| Tensor::new(shape.to_vec(), values.to_vec()).unwrap();
        let ints = |shape: &[usize], values: &[i32]| Tensor::new(shape.to_vec(), values.to_vec()).unwrap();
        let square = || {
            Case::new()
                .tensor(bytes(&[1, 1, 3, 3], &[2, 3, 4, 5, 6, 7, 8, 9, 10]))
                .tensor(bytes(&[1, 1, 2, 2], &[1; 4]))
                .without_gradient()
        };
        let line = || Case::new().tensor(bytes(&[1, 1, 3], &[1, 2, 3])).tensor(bytes(&[2, 1, 1], &[1, 5]));
        check(
            "ConvInteger",
            &[
                // The examples of the specification.
                square().tensor(bytes(&[], &[1])).output_tensor(ints(&[1, 1, 2, 2], &[12, 16, 24, 28])),
                square()
                    .tensor(bytes(&[], &[1]))
                    .ints_attribute("pads", &[1, 1, 1, 1])
                    .output_tensor(ints(&[1, 1, 4, 4], &[1, 3, 5, 3, 5, 12, 16, 9, 11, 24, 28, 15, 7, 15, 17, 9])),
                line()
                    .tensor(bytes(&[], &[0]))
                    .tensor(bytes(&[2], &[2, 4]))
                    .output_tensor(ints(&[1, 2, 3], &[-1, -2, -3, 1, 2, 3]))
                    .without_gradient(),
                line().tensor(bytes(&[2], &[0, 0])).error("input 2: expected one value"),
                line().tensor(bytes(&[], &[0])).tensor(bytes(&[3], &[0; 3])).error("input 3: expected one value"),
                line().int("group", 2).error("1 channels in 2 groups"),
                Case::new().ints(&[1, 1, 1], &[1]).ints(&[1, 1, 1], &[1]).error("expected u8 or i8"),
            ],
        );
    }
}
