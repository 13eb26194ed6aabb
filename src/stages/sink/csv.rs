//! `csv`: writes a table of results. For spreadsheets, `pandas.read_csv` and `sort`.
//!
//! The first line names the columns. Every row begins with `stream`, `start_s` and `end_s` (seconds in its stream, to the
//! microsecond); what follows depends on what is read:
//!
//! | of | a row is | columns |
//! |---|---|---|
//! | labels | a class | `rank` (from 0, best first), `index`, `name`, `score` |
//! | regions | a region | `x`, `y`, `width`, `height` (in the frame's pixels), `score`, `label`, `label_score`, `track` |
//! | transcripts | an utterance | `text`, `confidence` |
//! | text | a result | `text` |
//!
//! What is not known is an empty cell, and so is a number that is none. Partial results are left out. Cells are quoted
//! where they need it (RFC 4180). The rows of a result are written at once; when the disk is full the file ends with a
//! whole row.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use ::csv::WriterBuilder;
use schemars::JsonSchema;
use serde::Deserialize;

use super::claims::Claims;
use super::output_file::OutputFile;
use super::path::{self, STREAM};
use super::{SinkError, is_partial};
use crate::config::{Fault, Faults};
use crate::media::{Format, Packet, Payload, StreamInfo};
use crate::stage::{
    Blueprint, Contract, ContractFault, Input, Kind, Opened, Output, ReadContext, Resolve, Role, Runnable, Stage,
    StageError,
};

/// The columns of every row.
const COMMON: [&str; 3] = ["stream", "start_s", "end_s"];

/// Settings of `csv`: `labels`, `regions`, transcripts or text →
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Csv {
    /// The file. All streams share it, unless it holds `{stream}`: then each has its own.
    pub path: String,
    #[serde(skip)]
    base: PathBuf,
    #[serde(skip)]
    files: Claims<OutputFile>,
}

impl Csv {
    /// A table in the file `path`.
    pub fn new(path: impl Into<String>) -> Self {
        Csv { path: path.into(), base: PathBuf::new(), files: Claims::default() }
    }
}

impl Resolve for Csv {
    fn resolve(mut self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        path::check(context, &self.path, &[STREAM])?;
        self.base = context.settings.base_dir.clone();
        Ok(Box::new(self))
    }
}

impl Blueprint for Csv {
    fn contract(&self) -> Contract {
        // A row waits for the disk as long as it takes.
        let contract = Contract::new().input("in", Format::Any).deadline(None);
        contract.writes(self.base.join(&self.path).display().to_string()).shared()
    }

    fn outputs(&self, inputs: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        match inputs.first() {
            None | Some(Format::Any) => Ok(Vec::new()),
            Some(format) if Table::of(format).is_some() => Ok(Vec::new()),
            Some(found) => Err(vec![ContractFault {
                port: "in".to_owned(),
                expected: "labels, regions, transcripts or text: what makes rows of a table".to_owned(),
                found: found.to_string(),
                help: Some("put it behind a decoder, or use `- sink: jsonl`, which writes anything".to_owned()),
            }]),
        }
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(CsvStage(self.clone())))
    }

    fn probe(&self) -> Vec<Fault> {
        path::probe(&self.base, &self.path)
    }
}

const EXAMPLE: &str = "\
percept: 1
name: table-of-photos
stages:
  - capture: images
    path: examples/photos
  - preprocess: to_tensor
    width: 224
    height: 224
    fit: fill
    scale: 1
    mean: 127
    std: 128
  - model: models/efficientnet-lite0
  - decoder: top_k
    labels: models/efficientnet-lite0/labels.txt
  - sink: csv
    path: photos.csv
";

/// The registry's entry.
pub const KIND: Kind = Kind::resolved::<Csv>(
    "csv",
    Role::Sink,
    "writes a table of results, a row for each label, region or text",
    EXAMPLE,
);

/// What the rows are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    Labels,
    Regions,
    Transcripts,
    Text,
}

impl Table {
    fn of(format: &Format) -> Option<Table> {
        match format {
            Format::Labels => Some(Table::Labels),
            Format::Regions => Some(Table::Regions),
            Format::Transcript => Some(Table::Transcripts),
            Format::Text => Some(Table::Text),
            _ => None,
        }
    }

