//! What can go wrong when a file is replaced.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a file could not be replaced. Unless it is [`FileError::NotSynced`], the file is as it was before.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    /// The path ends in no name.
    #[error("cannot save {}: expected the path of a file, found one that names none", .path.display())]
    NoName {
        /// The path.
        path: PathBuf,
    },
    /// There is no room.
    #[error(
        "cannot save {}: {source}; it needs {bytes} bytes while the file before it is kept, which is untouched: make \
         room there, or save to another disk", .path.display()
    )]
    Full {
        /// The file that was to be replaced.
        path: PathBuf,
        /// The bytes of its new content.
        bytes: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused a step.
    #[error("cannot save {}: {step}: {source}; what was there before is untouched", .path.display())]
    Refused {
        /// The file that was to be replaced.
        path: PathBuf,
        /// What was tried.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The new file is in its place, but its folder could not be brought onto the disk.
    #[error(
        "{} is written, but its folder could not be synced ({source}): after a power cut the file before it may be \
         back; save again", .path.display()
    )]
    NotSynced {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl FileError {
    pub(super) fn of(path: &Path, step: &'static str, bytes: usize, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                FileError::Full { path, bytes: bytes as u64, source }
            }
            _ => FileError::Refused { path, step, source },
        }
    }

    /// What the system said.
    pub fn into_io(self) -> io::Error {
        match self {
            FileError::NoName { .. } => io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"),
            FileError::Full { source, .. }
            | FileError::Refused { source, .. }
            | FileError::NotSynced { source, .. } => source,
        }
    }
}
