//! When the shadow takes the place of the serving version, and when a version is taken back.

use super::models::{is_finite, network, training, with_logits};
use super::verdict::{Candidate, Figures, LiveFigures, Reason, Verdict};
use super::{Learner, MIN_LIVE, TRIAL, Version};
use crate::learn::error::LearnError;
use crate::learn::grow::{classes_of, grow_classes};
use crate::learn::guard::Guard;
use crate::learn::measure::{Port, TARGET, evaluate};
use crate::learn::sample::Sample;
use crate::learn::statistics::{Moments, p_value_below, p_value_of_rise, spend};
use crate::onnx::Model;
use crate::units::{TimeSpan, Timestamp};

impl Learner {
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

    /// Another model serves from now on, that a person put there, or one that was learned in an earlier run. The shadow
    /// starts again from it; what is kept is numbered by the new names of its classes, and the reference set goes on to
    /// be compared with the model that learning began with. It must have the ports of that model; on an error nothing has
    /// changed.
    pub fn replaced(&mut self, version: u64, model: &Model, classes: Vec<String>) -> Result<(), LearnError> {
        let port = Port::of(model, &self.port.name)?;
        let class_count = classes_of(model).or(Some(classes.len()).filter(|count| *count > 0));
        let (model, output, added) = with_logits(model, self.loss.name());
        let loss = self.config.loss()?.of(&[output.as_str()]).targets(&[TARGET]);
        let network = network(&model, &self.config)?;
        let shadow = training(&model, &self.config, &loss, &port)?;
        (self.port, self.output, self.added, self.loss, self.shadow) = (port, output, added, loss, shadow);
        self.renamed(classes, class_count);
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
}
