//! A compiled graph: kernels, memory, and the steps between them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::cell::{Cell, Slice, SliceMut};
use super::error::OpError;
use super::kernel::{Backward, Env, Forward, Kernel, Operands};
use super::pool::Pool;
use super::program::ValueId;
use super::random::mix;
use crate::tensor::{DType, Tensor};

/// Where a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere: it was left out, or nobody wants it.
    Absent,
    /// With the caller.
    Input { index: usize },
    /// With the weights.
    Weight { index: usize },
    /// In the first `len` elements of a cell of the plan.
    Cell { cell: usize, len: usize },
}

/// One thing to do; `P` says where its operands are.
#[derive(Debug)]
pub(super) enum Step<P> {
    Forward {
        kernel: usize,
        inputs: Vec<Option<P>>,
        outputs: Vec<Option<P>>,
    },
    Backward {
        kernel: usize,
        inputs: Vec<Option<P>>,
        outputs: Vec<Option<P>>,
        d_outputs: Vec<Option<P>>,
        d_inputs: Vec<Option<P>>,
    },
    Add {
        from: P,
        to: P,
    },
    Copy {
        from: P,
        to: P,
    },
}

impl<P> Step<P> {
    /// Calls `visit` with every operand.
    pub fn each(&self, mut visit: impl FnMut(&P)) {
        match self {
            Step::Forward { inputs, outputs, .. } => inputs.iter().chain(outputs).flatten().for_each(visit),
            Step::Backward { inputs, outputs, d_outputs, d_inputs, .. } => {
                inputs.iter().chain(outputs).chain(d_outputs).chain(d_inputs).flatten().for_each(visit);
            }
            Step::Add { from, to } | Step::Copy { from, to } => {
                visit(from);
                visit(to);
            }
        }
    }

    /// Calls `visit` with every operand that is written.
    pub fn each_write(&self, mut visit: impl FnMut(&P)) {
        match self {
            Step::Forward { outputs, .. } => outputs.iter().flatten().for_each(visit),
            Step::Backward { d_inputs, .. } => d_inputs.iter().flatten().for_each(visit),
            Step::Add { to, .. } | Step::Copy { to, .. } => visit(to),
        }
    }

    /// The same step with other operands.
    pub fn map<Q>(self, mut map: impl FnMut(P) -> Q) -> Step<Q> {
        let mut all = |list: Vec<Option<P>>| list.into_iter().map(|operand| operand.map(&mut map)).collect();
        match self {
            Step::Forward { kernel, inputs, outputs } => {
                Step::Forward { kernel, inputs: all(inputs), outputs: all(outputs) }
            }
            Step::Backward { kernel, inputs, outputs, d_outputs, d_inputs } => Step::Backward {
                kernel,
                inputs: all(inputs),
                outputs: all(outputs),
                d_outputs: all(d_outputs),
                d_inputs: all(d_inputs),
            },
            Step::Add { from, to } => Step::Add { from: map(from), to: map(to) },
            Step::Copy { from, to } => Step::Copy { from: map(from), to: map(to) },
        }
    }
}

/// A graph compiled for certain shapes.
pub(super) struct Plan {
    cells: Vec<Cell>,
    kernels: Vec<(Box<dyn Kernel>, Arc<str>)>,
    steps: Vec<Step<Place>>,
    forward_steps: usize,
    /// How many elements all steps touch.
    elements: usize,
    outputs: Vec<(Place, Vec<usize>)>,
    /// Gradients by value.
    pub gradients: Vec<(ValueId, Place)>,
    /// Weights (by position) that take over a value after a training step.
    pub updates: Vec<(usize, Place)>,
}

/// What a plan computes from.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    pub inputs: &'a [&'a Tensor],
    pub weights: &'a [Cell],
    pub pool: &'a Pool,
    /// Where random numbers begin.
    pub seed: u64,
    /// Set when the run is to break off before its next step.
    pub stop: &'a AtomicBool,
}

/// The flag of who only reads.
pub(super) static NEVER: AtomicBool = AtomicBool::new(false);

impl Plan {
    pub fn new(
        cells: Vec<Cell>,
        kernels: Vec<(Box<dyn Kernel>, Arc<str>)>,
        steps: Vec<Step<Place>>,
        forward_steps: usize,
        outputs: Vec<(Place, Vec<usize>)>,
        gradients: Vec<(ValueId, Place)>,
        updates: Vec<(usize, Place)>,
    ) -> Self {
        let mut elements = 0usize;
        for step in &steps {
            step.each(|place| {
                if let Place::Cell { len, .. } = place {
                    elements = elements.saturating_add(*len);
                }
            });
        }
        Plan { cells, kernels, steps, forward_steps, elements, outputs, gradients, updates }
    }