    fn columns(self) -> &'static [&'static str] {
        match self {
            Table::Labels => &["rank", "index", "name", "score"],
            Table::Regions => &["x", "y", "width", "height", "score", "label", "label_score", "track"],
            Table::Transcripts => &["text", "confidence"],
            Table::Text => &["text"],
        }
    }

    fn header(self) -> Vec<u8> {
        let cells = COMMON.iter().chain(self.columns()).map(|column| (*column).to_owned());
        table([cells.collect::<Vec<_>>()].into_iter())
    }

    /// The rows of one result.
    fn rows(self, stream: &str, packet: &Packet) -> Result<Vec<u8>, StageError> {
        let seconds = |seconds: f64| format!("{seconds:.6}");
        let common = [stream.to_owned(), seconds(packet.start.as_seconds()), seconds(packet.end().as_seconds())];
        let row = |cells: Vec<String>| [&common[..], &cells].concat();
        let payload: &Payload = &packet.payload;
        Ok(match self {
            Table::Labels => table(payload.labels()?.entries.iter().enumerate().map(|(rank, label)| {
                let name = label.name.as_deref().unwrap_or_default().to_owned();
                row(vec![rank.to_string(), label.index.to_string(), name, number(label.score)])
            })),
            Table::Regions => table(payload.regions()?.entries.iter().map(|region| {
                let bounds = &region.bounds;
                let mut cells: Vec<String> =
                    [bounds.x, bounds.y, bounds.width, bounds.height, region.score].map(number).into();
                let label = region.label.as_ref();
                let name = |index: usize| format!("class {index}");
                cells.push(label.map_or(String::new(), |label| {
                    label.name.as_deref().map_or_else(|| name(label.index), str::to_owned)
                }));
                cells.push(label.map_or(String::new(), |label| number(label.score)));
                cells.push(region.track.map_or(String::new(), |track| track.to_string()));
                row(cells)
            })),
            Table::Transcripts => {
                let said = payload.transcript()?;
                table([row(vec![said.text.to_string(), said.confidence.map_or(String::new(), number)])].into_iter())
            }
            Table::Text => table([row(vec![payload.text()?.text.to_string()])].into_iter()),
        })
    }
}

/// A number as short as it can be; nothing for what is none.
fn number(value: f32) -> String {
    if value.is_finite() { value.to_string() } else { String::new() }
}

/// Rows as text, each with its line feed.
fn table(rows: impl Iterator<Item = Vec<String>>) -> Vec<u8> {
    let mut writer = WriterBuilder::new().flexible(true).from_writer(Vec::new());
    for row in rows {
        writer.write_record(row).expect("a vector takes whatever is written");
    }
    writer.into_inner().expect("a vector takes whatever is written")
}

struct CsvStage(Csv);

/// A stream that writes into a file, perhaps with others.
struct Writing {
    stream: Arc<str>,
    file: Arc<Mutex<OutputFile>>,
    table: Option<Table>,
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

impl Stage for CsvStage {
    type State = Writing;

    fn open(&mut self, stream: &StreamInfo, inputs: &[Format]) -> Result<Opened<Writing>, StageError> {
        let Csv { path, base, files } = &self.0;
        let table = inputs.first().and_then(Table::of);
        let file = files.shared(&path::for_stream(base, path, stream), stream, |path| {
            let file = OutputFile::create(path)?;
            if let Some(table) = table {
                file.append(&table.header())?;
            }
            Ok::<_, SinkError>(file)
        })?;
        Ok(Opened { state: Writing { stream: stream.name.clone(), file, table }, outputs: Vec::new() })
    }

