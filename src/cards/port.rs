//! The ports of a graph, as a card states them.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

use crate::tensor::{DType, Dim, SymbolicShape};

/// Inputs and outputs of one graph, in the graph's order.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Ports {
    /// The inputs. Default: none.
    #[serde(default)]
    pub inputs: Vec<Port>,
    /// The outputs. Default: none.
    #[serde(default)]
    pub outputs: Vec<Port>,
}

impl Ports {
    /// The input of this name.
    pub fn input(&self, name: &str) -> Option<&Port> {
        self.inputs.iter().find(|port| port.name == name)
    }

    /// The output of this name.
    pub fn output(&self, name: &str) -> Option<&Port> {
        self.outputs.iter().find(|port| port.name == name)
    }
}

/// One input or output of a graph.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Port {
    /// Its name in the graph.
    pub name: String,
    /// The data type of its elements.
    #[serde(deserialize_with = "read_dtype")]
    #[schemars(with = "DTypeName")]
    pub dtype: DType,
    /// A list of sizes, names of unknown sizes (the same name in one graph is one size), and `"?"` for free ones; an empty
    /// list is a scalar. Default: any rank.
    #[serde(default = "unranked", deserialize_with = "read_shape")]
    #[schemars(with = "Vec<DimText>")]
    pub shape: SymbolicShape,
}

fn unranked() -> SymbolicShape {
    SymbolicShape::Unranked
}

fn read_dtype<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DType, D::Error> {
    let name = Cow::<str>::deserialize(deserializer)?;
    DType::from_name(&name).ok_or_else(|| {
        let known: Vec<_> = DType::ALL.iter().map(|dtype| dtype.name()).collect();
        de::Error::custom(format!("expected a data type ({}), found `{name}`", known.join(", ")))
    })
}

fn read_shape<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SymbolicShape, D::Error> {
    let dims = Vec::<DimText>::deserialize(deserializer)?;
    let dims = dims.into_iter().map(|dim| match dim {
        DimText::Size(size) => usize::try_from(size).map(Dim::Known).map_err(de::Error::custom),
        DimText::Name(name) if name == "?" => Ok(Dim::Any),
        DimText::Name(name) => Ok(Dim::Symbol(name.into())),
    });
    dims.collect::<Result<_, _>>().map(SymbolicShape::Ranked)
}

/// A dimension as it is written.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a size (a whole number), the name of an unknown size, or \"?\"")]
enum DimText {
    Size(u64),
    Name(String),
}

impl JsonSchema for DimText {
    fn schema_name() -> Cow<'static, str> {
        "Dim".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A size, the name of an unknown size, or \"?\".",
            "oneOf": [{"type": "integer", "minimum": 0}, {"type": "string", "minLength": 1}],
        })
    }
}

/// The schema of a data type's name.
struct DTypeName;

impl JsonSchema for DTypeName {
    fn schema_name() -> Cow<'static, str> {
        "DType".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<_> = DType::ALL.iter().map(|dtype| dtype.name()).collect();
        json_schema!({"type": "string", "enum": names, "description": "The data type of a tensor's elements."})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_cards_write() {
        for (json, dtype, shape) in [
            (r#"{"name": "a", "dtype": "f32", "shape": [1, "N", "?", 0]}"#, DType::F32, "[1, N, ?, 0]"),
            (r#"{"name": "a", "dtype": "i64", "shape": []}"#, DType::I64, "[]"),
            (r#"{"name": "a", "dtype": "bool"}"#, DType::Bool, "[…]"),
        ] {
            let port: Port = serde_json::from_str(json).unwrap();
            assert_eq!((port.dtype, port.shape.to_string().as_str()), (dtype, shape), "{json}");
        }
    }

    #[test]
    fn refuses_what_is_no_port() {
        for (json, says) in [
            (r#"{"name": "a", "dtype": "float"}"#, "f16, bf16, f32"),
            (r#"{"name": "a", "dtype": "f32", "shape": [-1]}"#, "expected a size"),
            (r#"{"name": "a", "dtype": "f32", "shape": [1.5]}"#, "expected a size"),
            (r#"{"name": "a", "dtype": "f32", "shape": 3}"#, "sequence"),
            (r#"{"name": "a", "dtype": "f32", "size": [3]}"#, "unknown field"),
            (r#"{"dtype": "f32"}"#, "missing field `name`"),
        ] {
            let error = serde_json::from_str::<Port>(json).unwrap_err().to_string();
            assert!(error.contains(says), "{json}: {error}");
        }
    }
}
