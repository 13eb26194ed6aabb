//! The tree that a YAML file is read into: values with the place that each came from.

use super::{Source, Span};

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The bytes of the value in its source.
    pub span: Span,
    /// The value itself.
    pub value: Value,
    /// Where the span points, when that is not the file being read: an argument of the command line.
    pub origin: Option<Source>,
    /// Whether the scalar was written without quotes, so that substitution may change its type.
    pub(super) plain: bool,
}

/// What a node holds, typed by the YAML 1.2 core schema.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`, `~`, or nothing at all.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number in decimal, octal (`0o17`) or hexadecimal (`0xff`).
    Int(i64),
    /// Any other number, `.inf` and `.nan` among them.
    Float(f64),
    /// Text: everything in quotes, and what is no other scalar.
    String(String),
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values in the order of the file; no key occurs twice.
    Mapping(Vec<(Key, Node)>),
}

/// A key of a mapping and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The key as text, whatever it looks like (`1:` is the key "1").
    pub name: String,
    /// The bytes of the key in its source.
    pub span: Span,
    /// Where the span points, when that is not the file being read.
    pub origin: Option<Source>,
}

impl Node {
    /// A value of the file being read.
    pub fn new(span: Span, value: Value) -> Self {
        Node { span, value, origin: None, plain: false }
    }

    /// The value of a key; nothing when this is no mapping or has no such key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_mapping()?.iter().find(|(name, _)| name.name == key).map(|(_, node)| node)
    }

    /// The value of a key, to change.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        match &mut self.value {
            Value::Mapping(entries) => entries.iter_mut().find(|(name, _)| name.name == key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// The key itself, for its place.
    pub fn key(&self, key: &str) -> Option<&Key> {
        self.as_mapping()?.iter().map(|(name, _)| name).find(|name| name.name == key)
    }

    /// The text, when this is text.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The truth value, when this is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self.value {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// The number, when this is a whole number.
    pub fn as_i64(&self) -> Option<i64> {
        match self.value {
            Value::Int(value) => Some(value),
            _ => None,
        }
    }

    /// The number, when this is any number.
    pub fn as_f64(&self) -> Option<f64> {
        match self.value {
            Value::Int(value) => Some(value as f64),
            Value::Float(value) => Some(value),
            _ => None,
        }
    }

    /// The items, when this is a list.
    pub fn as_sequence(&self) -> Option<&[Node]> {
        match &self.value {
            Value::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// Keys and values in the order of the file, when this is a mapping.
    pub fn as_mapping(&self) -> Option<&[(Key, Node)]> {
        match &self.value {
            Value::Mapping(entries) => Some(entries),
            _ => None,
        }
    }

    /// Whether there is no value.
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// What this is, in words: "nothing", "true or false", "a whole number", "a number", "text", "a list", "a mapping".
    pub fn kind_name(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Int(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::String(_) => "text",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }

    /// What this is and which: "the number 5", "the text `abc`", "a list of 3".
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".into(),
            Value::Bool(value) => format!("`{value}`"),
            Value::Int(value) => format!("the number {value}"),
            Value::Float(value) => format!("the number {}", float_text(*value)),
            Value::String(text) => format!("the text {}", super::source::quoted(text)),
            Value::Sequence(items) => format!("a list of {}", items.len()),
            Value::Mapping(_) => "a mapping".into(),
        }
    }

    /// The source that the span points into: the origin, or else the file being read.
    pub fn source<'a>(&'a self, file: &'a Source) -> &'a Source {
        self.origin.as_ref().unwrap_or(file)
    }

    /// Moves the whole tree into another source, `by` bytes further on.
    pub(super) fn relocate(&mut self, by: usize, origin: &Source) {
        self.span = self.span.shifted(by);
        self.origin = Some(origin.clone());
        match &mut self.value {
            Value::Sequence(items) => items.iter_mut().for_each(|item| item.relocate(by, origin)),
            Value::Mapping(entries) => {
                for (key, node) in entries {
                    key.span = key.span.shifted(by);
                    key.origin = Some(origin.clone());
                    node.relocate(by, origin);
                }
            }
            _ => {}
        }
    }
}

impl Key {
    /// A key of the file being read.
    pub fn new(name: impl Into<String>, span: Span) -> Self {
        Key { name: name.into(), span, origin: None }
    }

    /// The source that the span points into: the origin, or else the file being read.
    pub fn source<'a>(&'a self, file: &'a Source) -> &'a Source {
        self.origin.as_ref().unwrap_or(file)
    }
}

/// A number as YAML writes it.
pub(super) fn float_text(value: f64) -> String {
    if value.is_nan() {
        ".nan".into()
    } else if value.is_infinite() {
        if value > 0.0 { ".inf".into() } else { "-.inf".into() }
    } else {
        format!("{value:?}")
    }
}

/// The path of a key below `path`: `stages[2]` and `rate` give `stages[2].rate`. For people: a long key is shortened.
pub(super) fn join(path: &str, key: &str) -> String {
    let key = super::source::shorten(key, 60);
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_words() {
        for (value, kind, described) in [
            (Value::Null, "nothing", "nothing"),
            (Value::Bool(true), "true or false", "`true`"),
            (Value::Int(-5), "a whole number", "the number -5"),
            (Value::Float(1e300), "a number", "the number 1e300"),
            (Value::Float(f64::NEG_INFINITY), "a number", "the number -.inf"),
            (Value::String("a\nb".into()), "text", "the text `a\\nb`"),
            (Value::Sequence(vec![]), "a list", "a list of 0"),
            (Value::Mapping(vec![]), "a mapping", "a mapping"),
        ] {
            let node = Node::new(Span::default(), value);
            assert_eq!((node.kind_name(), node.describe().as_str()), (kind, described));
        }
    }

    #[test]
    fn access_by_kind() {
        let one = Node::new(Span::new(3, 4), Value::Int(1));
        let mut node = Node::new(Span::new(0, 4), Value::Mapping(vec![(Key::new("a", Span::new(0, 1)), one.clone())]));
        assert_eq!(node.get("a"), Some(&one));
        assert_eq!(node.get("b"), None);
        assert_eq!(one.get("a"), None);
        assert_eq!(node.key("a").map(|key| key.span), Some(Span::new(0, 1)));
        assert_eq!((one.as_i64(), one.as_f64(), one.as_str(), one.as_bool()), (Some(1), Some(1.0), None, None));
        node.get_mut("a").unwrap().value = Value::Null;
        assert!(node.get("a").unwrap().is_null());
    }
}
