//! Floor 2: the ONNX file format. The only place that knows protobuf.
//!
//! [`Model`] is a whole model, to be loaded, edited, built and saved; [`inspect`] reads only its ports and metadata,
//! however large it is. Anything may be wrong with a file: it is an [`OnnxError`] that says what was expected, what was
//! found and what to do, never a panic, and nothing is allocated on a file's word alone.
//!
//! ```
//! use percept::onnx::{Graph, Model, Node, ValueInfo};
//! use percept::tensor::{DType, Dim, SymbolicShape, Tensor};
//!
//! let shape = SymbolicShape::Ranked(vec![Dim::Symbol("N".into()), Dim::Known(3)]);
//! let mut graph = Graph::new("scale");
//! graph.inputs.push(ValueInfo::tensor("x", DType::F32, shape.clone()));
//! graph.outputs.push(ValueInfo::tensor("y", DType::F32, shape));
//! graph.initializers.push(("factor".into(), Tensor::from_vec(vec![1.0f32, 2.0, 3.0])));
//! graph.nodes.push(Node::new("Mul", ["x", "factor"], ["y"]));
//! let model = Model::new(graph, 21);
//! assert_eq!(Model::decode(&model.encode(), None)?, model);
//! # Ok::<(), percept::onnx::OnnxError>(())
//! ```
//!
//! Source: the ONNX IR specification and onnx.proto, version 1.23.2 (IR version 14); older and newer files are read as
//! far as they use the same messages.

mod attribute;
mod dtype;
mod error;
mod external;
mod file;
mod graph;
mod header;
mod kept;
mod model;
mod place;
#[allow(missing_docs, clippy::all, clippy::pedantic, dead_code, reason = "generated from onnx.proto")]
#[rustfmt::skip]
pub(crate) mod proto;
mod sniff;
mod sparse;
#[cfg(test)]
mod tests;
mod value;
mod weights;

pub use attribute::{Attribute, AttributeKind, AttributeValue};
pub use error::{ExternalFault, OnnxError};
pub use graph::{Function, Graph, MAX_GRAPH_DEPTH, Node, OpsetImport};
pub use header::{ModelHeader, inspect};
pub use model::Model;
pub use sparse::SparseTensor;
pub use value::{ValueInfo, ValueKind};
pub use weights::decode_tensor;
