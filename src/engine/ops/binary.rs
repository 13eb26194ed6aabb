//! Operators of two numbers with broadcasting: `y[i] = f(a[i], b[i])`.

use std::fmt::Debug;
use std::marker::PhantomData;

use super::broadcast::{self, Walk};
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::with_float;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::tensor::DType;

/// A function of two numbers. Implementing it makes an operator by way of [`Broadcast`].
pub trait Binary: Clone + Debug + Send + Sync + 'static {
    /// What the derivatives read.
    const READS: Reads;

    /// `f(a, b)` for integers; wraps around.
    fn integer<T: Integer>(a: T, b: T) -> T;

    /// `f(a, b)`.
    fn value<T: Float>(a: T, b: T) -> T;

    /// `(∂f/∂a, ∂f/∂b)` at `a`, `b`, where `y = f(a, b)`. What [`READS`](Binary::READS) leaves out is zero here.
    fn derivatives<T: Float>(a: T, b: T, y: T) -> (T, T);
}

/// What integer arithmetic needs: it wraps around, and dividing by zero gives zero.
#[allow(missing_docs, reason = "the names say it")]
pub trait Integer: crate::engine::cell::Scalar + Copy + Ord {
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    fn rem(self, other: Self) -> Self;
    fn pow(self, exponent: Self) -> Self;
}

macro_rules! integers {
    ($($rust:ty),*) => {$(
        impl Integer for $rust {
            fn add(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            fn sub(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }
            fn mul(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
            fn div(self, other: Self) -> Self {
                if other == 0 { 0 } else { self.wrapping_div(other) }
            }
            fn rem(self, other: Self) -> Self {
                if other == 0 { 0 } else { self.wrapping_rem(other) }
            }
            fn pow(self, exponent: Self) -> Self {
                (self as f64).powf(exponent as f64) as $rust
            }
        }
    )*};
}

integers!(i8, i16, i32, i64, u8, u16, u32, u64);

/// The operator that applies a [`Binary`] function with broadcasting.
#[derive(Clone, Debug)]
pub struct Broadcast<F>(pub PhantomData<F>);

impl<F> Broadcast<F> {
    /// The operator.
    #[allow(clippy::new_without_default, reason = "made by the table of operators alone")]
    pub fn new() -> Self {
        Broadcast(PhantomData)
    }
}

impl<F: Binary> Op for Broadcast<F> {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(2..=2, 1..=1)?;
        let (a, b) = (inputs.number(0)?, inputs.number(1)?);
        inputs.same_dtype(1, a.dtype)?;
        Ok(vec![ValueType::new(a.dtype, broadcast::shapes(&a.shape, &b.shape)?)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (a, b, y) = (signature.input(0)?, signature.input(1)?, signature.output(0)?);
        let walk = Walk::new(&y.shape, [&a.shape, &b.shape]);
        if matches!(a.dtype, DType::F32 | DType::F64) {
            return with_float!(a.dtype, T => Box::new(FloatKernel::<F, T>(walk, PhantomData)));
        }
        integer_kernel::<F>(a.dtype, walk)
    }

    fn is_differentiable(&self, _: usize) -> bool {
        true
    }

    fn reads(&self) -> Reads {
        F::READS
    }
}

fn integer_kernel<F: Binary>(dtype: DType, walk: Walk<2>) -> Result<Box<dyn Kernel>, OpError> {
    fn make<F: Binary, T: Integer>(walk: Walk<2>) -> Box<dyn Kernel> {
        Box::new(IntegerKernel::<F, T>(walk, PhantomData))
    }
    Ok(match dtype {
        DType::I8 => make::<F, i8>(walk),
        DType::I16 => make::<F, i16>(walk),
        DType::I32 => make::<F, i32>(walk),
        DType::I64 => make::<F, i64>(walk),
        DType::U8 => make::<F, u8>(walk),
        DType::U16 => make::<F, u16>(walk),
        DType::U32 => make::<F, u32>(walk),
        DType::U64 => make::<F, u64>(walk),
        found => return Err(OpError::DType { input: 0, expected: "a number", found }),
    })
}

struct FloatKernel<F, T>(Walk<2>, PhantomData<(F, T)>);

impl<F: Binary, T: Float> Kernel for FloatKernel<F, T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        forward(&self.0, io, F::value::<T>)
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let dy = io.d_output::<T>(0)?;
        let (a, b, y) = (io.optional_input::<T>(0)?, io.optional_input::<T>(1)?, io.optional_output::<T>(0)?);
        let (mut da, mut db) = (io.d_input::<T>(0)?, io.d_input::<T>(1)?);
        for gradient in [&mut da, &mut db].into_iter().flatten() {
            gradient.fill(T::zero());
        }
        self.0.runs(|result, [at_a, at_b], length, [step_a, step_b]| {
            let one = |values: Option<&[T]>, at: usize| values.map_or(T::zero(), |values| values[at]);
            for i in 0..length {
                let (at_a, at_b) = (at_a + i * step_a, at_b + i * step_b);
                let (by_a, by_b) = F::derivatives(one(a, at_a), one(b, at_b), one(y, result + i));
                if let Some(da) = &mut da {
                    da[at_a] += dy[result + i] * by_a;
                }
                if let Some(db) = &mut db {
                    db[at_b] += dy[result + i] * by_b;
                }
            }
        });
        Ok(())
    }
}

struct IntegerKernel<F, T>(Walk<2>, PhantomData<(F, T)>);

impl<F: Binary, T: Integer> Kernel for IntegerKernel<F, T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        forward(&self.0, io, F::integer::<T>)
    }
}

fn forward<T: crate::engine::cell::Scalar + Copy>(
    walk: &Walk<2>,
    io: &mut Forward<'_>,
    f: impl Fn(T, T) -> T,
) -> Result<(), OpError> {
    let (a, b) = (io.input::<T>(0)?, io.input::<T>(1)?);
    let y = io.output::<T>(0)?;
    walk.runs(|result, [at_a, at_b], length, strides| {
        let y = &mut y[result..result + length];
        match strides {
            [1, 1] => {
                let (a, b) = (&a[at_a..at_a + length], &b[at_b..at_b + length]);
                y.iter_mut().zip(a).zip(b).for_each(|((y, a), b)| *y = f(*a, *b));
            }
            [1, 0] => {
                let b = b[at_b];
                y.iter_mut().zip(&a[at_a..at_a + length]).for_each(|(y, a)| *y = f(*a, b));
            }
            [0, 1] => {
                let a = a[at_a];
                y.iter_mut().zip(&b[at_b..at_b + length]).for_each(|(y, b)| *y = f(a, *b));
            }
            [step_a, step_b] => {
                for (i, y) in y.iter_mut().enumerate() {
                    *y = f(a[at_a + i * step_a], b[at_b + i * step_b]);
                }
            }
        }
    });
    Ok(())
}
