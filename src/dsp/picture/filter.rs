//! The filters that pictures are resized with.

use std::f64::consts::PI;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a pixel of the result is made of. Where a picture gets smaller, the filter is stretched by the reduction, so
/// that every source pixel counts and nothing aliases (unlike OpenCV's and the browsers' default).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Filter {
    /// The mean of the pixels that it covers. Pillow's `BOX`.
    Box,
    /// A triangle, 1 pixel to each side. Pillow's `BILINEAR`; OpenCV's `INTER_LINEAR` where pictures get larger.
    #[default]
    Bilinear,
    /// Cubic convolution with a = −½ (Keys 1981, also called Catmull-Rom), 2 pixels to each side. Pillow's `BICUBIC`.
    Bicubic,
    /// sinc(x) · sinc(x / 3), 3 pixels to each side (Duchon 1979). Pillow's `LANCZOS`.
    Lanczos,
}

impl Filter {
    /// How far it reaches to each side, in pixels.
    pub(super) fn support(self) -> f64 {
        match self {
            Filter::Box => 0.5,
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
            Filter::Lanczos => 3.0,
        }
    }

    /// Its value `x` pixels from its centre.
    pub(super) fn weight(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let distance = x.abs();
        match self {
            // Half open, so that a pixel on the border of two counts once.
            Filter::Box => f64::from(u8::from(x > -0.5 && x <= 0.5)),
            Filter::Bilinear => (1.0 - distance).max(0.0),
            Filter::Bicubic if distance < 1.0 => ((A + 2.0) * distance - (A + 3.0)) * distance * distance + 1.0,
            Filter::Bicubic if distance < 2.0 => (((distance - 5.0) * distance + 8.0) * distance - 4.0) * A,
            Filter::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Filter::Bicubic | Filter::Lanczos => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        use Filter::{Bicubic, Bilinear, Box, Lanczos};
        for (filter, x, expected) in [
            (Box, 0.0, 1.0),
            (Box, 0.5, 1.0),
            (Box, -0.5, 0.0),
            (Box, 0.51, 0.0),
            (Bilinear, -0.25, 0.75),
            (Bilinear, 1.5, 0.0),
            (Bicubic, 0.0, 1.0),
            (Bicubic, 0.5, 0.5625),
            (Bicubic, -1.5, -0.0625),
            (Bicubic, 2.0, 0.0),
            (Lanczos, 0.0, 1.0),
            (Lanczos, 1.5, -0.135_094_9),
            (Lanczos, 2.0, 0.0),
            (Lanczos, 3.0, 0.0),
        ] {
            assert!((filter.weight(x) - expected).abs() < 1e-6, "{filter:?} at {x}: {}", filter.weight(x));
        }
    }

    #[test]
    fn whole_pixels_apart_the_weights_sum_to_one() {
        for filter in [Filter::Box, Filter::Bilinear, Filter::Bicubic] {
            for offset in [0.0, 0.1, 0.25, 0.5, 0.9] {
                let sum: f64 = (-4..=4).map(|pixel| filter.weight(f64::from(pixel) + offset)).sum();
                assert!((sum - 1.0).abs() < 1e-12, "{filter:?} at {offset}: {sum}");
            }
        }
    }
}
