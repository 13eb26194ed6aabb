//! Operators of any number of inputs with broadcasting: Min, Max, Mean and Sum.

use std::fmt::Debug;
use std::marker::PhantomData;

use super::binary::{Integer, add, number, sum, with_integer};
use super::broadcast::{self, Walk};
use crate::engine::cell::Scalar;
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel, bytes};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::with_float;
use crate::engine::kernels::math::vectorised;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::tensor::DType;

/// How inputs are taken together. Implementing it makes an operator by way of [`Variadic`].
pub trait Fold: Clone + Debug + Send + Sync + 'static {
    /// Whether it takes integers too.
    const INTEGERS: bool;

    /// Where the gradient goes.
    const GRADIENT: Gradient;

    /// What is so far, and the next input.
    fn float<T: Float>(sum: T, x: T) -> T;

    /// The same for integers.
    fn integer<T: Integer>(sum: T, x: T) -> T;
}

/// Where the gradient of a [`Fold`] goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gradient {
    /// To all inputs.
    All,
    /// To all inputs, divided by their number, as the result is.
    Mean,
    /// To the inputs that equal the result, in equal parts.
    Chosen,
}

/// The operator that takes its inputs together by a [`Fold`].
#[derive(Clone, Debug)]
pub struct Variadic<F>(pub PhantomData<F>);

impl<F: Fold> Op for Variadic<F> {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(1..=usize::MAX, 1..=1)?;
        let first = if F::INTEGERS { number(inputs, 0)? } else { inputs.float(0)? };
        let mut shape = first.shape.clone();
        for index in 1..inputs.len() {
            let next = inputs.required(index)?;
            inputs.same_dtype(index, first.dtype)?;
            shape = broadcast::shapes(&shape, &next.shape)?;
        }
        Ok(vec![ValueType::new(first.dtype, shape)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (dtype, y) = (signature.input(0)?.dtype, signature.output(0)?);
        let walks: Result<Vec<Walk<1>>, OpError> =
            (0..signature.inputs.len()).map(|i| Ok(Walk::new(&y.shape, [&signature.input(i)?.shape]))).collect();
        let walks = walks?;
        if matches!(dtype, DType::F32 | DType::F64) {
            let trained = F::GRADIENT == Gradient::Chosen && signature.wants.contains(&true);
            let shares = if trained { y.len() } else { 0 };
            return with_float!(dtype, T => {
                Box::new(FloatKernel::<F, T> { walks, shares: vec![T::default(); shares], of: PhantomData })
            });
        }
        with_integer!(dtype, T => Box::new(IntegerKernel::<F, T>(walks, PhantomData)))
    }

    fn is_differentiable(&self, _: usize) -> bool {
        true
    }

    fn reads(&self) -> Reads {
        if F::GRADIENT == Gradient::Chosen { Reads::ALL } else { Reads::NOTHING }
    }
}

struct IntegerKernel<F, T>(Vec<Walk<1>>, PhantomData<(F, T)>);

impl<F: Fold, T: Integer> Kernel for IntegerKernel<F, T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        forward(&self.0, io, F::integer::<T>).map(|_| ())
    }
}

/// Takes the inputs together.
fn forward<'a, T: Scalar + Copy>(
    walks: &[Walk<1>],
    io: &mut Forward<'a>,
    f: impl Fn(T, T) -> T,
) -> Result<&'a mut [T], OpError> {
    let y = io.output::<T>(0)?;
    for (index, walk) in walks.iter().enumerate() {
        let x = io.input::<T>(index)?;
        if index == 0 {
            along(walk, y, x, |_, x| x);
        } else {
            along(walk, y, x, &f);
        }
    }
    Ok(y)
}

/// `to = f(to, x)` along `walk`.
#[inline(always)]
fn along<T: Copy, X: Copy>(walk: &Walk<1>, to: &mut [T], x: &[X], f: impl Fn(T, X) -> T) {
    walk.runs(|result, [at], length, [stride]| {
        let to = &mut to[result..result + length];
        vectorised(
            #[inline(always)]
            || match stride {
                0 => {
                    let x = x[at];
                    to.iter_mut().for_each(|to| *to = f(*to, x));
                }
                1 => to.iter_mut().zip(&x[at..at + length]).for_each(|(to, x)| *to = f(*to, *x)),
                stride => to.iter_mut().enumerate().for_each(|(i, to)| *to = f(*to, x[at + i * stride])),
            },
        );
    });
}

struct FloatKernel<F, T> {
    walks: Vec<Walk<1>>,
    /// The gradient of each element of the result, divided among the inputs that equal it.
    shares: Vec<T>,
    of: PhantomData<F>,
}

impl<F: Fold, T: Float> Kernel for FloatKernel<F, T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let y = forward(&self.walks, io, F::float::<T>)?;
        if F::GRADIENT == Gradient::Mean {
            let count = T::of(self.walks.len() as f64);
            y.iter_mut().for_each(|y| *y /= count);
        }
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let dy = io.d_output::<T>(0)?;
        if F::GRADIENT != Gradient::Chosen {
            let count = if F::GRADIENT == Gradient::Mean { T::of(self.walks.len() as f64) } else { T::one() };
            for (index, walk) in self.walks.iter().enumerate() {
                let Some(dx) = io.d_input::<T>(index)? else { continue };
                scatter(walk, dx, dy);
                if count != T::one() {
                    dx.iter_mut().for_each(|dx| *dx /= count);
                }
            }
            return Ok(());
        }
        let y = io.output::<T>(0)?;
        self.shares.fill(T::zero());
        for (index, walk) in self.walks.iter().enumerate() {
            let x = io.input::<T>(index)?;
            walk.runs(|result, [at], length, [stride]| {
                let shares = self.shares[result..result + length].iter_mut().zip(&y[result..result + length]);
                shares.enumerate().for_each(|(i, (share, y))| {
                    if x[at + i * stride] == *y {
                        *share += T::one();
                    }
                });
            });
        }
        // Where nothing equals the result (it is not a number), the infinite share is never read.
        self.shares.iter_mut().zip(dy).for_each(|(share, dy)| *share = *dy / *share);
        for (index, walk) in self.walks.iter().enumerate() {
            let x = io.input::<T>(index)?;
            let Some(dx) = io.d_input::<T>(index)? else { continue };
            dx.fill(T::zero());
            walk.runs(|result, [at], length, [stride]| {
                for i in 0..length {
                    let from = at + i * stride;
                    if x[from] == y[result + i] {
                        dx[from] += self.shares[result + i];
                    }
                }
            });
        }
        Ok(())
    }

    fn owned_bytes(&self) -> usize {
        bytes(&self.shares)
    }
}

/// `dx` is `dy`, summed over what was repeated.
fn scatter<T: Float>(walk: &Walk<1>, dx: &mut [T], dy: &[T]) {
    dx.fill(T::zero());
    walk.runs(|result, [at], length, [stride]| {
        let dy = &dy[result..result + length];
        match stride {
            0 => dx[at] += sum(dy),
            1 => add(&mut dx[at..at + length], dy),
            stride => dy.iter().enumerate().for_each(|(i, dy)| dx[at + i * stride] += *dy),
        }
    });
}
