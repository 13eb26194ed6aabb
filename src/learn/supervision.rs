//! Samples without labels: from the input itself, from what comes next, or from answers that are sure.

use std::collections::{BTreeMap, VecDeque};

use super::config::{LearnConfig, Supervision};
use super::random::{Purpose, Random};
use super::sample::{Sample, Target, is_sound, numbers};
use crate::media::StreamId;
use crate::tensor::{Element, Tensor, TensorData};
use crate::units::Timestamp;

/// Makes samples by the settings' [`Supervision`], of each stream on its own:
///
/// - `input`: the target is the input (an autoencoder: Hinton and Salakhutdinov, *Science* 313, 2006);
/// - `masked`: numbers chosen by chance are 0 in the input, and the target is the whole of it (Vincent et al., *Extracting
///   and composing robust features with denoising autoencoders*, ICML 2008);
/// - `next`: the target is the input so many packets later;
/// - `confident`: the target is the serving version's best class, where that is sure (Lee, *Pseudo-label*, ICML workshop
///   2013);
/// - `labels`: none; a [`Joiner`](super::Joiner) makes them.
pub struct Supervisor {
    supervision: Supervision,
    random: Random,
    /// With `next`: the inputs that wait for what comes.
    past: BTreeMap<StreamId, VecDeque<(Timestamp, Tensor)>>,
}

impl Supervisor {
    /// By these settings.
    pub fn new(config: &LearnConfig) -> Self {
        let random = Random::new(config.seed, Purpose::Mask);
        Supervisor { supervision: config.supervision, random, past: BTreeMap::new() }
    }

    /// An input, and the scores that the serving version gave it where they are known: the sample that it makes, if any.
    /// One with numbers that are not finite makes none.
    pub fn see(
        &mut self,
        stream: StreamId,
        start: Timestamp,
        input: &Tensor,
        scores: Option<&Tensor>,
    ) -> Option<Sample> {
        if !is_sound(input) {
            return None;
        }
        let whole = || Target::Tensor(input.clone());
        match self.supervision {
            Supervision::Labels => None,
            Supervision::Input => Some(Sample { input: input.clone(), target: whole(), stream, start }),
            Supervision::Masked { share } => {
                Some(Sample { input: self.masked(input, share)?, target: whole(), stream, start })
            }
            Supervision::Next { steps } => {
                let past = self.past.entry(stream).or_default();
                past.push_back((start, input.clone()));
                if past.len() <= steps as usize {
                    return None;
                }
                let (start, input) = past.pop_front()?;
                Some(Sample { input, target: whole(), stream, start })
            }
            Supervision::Confident { threshold } => {
                let (class, probability) = confidence(scores?)?;
                let target = Target::Class(class);
                (probability >= threshold).then(|| Sample { input: input.clone(), target, stream, start })
            }
        }
    }

    /// A gap or the end of a stream: what comes does not follow what was.
    pub fn forget(&mut self, stream: StreamId) {
        self.past.remove(&stream);
    }

    fn masked(&mut self, input: &Tensor, share: f64) -> Option<Tensor> {
        fn hide<T: Element + Copy + Default>(
            values: &[T],
            shape: &[usize],
            mut hidden: impl FnMut() -> bool,
        ) -> Option<Tensor> {
            let values: Vec<T> = values.iter().map(|value| if hidden() { T::default() } else { *value }).collect();
            Tensor::new(shape.to_vec(), values).ok()
        }
        let hidden = || self.random.unit() < share;
        match input.data() {
            TensorData::F32(values) => hide(values, input.shape(), hidden),
            TensorData::F64(values) => hide(values, input.shape(), hidden),
            _ => None,
        }
    }
}

