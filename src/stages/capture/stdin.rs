//! `stdin`: reads sound that another program pipes in.
//!
//! For whatever percept cannot read or record itself:
//!
//! ```text
//! ffmpeg -i talk.mp4 -f wav - | percept run pipeline.yaml
//! arecord -f S16_LE -r 16000 -c 1 -t raw | percept run pipeline.yaml --set stdin.live=true
//! ```
//!
//! A file with a header (wav, flac, mp3, ogg) is told from its first bytes; bare samples need `format: raw` and their
//! rate. The stream is called `stdin` and ends when the other program closes the pipe or ends; bytes at the end that make
//! no whole frame are told as an event and counted as damage.

use std::io::{self, Cursor, IsTerminal, Read};
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicBool, Ordering};

use schemars::JsonSchema;
use serde::Deserialize;

use super::AUDIO;
use super::error::CaptureError;
use super::feed::{Cutting, Feed, Samples};
use super::sound_feed::{Manner, SoundFeed};
use crate::codec::{AudioReader, AudioSpec, CodecError, PcmDecoder, SampleFormat};
use crate::config::{Fault, Faults};
use crate::dsp::MAX_SAMPLE_RATE_HZ;
use crate::media::Format;
use crate::stage::{
    Blueprint, BoxFuture, Capture, CaptureContext, Contract, ContractFault, Kind, ReadContext, Resolve, Role, Runnable,
    Source, StageError,
};
use crate::units::Rate;

/// The name of the stream.
const NAME: &str = "stdin";
/// Bytes asked for at a time.
const READ_BYTES: usize = 16 * 1024;

/// What comes through the pipe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StdinFormat {
    /// A file with a header, told from its first bytes: wav, flac, mp3, ogg and others that need no seeking.
    #[default]
    Auto,
    /// A wav file; anything else is refused.
    Wav,
    /// Bare samples, described by `sample_format`, `sample_rate_hz` and `channels`.
    Raw,
}

/// Settings of `stdin`: → `audio`, one stream.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Stdin {
    /// What comes through the pipe. Default: `auto`.
    #[serde(default)]
    pub format: StdinFormat,
    /// How a bare sample is stored, for `format: raw`. Default: `s16le`.
    pub sample_format: Option<SampleFormat>,
    /// Frames per second of bare samples, 1 to 768000. Must be set for `format: raw`, and only for it.
    #[schemars(range(min = 1, max = MAX_SAMPLE_RATE_HZ))]
    pub sample_rate_hz: Option<u32>,
    /// Samples in a frame of bare samples, 1 to 64. Only for `format: raw`. Default: 1.
    #[schemars(range(min = 1, max = 64))]
    pub channels: Option<u16>,
    /// Whether the sound is recorded while it comes, so that decoders may watch the clock. Default: false.
    #[serde(default)]
    pub live: bool,
    /// The length of a packet in milliseconds, 1 to 60000. Sound waits until a packet of it is whole. Default: 100, or 20
    /// with `live: true`.
    #[schemars(range(min = 1, max = 60_000))]
    pub packet_ms: Option<u32>,
}

const EXAMPLE: &str = "\
percept: 1
name: piped
stages:
  - capture: stdin
    format: raw
    sample_format: s16le
    sample_rate_hz: 16000
  - sink: jsonl
    path: \"-\"
";

/// The registry's entry.
pub const KIND: Kind = Kind::resolved::<Stdin>("stdin", Role::Capture, "sound that another program pipes in", EXAMPLE);

/// Bare samples as they are stored.
#[derive(Clone, Copy, Debug)]
struct RawSpec {
    format: SampleFormat,
    rate: Rate,
    channels: NonZeroU16,
}

/// What is read and how, without contradictions.
#[derive(Clone, Copy, Debug)]
enum Content {
    File { only_wav: bool },
    Raw(RawSpec),
}

impl Stdin {
    /// A file with a header.
    pub fn file() -> Self {
        Stdin {
            format: StdinFormat::Auto,
            sample_format: None,
            sample_rate_hz: None,
            channels: None,
            live: false,
            packet_ms: None,
        }
    }

