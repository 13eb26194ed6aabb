//! Reading and writing video.
//!
//! Whatever needs a decoder goes through the program `ffmpeg`, which is run with a pipe: no library is linked, and a fault
//! in a decoder cannot harm this process. Raw frames come through the pipe in the NUT container, so that each keeps its
//! exact time, at a variable frame rate too. Y4M files and sequences of numbered pictures need no program.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, ExitStatus};

use crate::media::{Image, PixelFormat};
use crate::units::{Rate, TimeSpan, Timestamp};

mod error;
mod nut;
mod probe;
mod program;
mod sequence;
mod sound;
mod writer;
mod y4m;
mod yuv;

pub use error::VideoError;
pub use program::{Ffmpeg, Stopper};
pub use sound::video_sound;
pub use writer::VideoWriter;

use nut::{NutFault, NutReader};
use program::{Running, Work};
use sequence::SequenceReader;
use y4m::Y4mReader;

/// How much of a video is taken before it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoLimits {
    /// Pixels of a frame, width times height as the header has them; 100 million by default.
    pub max_pixels: u64,
}

impl Default for VideoLimits {
    fn default() -> Self {
        VideoLimits { max_pixels: 100_000_000 }
    }
}

/// How videos are read.
#[derive(Clone, Debug)]
pub struct VideoOptions {
    /// The program for all but Y4M and sequences.
    pub ffmpeg: Ffmpeg,
    /// What is refused.
    pub limits: VideoLimits,
    /// Pictures of a sequence in a second; 25 by default.
    pub sequence_rate: Rate,
    /// Ends what is read with these options, from another thread. The read under way then gives an error.
    pub stopper: Stopper,
}

impl Default for VideoOptions {
    fn default() -> Self {
        let sequence_rate = Rate::hz(25).expect("25 a second is a rate");
        VideoOptions {
            ffmpeg: Ffmpeg::default(),
            limits: VideoLimits::default(),
            sequence_rate,
            stopper: Stopper::default(),
        }
    }
}

impl VideoOptions {
    /// Whether a path names numbered pictures: it has a place for a number, and no file is called just so.
    pub fn is_sequence(path: &Path) -> bool {
        sequence::is_sequence(path) && !path.exists()
    }

    /// Whether the file at `path` is read through ffmpeg: a file that is there and is neither Y4M nor numbered pictures.
    pub fn needs_ffmpeg(path: &Path) -> bool {
        !Self::is_sequence(path) && is_y4m(path).is_ok_and(|y4m| !y4m)
    }
}

/// What a [`VideoReader`] gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoSpec {
    /// Pixels in a row, turned as the file says.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// The mean time from frame to frame, where it is known.
    pub period: Option<TimeSpan>,
    /// How long it lasts, where the file says so.
    pub duration: Option<TimeSpan>,
    /// How many frames there are, where the file says so; what it holds may differ.
    pub frames: Option<u64>,
}

/// A frame and when it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoFrame {
    /// The frame, `rgb8`.
    pub image: Image,
    /// When it is shown, counted from the start of the file: of whichever of its streams begins first.
    pub start: Timestamp,
}

/// A device that ffmpeg reads: a camera, or a source of pictures made up for tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoDevice {
    /// The kind of device, as `ffmpeg -devices` lists it: `v4l2`, `avfoundation`, `dshow`, `lavfi`.
    pub format: String,
    /// Its name: `/dev/video0`.
    pub name: String,
    /// Options before the input, as ffmpeg has them: `["-framerate", "30"]`.
    pub options: Vec<String>,
}

/// Reads the frames of a video in the order in which they are shown. Dropping it ends the program that it runs.
///
/// ```no_run
/// use percept::codec::{VideoOptions, VideoReader};
///
/// let mut reader = VideoReader::open("clip.mp4".as_ref(), &VideoOptions::default())?;
/// while let Some(frame) = reader.read()? {
///     println!("{}: {} × {}", frame.start, frame.image.width(), frame.image.height());
/// }
/// # Ok::<(), percept::codec::VideoError>(())
/// ```
pub struct VideoReader {
    path: PathBuf,
    from: Origin,
    spec: VideoSpec,
    frames: u64,
    complaint: Option<String>,
}

enum Origin {
    Ffmpeg { running: Running, nut: Box<NutReader<BufReader<ChildStdout>>> },
    Y4m(Y4mReader),
    Sequence { reader: SequenceReader, rate: Rate },
    Ended,
}

impl fmt::Debug for VideoReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, spec, frames) = (&self.path, &self.spec, self.frames);
        f.debug_struct("VideoReader").field("path", path).field("spec", spec).field("frames", &frames).finish()
    }
}

