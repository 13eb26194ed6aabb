//! DequantizeLinear: `y = (x − zero point)·scale`.
//!
//! Forward only; 8, 16 and 32 bit integers to f32. ONNX: <https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html>.

use std::marker::PhantomData;

use super::quantized::{Parts, Quantum, Scaling, with_quantum};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::{Forward, Kernel};
use crate::engine::op::{Inputs, Op, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::DType;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "DequantizeLinear", since: 10, parse };

#[derive(Clone, Debug)]
struct DequantizeLinear(Scaling);

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let scaling = Scaling::parse(node)?;
    match scaling.output {
        None | Some(1) => Ok(Box::new(DequantizeLinear(scaling))),
        Some(other) => Err(OpError::NotCovered { what: format!("`output_dtype` {other}") }),
    }
}

impl Op for DequantizeLinear {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        self.0.attributes()
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(2..=3, 1..=1)?;
        let quantum = |dtype| matches!(dtype, DType::U8 | DType::I8 | DType::U16 | DType::I16 | DType::I32);
        let x = inputs.of(0, "u8, i8, u16, i16 or i32", quantum)?;
        inputs.of(1, "f32", |dtype| dtype == DType::F32)?;
        inputs.same_dtype(2, x.dtype)?;
        self.0.check(inputs)?;
        Ok(vec![ValueType::new(DType::F32, x.shape.clone())])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (x, scale) = (signature.input(0)?, signature.input(1)?);
        let parts = self.0.parts(&x.shape, &scale.shape)?;
        with_quantum!(x.dtype, T => Box::new(DequantizeKernel::<T>(parts, PhantomData)))
    }
}

struct DequantizeKernel<T>(Parts, PhantomData<fn(T)>);

impl<T: Quantum> Kernel for DequantizeKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let (x, scale, zero) = (io.input::<T>(0)?, io.input::<f32>(1)?, io.optional_input::<T>(2)?);
        let y = io.output::<f32>(0)?;
        self.0.runs(|first, len, at, step| {
            for (i, (y, x)) in y[first..first + len].iter_mut().zip(&x[first..first + len]).enumerate() {
                let zero = zero.map_or(0, |zero| zero[at + i * step].integer());
                *y = (x.integer() - zero) as f32 * scale[at + i * step];
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        let f32s = |shape: &[usize], values: &[f32]| Tensor::new(shape.to_vec(), values.to_vec()).unwrap();
        let bytes = |shape: &[usize], values: &[u8]| Tensor::new(shape.to_vec(), values.to_vec()).unwrap();
        let one = || Case::new().tensor(bytes(&[4], &[0, 3, 128, 255])).tensor(f32s(&[], &[2.])).without_gradient();
        let rows =
            || Case::new().tensor(bytes(&[2, 2], &[1, 2, 3, 5])).tensor(f32s(&[2], &[1., 10.])).without_gradient();
        check(
            "DequantizeLinear",
            &[
                // The example of the specification.
                one().tensor(bytes(&[], &[128])).output_tensor(f32s(&[4], &[-256., -250., 0., 254.])),
                one().output_tensor(f32s(&[4], &[0., 6., 256., 510.])),
                rows().int("axis", -2).output_tensor(f32s(&[2, 2], &[1., 2., 30., 50.])),
                rows().tensor(bytes(&[2], &[1, 2])).output_tensor(f32s(&[2, 2], &[0., 0., 2., 30.])),
                Case::new()
                    .tensor(bytes(&[1, 3], &[1, 2, 3]))
                    .tensor(f32s(&[1, 2], &[2., 3.]))
                    .int("block_size", 2)
                    .output_tensor(f32s(&[1, 3], &[2., 4., 9.]))
                    .without_gradient(),
                Case::new()
                    .tensor(Tensor::from_vec(vec![-7i32, 1 << 30]))
                    .tensor(f32s(&[], &[0.5]))
                    .output_tensor(f32s(&[2], &[-3.5, 536870912.]))
                    .without_gradient(),
                one().tensor(Tensor::scalar(1i8)).error("input 2: expected u8"),
                one().int("output_dtype", 10).error("`output_dtype` 10 is not covered"),
                rows().tensor(bytes(&[1], &[1])).error("the shape of the scales"),
                Case::new().ints(&[1], &[1]).tensor(f32s(&[], &[1.])).error("input 0: expected u8"),
            ],
        );
    }
}
