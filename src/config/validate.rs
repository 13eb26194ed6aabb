//! A tree against a JSON Schema: everything that is wrong, at once, with the place of each.

use std::collections::HashSet;

use serde_json::{Map, Value as Json};

use super::mismatch::{limits, named};
use super::node::join;
use super::parse::MAX_FAULTS;
use super::schema::{Bounds, Document, constants, has_type};
use super::source::quoted;
use super::suggest::suggest;
use super::{Fault, Faults, Key, Node, Source, Value, to_json};

/// How many pairs of value and schema are compared before giving up; only a schema that branches into itself needs more.
const MAX_STEPS: usize = 2_000_000;
/// How deeply schemas for one and the same mapping may be nested, to collect the keys that they name.
const MAX_IN_PLACE: usize = 32;

/// Checks `node`, read from `source`, against a JSON Schema of draft 2020-12, and reports every fault at its place.
///
/// Understood: `type` `const` `enum` `minimum` `maximum` `exclusiveMinimum` `exclusiveMaximum` `multipleOf` `minLength`
/// `maxLength` `items` `prefixItems` `minItems` `maxItems` `uniqueItems` `properties` `required` `additionalProperties`
/// `unevaluatedProperties` (as `false`) `minProperties` `maxProperties` `allOf` `anyOf` `oneOf`, local `$ref`, and the
/// integer formats and `float` as ranges. `oneOf` asks for at least one match, as serde does. Other words of the
/// vocabulary accept everything.
///
/// Stricter than JSON Schema in two points: `1.0` is not a whole number, and `.inf` and `.nan` are no numbers.
///
/// Codes: `wrong-type`, `unknown-value`, `unknown-key`, `missing-key`, `out-of-range`, `wrong-length`, `not-finite`,
/// `duplicate-item`, `not-allowed`, `bad-schema`.
pub fn validate(node: &Node, schema: &Json, source: &Source) -> Faults {
    let mut validator = Validator { document: Document(schema), source, steps: 0, active: Vec::new() };
    let mut faults = Faults::new();
    validator.check(node, schema, "", &mut faults);
    faults
}

/// A walk over a tree and a schema.
pub(super) struct Validator<'a> {
    pub document: Document<'a>,
    pub source: &'a Source,
    steps: usize,
    /// The pairs of value and schema, by address, that are being compared: to meet one again is a cycle of `$ref`s.
    active: Vec<(*const Node, *const Json)>,
}

impl<'a> Validator<'a> {
    /// Adds everything that is wrong with `node`, which is found at `path`.
    pub fn check(&mut self, node: &Node, schema: &'a Json, path: &str, faults: &mut Faults) {
        if faults.len() >= MAX_FAULTS {
            return;
        }
        self.steps += 1;
        let pair = (std::ptr::from_ref(node), std::ptr::from_ref(schema));
        if self.steps > MAX_STEPS || self.active.contains(&pair) {
            let fault = Fault::error("bad-schema", "the schema of this value refers to itself without end");
            faults.push(fault.at_node(node, self.source).path(path));
            return;
        }
        self.active.push(pair);
        self.check_keywords(node, schema, path, faults);
        self.active.pop();
    }

