//! Functions along one axis: Softmax, LogSoftmax, Hardmax (before version 13 along all axes from there on), LpNormalization.

use std::fmt::Debug;

use super::axis::{self, Lanes};
use crate::engine::attributes::NodeReader;
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel, bytes};
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

    /// What the derivative reads: the input or the output.
    const READS: Reads = Reads::OUTPUTS;

    /// Its attributes besides the axis, without defaults.
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        Vec::new()
    }

    /// Writes `y` for one lane.
    fn forward<T: Float>(&self, x: &[T], y: &mut [T]);

    /// Writes `dx` for one lane, from `dy` and what [`READS`](LaneFunction::READS) says.
    fn backward<T: Float>(&self, read: &[T], dy: &[T], dx: &mut [T]);
}

/// The operator that applies a [`LaneFunction`] to every lane along its axis.
#[derive(Clone, Debug)]
pub struct AlongAxis<F> {
    axis: i64,
    /// Version 13 and later: one axis. Before: the input is seen as a matrix whose rows begin at the axis.
    single: bool,
    function: F,
}

impl<F> AlongAxis<F> {
    /// Reads the attribute of Softmax and its like.
    pub fn read(node: &NodeReader<'_>, function: F) -> Result<Self, OpError> {
        AlongAxis::with(node, function, node.opset() >= 13)
    }

    /// Reads the attribute of an operator whose axis has always been a single one.
    pub fn read_single(node: &NodeReader<'_>, function: F) -> Result<Self, OpError> {
        AlongAxis::with(node, function, true)
    }

    fn with(node: &NodeReader<'_>, function: F, single: bool) -> Result<Self, OpError> {
        let axis = node.int("axis")?.unwrap_or(if single { -1 } else { 1 });
        Ok(AlongAxis { axis, single, function })
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
        let mut attributes = self.function.attributes();
        if self.axis != default {
            attributes.push(("axis", AttributeValue::Int(self.axis)));
        }
        attributes
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
            work: vec![T::default(); 3 * block(lanes) * lanes.len],
            function: self.function.clone(),
        }))
    }

    fn is_differentiable(&self, _: usize) -> bool {
        F::DIFFERENTIABLE
    }

    fn reads(&self) -> Reads {
        F::READS
    }
}

struct LaneKernel<F, T> {
    lanes: Lanes,
    /// Lanes of each of `x` or `y`, `dy` and `dx`, where they are not contiguous.
    work: Vec<T>,
    function: F,
}

/// Lanes that are copied together where they are not contiguous: as many as share a cache line.
const BLOCK: usize = 16;

/// How many lanes are copied together; none where they are contiguous, or where there is nothing to copy.
fn block(lanes: Lanes) -> usize {
    if lanes.inner == 1 || lanes.elements() == 0 { 0 } else { BLOCK.min(lanes.inner) }
}

/// Copies `width` neighbouring lanes of `len` elements, which lie `inner` apart, one behind the other.
fn gather<T: Copy>(to: &mut [T], from: &[T], Lanes { len, inner, .. }: Lanes, width: usize) {
    for (index, row) in from.chunks(inner).take(len).enumerate() {
        for (to, from) in to.iter_mut().skip(index).step_by(len).zip(&row[..width]) {
            *to = *from;
        }
    }
}

/// Copies them back.
fn scatter<T: Copy>(to: &mut [T], from: &[T], Lanes { len, inner, .. }: Lanes, width: usize) {
    for (index, row) in to.chunks_mut(inner).take(len).enumerate() {
        for (to, from) in row[..width].iter_mut().zip(from.iter().skip(index).step_by(len)) {
            *to = *from;
        }
    }
}

/// For each block of neighbouring lanes where it begins and how many they are.
fn blocks(lanes: Lanes) -> impl Iterator<Item = (usize, usize)> {
    (0..lanes.outer).flat_map(move |outer| {
        let start = outer * lanes.len * lanes.inner;
        (0..lanes.inner).step_by(BLOCK).map(move |first| (start + first, BLOCK.min(lanes.inner - first)))
    })
}

impl<F: LaneFunction, T: Float> Kernel for LaneKernel<F, T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let (x, y) = (io.input::<T>(0)?, io.output::<T>(0)?);
        let (lanes, function) = (self.lanes, &self.function);
        if lanes.elements() == 0 {
            return Ok(());
        }
        if lanes.inner == 1 {
            io.env.pool.for_pieces(y, lanes.len, F::COST * x.len(), |row, y| {
                function.forward(&x[row * lanes.len..][..lanes.len], y);
            });
            return Ok(());
        }
        let (from, to) = self.work.split_at_mut(block(lanes) * lanes.len);
        for (start, width) in blocks(lanes) {
            gather(from, &x[start..], lanes, width);
            let each = from.chunks_exact(lanes.len).zip(to.chunks_exact_mut(lanes.len));
            each.take(width).for_each(|(x, y)| function.forward(x, y));
            scatter(&mut y[start..], to, lanes, width);
        }
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let of = if F::READS == Reads::OUTPUTS { io.output::<T>(0)? } else { io.input::<T>(0)? };
        let dy = io.d_output::<T>(0)?;
        let Some(dx) = io.d_input::<T>(0)? else { return Ok(()) };
        let (lanes, function) = (self.lanes, &self.function);
        if lanes.elements() == 0 {
            return Ok(());
        }
        if lanes.inner == 1 {
            io.env.pool.for_pieces(dx, lanes.len, F::COST * of.len(), |row, dx| {
                let at = row * lanes.len..(row + 1) * lanes.len;
                function.backward(&of[at.clone()], &dy[at], dx);
            });
            return Ok(());
        }
        let (of_work, rest) = self.work.split_at_mut(block(lanes) * lanes.len);
        let (dy_work, dx_work) = rest.split_at_mut(block(lanes) * lanes.len);
        for (start, width) in blocks(lanes) {
            gather(of_work, &of[start..], lanes, width);
            gather(dy_work, &dy[start..], lanes, width);
            let each = of_work.chunks_exact(lanes.len).zip(dy_work.chunks_exact(lanes.len));
            let each = each.zip(dx_work.chunks_exact_mut(lanes.len));
            each.take(width).for_each(|((of, dy), dx)| function.backward(of, dy, dx));
            scatter(&mut dx[start..], dx_work, lanes, width);
        }
        Ok(())
    }

    fn owned_bytes(&self) -> usize {
        bytes(&self.work)
    }
}
