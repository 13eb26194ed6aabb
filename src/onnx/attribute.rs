//! Attributes of nodes (`AttributeProto`, onnx.proto).

use super::error::OnnxError;
use super::external::Folder;
use super::graph::Graph;
use super::kept::{Kept, some_text};
use super::place::Place;
use super::proto::attribute_proto::AttributeType;
use super::proto::{AttributeProto, TensorProto};
use super::sparse::SparseTensor;
use super::value::ValueInfo;
use super::weights;
use crate::tensor::Tensor;

/// A named constant that a node is made with.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// Its name: unique in the node.
    pub name: String,
    /// Its value.
    pub value: AttributeValue,
    kept: Kept<AttributeProto>,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum AttributeValue {
    /// An integer.
    Int(i64),
    /// A number.
    Float(f32),
    /// Bytes, by convention UTF-8.
    String(Vec<u8>),
    /// A tensor.
    Tensor(Tensor),
    /// A sparse tensor and its name.
    SparseTensor(String, SparseTensor),
    /// A graph: a branch of `If`, the body of `Loop` or `Scan`.
    Graph(Graph),
    /// A type: a value without a name.
    Type(ValueInfo),
    /// Integers.
    Ints(Vec<i64>),
    /// Numbers.
    Floats(Vec<f32>),
    /// Byte strings.
    Strings(Vec<Vec<u8>>),
    /// Tensors.
    Tensors(Vec<Tensor>),
    /// Sparse tensors and their names.
    SparseTensors(Vec<(String, SparseTensor)>),
    /// Graphs.
    Graphs(Vec<Graph>),
    /// Types: values without names.
    Types(Vec<ValueInfo>),
    /// Inside a function: the attribute `name` of the node that calls it, of type `kind`.
    Reference {
        /// The attribute of the calling node.
        name: String,
        /// Its type.
        kind: AttributeKind,
    },
}

/// The type of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant is the type of the attribute value it is named after")]
pub enum AttributeKind {
    Int,
    Float,
    String,
    Tensor,
    SparseTensor,
    Graph,
    Type,
    Ints,
    Floats,
    Strings,
    Tensors,
    SparseTensors,
    Graphs,
    Types,
}

impl AttributeKind {
    fn from_proto(code: AttributeType) -> Option<Self> {
        Some(match code {
            AttributeType::Undefined => return None,
            AttributeType::Int => AttributeKind::Int,
            AttributeType::Float => AttributeKind::Float,
            AttributeType::String => AttributeKind::String,
            AttributeType::Tensor => AttributeKind::Tensor,
            AttributeType::SparseTensor => AttributeKind::SparseTensor,
            AttributeType::Graph => AttributeKind::Graph,
            AttributeType::TypeProto => AttributeKind::Type,
            AttributeType::Ints => AttributeKind::Ints,
            AttributeType::Floats => AttributeKind::Floats,
            AttributeType::Strings => AttributeKind::Strings,
            AttributeType::Tensors => AttributeKind::Tensors,
            AttributeType::SparseTensors => AttributeKind::SparseTensors,
            AttributeType::Graphs => AttributeKind::Graphs,
            AttributeType::TypeProtos => AttributeKind::Types,
        })
    }

    fn to_proto(self) -> AttributeType {
        match self {
            AttributeKind::Int => AttributeType::Int,
            AttributeKind::Float => AttributeType::Float,
            AttributeKind::String => AttributeType::String,
            AttributeKind::Tensor => AttributeType::Tensor,
            AttributeKind::SparseTensor => AttributeType::SparseTensor,
            AttributeKind::Graph => AttributeType::Graph,
            AttributeKind::Type => AttributeType::TypeProto,
            AttributeKind::Ints => AttributeType::Ints,
            AttributeKind::Floats => AttributeType::Floats,
            AttributeKind::Strings => AttributeType::Strings,
            AttributeKind::Tensors => AttributeType::Tensors,
            AttributeKind::SparseTensors => AttributeType::SparseTensors,
            AttributeKind::Graphs => AttributeType::Graphs,
            AttributeKind::Types => AttributeType::TypeProtos,
        }
    }

