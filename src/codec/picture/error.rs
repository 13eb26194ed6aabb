//! What can go wrong with a picture, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use image::{ImageError as Fault, ImageFormat};
use thiserror::Error;

use super::name;
use crate::media::PixelFormat;

/// A fault of reading or writing a picture. `path` is the file as it was named by the caller.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PictureError {
    /// Nothing is at the path.
    #[error("{}: there is no such file; check the path (a relative one starts at the current folder)", .path.display())]
    Missing {
        /// The file asked for.
        path: PathBuf,
    },
    /// The path is a folder.
    #[error(
        "{0}: expected a picture, found a folder; name a file in it, or use a glob such as {0}/*.jpg",
        .path.display()
    )]
    IsFolder {
        /// The folder.
        path: PathBuf,
    },
    /// Not one byte to read.
    #[error("{}: expected a picture, found nothing (0 bytes); was the copy or the download interrupted?", .path.display())]
    Empty {
        /// The empty file.
        path: PathBuf,
    },
    /// The content is none of the known formats. The name's extension plays no part in this.
    #[error(
        "{}: expected a picture (PNG, JPEG, WebP, BMP, GIF or PNM), found {found}; check the path, or convert the file to PNG",
        .path.display()
    )]
    NotPicture {
        /// The file.
        path: PathBuf,
        /// What its first bytes look like.
        found: String,
    },
    /// The header announces more pixels than are allowed. Nothing was decoded.
    #[error(
        "{}: expected at most {max_pixels} pixels, found {width} × {height}; make the picture smaller, or raise the limit",
        .path.display()
    )]
    TooManyPixels {
        /// The file.
        path: PathBuf,
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
        /// The most that is allowed.
        max_pixels: u64,
    },
    /// The file is larger than allowed. Nothing was decoded.
    #[error("{}: expected a picture of at most {max_bytes} bytes, found {bytes} or more; raise the limit if it is one", .path.display())]
    TooManyBytes {
        /// The file.
        path: PathBuf,
        /// Bytes found before reading stopped.
        bytes: u64,
        /// The most that is allowed.
        max_bytes: u64,
    },
    /// Decoding would take more memory than a picture of the allowed size needs.
    #[error("{}: decoding this {format} takes more memory than the limit on pixels allows: {detail}", .path.display())]
    TooMuchMemory {
        /// The file.
        path: PathBuf,
        /// The format found, as in `PNG`.
        format: &'static str,
        /// What the decoder says.
        detail: String,
    },
    /// The file ends before its picture does.
    #[error("{}: truncated {format} file: it ends before the picture does; copy or download it again", .path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The format found, as in `PNG`.
        format: &'static str,
    },
    /// The file contradicts itself or its format.
    #[error("{}: damaged {format} file: {detail}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The format found, as in `PNG`.
        format: &'static str,
        /// What the decoder says.
        detail: String,
    },
    /// The format is known, this use of it is not.
    #[error("{}: this kind of {format} file cannot be decoded here: {detail}; convert it to PNG", .path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The format found, as in `PNG`.
        format: &'static str,
        /// What the decoder says.
        detail: String,
    },
    /// The operating system refused to read.
    #[error("{}: cannot be read: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A picture that the format cannot hold.
    #[error("a {format} file cannot hold a picture of {width} × {height} pixels of {pixel}: {detail}")]
    Unwritable {
        /// The format asked for, as in `JPEG`.
        format: &'static str,
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
        /// The picture's pixel format.
        pixel: PixelFormat,
        /// Why, and what to do.
        detail: String,
    },
}

impl PictureError {
    /// A decoder's error.
    pub(super) fn of(path: &Path, format: ImageFormat, fault: Fault) -> Self {
        let (path, format) = (path.to_owned(), name(format));
        if ends_early(&fault) {
            return PictureError::Truncated { path, format };
        }
        match fault {
            Fault::IoError(source) if source.kind() != io::ErrorKind::InvalidData => {
                PictureError::Read { path, source }
            }
            Fault::Unsupported(fault) => PictureError::Unsupported { path, format, detail: fault.to_string() },
            Fault::Limits(fault) => PictureError::TooMuchMemory { path, format, detail: fault.to_string() },
            fault => PictureError::Damaged { path, format, detail: fault.to_string() },
        }
    }

    /// The operating system's error.
    pub(super) fn reading(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => PictureError::Missing { path: path.to_owned() },
            _ => PictureError::Read { path: path.to_owned(), source },
        }
    }
}

/// Whether the decoder found the file's end where there should be more. Decoders read from memory, so no other I/O error
/// means it; the GIF and WebP decoders say it in words only.
fn ends_early(fault: &Fault) -> bool {
    match fault {
        Fault::IoError(source) => source.kind() == io::ErrorKind::UnexpectedEof,
        fault => {
            let words = fault.to_string().to_lowercase();
            ["unexpected end of file", "unexpected eof", "exhausted data"].iter().any(|end| words.contains(end))
        }
    }
}
