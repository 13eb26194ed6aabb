//! Frequency mask: bands of frequency blanked out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::DataError;
use super::super::random::Random;
use super::Change;
use super::mask::Mask;
use crate::tensor::Tensor;

/// Bands of frequency blanked out of features: some neighbouring bands of all frames, at random places.
///
/// Source: Park et al., *SpecAugment*, Interspeech 2019, section 2.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FrequencyMask {
    /// The widest mask, in bands; each is drawn from 0 to this.
    #[schemars(range(min = 1))]
    pub max_width: usize,
    /// Masks in a sample. Default: 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub count: usize,
    /// The most of a sample that one mask covers, from 0 to 1. Default: 1.
    #[serde(default = "all")]
    #[schemars(range(min = 0, max = 1))]
    pub max_share: f64,
    /// The value of what is blanked out. Default: 0.
    #[serde(default)]
    pub value: f32,
    /// The axis of frequency, counted from the front, or, when negative, from the back. Default: -1, as in `[frames,
    /// bands]`.
    #[serde(default = "axis")]
    pub axis: i64,
}

fn one() -> usize {
    1
}

fn all() -> f64 {
    1.0
}

fn axis() -> i64 {
    -1
}

impl FrequencyMask {
    /// One mask of at most this width.
    pub fn new(max_width: usize) -> Self {
        FrequencyMask { max_width, count: one(), max_share: all(), value: 0.0, axis: axis() }
    }

    fn mask(&self) -> Mask {
        let FrequencyMask { max_width, count, max_share, value, axis } = *self;
        Mask { name: "frequency_mask", count, max_width, max_share, value, axis }
    }
}

impl Change for FrequencyMask {
    fn check(&self) -> Result<(), DataError> {
        self.mask().check()
    }

    fn apply(&self, input: &Tensor, random: &mut Random) -> Result<Tensor, DataError> {
        self.mask().apply(input, random)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::floats;
    use super::super::testing::{outcomes, refusal, tensor};
    use super::*;

    #[test]
    fn the_same_bands_of_all_frames_are_blanked_out() {
        let found = outcomes(&FrequencyMask { value: -1.0, ..FrequencyMask::new(2) }, &tensor(&[2, 3], &[1.0; 6]));
        for outcome in &found {
            let values = floats(outcome);
            assert_eq!(values[..3], values[3..]);
            assert!(
                values[..3].iter().filter(|value| **value == -1.0).count() <= 2 && values[..3] != [-1.0, 1.0, -1.0]
            );
        }
        for bands in [[1.0, 1.0, 1.0], [-1.0, 1.0, 1.0], [1.0, -1.0, 1.0], [1.0, -1.0, -1.0]] {
            assert!(found.iter().any(|outcome| floats(outcome)[..3] == bands), "{bands:?}");
        }
    }

    #[test]
    fn bad_settings() {
        let none = FrequencyMask { count: 0, ..FrequencyMask::new(2) };
        assert_eq!(refusal(&none), "frequency_mask: expected 1 to 1000 masks of at least 1 element, found 0 of 0 to 2");
    }
}
