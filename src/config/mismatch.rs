//! The faults of a value that does not match its schema, in words.

use serde_json::Value as Json;

use super::node::{float_text, join};
use super::scalar::resolve;
use super::schema::literal;
use super::source::{quoted, shorten};
use super::suggest::{did_you_mean, listed};
use super::validate::Validator;
use super::{Fault, Key, Node, Value, to_json};

impl<'a> Validator<'a> {
    /// The fault of a value that has another type than the schema wants.
    pub fn wrong_type(&self, node: &Node, schema: &'a Json, path: &str) -> Fault {
        let types = self.document.types(schema).unwrap_or_default();
        let message = match (path.is_empty(), node.is_null()) {
            (true, _) => "this is not what belongs here".to_owned(),
            (false, true) => format!("{} has no value", quoted(path)),
            (false, false) => format!("{} has a value of the wrong type", quoted(path)),
        };
        Fault::error("wrong-type", message)
            .expected(self.document.describe(schema))
            .found(node.describe())
            .maybe_help(self.type_help(node, &types))
            .at_node(node, self.source)
            .path(path)
    }

    /// What to write instead, when that can be told from the value and the JSON types that are wanted.
    pub fn type_help(&self, node: &Node, types: &[&str]) -> Option<String> {
        let wants = |name: &str| types.contains(&name);
        match &node.value {
            Value::Bool(_) | Value::Int(_) | Value::Float(_) if wants("string") => {
                Some(format!("quote it: \"{}\"", self.notation(node)))
            }
            Value::Float(value) if wants("integer") && value.fract() == 0.0 && value.abs() < 1e15 => {
                Some(format!("write {value:.0}"))
            }
            Value::String(text) if wants("boolean") => match text.to_ascii_lowercase().as_str() {
                "yes" | "y" | "on" | "true" => Some("write `true`".into()),
                "no" | "n" | "off" | "false" => Some("write `false`".into()),
                _ => None,
            },
            Value::String(text) if wants("integer") || wants("number") => match resolve(text.trim()) {
                Ok(Value::Int(_) | Value::Float(_)) => Some("remove the quotes".into()),
                _ => None,
            },
            Value::Null | Value::Sequence(_) | Value::Mapping(_) => None,
            _ if wants("array") => Some(format!("write it as a list: [{}]", self.notation(node))),
            _ => None,
        }
    }

    /// A scalar as it is written in its source, or else as YAML would write it.
    fn notation(&self, node: &Node) -> String {
        let written = node.source(self.source).slice(node.span).unwrap_or_default();
        if resolve(written).as_ref() == Ok(&node.value) {
            return written.to_owned();
        }
        match &node.value {
            Value::Float(value) => float_text(*value),
            Value::String(text) => shorten(text, 60),
            _ => to_json(node).to_string(),
        }
    }

    /// The fault of a value that is none of `values`, nor what `others` describes.
    pub fn unknown_value(&self, node: &Node, values: &[&Json], others: &[String], path: &str) -> Fault {
        let known: Vec<String> = values.iter().map(|value| literal(value)).chain(others.iter().cloned()).collect();
        let meant = node.as_str().and_then(|text| did_you_mean(text, values.iter().filter_map(|value| value.as_str())));
        Fault::error("unknown-value", format!("{} has a value that is not known", named(path)))
            .expected(listed(&known, "or"))
            .found(node.describe())
            .maybe_help(meant)
            .at_node(node, self.source)
            .path(path)
    }

    /// The fault of a text, list or mapping of a length outside `limits`.
    pub fn wrong_length(&self, node: &Node, length: usize, unit: &str, limits: Limits, path: &str) -> Option<Fault> {
        let (least, most) = limits;
        if least.is_none_or(|least| length >= least) && most.is_none_or(|most| length <= most) {
            return None;
        }
        let expected = match (least, most) {
            (Some(least), Some(most)) if least == most => format!("{least} {unit}"),
            (Some(least), Some(most)) => format!("{least} to {most} {unit}"),
            (Some(least), None) => format!("at least {least} {unit}"),
            (None, most) => format!("at most {} {unit}", most.unwrap_or_default()),
        };
        let word = if length < least.unwrap_or_default() { "short" } else { "long" };
        Some(
            Fault::error("wrong-length", format!("{} is too {word}", named(path)))
                .expected(expected)
                .found(length.to_string())
                .at_node(node, self.source)
                .path(path),
        )
    }

    /// The fault of a key that the mapping does not know.
    pub fn unknown_key(&self, key: &Key, known: &[&str], meant: Option<String>, path: &str) -> Fault {
        let expected = if known.is_empty() {
            "no keys".to_owned()
        } else {
            listed(&known.iter().map(|name| quoted(name)).collect::<Vec<_>>(), "or")
        };
        Fault::error("unknown-key", format!("the key {} is not known here", quoted(&key.name)))
            .expected(expected)
            .found(quoted(&key.name))
            .maybe_help(meant.map(|meant| format!("did you mean `{meant}`?")))
            .at_key(key, self.source)
            .path(path)
    }

    /// The fault of a mapping that lacks a key.
    pub fn missing_key(&self, node: &Node, name: &str, schema: Option<&'a Json>, path: &str) -> Fault {
        let what = schema.map_or("a value".to_owned(), |schema| self.document.describe(schema));
        let about = schema.and_then(|schema| {
            let described = schema.get("description").or_else(|| self.document.resolved(schema).get("description"))?;
            described.as_str()?.lines().next().map(str::to_owned)
        });
        Fault::error("missing-key", format!("the key {} is missing", quoted(name)))
            .expected(format!("{}: {what}", quoted(name)))
            .help(about.map_or(format!("add `{name}: …`"), |about| format!("add `{name}: …` ({about})")))
            .at_node(node, self.source)
            .path(join(path, name))
    }
}

/// The least and the most that a length may be.
pub(super) type Limits = (Option<usize>, Option<usize>);

/// The limits that two keywords of a schema set.
pub(super) fn limits(schema: &Json, least: &str, most: &str) -> Limits {
    let bound = |key: &str| schema.get(key).and_then(Json::as_u64).and_then(|bound| usize::try_from(bound).ok());
    (bound(least), bound(most))
}

/// The path in backquotes, or "this" for the top of the file.
pub(super) fn named(path: &str) -> String {
    if path.is_empty() { "this".to_owned() } else { quoted(path) }
}
