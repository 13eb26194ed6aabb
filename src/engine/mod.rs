//! Floor 3: the training engine. It runs ONNX graphs on the CPU, forward and backward.
//!
//! [`Network`] is a model ready to run; it compiles the graph once for each set of input shapes: types inferred, what is
//! constant computed ahead, memory planned. An operator is one file under [`ops`], a line in its table, and knows nothing
//! of the graph around it.
//!
//! The engine knows nothing of pipelines, files other than ONNX, or clocks.

mod attributes;
mod cell;
mod compile;
mod control;
mod error;
mod kernel;
mod kernels;
mod network;
mod op;
pub mod ops;
mod plan;
mod pool;
mod program;
#[cfg(test)]
mod testing;

pub use attributes::{NodeReader, OpEntry};
pub use cell::{Cell, Scalar, Slice, SliceMut};
pub use error::{EngineError, OpError};
pub use kernel::{Backward, Env, Forward, Kernel};
pub use network::Network;
pub use op::{Inputs, Mode, Op, Reads, Signature, TensorType, ValueType, integers};
pub use pool::Pool;
