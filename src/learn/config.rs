//! The key `learn:` of a model stage.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::error::LearnError;
use crate::engine::optimizers::Adam;
use crate::engine::{Clip, Loss, Optimizer};

/// How a model learns from the stream that it works on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LearnConfig {
    /// Where targets come from, and how they are joined to their inputs. Default: from nowhere, which only a
    /// supervision other than `labels` can do with.
    #[serde(default)]
    pub labels: LabelsConfig,
    /// What the targets are. Default: `labels`.
    #[serde(default)]
    pub supervision: Supervision,
    /// Whether a label is for one packet, or for all packets of a stream or of the label's span (weak supervision: each of
    /// them gets it). Default: `packet`.
    #[serde(default)]
    pub per: Per,
    /// A loss by name, or with its settings: `{kind: cross_entropy, label_smoothing: 0.1}`. Default: `cross_entropy`;
    /// `squared` where the target is an input.
    #[serde(default)]
    pub loss: Option<LossConfig>,
    /// The rule of descent. Default: adam, with a learning rate of 0.0005.
    #[serde(default = "adam")]
    pub optimizer: Optimizer,
    /// Holds gradients in bounds. Default: `{norm: 5}`.
    #[serde(default)]
    pub clip: ClipConfig,
    /// Weights that stay as they are, by name; `*` is anything. Default: none.
    #[serde(default)]
    pub freeze: Vec<String>,
    /// Samples in a minibatch. Default: 16.
    #[serde(default = "batch")]
    #[schemars(range(min = 1, max = 4096))]
    pub batch: usize,
    /// Minibatches that are learned for each labelled sample that arrives. Default: 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub steps: u32,
    /// What is kept to be learned again.
    #[serde(default)]
    pub replay: ReplayConfig,
    /// The share of labelled samples that are never learned from: by them the copy that learns is compared with the one
    /// that serves. Above 0 and below 1. Default: 0.2.
    #[serde(default = "holdout")]
    pub holdout: f64,
    /// By what models are compared: `error` is the share of wrong answers, `loss` the loss. Default: `error` with a loss
    /// that tells classes (cross_entropy, binary_cross_entropy, hinge, perceptron, kl), else `loss`.
    #[serde(default)]
    pub measure: Option<Measured>,
    /// Trusted samples on which no version may be worse than the model that learning began with.
    #[serde(default)]
    pub guard: GuardConfig,
    /// When the copy that learns takes the place of the one that serves.
    #[serde(default)]
    pub promote: PromoteConfig,
    /// What learning may cost.
    #[serde(default)]
    pub budget: BudgetConfig,
    /// Classes that may join the model's own while it runs: a label by an unknown name becomes one. Default: 0.
    #[serde(default)]
    #[schemars(range(max = 65_536))]
    pub new_classes: usize,
    /// The folder for adopted versions. Default: they are kept in memory only.
    #[serde(default)]
    pub save: Option<PathBuf>,
    /// Versions that are kept. Default: 5.
    #[serde(default = "keep_versions")]
    #[schemars(range(min = 2, max = 10_000))]
    pub keep_versions: usize,
    /// Whether it learns all the time, or only after the stream has changed. Default: `always`.
    #[serde(default)]
    pub when: When,
    /// Where all random numbers begin. Default: 0.
    #[serde(default)]
    pub seed: u64,
}

/// Where targets come from, and how they are joined to their inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LabelsConfig {
    /// The port that gives labels (a decoder's, a capture's), or a teacher's scores: `stage` or `stage.port`; `control`
    /// where they come by `percept live label` alone. Default: none.
    pub from: Option<String>,
    /// How long, in milliseconds of stream time, an input waits for its label. Default: 10000.
    #[schemars(range(max = 86_400_000))]
    pub wait_ms: u32,
    /// How far, in milliseconds, a label that starts in no input may be from the nearest one. Default: 0.
    #[schemars(range(max = 86_400_000))]
    pub tolerance_ms: u32,
    /// Labels with a lower score than this are not used. Default: 0, each is.
    #[schemars(range(min = 0, max = 1))]
    pub threshold: f64,
    /// Inputs that wait for a label at once, at most. Default: 4096.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub waiting: usize,
}

impl LabelsConfig {
    /// The word of `from` for labels that come from outside of the pipeline.
    pub const CONTROL: &str = "control";

