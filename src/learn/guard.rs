//! Trusted samples on which no version may be worse than the model that learning began with.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::config::GuardConfig;
use super::error::LearnError;
use super::npz::load_samples;
use super::sample::Sample;
use super::statistics::{Moments, upper_bound};

/// A reference set. It is never learned from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Guard {
    samples: Vec<Sample>,
}

/// What the guard saw of a version.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GuardFigures {
    /// Samples.
    pub samples: usize,
    /// The mean measure of the model that learning began with.
    pub original: f64,
    /// That of the version.
    pub candidate: f64,
    /// How much worse the version is at most, with `confidence`.
    pub bound: f64,
    /// How much worse it may be.
    pub max_loss: f64,
    /// The probability with which `bound` holds, for one version.
    pub confidence: f64,
}

impl GuardFigures {
    /// Whether the version may serve.
    pub fn passes(&self) -> bool {
        self.bound <= self.max_loss
    }
}

impl Guard {
    /// The samples of an `.npz` file, as [`load_samples`] reads it.
    pub fn load(path: &Path) -> Result<Self, LearnError> {
        Ok(Guard { samples: load_samples(path)? })
    }

    /// A guard with these samples.
    pub fn new(samples: Vec<Sample>) -> Self {
        Guard { samples }
    }

    /// The samples.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    pub(super) fn samples_mut(&mut self) -> &mut Vec<Sample> {
        &mut self.samples
    }

    /// Judges a version by its measure on each sample beside that of the original: the mean of the differences, sample
    /// by sample, must be below `max_loss` with `confidence`. For right and wrong answers the bound is exact (Clopper and
    /// Pearson 1934, for the answers that became right and those that became wrong), for other measures that of
    /// Student's t (1908).
    ///
    /// The bound holds for one version. Of several each is compared with the same original, so what is lost does not add
    /// up from version to version.
    pub fn judge(config: &GuardConfig, original: &[f64], candidate: &[f64]) -> GuardFigures {
        let differences: Vec<f64> =
            candidate.iter().zip(original).map(|(candidate, original)| candidate - original).collect();
        let bound = match original.len() == candidate.len() {
            true => upper_bound(&differences, 1.0 - config.confidence),
            false => f64::INFINITY,
        };
        GuardFigures {
            samples: differences.len(),
            original: Moments::of(original.iter().copied()).mean,
            candidate: Moments::of(candidate.iter().copied()).mean,
            bound,
            max_loss: config.max_loss,
            confidence: config.confidence,
        }
    }

    /// Why no version can ever pass with these settings, even one that answers as the original does; `None` where one can.
    pub fn is_hopeless(config: &GuardConfig, samples: usize) -> Option<String> {
        let bound = |samples: usize| upper_bound(&vec![0.0; samples], 1.0 - config.confidence);
        if bound(samples) <= config.max_loss {
            return None;
        }
        let enough = (1..=24).map(|power| 1usize << power).find(|samples| bound(*samples) <= config.max_loss);
        let advice = match enough {
            Some(mut high) => {
                let mut low = high / 2;
                while high - low > 1 {
                    let middle = low + (high - low) / 2;
                    if bound(middle) <= config.max_loss { high = middle } else { low = middle }
                }
                format!("give at least {high} samples, or a larger `guard.max_loss`")
            }
            None => "give a larger `guard.max_loss`".to_owned(),
        };
        Some(format!(
            "is too small: {samples} samples cannot show a loss of at most {} with a confidence of {}, even where no \
             answer changes; {advice}",
            config.max_loss, config.confidence
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(better: usize, worse: usize, same: usize) -> GuardFigures {
        let original: Vec<f64> = (0..better + worse + same).map(|at| f64::from(u8::from(at < better))).collect();
        let candidate: Vec<f64> =
            (0..original.len()).map(|at| f64::from(u8::from((better..better + worse).contains(&at)))).collect();
        Guard::judge(&GuardConfig::default(), &original, &candidate)
    }

    #[test]
    fn what_is_worse_is_refused_and_what_is_not_passes() {
        for (better, worse, same, passes) in [
            (0, 0, 300, true),
            (0, 0, 100, false), // Nothing changed, but a hundred samples cannot show it.
            (10, 10, 980, true),
            (0, 40, 960, false),
            (0, 25, 975, false),
            (50, 30, 920, true),
            (30, 50, 920, false),
            (100, 0, 0, true),
        ] {
            let figures = judge(better, worse, same);
            assert_eq!(figures.passes(), passes, "{better} {worse} {same}: {figures:?}");
            let mean = (worse as f64 - better as f64) / (better + worse + same) as f64;
            assert!(figures.bound >= mean && (figures.candidate - figures.original - mean).abs() < 1e-12);
        }
        assert!(!Guard::judge(&GuardConfig::default(), &[], &[]).passes());
        assert!(!Guard::judge(&GuardConfig::default(), &[0.0; 300], &[0.0; 299]).passes());
        assert!(!Guard::judge(&GuardConfig::default(), &[0.0; 300], &[f64::INFINITY; 300]).passes());
        assert!(!Guard::judge(&GuardConfig::default(), &[0.0; 300], &[f64::NAN; 300]).passes());
    }

    #[test]
    fn a_set_that_is_too_small_says_how_many_it_takes() {
        let config = GuardConfig::default();
        let reason = Guard::is_hopeless(&config, 100).unwrap();
        assert!(reason.contains("at least 183 samples"), "{reason}");
        assert_eq!(Guard::is_hopeless(&config, 183), None);
        assert!(Guard::is_hopeless(&config, 182).is_some());
        assert!(Guard::is_hopeless(&GuardConfig { max_loss: 0.0, ..config }, 100).unwrap().contains("a larger"));
    }
}
