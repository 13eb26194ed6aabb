//! What a label packet, or a recipe, says is right.

use crate::learn::{Sample, Target};
use crate::media::{Packet, Payload, StreamId};
use crate::stage::KnownSamples;
use crate::tensor::{DType, Tensor};
use crate::units::Timestamp;

/// What a packet says is right: a class by name (labels, text, a transcript), by index (an integer), or numbers of the
/// shape of the model's answer (a teacher's scores). `None` where it says nothing that could be: no label, an empty text,
/// several integers, or a label below `threshold`.
pub(super) fn target(packet: &Packet, threshold: f64) -> Option<Target> {
    let named = |text: &str| Some(text.trim()).filter(|text| !text.is_empty()).map(|text| Target::Name(text.into()));
    match &packet.payload {
        Payload::Labels(labels) => {
            let best = labels.entries.first().filter(|best| f64::from(best.score) >= threshold)?;
            Some(best.name.clone().map_or(Target::Class(best.index), Target::Name))
        }
        Payload::Text(text) => named(&text.text),
        Payload::Transcript(transcript) => named(&transcript.text),
        Payload::Tensor(tensor) => match tensor.dtype() {
            DType::F16 | DType::BF16 | DType::F32 | DType::F64 => Some(Target::Tensor(tensor.clone())),
            DType::I64 if tensor.len() > 1 => Some(Target::Tensor(tensor.clone())),
            _ => class(tensor).map(Target::Class),
        },
        _ => None,
    }
}

/// The one non-negative integer that a tensor holds.
fn class(tensor: &Tensor) -> Option<usize> {
    let one = |value: i64| usize::try_from(value).ok();
    match tensor.dtype() {
        DType::I64 => one(only(tensor.as_slice::<i64>().ok()?)?),
        DType::I32 => one(only(tensor.as_slice::<i32>().ok()?)?.into()),
        DType::U8 => one(only(tensor.as_slice::<u8>().ok()?)?.into()),
        _ => None,
    }
}

fn only<T: Copy>(values: &[T]) -> Option<T> {
    match values {
        [value] => Some(*value),
        _ => None,
    }
}

/// The samples of a recipe as the learner takes them: classes by name, since the model may number them otherwise.
pub(super) fn of_recipe(known: KnownSamples) -> Vec<Sample> {
    let KnownSamples { samples, labels } = known;
    let named = |target: Tensor| match class(&target) {
        Some(class) => labels.get(class).map_or(Target::Class(class), |name| Target::Name(name.as_str().into())),
        None => Target::Tensor(target),
    };
    // Of no stream, and at no time.
    let sample =
        |(input, target)| Sample { input, target: named(target), stream: StreamId(u32::MAX), start: Timestamp::ZERO };
    samples.into_iter().map(sample).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Label, Labels, Text};
    use crate::units::TimeSpan;

    fn packet(payload: impl Into<Payload>) -> Packet {
        Packet::new(StreamId(0), Timestamp::ZERO, TimeSpan::ZERO, payload)
    }

    #[test]
    fn what_packets_say_is_right() {
        let labels = |name: Option<&str>, score: f32| Labels {
            entries: vec![Label { index: 3, name: name.map(Into::into), score }].into(),
        };
        let text = |text: &str| Text { text: text.into(), pieces: [].into() };
        let name = |name: &str| Some(Target::Name(name.into()));
        let soft = Tensor::from_vec(vec![0.25f32, 0.75]);
        let tags = Tensor::from_vec(vec![1i64, 2]);
        for (packet, expected) in [
            (packet(labels(Some("dog"), 0.9)), name("dog")),
            (packet(labels(None, 0.9)), Some(Target::Class(3))),
            (packet(labels(Some("dog"), 0.4)), None),
            (packet(Labels::default()), None),
            (packet(text(" seven\n")), name("seven")),
            (packet(text(" ")), None),
            (packet(Tensor::scalar(7i64)), Some(Target::Class(7))),
            (packet(Tensor::from_vec(vec![7i32])), Some(Target::Class(7))),
            (packet(Tensor::scalar(7u8)), Some(Target::Class(7))),
            (packet(Tensor::scalar(-1i64)), None),
            (packet(Tensor::from_vec(vec![1i32, 2])), None),
            (packet(tags.clone()), Some(Target::Tensor(tags))),
            (packet(soft.clone()), Some(Target::Tensor(soft))),
        ] {
            assert_eq!(target(&packet, 0.5), expected, "{:?}", packet.payload);
        }
    }
}
