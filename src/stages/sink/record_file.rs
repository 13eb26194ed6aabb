//! `record`: keeps packets in a file, lossless and with their times. For playing them back with `capture: replay`: to repeat
//! a run or an adaptation bit for bit, to try a decoder on what a model said, to look at a run in Foxglove.
//!
//! Its input ports are those that `from` names: `from: {audio: microphone, voice: vad}` records two ports, `audio` and
//! `voice`, and a replay has outputs of these names. Without names it has one port, `packets`. Packets of every type are
//! kept with partial results, flags, sequence numbers, origins, weights versions and names of classes; only a packet of a
//! type of the program's own has no form in a file, and is skipped with an error. The packets of a stream are written in
//! the order of their starts, over all its ports.
//!
//! The file is an [MCAP](https://mcap.dev) file, see [`codec::record`](crate::codec::record) for its layout. It is written
//! when a mebibyte or a second of stream time has gathered and at the end of each stream, and has its ending whenever no
//! stream is open; what comes later takes the ending's place. So a program that is killed leaves a record that is good up
//! to a second before.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::SinkError;
use super::claims::Claims;
use super::output_file::make_folders;
use super::path::{self, STREAM};
use crate::codec::record::{RecordError, RecordWriter, RecordedStream};
use crate::config::{Fault, Faults};
use crate::media::{Format, StreamInfo};
use crate::stage::{
    Blueprint, Contract, ContractFault, Input, Kind, Opened, Output, ReadContext, Resolve, Role, Runnable, Stage,
    StageError,
};

/// The port of a record whose ports are not named.
const PORT: &str = "packets";

/// Settings of `record`: any number of ports, named by `from`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Record {
    /// The file, such as `run.mcap`. All streams share it, unless it holds `{stream}`: then each has its own.
    pub path: String,
    #[serde(skip, default = "unnamed")]
    ports: Vec<String>,
    #[serde(skip)]
    base: PathBuf,
    #[serde(skip)]
    files: Claims<Recording>,
}

fn unnamed() -> Vec<String> {
    vec![PORT.to_owned()]
}

impl Record {
    /// A record at `path`. Its ports are those that the pipeline's links name.
    pub fn new(path: impl Into<String>) -> Self {
        Record { path: path.into(), ports: unnamed(), base: PathBuf::new(), files: Claims::default() }
    }
}

impl Resolve for Record {
    fn resolve(mut self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        path::check(context, &self.path, &[STREAM])?;
        self.base = context.settings.base_dir.clone();
        Ok(Box::new(self))
    }
}

impl Blueprint for Record {
    fn contract(&self) -> Contract {
        // A packet waits for the disk as long as it takes.
        let contract = Contract::new().deadline(None).writes(self.base.join(&self.path).display().to_string()).shared();
        self.ports.iter().fold(contract, |contract, port| contract.input(port, Format::Any))
    }

    fn outputs(&self, inputs: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        let faults: Vec<_> = self
            .ports
            .iter()
            .zip(inputs)
            .filter_map(|(port, format)| match format {
                Format::Custom(name) => Some(ContractFault {
                    port: port.clone(),
                    expected: "packets of a type that percept knows".into(),
                    found: format!("the program's own type `{name}`"),
                    help: Some("record what it is made from, and make it again from the replay".into()),
                }),
                _ => None,
            })
            .collect();
        if faults.is_empty() { Ok(Vec::new()) } else { Err(faults) }
    }

    fn with_inputs(&self, names: &[String]) -> Option<Arc<dyn Blueprint>> {
        Some(Arc::new(Record { ports: names.to_vec(), ..self.clone() }))
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(RecordStage(self.clone())))
    }

    fn probe(&self) -> Vec<Fault> {
        path::probe(&self.base, &self.path)
    }
}

