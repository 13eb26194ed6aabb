//! What a model takes and gives, without its weights.

use std::path::Path;

use prost::Message;

use super::error::OnnxError;
use super::graph::OpsetImport;
use super::model::{self, Parts};
use super::proto::{OperatorSetIdProto, StringStringEntryProto, ValueInfoProto};
use super::value::ValueInfo;

/// The outside of a model: its ports and its papers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ModelHeader {
    /// The name of its graph.
    pub graph_name: String,
    /// The inputs that a caller has to give (those without an initializer).
    pub inputs: Vec<ValueInfo>,
    /// The outputs.
    pub outputs: Vec<ValueInfo>,
    /// Free pairs of key and value, in the file's order.
    pub metadata: Vec<(String, String)>,
    /// The operator sets its nodes come from.
    pub opset_imports: Vec<OpsetImport>,
    /// The program that made it.
    pub producer_name: String,
    /// That program's version.
    pub producer_version: String,
    /// The version of the file format.
    pub ir_version: i64,
    /// The nodes of its graph, without those of inner graphs and functions.
    pub node_count: usize,
}

/// Reads the header of the model at `path`. Weights and nodes are skipped, not read from the disk, so this takes
/// milliseconds and little memory however large the model is; external files are not looked for. It therefore accepts
/// faults that lie in weights or nodes, which [`Model::load`](super::Model::load) finds.
pub fn inspect(path: impl AsRef<Path>) -> Result<ModelHeader, OnnxError> {
    model::read_file::<HeaderProto>(path.as_ref()).map(ModelHeader::from_proto)
}

impl ModelHeader {
    /// Reads the header of a model in memory, as [`inspect`] does.
    pub fn decode(bytes: &[u8]) -> Result<Self, OnnxError> {
        model::read_bytes::<HeaderProto>(bytes).map(Self::from_proto)
    }

    /// The version of the operators of `domain` (empty for ONNX's own) that its nodes come from.
    pub fn opset(&self, domain: &str) -> Option<i64> {
        OpsetImport::find(&self.opset_imports, domain)
    }

    fn from_proto(proto: HeaderProto) -> Self {
        let graph = proto.graph.unwrap_or_default();
        let sparse = graph.sparse_initializer.into_iter().filter_map(|sparse| sparse.values);
        let constant: std::collections::HashSet<String> =
            graph.initializer.into_iter().chain(sparse).filter_map(|tensor| tensor.name).collect();
        let inputs = graph.input.into_iter().map(ValueInfo::from_proto);
        ModelHeader {
            graph_name: graph.name.unwrap_or_default(),
            inputs: inputs.filter(|input| !constant.contains(&input.name)).collect(),
            outputs: graph.output.into_iter().map(ValueInfo::from_proto).collect(),
            metadata: model::metadata(proto.metadata_props),
            opset_imports: OpsetImport::list_from_proto(proto.opset_import),
            producer_name: proto.producer_name.unwrap_or_default(),
            producer_version: proto.producer_version.unwrap_or_default(),
            ir_version: proto.ir_version.unwrap_or_default(),
            node_count: graph.node.len(),
        }
    }
}

impl Parts for HeaderProto {
    fn parts(&self) -> (i64, bool, usize) {
        (self.ir_version.unwrap_or_default(), self.graph.is_some(), self.opset_import.len())
    }
}

// The messages below are onnx.proto's with most fields left out: protobuf skips what a message does not name.

#[derive(Clone, PartialEq, Message)]
struct HeaderProto {
    #[prost(int64, optional, tag = "1")]
    ir_version: Option<i64>,
    #[prost(string, optional, tag = "2")]
    producer_name: Option<String>,
    #[prost(string, optional, tag = "3")]
    producer_version: Option<String>,
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphHeaderProto>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<OperatorSetIdProto>,
    #[prost(message, repeated, tag = "14")]
    metadata_props: Vec<StringStringEntryProto>,
}

#[derive(Clone, PartialEq, Message)]
struct GraphHeaderProto {
    #[prost(message, repeated, tag = "1")]
    node: Vec<SkippedProto>,
    #[prost(string, optional, tag = "2")]
    name: Option<String>,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<NameProto>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "15")]
    sparse_initializer: Vec<SparseNameProto>,
}

#[derive(Clone, PartialEq, Message)]
struct SkippedProto {}

#[derive(Clone, PartialEq, Message)]
struct NameProto {
    #[prost(string, optional, tag = "8")]
    name: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct SparseNameProto {
    #[prost(message, optional, tag = "1")]
    values: Option<NameProto>,
}
