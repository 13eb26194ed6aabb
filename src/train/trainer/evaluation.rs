//! Measuring a model on a data set.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::{Trainer, TrainerOptions, load};
use crate::engine::Training;
use crate::onnx::Model;
use crate::tensor::{DType, Tensor};
use crate::train::TrainError;
use crate::train::data::{Batch, BatchSettings, DataError, DataSet};
use crate::train::metrics::{Confusion, TextErrors};

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
        match self.bad.len() {
            0 => Ok(()),
            bad => write!(f, ", {bad} bad samples left out"),
        }
    }
}

/// The `k` of [`Confusion::top_k`] that are measured where there are at least twice as many classes.
const TOP_K: [usize; 2] = [3, 5];

/// How many samples `model` takes at once by its input `input`, where that is fixed.
pub(in crate::train) fn fixed_batch(model: &Model, input: &str) -> Option<usize> {
    let input = model.graph.free_inputs().find(|free| free.name == input)?;
    input.shape.dims()?.first()?.known().filter(|size| *size > 0)
}

impl Trainer {
    /// Loss and accuracy on a data set, in inference mode. Bad samples are left out, at most
    /// [`max_bad`](TrainerOptions::max_bad) of them.
    pub fn evaluate(&mut self, data: Arc<dyn DataSet>) -> Result<Evaluation, TrainError> {
        evaluate(&mut self.training, &self.options, data)
    }
}

/// The same, for a model that is not to be trained.
pub(in crate::train) fn evaluate(
    training: &mut Training,
    options: &TrainerOptions,
    data: Arc<dyn DataSet>,
) -> Result<Evaluation, TrainError> {
    let fixed = fixed_batch(&training.model(), &options.input);
    let size = fixed.unwrap_or(options.batch.unwrap_or(256).max(64));
    let settings = BatchSettings { size, max_bad: options.max_bad, ..BatchSettings::default() };
    let labels = data.labels().to_vec();
    let order = (0..data.len()).collect();
    let mut batches = load(data, order, settings, 0, options, None, BTreeSet::new())?;
    let mut sums = Sums {
        loss: 0.0,
        samples: 0,
        confusion: options.classes.map(|classes| {
            let top: Vec<usize> = TOP_K.into_iter().filter(|k| 2 * k <= classes).collect();
            Confusion::new(classes, &top)
        }),
        texts: options.spelling.as_ref().map(|_| TextErrors::default()),
    };
    for batch in batches.by_ref() {
        let batch = batch?;
        let count = batch.indices.len();
        match fixed.filter(|size| count < *size) {
            None => sums.add(training, options, &batch, count)?,
            // The mean loss of copies is that of the sample itself.
            Some(size) => (0..count).try_for_each(|row| sums.add(training, options, &copies(&batch, row, size)?, 1))?,
        }
    }
    if sums.samples == 0 {
        return Err(TrainError::Empty { what: "evaluation" });
    }
    let Sums { loss, samples, confusion, texts } = sums;
    let bad = batches.bad().iter().map(|bad| (bad.index, bad.error.to_string())).collect();
    Ok(Evaluation { loss: loss / samples as f64, confusion, texts, labels, samples, bad })
}

/// What has been measured so far.
struct Sums {
    loss: f64,
    samples: usize,
    confusion: Option<Confusion>,
    texts: Option<TextErrors>,
}

impl Sums {
    /// Measures a minibatch, whose loss is that of `count` samples; its first `count` answers are those that count.
    fn add(
        &mut self,
        training: &mut Training,
        options: &TrainerOptions,
        batch: &Batch,
        count: usize,
    ) -> Result<(), TrainError> {
        let extra = options.lengths.tensors(batch)?;
        let (inputs, own) = options.inputs(batch, &extra);
        self.loss += training.evaluate(&inputs)? * count as f64;
        self.samples += count;
        if (self.confusion.is_none() && self.texts.is_none()) || batch.targets.dtype() != DType::I64 {
            return Ok(());
        }
        let Some(scores) = training.run(&inputs[..own])?.into_iter().next() else { return Ok(()) };
        let (scores, targets) = match count < batch.indices.len() && !scores.shape().is_empty() {
            true => (rows(&scores, 0, count)?, rows(&batch.targets, 0, count)?),
            false => (scores, batch.targets.clone()),
        };
        if let Some(confusion) = &mut self.confusion {
            confusion.add(&scores, &targets);
        }
        if let (Some(texts), Some(spelling)) = (&mut self.texts, &options.spelling) {
            texts.add_batch(spelling, &scores, &targets);
        }
        Ok(())
    }
}

/// Rows `from` to `to` along the first dimension.
fn rows(tensor: &Tensor, from: usize, to: usize) -> Result<Tensor, TrainError> {
    Ok(tensor.narrow(0, from, to).map_err(DataError::from)?)
}

/// A minibatch of `size` copies of one sample of `batch`.
fn copies(batch: &Batch, row: usize, size: usize) -> Result<Batch, TrainError> {
    let tensor = |tensor: &Tensor| -> Result<Tensor, TrainError> {
        let one = rows(tensor, row, row + 1)?;
        Ok(Tensor::concat(&vec![one; size], 0).map_err(DataError::from)?)
    };
    Ok(Batch {
        inputs: tensor(&batch.inputs)?,
        targets: tensor(&batch.targets)?,
        indices: batch.indices.get(row).map(|index| vec![*index; size]).unwrap_or_default(),
        lengths: batch.lengths.get(row).map(|length| vec![*length; size]).unwrap_or_default(),
        next: batch.next,
    })
}