/// An example.
pub const EXAMPLE: &str = "\
percept: 1
name: keep
stages:
  - capture: microphone
  - preprocess: mono
  - sink: record
    from: {captured: microphone, mono: mono}
    path: run.mcap
";

/// The registry's entry.
pub const KIND: Kind = Kind::resolved::<Record>(
    "record",
    Role::Sink,
    "keeps the packets of any ports in a file, lossless, for `capture: replay`",
    EXAMPLE,
);

struct RecordStage(Record);

/// A file that streams are recorded to.
struct Recording {
    writer: RecordWriter<File>,
    path: PathBuf,
    /// The streams' numbers in it. A stream is known by its name's place in memory, which is held here.
    numbers: FxHashMap<usize, (Arc<str>, u32)>,
    /// For each stream that is open, which of its openings that is.
    open: FxHashMap<u32, u64>,
    openings: u64,
}

impl Recording {
    fn create(path: &Path, ports: &[String]) -> Result<Recording, SinkError> {
        make_folders(path)?;
        let file = File::create(path).map_err(|source| SinkError::Write { path: path.to_owned(), source })?;
        let writer = RecordWriter::new(file, ports).map_err(|error| of_record(path, error))?;
        let (numbers, open) = (FxHashMap::default(), FxHashMap::default());
        Ok(Recording { writer, path: path.to_owned(), numbers, open, openings: 0 })
    }

    /// Begins a stream, or lets it go on in other formats. Gives its number, and that of the opening.
    fn open(&mut self, stream: &StreamInfo, formats: &[Format]) -> Result<(u32, u64), RecordError> {
        let place = stream.name.as_ptr() as usize;
        let number = match self.numbers.get(&place) {
            Some((_, number)) => {
                self.writer.reopen(*number, formats)?;
                *number
            }
            None => {
                let number = self.writer.open(RecordedStream::of(stream), formats)?;
                self.numbers.insert(place, (stream.name.clone(), number));
                number
            }
        };
        self.openings += 1;
        self.open.insert(number, self.openings);
        Ok((number, self.openings))
    }

    /// Ends what opened as `opening`; `whole`: in order. What is not says nothing of its end.
    fn close(&mut self, number: u32, opening: u64, whole: bool) -> Result<(), RecordError> {
        if self.open.get(&number) != Some(&opening) {
            return Ok(());
        }
        self.open.remove(&number);
        if whole {
            self.writer.close(number, false)?;
        }
        if self.open.is_empty() { self.writer.finish() } else { self.writer.flush() }
    }
}

/// The fault with the file's name.
fn of_record(path: &Path, error: RecordError) -> SinkError {
    match error {
        RecordError::Write { source } => SinkError::Write { path: path.to_owned(), source },
        other => SinkError::Record(other),
    }
}

/// A stream that is recorded.
struct Writing {
    file: Arc<Mutex<Recording>>,
    number: u32,
    opening: u64,
}

impl Writing {
    fn file(&self) -> MutexGuard<'_, Recording> {
        // A chunk is whole before it is written.
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell<T>(&self, work: impl FnOnce(&mut Recording) -> Result<T, RecordError>) -> Result<T, SinkError> {
        let mut file = self.file();
        work(&mut file).map_err(|error| of_record(&file.path, error))
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // A stream that was flushed is closed already. Who drops another has said why.
        let _ = self.file().close(self.number, self.opening, false);
    }
}

impl Stage for RecordStage {
    type State = Writing;

    fn open(&mut self, stream: &StreamInfo, inputs: &[Format]) -> Result<Opened<Writing>, StageError> {
        let Record { path, base, files, ports } = &self.0;
        let make = |path: &Path| Recording::create(path, ports);
        let file = files.shared(&path::for_stream(base, path, stream), stream, make)?;
        let opened = {
            let mut recording = file.lock().unwrap_or_else(PoisonError::into_inner);
            recording.open(stream, inputs).map_err(|error| of_record(&recording.path, error))
        };
        let (number, opening) = opened.map_err(StageError::end_stream)?;
        Ok(Opened { state: Writing { file, number, opening }, outputs: Vec::new() })
    }

