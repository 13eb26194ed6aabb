//! What an operator is: its attributes, its shape rule, and the kernels that it builds.

use std::fmt;
use std::sync::Arc;

use super::cell::{Slice, SliceMut};
use super::error::OpError;
use super::kernel::Kernel;
use crate::onnx::AttributeValue;
use crate::tensor::{DType, Dim, SymbolicShape, Tensor};

/// An ONNX operator with its attributes.
///
/// An implementation is one file under `ops/`, with one line in [`ops::OPS`](super::ops::OPS). It knows nothing of the
/// graph around it. Tests walk that table: what the shape rule says is what the kernel writes, the derivative agrees
/// with finite differences, and reading back its own attributes gives the same operator.
pub trait Op: fmt::Debug + Send + Sync {
    /// Its attributes as ONNX names them, without those that have their default values.
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        Vec::new()
    }

    /// The types of the outputs, as far as those of the inputs determine them: unknown sizes give unknown sizes.
    /// Returns one type for each output that the node names (and may return more).
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError>;

    /// A kernel for inputs and outputs of known shapes.
    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError>;

    /// The inputs whose *values* the shapes of the outputs depend on (`shape` of Reshape). Where such a value is not a
    /// constant, the graph is compiled anew for each value that it takes.
    fn shape_inputs(&self) -> &'static [usize] {
        &[]
    }

    /// Whether a gradient flows to input `index` (only ever to inputs of f32 and f64).
    fn is_differentiable(&self, index: usize) -> bool {
        let _ = index;
        false
    }

    /// What the backward pass reads of the forward pass.
    fn reads(&self) -> Reads {
        Reads::ALL
    }

    /// Whether output 0 is input 0 under another shape, element for element: no kernel is run then.
    fn is_view(&self) -> bool {
        false
    }

    /// Whether the same inputs may give other outputs, so that it is never computed ahead.
    fn is_random(&self) -> bool {
        false
    }

    /// The function that output 0 is of input 0, element by element, where the derivative follows from the result alone.
    /// The operator before may then apply it to its own result, see [`takes_activation`](Op::takes_activation).
    fn activation(&self) -> Option<Arc<dyn Activation>> {
        None
    }

    /// Whether [`build`](Op::build) heeds [`Signature::activation`]: output 0 is then the activation of what it would be
    /// otherwise, and the kernel's backward pass, which reads that output, takes the activation's derivative as well.
    /// Not for an operator that [`reads`](Op::reads) output 0 for itself.
    fn takes_activation(&self) -> bool {
        false
    }

    /// Whether each element of the outputs depends on the elements at the same place of the inputs alone, where all of
    /// them have one shape: a chain of such operators is computed piece by piece. The kernel for a piece is built like
    /// any other, so it must depend on nothing but the number of elements, and keep nothing from one call to the next.
    fn is_elementwise(&self) -> bool {
        false
    }

    /// Outputs of a *training* step that replace inputs afterwards, as (output, input): running statistics. Each has the
    /// type of the input. In training they are computed also where the node does not name them; those of frozen weights
    /// are not taken over.
    fn updates(&self) -> &'static [(usize, usize)] {
        &[]
    }
}

/// A function of one number, applied to slices by the kernel that computes its argument, while that is at hand.
pub trait Activation: fmt::Debug + Send + Sync {
    /// Replaces each `x` by `y = f(x)`. Slices of f32 and f64; others stay as they are.
    fn apply(&self, values: SliceMut<'_>);

    /// Writes `dx = dy·f'(x)`, from `y = f(x)`. The three slices have one type and length.
    fn gradient(&self, y: Slice<'_>, dy: Slice<'_>, dx: SliceMut<'_>);
}

/// Which values of the forward pass the backward pass reads. What it does not read can be overwritten in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reads {
    /// The inputs, as bits.
    inputs: u32,
    /// The outputs, as bits.
    outputs: u32,
}

impl Reads {
    /// All inputs and outputs.
    pub const ALL: Reads = Reads { inputs: u32::MAX, outputs: u32::MAX };
    /// The same, and output 0.
    pub const fn with_result(self) -> Reads {
        Reads { outputs: self.outputs | 1, ..self }
    }

    /// All inputs, no output.
    pub const INPUTS: Reads = Reads { inputs: u32::MAX, outputs: 0 };
    /// All outputs, no input.
    pub const OUTPUTS: Reads = Reads { inputs: 0, outputs: u32::MAX };
    /// Nothing but the gradients.
    pub const NOTHING: Reads = Reads { inputs: 0, outputs: 0 };

