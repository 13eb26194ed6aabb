//! `annotate`: draws what was recognised on the pictures it was recognised in.
//!
//! For looking at results, and for showing them: boxes with labels and scores, tracks, outlines, keypoints and masks
//! (`regions`), heat maps (`heat`, regions whose masks are drawn from blue to red), the best classes of the whole picture
//! (`labels`), and what was said (`text`). The pictures come on `image`, at any size: what was found in the captured frame
//! is drawn where it lies in them. Several stages may feed one port: `regions: [faces, hands]`.
//!
//! With a path that ends like a picture (`out/{stream}/{index}.png`) every picture becomes a file, numbered from 0 in each
//! stream. With one that ends like a video (`{stream}.annotated.mp4`) a stream becomes a video, written through the program
//! `ffmpeg`, whose frames have the times of the source; when their size changes it goes on in another (`NAME-2.mp4`).
//!
//! On a picture are drawn the results that start with it and go back to the same captured packet; from a stage that gave
//! none for it, those whose span covers its start, such as results of every fifth frame, or a sentence. So a picture is
//! written when the next one comes. Partial results are left out.
//!
//! A picture waits in memory until its results are there, and so do all that come meanwhile. For large ones keep the way to
//! the results short, with `from: {stage: …, queue: 2}` at its stages, and give the link of pictures room, as
//! `pipelines/video.yaml` does: `from: {image: {stage: video, queue_mb: 512}, labels: top_k}`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::claims::Claims;
use super::path::{self, INDEX, STREAM};
use super::{SinkError, is_partial};
use crate::config::{Fault, Faults};
use crate::media::{Format, Packet, Payload, StreamInfo};
use crate::stage::{
    Blueprint, Contract, ContractFault, Input, Kind, Opened, Output, ReadContext, Resolve, Role, Runnable, Stage,
    StageError,
};
use crate::units::Timestamp;

mod paint;
mod target;

use paint::{Found, Style};
use target::{Medium, Target};

/// The ports, in the contract's order.
const PORTS: [&str; 5] = ["image", "regions", "labels", "heat", "text"];
const IMAGE: usize = 0;

/// Settings of `annotate`: `image`, and where connected `regions`, `labels`, `heat` (regions with masks) and `text`
/// (transcripts) →
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Annotate {
    /// The file: a picture (`.png`, `.jpg`) or a video (`.mp4`, `.mkv`, `.mov`, `.webm`, `.avi`, `.gif`). `{stream}` is the
    /// stream's name; `{index}`, for pictures, the number of the picture in its stream, with at least four digits.
    pub path: String,
    /// Regions, keypoints and labels with a lower score are not drawn, 0 to 1. Default: 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub min_score: f32,
    /// Most labels of the whole picture that are written on it. Default: 3.
    #[serde(default = "max_labels")]
    pub max_labels: usize,
    /// Whether scores stand behind names. Default: true.
    #[serde(default = "yes")]
    pub scores: bool,
    /// How much of the picture masks hide, 0 to 1. Default: 0.45.
    #[serde(default = "mask_opacity")]
    #[schemars(range(min = 0, max = 1))]
    pub mask_opacity: f32,
    /// How much of the picture heat maps hide where they are hot, 0 to 1. Default: 0.55.
    #[serde(default = "heat_opacity")]
    #[schemars(range(min = 0, max = 1))]
    pub heat_opacity: f32,
    /// The height of texts in pixels of the picture, 4 to 400. Default: a 22nd of its shorter side, 11 to 48.
    #[schemars(range(min = 4, max = 400))]
    pub text_px: Option<u32>,
    /// The width of lines in pixels of the picture, 1 to 100. Default: a 240th of its shorter side, at least 1.
    #[schemars(range(min = 1, max = 100))]
    pub line_px: Option<u32>,
    /// The program `ffmpeg`, for videos: its path, or its name on the system's path. Default: ffmpeg.
    #[serde(default = "ffmpeg")]
    #[schemars(length(min = 1))]
    pub ffmpeg: String,
    #[serde(skip)]
    base: PathBuf,
    #[serde(skip)]
    files: Claims<u64>,
}

fn max_labels() -> usize {
    3
}

fn yes() -> bool {
    true
}

fn mask_opacity() -> f32 {
    0.45
}

fn heat_opacity() -> f32 {
    0.55
}

fn ffmpeg() -> String {
    "ffmpeg".to_owned()
}

const EXAMPLE: &str = "\
percept: 1
name: named-photos
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
  - sink: annotate
    from: {image: images, labels: top_k}
    path: \"named-{stream}-{index}.png\"
";

/// The registry's entry.
pub const KIND: Kind = Kind::resolved::<Annotate>(
    "annotate",
    Role::Sink,
    "draws boxes, labels, masks and texts on pictures, into picture files or a video",
    EXAMPLE,
);

impl Annotate {
    /// Pictures or videos at `path`, with the default settings.
    pub fn new(path: impl Into<String>) -> Self {
        Annotate {
            path: path.into(),
            min_score: 0.0,
            max_labels: max_labels(),
            scores: true,
            mask_opacity: mask_opacity(),
            heat_opacity: heat_opacity(),
            text_px: None,
            line_px: None,
            ffmpeg: ffmpeg(),
            base: PathBuf::new(),
            files: Claims::default(),
        }
    }

    fn style(&self) -> Style {
        Style {
            min_score: self.min_score,
            max_labels: self.max_labels,
            scores: self.scores,
            mask_opacity: self.mask_opacity,
            heat_opacity: self.heat_opacity,
            text_px: self.text_px,
            line_px: self.line_px,
        }
    }
}

