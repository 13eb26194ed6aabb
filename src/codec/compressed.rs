//! Reading every format but plain wav: trims what is no sound, puts silence in damaged places, and tells a cut file
//! from a whole one.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::audio::{Decode, seconds_of};
use super::gapless::{self, Index};
use super::input::Input;
use super::packets::{Event, Fault, Packets, Shape};
use super::sniff::Content;
use super::{AudioSpec, CodecError};
use crate::units::Rate;

/// Frames of silence given at once.
const SILENCE_BLOCK: u64 = 4096;

/// Decodes the first audio track of a container.
pub(super) struct CompressedReader {
    path: PathBuf,
    packets: Packets,
    spec: AudioSpec,
    /// The frames of the decoded track that are its sound.
    sound: Range<u64>,
    /// Frames of the track so far: decoded, or replaced by silence.
    decoded: u64,
    /// Those of them that were given.
    given: u64,
    /// Damage that showed only at the end.
    damaged: u64,
    /// Blocks read ahead, in their order.
    queue: VecDeque<Event>,
    length_check: LengthCheck,
    longest_block: u64,
}

/// How to tell, at the end of the bytes, whether all of the sound was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LengthCheck {
    /// The container knows its end and reports a cut itself.
    Container,
    /// By the number of frames in the header; `exact` if not rounded to a packet.
    Frames { exact: bool },
    /// The same for mpeg audio, whose header is followed by packets without numbers.
    Mpeg { exact: bool, bytes_before: u64 },
}

impl CompressedReader {
    /// Finds the container, the track and the decoder, and decodes up to the first block: only it tells the true shape.
    pub(super) fn open(path: PathBuf, content: Content, input: Input) -> Result<CompressedReader, CodecError> {
        let fault = |source| CodecError::Read { path: path.clone(), source };
        let (format, mut seekable) = match &content {
            Content::Sound { name, seekable } => (*name, *seekable),
            Content::Mp4 => ("m4a/mp4", true),
            Content::Wave => ("wav", false),
            Content::Foreign(_) | Content::Unknown(_) => ("mp3", false),
        };
        let (head, input) = input.peek(10).map_err(fault)?;
        let (index, input) = match content {
            Content::Mp4 => match gapless::find_index(input).map_err(fault)? {
                (Index::Found { body, cut }, input) => {
                    // Within a box that ends behind the file no packet is found by seeking.
                    seekable &= !cut;
                    (Some(body), input)
                }
                (Index::BehindSound, _) => return Err(CodecError::NotStreamable { path }),
                (Index::Absent, _) => {
                    let detail =
                        "expected an index (moov box), found none; it comes last, so the file was cut off while \
                                  it was recorded or copied"
                            .to_owned();
                    return Err(CodecError::Malformed { path, format, detail });
                }
            },
            _ => (None, input),
        };
        let again = format == "ogg" && matches!(input, Input::File { .. });
        let opened = match Packets::open(input, seekable) {
            // The last page was looked for in vain: the file is cut, but may be read up to the cut.
            Err(Fault::Malformed(_)) if again => Packets::open(Input::open(&path)?, false),
            opened => opened,
        };
        let (mut packets, promise) = opened.map_err(|fault| match (fault, content) {
            (Fault::Malformed(_), Content::Unknown(found)) => CodecError::NotAudio { path: path.clone(), found },
            (fault, _) => explain(fault, &path, format, None),
        })?;
        let length_check = match format {
            "mp3" => LengthCheck::Mpeg { exact: promise.exact, bytes_before: id3_length(&head) },
            "ogg" | "m4a/mp4" => LengthCheck::Container,
            _ => LengthCheck::Frames { exact: true },
        };
        let mut queue = VecDeque::new();
        let (shape, mut spec) = prime(&mut packets, &mut queue, promise.shape, &path, format)?;
        spec.frames = promise.frames;
        let mut sound = 0..u64::MAX;
        if let Some(index) = index {
            let all = promise
                .frames
                .zip(promise.shape)
                .map_or(u64::MAX, |(frames, promised)| scale(frames, shape.rate, promised.rate));
            let fragmented = gapless::is_fragmented(&index);
            let said = gapless::sound_of(&index, promise.track, shape.rate).unwrap_or(0..u64::MAX);
            sound = if fragmented { said.start..u64::MAX } else { said.start..said.end.min(all) };
            spec.frames = (sound.end != u64::MAX).then(|| sound.end.saturating_sub(sound.start));
        }
        Ok(CompressedReader {
            path,
            packets,
            spec,
            sound,
            decoded: 0,
            given: 0,
            damaged: 0,
            queue,
            length_check,
            longest_block: 0,
        })
    }

    /// Appends the part of the next `frames` frames that is sound, and gives its length.
    fn place(&mut self, frames: u64, samples: Option<&[f32]>, out: &mut Vec<f32>) -> usize {
        let start = self.sound.start.saturating_sub(self.decoded).min(frames);
        let end = self.sound.end.saturating_sub(self.decoded).min(frames).max(start);
        let channels = usize::from(self.spec.channels);
        let (from, to) = (start as usize * channels, end as usize * channels);
        match samples {
            Some(samples) => out.extend_from_slice(samples.get(from..to).unwrap_or_default()),
            None => out.resize(out.len() + (to - from), 0.0),
        }
        self.decoded += frames;
        self.given += end - start;
        (end - start) as usize
    }

