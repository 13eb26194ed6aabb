//! Writing wav files.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::CodecError;
use crate::units::Rate;

/// How samples are stored in a wav file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WavSampleFormat {
    /// 16-bit integers: every program reads them. Samples beyond ±1 are clipped, NaN becomes 0.
    #[default]
    S16,
    /// 32-bit floats: exactly the samples given, NaN too.
    F32,
}

/// A wav file holds its length in 32 bits; hound's longest header takes 68 bytes of it.
const MAX_DATA_BYTES: u64 = u32::MAX as u64 - 68;

/// Writes a wav file while its sound is still coming in.
///
/// The header is brought up to date about once per second of sound, so a file whose writer was killed is readable up to
/// the last of these moments (and beyond, by readers that distrust the header's length). Dropping a writer finishes the
/// file too, but only [`finalize`](WavWriter::finalize) reports whether that worked.
pub struct WavWriter {
    path: PathBuf,
    writer: hound::WavWriter<BufWriter<File>>,
    format: WavSampleFormat,
    rate: Rate,
    channels: u16,
    frames: u64,
    frames_in_header: u64,
}

impl std::fmt::Debug for WavWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WavWriter").field("path", &self.path).field("frames", &self.frames).finish_non_exhaustive()
    }
}

impl WavWriter {
    /// Creates the file, or empties the one that is there, and writes its header.
    ///
    /// Fails with [`CodecError::UnwritableSpec`] for no channels, too many of them, or a rate that is no whole number.
    pub fn create(path: &Path, rate: Rate, channels: u16, format: WavSampleFormat) -> Result<WavWriter, CodecError> {
        let (bits_per_sample, sample_format) = match format {
            WavSampleFormat::S16 => (16, hound::SampleFormat::Int),
            WavSampleFormat::F32 => (32, hound::SampleFormat::Float),
        };
        let hz = rate.as_hz();
        let frame_bytes = u32::from(channels) * u32::from(bits_per_sample / 8);
        // The header has 16 bits for the bytes of a frame and 32 for those of a second.
        let fits = channels > 0
            && hz.fract() == 0.0
            && frame_bytes <= u32::from(u16::MAX)
            && hz * f64::from(frame_bytes) <= f64::from(u32::MAX);
        if !fits {
            return Err(CodecError::UnwritableSpec { path: path.to_owned(), channels, sample_rate: rate.to_string() });
        }
        let spec = hound::WavSpec { channels, sample_rate: hz as u32, bits_per_sample, sample_format };
        let mut writer = hound::WavWriter::create(path, spec).map_err(|error| write_fault(path, error))?;
        writer.flush().map_err(|error| write_fault(path, error))?;
        Ok(WavWriter { path: path.to_owned(), writer, format, rate, channels, frames: 0, frames_in_header: 0 })
    }