    fn check_keywords(&mut self, node: &Node, schema: &'a Json, path: &str, faults: &mut Faults) {
        let Json::Object(keywords) = schema else {
            if schema == &Json::Bool(false) {
                let fault = Fault::error("not-allowed", "no value is allowed here").found(node.describe());
                faults.push(fault.at_node(node, self.source).path(path));
            }
            return;
        };
        if let Some(Json::String(name)) = keywords.get("$ref") {
            match self.document.target(name) {
                Some(target) => self.check(node, target, path, faults),
                None => {
                    let fault = Fault::error(
                        "bad-schema",
                        format!("the schema refers to {}, which is not there", quoted(name)),
                    );
                    faults.push(fault.at_node(node, self.source).path(path));
                }
            }
        }
        if !self.type_fits(node, schema, path, faults) {
            return;
        }
        for part in keywords.get("allOf").and_then(Json::as_array).into_iter().flatten() {
            self.check(node, part, path, faults);
        }
        for choice in ["anyOf", "oneOf"] {
            if let Some(Json::Array(choices)) = keywords.get(choice) {
                self.check_alternatives(node, choices, path, faults);
            }
        }
        if let Some(values) = constants(schema) {
            self.check_constants(node, &values, path, faults);
        }
        match &node.value {
            Value::Int(_) | Value::Float(_) => self.check_number(node, schema, path, faults),
            Value::String(text) => {
                let limits = limits(schema, "minLength", "maxLength");
                faults.extend(self.wrong_length(node, text.chars().count(), "characters", limits, path));
            }
            Value::Sequence(items) => self.check_items(node, items, schema, path, faults),
            Value::Mapping(entries) => self.check_entries(node, entries, schema, path, faults),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn type_fits(&self, node: &Node, schema: &'a Json, path: &str, faults: &mut Faults) -> bool {
        let fits = match schema.get("type") {
            Some(Json::String(name)) => has_type(node, name),
            Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).any(|name| has_type(node, name)),
            _ => true,
        };
        if !fits {
            faults.push(self.wrong_type(node, schema, path));
        }
        fits
    }

    fn check_constants(&self, node: &Node, values: &[&Json], path: &str, faults: &mut Faults) {
        let found = to_json(node);
        let same = |value: &&Json| **value == found || (value.as_f64().is_some() && value.as_f64() == found.as_f64());
        if !values.iter().any(same) {
            faults.push(self.unknown_value(node, values, &[], path));
        }
    }

    fn check_number(&self, node: &Node, schema: &Json, path: &str, faults: &mut Faults) {
        let Some(number) = node.as_f64() else { return };
        let fault = if !number.is_finite() {
            Fault::error("not-finite", format!("{} is not a finite number", named(path))).expected("a finite number")
        } else {
            let whole = schema.get("type").and_then(Json::as_str) == Some("integer");
            let bounds = Bounds::of(schema, whole);
            let step = schema.get("multipleOf").and_then(Json::as_f64).filter(|step| *step > 0.0);
            if !bounds.hold(number) {
                let kind = if whole { "a whole number" } else { "a number" };
                Fault::error("out-of-range", format!("{} is out of range", named(path)))
                    .expected(format!("{kind}{bounds}"))
            } else if let Some(step) = step.filter(|step| (number / step - (number / step).round()).abs() > 1e-9) {
                Fault::error("out-of-range", format!("{} is out of step", named(path)))
                    .expected(format!("a multiple of {step}"))
            } else {
                return;
            }
        };
        faults.push(fault.found(node.describe()).at_node(node, self.source).path(path));
    }

    fn check_items(&mut self, node: &Node, items: &[Node], schema: &'a Json, path: &str, faults: &mut Faults) {
        faults.extend(self.wrong_length(node, items.len(), "items", limits(schema, "minItems", "maxItems"), path));
        let first = schema.get("prefixItems").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
        let rest = schema.get("items");
        for (i, item) in items.iter().enumerate() {
            if let Some(schema) = first.get(i).or(rest) {
                self.check(item, schema, &format!("{path}[{i}]"), faults);
            }
        }
        if schema.get("uniqueItems") == Some(&Json::Bool(true)) {
            let mut seen = HashSet::new();
            for (i, item) in items.iter().enumerate() {
                if !seen.insert(to_json(item).to_string()) {
                    let fault =
                        Fault::error("duplicate-item", "the list holds the same item twice").found(item.describe());
                    faults.push(fault.at_node(item, self.source).path(format!("{path}[{i}]")));
                }
            }
        }
    }

    fn check_entries(
        &mut self,
        node: &Node,
        entries: &[(Key, Node)],
        schema: &'a Json,
        path: &str,
        faults: &mut Faults,
    ) {
        let properties = schema.get("properties").and_then(Json::as_object);
        let additional = schema.get("additionalProperties");
        let mut meant: Vec<String> = Vec::new();
        let mut known: Vec<&str> = properties.into_iter().flat_map(Map::keys).map(String::as_str).collect();
        let closed = if additional == Some(&Json::Bool(false)) {
            schema.get("patternProperties").is_none()
        } else if schema.get("unevaluatedProperties") == Some(&Json::Bool(false)) {
            known_keys(self.document, schema, 0, &mut known)
        } else {
            false
        };
        for (key, value) in entries {
            let path = join(path, &key.name);
            match (properties.and_then(|properties| properties.get(&key.name)), additional) {
                (Some(schema), _) => self.check(value, schema, &path, faults),
                (None, Some(schema @ Json::Object(_))) => self.check(value, schema, &path, faults),
                (None, _) if closed && !known.contains(&key.name.as_str()) => {
                    let free = known.iter().copied().filter(|name| !entries.iter().any(|(key, _)| key.name == *name));
                    let suggestion = suggest(&key.name, free);
                    meant.extend(suggestion.clone());
                    faults.push(self.unknown_key(key, &known, suggestion, &path));
                }
                (None, _) => {}
            }
            if faults.len() >= MAX_FAULTS {
                return;
            }
        }
        for name in schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str) {
            // A required key that was only misspelt is one fault, not two.
            if node.get(name).is_none() && !meant.iter().any(|word| word == name) {
                let schema = properties.and_then(|properties| properties.get(name));
                faults.push(self.missing_key(node, name, schema, path));
            }
        }
        faults.extend(self.wrong_length(
            node,
            entries.len(),
            "keys",
            limits(schema, "minProperties", "maxProperties"),
            path,
        ));
    }
}

