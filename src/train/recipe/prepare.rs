//! From a recipe to a training that is ready to run: the data opened, the model built.

use std::sync::Arc;

use super::{PartFormat, Recipe};
use crate::codec::CodecError;
use crate::engine::{Clip, Loss, Penalty, Training, TrainingOptions};
use crate::media::Format;
use crate::onnx::Model;
use crate::stage::Blueprint;
use crate::tensor::{DType, Tensor};
use crate::train::data::augment::Augmenter;
use crate::train::data::{DataError, DataSet, Known, Preprocessed, Split, Subset};
use crate::train::lengths::LengthInputs;
use crate::train::metrics::Spelling;
use crate::train::model_input::ModelInput;
use crate::train::trainer::{Trainer, TrainerOptions, fixed_batch};
use crate::train::{CHECKPOINT_FILE, TrainError};

/// A training that is ready to run.
pub struct Prepared {
    /// The trainer.
    pub trainer: Trainer,
    /// What is read once, at the end.
    pub test: Option<Arc<dyn DataSet>>,
    /// The names of the classes, where known.
    pub labels: Vec<String>,
    /// The tokens that texts were turned into numbers by, where there are texts.
    pub vocabulary: Vec<String>,
    /// What samples are when they reach the model, as far as it is known.
    pub format: Format,
    /// How many samples there are to train on and to compare by.
    pub samples: (usize, usize),
}

/// The data of a recipe, as the model sees them.
pub(super) struct Opened {
    /// The training data before any are set aside.
    pub all: Arc<dyn DataSet>,
    /// What their samples are.
    pub format: Format,
    pub train: Arc<dyn DataSet>,
    pub validation: Option<Arc<dyn DataSet>>,
    pub test: Option<Arc<dyn DataSet>>,
}

impl Recipe {
    /// The training data as the model sees them: all samples, prepared, before any are set aside.
    pub fn train_data(&self) -> Result<Arc<dyn DataSet>, TrainError> {
        let data = Arc::from(self.train.open(&self.folder)?);
        Ok(self.preprocessed(data, &self.model)?.0)
    }

    /// `data` behind the recipe's stages, and what the model then gets. Formats that do not fit are faults of the recipe.
    pub(super) fn preprocessed(
        &self,
        data: Arc<dyn DataSet>,
        model: &Model,
    ) -> Result<(Arc<dyn DataSet>, Format), TrainError> {
        let Some(chain) = &self.chain else { return Ok((data, self.train.input())) };
        let from = match data.raw(0) {
            Ok(raw) => raw.payload.format(),
            Err(error @ DataError::Setting { .. }) => return Err(error.into()),
            Err(error @ DataError::Sound(CodecError::Missing { .. })) if self.settings.max_bad == 0 => {
                return Err(error.into());
            }
            // A bad sample is counted, and may be passed over, where samples are read.
            Err(_) => self.train.format(),
        };
        let input = ModelInput::of(model);
        let channel_axis = input.as_ref().is_some_and(ModelInput::channel_axis);
        let (format, _) = chain.check(from, input.map(|input| Arc::new(input) as Arc<dyn Blueprint>))?;
        Ok((Arc::new(Preprocessed::new(data, chain.clone(), channel_axis)), format))
    }

    /// Opens the data and builds the model.
    pub fn prepare(&self) -> Result<Prepared, TrainError> {
        self.opened().map_err(|error| self.with_the_way(error))
    }

    /// Says how to get the data where they are missing.
    pub(super) fn with_the_way(&self, error: TrainError) -> TrainError {
        match (error, &self.settings.data.get) {
            (TrainError::Data(source), Some(get)) if is_missing(&source) => {
                TrainError::NoData { source, get: get.clone() }
            }
            (error, _) => error,
        }
    }

    /// All data, with the shares set aside.
    pub(super) fn open_data(&self, model: &Model) -> Result<Opened, TrainError> {
        let (all, format) = self.preprocessed(Arc::from(self.train.open(&self.folder)?), model)?;
        let known = Known::of(&all);
        let share = |part: &Option<PartFormat>| match part {
            Some(PartFormat::Share(share)) => *share,
            _ => 0.0,
        };
        let own = |part: &Option<PartFormat>| -> Result<Option<Arc<dyn DataSet>>, TrainError> {
            match part {
                Some(PartFormat::Own(format)) => {
                    let data = Arc::from(format.open_with(&self.folder, &known)?);
                    Ok(Some(self.preprocessed(data, model)?.0))
                }
                _ => Ok(None),
            }
        };
        let (mut validation, mut test) = (own(&self.validation)?, own(&self.test)?);
        let shares = (share(&self.validation), share(&self.test));
        let mut train = all.clone();
        if shares != (0.0, 0.0) {
            let split = Split { validation: shares.0, test: shares.1, seed: self.settings.seed, stratified: true };
            let parts = split.divide(&all)?;
            let subset = |indices: Vec<usize>| -> Result<Arc<dyn DataSet>, TrainError> {
                Ok(Arc::new(Subset::new(all.clone(), indices)?))
            };
            train = subset(parts.train)?;
            if shares.0 > 0.0 {
                validation = Some(subset(parts.validation)?);
            }
            if shares.1 > 0.0 {
                test = Some(subset(parts.test)?);
            }
        }
        Ok(Opened { all, format, train, validation, test })
    }

