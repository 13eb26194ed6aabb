//! Crop: a part at a random place.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::DataError;
use super::super::random::Random;
use super::planes::Planes;
use super::{Change, expect_within};
use crate::tensor::Tensor;

/// A part of the input at a random place, after elements of `fill` are put around it: with a padding of 4 and the size
/// left as it is, what small pictures are commonly trained with (He et al., CVPR 2016, section 4.2). Validation and
/// test data are not cropped, so a size of its own fits models that take inputs of any size.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Crop {
    /// Rows of the part. Default: as many as the input has.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub height: Option<usize>,
    /// Columns of the part. Default: as many as the input has.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub width: Option<usize>,
    /// Elements that are put on each side first. Default: 0.
    #[serde(default)]
    #[schemars(range(max = 65_536))]
    pub padding: usize,
    /// Their value. Default: 0.
    #[serde(default)]
    pub fill: f32,
}

impl Change for Crop {
    fn check(&self) -> Result<(), DataError> {
        expect_within("crop: height", self.height.unwrap_or(1) as f64, 1.0, 65_536.0)?;
        expect_within("crop: width", self.width.unwrap_or(1) as f64, 1.0, 1e9)?;
        expect_within("crop: padding", self.padding as f64, 0.0, 65_536.0)
    }

    fn apply(&self, input: &Tensor, random: &mut Random) -> Result<Tensor, DataError> {
        let planes = Planes::of("crop", input, 1)?;
        let (height, width) = (self.height.unwrap_or(planes.height), self.width.unwrap_or(planes.width));
        let (pad_y, pad_x) = (if planes.rank == 1 { 0 } else { self.padding }, self.padding);
        let (free_y, free_x) =
            ((planes.height + 2 * pad_y).checked_sub(height), (planes.width + 2 * pad_x).checked_sub(width));
        let (Some(free_y), Some(free_x)) = (free_y, free_x) else {
            let expected = format!("at most {} by {}", planes.height + 2 * pad_y, planes.width + 2 * pad_x);
            return Err(DataError::setting("crop: height and width", expected, format!("{height} by {width}")));
        };
        let top = random.below(free_y + 1) as i64 - pad_y as i64;
        let left = random.below(free_x + 1) as i64 - pad_x as i64;
        planes.map(height, width, |plane, y, x| planes.at(plane, y + top, x + left).unwrap_or(self.fill))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{counted, outcomes, random, refusal, tensor};
    use super::*;

    #[test]
    fn every_place_occurs_and_no_other() {
        let found = outcomes(&Crop { height: Some(1), width: Some(2), ..Crop::default() }, &counted(&[1, 2, 3]));
        let places = [[0.0, 1.0], [1.0, 2.0], [3.0, 4.0], [4.0, 5.0]].map(|values| tensor(&[1, 1, 2], &values));
        assert!(places.iter().all(|place| found.contains(place)));
        assert!(found.iter().all(|part| places.contains(part)));
    }

    #[test]
    fn padding_moves_the_input_about() {
        let found = outcomes(&Crop { padding: 1, fill: 9.0, ..Crop::default() }, &counted(&[3]));
        let places = [[9.0, 0.0, 1.0], [0.0, 1.0, 2.0], [1.0, 2.0, 9.0]].map(|values| tensor(&[3], &values));
        assert!(places.iter().all(|place| found.contains(place)));
        assert!(found.iter().all(|part| places.contains(part)));
        assert_eq!(outcomes(&Crop::default(), &counted(&[2, 2, 2]))[0], counted(&[2, 2, 2]));
    }

    #[test]
    fn bad_settings() {
        let large = Crop { height: Some(4), width: Some(3), padding: 1, ..Crop::default() };
        let error = large.apply(&counted(&[1, 2]), &mut random(0)).unwrap_err().to_string();
        assert_eq!(error, "crop: height and width: expected at most 3 by 4, found 4 by 3");
        let zero = Crop { width: Some(0), ..Crop::default() };
        assert!(refusal(&zero).starts_with("crop: width: expected a number from 1"));
        assert!(Crop::default().apply(&counted(&[1, 1, 1, 1]), &mut random(0)).is_err());
    }
}
