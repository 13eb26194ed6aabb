//! The trainer: epochs over a data set, validation, early stopping, checkpoints.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::data::augment::Augmenter;
use super::data::{BatchSettings, Batches, DataSet, Loader, epoch_order};
use super::error::TrainError;
use crate::engine::{EngineError, Training, TrainingState};
use crate::tensor::{DType, Tensor};

mod evaluation;
mod keeping;
mod options;
#[cfg(test)]
mod tests;

pub(super) use evaluation::{evaluate, fixed_batch};

pub use evaluation::Evaluation;
pub use options::TrainerOptions;

/// What came of one epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Its number, from 1.
    pub epoch: u64,
    /// Steps so far.
    pub steps: u64,
    /// The learning rate of the next step.
    pub learning_rate: f64,
    /// The mean loss over the epoch's minibatches, while the weights changed.
    pub loss: f64,
    /// The loss on the validation data afterwards.
    pub validation_loss: Option<f64>,
    /// The share of right classes on the validation data.
    pub validation_accuracy: Option<f64>,
    /// The error rate of characters on the validation data, where a CTC model spells texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_character_errors: Option<f64>,
    /// The error rate of words, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_word_errors: Option<f64>,
}

/// What a trainer tells while it works.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// A step was taken.
    Step {
        /// The epoch, from 1.
        epoch: u64,
        /// The step in it, from 1.
        step: usize,
        /// How many steps the epoch has.
        of: usize,
        /// The loss of its minibatch.
        loss: f64,
    },
    /// An epoch has ended.
    Epoch(&'a Epoch),
    /// A sample was skipped; each is told once.
    Bad {
        /// Of which data: `training` or `validation`.
        part: &'static str,
        /// Its number.
        index: usize,
        /// What is wrong with it.
        error: &'a str,
    },
    /// The validation loss has not fallen for long enough.
    Stopped {
        /// The epoch that was best.
        best: u64,
    },
}

/// What a trainer is told in return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Go on.
    Continue,
    /// Stop here; what was learned is kept, and the checkpoint of the last whole epoch.
    Stop,
}

/// Trains a model on a data set.
pub struct Trainer {
    training: Training,
    train: Arc<dyn DataSet>,
    validation: Option<Arc<dyn DataSet>>,
    options: TrainerOptions,
    history: Vec<Epoch>,
    best: Option<Best>,
    /// The state after the last epoch, where the next one measures it.
    last: Option<TrainingState>,
    /// The training samples that were skipped.
    bad: BTreeSet<usize>,
    /// The samples of the validation data that were told to be bad.
    told: BTreeSet<usize>,
    /// How many samples the model takes at once, where that is fixed.
    fixed: Option<usize>,
    /// Weights that were not finite at first, such as a mask of −∞.
    infinite: BTreeSet<String>,
}

/// The state with the lowest loss: on the validation data afterwards; where there are none, on the training data of the
/// next epoch, since the loss of an epoch is measured before its steps.
struct Best {
    /// The epoch that it is the state after.
    epoch: u64,
    loss: f64,
    state: TrainingState,
}

impl Trainer {
    /// A trainer of `training` on `train`. Without validation data nothing is stopped early.
    pub fn new(
        training: Training,
        train: Arc<dyn DataSet>,
        validation: Option<Arc<dyn DataSet>>,
        options: TrainerOptions,
    ) -> Result<Self, TrainError> {
        if train.is_empty() {
            return Err(TrainError::Empty { what: "training" });
        }
        if validation.as_ref().is_some_and(|data| data.is_empty()) {
            return Err(TrainError::Empty { what: "validation" });
        }
        if options.batch == Some(0) {
            return Err(TrainError::Setting { what: "batch", expected: "at least 1".into(), found: "0".into() });
        }
        let fixed = fixed_batch(&training.model(), &options.input);
        if let Some(size) = fixed {
            if options.batch != Some(size) {
                let expected = format!("{size}, as the model's input `{}` is fixed at so many samples", options.input);
                let found = options.batch.map_or("all samples at once".into(), |batch| batch.to_string());
                return Err(TrainError::Setting { what: "batch", expected, found });
            }
            if train.len() < size {
                let expected =
                    format!("at least {size} samples, as the model's input `{}` takes so many", options.input);
                return Err(TrainError::Setting { what: "training data", expected, found: train.len().to_string() });
            }
        }
        let infinite = not_finite(&training.state()).map(str::to_owned).collect();
        let (history, best, last) = (Vec::new(), None, None);
        let (bad, told) = (BTreeSet::new(), BTreeSet::new());
        Ok(Trainer { training, train, validation, options, history, best, last, bad, told, fixed, infinite })
    }

