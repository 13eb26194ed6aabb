//! Samples without a header: what a pipe, a socket or a sound card carries.

use std::num::NonZeroU16;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a sample is stored. The names are those of ffmpeg's raw formats (`ffmpeg -f s16le`).
///
/// Integers map to −1 ≤ x < 1 by division by half their range (`s16le`: 32768); floats pass unchanged, NaN and values
/// beyond ±1 too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SampleFormat {
    /// Unsigned 8 bit, silence at 128.
    U8,
    /// Signed 8 bit.
    S8,
    /// Signed 16 bit, little endian: the usual one.
    S16le,
    /// Signed 16 bit, big endian (network order, RTP L16).
    S16be,
    /// Signed 24 bit in three bytes, little endian.
    S24le,
    /// Signed 24 bit in three bytes, big endian.
    S24be,
    /// Signed 32 bit, little endian.
    S32le,
    /// Signed 32 bit, big endian.
    S32be,
    /// IEEE 754 single precision, little endian.
    F32le,
    /// IEEE 754 single precision, big endian.
    F32be,
    /// IEEE 754 double precision, little endian; rounded to single precision.
    F64le,
    /// IEEE 754 double precision, big endian; rounded to single precision.
    F64be,
    /// G.711 µ-law, 8 bit: telephony in North America and Japan.
    Mulaw,
    /// G.711 A-law, 8 bit: telephony elsewhere.
    Alaw,
}

impl SampleFormat {
    /// Every format, in the order of their declaration.
    pub const ALL: [SampleFormat; 14] = [
        SampleFormat::U8,
        SampleFormat::S8,
        SampleFormat::S16le,
        SampleFormat::S16be,
        SampleFormat::S24le,
        SampleFormat::S24be,
        SampleFormat::S32le,
        SampleFormat::S32be,
        SampleFormat::F32le,
        SampleFormat::F32be,
        SampleFormat::F64le,
        SampleFormat::F64be,
        SampleFormat::Mulaw,
        SampleFormat::Alaw,
    ];

    /// Bytes a sample takes.
    pub const fn byte_width(self) -> usize {
        match self {
            SampleFormat::U8 | SampleFormat::S8 | SampleFormat::Mulaw | SampleFormat::Alaw => 1,
            SampleFormat::S16le | SampleFormat::S16be => 2,
            SampleFormat::S24le | SampleFormat::S24be => 3,
            SampleFormat::S32le | SampleFormat::S32be | SampleFormat::F32le | SampleFormat::F32be => 4,
            SampleFormat::F64le | SampleFormat::F64be => 8,
        }
    }

    /// Appends the samples in `bytes` to `out`. Bytes behind the last whole sample are left alone.
    fn append(self, bytes: &[u8], out: &mut Vec<f32>) {
        const S32: f64 = 2_147_483_648.0;
        match self {
            SampleFormat::U8 => each(bytes, out, |[b]: [u8; 1]| (f32::from(b) - 128.0) / 128.0),
            SampleFormat::S8 => each(bytes, out, |b| f32::from(i8::from_le_bytes(b)) / 128.0),
            SampleFormat::S16le => each(bytes, out, |b| f32::from(i16::from_le_bytes(b)) / 32_768.0),
            SampleFormat::S16be => each(bytes, out, |b| f32::from(i16::from_be_bytes(b)) / 32_768.0),
            // The three bytes become the upper ones of an i32, so that the sign is in place.
            SampleFormat::S24le => {
                each(bytes, out, |[a, b, c]: [u8; 3]| (f64::from(i32::from_le_bytes([0, a, b, c])) / S32) as f32);
            }
            SampleFormat::S24be => {
                each(bytes, out, |[a, b, c]: [u8; 3]| (f64::from(i32::from_be_bytes([a, b, c, 0])) / S32) as f32);
            }
            SampleFormat::S32le => each(bytes, out, |b| (f64::from(i32::from_le_bytes(b)) / S32) as f32),
            SampleFormat::S32be => each(bytes, out, |b| (f64::from(i32::from_be_bytes(b)) / S32) as f32),
            SampleFormat::F32le => each(bytes, out, f32::from_le_bytes),
            SampleFormat::F32be => each(bytes, out, f32::from_be_bytes),
            SampleFormat::F64le => each(bytes, out, |b| f64::from_le_bytes(b) as f32),
            SampleFormat::F64be => each(bytes, out, |b| f64::from_be_bytes(b) as f32),
            SampleFormat::Mulaw => each(bytes, out, |[b]: [u8; 1]| f32::from(mulaw(b)) / 32_768.0),
            SampleFormat::Alaw => each(bytes, out, |[b]: [u8; 1]| f32::from(alaw(b)) / 32_768.0),
        }
    }
}

