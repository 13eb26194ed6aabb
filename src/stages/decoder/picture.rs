//! What the decoders of pictures have in common: the picture that numbers show, their shapes, and a card's keys.

use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::cards::{self, Model};
use crate::config::{self, Fault, Faults, Node, Value};
use crate::media::{Packet, View};
use crate::stage::ReadContext;
use crate::tensor::{Tensor, TensorError};
use crate::units::Timestamp;

/// What a decoder of pictures cannot take.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PictureError {
    /// Numbers of which nobody knows what they show.
    #[error(
        "at {start}: expected numbers that know the picture they were made of, found none; make them with `preprocess: \
         to_tensor`, or set `width` and `height` to the size of the picture that the model reads"
    )]
    NoPicture {
        /// When the packet starts.
        start: Timestamp,
    },
    /// A tensor of another shape.
    #[error("at {start}: port `{port}`: expected a tensor {expected}, found {found:?}")]
    Shape {
        /// When the packet starts.
        start: Timestamp,
        /// The stage's port.
        port: &'static str,
        /// The shapes that will do.
        expected: String,
        /// The shape found.
        found: Vec<usize>,
    },
    /// A number that is none.
    #[error("at {start}: port `{port}`: expected numbers, found NaN (not a number) at place {place}")]
    NotANumber {
        /// When the packet starts.
        start: Timestamp,
        /// The stage's port.
        port: &'static str,
        /// Where in the tensor, row by row.
        place: usize,
    },
    /// The tensor is of another data type.
    #[error("at {start}: port `{port}`: {error}")]
    Tensor {
        /// When the packet starts.
        start: Timestamp,
        /// The stage's port.
        port: &'static str,
        /// What was expected and found.
        error: TensorError,
    },
}

/// The picture that these packets show: what they know of it, else one of the size that the stage was given, which is
/// the frame itself.
pub(super) fn view_of(packets: &[Packet], size: Option<(u32, u32)>) -> Result<View, PictureError> {
    let known = packets.iter().find_map(|packet| packet.view.as_deref().copied());
    let start = packets.first().map_or(Timestamp::ZERO, |packet| packet.start);
    known.or_else(|| size.map(|(width, height)| View::whole(width, height))).ok_or(PictureError::NoPicture { start })
}

/// The numbers of a tensor, none of them NaN.
pub(super) fn numbers<'a>(tensor: &'a Tensor, port: &'static str, start: Timestamp) -> Result<&'a [f32], PictureError> {
    let values = tensor.as_slice::<f32>().map_err(|error| PictureError::Tensor { start, port, error })?;
    match values.iter().position(|value| value.is_nan()) {
        Some(place) => Err(PictureError::NotANumber { start, port, place }),
        None => Ok(values),
    }
}

/// 1 / (1 + exp(−x)).
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// `width` and `height` of a config; both or none.
pub(super) fn size(
    context: &ReadContext<'_>,
    width: Option<u32>,
    height: Option<u32>,
    faults: &mut Faults,
) -> Option<(u32, u32)> {
    if width.is_some() != height.is_some() {
        let (given, other) = if width.is_some() { ("width", "height") } else { ("height", "width") };
        let message = format!("`{given}` is given without `{other}`");
        faults.push(context.fault(given, "missing-key", message).help(format!("add `{other}`")));
    }
    width.zip(height)
}

/// The config `T` of decoder `kind` with what the card that its key `card` names says in `decoder`: the stage's own keys
/// go first. `None` where no card is named: the keys are as they were read.
pub(super) fn from_card<T: DeserializeOwned + schemars::JsonSchema>(
    context: &ReadContext<'_>,
    kind: &'static str,
    card: Option<&str>,
) -> Result<Option<T>, Faults> {
    let Some(name) = card else { return Ok(None) };
    let card = match cards::find(name, &context.settings.base_dir) {
        Ok(Model::Card(card)) => card,
        Ok(Model::File(path)) => {
            let message = format!("{} has no card", path.display());
            return Err(context.fault("card", "no-card", message).expected("a model with a card").into());
        }
        Err(error) => return Err(context.fault("card", "unknown-model", error.to_string()).into()),
    };
    let keys = card.decoder().and_then(Node::as_mapping).unwrap_or_default();
    let named = keys.iter().find(|(key, _)| key.name == "decoder").and_then(|(_, value)| value.as_str());
    if named != Some(kind) {
        let message = format!("the card of `{name}` says nothing of the decoder `{kind}`");
        let fault =
            context.fault("card", "card-decoder", message).expected(format!("`decoder: {{decoder: {kind}, …}}`"));
        let found = named.map_or_else(|| "no `decoder`".to_owned(), |named| format!("the decoder `{named}`"));
        return Err(fault.found(found).into());
    }
    let mut node = context.node.clone();
    if let Value::Mapping(entries) = &mut node.value {
        for (key, value) in keys {
            if key.name == "decoder" || entries.iter().any(|(known, _)| known.name == key.name) {
                continue;
            }
            let (mut key, mut value) = (key.clone(), value.clone());
            key.origin = key.origin.or_else(|| Some(card.source().clone()));
            value.origin = value.origin.or_else(|| Some(card.source().clone()));
            entries.push((key, value));
        }
    }
    config::read::<T>(&node, context.source).map(Some)
}

/// A fault at the stage itself.
pub(super) fn stage_fault(context: &ReadContext<'_>, code: &'static str, message: impl Into<String>) -> Fault {
    Fault::error(code, message).at_node(context.node, context.source)
}
