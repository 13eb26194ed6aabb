//! The pixel formats that a capture of pictures gives.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::dsp::picture::{PixelView, grayscale};
use crate::media::{Image, ImageError, PixelFormat};

/// The pixels that pictures come with, whatever their files hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Pixels {
    /// Red, green, blue. Gray gives three equal samples; alpha is left out, as by Pillow's `convert("RGB")`.
    #[default]
    Rgb8,
    /// Red, green, blue, alpha: 255, opaque, where the file has none.
    Rgba8,
    /// Luminance (ITU-R BT.601, Pillow's mode `L`); alpha is left out.
    Gray8,
    /// Whichever of these the file is nearest to: gray, colour, or colour with alpha. Frames of animations have alpha.
    AsStored,
}

impl Pixels {
    /// The format, where it does not depend on the file.
    pub(super) fn format(self) -> Option<PixelFormat> {
        match self {
            Pixels::Rgb8 => Some(PixelFormat::Rgb8),
            Pixels::Rgba8 => Some(PixelFormat::Rgba8),
            Pixels::Gray8 => Some(PixelFormat::Gray8),
            Pixels::AsStored => None,
        }
    }

    /// The picture with these pixels; one that has them is not copied.
    pub(super) fn of(self, image: Image) -> Result<Image, ImageError> {
        let Some(wanted) = self.format().filter(|wanted| *wanted != image.format()) else { return Ok(image) };
        let (width, height, place) = (image.width(), image.height(), *image.place());
        let channels = image.format().channels();
        let mut pixels = Vec::with_capacity(width as usize * height as usize * wanted.channels());
        for pixel in image.rows().flat_map(|row| row.chunks_exact(channels)) {
            match (wanted, pixel) {
                (PixelFormat::Rgb8, &[red, green, blue, _]) => pixels.extend_from_slice(&[red, green, blue]),
                (PixelFormat::Rgb8, &[gray]) => pixels.extend_from_slice(&[gray; 3]),
                (PixelFormat::Rgba8, &[red, green, blue]) => pixels.extend_from_slice(&[red, green, blue, 255]),
                (PixelFormat::Rgba8, &[gray]) => pixels.extend_from_slice(&[gray, gray, gray, 255]),
                // Gray, which the function for it makes of the whole picture.
                _ => break,
            }
        }
        if wanted == PixelFormat::Gray8
            && let Ok(view) = PixelView::new(image.bytes(), width, height, image.stride(), channels)
        {
            grayscale(&view, &mut pixels);
        }
        Ok(Image::new(pixels, width, height, wanted)?.at(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_becomes_every_other() {
        let gray = || Image::new(vec![0, 200], 2, 1, PixelFormat::Gray8).unwrap();
        let colour = || Image::new(vec![255, 0, 0, 1, 2, 3], 2, 1, PixelFormat::Rgb8).unwrap();
        let clear = || Image::new(vec![255, 0, 0, 9, 1, 2, 3, 255], 2, 1, PixelFormat::Rgba8).unwrap();
        for (image, pixels, expected) in [
            (gray(), Pixels::Gray8, &[0, 200][..]),
            (gray(), Pixels::Rgb8, &[0, 0, 0, 200, 200, 200]),
            (gray(), Pixels::Rgba8, &[0, 0, 0, 255, 200, 200, 200, 255]),
            (gray(), Pixels::AsStored, &[0, 200]),
            (colour(), Pixels::Gray8, &[76, 2]),
            (colour(), Pixels::Rgb8, &[255, 0, 0, 1, 2, 3]),
            (colour(), Pixels::Rgba8, &[255, 0, 0, 255, 1, 2, 3, 255]),
            (colour(), Pixels::AsStored, &[255, 0, 0, 1, 2, 3]),
            (clear(), Pixels::Gray8, &[76, 2]),
            (clear(), Pixels::Rgb8, &[255, 0, 0, 1, 2, 3]),
            (clear(), Pixels::Rgba8, &[255, 0, 0, 9, 1, 2, 3, 255]),
            (clear(), Pixels::AsStored, &[255, 0, 0, 9, 1, 2, 3, 255]),
        ] {
            let from = image.format();
            let found = pixels.of(image).unwrap();
            assert_eq!(&found.packed()[..], expected, "{from} as {pixels:?}");
            assert_eq!(found.format(), pixels.format().unwrap_or(from));
        }
    }

    #[test]
    fn a_picture_that_has_them_is_not_copied() {
        let image = Image::new(vec![1, 2, 3], 1, 1, PixelFormat::Rgb8).unwrap();
        let before = image.bytes().as_ptr();
        assert_eq!(Pixels::Rgb8.of(image).unwrap().bytes().as_ptr(), before);
    }
}
