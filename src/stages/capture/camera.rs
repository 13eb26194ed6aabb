//! `camera`: shows what a camera sees.
//!
//! The camera is read through the program `ffmpeg`: Video4Linux on Linux, AVFoundation on macOS, DirectShow on Windows, or
//! any other input that `ffmpeg -devices` lists. `format: lavfi` gives pictures made up for tests
//! (`device: testsrc2=size=640x480:rate=30`), at their own pace.
//!
//! Each frame is a packet, `rgb8`, at the time of the clock when the first one came and of the camera from there on. A
//! pipeline that is behind loses frames, never time: what found no room is told, and the next packet is flagged `gap`.
//!
//! Silence is noticed: a camera that stops delivering, is unplugged or fails is told as an event, closed and opened again
//! every `reopen_ms`, and told again when it is back. The first packet after that is flagged `gap` and starts where the
//! clock says. A camera that is not there when the pipeline starts is an error.

use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;

use super::error::CaptureError;
use super::video::feed::{FrameFeed, Haste, Sampling};
use super::video::{FRAMES, ffmpeg};
use crate::codec::{Ffmpeg, Stopper, VideoDevice, VideoLimits, VideoOptions, VideoReader};
use crate::config::{Fault, Faults};
use crate::media::{Format, PixelFormat};
use crate::stage::{
    Blueprint, BoxFuture, Capture, CaptureContext, Contract, ContractFault, Kind, ReadContext, Resolve, Role, Runnable,
    Source, StageError,
};
use crate::units::TimeSpan;

mod watch;

use watch::{Patience, Watcher};

/// How long the first opening may take.
const OPENING: TimeSpan = TimeSpan::from_millis(20_000);

/// Settings of `camera`: → `frames`, `rgb8`, one stream.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Camera {
    /// The camera as ffmpeg names it. Default: `/dev/video0` on Linux, `0` on macOS; elsewhere it must be set, as
    /// `video=NAME`.
    #[serde(default = "device")]
    #[schemars(length(min = 1))]
    pub device: String,
    /// The kind of device, as `ffmpeg -devices` lists it. Default: `v4l2` on Linux, `avfoundation` on macOS, `dshow`
    /// elsewhere.
    #[serde(default = "format")]
    #[schemars(length(min = 1))]
    pub format: String,
    /// Pixels in a row, with `height`; the camera must offer this size. Default: the camera's own.
    #[schemars(range(min = 1, max = 32_768))]
    pub width: Option<u32>,
    /// Rows, with `width`. Default: the camera's own.
    #[schemars(range(min = 1, max = 32_768))]
    pub height: Option<u32>,
    /// Frames a second that the camera is asked for. Default: the camera's own.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub fps: Option<f64>,
    /// Takes each so many frames one. Default: 1, all frames.
    #[serde(default = "every")]
    #[schemars(range(min = 1))]
    pub every: u32,
    /// More options of the device, as ffmpeg has them before the input: `[-input_format, mjpeg]`. Default: none.
    #[serde(default)]
    pub options: Vec<String>,
    /// How long a camera may deliver nothing before it counts as silent, in milliseconds, 100 to 3600000. Default: 3000.
    #[serde(default = "silent_after_ms")]
    #[schemars(range(min = 100, max = 3_600_000))]
    pub silent_after_ms: u32,
    /// How long to wait before a silent or lost camera is opened again, in milliseconds, 10 to 3600000. Default: 1000.
    #[serde(default = "reopen_ms")]
    #[schemars(range(min = 10, max = 3_600_000))]
    pub reopen_ms: u32,
    /// The program `ffmpeg`: its path, or its name on the system's path. Default: ffmpeg.
    #[serde(default = "ffmpeg")]
    #[schemars(length(min = 1))]
    pub ffmpeg: String,
}

fn device() -> String {
    if cfg!(target_os = "macos") { "0" } else { "/dev/video0" }.to_owned()
}

fn format() -> String {
    let format = if cfg!(target_os = "linux") {
        "v4l2"
    } else if cfg!(target_os = "macos") {
        "avfoundation"
    } else {
        "dshow"
    };
    format.to_owned()
}

fn every() -> u32 {
    1
}

fn silent_after_ms() -> u32 {
    3000
}

fn reopen_ms() -> u32 {
    1000
}

const EXAMPLE: &str = "\
percept: 1
name: watch
stages:
  - capture: camera
  - preprocess: resize
    short_side: 256
  - sink: jsonl
    path: \"-\"
";

/// The registry's entry.
pub const KIND: Kind = Kind::resolved::<Camera>("camera", Role::Capture, "what a camera sees", EXAMPLE);

impl Default for Camera {
    /// The first camera as it is.
    fn default() -> Self {
        Camera {
            device: device(),
            format: format(),
            width: None,
            height: None,
            fps: None,
            every: every(),
            options: Vec::new(),
            silent_after_ms: silent_after_ms(),
            reopen_ms: reopen_ms(),
            ffmpeg: ffmpeg(),
        }
    }
}