fn each<const N: usize>(bytes: &[u8], out: &mut Vec<f32>, sample: impl Fn([u8; N]) -> f32) {
    let (samples, _) = bytes.as_chunks::<N>();
    out.extend(samples.iter().map(|bytes| sample(*bytes)));
}

/// ITU-T G.711, table 2: 14 bit, here left-justified in 16.
fn mulaw(code: u8) -> i16 {
    const BIAS: i16 = 0x84;
    let code = !code;
    let (segment, step) = ((code >> 4) & 7, i16::from(code & 0x0f));
    let magnitude = (((step << 3) + BIAS) << segment) - BIAS;
    if code & 0x80 != 0 { -magnitude } else { magnitude }
}

/// ITU-T G.711, table 1: 13 bit, here left-justified in 16.
fn alaw(code: u8) -> i16 {
    let code = code ^ 0x55;
    let (segment, step) = ((code >> 4) & 7, i16::from(code & 0x0f));
    let magnitude = match segment {
        0 => (step << 4) + 8,
        segment => ((step << 4) + 0x108) << (segment - 1),
    };
    if code & 0x80 != 0 { magnitude } else { -magnitude }
}

/// Turns bytes into samples, however the bytes are cut: a sample, or a frame of several channels, that is split over
/// two calls comes out whole with the second.
#[derive(Clone, Debug)]
pub struct PcmDecoder {
    format: SampleFormat,
    channels: NonZeroU16,
    /// The beginning of a frame; always shorter than one.
    rest: Vec<u8>,
}

impl PcmDecoder {
    /// A decoder of frames of `channels` samples each.
    pub fn new(format: SampleFormat, channels: NonZeroU16) -> Self {
        PcmDecoder { format, channels, rest: Vec::new() }
    }

    /// Bytes a frame takes: one sample of every channel.
    pub fn frame_bytes(&self) -> usize {
        self.format.byte_width() * usize::from(self.channels.get())
    }

    /// Appends the frames that are complete with `bytes` to `out`, interleaved, and returns how many there were.
    pub fn decode(&mut self, bytes: &[u8], out: &mut Vec<f32>) -> usize {
        let frame = self.frame_bytes();
        let mut bytes = bytes;
        let mut frames = 0;
        if !self.rest.is_empty() {
            let (head, tail) = bytes.split_at(bytes.len().min(frame - self.rest.len()));
            self.rest.extend_from_slice(head);
            bytes = tail;
            if self.rest.len() < frame {
                return 0;
            }
            self.format.append(&self.rest, out);
            self.rest.clear();
            frames = 1;
        }
        let (whole, rest) = bytes.split_at(bytes.len() - bytes.len() % frame);
        self.format.append(whole, out);
        self.rest.extend_from_slice(rest);
        frames + whole.len() / frame
    }