/// The best class of one sample's scores, and its probability: scores that are no probabilities are logits. Nothing for
/// several positions, for fewer than two classes, and for scores that are not finite.
pub fn confidence(scores: &Tensor) -> Option<(usize, f64)> {
    let classes = scores.shape().iter().copied().filter(|size| *size != 1).collect::<Vec<_>>();
    let values = numbers(scores).filter(|values| values.iter().all(|value| value.is_finite()))?;
    if classes.len() != 1 || values.len() < 2 {
        return None;
    }
    let (best, highest) =
        values.iter().copied().enumerate().reduce(|best, next| if next.1 > best.1 { next } else { best })?;
    let sum: f64 = values.iter().sum();
    let probability = match (sum - 1.0).abs() < 0.01 && values.iter().all(|value| *value >= 0.0) {
        true => highest.min(1.0),
        false => 1.0 / values.iter().map(|value| (value - highest).exp()).sum::<f64>(),
    };
    Some((best, probability))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: StreamId = StreamId(0);
    const B: StreamId = StreamId(1);

    fn supervisor(supervision: Supervision) -> Supervisor {
        Supervisor::new(&LearnConfig { supervision, ..LearnConfig::default() })
    }

    fn at(nanos: i64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    fn floats(values: &[f32]) -> Tensor {
        Tensor::from_vec(values.to_vec())
    }

    #[test]
    fn the_next_input_is_that_of_the_same_stream() {
        let mut next = supervisor(Supervision::Next { steps: 2 });
        let mut made = Vec::new();
        for number in 0..4i64 {
            for stream in [A, B] {
                let input = floats(&[number as f32, stream.0 as f32]);
                made.extend(next.see(stream, at(number), &input, None));
            }
            if number == 2 {
                next.forget(B);
            }
        }
        let shown: Vec<_> = made.iter().map(|s| (s.stream.0, s.start.as_nanos(), s.target.clone())).collect();
        let target = |values| Target::Tensor(floats(values));
        assert_eq!(shown, [(0, 0, target(&[2.0, 0.0])), (1, 0, target(&[2.0, 1.0])), (0, 1, target(&[3.0, 0.0]))]);
        assert!(next.see(A, at(9), &floats(&[f32::NAN]), None).is_none());
    }

    #[test]
    fn a_mask_hides_its_share_and_the_target_is_whole() {
        let mut masked = supervisor(Supervision::Masked { share: 0.25 });
        let input = Tensor::new(vec![10, 100], vec![1.0f32; 1000]).unwrap();
        let sample = masked.see(A, at(0), &input, None).unwrap();
        let hidden = sample.input.as_slice::<f32>().unwrap().iter().filter(|value| **value == 0.0).count();
        assert!((200..300).contains(&hidden), "{hidden}");
        assert_eq!((sample.input.shape(), &sample.target), (&[10, 100][..], &Target::Tensor(input.clone())));
        assert_ne!(masked.see(A, at(1), &input, None).unwrap().input, sample.input);
        let again = supervisor(Supervision::Masked { share: 0.25 }).see(A, at(0), &input, None).unwrap();
        assert_eq!(again, sample);
        let own = supervisor(Supervision::Input).see(A, at(0), &input, None).unwrap();
        assert_eq!((&own.input, own.target), (&input, Target::Tensor(input.clone())));
        assert!(supervisor(Supervision::Labels).see(A, at(0), &input, None).is_none());
    }

    #[test]
    fn only_sure_answers_are_labels() {
        let mut sure = supervisor(Supervision::Confident { threshold: 0.9 });
        for (scores, class) in [
            (vec![0.05, 0.94, 0.01], Some(1)),
            (vec![0.3, 0.5, 0.2], None),
            (vec![0.0, -1.0, 9.0], Some(2)),
            (vec![0.0, 1.0, 1.5], None),
            (vec![f32::NAN, 1.0, 9.0], None),
            (vec![1.0], None),
        ] {
            let scores = Tensor::new(vec![1, scores.len()], scores).unwrap();
            let made = sure.see(A, at(0), &floats(&[1.0]), Some(&scores));
            assert_eq!(made.map(|sample| sample.target), class.map(Target::Class), "{scores:?}");
        }
        assert!(sure.see(A, at(0), &floats(&[1.0]), None).is_none());
        let (class, probability) = confidence(&floats(&[0.0, 2.0f32.ln()])).unwrap();
        assert!(class == 1 && (probability - 2.0 / 3.0).abs() < 1e-6);
        assert_eq!(confidence(&Tensor::new(vec![1, 2, 3], vec![0.0f32; 6]).unwrap()), None);
    }
}