    /// The port that gives labels, where one does.
    pub fn port(&self) -> Option<&str> {
        self.from.as_deref().filter(|from| *from != Self::CONTROL)
    }
}

impl Default for LabelsConfig {
    fn default() -> Self {
        LabelsConfig { from: None, wait_ms: 10_000, tolerance_ms: 0, threshold: 0.0, waiting: 4096 }
    }
}

/// What the targets are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Supervision {
    /// The labels that arrive; from another model's port they are a teacher's (distillation).
    #[default]
    Labels,
    /// The serving version's own answers where it is sure (self-training).
    Confident {
        /// How likely the best class must be, above 0 and at most 1.
        threshold: f64,
    },
    /// The input some packets later (prediction).
    Next {
        /// How many packets ahead, at least 1.
        #[schemars(range(min = 1, max = 10_000))]
        steps: u32,
    },
    /// The whole input, of which the model sees a part.
    Masked {
        /// The share of numbers that become 0, above 0 and below 1.
        share: f64,
    },
    /// The input itself (an autoencoder).
    Input,
}

/// What one label is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// One packet.
    #[default]
    Packet,
    /// Every packet of the label's span; of the whole stream, where that has no length.
    Stream,
}

/// By what models are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Measured {
    /// The share of wrong answers: 0 for a sample whose best class is the target's, else 1.
    Error,
    /// The loss.
    Loss,
}

/// When a model learns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// All the time.
    #[default]
    Always,
    /// From a change of the stream to the next promotion.
    Drift,
}

/// A loss by name, or with its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum LossConfig {
    /// A name.
    Name(String),
    /// `kind` and settings.
    Settings(Map<String, Json>),
}

/// Holds gradients in bounds: one of both.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClipConfig {
    /// The largest Euclidean norm over all weights together.
    #[serde(default)]
    pub norm: Option<f64>,
    /// The largest size of a number.
    #[serde(default)]
    pub value: Option<f64>,
}

impl Default for ClipConfig {
    fn default() -> Self {
        ClipConfig { norm: Some(5.0), value: None }
    }
}

/// What is kept to be learned again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReplayConfig {
    /// Samples of this stream, at most; as many of the old task beside them. Default: 2000.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub size: usize,
    /// Bytes that each of them may take. Default: 67108864 (64 MiB).
    #[schemars(range(min = 1024))]
    pub bytes: usize,
    /// Which samples stay when there is no room. Default: `reservoir`.
    pub keep: Keep,
    /// Samples of the old task, learned again so that it is not forgotten: an `.npz` file with arrays `input` and
    /// `target`, or a recipe. Default: none.
    pub seed_from: Option<PathBuf>,
    /// The share of each minibatch that is of the old task, at least 0 and below 1. Default: 0.5.
    pub seed_share: f64,
}

impl Default for ReplayConfig {
    fn default() -> Self {
        ReplayConfig { size: 2000, bytes: 64 << 20, keep: Keep::Reservoir, seed_from: None, seed_share: 0.5 }
    }
}

/// Which samples stay when there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// All that ever came with equal probability.
    #[default]
    Reservoir,
    /// As equally many of each class as there are.
    Balanced,
    /// The last ones.
    Recent,
}

/// Trusted samples on which no version may be worse.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GuardConfig {
    /// An `.npz` file with arrays `input` and `target` (or `x` and `y`), one sample a row. Default: none, and then labels
    /// that are wrong in a consistent way cannot be told from right ones.
    pub reference: Option<PathBuf>,
    /// How much worse a version may be than the model that learning began with, in `measure`: 0.02 are two wrong answers
    /// more in a hundred. Default: 0.02.
    #[schemars(range(min = 0))]
    pub max_loss: f64,
    /// The probability with which it is not worse than that, in all looks together. Above 0.5 and below 1. Default: 0.95.
    pub confidence: f64,
}

impl Default for GuardConfig {
    fn default() -> Self {
        GuardConfig { reference: None, max_loss: 0.02, confidence: 0.95 }
    }
}

