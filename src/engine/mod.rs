//! Floor 3: the training engine. It runs ONNX graphs on the CPU, forward and backward.
//!
//! [`Network`] is a model ready to run; it compiles the graph once for each set of input shapes: types inferred, what is
//! constant computed ahead, memory planned. An operator is one file under [`ops`], a line in its table, and knows nothing
//! of the graph around it.
//!
//! The engine knows nothing of pipelines, files other than ONNX, or clocks.

mod attributes;
mod budget;
mod cell;
mod compile;
mod control;
mod error;
pub mod init;
mod kernel;
mod kernels;
mod layers;
pub mod losses;
mod network;
mod op;
pub mod ops;
pub mod optimizers;
mod plan;
mod pool;
mod program;
mod random;
mod schedule;
mod shapes;
#[cfg(test)]
mod testing;
mod training;

pub use attributes::{NodeReader, OpEntry};
pub use cell::{Cell, Scalar, Slice, SliceMut};
pub use error::{EngineError, OpError};
pub use init::Initializer;
pub use kernel::{Backward, Env, Forward, Kernel};
pub use layers::*;
pub use losses::Loss;
pub use network::{Network, Stop};
pub use op::{Activation, Inputs, Mode, Op, Reads, Signature, TensorType, ValueType, integers};
pub use optimizers::Optimizer;
pub use pool::Pool;
pub(crate) use random::mix;
pub use schedule::{Plateau, Schedule};
pub use shapes::{Inferred, infer_shapes, write_shapes};
pub(crate) use training::matches;
pub use training::{Clip, Penalty, Training, TrainingOptions, TrainingState};
