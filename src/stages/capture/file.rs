//! `file`: reads files of sound, each as a stream of its own.
//!
//! For recordings, for tests, and to try a pipeline before a microphone is there. The format of a file is told from its
//! content: wav always; flac, mp3, ogg/vorbis, m4a/aac and others with the feature `codecs`. A stream is called like its
//! file: the path as given, or the folder's path as given with the path inside the folder.
//!
//! Files are read as fast as the pipeline takes them, unless `realtime: true` holds every packet back until it would have
//! been recorded: then the pipeline behaves as with a microphone.
//!
//! A file that ends too early gives what it has; damaged places are stepped over. Both are told as events and counted in
//! the books. Samples that are no numbers become silence, which is told. A file that cannot be read ends as a failed
//! stream, and the others go on.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use schemars::JsonSchema;
use serde::Deserialize;

use super::AUDIO;
use super::error::CaptureError;
use super::feed::{Cutting, Feed};
pub use super::find::Paths;
use super::find::{self, Found, FoundFile, Places, Sort};
use super::sound_feed::{Manner, SoundFeed};
use crate::codec::{AudioReader, AudioSpec};
use crate::config::{Fault, Faults};
use crate::media::Format;
use crate::stage::{
    Blueprint, BoxFuture, Capture, CaptureContext, Contract, ContractFault, Kind, ReadContext, Resolve, Role, Runnable,
    Source, StageError,
};

/// Files whose headers check reads; of further ones nothing is known before they open.
const HEADERS: usize = 1000;
/// How much is decoded in one go when nobody waits for it, in milliseconds.
const GATHER_MS: u32 = 1000;

/// What is looked for in folders.
pub(super) const SOUND: Sort = Sort {
    like: "sound",
    file: "file of sound",
    endings: &[
        "aac", "aif", "aifc", "aiff", "caf", "flac", "m4a", "m4b", "mka", "mkv", "mov", "mp2", "mp3", "mp4", "oga",
        "ogg", "opus", "wav", "wave",
    ],
    stdin: "to read standard input use `- capture: stdin`",
};

/// Settings of `file`: → `audio`, at the rate and with the channels of each file.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct File {
    /// A file; a folder, of which the files are taken whose names look like sound; a glob such as `talks/**/*.flac`, of
    /// which all files are taken; or a list of them. A stream is named by its path as it is written here.
    pub path: Paths,
    /// The folder that relative paths start at, itself relative to the pipeline's. Default: the pipeline's folder.
    pub folder: Option<PathBuf>,
    /// Whether the folders in a folder are read too. Default: false.
    #[serde(default)]
    pub recursive: bool,
    /// The length of a packet in milliseconds, 1 to 60000. It changes no result, only how often packets come.
    /// Default: 100.
    #[serde(default = "packet_ms")]
    #[schemars(range(min = 1, max = 60_000))]
    pub packet_ms: u32,
    /// Whether packets come at the pace of the clock, as from a microphone. Default: false, as fast as they are taken.
    #[serde(default)]
    pub realtime: bool,
    /// Most files that are read at a time, 1 to 10000. Default: 8.
    #[serde(default = "concurrent")]
    #[schemars(range(min = 1, max = 10_000))]
    pub concurrent: usize,
    #[serde(skip)]
    base: PathBuf,
    #[serde(skip)]
    places: Places,
    #[serde(skip)]
    look: OnceLock<Look>,
}

fn packet_ms() -> u32 {
    100
}

fn concurrent() -> usize {
    8
}

/// What the folders and the files' headers say, as of the first time that somebody asked.
#[derive(Clone, Debug)]
struct Look {
    found: Found,
    format: Format,
    faults: Vec<Fault>,
}

const EXAMPLE: &str = "\
percept: 1
name: recordings
stages:
  - capture: file
    path: examples/recordings
  - preprocess: mono
  - sink: jsonl
    path: \"-\"
";

/// The registry's entry.
pub const KIND: Kind =
    Kind::resolved::<File>("file", Role::Capture, "files of sound, each a stream of its own", EXAMPLE);

impl File {
    /// Reads `path` (a file, a folder or a glob) or several, with the default settings.
    pub fn new(path: impl Into<Paths>) -> Self {
        File {
            path: path.into(),
            folder: None,
            recursive: false,
            packet_ms: packet_ms(),
            realtime: false,
            concurrent: concurrent(),
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
            let found = find::find(self.path.as_slice(), &self.base, self.recursive, &SOUND);
            let (format, mut faults) = read_headers(&found.files);
            faults.extend(found.faults.iter().cloned());
            let faults = faults.into_iter().map(|fault| self.places.put(fault)).collect();
            Look { found, format, faults }
        })
    }
}

