//! Range: `start`, `start + delta`, … up to (not including) `limit`. It has no derivative.
//!
//! There are `max(⌈(limit − start) / delta⌉, 0)` elements. From version 27 on f16 and bf16 are taken too, computed in the
//! type that `stash_type` names. ONNX: <https://onnx.ai/onnx/operators/onnx__Range.html>.

use std::marker::PhantomData;

use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::cell::Scalar;
use crate::engine::error::OpError;
use crate::engine::kernel::{Forward, Kernel};
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::{DType, Dim, Tensor, bf16, f16};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Range", since: 11, parse };

/// The most elements that a range may have.
const MAX_LEN: f64 = 17_179_869_184.0;

#[derive(Clone, Debug)]
struct Range {
    /// Whether f16 and bf16 are taken.
    halves: bool,
    /// Whether they are computed in f64 instead of f32.
    double: bool,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let halves = node.opset() >= 27;
    let double = match if halves { node.int("stash_type")? } else { None } {
        None | Some(1) => false,
        Some(11) => true,
        Some(found) => {
            let expected = "1 (f32) or 11 (f64)".into();
            return Err(OpError::Attribute { name: "stash_type".into(), expected, found: found.to_string() });
        }
    };
    Ok(Box::new(Range { halves, double }))
}

/// A number of any type that a range may have.
#[derive(Clone, Copy)]
enum Number {
    Integer(i64),
    Real(f64),
}

impl Number {
    fn read(tensor: &Tensor) -> Option<Self> {
        fn first<T: Scalar>(tensor: &Tensor) -> Option<T> {
            tensor.as_slice::<T>().ok()?.first().cloned()
        }
        match tensor.dtype() {
            DType::F32 => first::<f32>(tensor).map(|value| Number::Real(f64::from(value))),
            DType::F64 => first::<f64>(tensor).map(Number::Real),
            DType::F16 => first::<f16>(tensor).map(|value| Number::Real(f64::from(value))),
            DType::BF16 => first::<bf16>(tensor).map(|value| Number::Real(f64::from(value))),
            DType::I16 => first::<i16>(tensor).map(|value| Number::Integer(i64::from(value))),
            DType::I32 => first::<i32>(tensor).map(|value| Number::Integer(i64::from(value))),
            _ => first::<i64>(tensor).map(Number::Integer),
        }
    }
}

fn count(start: Number, limit: Number, delta: Number) -> Result<usize, OpError> {
    let steps = match (start, limit, delta) {
        (Number::Integer(start), Number::Integer(limit), Number::Integer(delta)) if delta != 0 => {
            let (distance, delta) = (i128::from(limit) - i128::from(start), i128::from(delta));
            let (quotient, rest) = (distance / delta, distance % delta);
            // Towards the larger.
            (quotient + i128::from(rest != 0 && (rest > 0) == (delta > 0))) as f64
        }
        (Number::Real(start), Number::Real(limit), Number::Real(delta)) if delta != 0.0 => {
            ((limit - start) / delta).ceil()
        }
        _ => return Err(OpError::Value { input: 2, expected: "another step than 0".into(), found: "0".into() }),
    };
    if steps.is_nan() || steps > MAX_LEN {
        return Err(OpError::TooLarge { shape: format!("[{steps}]") });
    }
    Ok(steps.max(0.0) as usize)
}

impl Op for Range {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        if self.double { vec![("stash_type", AttributeValue::Int(11))] } else { Vec::new() }
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(3..=3, 1..=1)?;
        let accepts = |dtype| match dtype {
            DType::F32 | DType::F64 | DType::I16 | DType::I32 | DType::I64 => true,
            DType::F16 | DType::BF16 => self.halves,
            _ => false,
        };
        let dtype = inputs.of(0, "f32, f64, i16, i32 or i64 (from version 27 on f16 or bf16)", accepts)?.dtype;
        let mut known = Vec::new();
        for index in 0..3 {
            inputs.same_dtype(index, dtype)?;
            let input = inputs.required(index)?;
            if input.sizes().is_some_and(|sizes| !sizes.is_empty() && sizes != [1]) {
                return Err(OpError::Shape { input: index, expected: "one number".into(), found: input.shape.clone() });
            }
            known.extend(input.value.as_ref().and_then(Number::read));
        }
        let [start, limit, delta] = known.as_slice() else {
            return Ok(vec![ValueType::ranked(dtype, vec![Dim::Any])]);
        };
        Ok(vec![ValueType::known(dtype, &[count(*start, *limit, *delta)?])])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        Ok(match signature.output(0)?.dtype {
            DType::F32 => number::<f32>(|start, delta, i| start + delta * i as f32),
            DType::F64 => number::<f64>(|start, delta, i| start + delta * i as f64),
            DType::F16 if self.double => {
                number::<f16>(|start, delta, i| f16::from_f64(f64::from(start) + f64::from(delta) * i as f64))
            }
            DType::F16 => {
                number::<f16>(|start, delta, i| f16::from_f32(f32::from(start) + f32::from(delta) * i as f32))
            }
            DType::BF16 if self.double => {
                number::<bf16>(|start, delta, i| bf16::from_f64(f64::from(start) + f64::from(delta) * i as f64))
            }
            DType::BF16 => {
                number::<bf16>(|start, delta, i| bf16::from_f32(f32::from(start) + f32::from(delta) * i as f32))
            }
            DType::I16 => number::<i16>(|start, delta, i| start.wrapping_add(delta.wrapping_mul(i as i16))),
            DType::I32 => number::<i32>(|start, delta, i| start.wrapping_add(delta.wrapping_mul(i as i32))),
            _ => number::<i64>(|start, delta, i| start.wrapping_add(delta.wrapping_mul(i as i64))),
        })
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[0, 1, 2]
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }
}

