//! `replay`: plays records back that `percept record` or `sink: record` has made.
//!
//! To repeat a run: what a microphone or a camera gave once, what a model said, the labels that a model learned from. Its
//! output ports are those that were recorded: a record of the ports `audio` and `labels` is read as `replay.audio` and
//! `replay.labels`. Streams come with their names, groups, times of day and formats, packets bit for bit as they were, with
//! their starts, durations, flags, revisions, weights versions and names of classes; those of a stream come in the order
//! in which they were written, over all ports. Sequence numbers and origins are counted anew, as every capture does.
//!
//! Packets come as fast as the pipeline takes them, and no stream counts as live then; with `realtime: true` each is held
//! back until its end has come by the clock, and streams begin as far from each other as they did. Streams of a record are
//! open together if they were when it was made, and records follow each other. So a record of streams that came one after
//! the other gives every packet in the same order each time: what is computed from it without a clock is the same bit for
//! bit.
//!
//! A record that was cut off gives all that is whole, which is told as an event and counted in the books. A damaged one
//! gives what comes before the damage, and its open streams fail; so does a stream that failed when it was recorded. A
//! record that cannot be read at all ends as a failed stream, and the others go on.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::{Semaphore, oneshot};

use super::error::CaptureError;
pub use super::find::Paths;
use super::find::{self, Found, FoundFile, Places, Sort};
use super::recorded_stream::{Manner, RecordedSource};
use crate::codec::record::{RecordError, RecordIndex, RecordSummary};
use crate::config::{Fault, Faults};
use crate::media::Format;
use crate::stage::{
    Blueprint, BoxFuture, Capture, CaptureContext, Contract, ContractFault, Kind, PortIndex, ReadContext, Resolve,
    Role, Runnable, Source, StageError,
};
use crate::units::ClockInstant;

/// What is looked for in folders.
const RECORDS: Sort = Sort {
    like: "a record",
    file: "record",
    endings: &["mcap"],
    stdin: "records are read from files: write it to one first",
};

/// Settings of `replay`: → the recorded ports.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Replay {
    /// A record; a folder, of which the files are taken that end in `.mcap`; a glob such as `runs/**/*.mcap`, of which all
    /// files are taken; or a list of them.
    pub path: Paths,
    /// The folder that relative paths start at, itself relative to the pipeline's. Default: the pipeline's folder.
    pub folder: Option<PathBuf>,
    /// Whether the folders in a folder are read too. Default: false.
    #[serde(default)]
    pub recursive: bool,
    /// Whether packets come at the pace of the clock, as they did. Default: false, as fast as they are taken.
    #[serde(default)]
    pub realtime: bool,
    /// Most streams that are played at a time, 1 to 10000. Default: as many of each record as were open at a time then.
    #[schemars(range(min = 1, max = 10_000))]
    pub concurrent: Option<usize>,
    #[serde(skip)]
    base: PathBuf,
    #[serde(skip)]
    places: Places,
    #[serde(skip)]
    look: OnceLock<Look>,
}

/// What the folders hold and the records' summaries say, as of the first time that somebody asked.
#[derive(Clone, Debug)]
struct Look {
    found: Found,
    ports: Vec<(String, Format)>,
    /// Whether there may be more than one stream.
    many: bool,
    faults: Vec<Fault>,
}

const EXAMPLE: &str = "\
percept: 1
name: again
stages:
  - capture: replay
    path: examples/records/two_cities.mcap
  - sink: jsonl
    path: \"-\"
";

/// The registry's entry.
pub const KIND: Kind = Kind::resolved::<Replay>(
    "replay",
    Role::Capture,
    "records of former runs, as they were or as fast as it goes",
    EXAMPLE,
);

impl Replay {
    /// Plays `path` (a file, a folder or a glob) or several, with the default settings.
    pub fn new(path: impl Into<Paths>) -> Self {
        Replay {
            path: path.into(),
            folder: None,
            recursive: false,
            realtime: false,
            concurrent: None,
            base: PathBuf::new(),
            places: Places::default(),
            look: OnceLock::new(),
        }
    }

    /// The folder where relative paths start, instead of the current one.
    #[must_use]
    pub fn base(mut self, folder: impl Into<PathBuf>) -> Self {
        self.base = folder.into();
        self
    }

