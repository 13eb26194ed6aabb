//! `jsonl`: writes a JSON object a line. For whatever comes after percept: scripts, `jq`, databases, tests.
//!
//! # The records, version 1
//!
//! Every record has
//!
//! | key | type | meaning |
//! |---|---|---|
//! | `v` | integer | version of this schema: 1 |
//! | `stream` | string | name of the stream: for a file its path |
//! | `type` | string | what the record is of, see below |
//! | `start_s`, `end_s` | number | where it lies in its stream, in seconds, to the microsecond |
//! | `sequence` | integer | number of the packet in its stream, from 0 on; gaps where partial results were left out |
//! | `final` | boolean | whether it stays; `false` only with `partials: true` |
//! | `revision` | integer | number of a partial result's revision, and of the final one after them; 0 without partials |
//! | `gap` | `true` | only when something before it is missing |
//! | `late` | `true` | only when it came after it was wanted |
//! | `weights` | integer | version of the weights that made it; only where trained weights took part |
//!
//! and, by `type`,
//!
//! | `type` | keys |
//! |---|---|
//! | `transcript` | `text`, `utterance` (its number in the stream; partials share it with their final), `confidence` (0 to 1, null when the model does not tell), `pieces` |
//! | `text` | `text`, `pieces` |
//! | `labels` | `labels`: a list of `index`, `name` (null when unknown), `score`, best first |
//! | `tensor` | `dtype`, `shape`, `count` (of elements), `values` (row by row in one list; absent when there are more than `max_values`) |
//! | `image` | `width`, `height`, `pixel` (`gray8`, `rgb8` or `rgba8`) |
//! | `regions` | `frame_width`, `frame_height`, `regions`: a list of `x`, `y`, `width`, `height` in the frame's pixels, `score`, and where they are known `label`, `track`, `outline`, `keypoints`; best first |
//! | `audio` | `sample_rate_hz`, `channels`, `frames`, `rms_dbfs` (null for silence) |
//! | `bytes` | `count`, `values` (as for tensors) |
//! | `custom` | `name` (of the type), `value` (its own encoding, null when it has none) |
//!
//! `pieces` (only with `pieces: true`) lists the tokens: `text`, `log_probability`, `start_s`, `end_s` (null when the
//! model does not tell). A number that JSON lacks (NaN, an infinity) is null. Keys are only added within a version; a
//! reader should skip those it does not know.
//!
//! Each record is written at once. When the disk is full the file ends with a whole record.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use schemars::JsonSchema;
use serde::Deserialize;

use super::claims::Claims;
use super::output_file::OutputFile;
use super::path::{self, STREAM};
use super::record::{self, Detail};
use super::{SinkError, is_partial};
use crate::config::{Fault, Faults};
use crate::media::{Format, StreamInfo};
use crate::stage::{
    Blueprint, Contract, ContractFault, Input, Kind, Opened, Output, ReadContext, Resolve, Role, Runnable, Stage,
    StageError,
};

/// Standard output.
const STDOUT: &str = "-";

/// Settings of `jsonl`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Jsonl {
    /// The file, or `-` for standard output. All streams share it, unless it holds `{stream}`: then each has its own.
    pub path: String,
    /// Whether partial results are written too, or only final ones. Default: false.
    #[serde(default)]
    pub partials: bool,
    /// Whether the tokens of text and transcripts are listed. Default: false.
    #[serde(default)]
    pub pieces: bool,
    /// The most elements of a tensor, or bytes, that are listed; of more only the number is given. Default: 64.
    #[serde(default = "max_values")]
    pub max_values: usize,
    #[serde(skip)]
    base: PathBuf,
    #[serde(skip)]
    files: Claims<OutputFile>,
}

fn max_values() -> usize {
    64
}

impl Jsonl {
    /// Records of final results into the file `path`, or to standard output for `-`.
    pub fn new(path: impl Into<String>) -> Self {
        Jsonl {
            path: path.into(),
            partials: false,
            pieces: false,
            max_values: max_values(),
            base: PathBuf::new(),
            files: Claims::default(),
        }
    }
}

impl Resolve for Jsonl {
    fn resolve(mut self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        if self.path != STDOUT {
            path::check(context, &self.path, &[STREAM])?;
        }
        self.base = context.settings.base_dir.clone();
        Ok(Box::new(self))
    }
}

