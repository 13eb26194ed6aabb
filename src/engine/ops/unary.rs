//! Operators of one number: `y[i] = f(x[i])`.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use super::binary::{Integer, with_integer};
use crate::engine::cell::{Slice, SliceMut};
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::with_float;
use crate::engine::kernels::math::vectorised;
use crate::engine::op::{Activation, Inputs, Op, Reads, Signature, ValueType};
use crate::engine::pool::Pool;
use crate::onnx::AttributeValue;
use crate::tensor::DType;

/// A function of one number and its derivative. Implementing it makes an operator by way of [`Pointwise`].
///
/// Mark `value` and `derivative` `#[inline(always)]`, so that their loops become vector code.
pub trait Unary: Clone + Debug + Send + Sync + 'static {
    /// Whether the derivative is computed from `x`, from `y`, or both.
    const READS: Reads;

    /// About how many picoseconds one element takes: what work is shared out by.
    const COST: usize = 500;

    /// Which integers it takes, besides f32 and f64.
    const INTEGERS: Integers = Integers::None;

    /// `f(x)`.
    fn value<T: Float>(&self, x: T) -> T;

    /// `f'(x)`, where `y = f(x)`. What [`READS`](Unary::READS) leaves out is zero here.
    fn derivative<T: Float>(&self, x: T, y: T) -> T;

    /// `f(x)` for integers; wraps around. Called only for those that [`INTEGERS`](Unary::INTEGERS) names.
    fn integer<T: Integer>(&self, x: T) -> T {
        x
    }

    /// Its attributes, without defaults.
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        Vec::new()
    }
}

/// Integers that an operator takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integers {
    /// None.
    None,
    /// Those with a sign.
    Signed,
    /// All of them.
    All,
}

/// An attribute of f32, for [`Unary::attributes`]: nothing when it has its default.
pub fn attribute(name: &'static str, value: f32, default: f32) -> Option<(&'static str, AttributeValue)> {
    (value.to_bits() != default.to_bits()).then_some((name, AttributeValue::Float(value)))
}

/// Elements that one thread takes at a time.
const PIECE: usize = 4096;

/// Calls `work(position of the first element, elements)` for pieces of `to`, on as many threads as pay when an element
/// takes `cost` picoseconds.
pub fn pieces<T: Send>(pool: &Pool, to: &mut [T], cost: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    let cost = to.len().saturating_mul(cost) / 1000;
    pool.for_pieces(to, PIECE, cost, |index, piece| work(index * PIECE, piece));
}

/// The operator that applies a [`Unary`] function to every element.
#[derive(Clone, Debug)]
pub struct Pointwise<F>(pub F);

impl<F: Unary> Op for Pointwise<F> {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        self.0.attributes()
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        use DType::{F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
        inputs.expect(1..=1, 1..=1)?;
        let x = match F::INTEGERS {
            Integers::None => inputs.float(0)?,
            Integers::Signed => {
                let expected = "f32, f64 or an integer with a sign";
                inputs.of(0, expected, |dtype| matches!(dtype, F32 | F64 | I8 | I16 | I32 | I64))?
            }
            Integers::All => inputs.of(0, "f32, f64 or an integer", |dtype| {
                matches!(dtype, F32 | F64 | I8 | I16 | I32 | I64 | U8 | U16 | U32 | U64)
            })?,
        };
        Ok(vec![ValueType::new(x.dtype, x.shape.clone())])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let dtype = signature.input(0)?.dtype;
        if matches!(dtype, DType::F32 | DType::F64) || F::INTEGERS == Integers::None {
            return with_float!(dtype, T => Box::new(PointwiseKernel::<F, T>(self.0.clone(), PhantomData)));
        }
        with_integer!(dtype, T => Box::new(IntegerKernel::<F, T>(self.0.clone(), PhantomData)))
    }

    fn is_differentiable(&self, _: usize) -> bool {
        true
    }

    fn reads(&self) -> Reads {
        F::READS
    }