    /// Bare samples.
    pub fn raw(sample_format: SampleFormat, sample_rate_hz: u32, channels: u16) -> Self {
        Stdin {
            format: StdinFormat::Raw,
            sample_format: Some(sample_format),
            sample_rate_hz: Some(sample_rate_hz),
            channels: Some(channels),
            ..Stdin::file()
        }
    }

    /// What to read, or the key at fault and what is wrong with it.
    fn content(&self) -> Result<Content, (&'static str, &'static str)> {
        if self.format != StdinFormat::Raw {
            for (key, set) in [
                ("sample_format", self.sample_format.is_some()),
                ("sample_rate_hz", self.sample_rate_hz.is_some()),
                ("channels", self.channels.is_some()),
            ] {
                if set {
                    return Err((
                        key,
                        "is for bare samples only; set `format: raw`, or remove it: a file's header says it",
                    ));
                }
            }
            return Ok(Content::File { only_wav: self.format == StdinFormat::Wav });
        }
        let Some(rate) = self.sample_rate_hz else {
            return Err((
                "sample_rate_hz",
                "is missing: bare samples do not tell their rate; set it, such as to 16000",
            ));
        };
        let rate = Rate::hz(rate).map_err(|_| ("sample_rate_hz", "must be 1 or more"))?;
        let channels = NonZeroU16::new(self.channels.unwrap_or(1)).ok_or(("channels", "must be 1 or more"))?;
        Ok(Content::Raw(RawSpec { format: self.sample_format.unwrap_or(SampleFormat::S16le), rate, channels }))
    }

    fn cutting(&self) -> Cutting {
        Cutting { packet_ms: self.packet_ms.unwrap_or(if self.live { 20 } else { 100 }), gather_ms: 0 }
    }

    /// A capture of whatever `input` gives when it is opened.
    fn capture(
        &self,
        input: impl FnOnce() -> Result<Bytes, CaptureError> + Send + 'static,
    ) -> Result<Piped, StageError> {
        let content = self
            .content()
            .map_err(|(key, problem)| StageError::fatal(CaptureError::Config { key, problem: problem.into() }))?;
        let open = Box::new(move || open(content, input()?));
        Ok(Piped { open: Some(open), opening: None, cutting: self.cutting(), live: self.live })
    }
}

impl Resolve for Stdin {
    fn resolve(self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        if let Err((key, problem)) = self.content() {
            let fault = Fault::error("invalid-value", format!("`{key}` {problem}")).path(key);
            let place = context.node.get(key).or_else(|| context.node.get("format")).unwrap_or(context.node);
            return Err(fault.at_node(place, context.source).into());
        }
        Ok(Box::new(self))
    }
}

impl Blueprint for Stdin {
    fn contract(&self) -> Contract {
        Contract::new().output(AUDIO)
    }

    fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(vec![match self.content() {
            Ok(Content::Raw(raw)) => Format::audio(Some(raw.rate), Some(raw.channels.get())),
            _ => Format::ANY_AUDIO,
        }])
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::capture(self.capture(|| {
            if io::stdin().is_terminal() {
                return Err(CaptureError::StdinIsTerminal);
            }
            if TAKEN.swap(true, Ordering::AcqRel) {
                return Err(CaptureError::StdinTaken);
            }
            Ok(Box::new(OnlyReader))
        })?))
    }
}

/// Whether somebody reads the process's standard input.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Standard input while nobody else reads it.
struct OnlyReader;

impl Read for OnlyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        io::stdin().read(buffer)
    }
}

impl Drop for OnlyReader {
    fn drop(&mut self) {
        TAKEN.store(false, Ordering::Release);
    }
}

type Bytes = Box<dyn Read + Send + Sync>;

