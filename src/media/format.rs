//! What may travel on a port.

use std::fmt;

use thiserror::Error;

use super::PixelFormat;
use crate::tensor::{DType, SymbolicShape};
use crate::units::Rate;

/// What may travel on a port. Unknowns (`None`, symbols) are solved by check where they can be, and fixed when a stream
/// opens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Anything: a sink that writes whatever comes.
    Any,
    /// Sound.
    Audio {
        /// Frames per second.
        sample_rate: Option<Rate>,
        /// Samples per frame.
        channels: Option<u16>,
    },
    /// Pictures.
    Image {
        /// How their pixels lie in memory.
        pixel: Option<PixelFormat>,
        /// Pixels in a row.
        width: Option<u32>,
        /// Rows.
        height: Option<u32>,
    },
    /// Tensors.
    Tensor {
        /// Their data type.
        dtype: Option<DType>,
        /// Their shape.
        shape: SymbolicShape,
    },
    /// Text as a model gives it.
    Text,
    /// Transcripts.
    Transcript,
    /// Classes with scores.
    Labels,
    /// What was found where in a frame.
    Regions,
    /// Uninterpreted bytes.
    Bytes,
    /// A type of the user's own, by name.
    Custom(&'static str),
}

/// Two formats that cannot meet on one link.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("expected {expected}, found {found}")]
pub struct FormatMismatch {
    /// What the reading port takes.
    pub expected: Format,
    /// What the writing port gives.
    pub found: Format,
}

impl Format {
    /// Sound with what is known of it.
    pub const fn audio(sample_rate: Option<Rate>, channels: Option<u16>) -> Self {
        Format::Audio { sample_rate, channels }
    }

    /// Sound of any rate and any number of channels.
    pub const ANY_AUDIO: Format = Format::audio(None, None);

    /// Pictures with what is known of them.
    pub const fn image(pixel: Option<PixelFormat>, width: Option<u32>, height: Option<u32>) -> Self {
        Format::Image { pixel, width, height }
    }

    /// Pictures of any kind and size.
    pub const ANY_IMAGE: Format = Format::image(None, None, None);

    /// Tensors of any type and shape.
    pub const ANY_TENSOR: Format = Format::Tensor { dtype: None, shape: SymbolicShape::Unranked };

    /// Whether a port of this format can read what a port of format `found` writes: unknowns agree with everything.
    pub fn accepts(&self, found: &Format) -> Result<(), FormatMismatch> {
        fn agree<T: PartialEq>(ours: &Option<T>, theirs: &Option<T>) -> bool {
            match (ours, theirs) {
                (Some(ours), Some(theirs)) => ours == theirs,
                _ => true,
            }
        }
        let agrees = match (self, found) {
            (Format::Any, _) | (_, Format::Any) => true,
            (
                Format::Audio { sample_rate, channels },
                Format::Audio { sample_rate: their_rate, channels: their_channels },
            ) => agree(sample_rate, their_rate) && agree(channels, their_channels),
            (
                Format::Image { pixel, width, height },
                Format::Image { pixel: their_pixel, width: their_width, height: their_height },
            ) => agree(pixel, their_pixel) && agree(width, their_width) && agree(height, their_height),
            (Format::Tensor { dtype, shape }, Format::Tensor { dtype: their_dtype, shape: their_shape }) => {
                agree(dtype, their_dtype) && shape.accepts(their_shape).is_ok()
            }
            _ => self == found,
        };
        if agrees { Ok(()) } else { Err(FormatMismatch { expected: self.clone(), found: found.clone() }) }
    }

    /// Whether nothing about it is unknown.
    pub fn is_fixed(&self) -> bool {
        match self {
            Format::Any => false,
            Format::Audio { sample_rate, channels } => sample_rate.is_some() && channels.is_some(),
            Format::Image { pixel, width, height } => pixel.is_some() && width.is_some() && height.is_some(),
            Format::Tensor { dtype, shape } => dtype.is_some() && shape.sizes().is_some(),
            _ => true,
        }
    }
}