    /// Appends interleaved samples, whole frames of them.
    pub fn write(&mut self, samples: &[f32]) -> Result<(), CodecError> {
        let channels = usize::from(self.channels);
        if !samples.len().is_multiple_of(channels) {
            return Err(CodecError::PartialFrame {
                path: self.path.clone(),
                channels: self.channels,
                samples: samples.len(),
            });
        }
        let frames = self.frames + (samples.len() / channels) as u64;
        let sample_bytes = match self.format {
            WavSampleFormat::S16 => 2,
            WavSampleFormat::F32 => 4,
        };
        if frames.saturating_mul(channels as u64 * sample_bytes) > MAX_DATA_BYTES {
            return Err(CodecError::WavFull { path: self.path.clone(), after: self.rate.span(0, self.frames) });
        }
        for sample in samples {
            match self.format {
                WavSampleFormat::S16 => self.writer.write_sample(to_s16(*sample)),
                WavSampleFormat::F32 => self.writer.write_sample(*sample),
            }
            .map_err(|error| write_fault(&self.path, error))?;
        }
        self.frames = frames;
        if (self.frames - self.frames_in_header) as f64 >= self.rate.as_hz() {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes everything out and brings the header up to date.
    pub fn flush(&mut self) -> Result<(), CodecError> {
        self.writer.flush().map_err(|error| write_fault(&self.path, error))?;
        self.frames_in_header = self.frames;
        Ok(())
    }

    /// Frames written so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Completes the file and gives the number of its frames.
    pub fn finalize(self) -> Result<u64, CodecError> {
        let WavWriter { path, writer, frames, .. } = self;
        writer.finalize().map_err(|error| write_fault(&path, error))?;
        Ok(frames)
    }
}

/// The nearest of the 65,536 steps; the inverse of dividing by 32,768.
fn to_s16(sample: f32) -> i16 {
    (sample * 32_768.0).round() as i16
}

fn write_fault(path: &Path, error: hound::Error) -> CodecError {
    let source = match error {
        hound::Error::IoError(source) => source,
        other => std::io::Error::other(other),
    };
    CodecError::Write { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::AudioReader;

    fn rate(hz: u32) -> Rate {
        Rate::hz(hz).unwrap()
    }

    fn read(path: &Path) -> Vec<f32> {
        let (mut reader, mut samples) = (AudioReader::open(path).unwrap(), Vec::new());
        while reader.read(&mut samples).unwrap() > 0 {}
        samples
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            samples in proptest::collection::vec(any::<i16>(), 0..200),
            cut in 0usize..50,
            channels in 1u16..4,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let whole = samples.len() - samples.len() % usize::from(channels);
            let samples: Vec<f32> = samples[..whole].iter().map(|x| f32::from(*x) / 32_768.0).collect();
            for format in [WavSampleFormat::S16, WavSampleFormat::F32] {
                let path = folder.path().join("a.wav");
                let mut writer = WavWriter::create(&path, rate(48_000), channels, format).unwrap();
                let (head, tail) = samples.split_at((cut * usize::from(channels)).min(whole));
                writer.write(head).unwrap();
                writer.write(tail).unwrap();
                prop_assert_eq!(writer.finalize().unwrap(), (whole / usize::from(channels)) as u64);
                prop_assert_eq!(&read(&path), &samples);
            }
        }
    }

    #[test]
    fn sixteen_bits_clip_and_silence_nan() {
        for (sample, expected) in [
            (0.0, 0),
            (1.0, 32_767),
            (2.5, 32_767),
            (-1.0, -32_768),
            (f32::NEG_INFINITY, -32_768),
            (f32::NAN, 0),
            (0.49 / 32_768.0, 0),
            (0.51 / 32_768.0, 1),
        ] {
            assert_eq!(to_s16(sample), expected, "{sample}");
        }
    }

    #[test]
    fn floats_pass_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wav");
        let mut writer = WavWriter::create(&path, rate(16_000), 1, WavSampleFormat::F32).unwrap();
        writer.write(&[f32::NAN, f32::INFINITY, 7.5]).unwrap();
        writer.finalize().unwrap();
        let samples = read(&path);
        assert!(samples[0].is_nan());
        assert_eq!(samples[1..], [f32::INFINITY, 7.5]);
    }

    #[test]
    fn a_killed_writer_leaves_a_readable_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wav");
        let mut writer = WavWriter::create(&path, rate(8000), 1, WavSampleFormat::S16).unwrap();
        for _ in 0..25 {
            writer.write(&[0.25; 1000]).unwrap();
        }
        // Killed: neither finalized nor dropped.
        let copy = folder.path().join("b.wav");
        std::fs::copy(&path, &copy).unwrap();
        assert_eq!(read(&copy), [0.25; 24_000]);
        writer.finalize().unwrap();
        assert_eq!(read(&path), [0.25; 25_000]);
    }

    #[test]
    fn faults_and_their_messages() {
        let folder = tempfile::tempdir().unwrap();
        let create = |name: &str, rate, channels| {
            WavWriter::create(&folder.path().join(name), rate, channels, WavSampleFormat::S16)
        };
        let half = Rate::new(1, 2).unwrap();
        for (result, expected) in [
            (create("a.wav", rate(16_000), 0), "0 channels at 16000 Hz"),
            (create("a.wav", half, 1), "1 channels at 1/2 Hz"),
            (create("a.wav", rate(16_000), 40_000), "40000 channels"),
            (create("a.wav", rate(u32::MAX), 2), "4294967295 Hz"),
            (create("no/such/a.wav", rate(16_000), 1), "create the folder first"),
            (create(".", rate(16_000), 1), "it is a folder"),
        ] {
            let message = result.unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
            assert!(message.starts_with(folder.path().to_str().unwrap()), "{message}");
        }
        let mut writer = create("b.wav", rate(16_000), 2).unwrap();
        let message = writer.write(&[0.0; 3]).unwrap_err().to_string();
        assert!(message.ends_with("expected whole frames of 2 channels, found 3 samples"), "{message}");
    }

    #[test]
    fn four_gigabytes_are_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer =
            WavWriter::create(&folder.path().join("a.wav"), rate(16_000), 1, WavSampleFormat::F32).unwrap();
        writer.frames = MAX_DATA_BYTES / 4 - 1;
        writer.frames_in_header = writer.frames;
        writer.write(&[0.0]).unwrap();
        assert!(matches!(writer.write(&[0.0]), Err(CodecError::WavFull { .. })));
    }

    /// `/dev/full` answers every write with "no space left on device".
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_says_so() {
        let result = WavWriter::create(Path::new("/dev/full"), rate(16_000), 1, WavSampleFormat::S16);
        let message = result.unwrap_err().to_string();
        assert!(message.contains("free some space"), "{message}");
    }
}