    /// The type of an attribute that does not state it (files before IR version 2): the field that is set.
    fn of_fields(proto: &AttributeProto) -> Option<Self> {
        let fields = [
            (proto.i.is_some(), AttributeKind::Int),
            (proto.f.is_some(), AttributeKind::Float),
            (proto.s.is_some(), AttributeKind::String),
            (proto.t.is_some(), AttributeKind::Tensor),
            (proto.g.is_some(), AttributeKind::Graph),
            (proto.sparse_tensor.is_some(), AttributeKind::SparseTensor),
            (proto.tp.is_some(), AttributeKind::Type),
            (!proto.ints.is_empty(), AttributeKind::Ints),
            (!proto.floats.is_empty(), AttributeKind::Floats),
            (!proto.strings.is_empty(), AttributeKind::Strings),
            (!proto.tensors.is_empty(), AttributeKind::Tensors),
            (!proto.graphs.is_empty(), AttributeKind::Graphs),
            (!proto.sparse_tensors.is_empty(), AttributeKind::SparseTensors),
            (!proto.type_protos.is_empty(), AttributeKind::Types),
        ];
        fields.into_iter().find_map(|(set, kind)| set.then_some(kind))
    }
}

impl AttributeValue {
    /// Its type.
    pub fn kind(&self) -> AttributeKind {
        match self {
            AttributeValue::Int(_) => AttributeKind::Int,
            AttributeValue::Float(_) => AttributeKind::Float,
            AttributeValue::String(_) => AttributeKind::String,
            AttributeValue::Tensor(_) => AttributeKind::Tensor,
            AttributeValue::SparseTensor(..) => AttributeKind::SparseTensor,
            AttributeValue::Graph(_) => AttributeKind::Graph,
            AttributeValue::Type(_) => AttributeKind::Type,
            AttributeValue::Ints(_) => AttributeKind::Ints,
            AttributeValue::Floats(_) => AttributeKind::Floats,
            AttributeValue::Strings(_) => AttributeKind::Strings,
            AttributeValue::Tensors(_) => AttributeKind::Tensors,
            AttributeValue::SparseTensors(_) => AttributeKind::SparseTensors,
            AttributeValue::Graphs(_) => AttributeKind::Graphs,
            AttributeValue::Types(_) => AttributeKind::Types,
            AttributeValue::Reference { kind, .. } => *kind,
        }
    }
}

impl Attribute {
    /// An attribute.
    pub fn new(name: impl Into<String>, value: AttributeValue) -> Self {
        Attribute { name: name.into(), value, kept: Kept::default() }
    }

