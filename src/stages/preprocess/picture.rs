//! What the kinds that read pictures have in common: the format of a stream, the checks of its packets, and colours.

use super::PreprocessError;
use super::sound::formats_at_open;
use crate::dsp::picture::{PixelView, grayscale};
use crate::media::{Affine, Format, Image, Packet, PixelFormat};
use crate::stage::{Blueprint, StageError};

/// The name of the port that carries pictures.
pub(super) const IMAGE: &str = "image";

/// What is known of the pictures of one stream. What is not known when the stream opens may differ from packet to packet:
/// the parts that were cut out of a frame have sizes of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pictures {
    /// How their pixels lie in memory.
    pub pixel: Option<PixelFormat>,
    /// Pixels in a row.
    pub width: Option<u32>,
    /// Rows.
    pub height: Option<u32>,
}

impl Pictures {
    /// What is known of the pictures on the first input port.
    pub fn known(inputs: &[Format]) -> Pictures {
        match inputs.first() {
            Some(Format::Image { pixel, width, height }) => Pictures { pixel: *pixel, width: *width, height: *height },
            _ => Pictures::default(),
        }
    }

    /// The pictures of a stream that opens with `inputs`, and the formats that `blueprint` gives for it. Fails where the
    /// blueprint refuses it, as check does, and where the stream carries no pictures.
    pub fn open(blueprint: &impl Blueprint, inputs: &[Format]) -> Result<(Pictures, Vec<Format>), PreprocessError> {
        let outputs = formats_at_open(blueprint, inputs)?;
        match inputs {
            [Format::Image { .. }] => Ok((Pictures::known(inputs), outputs)),
            _ => Err(PreprocessError::Stream {
                port: IMAGE.into(),
                expected: "pictures".into(),
                found: inputs.first().unwrap_or(&Format::Any).to_string(),
                help: None,
            }),
        }
    }

    /// The picture of a packet; fails when it is something else, or a picture of another format than the stream's.
    pub fn of<'a>(&self, packet: &'a Packet) -> Result<&'a Image, StageError> {
        let image = packet.payload.image()?;
        let (expected, found) = (self.format(), packet.payload.format());
        match expected.accepts(&found) {
            Ok(()) => Ok(image),
            Err(_) => Err(PreprocessError::Packet { expected, found }.into()),
        }
    }

    /// Width and height, when both are known.
    pub fn size(&self) -> Option<(u32, u32)> {
        self.width.zip(self.height)
    }

    /// The format with what is known.
    pub fn format(&self) -> Format {
        Format::image(self.pixel, self.width, self.height)
    }
}

/// Width and height of a picture.
pub(super) fn size_of(image: &Image) -> (u32, u32) {
    (image.width(), image.height())
}

/// The pixels of a picture, borrowed.
pub(super) fn view(image: &Image) -> Result<PixelView<'_>, PreprocessError> {
    let (width, height) = size_of(image);
    Ok(PixelView::new(image.bytes(), width, height, image.stride(), image.format().channels())?)
}

/// A picture of these packed pixels that was made from `old`: `to_old` leads from its pixel coordinates to those of `old`.
pub(super) fn made_from(
    old: &Image,
    pixels: Vec<u8>,
    (width, height): (u32, u32),
    format: PixelFormat,
    to_old: [[f64; 3]; 2],
) -> Result<Image, PreprocessError> {
    let place = old.place().of_part(&Affine::new(to_old));
    Ok(Image::new(pixels, width, height, format)?.at(place))
}

/// A colour as the bytes of a pixel: its luminance for gray, opaque where there is alpha.
pub(super) fn colour([red, green, blue]: [u8; 3], format: PixelFormat) -> Vec<u8> {
    match format {
        PixelFormat::Rgb8 => vec![red, green, blue],
        PixelFormat::Rgba8 => vec![red, green, blue, 255],
        PixelFormat::Gray8 => {
            let mut gray = Vec::with_capacity(1);
            if let Ok(pixel) = PixelView::packed(&[red, green, blue], 1, 1, 3) {
                grayscale(&pixel, &mut gray);
            }
            gray
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours() {
        for (format, expected) in [
            (PixelFormat::Rgb8, &[255, 0, 9][..]),
            (PixelFormat::Rgba8, &[255, 0, 9, 255]),
            (PixelFormat::Gray8, &[77]),
        ] {
            assert_eq!(colour([255, 0, 9], format), expected, "{format}");
        }
    }
}
