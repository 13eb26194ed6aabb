//! `subtitles`: writes transcripts as SRT or WebVTT files. For players, browsers and video editors.
//!
//! Each final transcript becomes a cue as soon as it comes (a long one becomes several), so the file is whole at any
//! moment. Lines are broken at 42 columns, two a cue; cues never overlap. Partial results are left out.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use schemars::JsonSchema;
use serde::Deserialize;

use super::claims::Claims;
use super::output_file::OutputFile;
use super::path::{self, STREAM};
use super::{SinkError, is_partial};
use crate::codec::{CodecError, SubtitleFormat, SubtitleWriter};
use crate::config::{Fault, Faults};
use crate::media::{Format, StreamInfo};
use crate::stage::{
    Blueprint, Contract, ContractFault, Input, Kind, Opened, Output, ReadContext, Resolve, Role, Runnable, Stage,
    StageError,
};

/// Settings of `subtitles`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Subtitles {
    /// The file. With several streams it holds `{stream}`, so that each has its own: `"{stream}.srt"`.
    pub path: String,
    /// The format. Default: what the path's extension says, `.srt` or `.vtt`.
    #[serde(default)]
    pub format: Option<SubtitleFormat>,
    #[serde(skip)]
    base: PathBuf,
    #[serde(skip)]
    files: Claims<Subtitled>,
}

impl Subtitles {
    /// Subtitles in the file `path`, in the format that its extension says.
    pub fn new(path: impl Into<String>) -> Self {
        Subtitles { path: path.into(), format: None, base: PathBuf::new(), files: Claims::default() }
    }

    /// The format asked for, or else the extension's.
    fn known_format(&self) -> Option<SubtitleFormat> {
        let extension = Path::new(&self.path).extension().and_then(|extension| extension.to_str());
        self.format.or_else(|| SubtitleFormat::from_extension(extension?))
    }
}

impl Resolve for Subtitles {
    fn resolve(mut self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        path::check(context, &self.path, &[STREAM])?;
        if self.known_format().is_none() {
            let fault = context.fault("path", "unknown-format", "the path does not say which format of subtitles");
            let help = "change the extension, or set `format: srt` or `format: vtt`";
            return Err(fault.expected("a path that ends with .srt or .vtt").found(&self.path).help(help).into());
        }
        self.base = context.settings.base_dir.clone();
        Ok(Box::new(self))
    }
}

impl Blueprint for Subtitles {
    fn contract(&self) -> Contract {
        let path = self.base.join(&self.path);
        // A cue waits for the disk as long as it takes.
        Contract::new().input("in", Format::Transcript).deadline(None).writes(path.display().to_string())
    }

    fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(Vec::new())
    }

    fn build(&self) -> Result<Runnable, StageError> {
        let unknown =
            || StageError::fatal(format!("{}: expected a path that ends with .srt or .vtt, or a `format`", self.path));
        let format = self.known_format().ok_or_else(unknown)?;
        Ok(Runnable::stage(SubtitlesStage { config: self.clone(), format }))
    }

    fn probe(&self) -> Vec<Fault> {
        path::probe(&self.base, &self.path)
    }
}

/// An example.
pub const EXAMPLE: &str = "\
percept: 1
name: captions
stages:
  - capture: microphone
  - preprocess: resample
    sample_rate_hz: 16000
  - model: silero-vad
    id: vad
  - decoder: endpoint
    from: {voice: vad, audio: resample}
  - model: moonshine-tiny
  - decoder: transcript
  - sink: subtitles
    path: \"{stream}.srt\"
";

/// The registry's entry.
pub const KIND: Kind = Kind::resolved::<Subtitles>(
    "subtitles",
    Role::Sink,
    "writes final transcripts as subtitles, SRT or WebVTT, a file for each stream",
    EXAMPLE,
);

/// A file of subtitles, and its handle.
struct Subtitled {
    writer: SubtitleWriter<OutputFile>,
    file: OutputFile,
}

impl Subtitled {
    fn create(path: &Path, format: SubtitleFormat) -> Result<Self, SinkError> {
        let file = OutputFile::create(path)?;
        let writer = SubtitleWriter::new(file.clone(), format).map_err(|error| named(path, error))?;
        Ok(Subtitled { writer, file })
    }
}

/// An error of the writer, with the file's path.
fn named(path: &Path, error: CodecError) -> SinkError {
    match error {
        CodecError::Subtitle { source, .. } => SinkError::Write { path: path.to_owned(), source },
        other => SinkError::Write { path: path.to_owned(), source: io::Error::other(other) },
    }
}

struct SubtitlesStage {
    config: Subtitles,
    format: SubtitleFormat,
}

/// A stream that writes its file.
struct Writing(Arc<Mutex<Subtitled>>);

impl Writing {
    fn lock(&self) -> MutexGuard<'_, Subtitled> {
        // A panic inside a cue leaves its number behind at worst.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.lock().file.close();
    }
}

impl Stage for SubtitlesStage {
    type State = Writing;

    fn open(&mut self, stream: &StreamInfo, _: &[Format]) -> Result<Opened<Writing>, StageError> {
        let Subtitles { path, base, files, .. } = &self.config;
        let path = path::for_stream(base, path, stream);
        let file = files.own(&path, stream, |path| Subtitled::create(path, self.format))?;
        Ok(Opened { state: Writing(file), outputs: Vec::new() })
    }

