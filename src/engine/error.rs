//! What can go wrong in the engine.

use thiserror::Error;

use crate::onnx::OnnxError;
use crate::tensor::{DType, SymbolicShape, TensorError};

/// Why an operator refuses its inputs or attributes. [`EngineError::Node`] says of which node.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum OpError {
    /// An input that the operator needs is not given.
    #[error("input {input} is missing")]
    MissingInput {
        /// Its position.
        input: usize,
    },
    /// The node has more or fewer inputs or outputs than the operator takes.
    #[error("expected {expected} {what}, found {found}")]
    Arity {
        /// `inputs` or `outputs`.
        what: &'static str,
        /// How many there may be.
        expected: String,
        /// How many there are.
        found: usize,
    },
    /// An input has a data type that the operator does not take.
    #[error("input {input}: expected {expected}, found {found}")]
    DType {
        /// Its position.
        input: usize,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        found: DType,
    },
    /// An input has the wrong number of dimensions.
    #[error("input {input}: expected rank {expected}, found shape {found}")]
    Rank {
        /// Its position.
        input: usize,
        /// What its rank may be.
        expected: String,
        /// Its shape.
        found: SymbolicShape,
    },
    /// An input has the wrong shape.
    #[error("input {input}: expected {expected}, found shape {found}")]
    Shape {
        /// Its position.
        input: usize,
        /// What its shape may be.
        expected: String,
        /// Its shape.
        found: SymbolicShape,
    },
    /// Two shapes that cannot be broadcast together.
    #[error("shapes {left} and {right} cannot be broadcast together: sizes must be equal, or one of them 1")]
    Broadcast {
        /// The one.
        left: SymbolicShape,
        /// The other.
        right: SymbolicShape,
    },
    /// An attribute is missing, of the wrong type, or out of range.
    #[error("attribute `{name}`: expected {expected}, found {found}")]
    Attribute {
        /// Its name.
        name: String,
        /// What it may be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The value of an input is out of range.
    #[error("input {input}: expected {expected}, found {found}")]
    Value {
        /// Its position.
        input: usize,
        /// What it may be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A part of the operator's specification that the engine does not cover.
    #[error("{what} is not covered by the engine")]
    NotCovered {
        /// The part.
        what: String,
    },
    /// The result would be larger than any memory.
    #[error("the result would have shape {shape}, which is too large")]
    TooLarge {
        /// Its shape.
        shape: String,
    },
    /// The run was asked to stop.
    #[error("the run was stopped")]
    Stopped,
    /// A plan handed an operator something else than it was compiled for. A defect of the engine.
    #[error("the plan does not fit the operator: {what} (a defect of percept, please report it)")]
    Plan {
        /// What does not fit.
        what: String,
    },
}

/// Why a graph cannot be loaded, compiled, run or trained.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The file is no ONNX model.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// A tensor cannot be made or read as asked.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A node's operator is not covered.
    #[error("node `{node}`: operator {op_type} of {domain} version {opset} is not covered by the engine{hint}")]
    UnknownOp {
        /// The node, by its name or its first output.
        node: String,
        /// Its operator.
        op_type: String,
        /// The operator's domain.
        domain: String,
        /// The version of the operator set that the model asks for.
        opset: i64,
        /// A suggestion, or nothing.
        hint: String,
    },
    /// The model asks for a version of the operators that the engine does not know.
    #[error("the model asks for version {found} of {domain}, the engine covers {expected}")]
    Opset {
        /// The domain.
        domain: String,
        /// What is covered.
        expected: String,
        /// What was found.
        found: i64,
    },
    /// A node cannot be what it says.
    #[error("node `{node}` ({op_type}, opset {opset}{inputs}): {source}")]
    Node {
        /// The node, by its name or its first output.
        node: String,
        /// Its operator.
        op_type: String,
        /// The version of the operator set.
        opset: i64,
        /// The types of its inputs, as far as known; begins with `; inputs ` unless empty.
        inputs: String,
        /// What is wrong.
        source: OpError,
    },
    /// The graph itself is at fault.
    #[error("graph `{graph}`: {reason}")]
    Graph {
        /// Its name.
        graph: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An input is missing, unknown, or of the wrong type or shape.
    #[error("input `{name}`: expected {expected}, found {found}")]
    Input {
        /// Its name.
        name: String,
        /// What it must be.
        expected: String,
        /// What was given.
        found: String,
    },
    /// There is no value, parameter or output of that name.
    #[error("there is no {what} `{name}`{hint}")]
    NoSuch {
        /// Value, parameter, output.
        what: &'static str,
        /// The name asked for.
        name: String,
        /// The nearest name, or those there are.
        hint: String,
    },
    /// The loss or a gradient is not a number, so the step was not taken.
    #[error("step {step}: {what} is not finite; the parameters are as they were before the step: {remedy}")]
    NotFinite {
        /// The number of the step, from 0.
        step: u64,
        /// What is not finite.
        what: String,
        /// What may help.
        remedy: &'static str,
    },
    /// A setting of the training is out of range.
    #[error("{what}: expected {expected}, found {found}")]
    Setting {
        /// The setting.
        what: &'static str,
        /// What it may be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The run was stopped by [`Stop`](super::Stop).
    #[error("the run was stopped")]
    Stopped,
    /// A thread pool could not be started.
    #[error("cannot start {threads} threads: {reason}")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// What the system said.
        reason: String,
    },
}
