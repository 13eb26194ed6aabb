//! Writing video through ffmpeg, each frame at its own time.

use std::ffi::OsString;
use std::fmt;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ChildStdin;

use super::nut::NutWriter;
use super::program::{Running, Work};
use super::{Ffmpeg, Stopper, VideoError, how};
use crate::media::{Image, PixelFormat};
use crate::units::{TimeSpan, Timestamp};

/// Units of time in a second, the 90 kHz of MPEG: frames at 24, 25, 30, 50 or 60 a second and at 30000/1001 are exact, any
/// other time is to 6 microseconds.
const TICKS: u32 = 90_000;

/// Writes frames to a file, in the format that its name ends with.
///
/// `mp4`, `mov`, `m4v` and `mkv` hold H.264 (where ffmpeg was built without it, MPEG-4), `webm` VP9, anything else what
/// ffmpeg takes for it. An odd side gets one more row or column, as 4:2:0 needs. A file that is there is overwritten.
pub struct VideoWriter {
    path: PathBuf,
    running: Running,
    input: Option<BufWriter<ChildStdin>>,
    nut: NutWriter,
    size: (u32, u32),
    frames: u64,
    last: Option<i64>,
}

impl fmt::Debug for VideoWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VideoWriter").field("path", &self.path).field("frames", &self.frames).finish_non_exhaustive()
    }
}

impl VideoWriter {
    /// Begins a file of frames of this size. Its folder is there.
    pub fn create(path: &Path, width: u32, height: u32, ffmpeg: &Ffmpeg) -> Result<Self, VideoError> {
        let passthrough = ffmpeg.passthrough(path)?;
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
        let wanted: &[&'static str] = match ending.as_str() {
            "mp4" | "mov" | "m4v" | "mkv" => &["libx264", "libopenh264", "mpeg4"],
            "webm" => &["libvpx-vp9", "libvpx"],
            _ => &[],
        };
        let encoder = ffmpeg.encoder(path, wanted)?;
        let mut arguments: Vec<OsString> = Vec::new();
        let mut add = |options: &str| arguments.extend(options.split(' ').map(OsString::from));
        // The beginning keeps its time too.
        add("-copyts -f nut -i pipe:0 -map 0:v:0");
        add(&passthrough.join(" "));
        if ending != "gif" {
            add(&format!("-enc_time_base 1:{TICKS}"));
            add("-vf pad=ceil(iw/2)*2:ceil(ih/2)*2,scale=out_color_matrix=bt709:out_range=tv,format=yuv420p");
            add("-colorspace bt709 -color_primaries bt709 -color_trc bt709");
        }
        match encoder {
            Some("libx264") => add("-c:v libx264 -preset veryfast -crf 20"),
            Some("libvpx-vp9") => add("-c:v libvpx-vp9 -crf 32 -b:v 0 -deadline realtime -cpu-used 6"),
            Some("mpeg4") => add("-c:v mpeg4 -q:v 3"),
            Some(other) => add(&format!("-c:v {other}")),
            None => {}
        }
        if matches!(ending.as_str(), "mp4" | "mov" | "m4v") {
            add(&format!("-video_track_timescale {TICKS} -movflags +faststart"));
        }
        arguments.extend(["-y".into(), super::probe::file_argument(path)]);
        let mut running = ffmpeg.start(path, Work::Takes, &arguments, &Stopper::default())?;
        let failed =
            |detail: String| VideoError::Write { path: path.to_owned(), frames: 0, after: TimeSpan::ZERO, detail };
        let input = running.input.take().ok_or_else(|| failed("it has no input".to_owned()))?;
        let mut input = BufWriter::with_capacity(1 << 16, input);
        let nut = NutWriter::begin(&mut input, width, height, (1, TICKS)).map_err(|error| failed(error.to_string()))?;
        let (path, size) = (path.to_owned(), (width, height));
        Ok(VideoWriter { path, running, input: Some(input), nut, size, frames: 0, last: None })
    }

    /// Width and height of its frames in pixels.
    pub fn size(&self) -> (u32, u32) {
        self.size
    }

    /// Adds a frame of `rgb8` that is shown from `start` on, not before zero. One that does not come after the frame before
    /// it is put one unit of time behind it. Waits while ffmpeg is busy.
    pub fn write(&mut self, image: &Image, start: Timestamp) -> Result<(), VideoError> {
        let found = (image.width(), image.height());
        if found != self.size || image.format() != PixelFormat::Rgb8 {
            let (width, height) = self.size;
            let detail = format!(
                "expected frames of {width} × {height} rgb8, found {} × {} {}",
                found.0,
                found.1,
                image.format()
            );
            return Err(self.failed(detail));
        }
        let nanos = i128::from(start.as_nanos().max(0)) * i128::from(TICKS);
        let ticks = ((nanos + 500_000_000) / 1_000_000_000) as i64;
        let ticks = self.last.map_or(ticks, |last| ticks.max(last + 1));
        let written = match &mut self.input {
            Some(input) => self.nut.write(input, ticks, std::iter::once(&*image.packed())).and_then(|()| input.flush()),
            None => Err(std::io::ErrorKind::BrokenPipe.into()),
        };
        if let Err(error) = written {
            // ffmpeg has gone away, and says why.
            self.input = None;
            let (_, said) = self.running.end();
            return Err(self.failed(if said.is_empty() { error.to_string() } else { said }));
        }
        self.last = Some(ticks);
        self.frames += 1;
        Ok(())
    }

    /// Ends the file: waits until all is encoded. Gives the number of frames.
    pub fn finish(mut self) -> Result<u64, VideoError> {
        self.close()?;
        Ok(self.frames)
    }

    fn close(&mut self) -> Result<(), VideoError> {
        if self.input.take().is_none() {
            return Ok(());
        }
        let (status, said) = self.running.end_of_work();
        match status.is_some_and(|status| status.success()) {
            true => Ok(()),
            false => Err(self.failed(if said.is_empty() { how(status) } else { said })),
        }
    }

    fn failed(&self, detail: String) -> VideoError {
        let after = TimeSpan::from_seconds(self.last.unwrap_or(0) as f64 / f64::from(TICKS));
        VideoError::Write { path: self.path.clone(), frames: self.frames, after, detail }
    }
}

/// A writer that was not finished ends its file all the same, as far as it got.
impl Drop for VideoWriter {
    fn drop(&mut self) {
        // Nobody is there to be told.
        let _ = self.close();
    }
}
