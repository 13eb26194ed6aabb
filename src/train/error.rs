//! What can go wrong in a training.

use std::path::PathBuf;

use thiserror::Error;

use super::data::DataError;
use crate::config::Faults;
use crate::engine::EngineError;
use crate::files::FileError;

/// Why a training cannot begin or go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The model, or a step of it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The data are not there, and the recipe says how to get them.
    #[error("{source}; to get the data: {get}")]
    NoData {
        /// What is wrong.
        source: DataError,
        /// How to get them.
        get: String,
    },
    /// A recipe has faults.
    #[error("{0}")]
    Faults(#[from] Faults),
    /// There is nothing to learn from.
    #[error("the {what} data hold no sample: expected at least one that is not bad")]
    Empty {
        /// Training, validation or evaluation.
        what: &'static str,
    },
    /// A file cannot be saved; the one that was there is untouched.
    #[error(transparent)]
    Save(#[from] FileError),
    /// The loss, a gradient or a weight is no number any more. The trainer is back at its best epoch, where there was one.
    #[error("the training diverged in epoch {epoch}, step {step}: {what} is not finite; {}", went_back(.best, .checkpoint))]
    Diverged {
        /// The epoch that was not finished.
        epoch: u64,
        /// How many steps were taken before.
        step: u64,
        /// What is not finite.
        what: String,
        /// The epoch whose weights the model has again; `None` when none was whole.
        best: Option<u64>,
        /// The checkpoint that holds them.
        checkpoint: Option<PathBuf>,
    },
    /// A checkpoint cannot be written or read.
    #[error("checkpoint {path}: {reason}")]
    Checkpoint {
        /// Its path.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A file cannot be read or written.
    #[error("{path}: {reason}")]
    Output {
        /// Its path.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A setting is out of range.
    #[error("{what}: expected {expected}, found {found}")]
    Setting {
        /// The setting.
        what: &'static str,
        /// What it may be.
        expected: String,
        /// What it is.
        found: String,
    },
}

fn went_back(best: &Option<u64>, checkpoint: &Option<PathBuf>) -> String {
    match (best, checkpoint) {
        (None, _) => {
            "no epoch is kept: begin anew, with a lower learning rate, clipping of gradients, or other data".into()
        }
        (Some(best), None) => format!("the model is as it was after epoch {best}, the best one"),
        (Some(best), Some(checkpoint)) => format!(
            "epoch {best}, the best one, is kept in {}: go on from there with a lower learning rate",
            checkpoint.display()
        ),
    }
}
