//! Reading the attributes of a node, strictly.

use std::cell::RefCell;

use super::error::OpError;
use super::op::Op;
use crate::onnx::{AttributeValue, Node};
use crate::tensor::Tensor;

/// A line of the table of operators.
#[derive(Clone, Copy, Debug)]
pub struct OpEntry {
    /// The domain: empty for ONNX's own operators.
    pub domain: &'static str,
    /// The name that ONNX gives it.
    pub op_type: &'static str,
    /// The first version of the operator set that has it.
    pub since: i64,
    /// Reads a node of it.
    pub parse: fn(&NodeReader<'_>) -> Result<Box<dyn Op>, OpError>,
}

/// A node and the version of the operator set that it is written in.
///
/// Each attribute is asked for by name; what was never asked for is unknown, and refused by
/// [`finish`](NodeReader::finish).
#[derive(Debug)]
pub struct NodeReader<'a> {
    node: &'a Node,
    opset: i64,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> NodeReader<'a> {
    /// A reader of `node`, written in version `opset`.
    pub fn new(node: &'a Node, opset: i64) -> Self {
        NodeReader { node, opset, asked: RefCell::default() }
    }

    /// The version of the operator set.
    pub fn opset(&self) -> i64 {
        self.opset
    }

    /// The node.
    pub fn node(&self) -> &'a Node {
        self.node
    }

    /// The value of an attribute of any type.
    pub fn any(&self, name: &'static str) -> Option<&'a AttributeValue> {
        self.asked.borrow_mut().push(name);
        self.node.attribute(name)
    }

    fn typed<T>(
        &self,
        name: &'static str,
        expected: &'static str,
        read: impl FnOnce(&'a AttributeValue) -> Option<T>,
    ) -> Result<Option<T>, OpError> {
        let Some(value) = self.any(name) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| OpError::Attribute {
            name: name.into(),
            expected: expected.into(),
            found: format!("{:?}", value.kind()).to_lowercase(),
        })
    }

    /// An integer, if given.
    pub fn int(&self, name: &'static str) -> Result<Option<i64>, OpError> {
        self.typed(name, "an integer", |value| match value {
            AttributeValue::Int(value) => Some(*value),
            _ => None,
        })
    }

    /// A flag (0 or 1), `default` unless given.
    pub fn flag(&self, name: &'static str, default: bool) -> Result<bool, OpError> {
        match self.int(name)? {
            None => Ok(default),
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            Some(found) => {
                Err(OpError::Attribute { name: name.into(), expected: "0 or 1".into(), found: found.to_string() })
            }
        }
    }

    /// A number, if given.
    pub fn float(&self, name: &'static str) -> Result<Option<f32>, OpError> {
        self.typed(name, "a number", |value| match value {
            AttributeValue::Float(value) => Some(*value),
            _ => None,
        })
    }

    /// Text, if given.
    pub fn string(&self, name: &'static str) -> Result<Option<&'a str>, OpError> {
        self.typed(name, "text", |value| match value {
            AttributeValue::String(value) => std::str::from_utf8(value).ok(),
            _ => None,
        })
    }

    /// Integers, if given.
    pub fn ints(&self, name: &'static str) -> Result<Option<Vec<i64>>, OpError> {
        self.typed(name, "integers", |value| match value {
            AttributeValue::Ints(values) => Some(values.clone()),
            _ => None,
        })
    }

    /// Integers that are sizes (not negative), if given.
    pub fn sizes(&self, name: &'static str) -> Result<Option<Vec<usize>>, OpError> {
        let Some(values) = self.ints(name)? else { return Ok(None) };
        let sizes: Option<Vec<usize>> = values.iter().map(|value| usize::try_from(*value).ok()).collect();
        sizes.map(Some).ok_or_else(|| OpError::Attribute {
            name: name.into(),
            expected: "integers that are not negative".into(),
            found: format!("{values:?}"),
        })
    }

    /// Numbers, if given.
    pub fn floats(&self, name: &'static str) -> Result<Option<Vec<f32>>, OpError> {
        self.typed(name, "numbers", |value| match value {
            AttributeValue::Floats(values) => Some(values.clone()),
            _ => None,
        })
    }

    /// Texts, if given.
    pub fn strings(&self, name: &'static str) -> Result<Option<Vec<&'a str>>, OpError> {
        self.typed(name, "texts", |value| match value {
            AttributeValue::Strings(values) => {
                values.iter().map(|value| std::str::from_utf8(value).ok()).collect::<Option<Vec<_>>>()
            }
            _ => None,
        })
    }

    /// A tensor, if given.
    pub fn tensor(&self, name: &'static str) -> Result<Option<&'a Tensor>, OpError> {
        self.typed(name, "a tensor", |value| match value {
            AttributeValue::Tensor(value) => Some(value),
            _ => None,
        })
    }

    /// Refuses attributes that nobody asked for.
    pub fn finish(&self) -> Result<(), OpError> {
        let asked = self.asked.borrow();
        match self.node.attributes.iter().find(|attribute| !asked.contains(&attribute.name.as_str())) {
            None => Ok(()),
            Some(unknown) => Err(OpError::Attribute {
                name: unknown.name.clone(),
                expected: match asked.is_empty() {
                    true => "no attributes".into(),
                    false => format!("one of {}", asked.join(", ")),
                },
                found: "it, unknown to the operator".into(),
            }),
        }
    }
}
