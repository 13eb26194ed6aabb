//! What can be wrong with a record, and what to do about it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// A fault of reading or writing a record of packets.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The operating system refused to read.
    #[error("{}: cannot be read: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The operating system refused to write. Nothing more is written: every later call gives the same error.
    #[error("the record cannot be written: {source}")]
    Write {
        /// The system's error.
        source: io::Error,
    },
    /// Not an MCAP file.
    #[error(
        "{}: expected a record (an MCAP file, as `percept record` and `sink: record` write), found {found}",
        .path.display()
    )]
    NotRecord {
        /// The file.
        path: PathBuf,
        /// What its first bytes look like.
        found: String,
    },
    /// An MCAP file without packets of percept.
    #[error(
        "{}: this MCAP file was not written by percept: it does not begin with what a record holds (profile `{profile}`)",
        .path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What the file says that it is.
        profile: String,
    },
    /// A record of a later percept.
    #[error("{}: expected version {} of records, found {found}; read it with a newer percept", .path.display(), super::VERSION)]
    Version {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: u64,
    },
    /// Chunks that another program has compressed.
    #[error(
        "{0}: its chunks are compressed ({how}), and records are read plain; undo it: mcap decompress {0} -o plain.mcap",
        .path.display()
    )]
    Compressed {
        /// The file.
        path: PathBuf,
        /// The compression, as the file names it.
        how: String,
    },
    /// The file ends before its end. Everything up to here was given.
    #[error("{}: cut off after byte {at}: what came before is good, the rest was never written or is lost", .path.display())]
    Cut {
        /// The file.
        path: PathBuf,
        /// Where the last whole thing ends.
        at: u64,
    },
    /// Bytes that contradict themselves. Everything before them was given.
    #[error("{}: damaged at byte {at}: {detail}; what came before is good", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        at: u64,
        /// What was expected and what was found.
        detail: String,
    },
    /// A payload of the user's own, which has no form outside of the program.
    #[error("a packet of the type `{type_name}` has no form in a record; record what is made from it instead")]
    Custom {
        /// The name of the type.
        type_name: &'static str,
    },
    /// A packet beyond what a record holds.
    #[error("expected a packet of at most {most} bytes, found {found}; record it in smaller ones")]
    TooLarge {
        /// The bytes of the packet.
        found: usize,
        /// The most that there may be.
        most: usize,
    },
    /// A port or a stream that the record does not have.
    #[error("the record has no {what} {number}")]
    Unknown {
        /// `port` or `stream`.
        what: &'static str,
        /// The number asked for.
        number: u64,
    },
    /// Ports that cannot be told apart, or too many of them.
    #[error("expected 1 to {most} ports with names of their own, found {found}")]
    Ports {
        /// The most that there may be.
        most: usize,
        /// The names given.
        found: String,
    },
}
