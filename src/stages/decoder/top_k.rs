//! `top_k`: the most probable classes of a classifier, with their names.
//!
//! Use it after a model that gives one score for each class: tensors `[C]` or `[1, C]` of f32. The result is a packet of
//! labels, best first, with the times and flags of its input.
//!
//! The scores become probabilities by `activation`: *softmax* for classes that exclude each other, *sigmoid* where several
//! may hold at once, *none* for a model that gives probabilities itself (a sound model's last node is often a Softmax).
//! Of equal scores the class with the lower number goes first.
//!
//! # Hierarchies
//!
//! Where names are paths (`animal/dog/beagle`), `level: 1` asks for the first part only: the classes below `animal` are one
//! class, whose probability is the sum of theirs (softmax and none), or the largest of theirs (sigmoid). Its index is that
//! of the most probable class in it.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Tokens, TokensError};
use crate::config::Faults;
use crate::media::{Format, Label, Labels, StreamInfo};
use crate::stage::{
    Blueprint, Contract, ContractFault, Draft, Input, Kind, Opened, Output, ReadContext, Resolve, Role, Runnable,
    Stage, StageError,
};
use crate::tensor::{DType, Dim, SymbolicShape, TensorError};
use crate::units::Timestamp;

/// Keys of `top_k`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TopK {
    /// How many classes at most.
    #[schemars(range(min = 1, max = 1000))]
    pub k: usize,
    /// What makes probabilities of the model's numbers.
    pub activation: Activation,
    /// Classes below this probability are left out; then there may be none.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub threshold: f32,
    /// File of the classes' names in the order of the model's outputs, one a line (or `NAME NUMBER` on every line).
    /// Without it a class has its number only.
    pub labels: Option<PathBuf>,
    /// Where names are paths: how many of their parts count. Without it, all.
    #[schemars(range(min = 1, max = 100))]
    pub level: Option<usize>,
    /// What divides the parts of a name.
    #[schemars(length(min = 1))]
    pub separator: String,
}

/// What makes probabilities of a model's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Activation {
    /// The classes exclude each other: exp(x) / Σ exp(x).
    #[default]
    Softmax,
    /// Each class holds or not by itself: 1 / (1 + exp(−x)).
    Sigmoid,
    /// They are probabilities.
    None,
}

impl Default for TopK {
    fn default() -> Self {
        TopK {
            k: 5,
            activation: Activation::Softmax,
            threshold: 0.0,
            labels: None,
            level: None,
            separator: "/".to_owned(),
        }
    }
}

const EXAMPLE: &str = r#"percept: 1
name: voice-or-not
stages:
  - capture: file
    path: examples/recordings
  - preprocess: mono
  - preprocess: resample
    sample_rate_hz: 16000
  - model: silero-vad             # one class, and its number is a probability
  - decoder: top_k
    activation: none
    threshold: 0.5
  - sink: jsonl
    path: "-"
"#;

/// The entry of the registry.
pub const KIND: Kind =
    Kind::resolved::<TopK>("top_k", Role::Decoder, "the most probable classes of a classifier, by name", EXAMPLE);

/// What this stage cannot take.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TopKError {
    /// A tensor of another shape.
    #[error("at {start}: expected scores of shape {expected}, found {found:?}")]
    Shape {
        /// When the packet starts.
        start: Timestamp,
        /// The shapes that will do.
        expected: String,
        /// The shape found.
        found: Vec<usize>,
    },
    /// A score that is none.
    #[error("at {start}: the score of class {class} is {found}, expected {expected}")]
    Score {
        /// When the packet starts.
        start: Timestamp,
        /// The class, from 0.
        class: usize,
        /// Its score.
        found: f32,
        /// What it may be.
        expected: &'static str,
    },
    /// The tensor is of another data type.
    #[error("at {start}: {error}")]
    Tensor {
        /// When the packet starts.
        start: Timestamp,
        /// What was expected and found.
        error: TensorError,
    },
}

