//! The shadow that learns, and the judgement of it.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use super::config::{LearnConfig, Measured, When};
use super::error::LearnError;
use super::grow::{classes_of, grow_classes};
use super::guard::Guard;
use super::measure::{Measure, Port, TARGET};
use super::npz::load_samples;
use super::replay::{Place, Replay};
use super::sample::{Sample, Target};
use super::statistics::Moments;
use crate::engine::{EngineError, Loss, Network, Training};
use crate::media::StreamId;
use crate::onnx::Model;
use crate::tensor::{DType, Tensor};
use crate::units::Timestamp;

mod admit;
mod judge;
mod models;
#[cfg(test)]
mod tests;
mod verdict;

use models::{judge_original, network, training, with_logits};
pub use verdict::{Candidate, Figures, LearnCounts, LiveFigures, Reason, Verdict};

/// A version and a network to measure it by.
struct Version {
    number: u64,
    network: Network,
}

/// Live answers that make the measure of a version.
const LIVE: usize = 256;
/// Samples since a promotion on which the version is compared with the one before.
const TRIAL: usize = 1024;
/// Numbers of a side below which a fall is not looked for.
const MIN_LIVE: u64 = 10;

/// A model that learns while another copy of it serves: the shadow is trained on samples of the stream, compared with the
/// serving version, and offered as a candidate when it is better. It holds no thread and no clock; what follows from a
/// sequence of calls is the same bit for bit, with the same seed and number of threads.
///
/// [`offer`](Learner::offer) takes samples, [`train`](Learner::train) does a bounded piece of work,
/// [`consider`](Learner::consider) judges.
pub struct Learner {
    config: LearnConfig,
    loss: Loss,
    port: Port,
    /// The output that the loss reads.
    output: String,
    /// Whether that output was added for the loss, and is no part of the model.
    added: bool,
    classes: Vec<String>,
    /// The number of classes, where the head can tell or the names do.
    class_count: Option<usize>,
    /// The same of the model that learning began with.
    began_with: Option<usize>,
    measure: Measure,
    shadow: Training,
    serving: Version,
    previous: Option<Version>,
    replay: Replay,
    guard: Option<Guard>,
    /// By sample of the reference set: the measure of the model that learning began with.
    original: Vec<f64>,
    /// By shape of an input: the shape of its scores.
    shapes: BTreeMap<Vec<usize>, Vec<usize>>,
    counts: LearnCounts,
    owed: u64,
    /// Steps of the shadow since it was last the serving version, and at the last look.
    steps: u64,
    steps_at_look: u64,
    looked: Option<Timestamp>,
    looks: u64,
    without_gain: u32,
    changed: bool,
    waits_for_adoption: bool,
    /// The candidate that waits, with the steps that made it.
    candidate: Option<(Model, u64)>,
    /// The measures of the last live answers of the serving version.
    live: VecDeque<f64>,
    live_since: Moments,
    before: Option<Moments>,
    falls_looked_for: u64,
    next_fall: u64,
    /// Samples since the last promotion, whose measure waits, and the differences to the version before.
    trial: VecDeque<Sample>,
    trial_bytes: usize,
    trial_measures: VecDeque<(f64, f64)>,
    rollbacks: u32,
}

