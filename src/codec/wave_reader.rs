//! Reading wav: RIFF/WAVE (Microsoft, *Multimedia Programming Interface and Data Specifications 1.0*, 1991, and
//! `WAVEFORMATEXTENSIBLE`) and its 64-bit form RF64 (EBU Tech 3306).
//!
//! Writers that cannot seek (ffmpeg, sox, arecord into a pipe) do not know the length when they write the header. They
//! put 0, 0xFFFFFFFF or some number near 2³¹ there; such a file is read to its end.

use std::io::{self, Read};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use super::audio::{Decode, seconds_of};
use super::input::{Input, Stream, read_full};
use super::{AudioSpec, CodecError, PcmDecoder, SampleFormat};
use crate::units::Rate;

/// Lengths from here on may be a placeholder: sox writes 0x7FFFF000, arecord 0x80000000, ffmpeg 0xFFFFFFFF.
const PLACEHOLDER_LENGTH: u64 = 0x7fff_f000;
/// No writer makes a longer `fmt ` or `ds64` chunk than this.
const MAX_HEADER_CHUNK: u64 = 64 * 1024;
const BLOCK_BYTES: usize = 32 * 1024;

/// Decodes the data chunk of a wav file.
pub(super) struct WaveReader {
    path: PathBuf,
    stream: Stream,
    spec: AudioSpec,
    pcm: PcmDecoder,
    /// Bytes of the data chunk still to come; `None` up to the end of the stream.
    remaining: Option<u64>,
    frames: u64,
    damaged: u64,
    block: Vec<u8>,
}

/// Why [`WaveReader::open`] gives no reader.
pub(super) enum WaveFault {
    /// The samples are compressed: the format tag and its name.
    Compressed(String),
    /// Anything else.
    Codec(CodecError),
}

impl From<CodecError> for WaveFault {
    fn from(error: CodecError) -> Self {
        WaveFault::Codec(error)
    }
}

/// The `fmt ` chunk, validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Format {
    sample: SampleFormat,
    channels: NonZeroU16,
    rate: Rate,
}

impl WaveReader {
    /// Reads the header, up to the first sample.
    pub(super) fn open(path: PathBuf, input: Input) -> Result<WaveReader, WaveFault> {
        let file_length = match &input {
            Input::File { length, .. } => Some(*length),
            Input::Stream(_) => None,
        };
        let mut chunks = Chunks { path: &path, stream: input.into_stream(), position: 0 };
        let mut riff = [0; 12];
        chunks.exact(&mut riff)?;
        let riff_length = u64::from(u32_at(&riff, 4));
        let (mut format, mut length_64) = (None, None);
        let data_length = loop {
            let mut head = [0; 8];
            chunks.exact(&mut head)?;
            let length = u64::from(u32_at(&head, 4));
            match &head[..4] {
                b"fmt " => format = Some(parse_format(&chunks.body(length)?).map_err(|fault| chunks.explain(fault))?),
                b"ds64" => {
                    let body = chunks.body(length)?;
                    length_64 = body.get(8..).and_then(<[u8]>::first_chunk).map(|bytes| u64::from_le_bytes(*bytes));
                }
                b"data" => break length,
                _ => chunks.skip(length)?,
            }
        };
        let Chunks { stream, position, .. } = chunks;
        let Some(Format { sample, channels, rate }) = format else {
            return Err(malformed(&path, "expected a fmt chunk before the data chunk, found none").into());
        };
        let declared = match length_64 {
            Some(length) if data_length == u64::from(u32::MAX) => length,
            _ => data_length,
        };
        let known = length_is_meant(declared, riff_length, position, file_length);
        let pcm = PcmDecoder::new(sample, channels);
        let bytes = if known { Some(declared) } else { file_length.map(|length| length.saturating_sub(position)) };
        Ok(WaveReader {
            path,
            stream,
            spec: AudioSpec {
                sample_rate: rate,
                channels: channels.get(),
                frames: bytes.map(|bytes| bytes / pcm.frame_bytes() as u64),
            },
            pcm,
            remaining: known.then_some(declared),
            frames: 0,
            damaged: 0,
            block: vec![0; BLOCK_BYTES],
        })
    }

