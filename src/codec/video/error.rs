//! What can go wrong with a video, and what to do about it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::super::picture::PictureError;
use crate::units::TimeSpan;

/// How to get ffmpeg, as messages tell it.
pub(super) const INSTALL: &str = "install it (Debian, Ubuntu: `apt install ffmpeg`; Fedora: `dnf install ffmpeg`; macOS: \
    `brew install ffmpeg`; Windows: `winget install ffmpeg`), or say with `ffmpeg:` where it is";

/// A fault of reading or writing a video. `path` is the file as it was named by the caller, or the device.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VideoError {
    /// Nothing is at the path.
    #[error("{}: there is no such file; check the path (a relative one starts at the current folder)", .path.display())]
    Missing {
        /// The file asked for.
        path: PathBuf,
    },
    /// The path is a folder.
    #[error("{0}: expected a video, found a folder; name a file in it, or use a glob such as {0}/*.mp4", .path.display())]
    IsFolder {
        /// The folder.
        path: PathBuf,
    },
    /// Not one byte to read.
    #[error("{}: expected a video, found nothing (0 bytes); was the recording or the download interrupted?", .path.display())]
    Empty {
        /// The empty file.
        path: PathBuf,
    },
    /// A program that does the work is not there.
    #[error(
        "{}: this needs the program `{}`, which was not found; {INSTALL}. Y4M files and sequences of pictures are read \
         without it", .path.display(), .program.display()
    )]
    NoProgram {
        /// The video.
        path: PathBuf,
        /// The program as it was looked for.
        program: PathBuf,
    },
    /// A program is there and cannot be run.
    #[error("{}: `{}` cannot be run: {source}; check its permissions", .path.display(), .program.display())]
    Spawn {
        /// The video.
        path: PathBuf,
        /// The program.
        program: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// ffmpeg does not know what to make of it.
    #[error("{}: expected a video that ffmpeg can read, found that it says: {detail}; is the file whole?", .path.display())]
    Unreadable {
        /// The file or the device.
        path: PathBuf,
        /// Its last words.
        detail: String,
    },
    /// A file of other things.
    #[error("{}: expected a file with video, found {found}; use `capture: file` for sound", .path.display())]
    NoVideo {
        /// The file.
        path: PathBuf,
        /// What is in it, in words.
        found: String,
    },
    /// Sound was wanted of a file that has none.
    #[error("{}: the video has no sound; leave out `sound: true`", .path.display())]
    NoSound {
        /// The file.
        path: PathBuf,
    },
    /// More pixels than are allowed. No frame was decoded.
    #[error(
        "{}: expected frames of at most {max_pixels} pixels, found {width} × {height}; make the video smaller (ffmpeg -i \
         IN -vf scale=1920:-2 OUT.mp4), or raise the limit", .path.display()
    )]
    TooManyPixels {
        /// The file.
        path: PathBuf,
        /// Pixels in a row.
        width: u64,
        /// Rows.
        height: u64,
        /// The most that is allowed.
        max_pixels: u64,
    },
    /// The file ends before it should. Everything up to here was delivered.
    #[error("{}: truncated after {frames} frames{}{}; what came before is good, copy or record the file again for the rest",
        .path.display(), .expected.map(|expected| format!(" of {expected}")).unwrap_or_default(), told(.detail))]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Frames that were read.
        frames: u64,
        /// Frames that there should be, where the file says so.
        expected: Option<u64>,
        /// What ffmpeg says of it; may be empty.
        detail: String,
    },
    /// The program ended in the middle of its work, and not by itself.
    #[error("{}: ffmpeg ended too early ({how}) after {frames} frames{}; what came before is good, run it again for the rest",
        .path.display(), told(.detail))]
    Stopped {
        /// The file or the device.
        path: PathBuf,
        /// With which status, or by which signal.
        how: String,
        /// Frames that were read or written.
        frames: u64,
        /// Its last words; may be empty.
        detail: String,
    },
    /// What the program sends is not what it was asked for.
    #[error("{}: ffmpeg sent what cannot be read ({detail}); report this with its version (`ffmpeg -version`)", .path.display())]
    Garbled {
        /// The file or the device.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A Y4M file that contradicts itself or holds what is not read here.
    #[error("{}: {detail}; make another of it: ffmpeg -i IN -pix_fmt yuv420p OUT.y4m", .path.display())]
    Y4m {
        /// The file.
        path: PathBuf,
        /// What was expected and what was found.
        detail: String,
    },
    /// A picture of a sequence.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// A picture of a sequence with another size than its first.
    #[error(
        "{}: expected {} × {} pixels, as the first picture of the sequence has, found {} × {}; make all of one size",
        .path.display(), .expected.0, .expected.1, .found.0, .found.1
    )]
    OtherSize {
        /// The picture.
        path: PathBuf,
        /// Width and height of the first one.
        expected: (u32, u32),
        /// Width and height of this one.
        found: (u32, u32),
    },
    /// The operating system refused to read.
    #[error("{}: cannot be read: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The video cannot be written.
    #[error("{}: ffmpeg cannot write it after {frames} frames ({after}): {detail}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Frames that were handed over.
        frames: u64,
        /// The time of the last of them.
        after: TimeSpan,
        /// Its last words, or the system's.
        detail: String,
    },
}

fn told(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(" (ffmpeg says: {detail})") }
}