impl Blueprint for Jsonl {
    fn contract(&self) -> Contract {
        // A record waits for the disk, or for the reader of a pipe, as long as it takes.
        let contract = Contract::new().input("in", Format::Any).deadline(None);
        match self.path.as_str() {
            STDOUT => contract,
            path => contract.writes(self.base.join(path).display().to_string()).shared(),
        }
    }

    fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(Vec::new())
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(JsonlStage(self.clone())))
    }

    fn probe(&self) -> Vec<Fault> {
        match self.path.as_str() {
            STDOUT => Vec::new(),
            path => path::probe(&self.base, path),
        }
    }
}

/// An example.
pub const EXAMPLE: &str = "\
percept: 1
name: levels
stages:
  - capture: microphone
  - sink: jsonl
    path: levels.jsonl
";

/// The registry's entry.
pub const KIND: Kind = Kind::resolved::<Jsonl>(
    "jsonl",
    Role::Sink,
    "writes each result as a JSON object on a line of its own, to a file or to standard output",
    EXAMPLE,
);

struct JsonlStage(Jsonl);

/// A stream that writes into a file, perhaps with others.
struct Writing {
    stream: Arc<str>,
    file: Arc<Mutex<OutputFile>>,
}

impl Writing {
    fn file(&self) -> OutputFile {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // The blueprint holds one, this stream another.
        if Arc::strong_count(&self.file) <= 2 {
            self.file().close();
        }
    }
}

impl Stage for JsonlStage {
    type State = Writing;

    fn open(&mut self, stream: &StreamInfo, _: &[Format]) -> Result<Opened<Writing>, StageError> {
        let Jsonl { path, base, files, .. } = &self.0;
        let file = match path.as_str() {
            STDOUT => files.shared(Path::new(STDOUT), stream, |_| {
                Ok::<_, SinkError>(OutputFile::writer("standard output", Box::new(std::io::stdout())))
            }),
            path => files.shared(&path::for_stream(base, path, stream), stream, OutputFile::create),
        }?;
        Ok(Opened { state: Writing { stream: stream.name.clone(), file }, outputs: Vec::new() })
    }

    fn process(&mut self, state: &mut Writing, input: Input, _: &mut Output) -> Result<(), StageError> {
        if is_partial(&input.packet) && !self.0.partials {
            return Ok(());
        }
        let detail = Detail { pieces: self.0.pieces, max_values: self.0.max_values };
        let line = record::line(&state.stream, &input.packet, detail)?;
        Ok(state.file().append(&line)?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;

    use super::*;
    use crate::stage::Solo;
    use crate::stages::sink::kit::{stream, transcript};
    use crate::tensor::Tensor;

    fn open(config: &Jsonl, info: &StreamInfo) -> Solo {
        Solo::open(config, info.clone(), vec![Format::Any]).unwrap()
    }

    fn texts(path: &Path) -> Vec<String> {
        let lines = fs::read_to_string(path).unwrap();
        lines
            .lines()
            .map(|line| {
                let record: serde_json::Value = serde_json::from_str(line).unwrap();
                format!("{} {}", record["stream"].as_str().unwrap(), record["text"].as_str().unwrap())
            })
            .collect()
    }

    #[test]
    fn partial_results_only_when_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        for (partials, expected) in [(false, vec!["s one"]), (true, vec!["s on", "s one"])] {
            let path = folder.path().join("out.jsonl");
            let config = Jsonl { partials, ..Jsonl::new(path.to_str().unwrap()) };
            let mut solo = open(&config, &stream(0, "s"));
            for packet in [transcript(0, 5, "on", false), transcript(0, 10, "one", true)] {
                assert!(solo.push(0, packet).unwrap().is_empty());
            }
            assert_eq!(texts(&path), expected, "each record is written at once");
        }
    }

    #[test]
    fn streams_share_a_file_or_have_their_own() {
        let folder = tempfile::tempdir().unwrap();
        for (template, files) in [
            ("all.jsonl", vec![("all.jsonl", vec!["a one", "b two", "a three", "c four"])]),
            ("own/{stream}.jsonl", vec![("own/a.jsonl", vec!["a one", "a three"]), ("own/b.jsonl", vec!["b two"])]),
        ] {
            let config = Jsonl::new(folder.path().join(template).to_str().unwrap());
            let (mut a, mut b) = (open(&config, &stream(0, "a")), open(&config, &stream(1, "b")));
            a.push(0, transcript(0, 1, "one", true)).unwrap();
            b.push(0, transcript(0, 1, "two", true)).unwrap();
            b.flush().unwrap();
            drop(b);
            a.push(0, transcript(1, 2, "three", true)).unwrap();
            drop(a);
            // All have ended, another begins.
            open(&config, &stream(2, "c")).push(0, transcript(1, 2, "four", true)).unwrap();
            for (file, expected) in files {
                assert_eq!(texts(&folder.path().join(file)), expected);
            }
        }
    }

    #[test]
    fn an_old_file_is_overwritten_and_a_reset_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        fs::write(&path, "old").unwrap();
        let config = Jsonl::new(path.to_str().unwrap());
        let mut solo = open(&config, &stream(0, "s"));
        assert_eq!(fs::read(&path).unwrap(), b"");
        solo.push(0, transcript(0, 1, "one", true)).unwrap();
        solo.reset().unwrap();
        solo.push(0, transcript(0, 1, "two", true)).unwrap();
        assert_eq!(texts(&path), ["s one", "s two"]);
    }