    fn process(&mut self, state: &mut Writing, input: Input, _: &mut Output) -> Result<(), StageError> {
        let number = state.number;
        Ok(state.tell(|file| file.writer.write(number, input.port, &input.packet))?)
    }

    fn flush(&mut self, state: &mut Writing, _: &mut Output) -> Result<(), StageError> {
        let (number, opening) = (state.number, state.opening);
        Ok(state.tell(|file| file.close(number, opening, true))?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::codec::record::{RecordItem, RecordReader};
    use crate::media::{Audio, Custom, CustomPayload, Label, Labels, Packet};
    use crate::stage::Solo;
    use crate::stages::sink::kit::{packet, stream, transcript};
    use crate::units::Rate;

    fn record(folder: &Path, path: &str, ports: &[&str]) -> Record {
        let ports = ports.iter().map(|port| (*port).to_owned()).collect();
        Record { ports, ..Record::new(folder.join(path).to_str().unwrap()) }
    }

    fn open(config: &Record, info: &StreamInfo) -> Solo {
        Solo::open(config, info.clone(), vec![Format::Any; config.ports.len()]).unwrap()
    }

    fn sound(start: i64) -> Packet {
        packet(start, start + 1, Audio::mono(vec![0.5; 8], Rate::hz(8000).unwrap()))
    }

    fn label(start: i64) -> Packet {
        packet(start, start, Labels { entries: [Label { index: 1, name: None, score: 0.5 }].into() })
    }

    /// The items of a record in short, and whether it has an end.
    fn items(path: &Path) -> (Vec<String>, bool) {
        let mut reader = RecordReader::open(path).unwrap();
        let mut items = Vec::new();
        loop {
            items.push(match reader.next() {
                Ok(Some(RecordItem::Open { info, .. })) => format!("open {}", info.name),
                Ok(Some(RecordItem::Packet { port, packet })) => {
                    let port = &reader.ports()[port];
                    format!("{} {port} {}", packet.stream, packet.start.as_nanos() / 1_000_000)
                }
                Ok(Some(RecordItem::Close { stream, .. })) => format!("close #{stream}"),
                Ok(None) => return (items, true),
                Err(RecordError::Cut { .. }) => return (items, false),
                Err(error) => panic!("{error}"),
            });
        }
    }

    #[test]
    fn ports_are_those_that_the_links_name() {
        let named = Record::new("run.mcap").with_inputs(&["audio".into(), "labels".into()]).unwrap().contract();
        let names = |contract: &Contract| contract.inputs.iter().map(|port| port.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&named), ["audio", "labels"]);
        assert_eq!(names(&Record::new("run.mcap").contract()), [PORT]);
        assert_eq!((named.shares, named.writes.as_deref()), (true, Some("run.mcap")));
    }

    #[test]
    fn streams_share_a_file_or_have_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let whole = ["open a", "open b", "#0 x 1", "#1 y 1", "close #1", "#0 y 2", "close #0"];
        let (a, b) = (["open a", "#0 x 1", "#0 y 2", "close #0"], ["open b", "#0 y 1", "close #0"]);
        for (path, files) in [
            ("all.mcap", vec![("all.mcap", &whole[..])]),
            ("own/{stream}.mcap", vec![("own/a.mcap", &a[..]), ("own/b.mcap", &b[..])]),
        ] {
            let config = record(folder.path(), path, &["x", "y"]);
            let (mut a, mut b) = (open(&config, &stream(0, "a")), open(&config, &stream(1, "b")));
            a.push(0, sound(1)).unwrap();
            b.push(1, label(1)).unwrap();
            b.flush().unwrap();
            a.push(1, label(2)).unwrap();
            a.flush().unwrap();
            for (file, expected) in files {
                let (found, ended) = items(&folder.path().join(file));
                assert_eq!((found.iter().map(String::as_str).collect::<Vec<_>>(), ended), (expected.to_vec(), true));
            }
        }
    }

