//! Shift: moved by whole elements.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::DataError;
use super::super::random::Random;
use super::planes::Planes;
use super::{Change, expect_within};
use crate::tensor::Tensor;

/// The input moved by a random number of whole elements; what moves out is lost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shift {
    /// The most columns (pixels, or samples of sound) to the left or to the right. Default: 0.
    #[serde(default)]
    pub x: u32,
    /// The most rows (pixels, or frames of features) up or down. Default: 0.
    #[serde(default)]
    pub y: u32,
    /// What comes in at the other side. Default: 0.
    #[serde(default)]
    pub fill: f32,
}

impl Change for Shift {
    fn check(&self) -> Result<(), DataError> {
        expect_within("shift: x and y", f64::from(self.x) + f64::from(self.y), 1.0, f64::MAX)
    }

    fn apply(&self, input: &Tensor, random: &mut Random) -> Result<Tensor, DataError> {
        let planes = Planes::of("shift", input, 1)?;
        let mut draw = |most: u32| random.below(2 * most as usize + 1) as i64 - i64::from(most);
        let (right, down) = (draw(self.x), draw(self.y));
        let down = if planes.rank == 1 { 0 } else { down };
        planes
            .map(planes.height, planes.width, |plane, y, x| planes.at(plane, y - down, x - right).unwrap_or(self.fill))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{counted, outcomes, refusal, tensor};
    use super::*;

    #[test]
    fn every_distance_occurs_and_no_other() {
        let across = outcomes(&Shift { x: 1, fill: -1.0, ..Shift::default() }, &counted(&[3]));
        let places = [[0.0, 1.0, 2.0], [-1.0, 0.0, 1.0], [1.0, 2.0, -1.0]].map(|values| tensor(&[3], &values));
        assert!(places.iter().all(|place| across.contains(place)) && across.iter().all(|o| places.contains(o)));
        let down = outcomes(&Shift { y: 1, ..Shift::default() }, &counted(&[2, 2]));
        let places = [[0.0, 1.0, 2.0, 3.0], [2.0, 3.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]].map(|v| tensor(&[2, 2], &v));
        assert!(places.iter().all(|place| down.contains(place)) && down.iter().all(|o| places.contains(o)));
    }

    #[test]
    fn extremes() {
        assert_eq!(refusal(&Shift::default()), "shift: x and y: expected a number, at least 1, found 0");
        let far = outcomes(&Shift { x: u32::MAX, y: u32::MAX, fill: 5.0 }, &counted(&[2]));
        assert!(far.iter().all(|outcome| *outcome == tensor(&[2], &[5.0, 5.0])));
    }
}
