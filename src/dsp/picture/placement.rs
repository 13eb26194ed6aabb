//! Which part of a picture goes where when it is resized: sizes only, no pixels.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MAX_INPUT_SIDE, MAX_SIDE};
use crate::dsp::DspError;
use crate::dsp::error::in_range;

/// What happens to the proportions of a picture that is resized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fit {
    /// They change: the picture gets exactly the size that is wanted.
    #[default]
    Stretch,
    /// They stay: the largest picture that fits into the size that is wanted, which may be smaller on one side.
    Fit,
    /// They stay: the middle of the picture fills the size that is wanted, and what stands out is cut off.
    Fill,
    /// They stay: as `fit`, centred on a ground of one colour that has the size that is wanted.
    Letterbox,
}

/// A rectangle of whole pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// Its first column.
    pub x: u32,
    /// Its first row.
    pub y: u32,
    /// Columns, at least 1.
    pub width: u32,
    /// Rows, at least 1.
    pub height: u32,
}

/// Which part of an input picture goes to which part of an output picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    input: (u32, u32),
    output: (u32, u32),
    /// Left, top, right, bottom in the input's pixel coordinates.
    source: [f64; 4],
    target: Area,
}

impl Placement {
    /// The placement of a picture of `input` (width, height) that is to get the size `wanted` (width, height).
    ///
    /// Sides that follow from the proportions are rounded to the nearest pixel, and a letterbox is centred to the
    /// nearest pixel, halves to the right and below. Fails when a side of the input is not within 1 to
    /// [`MAX_INPUT_SIDE`](super::MAX_INPUT_SIDE), or a side that is wanted not within 1 to
    /// [`MAX_SIDE`](super::MAX_SIDE).
    pub fn new(fit: Fit, input: (u32, u32), wanted: (u32, u32)) -> Result<Self, DspError> {
        side("the width of a picture to resize in pixels", input.0, MAX_INPUT_SIDE)?;
        side("the height of a picture to resize in pixels", input.1, MAX_INPUT_SIDE)?;
        side("the width of a resized picture in pixels", wanted.0, MAX_SIDE)?;
        side("the height of a resized picture in pixels", wanted.1, MAX_SIDE)?;
        let (width, height) = (f64::from(input.0), f64::from(input.1));
        let (wanted_width, wanted_height) = (f64::from(wanted.0), f64::from(wanted.1));
        let whole = Area { x: 0, y: 0, width: wanted.0, height: wanted.1 };
        let stretched = Placement { input, output: wanted, source: [0.0, 0.0, width, height], target: whole };
        // The input is wider than what is wanted, seen as proportions.
        let wider = u64::from(input.0) * u64::from(wanted.1) > u64::from(wanted.0) * u64::from(input.1);
        let fitted = if wider {
            (wanted.0, ((wanted_width * height / width).round() as u32).clamp(1, wanted.1))
        } else {
            (((wanted_height * width / height).round() as u32).clamp(1, wanted.0), wanted.1)
        };
        Ok(match fit {
            Fit::Stretch => stretched,
            Fit::Fit => {
                let target = Area { width: fitted.0, height: fitted.1, ..whole };
                Placement { output: fitted, target, ..stretched }
            }
            Fit::Letterbox => {
                let (x, y) = ((wanted.0 - fitted.0).div_ceil(2), (wanted.1 - fitted.1).div_ceil(2));
                Placement { target: Area { x, y, width: fitted.0, height: fitted.1 }, ..stretched }
            }
            Fit::Fill => {
                let (across, down) = if wider {
                    (height * wanted_width / wanted_height, height)
                } else {
                    (width, width * wanted_height / wanted_width)
                };
                let (left, top) = (((width - across) / 2.0).max(0.0), ((height - down) / 2.0).max(0.0));
                Placement { source: [left, top, (left + across).min(width), (top + down).min(height)], ..stretched }
            }
        })
    }

    /// A placement given part by part.
    #[cfg(test)]
    pub(super) fn from_parts(input: (u32, u32), output: (u32, u32), source: [f64; 4], target: Area) -> Self {
        Placement { input, output, source, target }
    }

    /// Width and height of the input.
    pub fn input(&self) -> (u32, u32) {
        self.input
    }

    /// Width and height of the output.
    pub fn output(&self) -> (u32, u32) {
        self.output
    }

