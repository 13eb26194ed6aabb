//! Floor 7: offline training. Data sets, recipes, and the trainer that runs them.

pub mod checkpoint;
pub mod curve;
pub mod data;
mod error;
mod export;
mod lengths;
pub mod metrics;
mod model_input;
mod recipe;
mod trainer;

use export::{LABELS_FILE, TOKENS_FILE};

pub use error::{Change, TrainError};
pub use export::{Exported, MODEL_FILE};
pub use lengths::LengthInputs;
pub use recipe::{
    ClipSettings, DataSettings, LossSettings, Part, PenaltySettings, Prepared, RECIPE_VERSION, Recipe, RecipeSettings,
    samples,
};
pub use trainer::{Epoch, Evaluation, Progress, Then, Trainer, TrainerOptions};

/// The state of a training after its last epoch, in the output folder of its recipe.
pub const CHECKPOINT_FILE: &str = "checkpoint.safetensors";
