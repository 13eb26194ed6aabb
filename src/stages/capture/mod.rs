//! Captures: where streams come from.
//!
//! | from | kind |
//! |---|---|
//! | files of sound, folders, globs | [`mod@file`] |
//! | pictures, folders of them, globs | [`images`] |
//! | records that percept has made | [`replay`] |
//! | another program, through a pipe | [`stdin`] |
//! | this program | [`push`] |
//! | a sound card | [`microphone`] (feature `microphone`) |
//!
//! All of them write one port: `audio`, [`images`] `image`, and [`push`] may write anything; [`replay`] writes the ports that
//! were recorded. None converts the sound it
//! brings: `mono` and `resample` do.

use crate::stage::Kind;

mod error;
mod feed;
mod find;
mod picture_feed;
mod pixels;
mod recorded_stream;
mod sound_feed;
#[cfg(test)]
mod trial;

pub mod file;
pub mod images;
#[cfg(feature = "microphone")]
pub mod microphone;
pub mod push;
pub mod replay;
pub mod stdin;

pub use error::CaptureError;

/// The name of the output port that carries sound.
const AUDIO: &str = "audio";
/// The name of the output port that carries pictures.
const IMAGE: &str = "image";

/// The kinds of this role.
pub const KINDS: &[Kind] = &[
    file::KIND,
    images::KIND,
    #[cfg(feature = "microphone")]
    microphone::KIND,
    push::KIND,
    replay::KIND,
    stdin::KIND,
];
