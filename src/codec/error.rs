//! What can go wrong with a file of sound or of subtitles, and what to do about it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::AudioSpec;
use crate::units::TimeSpan;

/// The formats that [`AudioReader`](super::AudioReader) reads, as messages name them.
pub const READABLE_FORMATS: &str = if cfg!(feature = "codecs") {
    "wav, flac, mp3, ogg/vorbis, m4a/aac, aiff, caf or mkv"
} else {
    "wav (this build has no feature `codecs`, which reads flac, mp3, ogg/vorbis and m4a/aac)"
};

/// A fault of reading or writing sound or subtitles.
///
/// `path` is the file as it was named by the caller; a stream without a file is called `-`, as on a command line.
/// After an error a reader gives no more samples, and whatever it gave before stays good.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CodecError {
    /// Nothing is at the path.
    #[error("{}: there is no such file; check the path (a relative one starts at the current folder)", .path.display())]
    Missing {
        /// The file asked for.
        path: PathBuf,
    },
    /// The path is a folder.
    #[error(
        "{0}: expected a file of sound, found a folder; name a file in it, or use a glob such as {0}/*.wav",
        .path.display()
    )]
    IsFolder {
        /// The folder.
        path: PathBuf,
    },
    /// Not one byte to read.
    #[error("{}: expected sound, found nothing (0 bytes); was the recording or the download interrupted?", .path.display())]
    Empty {
        /// The empty file.
        path: PathBuf,
    },
    /// The content is none of the known formats. The name's extension plays no part in this.
    #[error("{}: expected sound ({READABLE_FORMATS}), found {found}; check the path, or make a wav of it with ffmpeg", .path.display())]
    NotAudio {
        /// The file.
        path: PathBuf,
        /// What its first bytes look like.
        found: String,
    },
    /// The format is known, but the feature that reads it was left out of this build.
    #[error(
        "{0}: reading {format} needs the feature `codecs`, which this build leaves out; build with `--features codecs`, \
         or convert: ffmpeg -i {0} out.wav",
        .path.display()
    )]
    NeedsCodecs {
        /// The file.
        path: PathBuf,
        /// The format found, as in `flac`.
        format: &'static str,
    },
    /// The container is readable, the way its sound is coded is not.
    #[error("{0}: the sound is coded as {codec}, which cannot be decoded here; convert: ffmpeg -i {0} out.wav", .path.display())]
    UnsupportedCodec {
        /// The file.
        path: PathBuf,
        /// The codec's name, as in `opus`.
        codec: String,
    },
    /// A container with video, subtitles or nothing in it, but no sound.
    #[error("{}: the file has no audio track ({tracks} other tracks); name a file with sound", .path.display())]
    NoAudioTrack {
        /// The file.
        path: PathBuf,
        /// How many tracks of other kinds it has.
        tracks: usize,
    },
    /// The index of an mp4 file comes after its sound, so a pipe cannot be decoded as it arrives.
    #[error(
        "{}: this m4a/mp4 keeps its index at the end, so it cannot be read from a pipe; give it as a file, or move the \
         index: ffmpeg -i IN -c copy -movflags +faststart OUT.m4a",
        .path.display()
    )]
    NotStreamable {
        /// The stream.
        path: PathBuf,
    },
    /// The head of the file contradicts itself or its format; nothing was read.
    #[error("{}: damaged {format} file: {detail}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The format found.
        format: &'static str,
        /// What was expected and what was found.
        detail: String,
    },
    /// The file ends before it should. Everything up to here was delivered.
    #[error("{}: truncated after {after}{}", .path.display(), of_expected(.expected))]
    Truncated {
        /// The file.
        path: PathBuf,
        /// How much sound was read.
        after: TimeSpan,
        /// How much there should be, where the file says so.
        expected: Option<TimeSpan>,
    },
    /// Sample rate or channel count changes midway. Everything before the change was delivered.
    #[error(
        "{}: the sound changes from {from} to {to} after {after}; split the file there, or convert it to one format: \
         ffmpeg -i IN -ar RATE -ac CHANNELS out.wav",
        .path.display()
    )]
    FormatChanged {
        /// The file.
        path: PathBuf,
        /// How much sound was read before the change.
        after: TimeSpan,
        /// The format of the stream so far.
        from: AudioSpec,
        /// The format it changes to.
        to: AudioSpec,
    },
    /// The decoder cannot go on. Damaged packets that can be stepped over are counted instead
    /// (see [`AudioReader::damaged`](super::AudioReader::damaged)).
    #[error("{}: cannot be decoded beyond {after}: {detail}", .path.display())]
    Undecodable {
        /// The file.
        path: PathBuf,
        /// How much sound was read.
        after: TimeSpan,
        /// What the decoder says.
        detail: String,
    },
    /// The operating system refused to read.
    #[error("{}: cannot be read: {source}{}", .path.display(), reading_advice(.source))]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The operating system refused to create or write the file.
    #[error("{}: cannot be written: {source}{}", .path.display(), advice(.source))]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A format that a wav file cannot have.
    #[error("{}: a wav file cannot hold {channels} channels at {sample_rate}; it takes 1 to 65535 channels at a whole rate", .path.display())]
    UnwritableSpec {
        /// The file.
        path: PathBuf,
        /// The channels asked for.
        channels: u16,
        /// The rate asked for, as text.
        sample_rate: String,
    },
    /// A wav file holds at most 4 GiB. What was written before is complete and readable.
    #[error("{}: a wav file ends at 4 GiB, reached after {after}; start a new file", .path.display())]
    WavFull {
        /// The file.
        path: PathBuf,
        /// How much sound it holds.
        after: TimeSpan,
    },
    /// Samples that do not fill whole frames.
    #[error("{}: expected whole frames of {channels} channels, found {samples} samples", .path.display())]
    PartialFrame {
        /// The file.
        path: PathBuf,
        /// Channels in a frame.
        channels: u16,
        /// Samples given.
        samples: usize,
    },
    /// A cue could not be written.
    #[error("subtitle {cue} cannot be written: {source}{}", advice(.source))]
    Subtitle {
        /// The cue's number, from 1; 0 is the header.
        cue: u64,
        /// The writer's error.
        source: io::Error,
    },
}

fn of_expected(expected: &Option<TimeSpan>) -> String {
    match expected {
        Some(expected) => {
            format!(" of {expected}; what came before is good, copy or record the file again for the rest")
        }
        None => "; what came before is good, copy or record the file again for the rest".to_owned(),
    }
}

fn reading_advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; ask for the right to read it",
        _ => "",
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; create the folder first",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; change its permissions, or choose another folder"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free some space, or choose another folder",
        io::ErrorKind::BrokenPipe => "; the program that reads it has ended",
        io::ErrorKind::IsADirectory => "; it is a folder, name a file",
        _ => "",
    }
}