    /// Bytes that wait for the rest of their frame. Not 0 at the end of a stream: it was cut inside a frame, or its
    /// format or channel count is another one.
    pub fn pending_bytes(&self) -> usize {
        self.rest.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(format: SampleFormat, bytes: &[u8]) -> Vec<f32> {
        let mut out = Vec::new();
        PcmDecoder::new(format, NonZeroU16::MIN).decode(bytes, &mut out);
        out
    }

    #[test]
    fn sample_values() {
        let cases: &[(SampleFormat, &[u8], &[f32])] = &[
            (SampleFormat::U8, &[0, 128, 255], &[-1.0, 0.0, 127.0 / 128.0]),
            (SampleFormat::S8, &[0x80, 0, 0x7f], &[-1.0, 0.0, 127.0 / 128.0]),
            (SampleFormat::S16le, &[0x00, 0x80, 0xff, 0x7f], &[-1.0, 32_767.0 / 32_768.0]),
            (SampleFormat::S16be, &[0x80, 0x00, 0x40, 0x00], &[-1.0, 0.5]),
            (SampleFormat::S24le, &[0x00, 0x00, 0x80, 0x01, 0x00, 0x00], &[-1.0, 1.0 / 8_388_608.0]),
            (SampleFormat::S24be, &[0x80, 0x00, 0x00, 0xff, 0xff, 0xff], &[-1.0, -1.0 / 8_388_608.0]),
            (SampleFormat::S32le, &[0, 0, 0, 0x80, 0, 0, 0, 0x40], &[-1.0, 0.5]),
            (SampleFormat::S32be, &[0x80, 0, 0, 0, 0x40, 0, 0, 0], &[-1.0, 0.5]),
            (SampleFormat::F32le, &1.5f32.to_le_bytes(), &[1.5]),
            (SampleFormat::F32be, &(-0.25f32).to_be_bytes(), &[-0.25]),
            (SampleFormat::F64le, &0.125f64.to_le_bytes(), &[0.125]),
            (SampleFormat::F64be, &0.125f64.to_be_bytes(), &[0.125]),
            // The ends and the zeros of G.711, in 16 bit: ±32124, ±0 and ±32256, ±8.
            (SampleFormat::Mulaw, &[0x00, 0x80, 0x7f, 0xff], &[-32_124.0 / 32_768.0, 32_124.0 / 32_768.0, 0.0, 0.0]),
            (
                SampleFormat::Alaw,
                &[0x2a, 0xaa, 0x55, 0xd5],
                &[-32_256.0 / 32_768.0, 32_256.0 / 32_768.0, -8.0 / 32_768.0, 8.0 / 32_768.0],
            ),
        ];
        for (format, bytes, expected) in cases {
            assert_eq!(decode(*format, bytes), *expected, "{format:?}");
        }
        assert_eq!(cases.len(), SampleFormat::ALL.len());
    }

    #[test]
    fn floats_that_are_no_numbers_pass() {
        assert!(decode(SampleFormat::F32le, &f32::NAN.to_le_bytes())[0].is_nan());
        assert_eq!(decode(SampleFormat::F32le, &f32::INFINITY.to_le_bytes()), [f32::INFINITY]);
        assert_eq!(decode(SampleFormat::F64le, &1e300f64.to_le_bytes()), [f32::INFINITY]);
    }

    #[test]
    fn names_are_those_of_ffmpeg() {
        let names: Vec<String> =
            SampleFormat::ALL.iter().map(|format| serde_json::to_string(format).unwrap()).collect();
        assert_eq!(
            names.join(" ").replace('"', ""),
            "u8 s8 s16le s16be s24le s24be s32le s32be f32le f32be f64le f64be mulaw alaw"
        );
        assert!(serde_json::from_str::<SampleFormat>("\"s16\"").is_err());
    }

    #[test]
    fn a_stream_cut_inside_a_frame_says_so() {
        let mut decoder = PcmDecoder::new(SampleFormat::S16le, NonZeroU16::new(2).unwrap());
        let mut out = Vec::new();
        assert_eq!(decoder.decode(&[0; 7], &mut out), 1);
        assert_eq!((out.len(), decoder.pending_bytes()), (2, 3));
        assert_eq!(decoder.decode(&[0; 1], &mut out), 1);
        assert_eq!((out.len(), decoder.pending_bytes()), (4, 0));
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_samples(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            cuts in proptest::collection::vec(1usize..40, 1..20),
            format in proptest::sample::select(&SampleFormat::ALL[..]),
            channels in 1u16..9,
        ) {
            let channels = NonZeroU16::new(channels).unwrap();
            let bits = |samples: &[f32]| samples.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            let mut whole = (PcmDecoder::new(format, channels), Vec::new());
            let frames = whole.0.decode(&bytes, &mut whole.1);
            prop_assert_eq!(frames, bytes.len() / whole.0.frame_bytes());

            let mut parts = (PcmDecoder::new(format, channels), Vec::new());
            let (mut rest, mut sum) = (&bytes[..], 0);
            for cut in cuts.iter().cycle() {
                let (head, tail) = rest.split_at(rest.len().min(*cut));
                sum += parts.0.decode(head, &mut parts.1);
                rest = tail;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(sum, frames);
            prop_assert_eq!(bits(&parts.1), bits(&whole.1));
            prop_assert_eq!(parts.0.pending_bytes(), whole.0.pending_bytes());
        }
    }
}