    fn opened(&self) -> Result<Prepared, TrainError> {
        let (settings, model) = (&self.settings, &self.model);
        let Opened { all, format, train, validation, test } = self.open_data(model)?;
        let (labels, vocabulary) = (all.labels().to_vec(), all.vocabulary().to_vec());
        let (loss, lengths) = self.loss_of(model, &all)?;
        let mut training = Training::new(model, self.training_options(loss))?;
        self.bound(&mut training);
        let classes = self.classes(&all);
        let augmenter = match settings.augment.is_empty() {
            true => None,
            false => {
                let steps = settings.augment.clone();
                Some(Arc::new(Augmenter::new(steps, settings.seed, classes.unwrap_or(0))?))
            }
        };
        let samples = (train.len(), validation.as_ref().map_or(0, |data| data.len()));
        let own = self.trainer_options(model, &all, lengths)?;
        let options = TrainerOptions {
            patience: settings.patience,
            checkpoint: Some(self.output().join(CHECKPOINT_FILE)),
            identity: self.identity(own.batch, train.len()),
            classes,
            augmenter,
            ..own
        };
        let trainer = Trainer::new(training, train, validation, options)?;
        Ok(Prepared { trainer, test, labels, vocabulary, format, samples })
    }

    /// The loss as `model` is to be trained on samples like those of `data`, and where their lengths go.
    pub(super) fn loss_of(&self, model: &Model, data: &Arc<dyn DataSet>) -> Result<(Loss, LengthInputs), TrainError> {
        let Some(buckets) = &self.settings.buckets else { return Ok((self.loss.clone(), LengthInputs::default())) };
        let target = first_target(data);
        LengthInputs::of(model, self.loss.clone(), buckets, &target.unwrap_or(Tensor::scalar(0i64)))
    }

    fn training_options(&self, loss: Loss) -> TrainingOptions {
        let settings = &self.settings;
        let clip = match (settings.clip.norm, settings.clip.value) {
            (Some(bound), _) => Clip::Norm(bound),
            (None, Some(bound)) => Clip::Value(bound),
            (None, None) => Clip::None,
        };
        let mut options = TrainingOptions::new(loss, settings.optimizer.clone())
            .schedule(settings.schedule.clone())
            .clip(clip)
            .penalty(Penalty { l1: settings.penalty.l1, l2: settings.penalty.l2 })
            .accumulate(settings.accumulate)
            .threads(settings.threads)
            .seed(settings.seed);
        for pattern in &settings.freeze {
            options = options.freeze(pattern);
        }
        for (pattern, factor) in &settings.rates {
            options = options.rate_for(pattern, *factor);
        }
        // The last that matches counts.
        let mut penalties: Vec<_> = settings.penalties.iter().collect();
        penalties.sort_by_key(|(pattern, _)| pattern.chars().count());
        for (pattern, penalty) in penalties {
            options = options.penalty_for(pattern, Penalty { l1: penalty.l1, l2: penalty.l2 });
        }
        options
    }

    /// Holds what a step needs within `memory_mb`.
    pub(super) fn bound(&self, training: &mut Training) {
        if let Some(mebibytes) = self.settings.memory_mb {
            let bytes = mebibytes.checked_mul(1 << 20).and_then(|bytes| usize::try_from(bytes).ok());
            training.network().set_memory(bytes.unwrap_or(usize::MAX));
        }
    }

    /// How `model` is measured, and given samples, on data like `data`.
    pub(super) fn trainer_options(
        &self,
        model: &Model,
        data: &Arc<dyn DataSet>,
        lengths: LengthInputs,
    ) -> Result<TrainerOptions, TrainError> {
        let settings = &self.settings;
        let input = model.graph.free_inputs().next().map(|input| input.name.clone()).unwrap_or_default();
        let spelling = match (self.loss.blank(), data.tokens()) {
            (Some(blank), Some(cut)) => {
                let tokens = data.vocabulary().to_vec();
                expect_symbols(model, tokens.len())?;
                Some(Spelling { blank, tokens, cut })
            }
            _ => None,
        };
        Ok(TrainerOptions {
            batch: settings.batch_of(fixed_batch(model, &input)),
            steps: settings.steps,
            seed: settings.seed,
            max_bad: settings.max_bad,
            spelling,
            buckets: settings.buckets.clone().map(Arc::new),
            lengths,
            ..TrainerOptions::new(&input, 1, settings.last_epoch().unwrap_or(u64::MAX))
        })
    }

    /// How many classes there are, where targets are class indices.
    pub(super) fn classes(&self, data: &Arc<dyn DataSet>) -> Option<usize> {
        if self.loss.blank().is_some() || first_target(data)?.dtype() != DType::I64 {
            return None;
        }
        if !data.labels().is_empty() {
            return Some(data.labels().len());
        }
        let highest = |target: Tensor| target.as_slice::<i64>().ok()?.iter().max().copied();
        let most = (0..data.len()).filter_map(|index| highest(data.target(index).ok()?)).max()?;
        usize::try_from(most).ok()?.checked_add(1)
    }
}

/// Fails when the model's scores are known to be fewer than the tokens that texts are spelled with.
fn expect_symbols(model: &Model, tokens: usize) -> Result<(), TrainError> {
    let last = model.graph.outputs.first().and_then(|output| output.shape.dims()?.last()?.known());
    match last {
        Some(symbols) if symbols < tokens => Err(TrainError::Setting {
            what: "the model's symbols",
            expected: format!("at least {tokens}, as the texts have tokens (the blank and the unknown one included)"),
            found: symbols.to_string(),
        }),
        _ => Ok(()),
    }
}

/// The target of the first sample that is not bad.
fn first_target(data: &Arc<dyn DataSet>) -> Option<Tensor> {
    (0..data.len()).find_map(|index| data.target(index).ok())
}

/// Whether the data are not there.
pub(super) fn is_missing(error: &DataError) -> bool {
    matches!(error, DataError::Io { .. } | DataError::Sound(CodecError::Missing { .. }))
}
