//! Brightness: another brightness and contrast.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::DataError;
use super::super::random::Random;
use super::{Change, expect_within};
use crate::tensor::Tensor;

/// x · a + b with a random factor a and a random offset b, the same for all elements of a sample: brightness of a
/// picture, loudness of sound. Inputs of any rank.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Brightness {
    /// The offset is from −offset to offset, in the unit of the inputs. Default: 0.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub offset: f64,
    /// The factor is from 1 − factor to 1 + factor. Default: 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub factor: f64,
    /// The least value of a result. Default: no limit.
    #[serde(default)]
    pub min: Option<f32>,
    /// The largest value of a result. Default: no limit.
    #[serde(default)]
    pub max: Option<f32>,
}

impl Change for Brightness {
    fn check(&self) -> Result<(), DataError> {
        expect_within("brightness: offset", self.offset, 0.0, f64::MAX)?;
        expect_within("brightness: factor", self.factor, 0.0, 1.0)?;
        if self.offset == 0.0 && self.factor == 0.0 {
            return Err(DataError::setting("brightness", "an offset or a factor above 0", "neither"));
        }
        match (self.min, self.max) {
            (Some(min), Some(max)) if min.is_nan() || max.is_nan() || min > max => {
                let found = format!("{min} and {max}");
                Err(DataError::setting("brightness: min and max", "a smaller and a larger number", found))
            }
            _ => Ok(()),
        }
    }

    fn apply(&self, input: &Tensor, random: &mut Random) -> Result<Tensor, DataError> {
        let factor = random.uniform(1.0 - self.factor, 1.0 + self.factor) as f32;
        let offset = random.uniform(-self.offset, self.offset) as f32;
        let (min, max) = (self.min.unwrap_or(f32::NEG_INFINITY), self.max.unwrap_or(f32::INFINITY));
        let values: Vec<f32> =
            input.as_slice::<f32>()?.iter().map(|value| (value * factor + offset).max(min).min(max)).collect();
        Ok(Tensor::new(input.shape().to_vec(), values)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::floats;
    use super::super::testing::{outcomes, refusal, tensor};
    use super::*;

    #[test]
    fn factor_and_offset_are_within_their_bounds() {
        let found =
            outcomes(&Brightness { offset: 0.5, factor: 0.25, ..Brightness::default() }, &tensor(&[2], &[0.0, 1.0]));
        let drawn: Vec<(f32, f32)> = found.iter().map(|o| (floats(o)[0], floats(o)[1] - floats(o)[0])).collect();
        assert!(drawn.iter().all(|(offset, factor)| offset.abs() <= 0.5 && (factor - 1.0).abs() <= 0.2501));
        assert!(drawn.iter().any(|(offset, _)| *offset > 0.4) && drawn.iter().any(|(offset, _)| *offset < -0.4));
        assert!(drawn.iter().any(|(_, factor)| *factor > 1.2) && drawn.iter().any(|(_, factor)| *factor < 0.8));
    }

    #[test]
    fn results_are_limited() {
        let limited = Brightness { offset: 5.0, min: Some(0.0), max: Some(1.0), ..Brightness::default() };
        let found = outcomes(&limited, &tensor(&[1], &[0.5]));
        assert!(found.iter().any(|o| floats(o) == [0.0]) && found.iter().any(|o| floats(o) == [1.0]));
        assert!(found.iter().all(|o| (0.0..=1.0).contains(&floats(o)[0])));
    }

    #[test]
    fn bad_settings() {
        let one = Brightness { offset: 1.0, ..Brightness::default() };
        for (change, expected) in [
            (Brightness::default(), "brightness: expected an offset or a factor above 0, found neither"),
            (Brightness { factor: 2.0, ..one.clone() }, "brightness: factor: expected a number from 0 to 1, found 2"),
            (
                Brightness { offset: f64::INFINITY, ..one.clone() },
                "brightness: offset: expected a number, at least 0, found inf",
            ),
            (
                Brightness { min: Some(1.0), max: Some(0.0), ..one },
                "brightness: min and max: expected a smaller and a larger number, found 1 and 0",
            ),
        ] {
            assert_eq!(refusal(&change), expected);
        }
    }
}
