//! Values of a graph: name, type and shape.

use std::fmt;

use super::dtype;
use super::kept::{Kept, some_text};
use super::proto::tensor_shape_proto::{Dimension, dimension};
use super::proto::{TensorShapeProto, TypeProto, ValueInfoProto, type_proto};
use crate::tensor::{DType, Dim, SymbolicShape};

/// What a value is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ValueKind {
    /// A dense tensor.
    Tensor,
    /// A sparse tensor.
    SparseTensor,
    /// A list of values of one type.
    Sequence,
    /// Values by key.
    Map {
        /// The type of the keys; `None` when the file does not say.
        key: Option<DType>,
    },
    /// A value, or none.
    Optional,
    /// A type that only its own domain knows.
    Opaque,
    /// The file does not say: shape inference has to.
    Untyped,
}

impl ValueKind {
    /// The name used in messages.
    pub const fn name(self) -> &'static str {
        match self {
            ValueKind::Tensor => "tensor",
            ValueKind::SparseTensor => "sparse tensor",
            ValueKind::Sequence => "sequence",
            ValueKind::Map { .. } => "map",
            ValueKind::Optional => "optional",
            ValueKind::Opaque => "opaque",
            ValueKind::Untyped => "untyped",
        }
    }
}

/// A named value of a graph: an input, an output, or one in between (ONNX `ValueInfoProto`).
///
/// `dtype` and `shape` are those of the tensor itself, or, in a sequence, a map or an optional, of the innermost
/// tensor. A negative size, which some exporters write for "unknown", reads as [`Dim::Any`].
#[derive(Clone, Debug, PartialEq)]
pub struct ValueInfo {
    /// Its name: unique in the graph. Empty for a type that stands alone in an attribute.
    pub name: String,
    /// The data type of its elements; `None` when the file does not say or [`DType`] lacks it
    /// ([`ValueInfo::dtype_name`] tells the two apart).
    pub dtype: Option<DType>,
    /// Its shape; [`SymbolicShape::Unranked`] when the file does not say.
    pub shape: SymbolicShape,
    /// What it is made of.
    pub kind: ValueKind,
    kept: Kept<ValueInfoProto>,
}

impl ValueInfo {
    /// A dense tensor.
    pub fn tensor(name: impl Into<String>, dtype: DType, shape: SymbolicShape) -> Self {
        ValueInfo { name: name.into(), dtype: Some(dtype), shape, kind: ValueKind::Tensor, kept: Kept::default() }
    }

    /// A value of `kind` around tensors of `dtype` and `shape`.
    pub fn of_kind(kind: ValueKind, name: impl Into<String>, dtype: Option<DType>, shape: SymbolicShape) -> Self {
        ValueInfo { name: name.into(), dtype, shape, kind, kept: Kept::default() }
    }

    /// The name of the element type, also of one that [`DType`] lacks (`float8e4m3fn`, `int4`); `None` when the file
    /// does not say.
    pub fn dtype_name(&self) -> Option<String> {
        match self.dtype {
            Some(dtype) => Some(dtype.name().to_owned()),
            None => self.kept_code().filter(|code| *code != 0).map(dtype::name_of_code),
        }
    }

    /// The element type code the file has where [`DType`] has no counterpart.
    fn kept_code(&self) -> Option<i32> {
        let mut kept = self.kept.get()?.r#type.clone()?;
        innermost(&mut kept).and_then(|(code, _)| *code).filter(|code| dtype::from_code(*code).is_none())
    }

    pub(super) fn from_proto(mut proto: ValueInfoProto) -> Self {
        let name = proto.name.take().unwrap_or_default();
        let stated = proto.r#type.take();
        let empty = stated.as_ref().filter(|stated| **stated == TypeProto::default()).cloned();
        let mut info = Self::from_type(stated.unwrap_or_default());
        proto.r#type = info.kept.get().and_then(|kept| kept.r#type.clone()).or(empty);
        info.name = name;
        info.kept = Kept::new(proto);
        info
    }