impl VideoReader {
    /// Opens the file at `path`, or the sequence of pictures that it names (`frames/%04d.png`). Blocks until the first
    /// frame is decoded.
    pub fn open(path: &Path, options: &VideoOptions) -> Result<Self, VideoError> {
        if VideoOptions::is_sequence(path) {
            let reader = SequenceReader::open(path, &options.limits)?;
            let (rate, frames) = (options.sequence_rate, reader.left());
            let spec = spec(reader.size(), rate, frames);
            return Ok(Self::new(path, Origin::Sequence { reader, rate }, spec));
        }
        if is_y4m(path)? {
            let reader = Y4mReader::open(path, &options.limits)?;
            let spec = spec(reader.size(), y4m_rate(&reader), reader.expected());
            return Ok(Self::new(path, Origin::Y4m(reader), spec));
        }
        let about = probe::probe(&options.ffmpeg, path, &options.limits)?;
        let mut arguments: Vec<OsString> = vec!["-i".into(), probe::file_argument(path)];
        arguments.extend(["-map".into(), format!("0:{}", about.stream).into()]);
        let mut reader = Self::start(path, options, arguments, about.time_base)?;
        reader.spec.period = about.period;
        reader.spec.duration = about.duration;
        reader.spec.frames = about.frames;
        Ok(reader)
    }

    /// Opens a device. Its times count from its first frame. Blocks until that is there.
    pub fn open_device(device: &VideoDevice, options: &VideoOptions) -> Result<Self, VideoError> {
        let mut arguments: Vec<OsString> = vec!["-f".into(), (&device.format).into()];
        arguments.extend(device.options.iter().map(OsString::from));
        arguments.extend(["-i".into(), (&device.name).into(), "-map".into(), "0:v:0".into()]);
        // Devices tell times in microseconds.
        Self::start(Path::new(&device.name), options, arguments, (1, 1_000_000))
    }

    fn start(
        path: &Path,
        options: &VideoOptions,
        mut arguments: Vec<OsString>,
        time_base: (u32, u32),
    ) -> Result<Self, VideoError> {
        arguments.extend(options.ffmpeg.passthrough(path)?.map(OsString::from));
        arguments.extend(["-enc_time_base".into(), format!("{}:{}", time_base.0, time_base.1).into()]);
        let output = "-c:v rawvideo -pix_fmt rgb24 -flush_packets 1 -write_index 0 -f nut pipe:1";
        arguments.extend(output.split(' ').map(OsString::from));
        let mut running = options.ffmpeg.start(path, Work::Gives, &arguments, &options.stopper)?;
        let garbled = |detail: &str| VideoError::Garbled { path: path.to_owned(), detail: detail.to_owned() };
        let output = running.output.take().ok_or_else(|| garbled("it has no output"))?;
        let nut = match NutReader::begin(BufReader::new(output)) {
            Ok(nut) => nut,
            Err(NutFault::Malformed(detail)) => return Err(garbled(detail)),
            Err(NutFault::Io(source)) => return Err(VideoError::Read { path: path.to_owned(), source }),
            Err(NutFault::Cut) => {
                let (status, detail) = running.end();
                let detail = if detail.is_empty() { how(status) } else { detail };
                return Err(VideoError::Unreadable { path: path.to_owned(), detail });
            }
        };
        let (width, height) = (u64::from(nut.width()), u64::from(nut.height()));
        let max_pixels = options.limits.max_pixels;
        if width * height > max_pixels {
            return Err(VideoError::TooManyPixels { path: path.to_owned(), width, height, max_pixels });
        }
        let (width, height) = (nut.width(), nut.height());
        let spec = VideoSpec { width, height, period: None, duration: None, frames: None };
        Ok(Self::new(path, Origin::Ffmpeg { running, nut: Box::new(nut) }, spec))
    }

    fn new(path: &Path, from: Origin, spec: VideoSpec) -> Self {
        VideoReader { path: path.to_owned(), from, spec, frames: 0, complaint: None }
    }

    /// Size, rate and length.
    pub fn spec(&self) -> &VideoSpec {
        &self.spec
    }

    /// Frames read so far.
    pub fn position(&self) -> u64 {
        self.frames
    }

    /// After the end: what ffmpeg complained of although it went on, such as damaged places.
    pub fn complaint(&self) -> Option<&str> {
        self.complaint.as_deref()
    }

    /// The next frame; `None` at the end, and after an error.
    ///
    /// A file that ends too early gives all that is readable, then [`VideoError::Truncated`].
    pub fn read(&mut self) -> Result<Option<VideoFrame>, VideoError> {
        let frame = self.next();
        match &frame {
            Ok(Some(_)) => self.frames += 1,
            _ => self.from = Origin::Ended,
        }
        frame
    }

