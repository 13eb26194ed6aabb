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