    fn truncated(&self) -> CodecError {
        CodecError::Truncated {
            path: self.path.clone(),
            after: seconds_of(&self.spec, self.frames),
            expected: self.remaining.and(self.spec.frames).map(|frames| seconds_of(&self.spec, frames)),
        }
    }
}

impl Decode for WaveReader {
    fn spec(&self) -> AudioSpec {
        self.spec
    }

    fn read(&mut self, out: &mut Vec<f32>) -> Result<usize, CodecError> {
        loop {
            let wanted = self.remaining.map_or(BLOCK_BYTES, |bytes| bytes.min(BLOCK_BYTES as u64) as usize);
            if wanted == 0 {
                // A data chunk that ends inside a frame: its last frame is lost, the file is whole.
                self.damaged += u64::from(self.pcm.pending_bytes() > 0);
                return Ok(0);
            }
            let count = match self.stream.read(&mut self.block[..wanted]) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    return Err(CodecError::Read { path: self.path.clone(), source });
                }
            };
            if count == 0 {
                let whole = self.remaining.is_none() && self.pcm.pending_bytes() == 0;
                return if whole { Ok(0) } else { Err(self.truncated()) };
            }
            self.remaining = self.remaining.map(|bytes| bytes.saturating_sub(count as u64));
            let frames = self.pcm.decode(&self.block[..count], out);
            if frames > 0 {
                self.frames += frames as u64;
                return Ok(frames);
            }
        }
    }

    fn damaged(&self) -> u64 {
        self.damaged
    }
}

/// Whether the length in the header of the data chunk is the true one, rather than a placeholder.
fn length_is_meant(declared: u64, riff_length: u64, data_start: u64, file_length: Option<u64>) -> bool {
    match declared {
        // An empty data chunk is meant when the RIFF chunk counts other chunks behind it.
        0 => riff_length < PLACEHOLDER_LENGTH && riff_length.saturating_add(8) > data_start,
        PLACEHOLDER_LENGTH.. => {
            file_length.is_some_and(|length| data_start.checked_add(declared).is_some_and(|end| length >= end))
        }
        _ => true,
    }
}

enum FormatFault {
    Compressed(String),
    Malformed(String),
}

fn parse_format(body: &[u8]) -> Result<Format, FormatFault> {
    let fault = |detail: String| Err(FormatFault::Malformed(detail));
    if body.len() < 16 {
        return fault(format!("expected a fmt chunk of at least 16 bytes, found {}", body.len()));
    }
    let bits = u16_at(body, 14);
    let tag = match u16_at(body, 0) {
        // WAVEFORMATEXTENSIBLE: the tag is the start of the sub-format's GUID.
        0xfffe if body.len() >= 40 => u16_at(body, 24),
        0xfffe => {
            return fault(format!("expected an extensible fmt chunk of 40 bytes, found {}", body.len()));
        }
        tag => tag,
    };
    let Some(channels) = NonZeroU16::new(u16_at(body, 2)) else {
        return fault("expected at least one channel, found 0".to_owned());
    };
    let Ok(rate) = Rate::hz(u32_at(body, 4)) else {
        return fault("expected a sample rate, found 0 Hz".to_owned());
    };
    // A sample lies left-justified in a container of whole bytes, so 12 bit in 2 bytes scale like 16.
    let packed = usize::from(bits.div_ceil(8));
    let align = usize::from(u16_at(body, 12));
    let width = match align / usize::from(channels.get()) {
        width if width >= packed && align.is_multiple_of(usize::from(channels.get())) => width,
        _ => packed,
    };
    let sample = match (tag, width) {
        (1, 1) => SampleFormat::U8,
        (1, 2) => SampleFormat::S16le,
        (1, 3) => SampleFormat::S24le,
        (1, 4) => SampleFormat::S32le,
        (3, 4) => SampleFormat::F32le,
        (3, 8) => SampleFormat::F64le,
        (6, 1) => SampleFormat::Alaw,
        (7, 1) => SampleFormat::Mulaw,
        (1, _) => return fault(format!("expected integer samples of 1 to 32 bits, found {bits}")),
        (3, _) => return fault(format!("expected float samples of 32 or 64 bits, found {bits}")),
        (6 | 7, _) => return fault(format!("expected G.711 samples of 8 bits, found {bits}")),
        (tag, _) => {
            let name = match tag {
                0x02 => " (Microsoft ADPCM)",
                0x11 => " (IMA ADPCM)",
                0x31 => " (GSM 6.10)",
                0x50 => " (MPEG)",
                0x55 => " (mp3)",
                _ => "",
            };
            return Err(FormatFault::Compressed(format!("wav format {tag:#06x}{name}")));
        }
    };
    Ok(Format { sample, channels, rate })
}