impl Resolve for TopK {
    fn resolve(self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        let mut faults = Faults::new();
        let labels = self.labels.as_ref().map(|path| Tokens::read(&context.settings.resolve(path)));
        let labels = match labels.transpose() {
            Ok(labels) => labels,
            Err(error) => {
                let code = if matches!(error, TokensError::Read { .. }) { "missing-file" } else { "bad-labels" };
                faults.push(context.fault("labels", code, error.to_string()));
                None
            }
        };
        if self.level.is_some() && self.labels.is_none() {
            faults.push(
                context
                    .fault("level", "contradiction", "`level` counts the parts of names, and there are none")
                    .help("give the model's class names, `labels: FILE`, or remove `level`"),
            );
        }
        let blueprint = TopKDecoder::new(self, labels);
        faults.into_result(Box::new(blueprint) as Box<dyn Blueprint>).map(|(blueprint, _)| blueprint)
    }
}

/// A [`TopK`] whose labels are known.
#[derive(Clone, Debug)]
pub struct TopKDecoder {
    settings: TopK,
    labels: Option<Tokens>,
    groups: Option<Groups>,
}

/// Classes that are put together.
#[derive(Clone, Debug)]
struct Groups {
    /// For each class the number of its group.
    of: Arc<[usize]>,
    names: Arc<[Arc<str>]>,
}

impl TopKDecoder {
    /// The stage with these settings (whose `labels` doesn't matter any more) and these labels.
    pub fn new(settings: TopK, labels: Option<Tokens>) -> Self {
        let groups = settings.level.zip(labels.as_ref()).map(|(level, labels)| {
            let mut names: Vec<Arc<str>> = Vec::new();
            let mut known: BTreeMap<String, usize> = BTreeMap::new();
            let group = |class: usize| {
                let name = labels.get(class).map_or("", |name| name);
                let parts: Vec<&str> = name.split(&*settings.separator).take(level).collect();
                let name = parts.join(&settings.separator);
                *known.entry(name.clone()).or_insert_with(|| {
                    names.push(name.into());
                    names.len() - 1
                })
            };
            let groups: Arc<[usize]> = (0..labels.len()).map(group).collect();
            Groups { of: groups, names: names.into() }
        });
        TopKDecoder { settings, labels, groups }
    }

    /// How many classes there are, when the labels say it.
    fn classes(&self) -> Option<usize> {
        self.labels.as_ref().map(Tokens::len)
    }

    fn expected(&self) -> String {
        let classes = self.classes().map_or("C".to_owned(), |classes| classes.to_string());
        format!("[{classes}] or [1, {classes}]")
    }

    /// The classes of one packet. Fails at a score that is none.
    fn decode(&self, scores: &[f32], start: Timestamp) -> Result<Labels, TopKError> {
        let wrong = |(class, found): (usize, &f32)| {
            let expected = match self.settings.activation {
                Activation::None if !(0.0..=1.0).contains(found) => "a probability, 0 to 1",
                _ if found.is_nan() => "a number",
                _ => return None,
            };
            Some(TopKError::Score { start, class, found: *found, expected })
        };
        if let Some(error) = scores.iter().enumerate().find_map(wrong) {
            return Err(error);
        }
        let probabilities = self.settings.activation.of(scores);
        let mut found: Vec<Label> = match &self.groups {
            None => probabilities
                .iter()
                .enumerate()
                .map(|(index, score)| Label { index, name: self.name(index), score: *score })
                .collect(),
            Some(Groups { of, names }) => self.grouped(&probabilities, of, names),
        };
        found.retain(|label| label.score >= self.settings.threshold);
        let order = |a: &Label, b: &Label| b.score.total_cmp(&a.score).then(a.index.cmp(&b.index));
        let k = self.settings.k.min(found.len());
        if k < found.len() {
            found.select_nth_unstable_by(k, order);
            found.truncate(k);
        }
        found.sort_unstable_by(order);
        Ok(Labels { entries: found.into() })
    }

    fn name(&self, class: usize) -> Option<Arc<str>> {
        self.labels.as_ref()?.get(class).cloned()
    }