    fn process(&mut self, state: &mut Writing, input: Input, _: &mut Output) -> Result<(), StageError> {
        let packet = &input.packet;
        let transcript = packet.payload.transcript()?;
        if is_partial(packet) {
            return Ok(());
        }
        let mut subtitled = state.lock();
        let Subtitled { writer, file } = &mut *subtitled;
        writer.cue(packet.start, packet.end(), &transcript.text).map_err(|error| named(file.path(), error))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::{Source, parse};
    use crate::stage::{Settings, Solo};
    use crate::stages::sink::kit::{packet, stream, transcript};
    use crate::tensor::Tensor;

    fn open(config: &Subtitles, info: &StreamInfo) -> Solo {
        Solo::open(config, info.clone(), vec![Format::Transcript]).unwrap()
    }

    fn config(folder: &Path, path: &str) -> Subtitles {
        Subtitles::new(folder.join(path).to_str().unwrap())
    }

    #[test]
    fn final_transcripts_become_cues_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let vtt = Some(SubtitleFormat::Vtt);
        for (path, format, expected) in [
            ("a.srt", None, "1\n00:00:00,500 --> 00:00:01,250\nOne.\n\n2\n00:00:02,000 --> 00:00:03,000\nTwo.\n\n"),
            (
                "a.VTT",
                None,
                "WEBVTT\n\n1\n00:00:00.500 --> 00:00:01.250\nOne.\n\n2\n00:00:02.000 --> 00:00:03.000\nTwo.\n\n",
            ),
            (
                "a.txt",
                vtt,
                "WEBVTT\n\n1\n00:00:00.500 --> 00:00:01.250\nOne.\n\n2\n00:00:02.000 --> 00:00:03.000\nTwo.\n\n",
            ),
        ] {
            let config = Subtitles { format, ..config(folder.path(), path) };
            let mut solo = open(&config, &stream(0, "a"));
            for packet in [
                transcript(500, 900, "On", false),
                transcript(500, 1250, "One.", true),
                transcript(1300, 1400, "", true),
                transcript(2000, 3000, "Two.", true),
            ] {
                assert!(solo.push(0, packet).unwrap().is_empty());
            }
            assert_eq!(fs::read_to_string(folder.path().join(path)).unwrap(), expected);
        }
    }

    #[test]
    fn a_stream_that_opens_anew_goes_on_and_another_gets_a_number() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), "{stream}.srt");
        let (first, second) = (stream(0, "a"), stream(1, "a"));
        let mut solo = open(&config, &first);
        solo.push(0, transcript(0, 1000, "One.", true)).unwrap();
        solo.flush().unwrap();
        drop(solo);
        open(&config, &second).push(0, transcript(0, 1000, "Other.", true)).unwrap();
        open(&config, &first).push(0, transcript(1000, 2000, "Two.", true)).unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(
            read("a.srt"),
            "1\n00:00:00,000 --> 00:00:01,000\nOne.\n\n2\n00:00:01,000 --> 00:00:02,000\nTwo.\n\n"
        );
        assert_eq!(read("a-2.srt"), "1\n00:00:00,000 --> 00:00:01,000\nOther.\n\n");
    }

    #[test]
    fn a_packet_of_another_type_is_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let mut solo = open(&config(folder.path(), "a.srt"), &stream(0, "a"));
        let error = solo.push(0, packet(0, 1, Tensor::scalar(1.0f32))).unwrap_err();
        assert!(matches!(&error, StageError::Skip(_)), "{error:?}");
        assert_eq!(error.to_string(), "expected a payload of transcript, found tensor f32 []");
        solo.push(0, transcript(0, 1000, "One.", true)).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_ends_the_stream() {
        let srt = Some(SubtitleFormat::Srt);
        let mut solo = open(&Subtitles { format: srt, ..Subtitles::new("/dev/full") }, &stream(0, "a"));
        let error = solo.push(0, transcript(0, 1, "one", true)).unwrap_err();
        assert!(matches!(&error, StageError::EndStream(_)), "{error:?}");
        assert!(error.to_string().starts_with("/dev/full: cannot be written (free some space"), "{error}");
        // WebVTT has a header, which fails at once.
        let vtt = Some(SubtitleFormat::Vtt);
        let config = Subtitles { format: vtt, ..Subtitles::new("/dev/full") };
        let error = Solo::open(&config, stream(0, "a"), vec![Format::Transcript]).err().unwrap();
        assert!(error.to_string().starts_with("/dev/full: cannot be written (free some space"), "{error}");
    }

    #[test]
    fn read_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings { base_dir: folder.path().to_owned(), ..Settings::default() };
        for (yaml, expected) in [
            ("path: '{stream}.srt'", Ok("{stream}.srt")),
            ("path: a.txt\nformat: vtt", Ok("a.txt")),
            ("path: a.txt", Err("s.yaml:1:7: error: the path does not say which format of subtitles [unknown-format]")),
            ("path: '{index}.srt'", Err("s.yaml:1:7: error: `{index}` stands for nothing here [bad-path]")),
            ("path: a.srt\nformat: ass", Err("s.yaml:2:9: error: ")),
            ("{}", Err("s.yaml:1:1: error: ")),
        ] {
            let source = Source::new("s.yaml", yaml);
            let node = parse(&source).unwrap();
            let context = ReadContext { node: &node, model: None, source: &source, settings: &settings };
            match ((KIND.read)(&context), expected) {
                (Ok(blueprint), Ok(path)) => {
                    let path = folder.path().join(path);
                    assert_eq!(blueprint.contract().writes.as_deref(), path.to_str());
                    assert_eq!(blueprint.probe(), []);
                }
                (Err(faults), Err(expected)) => assert!(faults.to_string().starts_with(expected), "{faults}"),
                (result, _) => panic!("{yaml}: {result:?}"),
            }
        }
    }
}
