//! JSON Schemas (draft 2020-12, as schemars derives them) in words.

use serde_json::Value as Json;

use super::suggest::listed;
use super::{Node, Value};

/// How many `$ref`s in a row are followed; more is a cycle.
const MAX_REFERENCES: usize = 32;
/// How deeply alternatives of alternatives are looked into for their types and words; it bounds the cost of a schema that
/// branches into itself.
pub(super) const MAX_NESTED: usize = 4;

/// A schema document, to look up what its parts refer to.
#[derive(Clone, Copy)]
pub(super) struct Document<'a>(pub &'a Json);

impl<'a> Document<'a> {
    /// The schema that a local `$ref` (`#/$defs/Name`) names.
    pub fn target(self, reference: &str) -> Option<&'a Json> {
        let pointer = reference.strip_prefix('#')?;
        if pointer.is_empty() { Some(self.0) } else { self.0.pointer(pointer) }
    }

    /// The schema behind a chain of `$ref`s; a schema without one is itself.
    pub fn resolved(self, schema: &'a Json) -> &'a Json {
        let mut schema = schema;
        for _ in 0..MAX_REFERENCES {
            match schema.get("$ref").and_then(Json::as_str).and_then(|name| self.target(name)) {
                Some(target) => schema = target,
                None => break,
            }
        }
        schema
    }

    /// The JSON types that the schema accepts, `None` for any.
    pub fn types(self, schema: &'a Json) -> Option<Vec<&'a str>> {
        self.types_within(schema, MAX_NESTED)
    }

    fn types_within(self, schema: &'a Json, depth: usize) -> Option<Vec<&'a str>> {
        let schema = self.resolved(schema);
        let depth = depth.checked_sub(1)?;
        match schema.get("type") {
            Some(Json::String(name)) => return Some(vec![name]),
            Some(Json::Array(names)) => return Some(names.iter().filter_map(Json::as_str).collect()),
            _ => {}
        }
        if let Some(values) = constants(schema) {
            return Some(values.into_iter().map(type_of).collect());
        }
        if let Some(alternatives) = alternatives(schema) {
            let mut all = Vec::new();
            for alternative in alternatives {
                all.extend(self.types_within(alternative, depth)?);
            }
            return Some(all);
        }
        schema.get("allOf")?.as_array()?.iter().find_map(|part| self.types_within(part, depth))
    }

    /// Whether the node has a type that the schema accepts.
    pub fn fits(self, node: &Node, schema: &'a Json) -> bool {
        schema != &Json::Bool(false)
            && self.types(schema).is_none_or(|types| types.into_iter().any(|name| has_type(node, name)))
    }

    /// What the schema accepts, in words: "a whole number from 0 to 255", "`mean` or `max`", "a list", "anything".
    pub fn describe(self, schema: &'a Json) -> String {
        self.describe_within(schema, MAX_NESTED)
    }

    fn describe_within(self, schema: &'a Json, depth: usize) -> String {
        let schema = self.resolved(schema);
        let Some(depth) = depth.checked_sub(1) else {
            return "anything".into();
        };
        if let Some(values) = constants(schema) {
            return listed(&values.into_iter().map(literal).collect::<Vec<_>>(), "or");
        }
        if let Some(alternatives) = alternatives(schema) {
            let mut words: Vec<String> = Vec::new();
            for alternative in alternatives {
                let word = self.describe_within(alternative, depth);
                if !words.contains(&word) {
                    words.push(word);
                }
            }
            return listed(&words, "or");
        }
        if schema.get("type").is_none()
            && let Some([part, ..]) = schema.get("allOf").and_then(Json::as_array).map(Vec::as_slice)
        {
            return self.describe_within(part, depth);
        }
        match self.types(schema) {
            None => "anything".into(),
            Some(types) => listed(&types.into_iter().map(|name| type_in_words(name, schema)).collect::<Vec<_>>(), "or"),
        }
    }
}

/// The values of `const` or `enum`.
pub(super) fn constants(schema: &Json) -> Option<Vec<&Json>> {
    match (schema.get("const"), schema.get("enum")) {
        (Some(value), _) => Some(vec![value]),
        (None, Some(Json::Array(values))) => Some(values.iter().collect()),
        _ => None,
    }
}

/// The schemas of `anyOf` or `oneOf`.
pub(super) fn alternatives(schema: &Json) -> Option<&Vec<Json>> {
    schema.get("anyOf").or_else(|| schema.get("oneOf"))?.as_array()
}

/// A JSON value as one would write it in YAML, in backquotes.
pub(super) fn literal(value: &Json) -> String {
    match value {
        Json::String(text) => super::source::quoted(text),
        other => super::source::quoted(&other.to_string()),
    }
}

/// Whether the node is of a JSON Schema type. Whole numbers are numbers too; `1.0` is not a whole number.
pub(super) fn has_type(node: &Node, name: &str) -> bool {
    match &node.value {
        Value::Null => name == "null",
        Value::Bool(_) => name == "boolean",
        Value::Int(_) => matches!(name, "integer" | "number"),
        Value::Float(_) => name == "number",
        Value::String(_) => name == "string",
        Value::Sequence(_) => name == "array",
        Value::Mapping(_) => name == "object",
    }
}

fn type_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

fn type_in_words(name: &str, schema: &Json) -> String {
    match name {
        "null" => "nothing".into(),
        "boolean" => "`true` or `false`".into(),
        "integer" => format!("a whole number{}", Bounds::of(schema, true)),
        "number" => format!("a number{}", Bounds::of(schema, false)),
        "string" => "text".into(),
        "array" => "a list".into(),
        "object" => match (schema.get("required").and_then(Json::as_array), schema.get("properties")) {
            (Some(required), Some(Json::Object(properties))) if required.len() == 1 && properties.len() == 1 => {
                format!("a mapping with {}", literal(&required[0]))
            }
            _ => "a mapping".into(),
        },
        other => other.to_owned(),
    }
}

/// The range of a number: of `minimum` and its kin, or else of the machine type named by `format`.
pub(super) struct Bounds {
    least: Option<(f64, bool)>,
    most: Option<(f64, bool)>,
    whole: bool,
}

impl Bounds {
    /// The bounds that a schema states; `whole` for integers.
    pub fn of(schema: &Json, whole: bool) -> Self {
        let number = |key: &str| schema.get(key).and_then(Json::as_f64);
        let (format_least, format_most) = match schema.get("format").and_then(Json::as_str) {
            Some("int8") => (Some(-128.0), Some(127.0)),
            Some("uint8") => (Some(0.0), Some(255.0)),
            Some("int16") => (Some(-32_768.0), Some(32_767.0)),
            Some("uint16") => (Some(0.0), Some(65_535.0)),
            Some("int32") => (Some(f64::from(i32::MIN)), Some(f64::from(i32::MAX))),
            Some("uint32") => (Some(0.0), Some(f64::from(u32::MAX))),
            Some("uint" | "uint64" | "uint128") => (Some(0.0), None),
            Some("float") => (Some(f64::from(f32::MIN)), Some(f64::from(f32::MAX))),
            _ => (None, None),
        };
        let tightest = |inclusive: Option<f64>, exclusive: Option<f64>, format: Option<f64>, least: bool| {
            let stated = [inclusive.map(|x| (x, true)), exclusive.map(|x| (x, false)), format.map(|x| (x, true))];
            stated.into_iter().flatten().reduce(|a, b| {
                let tighter = if least { b.0 > a.0 } else { b.0 < a.0 };
                if tighter || (b.0 == a.0 && !b.1) { b } else { a }
            })
        };
        Bounds {
            least: tightest(number("minimum"), number("exclusiveMinimum"), format_least, true),
            most: tightest(number("maximum"), number("exclusiveMaximum"), format_most, false),
            whole,
        }
    }

    /// Whether the number lies within; not-a-number never does.
    pub fn hold(&self, number: f64) -> bool {
        let above = self.least.is_none_or(|(least, inclusive)| number > least || (inclusive && number == least));
        let below = self.most.is_none_or(|(most, inclusive)| number < most || (inclusive && number == most));
        above && below && !number.is_nan()
    }
}

/// " from 0 to 255", " above 0", " of at least 1 and below 2"; nothing without bounds.
impl std::fmt::Display for Bounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let show = |x: f64| {
            if x.abs() >= 1e17 || (x != 0.0 && x.abs() < 1e-5) { format!("{x:e}") } else { format!("{x}") }
        };
        let machine = |x: f64| !self.whole && x.abs() == f64::from(f32::MAX);
        let least = self.least.filter(|(x, _)| !machine(*x));
        let most = self.most.filter(|(x, _)| !machine(*x));
        match (least, most) {
            (None, None) if self.least.is_some() && self.most.is_some() => f.write_str(" within the range of 32 bits"),
            (None, None) => Ok(()),
            (Some((a, true)), Some((b, true))) => write!(f, " from {} to {}", show(a), show(b)),
            (Some((a, inclusive)), None) => {
                write!(f, " {} {}", if inclusive { "of at least" } else { "above" }, show(a))
            }
            (None, Some((b, inclusive))) => {
                write!(f, " {} {}", if inclusive { "of at most" } else { "below" }, show(b))
            }
            (Some((a, from)), Some((b, to))) => {
                let from = if from { "of at least" } else { "above" };
                write!(f, " {from} {} and {} {}", show(a), if to { "at most" } else { "below" }, show(b))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn schemas_in_words() {
        for (schema, words) in [
            (json!(true), "anything"),
            (json!({}), "anything"),
            (
                json!({"type": "integer", "format": "uint8", "minimum": 0, "maximum": 255}),
                "a whole number from 0 to 255",
            ),
            (json!({"type": "integer", "format": "uint32", "minimum": 1}), "a whole number from 1 to 4294967295"),
            (json!({"type": "integer", "format": "uint64", "minimum": 0}), "a whole number of at least 0"),
            (json!({"type": "number", "exclusiveMinimum": 0, "maximum": 1}), "a number above 0 and at most 1"),
            (json!({"type": "number", "format": "float"}), "a number within the range of 32 bits"),
            (json!({"type": "number", "format": "float", "minimum": 0}), "a number of at least 0"),
            (json!({"type": ["integer", "null"]}), "a whole number or nothing"),
            (json!({"type": "string", "enum": ["mean", "max"]}), "`mean` or `max`"),
            (json!({"oneOf": [{"const": "a"}, {"const": "b"}, {"type": "array"}]}), "`a`, `b` or a list"),
            (
                json!({"anyOf": [{"$ref": "#/$defs/x"}, {"type": "null"}], "$defs": {"x": {"type": "string"}}}),
                "text or nothing",
            ),
            (json!({"type": "object", "properties": {"vad": {}}, "required": ["vad"]}), "a mapping with `vad`"),
            (json!({"$ref": "#"}), "anything"),
            (json!({"anyOf": [{"$ref": "#"}]}), "anything"),
        ] {
            assert_eq!(Document(&schema).describe(&schema), words, "{schema}");
        }
    }

    #[test]
    fn bounds_at_their_edges() {
        let schema = json!({"exclusiveMinimum": 0.0, "maximum": 1.0});
        for (number, within) in [(0.0, false), (0.1, true), (1.0, true), (1.1, false), (f64::NAN, false)] {
            assert_eq!(Bounds::of(&schema, false).hold(number), within, "{number}");
        }
    }
}