    fn next(&mut self) -> Result<Option<VideoFrame>, VideoError> {
        let at = self.frames;
        let (pixels, start) = match &mut self.from {
            Origin::Ended => return Ok(None),
            Origin::Y4m(reader) => {
                let rate = y4m_rate(reader);
                let Some(pixels) = reader.read()? else { return Ok(None) };
                (pixels, rate.time_of(at))
            }
            Origin::Sequence { reader, rate } => {
                let start = rate.time_of(at);
                return Ok(reader.read()?.map(|image| VideoFrame { image, start }));
            }
            Origin::Ffmpeg { nut, .. } => {
                let bytes = nut.width() as usize * nut.height() as usize * 3;
                match nut.read(bytes) {
                    Ok(Some((pts, pixels))) => (pixels, time(pts, nut.time_base())),
                    Ok(None) => return self.ended(None),
                    Err(NutFault::Cut) => return self.ended(Some("it ended within a frame")),
                    Err(NutFault::Malformed(detail)) => return self.ended(Some(detail)),
                    Err(NutFault::Io(source)) => return Err(VideoError::Read { path: self.path.clone(), source }),
                }
            }
        };
        let image = Image::new(pixels, self.spec.width, self.spec.height, PixelFormat::Rgb8)
            .map_err(|error| VideoError::Garbled { path: self.path.clone(), detail: error.to_string() })?;
        Ok(Some(VideoFrame { image, start }))
    }

    /// How the end of the pipe came about.
    fn ended(&mut self, fault: Option<&'static str>) -> Result<Option<VideoFrame>, VideoError> {
        let Origin::Ffmpeg { running, .. } = &mut self.from else { return Ok(None) };
        let path = self.path.clone();
        if let Some(detail) = fault.filter(|fault| *fault != "it ended within a frame") {
            return Err(VideoError::Garbled { path, detail: detail.to_owned() });
        }
        let (status, detail) = running.end();
        let (frames, expected) = (self.frames, self.spec.frames);
        if !status.is_some_and(|status| status.success()) {
            return Err(VideoError::Stopped { path, how: how(status), frames, detail });
        }
        if let Some(fault) = fault {
            return Err(VideoError::Garbled { path, detail: fault.to_owned() });
        }
        if !detail.is_empty() && expected.is_some_and(|expected| frames < expected) {
            return Err(VideoError::Truncated { path, frames, expected, detail });
        }
        self.complaint = Some(detail).filter(|detail| !detail.is_empty());
        Ok(None)
    }
}

/// What is known of frames at a steady rate.
fn spec((width, height): (u32, u32), rate: Rate, frames: u64) -> VideoSpec {
    let (period, duration) = (Some(rate.span(0, 1)), Some(rate.span(0, frames)));
    VideoSpec { width, height, period, duration, frames: Some(frames) }
}

fn y4m_rate(reader: &Y4mReader) -> Rate {
    let (frames, seconds) = reader.rate();
    Rate::new(frames, seconds).unwrap_or(VideoOptions::default().sequence_rate)
}

/// Whether the file at `path` begins as Y4M does. Fails where there is no file, or nothing in it.
fn is_y4m(path: &Path) -> Result<bool, VideoError> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => VideoError::Missing { path: path.to_owned() },
        _ => VideoError::Read { path: path.to_owned(), source },
    };
    let about = std::fs::metadata(path).map_err(failed)?;
    if about.is_dir() {
        return Err(VideoError::IsFolder { path: path.to_owned() });
    }
    if !about.is_file() {
        // Looking into a pipe would take its beginning.
        return Ok(false);
    }
    let mut head = Vec::new();
    File::open(path).and_then(|file| file.take(y4m::MAGIC.len() as u64).read_to_end(&mut head)).map_err(failed)?;
    if head.is_empty() {
        return Err(VideoError::Empty { path: path.to_owned() });
    }
    Ok(head == y4m::MAGIC)
}

/// A time in units of a time base, to the nearest nanosecond.
fn time(pts: i64, (numerator, denominator): (u32, u32)) -> Timestamp {
    let nanos = i128::from(pts) * i128::from(numerator) * 1_000_000_000;
    let denominator = i128::from(denominator);
    let nanos = (nanos + denominator / 2).div_euclid(denominator);
    Timestamp::from_nanos(nanos.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
}

/// How a program ended, in words.
fn how(status: Option<ExitStatus>) -> String {
    status.map_or_else(|| "nobody knows how".to_owned(), |status| status.to_string())
}

#[cfg(test)]
mod tests;