/// When the copy that learns takes the place of the one that serves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PromoteConfig {
    /// How often both are compared, in seconds of stream time. Default: 30.
    pub every_s: f64,
    /// How much better it must be on held-out samples, in `measure`. Default: 0.01.
    #[schemars(range(min = 0))]
    pub min_gain: f64,
    /// After so many comparisons in a row without a gain, or refused by the guard, the copy starts again from the version
    /// that serves. Default: 3.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub patience: u32,
    /// The probability with which it is better at all, in all looks since the last promotion together; and with which a
    /// version that is taken back was worse. Above 0.5 and below 1. Default: 0.95.
    pub confidence: f64,
    /// Held-out samples below which nothing is compared. Default: 20.
    #[schemars(range(min = 2, max = 1_000_000))]
    pub min_samples: usize,
}

impl Default for PromoteConfig {
    fn default() -> Self {
        PromoteConfig { every_s: 30.0, min_gain: 0.01, patience: 3, confidence: 0.95, min_samples: 20 }
    }
}

/// What learning may cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetConfig {
    /// Threads; 0 is one for each core. Default: 1.
    #[schemars(range(max = 1024))]
    pub threads: usize,
    /// The share of its time that a thread of the learner computes, above 0 and at most 1. Default: 0.5.
    pub max_cpu: f64,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        BudgetConfig { threads: 1, max_cpu: 0.5 }
    }
}

fn adam() -> Optimizer {
    Optimizer::Adam(Adam { learning_rate: 0.0005, ..Adam::default() })
}

fn batch() -> usize {
    16
}

fn one() -> u32 {
    1
}

fn holdout() -> f64 {
    0.2
}

fn keep_versions() -> usize {
    5
}

impl Default for LearnConfig {
    fn default() -> Self {
        LearnConfig {
            labels: LabelsConfig::default(),
            supervision: Supervision::default(),
            per: Per::default(),
            loss: None,
            optimizer: adam(),
            clip: ClipConfig::default(),
            freeze: Vec::new(),
            batch: batch(),
            steps: one(),
            replay: ReplayConfig::default(),
            holdout: holdout(),
            measure: None,
            guard: GuardConfig::default(),
            promote: PromoteConfig::default(),
            budget: BudgetConfig::default(),
            new_classes: 0,
            save: None,
            keep_versions: keep_versions(),
            when: When::default(),
            seed: 0,
        }
    }
}

/// Losses that compare several outputs, of which a stream's label tells one.
const NOT_OF_ONE_TARGET: &[&str] = &["cosine_embedding", "triplet"];

