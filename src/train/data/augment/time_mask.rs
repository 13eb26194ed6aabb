//! Time mask: stretches of time blanked out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::DataError;
use super::super::random::Random;
use super::Change;
use super::mask::Mask;
use crate::tensor::Tensor;

/// Stretches of time blanked out of features: all bands of some frames in a row, at random places.
///
/// Source: Park et al., *SpecAugment*, Interspeech 2019, section 2.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeMask {
    /// The widest mask, in frames; each is drawn from 0 to this.
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
    /// The axis of time, counted from the front, or, when negative, from the back. Default: -2, as in `[frames,
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
    -2
}

impl TimeMask {
    /// One mask of at most this width.
    pub fn new(max_width: usize) -> Self {
        TimeMask { max_width, count: one(), max_share: all(), value: 0.0, axis: axis() }
    }

    fn mask(&self) -> Mask {
        let TimeMask { max_width, count, max_share, value, axis } = *self;
        Mask { name: "time_mask", count, max_width, max_share, value, axis }
    }
}

impl Change for TimeMask {
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
    use super::super::testing::{counted, outcomes, random, refusal};
    use super::*;

    /// Which rows of `[frames, 2]` are blanked out; both elements of a row are, or none.
    fn blanked(outcome: &Tensor, input: &Tensor) -> Vec<usize> {
        let (outcome, input) = (floats(outcome), floats(input));
        (0..input.len() / 2)
            .filter(|row| {
                let own = &outcome[row * 2..row * 2 + 2];
                assert!(own == [-9.0, -9.0] || own == &input[row * 2..row * 2 + 2]);
                own == [-9.0, -9.0]
            })
            .collect()
    }

    #[test]
    fn frames_in_a_row_are_blanked_out() {
        let input = counted(&[6, 2]);
        let found: Vec<Vec<usize>> = outcomes(&TimeMask { value: -9.0, ..TimeMask::new(3) }, &input)
            .iter()
            .map(|outcome| blanked(outcome, &input))
            .collect();
        assert!(found.iter().all(|rows| rows.len() <= 3 && rows.windows(2).all(|pair| pair[1] == pair[0] + 1)));
        for width in 0..=3 {
            assert!(found.iter().any(|rows| rows.len() == width), "{width}");
        }
        assert!(found.iter().any(|rows| rows.first() == Some(&0)) && found.iter().any(|rows| rows.last() == Some(&5)));
    }

    #[test]
    fn counts_and_shares_are_held() {
        let input = counted(&[6, 2]);
        let widest = |mask: TimeMask| {
            outcomes(&mask, &input).iter().map(|outcome| blanked(outcome, &input).len()).max().unwrap()
        };
        let base = TimeMask { value: -9.0, ..TimeMask::new(100) };
        assert_eq!(widest(base.clone()), 6);
        assert_eq!(widest(TimeMask { max_share: 0.35, ..base.clone() }), 2);
        assert_eq!(widest(TimeMask { max_share: 0.0, ..base.clone() }), 0);
        assert_eq!(widest(TimeMask { count: 2, max_width: 1, ..base }), 2);
    }

    #[test]
    fn axes_and_bad_settings() {
        let mask = TimeMask { axis: 0, ..TimeMask::new(1) };
        let blank: Vec<Tensor> = outcomes(&mask, &counted(&[2, 1, 2]));
        assert!(blank.iter().any(|outcome| floats(outcome) == [0.0, 1.0, 0.0, 0.0]));
        assert_eq!(outcomes(&mask, &counted(&[0, 3]))[0], counted(&[0, 3]));
        for axis in [3, -4, i64::MIN, i64::MAX] {
            let error = TimeMask { axis, ..mask.clone() }.apply(&counted(&[1, 2, 3]), &mut random(0)).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("time_mask: expected inputs that have an axis {axis}, found shape [1, 2, 3]")
            );
        }
        assert!(refusal(&TimeMask::new(0)).starts_with("time_mask: expected 1 to 1000 masks"));
        assert!(refusal(&TimeMask { max_share: 1.5, ..mask }).contains("from 0 to 1"));
    }
}
