//! Floor 1: tensors, data types and shapes.
//!
//! A [`Tensor`] is a data type, a shape and a shared immutable buffer: cloning one copies no data, and a session borrows
//! its elements as they lie. Shapes of graphs may hold unknowns ([`Dim`]); those of tensors never do.

mod buffer;
mod dtype;
mod shape;
#[allow(clippy::module_inception, reason = "the type that the module is named after")]
mod tensor;

pub use buffer::Buffer;
pub use dtype::{DType, Element};
pub use shape::{Dim, ShapeMismatch, SymbolicShape};
pub use tensor::{Tensor, TensorData, TensorError};

pub use half::{bf16, f16};
