//! QuantizeLinear: `y = saturate(round(x / scale) + zero point)`, halves rounded to the even integer.
//!
//! Forward only; 8 and 16 bit integers. ONNX: <https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html>.

use std::marker::PhantomData;

use super::quantized::{Parts, Quantum, Scaling, round, with_quantum, written};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::{Forward, Kernel};
use crate::engine::op::{Inputs, Op, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::DType;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "QuantizeLinear", since: 10, parse };

#[derive(Clone, Debug)]
struct QuantizeLinear(Scaling);

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    // Of 8-bit floating-point numbers alone.
    node.flag("saturate", true)?;
    match node.int("precision")? {
        None | Some(0 | 1) => Ok(Box::new(QuantizeLinear(Scaling::parse(node)?))),
        Some(other) => Err(OpError::NotCovered { what: format!("`precision` {other}") }),
    }
}

impl Op for QuantizeLinear {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        self.0.attributes()
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(2..=3, 1..=1)?;
        let x = inputs.of(0, "f32 or i32", |dtype| matches!(dtype, DType::F32 | DType::I32))?;
        inputs.of(1, "f32", |dtype| dtype == DType::F32)?;
        let quantum = |dtype| matches!(dtype, DType::U8 | DType::I8 | DType::U16 | DType::I16);
        let zero = match inputs.optional(2) {
            None => None,
            Some(_) => Some(inputs.of(2, "u8, i8, u16 or i16", quantum)?.dtype),
        };
        self.0.check(inputs)?;
        Ok(vec![ValueType::new(written(self.0.output, zero)?, x.shape.clone())])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (x, scale, y) = (signature.input(0)?, signature.input(1)?, signature.output(0)?);
        let (parts, integers) = (self.0.parts(&x.shape, &scale.shape)?, x.dtype == DType::I32);
        with_quantum!(y.dtype, T => Box::new(QuantizeKernel::<T> { parts, integers, kind: PhantomData }))
    }
}

struct QuantizeKernel<T> {
    parts: Parts,
    integers: bool,
    kind: PhantomData<fn(T)>,
}

impl<T: Quantum> QuantizeKernel<T> {
    fn run<X: Copy>(&self, x: &[X], scale: &[f32], zero: Option<&[T]>, y: &mut [T], number: impl Fn(X) -> f32) {
        self.parts.runs(|first, len, at, step| {
            for (i, (y, x)) in y[first..first + len].iter_mut().zip(&x[first..first + len]).enumerate() {
                let zero = zero.map_or(0, |zero| zero[at + i * step].integer());
                *y = T::saturated(round(number(*x) / scale[at + i * step]).saturating_add(zero));
            }
        });
    }
}

impl<T: Quantum> Kernel for QuantizeKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let (scale, zero, y) = (io.input::<f32>(1)?, io.optional_input::<T>(2)?, io.output::<T>(0)?);
        match self.integers {
            true => self.run(io.input::<i32>(0)?, scale, zero, y, |x| x as f32),
            false => self.run(io.input::<f32>(0)?, scale, zero, y, |x| x),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    fn f32s(shape: &[usize], values: &[f32]) -> Tensor {
        Tensor::new(shape.to_vec(), values.to_vec()).unwrap()
    }

    #[test]
    fn cases() {
        let bytes = |shape: &[usize], values: &[u8]| Tensor::new(shape.to_vec(), values.to_vec()).unwrap();
        let one = || {
            Case::new()
                .tensor(f32s(&[6], &[0., 2., 3., 1000., -254., -1000.]))
                .tensor(f32s(&[], &[2.]))
                .without_gradient()
        };
        let rows = || Case::new().tensor(f32s(&[2, 2], &[1., 2., 3., 50.])).tensor(f32s(&[2], &[1., 10.]));
        check(
            "QuantizeLinear",
            &[
                // The example of the specification; a half goes to the even integer.
                one().tensor(bytes(&[], &[128])).output_tensor(bytes(&[6], &[128, 129, 130, 255, 1, 0])),
                one().output_tensor(bytes(&[6], &[0, 1, 2, 255, 0, 0])),
                one().int("output_dtype", 3).output_tensor(Tensor::from_vec(vec![0i8, 1, 2, 127, -127, -128])),
                one().int("output_dtype", 5).output_tensor(Tensor::from_vec(vec![0i16, 1, 2, 500, -127, -500])),
                rows().int("axis", 0).output_tensor(bytes(&[2, 2], &[1, 2, 0, 5])),
                rows().output_tensor(bytes(&[2, 2], &[1, 0, 3, 5])),
                Case::new()
                    .tensor(f32s(&[1, 3], &[2., 4., 9.]))
                    .tensor(f32s(&[1, 2], &[2., 3.]))
                    .int("block_size", 2)
                    .output_tensor(bytes(&[1, 3], &[1, 2, 3])),
                Case::new()
                    .tensor(Tensor::from_vec(vec![7i32, -7]))
                    .tensor(f32s(&[], &[2.]))
                    .tensor(bytes(&[], &[10]))
                    .output_tensor(bytes(&[2], &[14, 6])),
                Case::new()
                    .tensor(f32s(&[2], &[f32::NAN, f32::INFINITY]))
                    .tensor(f32s(&[], &[1.]))
                    .output_tensor(bytes(&[2], &[0, 255])),
                rows().tensor(bytes(&[], &[1])).error("the shape of the scales"),
                rows().int("axis", 2).error("`axis`: expected an axis of 2 dimensions"),
                rows().int("block_size", 2).error("for blocks of 2"),
                rows().int("block_size", -1).error("`block_size`"),
                one().int("output_dtype", 17).error("`output_dtype` 17 is not covered"),
                one().tensor(bytes(&[], &[1])).int("output_dtype", 3).error("input 2: expected i8"),
                one().int("precision", 10).error("`precision` 10 is not covered"),
                Case::new().tensor(f32s(&[2, 3], &[0.; 6])).tensor(f32s(&[2], &[1.; 2])).error("or 3 along axis 1"),
                Case::new().ints(&[1], &[1]).tensor(f32s(&[], &[1.])).error("input 0: expected f32 or i32"),
            ],
        );
    }
}