    /// These inputs and outputs, by position (below 31; from there on all or none together).
    pub const fn of(inputs: &[usize], outputs: &[usize]) -> Reads {
        Reads { inputs: bits(inputs), outputs: bits(outputs) }
    }

    /// Whether input `index` is read.
    pub fn input(self, index: usize) -> bool {
        self.inputs >> index.min(31) & 1 == 1
    }

    /// Whether output `index` is read.
    pub fn output(self, index: usize) -> bool {
        self.outputs >> index.min(31) & 1 == 1
    }
}

const fn bits(positions: &[usize]) -> u32 {
    let mut bits = 0;
    let mut i = 0;
    while i < positions.len() {
        bits |= 1 << if positions[i] > 31 { 31 } else { positions[i] };
        i += 1;
    }
    bits
}

/// What is known of a value before anything runs.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueType {
    /// Its data type.
    pub dtype: DType,
    /// Its shape, as far as known.
    pub shape: SymbolicShape,
    /// The value itself, where it is a constant.
    pub value: Option<Tensor>,
}

impl ValueType {
    /// A value of `dtype` and `shape`.
    pub fn new(dtype: DType, shape: SymbolicShape) -> Self {
        ValueType { dtype, shape, value: None }
    }

    /// A value of `dtype` with these dimensions.
    pub fn ranked(dtype: DType, dims: Vec<Dim>) -> Self {
        ValueType::new(dtype, SymbolicShape::Ranked(dims))
    }

    /// A value of `dtype` with these sizes.
    pub fn known(dtype: DType, sizes: &[usize]) -> Self {
        ValueType::new(dtype, SymbolicShape::known(sizes))
    }

    /// A constant.
    pub fn constant(tensor: Tensor) -> Self {
        ValueType { dtype: tensor.dtype(), shape: tensor.symbolic_shape(), value: Some(tensor) }
    }

    /// The sizes, when all are known.
    pub fn sizes(&self) -> Option<Vec<usize>> {
        self.shape.sizes()
    }

    /// The dimensions, when their number is known.
    pub fn dims(&self) -> Option<&[Dim]> {
        self.shape.dims()
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.dtype, self.shape)
    }
}

/// The inputs of a node, for its shape rule.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    types: &'a [Option<ValueType>],
    outputs: usize,
}

impl<'a> Inputs<'a> {
    /// Inputs of these types (`None`: left out), of a node that names `outputs` outputs.
    pub fn new(types: &'a [Option<ValueType>], outputs: usize) -> Self {
        Inputs { types, outputs }
    }

    /// How many outputs the node names, left-out ones between them counted.
    pub fn output_count(&self) -> usize {
        self.outputs
    }

    /// How many inputs the node names, left-out ones counted.
    pub fn len(&self) -> usize {
        self.types.len()
    }

    /// Whether there is no input.
    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    /// Refuses another number of inputs, or of outputs, than these.
    pub fn expect(
        &self,
        inputs: std::ops::RangeInclusive<usize>,
        outputs: std::ops::RangeInclusive<usize>,
    ) -> Result<(), OpError> {
        for (what, allowed, found) in [("inputs", inputs, self.len()), ("outputs", outputs, self.outputs)] {
            if !allowed.contains(&found) {
                let expected = match (*allowed.start(), *allowed.end()) {
                    (least, most) if least == most => least.to_string(),
                    (least, usize::MAX) => format!("at least {least}"),
                    (least, most) => format!("{least} to {most}"),
                };
                return Err(OpError::Arity { what, expected, found });
            }
        }
        Ok(())
    }

