//! From pixels to a model's numbers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PixelView, Resizer};
use crate::dsp::DspError;

/// The order of a picture's numbers in a tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TensorLayout {
    /// Channel by channel, each row by row: [1, channels, height, width]. PyTorch's order.
    #[default]
    Nchw,
    /// Pixel by pixel: [1, height, width, channels]. TensorFlow's order.
    Nhwc,
}

/// Which colour comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChannelOrder {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red: models that were trained with OpenCV.
    Bgr,
}

/// What a model wants of a picture: value = (sample · scale − mean) / std.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TensorConfig {
    /// The order of the numbers.
    pub layout: TensorLayout,
    /// Which colour comes first, in the tensor and in `mean` and `std`.
    pub order: ChannelOrder,
    /// Channels of the tensor: 1 or 3. A gray picture fills three with the same numbers.
    pub channels: usize,
    /// What a sample of 0 to 255 is multiplied by; 1 ⁄ 255 by default, so that values run from 0 to 1.
    pub scale: f64,
    /// Taken off after the scale: one number for all channels, or one for each. 0 by default.
    pub mean: Vec<f64>,
    /// Divided by after that: one number for all channels, or one for each. 1 by default.
    pub std: Vec<f64>,
}

impl Default for TensorConfig {
    fn default() -> Self {
        TensorConfig {
            layout: TensorLayout::Nchw,
            order: ChannelOrder::Rgb,
            channels: 3,
            scale: 1.0 / 255.0,
            mean: vec![0.0],
            std: vec![1.0],
        }
    }
}

/// Fills a model's input with a picture: normalisation, order of the channels and layout in one pass over the pixels.
///
/// The 256 values of each channel are computed once, in 64 bits, and looked up: every value is the rounded true one.
#[derive(Clone, Debug)]
pub struct TensorFiller {
    layout: TensorLayout,
    source_channels: usize,
    /// For each channel of the tensor: the byte of a pixel that it is made of, and the value of each of its samples.
    channels: Vec<(usize, Box<[f32; 256]>)>,
}

impl TensorFiller {
    /// A filler from pictures of `source_channels` bytes a pixel (1, 3 or 4; alpha is left out).
    ///
    /// Fails when the tensor is to have other than 1 or 3 channels, or 1 from a colour picture (make it gray first);
    /// when a number is not finite or a divisor is zero; and when `mean` or `std` has another length than 1 or the
    /// channels'.
    pub fn new(config: &TensorConfig, source_channels: usize) -> Result<Self, DspError> {
        if !matches!(source_channels, 1 | 3 | 4) {
            let (what, expected) = ("the channels of a picture", "1 (gray), 3 (RGB) or 4 (RGBA)");
            return Err(DspError::BadValue { what, expected, found: source_channels as f64 });
        }
        let picks: &[usize] = match (config.channels, source_channels, config.order) {
            (1, 1, _) => &[0],
            (3, 1, _) => &[0, 0, 0],
            (3, _, ChannelOrder::Rgb) => &[0, 1, 2],
            (3, _, ChannelOrder::Bgr) => &[2, 1, 0],
            (found, _, _) => {
                let expected = match source_channels {
                    1 => "1 or 3 for a gray picture",
                    _ => "3 for a colour picture (for 1, make it gray first)",
                };
                return Err(DspError::BadValue { what: "the channels of a tensor", expected, found: found as f64 });
            }
        };
        let finite = |what: &'static str, values: &[f64]| match values.iter().find(|value| !value.is_finite()) {
            Some(found) => Err(DspError::BadValue { what, expected: "a finite number", found: *found }),
            None => Ok(()),
        };
        finite("scale", &[config.scale])?;
        finite("mean", &config.mean)?;
        finite("std", &config.std)?;
        if let Some(found) = config.std.iter().find(|value| **value == 0.0) {
            return Err(DspError::BadValue { what: "std", expected: "other than zero", found: *found });
        }
        let mean = per_channel("mean", &config.mean, config.channels)?;
        let std = per_channel("std", &config.std, config.channels)?;
        let channels = picks.iter().zip(mean).zip(std).map(|((pick, mean), std)| {
            // Samples divided by 255, not multiplied by its rounded reciprocal, so that 255 is exactly 1.
            let scaled = |sample: usize| match config.scale == 1.0 / 255.0 {
                true => sample as f64 / 255.0,
                false => sample as f64 * config.scale,
            };
            (*pick, Box::new(std::array::from_fn(|sample| ((scaled(sample) - mean) / std) as f32)))
        });
        Ok(TensorFiller { layout: config.layout, source_channels, channels: channels.collect() })
    }

    /// The shape of the tensor for one picture of this size.
    pub fn shape(&self, width: usize, height: usize) -> [usize; 4] {
        match self.layout {
            TensorLayout::Nchw => [1, self.channels.len(), height, width],
            TensorLayout::Nhwc => [1, height, width, self.channels.len()],
        }
    }

    /// Writes a picture to `out`, which has as many numbers as its [`shape`](Self::shape) says. A batch is the tensors
    /// of its pictures one after the other.
    ///
    /// Fails when `out` has another length or the picture other channels.
    pub fn fill(&self, view: &PixelView<'_>, out: &mut [f32]) -> Result<(), DspError> {
        self.check(view.channels(), view.width(), view.height(), out)?;
        for (y, row) in view.rows().enumerate() {
            self.fill_row(row, y, view.width(), view.height(), out);
        }
        Ok(())
    }

    /// Resizes a picture straight into `out`: each line goes from the filter to the tensor, and no picture of the new
    /// size is made. The numbers are those of [`Resizer::run`] and [`fill`](Self::fill) one after the other, to the
    /// bit.
    ///
    /// Fails when `out` has not the length of the tensor of the resizer's output, or the picture is not one for the
    /// resizer.
    pub fn fill_resized(&self, resizer: &mut Resizer, view: &PixelView<'_>, out: &mut [f32]) -> Result<(), DspError> {
        let (width, height) = resizer.placement().output();
        let (width, height) = (width as usize, height as usize);
        self.check(resizer.channels(), width, height, out)?;
        resizer.each_line(view, |y, line| self.fill_row(line, y, width, height, out))
    }

    fn check(&self, channels: usize, width: usize, height: usize, out: &[f32]) -> Result<(), DspError> {
        let length = self.shape(width, height).iter().product();
        for (what, expected, found) in
            [("a pixel of the picture", self.source_channels, channels), ("the tensor of a picture", length, out.len())]
        {
            if expected != found {
                return Err(DspError::WrongLength { what, expected, found });
            }
        }
        Ok(())
    }

    /// Writes row `y` of a picture of this size; everything was checked.
    fn fill_row(&self, row: &[u8], y: usize, width: usize, height: usize, out: &mut [f32]) {
        let pixels = || row.chunks_exact(self.source_channels);
        match self.layout {
            TensorLayout::Nchw => {
                for (plane, (pick, values)) in out.chunks_exact_mut(width * height).zip(&self.channels) {
                    for (out, pixel) in plane[y * width..][..width].iter_mut().zip(pixels()) {
                        *out = values[usize::from(pixel[*pick])];
                    }
                }
            }
            TensorLayout::Nhwc => {
                let count = self.channels.len();
                let line = &mut out[y * width * count..][..width * count];
                for (out, pixel) in line.chunks_exact_mut(count).zip(pixels()) {
                    for (out, (pick, values)) in out.iter_mut().zip(&self.channels) {
                        *out = values[usize::from(pixel[*pick])];
                    }
                }
            }
        }
    }
}

