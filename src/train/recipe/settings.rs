//! The keys of a recipe.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::engine::{Initializer, Optimizer, Schedule};
use crate::train::data::Buckets;
use crate::train::data::augment::Augmentation;

/// A training: data, model, loss, and how to go about it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecipeSettings {
    /// The version of this format: 1.
    #[schemars(range(min = 1, max = 1))]
    pub percept_recipe: u32,
    /// What the model is called.
    #[schemars(length(min = 1))]
    pub name: String,
    /// What it is for, in a line or two.
    #[serde(default)]
    pub summary: String,
    /// What to learn from.
    pub data: DataSettings,
    /// The licence of what comes out, as an SPDX expression (`MIT`). Default: NOASSERTION, SPDX's word for none stated.
    #[serde(default = "default_licence")]
    #[schemars(length(min = 1))]
    pub licence: String,
    /// What is done to each sample before the model sees it: stages as in a pipeline, of the role `preprocess`, each
    /// reading from the one above. The card of the trained model lists them. Default: nothing.
    #[serde(default)]
    pub preprocess: Vec<Map<String, Json>>,
    /// Changes of training samples, at random, in this order. Default: none.
    #[serde(default)]
    pub augment: Vec<Augmentation>,
    /// An architecture with its arguments, `{lenet5: {classes: 10}}`, or a file, `{onnx: FILE}`.
    pub model: Map<String, Json>,
    /// How the weights of an architecture are drawn at first: `zeros`, `ones`, `lecun`, `xavier`, `he`, `fan_in`,
    /// `orthogonal`, `{uniform: BOUND}` or `{normal: DEVIATION}`. It holds for the weights of dense, convolution and
    /// recurrent layers, whose biases are zero then. Default: as each architecture does.
    #[serde(default)]
    pub initializer: Option<Initializer>,
    /// Weights that stay as they are, by name; `*` is anything. Default: none.
    #[serde(default)]
    pub freeze: Vec<String>,
    /// A loss by name, or with its settings: `{kind: cross_entropy, label_smoothing: 0.1}`.
    pub loss: LossSettings,
    /// A penalty on large weights; biases and other weights of rank 1 are spared. Default: none.
    #[serde(default)]
    pub penalty: PenaltySettings,
    /// Penalties on the weights of these names, of any rank, in place of `penalty`: `{"embedding.*": {l2: 0.01}}`; `*` is
    /// anything. Where several patterns match, the longest counts. Default: none.
    #[serde(default)]
    pub penalties: BTreeMap<String, PenaltySettings>,
    /// The rule of descent. Default: adam.
    #[serde(default = "adam")]
    pub optimizer: Optimizer,
    /// Factors for the learning rate of the weights of these names: `{"conv*": 0.1}`; `*` is anything. Where several
    /// patterns match, their factors are multiplied. Default: 1 for all.
    #[serde(default)]
    pub rates: BTreeMap<String, f64>,
    /// How the learning rate changes, by steps. Default: it does not.
    #[serde(default)]
    pub schedule: Schedule,
    /// Holds gradients in bounds. Default: not.
    #[serde(default)]
    pub clip: ClipSettings,
    /// Samples in a minibatch: 1 for one at a time, 0 for all at once. Default: as many as the model's input is fixed at,
    /// else 64.
    #[serde(default)]
    pub batch: Option<usize>,
    /// How many minibatches make a step: the weights change by the mean of their gradients. Default: 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub accumulate: u64,
    /// For samples of varying lengths: puts those of similar length together and fills them up to a bound; what they are
    /// filled with counts nothing. The model must have an input `lengths`. Default: all samples have one shape.
    #[serde(default)]
    pub buckets: Option<Buckets>,
    /// How many times all samples are seen. Default: 10, unless there are `steps`.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub epochs: Option<u64>,
    /// How many times the weights change, in place of `epochs`; the last epoch may then be a part of one. A training that
    /// is gone on from with more steps begins its next epoch there.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub steps: Option<u64>,
    /// Stops when the validation loss has not fallen for so many epochs, and keeps the best. Needs `data.validation`.
    /// Default: goes on.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub patience: Option<u64>,
    /// Samples that may be bad: of the training data over all epochs, and as many of the validation and of the test data.
    /// Default: 0.
    #[serde(default)]
    pub max_bad: usize,
    /// Where all random numbers begin. Default: 0.
    #[serde(default)]
    pub seed: u64,
    /// Threads; 0 is one for each core. Default: 0.
    #[serde(default)]
    pub threads: usize,
    /// Mebibytes that the values of a step may take; a training that needs more is an error before it begins. Default:
    /// 4096.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub memory_mb: Option<u64>,
    /// The folder for what comes out, from the recipe's folder. Default: `trained`.
    #[serde(default = "default_output")]
    pub output: PathBuf,
}

impl RecipeSettings {
    /// Epochs of a recipe that says neither `epochs` nor `steps`.
    const EPOCHS: u64 = 10;
    /// Samples in a minibatch of a recipe that says nothing of them.
    const BATCH: usize = 64;

    /// After how many epochs the training ends, where `steps` do not end it.
    pub fn last_epoch(&self) -> Option<u64> {
        match (self.epochs, self.steps) {
            (Some(epochs), _) => Some(epochs),
            (None, Some(_)) => None,
            (None, None) => Some(Self::EPOCHS),
        }
    }

    /// Samples in a minibatch of a model that is fixed at `fixed` of them; `None` for all at once.
    pub(super) fn batch_of(&self, fixed: Option<usize>) -> Option<usize> {
        let size = self.batch.or(fixed).unwrap_or(Self::BATCH);
        (size > 0).then_some(size)
    }
}

/// What to learn from.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataSettings {
    /// A format with its settings: `{idx: {images: FILE, labels: FILE}}`.
    pub train: Map<String, Json>,
    /// By what models are compared while they train: a share of the training data (0.1), or data of its own. Default:
    /// nothing.
    #[serde(default)]
    pub validation: Option<Part>,
    /// What is read once, at the end: a share of the training data, or data of its own. Default: nothing.
    #[serde(default)]
    pub test: Option<Part>,
    /// How to get the data, shown when they cannot be read: a command, a place. Default: nothing.
    #[serde(default)]
    pub get: Option<String>,
}

/// A share of the training data, or data of its own.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Part {
    /// A share, above 0 and below 1.
    Share(f64),
    /// A format with its settings.
    Own(Map<String, Json>),
}

/// A loss by name, or with its settings.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum LossSettings {
    /// A name.
    Name(String),
    /// `kind` and settings.
    Settings(Map<String, Json>),
}

/// A penalty on large weights.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PenaltySettings {
    /// λ of λ·Σ|w|. Default: 0.
    #[schemars(range(min = 0))]
    pub l1: f64,
    /// λ of λ/2·Σw². Default: 0.
    #[schemars(range(min = 0))]
    pub l2: f64,
}

/// Holds gradients in bounds: one of both.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClipSettings {
    /// The largest Euclidean norm over all weights together. Default: any.
    pub norm: Option<f64>,
    /// The largest size of a number. Default: any.
    pub value: Option<f64>,
}

fn adam() -> Optimizer {
    Optimizer::Adam(crate::engine::optimizers::Adam::default())
}

fn one() -> u64 {
    1
}

fn default_licence() -> String {
    "NOASSERTION".into()
}

fn default_output() -> PathBuf {
    "trained".into()
}

/// The version of the recipe format.
pub const RECIPE_VERSION: u32 = 1;
