//! Operators that compare two values, with broadcasting: Equal, Less and their like.

use std::fmt::Debug;
use std::marker::PhantomData;

use super::binary::forward;
use super::broadcast::{self, Walk};
use crate::engine::cell::Scalar;
use crate::engine::error::OpError;
use crate::engine::kernel::{Forward, Kernel};
use crate::engine::kernels::float::with_any;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::tensor::DType;

/// What holds between two values, or not. Implementing it makes an operator by way of [`Comparison`].
pub trait Relation: Clone + Debug + Send + Sync + 'static {
    /// Whether it takes bool and strings too, besides numbers.
    const ANY: bool;

    /// Whether it holds.
    fn holds<T: PartialOrd>(a: &T, b: &T) -> bool;
}

/// The operator that asks a [`Relation`] of every pair.
#[derive(Clone, Debug)]
pub struct Comparison<R>(pub PhantomData<R>);

impl<R: Relation> Op for Comparison<R> {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(2..=2, 1..=1)?;
        let a = if R::ANY { inputs.required(0)? } else { inputs.number(0)? };
        let b = inputs.required(1)?;
        inputs.same_dtype(1, a.dtype)?;
        Ok(vec![ValueType::new(DType::Bool, broadcast::shapes(&a.shape, &b.shape)?)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (a, b, y) = (signature.input(0)?, signature.input(1)?, signature.output(0)?);
        let walk = Walk::new(&y.shape, [&a.shape, &b.shape]);
        with_any!(a.dtype, T => Box::new(CompareKernel::<R, T>(walk, PhantomData)))
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }
}

struct CompareKernel<R, T>(Walk<2>, PhantomData<(R, T)>);

impl<R: Relation, T: Scalar + PartialOrd> Kernel for CompareKernel<R, T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        forward::<T, bool>(&self.0, io, R::holds::<T>)
    }
}
