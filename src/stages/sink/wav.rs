//! `wav`: writes sound to wav files. For keeping what was heard, and for listening to what a stage upstream makes of it.
//!
//! With `{index}` in the path each packet becomes a file of its own (behind `endpoint`: each utterance), numbered from 0
//! in each stream, as the utterances of transcripts are. Without it a stream becomes one file, packet behind packet:
//! time that no packet covers leaves no silence. Partial results and empty packets are left out.
//!
//! A file holds one sample rate and number of channels, and at most 4 GiB. A stream that changes, outgrows its file, or
//! opens anew goes on in another, `NAME-2.wav`. The header is brought up to date about once a second, so the file of a
//! program that was killed is readable.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use schemars::JsonSchema;
use serde::Deserialize;

use super::claims::Claims;
use super::output_file::make_folders;
use super::path::{self, INDEX, STREAM};
use super::{SinkError, is_partial};
use crate::codec::{CodecError, WavSampleFormat, WavWriter};
use crate::config::{Fault, Faults};
use crate::media::{Audio, Format, StreamInfo};
use crate::stage::{
    Blueprint, Contract, ContractFault, Input, Kind, Opened, Output, ReadContext, Resolve, Role, Runnable, Stage,
    StageError,
};
use crate::units::Rate;

/// Settings of `wav`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Wav {
    /// The file. `{stream}` is the stream's name; with `{index}` each packet has a file of its own, numbered with at
    /// least four digits: `"{stream}-{index}.wav"`.
    pub path: String,
    /// How samples are stored: `s16`, which clips at ±1, or `f32`, which keeps them as they are. Default: `s16`.
    #[serde(default)]
    pub format: WavSampleFormat,
    #[serde(skip)]
    base: PathBuf,
    #[serde(skip)]
    files: Claims<Numbering>,
}

impl Wav {
    /// 16-bit files at `path`.
    pub fn new(path: impl Into<String>) -> Self {
        Wav { path: path.into(), format: WavSampleFormat::S16, base: PathBuf::new(), files: Claims::default() }
    }
}

impl Resolve for Wav {
    fn resolve(mut self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        path::check(context, &self.path, &[STREAM, INDEX])?;
        self.base = context.settings.base_dir.clone();
        Ok(Box::new(self))
    }
}

impl Blueprint for Wav {
    fn contract(&self) -> Contract {
        let path = self.base.join(&self.path);
        // A packet waits for the disk as long as it takes.
        Contract::new().input("in", Format::ANY_AUDIO).deadline(None).writes(path.display().to_string())
    }

    fn outputs(&self, inputs: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        match inputs.first() {
            Some(Format::Audio { sample_rate: Some(rate), .. }) if rate.as_hz().fract() != 0.0 => {
                Err(vec![ContractFault {
                    port: "in".into(),
                    expected: "a whole number of samples per second, as a wav file needs".into(),
                    found: rate.to_string(),
                    help: Some("insert `- preprocess: resample` with `sample_rate_hz: 16000` before it".into()),
                }])
            }
            _ => Ok(Vec::new()),
        }
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(WavStage(self.clone())))
    }

    fn probe(&self) -> Vec<Fault> {
        path::probe(&self.base, &self.path)
    }
}

/// An example.
pub const EXAMPLE: &str = "\
percept: 1
name: recorder
stages:
  - capture: microphone
  - sink: wav
    path: \"{stream}.wav\"
";

/// The registry's entry.
pub const KIND: Kind = Kind::resolved::<Wav>(
    "wav",
    Role::Sink,
    "writes sound to wav files: one for each stream, or one for each utterance",
    EXAMPLE,
);

/// The files of one stream.
struct Numbering {
    /// Their path, without the index where it has one.
    path: PathBuf,
    /// The index of the next one.
    next: u64,
}

impl Numbering {
    fn new(path: &Path) -> Self {
        Numbering { path: path.to_owned(), next: 0 }
    }
}

struct WavStage(Wav);

/// What a stream writes.
enum Writing {
    /// A file for each packet.
    Numbered(Arc<Mutex<Numbering>>),
    /// A file for all packets, once there is one.
    Whole { stream: StreamInfo, file: Option<Box<WholeFile>> },
}

struct WholeFile {
    writer: WavWriter,
    rate: Rate,
    channels: u16,
}

impl WavStage {
    /// A file for sound like this that nobody has written before in this pipeline.
    fn begin(&self, stream: &StreamInfo, rate: Rate, channels: u16) -> Result<Box<WholeFile>, SinkError> {
        let Wav { path, base, files, format } = &self.0;
        let mut writer = None;
        files.fresh(&path::for_stream(base, path, stream), stream, |path| {
            writer = Some(create(path, rate, channels, *format)?);
            Ok::<_, SinkError>(Numbering::new(path))
        })?;
        let writer = writer.expect("what was claimed was made");
        Ok(Box::new(WholeFile { writer, rate, channels }))
    }

