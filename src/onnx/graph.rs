//! Graphs, nodes and functions (`GraphProto`, `NodeProto`, `FunctionProto`, onnx.proto).

use std::collections::{HashMap, HashSet};

use super::attribute::{Attribute, AttributeValue};
use super::error::OnnxError;
use super::external::Folder;
use super::kept::{Kept, some_text};
use super::place::Place;
use super::proto::{FunctionProto, GraphProto, NodeProto, OperatorSetIdProto, TensorProto};
use super::sparse::SparseTensor;
use super::value::ValueInfo;
use super::weights;
use crate::tensor::Tensor;

/// How deep graphs may lie inside one another: the model's own graph has depth 1, a branch of an `If` in it 2.
pub const MAX_GRAPH_DEPTH: usize = 16;

/// A computation: nodes in topological order, over named values.
///
/// Nothing here is checked beyond the format itself: names may be missing, twice or in the wrong order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// Its name.
    pub name: String,
    /// What goes in. Before IR version 4 every initializer is listed here too: [`Graph::free_inputs`] leaves them out.
    pub inputs: Vec<ValueInfo>,
    /// What comes out.
    pub outputs: Vec<ValueInfo>,
    /// Constants by name: the weights.
    pub initializers: Vec<(String, Tensor)>,
    /// Constants by name that are stored sparsely.
    pub sparse_initializers: Vec<(String, SparseTensor)>,
    /// The operations.
    pub nodes: Vec<Node>,
    /// Types and shapes of values in between, where the exporter wrote them down.
    pub value_info: Vec<ValueInfo>,
    pub(crate) kept: Kept<GraphProto>,
}

/// One operation of a graph.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// The operator: `Conv`, `If`, or a function of the model.
    pub op_type: String,
    /// The operator's domain; empty (or `ai.onnx`) for ONNX's own.
    pub domain: String,
    /// Its name for people; may be empty.
    pub name: String,
    /// Which of several functions of one name it calls (IR version 10); nearly always empty.
    pub overload: String,
    /// The values that go in, in the operator's order; an empty name stands for an optional one left out.
    pub inputs: Vec<String>,
    /// The values that come out, likewise.
    pub outputs: Vec<String>,
    /// Its attributes.
    pub attributes: Vec<Attribute>,
    pub(crate) kept: Kept<NodeProto>,
}

/// An operator that the model itself defines by other operators (IR version 8).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Function {
    /// The name that nodes call it by.
    pub name: String,
    /// Its domain.
    pub domain: String,
    /// Which of several functions of that name (IR version 10).
    pub overload: String,
    /// Names of its inputs, in order.
    pub inputs: Vec<String>,
    /// Names of its outputs, in order.
    pub outputs: Vec<String>,
    /// Attributes that a caller must give.
    pub attributes: Vec<String>,
    /// Attributes that a caller may give, with their defaults.
    pub attribute_defaults: Vec<Attribute>,
    /// The operations.
    pub nodes: Vec<Node>,
    /// The operator sets its nodes come from.
    pub opset_imports: Vec<OpsetImport>,
    /// Types and shapes of values in between.
    pub value_info: Vec<ValueInfo>,
    pub(crate) kept: Kept<FunctionProto>,
}