    /// Trains to the end, or until `progress` says stop. Afterwards the model is the best one, where there is early
    /// stopping, else the last.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] when a loss, gradient or weight is not finite: the model and the checkpoint are then
    /// those of the best epoch (with a checkpoint or early stopping; else the model is as before the step that failed).
    /// [`TrainError::Save`] when the checkpoint cannot be written: the one before it is untouched.
    pub fn run(&mut self, mut progress: impl FnMut(Progress<'_>) -> Then) -> Result<(), TrainError> {
        while (self.history.len() as u64) < self.options.epochs && !self.is_at_last_step() {
            if self.is_over() {
                break;
            }
            let number = self.history.len() as u64 + 1;
            let loss = match self.epoch(number, &mut progress) {
                Ok(Some(loss)) => loss,
                Ok(None) => return Ok(()),
                Err(TrainError::Engine(EngineError::NotFinite { step, what, .. })) => {
                    return Err(self.diverged(number, step, what));
                }
                Err(error) => return Err(error),
            };
            let validation = match self.validation.clone() {
                Some(data) => Some(self.evaluate(data)?),
                None => None,
            };
            for (index, error) in validation.iter().flat_map(|validation| &validation.bad) {
                if self.told.insert(*index) {
                    progress(Progress::Bad { part: "validation", index: *index, error });
                }
            }
            let watched = validation.as_ref().map_or(loss, |validation| validation.loss);
            if watched.is_finite() {
                self.training.observe(watched);
            }
            let state = self.training.state();
            let what = match watched.is_finite() {
                true => not_finite(&state).find(|name| !self.infinite.contains(*name)).map(|name| format!("`{name}`")),
                false => Some(format!("the loss after the epoch, {watched},")),
            };
            if let Some(what) = what {
                return Err(self.diverged(number, state.steps, what));
            }
            let texts = validation.as_ref().and_then(|validation| validation.texts);
            let epoch = Epoch {
                epoch: number,
                steps: self.training.steps(),
                learning_rate: self.training.learning_rate(),
                loss,
                validation_loss: validation.as_ref().map(|validation| validation.loss),
                validation_accuracy: validation.as_ref().and_then(|found| Some(found.confusion.as_ref()?.accuracy())),
                validation_character_errors: texts.map(|texts| texts.characters.rate()),
                validation_word_errors: texts.map(|texts| texts.words.rate()),
            };
            if self.options.patience.is_some() || self.options.checkpoint.is_some() {
                let measured = match self.validation {
                    Some(_) => Some((number, state.clone())),
                    None => self.last.replace(state.clone()).map(|last| (number - 1, last)),
                };
                if let Some((epoch, state)) = measured
                    && self.best.as_ref().is_none_or(|best| watched < best.loss)
                {
                    self.best = Some(Best { epoch, loss: watched, state });
                }
            }
            self.history.push(epoch.clone());
            self.save(&state)?;
            if progress(Progress::Epoch(&epoch)) == Then::Stop {
                return Ok(());
            }
        }
        if let Some(best) = self.best.as_ref().filter(|_| self.stops_early()) {
            self.training.restore(&best.state)?;
            if self.is_over() {
                progress(Progress::Stopped { best: best.epoch });
            }
        }
        Ok(())
    }

    /// Whether the weights have changed as often as they may.
    fn is_at_last_step(&self) -> bool {
        self.options.steps.is_some_and(|steps| self.training.steps() >= steps)
    }

    /// Whether there is early stopping.
    fn stops_early(&self) -> bool {
        self.options.patience.is_some() && self.validation.is_some()
    }

    /// Whether the validation loss has not fallen for long enough.
    fn is_over(&self) -> bool {
        match (&self.best, self.options.patience) {
            (Some(best), Some(patience)) if self.stops_early() => {
                self.history.len() as u64 >= best.epoch + patience.max(1)
            }
            _ => false,
        }
    }

    /// Goes back to the best epoch, in the checkpoint too.
    fn diverged(&mut self, epoch: u64, step: u64, what: String) -> TrainError {
        let best = self.best.as_ref().map(|best| best.epoch);
        if let Some(best) = &self.best {
            if let Err(error) = self.training.restore(&best.state) {
                return error.into();
            }
            self.history.truncate(best.epoch as usize);
            self.last = self.validation.is_none().then(|| best.state.clone());
            if let Err(error) = self.save(&best.state) {
                return error;
            }
        }
        TrainError::Diverged { epoch, step, what, best, checkpoint: self.options.checkpoint.clone() }
    }

    /// One epoch: its mean loss, or nothing when it was stopped.
    fn epoch(
        &mut self,
        number: u64,
        progress: &mut impl FnMut(Progress<'_>) -> Then,
    ) -> Result<Option<f64>, TrainError> {
        let order = match self.options.shuffle {
            true => epoch_order(self.train.len(), self.options.seed, number),
            false => (0..self.train.len()).collect(),
        };
        let size = self.options.batch.unwrap_or(order.len()).min(order.len());
        let drop_last = self.fixed.is_some();
        let of = if drop_last { order.len() / size } else { order.len().div_ceil(size) };
        let settings = BatchSettings { size, drop_last, max_bad: self.options.max_bad, ..BatchSettings::default() };
        let (data, augmenter) = (self.train.clone(), self.options.augmenter.clone());
        let mut batches = load(data, order, settings, number, &self.options, augmenter, self.bad.clone())?;
        let (mut sum, mut count, mut step) = (0.0, 0usize, 0);
        let mut told = 0;
        while let Some(batch) = batches.next() {
            told += self.tell_bad(&batches, told, progress);
            let batch = batch?;
            let extra = self.options.lengths.tensors(&batch)?;
            let loss = self.training.step(&self.options.inputs(&batch, &extra).0)?;
            sum += loss * batch.indices.len() as f64;
            count += batch.indices.len();
            step += 1;
            if progress(Progress::Step { epoch: number, step, of, loss }) == Then::Stop {
                return Ok(None);
            }
            if self.is_at_last_step() {
                break;
            }
        }
        self.tell_bad(&batches, told, progress);
        if count == 0 {
            return Err(TrainError::Empty { what: "training" });
        }
        Ok(Some(sum / count as f64))
    }

    /// Tells of the bad samples beyond the first `told`, and remembers them.
    fn tell_bad(&mut self, batches: &Loader, told: usize, progress: &mut impl FnMut(Progress<'_>) -> Then) -> usize {
        let new = batches.bad().get(told..).unwrap_or(&[]);
        for bad in new {
            self.bad.insert(bad.index);
            progress(Progress::Bad { part: "training", index: bad.index, error: &bad.error.to_string() });
        }
        new.len()
    }

    /// The validation data; without, those it is trained on.
    pub(super) fn comparison_data(&self) -> Arc<dyn DataSet> {
        self.validation.clone().unwrap_or_else(|| self.train.clone())
    }

    /// What came of the epochs so far.
    pub fn history(&self) -> &[Epoch] {
        &self.history
    }

    /// How many of the training samples were skipped.
    pub fn bad_samples(&self) -> usize {
        self.bad.len()
    }

    /// The model's input that samples go to.
    pub(super) fn input(&self) -> &str {
        &self.options.input
    }

    /// The training, with the model as it is now.
    pub fn training(&mut self) -> &mut Training {
        &mut self.training
    }
}

/// The weights, and what the optimizer keeps of them, that hold NaN or an infinity.
fn not_finite(state: &TrainingState) -> impl Iterator<Item = &str> {
    let finite = |tensor: &Tensor| match tensor.dtype() {
        DType::F32 => tensor.as_slice::<f32>().is_ok_and(|values| values.iter().all(|value| value.is_finite())),
        DType::F64 => tensor.as_slice::<f64>().is_ok_and(|values| values.iter().all(|value| value.is_finite())),
        _ => true,
    };
    state.tensors.iter().filter(move |(_, tensor)| !finite(tensor)).map(|(name, _)| name.as_str())
}

/// Minibatches, read ahead in the background; those of `known` were found bad before.
fn load(
    data: Arc<dyn DataSet>,
    order: Vec<usize>,
    settings: BatchSettings,
    epoch: u64,
    options: &TrainerOptions,
    augmenter: Option<Arc<Augmenter>>,
    known: BTreeSet<usize>,
) -> Result<Loader, TrainError> {
    let mut batches = Batches::new(data, order, settings, epoch, augmenter)?.knowing(known);
    if let Some(buckets) = &options.buckets {
        batches = batches.with_buckets(buckets.clone())?;
    }
    Ok(Loader::start(batches)?)
}
