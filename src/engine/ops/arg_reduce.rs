//! What ArgMax and ArgMin share: where along an axis the best element is.

use std::fmt::Debug;
use std::marker::PhantomData;

use super::axis::{self, Lanes};
use crate::engine::attributes::NodeReader;
use crate::engine::cell::Scalar;
use crate::engine::error::OpError;
use crate::engine::kernel::{Forward, Kernel};
use crate::engine::kernels::float::with_number;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::{DType, Dim, SymbolicShape};

/// Which of two elements is the better one. Implementing it makes an operator by way of [`ArgReduce`].
pub trait Choice: Clone + Debug + Send + Sync + 'static {
    /// Whether `candidate` is better than `best`, neither being NaN.
    fn better<T: PartialOrd>(candidate: T, best: T) -> bool;
}

/// The operator of a [`Choice`].
#[derive(Clone, Debug)]
pub struct ArgReduce<C> {
    axis: i64,
    keep_dims: bool,
    /// Of equal ones the last, not the first.
    last: bool,
    kind: PhantomData<C>,
}

impl<C> ArgReduce<C> {
    /// Reads the attributes.
    pub fn read(node: &NodeReader<'_>) -> Result<Self, OpError> {
        Ok(ArgReduce {
            axis: node.int("axis")?.unwrap_or(0),
            keep_dims: node.flag("keepdims", true)?,
            last: node.opset() >= 12 && node.flag("select_last_index", false)?,
            kind: PhantomData,
        })
    }
}

impl<C: Choice> Op for ArgReduce<C> {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let mut attributes = Vec::new();
        if self.axis != 0 {
            attributes.push(("axis", AttributeValue::Int(self.axis)));
        }
        if !self.keep_dims {
            attributes.push(("keepdims", AttributeValue::Int(0)));
        }
        if self.last {
            attributes.push(("select_last_index", AttributeValue::Int(1)));
        }
        attributes
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(1..=1, 1..=1)?;
        let x = inputs.of(0, "f32, f64 or an integer", |dtype| {
            !matches!(dtype, DType::Bool | DType::String | DType::F16 | DType::BF16)
        })?;
        let Some(dims) = x.dims() else { return Ok(vec![ValueType::new(DType::I64, SymbolicShape::Unranked)]) };
        let axis = axis::resolve("axis", self.axis, dims.len())?;
        let mut dims = dims.to_vec();
        let chosen = if self.keep_dims { std::mem::replace(&mut dims[axis], Dim::Known(1)) } else { dims.remove(axis) };
        if chosen == Dim::Known(0) && !dims.contains(&Dim::Known(0)) {
            let expected = format!("at least one element along axis {axis}");
            return Err(OpError::Shape { input: 0, expected, found: x.shape.clone() });
        }
        Ok(vec![ValueType::ranked(DType::I64, dims)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let x = signature.input(0)?;
        let lanes = Lanes::along(&x.shape, axis::resolve("axis", self.axis, x.shape.len())?);
        with_number!(x.dtype, T => Box::new(ArgKernel::<C, T> { lanes, last: self.last, kind: PhantomData }))
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }
}

struct ArgKernel<C, T> {
    lanes: Lanes,
    last: bool,
    kind: PhantomData<(C, T)>,
}

impl<C: Choice, T: Scalar + Copy + PartialOrd> ArgKernel<C, T> {
    /// Whether a later element takes the place of the best so far. The first NaN is the best of all.
    #[allow(clippy::eq_op, reason = "only NaN differs from itself")]
    fn replaces(&self, candidate: T, best: T) -> bool {
        if best != best {
            return self.last && candidate != candidate;
        }
        C::better(candidate, best) || self.last && candidate == best || candidate != candidate
    }
}

impl<C: Choice, T: Scalar + Copy + PartialOrd> Kernel for ArgKernel<C, T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let (x, y) = (io.input::<T>(0)?, io.output::<i64>(0)?);
        let Lanes { len, inner, .. } = self.lanes;
        let this = &*self;
        io.env.pool.for_pieces(y, inner, 2 * x.len(), |outer, y| {
            let x = &x[outer * len * inner..][..len * inner];
            if let ([y], 1) = (&mut *y, inner) {
                let mut best = 0;
                for (index, candidate) in x.iter().enumerate() {
                    if this.replaces(*candidate, x[best]) {
                        best = index;
                    }
                }
                *y = best as i64;
                return;
            }
            y.fill(0);
            for (index, row) in x.chunks_exact(inner).enumerate() {
                for (at, (y, candidate)) in y.iter_mut().zip(row).enumerate() {
                    if this.replaces(*candidate, x[*y as usize * inner + at]) {
                        *y = index as i64;
                    }
                }
            }
        });
        Ok(())
    }
}
