//! What ffprobe says of a file before it is decoded.

use std::ffi::OsString;
use std::path::Path;

use serde::Deserialize;

use super::program::Ffmpeg;
use super::{VideoError, VideoLimits};
use crate::units::TimeSpan;

/// What is known of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Probe {
    /// The number of its first stream of video.
    pub(super) stream: u32,
    /// The seconds of a unit of the video's time, as a fraction.
    pub(super) time_base: (u32, u32),
    /// Frames that the file says it has.
    pub(super) frames: Option<u64>,
    /// The mean time from frame to frame.
    pub(super) period: Option<TimeSpan>,
    /// How long the file lasts.
    pub(super) duration: Option<TimeSpan>,
    /// Whether it has sound, and when that begins after the file's start.
    pub(super) sound: Option<TimeSpan>,
}

#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    streams: Vec<Stream>,
    #[serde(default)]
    format: Container,
}

#[derive(Debug, Default, Deserialize)]
struct Container {
    start_time: Option<String>,
    duration: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Stream {
    index: u32,
    codec_type: Option<String>,
    codec_name: Option<String>,
    width: Option<u64>,
    height: Option<u64>,
    time_base: Option<String>,
    avg_frame_rate: Option<String>,
    nb_frames: Option<String>,
    start_time: Option<String>,
    #[serde(default)]
    disposition: Disposition,
}

#[derive(Debug, Default, Deserialize)]
struct Disposition {
    #[serde(default)]
    attached_pic: u8,
}

const ENTRIES: &str = "format=start_time,duration:stream=index,codec_type,codec_name,width,height,time_base,avg_frame_rate,\
    nb_frames,start_time:stream_disposition=attached_pic";

/// The argument that names a local file, whatever its name looks like.
pub(super) fn file_argument(path: &Path) -> OsString {
    let mut argument = OsString::from("file:");
    argument.push(path);
    argument
}

/// Looks at a file.
pub(super) fn probe(ffmpeg: &Ffmpeg, path: &Path, limits: &VideoLimits) -> Result<Probe, VideoError> {
    let options = ["-print_format", "json", "-show_entries", ENTRIES, "-i"].map(OsString::from);
    let arguments = [&options[..], &[file_argument(path)]].concat();
    read(&ffmpeg.probe(path, &arguments)?, path, limits)
}

fn read(json: &[u8], path: &Path, limits: &VideoLimits) -> Result<Probe, VideoError> {
    let answer: Answer = serde_json::from_slice(json)
        .map_err(|error| VideoError::Garbled { path: path.to_owned(), detail: error.to_string() })?;
    let is = |stream: &Stream, kind: &str| stream.codec_type.as_deref() == Some(kind);
    let picture = |stream: &&Stream| is(stream, "video") && stream.disposition.attached_pic == 0;
    let Some(video) = answer.streams.iter().find(picture) else {
        return Err(VideoError::NoVideo { path: path.to_owned(), found: others(&answer.streams) });
    };
    let (width, height) = (video.width.unwrap_or(0), video.height.unwrap_or(0));
    if width.saturating_mul(height) > limits.max_pixels {
        return Err(VideoError::TooManyPixels { path: path.to_owned(), width, height, max_pixels: limits.max_pixels });
    }
    let start = answer.format.start_time.as_deref().and_then(seconds).unwrap_or(0.0);
    let begins = |stream: &Stream| stream.start_time.as_deref().and_then(seconds).map_or(0.0, |begin| begin - start);
    Ok(Probe {
        stream: video.index,
        time_base: video.time_base.as_deref().and_then(fraction).unwrap_or((1, 1_000_000)),
        frames: video.nb_frames.as_deref().and_then(|count| count.parse().ok()),
        period: video.avg_frame_rate.as_deref().and_then(fraction).and_then(|(frames, seconds)| {
            Some(TimeSpan::from_nanos(i64::from(seconds).checked_mul(1_000_000_000)? / i64::from(frames)))
        }),
        duration: answer.format.duration.as_deref().and_then(seconds).map(TimeSpan::from_seconds),
        sound: answer
            .streams
            .iter()
            .find(|stream| is(stream, "audio"))
            .map(|sound| TimeSpan::from_seconds(begins(sound).max(0.0))),
    })
}

/// What is in a file without video, in words.
fn others(streams: &[Stream]) -> String {
    let name = |stream: &Stream| {
        let kind = match stream.codec_type.as_deref() {
            Some("audio") => "sound",
            Some("video") => "a cover picture",
            Some(other) => other,
            None => "data",
        };
        format!("{kind} ({})", stream.codec_name.as_deref().unwrap_or("unknown"))
    };
    let names: Vec<String> = streams.iter().map(name).collect();
    if names.is_empty() { "nothing".to_owned() } else { format!("only {}", names.join(" and ")) }
}

fn seconds(text: &str) -> Option<f64> {
    text.parse().ok().filter(|seconds: &f64| seconds.is_finite())
}

/// `1/12800`; neither part is zero.
fn fraction(text: &str) -> Option<(u32, u32)> {
    let (numerator, denominator) = text.split_once('/')?;
    Some((numerator.parse().ok()?, denominator.parse().ok()?)).filter(|(a, b)| *a > 0 && *b > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Result<Probe, String> {
        let limits = VideoLimits { max_pixels: 1_000_000 };
        read(json.as_bytes(), Path::new("a.mp4"), &limits).map_err(|error| error.to_string())
    }

    #[test]
    fn answers_are_read() {
        let json = r#"{"streams": [
            {"index": 0, "codec_type": "video", "codec_name": "mjpeg", "width": 9, "height": 9, "disposition": {"attached_pic": 1}},
            {"index": 1, "codec_type": "audio", "codec_name": "aac", "start_time": "1.500000"},
            {"index": 2, "codec_type": "video", "codec_name": "h264", "width": 640, "height": 272, "time_base": "1/12800",
             "avg_frame_rate": "25/1", "nb_frames": "250"}
        ], "format": {"start_time": "1.4", "duration": "10.0"}}"#;
        let expected = Probe {
            stream: 2,
            time_base: (1, 12_800),
            frames: Some(250),
            period: Some(TimeSpan::from_millis(40)),
            duration: Some(TimeSpan::from_millis(10_000)),
            sound: Some(TimeSpan::from_millis(100)),
        };
        assert_eq!(of(json).unwrap(), expected);
        let bare =
            of(r#"{"streams": [{"index": 0, "codec_type": "video", "avg_frame_rate": "0/0", "time_base": "x"}]}"#);
        let nothing =
            Probe { stream: 0, time_base: (1, 1_000_000), frames: None, period: None, duration: None, sound: None };
        assert_eq!(bare.unwrap(), nothing);
    }

    #[test]
    fn what_is_no_video_is_told() {
        for (json, says) in [
            ("{}", "expected a file with video, found nothing"),
            (r#"{"streams": [{"index": 0, "codec_type": "audio", "codec_name": "mp3"}]}"#, "found only sound (mp3)"),
            (
                r#"{"streams": [{"index": 0, "codec_type": "video", "codec_name": "png", "disposition": {"attached_pic": 1}}]}"#,
                "found only a cover picture (png); use `capture: file` for sound",
            ),
            (
                r#"{"streams": [{"index": 0, "codec_type": "video", "width": 5000, "height": 5000}]}"#,
                "found 5000 × 5000",
            ),
            ("ffprobe", "ffmpeg sent what cannot be read"),
        ] {
            let error = of(json).unwrap_err();
            assert!(error.starts_with("a.mp4: ") && error.contains(says), "{error}");
        }
    }
}
