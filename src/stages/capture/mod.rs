//! Captures: where streams come from.
//!
//! | from | kind |
//! |---|---|
//! | files, folders, globs | [`mod@file`] |
//! | another program, through a pipe | [`stdin`] |
//! | this program | [`push`] |
//! | a sound card | [`microphone`] (feature `microphone`) |
//!
//! All of them write one port, `audio` ([`push`] may write anything), and none converts what it brings: `mono` and
//! `resample` do.

use crate::stage::Kind;

mod error;
mod feed;
mod find;
mod sound_feed;
#[cfg(test)]
mod trial;

pub mod file;
#[cfg(feature = "microphone")]
pub mod microphone;
pub mod push;
pub mod stdin;

pub use error::CaptureError;

/// The name of the output port.
const AUDIO: &str = "audio";

/// The kinds of this role.
pub const KINDS: &[Kind] = &[
    file::KIND,
    #[cfg(feature = "microphone")]
    microphone::KIND,
    push::KIND,
    stdin::KIND,
];