    fn grouped(&self, probabilities: &[f32], groups: &[usize], names: &[Arc<str>]) -> Vec<Label> {
        let mut found: Vec<Option<(f32, f32, usize)>> = vec![None; names.len()];
        for (class, (score, group)) in probabilities.iter().zip(groups).enumerate() {
            let Some(place) = found.get_mut(*group) else { continue };
            let (total, best, index) = place.unwrap_or((0.0, f32::NEG_INFINITY, class));
            let total = match self.settings.activation {
                Activation::Sigmoid => total.max(*score),
                _ => total + score,
            };
            let better = score.total_cmp(&best) == Ordering::Greater;
            *place = Some((total, best.max(*score), if better { class } else { index }));
        }
        let label = |(name, place): (&Arc<str>, Option<(f32, f32, usize)>)| {
            place.map(|(score, _, index)| Label { index, name: Some(name.clone()), score: score.min(1.0) })
        };
        names.iter().zip(found).filter_map(label).collect()
    }
}

impl Activation {
    /// Probabilities of numbers that are no NaN. Infinite ones share what there is.
    fn of(self, scores: &[f32]) -> Vec<f32> {
        match self {
            Activation::None => scores.to_vec(),
            Activation::Sigmoid => scores.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect(),
            Activation::Softmax => {
                let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let weight = |x: &f32| match x == &largest {
                    true => 1.0,
                    false => f64::from(x - largest).exp(),
                };
                let weights: Vec<f64> = scores.iter().map(weight).collect();
                let total: f64 = weights.iter().sum();
                weights.iter().map(|weight| (weight / total) as f32).collect()
            }
        }
    }
}

impl Blueprint for TopKDecoder {
    fn contract(&self) -> Contract {
        let scores = Format::Tensor { dtype: Some(DType::F32), shape: SymbolicShape::Unranked };
        Contract::new().input("scores", scores).output("labels").inline()
    }

    fn outputs(&self, inputs: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        let is = |dim: &Dim, size: Option<usize>| dim.known().zip(size).is_none_or(|(known, size)| known == size);
        let fits = |dims: &[Dim]| match dims {
            [classes] => is(classes, self.classes()),
            [batch, classes] => is(batch, Some(1)) && is(classes, self.classes()),
            _ => false,
        };
        match inputs.first() {
            None | Some(Format::Any) => Ok(vec![Format::Labels]),
            Some(Format::Tensor { dtype, shape })
                if dtype.is_none_or(|dtype| dtype == DType::F32) && shape.dims().is_none_or(fits) =>
            {
                Ok(vec![Format::Labels])
            }
            Some(found) => Err(vec![ContractFault {
                port: "scores".to_owned(),
                expected: format!("tensor f32 {}: a score for each class", self.expected()),
                found: found.to_string(),
                help: Some(match self.labels {
                    Some(_) => "give the list of names that belongs to this model".to_owned(),
                    None => "put `top_k` after a model with one score for each class".to_owned(),
                }),
            }]),
        }
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(self.clone()))
    }
}

impl Stage for TopKDecoder {
    type State = ();

    fn open(&mut self, _: &StreamInfo, _: &[Format]) -> Result<Opened<()>, StageError> {
        Ok(Opened { state: (), outputs: vec![Format::Labels] })
    }

    fn process(&mut self, _: &mut (), input: Input, out: &mut Output) -> Result<(), StageError> {
        let packet = &input.packet;
        let start = packet.start;
        let tensor = packet.payload.tensor().map_err(StageError::skip)?;
        let classes = match *tensor.shape() {
            [classes] | [1, classes] => Some(classes),
            _ => None,
        };
        let fits = classes.is_some_and(|classes| classes > 0 && self.classes().is_none_or(|known| known == classes));
        if !fits {
            let found = tensor.shape().to_vec();
            return Err(StageError::skip(TopKError::Shape { start, expected: self.expected(), found }));
        }
        let scores = tensor.as_slice::<f32>().map_err(|error| StageError::skip(TopKError::Tensor { start, error }))?;
        let labels = self.decode(scores, start).map_err(StageError::skip)?;
        let mut draft = Draft::new(packet.start, packet.duration, labels);
        draft.flags = packet.flags;
        draft.revision = packet.revision;
        draft.weights = packet.weights;
        out.emit(0, draft);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Source, parse};
    use crate::media::{Packet, StreamId};
    use crate::stage::{Settings, Solo};
    use crate::tensor::Tensor;
    use crate::units::{ClockInstant, TimeSpan};

