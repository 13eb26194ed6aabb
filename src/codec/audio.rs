//! Reading files and streams of sound, whatever their format.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::CodecError;
use super::input::Input;
use super::sniff::{Content, SNIFF_BYTES};
use super::wave_reader::{WaveFault, WaveReader};
use crate::units::{Rate, TimeSpan};

/// What an [`AudioReader`] gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioSpec {
    /// Frames per second.
    pub sample_rate: Rate,
    /// Samples in a frame, at least 1.
    pub channels: u16,
    /// Frames that the file says it holds, where it does say so: good for progress and for the account of a run, but
    /// a truncated file holds fewer, and one with damaged parts may hold fewer or more.
    pub frames: Option<u64>,
}

impl fmt::Display for AudioSpec {
    /// `16000 Hz with 1 channel`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.channels == 1 { "" } else { "s" };
        write!(f, "{} with {} channel{plural}", self.sample_rate, self.channels)
    }
}

/// The time that `frames` last.
pub(super) fn seconds_of(spec: &AudioSpec, frames: u64) -> TimeSpan {
    spec.sample_rate.span(0, frames)
}

/// A decoder of one format.
pub(super) trait Decode: Send {
    /// See [`AudioReader::spec`].
    fn spec(&self) -> AudioSpec;
    /// See [`AudioReader::read`]; not called again after 0 or an error.
    fn read(&mut self, out: &mut Vec<f32>) -> Result<usize, CodecError>;
    /// See [`AudioReader::damaged`].
    fn damaged(&self) -> u64;
}

/// Reads sound block by block: wav always; flac, mp3, ogg/vorbis, m4a/aac, aiff, caf and mkv with the feature `codecs`.
///
/// The format is told from the content, never from the name. Samples are interleaved `f32`, full scale −1 to 1; lossless
/// formats come out exactly (up to the 24 bits of an `f32`), and what an encoder put before and behind the sound is
/// trimmed where the file tells how much (LAME tag, ogg granules, mp4 edit list, iTunes gapless tag).
///
/// ```no_run
/// use percept::codec::AudioReader;
///
/// let mut reader = AudioReader::open("speech.flac".as_ref())?;
/// let mut samples = Vec::new();
/// while reader.read(&mut samples)? > 0 {}
/// println!("{}, {} samples, {} damaged packets", reader.spec(), samples.len(), reader.damaged());
/// # Ok::<(), percept::codec::CodecError>(())
/// ```
pub struct AudioReader {
    decoder: Box<dyn Decode>,
    frames: u64,
    ended: bool,
}

impl fmt::Debug for AudioReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AudioReader")
            .field("spec", &self.spec())
            .field("position", &self.frames)
            .finish_non_exhaustive()
    }
}

impl AudioReader {
    /// Opens the file at `path` and reads its header.
    pub fn open(path: &Path) -> Result<AudioReader, CodecError> {
        Self::begin(path.to_owned(), Input::open(path)?)
    }

    /// Reads a stream that cannot seek, as standard input. Blocks until its header has arrived.
    ///
    /// `hint`, the extension of the format (`wav`), serves messages only. Errors call the stream `-`.
    pub fn from_stream(reader: Box<dyn Read + Send + Sync>, hint: Option<&str>) -> Result<AudioReader, CodecError> {
        Self::begin(PathBuf::from("-"), Input::Stream(reader)).map_err(|error| match (error, hint) {
            (CodecError::NotAudio { path, found }, Some(hint)) => {
                CodecError::NotAudio { path, found: format!("{found} where {hint} was announced") }
            }
            (error, _) => error,
        })
    }

    fn begin(path: PathBuf, input: Input) -> Result<AudioReader, CodecError> {
        let (head, input) =
            input.peek(SNIFF_BYTES).map_err(|source| CodecError::Read { path: path.clone(), source })?;
        if head.is_empty() {
            return Err(CodecError::Empty { path });
        }
        let decoder: Box<dyn Decode> = match Content::of(&head) {
            Content::Wave => {
                let again = matches!(input, Input::File { .. });
                match WaveReader::open(path.clone(), input) {
                    Ok(reader) => Box::new(reader),
                    Err(WaveFault::Codec(error)) => return Err(error),
                    // Compressed samples in a wav file: a file is read again from its start by another decoder.
                    Err(WaveFault::Compressed(_)) if again => {
                        let input = Input::open(&path)?;
                        compressed(path, Content::Wave, input)?
                    }
                    Err(WaveFault::Compressed(codec)) => return Err(CodecError::UnsupportedCodec { path, codec }),
                }
            }
            Content::Foreign(found) => return Err(CodecError::NotAudio { path, found }),
            content => compressed(path, content, input)?,
        };
        Ok(AudioReader { decoder, frames: 0, ended: false })
    }

    /// Rate, channels and, where the file says so, the number of frames.
    pub fn spec(&self) -> AudioSpec {
        self.decoder.spec()
    }

    /// Decodes the next block, appends its interleaved samples to `out`, and returns how many *frames* it has; 0 is the
    /// end, for good. A block has at most some 10,000 frames, and from a pipe it is what the pipe holds.
    ///
    /// A file that ends too early gives all that is readable, then [`CodecError::Truncated`]. Samples appended before
    /// an error stay valid, and after an error come no more.
    pub fn read(&mut self, out: &mut Vec<f32>) -> Result<usize, CodecError> {
        if self.ended {
            return Ok(0);
        }
        let result = self.decoder.read(out);
        match &result {
            Ok(0) | Err(_) => self.ended = true,
            Ok(frames) => self.frames += *frames as u64,
        }
        result
    }

    /// Frames given so far.
    pub fn position(&self) -> u64 {
        self.frames
    }

    /// Damaged places found so far. Where the file tells how long the lost part was, silence takes its place, so that
    /// the time of all that follows stays right. Ask again at the end: some damage shows only there.
    pub fn damaged(&self) -> u64 {
        self.decoder.damaged()
    }
}

#[cfg(feature = "codecs")]
fn compressed(path: PathBuf, content: Content, input: Input) -> Result<Box<dyn Decode>, CodecError> {
    Ok(Box::new(super::compressed::CompressedReader::open(path, content, input)?))
}

#[cfg(not(feature = "codecs"))]
fn compressed(path: PathBuf, content: Content, _: Input) -> Result<Box<dyn Decode>, CodecError> {
    Err(match content {
        Content::Sound { name, .. } => CodecError::NeedsCodecs { path, format: name },
        Content::Mp4 => CodecError::NeedsCodecs { path, format: "m4a/mp4" },
        Content::Wave => CodecError::NeedsCodecs { path, format: "compressed wav" },
        Content::Foreign(found) | Content::Unknown(found) => CodecError::NotAudio { path, found },
    })
}

#[cfg(test)]
mod tests;