    /// Whether packets come at the pace of the clock.
    #[must_use]
    pub fn realtime(mut self, realtime: bool) -> Self {
        self.realtime = realtime;
        self
    }

    fn look(&self) -> &Look {
        self.look.get_or_init(|| {
            let found = find::find(self.path.as_slice(), &self.base, self.recursive, &RECORDS);
            let (summary, mut faults) = read_summaries(&found.files);
            faults.extend(found.faults.iter().cloned());
            let faults = faults.into_iter().map(|fault| self.places.put(fault)).collect();
            let many = found.many || summary.as_ref().is_none_or(|summary| summary.streams > 1);
            Look { ports: summary.map(|summary| summary.ports).unwrap_or_default(), many, found, faults }
        })
    }
}

/// What all records hold together, and what is wrong with files: an error when the file was named, a warning when it was found.
fn read_summaries(files: &[FoundFile]) -> (Option<RecordSummary>, Vec<(usize, Fault)>) {
    let mut all: Option<RecordSummary> = None;
    let mut faults = Vec::new();
    for file in files {
        match RecordSummary::open(&file.path) {
            Ok(summary) => {
                if !summary.whole {
                    let message = format!("{}: the record has no ending: it was cut off", file.path.display());
                    let fault = Fault::warning("cut-record", message).help("what is whole of it is played");
                    faults.push((file.item, fault));
                }
                match &mut all {
                    Some(all) => all.join(&summary),
                    None => all = Some(summary),
                }
            }
            Err(error) if file.named => faults.push((file.item, Fault::error("unreadable-record", error.to_string()))),
            Err(error) => {
                let fault = Fault::warning("unreadable-record", error.to_string())
                    .help("the run will report it as a failed stream and play the other records");
                faults.push((file.item, fault));
            }
        }
    }
    (all, faults)
}

impl Resolve for Replay {
    fn resolve(mut self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        let own = self.folder.clone().unwrap_or_default();
        self.base = context.settings.resolve(own);
        self.places = Places::of(context);
        if self.concurrent == Some(0) {
            let fault = context.fault("concurrent", "invalid-value", "no stream could ever be played");
            return Err(fault.expected("1 to 10000").found("0").into());
        }
        let look = self.look();
        if look.ports.is_empty() {
            // Without a record the ports are not known, and nobody can read from it.
            let mut faults = Faults::new();
            faults.extend(look.faults.iter().cloned());
            if !faults.has_errors() {
                faults.push(context.fault("path", "no-files", "none of these files is a record that can be played"));
            }
            return Err(faults);
        }
        Ok(Box::new(self))
    }
}

impl Blueprint for Replay {
    fn contract(&self) -> Contract {
        let look = self.look();
        let several = look.ports.len() > 1;
        let contract = Contract::new().many_streams(look.many);
        look.ports.iter().fold(contract, |contract, (name, _)| match several {
            true => contract.optional_output(name),
            false => contract.output(name),
        })
    }

    fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(self.look().ports.iter().map(|(_, format)| format.clone()).collect())
    }

    fn build(&self) -> Result<Runnable, StageError> {
        let look = self.look();
        if let (true, Some(fault)) = (look.ports.is_empty(), look.faults.first()) {
            let problem = fault.to_string();
            return Err(StageError::fatal(CaptureError::Config { key: "path", problem }));
        }
        Ok(Runnable::capture(Records {
            waiting: look.found.files.clone().into(),
            ports: look.ports.clone(),
            opening: None,
            playing: None,
            turns: self.concurrent.map(|most| Turns::new(most.max(1))),
            notice: look.found.left_out_text(&RECORDS),
            realtime: self.realtime,
        }))
    }

    fn probe(&self) -> Vec<Fault> {
        self.look().faults.clone()
    }
}

/// Who may play.
#[derive(Clone, Debug)]
struct Turns {
    turns: Arc<Semaphore>,
    most: u32,
}

impl Turns {
    fn new(most: usize) -> Turns {
        let most = most.clamp(1, 10_000);
        Turns { turns: Arc::new(Semaphore::new(most)), most: most as u32 }
    }
}

struct Records {
    waiting: VecDeque<FoundFile>,
    /// The ports of the capture.
    ports: Vec<(String, Format)>,
    /// Being indexed. Kept over a call that was dropped.
    opening: Option<oneshot::Receiver<Result<RecordIndex, RecordError>>>,
    playing: Option<Playing>,
    /// For all records together, where the pipeline says how many streams.
    turns: Option<Turns>,
    /// For the first stream to tell.
    notice: Option<String>,
    realtime: bool,
}