    #[test]
    fn a_stream_goes_on_after_all_have_ended_and_old_files_are_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("run.mcap"), [7; 10_000]).unwrap();
        let config = record(folder.path(), "run.mcap", &["x"]);
        let a = stream(0, "a");
        let mut solo = open(&config, &a);
        solo.push(0, sound(1)).unwrap();
        solo.flush().unwrap();
        let path = folder.path().join("run.mcap");
        assert_eq!(items(&path), (["open a", "#0 x 1", "close #0"].map(str::to_owned).to_vec(), true));
        // As the runtime does when a format changes: the state of before is gone, the stream is the same.
        drop(solo);
        let mut solo = open(&config, &a);
        solo.push(0, sound(2)).unwrap();
        solo.reset().unwrap();
        solo.push(0, transcript(0, 1, "on", false)).unwrap();
        solo.flush().unwrap();
        let all = ["open a", "#0 x 1", "close #0", "open a", "#0 x 2", "open a", "#0 x 0", "close #0"];
        assert_eq!(items(&path), (all.map(str::to_owned).to_vec(), true));
        drop(solo);
        let mut other = open(&config, &stream(1, "a"));
        other.flush().unwrap();
        assert_eq!(items(&path).0[8..], ["open a", "close #1"], "another stream of the same name");
    }

    #[test]
    fn a_stream_that_was_dropped_has_no_end() {
        let folder = tempfile::tempdir().unwrap();
        let config = record(folder.path(), "run.mcap", &["x"]);
        let mut solo = open(&config, &stream(0, "a"));
        solo.push(0, sound(1)).unwrap();
        drop(solo);
        assert_eq!(items(&folder.path().join("run.mcap")), (["open a", "#0 x 1"].map(str::to_owned).to_vec(), true));
    }

    #[derive(Debug)]
    struct Pose;

    impl CustomPayload for Pose {
        fn type_name(&self) -> &'static str {
            "pose"
        }

        fn byte_len(&self) -> usize {
            12
        }
    }

    #[test]
    fn a_type_of_the_programs_own_is_refused_at_check_and_skipped_in_a_run() {
        let folder = tempfile::tempdir().unwrap();
        let config = record(folder.path(), "run.mcap", &["x", "y"]);
        let faults = config.outputs(&[Format::Text, Format::Custom("pose")]).unwrap_err();
        assert_eq!((faults.len(), &*faults[0].port, &*faults[0].found), (1, "y", "the program's own type `pose`"));
        let mut solo = open(&config, &stream(0, "a"));
        let error = solo.push(0, packet(0, 1, Custom::new(Pose))).unwrap_err();
        assert!(matches!(&error, StageError::Skip(_)) && error.to_string().contains("`pose` has no form"), "{error}");
        solo.push(0, sound(1)).unwrap();
        solo.flush().unwrap();
        assert_eq!(items(&folder.path().join("run.mcap")).0.len(), 3);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_ends_the_stream() {
        let error = Solo::open(&Record::new("/dev/full"), stream(0, "a"), vec![Format::Any]).err().unwrap();
        assert!(error.to_string().starts_with("/dev/full: cannot be written (free some space"), "{error}");
        assert!(matches!(error, crate::stage::SoloError::Stage(StageError::EndStream(_))), "{error:?}");
    }

    #[test]
    fn a_path_that_cannot_be_written_is_told() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        for (path, says) in [("file/run.mcap", "its folder cannot be made"), (".", "it is a folder: name a file in it")]
        {
            let config = record(folder.path(), path, &["x"]);
            let error = Solo::open(&config, stream(0, "a"), vec![Format::Any]).err().unwrap();
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(config.probe().len(), 1, "{path}");
        }
    }
}