    /// Input `index`, which must be there.
    pub fn required(&self, index: usize) -> Result<&'a ValueType, OpError> {
        self.optional(index).ok_or(OpError::MissingInput { input: index })
    }

    /// Input `index`, if it is there.
    pub fn optional(&self, index: usize) -> Option<&'a ValueType> {
        self.types.get(index)?.as_ref()
    }

    /// Input `index`, of f32 or f64.
    pub fn float(&self, index: usize) -> Result<&'a ValueType, OpError> {
        self.of(index, "f32 or f64", |dtype| matches!(dtype, DType::F32 | DType::F64))
    }

    /// Input `index`, of a number type (neither bool nor string).
    pub fn number(&self, index: usize) -> Result<&'a ValueType, OpError> {
        self.of(index, "a number", |dtype| !matches!(dtype, DType::Bool | DType::String))
    }

    /// Input `index`, of one of the types that `accepts`; `expected` names them.
    pub fn of(
        &self,
        index: usize,
        expected: &'static str,
        accepts: impl Fn(DType) -> bool,
    ) -> Result<&'a ValueType, OpError> {
        let input = self.required(index)?;
        match accepts(input.dtype) {
            true => Ok(input),
            false => Err(OpError::DType { input: index, expected, found: input.dtype }),
        }
    }

    /// Refuses input `index`, where it is given, unless it has `dtype`.
    pub fn same_dtype(&self, index: usize, dtype: DType) -> Result<(), OpError> {
        match self.optional(index) {
            Some(input) if input.dtype != dtype => {
                Err(OpError::DType { input: index, expected: dtype.name(), found: input.dtype })
            }
            _ => Ok(()),
        }
    }

    /// The dimensions of input `index`, if known; an error when their number lies outside `ranks`.
    pub fn dims(&self, index: usize, ranks: std::ops::RangeInclusive<usize>) -> Result<Option<&'a [Dim]>, OpError> {
        let input = self.required(index)?;
        match input.dims() {
            Some(dims) if !ranks.contains(&dims.len()) => {
                let expected = match (*ranks.start(), *ranks.end()) {
                    (least, most) if least == most => least.to_string(),
                    (least, usize::MAX) => format!("{least} or more"),
                    (least, most) => format!("{least} to {most}"),
                };
                Err(OpError::Rank { input: index, expected, found: input.shape.clone() })
            }
            dims => Ok(dims),
        }
    }

    /// The values of input `index` as integers, where it is a constant of integers; `None` when it is not known yet.
    pub fn integers(&self, index: usize) -> Result<Option<Vec<i64>>, OpError> {
        let input = self.required(index)?;
        let Some(value) = &input.value else {
            return match input.dtype {
                DType::I64 | DType::I32 => Ok(None),
                found => Err(OpError::DType { input: index, expected: "i64 or i32", found }),
            };
        };
        integers(value).map(Some).ok_or(OpError::DType { input: index, expected: "i64 or i32", found: input.dtype })
    }
}

/// The elements of a tensor of i64 or i32 as i64.
pub fn integers(tensor: &Tensor) -> Option<Vec<i64>> {
    match tensor.dtype() {
        DType::I64 => tensor.as_slice::<i64>().ok().map(<[i64]>::to_vec),
        DType::I32 => tensor.as_slice::<i32>().ok().map(|values| values.iter().map(|v| i64::from(*v)).collect()),
        _ => None,
    }
}

/// One input or output of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorType {
    /// Its data type.
    pub dtype: DType,
    /// Its sizes.
    pub shape: Vec<usize>,
    /// The value itself, where it is a constant.
    pub value: Option<Tensor>,
}

impl TensorType {
    /// How many elements it has.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a graph is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Outputs only: dropout passes everything, normalisation uses its running statistics.
    Inference,
    /// Gradients as well: dropout drops, normalisation uses the batch's statistics and updates the running ones.
    Training,
}

/// What a kernel is built for: all shapes are known.
#[derive(Clone, Debug)]
pub struct Signature {
    /// The inputs; `None` where one is left out.
    pub inputs: Vec<Option<TensorType>>,
    /// The outputs; `None` where nobody wants one.
    pub outputs: Vec<Option<TensorType>>,
    /// What for.
    pub mode: Mode,
    /// Which gradients with respect to inputs the backward pass will be asked for; all false without one.
    pub wants: Vec<bool>,
    /// Which inputs are weights that this training leaves as they are; none where nothing is trained.
    pub frozen: Vec<bool>,
    /// What is to be applied to output 0; only where the operator [takes](Op::takes_activation) it.
    pub activation: Option<Arc<dyn Activation>>,
}

impl Signature {
    /// Input `index`, which must be there.
    pub fn input(&self, index: usize) -> Result<&TensorType, OpError> {
        self.optional_input(index).ok_or(OpError::MissingInput { input: index })
    }

    /// Input `index`, if it is there.
    pub fn optional_input(&self, index: usize) -> Option<&TensorType> {
        self.inputs.get(index)?.as_ref()
    }

    /// Output `index`, which must be wanted.
    pub fn output(&self, index: usize) -> Result<&TensorType, OpError> {
        self.optional_output(index).ok_or_else(|| OpError::Plan { what: format!("output {index} is not planned") })
    }

    /// Output `index`, if it is wanted.
    pub fn optional_output(&self, index: usize) -> Option<&TensorType> {
        self.outputs.get(index)?.as_ref()
    }

    /// Whether input `index` is a weight that this training leaves as it is.
    pub fn is_frozen(&self, index: usize) -> bool {
        self.frozen.get(index).copied().unwrap_or(false)
    }

    /// Whether the gradient with respect to input `index` will be asked for.
    pub fn wants(&self, index: usize) -> bool {
        self.wants.get(index).copied().unwrap_or(false)
    }
}
