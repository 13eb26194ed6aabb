//! Layers: one file each. A layer only adds ONNX nodes and weights to a graph; it has no gradient code of its own.

mod builder;
mod conv;
mod dense;

pub use builder::{Builder, Value};
pub use conv::{Conv, Pool2d};
pub use dense::Dense;
