//! A kernel: an operator made ready for certain shapes.

use smallvec::SmallVec;

use super::cell::{Scalar, Slice, SliceMut};
use super::error::OpError;
use super::pool::Pool;

/// Operands of one step; more of them take memory anew at each step.
pub(super) type Operands<T> = SmallVec<[T; 8]>;

/// An operator ready to run for the shapes that it was built for.
///
/// A kernel may own memory: what it needs while it runs, and what [`backward`](Kernel::backward) has to know of the last
/// [`forward`](Kernel::forward). That memory is taken when it is built; running allocates nothing.
pub trait Kernel: Send {
    /// Reads the inputs and writes every element of every wanted output.
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError>;

    /// Given the gradient of the loss with respect to the outputs, *overwrites* every element of each wanted gradient
    /// with respect to an input. Called only after `forward`, and only for operators that say they are differentiable.
    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let _ = io;
        Err(OpError::NotCovered { what: "its derivative".into() })
    }

    /// Bytes of memory that it owns beside its values: what grows with the shapes that it was built for. They count in the
    /// bound of [`Network::set_plan_memory`](super::Network::set_plan_memory).
    fn owned_bytes(&self) -> usize {
        0
    }
}

/// Bytes that elements take, for [`Kernel::owned_bytes`].
pub fn bytes<T>(elements: &[T]) -> usize {
    size_of_val(elements)
}

/// What every kernel may use while it runs.
#[derive(Clone, Copy)]
pub struct Env<'a> {
    /// The threads.
    pub pool: &'a Pool,
    /// Differs from step to step and from node to node; the same for the same seed: where random numbers begin.
    pub seed: u64,
}

/// What a forward pass reads and writes.
pub struct Forward<'a> {
    inputs: Operands<Slice<'a>>,
    outputs: Operands<SliceMut<'a>>,
    /// Threads and random numbers.
    pub env: Env<'a>,
}

/// What a backward pass reads and writes.
pub struct Backward<'a> {
    inputs: Operands<Slice<'a>>,
    outputs: Operands<Slice<'a>>,
    d_outputs: Operands<Slice<'a>>,
    d_inputs: Operands<SliceMut<'a>>,
    /// Threads and random numbers (the same seed as in the forward pass).
    pub env: Env<'a>,
}

fn read<'a, T: Scalar>(slices: &[Slice<'a>], index: usize, what: &str) -> Result<&'a [T], OpError> {
    let slice = slices.get(index).copied().unwrap_or(Slice::Absent);
    T::slice(slice).ok_or_else(|| wrong::<T>(what, index))
}

fn read_optional<'a, T: Scalar>(slices: &[Slice<'a>], index: usize, what: &str) -> Result<Option<&'a [T]>, OpError> {
    match slices.get(index).copied().unwrap_or(Slice::Absent) {
        Slice::Absent => Ok(None),
        slice => T::slice(slice).map(Some).ok_or_else(|| wrong::<T>(what, index)),
    }
}

fn take<'a, T: Scalar>(slices: &mut [SliceMut<'a>], index: usize, what: &str) -> Result<Option<&'a mut [T]>, OpError> {
    match slices.get_mut(index).map(|slice| std::mem::replace(slice, SliceMut::Absent)) {
        None | Some(SliceMut::Absent) => Ok(None),
        Some(slice) => T::slice_mut(slice).map(Some).ok_or_else(|| wrong::<T>(what, index)),
    }
}

#[cold]
fn wrong<T: Scalar>(what: &str, index: usize) -> OpError {
    OpError::Plan { what: format!("{what} {index} is not there, or not of {}", T::DTYPE) }
}

impl<'a> Forward<'a> {
    pub(super) fn new(inputs: Operands<Slice<'a>>, outputs: Operands<SliceMut<'a>>, env: Env<'a>) -> Self {
        Forward { inputs, outputs, env }
    }

    /// Input `index`.
    pub fn input<T: Scalar>(&self, index: usize) -> Result<&'a [T], OpError> {
        read(&self.inputs, index, "input")
    }

    /// Input `index`, if it is given.
    pub fn optional_input<T: Scalar>(&self, index: usize) -> Result<Option<&'a [T]>, OpError> {
        read_optional(&self.inputs, index, "input")
    }

    /// How many inputs there are.
    pub fn input_count(&self) -> usize {
        self.inputs.len()
    }

    /// Output `index`, to be written; it can be had once.
    pub fn output<T: Scalar>(&mut self, index: usize) -> Result<&'a mut [T], OpError> {
        take(&mut self.outputs, index, "output")?.ok_or_else(|| wrong::<T>("output", index))
    }

    /// Output `index`, if it is wanted; it can be had once.
    pub fn optional_output<T: Scalar>(&mut self, index: usize) -> Result<Option<&'a mut [T]>, OpError> {
        take(&mut self.outputs, index, "output")
    }
}

impl<'a> Backward<'a> {
    pub(super) fn new(
        inputs: Operands<Slice<'a>>,
        outputs: Operands<Slice<'a>>,
        d_outputs: Operands<Slice<'a>>,
        d_inputs: Operands<SliceMut<'a>>,
        env: Env<'a>,
    ) -> Self {
        Backward { inputs, outputs, d_outputs, d_inputs, env }
    }

    /// Input `index` of the forward pass; only when [`Op::reads`](super::Op::reads) says so.
    pub fn input<T: Scalar>(&self, index: usize) -> Result<&'a [T], OpError> {
        read(&self.inputs, index, "input")
    }

    /// Input `index` of the forward pass, if it was given.
    pub fn optional_input<T: Scalar>(&self, index: usize) -> Result<Option<&'a [T]>, OpError> {
        read_optional(&self.inputs, index, "input")
    }

    /// Output `index` of the forward pass; only when [`Op::reads`](super::Op::reads) says so.
    pub fn output<T: Scalar>(&self, index: usize) -> Result<&'a [T], OpError> {
        read(&self.outputs, index, "output")
    }

    /// Output `index` of the forward pass, if it was wanted and is read.
    pub fn optional_output<T: Scalar>(&self, index: usize) -> Result<Option<&'a [T]>, OpError> {
        read_optional(&self.outputs, index, "output")
    }

    /// The gradient with respect to output `index`.
    pub fn d_output<T: Scalar>(&self, index: usize) -> Result<&'a [T], OpError> {
        read(&self.d_outputs, index, "gradient of output")
    }

    /// The gradient with respect to output `index`; `None` when the loss does not depend on it.
    pub fn optional_d_output<T: Scalar>(&self, index: usize) -> Result<Option<&'a [T]>, OpError> {
        read_optional(&self.d_outputs, index, "gradient of output")
    }

    /// Where the gradient with respect to input `index` goes, if it is wanted; it can be had once.
    pub fn d_input<T: Scalar>(&mut self, index: usize) -> Result<Option<&'a mut [T]>, OpError> {
        take(&mut self.d_inputs, index, "gradient of input")
    }
}
