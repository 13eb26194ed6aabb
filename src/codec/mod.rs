//! Floor 3: reading and writing sound, pictures, video and records of packets, writing subtitles.
//!
//! | to | use |
//! |---|---|
//! | read a file, or a stream with a header (`ffmpeg … -f wav - \| percept …`) | [`AudioReader`] |
//! | read samples without a header | [`PcmDecoder`], a [`SampleFormat`] |
//! | write a wav file | [`WavWriter`] |
//! | write SRT or WebVTT | [`SubtitleWriter`] |
//! | read a picture, or the pictures of an animation | [`read_picture`], [`PictureFrames`] |
//! | write a picture | [`encode_picture`] |
//! | keep packets of any kind, and read them again | [`record`] |
//! | read a video, a camera, the sound of a video | [`VideoReader`], [`video_sound`] |
//! | write a video | [`VideoWriter`] |
//!
//! Samples are `f32`, interleaved, full scale −1 to 1. Nothing here resamples, mixes or repairs: samples that are NaN
//! or infinite in a file come out as they are.

mod audio;
#[cfg(feature = "codecs")]
mod compressed;
mod error;
#[cfg(feature = "codecs")]
mod gapless;
mod input;
#[cfg(feature = "codecs")]
mod packets;
mod pcm;
mod picture;
pub mod record;
mod sniff;
mod subtitle_layout;
mod subtitles;
mod video;
mod wav;
mod wave_reader;

pub use audio::{AudioReader, AudioSpec};
pub use error::{CodecError, READABLE_FORMATS};
pub use pcm::{PcmDecoder, SampleFormat};
pub use picture::{
    PictureError, PictureFormat, PictureFrame, PictureFrames, PictureLimits, decode_picture, encode_picture,
    read_picture,
};
pub use subtitles::{SubtitleFormat, SubtitleWriter};
pub use video::{
    Ffmpeg, Stopper, VideoDevice, VideoError, VideoFrame, VideoLimits, VideoOptions, VideoReader, VideoSpec,
    VideoWriter, video_sound,
};
pub use wav::{WavSampleFormat, WavWriter};