    fn append(&self, stream: &StreamInfo, file: &mut Option<Box<WholeFile>>, audio: &Audio) -> Result<(), SinkError> {
        let (rate, channels) = (audio.rate(), audio.channels());
        let fits = |file: &WholeFile| file.rate == rate && file.channels == channels;
        let current = match file.take() {
            Some(current) if fits(&current) => current,
            other => {
                finish(other)?;
                self.begin(stream, rate, channels)?
            }
        };
        let current = file.insert(current);
        match current.writer.write(audio.samples()) {
            Err(CodecError::WavFull { .. }) => {
                finish(file.take())?;
                let next = file.insert(self.begin(stream, rate, channels)?);
                Ok(next.writer.write(audio.samples())?)
            }
            result => Ok(result?),
        }
    }
}

fn create(path: &Path, rate: Rate, channels: u16, format: WavSampleFormat) -> Result<WavWriter, SinkError> {
    make_folders(path)?;
    Ok(WavWriter::create(path, rate, channels, format)?)
}

fn finish(file: Option<Box<WholeFile>>) -> Result<(), SinkError> {
    file.map_or(Ok(0), |file| file.writer.finalize())?;
    Ok(())
}

impl Stage for WavStage {
    type State = Writing;

    fn open(&mut self, stream: &StreamInfo, inputs: &[Format]) -> Result<Opened<Writing>, StageError> {
        let Wav { path, base, files, .. } = &self.0;
        let state = if path.contains(INDEX) {
            let path = path::for_stream(base, path, stream);
            Writing::Numbered(files.own(&path, stream, |path| Ok::<_, SinkError>(Numbering::new(path)))?)
        } else {
            // A stream without any sound has a file too.
            let file = match inputs.first() {
                Some(Format::Audio { sample_rate: Some(rate), channels: Some(channels) }) => {
                    Some(self.begin(stream, *rate, *channels)?)
                }
                _ => None,
            };
            Writing::Whole { stream: stream.clone(), file }
        };
        Ok(Opened { state, outputs: Vec::new() })
    }

    fn process(&mut self, state: &mut Writing, input: Input, _: &mut Output) -> Result<(), StageError> {
        let audio = input.packet.payload.audio()?;
        if is_partial(&input.packet) || audio.frames() == 0 {
            return Ok(());
        }
        match state {
            Writing::Whole { stream, file } => self.append(stream, file, audio)?,
            Writing::Numbered(numbering) => {
                let mut numbering = numbering.lock().unwrap_or_else(PoisonError::into_inner);
                let path = path::with_index(&numbering.path, numbering.next);
                numbering.next += 1;
                let mut writer = create(&path, audio.rate(), audio.channels(), self.0.format)?;
                writer.write(audio.samples()).and_then(|()| writer.finalize()).map_err(SinkError::from)?;
            }
        }
        Ok(())
    }

    fn flush(&mut self, state: &mut Writing, _: &mut Output) -> Result<(), StageError> {
        match state {
            Writing::Whole { file, .. } => Ok(finish(file.take())?),
            Writing::Numbered(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::codec::AudioReader;
    use crate::media::Packet;
    use crate::stage::Solo;
    use crate::stages::sink::kit::{packet, stream};
    use crate::tensor::Tensor;

    fn rate(hz: u32) -> Rate {
        Rate::hz(hz).unwrap()
    }

    fn sound(samples: &[f32]) -> Packet {
        packet(0, 1, Audio::mono(samples.to_vec(), rate(8000)))
    }

    fn partial(samples: &[f32]) -> Packet {
        let mut packet = sound(samples);
        packet.flags.partial = true;
        packet
    }

    fn open(config: &Wav, info: &StreamInfo) -> Solo {
        Solo::open(config, info.clone(), vec![Format::audio(Some(rate(8000)), Some(1))]).unwrap()
    }

    fn config(folder: &Path, path: &str) -> Wav {
        Wav::new(folder.join(path).to_str().unwrap())
    }

    fn read(path: &Path) -> Vec<f32> {
        let (mut reader, mut samples) = (AudioReader::open(path).unwrap(), Vec::new());
        while reader.read(&mut samples).unwrap() > 0 {}
        samples
    }

    /// The files of a folder with their samples.
    fn files(folder: &Path) -> Vec<(String, Vec<f32>)> {
        let mut files: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), read(&entry.path())))
            .collect();
        files.sort_by(|a, b| a.0.cmp(&b.0));
        files
    }

    fn named(files: &[(&str, &[f32])]) -> Vec<(String, Vec<f32>)> {
        files.iter().map(|(name, samples)| (name.to_string(), samples.to_vec())).collect()
    }

    #[test]
    fn a_file_for_a_stream_or_for_a_packet() {
        for (path, expected) in [
            ("{stream}.wav", vec![("a.wav", &[0.25, 0.5, -0.5][..])]),
            ("{stream}-{index}.wav", vec![("a-0000.wav", &[0.25][..]), ("a-0001.wav", &[0.5, -0.5][..])]),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let mut solo = open(&config(folder.path(), path), &stream(0, "a"));
            for packet in [partial(&[0.75]), sound(&[0.25]), sound(&[]), sound(&[0.5, -0.5]), partial(&[0.75])] {
                assert!(solo.push(0, packet).unwrap().is_empty());
            }
            solo.flush().unwrap();
            assert_eq!(files(folder.path()), named(&expected));
        }
    }

