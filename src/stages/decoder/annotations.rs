//! `annotations`: what somebody has written down about a stream, as labels at their times.
//!
//! Use it where it is known what is right: to learn from recordings with a list of what they hold (`learn: {labels: {from:
//! annotations}}` in a model stage), or to write the truth beside what a model says. It reads any port of the stream, for
//! the stream's time alone: what the packets hold does not matter.
//!
//! A row names a stream, a label, and perhaps where the label begins and ends. It comes out once, as a packet of labels
//! with one entry, when the stream's time has reached its begin; a row without times is about the whole stream and comes
//! at its start with no length. A name in a row means the stream of that name, or one whose path ends in it: `three.wav`
//! is `recordings/three.wav` too.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use csv::ReaderBuilder;
use schemars::JsonSchema;
use serde::Deserialize;
use thiserror::Error;

use crate::config::Faults;
use crate::media::{Format, Label, Labels, StreamInfo};
use crate::stage::{
    Blueprint, Contract, ContractFault, Draft, EventKind, Input, Kind, Opened, Output, ReadContext, Resolve, Role,
    Runnable, Stage, StageError,
};
use crate::units::{TimeSpan, Timestamp};

/// The largest table that is read, in bytes.
const MAX_BYTES: u64 = 256 << 20;

/// Keys of `annotations`: a table, or rows in place; one of both.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnnotationsConfig {
    /// A CSV file with a header (TSV where its name ends so). Columns by name: that of the stream, that of the label, and
    /// perhaps `start_s` and `end_s`. Default: none.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// The column of the stream's name. Default: stream.
    #[serde(default = "stream_column")]
    pub stream_column: String,
    /// The column of the label. Default: label.
    #[serde(default = "label_column")]
    pub label_column: String,
    /// The rows themselves. Default: none.
    #[serde(default)]
    pub rows: Vec<Annotation>,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Annotation {
    /// The stream's name, or the end of it.
    pub stream: String,
    /// What it holds.
    pub label: String,
    /// Where that begins, in seconds of the stream. Default: it is about the whole stream.
    #[serde(default)]
    pub start_s: Option<f64>,
    /// Where it ends, in seconds. Default: at once.
    #[serde(default)]
    pub end_s: Option<f64>,
}

fn stream_column() -> String {
    "stream".to_owned()
}

fn label_column() -> String {
    "label".to_owned()
}

const EXAMPLE: &str = r#"percept: 1
name: annotated
stages:
  - capture: file
    path: examples/recordings
  - decoder: annotations
    rows:
      - {stream: two_cities.wav, label: Dickens}
      - {stream: two_cities.wav, label: times, start_s: 1.0, end_s: 8.5}
  - sink: jsonl
    path: "-"
"#;

/// The entry of the registry.
pub const KIND: Kind = Kind::resolved::<AnnotationsConfig>(
    "annotations",
    Role::Decoder,
    "what a table says of a stream, at its times",
    EXAMPLE,
);

/// Why a table of annotations cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AnnotationsError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is no such table.
    #[error("{}{}: expected {expected}, found {found}", path.display(), line.map(|line| format!(", line {line}")).unwrap_or_default())]
    Table {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: Option<u64>,
        /// What should be there.
        expected: String,
        /// What is.
        found: String,
    },
}