    /// Left, top, right and bottom edge of the part of the input that is used, in its pixel coordinates.
    pub fn source(&self) -> [f64; 4] {
        self.source
    }

    /// The part of the output that it goes to; the rest is ground.
    pub fn target(&self) -> Area {
        self.target
    }

    /// The map from the output's pixel coordinates to the input's, as two rows.
    pub fn output_to_input(&self) -> [[f64; 3]; 2] {
        let [left, top, right, bottom] = self.source;
        let Area { x, y, width, height } = self.target;
        let (across, down) = ((right - left) / f64::from(width), (bottom - top) / f64::from(height));
        [[across, 0.0, left - f64::from(x) * across], [0.0, down, top - f64::from(y) * down]]
    }
}

/// The middle `width × height` pixels of a picture of size `input` (width, height); where it is odd, one pixel nearer
/// to the upper left. Fails when that is empty or larger than the picture.
pub fn centred(input: (u32, u32), width: u32, height: u32) -> Result<Area, DspError> {
    side("the width of a crop in pixels (at most the picture's)", width, input.0)?;
    side("the height of a crop in pixels (at most the picture's)", height, input.1)?;
    Ok(Area { x: (input.0 - width) / 2, y: (input.1 - height) / 2, width, height })
}

/// The part of a picture of size `input` (width, height) between shares of its sides: `[left, top, right, bottom]` from
/// 0 to 1, each rounded to the nearest pixel; at least one pixel. Fails when a share is not within 0 to 1 or the edges
/// are not in order.
pub fn shares(input: (u32, u32), [left, top, right, bottom]: [f64; 4]) -> Result<Area, DspError> {
    let span = |what: &'static str, start: f64, end: f64, length: u32| {
        side("the side of a picture in pixels", length, u32::MAX)?;
        for share in [start, end] {
            if !(0.0..=1.0).contains(&share) {
                return Err(DspError::BadValue { what, expected: "within 0 to 1 (a share of the side)", found: share });
            }
        }
        if start >= end {
            let expected = "below the opposite edge (right, bottom)";
            return Err(DspError::BadValue { what, expected, found: start });
        }
        let first = ((start * f64::from(length)).round() as u32).min(length - 1);
        let end = ((end * f64::from(length)).round() as u32).clamp(first + 1, length);
        Ok((first, end - first))
    };
    let (x, width) = span("the left or right edge of a crop", left, right, input.0)?;
    let (y, height) = span("the upper or lower edge of a crop", top, bottom, input.1)?;
    Ok(Area { x, y, width, height })
}