    /// Whether it is worth more than one thread.
    pub fn is_large(&self) -> bool {
        self.elements > 1 << 20
    }

    /// The nodes that its kernels stand for, in order; of those that were put together, one.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.kernels.iter().map(|(_, label)| &**label)
    }

    /// Bytes that its cells take, and what its kernels own.
    pub fn byte_len(&self) -> usize {
        let cells: usize = self.cells.iter().map(Cell::byte_len).sum();
        let kernels: usize = self.kernels.iter().map(|(kernel, _)| kernel.owned_bytes()).sum();
        cells.saturating_add(kernels)
    }

    /// Computes the outputs. A fault names the node.
    pub fn forward(&mut self, given: Given<'_>) -> Result<(), (Arc<str>, OpError)> {
        self.run(0..self.forward_steps, given)
    }

    /// Computes the gradients, after [`Plan::forward`] with the same inputs and weights.
    pub fn backward(&mut self, given: Given<'_>) -> Result<(), (Arc<str>, OpError)> {
        self.run(self.forward_steps..self.steps.len(), given)
    }

    /// Output `index`, copied.
    pub fn output(&self, index: usize, given: Given<'_>) -> Option<Tensor> {
        let (place, shape) = self.outputs.get(index)?;
        match *place {
            Place::Absent => None,
            Place::Input { index } => given.inputs.get(index)?.reshape(shape.clone()).ok(),
            Place::Weight { index } => given.weights.get(index)?.tensor(shape),
            Place::Cell { cell, .. } => self.cells.get(cell)?.tensor(shape),
        }
    }

    /// Output `index`, where it lies.
    pub fn output_slice<'a>(&'a self, index: usize, given: Given<'a>) -> Slice<'a> {
        self.outputs.get(index).map_or(Slice::Absent, |(place, _)| self.read(*place, given))
    }

    /// The type and shape of output `index`.
    pub fn output_type<'a>(&'a self, index: usize, given: Given<'a>) -> Option<(DType, &'a [usize])> {
        let (place, shape) = self.outputs.get(index)?;
        let dtype = match *place {
            Place::Absent => return None,
            Place::Input { index } => given.inputs.get(index)?.dtype(),
            Place::Weight { index } => given.weights.get(index)?.dtype(),
            Place::Cell { cell, .. } => self.cells.get(cell)?.dtype(),
        };
        Some((dtype, shape))
    }

    /// The gradient with respect to a value, where it lies; `None` where the outputs do not depend on it.
    pub fn gradient<'a>(&'a self, value: ValueId, given: Given<'a>) -> Option<Slice<'a>> {
        let (_, place) = self.gradients.iter().find(|(known, _)| *known == value)?;
        Some(self.read(*place, given))
    }

    /// What lies at a place.
    pub fn read<'a>(&'a self, place: Place, given: Given<'a>) -> Slice<'a> {
        read(&self.cells, Some(place), given)
    }

    /// Lets `change` change what lies in a cell of the plan.
    pub fn change(&mut self, place: Place, change: impl FnOnce(&mut Cell)) {
        if let Place::Cell { cell, .. } = place
            && let Some(cell) = self.cells.get_mut(cell)
        {
            change(cell);
        }
    }

    /// Lets weights take over the values that a training step computed for them.
    pub fn apply_updates(&self, weights: &mut [Cell]) {
        for (weight, place) in &self.updates {
            let (Some(weight), Place::Cell { cell, len }) = (weights.get_mut(*weight), place) else { continue };
            if let Some(cell) = self.cells.get(*cell) {
                weight.write(cell.slice(*len));
            }
        }
    }

    fn run(&mut self, range: std::ops::Range<usize>, given: Given<'_>) -> Result<(), (Arc<str>, OpError)> {
        for step in &self.steps[range] {
            if given.stop.load(Ordering::Relaxed) {
                return Err((Arc::from(""), OpError::Stopped));
            }
            match step {
                Step::Forward { kernel, inputs, outputs } => {
                    let mut written: Operands<Cell> =
                        outputs.iter().map(|place| take(&mut self.cells, *place)).collect();
                    let reads: Operands<Slice> = inputs.iter().map(|place| read(&self.cells, *place, given)).collect();
                    let writes: Operands<SliceMut> =
                        written.iter_mut().zip(outputs).map(|(cell, place)| write(cell, *place)).collect();
                    let (ready, label) = &mut self.kernels[*kernel];
                    let env = Env { pool: given.pool, seed: mix(given.seed, *kernel as u64) };
                    let result = ready.forward(&mut Forward::new(reads, writes, env));
                    give_back(&mut self.cells, written, outputs);
                    result.map_err(|error| (label.clone(), error))?;
                }
                Step::Backward { kernel, inputs, outputs, d_outputs, d_inputs } => {
                    let mut written: Operands<Cell> =
                        d_inputs.iter().map(|place| take(&mut self.cells, *place)).collect();
                    let slices = |places: &[Option<Place>]| -> Operands<Slice> {
                        places.iter().map(|place| read(&self.cells, *place, given)).collect()
                    };
                    let (inputs, outputs, d_outputs) = (slices(inputs), slices(outputs), slices(d_outputs));
                    let writes: Operands<SliceMut> =
                        written.iter_mut().zip(d_inputs).map(|(cell, place)| write(cell, *place)).collect();
                    let (ready, label) = &mut self.kernels[*kernel];
                    let env = Env { pool: given.pool, seed: mix(given.seed, *kernel as u64) };
                    let result = ready.backward(&mut Backward::new(inputs, outputs, d_outputs, writes, env));
                    give_back(&mut self.cells, written, d_inputs);
                    result.map_err(|error| (label.clone(), error))?;
                }
                Step::Add { from, to } | Step::Copy { from, to } => {
                    let mut cell = take(&mut self.cells, Some(*to));
                    let add = matches!(step, Step::Add { .. });
                    let done = combine(write(&mut cell, Some(*to)), read(&self.cells, Some(*from), given), add);
                    give_back(&mut self.cells, [cell], &[Some(*to)]);
                    let fault = || OpError::Plan { what: "gradients of two types meet".into() };
                    done.ok_or_else(|| (Arc::from("gradient"), fault()))?;
                }
            }
        }
        Ok(())
    }
}