    fn is_elementwise(&self) -> bool {
        true
    }

    fn activation(&self) -> Option<Arc<dyn Activation>> {
        match F::READS.input(0) {
            false => Some(Arc::new(self.clone())),
            true => None,
        }
    }
}

impl<F: Unary> Activation for Pointwise<F> {
    fn apply(&self, values: SliceMut<'_>) {
        fn each<F: Unary, T: Float>(f: &F, values: &mut [T]) {
            vectorised(
                #[inline(always)]
                || values.iter_mut().for_each(|x| *x = f.value(*x)),
            );
        }
        match values {
            SliceMut::F32(values) => each(&self.0, values),
            SliceMut::F64(values) => each(&self.0, values),
            _ => {}
        }
    }

    fn gradient(&self, y: Slice<'_>, dy: Slice<'_>, dx: SliceMut<'_>) {
        fn each<F: Unary, T: Float>(f: &F, y: &[T], dy: &[T], dx: &mut [T]) {
            vectorised(
                #[inline(always)]
                || gradient(f, dx, dy, None, Some(y)),
            );
        }
        match (y, dy, dx) {
            (Slice::F32(y), Slice::F32(dy), SliceMut::F32(dx)) => each(&self.0, y, dy, dx),
            (Slice::F64(y), Slice::F64(dy), SliceMut::F64(dx)) => each(&self.0, y, dy, dx),
            _ => {}
        }
    }
}

struct IntegerKernel<F, T>(F, PhantomData<T>);

impl<F: Unary, T: Integer> Kernel for IntegerKernel<F, T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let x = io.input::<T>(0)?;
        let y = io.output::<T>(0)?;
        y.iter_mut().zip(x).for_each(|(y, x)| *y = self.0.integer(*x));
        Ok(())
    }
}

struct PointwiseKernel<F, T>(F, PhantomData<T>);

impl<F: Unary, T: Float> Kernel for PointwiseKernel<F, T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let x = io.input::<T>(0)?;
        let y = io.output::<T>(0)?;
        let f = &self.0;
        pieces(io.env.pool, y, F::COST, |at, y| {
            let x = &x[at..at + y.len()];
            vectorised(
                #[inline(always)]
                || y.iter_mut().zip(x).for_each(|(y, x)| *y = f.value(*x)),
            );
        });
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let dy = io.d_output::<T>(0)?;
        let (x, y) = (io.optional_input::<T>(0)?, io.optional_output::<T>(0)?);
        let Some(dx) = io.d_input::<T>(0)? else { return Ok(()) };
        let f = &self.0;
        pieces(io.env.pool, dx, F::COST, |at, dx| {
            let range = at..at + dx.len();
            let (dy, x, y) = (&dy[range.clone()], x.map(|x| &x[range.clone()]), y.map(|y| &y[range.clone()]));
            vectorised(
                #[inline(always)]
                || gradient(f, dx, dy, x, y),
            );
        });
        Ok(())
    }
}

#[inline(always)]
fn gradient<F: Unary, T: Float>(f: &F, dx: &mut [T], dy: &[T], x: Option<&[T]>, y: Option<&[T]>) {
    match (x, y) {
        (Some(x), Some(y)) => {
            for (((dx, dy), x), y) in dx.iter_mut().zip(dy).zip(x).zip(y) {
                *dx = *dy * f.derivative(*x, *y);
            }
        }
        (Some(x), None) => {
            for ((dx, dy), x) in dx.iter_mut().zip(dy).zip(x) {
                *dx = *dy * f.derivative(*x, T::zero());
            }
        }
        (None, Some(y)) => {
            for ((dx, dy), y) in dx.iter_mut().zip(dy).zip(y) {
                *dx = *dy * f.derivative(T::zero(), *y);
            }
        }
        (None, None) => {
            for (dx, dy) in dx.iter_mut().zip(dy) {
                *dx = *dy * f.derivative(T::zero(), T::zero());
            }
        }
    }
}