/// A set of operators, at a version.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OpsetImport {
    /// Its domain; empty (or `ai.onnx`) for ONNX's own.
    pub domain: String,
    /// Its version, from 1.
    pub version: i64,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Self {
        Graph { name: name.into(), ..Graph::default() }
    }

    /// The inputs that a caller has to give: those without an initializer.
    pub fn free_inputs(&self) -> impl Iterator<Item = &ValueInfo> {
        let names = self.initializers.iter().map(|(name, _)| name.as_str());
        let names = names.chain(self.sparse_initializers.iter().map(|(name, _)| name.as_str()));
        let constant: HashSet<&str> = names.collect();
        self.inputs.iter().filter(move |input| !constant.contains(input.name.as_str()))
    }

    /// The initializer of that name.
    pub fn initializer(&self, name: &str) -> Option<&Tensor> {
        self.initializers.iter().find(|(known, _)| known == name).map(|(_, tensor)| tensor)
    }

    /// Reads a graph that lies in `depth` others.
    pub(super) fn from_proto(
        mut proto: GraphProto,
        owner: &dyn std::fmt::Display,
        folder: &Folder,
        depth: usize,
    ) -> Result<Self, OnnxError> {
        if depth >= MAX_GRAPH_DEPTH {
            return Err(OnnxError::TooDeep { limit: MAX_GRAPH_DEPTH, place: owner.to_string() });
        }
        let name = proto.name.take().unwrap_or_default();
        let mut initializers = Vec::with_capacity(proto.initializer.len());
        let mut notes = Vec::new();
        for mut tensor in std::mem::take(&mut proto.initializer) {
            let name = tensor.name.take().unwrap_or_default();
            let value = weights::take_tensor(&mut tensor, Place::Initializer { name: &name }, folder)?;
            if tensor != TensorProto::default() {
                notes.push(TensorProto { name: Some(name.clone()), ..tensor });
            }
            initializers.push((name, value));
        }
        proto.initializer = notes;
        let sparse = std::mem::take(&mut proto.sparse_initializer).into_iter();
        let sparse = sparse.map(|sparse| SparseTensor::from_proto(sparse, folder));
        Ok(Graph {
            inputs: values(&mut proto.input),
            outputs: values(&mut proto.output),
            value_info: values(&mut proto.value_info),
            initializers,
            sparse_initializers: sparse.collect::<Result<_, _>>()?,
            nodes: nodes(&mut proto.node, folder, depth + 1)?,
            name,
            kept: Kept::new(proto),
        })
    }

    pub(super) fn to_proto(&self) -> GraphProto {
        let mut proto = self.kept.message();
        let notes = std::mem::take(&mut proto.initializer).into_iter();
        let mut notes: HashMap<_, _> = notes.map(|notes| (notes.name().to_owned(), notes)).collect();
        let initializers = self.initializers.iter().map(|(name, tensor)| {
            let mut proto = notes.remove(name).unwrap_or_default();
            proto.name = some_text(name);
            weights::fill(&mut proto, tensor);
            proto
        });
        proto.initializer = initializers.collect();
        proto.name = some_text(&self.name);
        proto.input = self.inputs.iter().map(ValueInfo::to_proto).collect();
        proto.output = self.outputs.iter().map(ValueInfo::to_proto).collect();
        proto.value_info = self.value_info.iter().map(ValueInfo::to_proto).collect();
        proto.sparse_initializer = self.sparse_initializers.iter().map(|(name, s)| s.to_proto(name)).collect();
        proto.node = self.nodes.iter().map(Node::to_proto).collect();
        proto
    }

    /// Whether graphs lie inside one another at most `limit` deep, this one counted.
    pub(super) fn is_within(&self, limit: usize) -> bool {
        limit > 0 && nodes_are_within(&self.nodes, limit - 1)
    }
}

impl Node {
    /// A node of ONNX's own domain.
    pub fn new<I, O>(op_type: impl Into<String>, inputs: I, outputs: O) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
        O: IntoIterator<Item: Into<String>>,
    {
        Node {
            op_type: op_type.into(),
            inputs: inputs.into_iter().map(Into::into).collect(),
            outputs: outputs.into_iter().map(Into::into).collect(),
            ..Node::default()
        }
    }

    /// The same node with one attribute more.
    pub fn with(mut self, name: impl Into<String>, value: AttributeValue) -> Self {
        self.attributes.push(Attribute::new(name, value));
        self
    }

    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&AttributeValue> {
        self.attributes.iter().find(|attribute| attribute.name == name).map(|attribute| &attribute.value)
    }

    fn from_proto(mut proto: NodeProto, folder: &Folder, depth: usize) -> Result<Self, OnnxError> {
        let name = proto.name.take().unwrap_or_default();
        let op_type = proto.op_type.take().unwrap_or_default();
        let outputs = std::mem::take(&mut proto.output);
        let output = outputs.first().map_or("", String::as_str);
        let place = Place::Node { name: &name, op_type: &op_type, output };
        Ok(Node {
            attributes: attributes(&mut proto.attribute, &place, folder, depth)?,
            domain: proto.domain.take().unwrap_or_default(),
            overload: proto.overload.take().unwrap_or_default(),
            inputs: std::mem::take(&mut proto.input),
            outputs,
            op_type,
            name,
            kept: Kept::new(proto),
        })
    }