fn number<T: Scalar + Copy>(element: fn(T, T, usize) -> T) -> Box<dyn Kernel> {
    Box::new(RangeKernel(element, PhantomData))
}

struct RangeKernel<T>(fn(T, T, usize) -> T, PhantomData<T>);

impl<T: Scalar + Copy> Kernel for RangeKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let first = |values: &[T]| values.first().copied().unwrap_or_default();
        let (start, delta) = (first(io.input::<T>(0)?), first(io.input::<T>(2)?));
        for (i, y) in io.output::<T>(0)?.iter_mut().enumerate() {
            *y = (self.0)(start, delta, i);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::{Tensor, f16};

    #[test]
    fn cases() {
        let ints = |start: i64, limit: i64, delta: i64| {
            Case::new().ints(&[], &[start]).initializer(Tensor::scalar(limit)).ints(&[], &[delta])
        };
        let is = |values: &[i64]| Tensor::from_vec(values.to_vec());
        let reals = |start: f64, limit: f64, delta: f64| {
            Case::new().input(&[], &[start]).input(&[], &[limit]).input(&[], &[delta])
        };
        check(
            "Range",
            &[
                ints(1, 5, 2).output_tensor(is(&[1, 3])),
                ints(1, 6, 2).output_tensor(is(&[1, 3, 5])),
                ints(10, 4, -2).output_tensor(is(&[10, 8, 6])),
                ints(10, 3, -2).output_tensor(is(&[10, 8, 6, 4])),
                ints(3, 3, 1).output_tensor(is(&[])),
                ints(3, 1, 1).output_tensor(is(&[])),
                ints(1, 3, -1).output_tensor(is(&[])),
                ints(i64::MIN, i64::MAX, i64::MAX).output_tensor(is(&[i64::MIN, -1, i64::MAX - 1])),
                reals(1.0, 5.0, 2.0).output(&[2], &[1.0, 3.0]),
                reals(2.0, 0.0, -0.5).output(&[4], &[2.0, 1.5, 1.0, 0.5]),
                Case::new().input(&[1], &[0.0]).input(&[], &[1.0]).input(&[], &[1.0]).output(&[1], &[0.0]),
                Case::new()
                    .opset(27)
                    .tensor(Tensor::scalar(f16::from_f32(1.0)))
                    .tensor(Tensor::scalar(f16::from_f32(2.0)))
                    .tensor(Tensor::scalar(f16::from_f32(0.5)))
                    .int("stash_type", 11)
                    .output_tensor(Tensor::from_vec(vec![f16::from_f32(1.0), f16::from_f32(1.5)])),
                Case::new()
                    .tensor(Tensor::scalar(f16::ONE))
                    .tensor(Tensor::scalar(f16::ONE))
                    .tensor(Tensor::scalar(f16::ONE))
                    .error("input 0: expected f32"),
                ints(1, 5, 1).opset(27).int("stash_type", 7).error("1 (f32) or 11 (f64)"),
                ints(1, 5, 1).int("stash_type", 1).error("attribute `stash_type`"),
                ints(1, 5, 0).error("input 2: expected another step than 0"),
                reals(0.0, 1.0, 0.0).error("another step"),
                reals(0.0, 1.0, 1e-30).error("too large"),
                reals(0.0, f64::NAN, 1.0).error("too large"),
                ints(0, i64::MAX, 1).error("too large"),
                Case::new().input(&[2], &[0.0, 1.0]).input(&[], &[1.0]).input(&[], &[1.0]).error("one number"),
                Case::new().ints(&[], &[1]).input(&[], &[1.0]).input(&[], &[1.0]).error("input 1: expected i64"),
                Case::new().ints(&[], &[1]).error("expected 3 inputs"),
            ],
        );
    }
}
