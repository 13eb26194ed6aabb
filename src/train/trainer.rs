//! The trainer: epochs over a data set, validation, early stopping, checkpoints.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::checkpoint::Checkpoint;
use super::data::augment::Augmenter;
use super::data::{Batch, BatchSettings, Batches, Buckets, DataSet, Loader, epoch_order};
use super::error::TrainError;
use super::lengths::LengthInputs;
use super::metrics::{Confusion, Spelling, TextErrors};
use crate::engine::{EngineError, Plateau, Training, TrainingState};
use crate::tensor::{DType, Tensor};

#[cfg(test)]
mod tests;

/// How a training goes.
#[derive(Clone, Debug)]
pub struct TrainerOptions {
    /// The model's input that samples go to.
    pub input: String,
    /// The loss's target.
    pub target: String,
    /// Samples in a minibatch: 1 for one at a time, `None` for all at once.
    pub batch: Option<usize>,
    /// How many times all samples are seen.
    pub epochs: u64,
    /// Where the order of samples begins.
    pub seed: u64,
    /// Whether samples come in another order each epoch.
    pub shuffle: bool,
    /// Stop when the validation loss has not fallen for so many epochs, and go back to the best.
    pub patience: Option<u64>,
    /// How many samples may be bad before the training ends with an error.
    pub max_bad: usize,
    /// Where to keep the state after each epoch, and the best one; nowhere, when `None`.
    pub checkpoint: Option<PathBuf>,
    /// Classes, where targets are class indices: accuracy is measured.
    pub classes: Option<usize>,
    /// How the model's classes spell texts, where targets are texts and the loss is CTC: error rates are measured.
    pub spelling: Option<Spelling>,
    /// Changes training samples at random, seeded by epoch and sample.
    pub augmenter: Option<Arc<Augmenter>>,
    /// Puts samples of similar length together; without it all samples of a minibatch must have one shape.
    pub buckets: Option<Arc<Buckets>>,
    /// Where the lengths of samples in buckets go.
    pub lengths: LengthInputs,
}

impl TrainerOptions {
    /// `epochs` epochs in minibatches of `batch`, shuffled by seed 0; no early stopping, no checkpoints, no bad samples.
    pub fn new(input: &str, batch: usize, epochs: u64) -> Self {
        TrainerOptions {
            input: input.into(),
            target: "target".into(),
            batch: Some(batch),
            epochs,
            seed: 0,
            shuffle: true,
            patience: None,
            max_bad: 0,
            checkpoint: None,
            classes: None,
            spelling: None,
            augmenter: None,
            buckets: None,
            lengths: LengthInputs::default(),
        }
    }

    /// The inputs of a step: the samples, what the model takes besides, then what the loss takes; and how many of them
    /// are the model's own.
    pub(super) fn inputs<'a>(
        &'a self,
        batch: &'a Batch,
        extra: &'a [(&'a str, Tensor)],
    ) -> (Vec<(&'a str, &'a Tensor)>, usize) {
        let mut inputs = vec![(self.input.as_str(), &batch.inputs)];
        let of_model = |name: &str| self.lengths.model.as_deref() == Some(name);
        inputs.extend(extra.iter().filter(|(name, _)| of_model(name)).map(|(name, tensor)| (*name, tensor)));
        let own = inputs.len();
        inputs.push((self.target.as_str(), &batch.targets));
        inputs.extend(extra.iter().filter(|(name, _)| !of_model(name)).map(|(name, tensor)| (*name, tensor)));
        (inputs, own)
    }
}

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
    /// A sample was skipped.
    Bad {
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

/// Loss and accuracy on a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The mean loss of a sample.
    pub loss: f64,
    /// Right and wrong classes, where targets are class indices.
    pub confusion: Option<Confusion>,
    /// Wrong characters and words, where a CTC model spells texts.
    pub texts: Option<TextErrors>,
    /// The names of the classes, where they are known.
    pub labels: Vec<String>,
    /// How many samples were measured.
    pub samples: usize,
    /// The bad samples that were left out: their numbers, and what is wrong with them.
    pub bad: Vec<(usize, String)>,
}