/// The chunks of a RIFF file, one after the other.
struct Chunks<'a> {
    path: &'a PathBuf,
    stream: Stream,
    position: u64,
}

impl Chunks<'_> {
    fn exact(&mut self, buffer: &mut [u8]) -> Result<(), CodecError> {
        let count = read_full(&mut self.stream, buffer)
            .map_err(|source| CodecError::Read { path: self.path.clone(), source })?;
        self.position += count as u64;
        if count < buffer.len() {
            let detail = format!("expected a fmt and a data chunk, found the end after {} bytes", self.position);
            return Err(malformed(self.path, &detail));
        }
        Ok(())
    }

    /// The body of a chunk of the header, without its padding.
    fn body(&mut self, length: u64) -> Result<Vec<u8>, CodecError> {
        if length > MAX_HEADER_CHUNK {
            return Err(malformed(self.path, &format!("expected a short fmt chunk, found {length} bytes")));
        }
        let mut body = vec![0; length as usize];
        self.exact(&mut body)?;
        if length % 2 == 1 {
            self.exact(&mut [0])?;
        }
        Ok(body)
    }

    /// Steps over a chunk and the byte that pads it to an even length.
    fn skip(&mut self, length: u64) -> Result<(), CodecError> {
        let padded = length + length % 2;
        let skipped = io::copy(&mut (&mut self.stream).take(padded), &mut io::sink())
            .map_err(|source| CodecError::Read { path: self.path.clone(), source })?;
        self.position += skipped;
        Ok(())
    }

    fn explain(&self, fault: FormatFault) -> WaveFault {
        match fault {
            FormatFault::Compressed(codec) => WaveFault::Compressed(codec),
            FormatFault::Malformed(detail) => WaveFault::Codec(malformed(self.path, &detail)),
        }
    }
}

fn malformed(path: &Path, detail: &str) -> CodecError {
    CodecError::Malformed { path: path.to_owned(), format: "wav", detail: detail.to_owned() }
}

/// The little-endian number at `offset`; 0 beyond the end.
fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    bytes.get(offset..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u16::from_le_bytes(*bytes))
}

