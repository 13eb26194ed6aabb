//! `images`: reads picture files, each as a stream of its own.
//!
//! For folders of photos, scans and frames. The format of a file is told from its content: PNG, JPEG, WebP, BMP, GIF or
//! PNM. A stream is called like its file: the path as given, or the folder's path as given with the path inside the folder.
//! What a photo says about its orientation (EXIF) is done, so that up is up.
//!
//! A picture is a packet at time 0 that lasts 0. The pictures of an animation (GIF, PNG, WebP) come one after the other as
//! they are to be shown, with the starts and durations that the file gives; one of duration 0 lasts a tenth of a second,
//! as viewers have it.
//!
//! Files are decoded ahead, as many at a time as there are cores, and streams begin in the order of the files. A file that
//! is no picture, is damaged, or has more pixels than `max_pixels` ends as a failed stream, and the others go on.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::OnceLock;

use schemars::JsonSchema;
use serde::Deserialize;

use super::IMAGE;
use super::error::CaptureError;
pub use super::find::Paths;
use super::find::{self, Found, FoundFile, Places, Sort};
use super::picture_feed::{PictureFeed, PictureStream};
pub use super::pixels::Pixels;
use crate::codec::PictureLimits;
use crate::config::{Fault, Faults};
use crate::media::Format;
use crate::stage::{
    Blueprint, BoxFuture, Capture, CaptureContext, Contract, ContractFault, Kind, ReadContext, Resolve, Role, Runnable,
    Source, StageError,
};

/// What is looked for in folders.
const PICTURES: Sort = Sort {
    like: "a picture",
    file: "picture",
    endings: &[
        "apng", "bmp", "dib", "gif", "jfif", "jpe", "jpeg", "jpg", "pam", "pbm", "pgm", "png", "pnm", "ppm", "webp",
    ],
    stdin: "pictures are read from files: write it to one first",
};

/// Settings of `images`: → `image`, at the size of each file.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Images {
    /// A file; a folder, of which the files are taken whose names look like pictures; a glob such as `holiday/**/*.jpg`, of
    /// which all files are taken; or a list of them. A stream is named by its path as it is written here.
    pub path: Paths,
    /// The folder that relative paths start at, itself relative to the pipeline's. Default: the pipeline's folder.
    pub folder: Option<PathBuf>,
    /// Whether the folders in a folder are read too. Default: false.
    #[serde(default)]
    pub recursive: bool,
    /// The pixels that pictures come with: `rgb8`, `rgba8`, `gray8`, or `as_stored` for those nearest to each file's.
    /// Default: rgb8.
    #[serde(default)]
    pub pixels: Pixels,
    /// Most pixels of a picture, width times height. Larger ones are refused before they are decoded. Default: 100000000.
    #[serde(default = "max_pixels")]
    #[schemars(range(min = 1))]
    pub max_pixels: u64,
    /// Most files that are open at a time, 1 to 10000. Default: 8.
    #[serde(default = "concurrent")]
    #[schemars(range(min = 1, max = 10_000))]
    pub concurrent: usize,
    #[serde(skip)]
    base: PathBuf,
    #[serde(skip)]
    places: Places,
    /// What the folders hold, as of the first time that somebody asked.
    #[serde(skip)]
    found: OnceLock<Found>,
}

fn max_pixels() -> u64 {
    PictureLimits::default().max_pixels
}

fn concurrent() -> usize {
    8
}

const EXAMPLE: &str = "\
percept: 1
name: photos
stages:
  - capture: images
    path: examples/photos
  - preprocess: resize
    short_side: 256
  - sink: jsonl
    path: \"-\"
";

/// The registry's entry.
pub const KIND: Kind =
    Kind::resolved::<Images>("images", Role::Capture, "files of pictures, each a stream of its own", EXAMPLE);

impl Images {
    /// Reads `path` (a file, a folder or a glob) or several, with the default settings.
    pub fn new(path: impl Into<Paths>) -> Self {
        Images {
            path: path.into(),
            folder: None,
            recursive: false,
            pixels: Pixels::default(),
            max_pixels: max_pixels(),
            concurrent: concurrent(),
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

    /// The pixels that pictures come with.
    #[must_use]
    pub fn pixels(mut self, pixels: Pixels) -> Self {
        self.pixels = pixels;
        self
    }

    fn found(&self) -> &Found {
        self.found.get_or_init(|| find::find(self.path.as_slice(), &self.base, self.recursive, &PICTURES))
    }
}

impl Resolve for Images {
    fn resolve(mut self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        let own = self.folder.clone().unwrap_or_default();
        self.base = context.settings.resolve(own);
        self.places = Places::of(context);
        Ok(Box::new(self))
    }
}

impl Blueprint for Images {
    fn contract(&self) -> Contract {
        Contract::new().output(IMAGE).many_streams(self.found().many)
    }

    fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(vec![Format::image(self.pixels.format(), None, None)])
    }

    fn build(&self) -> Result<Runnable, StageError> {
        let found = self.found();
        if let (true, Some((_, fault))) = (found.files.is_empty(), found.faults.first()) {
            let problem = fault.to_string();
            return Err(StageError::fatal(CaptureError::Config { key: "path", problem }));
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Runnable::capture(Files {
            waiting: found.files.clone().into(),
            opening: VecDeque::new(),
            ahead: cores.min(self.concurrent).max(1),
            notice: found.left_out_text(&PICTURES),
            pixels: self.pixels,
            limits: PictureLimits { max_pixels: self.max_pixels, ..PictureLimits::default() },
            concurrent: self.concurrent,
        }))
    }

    fn probe(&self) -> Vec<Fault> {
        self.found().faults.iter().map(|fault| self.places.put(fault.clone())).collect()
    }
}

struct Files {
    waiting: VecDeque<FoundFile>,
    /// Being decoded, in the order of the files. Kept over a call that was dropped.
    opening: VecDeque<PictureFeed>,
    /// Most files that are decoded before their streams are asked for.
    ahead: usize,
    /// For the first stream to tell.
    notice: Option<String>,
    pixels: Pixels,
    limits: PictureLimits,
    concurrent: usize,
}

impl Files {
    async fn next(&mut self) -> Result<Option<Box<dyn Source>>, StageError> {
        while self.opening.len() < self.ahead {
            let Some(file) = self.waiting.pop_front() else { break };
            match PictureFeed::start(&file.name, file.path.clone(), self.pixels, self.limits) {
                Ok(feed) => self.opening.push_back(feed),
                Err(error) if self.opening.is_empty() => return Err(error.ends_stream()),
                // No thread for it now: those at work will have ended when it is its turn.
                Err(_) => {
                    self.waiting.push_front(file);
                    break;
                }
            }
        }
        let Some(feed) = self.opening.front_mut() else { return Ok(None) };
        let first = feed.first().await;
        let Some(feed) = self.opening.pop_front() else { return Ok(None) };
        let first = first.map_err(CaptureError::ends_stream)?;
        Ok(Some(Box::new(PictureStream::new(feed, first, self.notice.take()))))
    }
}

impl Capture for Files {
    fn next_stream<'a>(
        &'a mut self,
        _: &'a CaptureContext,
    ) -> BoxFuture<'a, Result<Option<Box<dyn Source>>, StageError>> {
        Box::pin(self.next())
    }

    fn concurrency(&self) -> usize {
        self.concurrent
    }
}

#[cfg(test)]
mod tests;