fn open(content: Content, input: Bytes) -> Result<Box<dyn Samples>, CaptureError> {
    let mut input = UntilBroken(input);
    match content {
        Content::Raw(spec) => {
            let decoder = PcmDecoder::new(spec.format, spec.channels);
            Ok(Box::new(RawSamples { spec, decoder, input, buffer: vec![0; READ_BYTES] }))
        }
        Content::File { only_wav: false } => Ok(Box::new(AudioReader::from_stream(Box::new(input), None)?)),
        Content::File { only_wav: true } => {
            let mut head = Vec::new();
            (&mut input).take(12).read_to_end(&mut head).map_err(read_error)?;
            let wav = (head.starts_with(b"RIFF") || head.starts_with(b"RF64")) && head.ends_with(b"WAVE");
            if !wav && !head.is_empty() {
                let found = format!("\"{}\"", head.escape_ascii());
                return Err(CaptureError::NotWav { found });
            }
            let whole = Cursor::new(head).chain(input);
            Ok(Box::new(AudioReader::from_stream(Box::new(whole), Some("wav"))?))
        }
    }
}

fn read_error(source: io::Error) -> CodecError {
    CodecError::Read { path: "-".into(), source }
}

impl Samples for Box<dyn Samples> {
    fn spec(&self) -> AudioSpec {
        (**self).spec()
    }

    fn read(&mut self, out: &mut Vec<f32>) -> Result<usize, CodecError> {
        (**self).read(out)
    }

    fn damaged(&self) -> u64 {
        (**self).damaged()
    }

    fn leftover_bytes(&self) -> usize {
        (**self).leftover_bytes()
    }
}

/// A reader that ends where its writer went away.
struct UntilBroken(Bytes);

impl Read for UntilBroken {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer) {
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => Ok(0),
            result => result,
        }
    }
}

struct RawSamples {
    spec: RawSpec,
    decoder: PcmDecoder,
    input: UntilBroken,
    buffer: Vec<u8>,
}

impl Samples for RawSamples {
    fn spec(&self) -> AudioSpec {
        AudioSpec { sample_rate: self.spec.rate, channels: self.spec.channels.get(), frames: None }
    }

    fn read(&mut self, out: &mut Vec<f32>) -> Result<usize, CodecError> {
        loop {
            let count = match self.input.read(&mut self.buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(read_error(error)),
            };
            let frames = self.decoder.decode(self.buffer.get(..count).unwrap_or_default(), out);
            if count == 0 || frames > 0 {
                return Ok(frames);
            }
        }
    }

    fn leftover_bytes(&self) -> usize {
        self.decoder.pending_bytes()
    }
}

type Open = Box<dyn FnOnce() -> Result<Box<dyn Samples>, CaptureError> + Send>;

/// The capture: one stream.
struct Piped {
    /// Taken when it is opened.
    open: Option<Open>,
    /// Kept over a call that was dropped.
    opening: Option<Feed>,
    cutting: Cutting,
    live: bool,
}

impl Piped {
    async fn next(&mut self, context: &CaptureContext) -> Result<Option<Box<dyn Source>>, StageError> {
        if let Some(open) = self.open.take() {
            self.opening = Some(Feed::start(NAME, self.cutting, open).map_err(CaptureError::ends_stream)?);
        }
        let Some(feed) = &mut self.opening else { return Ok(None) };
        let opened = feed.opened().await;
        let Some(feed) = self.opening.take() else { return Ok(None) };
        let spec = opened.map_err(CaptureError::ends_stream)?;
        let manner = Manner {
            name: NAME.into(),
            cutting: self.cutting,
            live: self.live,
            pace: None,
            wall: self.live.then(|| context.clock.wall()),
            file: None,
            once: true,
            notice: None,
        };
        Ok(Some(Box::new(SoundFeed::new(manner, feed, spec))))
    }
}

impl Capture for Piped {
    fn next_stream<'a>(
        &'a mut self,
        context: &'a CaptureContext,
    ) -> BoxFuture<'a, Result<Option<Box<dyn Source>>, StageError>> {
        Box::pin(self.next(context))
    }
}

#[cfg(test)]
mod tests;
