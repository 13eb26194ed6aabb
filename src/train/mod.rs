//! Floor 7: offline training. Data sets, recipes, and the trainer that runs them.

pub mod checkpoint;
pub mod data;
mod error;
pub mod metrics;
mod trainer;

pub use error::TrainError;
pub use trainer::{Epoch, Evaluation, Progress, Then, Trainer, TrainerOptions};