    fn process(&mut self, state: &mut Writing, input: Input, _: &mut Output) -> Result<(), StageError> {
        if is_partial(&input.packet) {
            return Ok(());
        }
        let table = match state.table {
            Some(table) => table,
            // Known with the first result, where the format did not tell.
            None => {
                let format = input.packet.payload.format();
                let table = Table::of(&format).ok_or_else(|| {
                    StageError::skip(format!("expected labels, regions, transcripts or text, found {format}"))
                })?;
                state.file().append(&table.header())?;
                *state.table.insert(table)
            }
        };
        let rows = table.rows(&state.stream, &input.packet)?;
        if rows.is_empty() { Ok(()) } else { Ok(state.file().append(&rows)?) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Label, Labels, Rect, Region, Regions, Text};
    use crate::stage::Solo;
    use crate::stages::sink::kit::{packet, stream, transcript};

    /// The text of the table that these packets make.
    fn written(packets: Vec<Packet>) -> String {
        let folder = tempfile::tempdir().unwrap();
        let csv = Csv { base: folder.path().to_owned(), ..Csv::new("a.csv") };
        let format = packets.first().map_or(Format::Labels, |packet| packet.payload.format());
        let mut solo = Solo::open(&csv, stream(0, "a,b.mp4"), vec![format]).unwrap();
        packets.into_iter().for_each(|packet| drop(solo.push(0, packet).unwrap()));
        solo.flush().unwrap();
        std::fs::read_to_string(folder.path().join("a.csv")).unwrap()
    }

    fn label(index: usize, name: Option<&str>, score: f32) -> Label {
        Label { index, name: name.map(Into::into), score }
    }

    #[test]
    fn each_type_has_its_columns() {
        let labels = |entries: Vec<Label>| Labels { entries: entries.into() };
        let mut region = Region::new(Rect { x: 1.5, y: -2.0, width: 3.0, height: 4.0 }, 0.5);
        let bare = region.clone();
        region.label = Some(label(4, None, 0.25));
        region.track = Some(9);
        let regions = Regions { frame_width: 9, frame_height: 9, entries: [region, bare].into() };
        for (packets, expected) in [
            (vec![], "stream,start_s,end_s,rank,index,name,score\n"),
            (
                vec![
                    packet(0, 40, labels(vec![label(7, Some("cup \"mug\""), 0.5), label(1, None, f32::NAN)])),
                    packet(40, 80, labels(vec![])),
                ],
                "stream,start_s,end_s,rank,index,name,score\n\
                 \"a,b.mp4\",0.000000,0.040000,0,7,\"cup \"\"mug\"\"\",0.5\n\
                 \"a,b.mp4\",0.000000,0.040000,1,1,,\n",
            ),
            (
                vec![packet(33, 66, regions)],
                "stream,start_s,end_s,x,y,width,height,score,label,label_score,track\n\
                 \"a,b.mp4\",0.033000,0.066000,1.5,-2,3,4,0.5,class 4,0.25,9\n\
                 \"a,b.mp4\",0.033000,0.066000,1.5,-2,3,4,0.5,,,\n",
            ),
            (
                vec![transcript(0, 900, "half", false), transcript(0, 1000, "one\ntwo", true)],
                "stream,start_s,end_s,text,confidence\n\"a,b.mp4\",0.000000,1.000000,\"one\ntwo\",\n",
            ),
            (
                vec![packet(0, 0, Text { text: "x".into(), pieces: Arc::default() })],
                "stream,start_s,end_s,text\n\"a,b.mp4\",0.000000,0.000000,x\n",
            ),
        ] {
            assert_eq!(written(packets), expected);
        }
    }

    #[test]
    fn streams_share_a_file_and_its_header() {
        let folder = tempfile::tempdir().unwrap();
        let csv = Csv { base: folder.path().to_owned(), ..Csv::new("a.csv") };
        for number in 0..2 {
            let mut solo = Solo::open(&csv, stream(number, "s"), vec![Format::Labels]).unwrap();
            solo.push(0, packet(0, 1, Labels { entries: [label(0, None, 1.0)].into() })).unwrap();
        }
        let text = std::fs::read_to_string(folder.path().join("a.csv")).unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
    }

    #[test]
    fn what_makes_no_rows_is_a_fault_before_it_starts() {
        let faults = Csv::new("a.csv").outputs(&[Format::ANY_AUDIO]).unwrap_err();
        assert!(faults[0].help.as_deref().is_some_and(|help| help.contains("jsonl")));
        for format in [Format::Labels, Format::Regions, Format::Transcript, Format::Text, Format::Any] {
            assert!(Csv::new("a.csv").outputs(&[format]).is_ok());
        }
    }
}
