//! From a tree to a typed config struct: one struct is schema, check and value.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value as Json};

use super::{Fault, Faults, Node, Source, Value, validate};

/// The value of a config struct, or everything that is wrong with it.
///
/// The node is checked against the schema of `T` first, so that faults have exact places; what only deserialising
/// notices (a `try_from`, say) is a fault at the whole node, code `invalid-value`.
pub fn read<T: DeserializeOwned + JsonSchema>(node: &Node, source: &Source) -> Result<T, Faults> {
    let faults = validate(node, &schema_of::<T>(), source);
    if faults.has_errors() {
        return Err(faults);
    }
    serde_json::from_value(to_json(node)).map_err(|error| {
        Fault::error("invalid-value", error.to_string()).found(node.describe()).at_node(node, source).into()
    })
}

/// The JSON Schema (draft 2020-12) of what is read into `T`.
pub fn schema_of<T: JsonSchema>() -> Json {
    SchemaSettings::draft2020_12().for_deserialize().into_generator().into_root_schema_for::<T>().into()
}

/// The tree as JSON, keys in the order of the file. `.inf` and `.nan`, which JSON lacks, become null; [`validate`]
/// refuses them where a number is wanted.
pub fn to_json(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(value) => Json::from(*value),
        Value::Float(value) => Number::from_f64(*value).map_or(Json::Null, Json::Number),
        Value::String(text) => Json::String(text.clone()),
        Value::Sequence(items) => Json::Array(items.iter().map(to_json).collect()),
        Value::Mapping(entries) => {
            Json::Object(entries.iter().map(|(key, value)| (key.name.clone(), to_json(value))).collect::<Map<_, _>>())
        }
    }
}
