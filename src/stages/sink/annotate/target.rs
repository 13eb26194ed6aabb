//! Where drawn pictures go: a file each, or a video.

use std::path::{Path, PathBuf};

use super::super::SinkError;
use super::super::claims::Claims;
use super::super::output_file::make_folders;
use super::super::path::{self, INDEX};
use crate::codec::{Ffmpeg, PictureFormat, VideoWriter, encode_picture};
use crate::media::{Image, StreamInfo};
use crate::units::Timestamp;

/// The quality of JPEG files.
const QUALITY: u8 = 92;

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Medium {
    Picture(PictureFormat),
    Video,
}

impl Medium {
    /// What a path may end with.
    pub(super) const ENDINGS: &str = ".png, .jpg, .mp4, .mkv, .mov, .webm, .avi or .gif";

    /// By the ending of a path.
    pub(super) fn of(path: &str) -> Option<Medium> {
        let ending = Path::new(path).extension()?.to_str()?.to_lowercase();
        match ending.as_str() {
            "png" => Some(Medium::Picture(PictureFormat::Png)),
            "jpg" | "jpeg" => Some(Medium::Picture(PictureFormat::Jpeg { quality: QUALITY })),
            "mp4" | "m4v" | "mkv" | "mov" | "webm" | "avi" | "gif" => Some(Medium::Video),
            _ => None,
        }
    }
}

/// The files of one stream.
pub(super) struct Target {
    medium: Medium,
    /// Their path, without the index where it has one.
    path: PathBuf,
    stream: StreamInfo,
    /// The number of the next picture of each path, kept over restarts.
    files: Claims<u64>,
    ffmpeg: Ffmpeg,
    indexed: bool,
    video: Option<VideoWriter>,
}

impl Target {
    pub(super) fn new(
        base: &Path,
        template: &str,
        stream: &StreamInfo,
        files: Claims<u64>,
        ffmpeg: &str,
    ) -> Result<Self, SinkError> {
        Ok(Target {
            medium: Medium::of(template).unwrap_or(Medium::Video),
            path: path::for_stream(base, template, stream),
            stream: stream.clone(),
            files,
            ffmpeg: Ffmpeg::at(ffmpeg),
            indexed: template.contains(INDEX),
            video: None,
        })
    }

    /// Writes a picture of `rgb8` that is shown from `start` on.
    pub(super) fn write(&mut self, picture: &Image, start: Timestamp) -> Result<(), SinkError> {
        match self.medium {
            Medium::Picture(format) => {
                let next = self.files.own(&self.path, &self.stream, |_| Ok::<_, SinkError>(0))?;
                let mut next = next.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let path = match self.indexed {
                    true => path::with_index(&self.path, *next),
                    false => path::numbered(&self.path, *next + 1),
                };
                *next += 1;
                let bytes = encode_picture(picture, format)?;
                make_folders(&path)?;
                std::fs::write(&path, bytes).map_err(|source| SinkError::Write { path, source })
            }
            Medium::Video => {
                let size = (picture.width(), picture.height());
                if self.video.as_ref().is_some_and(|video| video.size() != size) {
                    self.finish()?;
                }
                let video = match &mut self.video {
                    Some(video) => video,
                    none => none.insert(begin(&self.files, &self.path, &self.stream, size, &self.ffmpeg)?),
                };
                Ok(video.write(picture, start)?)
            }
        }
    }

    /// Ends the video.
    pub(super) fn finish(&mut self) -> Result<(), SinkError> {
        match self.video.take() {
            Some(video) => Ok(video.finish().map(|_| ())?),
            None => Ok(()),
        }
    }
}

/// A video that nobody has written before in this pipeline.
fn begin(
    files: &Claims<u64>,
    path: &Path,
    stream: &StreamInfo,
    (width, height): (u32, u32),
    ffmpeg: &Ffmpeg,
) -> Result<VideoWriter, SinkError> {
    let mut writer = None;
    files.fresh(path, stream, |path| {
        make_folders(path)?;
        writer = Some(VideoWriter::create(path, width, height, ffmpeg)?);
        Ok::<_, SinkError>(0)
    })?;
    Ok(writer.expect("what was claimed was made"))
}