    /// Reads an attribute of `owner`, a node that lies in `depth` graphs.
    pub(super) fn from_proto(
        mut proto: AttributeProto,
        owner: &Place,
        folder: &Folder,
        depth: usize,
    ) -> Result<Self, OnnxError> {
        let name = proto.name.take().unwrap_or_default();
        let place = Place::Attribute { name: &name, owner };
        let fault = |expected, found: String| OnnxError::Attribute { place: place.to_string(), expected, found };
        let code = proto.r#type.take().unwrap_or_default();
        let kind = match AttributeType::try_from(code) {
            Ok(code) => AttributeKind::from_proto(code).or_else(|| AttributeKind::of_fields(&proto)),
            Err(_) => {
                return Err(fault("an attribute type that this program knows", format!("number {code}")));
            }
        };
        let kind = kind.ok_or_else(|| fault("a value", "none".into()))?;
        let nothing = |expected| move || fault(expected, "none".into());
        if let Some(name_there) = proto.ref_attr_name.take().filter(|reference| !reference.is_empty()) {
            let value = AttributeValue::Reference { name: name_there, kind };
            return Ok(Attribute { name, value, kept: Kept::new(proto) });
        }
        let value = match kind {
            // A writer may leave out a value that is zero or empty.
            AttributeKind::Int => AttributeValue::Int(proto.i.take().unwrap_or_default()),
            AttributeKind::Float => AttributeValue::Float(proto.f.take().unwrap_or_default()),
            AttributeKind::String => AttributeValue::String(proto.s.take().unwrap_or_default()),
            AttributeKind::Tensor => {
                let tensor = proto.t.as_mut().ok_or_else(nothing("a tensor"))?;
                let value = AttributeValue::Tensor(weights::take_tensor(tensor, place, folder)?);
                proto.t = proto.t.filter(|notes| **notes != TensorProto::default());
                value
            }
            AttributeKind::SparseTensor => {
                let sparse = proto.sparse_tensor.take().ok_or_else(nothing("a sparse tensor"))?;
                let (name, sparse) = SparseTensor::from_proto(*sparse, folder)?;
                AttributeValue::SparseTensor(name, sparse)
            }
            AttributeKind::Graph => {
                let graph = proto.g.take().ok_or_else(nothing("a graph"))?;
                AttributeValue::Graph(Graph::from_proto(*graph, &place, folder, depth)?)
            }
            AttributeKind::Type => {
                AttributeValue::Type(ValueInfo::from_type(*proto.tp.take().ok_or_else(nothing("a type"))?))
            }
            AttributeKind::Ints => AttributeValue::Ints(std::mem::take(&mut proto.ints)),
            AttributeKind::Floats => AttributeValue::Floats(std::mem::take(&mut proto.floats)),
            AttributeKind::Strings => AttributeValue::Strings(std::mem::take(&mut proto.strings)),
            AttributeKind::Tensors => {
                let tensors = proto.tensors.iter_mut().map(|tensor| weights::take_tensor(tensor, place, folder));
                let value = AttributeValue::Tensors(tensors.collect::<Result<_, _>>()?);
                if proto.tensors.iter().all(|notes| *notes == TensorProto::default()) {
                    proto.tensors.clear();
                }
                value
            }
            AttributeKind::SparseTensors => {
                let sparse = std::mem::take(&mut proto.sparse_tensors).into_iter();
                let sparse = sparse.map(|sparse| SparseTensor::from_proto(sparse, folder));
                AttributeValue::SparseTensors(sparse.collect::<Result<_, _>>()?)
            }
            AttributeKind::Graphs => {
                let graphs = std::mem::take(&mut proto.graphs).into_iter();
                let graphs = graphs.map(|graph| Graph::from_proto(graph, &place, folder, depth));
                AttributeValue::Graphs(graphs.collect::<Result<_, _>>()?)
            }
            AttributeKind::Types => {
                let types = std::mem::take(&mut proto.type_protos).into_iter();
                AttributeValue::Types(types.map(ValueInfo::from_type).collect())
            }
        };
        Ok(Attribute { name, value, kept: Kept::new(proto) })
    }