impl fmt::Display for Format {
    /// In words: `audio 16000 Hz, 1 channel`, `tensor f32 [N, 40]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Format::Any => f.write_str("anything"),
            Format::Audio { sample_rate, channels } => {
                f.write_str("audio")?;
                if let Some(rate) = sample_rate {
                    write!(f, " {rate}")?;
                }
                match (sample_rate, channels) {
                    (_, None) => Ok(()),
                    (Some(_), Some(1)) => f.write_str(", 1 channel"),
                    (None, Some(1)) => f.write_str(" of 1 channel"),
                    (Some(_), Some(channels)) => write!(f, ", {channels} channels"),
                    (None, Some(channels)) => write!(f, " of {channels} channels"),
                }
            }
            Format::Image { pixel, width, height } => {
                f.write_str("image")?;
                if let Some(pixel) = pixel {
                    write!(f, " {pixel}")?;
                }
                match (width, height) {
                    (None, None) => Ok(()),
                    (Some(width), Some(height)) => write!(f, " {width} × {height}"),
                    (Some(width), None) => write!(f, " {width} wide"),
                    (None, Some(height)) => write!(f, " {height} high"),
                }
            }
            Format::Tensor { dtype, shape } => {
                f.write_str("tensor")?;
                if let Some(dtype) = dtype {
                    write!(f, " {dtype}")?;
                }
                if *shape != SymbolicShape::Unranked {
                    write!(f, " {shape}")?;
                }
                Ok(())
            }
            Format::Text => f.write_str("text"),
            Format::Transcript => f.write_str("transcript"),
            Format::Labels => f.write_str("labels"),
            Format::Regions => f.write_str("regions"),
            Format::Bytes => f.write_str("bytes"),
            Format::Custom(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acceptance_cases() {
        let rate = |hz| Some(Rate::hz(hz).unwrap());
        let tensor = |dtype, sizes: &[usize]| Format::Tensor { dtype: Some(dtype), shape: SymbolicShape::known(sizes) };
        for (ours, theirs, agrees) in [
            (Format::audio(rate(16_000), Some(1)), Format::audio(rate(16_000), Some(1)), true),
            (Format::audio(rate(16_000), Some(1)), Format::audio(rate(48_000), Some(1)), false),
            (Format::audio(rate(16_000), Some(1)), Format::ANY_AUDIO, true),
            (Format::audio(None, Some(1)), Format::audio(rate(1), Some(2)), false),
            (Format::Any, Format::Text, true),
            (Format::Text, Format::Transcript, false),
            (Format::ANY_TENSOR, tensor(DType::F32, &[1, 2]), true),
            (tensor(DType::F32, &[1, 2]), tensor(DType::F64, &[1, 2]), false),
            (tensor(DType::F32, &[1, 2]), tensor(DType::F32, &[1, 3]), false),
            (Format::ANY_IMAGE, Format::image(Some(PixelFormat::Rgb8), Some(640), Some(480)), true),
            (Format::image(Some(PixelFormat::Rgb8), None, None), Format::image(None, Some(640), None), true),
            (
                Format::image(Some(PixelFormat::Rgb8), None, None),
                Format::image(Some(PixelFormat::Gray8), None, None),
                false,
            ),
            (Format::image(None, Some(1), None), Format::image(None, Some(2), None), false),
            (Format::image(None, None, Some(1)), Format::image(None, None, Some(2)), false),
            (Format::ANY_IMAGE, Format::ANY_TENSOR, false),
            (Format::Regions, Format::Labels, false),
            (Format::Custom("pose"), Format::Custom("twist"), false),
        ] {
            assert_eq!(ours.accepts(&theirs).is_ok(), agrees, "{ours} <- {theirs}");
        }
    }

    #[test]
    fn formats_read_as_words() {
        for (format, text) in [
            (Format::ANY_AUDIO, "audio"),
            (Format::audio(None, Some(1)), "audio of 1 channel"),
            (Format::audio(Some(Rate::hz(8000).unwrap()), Some(2)), "audio 8000 Hz, 2 channels"),
            (Format::Tensor { dtype: Some(DType::F32), shape: SymbolicShape::known(&[1, 40]) }, "tensor f32 [1, 40]"),
            (Format::ANY_IMAGE, "image"),
            (Format::image(Some(PixelFormat::Rgb8), Some(640), Some(480)), "image rgb8 640 × 480"),
            (Format::image(Some(PixelFormat::Rgba8), None, None), "image rgba8"),
            (Format::image(None, Some(640), None), "image 640 wide"),
            (Format::image(Some(PixelFormat::Gray8), None, Some(480)), "image gray8 480 high"),
            (Format::Regions, "regions"),
        ] {
            assert_eq!(format.to_string(), text);
        }
    }
}
