//! What can go wrong while results are written, and what to do about it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::codec::record::RecordError;
use crate::codec::{CodecError, PictureError, VideoError};
use crate::stage::StageError;

/// A fault of writing results. It ends the stream that was to be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SinkError {
    /// The folders on the way to a file do not exist and cannot be made.
    #[error("{}: its folder cannot be made{}: {source}", .path.display(), advice(.source))]
    Folder {
        /// The file that was to be written.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The operating system refuses to create or write the file.
    #[error("{}: cannot be written{}: {source}", .path.display(), advice(.source))]
    Write {
        /// The file, or `standard output`.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file cannot be put into another folder.
    #[error("{}: cannot be put at {}{}: {source}", .file.display(), .path.display(), advice(.source))]
    Place {
        /// The file.
        file: PathBuf,
        /// Where it was to go.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A stream without a file, where one is to be sorted.
    #[error("{stream} was read from no file that could be put into a folder; use `capture: images` or `capture: file`")]
    NoFile {
        /// The stream.
        stream: String,
    },
    /// Another fault of the file's format.
    #[error(transparent)]
    Codec(CodecError),
    /// A picture cannot be written.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// A video cannot be written.
    #[error(transparent)]
    Video(#[from] VideoError),
    /// A packet that has no form as a record.
    #[error("packet {sequence} has no form as a JSON record (check `encode` of its type): {source}")]
    Encode {
        /// The packet's number.
        sequence: u64,
        /// What the encoder says.
        source: serde_json::Error,
    },
    /// A packet that has no form in a record.
    #[error(transparent)]
    Record(RecordError),
    /// The subscriber does not read, and the pipeline has been told to stop waiting for it.
    #[error("cancelled while waiting for a subscriber that does not read; read on, or set `overflow: drop_oldest`")]
    Cancelled,
}

impl From<CodecError> for SinkError {
    fn from(error: CodecError) -> Self {
        match error {
            CodecError::Write { path, source } => SinkError::Write { path, source },
            other => SinkError::Codec(other),
        }
    }
}

/// What cannot be written ends its stream; a packet that cannot be is skipped.
impl From<SinkError> for StageError {
    fn from(error: SinkError) -> Self {
        match error {
            SinkError::Encode { .. } | SinkError::Record(_) | SinkError::Cancelled => StageError::skip(error),
            _ => StageError::end_stream(error),
        }
    }
}

/// What to do about an error of the system, in brackets; empty when there is nothing to say.
pub(super) fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            " (change its permissions, or choose another folder)"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => " (free some space, or choose another folder)",
        io::ErrorKind::BrokenPipe => " (the program that reads it has ended)",
        io::ErrorKind::IsADirectory => " (it is a folder: name a file in it)",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            " (a part of the path is a file, not a folder: choose another path)"
        }
        io::ErrorKind::InvalidFilename => " (choose a shorter path, or a shorter name for the stream)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_file_and_the_remedy() {
        let write = |kind: io::ErrorKind| SinkError::Write { path: "out/a.srt".into(), source: kind.into() };
        for (error, expected) in [
            (
                write(io::ErrorKind::StorageFull),
                "out/a.srt: cannot be written (free some space, or choose another folder): ",
            ),
            (write(io::ErrorKind::BrokenPipe), "out/a.srt: cannot be written (the program that reads it has ended): "),
            (write(io::ErrorKind::Other), "out/a.srt: cannot be written: "),
            (
                SinkError::Folder { path: "a/b".into(), source: io::ErrorKind::NotADirectory.into() },
                "a/b: its folder cannot be made (a part of the path is a file, not a folder: choose another path): ",
            ),
        ] {
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }

    #[test]
    fn only_what_cannot_be_written_ends_the_stream() {
        assert!(matches!(SinkError::Cancelled.into(), StageError::Skip(_)));
        let full = SinkError::Write { path: "a".into(), source: io::ErrorKind::StorageFull.into() };
        assert!(matches!(full.into(), StageError::EndStream(_)));
    }
}
