//! What Softmax, LogSoftmax and Hardmax share: an axis, and before version 13 all axes from there on as one.

use std::fmt::Debug;
use std::marker::PhantomData;

use super::axis::{self, Lanes};
use crate::engine::attributes::NodeReader;
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::with_float;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;

/// A function of a lane. Implementing it makes an operator by way of [`AlongAxis`].
pub trait LaneFunction: Clone + Debug + Send + Sync + 'static {
    /// Whether it has a derivative.
    const DIFFERENTIABLE: bool;

    /// Nanoseconds for one element, about.
    const COST: usize;

    /// Writes `y` for one lane.
    fn forward<T: Float>(x: &[T], y: &mut [T]);

    /// Writes `dx` for one lane, from `y` and `dy`.
    fn backward<T: Float>(y: &[T], dy: &[T], dx: &mut [T]);
}

/// The operator that applies a [`LaneFunction`] to every lane along its axis.
#[derive(Clone, Debug)]
pub struct AlongAxis<F> {
    axis: i64,
    /// Version 13 and later: one axis. Before: the input is seen as a matrix whose rows begin at the axis.
    single: bool,
    kind: PhantomData<F>,
}

impl<F> AlongAxis<F> {
    /// Reads the attribute.
    pub fn read(node: &NodeReader<'_>) -> Result<Self, OpError> {
        let single = node.opset() >= 13;
        let axis = node.int("axis")?.unwrap_or(if single { -1 } else { 1 });
        Ok(AlongAxis { axis, single, kind: PhantomData })
    }

    fn lanes(&self, shape: &[usize]) -> Result<Lanes, OpError> {
        // The matrix may have no column of its own: axis = rank.
        if !self.single && usize::try_from(self.axis) == Ok(shape.len()) {
            return Ok(Lanes::from(shape, shape.len()));
        }
        let axis = axis::resolve("axis", self.axis, shape.len())?;
        Ok(if self.single { Lanes::along(shape, axis) } else { Lanes::from(shape, axis) })
    }
}

impl<F: LaneFunction> Op for AlongAxis<F> {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let default = if self.single { -1 } else { 1 };
        if self.axis == default { Vec::new() } else { vec![("axis", AttributeValue::Int(self.axis))] }
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(1..=1, 1..=1)?;
        let x = inputs.float(0)?;
        if let Some(dims) = x.dims() {
            self.lanes(&vec![1; dims.len()])?;
        }
        Ok(vec![ValueType::new(x.dtype, x.shape.clone())])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let x = signature.input(0)?;
        let lanes = self.lanes(&x.shape)?;
        with_float!(x.dtype, T => Box::new(LaneKernel::<F, T> {
            lanes,
            lane: if lanes.inner == 1 { Vec::new() } else { vec![T::default(); 3 * lanes.len] },
            kind: PhantomData,
        }))
    }

    fn is_differentiable(&self, _: usize) -> bool {
        F::DIFFERENTIABLE
    }

    fn reads(&self) -> Reads {
        Reads::OUTPUTS
    }
}

struct LaneKernel<F, T> {
    lanes: Lanes,
    /// A lane of each of `y`, `dy` and `dx`, where lanes are not contiguous.
    lane: Vec<T>,
    kind: PhantomData<F>,
}

/// Copies a lane whose elements lie `step` apart.
fn gather<T: Copy>(to: &mut [T], from: &[T], start: usize, step: usize) {
    for (to, from) in to.iter_mut().zip(from[start..].iter().step_by(step)) {
        *to = *from;
    }
}

fn scatter<T: Copy>(to: &mut [T], from: &[T], start: usize, step: usize) {
    for (to, from) in to[start..].iter_mut().step_by(step).zip(from) {
        *to = *from;
    }
}

impl<F: LaneFunction, T: Float> Kernel for LaneKernel<F, T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let (x, y) = (io.input::<T>(0)?, io.output::<T>(0)?);
        let lanes = self.lanes;
        if lanes.elements() == 0 {
            return Ok(());
        }
        if lanes.inner == 1 {
            io.env.pool.for_pieces(y, lanes.len, F::COST * x.len(), |row, y| {
                F::forward(&x[row * lanes.len..][..lanes.len], y);
            });
            return Ok(());
        }
        let (from, to) = self.lane.split_at_mut(lanes.len);
        for lane in 0..lanes.count() {
            let start = lanes.start(lane);
            gather(from, x, start, lanes.inner);
            F::forward(from, &mut to[..lanes.len]);
            scatter(y, to, start, lanes.inner);
        }
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let (y, dy) = (io.output::<T>(0)?, io.d_output::<T>(0)?);
        let Some(dx) = io.d_input::<T>(0)? else { return Ok(()) };
        let lanes = self.lanes;
        if lanes.elements() == 0 {
            return Ok(());
        }
        if lanes.inner == 1 {
            io.env.pool.for_pieces(dx, lanes.len, F::COST * y.len(), |row, dx| {
                let at = row * lanes.len..(row + 1) * lanes.len;
                F::backward(&y[at.clone()], &dy[at], dx);
            });
            return Ok(());
        }
        let (y_lane, rest) = self.lane.split_at_mut(lanes.len);
        let (dy_lane, dx_lane) = rest.split_at_mut(lanes.len);
        for lane in 0..lanes.count() {
            let start = lanes.start(lane);
            gather(y_lane, y, start, lanes.inner);
            gather(dy_lane, dy, start, lanes.inner);
            F::backward(y_lane, dy_lane, dx_lane);
            scatter(dx, dx_lane, start, lanes.inner);
        }
        Ok(())
    }
}
