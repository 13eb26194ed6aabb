//! How pictures are brought to another size: what `resize` and `to_tensor` share.

use super::PreprocessError;
use super::picture::{IMAGE, Pictures, colour, size_of};
use super::sound::fault;
use crate::dsp::DspError;
use crate::dsp::picture::{Filter, Fit, MAX_SIDE, Placement, Resizer};
use crate::media::Image;
use crate::stage::ContractFault;

/// The size that pictures are brought to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetSize {
    /// Width and height in pixels; what becomes of the proportions is up to [`Fit`].
    Exactly {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// The shorter side in pixels. The proportions stay: the longer side is rounded down, as torchvision's `Resize` does.
    ShortSide(u32),
}

/// How pictures are brought to another size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scaling {
    /// The size.
    pub size: TargetSize,
    /// What happens to the proportions where width and height are given.
    pub fit: Fit,
    /// What a pixel of the result is made of.
    pub filter: Filter,
    /// The colour around a letterbox: red, green, blue.
    pub ground: [u8; 3],
}

impl Scaling {
    /// To this size, with the defaults: stretched, bilinear, black around.
    pub fn to(size: TargetSize) -> Self {
        Scaling { size, fit: Fit::Stretch, filter: Filter::Bilinear, ground: [0; 3] }
    }

    /// Which part of a picture of this size goes where. Fails when the result would have a side over [`MAX_SIDE`].
    pub(super) fn placement(&self, input: (u32, u32)) -> Result<Placement, DspError> {
        match self.size {
            TargetSize::Exactly { width, height } => Placement::new(self.fit, input, (width, height)),
            TargetSize::ShortSide(short) => {
                let (width, height) = input;
                let other = |long: u32, side: u32| {
                    let long = u64::from(short) * u64::from(long) / u64::from(side.max(1));
                    u32::try_from(long).unwrap_or(u32::MAX)
                };
                let wanted =
                    if width <= height { (short, other(height, width)) } else { (other(width, height), short) };
                Placement::new(Fit::Stretch, input, wanted)
            }
        }
    }

    /// What is known of the pictures after it.
    pub(super) fn known(&self, input: Pictures) -> Result<Pictures, ContractFault> {
        let (width, height) = match (input.size(), self.size) {
            (Some(size), _) => {
                let placement = self.placement(size).map_err(|error| {
                    let expected = format!("pictures that can be brought to sides of at most {MAX_SIDE} pixels");
                    fault(IMAGE, expected, input.format(), Some(error.to_string()))
                })?;
                let (width, height) = placement.output();
                (Some(width), Some(height))
            }
            (None, TargetSize::Exactly { width, height }) if self.fit != Fit::Fit => (Some(width), Some(height)),
            (None, _) => (None, None),
        };
        Ok(Pictures { width, height, ..input })
    }
}

/// A [`Scaling`] at work on one stream: the resizer of the last picture, kept for those of the same size and format.
#[derive(Debug)]
pub(super) struct Scaler {
    scaling: Scaling,
    resizer: Option<Resizer>,
}

impl Scaler {
    pub fn new(scaling: Scaling) -> Self {
        Scaler { scaling, resizer: None }
    }

    /// The resizer for this picture.
    pub fn resizer(&mut self, image: &Image) -> Result<&mut Resizer, PreprocessError> {
        let (size, channels) = (size_of(image), image.format().channels());
        let fits = |resizer: &Resizer| resizer.placement().input() == size && resizer.channels() == channels;
        let resizer = match self.resizer.take().filter(fits) {
            Some(resizer) => resizer,
            None => {
                let ground = colour(self.scaling.ground, image.format());
                Resizer::new(self.scaling.placement(size)?, self.scaling.filter, channels, &ground)?
            }
        };
        Ok(self.resizer.insert(resizer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::PixelFormat;

    #[test]
    fn the_short_side_decides() {
        let scaling = Scaling::to(TargetSize::ShortSide(256));
        for (input, expected) in [
            ((451, 300), Ok((384, 256))),
            ((300, 451), Ok((256, 384))),
            ((512, 512), Ok((256, 256))),
            ((10, 20), Ok((256, 512))),
            ((257, 256), Ok((257, 256))),
            // A thread: a side of 256 times its length.
            ((1, 129), Err("32768")),
        ] {
            let found = scaling.placement(input).map(|placement| placement.output());
            match expected {
                Ok(size) => assert_eq!(found, Ok(size), "{input:?}"),
                Err(says) => assert!(found.unwrap_err().to_string().contains(says), "{input:?}"),
            }
        }
    }

    #[test]
    fn a_resizer_is_made_anew_when_the_picture_is_another() {
        let mut scaler = Scaler::new(Scaling::to(TargetSize::Exactly { width: 4, height: 4 }));
        let image = |width, height, format: PixelFormat| {
            let bytes = width as usize * height as usize * format.bytes();
            Image::new(vec![0; bytes], width, height, format).unwrap()
        };
        for (width, height, format) in [
            (8, 8, PixelFormat::Rgb8),
            (8, 8, PixelFormat::Gray8),
            (9, 8, PixelFormat::Gray8),
            (1, 1, PixelFormat::Rgba8),
        ] {
            let resizer = scaler.resizer(&image(width, height, format)).unwrap();
            assert_eq!((resizer.placement().input(), resizer.channels()), ((width, height), format.channels()));
        }
    }
}
