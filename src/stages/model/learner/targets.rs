//! What a label packet says is right, and how sure scores are.

use rand::RngExt;
use rand_pcg::Pcg64;

use crate::learn::{Sample, Target};
use crate::media::{Packet, Payload};
use crate::tensor::{DType, Tensor};

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

/// The most probable class of scores and its probability: that of the scores themselves where they are probabilities,
/// else of their softmax. `None` where there are none, or one is no number.
pub(super) fn best(scores: &Tensor) -> Option<(usize, f32)> {
    let scores = scores.as_slice::<f32>().ok()?;
    if scores.iter().any(|score| score.is_nan()) {
        return None;
    }
    let (class, top) =
        scores.iter().copied().enumerate().reduce(|best, next| if next.1 > best.1 { next } else { best })?;
    let total: f32 = scores.iter().sum();
    let are_probabilities = (total - 1.0).abs() < 1e-3 && scores.iter().all(|score| (0.0..=1.0).contains(score));
    let likely =
        if are_probabilities { top } else { 1.0 / scores.iter().map(|score| (score - top).exp()).sum::<f32>() };
    Some((class, likely))
}

/// The input with a share of its numbers made 0, by a generator that `seed` begins; nothing for inputs that are not f32.
pub(super) fn masked(sample: &Tensor, share: f64, seed: u64) -> Option<Tensor> {
    let mut random = Pcg64::new(seed.into(), 0);
    let mut values = sample.as_slice::<f32>().ok()?.to_vec();
    for value in &mut values {
        if random.random::<f64>() < share {
            *value = 0.0;
        }
    }
    Tensor::new(sample.shape().to_vec(), values).ok()
}

/// A sample of a training set as the learner takes it.
pub(super) fn seeded(input: Tensor, target: Tensor) -> Sample {
    let target = class(&target).map_or(Target::Tensor(target), Target::Class);
    Sample { input, target, stream: crate::media::StreamId(u32::MAX), start: crate::units::Timestamp::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Label, Labels, StreamId, Text};
    use crate::units::{TimeSpan, Timestamp};

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

    #[test]
    fn how_sure_scores_are() {
        let tensor = |values: &[f32]| Tensor::from_vec(values.to_vec());
        assert_eq!(best(&tensor(&[0.1, 0.7, 0.2])), Some((1, 0.7)));
        let (class, likely) = best(&tensor(&[0.0, 3.0])).unwrap();
        assert!(class == 1 && (likely - 0.952_574).abs() < 1e-5);
        assert_eq!(best(&tensor(&[f32::NAN, 1.0])), None);
        assert_eq!(best(&tensor(&[])), None);
        assert_eq!(best(&Tensor::from_vec(vec![1i64])), None);
    }

    #[test]
    fn masks_are_of_their_seed() {
        let ones = Tensor::new(vec![4, 100], vec![1.0f32; 400]).unwrap();
        let one = masked(&ones, 0.25, 1).unwrap();
        let kept: f32 = one.as_slice::<f32>().unwrap().iter().sum();
        assert!((250.0..350.0).contains(&kept), "{kept}");
        assert_eq!(one, masked(&ones, 0.25, 1).unwrap());
        assert_ne!(one, masked(&ones, 0.25, 2).unwrap());
        assert_eq!(one.shape(), ones.shape());
    }
}
