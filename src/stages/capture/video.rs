//! `video`: reads files of video, each as a stream of its own.
//!
//! For recordings, for tests, and to try a pipeline before a camera is there. Whatever the program `ffmpeg` decodes is
//! read (mp4, mkv, webm, avi, mov, ts and others); Y4M files and sequences of numbered pictures (`frames/%04d.png`) need
//! no program. A stream is called like its file: the path as given, or the folder's path as given with the path inside
//! the folder. What a phone says about its orientation is done, so that up is up.
//!
//! Each frame is a packet, `rgb8`, at the time that the file gives it, also where the rate varies, and lasts until the next
//! one. Times count from the start of the file: of its pictures or its sound, whichever begins first. With `sound: true`
//! the file's first sound comes beside the frames, on the same time.
//!
//! Files are read as fast as the pipeline takes them, unless `realtime: true` holds every frame back until it would have
//! been recorded.
//!
//! A file that ends too early gives what it has, and damaged places are stepped over: both are told as events and counted
//! in the books. A file that cannot be read ends as a failed stream, and the others go on.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::OnceLock;

use schemars::JsonSchema;
use serde::Deserialize;

use super::error::CaptureError;
use super::feed::Cutting;
pub use super::find::Paths;
use super::find::{self, Found, FoundFile, Places, Sort};
use crate::codec::{Ffmpeg, VideoLimits, VideoOptions};
use crate::config::{Fault, Faults};
use crate::media::{Format, PixelFormat};
use crate::stage::{
    Blueprint, BoxFuture, Capture, CaptureContext, Contract, ContractFault, Kind, ReadContext, Resolve, Role, Runnable,
    Source, StageError,
};
use crate::units::Rate;

pub(super) mod feed;
mod stream;

use stream::{Manner, Opening};

/// The name of the output port that carries pictures.
pub(super) const FRAMES: &str = "frames";
/// The length of a packet of sound, and how much is decoded in one go when nobody waits for it, in milliseconds.
const PACKET_MS: u32 = 100;
const GATHER_MS: u32 = 1000;

/// What is looked for in folders.
const VIDEO: Sort = Sort {
    like: "a video",
    file: "video",
    endings: &[
        "3gp", "avi", "flv", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "mts", "mxf", "ogv", "ts", "webm",
        "wmv", "y4m",
    ],
    stdin: "videos are read from files: write it to one first",
};

/// Settings of `video`: → `frames`, `rgb8` at the size of each file, and with `sound: true` → `sound`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Video {
    /// A file; a folder, of which the files are taken whose names look like videos; a glob such as `clips/**/*.mp4`, of
    /// which all files are taken; numbered pictures such as `frames/%04d.png`, from the least number to the first that is
    /// missing; or a list of them. A stream is named by its path as it is written here.
    pub path: Paths,
    /// The folder that relative paths start at, itself relative to the pipeline's. Default: the pipeline's folder.
    pub folder: Option<PathBuf>,
    /// Whether the folders in a folder are read too. Default: false.
    #[serde(default)]
    pub recursive: bool,
    /// Takes each so many frames one, from the first on. Default: 1, all frames.
    #[serde(default = "every")]
    #[schemars(range(min = 1))]
    pub every: u32,
    /// Takes at most so many frames a second, by their times. Default: all frames.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub fps: Option<f64>,
    /// Whether a file begins again when it ends, for ever, its times going on. Default: false.
    #[serde(default, rename = "loop")]
    pub again: bool,
    /// Whether frames come at the pace of the clock, as from a camera. Default: false, as fast as they are taken.
    #[serde(default)]
    pub realtime: bool,
    /// Whether the first sound of each file comes on the port `sound`; a file without sound is then a failed stream.
    /// Default: false.
    #[serde(default)]
    pub sound: bool,
    /// Numbered pictures in a second. Default: 25.
    #[serde(default = "sequence_fps")]
    #[schemars(range(min = 1, max = 1000))]
    pub sequence_fps: u32,
    /// Most pixels of a frame, width times height. Larger videos are refused before they are decoded. Default: 100000000.
    #[serde(default = "max_pixels")]
    #[schemars(range(min = 1))]
    pub max_pixels: u64,
    /// Most files that are read at a time, 1 to 1000. Default: 4.
    #[serde(default = "concurrent")]
    #[schemars(range(min = 1, max = 1000))]
    pub concurrent: usize,
    /// The program `ffmpeg`: its path, or its name on the system's path. `ffprobe` is taken from beside it. Default: ffmpeg.
    #[serde(default = "ffmpeg")]
    #[schemars(length(min = 1))]
    pub ffmpeg: String,
    #[serde(skip)]
    base: PathBuf,
    #[serde(skip)]
    places: Places,
    /// What the folders hold, as of the first time that somebody asked.
    #[serde(skip)]
    found: OnceLock<Found>,
}

fn every() -> u32 {
    1
}

fn sequence_fps() -> u32 {
    25
}

fn max_pixels() -> u64 {
    VideoLimits::default().max_pixels
}

fn concurrent() -> usize {
    4
}

/// The name of the program.
pub(super) fn ffmpeg() -> String {
    "ffmpeg".to_owned()
}

const EXAMPLE: &str = "\
percept: 1
name: scenes
stages:
  - capture: video
    path: examples/clips
    fps: 5
  - preprocess: resize
    short_side: 256
  - sink: jsonl
    path: \"-\"
";

/// The registry's entry.
pub const KIND: Kind =
    Kind::resolved::<Video>("video", Role::Capture, "files of video, each a stream of its own", EXAMPLE);