impl LearnConfig {
    /// Every setting out of range: the key, and what was expected and found. Empty when all is well.
    pub fn check(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        let mut expect = |holds: bool, key: &'static str, expected: &str, found: String| {
            if !holds {
                faults.push((key, format!("is out of range: expected {expected}, found {found}")));
            }
        };
        let open = |value: f64| value > 0.0 && value < 1.0;
        let not_negative = |value: f64| value >= 0.0 && value.is_finite();
        let confidence = |value: f64| value > 0.5 && value < 1.0;
        let labels = &self.labels;
        expect((0.0..=1.0).contains(&labels.threshold), "labels.threshold", "0 to 1", labels.threshold.to_string());
        expect(labels.waiting >= 1, "labels.waiting", "at least 1 input", labels.waiting.to_string());
        match self.supervision {
            Supervision::Labels => {
                expect(
                    labels.from.is_some(),
                    "labels.from",
                    "a port that gives labels, `control`, or another `supervision`",
                    "none".into(),
                );
            }
            Supervision::Confident { threshold } => {
                let holds = threshold > 0.0 && threshold <= 1.0;
                expect(holds, "supervision.confident.threshold", "above 0 and at most 1", threshold.to_string());
            }
            Supervision::Next { steps } => {
                expect((1..=10_000).contains(&steps), "supervision.next.steps", "1 to 10000", steps.to_string());
            }
            Supervision::Masked { share } => {
                expect(open(share), "supervision.masked.share", "above 0 and below 1", share.to_string());
            }
            Supervision::Input => {}
        }
        let weak = self.per == Per::Stream && self.supervision != Supervision::Labels;
        expect(!weak, "per", "`packet`, as there are no labels by stream", "`stream`".into());
        expect((1..=4096).contains(&self.batch), "batch", "1 to 4096 samples", self.batch.to_string());
        expect((1..=1000).contains(&self.steps), "steps", "1 to 1000", self.steps.to_string());
        expect(self.replay.size >= 1, "replay.size", "at least 1 sample", self.replay.size.to_string());
        expect(self.replay.bytes >= 1024, "replay.bytes", "at least 1024", self.replay.bytes.to_string());
        let share = self.replay.seed_share;
        expect((0.0..1.0).contains(&share), "replay.seed_share", "at least 0 and below 1", share.to_string());
        expect(open(self.holdout), "holdout", "above 0 and below 1", self.holdout.to_string());
        let guard = &self.guard;
        expect(not_negative(guard.max_loss), "guard.max_loss", "a number from 0", guard.max_loss.to_string());
        expect(confidence(guard.confidence), "guard.confidence", "above 0.5 and below 1", guard.confidence.to_string());
        let promote = &self.promote;
        let every = promote.every_s;
        expect(every > 0.0 && every <= 1e8, "promote.every_s", "above 0 seconds", every.to_string());
        expect(not_negative(promote.min_gain), "promote.min_gain", "a number from 0", promote.min_gain.to_string());
        expect(promote.patience >= 1, "promote.patience", "at least 1", promote.patience.to_string());
        expect(promote.min_samples >= 2, "promote.min_samples", "at least 2", promote.min_samples.to_string());
        let found = promote.confidence.to_string();
        expect(confidence(promote.confidence), "promote.confidence", "above 0.5 and below 1", found);
        let cpu = self.budget.max_cpu;
        expect(cpu > 0.0 && cpu <= 1.0, "budget.max_cpu", "above 0 and at most 1", cpu.to_string());
        expect(self.budget.threads <= 1024, "budget.threads", "at most 1024", self.budget.threads.to_string());
        expect(self.keep_versions >= 2, "keep_versions", "at least 2", self.keep_versions.to_string());
        expect(self.new_classes <= 65_536, "new_classes", "at most 65536", self.new_classes.to_string());
        let ClipConfig { norm, value } = self.clip;
        expect(norm.is_none() || value.is_none(), "clip", "one of `norm` and `value`", "both".into());
        for bound in [norm, value].into_iter().flatten() {
            expect(bound > 0.0 && bound.is_finite(), "clip", "a number above 0", bound.to_string());
        }
        if let Err(error) = self.optimizer.check() {
            faults.push(("optimizer", format!("is refused: {error}")));
        }
        if let Err(error) = self.loss() {
            faults.push(("loss", format!("is refused: {error}")));
        }
        faults
    }

    /// The loss.
    pub fn loss(&self) -> Result<Loss, LearnError> {
        let rebuilds = matches!(self.supervision, Supervision::Next { .. } | Supervision::Masked { .. })
            || self.supervision == Supervision::Input;
        let loss = match &self.loss {
            None if rebuilds => Loss::squared(),
            None => Loss::cross_entropy(),
            Some(LossConfig::Name(name)) => Loss::new(name)?,
            Some(LossConfig::Settings(settings)) => {
                let mut settings = settings.clone();
                let kind = settings.remove("kind");
                let Some(name) = kind.as_ref().and_then(Json::as_str) else {
                    let message = "has no `kind`, the name of a loss".into();
                    return Err(LearnError::Setting { key: "loss".into(), message });
                };
                Loss::new(name)?.with_settings(&settings)?
            }
        };
        if NOT_OF_ONE_TARGET.contains(&loss.name()) {
            let message = format!("is `{}`, which compares several inputs: a label tells of one", loss.name());
            return Err(LearnError::Setting { key: "loss".into(), message });
        }
        Ok(loss)
    }

    /// How gradients are held in bounds.
    pub(super) fn clip(&self) -> Clip {
        match (self.clip.norm, self.clip.value) {
            (Some(bound), _) => Clip::Norm(bound),
            (None, Some(bound)) => Clip::Value(bound),
            (None, None) => Clip::None,
        }
    }

    /// The first setting out of range as an error.
    pub(super) fn refuse(&self) -> Result<(), LearnError> {
        match self.check().into_iter().next() {
            Some((key, message)) => Err(LearnError::Setting { key: key.into(), message }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Source};

    fn read(yaml: &str) -> Result<LearnConfig, String> {
        let source = Source::new("test.yaml", yaml);
        config::read(&config::parse(&source).unwrap(), &source).map_err(|faults| faults.to_string())
    }

    #[test]
    fn three_lines_will_do_and_the_whole_of_it_is_read() {
        let config = read("labels: {from: corrections}\n").unwrap();
        assert_eq!(config.check(), Vec::new());
        assert_eq!((config.batch, config.steps, config.replay.size, config.keep_versions), (16, 1, 2000, 5));
        assert_eq!(config.loss().unwrap().name(), "cross_entropy");
        let whole = "labels: {from: corrections, wait_ms: 5000}\nloss: {kind: huber, delta: 0.5}\n\
                     optimizer: {kind: adam, learning_rate: 0.0005}\nfreeze: [\"conv*\"]\n\
                     replay: {size: 2000, keep: reservoir, seed_from: models/digits/recipe.yaml}\nholdout: 0.2\n\
                     guard: {reference: models/digits/reference.npz, max_loss: 0.02}\n\
                     promote: {every_s: 30, min_gain: 0.01, patience: 3}\nbudget: {threads: 1, max_cpu: 0.5}\n\
                     save: models/digits-live\nwhen: drift\nper: stream\n";
        let config = read(whole).unwrap();
        assert_eq!(config.check(), Vec::new());
        assert_eq!(config.loss().unwrap().name(), "huber");
        assert_eq!((config.when, config.per), (When::Drift, Per::Stream));
    }

    #[test]
    fn every_supervision_is_read() {
        for (yaml, expected) in [
            ("labels", Supervision::Labels),
            ("input", Supervision::Input),
            ("{confident: {threshold: 0.9}}", Supervision::Confident { threshold: 0.9 }),
            ("{next: {steps: 2}}", Supervision::Next { steps: 2 }),
            ("{masked: {share: 0.3}}", Supervision::Masked { share: 0.3 }),
        ] {
            let config = read(&format!("labels: {{from: a}}\nsupervision: {yaml}\n")).unwrap();
            assert_eq!(config.supervision, expected, "{yaml}");
            assert_eq!(config.check(), Vec::new(), "{yaml}");
        }
        assert_eq!(read("supervision: input").unwrap().loss().unwrap().name(), "squared");
    }

    #[test]
    fn what_is_out_of_range_is_named_all_at_once() {
        for (yaml, keys) in [
            ("{}", vec!["labels.from"]),
            ("{supervision: input, batch: 0, steps: 0}", vec!["batch", "steps"]),
            ("{supervision: input, holdout: 1.0}", vec!["holdout"]),
            ("{supervision: {masked: {share: 1.0}}}", vec!["supervision.masked.share"]),
            ("{supervision: {next: {steps: 0}}}", vec!["supervision.next.steps"]),
            ("{supervision: {confident: {threshold: 0}}}", vec!["supervision.confident.threshold"]),
            ("{supervision: input, per: stream}", vec!["per"]),
            ("{supervision: input, guard: {max_loss: -1, confidence: 1}}", vec!["guard.max_loss", "guard.confidence"]),
            (
                "{supervision: input, promote: {every_s: 0, confidence: 0.5}}",
                vec!["promote.every_s", "promote.confidence"],
            ),
            ("{supervision: input, budget: {max_cpu: 0}}", vec!["budget.max_cpu"]),
            ("{supervision: input, clip: {norm: 1, value: 1}}", vec!["clip"]),
            ("{supervision: input, clip: {norm: -1}}", vec!["clip"]),
            ("{supervision: input, loss: mse}", vec!["loss"]),
            ("{supervision: input, loss: triplet}", vec!["loss"]),
            ("{supervision: input, loss: {delta: 1}}", vec!["loss"]),
            ("{supervision: input, optimizer: {kind: sgd, learning_rate: -1}}", vec!["optimizer"]),
            ("{supervision: input, replay: {seed_share: 1}}", vec!["replay.seed_share"]),
        ] {
            // What the schema refuses already is refused with its key.
            match read(yaml) {
                Ok(config) => {
                    let found: Vec<&str> = config.check().iter().map(|(key, _)| *key).collect();
                    assert_eq!(found, keys, "{yaml}");
                }
                Err(faults) => assert!(faults.contains("out-of-range"), "{yaml}: {faults}"),
            }
        }
        assert!(read("{labels: {form: a}}").unwrap_err().contains("did you mean `from`?"));
    }
}