impl Resolve for AnnotationsConfig {
    fn resolve(self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        let mut faults = Faults::new();
        let mut rows = self.rows.clone();
        match &self.path {
            Some(path) if rows.is_empty() => match self.read(&context.settings.resolve(path)) {
                Ok(read) => rows = read,
                Err(error) => {
                    let missing = matches!(error, AnnotationsError::Read { .. });
                    let code = if missing { "missing-file" } else { "bad-annotations" };
                    faults.push(context.fault("path", code, error.to_string()));
                }
            },
            None if !rows.is_empty() => {}
            both => faults.push(
                context
                    .fault("path", "which-rows", "it is not clear what is annotated")
                    .expected("either `path: FILE.csv` or `rows: [{stream: NAME, label: TEXT}]`")
                    .found(if both.is_some() { "both" } else { "neither" }),
            ),
        }
        let wrong = rows.iter().enumerate().find_map(|(number, row)| Some((number, row.fault()?)));
        if let Some((number, found)) = wrong {
            let key = if self.path.is_some() { "path" } else { "rows" };
            faults.push(
                context
                    .fault(key, "bad-annotations", format!("row {} has no span of time", number + 1))
                    .expected("seconds, 0 or more, and an end that is not before the start")
                    .found(found),
            );
        }
        let times = |row: Annotation| {
            let at = |seconds: f64| Timestamp::ZERO + TimeSpan::from_seconds(seconds);
            let start = row.start_s.map_or(Timestamp::ZERO, at);
            let end = row.end_s.map_or(start, at);
            Row { stream: row.stream, label: row.label.into(), start, duration: end - start }
        };
        let mut rows: Vec<Row> = rows.into_iter().map(times).collect();
        rows.sort_by_key(|row| row.start);
        faults.into_result(Box::new(Annotations { rows: rows.into() }) as Box<dyn Blueprint>).map(|(made, _)| made)
    }
}

impl Annotation {
    /// What is wrong with its times.
    fn fault(&self) -> Option<String> {
        let is_time = |seconds: &f64| (0.0..=1e9).contains(seconds);
        let (start, end) = (self.start_s.unwrap_or(0.0), self.end_s.or(self.start_s).unwrap_or(0.0));
        let fine = is_time(&start) && is_time(&end) && start <= end && (self.end_s.is_none() || self.start_s.is_some());
        (!fine).then(|| format!("start_s {:?}, end_s {:?}", self.start_s, self.end_s))
    }
}

impl AnnotationsConfig {
    fn read(&self, path: &Path) -> Result<Vec<Annotation>, AnnotationsError> {
        let failed = |source| AnnotationsError::Read { path: path.to_owned(), source };
        let table = |line: Option<u64>, expected: &str, found: String| AnnotationsError::Table {
            path: path.to_owned(),
            line,
            expected: expected.to_owned(),
            found,
        };
        let bytes = std::fs::metadata(path).map_err(failed)?.len();
        if bytes > MAX_BYTES {
            return Err(table(None, &format!("at most {MAX_BYTES} bytes"), format!("{bytes} bytes")));
        }
        let text = std::fs::read(path).map_err(failed)?;
        let tabs = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("tsv"));
        let mut reader = ReaderBuilder::new().delimiter(if tabs { b'\t' } else { b',' }).from_reader(&*text);
        let line = |error: &csv::Error| error.position().map(csv::Position::line);
        let header = reader.headers().map_err(|error| table(line(&error), "a header", error.to_string()))?.clone();
        let column = |name: &str| header.iter().position(|known| known.trim_start_matches('\u{feff}').trim() == name);
        let needed = |name: &str| {
            let columns = header.iter().collect::<Vec<_>>().join(", ");
            column(name).ok_or_else(|| table(Some(1), &format!("a column `{name}`"), format!("the columns {columns}")))
        };
        let (stream, label) = (needed(&self.stream_column)?, needed(&self.label_column)?);
        let (start, end) = (column("start_s"), column("end_s"));
        let mut rows = Vec::new();
        for record in reader.records() {
            let record =
                record.map_err(|error| table(line(&error), "as many fields as the header has", error.to_string()))?;
            let at = record.position().map(csv::Position::line);
            let seconds = |place: Option<usize>| match place.and_then(|place| record.get(place)).map(str::trim) {
                None | Some("") => Ok(None),
                Some(text) => text.parse().map(Some).map_err(|_| table(at, "seconds", format!("`{text}`"))),
            };
            let field = |place: usize| record.get(place).unwrap_or_default().trim().to_owned();
            let row = Annotation {
                stream: field(stream),
                label: field(label),
                start_s: seconds(start)?,
                end_s: seconds(end)?,
            };
            if row.stream.is_empty() || row.label.is_empty() {
                return Err(table(at, "a stream and a label", format!("`{}` and `{}`", row.stream, row.label)));
            }
            rows.push(row);
        }
        match rows.is_empty() {
            true => Err(table(None, "at least one row below the header", "none".to_owned())),
            false => Ok(rows),
        }
    }
}

