//! Errors of stages: each says what comes next.

use std::error::Error;

use thiserror::Error;

/// A stage's error, by what the runtime does next.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StageError {
    /// This packet cannot be used. It is counted as skipped; the stream goes on with its state as it is.
    #[error(transparent)]
    Skip(Box<dyn Error + Send + Sync>),
    /// This stream cannot go on as it is. The packet is skipped and the stream's state is made anew.
    #[error(transparent)]
    ResetStream(Box<dyn Error + Send + Sync>),
    /// This stream is over: it is closed downstream, and its further packets are counted as skipped. Other streams go on.
    #[error(transparent)]
    EndStream(Box<dyn Error + Send + Sync>),
    /// The stage itself cannot go on. It is rebuilt; when that happens too often the pipeline stops.
    #[error(transparent)]
    Fatal(Box<dyn Error + Send + Sync>),
}

impl StageError {
    /// This packet cannot be used.
    pub fn skip(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        StageError::Skip(error.into())
    }

    /// This stream must begin anew.
    pub fn reset_stream(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        StageError::ResetStream(error.into())
    }

    /// This stream is over.
    pub fn end_stream(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        StageError::EndStream(error.into())
    }

    /// The stage cannot go on.
    pub fn fatal(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        StageError::Fatal(error.into())
    }
}

impl From<crate::media::PayloadMismatch> for StageError {
    fn from(error: crate::media::PayloadMismatch) -> Self {
        StageError::skip(error)
    }
}
