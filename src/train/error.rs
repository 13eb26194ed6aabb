//! What can go wrong in a training.

use thiserror::Error;

use super::data::DataError;
use crate::config::Faults;
use crate::engine::EngineError;

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
    #[error("the {what} data is empty: expected at least one sample")]
    Empty {
        /// Training or validation.
        what: &'static str,
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