fn take(cells: &mut [Cell], place: Option<Place>) -> Cell {
    match place {
        Some(Place::Cell { cell, .. }) => cells.get_mut(cell).map(std::mem::take).unwrap_or_default(),
        _ => Cell::default(),
    }
}

fn give_back(cells: &mut [Cell], written: impl IntoIterator<Item = Cell>, places: &[Option<Place>]) {
    for (taken, place) in written.into_iter().zip(places) {
        if let Some(Place::Cell { cell, .. }) = place
            && let Some(cell) = cells.get_mut(*cell)
        {
            *cell = taken;
        }
    }
}

fn read<'a>(cells: &'a [Cell], place: Option<Place>, given: Given<'a>) -> Slice<'a> {
    match place {
        None | Some(Place::Absent) => Slice::Absent,
        Some(Place::Input { index }) => given.inputs.get(index).map_or(Slice::Absent, |tensor| Slice::from(*tensor)),
        Some(Place::Weight { index }) => given.weights.get(index).map_or(Slice::Absent, |cell| cell.slice(usize::MAX)),
        Some(Place::Cell { cell, len }) => cells.get(cell).map_or(Slice::Absent, |cell| cell.slice(len)),
    }
}

fn write(cell: &mut Cell, place: Option<Place>) -> SliceMut<'_> {
    match place {
        Some(Place::Cell { len, .. }) => cell.slice_mut(len),
        _ => SliceMut::Absent,
    }
}

/// `to += from`, or `to = from`.
fn combine(to: SliceMut<'_>, from: Slice<'_>, add: bool) -> Option<()> {
    fn each<T: Copy + std::ops::AddAssign>(to: &mut [T], from: &[T], add: bool) -> Option<()> {
        if to.len() != from.len() {
            return None;
        }
        match add {
            true => to.iter_mut().zip(from).for_each(|(to, from)| *to += *from),
            false => to.copy_from_slice(from),
        }
        Some(())
    }
    match (to, from) {
        (SliceMut::F32(to), Slice::F32(from)) => each(to, from, add),
        (SliceMut::F64(to), Slice::F64(from)) => each(to, from, add),
        _ => None,
    }
}
