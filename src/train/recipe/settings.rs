//! The keys of a recipe.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::engine::{Optimizer, Schedule};
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
    /// Weights that stay as they are, by name; `*` is anything. Default: none.
    #[serde(default)]
    pub freeze: Vec<String>,
    /// A loss by name, or with its settings: `{kind: cross_entropy, label_smoothing: 0.1}`.
    pub loss: LossSettings,
    /// A penalty on large weights. Default: none.
    #[serde(default)]
    pub penalty: PenaltySettings,
    /// The rule of descent. Default: adam.
    #[serde(default = "adam")]
    pub optimizer: Optimizer,
    /// How the learning rate changes, by steps. Default: it does not.
    #[serde(default)]
    pub schedule: Schedule,
    /// Holds gradients in bounds. Default: not.
    #[serde(default)]
    pub clip: ClipSettings,
    /// Samples in a minibatch: 1 for one at a time, 0 for all at once. Default: 64.
    #[serde(default = "default_batch")]
    pub batch: usize,
    /// For samples of varying lengths: puts those of similar length together and fills them up to a bound; what they are
    /// filled with counts nothing. The model must have an input `lengths`. Default: all samples have one shape.
    #[serde(default)]
    pub buckets: Option<Buckets>,
    /// How many times all samples are seen. Default: 10.
    #[serde(default = "default_epochs")]
    #[schemars(range(min = 1))]
    pub epochs: u64,
    /// Stops when the validation loss has not fallen for so many epochs, and keeps the best. Needs `data.validation`.
    /// Default: goes on.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub patience: Option<u64>,
    /// Samples that may be bad. Default: 0.
    #[serde(default)]
    pub max_bad: usize,
    /// Where all random numbers begin. Default: 0.
    #[serde(default)]
    pub seed: u64,
    /// Threads; 0 is one for each core. Default: 0.
    #[serde(default)]
    pub threads: usize,
    /// The folder for what comes out, from the recipe's folder. Default: `trained`.
    #[serde(default = "default_output")]
    pub output: PathBuf,
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

/// A penalty on large weights; biases and other weights of rank 1 are spared.
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

fn default_batch() -> usize {
    64
}

fn default_epochs() -> u64 {
    10
}

fn default_licence() -> String {
    "NOASSERTION".into()
}

fn default_output() -> PathBuf {
    "trained".into()
}

/// The version of the recipe format.
pub const RECIPE_VERSION: u32 = 1;
