//! Captures: where streams come from.
//!
//! | from | kind |
//! |---|---|
//! | files of sound, folders, globs | [`mod@file`] |
//! | pictures, folders of them, globs | [`images`] |
//! | records that percept has made | [`replay`] |
//! | videos, folders of them, globs, numbered pictures | [`video`] |
//! | a camera | [`camera`] |
//! | another program, through a pipe | [`stdin`] |
//! | this program | [`push`] |
//! | a sound card | [`microphone`] (feature `microphone`) |
//!
//! All of them write one port: `audio`, [`images`] `image`, [`video`] and [`camera`] `frames`, and [`push`] may write
//! anything; [`video`] may write `sound` too, and [`replay`] writes the ports that were recorded. None converts the sound it
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

pub mod camera;
pub mod file;
pub mod images;
#[cfg(feature = "microphone")]
pub mod microphone;
pub mod push;
pub mod replay;
pub mod stdin;
pub mod video;

pub use error::CaptureError;

/// The name of the output port that carries sound.
const AUDIO: &str = "audio";
/// The name of the output port that carries pictures.
const IMAGE: &str = "image";

/// The kinds of this role.
pub const KINDS: &[Kind] = &[
    camera::KIND,
    file::KIND,
    images::KIND,
    #[cfg(feature = "microphone")]
    microphone::KIND,
    push::KIND,
    replay::KIND,
    stdin::KIND,
    video::KIND,
];
