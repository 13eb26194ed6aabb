//! What can go wrong when a model learns from a stream.

use std::path::PathBuf;

use thiserror::Error;

use crate::engine::EngineError;
use crate::files::FileError;

/// Why learning from a stream cannot begin or go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LearnError {
    /// The engine refused a model or a step.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A file could not be replaced.
    #[error(transparent)]
    File(#[from] FileError),
    /// A setting is out of range.
    #[error("`learn.{key}` {message}")]
    Setting {
        /// The key.
        key: String,
        /// What was expected and found.
        message: String,
    },
    /// The model's ports are not those that learning needs.
    #[error("the model `{model}` cannot learn here: expected {expected}, found {found}; {remedy}")]
    Model {
        /// The graph's name.
        model: String,
        /// What learning needs.
        expected: String,
        /// What there is.
        found: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The class dimension cannot grow.
    #[error(
        "the head of `{model}` cannot grow from {from} to {to} classes: {reason}; a head that grows is a Gemm, or a \
         MatMul with or without an Add, whose weights are in the file, last in the graph but for Softmax, LogSoftmax, \
         Sigmoid, Identity or Flatten"
    )]
    Head {
        /// The graph's name.
        model: String,
        /// Classes now.
        from: usize,
        /// Classes asked for.
        to: usize,
        /// What stands in its way.
        reason: String,
    },
    /// A file of samples or of a version cannot be read.
    #[error("{}: {reason}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what was expected.
        reason: String,
    },
    /// A folder of versions cannot be used.
    #[error("the folder of versions {}: cannot {step}: {source}", .path.display())]
    Folder {
        /// The folder, or a file in it.
        path: PathBuf,
        /// What was tried.
        step: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is no such version.
    #[error("there is no version {wanted} to go back to in {}: there is {found}", .path.display())]
    NoVersion {
        /// The folder.
        path: PathBuf,
        /// The version asked for, in words.
        wanted: String,
        /// The versions that are there.
        found: String,
    },
    /// The samples of the reference set do not fit the model.
    #[error("sample {index} of the reference set: {reason}; the guard cannot measure without it")]
    Reference {
        /// Its number, from 0.
        index: usize,
        /// What does not fit.
        reason: String,
    },
}
