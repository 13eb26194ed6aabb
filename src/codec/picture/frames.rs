//! The pictures of an animation, one after the other.

use std::fmt;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::{AnimationDecoder, Delay, DynamicImage, Frame, Frames, ImageDecoder, ImageFormat};

use super::{
    Fault, PictureError, PictureLimits, allowance, check_pixels, decode_picture, format_of, guard, name, read_file,
    to_image,
};
use crate::media::Image;
use crate::units::TimeSpan;

/// One picture of an animation.
#[derive(Clone, Debug, PartialEq)]
pub struct PictureFrame {
    /// The whole picture as it is to be shown, `rgba8`.
    pub image: Image,
    /// How long it is to be shown, as the file says: often zero, which viewers take for a tenth of a second. `None` for
    /// a picture that is no animation.
    pub delay: Option<TimeSpan>,
}

/// The pictures of a file: those of an animated GIF, PNG or WebP as they are to be shown, the one of any other file (as
/// [`read_picture`](super::read_picture) gives it). Each is decoded when it is asked for. After an error come no more.
pub struct PictureFrames {
    path: PathBuf,
    format: ImageFormat,
    /// A picture that is no animation.
    still: Option<Image>,
    frames: Option<Frames<'static>>,
}

impl fmt::Debug for PictureFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PictureFrames").field("path", &self.path).field("format", &self.format).finish_non_exhaustive()
    }
}

impl PictureFrames {
    /// Reads the file at `path`.
    pub fn open(path: &Path, limits: &PictureLimits) -> Result<Self, PictureError> {
        Self::from_bytes(read_file(path, limits)?, path, limits)
    }

    /// Reads these bytes; `path` is what messages call them.
    pub fn from_bytes(bytes: Vec<u8>, path: &Path, limits: &PictureLimits) -> Result<Self, PictureError> {
        let format = format_of(&bytes, path, limits)?;
        let frames = guard(path, format, || animation(&bytes, format, path, limits))?;
        let still = match frames {
            Some(_) => None,
            None => Some(decode_picture(&bytes, path, limits)?),
        };
        Ok(PictureFrames { path: path.to_owned(), format, still, frames })
    }
}

/// The frames of an animation; `None` for a single picture.
fn animation(
    bytes: &[u8],
    format: ImageFormat,
    path: &Path,
    limits: &PictureLimits,
) -> Result<Option<Frames<'static>>, PictureError> {
    let fault = |fault: Fault| PictureError::of(path, format, fault);
    let source = || Cursor::new(bytes.to_vec());
    Ok(match format {
        ImageFormat::Gif => {
            let mut decoder = GifDecoder::new(source()).map_err(fault)?;
            check_pixels(path, decoder.dimensions(), limits)?;
            decoder.set_limits(allowance(limits)).map_err(fault)?;
            Some(decoder.into_frames())
        }
        ImageFormat::Png => {
            let decoder = PngDecoder::with_limits(source(), allowance(limits)).map_err(fault)?;
            check_pixels(path, decoder.dimensions(), limits)?;
            match decoder.is_apng().map_err(fault)? {
                true => Some(decoder.apng().map_err(fault)?.into_frames()),
                false => None,
            }
        }
        ImageFormat::WebP => {
            let mut decoder = WebPDecoder::new(source()).map_err(fault)?;
            check_pixels(path, decoder.dimensions(), limits)?;
            decoder.set_limits(allowance(limits)).map_err(fault)?;
            decoder.has_animation().then(|| decoder.into_frames())
        }
        _ => None,
    })
}

impl Iterator for PictureFrames {
    type Item = Result<PictureFrame, PictureError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(image) = self.still.take() {
            return Some(Ok(PictureFrame { image, delay: None }));
        }
        let (path, format) = (&self.path, self.format);
        let frames = self.frames.as_mut()?;
        let frame = guard(path, format, || {
            let frame = frames.next().transpose().map_err(|fault| PictureError::of(path, format, fault))?;
            frame.map(|frame| shown(frame, path, format)).transpose()
        });
        if !matches!(frame, Ok(Some(_))) {
            self.frames = None;
        }
        frame.transpose()
    }
}

fn shown(frame: Frame, path: &Path, format: ImageFormat) -> Result<PictureFrame, PictureError> {
    let delay = span(frame.delay()).ok_or_else(|| PictureError::Damaged {
        path: path.to_owned(),
        format: name(format),
        detail: "a frame's delay is no time".to_owned(),
    })?;
    let image = to_image(DynamicImage::ImageRgba8(frame.into_buffer()), path, format)?;
    Ok(PictureFrame { image, delay: Some(delay) })
}

/// A delay to the nanosecond below.
fn span(delay: Delay) -> Option<TimeSpan> {
    let (numerator, denominator) = delay.numer_denom_ms();
    let nanos = (u64::from(numerator) * 1_000_000).checked_div(denominator.into())?;
    i64::try_from(nanos).ok().map(TimeSpan::from_nanos)
}