/// A row whose times are known to be some.
#[derive(Clone, Debug)]
struct Row {
    stream: String,
    label: Arc<str>,
    start: Timestamp,
    duration: TimeSpan,
}

/// The stage.
#[derive(Clone, Debug)]
struct Annotations {
    /// By start.
    rows: Arc<[Row]>,
}

/// One stream: its rows that are still to come, the next one last.
#[derive(Debug)]
struct Coming(Vec<Row>);

impl Annotations {
    fn rows_of(&self, stream: &str) -> Vec<Row> {
        let is_of = |row: &&Row| match stream.strip_suffix(row.stream.as_str()) {
            Some(before) => before.is_empty() || before.ends_with(['/', '\\']),
            None => false,
        };
        self.rows.iter().filter(is_of).rev().cloned().collect()
    }
}

impl Coming {
    /// Tells what begins before `time`.
    fn tell(&mut self, time: Timestamp, out: &mut Output) {
        while let Some(row) = self.0.pop_if(|row| row.start < time) {
            let label = Label { index: 0, name: Some(row.label), score: 1.0 };
            out.emit(0, Draft::new(row.start, row.duration, Labels { entries: [label].into() }));
        }
    }
}

impl Blueprint for Annotations {
    fn contract(&self) -> Contract {
        Contract::new().input("stream", Format::Any).output("labels").inline()
    }

    fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(vec![Format::Labels])
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(self.clone()))
    }
}

impl Stage for Annotations {
    type State = Coming;

    fn open(&mut self, stream: &StreamInfo, _: &[Format]) -> Result<Opened<Coming>, StageError> {
        Ok(Opened { state: Coming(self.rows_of(&stream.name)), outputs: vec![Format::Labels] })
    }

    fn process(&mut self, state: &mut Coming, input: Input, out: &mut Output) -> Result<(), StageError> {
        // A packet of no length has its moment too.
        let end = input.packet.end().max(input.packet.start + TimeSpan::from_nanos(1));
        state.tell(end, out);
        Ok(())
    }

    fn flush(&mut self, state: &mut Coming, out: &mut Output) -> Result<(), StageError> {
        if let (Some(first), Some(last)) = (state.0.last(), state.0.first()) {
            let (count, from, to) = (state.0.len(), first.start, last.start);
            let text =
                format!("{count} annotations begin after the end of the stream, from {from} to {to}, and are left out");
            out.event(EventKind::Notice, text);
        }
        Ok(())
    }