impl Video {
    /// Reads `path` (a file, a folder, a glob or numbered pictures) or several, with the default settings.
    pub fn new(path: impl Into<Paths>) -> Self {
        Video {
            path: path.into(),
            folder: None,
            recursive: false,
            every: every(),
            fps: None,
            again: false,
            realtime: false,
            sound: false,
            sequence_fps: sequence_fps(),
            max_pixels: max_pixels(),
            concurrent: concurrent(),
            ffmpeg: ffmpeg(),
            base: PathBuf::new(),
            places: Places::default(),
            found: OnceLock::new(),
        }
    }

    /// The folder where relative paths start, instead of the current one.
    #[must_use]
    pub fn base(mut self, folder: impl Into<PathBuf>) -> Self {
        self.base = folder.into();
        self
    }

    /// Whether the sound comes too.
    #[must_use]
    pub fn sound(mut self, sound: bool) -> Self {
        self.sound = sound;
        self
    }

    fn found(&self) -> &Found {
        self.found.get_or_init(|| {
            let mut found = Found { many: self.path.as_slice().len() > 1, ..Found::default() };
            for (item, given) in self.path.as_slice().iter().enumerate() {
                let path = self.base.join(given);
                if VideoOptions::is_sequence(&path) {
                    found.files.push(FoundFile { name: given.clone(), path, named: true, item });
                    continue;
                }
                let mut more = find::find(std::slice::from_ref(given), &self.base, self.recursive, &VIDEO);
                more.files.iter_mut().for_each(|file| file.item = item);
                found.files.append(&mut more.files);
                found.many |= more.many;
                found.faults.extend(more.faults.into_iter().map(|(_, fault)| (item, fault)));
                more.left_out
                    .into_iter()
                    .for_each(|(ending, count)| *found.left_out.entry(ending).or_default() += count);
            }
            found
        })
    }

    fn options(&self) -> VideoOptions {
        let sequence_rate = Rate::hz(self.sequence_fps.max(1)).unwrap_or(VideoOptions::default().sequence_rate);
        VideoOptions {
            ffmpeg: Ffmpeg::at(&self.ffmpeg),
            limits: VideoLimits { max_pixels: self.max_pixels },
            sequence_rate,
            ..VideoOptions::default()
        }
    }
}

impl Resolve for Video {
    fn resolve(mut self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        if let Some(fps) = self.fps.filter(|fps| !(fps.is_finite() && *fps > 0.0)) {
            let fault =
                context.fault("fps", "bad-value", "this is no number of frames a second").found(fps.to_string());
            return Err(fault.expected("a number above 0").into());
        }
        let own = self.folder.clone().unwrap_or_default();
        self.base = context.settings.resolve(own);
        self.places = Places::of(context);
        Ok(Box::new(self))
    }
}

impl Blueprint for Video {
    fn contract(&self) -> Contract {
        let contract = Contract::new().output(FRAMES).many_streams(self.found().many);
        if self.sound { contract.output(SOUND) } else { contract }
    }

    fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        let mut formats = vec![Format::image(Some(PixelFormat::Rgb8), None, None)];
        if self.sound {
            formats.push(Format::ANY_AUDIO);
        }
        Ok(formats)
    }

    fn build(&self) -> Result<Runnable, StageError> {
        let found = self.found();
        if let (true, Some((_, fault))) = (found.files.is_empty(), found.faults.first()) {
            let problem = fault.to_string();
            return Err(StageError::fatal(CaptureError::Config { key: "path", problem }));
        }
        Ok(Runnable::capture(Files {
            waiting: found.files.clone().into(),
            opening: None,
            notice: found.left_out_text(&VIDEO),
            manner: Manner {
                options: self.options(),
                every: self.every,
                fps: self.fps,
                again: self.again,
                realtime: self.realtime,
                sound: self.sound,
                cutting: Cutting { packet_ms: PACKET_MS, gather_ms: if self.realtime { 0 } else { GATHER_MS } },
            },
            concurrent: self.concurrent,
        }))
    }

    /// What is wrong with the paths; and a missing ffmpeg, where a file needs it.
    fn probe(&self) -> Vec<Fault> {
        let found = self.found();
        let mut faults: Vec<Fault> = found.faults.iter().map(|fault| self.places.put(fault.clone())).collect();
        let needs = |file: &&FoundFile| VideoOptions::needs_ffmpeg(&file.path);
        if let Some(file) = found.files.iter().find(needs)
            && let Err(error) = Ffmpeg::at(&self.ffmpeg).check(file.name.as_ref())
        {
            faults.push(self.places.put((file.item, Fault::error("no-ffmpeg", error.to_string()))));
        }
        faults
    }
}

/// The name of the output port that carries the files' sound.
const SOUND: &str = "sound";

struct Files {
    waiting: VecDeque<FoundFile>,
    /// Kept over a call that was dropped.
    opening: Option<Opening>,
    /// For the first stream to tell.
    notice: Option<String>,
    manner: Manner,
    concurrent: usize,
}

impl Files {
    async fn next(&mut self, context: &CaptureContext) -> Result<Option<Box<dyn Source>>, StageError> {
        if self.opening.is_none() {
            let Some(file) = self.waiting.pop_front() else { return Ok(None) };
            self.opening = Some(Opening::start(file, &self.manner).map_err(CaptureError::ends_stream)?);
        }
        let Some(opening) = &mut self.opening else { return Ok(None) };
        let ready = opening.ready().await;
        let Some(opening) = self.opening.take() else { return Ok(None) };
        ready.map_err(CaptureError::ends_stream)?;
        let stream = opening.stream(self.manner.clone(), self.notice.take(), &context.clock);
        Ok(stream.map(|stream| Box::new(stream) as Box<dyn Source>))
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
