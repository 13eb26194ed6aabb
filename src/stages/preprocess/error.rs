//! What a preprocessing stage refuses while it runs.

use thiserror::Error;

use crate::dsp::DspError;
use crate::media::{Format, ImageError};
use crate::stage::{ContractFault, StageError};

/// A stream or a packet that a preprocessing stage cannot work with.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum PreprocessError {
    /// The stream's format is not one that the stage takes.
    #[error("port `{port}`: expected {expected}, found {found}{}", help.as_ref().map(|help| format!("; {help}")).unwrap_or_default())]
    Stream {
        /// The input port.
        port: String,
        /// What it takes.
        expected: String,
        /// What the stream carries.
        found: String,
        /// What to do.
        help: Option<String>,
    },
    /// A packet of another format than its stream was opened with.
    #[error("expected {expected}, as the stream was opened, found {found}: a change of format must reopen the stream")]
    Packet {
        /// The format of the stream.
        expected: Format,
        /// The format of the packet.
        found: Format,
    },
    /// A partial result where sound must be contiguous.
    #[error(
        "expected contiguous sound, found a partial result that a later packet replaces: put this stage before the one \
         that makes utterances"
    )]
    PartialSound,
    /// A tensor whose last axis has another size than the lists of the config.
    #[error("`{key}` has {expected} values, one for each element of the last axis, found a tensor of shape {shape:?}")]
    LastAxis {
        /// The key of the list.
        key: &'static str,
        /// Its length.
        expected: usize,
        /// The shape of the tensor.
        shape: Vec<usize>,
    },
    /// A picture that is smaller than what is to be cut out of it.
    #[error(
        "expected a picture of at least {expected} pixels, found {width} × {height}: insert `- preprocess: resize` before"
    )]
    TooSmall {
        /// The least picture, in words.
        expected: String,
        /// Pixels in a row of the one that came.
        width: u32,
        /// Its rows.
        height: u32,
    },
    /// Pixels that make no picture.
    #[error(transparent)]
    Picture(#[from] ImageError),
    /// A signal function's own error.
    #[error(transparent)]
    Signal(#[from] DspError),
}

impl From<ContractFault> for PreprocessError {
    fn from(fault: ContractFault) -> Self {
        let ContractFault { port, expected, found, help } = fault;
        PreprocessError::Stream { port, expected, found, help }
    }
}

/// As a stage takes it: a stream that cannot be read ends, a packet that cannot be read is skipped.
impl From<PreprocessError> for StageError {
    fn from(error: PreprocessError) -> Self {
        match error {
            PreprocessError::Stream { .. } => StageError::end_stream(error),
            _ => StageError::skip(error),
        }
    }
}
