//! Reading pictures, whatever their format.

use std::fs::File;
use std::io::{Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError as Fault, ImageFormat, ImageReader, Limits};

use super::sniff;
use crate::media::{Image, PixelFormat};

mod encode;
mod error;
mod frames;
mod jpeg;

pub use encode::{PictureFormat, encode_picture};
pub use error::PictureError;
pub use frames::{PictureFrame, PictureFrames};

/// How much of a picture is taken before it is refused. Both are checked before any pixel is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureLimits {
    /// Pixels, width times height as the header has them; 100 million by default, some 300 MB as RGB.
    pub max_pixels: u64,
    /// Bytes of the file; 512 MiB by default.
    pub max_bytes: u64,
}

impl Default for PictureLimits {
    fn default() -> Self {
        PictureLimits { max_pixels: 100_000_000, max_bytes: 512 << 20 }
    }
}

/// The picture in the file at `path`; the first one of an animation.
///
/// Reads PNG, JPEG, WebP, BMP, GIF and PNM, told from the content, never from the name. Pixels come as `gray8`, `rgb8` or
/// `rgba8`: palettes are looked up, 16 bits and floats rounded to 8, CMYK turned to RGB (without a colour profile), gray
/// with alpha made `rgba8`. What the EXIF orientation says is done, so that up is up.
pub fn read_picture(path: &Path, limits: &PictureLimits) -> Result<Image, PictureError> {
    decode_picture(&read_file(path, limits)?, path, limits)
}

/// The picture in these bytes, as [`read_picture`]; `path` is what messages call it.
pub fn decode_picture(bytes: &[u8], path: &Path, limits: &PictureLimits) -> Result<Image, PictureError> {
    let format = format_of(bytes, path, limits)?;
    if let Some(size) = bmp_size(bytes).filter(|_| format == ImageFormat::Bmp) {
        check_pixels(path, size, limits)?;
    }
    if !is_whole(bytes, format) {
        return Err(PictureError::Truncated { path: path.to_owned(), format: name(format) });
    }
    guard(path, format, || {
        let mut decoder = ImageReader::with_format(Cursor::new(bytes), format);
        decoder.limits(allowance(limits));
        let mut decoder = decoder.into_decoder().map_err(|fault| PictureError::of(path, format, fault))?;
        let (width, height) = decoder.dimensions();
        check_pixels(path, (width, height), limits)?;
        // A picture whose EXIF data cannot be read is shown as it lies.
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let mut picture = DynamicImage::from_decoder(decoder).map_err(|fault| PictureError::of(path, format, fault))?;
        picture.apply_orientation(orientation);
        to_image(picture, path, format)
    })
}

/// The bytes of the file, at most as many as are allowed.
fn read_file(path: &Path, limits: &PictureLimits) -> Result<Vec<u8>, PictureError> {
    let fault = |source| PictureError::reading(path, source);
    let too_many = |bytes| PictureError::TooManyBytes { path: path.to_owned(), bytes, max_bytes: limits.max_bytes };
    let about = std::fs::metadata(path).map_err(fault)?;
    if about.is_dir() {
        return Err(PictureError::IsFolder { path: path.to_owned() });
    }
    if about.len() > limits.max_bytes {
        return Err(too_many(about.len()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(about.len()).unwrap_or(0));
    // A FIFO has no length to ask for beforehand.
    let count = File::open(path)
        .and_then(|file| file.take(limits.max_bytes.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(fault)?;
    if count as u64 > limits.max_bytes {
        return Err(too_many(count as u64));
    }
    Ok(bytes)
}

/// The format of these bytes, when it is one that is read here and they are not too many.
fn format_of(bytes: &[u8], path: &Path, limits: &PictureLimits) -> Result<ImageFormat, PictureError> {
    let path_buf = || path.to_owned();
    if bytes.is_empty() {
        return Err(PictureError::Empty { path: path_buf() });
    }
    if bytes.len() as u64 > limits.max_bytes {
        let (bytes, max_bytes) = (bytes.len() as u64, limits.max_bytes);
        return Err(PictureError::TooManyBytes { path: path_buf(), bytes, max_bytes });
    }
    match image::guess_format(bytes) {
        Ok(format) if format.reading_enabled() => Ok(format),
        _ => {
            let head = &bytes[..bytes.len().min(sniff::SNIFF_BYTES)];
            Err(PictureError::NotPicture { path: path_buf(), found: sniff::described(head) })
        }
    }
}

fn check_pixels(path: &Path, (width, height): (u32, u32), limits: &PictureLimits) -> Result<(), PictureError> {
    if u64::from(width) * u64::from(height) > limits.max_pixels {
        let (path, max_pixels) = (path.to_owned(), limits.max_pixels);
        return Err(PictureError::TooManyPixels { path, width, height, max_pixels });
    }
    Ok(())
}

/// Whether the file is all there, for formats whose decoders do not tell, or not in so many words.
fn is_whole(bytes: &[u8], format: ImageFormat) -> bool {
    match format {
        ImageFormat::Jpeg => jpeg::is_whole(bytes),
        ImageFormat::WebP => {
            // The RIFF header says how many bytes follow it.
            let length = bytes.get(4..).and_then(|rest| rest.first_chunk()).map(|bytes| u32::from_le_bytes(*bytes));
            length.is_some_and(|length| bytes.len() as u64 >= 8 + u64::from(length))
        }
        _ => true,
    }
}

/// Width and height in the header of a BMP file (BITMAPINFOHEADER and later), whose decoder refuses sides over 65,535
/// without telling them.
fn bmp_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let number = |at: usize| bytes.get(at..)?.first_chunk().map(|bytes| i32::from_le_bytes(*bytes));
    // A negative height says that rows come from the top.
    (number(14)? >= 40).then_some((number(18)?.unsigned_abs(), number(22)?.unsigned_abs()))
}

/// What a decoder may take of memory: four floats a pixel, and something for tables.
fn allowance(limits: &PictureLimits) -> Limits {
    let mut allowance = Limits::default();
    allowance.max_alloc = Some(limits.max_pixels.saturating_mul(16).saturating_add(64 << 20));
    allowance
}

/// Runs code of the decoders. A panic in one, on bytes that it did not expect, is a fault of the file.
fn guard<T>(
    path: &Path,
    format: ImageFormat,
    work: impl FnOnce() -> Result<T, PictureError>,
) -> Result<T, PictureError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
        let detail = format!("the decoder failed ({})", text.unwrap_or("no reason given"));
        Err(PictureError::Damaged { path: path.to_owned(), format: name(format), detail })
    })
}

/// The picture in one of our pixel formats.
fn to_image(picture: DynamicImage, path: &Path, format: ImageFormat) -> Result<Image, PictureError> {
    let (width, height) = (picture.width(), picture.height());
    let color = picture.color();
    let (pixels, pixel) = match (color.has_alpha(), color.has_color()) {
        (true, _) => (picture.into_rgba8().into_raw(), PixelFormat::Rgba8),
        (false, true) => (picture.into_rgb8().into_raw(), PixelFormat::Rgb8),
        (false, false) => (picture.into_luma8().into_raw(), PixelFormat::Gray8),
    };
    Image::new(pixels, width, height, pixel).map_err(|error| PictureError::Damaged {
        path: path.to_owned(),
        format: name(format),
        detail: error.to_string(),
    })
}

/// The format's name, as messages have it.
fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Png => "PNG",
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Gif => "GIF",
        ImageFormat::Pnm => "PNM",
        _ => "picture",
    }
}

#[cfg(test)]
mod tests;