/// One number for each channel.
fn per_channel(what: &'static str, values: &[f64], channels: usize) -> Result<Vec<f64>, DspError> {
    match values {
        [one] => Ok(vec![*one; channels]),
        values if values.len() == channels => Ok(values.to_vec()),
        values => Err(DspError::WrongLength { what, expected: channels, found: values.len() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsp::picture::{Filter, Fit, Placement};

    fn filled(config: &TensorConfig, bytes: &[u8], width: u32, height: u32, channels: usize) -> Vec<f32> {
        let filler = TensorFiller::new(config, channels).unwrap();
        let mut out = vec![f32::NAN; filler.shape(width as usize, height as usize).iter().product()];
        filler.fill(&PixelView::packed(bytes, width, height, channels).unwrap(), &mut out).unwrap();
        out
    }

    #[test]
    fn layouts_and_orders() {
        let one = TensorConfig { scale: 1.0, ..TensorConfig::default() };
        let bytes = [1, 2, 3, 4, 5, 6];
        for (layout, order, expected) in [
            (TensorLayout::Nchw, ChannelOrder::Rgb, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]),
            (TensorLayout::Nchw, ChannelOrder::Bgr, [3.0, 6.0, 2.0, 5.0, 1.0, 4.0]),
            (TensorLayout::Nhwc, ChannelOrder::Rgb, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
            (TensorLayout::Nhwc, ChannelOrder::Bgr, [3.0, 2.0, 1.0, 6.0, 5.0, 4.0]),
        ] {
            let config = TensorConfig { layout, order, ..one.clone() };
            for (width, height) in [(2, 1), (1, 2)] {
                assert_eq!(filled(&config, &bytes, width, height, 3), expected, "{layout:?} {order:?}");
            }
            let alpha = [1, 2, 3, 99, 4, 5, 6, 99];
            assert_eq!(filled(&config, &alpha, 2, 1, 4), expected, "{layout:?} {order:?} with alpha");
        }
        assert_eq!(filled(&one, &[7, 9], 2, 1, 1), [7.0, 9.0, 7.0, 9.0, 7.0, 9.0]);
        assert_eq!(filled(&TensorConfig { channels: 1, ..one }, &[7, 9], 2, 1, 1), [7.0, 9.0]);
    }

    #[test]
    fn values_are_the_rounded_true_ones() {
        let config = TensorConfig::default();
        assert_eq!(filled(&config, &[0, 255, 51], 1, 1, 3), [0.0, 1.0, 0.2]);
        let config = TensorConfig { mean: vec![0.485, 0.456, 0.406], std: vec![0.229, 0.224, 0.225], ..config };
        let expected = [(0.0 - 0.485) / 0.229, (1.0 - 0.456) / 0.224, (0.2 - 0.406) / 0.225].map(|x: f64| x as f32);
        assert_eq!(filled(&config, &[0, 255, 51], 1, 1, 3), expected);
        let config = TensorConfig { mean: vec![127.5], std: vec![127.5], scale: 1.0, ..TensorConfig::default() };
        assert_eq!(filled(&config, &[0, 255, 51], 1, 1, 3), [-1.0, 1.0, -0.6]);
    }

    #[test]
    fn without_a_picture_between_them_the_numbers_are_the_same() {
        let bytes: Vec<u8> = (0..37 * 23 * 4u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for channels in [1, 3, 4] {
            let view = PixelView::new(&bytes, 31, 23, 37 * channels, channels).unwrap();
            for fit in [Fit::Stretch, Fit::Fit, Fit::Fill, Fit::Letterbox] {
                for layout in [TensorLayout::Nchw, TensorLayout::Nhwc] {
                    let placement = Placement::new(fit, (31, 23), (16, 17)).unwrap();
                    let mut resizer = Resizer::new(placement, Filter::Bicubic, channels, &vec![114; channels]).unwrap();
                    let config = TensorConfig { layout, order: ChannelOrder::Bgr, ..TensorConfig::default() };
                    let filler = TensorFiller::new(&config, channels).unwrap();
                    let mut resized = Vec::new();
                    resizer.run(&view, &mut resized).unwrap();
                    let (width, height) = placement.output();
                    let mut fused = vec![f32::NAN; filler.shape(width as usize, height as usize).iter().product()];
                    filler.fill_resized(&mut resizer, &view, &mut fused).unwrap();
                    assert_eq!(
                        fused,
                        filled(&config, &resized, width, height, channels),
                        "{channels} {fit:?} {layout:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn bad_settings() {
        let good = TensorConfig::default();
        for (config, channels, message) in [
            (good.clone(), 2, "the channels of a picture must be 1 (gray), 3 (RGB) or 4 (RGBA), found 2"),
            (
                TensorConfig { channels: 1, ..good.clone() },
                3,
                "the channels of a tensor must be 3 for a colour picture (for 1, make it gray first), found 1",
            ),
            (
                TensorConfig { channels: 2, ..good.clone() },
                1,
                "the channels of a tensor must be 1 or 3 for a gray picture, found 2",
            ),
            (TensorConfig { scale: f64::NAN, ..good.clone() }, 3, "scale must be a finite number, found NaN"),
            (TensorConfig { std: vec![1.0, 0.0, 1.0], ..good.clone() }, 3, "std must be other than zero, found 0"),
            (TensorConfig { mean: vec![], ..good.clone() }, 3, "mean must hold 3 values, found 0"),
            (TensorConfig { std: vec![1.0; 4], ..good.clone() }, 3, "std must hold 3 values, found 4"),
            (TensorConfig { mean: vec![f64::INFINITY], ..good }, 3, "mean must be a finite number, found inf"),
        ] {
            assert_eq!(TensorFiller::new(&config, channels).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn bad_input() {
        let filler = TensorFiller::new(&TensorConfig::default(), 3).unwrap();
        let bytes = [0u8; 12];
        let view = PixelView::packed(&bytes, 2, 2, 3).unwrap();
        let error = filler.fill(&view, &mut [0.0; 11]).unwrap_err();
        assert_eq!(error.to_string(), "the tensor of a picture must hold 12 values, found 11");
        let gray = PixelView::packed(&bytes, 2, 2, 1).unwrap();
        let error = filler.fill(&gray, &mut [0.0; 12]).unwrap_err();
        assert_eq!(error.to_string(), "a pixel of the picture must hold 3 values, found 1");
        let placement = Placement::new(Fit::Stretch, (2, 2), (3, 3)).unwrap();
        let mut resizer = Resizer::new(placement, Filter::Box, 3, &[0; 3]).unwrap();
        assert!(filler.fill_resized(&mut resizer, &view, &mut [0.0; 12]).is_err());
        assert!(filler.fill_resized(&mut resizer, &gray, &mut [0.0; 27]).is_err());
        assert!(filler.fill_resized(&mut resizer, &view, &mut [0.0; 27]).is_ok());
    }
}
