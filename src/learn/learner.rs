//! The shadow that learns, and the judgement of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::config::{LearnConfig, Measured, When};
use super::error::LearnError;
use super::grow::{classes_of, grow_classes};
use super::guard::{Guard, GuardFigures};
use super::measure::{Measure, Port, TARGET, evaluate};
use super::npz::load_samples;
use super::replay::{Place, Replay};
use super::sample::{Sample, Target};
use super::statistics::{MIN_FOR_STUDENT, Moments, p_value_below, p_value_of_rise, spend};
use crate::engine::{EngineError, Loss, Network, Training, TrainingOptions};
use crate::media::StreamId;
use crate::onnx::{Model, ValueInfo};
use crate::tensor::{DType, Tensor, TensorData};
use crate::units::{TimeSpan, Timestamp};

#[cfg(test)]
mod tests;

/// What a judgement is based on. Measures are those of [`Measured`]: less is better.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Figures {
    /// The version that serves.
    pub serving_version: u64,
    /// Steps that the shadow has learned since it was last the serving version.
    pub steps: u64,
    /// Samples that both were compared on.
    pub samples: usize,
    /// The mean measure of the serving version on them.
    pub serving: f64,
    /// That of the other: the shadow, or the version to go back to.
    pub other: f64,
    /// The probability of such a gain by chance; compared with `alpha`.
    pub p_value: f64,
    /// The error probability that this look may spend.
    pub alpha: f64,
    /// What the guard saw, where there is one and it was asked.
    pub guard: Option<GuardFigures>,
    /// The live measure before the last promotion and since, where a fall was looked for.
    pub live: Option<LiveFigures>,
}

/// The live measure before and after a promotion.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveFigures {
    /// The mean measure of the version before, on its last answers.
    pub before: f64,
    /// That of the serving version, on its own.
    pub after: f64,
    /// Answers before and since.
    pub samples: (u64, u64),
    /// The probability of such a rise by chance.
    pub p_value: f64,
}

/// A version that may serve.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The model, ready to be saved and to be run.
    pub model: Model,
    /// The names of its classes, where they are known.
    pub classes: Vec<String>,
    /// Why it may.
    pub figures: Figures,
}

/// Why the serving version stays.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Nothing was learned since the last look.
    NothingNew,
    /// Fewer held-out samples than `promote.min_samples`.
    FewSamples,
    /// The shadow is not better by `promote.min_gain`, or that may be chance.
    NoGain,
    /// The shadow is better on the stream, and too much worse on the reference set.
    Guarded,
    /// The shadow's weights or answers were not finite: it starts again from the serving version.
    Diverged,
    /// A model could not be run.
    Failed(String),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Verdict {
    /// It is not time to look, or a candidate waits to be adopted.
    Wait,
    /// The serving version stays.
    Keep {
        /// Why.
        reason: Reason,
        /// By what.
        figures: Figures,
    },
    /// The candidate is better: adopt it and say so by [`Learner::adopted`], or [`Learner::not_adopted`].
    Promote(Box<Candidate>),
    /// The serving version is worse than the one before: go back and say so by [`Learner::rolled_back`].
    RollBack {
        /// The version to go back to.
        to: u64,
        /// Why.
        figures: Figures,
    },
}