/// What the headers agree on, and what is wrong with files: an error when the file was named, a warning when it was found.
fn read_headers(files: &[FoundFile]) -> (Format, Vec<(usize, Fault)>) {
    let mut specs: Vec<AudioSpec> = Vec::new();
    let mut faults = Vec::new();
    let mut all = files.len() <= HEADERS;
    for file in files.iter().take(HEADERS) {
        // Opening a pipe would take bytes out of it, or wait for them.
        if !file.path.is_file() {
            all = false;
            continue;
        }
        match AudioReader::open(&file.path) {
            Ok(reader) => specs.push(reader.spec()),
            Err(error) if file.named => faults.push((file.item, Fault::error("unreadable-sound", error.to_string()))),
            Err(error) => {
                let fault = Fault::warning("unreadable-sound", error.to_string())
                    .help("the run will report it as a failed stream and read the other files");
                faults.push((file.item, fault));
            }
        }
    }
    let agreed = |same: fn(&AudioSpec, &AudioSpec) -> bool| {
        let first = specs.first().filter(|_| all)?;
        specs.iter().all(|spec| same(spec, first)).then_some(first)
    };
    let rate = agreed(|a, b| a.sample_rate == b.sample_rate).map(|spec| spec.sample_rate);
    let channels = agreed(|a, b| a.channels == b.channels).map(|spec| spec.channels);
    (Format::audio(rate, channels), faults)
}

impl Resolve for File {
    fn resolve(mut self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        let own = self.folder.clone().unwrap_or_default();
        self.base = context.settings.resolve(own);
        self.places = Places::of(context);
        Ok(Box::new(self))
    }
}

impl Blueprint for File {
    fn contract(&self) -> Contract {
        Contract::new().output(AUDIO).many_streams(self.look().found.many)
    }

    fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(vec![self.look().format.clone()])
    }

    fn build(&self) -> Result<Runnable, StageError> {
        let look = self.look();
        if let (true, Some(fault)) = (look.found.files.is_empty(), look.faults.first()) {
            let problem = fault.to_string();
            return Err(StageError::fatal(CaptureError::Config { key: "path", problem }));
        }
        Ok(Runnable::capture(Files {
            waiting: look.found.files.clone().into(),
            opening: None,
            notice: look.found.left_out_text(&SOUND),
            cutting: Cutting { packet_ms: self.packet_ms, gather_ms: if self.realtime { 0 } else { GATHER_MS } },
            realtime: self.realtime,
            concurrent: self.concurrent,
        }))
    }

    fn probe(&self) -> Vec<Fault> {
        self.look().faults.clone()
    }
}

struct Files {
    waiting: VecDeque<FoundFile>,
    /// Kept over a call that was dropped.
    opening: Option<(FoundFile, Feed)>,
    /// For the first stream to tell.
    notice: Option<String>,
    cutting: Cutting,
    realtime: bool,
    concurrent: usize,
}

impl Files {
    async fn next(&mut self, context: &CaptureContext) -> Result<Option<Box<dyn Source>>, StageError> {
        if self.opening.is_none() {
            let Some(file) = self.waiting.pop_front() else { return Ok(None) };
            let path = file.path.clone();
            let open = move || Ok(AudioReader::open(&path)?);
            let feed = Feed::start(&file.name, self.cutting, open).map_err(CaptureError::ends_stream)?;
            self.opening = Some((file, feed));
        }
        let Some((_, feed)) = &mut self.opening else { return Ok(None) };
        let opened = feed.opened().await;
        let Some((file, feed)) = self.opening.take() else { return Ok(None) };
        let spec = opened.map_err(CaptureError::ends_stream)?;
        let manner = Manner {
            name: file.name,
            cutting: self.cutting,
            live: self.realtime,
            pace: self.realtime.then(|| Arc::clone(&context.clock)),
            wall: None,
            file: Some(file.path),
            once: false,
            notice: self.notice.take(),
        };
        Ok(Some(Box::new(SoundFeed::new(manner, feed, spec))))
    }
}

impl Capture for Files {
    fn next_stream<'a>(
        &'a mut self,
        context: &'a CaptureContext,
    ) -> BoxFuture<'a, Result<Option<Box<dyn Source>>, StageError>> {
        Box::pin(self.next(context))
    }

    fn concurrency(&self) -> usize {
        self.concurrent
    }
}

#[cfg(test)]
mod tests;
