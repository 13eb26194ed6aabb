//! Floor 5: one session trait for every way to run a model.
//!
//! A [`Session`] is one loaded model. It says which tensors it takes and gives ([`Port`]), runs on named [`Value`]s,
//! and can be cancelled from another thread. What runs it is a [`Provider`]; nothing here knows which library that is.
//! ONNX Runtime stands behind it in [`ort`], the only place that names that crate, and percept's own engine in
//! [`engine`]. How a model that runs is exchanged for another is [`Exchange`].

pub mod check;
pub mod engine;
mod error;
mod exchange;
mod options;
pub mod ort;
mod session;
mod source;
mod value;

pub use error::{InferenceError, PortRole};
pub use exchange::{Exchange, Snapshot, Superseded};
pub use options::{Backend, ConvSearch, CudaOptions, Provider, SessionOptions, ShapeProfile, TensorRtOptions};
pub use session::{Cancel, Canceller, Metadata, Port, Session};
pub use source::ModelSource;
pub use value::{NativeValue, Value};
