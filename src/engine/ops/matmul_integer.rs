//! MatMulInteger: the product of two matrices of 8-bit integers less their zero points, in i32.
//!
//! Forward only. ONNX: <https://onnx.ai/onnx/operators/onnx__MatMulInteger.html>.

use super::integer_matmul::{self, IntegerProduct};
use super::integer_products::{byte, write_integers};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::{Forward, Kernel};
use crate::engine::op::{Inputs, Op, Signature, ValueType};
use crate::tensor::DType;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "MatMulInteger", since: 10, parse };

#[derive(Clone, Debug)]
struct MatMulInteger;

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(MatMulInteger))
}

impl Op for MatMulInteger {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(2..=4, 1..=1)?;
        let (a, b) = (byte(inputs, 0)?, byte(inputs, 1)?);
        inputs.same_dtype(2, a)?;
        inputs.same_dtype(3, b)?;
        Ok(vec![ValueType::new(DType::I32, integer_matmul::shape(inputs, 0, 1)?)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        Ok(Box::new(MatMulIntegerKernel(IntegerProduct::new(signature, [0, 2], [1, 3])?)))
    }
}

struct MatMulIntegerKernel(IntegerProduct);

impl Kernel for MatMulIntegerKernel {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        self.0.run(io)?;
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
        let case = |a: Tensor, b: Tensor| Case::new().tensor(a).tensor(b).without_gradient();
        let square = || case(bytes(&[2, 2], &[1, 2, 3, 4]), bytes(&[2, 2], &[5, 6, 7, 8]));
        check(
            "MatMulInteger",
            &[
                // The example of the specification.
                case(bytes(&[4, 3], &[11, 7, 3, 10, 6, 2, 9, 5, 1, 8, 4, 0]), bytes(&[3, 2], &[1, 4, 2, 5, 3, 6]))
                    .tensor(bytes(&[1], &[12]))
                    .tensor(bytes(&[1], &[0]))
                    .output_tensor(ints(&[4, 2], &[-38, -83, -44, -98, -50, -113, -56, -128])),
                square().output_tensor(ints(&[2, 2], &[19, 22, 43, 50])),
                // One for each row of the left, one for each column of the right.
                square()
                    .tensor(bytes(&[2], &[1, 3]))
                    .tensor(bytes(&[2], &[5, 6]))
                    .output_tensor(ints(&[2, 2], &[2, 2, 2, 2])),
                case(bytes(&[2, 1, 2], &[1, 2, 3, 4]), bytes(&[2], &[1, 1])).output_tensor(ints(&[2, 1], &[3, 7])),
                case(bytes(&[2], &[1, 2]), bytes(&[2, 2, 1], &[1, 1, 2, 2])).output_tensor(ints(&[2, 1], &[3, 6])),
                case(bytes(&[0, 2], &[]), bytes(&[2, 1], &[1, 1])).output_tensor(ints(&[0, 1], &[])),
                case(bytes(&[1, 2], &[1, 1]), bytes(&[3, 1], &[1; 3])).error("expected 2 rows"),
                square().tensor(bytes(&[3], &[1; 3])).error("input 2: expected one value"),
                square().tensor(Tensor::scalar(1i8)).error("input 2: expected u8"),
                Case::new().ints(&[1, 1], &[1]).ints(&[1, 1], &[1]).error("input 0: expected u8 or i8"),
            ],
        );
    }
}
