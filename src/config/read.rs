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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use serde::Deserialize;
    use serde_json::json;

    use super::super::parse;
    use super::*;

    /// What to do when a link is full.
    #[derive(Debug, Deserialize, JsonSchema, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Overflow {
        /// Wait.
        Block,
        /// Forget the oldest.
        DropOldest,
    }

    #[derive(Debug, Deserialize, JsonSchema, PartialEq)]
    #[serde(untagged)]
    enum From {
        One(String),
        Ports(BTreeMap<String, String>),
    }

    #[derive(Debug, Deserialize, JsonSchema, PartialEq)]
    #[serde(try_from = "u32")]
    #[schemars(with = "u32")]
    struct Even(u32);

    impl TryFrom<u32> for Even {
        type Error = String;

        fn try_from(value: u32) -> Result<Self, String> {
            if value.is_multiple_of(2) { Ok(Even(value)) } else { Err(format!("{value} is odd")) }
        }
    }

    fn one() -> f32 {
        1.0
    }

    /// A stage.
    #[derive(Debug, Deserialize, JsonSchema, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Config {
        /// Samples per second.
        sample_rate_hz: u32,
        #[serde(default = "one")]
        gain: f32,
        overflow: Option<Overflow>,
        from: Option<From>,
        path: Option<PathBuf>,
        #[serde(default)]
        sizes: Vec<u8>,
        even: Option<Even>,
    }

    fn config(yaml: &str) -> Result<Config, Faults> {
        let source = Source::new("a.yaml", yaml);
        read(&parse(&source)?, &source)
    }

    #[test]
    fn a_struct_is_read() {
        let read = config(
            "sample_rate_hz: 16000\ngain: 2\noverflow: drop_oldest\nfrom: {voice: vad}\npath: x.wav\nsizes: [1]",
        );
        let expected = Config {
            sample_rate_hz: 16000,
            gain: 2.0,
            overflow: Some(Overflow::DropOldest),
            from: Some(From::Ports([("voice".to_owned(), "vad".to_owned())].into())),
            path: Some("x.wav".into()),
            sizes: vec![1],
            even: None,
        };
        assert_eq!(read.unwrap(), expected);
        assert_eq!(config("{sample_rate_hz: 1, from: vad, overflow: ~}").unwrap().from, Some(From::One("vad".into())));
    }

    #[test]
    fn every_fault_of_a_struct_at_once() {
        let text =
            config("sample_rat_hz: 1\ngain: loud\noverflow: drop\nfrom: [1]\npath: 5\nsizes: [256, -1]\neven: x\n")
                .unwrap_err()
                .to_string();
        for line in [
            "a.yaml:1:1: error: the key `sample_rat_hz` is not known here [unknown-key]",
            "a.yaml:2:7: error: `gain` has a value of the wrong type [wrong-type]",
            "a.yaml:3:11: error: `overflow` has a value that is not known [unknown-value]",
            "  expected: `block` or `drop_oldest`",
            "a.yaml:4:7: error: `from` has a value that does not fit [wrong-type]",
            "  expected: text or a mapping",
            "  help: quote it: \"5\"",
            "a.yaml:6:9: error: `sizes[0]` is out of range [out-of-range]",
            "  expected: a whole number from 0 to 255",
            "a.yaml:6:14: error: `sizes[1]` is out of range [out-of-range]",
            "a.yaml:7:7: error: `even` has a value of the wrong type [wrong-type]",
        ] {
            assert!(text.lines().any(|found| found == line), "{line:?} is not in\n{text}");
        }
    }

    #[test]
    fn what_only_deserialising_notices_is_a_fault() {
        let faults = config("{sample_rate_hz: 1, even: 3}").unwrap_err();
        assert_eq!(faults.to_string().lines().next().unwrap(), "a.yaml:1:1: error: 3 is odd [invalid-value]");
    }

    #[test]
    fn one_definition_for_schema_and_reference() {
        let schema = schema_of::<Config>();
        assert_eq!(schema["properties"]["sample_rate_hz"]["description"], json!("Samples per second."));
        assert_eq!(schema["required"], json!(["sample_rate_hz"]));
        assert_eq!(schema["additionalProperties"], json!(false));
    }
}