impl Camera {
    /// The device with all options before the input.
    fn wanted(&self) -> VideoDevice {
        let mut options = Vec::new();
        let mut add = |name: &str, value: String| options.extend([name.to_owned(), value]);
        if self.format == "lavfi" {
            // Else pictures come as fast as they are made.
            options.push("-re".to_owned());
        } else {
            if let Some(fps) = self.fps {
                add("-framerate", fps.to_string());
            }
            if let (Some(width), Some(height)) = (self.width, self.height) {
                add("-video_size", format!("{width}x{height}"));
            }
        }
        options.extend(self.options.iter().cloned());
        VideoDevice { format: self.format.clone(), name: self.device.clone(), options }
    }

    fn dial(&self) -> Dial {
        let (device, every) = (self.wanted(), self.every);
        // What a device gives faster than it was asked to is left out.
        let fps = self.fps.filter(|_| self.format == "lavfi");
        let ffmpeg = Ffmpeg::at(&self.ffmpeg);
        Box::new(move || {
            let stopper = Stopper::default();
            let options = VideoOptions {
                ffmpeg: ffmpeg.clone(),
                limits: VideoLimits::default(),
                stopper: stopper.clone(),
                ..VideoOptions::default()
            };
            let (name, device) = (device.name.clone(), device.clone());
            let open = move || VideoReader::open_device(&device, &options);
            FrameFeed::start(&name, stopper, Sampling::new(every, fps), Haste::GoesOn, open)
        })
    }
}

impl Resolve for Camera {
    fn resolve(self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        let mut faults = Faults::default();
        if let Some(fps) = self.fps.filter(|fps| !(fps.is_finite() && *fps > 0.0)) {
            let fault =
                context.fault("fps", "bad-value", "this is no number of frames a second").found(fps.to_string());
            faults.push(fault.expected("a number above 0"));
        }
        if self.width.is_some() != self.height.is_some() {
            let key = if self.width.is_some() { "width" } else { "height" };
            faults.push(
                context.fault(key, "bad-value", "a size has two sides").expected("`width` and `height`, or neither"),
            );
        }
        if faults.has_errors() { Err(faults) } else { Ok(Box::new(self)) }
    }
}

impl Blueprint for Camera {
    fn contract(&self) -> Contract {
        Contract::new().output(FRAMES)
    }

    fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(vec![Format::image(Some(PixelFormat::Rgb8), self.width, self.height)])
    }

    fn build(&self) -> Result<Runnable, StageError> {
        let span = |ms: u32| TimeSpan::from_millis(ms.into());
        Ok(Runnable::capture(Recorder {
            name: self.device.clone(),
            patience: Patience { silent_after: span(self.silent_after_ms), reopen: span(self.reopen_ms) },
            dial: Some(self.dial()),
            opening: None,
        }))
    }

    /// A missing program is an error. An absent camera is a warning: it may be plugged in before the start. Opens none.
    fn probe(&self) -> Vec<Fault> {
        if let Err(error) = Ffmpeg::at(&self.ffmpeg).check(self.device.as_ref()) {
            return vec![Fault::error("no-ffmpeg", error.to_string())];
        }
        if self.format != "v4l2" || Path::new(&self.device).exists() {
            return Vec::new();
        }
        let fault = Fault::warning("no-device", format!("there is no camera `{}`", self.device));
        let there = cameras();
        vec![match there.is_empty() {
            true => fault.found("no camera at all").help("plug one in, or set `format: lavfi` and `device: testsrc2`"),
            false => fault.found(there.join(", ")).help("name one of these as `device`"),
        }]
    }
}

/// The cameras that Linux lists.
fn cameras() -> Vec<String> {
    let entries = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut found: Vec<String> =
        names.filter(|name| name.starts_with("video")).map(|name| format!("/dev/{name}")).collect();
    found.sort();
    found
}

/// Begins to open the camera.
type Dial = Box<dyn FnMut() -> Result<FrameFeed, CaptureError> + Send>;

/// The capture: one stream.
struct Recorder {
    name: String,
    patience: Patience,
    /// Taken when the stream is there.
    dial: Option<Dial>,
    /// Kept over a call that was dropped.
    opening: Option<FrameFeed>,
}

impl Recorder {
    async fn next(&mut self, context: &CaptureContext) -> Result<Option<Box<dyn Source>>, StageError> {
        let Some(dial) = &mut self.dial else { return Ok(None) };
        let feed = match &mut self.opening {
            Some(feed) => feed,
            none => none.insert(dial().map_err(StageError::fatal)?),
        };
        let deadline = context.clock.now().after(OPENING);
        let opened = tokio::select! {
            opened = feed.opened() => opened,
            () = context.clock.sleep_until(deadline) => {
                self.opening = None;
                return Err(StageError::fatal(CaptureError::CameraSilent { name: self.name.clone() }));
            }
        };
        let (dial, feed) = (self.dial.take(), self.opening.take());
        let spec = opened.map_err(StageError::fatal)?;
        let (Some(dial), Some(feed)) = (dial, feed) else { return Ok(None) };
        let size = (spec.width, spec.height);
        Ok(Some(Box::new(Watcher::new(self.name.clone(), self.patience, context.clock.clone(), dial, feed, size))))
    }
}

impl Capture for Recorder {
    fn next_stream<'a>(
        &'a mut self,
        context: &'a CaptureContext,
    ) -> BoxFuture<'a, Result<Option<Box<dyn Source>>, StageError>> {
        Box::pin(self.next(context))
    }
}

#[cfg(test)]
mod tests;
