//! Operators of one number: `y[i] = f(x[i])`.

use std::fmt::Debug;
use std::marker::PhantomData;

use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::with_float;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;

/// A function of one floating-point number and its derivative. Implementing it makes an operator by way of [`Pointwise`].
pub trait Unary: Clone + Debug + Send + Sync + 'static {
    /// Whether the derivative is computed from `x`, from `y`, or both.
    const READS: Reads;

    /// `f(x)`.
    fn value<T: Float>(&self, x: T) -> T;

    /// `f'(x)`, where `y = f(x)`. What [`READS`](Unary::READS) leaves out is zero here.
    fn derivative<T: Float>(&self, x: T, y: T) -> T;

    /// Its attributes, without defaults.
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        Vec::new()
    }
}

/// The operator that applies a [`Unary`] function to every element.
#[derive(Clone, Debug)]
pub struct Pointwise<F>(pub F);

impl<F: Unary> Op for Pointwise<F> {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        self.0.attributes()
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(1..=1, 1..=1)?;
        let x = inputs.float(0)?;
        Ok(vec![ValueType::new(x.dtype, x.shape.clone())])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let dtype = signature.input(0)?.dtype;
        with_float!(dtype, T => Box::new(PointwiseKernel::<F, T>(self.0.clone(), PhantomData)))
    }

    fn is_differentiable(&self, _: usize) -> bool {
        true
    }

    fn reads(&self) -> Reads {
        F::READS
    }
}

struct PointwiseKernel<F, T>(F, PhantomData<T>);

impl<F: Unary, T: Float> Kernel for PointwiseKernel<F, T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let x = io.input::<T>(0)?;
        let y = io.output::<T>(0)?;
        for (y, x) in y.iter_mut().zip(x) {
            *y = self.0.value(*x);
        }
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let dy = io.d_output::<T>(0)?;
        let (x, y) = (io.optional_input::<T>(0)?, io.optional_output::<T>(0)?);
        let Some(dx) = io.d_input::<T>(0)? else { return Ok(()) };
        match (x, y) {
            (Some(x), Some(y)) => {
                for (((dx, dy), x), y) in dx.iter_mut().zip(dy).zip(x).zip(y) {
                    *dx = *dy * self.0.derivative(*x, *y);
                }
            }
            (Some(x), None) => {
                for ((dx, dy), x) in dx.iter_mut().zip(dy).zip(x) {
                    *dx = *dy * self.0.derivative(*x, T::zero());
                }
            }
            (None, Some(y)) => {
                for ((dx, dy), y) in dx.iter_mut().zip(dy).zip(y) {
                    *dx = *dy * self.0.derivative(T::zero(), *y);
                }
            }
            (None, None) => {
                for (dx, dy) in dx.iter_mut().zip(dy) {
                    *dx = *dy * self.0.derivative(T::zero(), T::zero());
                }
            }
        }
        Ok(())
    }
}
