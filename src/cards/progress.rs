//! How a fetch tells what it is doing.

use std::fmt;

/// What a fetch is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Another process fetches the same; its end is awaited. There are no bytes to count.
    Waiting,
    /// Bytes come in.
    Downloading,
    /// Sums are computed.
    Checking,
    /// Members are taken out of an archive.
    Unpacking,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Waiting => "waiting for",
            Phase::Downloading => "downloading",
            Phase::Checking => "checking",
            Phase::Unpacking => "unpacking",
        })
    }
}

/// Hears how far a fetch is, about ten times a second and once at the end of each phase, on the thread that fetches.
pub trait Progress {
    /// `done` of `total` bytes of `what` (a file's name) are through this phase; `done` never exceeds `total`.
    fn update(&mut self, phase: Phase, what: &str, done: u64, total: u64);

    /// Whether to give up: asked about ten times a second. Default: never.
    fn cancelled(&mut self) -> bool {
        false
    }
}

/// Progress that nobody looks at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn update(&mut self, _: Phase, _: &str, _: u64, _: u64) {}
}