/// The little-endian number at `offset`; 0 beyond the end.
fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    bytes.get(offset..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::AudioReader;

    /// A `fmt ` chunk body.
    fn format(tag: u16, channels: u16, hz: u32, bits: u16) -> Vec<u8> {
        let align = channels.wrapping_mul(bits.div_ceil(8));
        let mut body = Vec::new();
        for half in [tag, channels] {
            body.extend_from_slice(&half.to_le_bytes());
        }
        for word in [hz, hz.wrapping_mul(u32::from(align))] {
            body.extend_from_slice(&word.to_le_bytes());
        }
        for half in [align, bits] {
            body.extend_from_slice(&half.to_le_bytes());
        }
        body
    }

    fn extensible(tag: u16, channels: u16, hz: u32, bits: u16) -> Vec<u8> {
        let mut body = format(0xfffe, channels, hz, bits);
        body.extend_from_slice(&[22, 0, bits as u8, 0, 0, 0, 0, 0]);
        body.extend_from_slice(&tag.to_le_bytes());
        body.extend_from_slice(b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71");
        body
    }

    fn chunk(id: &[u8; 4], length: u32, body: &[u8]) -> Vec<u8> {
        [&id[..], &length.to_le_bytes(), body].concat()
    }

    fn riff(length: u32, chunks: &[Vec<u8>]) -> Vec<u8> {
        [b"RIFF".to_vec(), length.to_le_bytes().to_vec(), b"WAVE".to_vec(), chunks.concat()].concat()
    }

    /// A whole file.
    fn wav(format: &[u8], data: &[u8]) -> Vec<u8> {
        let chunks = [chunk(b"fmt ", format.len() as u32, format), chunk(b"data", data.len() as u32, data)];
        riff(4 + chunks.concat().len() as u32, &chunks)
    }

    type Outcome = (AudioSpec, Vec<f32>, u64, Option<CodecError>);

    fn read(mut reader: AudioReader) -> Outcome {
        let mut samples = Vec::new();
        let error = loop {
            match reader.read(&mut samples) {
                Ok(0) => break None,
                Ok(_) => {}
                Err(error) => break Some(error),
            }
        };
        assert_eq!(reader.position() as usize * usize::from(reader.spec().channels), samples.len());
        assert_eq!(reader.read(&mut samples).unwrap(), 0, "an end is an end");
        (reader.spec(), samples, reader.damaged(), error)
    }

    /// The bytes as a stream that gives one byte at a time.
    fn stream(bytes: &[u8]) -> Result<Outcome, CodecError> {
        struct Drip(Vec<u8>);
        impl Read for Drip {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let count = self.0.len().min(buffer.len()).min(1);
                buffer[..count].copy_from_slice(&self.0[..count]);
                self.0.drain(..count);
                Ok(count)
            }
        }
        AudioReader::from_stream(Box::new(Drip(bytes.to_vec())), Some("wav")).map(read)
    }

    fn file(bytes: &[u8]) -> Result<Outcome, CodecError> {
        let file = tempfile::Builder::new().suffix(".wav").tempfile().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        AudioReader::open(file.path()).map(read)
    }

    #[test]
    fn every_width() {
        let half = [0.5f32.to_le_bytes(), (-0.5f32).to_le_bytes()].concat();
        let double = [0.5f64.to_le_bytes(), (-0.5f64).to_le_bytes()].concat();
        type Case<'a> = (&'a str, Vec<u8>, &'a [u8], [f32; 2]);
        let cases: &[Case] = &[
            ("8", format(1, 1, 8000, 8), &[0xc0, 0x40], [0.5, -0.5]),
            ("12 in 16", format(1, 1, 8000, 12), &[0x00, 0x40, 0x00, 0xc0], [0.5, -0.5]),
            ("16", format(1, 1, 8000, 16), &[0x00, 0x40, 0x00, 0xc0], [0.5, -0.5]),
            ("24", format(1, 1, 8000, 24), &[0, 0, 0x40, 0, 0, 0xc0], [0.5, -0.5]),
            ("32", format(1, 1, 8000, 32), &[0, 0, 0, 0x40, 0, 0, 0, 0xc0], [0.5, -0.5]),
            ("f32", format(3, 1, 8000, 32), &half, [0.5, -0.5]),
            ("f64", format(3, 1, 8000, 64), &double, [0.5, -0.5]),
            ("a-law", format(6, 1, 8000, 8), &[0xaa, 0x2a], [32_256.0 / 32_768.0, -32_256.0 / 32_768.0]),
            ("µ-law", format(7, 1, 8000, 8), &[0x80, 0x00], [32_124.0 / 32_768.0, -32_124.0 / 32_768.0]),
            ("extensible 16", extensible(1, 1, 8000, 16), &[0x00, 0x40, 0x00, 0xc0], [0.5, -0.5]),
            ("extensible f32", extensible(3, 1, 8000, 32), &half, [0.5, -0.5]),
        ];
        for (name, format, data, expected) in cases {
            for (spec, samples, damaged, error) in
                [file(&wav(format, data)).unwrap(), stream(&wav(format, data)).unwrap()]
            {
                assert_eq!(samples, expected, "{name}");
                assert_eq!((spec.frames, damaged), (Some(2), 0), "{name}");
                assert!(error.is_none(), "{name}");
            }
        }
    }

    #[test]
    fn eight_channels_at_192_khz() {
        let data: Vec<u8> = (0..8 * 4000u32).flat_map(|x| (x as i16).to_le_bytes()).collect();
        let (spec, samples, ..) = file(&wav(&extensible(1, 8, 192_000, 16), &data)).unwrap();
        assert_eq!((spec.to_string().as_str(), spec.frames), ("192000 Hz with 8 channels", Some(4000)));
        let expected: Vec<f32> = (0..8 * 4000u32).map(|x| f32::from(x as i16) / 32_768.0).collect();
        assert_eq!(samples, expected);
    }

    #[test]
    fn samples_that_are_no_numbers_pass() {
        let data = [f32::NAN.to_le_bytes(), f32::INFINITY.to_le_bytes()].concat();
        let (_, samples, damaged, _) = file(&wav(&format(3, 1, 8000, 32), &data)).unwrap();
        assert!(samples[0].is_nan());
        assert_eq!((samples[1], damaged), (f32::INFINITY, 0));
    }

    /// Lengths as pipes leave them: (RIFF, data, bytes behind the data header, frames read; frames in the spec of a
    /// file and of a stream).
    #[test]
    fn lengths_that_writers_could_not_know() {
        let header = chunk(b"fmt ", 16, &format(1, 1, 8000, 16));
        let sound = [0u8; 20];
        let note = chunk(b"LIST", 4, b"INFO");
        type Case<'a> = (&'a str, u32, u32, &'a [u8], usize, Option<u64>, Option<u64>);
        let cases: &[Case] = &[
            ("ffmpeg", u32::MAX, u32::MAX, &sound, 10, Some(10), None),
            ("sox", 0x7fff_f024, 0x7fff_f000, &sound, 10, Some(10), None),
            ("arecord", 0x8000_0024, 0x8000_0000, &sound, 10, Some(10), None),
            ("killed", 0, 0, &sound, 10, Some(10), None),
            ("killed, header counted", 36, 0, &sound, 10, Some(10), None),
            ("empty", 36, 0, &[], 0, Some(0), None),
            ("empty, others follow", 48, 0, &note, 0, Some(0), Some(0)),
            ("whole, others follow", 68, 20, &[&sound[..], &note].concat(), 10, Some(10), Some(10)),
        ];
        for (name, riff_length, data_length, rest, frames, in_file, in_stream) in cases {
            let bytes = riff(*riff_length, &[header.clone(), chunk(b"data", *data_length, rest)]);
            for (outcome, known) in [(file(&bytes), in_file), (stream(&bytes), in_stream)] {
                let (spec, samples, damaged, error) = outcome.unwrap();
                assert_eq!((samples.len(), spec.frames, damaged), (*frames, *known, 0), "{name}");
                assert!(error.is_none(), "{name}: {error:?}");
            }
        }
    }

    #[test]
    fn rf64_has_its_length_elsewhere() {
        let sizes = [0u64.to_le_bytes(), 4u64.to_le_bytes(), 2u64.to_le_bytes()].concat();
        let chunks = [
            chunk(b"ds64", 24, &sizes),
            chunk(b"fmt ", 16, &format(1, 1, 8000, 16)),
            chunk(b"data", u32::MAX, &[0, 0x40, 0, 0x40, 1, 1, 1, 1]),
        ];
        let mut bytes = riff(u32::MAX, &chunks);
        bytes[..4].copy_from_slice(b"RF64");
        let (spec, samples, ..) = stream(&bytes).unwrap();
        assert_eq!((spec.frames, samples), (Some(2), vec![0.5, 0.5]));
    }

    #[test]
    fn odd_chunks_are_padded() {
        let chunks = [
            chunk(b"junk", 3, &[1, 2, 3, 0]),
            chunk(b"fmt ", 17, &[format(1, 1, 8000, 16), vec![0, 0]].concat()),
            chunk(b"data", 2, &[0, 0x40]),
        ];
        assert_eq!(stream(&riff(0, &chunks)).unwrap().1, [0.5]);
    }

    #[test]
    fn what_is_cut_is_read_up_to_the_cut() {
        let whole = wav(&format(1, 2, 8000, 16), &[0; 32_000]);
        for (bytes, frames, message) in [
            (&whole[..44 + 16_000], 4000, "truncated after 0.500 s of 1.000 s;"),
            (&whole[..44 + 16_002], 4000, "truncated after 0.500 s of 1.000 s;"),
            (&whole[..44], 0, "truncated after 0.000 s of 1.000 s;"),
        ] {
            for (spec, samples, _, error) in [file(bytes).unwrap(), stream(bytes).unwrap()] {
                assert_eq!((samples.len(), spec.frames), (2 * frames, Some(8000)));
                let error = error.expect("a cut file ends with an error").to_string();
                assert!(error.contains(message), "{error}");
            }
        }
        // Of unknown length, and cut inside a frame.
        let bytes = riff(0, &[chunk(b"fmt ", 16, &format(1, 2, 8000, 16)), chunk(b"data", 0, &[0; 7])]);
        let (_, samples, _, error) = stream(&bytes).unwrap();
        assert_eq!(samples.len(), 2);
        assert!(matches!(error, Some(CodecError::Truncated { expected: None, .. })), "{error:?}");
        // A data chunk that ends inside a frame, in a whole file.
        let (_, samples, damaged, error) = file(&wav(&format(1, 2, 8000, 16), &[0; 6])).unwrap();
        assert_eq!((samples.len(), damaged, error.is_none()), (2, 1, true));
    }

    #[test]
    fn headers_that_make_no_sense() {
        let good = format(1, 1, 8000, 16);
        let cases: &[(Vec<u8>, &str)] = &[
            (riff(4, &[]), "expected a fmt and a data chunk, found the end after 12 bytes"),
            (b"RIFF\0\0\0\0WAVEfm".to_vec(), "expected a fmt and a data chunk, found the end after 14 bytes"),
            (riff(0, &[chunk(b"data", 2, &[0, 0])]), "expected a fmt chunk before the data chunk"),
            (riff(0, &[chunk(b"fmt ", 8, &good[..8])]), "a fmt chunk of at least 16 bytes, found 8"),
            (riff(0, &[chunk(b"fmt ", u32::MAX, &good)]), "expected a short fmt chunk, found 4294967295 bytes"),
            (riff(0, &[chunk(b"junk", u32::MAX, &good)]), "found the end after 36 bytes"),
            (wav(&format(1, 0, 8000, 16), &[0; 4]), "at least one channel, found 0"),
            (wav(&format(1, 1, 0, 16), &[0; 4]), "expected a sample rate, found 0 Hz"),
            (wav(&format(1, 1, 8000, 0), &[0; 4]), "integer samples of 1 to 32 bits, found 0"),
            (wav(&format(1, 1, 8000, 64), &[0; 8]), "integer samples of 1 to 32 bits, found 64"),
            (wav(&format(1, u16::MAX, u32::MAX, u16::MAX), &[0; 8]), "integer samples of 1 to 32 bits, found 65535"),
            (wav(&format(3, 1, 8000, 16), &[0; 4]), "float samples of 32 or 64 bits, found 16"),
            (wav(&format(7, 1, 8000, 16), &[0; 4]), "G.711 samples of 8 bits, found 16"),
            (wav(&format(0xfffe, 1, 8000, 16), &[0; 4]), "an extensible fmt chunk of 40 bytes, found 16"),
        ];
        for (bytes, expected) in cases {
            for result in [file(bytes), stream(bytes)] {
                let message = result.expect_err(expected).to_string();
                assert!(message.contains("damaged wav file: ") && message.contains(expected), "{message}");
            }
        }
    }

    #[test]
    fn compressed_samples_in_a_stream_are_refused() {
        let message = stream(&wav(&format(0x11, 1, 8000, 4), &[0; 64])).unwrap_err().to_string();
        assert!(message.contains("coded as wav format 0x0011 (IMA ADPCM)"), "{message}");
        assert!(message.contains("ffmpeg -i - out.wav"), "{message}");
    }
}
