//! What the model types do not show, kept for the way back.

/// The rest of a protobuf message after the fields that a model type shows were moved out of it.
///
/// Takes no memory of its own when nothing is left, which is so for nearly every node of a real model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept<P>(Option<Box<P>>);

impl<P> Default for Kept<P> {
    fn default() -> Self {
        Kept(None)
    }
}

impl<P: Clone + Default + PartialEq> Kept<P> {
    /// Keeps what is left of `message`.
    pub(super) fn new(message: P) -> Self {
        Kept((message != P::default()).then(|| Box::new(message)))
    }

    /// A message with what was left, to be filled with the shown fields.
    pub(super) fn message(&self) -> P {
        self.0.as_deref().cloned().unwrap_or_default()
    }

    /// What was left, if there was anything.
    pub(super) fn get(&self) -> Option<&P> {
        self.0.as_deref()
    }
}

/// `text`, unless it is empty: the way optional strings are written.
pub(super) fn some_text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
