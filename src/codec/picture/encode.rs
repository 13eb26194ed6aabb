//! Writing pictures.

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use super::PictureError;
use crate::media::{Image, PixelFormat};

/// A format to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PictureFormat {
    /// Without loss; every pixel format.
    Png,
    /// With loss; no alpha, at most 65,535 pixels a side.
    Jpeg {
        /// From 1 (small) to 100 (good); 90 is hard to tell from the original. Others count as the nearest of these.
        quality: u8,
    },
}

impl PictureFormat {
    /// Its name, as messages have it.
    pub const fn name(self) -> &'static str {
        match self {
            PictureFormat::Png => "PNG",
            PictureFormat::Jpeg { .. } => "JPEG",
        }
    }
}

/// The bytes of a picture's file. Its place in the frame is not kept.
///
/// Fails for what the format cannot hold: alpha or a side over 65,535 pixels in a JPEG.
pub fn encode_picture(image: &Image, format: PictureFormat) -> Result<Vec<u8>, PictureError> {
    let (width, height) = (image.width(), image.height());
    let unwritable = |detail: String| {
        let (format, pixel) = (format.name(), image.format());
        PictureError::Unwritable { format, width, height, pixel, detail }
    };
    let color = match image.format() {
        PixelFormat::Gray8 => ExtendedColorType::L8,
        PixelFormat::Rgb8 => ExtendedColorType::Rgb8,
        PixelFormat::Rgba8 => ExtendedColorType::Rgba8,
    };
    let pixels = image.packed();
    let mut bytes = Vec::new();
    match format {
        PictureFormat::Png => PngEncoder::new(&mut bytes).write_image(&pixels, width, height, color),
        PictureFormat::Jpeg { .. } if color == ExtendedColorType::Rgba8 => {
            return Err(unwritable("JPEG has no alpha; drop the alpha first, or write a PNG".to_owned()));
        }
        PictureFormat::Jpeg { quality } => {
            let encoder = JpegEncoder::new_with_quality(&mut bytes, quality.clamp(1, 100));
            encoder.write_image(&pixels, width, height, color)
        }
    }
    .map_err(|fault| unwritable(fault.to_string()))?;
    Ok(bytes)
}