    fn hold_back(&self, state: &Coming) -> Option<Timestamp> {
        state.0.last().map(|row| row.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Source, parse};
    use crate::media::{Packet, StreamId};
    use crate::stage::{Settings, Solo};
    use crate::tensor::Tensor;
    use crate::units::ClockInstant;

    fn read(folder: &Path, yaml: &str) -> Result<Box<dyn Blueprint>, String> {
        let source = Source::new("test.yaml", yaml);
        let node = parse(&source).unwrap();
        let settings = Settings { base_dir: folder.to_owned(), ..Settings::default() };
        let context = ReadContext { node: &node, model: None, source: &source, settings: &settings };
        (KIND.read)(&context).map_err(|faults| faults.to_string())
    }

    fn info(name: &str) -> StreamInfo {
        StreamInfo {
            id: StreamId(0),
            name: name.into(),
            group: name.into(),
            live: false,
            zero: ClockInstant::default(),
            wall: None,
            file: None,
        }
    }

    /// What comes of a stream of `packets` packets of 100 ms.
    fn labels(blueprint: &dyn Blueprint, stream: &str, packets: i64) -> Vec<(f64, f64, String)> {
        let mut solo = Solo::open(blueprint, info(stream), vec![Format::Any]).unwrap();
        let mut found = Vec::new();
        for number in 0..packets {
            let start = Timestamp::ZERO + TimeSpan::from_millis(100 * number);
            found.extend(
                solo.push(0, Packet::new(StreamId(0), start, TimeSpan::from_millis(100), Tensor::scalar(0i64)))
                    .unwrap(),
            );
        }
        let shown = |packet: &Packet| {
            let name = packet.payload.labels().unwrap().entries[0].name.clone().unwrap();
            (packet.start.as_seconds(), packet.duration.as_seconds(), name.to_string())
        };
        found.iter().map(|(_, packet)| shown(packet)).collect()
    }

    #[test]
    fn rows_come_at_their_times_in_the_streams_that_they_name() {
        let folder = tempfile::tempdir().unwrap();
        let table =
            "stream,label,start_s,end_s\nb.wav,late,0.25,0.5\nb.wav,whole,,\n\"b.wav\",never,7,8\nc.wav,other,,\n";
        std::fs::write(folder.path().join("t.csv"), table).unwrap();
        std::fs::write(folder.path().join("t.tsv"), table.replace(',', "\t")).unwrap();
        for path in ["t.csv", "t.tsv"] {
            let stage = read(folder.path(), &format!("path: {path}")).unwrap();
            let expected = vec![(0.0, 0.0, "whole".to_owned()), (0.25, 0.25, "late".to_owned())];
            for name in ["b.wav", "a/b.wav"] {
                assert_eq!(labels(&*stage, name, 5), expected, "{name}");
            }
            assert_eq!(labels(&*stage, "b.wav", 1), expected[..1]);
            assert!(labels(&*stage, "bb.wav", 5).is_empty());
        }
        let renamed = "file,text\nx.wav,yes\n";
        std::fs::write(folder.path().join("r.csv"), renamed).unwrap();
        let stage = read(folder.path(), "{path: r.csv, stream_column: file, label_column: text}").unwrap();
        assert_eq!(labels(&*stage, "x.wav", 1), [(0.0, 0.0, "yes".to_owned())]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("empty.csv", ""),
            ("header.csv", "stream,label\n"),
            ("columns.csv", "file,label\na,b\n"),
            ("seconds.csv", "stream,label,start_s\na,b,soon\n"),
            ("fields.csv", "stream,label\na,b,c\n"),
            ("blank.csv", "stream,label\na,\n"),
            ("back.csv", "stream,label,start_s,end_s\na,b,2,1\n"),
            ("nan.csv", "stream,label,start_s,end_s\na,b,nan,\n"),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        for (yaml, code, says) in [
            ("{}", "which-rows", "neither"),
            ("{path: a.csv, rows: [{stream: a, label: b}]}", "which-rows", "both"),
            ("{path: none.csv}", "missing-file", "none.csv"),
            ("{path: empty.csv}", "bad-annotations", "a column `stream`"),
            ("{path: header.csv}", "bad-annotations", "at least one row"),
            ("{path: columns.csv}", "bad-annotations", "found the columns file, label"),
            ("{path: seconds.csv}", "bad-annotations", "line 2: expected seconds, found `soon`"),
            ("{path: fields.csv}", "bad-annotations", "as many fields"),
            ("{path: blank.csv}", "bad-annotations", "a stream and a label"),
            ("{path: back.csv}", "bad-annotations", "row 1 has no span of time"),
            ("{path: nan.csv}", "bad-annotations", "row 1 has no span of time"),
            ("{rows: [{stream: a, label: b, end_s: 1}]}", "bad-annotations", "row 1"),
            ("{rows: [{stream: a}]}", "missing-key", "label"),
        ] {
            let found = read(folder.path(), yaml).unwrap_err();
            assert!(found.contains(code) && found.contains(says), "{yaml}: {found}");
        }
    }
}
