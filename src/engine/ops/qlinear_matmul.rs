//! QLinearMatMul: the product of two quantized matrices, quantized again:
//! `Y = saturate(round(A'·B'·(a scale · b scale / y scale)) + y zero point)` of integers less their zero points.
//!
//! Forward only. ONNX: <https://onnx.ai/onnx/operators/onnx__QLinearMatMul.html>.

use super::integer_matmul::{self, IntegerProduct};
use super::integer_products::{Requantize, byte};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::{Forward, Kernel};
use crate::engine::op::{Inputs, Op, Signature, ValueType};
use crate::tensor::DType;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "QLinearMatMul", since: 10, parse };

#[derive(Clone, Debug)]
struct QLinearMatMul;

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(QLinearMatMul))
}

impl Op for QLinearMatMul {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(8..=8, 1..=1)?;
        for (index, zero) in [(0, 2), (3, 5)] {
            let dtype = byte(inputs, index)?;
            inputs.required(zero)?;
            inputs.same_dtype(zero, dtype)?;
        }
        for scale in [1, 4, 6] {
            inputs.of(scale, "f32", |dtype| dtype == DType::F32)?;
        }
        Ok(vec![ValueType::new(byte(inputs, 7)?, integer_matmul::shape(inputs, 0, 3)?)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let product = IntegerProduct::new(signature, [0, 2], [3, 5])?;
        Ok(Box::new(QLinearMatMulKernel(product, Requantize::new(signature, [1, 4, 6, 7], [2, 1])?)))
    }
}

struct QLinearMatMulKernel(IntegerProduct, Requantize);

impl Kernel for QLinearMatMulKernel {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        self.0.run(io)?;
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
        let case = |a_scale: &[f32], y_scale: &[f32], y_zero: Tensor| {
            Case::new()
                .tensor(bytes(&[2, 2], &[1, 2, 3, 4]))
                .tensor(f32s(a_scale))
                .tensor(bytes(&[], &[1]))
                .tensor(bytes(&[2, 2], &[5, 6, 7, 8]))
                .tensor(f32s(&[2.0]))
                .tensor(bytes(&[], &[0]))
                .tensor(f32s(y_scale))
                .tensor(y_zero)
                .without_gradient()
        };
        check(
            "QLinearMatMul",
            &[
                // The integers are 7, 8, 31, 36.
                case(&[0.5], &[2.0], bytes(&[], &[10])).output_tensor(bytes(&[2, 2], &[14, 14, 26, 28])),
                case(&[1.0, 10.0], &[2.0], bytes(&[], &[0])).output_tensor(bytes(&[2, 2], &[7, 8, 255, 255])),
                case(&[1.0], &[2.0], Tensor::scalar(100i8))
                    .output_tensor(Tensor::new(vec![2, 2], vec![107i8, 108, 127, 127]).unwrap()),
                case(&[1.0; 3], &[2.0], bytes(&[], &[0])).error("input 1: expected one value"),
                case(&[1.0], &[2.0; 2], bytes(&[], &[0])).error("input 6: expected one value"),
                case(&[1.0], &[2.0], Tensor::scalar(1i32)).error("input 7: expected u8 or i8"),
                Case::new().tensor(bytes(&[1, 1], &[1])).error("expected 8 inputs"),
            ],
        );
    }
}
