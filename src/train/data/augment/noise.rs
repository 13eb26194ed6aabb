//! Noise: Gaussian noise added.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::DataError;
use super::super::random::Random;
use super::{Change, expect_within};
use crate::tensor::Tensor;

/// Independent Gaussian noise added to each element, of inputs of any rank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// Its standard deviation, in the unit of the inputs.
    #[schemars(range(min = 0))]
    pub deviation: f64,
    /// Draws the deviation of each sample, uniformly from 0 to `deviation`. Default: false.
    #[serde(default)]
    pub varied: bool,
}

impl Change for Noise {
    fn check(&self) -> Result<(), DataError> {
        expect_within("noise: deviation", self.deviation, 0.0, f64::MAX)
    }

    fn apply(&self, input: &Tensor, random: &mut Random) -> Result<Tensor, DataError> {
        let deviation = if self.varied { random.uniform(0.0, self.deviation) } else { self.deviation };
        let values: Vec<f32> =
            input.as_slice::<f32>()?.iter().map(|value| value + (deviation * random.normal()) as f32).collect();
        Ok(Tensor::new(input.shape().to_vec(), values)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::floats;
    use super::super::testing::{outcomes, refusal, tensor};
    use super::*;

    fn deviations(noise: Noise) -> Vec<f64> {
        let input = tensor(&[2, 200], &[3.0; 400]);
        let of = |outcome: &Tensor| {
            let sum: f64 = floats(outcome).iter().map(|value| (f64::from(*value) - 3.0).powi(2)).sum();
            (sum / 400.0).sqrt()
        };
        outcomes(&noise, &input).iter().map(of).collect()
    }

    #[test]
    fn the_deviation_is_as_asked_for() {
        assert!(deviations(Noise { deviation: 0.5, varied: false }).iter().all(|found| (found - 0.5).abs() < 0.1));
        let varied = deviations(Noise { deviation: 0.5, varied: true });
        assert!(varied.iter().any(|found| *found < 0.1) && varied.iter().any(|found| *found > 0.4));
        assert!(deviations(Noise { deviation: 0.0, varied: false }).iter().all(|found| *found == 0.0));
    }

    #[test]
    fn bad_settings() {
        let noise = Noise { deviation: f64::NAN, varied: false };
        assert_eq!(refusal(&noise), "noise: deviation: expected a number, at least 0, found NaN");
    }
}
