//! Why a capture, or one of its streams, cannot go on.

use std::io;
use std::sync::Arc;

use thiserror::Error;

use crate::codec::record::RecordError;
use crate::codec::{CodecError, PictureError, VideoError};
use crate::media::ImageError;
use crate::stage::StageError;

/// Why a capture, or one of its streams, cannot go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// A file or a stream cannot be read.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A picture cannot be read.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// A record cannot be read, or not to its end.
    #[error(transparent)]
    Record(#[from] Arc<RecordError>),
    /// A stream that failed when it was recorded fails again.
    #[error("{name}: it failed here when it was recorded, so it ends here")]
    FailedThen {
        /// The stream.
        name: String,
    },
    /// A video, or a camera, cannot be read.
    #[error(transparent)]
    Video(#[from] VideoError),
    /// A camera that gives no picture.
    #[error(
        "the camera {name} does not answer; is it in use by another program? Plug it in again, or name another one"
    )]
    CameraSilent {
        /// The device.
        name: String,
    },
    /// An animation of no frames.
    #[error("{name}: expected at least one picture in the file, found an animation without any; make it again")]
    NoPicture {
        /// The stream.
        name: String,
    },
    /// Pixels that make no picture.
    #[error("{name}: {source}")]
    Pixels {
        /// The stream.
        name: String,
        /// What is wrong with them.
        source: ImageError,
    },
    /// The system gave no thread to read with.
    #[error(
        "{name}: no thread could be started to read it: {source}; close other programs, or read fewer files at a time (`concurrent`)"
    )]
    Thread {
        /// The stream.
        name: String,
        /// The system's word.
        source: io::Error,
    },
    /// The decoder panicked.
    #[error(
        "{name}: its decoder panicked; report this with the file, and convert the file to another format meanwhile"
    )]
    DecoderPanicked {
        /// The stream.
        name: String,
    },
    /// The configuration makes no sense; check says so before.
    #[error("{key}: {problem}")]
    Config {
        /// The key at fault.
        key: &'static str,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// Standard input is a keyboard.
    #[error("standard input is a terminal; pipe sound into it: ffmpeg -i talk.mp4 -f wav - | percept run PIPELINE")]
    StdinIsTerminal,
    /// Two captures of this process want to read standard input.
    #[error("standard input is already read by another capture of this process; only one can")]
    StdinTaken,
    /// A stream on standard input that is not what `format` says.
    #[error(
        "standard input: expected wav, found {found}; set `format: auto` for other files, `format: raw` for bare samples"
    )]
    NotWav {
        /// Its first bytes.
        found: String,
    },
    /// The capture of a program that pushes was built a second time.
    #[error("a `push` capture runs once: build a new pipeline for a new run")]
    PushRunsOnce,
    /// No microphone could be opened.
    #[cfg(feature = "microphone")]
    #[error(transparent)]
    Device(#[from] super::microphone::DeviceError),
}

impl CaptureError {
    /// The end of the stream at fault.
    pub(super) fn ends_stream(self) -> StageError {
        StageError::end_stream(self)
    }
}
