//! Shapes that may hold unknowns, and how they meet.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// One dimension of a shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    /// A known size.
    Known(usize),
    /// A named unknown: the same name in one graph is the same size.
    Symbol(Arc<str>),
    /// Unknown, and free.
    Any,
}

impl Dim {
    /// The size, when it is known.
    pub fn known(&self) -> Option<usize> {
        match self {
            Dim::Known(size) => Some(*size),
            Dim::Symbol(_) | Dim::Any => None,
        }
    }

    /// Whether both could be the same size: unknowns agree with everything.
    pub fn accepts(&self, other: &Dim) -> bool {
        match (self, other) {
            (Dim::Known(a), Dim::Known(b)) => a == b,
            _ => true,
        }
    }
}

impl From<usize> for Dim {
    fn from(size: usize) -> Self {
        Dim::Known(size)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Known(size) => write!(f, "{size}"),
            Dim::Symbol(name) => f.write_str(name),
            Dim::Any => f.write_str("?"),
        }
    }
}

/// A shape whose dimensions, or even their number, may be unknown.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SymbolicShape {
    /// A known rank.
    Ranked(Vec<Dim>),
    /// Any rank.
    Unranked,
}

/// Two shapes that cannot be the same.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("expected shape {expected}, found {found}")]
pub struct ShapeMismatch {
    /// What was wanted.
    pub expected: SymbolicShape,
    /// What there was.
    pub found: SymbolicShape,
}

impl SymbolicShape {
    /// A shape of known sizes.
    pub fn known(sizes: &[usize]) -> Self {
        SymbolicShape::Ranked(sizes.iter().copied().map(Dim::Known).collect())
    }

    /// The number of dimensions, when it is known.
    pub fn rank(&self) -> Option<usize> {
        match self {
            SymbolicShape::Ranked(dims) => Some(dims.len()),
            SymbolicShape::Unranked => None,
        }
    }

    /// The dimensions, when their number is known.
    pub fn dims(&self) -> Option<&[Dim]> {
        match self {
            SymbolicShape::Ranked(dims) => Some(dims),
            SymbolicShape::Unranked => None,
        }
    }

    /// The sizes, when all of them are known.
    pub fn sizes(&self) -> Option<Vec<usize>> {
        self.dims()?.iter().map(Dim::known).collect()
    }

    /// Whether both could describe the same tensor; a symbol that occurs twice here must stand for one size.
    pub fn accepts(&self, found: &SymbolicShape) -> Result<(), ShapeMismatch> {
        let (Some(ours), Some(theirs)) = (self.dims(), found.dims()) else {
            return Ok(());
        };
        let mut bound: Vec<(&str, usize)> = Vec::new();
        let agrees = ours.len() == theirs.len()
            && ours.iter().zip(theirs).all(|(our, their)| match (our, their.known()) {
                (Dim::Symbol(name), Some(size)) => match bound.iter().find(|(known, _)| **known == **name) {
                    Some((_, other)) => *other == size,
                    None => {
                        bound.push((name, size));
                        true
                    }
                },
                _ => our.accepts(their),
            });
        if agrees { Ok(()) } else { Err(ShapeMismatch { expected: self.clone(), found: found.clone() }) }
    }
}

impl fmt::Display for SymbolicShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SymbolicShape::Ranked(dims) = self else {
            return f.write_str("[…]");
        };
        f.write_str("[")?;
        for (i, dim) in dims.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{dim}")?;
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> SymbolicShape {
        SymbolicShape::Ranked(
            text.split_whitespace()
                .map(|dim| match dim.parse() {
                    Ok(size) => Dim::Known(size),
                    Err(_) if dim == "?" => Dim::Any,
                    Err(_) => Dim::Symbol(dim.into()),
                })
                .collect(),
        )
    }

    #[test]
    fn acceptance_cases() {
        for (ours, theirs, agrees) in [
            ("1 576", "1 576", true),
            ("1 576", "1 512", false),
            ("N 576", "4 576", true),
            ("N N", "3 4", false),
            ("N N", "3 ?", true),
            ("?", "1 2", false),
            ("", "", true),
        ] {
            assert_eq!(shape(ours).accepts(&shape(theirs)).is_ok(), agrees, "{ours} <- {theirs}");
        }
        assert!(SymbolicShape::Unranked.accepts(&shape("1 2 3")).is_ok());
        assert_eq!(shape("N 3 ?").to_string(), "[N, 3, ?]");
    }
}