    /// A type that stands alone, as a value without a name.
    pub(super) fn from_type(mut proto: TypeProto) -> Self {
        use type_proto::Value;
        let kind = match &proto.value {
            Some(Value::TensorType(_)) => ValueKind::Tensor,
            Some(Value::SparseTensorType(_)) => ValueKind::SparseTensor,
            Some(Value::SequenceType(_)) => ValueKind::Sequence,
            Some(Value::MapType(map)) => ValueKind::Map { key: map.key_type.and_then(dtype::from_code) },
            Some(Value::OptionalType(_)) => ValueKind::Optional,
            Some(Value::OpaqueType(_)) => ValueKind::Opaque,
            None => ValueKind::Untyped,
        };
        let (dtype, shape) = match innermost(&mut proto) {
            None => (None, SymbolicShape::Unranked),
            Some((code, shape)) => (code.and_then(dtype::from_code), shape_from_proto(shape.as_ref())),
        };
        // A plain tensor type is said in full by the shown fields; the rest is kept whole.
        let plain = ValueInfo { name: String::new(), dtype, shape, kind, kept: Kept::default() };
        let kept = match plain.to_type() == proto {
            true => Kept::default(),
            false => Kept::new(ValueInfoProto { r#type: Some(proto), ..ValueInfoProto::default() }),
        };
        ValueInfo { kept, ..plain }
    }

    pub(super) fn to_proto(&self) -> ValueInfoProto {
        let mut proto = self.kept.message();
        proto.name = some_text(&self.name);
        // A type that says nothing is written only where one was read.
        proto.r#type = Some(self.to_type()).filter(|made| *made != TypeProto::default() || proto.r#type.is_some());
        proto
    }

    /// The type, without the name. What was kept gives the nesting and the denotations, the shown fields all else.
    pub(super) fn to_type(&self) -> TypeProto {
        let kept = self.kept.get().and_then(|kept| kept.r#type.clone());
        let mut proto = match kept {
            Some(kept) if same_kind(self.kind, &kept) => kept,
            _ => fresh(self.kind),
        };
        if let Some((code, shape)) = innermost(&mut proto) {
            *code = self.dtype.map(dtype::to_code).or(code.filter(|code| dtype::from_code(*code).is_none()));
            update_shape(shape, &self.shape);
        }
        proto
    }
}

impl fmt::Display for ValueInfo {
    /// `x: f32 [N, 80]`, `seq: sequence of i64 [?]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.name)?;
        match self.kind {
            ValueKind::Tensor => {}
            ValueKind::Opaque | ValueKind::Untyped => return f.write_str(self.kind.name()),
            kind => write!(f, "{} of ", kind.name())?,
        }
        write!(f, "{} {}", self.dtype_name().as_deref().unwrap_or("any type"), self.shape)
    }
}

/// A type of `kind` whose innermost tensor says nothing yet.
fn fresh(kind: ValueKind) -> TypeProto {
    use type_proto::Value;
    let tensor = || {
        let value = Value::TensorType(type_proto::Tensor::default());
        Some(Box::new(TypeProto { value: Some(value), denotation: None }))
    };
    let value = match kind {
        ValueKind::Tensor => Some(Value::TensorType(type_proto::Tensor::default())),
        ValueKind::SparseTensor => Some(Value::SparseTensorType(type_proto::SparseTensor::default())),
        ValueKind::Sequence => Some(Value::SequenceType(Box::new(type_proto::Sequence { elem_type: tensor() }))),
        ValueKind::Optional => Some(Value::OptionalType(Box::new(type_proto::Optional { elem_type: tensor() }))),
        ValueKind::Map { key } => {
            let map = type_proto::Map { key_type: key.map(dtype::to_code), value_type: tensor() };
            Some(Value::MapType(Box::new(map)))
        }
        ValueKind::Opaque => Some(Value::OpaqueType(type_proto::Opaque::default())),
        ValueKind::Untyped => None,
    };
    TypeProto { value, denotation: None }
}

fn same_kind(kind: ValueKind, proto: &TypeProto) -> bool {
    use type_proto::Value;
    match (kind, &proto.value) {
        (ValueKind::Tensor, Some(Value::TensorType(_)))
        | (ValueKind::SparseTensor, Some(Value::SparseTensorType(_)))
        | (ValueKind::Sequence, Some(Value::SequenceType(_)))
        | (ValueKind::Optional, Some(Value::OptionalType(_)))
        | (ValueKind::Opaque, Some(Value::OpaqueType(_)))
        | (ValueKind::Untyped, None) => true,
        (ValueKind::Map { key }, Some(Value::MapType(map))) => key == map.key_type.and_then(dtype::from_code),
        _ => false,
    }
}

/// Element type code and shape of the innermost tensor, if there is one.
fn innermost(proto: &mut TypeProto) -> Option<(&mut Option<i32>, &mut Option<TensorShapeProto>)> {
    use type_proto::Value;
    let mut proto = proto;
    loop {
        proto = match proto.value.as_mut()? {
            Value::TensorType(tensor) => return Some((&mut tensor.elem_type, &mut tensor.shape)),
            Value::SparseTensorType(tensor) => return Some((&mut tensor.elem_type, &mut tensor.shape)),
            Value::SequenceType(sequence) => sequence.elem_type.as_deref_mut()?,
            Value::MapType(map) => map.value_type.as_deref_mut()?,
            Value::OptionalType(optional) => optional.elem_type.as_deref_mut()?,
            Value::OpaqueType(_) => return None,
        };
    }
}

fn shape_from_proto(proto: Option<&TensorShapeProto>) -> SymbolicShape {
    match proto {
        None => SymbolicShape::Unranked,
        Some(shape) => SymbolicShape::Ranked(shape.dim.iter().map(dim_from_proto).collect()),
    }
}

fn dim_from_proto(proto: &Dimension) -> Dim {
    match &proto.value {
        Some(dimension::Value::DimValue(size)) => usize::try_from(*size).map_or(Dim::Any, Dim::Known),
        Some(dimension::Value::DimParam(name)) if !name.is_empty() => Dim::Symbol(name.as_str().into()),
        Some(dimension::Value::DimParam(_)) | None => Dim::Any,
    }
}

/// Writes `shape` into `proto`, leaving dimensions that say the same already (and their denotations) as they are.
fn update_shape(proto: &mut Option<TensorShapeProto>, shape: &SymbolicShape) {
    let SymbolicShape::Ranked(dims) = shape else {
        *proto = None;
        return;
    };
    let proto = proto.get_or_insert_default();
    proto.dim.resize(dims.len(), Dimension::default());
    for (written, dim) in proto.dim.iter_mut().zip(dims) {
        if dim_from_proto(written) != *dim {
            written.value = match dim {
                Dim::Known(size) => Some(dimension::Value::DimValue(i64::try_from(*size).unwrap_or(i64::MAX))),
                Dim::Symbol(name) => Some(dimension::Value::DimParam(name.to_string())),
                Dim::Any => None,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use type_proto::Value;

    fn tensor_type(code: i32, dims: Option<Vec<Dimension>>) -> TypeProto {
        let shape = dims.map(|dim| TensorShapeProto { dim });
        let value = Value::TensorType(type_proto::Tensor { elem_type: Some(code), shape });
        TypeProto { value: Some(value), denotation: None }
    }

    fn dim(value: dimension::Value, denotation: Option<&str>) -> Dimension {
        Dimension { value: Some(value), denotation: denotation.map(str::to_owned) }
    }

    #[test]
    fn types_read_as_told_and_come_back_whole() {
        use dimension::Value::{DimParam, DimValue};
        let dims = vec![
            dim(DimParam("N".into()), Some("DATA_BATCH")),
            dim(DimValue(80), None),
            dim(DimValue(-1), None),
            Dimension::default(),
        ];
        let sequence = |inner| TypeProto {
            value: Some(Value::SequenceType(Box::new(type_proto::Sequence { elem_type: Some(Box::new(inner)) }))),
            denotation: Some("WORDS".into()),
        };
        let optional = |inner| TypeProto {
            value: Some(Value::OptionalType(Box::new(type_proto::Optional { elem_type: Some(Box::new(inner)) }))),
            denotation: None,
        };
        let empty_sequence = TypeProto { value: Some(Value::SequenceType(Box::default())), denotation: None };
        let cases = [
            (tensor_type(1, Some(dims)), "v: f32 [N, 80, ?, ?]"),
            (tensor_type(7, Some(vec![])), "v: i64 []"),
            (tensor_type(7, None), "v: i64 […]"),
            (tensor_type(17, Some(vec![])), "v: float8e4m3fn []"),
            (tensor_type(0, None), "v: any type […]"),
            (sequence(tensor_type(8, None)), "v: sequence of string […]"),
            (optional(sequence(tensor_type(22, None))), "v: optional of int4 […]"),
            (empty_sequence, "v: sequence of any type […]"),
            (TypeProto::default(), "v: untyped"),
        ];
        let cases = cases.into_iter().map(|(made, text)| (Some(made), text));
        for (made, text) in cases.chain([(None, "v: untyped")]) {
            let proto = ValueInfoProto {
                name: Some("v".into()),
                r#type: made,
                doc_string: Some("why".into()),
                metadata_props: vec![],
            };
            let info = ValueInfo::from_proto(proto.clone());
            assert_eq!(info.to_string(), text);
            assert_eq!(info.to_proto(), proto, "{text}");
        }
    }

    #[test]
    fn edits_are_written_and_keep_the_denotations() {
        let batch = dim(dimension::Value::DimParam("N".into()), Some("DATA_BATCH"));
        let mut info = ValueInfo::from_type(tensor_type(17, Some(vec![batch])));
        info.dtype = Some(DType::F32);
        info.shape = SymbolicShape::known(&[4]);
        let expected = dim(dimension::Value::DimValue(4), Some("DATA_BATCH"));
        assert_eq!(info.to_type(), tensor_type(1, Some(vec![expected])));
        info.kind = ValueKind::Sequence;
        let back = ValueInfo::from_type(info.to_type());
        assert_eq!((back.kind, back.dtype, back.shape), (ValueKind::Sequence, Some(DType::F32), info.shape));
    }

    #[test]
    fn made_values_round_trip() {
        let key = Some(DType::String);
        for kind in [ValueKind::Tensor, ValueKind::SparseTensor, ValueKind::Sequence, ValueKind::Map { key }] {
            for shape in [SymbolicShape::Unranked, SymbolicShape::Ranked(vec![Dim::Any, Dim::Symbol("T".into())])] {
                let info = ValueInfo::of_kind(kind, "x", Some(DType::BF16), shape);
                assert_eq!(ValueInfo::from_proto(info.to_proto()), info);
            }
        }
    }
}