    fn to_proto(&self) -> NodeProto {
        NodeProto {
            op_type: some_text(&self.op_type),
            domain: some_text(&self.domain),
            name: some_text(&self.name),
            overload: some_text(&self.overload),
            input: self.inputs.clone(),
            output: self.outputs.clone(),
            attribute: self.attributes.iter().map(Attribute::to_proto).collect(),
            ..self.kept.message()
        }
    }
}

impl Function {
    pub(super) fn from_proto(mut proto: FunctionProto, folder: &Folder) -> Result<Self, OnnxError> {
        let name = proto.name.take().unwrap_or_default();
        let place = Place::Function { name: &name };
        Ok(Function {
            domain: proto.domain.take().unwrap_or_default(),
            overload: proto.overload.take().unwrap_or_default(),
            inputs: std::mem::take(&mut proto.input),
            outputs: std::mem::take(&mut proto.output),
            attributes: std::mem::take(&mut proto.attribute),
            attribute_defaults: attributes(&mut proto.attribute_proto, &place, folder, 1)?,
            nodes: nodes(&mut proto.node, folder, 1)?,
            opset_imports: OpsetImport::list_from_proto(std::mem::take(&mut proto.opset_import)),
            value_info: values(&mut proto.value_info),
            name,
            kept: Kept::new(proto),
        })
    }

    pub(super) fn to_proto(&self) -> FunctionProto {
        FunctionProto {
            name: some_text(&self.name),
            domain: some_text(&self.domain),
            overload: some_text(&self.overload),
            input: self.inputs.clone(),
            output: self.outputs.clone(),
            attribute: self.attributes.clone(),
            attribute_proto: self.attribute_defaults.iter().map(Attribute::to_proto).collect(),
            node: self.nodes.iter().map(Node::to_proto).collect(),
            opset_import: OpsetImport::list_to_proto(&self.opset_imports),
            value_info: self.value_info.iter().map(ValueInfo::to_proto).collect(),
            ..self.kept.message()
        }
    }

    pub(super) fn is_within(&self, limit: usize) -> bool {
        limit > 0 && nodes_are_within(&self.nodes, limit - 1)
    }
}

impl OpsetImport {
    /// Version `version` of the operators of `domain`.
    pub fn new(domain: impl Into<String>, version: i64) -> Self {
        OpsetImport { domain: domain.into(), version }
    }

    /// The version of `domain` among `imports`; empty and `ai.onnx` are the same domain.
    pub(super) fn find(imports: &[OpsetImport], domain: &str) -> Option<i64> {
        let plain = |domain: &str| domain.is_empty() || domain == "ai.onnx";
        let same = |import: &&OpsetImport| import.domain == domain || plain(&import.domain) && plain(domain);
        imports.iter().find(same).map(|import| import.version)
    }

    pub(super) fn list_from_proto(protos: Vec<OperatorSetIdProto>) -> Vec<Self> {
        let read = |proto: OperatorSetIdProto| OpsetImport::new(proto.domain().to_owned(), proto.version());
        protos.into_iter().map(read).collect()
    }

    pub(super) fn list_to_proto(imports: &[Self]) -> Vec<OperatorSetIdProto> {
        let write = |import: &OpsetImport| OperatorSetIdProto {
            domain: Some(import.domain.clone()),
            version: Some(import.version),
        };
        imports.iter().map(write).collect()
    }
}

fn values(protos: &mut Vec<super::proto::ValueInfoProto>) -> Vec<ValueInfo> {
    std::mem::take(protos).into_iter().map(ValueInfo::from_proto).collect()
}

fn nodes(protos: &mut Vec<NodeProto>, folder: &Folder, depth: usize) -> Result<Vec<Node>, OnnxError> {
    std::mem::take(protos).into_iter().map(|node| Node::from_proto(node, folder, depth)).collect()
}

fn attributes(
    protos: &mut Vec<super::proto::AttributeProto>,
    owner: &Place,
    folder: &Folder,
    depth: usize,
) -> Result<Vec<Attribute>, OnnxError> {
    let protos = std::mem::take(protos).into_iter();
    protos.map(|proto| Attribute::from_proto(proto, owner, folder, depth)).collect()
}

fn nodes_are_within(nodes: &[Node], limit: usize) -> bool {
    nodes.iter().flat_map(|node| &node.attributes).all(|attribute| match &attribute.value {
        AttributeValue::Graph(graph) => graph.is_within(limit),
        AttributeValue::Graphs(graphs) => graphs.iter().all(|graph| graph.is_within(limit)),
        _ => true,
    })
}
