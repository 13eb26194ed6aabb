//! Operators of two truth values, and of the bits of two integers, with broadcasting.

use std::fmt::Debug;
use std::marker::PhantomData;

use super::binary::{Integer, forward, with_integer};
use super::broadcast::{self, Walk};
use crate::engine::error::OpError;
use crate::engine::kernel::{Forward, Kernel};
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::tensor::DType;

/// A function of two truth values or of the bits of two integers. It makes operators by way of [`Logical`] and
/// [`Bitwise`].
pub trait Logic: Clone + Debug + Send + Sync + 'static {
    /// For truth values.
    fn truth(a: bool, b: bool) -> bool;

    /// For each bit.
    fn bits<T: Integer>(a: T, b: T) -> T;
}

/// Both are true.
#[derive(Clone, Debug)]
pub struct Both;

impl Logic for Both {
    fn truth(a: bool, b: bool) -> bool {
        a & b
    }

    fn bits<T: Integer>(a: T, b: T) -> T {
        a.and(b)
    }
}

/// One is true, or both are.
#[derive(Clone, Debug)]
pub struct Either;

impl Logic for Either {
    fn truth(a: bool, b: bool) -> bool {
        a | b
    }

    fn bits<T: Integer>(a: T, b: T) -> T {
        a.or(b)
    }
}

/// One is true, and not both.
#[derive(Clone, Debug)]
pub struct OneOf;

impl Logic for OneOf {
    fn truth(a: bool, b: bool) -> bool {
        a ^ b
    }

    fn bits<T: Integer>(a: T, b: T) -> T {
        a.xor(b)
    }
}

/// The operator that applies a [`Logic`] to truth values.
#[derive(Clone, Debug)]
pub struct Logical<L>(pub PhantomData<L>);

impl<L: Logic> Op for Logical<L> {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(2..=2, 1..=1)?;
        let [a, b] = [inputs.of(0, "bool", |dtype| dtype == DType::Bool)?, inputs.required(1)?];
        inputs.same_dtype(1, DType::Bool)?;
        Ok(vec![ValueType::new(DType::Bool, broadcast::shapes(&a.shape, &b.shape)?)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        Ok(Box::new(LogicalKernel::<L>(walk(signature)?, PhantomData)))
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }
}

fn walk(signature: &Signature) -> Result<Walk<2>, OpError> {
    let (a, b, y) = (signature.input(0)?, signature.input(1)?, signature.output(0)?);
    Ok(Walk::new(&y.shape, [&a.shape, &b.shape]))
}

struct LogicalKernel<L>(Walk<2>, PhantomData<L>);

impl<L: Logic> Kernel for LogicalKernel<L> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        forward::<bool, bool>(&self.0, io, |a, b| L::truth(*a, *b))
    }
}

/// The operator that applies a [`Logic`] to the bits of integers.
#[derive(Clone, Debug)]
pub struct Bitwise<L>(pub PhantomData<L>);

/// Whether `dtype` is an integer type.
pub fn is_integer(dtype: DType) -> bool {
    use DType::{I8, I16, I32, I64, U8, U16, U32, U64};
    matches!(dtype, I8 | I16 | I32 | I64 | U8 | U16 | U32 | U64)
}

impl<L: Logic> Op for Bitwise<L> {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(2..=2, 1..=1)?;
        let [a, b] = [inputs.of(0, "an integer", is_integer)?, inputs.required(1)?];
        inputs.same_dtype(1, a.dtype)?;
        Ok(vec![ValueType::new(a.dtype, broadcast::shapes(&a.shape, &b.shape)?)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let walk = walk(signature)?;
        with_integer!(signature.input(0)?.dtype, T => Box::new(BitwiseKernel::<L, T>(walk, PhantomData)))
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }
}

struct BitwiseKernel<L, T>(Walk<2>, PhantomData<(L, T)>);

impl<L: Logic, T: Integer> Kernel for BitwiseKernel<L, T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        forward::<T, T>(&self.0, io, |a, b| L::bits(*a, *b))
    }
}