fn side(what: &'static str, found: u32, max: u32) -> Result<(), DspError> {
    in_range(what, found as usize, 1, max as usize).map(|_| ())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn area(x: u32, y: u32, width: u32, height: u32) -> Area {
        Area { x, y, width, height }
    }

    #[test]
    fn placements() {
        for (fit, input, wanted, output, source, target) in [
            (Fit::Stretch, (640, 480), (224, 224), (224, 224), [0.0, 0.0, 640.0, 480.0], area(0, 0, 224, 224)),
            (Fit::Fit, (640, 480), (224, 224), (224, 168), [0.0, 0.0, 640.0, 480.0], area(0, 0, 224, 168)),
            (Fit::Fit, (480, 640), (224, 224), (168, 224), [0.0, 0.0, 480.0, 640.0], area(0, 0, 168, 224)),
            (Fit::Fit, (1000, 1), (10, 10), (10, 1), [0.0, 0.0, 1000.0, 1.0], area(0, 0, 10, 1)),
            (Fit::Fit, (10, 10), (20, 30), (20, 20), [0.0, 0.0, 10.0, 10.0], area(0, 0, 20, 20)),
            (Fit::Letterbox, (640, 480), (224, 224), (224, 224), [0.0, 0.0, 640.0, 480.0], area(0, 28, 224, 168)),
            (Fit::Letterbox, (3, 2), (6, 5), (6, 5), [0.0, 0.0, 3.0, 2.0], area(0, 1, 6, 4)),
            (Fit::Letterbox, (100, 100), (101, 100), (101, 100), [0.0, 0.0, 100.0, 100.0], area(1, 0, 100, 100)),
            (Fit::Fill, (640, 480), (224, 224), (224, 224), [80.0, 0.0, 560.0, 480.0], area(0, 0, 224, 224)),
            (Fit::Fill, (480, 640), (240, 240), (240, 240), [0.0, 80.0, 480.0, 560.0], area(0, 0, 240, 240)),
            (Fit::Fill, (5, 4), (2, 2), (2, 2), [0.5, 0.0, 4.5, 4.0], area(0, 0, 2, 2)),
        ] {
            let placement = Placement::new(fit, input, wanted).unwrap();
            assert_eq!(placement.output(), output, "{fit:?} {input:?} {wanted:?}");
            assert_eq!(placement.source(), source, "{fit:?} {input:?} {wanted:?}");
            assert_eq!(placement.target(), target, "{fit:?} {input:?} {wanted:?}");
        }
    }

    #[test]
    fn parts() {
        assert_eq!(centred((5, 4), 2, 2), Ok(area(1, 1, 2, 2)));
        assert_eq!(centred((5, 4), 5, 4), Ok(area(0, 0, 5, 4)));
        assert_eq!(shares((10, 20), [0.0, 0.5, 1.0, 1.0]), Ok(area(0, 10, 10, 10)));
        assert_eq!(shares((10, 20), [0.26, 0.0, 0.54, 0.01]), Ok(area(3, 0, 2, 1)));
        assert_eq!(shares((1, 1), [0.9, 0.0, 1.0, 1.0]), Ok(area(0, 0, 1, 1)));
    }

    #[test]
    fn bad_input() {
        for (input, wanted, found) in [
            ((0, 1), (1, 1), 0),
            ((1, 0), (1, 1), 0),
            ((1, MAX_INPUT_SIDE + 1), (1, 1), MAX_INPUT_SIDE + 1),
            ((1, 1), (0, 1), 0),
            ((1, 1), (1, MAX_SIDE + 1), MAX_SIDE + 1),
        ] {
            let error = Placement::new(Fit::Stretch, input, wanted).unwrap_err();
            assert!(matches!(error, DspError::OutOfRange { found: f, .. } if f == u64::from(found)), "{error}");
        }
        assert_eq!(
            centred((5, 4), 6, 4).unwrap_err().to_string(),
            "the width of a crop in pixels (at most the picture's) must be from 1 to 5, found 6"
        );
        assert!(centred((5, 4), 5, 0).is_err());
        for edges in [
            [0.5, 0.0, 0.5, 1.0],
            [0.0, 1.0, 1.0, 0.0],
            [-0.1, 0.0, 1.0, 1.0],
            [0.0, 0.0, 1.1, 1.0],
            [f64::NAN, 0.0, 1.0, 1.0],
        ] {
            assert!(matches!(shares((5, 4), edges), Err(DspError::BadValue { .. })), "{edges:?}");
        }
        assert!(shares((0, 4), [0.0, 0.0, 1.0, 1.0]).is_err());
    }

    proptest! {
        #[test]
        fn parts_lie_inside_and_maps_lead_from_part_to_part(
            input in (1u32..5000, 1u32..5000), wanted in (1u32..2000, 1u32..2000),
            fit in prop::sample::select(vec![Fit::Stretch, Fit::Fit, Fit::Fill, Fit::Letterbox]),
        ) {
            let placement = Placement::new(fit, input, wanted).unwrap();
            let [left, top, right, bottom] = placement.source();
            prop_assert!(0.0 <= left && left < right && right <= f64::from(input.0));
            prop_assert!(0.0 <= top && top < bottom && bottom <= f64::from(input.1));
            let Area { x, y, width, height } = placement.target();
            let (out_width, out_height) = placement.output();
            prop_assert!(width > 0 && height > 0 && x + width <= out_width && y + height <= out_height);
            let [[a, _, c], [_, e, f]] = placement.output_to_input();
            prop_assert!((a * f64::from(x) + c - left).abs() < 1e-6);
            prop_assert!((a * f64::from(x + width) + c - right).abs() < 1e-6);
            prop_assert!((e * f64::from(y) + f - top).abs() < 1e-6);
            prop_assert!((e * f64::from(y + height) + f - bottom).abs() < 1e-6);
            // Proportions stay within the rounding of a pixel.
            if fit != Fit::Stretch {
                let off = (a - e).abs() * f64::from(width.min(height)) / a.max(e);
                prop_assert!(off <= 0.51 || width == 1 || height == 1, "{}", off);
            }
        }
    }
}
