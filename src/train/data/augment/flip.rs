//! Flip: left and right, or up and down, exchanged.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::DataError;
use super::super::random::Random;
use super::planes::Planes;
use super::{Change, expect_within};
use crate::tensor::Tensor;

/// Left and right, or up and down, exchanged with some probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Flip {
    /// The probability that left and right are exchanged. Default: 0.5.
    #[serde(default = "half")]
    #[schemars(range(min = 0, max = 1))]
    pub horizontal: f64,
    /// The probability that up and down are exchanged. Default: 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub vertical: f64,
}

fn half() -> f64 {
    0.5
}

impl Default for Flip {
    fn default() -> Self {
        Flip { horizontal: half(), vertical: 0.0 }
    }
}

impl Change for Flip {
    fn check(&self) -> Result<(), DataError> {
        expect_within("flip: horizontal", self.horizontal, 0.0, 1.0)?;
        expect_within("flip: vertical", self.vertical, 0.0, 1.0)
    }

    fn apply(&self, input: &Tensor, random: &mut Random) -> Result<Tensor, DataError> {
        let planes = Planes::of("flip", input, 1)?;
        let (horizontal, vertical) = (random.chance(self.horizontal), random.chance(self.vertical));
        if !horizontal && !vertical {
            return Ok(input.clone());
        }
        let (last_y, last_x) = (planes.height as i64 - 1, planes.width as i64 - 1);
        planes.map(planes.height, planes.width, |plane, y, x| {
            let (y, x) = (if vertical { last_y - y } else { y }, if horizontal { last_x - x } else { x });
            planes.at(plane, y, x).unwrap_or_default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{counted, outcomes, refusal, tensor};
    use super::*;

    #[test]
    fn what_is_exchanged() {
        let input = counted(&[1, 2, 2]);
        for (horizontal, vertical, expected) in [
            (0.0, 0.0, [0.0, 1.0, 2.0, 3.0]),
            (1.0, 0.0, [1.0, 0.0, 3.0, 2.0]),
            (0.0, 1.0, [2.0, 3.0, 0.0, 1.0]),
            (1.0, 1.0, [3.0, 2.0, 1.0, 0.0]),
        ] {
            let found = outcomes(&Flip { horizontal, vertical }, &input);
            assert!(found.iter().all(|outcome| *outcome == tensor(&[1, 2, 2], &expected)), "{horizontal} {vertical}");
        }
        let kept = outcomes(&Flip::default(), &input).iter().filter(|outcome| **outcome == input).count();
        assert!((30..70).contains(&kept), "{kept}");
    }

    #[test]
    fn bad_settings() {
        let flip = Flip { horizontal: 1.5, vertical: 0.0 };
        assert_eq!(refusal(&flip), "flip: horizontal: expected a number from 0 to 1, found 1.5");
        assert!(refusal(&Flip { vertical: f64::NAN, ..flip.clone() }).contains("horizontal"));
    }
}
