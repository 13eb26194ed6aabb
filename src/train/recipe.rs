//! Recipes: a training as a YAML file.
//!
//! ```yaml
//! percept_recipe: 1
//! name: fashion-lenet5
//! data:
//!   train: {idx: {images: train-images.gz, labels: train-labels.gz}}
//!   validation: 0.1                  # a share of the training data, or data of its own
//!   test: {idx: {images: test-images.gz, labels: test-labels.gz}}
//! preprocess:                        # stages as in a pipeline, where samples are not yet what the model takes
//!   - preprocess: normalize
//!     offset: -0.5
//! model: {lenet5: {classes: 10}}     # an architecture, or {onnx: FILE}
//! loss: cross_entropy                # or {kind: cross_entropy, label_smoothing: 0.1}
//! optimizer: {kind: adam, learning_rate: 0.001}
//! epochs: 10
//! ```

use std::path::{Path, PathBuf};

use super::data::DataFormat;
use super::error::TrainError;
use crate::cards::Sha256;
use crate::config::{Faults, Node, Source};
use crate::engine::Loss;
use crate::onnx::Model;
use crate::pipeline::Chain;

mod check;
mod evaluate;
mod initial;
mod prepare;
mod resume;
mod samples;
mod settings;
#[cfg(test)]
mod tests;

pub use prepare::Prepared;
pub use samples::samples;
pub use settings::{ClipSettings, DataSettings, LossSettings, Part, PenaltySettings, RECIPE_VERSION, RecipeSettings};

/// A recipe whose every part is known to be sound; nothing is opened yet.
#[derive(Debug)]
pub struct Recipe {
    /// The settings.
    pub settings: RecipeSettings,
    /// Where it comes from.
    pub(super) origin: RecipeOrigin,
    folder: PathBuf,
    train: Box<dyn DataFormat>,
    validation: Option<PartFormat>,
    test: Option<PartFormat>,
    /// What training starts from.
    model: Model,
    loss: Loss,
    /// What prepares samples, where the recipe lists anything.
    chain: Option<Chain>,
    warnings: Faults,
    /// Where its keys stand, with the changes.
    node: Node,
    source: Source,
}

/// Where a recipe comes from: for the card of what it made.
#[derive(Clone, Debug)]
pub(super) struct RecipeOrigin {
    /// The name of its file.
    pub name: String,
    /// The sum of its text.
    pub sum: Sha256,
    /// What was changed in it.
    pub changes: Vec<String>,
}

#[derive(Debug)]
enum PartFormat {
    Share(f64),
    Own(Box<dyn DataFormat>),
}

impl Recipe {
    /// Reads the recipe at `path` (a file, or a folder with `recipe.yaml`), with changes (`epochs=3`). Reports every
    /// fault at once.
    pub fn open(path: &Path, changes: &[String]) -> Result<Self, TrainError> {
        let path = if path.is_dir() { path.join("recipe.yaml") } else { path.to_owned() };
        let text = std::fs::read_to_string(&path).map_err(|error| TrainError::Output {
            path: path.display().to_string(),
            reason: format!("it cannot be read: {error}"),
        })?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(Recipe::parse(&Source::new(path.display().to_string(), text), &folder, changes)?)
    }

    /// The folder for what comes out.
    pub fn output(&self) -> PathBuf {
        self.folder.join(&self.settings.output)
    }

    /// The model that training starts from.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// What is doubtful in it, though it can be run.
    pub fn warnings(&self) -> &Faults {
        &self.warnings
    }

    /// Whether all inputs have one length by the settings of the training data.
    pub(super) fn is_fixed_length(&self) -> bool {
        self.train.is_fixed_length()
    }

    /// The loss.
    pub fn loss(&self) -> &Loss {
        &self.loss
    }
}
