//! Where in a model a fault is.

use std::fmt;

/// A place in a model, written out only when there is a fault to report.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    Function { name: &'a str },
    Node { name: &'a str, op_type: &'a str, output: &'a str },
    Initializer { name: &'a str },
    Tensor { name: &'a str },
    Sparse { name: &'a str, part: &'static str },
    Attribute { name: &'a str, owner: &'a Place<'a> },
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Function { name } => write!(f, "function {name:?}"),
            Place::Node { name: "", op_type, output } => write!(f, "node {op_type} -> {output:?}"),
            Place::Node { name, op_type, .. } => write!(f, "node {op_type} {name:?}"),
            Place::Initializer { name } => write!(f, "initializer {name:?}"),
            Place::Tensor { name } => write!(f, "tensor {name:?}"),
            Place::Sparse { name, part } => write!(f, "{part} of sparse tensor {name:?}"),
            Place::Attribute { name, owner } => write!(f, "attribute {name:?} of {owner}"),
        }
    }
}
