//! Clip: `y = min(max(x, low), high)`, for integers too; where low is above high, the result is high.
//!
//! The bounds are inputs 1 and 2 (scalars, each may be left out), before version 11 the attributes `min` and `max`.
//! Derivative with respect to x: 1 where x lies between the bounds or on one, else 0; there is none with respect to the
//! bounds. ONNX: <https://onnx.ai/onnx/operators/onnx__Clip.html>.

use std::marker::PhantomData;

use super::binary::{Integer, number, with_integer};
use super::unary::pieces;
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::cell::Scalar;
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::with_float;
use crate::engine::kernels::math::vectorised;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::DType;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Clip", since: 6, parse };

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let attributes = node.opset() < 11;
    Ok(Box::new(match attributes {
        true => Clip { attributes, low: node.float("min")?, high: node.float("max")? },
        false => Clip { attributes, low: None, high: None },
    }))
}

#[derive(Clone, Debug)]
struct Clip {
    /// Whether the bounds are attributes.
    attributes: bool,
    low: Option<f32>,
    high: Option<f32>,
}

impl Op for Clip {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let bounds = [("min", self.low), ("max", self.high)];
        bounds.into_iter().filter_map(|(name, bound)| Some((name, AttributeValue::Float(bound?)))).collect()
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(if self.attributes { 1..=1 } else { 1..=3 }, 1..=1)?;
        let x = if self.attributes { inputs.float(0)? } else { number(inputs, 0)? };
        for index in 1..inputs.len() {
            inputs.same_dtype(index, x.dtype)?;
            let Some(bound) = inputs.optional(index) else { continue };
            // The specification says scalar; tensors of one element are common.
            if bound.sizes().is_some_and(|sizes| sizes.iter().any(|size| *size != 1)) {
                return Err(OpError::Shape { input: index, expected: "a scalar".into(), found: bound.shape.clone() });
            }
        }
        Ok(vec![ValueType::new(x.dtype, x.shape.clone())])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let dtype = signature.input(0)?.dtype;
        if matches!(dtype, DType::F32 | DType::F64) {
            let [low, high] = [self.low, self.high].map(|bound| bound.map(f64::from));
            return with_float!(dtype, T => {
                Box::new(FloatKernel { low: low.map(|low| low as T), high: high.map(|high| high as T) })
            });
        }
        with_integer!(dtype, T => Box::new(IntegerKernel::<T>(PhantomData)))
    }

    fn is_differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self) -> Reads {
        Reads::INPUTS
    }
}

/// The first element of an input that may be left out.
fn first<T: Scalar + Copy>(bound: Option<&[T]>) -> Option<T> {
    bound.and_then(|bound| bound.first().copied())
}

struct IntegerKernel<T>(PhantomData<T>);

impl<T: Integer> Kernel for IntegerKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let x = io.input::<T>(0)?;
        let (low, high) = (first(io.optional_input::<T>(1)?), first(io.optional_input::<T>(2)?));
        for (y, x) in io.output::<T>(0)?.iter_mut().zip(x) {
            let raised = low.map_or(*x, |low| low.max(*x));
            *y = high.map_or(raised, |high| high.min(raised));
        }
        Ok(())
    }
}

struct FloatKernel<T> {
    low: Option<T>,
    high: Option<T>,
}

impl<T: Float> FloatKernel<T> {
    /// The bounds; what is left out is infinite.
    fn bounds(&self, low: Option<&[T]>, high: Option<&[T]>) -> (T, T) {
        let low = first(low).or(self.low).unwrap_or(T::neg_infinity());
        (low, first(high).or(self.high).unwrap_or(T::infinity()))
    }
}

impl<T: Float> Kernel for FloatKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let x = io.input::<T>(0)?;
        let (low, high) = self.bounds(io.optional_input(1)?, io.optional_input(2)?);
        pieces(io.env.pool, io.output::<T>(0)?, 500, |at, y| {
            let x = &x[at..at + y.len()];
            vectorised(
                #[inline(always)]
                || {
                    for (y, x) in y.iter_mut().zip(x) {
                        // Comparisons, not `max`: what is not a number stays so.
                        let raised = if *x < low { low } else { *x };
                        *y = if raised > high { high } else { raised };
                    }
                },
            );
        });
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let (x, dy) = (io.input::<T>(0)?, io.d_output::<T>(0)?);
        let (low, high) = self.bounds(io.optional_input(1)?, io.optional_input(2)?);
        let Some(dx) = io.d_input::<T>(0)? else { return Ok(()) };
        pieces(io.env.pool, dx, 500, |at, dx| {
            let (x, dy) = (&x[at..at + dx.len()], &dy[at..at + dx.len()]);
            vectorised(
                #[inline(always)]
                || {
                    for ((dx, dy), x) in dx.iter_mut().zip(dy).zip(x) {
                        *dx = if *x >= low && *x <= high { *dy } else { T::zero() };
                    }
                },
            );
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
        let x = || Case::new().input(&[4], &[-3.0, -0.5, 0.5, 3.0]);
        check(
            "Clip",
            &[
                x().input(&[], &[-1.0]).input(&[], &[2.0]).output(&[4], &[-1.0, -0.5, 0.5, 2.0]),
                x().input(&[1], &[-1.0]).output(&[4], &[-1.0, -0.5, 0.5, 3.0]),
                x().left_out().input(&[], &[2.0]).output(&[4], &[-3.0, -0.5, 0.5, 2.0]),
                x().output(&[4], &[-3.0, -0.5, 0.5, 3.0]),
                x().input(&[], &[2.0]).input(&[], &[1.0]).output(&[4], &[1.0; 4]).without_gradient(),
                x().opset(10).float("min", -1.0).float("max", 2.0).output(&[4], &[-1.0, -0.5, 0.5, 2.0]),
                x().opset(7).float("max", 2.0).output(&[4], &[-3.0, -0.5, 0.5, 2.0]),
                Case::new().input(&[1], &[f64::NAN]).input(&[], &[0.0]).output(&[1], &[f64::NAN]).without_gradient(),
                Case::new()
                    .ints(&[3], &[-9, 2, 9])
                    .ints(&[], &[-5])
                    .ints(&[], &[5])
                    .output_tensor(Tensor::from_vec(vec![-5i64, 2, 5])),
                Case::new()
                    .tensor(Tensor::from_vec(vec![9u8, 200]))
                    .left_out()
                    .tensor(Tensor::scalar(100u8))
                    .output_tensor(Tensor::from_vec(vec![9u8, 100])),
                Case::new().random_input(&[2, 3, 5]).input(&[], &[-0.4]).input(&[], &[0.3]),
                Case::new().random_input(&[0, 3]).input(&[], &[-0.4]),
                Case::new().random_input(&[]).input(&[], &[-0.4]),
                x().ints(&[], &[1]).error("input 1: expected f"),
                x().random_input(&[2]).error("a scalar"),
                x().opset(10).input(&[], &[1.0]).error("expected 1 inputs"),
                x().float("min", 1.0).error("attribute `min`"),
                Case::new().tensor(Tensor::from_vec(vec![true])).error("f32, f64 or an integer"),
            ],
        );
    }
}