    /// At the end of the bytes: whether the sound is whole.
    fn finish(&mut self) -> Result<usize, CodecError> {
        if self.packets.damaged == 0 && !self.packets.verified() {
            self.damaged += 1;
        }
        let missing = self.spec.frames.map_or(0, |frames| frames.saturating_sub(self.given));
        let (exact, bytes_before) = match self.length_check {
            LengthCheck::Container => return Ok(0),
            LengthCheck::Frames { exact } => (exact, None),
            LengthCheck::Mpeg { exact, bytes_before } => (exact, Some(bytes_before)),
        };
        if missing == 0 || (!exact && missing <= self.longest_block) {
            return Ok(0);
        }
        if let Some(bytes_before) = bytes_before {
            // The bytes for all packets are there, or for more than half of the missing ones: they were damaged, not cut.
            let packet = (self.packets.good_bytes / self.packets.good_packets.max(1)).max(1);
            let block = self.longest_block.max(1);
            let lost = missing.div_ceil(block);
            // One more packet, of about the usual size, carried the header.
            let room = self.packets.bytes_read().saturating_sub(bytes_before + packet) / packet;
            if room + lost / 2 >= (self.given + missing) / block {
                self.damaged += lost;
                return Ok(0);
            }
        }
        Err(explain(Fault::CutOff, &self.path, "", Some((&self.spec, self.given))))
    }
}

impl Decode for CompressedReader {
    fn spec(&self) -> AudioSpec {
        self.spec
    }

    fn read(&mut self, out: &mut Vec<f32>) -> Result<usize, CodecError> {
        loop {
            let event = match self.queue.pop_front() {
                Some(event) => event,
                None => self
                    .packets
                    .next()
                    .map_err(|fault| explain(fault, &self.path, "", Some((&self.spec, self.given))))?,
            };
            let placed = match event {
                Event::Samples(samples) => {
                    let frames = (samples.len() / usize::from(self.spec.channels)) as u64;
                    self.longest_block = self.longest_block.max(frames);
                    self.place(frames, Some(&samples), out)
                }
                Event::Lost(frames) => {
                    let now = frames.min(SILENCE_BLOCK);
                    if frames > now {
                        self.queue.push_front(Event::Lost(frames - now));
                    }
                    self.place(now, None, out)
                }
                Event::End => return self.finish(),
            };
            if placed > 0 {
                return Ok(placed);
            }
        }
    }

    fn damaged(&self) -> u64 {
        self.damaged + self.packets.damaged
    }
}

/// Reads up to the first samples, so that the shape is known; a file without any has the shape it promised.
fn prime(
    packets: &mut Packets,
    queue: &mut VecDeque<Event>,
    promised: Option<Shape>,
    path: &Path,
    format: &'static str,
) -> Result<(Shape, AudioSpec), CodecError> {
    loop {
        let event = packets.next().map_err(|fault| explain(fault, path, format, None))?;
        let last = !matches!(event, Event::Lost(_));
        queue.push_back(event);
        if last {
            break;
        }
    }
    let malformed = |detail: String| CodecError::Malformed { path: path.to_owned(), format, detail };
    if packets.shape().is_none() && packets.damaged > 0 {
        return Err(malformed(format!("none of its packets can be decoded ({} damaged)", packets.damaged)));
    }
    let Some(shape) = packets.shape().or(promised).filter(|shape| shape.channels > 0) else {
        return Err(malformed("expected sound, found a header without rate and channels".to_owned()));
    };
    let spec = spec_of(shape).ok_or_else(|| malformed("expected a sample rate, found 0 Hz".to_owned()))?;
    Ok((shape, spec))
}

fn spec_of(shape: Shape) -> Option<AudioSpec> {
    let sample_rate = Rate::hz(shape.rate).ok()?;
    Some(AudioSpec { sample_rate, channels: shape.channels, frames: None })
}

fn scale(frames: u64, to: u32, from: u32) -> u64 {
    u64::try_from(u128::from(frames) * u128::from(to) / u128::from(from.max(1))).unwrap_or(u64::MAX)
}

/// The length of an ID3v2 tag (id3.org, *ID3 tag version 2.4.0*, 3.1) at the start of a file.
fn id3_length(head: &[u8]) -> u64 {
    let [b'I', b'D', b'3', _, _, flags, size @ ..] = head else {
        return 0;
    };
    let body = size.iter().take(4).fold(0, |sum, byte| sum << 7 | u64::from(byte & 0x7f));
    body + if flags & 0x10 != 0 { 20 } else { 10 }
}

/// A fault in the words of the caller; `given` is what was read before, when something could have been.
fn explain(fault: Fault, path: &Path, format: &'static str, given: Option<(&AudioSpec, u64)>) -> CodecError {
    let path = path.to_owned();
    let after = given.map(|(spec, frames)| seconds_of(spec, frames)).unwrap_or_default();
    match fault {
        Fault::CutOff => {
            let expected = given.and_then(|(spec, _)| Some(seconds_of(spec, spec.frames?)));
            CodecError::Truncated { path, after, expected }
        }
        Fault::Read(source) => CodecError::Read { path, source },
        Fault::Malformed(detail) => CodecError::Malformed { path, format, detail },
        Fault::NoTrack(tracks) => CodecError::NoAudioTrack { path, tracks },
        Fault::Codec(codec) => CodecError::UnsupportedCodec { path, codec },
        Fault::Undecodable(detail) => CodecError::Undecodable { path, after, detail },
        Fault::Changed(shape) => match given.and_then(|(spec, _)| Some((*spec, spec_of(shape)?))) {
            Some((from, to)) => CodecError::FormatChanged { path, after, from, to },
            None => CodecError::Undecodable { path, after, detail: "rate and channels change at once".to_owned() },
        },
    }
}