/// Adds every key that any schema for the same mapping names; `false` when one of them takes all keys.
fn known_keys<'a>(document: Document<'a>, schema: &'a Json, hops: usize, known: &mut Vec<&'a str>) -> bool {
    if hops > MAX_IN_PLACE || schema.get("patternProperties").is_some() {
        return false;
    }
    if schema.get("additionalProperties").is_some_and(|additional| additional != &Json::Bool(false)) {
        return false;
    }
    let properties = schema.get("properties").and_then(Json::as_object);
    for name in properties.into_iter().flat_map(Map::keys) {
        if !known.contains(&name.as_str()) {
            known.push(name);
        }
    }
    let referred = schema.get("$ref").and_then(Json::as_str).and_then(|name| document.target(name));
    let parts = ["allOf", "anyOf", "oneOf"].into_iter().filter_map(|name| schema.get(name)?.as_array()).flatten();
    referred.into_iter().chain(parts).all(|part| known_keys(document, part, hops + 1, known))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::parse;
    use super::*;

    /// What is wrong with a value, as `code path @ text under the mark; expected; help`.
    fn faults(schema: &Json, yaml: &str) -> Vec<String> {
        let source = Source::new("a.yaml", yaml);
        let node = parse(&source).unwrap();
        let summary = |fault: Fault| {
            let place = source.slice(fault.span.unwrap()).unwrap().lines().next().unwrap_or_default().to_owned();
            let expected = fault.expected.unwrap_or_default();
            format!("{} {} @ {place}; {expected}; {}", fault.code, fault.path, fault.help.unwrap_or_default())
        };
        validate(&node, schema, &source).into_iter().map(summary).collect()
    }

    #[test]
    fn scalars() {
        let schema = json!({"properties": {
            "int": {"type": "integer", "format": "uint32", "minimum": 1},
            "float": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
            "text": {"type": "string", "minLength": 1},
            "flag": {"type": "boolean"},
            "option": {"type": ["integer", "null"]},
            "choice": {"type": "string", "enum": ["mean", "max"]},
            "list": {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2, "uniqueItems": true},
            "pair": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "minItems": 2, "maxItems": 2},
            "step": {"type": "integer", "multipleOf": 8},
            "never": false,
        }});
        for (yaml, expected) in [
            ("int: 1", vec![]),
            ("int: 0", vec!["out-of-range int @ 0; a whole number from 1 to 4294967295; "]),
            ("int: 4294967296", vec!["out-of-range int @ 4294967296; a whole number from 1 to 4294967295; "]),
            ("int: 16000.0", vec!["wrong-type int @ 16000.0; a whole number from 1 to 4294967295; write 16000"]),
            ("int: '5'", vec!["wrong-type int @ '5'; a whole number from 1 to 4294967295; remove the quotes"]),
            ("int: 16 kHz", vec!["wrong-type int @ 16 kHz; a whole number from 1 to 4294967295; "]),
            ("int:", vec!["wrong-type int @ int; a whole number from 1 to 4294967295; "]),
            ("float: 1", vec![]),
            ("float: 0", vec!["out-of-range float @ 0; a number above 0 and at most 1; "]),
            ("float: .inf", vec!["not-finite float @ .inf; a finite number; "]),
            ("text: 1.10", vec!["wrong-type text @ 1.10; text; quote it: \"1.10\""]),
            ("text: true", vec!["wrong-type text @ true; text; quote it: \"true\""]),
            ("text: ''", vec!["wrong-length text @ ''; at least 1 characters; "]),
            ("flag: yes", vec!["wrong-type flag @ yes; `true` or `false`; write `true`"]),
            ("option: ~\nflag: false", vec![]),
            ("option: x", vec!["wrong-type option @ x; a whole number or nothing; "]),
            ("choice: mean", vec![]),
            ("choice: meam", vec!["unknown-value choice @ meam; `mean` or `max`; did you mean `mean`?"]),
            ("choice: 5", vec!["wrong-type choice @ 5; `mean` or `max`; quote it: \"5\""]),
            ("list: 3", vec!["wrong-type list @ 3; a list; write it as a list: [3]"]),
            ("list: []", vec!["wrong-length list @ []; 1 to 2 items; "]),
            ("list: [1, x]", vec!["wrong-type list[1] @ x; a whole number; "]),
            ("list: [1, 1]", vec!["duplicate-item list[1] @ 1; ; "]),
            ("pair: [a, b]", vec!["wrong-type pair[1] @ b; a whole number; "]),
            ("pair: [a]", vec!["wrong-length pair @ [a]; 2 items; "]),
            ("step: 12", vec!["out-of-range step @ 12; a multiple of 8; "]),
            ("never: 1", vec!["not-allowed never @ 1; ; "]),
            ("other: 1", vec![]),
        ] {
            assert_eq!(faults(&schema, yaml), expected, "{yaml}");
        }
    }

    #[test]
    fn mappings_report_everything_at_once() {
        let schema = json!({
            "type": "object",
            "properties": {
                "sample_rate_hz": {"type": "integer", "description": "Samples per second."},
                "channels": {"type": "integer"},
                "name": {"$ref": "#/$defs/Name"},
            },
            "required": ["sample_rate_hz", "name"],
            "additionalProperties": false,
            "$defs": {"Name": {"type": "string"}},
        });
        for (yaml, expected) in [
            ("{sample_rate_hz: 1, name: x}", vec![]),
            (
                "channels: x\ncolour: red\n",
                vec![
                    "wrong-type channels @ x; a whole number; ",
                    "unknown-key colour @ colour; `sample_rate_hz`, `channels` or `name`; ",
                    "missing-key sample_rate_hz @ channels: x; `sample_rate_hz`: a whole number; \
                     add `sample_rate_hz: …` (Samples per second.)",
                    "missing-key name @ channels: x; `name`: text; add `name: …`",
                ],
            ),
            (
                "sample_rate: 16000\nname: 5",
                vec![
                    "unknown-key sample_rate @ sample_rate; `sample_rate_hz`, `channels` or `name`; did you mean `sample_rate_hz`?",
                    "wrong-type name @ 5; text; quote it: \"5\"",
                ],
            ),
            ("[]", vec!["wrong-type  @ []; a mapping; "]),
        ] {
            assert_eq!(faults(&schema, yaml), expected, "{yaml}");
        }
    }

    #[test]
    fn maps_and_composed_schemas() {
        let map = json!({"additionalProperties": {"type": "integer"}, "minProperties": 1});
        assert_eq!(faults(&map, "{a: 1, b: x}"), ["wrong-type b @ x; a whole number; "]);
        assert_eq!(faults(&map, "{}"), ["wrong-length  @ {}; at least 1 keys; "]);
        let composed = json!({
            "allOf": [{"$ref": "#/$defs/base"}],
            "properties": {"b": {}},
            "unevaluatedProperties": false,
            "$defs": {"base": {"properties": {"a": {"type": "integer"}}}},
        });
        assert_eq!(
            faults(&composed, "{a: x, b: 1, c: 2}"),
            ["wrong-type a @ x; a whole number; ", "unknown-key c @ c; `b` or `a`; "]
        );
    }

    #[test]
    fn the_alternative_that_was_meant() {
        let tagged = |name: &str, key: &str| {
            json!({"type": "object", "properties": {"type": {"const": name}, key: {"type": "integer"}}, "required": ["type"],
                "additionalProperties": false})
        };
        let variant = |name: &str| json!({"type": "object", "properties": {name: {"type": "integer"}}, "required": [name], "additionalProperties": false});
        let schema = json!({"properties": {
            "mode": {"oneOf": [{"type": "string", "const": "fast"}, {"type": "string", "const": "exact"}]},
            "maybe": {"anyOf": [{"oneOf": [{"const": "block"}, {"const": "drop"}]}, {"type": "null"}]},
            "queue": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "enum": ["auto"]}]},
            "tagged": {"oneOf": [tagged("vad", "hold"), tagged("ctc", "beam")]},
            "variant": {"oneOf": [{"type": "string", "enum": ["off"]}, variant("vad"), variant("ctc")]},
            "from": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
        }});
        for (yaml, expected) in [
            ("{mode: fast, maybe: ~, queue: auto, from: [a], tagged: {type: ctc, beam: 1}, variant: {vad: 1}}", vec![]),
            ("mode: fats", vec!["unknown-value mode @ fats; `fast` or `exact`; did you mean `fast`?"]),
            ("mode: 1", vec!["wrong-type mode @ 1; `fast` or `exact`; quote it: \"1\""]),
            ("maybe: blok", vec!["unknown-value maybe @ blok; `block` or `drop`; did you mean `block`?"]),
            ("queue: 0", vec!["out-of-range queue @ 0; a whole number of at least 1; "]),
            (
                "queue: aut",
                vec!["unknown-value queue @ aut; `auto` or a whole number of at least 1; did you mean `auto`?"],
            ),
            ("queue: [1]", vec!["wrong-type queue @ [1]; `auto` or a whole number of at least 1; "]),
            ("tagged: {type: vad, beam: 1}", vec!["unknown-key tagged.beam @ beam; `type` or `hold`; "]),
            ("tagged: {type: vat}", vec!["unknown-value tagged.type @ vat; `vad` or `ctc`; did you mean `vad`?"]),
            ("tagged: {beam: 1}", vec!["missing-key tagged.type @ {beam: 1}; `vad` or `ctc`; add `type: …`"]),
            ("variant: {vad: x}", vec!["wrong-type variant.vad @ x; a whole number; "]),
            ("variant: {vda: 1}", vec!["unknown-key variant.vda @ vda; `vad` or `ctc`; did you mean `vad`?"]),
            (
                "variant: of",
                vec![
                    "unknown-value variant @ of; `off`, a mapping with `vad` or a mapping with `ctc`; did you mean `off`?",
                ],
            ),
            ("from: [a, 1]", vec!["wrong-type from[1] @ 1; text; quote it: \"1\""]),
            ("from: {}", vec!["wrong-type from @ {}; text or a list; "]),
        ] {
            assert_eq!(faults(&schema, yaml), expected, "{yaml}");
        }
    }

    #[test]
    fn a_schema_without_end_is_a_fault() {
        for schema in [
            json!({"$ref": "#"}),
            json!({"allOf": [{"$ref": "#"}]}),
            json!({"$ref": "#/$defs/none"}),
            json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}),
        ] {
            assert!(faults(&schema, "1")[0].starts_with("bad-schema"), "{schema}: {:?}", faults(&schema, "1"));
        }
    }
}