    #[test]
    fn handles_are_given_back_when_the_last_stream_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let config = Jsonl::new(path.to_str().unwrap());
        let (mut a, b) = (open(&config, &stream(0, "a")), open(&config, &stream(1, "b")));
        a.push(0, transcript(0, 1, "one", true)).unwrap();
        fs::rename(&path, folder.path().join("moved")).unwrap();
        drop(b);
        a.push(0, transcript(0, 1, "two", true)).unwrap();
        assert_eq!(texts(&folder.path().join("moved")).len(), 2, "still open");
        drop(a);
        open(&config, &stream(2, "c")).push(0, transcript(0, 1, "three", true)).unwrap();
        assert_eq!(texts(&path), ["c three"], "opened again by its path");
    }

    #[test]
    fn a_reader_that_has_gone_ends_each_stream_once() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let config = Jsonl::new(STDOUT);
        let file = OutputFile::writer("standard output", Box::new(writer));
        config.files.shared(Path::new(STDOUT), &stream(9, "x"), |_| Ok::<_, SinkError>(file)).unwrap();
        let (mut a, mut b) = (open(&config, &stream(0, "a")), open(&config, &stream(1, "b")));
        a.push(0, transcript(0, 1, "one", true)).unwrap();
        let mut byte = [0];
        reader.read_exact(&mut byte).unwrap();
        drop(reader);
        for solo in [&mut a, &mut b] {
            let error = solo.push(0, transcript(1, 2, "two", true)).unwrap_err();
            assert!(matches!(error, StageError::EndStream(_)), "{error:?}");
            let message = error.to_string();
            assert!(message.starts_with("standard output: cannot be written (the program that reads it"), "{message}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_ends_the_stream() {
        let mut solo = open(&Jsonl::new("/dev/full"), &stream(0, "a"));
        let error = solo.push(0, transcript(0, 1, "one", true)).unwrap_err();
        assert!(matches!(&error, StageError::EndStream(_)), "{error:?}");
        assert!(error.to_string().starts_with("/dev/full: cannot be written (free some space"), "{error}");
    }

    #[test]
    fn a_folder_that_cannot_be_made_ends_the_stream() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let config = Jsonl::new(folder.path().join("file/{stream}.jsonl").to_str().unwrap());
        let error = Solo::open(&config, stream(0, "a"), vec![Format::Any]).err().unwrap();
        assert!(error.to_string().contains("file/a.jsonl: its folder cannot be made"), "{error}");
        assert_eq!(config.probe().len(), 1);
        assert_eq!(config.contract().writes.as_deref(), Some(config.path.as_str()));
        assert_eq!(Jsonl::new("-").contract().writes, None);
        assert_eq!(Jsonl::new("-").probe(), []);
    }

    #[test]
    fn nan_in_one_stream_is_null_there_and_nothing_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let config = Jsonl::new(path.to_str().unwrap());
        for (number, value) in [(0, f32::NAN), (1, 0.5)] {
            let name = format!("s{number}");
            let packet = crate::stages::sink::kit::packet(0, 1, Tensor::scalar(value));
            open(&config, &stream(number, &name)).push(0, packet).unwrap();
        }
        let lines = fs::read_to_string(&path).unwrap();
        let values: Vec<_> = lines.lines().map(|line| line.split_once("\"values\":").unwrap().1).collect();
        assert_eq!(values, ["[null]}", "[0.5]}"]);
    }
}
