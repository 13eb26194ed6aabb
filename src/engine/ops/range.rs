//! Range: `start`, `start + delta`, … up to (not including) `limit`. It has no derivative.
//!
//! There are `max(⌈(limit − start) / delta⌉, 0)` elements. ONNX: <https://onnx.ai/onnx/operators/onnx__Range.html>.

use std::marker::PhantomData;

use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::cell::Scalar;
use crate::engine::error::OpError;
use crate::engine::kernel::{Forward, Kernel};
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::tensor::{DType, Dim, Tensor};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Range", since: 11, parse };

/// The most elements that a range may have.
const MAX_LEN: f64 = 17_179_869_184.0;

#[derive(Clone, Debug)]
struct Range;

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Range))
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
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(3..=3, 1..=1)?;
        let numbers = [DType::F32, DType::F64, DType::I16, DType::I32, DType::I64];
        let dtype = inputs.of(0, "f32, f64, i16, i32 or i64", |dtype| numbers.contains(&dtype))?.dtype;
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
            DType::F32 => Box::new(RangeKernel::<f32>(|start, delta, i| start + delta * i as f32, PhantomData)),
            DType::F64 => Box::new(RangeKernel::<f64>(|start, delta, i| start + delta * i as f64, PhantomData)),
            DType::I16 => integer::<i16>(|start, delta, i| start.wrapping_add(delta.wrapping_mul(i as i16))),
            DType::I32 => integer::<i32>(|start, delta, i| start.wrapping_add(delta.wrapping_mul(i as i32))),
            _ => integer::<i64>(|start, delta, i| start.wrapping_add(delta.wrapping_mul(i as i64))),
        })
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[0, 1, 2]
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }
}

fn integer<T: Scalar + Copy>(element: fn(T, T, usize) -> T) -> Box<dyn Kernel> {
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
    use crate::tensor::Tensor;

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
