//! What the expansion of control flow puts between the copies of a body. No graph contains these operators.

use std::marker::PhantomData;

use crate::engine::cell::Scalar;
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel};
use crate::engine::kernels::float::with_any;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::tensor::Dim;

/// Gives a value another name: `y = x`.
#[derive(Debug)]
pub struct Alias;

impl Op for Alias {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(1..=1, 1..=1)?;
        let x = inputs.required(0)?;
        Ok(vec![ValueType::new(x.dtype, x.shape.clone())])
    }

    fn build(&self, _: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        Err(OpError::Plan { what: "a view has no kernel".into() })
    }

    fn is_differentiable(&self, _: usize) -> bool {
        true
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }

    fn is_view(&self) -> bool {
        true
    }
}

/// Lays its inputs, all of one shape, side by side along a new dimension.
#[derive(Debug)]
pub struct Stack {
    /// Where the new dimension is, counted from the back where negative.
    pub axis: i64,
    /// Whether the last input comes first.
    pub reversed: bool,
}

/// Cuts its input along a dimension, which its outputs lack.
#[derive(Debug)]
pub struct Unstack {
    /// The dimension, counted from the back where negative.
    pub axis: i64,
    /// Whether the last part comes first.
    pub reversed: bool,
}

/// The dimension of `rank` that `axis` means.
pub fn dimension(axis: i64, rank: usize) -> Result<usize, OpError> {
    let rank = i64::try_from(rank).unwrap_or(i64::MAX);
    let at = if axis < 0 { axis.saturating_add(rank) } else { axis };
    usize::try_from(at).ok().filter(|_| at < rank).ok_or_else(|| OpError::Attribute {
        name: "axis".into(),
        expected: format!("a dimension of rank {rank}"),
        found: axis.to_string(),
    })
}

impl Op for Stack {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        let first = inputs.required(0)?;
        let mut shape = first.shape.clone();
        for index in 1..inputs.len() {
            inputs.same_dtype(index, first.dtype)?;
            let other = &inputs.required(index)?.shape;
            if shape.accepts(other).is_err() {
                let expected = format!("{shape}, as in the first step");
                return Err(OpError::Shape { input: index, expected, found: other.clone() });
            }
            if shape.sizes().is_none() {
                shape = other.clone();
            }
        }
        let Some(dims) = shape.dims() else { return Ok(vec![ValueType::new(first.dtype, shape)]) };
        let mut dims = dims.to_vec();
        let axis = dimension(self.axis, dims.len() + 1)?;
        dims.insert(axis, Dim::Known(inputs.len()));
        Ok(vec![ValueType::ranked(first.dtype, dims)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (x, count) = (signature.input(0)?, signature.inputs.len());
        let axis = dimension(self.axis, x.shape.len() + 1)?;
        let parts = Parts { count, inner: x.shape[axis..].iter().product(), reversed: self.reversed };
        with_any!(x.dtype, T => Box::new(StackKernel::<T>(parts, PhantomData)))
    }

    fn is_differentiable(&self, _: usize) -> bool {
        true
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }
}

impl Op for Unstack {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(1..=1, 0..=usize::MAX)?;
        let x = inputs.required(0)?;
        let Some(dims) = x.dims() else { return Ok(vec![x.clone(); inputs.output_count()]) };
        let mut dims = dims.to_vec();
        let found = dims.remove(dimension(self.axis, dims.len())?);
        let count = inputs.output_count();
        if !found.accepts(&Dim::Known(count)) {
            let expected = format!("size {count} in dimension {}", self.axis);
            return Err(OpError::Shape { input: 0, expected, found: x.shape.clone() });
        }
        Ok(vec![ValueType::ranked(x.dtype, dims); count])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (x, count) = (signature.input(0)?, signature.outputs.len());
        let axis = dimension(self.axis, x.shape.len())?;
        let parts = Parts { count, inner: x.shape[axis + 1..].iter().product(), reversed: self.reversed };
        with_any!(x.dtype, T => Box::new(UnstackKernel::<T>(parts, PhantomData)))
    }

    fn is_differentiable(&self, _: usize) -> bool {
        true
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }
}

/// How the parts lie in the whole: `outer × count × inner`.
#[derive(Clone, Copy)]
struct Parts {
    count: usize,
    inner: usize,
    reversed: bool,
}

impl Parts {
    /// Calls `copy(where in the whole, where in the part)` for each run of part number `index`.
    fn runs(self, index: usize, len: usize, mut copy: impl FnMut(std::ops::Range<usize>, std::ops::Range<usize>)) {
        let index = if self.reversed { self.count - 1 - index } else { index };
        for outer in 0..len.checked_div(self.inner).unwrap_or(0) {
            let (whole, part) = ((outer * self.count + index) * self.inner, outer * self.inner);
            copy(whole..whole + self.inner, part..part + self.inner);
        }
    }
}

struct StackKernel<T>(Parts, PhantomData<T>);

impl<T: Scalar> Kernel for StackKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let y = io.output::<T>(0)?;
        for index in 0..self.0.count {
            let x = io.input::<T>(index)?;
            self.0.runs(index, x.len(), |whole, part| y[whole].clone_from_slice(&x[part]));
        }
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let dy = io.d_output::<T>(0)?;
        for index in 0..self.0.count {
            let Some(dx) = io.d_input::<T>(index)? else { continue };
            self.0.runs(index, dx.len(), |whole, part| dx[part].clone_from_slice(&dy[whole]));
        }
        Ok(())
    }
}

struct UnstackKernel<T>(Parts, PhantomData<T>);

impl<T: Scalar> Kernel for UnstackKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let x = io.input::<T>(0)?;
        for index in 0..self.0.count {
            let Some(y) = io.optional_output::<T>(index)? else { continue };
            self.0.runs(index, y.len(), |whole, part| y[part].clone_from_slice(&x[whole]));
        }
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let Some(dx) = io.d_input::<T>(0)? else { return Ok(()) };
        let len = dx.len() / self.0.count.max(1);
        for index in 0..self.0.count {
            match io.optional_d_output::<T>(index)? {
                Some(dy) => self.0.runs(index, len, |whole, part| dx[whole].clone_from_slice(&dy[part])),
                None => self.0.runs(index, len, |whole, _| dx[whole].fill(T::default())),
            }
        }
        Ok(())
    }
}