/// A record that is played.
struct Playing {
    index: Arc<RecordIndex>,
    fault: Option<Arc<RecordError>>,
    turns: Turns,
    places: Arc<[PortIndex]>,
    next: usize,
    /// The clock at the opening of its first stream.
    zero: Option<ClockInstant>,
}

impl Records {
    async fn next(&mut self, context: &CaptureContext) -> Result<Option<Box<dyn Source>>, StageError> {
        loop {
            if let Some(playing) = &mut self.playing {
                if let Some(stream) = playing.index.streams.get(playing.next) {
                    if self.realtime {
                        let zero = *playing.zero.get_or_insert_with(|| context.clock.now());
                        let first = playing.index.streams.first().map_or(stream.info.zero, |first| first.info.zero);
                        context.clock.sleep_until(zero.after(stream.info.zero.since(first))).await;
                    }
                    let Ok(turn) = playing.turns.turns.clone().acquire_owned().await else { return Ok(None) };
                    let manner = Manner {
                        pace: self.realtime.then(|| context.clock.clone()),
                        notice: self.notice.take(),
                        formats: self.ports.iter().map(|(_, format)| format.clone()).collect(),
                        places: playing.places.clone(),
                        turn,
                    };
                    let number = playing.next;
                    playing.next += 1;
                    let source = RecordedSource::start(&playing.index, number, playing.fault.clone(), manner);
                    match source.map_err(CaptureError::ends_stream)? {
                        Some(source) => return Ok(Some(Box::new(source))),
                        None => continue,
                    }
                }
                if self.turns.is_none() {
                    // The next record begins when all of this one have ended.
                    let Turns { turns, most } = &playing.turns;
                    drop(turns.acquire_many(*most).await);
                }
                let told = playing.index.streams.iter().any(|stream| stream.ended.is_none());
                let fault = playing.fault.take().filter(|_| !told);
                self.playing = None;
                match fault {
                    // Streams that the fault ended have told of it.
                    Some(fault) => return Err(CaptureError::from(fault).ends_stream()),
                    None => continue,
                }
            }
            if self.opening.is_none() {
                let Some(file) = self.waiting.pop_front() else { return Ok(None) };
                self.opening = Some(index(&file.path).map_err(CaptureError::ends_stream)?);
            }
            let Some(opening) = &mut self.opening else { continue };
            let opened = opening.await;
            self.opening = None;
            match opened {
                Ok(Ok(index)) => self.playing = Some(self.play(index)),
                Ok(Err(error)) => return Err(CaptureError::Record(error.into()).ends_stream()),
                Err(_) => return Err(CaptureError::DecoderPanicked { name: "a record".into() }.ends_stream()),
            }
        }
    }

    fn play(&self, mut index: RecordIndex) -> Playing {
        // A port that is new since check has no place: nobody reads it.
        let place = |port: &String| self.ports.iter().position(|(name, _)| name == port).unwrap_or(usize::MAX);
        let places = index.ports().iter().map(place).collect();
        let turns = self.turns.clone().unwrap_or_else(|| Turns::new(index.together));
        let fault = index.fault.take().map(Arc::new);
        Playing { index: Arc::new(index), fault, turns, places, next: 0, zero: None }
    }
}

/// Starts a thread that looks where the packets of a record lie.
fn index(path: &Path) -> Result<oneshot::Receiver<Result<RecordIndex, RecordError>>, CaptureError> {
    let (sender, receiver) = oneshot::channel();
    let own = path.to_owned();
    std::thread::Builder::new()
        .name("percept/reader".into())
        // Nobody may listen any more: the run has ended meanwhile.
        .spawn(move || drop(sender.send(RecordIndex::open(&own))))
        .map_err(|source| CaptureError::Thread { name: path.display().to_string(), source })?;
    Ok(receiver)
}

impl Capture for Records {
    fn next_stream<'a>(
        &'a mut self,
        context: &'a CaptureContext,
    ) -> BoxFuture<'a, Result<Option<Box<dyn Source>>, StageError>> {
        Box::pin(self.next(context))
    }
}

#[cfg(test)]
mod tests;