impl fmt::Display for Evaluation {
    /// In words: `360 samples, loss 0.0512, accuracy 98.61 %, F1 0.9858`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} samples, loss {:.4}", self.samples, self.loss)?;
        if let Some(confusion) = &self.confusion {
            write!(f, ", accuracy {:.2} %, F1 {:.4}", 100.0 * confusion.accuracy(), confusion.f1())?;
            confusion.top_ks().try_for_each(|(k, share)| write!(f, ", top-{k} {:.2} %", 100.0 * share))?;
        }
        if let Some(texts) = &self.texts {
            let (characters, words) = (texts.characters.rate(), texts.words.rate());
            write!(f, ", character errors {:.2} %, word errors {:.2} %", 100.0 * characters, 100.0 * words)?;
        }
        Ok(())
    }
}

/// The `k` of [`Confusion::top_k`] that are measured where there are at least twice as many classes.
const TOP_K: [usize; 2] = [3, 5];

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
    bad: usize,
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
        let infinite = not_finite(&training.state()).map(str::to_owned).collect();
        let (history, best, last) = (Vec::new(), None, None);
        Ok(Trainer { training, train, validation, options, history, best, last, bad: 0, infinite })
    }

    /// Goes on from the checkpoint, where there is one; says whether there was.
    pub fn resume(&mut self) -> Result<bool, TrainError> {
        let Some(path) = self.options.checkpoint.clone() else { return Ok(false) };
        if !path.exists() {
            return Ok(false);
        }
        let checkpoint = Checkpoint::load(&path)?;
        let fault = |reason: String| TrainError::Checkpoint { path: path.display().to_string(), reason };
        let notes = checkpoint.notes.get("training").ok_or_else(|| fault("it says nothing of a training".into()))?;
        let notes: Notes = serde_json::from_str(notes).map_err(|error| fault(error.to_string()))?;
        let part = |prefix: &str, steps: u64, waiting: u64, plateau: &Plateau| TrainingState {
            tensors: checkpoint
                .tensors
                .iter()
                .filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone())))
                .collect(),
            steps,
            waiting,
            plateau: plateau.clone(),
        };
        self.training.restore(&part("now.", notes.steps, notes.waiting, &notes.plateau))?;
        let epochs = notes.history.len() as u64;
        self.best = notes.best.map(|best| {
            let prefix = if best.epoch == epochs { "now." } else { "best." };
            Best { epoch: best.epoch, loss: best.loss, state: part(prefix, best.steps, best.waiting, &best.plateau) }
        });
        self.last = (self.validation.is_none() && epochs > 0).then(|| self.training.state());
        self.history = notes.history;
        self.bad = notes.bad;
        Ok(true)
    }

    /// Trains to the end, or until `progress` says stop. Afterwards the model is the best one, where there is early
    /// stopping, else the last.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] when a loss, gradient or weight is not finite: the model and the checkpoint are then
    /// those of the best epoch (with a checkpoint or early stopping; else the model is as before the step that failed).
    /// [`TrainError::Save`] when the checkpoint cannot be written: the one before it is untouched.
    pub fn run(&mut self, mut progress: impl FnMut(Progress<'_>) -> Then) -> Result<(), TrainError> {
        while (self.history.len() as u64) < self.options.epochs {
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
        let of = order.len().div_ceil(size);
        let mut batches = self.batches(self.train.clone(), order, size, number, self.options.augmenter.clone())?;
        let (mut sum, mut count, mut step) = (0.0, 0usize, 0);
        let mut told = 0;
        while let Some(batch) = batches.next() {
            let batch = batch?;
            told += self.tell_bad(&batches, told, progress);
            let extra = self.options.lengths.tensors(&batch)?;
            let loss = self.training.step(&self.options.inputs(&batch, &extra).0)?;
            sum += loss * batch.indices.len() as f64;
            count += batch.indices.len();
            step += 1;
            if progress(Progress::Step { epoch: number, step, of, loss }) == Then::Stop {
                return Ok(None);
            }
        }
        self.tell_bad(&batches, told, progress);
        if count == 0 {
            return Err(TrainError::Empty { what: "training" });
        }
        Ok(Some(sum / count as f64))
    }

    /// Minibatches, read ahead in the background. Bad samples count over the whole training.
    fn batches(
        &self,
        data: Arc<dyn DataSet>,
        order: Vec<usize>,
        size: usize,
        epoch: u64,
        augmenter: Option<Arc<Augmenter>>,
    ) -> Result<Loader, TrainError> {
        let max_bad = self.options.max_bad.saturating_sub(self.bad);
        let settings = BatchSettings { size, max_bad, ..BatchSettings::default() };
        let mut batches = Batches::new(data, order, settings, epoch, augmenter)?;
        if let Some(buckets) = &self.options.buckets {
            batches = batches.with_buckets(buckets.clone())?;
        }
        Ok(Loader::start(batches)?)
    }

    /// Tells of the bad samples beyond the first `told`, and counts them.
    fn tell_bad(&mut self, batches: &Loader, told: usize, progress: &mut impl FnMut(Progress<'_>) -> Then) -> usize {
        let new = batches.bad().get(told..).unwrap_or(&[]);
        for bad in new {
            self.bad += 1;
            progress(Progress::Bad { index: bad.index, error: &bad.error.to_string() });
        }
        new.len()
    }

    /// Loss and accuracy on a data set, in inference mode. Bad samples are left out.
    pub fn evaluate(&mut self, data: Arc<dyn DataSet>) -> Result<Evaluation, TrainError> {
        let mut confusion = self.options.classes.map(|classes| {
            let top: Vec<usize> = TOP_K.into_iter().filter(|k| 2 * k <= classes).collect();
            Confusion::new(classes, &top)
        });
        let spelling = self.options.spelling.clone();
        let mut texts = spelling.as_ref().map(|_| TextErrors::default());
        let (mut sum, mut samples) = (0.0, 0usize);
        let order: Vec<usize> = (0..data.len()).collect();
        let size = self.options.batch.unwrap_or(256).max(64);
        let labels = data.labels().to_vec();
        for batch in self.batches(data, order, size, 0, None)? {
            let batch = batch?;
            let extra = self.options.lengths.tensors(&batch)?;
            let (inputs, own) = self.options.inputs(&batch, &extra);
            let count = batch.indices.len();
            sum += self.training.evaluate(&inputs)? * count as f64;
            samples += count;
            if (confusion.is_some() || texts.is_some())
                && batch.targets.dtype() == DType::I64
                && let Some(scores) = self.training.run(&inputs[..own])?.first()
            {
                if let Some(confusion) = &mut confusion {
                    confusion.add(scores, &batch.targets);
                }
                if let (Some(texts), Some(spelling)) = (&mut texts, &spelling) {
                    texts.add_batch(spelling, scores, &batch.targets);
                }
            }
        }
        Ok(Evaluation { loss: sum / samples.max(1) as f64, confusion, texts, labels, samples, bad: Vec::new() })
    }

    /// The validation data; without, those it is trained on.
    pub(super) fn comparison_data(&self) -> Arc<dyn DataSet> {
        self.validation.clone().unwrap_or_else(|| self.train.clone())
    }

    /// Writes the checkpoint of the last epoch, after which the training was in this state.
    fn save(&self, state: &TrainingState) -> Result<(), TrainError> {
        let Some(path) = &self.options.checkpoint else { return Ok(()) };
        let named = |prefix: &str, state: &TrainingState| -> Vec<(String, Tensor)> {
            state.tensors.iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor.clone())).collect()
        };
        let mut tensors = named("now.", state);
        // The best is the newest as long as it learns.
        if let Some(best) = self.best.as_ref().filter(|best| best.epoch != self.history.len() as u64) {
            tensors.extend(named("best.", &best.state));
        }
        let notes = Notes {
            steps: state.steps,
            waiting: state.waiting,
            plateau: state.plateau.clone(),
            history: self.history.clone(),
            bad: self.bad,
            best: self.best.as_ref().map(|best| BestNotes {
                epoch: best.epoch,
                loss: best.loss,
                steps: best.state.steps,
                waiting: best.state.waiting,
                plateau: best.state.plateau.clone(),
            }),
        };
        let notes = serde_json::to_string(&notes)
            .map_err(|error| TrainError::Checkpoint { path: path.display().to_string(), reason: error.to_string() })?;
        Checkpoint { tensors, notes: [("training".to_owned(), notes)].into() }.save(path)
    }

    /// What came of the epochs so far.
    pub fn history(&self) -> &[Epoch] {
        &self.history
    }

    /// How many samples were skipped.
    pub fn bad_samples(&self) -> usize {
        self.bad
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

/// What a checkpoint says besides its tensors. A float is written so that it is read back as the same bits.
#[derive(Serialize, Deserialize)]
struct Notes {
    steps: u64,
    /// Gradients that wait; their sums are among the tensors.
    #[serde(default)]
    waiting: u64,
    plateau: Plateau,
    history: Vec<Epoch>,
    bad: usize,
    best: Option<BestNotes>,
}

#[derive(Serialize, Deserialize)]
struct BestNotes {
    epoch: u64,
    loss: f64,
    steps: u64,
    #[serde(default)]
    waiting: u64,
    plateau: Plateau,
}
