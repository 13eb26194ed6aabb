//! Schedules: how the learning rate changes from step to step.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::EngineError;

/// A factor for the learning rate, by the number of the step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Schedule {
    /// 1 throughout.
    #[default]
    Constant,
    /// Multiplied by `factor` after every `every` steps.
    Step {
        /// How many steps.
        every: u64,
        /// Between 0 and 1.
        factor: f64,
    },
    /// `factor` to the power of the step.
    Exponential {
        /// Between 0 and 1.
        factor: f64,
    },
    /// `1 / (1 + decay·step)`.
    InverseTime {
        /// At least 0.
        decay: f64,
    },
    /// Half a cosine from 1 down to `floor` over `steps` steps, then `floor` (Loshchilov and Hutter, SGDR, ICLR 2017,
    /// equation 5, without restarts).
    Cosine {
        /// How many steps.
        steps: u64,
        /// The factor at the end, 0 unless given.
        #[serde(default)]
        floor: f64,
    },
    /// From 1/steps up to 1 over `steps` steps, then what follows, counted from there.
    WarmUp {
        /// How many steps.
        steps: u64,
        /// What comes after; constant unless given.
        #[serde(default)]
        then: Box<Schedule>,
    },
    /// Multiplied by `factor` whenever the measure that is watched has not become better for `patience` measurements.
    OnPlateau {
        /// Between 0 and 1, 0.1 unless given.
        #[serde(default = "tenth")]
        factor: f64,
        /// How many measurements, 10 unless given.
        #[serde(default = "ten")]
        patience: u64,
    },
}

fn tenth() -> f64 {
    0.1
}

fn ten() -> u64 {
    10
}

/// What a schedule remembers: nothing, but for [`Schedule::OnPlateau`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plateau {
    best: Option<f64>,
    waited: u64,
    factor: f64,
}

impl Default for Plateau {
    fn default() -> Self {
        Plateau { best: None, waited: 0, factor: 1.0 }
    }
}

impl Schedule {
    /// The factor in step `step`, counted from 0.
    pub fn factor(&self, step: u64, plateau: &Plateau) -> f64 {
        match self {
            Schedule::Constant => 1.0,
            Schedule::Step { every, factor } => factor.powf((step / (*every).max(1)) as f64),
            Schedule::Exponential { factor } => factor.powf(step as f64),
            Schedule::InverseTime { decay } => 1.0 / (1.0 + decay * step as f64),
            Schedule::Cosine { steps, floor } => {
                let done = (step as f64 / (*steps).max(1) as f64).min(1.0);
                floor + (1.0 - floor) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
            }
            Schedule::WarmUp { steps, .. } if step < *steps => (step + 1) as f64 / *steps as f64,
            Schedule::WarmUp { steps, then } => then.factor(step - steps, plateau),
            Schedule::OnPlateau { .. } => plateau.factor,
        }
    }

    /// Takes note of a measurement; smaller is better.
    pub fn observe(&self, measure: f64, plateau: &mut Plateau) {
        match self {
            Schedule::WarmUp { then, .. } => then.observe(measure, plateau),
            Schedule::OnPlateau { factor, patience } => {
                if plateau.best.is_none_or(|best| measure < best) {
                    plateau.best = Some(measure);
                    plateau.waited = 0;
                    return;
                }
                plateau.waited += 1;
                if plateau.waited > *patience {
                    plateau.factor *= factor;
                    plateau.waited = 0;
                }
            }
            _ => {}
        }
    }

    /// Refuses settings out of range.
    pub fn check(&self) -> Result<(), EngineError> {
        let wrong =
            |what, expected: &str, found: String| Err(EngineError::Setting { what, expected: expected.into(), found });
        match self {
            Schedule::Constant => Ok(()),
            Schedule::Step { every: 0, .. } => wrong("schedule.every", "at least 1", "0".into()),
            Schedule::Cosine { steps: 0, .. } | Schedule::WarmUp { steps: 0, .. } => {
                wrong("schedule.steps", "at least 1", "0".into())
            }
            Schedule::Step { factor, .. } | Schedule::Exponential { factor } | Schedule::OnPlateau { factor, .. } => {
                match *factor > 0.0 && *factor <= 1.0 {
                    true => Ok(()),
                    false => wrong("schedule.factor", "above 0 and at most 1", factor.to_string()),
                }
            }
            Schedule::InverseTime { decay } => match decay.is_finite() && *decay >= 0.0 {
                true => Ok(()),
                false => wrong("schedule.decay", "at least 0", decay.to_string()),
            },
            Schedule::Cosine { floor, .. } => match (0.0..=1.0).contains(floor) {
                true => Ok(()),
                false => wrong("schedule.floor", "between 0 and 1", floor.to_string()),
            },
            Schedule::WarmUp { then, .. } => then.check(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors() {
        let warm = Schedule::WarmUp { steps: 4, then: Box::new(Schedule::Cosine { steps: 10, floor: 0.0 }) };
        for (schedule, cases) in [
            (Schedule::Constant, vec![(0, 1.0), (1000, 1.0)]),
            (Schedule::Step { every: 10, factor: 0.5 }, vec![(0, 1.0), (9, 1.0), (10, 0.5), (25, 0.25)]),
            (Schedule::Exponential { factor: 0.9 }, vec![(0, 1.0), (2, 0.81)]),
            (Schedule::InverseTime { decay: 0.5 }, vec![(0, 1.0), (2, 0.5)]),
            (Schedule::Cosine { steps: 10, floor: 0.2 }, vec![(0, 1.0), (5, 0.6), (10, 0.2), (99, 0.2)]),
            (warm, vec![(0, 0.25), (3, 1.0), (4, 1.0), (9, 0.5), (14, 0.0)]),
        ] {
            schedule.check().unwrap();
            for (step, expected) in cases {
                let found = schedule.factor(step, &Plateau::default());
                assert!((found - expected).abs() < 1e-12, "{schedule:?} at {step}: {found}");
            }
        }
    }

    #[test]
    fn a_plateau_lowers_the_rate() {
        let schedule = Schedule::OnPlateau { factor: 0.5, patience: 1 };
        let mut plateau = Plateau::default();
        let mut factors = Vec::new();
        for measure in [3.0, 2.0, 2.0, 2.5, 1.0, 1.0, f64::NAN] {
            schedule.observe(measure, &mut plateau);
            factors.push(schedule.factor(0, &plateau));
        }
        assert_eq!(factors, [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25]);
    }

    #[test]
    fn bad_settings_are_refused() {
        for schedule in [
            Schedule::Step { every: 0, factor: 0.5 },
            Schedule::Exponential { factor: 0.0 },
            Schedule::InverseTime { decay: f64::NAN },
            Schedule::Cosine { steps: 0, floor: 0.0 },
            Schedule::WarmUp { steps: 1, then: Box::new(Schedule::Exponential { factor: 2.0 }) },
        ] {
            assert!(schedule.check().is_err(), "{schedule:?}");
        }
    }
}