impl Learner {
    /// Learns by these settings from a model whose input `input_name` the samples fill. `classes` are the names of its
    /// classes, as far as they are known: targets by name and new classes need them.
    pub fn new(
        model: &Model,
        config: &LearnConfig,
        input_name: &str,
        classes: Vec<String>,
    ) -> Result<Self, LearnError> {
        config.refuse()?;
        let port = Port::of(model, input_name)?;
        let class_count = classes_of(model);
        let names = Some(classes.len()).filter(|count| *count > 0);
        if let (Some(found), Some(names)) = (class_count, names)
            && found != names
        {
            return Err(LearnError::Model {
                model: model.graph.name.clone(),
                expected: format!("{names} classes, as there are names"),
                found: found.to_string(),
                remedy: "give as many names as the model has classes",
            });
        }
        if config.new_classes > 0 {
            let Some(count) = class_count.filter(|_| names.is_some()) else {
                grow_classes(model, class_count.unwrap_or(0) + 1)?;
                let message = "needs the names of the classes that the model has: there are none".into();
                return Err(LearnError::Setting { key: "new_classes".into(), message });
            };
            grow_classes(model, count + 1)?;
        }
        let (model, output, added) = with_logits(model, config.loss()?.name());
        let Some(info) = model.graph.outputs.iter().find(|info| info.name == output) else {
            return Err(LearnError::Model {
                model: model.graph.name,
                expected: "an output".into(),
                found: "none".into(),
                remedy: "export the model with its answer as an output",
            });
        };
        let dtype = info.dtype.unwrap_or(DType::F32);
        let loss = config.loss()?.of(&[output.as_str()]).targets(&[TARGET]);
        let mut measure = Measure::new(config, &loss, dtype)?;
        let mut network = network(&model, config)?;
        let shadow = training(&model, config, &loss, &port)?;
        let is_npz = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "npz");
        let mut guard = config.guard.reference.as_ref().filter(is_npz).map(|path| Guard::load(path)).transpose()?;
        let original = match &mut guard {
            Some(guard) => judge_original(guard, config, &port, &output, &mut measure, &mut network)?,
            None => Vec::new(),
        };
        let mut learner = Learner {
            config: config.clone(),
            loss,
            port,
            output,
            added,
            class_count: class_count.or(names),
            began_with: class_count.or(names),
            classes,
            measure,
            shadow,
            serving: Version { number: 0, network },
            previous: None,
            replay: Replay::new(config),
            guard,
            original,
            shapes: BTreeMap::new(),
            counts: LearnCounts::default(),
            owed: 0,
            steps: 0,
            steps_at_look: 0,
            looked: None,
            looks: 0,
            without_gain: 0,
            changed: false,
            waits_for_adoption: false,
            candidate: None,
            live: VecDeque::new(),
            live_since: Moments::default(),
            before: None,
            falls_looked_for: 0,
            next_fall: MIN_LIVE,
            trial: VecDeque::new(),
            trial_bytes: 0,
            trial_measures: VecDeque::new(),
            rollbacks: 0,
        };
        if let Some(path) = config.replay.seed_from.as_ref().filter(is_npz) {
            learner.seed(load_samples(path)?);
        }
        Ok(learner)
    }

    /// The same, where the version that serves at the beginning has this number (0 without it).
    pub fn with_version(mut self, number: u64) -> Self {
        self.serving.number = number;
        self
    }

    /// The same with this reference set. An `.npz` file of `guard.reference` is read by [`Learner::new`]; what a recipe
    /// gives comes by this way.
    pub fn with_guard(mut self, mut guard: Guard) -> Result<Self, LearnError> {
        for sample in guard.samples_mut() {
            // One whose class is not known stays, and is refused below.
            if let Some(target) = self.resolve(&sample.target) {
                sample.target = target;
            }
        }
        let (port, output) = (&self.port, self.output.as_str());
        self.original =
            judge_original(&mut guard, &self.config, port, output, &mut self.measure, &mut self.serving.network)?;
        self.guard = Some(guard);
        Ok(self)
    }

    /// What the serving version says of an input, one sample with or without its batch axis; nothing where it cannot be
    /// given it.
    pub fn answer(&mut self, input: &Tensor) -> Option<Tensor> {
        let input = self.port.one(input).ok()?;
        let scores = self.serving.network.run_for(&[&self.output], &[(&self.port.name, &input)]).ok()?;
        scores.into_iter().next()
    }

    /// Samples of the old task, to be rehearsed; those that do not fit the model are counted as malformed. An `.npz` file
    /// of `replay.seed_from` is read by [`Learner::new`]; what a recipe gives comes by this way.
    pub fn seed(&mut self, samples: impl IntoIterator<Item = Sample>) {
        for sample in samples {
            if let Some(sample) = self.fit(sample, false) {
                self.replay.seed(sample);
            }
        }
    }

    /// Takes a sample. One that is not finite, or does not fit the model, is counted and goes no further.
    pub fn offer(&mut self, sample: Sample) {
        self.counts.offered += 1;
        let Some(sample) = self.fit(sample, true) else { return };
        if self.previous.is_some() {
            self.trial_bytes += sample.byte_len();
            self.trial.push_back(sample.clone());
            while self.trial.len() > TRIAL || self.trial_bytes > self.config.replay.bytes {
                let Some(gone) = self.trial.pop_front() else { break };
                self.trial_bytes = self.trial_bytes.saturating_sub(gone.byte_len());
            }
        }
        match self.replay.offer(sample) {
            Place::Kept => self.counts.kept += 1,
            Place::HeldOut => {
                self.counts.held_out += 1;
                return;
            }
            Place::PassedOver => self.counts.passed_over += 1,
        }
        // As many as one round over what is kept may wait; a flood of labels is no reason to learn all day.
        let most = (self.config.replay.size as u64).saturating_mul(self.config.steps.into());
        self.owed += u64::from(self.config.steps);
        let over = self.owed.saturating_sub(most);
        self.counts.steps_given_up += over;
        self.owed -= over;
    }

    /// Says that the stream has changed: with `when: drift` learning begins.
    pub fn drifted(&mut self) {
        self.changed = true;
    }

    /// Learns one minibatch, where one is owed; says whether there is more to do.
    pub fn train(&mut self) -> bool {
        if self.owed == 0 || (self.config.when == When::Drift && !self.changed) {
            return false;
        }
        self.owed -= 1;
        match self.step() {
            Ok(()) => {}
            Err(LearnError::Engine(EngineError::NotFinite { .. })) => self.diverged(),
            Err(_) => self.counts.failed += 1,
        }
        self.owed > 0
    }

    fn step(&mut self) -> Result<(), LearnError> {
        let batch = self.replay.minibatch(self.config.batch);
        let mut pairs = Vec::with_capacity(batch.len());
        for sample in batch {
            // What was made for fewer classes fits no more.
            let Ok(shape) = self.scores_of(&sample.input) else { continue };
            let Ok(target) = self.measure.target(&sample.target, &shape) else { continue };
            let fits = pairs.first().is_none_or(|(_, first): &(Tensor, Tensor)| {
                first.dtype() == target.dtype() && first.shape() == target.shape()
            });
            if fits {
                pairs.push((sample.input, target));
            }
        }
        if pairs.is_empty() {
            return Ok(());
        }
        let (inputs, targets): (Vec<Tensor>, Vec<Tensor>) = pairs.into_iter().unzip();
        if self.port.batches {
            let input = Tensor::concat(&inputs, 0).map_err(EngineError::from)?;
            let target = Tensor::concat(&targets, 0).map_err(EngineError::from)?;
            self.shadow.step(&[(&self.port.name, &input), (TARGET, &target)])?;
        } else {
            // The training adds up as many gradients as a minibatch has samples.
            for at in 0..self.config.batch {
                let at = at % inputs.len();
                self.shadow.step(&[(&self.port.name, &inputs[at]), (TARGET, &targets[at])])?;
            }
        }
        self.steps += 1;
        self.counts.steps += 1;
        Ok(())
    }

    /// A live answer of a version: the scores that it gave, and what they should have been. By these it is seen whether the
    /// measure fell after a promotion (prequential evaluation: Gama, Sebastião and Rodrigues, *Machine Learning* 90, 2013).
    pub fn live(&mut self, _stream: StreamId, target: &Target, scores: &Tensor, version: u64) {
        let scores = match scores.shape() {
            [] | [_] => scores.reshape([1].into_iter().chain(scores.shape().iter().copied()).collect()).ok(),
            _ => Some(scores.clone()),
        };
        let measure = self.resolve(target).zip(scores).map(|(target, scores)| self.measure.of(&scores, &target));
        // An answer that is not finite is as wrong as can be, whatever it is measured by.
        let Some(measure) = measure.filter(|_| version == self.serving.number && target.is_sound()) else {
            self.counts.live_stale += 1;
            return;
        };
        self.counts.live += 1;
        let measure = if measure.is_finite() { measure } else { 1e3 };
        self.live.push_back(measure);
        if self.live.len() > LIVE {
            self.live.pop_front();
        }
        self.live_since.add(measure);
    }

    /// What became of everything so far.
    pub fn counts(&self) -> LearnCounts {
        self.counts
    }

    /// The version that serves.
    pub fn version(&self) -> u64 {
        self.serving.number
    }

    /// The names of the shadow's classes.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// What models are compared by.
    pub fn measured(&self) -> Measured {
        self.measure.kind()
    }

    /// The mean measure of the serving version's last live answers, and how many there are.
    pub fn live_measure(&self) -> (f64, usize) {
        (Moments::of(self.live.iter().copied()).mean, self.live.len())
    }

    /// The samples.
    pub fn replay(&self) -> &Replay {
        &self.replay
    }

    /// The model of the version that serves, with the classes that joined since.
    pub fn serving(&self) -> Model {
        self.without_added(self.serving.network.model())
    }

    /// The shadow as it is now.
    pub fn shadow(&self) -> Model {
        self.without_added(self.shadow.model())
    }

    /// Minibatches that are owed.
    pub fn owed(&self) -> u64 {
        self.owed
    }

    fn diverged(&mut self) {
        self.counts.diverged += 1;
        self.restart();
    }

    /// The shadow starts again from the serving version.
    fn restart(&mut self) {
        match training(&self.serving.network.model(), &self.config, &self.loss, &self.port) {
            Ok(shadow) => self.shadow = shadow,
            Err(_) => self.counts.failed += 1,
        }
        (self.steps, self.steps_at_look, self.without_gain) = (0, 0, 0);
    }

    fn without_added(&self, mut model: Model) -> Model {
        if self.added {
            model.graph.outputs.retain(|output| output.name != self.output);
        }
        model
    }
}
