//! Classes with scores.

use std::sync::Arc;

/// One class that a model sees.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// Its index in the model's output.
    pub index: usize,
    /// Its name, when the label list is known.
    pub name: Option<Arc<str>>,
    /// Its score, as the decoder defines it (a probability unless it says otherwise).
    pub score: f32,
}

/// The classes seen in one packet, best first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Labels {
    /// Best first.
    pub entries: Arc<[Label]>,
}

/// The names of a model's classes, in the order of its outputs. Cheap to clone.
///
/// They travel with what a model says where they may change while it runs, so that a decoder always has those that
/// belong to the scores before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classes(Arc<[Arc<str>]>);

impl Classes {
    /// These names.
    pub fn new(names: impl IntoIterator<Item = Arc<str>>) -> Classes {
        Classes(names.into_iter().collect())
    }

    /// The names, by the class's index.
    pub fn names(&self) -> &[Arc<str>] {
        &self.0
    }

    /// Whether both are the very same list: cheaper than comparing the names, and false for an equal copy.
    pub fn same(&self, other: &Classes) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