/// What became of samples and steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LearnCounts {
    /// Samples offered.
    pub offered: u64,
    /// Of them kept to learn from.
    pub kept: u64,
    /// Held out.
    pub held_out: u64,
    /// Passed over by chance, or as too large for the buffer.
    pub passed_over: u64,
    /// Refused: not finite, of another type or shape than the model takes or gives.
    pub malformed: u64,
    /// Refused: classes that the model does not have, and that may not join it.
    pub unknown_class: u64,
    /// Classes that joined.
    pub new_classes: u64,
    /// Minibatches learned.
    pub steps: u64,
    /// Steps that were owed and given up, as more samples came than there was time for.
    pub steps_given_up: u64,
    /// Times that the shadow diverged and started again.
    pub diverged: u64,
    /// Times that it started again after `promote.patience`.
    pub restarted: u64,
    /// Steps and looks that failed for another reason.
    pub failed: u64,
    /// Looks at shadow and serving version.
    pub considered: u64,
    /// Candidates that the guard refused.
    pub guarded: u64,
    /// Versions adopted.
    pub promoted: u64,
    /// Versions taken back.
    pub rolled_back: u64,
    /// Live answers measured.
    pub live: u64,
    /// Live answers of a version that does not serve any more, or that could not be measured.
    pub live_stale: u64,
}

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
/// Shapes of inputs whose scores' shape is remembered.
const SHAPES: usize = 64;

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
        let mut guard = match &config.guard.reference {
            Some(path) => Some(Guard::load(path)?),
            None => None,
        };
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
        let is_npz = |path: &&std::path::PathBuf| path.extension().is_some_and(|extension| extension == "npz");
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

    /// Judges, where `promote.every_s` of stream time have passed since the last look. The work is that of two models over
    /// the held-out samples, and of one over the reference set.
    pub fn consider(&mut self, now: Timestamp) -> Verdict {
        if self.waits_for_adoption {
            return Verdict::Wait;
        }
        // After a version was taken back the next ones take their time.
        let every = TimeSpan::from_seconds(self.config.promote.every_s * f64::from(1u32 << self.rollbacks.min(6)));
        match self.looked {
            Some(looked) if now >= looked && now - looked < every => return Verdict::Wait,
            // The first look, or another stream's time: from here on.
            Some(looked) if now >= looked => self.looked = Some(now),
            _ => {
                self.looked = Some(now);
                return Verdict::Wait;
            }
        }
        let mut figures = Figures { serving_version: self.serving.number, steps: self.steps, ..Figures::default() };
        match self.look_for_a_fall(&mut figures) {
            Ok(Some(to)) => return Verdict::RollBack { to, figures },
            Ok(None) => {}
            Err(error) => return self.failed(error, figures),
        }
        let reason = match self.compare(&mut figures) {
            Ok(Ok(candidate)) => return Verdict::Promote(Box::new(candidate)),
            Ok(Err(reason)) => reason,
            Err(error) => return self.failed(error, figures),
        };
        match reason {
            Reason::Diverged => self.diverged(),
            Reason::NoGain if figures.other < figures.serving => self.without_gain = 0,
            Reason::NoGain | Reason::Guarded => {
                self.without_gain += 1;
                if self.without_gain >= self.config.promote.patience {
                    self.counts.restarted += 1;
                    self.restart();
                }
            }
            _ => {}
        }
        Verdict::Keep { reason, figures }
    }

    fn failed(&mut self, error: LearnError, figures: Figures) -> Verdict {
        self.counts.failed += 1;
        Verdict::Keep { reason: Reason::Failed(error.to_string()), figures }
    }

    /// Compares shadow and serving version on what is held out, and the shadow with the original on the reference set.
    fn compare(&mut self, figures: &mut Figures) -> Result<Result<Candidate, Reason>, LearnError> {
        if self.steps == self.steps_at_look {
            return Ok(Err(Reason::NothingNew));
        }
        figures.samples = self.replay.held_out().len();
        if figures.samples < self.config.promote.min_samples {
            return Ok(Err(Reason::FewSamples));
        }
        self.steps_at_look = self.steps;
        self.looks += 1;
        self.counts.considered += 1;
        let model = self.shadow.model();
        if !is_finite(&model) {
            return Ok(Err(Reason::Diverged));
        }
        let (port, output, measure) = (&self.port, self.output.as_str(), &mut self.measure);
        let serving = evaluate(&mut self.serving.network, port, output, measure, self.replay.held_out())?;
        let shadow = evaluate(self.shadow.network(), port, output, measure, self.replay.held_out())?;
        if shadow.iter().any(|measure| !measure.is_finite()) {
            return Ok(Err(Reason::Diverged));
        }
        // Where the serving version has no answer, the shadow is better by what it is itself.
        let differences: Vec<f64> = shadow
            .iter()
            .zip(&serving)
            .map(|(shadow, serving)| if serving.is_finite() { shadow - serving } else { -1.0 })
            .collect();
        figures.other = Moments::of(shadow.iter().copied()).mean;
        figures.serving = figures.other - Moments::of(differences.iter().copied()).mean;
        figures.p_value = p_value_below(&differences);
        figures.alpha = spend(1.0 - self.config.promote.confidence, self.looks);
        let gain = figures.serving - figures.other;
        if gain < self.config.promote.min_gain || gain <= 0.0 || figures.p_value > figures.alpha {
            return Ok(Err(Reason::NoGain));
        }
        if let Some(guard) = &self.guard {
            let candidate = evaluate(self.shadow.network(), port, output, measure, guard.samples())?;
            let judged = Guard::judge(&self.config.guard, &self.original, &candidate);
            figures.guard = Some(judged);
            if !judged.passes() {
                self.counts.guarded += 1;
                return Ok(Err(Reason::Guarded));
            }
        }
        self.waits_for_adoption = true;
        self.candidate = Some((model.clone(), self.steps));
        let figures = figures.clone();
        Ok(Ok(Candidate { model: self.without_added(model), classes: self.classes.clone(), figures }))
    }

    /// Whether the serving version is worse than the one before, in either of two ways:
    ///
    /// - on samples labelled since it was adopted, both versions beside each other (a paired test);
    /// - by its live answers beside those of the version before (Welch's test), unless the first way shows both alike:
    ///   then it is the stream that became harder.
    ///
    /// Both spend their error over growing numbers of samples.
    fn look_for_a_fall(&mut self, figures: &mut Figures) -> Result<Option<u64>, LearnError> {
        let Some(previous) = &mut self.previous else { return Ok(None) };
        let waiting: Vec<Sample> = self.trial.drain(..).collect();
        self.trial_bytes = 0;
        let (port, output, measure) = (&self.port, self.output.as_str(), &mut self.measure);
        let own = evaluate(&mut self.serving.network, port, output, measure, &waiting)?;
        let other = evaluate(&mut previous.network, port, output, measure, &waiting)?;
        self.trial_measures
            .extend(own.into_iter().zip(other).filter(|(own, other)| own.is_finite() && other.is_finite()));
        while self.trial_measures.len() > TRIAL {
            self.trial_measures.pop_front();
        }
        let samples = (self.trial_measures.len() as u64).max(self.live_since.count);
        if samples < self.next_fall {
            return Ok(None);
        }
        self.next_fall = samples + samples / 4 + 1;
        self.falls_looked_for += 1;
        let alpha = spend((1.0 - self.config.promote.confidence) / 2.0, self.falls_looked_for);
        let differences: Vec<f64> = self.trial_measures.iter().map(|(own, other)| other - own).collect();
        let own = Moments::of(self.trial_measures.iter().map(|(own, _)| *own));
        let other = Moments::of(self.trial_measures.iter().map(|(_, other)| *other));
        let paired = p_value_below(&differences);
        let before = self.before.unwrap_or_default();
        let live = LiveFigures {
            before: before.mean,
            after: self.live_since.mean,
            samples: (before.count, self.live_since.count),
            p_value: match before.count.min(self.live_since.count) < MIN_LIVE {
                true => 1.0,
                false => p_value_of_rise(&before, &self.live_since),
            },
        };
        let alike = own.count >= MIN_LIVE && own.mean <= other.mean;
        if paired > alpha && (live.p_value > alpha || alike) {
            return Ok(None);
        }
        figures.samples = differences.len();
        (figures.serving, figures.other) = (own.mean, other.mean);
        (figures.p_value, figures.alpha) = (paired.min(live.p_value), alpha);
        figures.live = Some(live);
        self.waits_for_adoption = true;
        Ok(Some(previous.number))
    }

    /// The candidate serves from now on, as this version. The shadow goes on from where it is. Without a candidate nothing
    /// changes.
    pub fn adopted(&mut self, version: u64) -> Result<(), LearnError> {
        let Some((mut model, steps)) = self.candidate.take() else { return Ok(()) };
        // Classes may have joined since.
        if let (Some(has), Some(count)) = (classes_of(&model), self.class_count)
            && has < count
        {
            model = grow_classes(&model, count)?;
        }
        let network = network(&model, &self.config)?;
        let before = std::mem::replace(&mut self.serving, Version { number: version, network });
        self.previous = Some(before);
        self.before = Some(Moments::of(self.live.iter().copied()));
        self.counts.promoted += 1;
        self.rollbacks = self.rollbacks.saturating_sub(1);
        self.steps = self.steps.saturating_sub(steps);
        self.begin_version();
        self.changed = false;
        Ok(())
    }

    /// The candidate, or the version to go back to, could not be taken: all goes on as it was.
    pub fn not_adopted(&mut self) {
        self.waits_for_adoption = false;
        self.candidate = None;
    }

    /// The version that was gone back to serves from now on. The shadow starts again from it, and the next looks are
    /// farther apart: twice for each version taken back, half again for each adopted.
    pub fn rolled_back(&mut self, version: u64, model: &Model, classes: Vec<String>) -> Result<(), LearnError> {
        self.replaced(version, model, classes)?;
        self.counts.rolled_back += 1;
        self.rollbacks = self.rollbacks.saturating_add(1);
        Ok(())
    }

    /// Another model serves from now on, that a person put there. The shadow starts again from it. It must have the ports
    /// of the model that learning began with; on an error nothing has changed.
    pub fn replaced(&mut self, version: u64, model: &Model, classes: Vec<String>) -> Result<(), LearnError> {
        let port = Port::of(model, &self.port.name)?;
        let class_count = classes_of(model).or(Some(classes.len()).filter(|count| *count > 0));
        let (model, output, added) = with_logits(model, self.loss.name());
        let loss = self.config.loss()?.of(&[output.as_str()]).targets(&[TARGET]);
        let network = network(&model, &self.config)?;
        let shadow = training(&model, &self.config, &loss, &port)?;
        (self.port, self.output, self.added, self.loss, self.shadow) = (port, output, added, loss, shadow);
        (self.class_count, self.classes) = (class_count, classes);
        self.serving = Version { number: version, network };
        self.previous = None;
        self.before = None;
        self.live.clear();
        self.shapes.clear();
        self.steps = 0;
        self.begin_version();
        Ok(())
    }

    fn begin_version(&mut self) {
        self.waits_for_adoption = false;
        self.candidate = None;
        self.live.clear();
        self.live_since = Moments::default();
        (self.falls_looked_for, self.next_fall) = (0, MIN_LIVE);
        self.trial.clear();
        self.trial_bytes = 0;
        self.trial_measures.clear();
        (self.steps_at_look, self.looks, self.without_gain) = (0, 0, 0);
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

    /// The sample as it is learned from: its input with a batch axis, its class by number; nothing where it does not fit.
    fn fit(&mut self, mut sample: Sample, may_grow: bool) -> Option<Sample> {
        let input = if sample.is_sound() { self.port.one(&sample.input).ok() } else { None };
        let Some(input) = input else {
            self.counts.malformed += 1;
            return None;
        };
        sample.input = input;
        // A shape that the model cannot take must not reach a step.
        let Ok(shape) = self.scores_of(&sample.input) else {
            self.counts.malformed += 1;
            return None;
        };
        if let (Target::Name(name), true, None) = (&sample.target, may_grow, self.resolve(&sample.target)) {
            let name = name.clone();
            if !self.join(&name) {
                self.counts.unknown_class += 1;
                return None;
            }
        }
        let target = self.resolve(&sample.target);
        let unknown = match (&target, self.class_count) {
            (None, _) => true,
            (Some(Target::Class(class)), Some(count)) => *class >= count.max(2),
            _ => false,
        };
        if unknown {
            self.counts.unknown_class += 1;
            return None;
        }
        sample.target = target?;
        let shape = self.scores_of(&sample.input).unwrap_or(shape);
        if self.measure.target(&sample.target, &shape).is_err() {
            self.counts.malformed += 1;
            return None;
        }
        Some(sample)
    }

    /// A target by name as one by number.
    fn resolve(&self, target: &Target) -> Option<Target> {
        match target {
            Target::Name(name) => self.classes.iter().position(|known| **known == **name).map(Target::Class),
            target => Some(target.clone()),
        }
    }

    /// The shape of the scores of one input.
    fn scores_of(&mut self, input: &Tensor) -> Result<Vec<usize>, LearnError> {
        if let Some(shape) = self.shapes.get(input.shape()) {
            return Ok(shape.clone());
        }
        let network = self.shadow.network();
        let scores = network.run_for(&[&self.output], &[(&self.port.name, input)])?;
        let shape = scores.first().map(|scores| scores.shape().to_vec()).unwrap_or_default();
        if self.shapes.len() >= SHAPES {
            self.shapes.pop_first();
        }
        self.shapes.insert(input.shape().to_vec(), shape.clone());
        Ok(shape)
    }

    /// A new class joins the model; says whether it may.
    fn join(&mut self, name: &Arc<str>) -> bool {
        let joined = self.counts.new_classes as usize;
        let (Some(count), true) = (self.class_count, joined < self.config.new_classes) else { return false };
        let grow = |learner: &mut Learner| -> Result<(), LearnError> {
            let wider = |model: &Model| -> Result<Model, LearnError> {
                let (model, ..) =
                    with_logits(&grow_classes(&learner.without_added(model.clone()), count + 1)?, learner.loss.name());
                Ok(model)
            };
            let shadow = training(&wider(&learner.shadow.model())?, &learner.config, &learner.loss, &learner.port)?;
            let serving = network(&wider(&learner.serving.network.model())?, &learner.config)?;
            let previous = match &learner.previous {
                Some(previous) => Some(network(&wider(&previous.network.model())?, &learner.config)?),
                None => None,
            };
            learner.shadow = shadow;
            learner.serving.network = serving;
            if let (Some(version), Some(network)) = (&mut learner.previous, previous) {
                version.network = network;
            }
            Ok(())
        };
        if grow(self).is_err() {
            self.counts.failed += 1;
            return false;
        }
        self.shapes.clear();
        self.class_count = Some(count + 1);
        self.classes.push(name.to_string());
        self.counts.new_classes += 1;
        true
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

/// Bytes that the compiled plans of a network to measure by may take.
const PLAN_BYTES: usize = 64 << 20;

/// The model to measure it by, on threads that all networks share.
fn network(model: &Model, config: &LearnConfig) -> Result<Network, LearnError> {
    let mut network = Network::new(model)?;
    network.share_threads(config.budget.threads)?;
    network.set_plan_memory(PLAN_BYTES);
    Ok(network)
}

/// A training of the model by these settings, on threads that all its networks share.
fn training(model: &Model, config: &LearnConfig, loss: &Loss, port: &Port) -> Result<Training, LearnError> {
    let accumulate = if port.batches { 1 } else { config.batch as u64 };
    let options = TrainingOptions::new(loss.clone(), config.optimizer.clone())
        .clip(config.clip())
        .accumulate(accumulate)
        .seed(config.seed);
    let options = config.freeze.iter().fold(options, |options, pattern| options.freeze(pattern));
    let mut training = Training::new(model, options)?;
    training.network().share_threads(config.budget.threads)?;
    Ok(training)
}

/// The model with the scores that the loss takes as an output, that output's name, and whether it was added:
/// cross-entropy takes logits, which are the input of a Softmax that gives the first output.
fn with_logits(model: &Model, loss: &str) -> (Model, String, bool) {
    let mut model = model.clone();
    let Some(first) = model.graph.outputs.first().cloned() else { return (model, String::new(), false) };
    let producer = model.graph.nodes.iter().find(|node| node.outputs.first() == Some(&first.name));
    let logits = producer
        .filter(|node| node.op_type == "Softmax" && node.domain.is_empty() && loss == "cross_entropy")
        .and_then(|node| node.inputs.first().cloned());
    match logits {
        None => (model, first.name, false),
        Some(logits) => {
            let added = !model.graph.outputs.iter().any(|output| output.name == logits);
            if added {
                let dtype = first.dtype.unwrap_or(DType::F32);
                model.graph.outputs.push(ValueInfo::tensor(logits.clone(), dtype, first.shape));
            }
            (model, logits, added)
        }
    }
}

/// Fits the reference set to the model, and measures the model by it.
fn judge_original(
    guard: &mut Guard,
    config: &LearnConfig,
    port: &Port,
    output: &str,
    measure: &mut Measure,
    network: &mut Network,
) -> Result<Vec<f64>, LearnError> {
    for (index, sample) in guard.samples_mut().iter_mut().enumerate() {
        sample.input = port.one(&sample.input).map_err(|reason| LearnError::Reference { index, reason })?;
    }
    let path = config.guard.reference.clone().unwrap_or_default();
    let original = evaluate(network, port, output, measure, guard.samples())
        .map_err(|error| LearnError::Unreadable { path, reason: error.to_string() })?;
    if let Some(index) = original.iter().position(|measure| !measure.is_finite()) {
        let reason = "the model has no finite measure on it: its target must be a class that the model has, or numbers of \
                      the shape of its answer";
        return Err(LearnError::Reference { index, reason: reason.into() });
    }
    let hopeless = match measure.kind() {
        Measured::Error => Guard::is_hopeless(&config.guard, original.len()),
        Measured::Loss if original.len() < MIN_FOR_STUDENT => {
            Some(format!("is too small: expected at least {MIN_FOR_STUDENT} samples, found {}", original.len()))
        }
        Measured::Loss => None,
    };
    match hopeless {
        Some(message) => Err(LearnError::Setting { key: "guard.reference".into(), message }),
        None => Ok(original),
    }
}

/// Whether all weights of a model are finite.
fn is_finite(model: &Model) -> bool {
    model.graph.initializers.iter().all(|(_, weight)| match weight.data() {
        TensorData::F32(values) => values.iter().all(|value| value.is_finite()),
        TensorData::F64(values) => values.iter().all(|value| value.is_finite()),
        _ => true,
    })
}