impl Resolve for Annotate {
    fn resolve(mut self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        path::check(context, &self.path, &[STREAM, INDEX])?;
        let medium = Medium::of(&self.path).ok_or_else(|| {
            let fault = context.fault("path", "bad-path", "this name ends neither like a picture nor like a video");
            fault.found(format!("`{}`", self.path)).expected(Medium::ENDINGS)
        })?;
        if medium == Medium::Video && self.path.contains(INDEX) {
            let fault = context.fault("path", "bad-path", "a video holds many pictures, so it has no `{index}`");
            return Err(fault.help("leave it out, or name a picture: `{stream}-{index}.png`").into());
        }
        for (key, value) in
            [("min_score", self.min_score), ("mask_opacity", self.mask_opacity), ("heat_opacity", self.heat_opacity)]
        {
            if !(0.0..=1.0).contains(&value) {
                let fault = context.fault(key, "bad-value", format!("`{key}` is a share")).found(value.to_string());
                return Err(fault.expected("a number from 0 to 1").into());
            }
        }
        self.base = context.settings.base_dir.clone();
        Ok(Box::new(self))
    }
}

impl Blueprint for Annotate {
    fn contract(&self) -> Contract {
        let path = self.base.join(&self.path);
        let [image, regions, labels, heat, text] = PORTS;
        // A picture waits for the disk, or for ffmpeg, as long as it takes.
        Contract::new()
            .input(image, Format::image(None, None, None))
            .optional_input(regions, Format::Regions)
            .optional_input(labels, Format::Labels)
            .optional_input(heat, Format::Regions)
            .optional_input(text, Format::Transcript)
            .deadline(None)
            .writes(path.display().to_string())
    }

    fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(Vec::new())
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(AnnotateStage(self.clone())))
    }

    fn probe(&self) -> Vec<Fault> {
        let mut faults = path::probe(&self.base, &self.path);
        if Medium::of(&self.path) == Some(Medium::Video)
            && let Err(error) = crate::codec::Ffmpeg::at(&self.ffmpeg).check(self.path.as_ref())
        {
            faults.push(Fault::error("no-ffmpeg", error.to_string()));
        }
        faults
    }
}

struct AnnotateStage(Annotate);

/// One stream.
struct Drawing {
    target: Target,
    /// The picture that waits for its results.
    held: Option<Packet>,
    /// Results that may be drawn still, by port.
    results: [Vec<Packet>; PORTS.len()],
}

impl Drawing {
    /// Draws and writes the picture that is held.
    fn release(&mut self, style: &Style) -> Result<(), SinkError> {
        let Some(packet) = self.held.take() else { return Ok(()) };
        let Payload::Image(image) = &packet.payload else { return Ok(()) };
        let [_, regions, labels, heat, text] = &self.results;
        let on = |results| drawn_on(&packet, results);
        let found = Found {
            regions: on(regions).filter_map(|payload| payload.regions().ok().cloned()).collect(),
            labels: on(labels).filter_map(|payload| payload.labels().ok().cloned()).collect(),
            heat: on(heat).filter_map(|payload| payload.regions().ok().cloned()).collect(),
            texts: on(text).filter_map(|payload| payload.transcript().ok().map(|said| said.text.clone())).collect(),
        };
        let picture = paint::paint(image, &found, style);
        self.forget(packet.start);
        match picture {
            Some(picture) => self.target.write(&picture, packet.start),
            None => Ok(()),
        }
    }

    /// Drops results that can be on no picture from `start` on.
    fn forget(&mut self, start: Timestamp) {
        for results in &mut self.results {
            results.retain(|result| result.end() > start);
        }
    }
}

/// What is drawn on a picture of the results of one port.
fn drawn_on<'a>(picture: &Packet, results: &'a [Packet]) -> impl Iterator<Item = &'a Payload> + use<'a> {
    let (start, origin) = (picture.start, picture.origin.sequence);
    let own = move |result: &&Packet| result.start == start && result.origin.sequence == origin;
    let has_own = results.iter().any(|result| own(&result));
    let covers = move |result: &&Packet| result.start == start || (result.start < start && result.end() > start);
    results
        .iter()
        .filter(move |result| if has_own { own(result) } else { covers(result) })
        .map(|result| &result.payload)
}

impl Stage for AnnotateStage {
    type State = Drawing;

    fn open(&mut self, stream: &StreamInfo, _: &[Format]) -> Result<Opened<Drawing>, StageError> {
        let Annotate { path, base, files, ffmpeg, .. } = &self.0;
        let target = Target::new(base, path, stream, files.clone(), ffmpeg)?;
        Ok(Opened { state: Drawing { target, held: None, results: Default::default() }, outputs: Vec::new() })
    }

    fn process(&mut self, state: &mut Drawing, input: Input, _: &mut Output) -> Result<(), StageError> {
        let Input { port, packet } = input;
        let payload = &packet.payload;
        match PORTS.get(port) {
            Some(&"image") => payload.image().map(|_| ()),
            Some(&"labels") => payload.labels().map(|_| ()),
            Some(&"text") => payload.transcript().map(|_| ()),
            _ => payload.regions().map(|_| ()),
        }?;
        if is_partial(&packet) {
            return Ok(());
        }
        if port == IMAGE {
            let written = state.release(&self.0.style());
            state.held = Some(packet);
            return Ok(written?);
        }
        if let Some(results) = state.results.get_mut(port) {
            results.push(packet);
        }
        Ok(())
    }

    fn flush(&mut self, state: &mut Drawing, _: &mut Output) -> Result<(), StageError> {
        let written = state.release(&self.0.style());
        let finished = state.target.finish();
        Ok(written.and(finished)?)
    }
}

#[cfg(test)]
mod tests;
