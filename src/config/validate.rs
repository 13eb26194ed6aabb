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
/// How many schemas in a row may apply to one and the same value; more is a cycle of `$ref`s.
const MAX_IN_PLACE: usize = 64;

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
    let mut validator = Validator { document: Document(schema), source, steps: 0 };
    let mut faults = Faults::new();
    validator.check(node, schema, "", 0, &mut faults);
    faults
}

/// A walk over a tree and a schema.
pub(super) struct Validator<'a> {
    pub document: Document<'a>,
    pub source: &'a Source,
    steps: usize,
}

impl<'a> Validator<'a> {
    /// Adds everything that is wrong with `node`, which is found at `path`. `hops` counts the schemas that already
    /// applied to this same node.
    pub fn check(&mut self, node: &Node, schema: &'a Json, path: &str, hops: usize, faults: &mut Faults) {
        self.steps += 1;
        if faults.len() >= MAX_FAULTS {
            return;
        }
        if self.steps > MAX_STEPS || hops > MAX_IN_PLACE {
            let fault = Fault::error("bad-schema", "the schema of this value refers to itself without end");
            faults.push(fault.at_node(node, self.source).path(path));
            return;
        }
        let Json::Object(keywords) = schema else {
            if schema == &Json::Bool(false) {
                let fault = Fault::error("not-allowed", "no value is allowed here").found(node.describe());
                faults.push(fault.at_node(node, self.source).path(path));
            }
            return;
        };
        if let Some(Json::String(name)) = keywords.get("$ref") {
            match self.document.target(name) {
                Some(target) => self.check(node, target, path, hops + 1, faults),
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
            self.check(node, part, path, hops + 1, faults);
        }
        for choice in ["anyOf", "oneOf"] {
            if let Some(Json::Array(choices)) = keywords.get(choice) {
                self.check_alternatives(node, choices, path, hops, faults);
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
            Value::Mapping(entries) => self.check_entries(node, entries, schema, path, hops, faults),
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
                self.check(item, schema, &format!("{path}[{i}]"), 0, faults);
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
        hops: usize,
        faults: &mut Faults,
    ) {
        let properties = schema.get("properties").and_then(Json::as_object);
        let additional = schema.get("additionalProperties");
        let mut meant: Vec<String> = Vec::new();
        let mut known: Vec<&str> = properties.into_iter().flat_map(Map::keys).map(String::as_str).collect();
        let closed = if additional == Some(&Json::Bool(false)) {
            schema.get("patternProperties").is_none()
        } else if schema.get("unevaluatedProperties") == Some(&Json::Bool(false)) {
            known_keys(self.document, schema, hops, &mut known)
        } else {
            false
        };
        for (key, value) in entries {
            let path = join(path, &key.name);
            match (properties.and_then(|properties| properties.get(&key.name)), additional) {
                (Some(schema), _) => self.check(value, schema, &path, 0, faults),
                (None, Some(schema @ Json::Object(_))) => self.check(value, schema, &path, 0, faults),
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