    fn decoder(settings: TopK, names: &str) -> TopKDecoder {
        TopKDecoder::new(settings, (!names.is_empty()).then(|| Tokens::from_text(names)))
    }

    fn decode(settings: TopK, names: &str, scores: &[f32]) -> Vec<(usize, String, f32)> {
        let labels = decoder(settings, names).decode(scores, Timestamp::ZERO).unwrap();
        let short = |label: &Label| {
            (label.index, label.name.as_deref().unwrap_or_default().to_owned(), (label.score * 1e4).round() / 1e4)
        };
        labels.entries.iter().map(short).collect()
    }

    #[test]
    fn scores_and_what_comes_of_them() {
        let some = |k, activation, threshold| TopK { k, activation, threshold, ..TopK::default() };
        let (e, n) = ("cat\ndog\nbird\n", "");
        type Case<'a> = (TopK, &'a str, &'a [f32], &'a [(usize, &'a str, f32)]);
        let table: &[Case<'_>] = &[
            (some(2, Activation::Softmax, 0.0), e, &[1.0, 2.0, 0.0], &[(1, "dog", 0.6652), (0, "cat", 0.2447)]),
            (some(9, Activation::None, 0.25), e, &[0.25, 0.5, 0.2], &[(1, "dog", 0.5), (0, "cat", 0.25)]),
            (some(2, Activation::Sigmoid, 0.6), n, &[3.0, 0.0, 2.0], &[(0, "", 0.9526), (2, "", 0.8808)]),
            (some(1, Activation::None, 0.9), n, &[0.5], &[]),
            // Equal scores: the lower number first.
            (some(2, Activation::Softmax, 0.0), n, &[1.0, 1.0, 1.0], &[(0, "", 0.3333), (1, "", 0.3333)]),
            // Too large for exp; nothing but infinity; minus infinity is a class that cannot be.
            (some(1, Activation::Softmax, 0.0), n, &[1e30, 0.0], &[(0, "", 1.0)]),
            (some(2, Activation::Softmax, 0.0), n, &[f32::INFINITY, f32::INFINITY], &[(0, "", 0.5), (1, "", 0.5)]),
            (some(2, Activation::Softmax, 0.0), n, &[f32::NEG_INFINITY, 0.0], &[(1, "", 1.0), (0, "", 0.0)]),
        ];
        for (settings, names, scores, expected) in table {
            let expected: Vec<_> =
                expected.iter().map(|(index, name, score)| (*index, (*name).to_owned(), *score)).collect();
            assert_eq!(decode(settings.clone(), names, scores), expected, "{settings:?} {scores:?}");
        }
    }

    #[test]
    fn names_that_are_paths_are_put_together() {
        let names = "animal/dog/beagle\nanimal/cat\nthing/cup\nanimal/dog/pug\n";
        let at = |level, activation| TopK { level: Some(level), activation, ..TopK::default() };
        let scores = [0.25, 0.125, 0.5, 0.125];
        for (settings, expected) in [
            (at(1, Activation::None), vec![(0, "animal", 0.5), (2, "thing", 0.5)]),
            (at(2, Activation::None), vec![(2, "thing/cup", 0.5), (0, "animal/dog", 0.375), (1, "animal/cat", 0.125)]),
            (at(1, Activation::Sigmoid), vec![(2, "thing", 0.6225), (0, "animal", 0.5622)]),
        ] {
            let expected: Vec<_> =
                expected.into_iter().map(|(index, name, score)| (index, name.to_owned(), score)).collect();
            assert_eq!(decode(settings.clone(), names, &scores), expected, "{settings:?}");
        }
    }

    proptest! {
        #[test]
        fn any_scores_give_probabilities_in_order(
            scores in prop::collection::vec(-1e30f32..1e30, 1..40),
            k in 1usize..10,
            sigmoid: bool,
        ) {
            let activation = if sigmoid { Activation::Sigmoid } else { Activation::Softmax };
            let labels = decoder(TopK { k, activation, ..TopK::default() }, "").decode(&scores, Timestamp::ZERO).unwrap();
            prop_assert_eq!(labels.entries.len(), k.min(scores.len()));
            prop_assert!(labels.entries.is_sorted_by(|a, b| a.score >= b.score));
            prop_assert!(labels.entries.iter().all(|label| (0.0..=1.0).contains(&label.score)));
            let best = scores.iter().copied().fold(f32::MIN, f32::max);
            prop_assert!(sigmoid || scores[labels.entries[0].index] == best);
        }
    }

    #[test]
    fn tensors_that_do_not_fit_are_skipped_and_the_stream_goes_on() {
        let name: Arc<str> = "test".into();
        let info = StreamInfo {
            id: StreamId(0),
            group: Arc::clone(&name),
            name,
            live: false,
            zero: ClockInstant::default(),
            wall: None,
            file: None,
        };
        let blueprint = decoder(TopK { activation: Activation::None, ..TopK::default() }, "cat\ndog\n");
        let mut solo = Solo::open(&blueprint, info, vec![Format::ANY_TENSOR]).unwrap();
        let packet = |tensor: Tensor| Packet::new(StreamId(0), Timestamp::ZERO, TimeSpan::ZERO, tensor);
        for (tensor, says) in [
            (Tensor::from_vec(vec![0.5f32; 3]), "expected scores of shape [2] or [1, 2], found [3]"),
            (Tensor::new(vec![2, 2], vec![0.5f32; 4]).unwrap(), "found [2, 2]"),
            (Tensor::from_vec(vec![0.5f32, f32::NAN]), "the score of class 1 is NaN, expected a probability, 0 to 1"),
            (Tensor::from_vec(vec![1.5f32, 0.0]), "the score of class 0 is 1.5"),
            (Tensor::from_vec(vec![0.5f64, 0.5]), "f64"),
        ] {
            let error = solo.push(0, packet(tensor)).unwrap_err();
            assert!(matches!(error, StageError::Skip(_)) && error.to_string().contains(says), "{error}");
        }
        let fine = solo.push(0, packet(Tensor::new(vec![1, 2], vec![0.25f32, 0.75]).unwrap())).unwrap();
        assert_eq!(fine[0].1.payload.labels().unwrap().entries[0].name.as_deref(), Some("dog"));
    }

    #[test]
    fn faults_at_their_place() {
        let read = |yaml: &str| {
            let source = Source::new("test.yaml", yaml);
            let node = parse(&source).unwrap();
            let settings = Settings::default();
            let context = ReadContext { node: &node, model: None, source: &source, settings: &settings };
            (KIND.read)(&context).map(|_| ()).map_err(|faults| faults.to_string())
        };
        assert!(read("{}").is_ok());
        for (yaml, says) in [
            ("labels: nowhere.txt", "cannot read the list nowhere.txt"),
            ("level: 1", "`level` counts the parts of names"),
            ("k: 0", "k"),
            ("activation: softmacks", "did you mean `softmax`?"),
        ] {
            let faults = read(yaml).unwrap_err();
            assert!(faults.contains(says) && faults.contains("test.yaml:1:"), "{yaml}: {faults}");
        }
    }

    #[test]
    fn a_model_with_other_classes_is_a_fault_before_it_starts() {
        let blueprint = decoder(TopK::default(), "cat\ndog\n");
        let tensor = |sizes: &[usize]| Format::Tensor { dtype: Some(DType::F32), shape: SymbolicShape::known(sizes) };
        for (sizes, fits) in
            [(&[2][..], true), (&[1, 2], true), (&[1, 3], false), (&[2, 2], false), (&[1, 2, 1], false)]
        {
            assert_eq!(blueprint.outputs(&[tensor(sizes)]).is_ok(), fits, "{sizes:?}");
        }
        let faults = blueprint.outputs(&[tensor(&[1, 3])]).unwrap_err();
        assert_eq!(faults[0].expected, "tensor f32 [2] or [1, 2]: a score for each class");
    }
}