    pub(super) fn to_proto(&self) -> AttributeProto {
        let mut proto = self.kept.message();
        let (mut notes, mut list_notes) = (proto.t.take(), std::mem::take(&mut proto.tensors).into_iter());
        let filled = |notes: Option<TensorProto>, tensor: &Tensor| {
            let mut proto = notes.unwrap_or_default();
            weights::fill(&mut proto, tensor);
            proto
        };
        proto.name = some_text(&self.name);
        proto.r#type = Some(self.value.kind().to_proto().into());
        match &self.value {
            AttributeValue::Int(value) => proto.i = Some(*value),
            AttributeValue::Float(value) => proto.f = Some(*value),
            AttributeValue::String(value) => proto.s = Some(value.clone()),
            AttributeValue::Tensor(tensor) => {
                proto.t = Some(Box::new(filled(notes.take().map(|notes| *notes), tensor)))
            }
            AttributeValue::SparseTensor(name, sparse) => proto.sparse_tensor = Some(Box::new(sparse.to_proto(name))),
            AttributeValue::Graph(graph) => proto.g = Some(Box::new(graph.to_proto())),
            AttributeValue::Type(info) => proto.tp = Some(Box::new(info.to_type())),
            AttributeValue::Ints(values) => proto.ints = values.clone(),
            AttributeValue::Floats(values) => proto.floats = values.clone(),
            AttributeValue::Strings(values) => proto.strings = values.clone(),
            AttributeValue::Tensors(tensors) => {
                proto.tensors = tensors.iter().map(|tensor| filled(list_notes.next(), tensor)).collect();
            }
            AttributeValue::SparseTensors(sparse) => {
                proto.sparse_tensors = sparse.iter().map(|(name, sparse)| sparse.to_proto(name)).collect();
            }
            AttributeValue::Graphs(graphs) => proto.graphs = graphs.iter().map(Graph::to_proto).collect(),
            AttributeValue::Types(types) => proto.type_protos = types.iter().map(ValueInfo::to_type).collect(),
            AttributeValue::Reference { name, .. } => proto.ref_attr_name = Some(name.clone()),
        }
        proto
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{DType, SymbolicShape};

    const NODE: Place = Place::Node { name: "n", op_type: "Op", output: "y" };

    fn read(proto: AttributeProto) -> Result<Attribute, OnnxError> {
        Attribute::from_proto(proto, &NODE, &Folder::none(), 1)
    }

    #[test]
    fn every_type_of_value_round_trips() {
        let tensor = Tensor::new(vec![1, 2], vec![1.0f32, -0.5]).unwrap();
        let sparse = SparseTensor::new(Tensor::from_vec(vec![2u8]), Tensor::from_vec(vec![3i64]), vec![4]).unwrap();
        let info = ValueInfo::tensor("", DType::I64, SymbolicShape::known(&[2]));
        let mut graph = Graph::new("body");
        graph.initializers.push(("w".into(), tensor.clone()));
        let values = [
            AttributeValue::Int(-1),
            AttributeValue::Float(0.0),
            AttributeValue::String(vec![0xff, 0]),
            AttributeValue::Tensor(tensor.clone()),
            AttributeValue::SparseTensor("s".into(), sparse.clone()),
            AttributeValue::Graph(graph.clone()),
            AttributeValue::Type(info.clone()),
            AttributeValue::Ints(vec![]),
            AttributeValue::Ints(vec![1, -2]),
            AttributeValue::Floats(vec![1.5]),
            AttributeValue::Strings(vec![b"a".to_vec(), vec![]]),
            AttributeValue::Tensors(vec![tensor.clone(), Tensor::scalar(true)]),
            AttributeValue::SparseTensors(vec![("s".into(), sparse)]),
            AttributeValue::Graphs(vec![graph, Graph::default()]),
            AttributeValue::Types(vec![info.clone(), info]),
            AttributeValue::Reference { name: "alpha".into(), kind: AttributeKind::Tensors },
        ];
        for value in values {
            let attribute = Attribute::new("a", value);
            assert_eq!(read(attribute.to_proto()).unwrap(), attribute);
        }
    }

    #[test]
    fn a_missing_type_is_told_from_the_field_and_a_missing_number_is_zero() {
        let typed = |code: AttributeType| AttributeProto { r#type: Some(code.into()), ..AttributeProto::default() };
        let cases = [
            (AttributeProto { ints: vec![3], ..AttributeProto::default() }, AttributeValue::Ints(vec![3])),
            (AttributeProto { f: Some(2.0), ..AttributeProto::default() }, AttributeValue::Float(2.0)),
            (typed(AttributeType::Int), AttributeValue::Int(0)),
            (typed(AttributeType::String), AttributeValue::String(vec![])),
        ];
        for (proto, value) in cases {
            assert_eq!(read(proto).unwrap().value, value);
        }
    }

    #[test]
    fn notes_survive_and_faults_name_the_node() {
        let mut proto = Attribute::new("value", AttributeValue::Tensor(Tensor::scalar(1i32))).to_proto();
        proto.doc_string = Some("why".into());
        proto.t.as_mut().unwrap().name = Some("constant".into());
        assert_eq!(read(proto.clone()).unwrap().to_proto(), proto);
        let mut retyped = read(proto).unwrap();
        retyped.value = AttributeValue::Int(2);
        assert_eq!(retyped.to_proto().t, None);

        let typed = |code| AttributeProto { name: Some("a".into()), r#type: Some(code), ..AttributeProto::default() };
        let cases = [(4, "expected a tensor"), (5, "expected a graph"), (0, "expected a value"), (77, "number 77")];
        for (code, part) in cases {
            let error = read(typed(code)).unwrap_err().to_string();
            assert!(error.starts_with("attribute \"a\" of node Op \"n\"") && error.contains(part), "{error}");
        }
    }
}
