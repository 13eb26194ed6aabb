//! How a training goes.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::tensor::Tensor;
use crate::train::data::augment::Augmenter;
use crate::train::data::{Batch, Buckets};
use crate::train::lengths::LengthInputs;
use crate::train::metrics::Spelling;

/// How a training goes.
#[derive(Clone, Debug)]
pub struct TrainerOptions {
    /// The model's input that samples go to.
    pub input: String,
    /// The loss's target.
    pub target: String,
    /// Samples in a minibatch: 1 for one at a time, `None` for all at once. A model whose input is fixed at a number of
    /// samples wants just that; the samples left over at the end of an epoch are then not learnt from in it.
    pub batch: Option<usize>,
    /// How many times all samples are seen.
    pub epochs: u64,
    /// How many times the weights change at most; the epoch in which they have done so ends there. Default: any.
    pub steps: Option<u64>,
    /// Where the order of samples begins.
    pub seed: u64,
    /// Whether samples come in another order each epoch.
    pub shuffle: bool,
    /// Stop when the validation loss has not fallen for so many epochs, and go back to the best.
    pub patience: Option<u64>,
    /// How many samples may be bad before the training ends with an error: of the training data, each counted once over
    /// all epochs, and as many of other data whenever these are measured.
    pub max_bad: usize,
    /// Where to keep the state after each epoch, and the best one; nowhere, when `None`.
    pub checkpoint: Option<PathBuf>,
    /// What the training is of, by key: a checkpoint that says otherwise belongs to another training, and is not gone on
    /// from.
    pub identity: Map<String, Json>,
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
            steps: None,
            seed: 0,
            shuffle: true,
            patience: None,
            max_bad: 0,
            checkpoint: None,
            identity: Map::new(),
            classes: None,
            spelling: None,
            augmenter: None,
            buckets: None,
            lengths: LengthInputs::default(),
        }
    }

    /// The inputs of a step: the samples, what the model takes besides, then what the loss takes; and how many of them
    /// are the model's own.
    pub(in crate::train) fn inputs<'a>(
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
