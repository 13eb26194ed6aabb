//! Rotate: turned around the middle.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::DataError;
use super::super::random::Random;
use super::planes::Planes;
use super::{Change, expect_within};
use crate::tensor::Tensor;

/// A picture turned around its middle by a random angle, with bilinear interpolation. Its size stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotate {
    /// The largest angle, in degrees, either way.
    #[schemars(range(min = 0, max = 180))]
    pub degrees: f64,
    /// What comes in at the corners. Default: 0.
    #[serde(default)]
    pub fill: f32,
}

impl Change for Rotate {
    fn check(&self) -> Result<(), DataError> {
        expect_within("rotate: degrees", self.degrees, 0.0, 180.0)
    }

    fn apply(&self, input: &Tensor, random: &mut Random) -> Result<Tensor, DataError> {
        let degrees = random.uniform(-self.degrees, self.degrees);
        self.turned(input, degrees.to_radians())
    }
}

impl Rotate {
    /// The picture turned clockwise (rows grow downwards): each place takes the value at the place turned back.
    fn turned(&self, input: &Tensor, angle: f64) -> Result<Tensor, DataError> {
        let planes = Planes::of("rotate", input, 2)?;
        let (sine, cosine) = angle.sin_cos();
        let middle_y = (planes.height as f64 - 1.0) / 2.0;
        let middle_x = (planes.width as f64 - 1.0) / 2.0;
        planes.map(planes.height, planes.width, |plane, y, x| {
            let (dy, dx) = (y as f64 - middle_y, x as f64 - middle_x);
            let from_x = middle_x + cosine * dx + sine * dy;
            let from_y = middle_y - sine * dx + cosine * dy;
            let (left, top) = (from_x.floor(), from_y.floor());
            let (right_share, lower_share) = (from_x - left, from_y - top);
            let value = |below: i64, right: i64| {
                f64::from(planes.at(plane, top as i64 + below, left as i64 + right).unwrap_or(self.fill))
            };
            let upper = value(0, 0) * (1.0 - right_share) + value(0, 1) * right_share;
            let lower = value(1, 0) * (1.0 - right_share) + value(1, 1) * right_share;
            (upper * (1.0 - lower_share) + lower * lower_share) as f32
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::floats;
    use super::super::testing::{counted, outcomes, random, refusal};
    use super::*;

    #[test]
    fn known_angles() {
        let rotate = Rotate { degrees: 180.0, fill: 0.0 };
        for (degrees, expected) in [
            (0.0f64, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]),
            (90.0, [6.0, 3.0, 0.0, 7.0, 4.0, 1.0, 8.0, 5.0, 2.0]),
            (-90.0, [2.0, 5.0, 8.0, 1.0, 4.0, 7.0, 0.0, 3.0, 6.0]),
            (180.0, [8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0]),
        ] {
            let found = floats(&rotate.turned(&counted(&[1, 3, 3]), degrees.to_radians()).unwrap());
            assert!(
                found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-5),
                "{degrees}: {found:?}"
            );
        }
    }

    #[test]
    fn a_plane_stays_a_plane_between_the_pixels() {
        // Bilinear interpolation is exact on a·x + b·y, away from the corners.
        let rotate = Rotate { degrees: 30.0, fill: 0.0 };
        let angle = 30f64.to_radians();
        let found = floats(&rotate.turned(&counted(&[9, 9]), angle).unwrap());
        for y in 3..6i32 {
            for x in 3..6i32 {
                let (dy, dx) = (f64::from(y - 4), f64::from(x - 4));
                let (from_x, from_y) =
                    (4.0 + angle.cos() * dx + angle.sin() * dy, 4.0 - angle.sin() * dx + angle.cos() * dy);
                let expected = 9.0 * from_y + from_x;
                assert!((f64::from(found[(y * 9 + x) as usize]) - expected).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn angles_vary_within_their_bounds() {
        let input = counted(&[5, 5]);
        let found = outcomes(&Rotate { degrees: 10.0, fill: 0.0 }, &input);
        let off = |outcome: &Tensor| (floats(outcome)[13] - 13.0).abs();
        assert!(found.iter().any(|outcome| off(outcome) > 0.5) && found.iter().all(|outcome| off(outcome) < 1.0));
        assert_eq!(outcomes(&Rotate { degrees: 0.0, fill: 0.0 }, &input)[0], input);
    }

    #[test]
    fn bad_settings() {
        assert_eq!(
            refusal(&Rotate { degrees: -1.0, fill: 0.0 }),
            "rotate: degrees: expected a number from 0 to 180, found -1"
        );
        let error = Rotate { degrees: 1.0, fill: 0.0 }.apply(&counted(&[4]), &mut random(0)).unwrap_err().to_string();
        assert_eq!(error, "rotate: expected inputs of rank 2 to 3, found shape [4]");
    }
}
