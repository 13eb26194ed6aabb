//! Pooling over all of each plane: one number for each item and channel.

use std::fmt::Debug;
use std::marker::PhantomData;

use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::with_float;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::{Dim, SymbolicShape};

/// A function of all elements of a plane. Implementing it makes an operator by way of [`GlobalPool`].
pub trait Global: Clone + Debug + Send + Sync + 'static {
    /// What the gradient reads.
    const READS: Reads;

    /// The value of a plane.
    fn value<T: Float>(&self, x: &[T]) -> T;

    /// Writes `dx` of a plane. What [`READS`](Global::READS) leaves out is empty or zero here.
    fn gradient<T: Float>(&self, x: &[T], y: T, dy: T, dx: &mut [T]);

    /// Its attributes, without defaults.
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        Vec::new()
    }
}

/// The operator of a [`Global`] function.
#[derive(Clone, Debug)]
pub struct GlobalPool<F>(pub F);

impl<F: Global> Op for GlobalPool<F> {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        self.0.attributes()
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(1..=1, 1..=1)?;
        let dtype = inputs.float(0)?.dtype;
        let Some(dims) = inputs.dims(0, 2..=usize::MAX)? else {
            return Ok(vec![ValueType::new(dtype, SymbolicShape::Unranked)]);
        };
        if dims[2..].contains(&Dim::Known(0)) {
            let found = inputs.required(0)?.shape.clone();
            return Err(OpError::Shape { input: 0, expected: "planes that are not empty".into(), found });
        }
        let dims = dims.iter().enumerate().map(|(index, dim)| if index < 2 { dim.clone() } else { Dim::Known(1) });
        Ok(vec![ValueType::ranked(dtype, dims.collect())])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let x = signature.input(0)?;
        let plane = x.shape.iter().skip(2).product();
        let op = self.0.clone();
        with_float!(x.dtype, T => Box::new(GlobalKernel::<F, T> { op, plane, kind: PhantomData }))
    }

    fn is_differentiable(&self, _: usize) -> bool {
        true
    }

    fn reads(&self) -> Reads {
        F::READS
    }
}

struct GlobalKernel<F, T> {
    op: F,
    plane: usize,
    kind: PhantomData<fn(T)>,
}

impl<F: Global, T: Float> Kernel for GlobalKernel<F, T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let (x, y) = (io.input::<T>(0)?, io.output::<T>(0)?);
        for (y, x) in y.iter_mut().zip(x.chunks_exact(self.plane)) {
            *y = self.op.value(x);
        }
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let (x, y, dy) = (io.optional_input::<T>(0)?, io.optional_output::<T>(0)?, io.d_output::<T>(0)?);
        let Some(dx) = io.d_input::<T>(0)? else { return Ok(()) };
        let plane = self.plane;
        for (index, (dx, dy)) in dx.chunks_exact_mut(plane).zip(dy).enumerate() {
            let x = x.map_or(&[][..], |x| &x[index * plane..(index + 1) * plane]);
            self.op.gradient(x, y.map_or(T::zero(), |y| y[index]), *dy, dx);
        }
        Ok(())
    }
}
