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

pub use error::TrainError;
pub use export::Exported;
pub use lengths::LengthInputs;
pub use recipe::{
    ClipSettings, DataSettings, LossSettings, Part, PenaltySettings, Prepared, RECIPE_VERSION, Recipe, RecipeSettings,
};
pub use trainer::{Epoch, Evaluation, Progress, Then, Trainer, TrainerOptions};