    #[test]
    fn any_cutting_gives_the_same_file() {
        let samples: Vec<f32> = (0..20_000i16).map(|i| f32::from(i) / 32_768.0).collect();
        for cut in [1, 7, 8000, 20_000] {
            let folder = tempfile::tempdir().unwrap();
            let mut solo = open(&config(folder.path(), "a.wav"), &stream(0, "a"));
            for chunk in samples.chunks(cut) {
                solo.push(0, sound(chunk)).unwrap();
            }
            solo.flush().unwrap();
            assert_eq!(files(folder.path()), named(&[("a.wav", &samples)]), "chunks of {cut}");
        }
    }

    #[test]
    fn another_format_goes_on_in_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut solo = open(&config(folder.path(), "a.wav"), &stream(0, "a"));
        solo.push(0, sound(&[0.5])).unwrap();
        let stereo = Audio::new(vec![0.25f32, -0.25], 2, rate(8000)).unwrap();
        solo.push(0, packet(0, 1, stereo)).unwrap();
        solo.flush().unwrap();
        assert_eq!(files(folder.path()), named(&[("a-2.wav", &[0.25, -0.25]), ("a.wav", &[0.5])]));
    }

    #[test]
    fn a_stream_that_opens_anew_overwrites_nothing() {
        for (path, expected) in [
            ("{stream}.wav", vec![("a-2.wav", &[0.5][..]), ("a.wav", &[0.25][..])]),
            ("{stream}-{index}.wav", vec![("a-0000.wav", &[0.25][..]), ("a-0001.wav", &[0.5][..])]),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let (config, info) = (config(folder.path(), path), stream(0, "a"));
            for samples in [[0.25], [0.5]] {
                let mut solo = open(&config, &info);
                solo.push(0, sound(&samples)).unwrap();
                solo.flush().unwrap();
            }
            assert_eq!(files(folder.path()), named(&expected));
        }
        // Another stream of the same name.
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), "{stream}-{index}.wav");
        for number in 0..2 {
            open(&config, &stream(number, "a")).push(0, sound(&[0.5])).unwrap();
        }
        assert_eq!(files(folder.path()), named(&[("a-0000-2.wav", &[0.5]), ("a-0000.wav", &[0.5])]));
    }

    #[test]
    fn floats_are_kept_and_a_stream_without_sound_has_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let config = Wav { format: WavSampleFormat::F32, ..config(folder.path(), "deep/{stream}.wav") };
        let mut loud = open(&config, &stream(0, "loud"));
        loud.push(0, sound(&[7.5, f32::INFINITY])).unwrap();
        loud.flush().unwrap();
        open(&config, &stream(1, "none")).flush().unwrap();
        assert_eq!(
            files(&folder.path().join("deep")),
            named(&[("loud.wav", &[7.5, f32::INFINITY]), ("none.wav", &[])])
        );
    }

    #[test]
    fn a_packet_of_another_type_is_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let mut solo = open(&config(folder.path(), "a.wav"), &stream(0, "a"));
        let error = solo.push(0, packet(0, 1, Tensor::scalar(1.0f32))).unwrap_err();
        assert!(matches!(&error, StageError::Skip(_)), "{error:?}");
    }

    #[test]
    fn a_rate_that_no_wav_file_has_is_a_fault() {
        let ntsc = Rate::new(30_000, 1001).unwrap();
        let faults = Wav::new("a.wav").outputs(&[Format::audio(Some(ntsc), None)]).unwrap_err();
        assert_eq!(faults[0].found, "30000/1001 Hz");
        for format in [Format::Any, Format::ANY_AUDIO, Format::audio(Some(rate(44_100)), Some(8))] {
            assert_eq!(Wav::new("a.wav").outputs(&[format]), Ok(vec![]));
        }
    }

    #[test]
    fn what_cannot_be_written_ends_the_stream() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let mut cases = vec![(config(folder.path(), "file/{stream}.wav"), "its folder cannot be made")];
        if cfg!(target_os = "linux") {
            cases.push((Wav::new("/dev/full"), "/dev/full: cannot be written (free some space"));
        }
        for (config, expected) in cases {
            let inputs = vec![Format::audio(Some(rate(8000)), Some(1))];
            let error = Solo::open(&config, stream(0, "a"), inputs).err().unwrap();
            assert!(error.to_string().contains(expected), "{error}");
        }
        let numbered = config(folder.path(), "file/{index}.wav");
        let error = open(&numbered, &stream(0, "a")).push(0, sound(&[0.5])).unwrap_err();
        assert!(matches!(&error, StageError::EndStream(_)), "{error:?}");
    }
}
