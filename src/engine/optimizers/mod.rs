//! Optimizers: how a gradient changes a weight. One file each, one line each in [`Optimizer`] and [`NAMES`].
//!
//! An optimizer is a rule for each single number: from its gradient, and from a few numbers that it remembers of the
//! steps before (its *slots*). Everything else (schedules, clipping, penalties) is around it.

mod adagrad;
mod adam;
mod adamw;
mod momentum;
mod nesterov;
mod rmsprop;
mod sgd;

pub use adagrad::AdaGrad;
pub use adam::Adam;
pub use adamw::AdamW;
pub use momentum::Momentum;
pub use nesterov::Nesterov;
pub use rmsprop::RmsProp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
pub use sgd::Sgd;

use super::cell::{Cell, Slice};
use super::error::EngineError;
use super::kernels::Float;
use super::kernels::math::vectorised;

/// The names by which a recipe asks for an optimizer.
pub const NAMES: &[&str] = &["gradient_descent", "sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw"];

/// A rule of descent with its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Optimizer {
    /// Gradient descent: the same rule as SGD, meant for the whole data at once.
    GradientDescent(Sgd),
    /// Stochastic gradient descent.
    Sgd(Sgd),
    /// SGD with a velocity.
    Momentum(Momentum),
    /// SGD with a velocity that looks ahead.
    Nesterov(Nesterov),
    /// Steps divided by the root of all squared gradients so far.
    #[serde(rename = "adagrad")]
    AdaGrad(AdaGrad),
    /// Steps divided by the root of the recent squared gradients.
    #[serde(rename = "rmsprop")]
    RmsProp(RmsProp),
    /// Momentum and RMSProp together, corrected at the beginning.
    Adam(Adam),
    /// Adam with weight decay beside the gradient instead of in it.
    #[serde(rename = "adamw")]
    AdamW(AdamW),
}

/// How one number changes.
pub(super) trait Rule: Sync {
    /// How many numbers it remembers of each weight.
    const SLOTS: usize;

    /// What is the same for all weights in step `step` (from 1) at learning rate `rate`.
    type Step<T: Float>: Copy + Sync;

    /// Prepares a step.
    fn step<T: Float>(&self, step: u64, rate: f64) -> Self::Step<T>;

    /// The new weight, given the old one, its gradient and its slots (those beyond [`SLOTS`](Rule::SLOTS) are ignored).
    fn update<T: Float>(step: Self::Step<T>, weight: T, gradient: T, slots: &mut [T; 2]) -> T;
}

/// Calls `$body` with `$rule` bound to the rule of `$optimizer`.
macro_rules! with_rule {
    ($optimizer:expr, $rule:ident => $body:expr) => {
        match $optimizer {
            Optimizer::GradientDescent($rule) | Optimizer::Sgd($rule) => $body,
            Optimizer::Momentum($rule) => $body,
            Optimizer::Nesterov($rule) => $body,
            Optimizer::AdaGrad($rule) => $body,
            Optimizer::RmsProp($rule) => $body,
            Optimizer::Adam($rule) => $body,
            Optimizer::AdamW($rule) => $body,
        }
    };
}

impl Optimizer {
    /// The learning rate at the beginning; a schedule multiplies it.
    pub fn learning_rate(&self) -> f64 {
        with_rule!(self, rule => rule.learning_rate)
    }

    /// The same rule at another learning rate.
    pub fn with_learning_rate(mut self, learning_rate: f64) -> Self {
        with_rule!(&mut self, rule => rule.learning_rate = learning_rate);
        self
    }

    /// Refuses settings out of range.
    pub fn check(&self) -> Result<(), EngineError> {
        let rate = self.learning_rate();
        if !(rate.is_finite() && rate > 0.0) {
            let expected = "a number above 0".into();
            return Err(EngineError::Setting { what: "learning_rate", expected, found: rate.to_string() });
        }
        with_rule!(self, rule => rule.check())
    }

    /// How many numbers it remembers of each weight.
    pub fn slots(&self) -> usize {
        fn slots<R: Rule>(_: &R) -> usize {
            R::SLOTS
        }
        with_rule!(self, rule => slots(rule))
    }

    /// Changes a weight by its gradient, both of the same type and length; `decay` times the weight is added to the
    /// gradient first. `slots` are as many cells of that length as [`slots`](Optimizer::slots) says. `step` counts
    /// from 1.
    pub(super) fn update(
        &self,
        step: u64,
        rate: f64,
        decay: f64,
        weight: &mut Cell,
        gradient: Slice<'_>,
        slots: &mut [Cell],
    ) -> bool {
        match (weight, gradient) {
            (Cell::F32(weight), Slice::F32(gradient)) => {
                let slots = slots.iter_mut().map(|slot| match slot {
                    Cell::F32(slot) => Some(slot.as_mut_slice()),
                    _ => None,
                });
                with_rule!(self, rule => apply(rule, step, rate, decay, weight, gradient, slots))
            }
            (Cell::F64(weight), Slice::F64(gradient)) => {
                let slots = slots.iter_mut().map(|slot| match slot {
                    Cell::F64(slot) => Some(slot.as_mut_slice()),
                    _ => None,
                });
                with_rule!(self, rule => apply(rule, step, rate, decay, weight, gradient, slots))
            }
            _ => false,
        }
    }
}

fn apply<'s, R: Rule, T: Float>(
    rule: &R,
    step: u64,
    rate: f64,
    decay: f64,
    weights: &mut [T],
    gradient: &[T],
    mut slots: impl Iterator<Item = Option<&'s mut [T]>>,
) -> bool {
    let (step, decay) = (rule.step::<T>(step, rate), T::of(decay));
    if weights.len() != gradient.len() {
        return false;
    }
    let mut next = || slots.next().flatten().filter(|slot| slot.len() == weights.len());
    match R::SLOTS {
        0 => vectorised(|| {
            for (weight, gradient) in weights.iter_mut().zip(gradient) {
                *weight = R::update(step, *weight, *gradient + decay * *weight, &mut [T::zero(); 2]);
            }
            true
        }),
        1 => match next() {
            Some(first) => vectorised(|| {
                for ((weight, gradient), first) in weights.iter_mut().zip(gradient).zip(first) {
                    let mut slots = [*first, T::zero()];
                    *weight = R::update(step, *weight, *gradient + decay * *weight, &mut slots);
                    *first = slots[0];
                }
                true
            }),
            None => false,
        },
        _ => match (next(), next()) {
            (Some(first), Some(second)) => vectorised(|| {
                for (((weight, gradient), first), second) in weights.iter_mut().zip(gradient).zip(first).zip(second) {
                    let mut slots = [*first, *second];
                    *weight = R::update(step, *weight, *gradient + decay * *weight, &mut slots);
                    [*first, *second] = slots;
                }
                true
            }),
            _ => false,
        },
    }
}

/// Refuses a setting outside `0..1`.
fn fraction(what: &'static str, value: f64) -> Result<(), EngineError> {
    match (0.0..1.0).contains(&value) {
        true => Ok(()),
        false => {
            Err(EngineError::Setting { what, expected: "at least 0 and below 1".into(), found: value.to_string() })
        }
    }
}

/// Refuses a setting that is not above zero.
fn positive(what: &'static str, value: f64) -> Result<(), EngineError> {
    match value.is_finite() && value > 0.0 {
        true => Ok(()),
        false => Err(EngineError::Setting { what, expected: "a number above 0".into(), found: value.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three steps on one weight, with gradients 0.5, -1 and 2, worked out by hand from the formulas.
    #[test]
    fn three_steps_by_hand() {
        let all: &[(Optimizer, [f64; 3])] = &[
            (Optimizer::Sgd(Sgd { learning_rate: 0.1 }), [0.95, 1.05, 0.85]),
            (Optimizer::Momentum(Momentum { learning_rate: 0.1, momentum: 0.9 }), [0.95, 1.005, 0.8545]),
            (Optimizer::Nesterov(Nesterov { learning_rate: 0.1, momentum: 0.9 }), [0.905, 1.0545, 0.71905]),
            (
                Optimizer::AdaGrad(AdaGrad { learning_rate: 0.1, epsilon: 1e-10 }),
                [0.90000000002, 0.98944271912, 0.9021555630214],
            ),
            (
                Optimizer::RmsProp(RmsProp { learning_rate: 0.1, rho: 0.9, epsilon: 1e-8 }),
                [0.683772253983, 0.969486531534, 0.689499134603],
            ),
            (
                Optimizer::Adam(Adam { learning_rate: 0.1, ..Adam::default() }),
                [0.900000002000, 0.936610354241, 0.894644792718],
            ),
            (
                Optimizer::AdamW(AdamW { learning_rate: 0.1, weight_decay: 0.1, ..AdamW::default() }),
                [0.890000002000, 0.917710354221, 0.866567689156],
            ),
        ];
        for (optimizer, expected) in all {
            let mut weight = Cell::F64(vec![1.0]);
            let mut slots = vec![Cell::F64(vec![0.0]); optimizer.slots()];
            for (index, (gradient, expected)) in [0.5, -1.0, 2.0].iter().zip(expected).enumerate() {
                let rate = optimizer.learning_rate();
                assert!(optimizer.update(
                    index as u64 + 1,
                    rate,
                    0.0,
                    &mut weight,
                    Slice::F64(&[*gradient]),
                    &mut slots
                ));
                let Cell::F64(found) = &weight else { panic!() };
                assert!((found[0] - expected).abs() < 1e-9, "{optimizer:?}: step {index}: {} {expected}", found[0]);
            }
        }
    }

    #[test]
    fn every_name_is_an_optimizer_and_descends() {
        for name in NAMES {
            let optimizer: Optimizer = serde_json::from_value(serde_json::json!({ "kind": name })).unwrap();
            optimizer.check().unwrap();
            let (mut weight, mut slots) = (Cell::F32(vec![1.0; 3]), vec![Cell::F32(vec![0.0; 3]); optimizer.slots()]);
            for step in 1..=400 {
                let Cell::F32(values) = &weight else { panic!() };
                let gradient: Vec<f32> = values.iter().map(|value| 2.0 * value).collect();
                let rate = optimizer.learning_rate();
                assert!(optimizer.update(step, rate, 0.0, &mut weight, Slice::F32(&gradient), &mut slots));
            }
            let Cell::F32(values) = &weight else { panic!() };
            assert!(values.iter().all(|value| value.abs() < 0.95), "{name}: {values:?}");
        }
    }

    #[test]
    fn bad_settings_are_refused() {
        for (settings, part) in [
            (serde_json::json!({"kind": "sgd", "learning_rate": 0.0}), "learning_rate: expected a number above 0"),
            (serde_json::json!({"kind": "adam", "beta1": 1.0}), "beta1: expected at least 0 and below 1, found 1"),
            (serde_json::json!({"kind": "momentum", "momentum": -0.1}), "momentum"),
            (serde_json::json!({"kind": "rmsprop", "epsilon": 0.0}), "epsilon"),
        ] {
            let optimizer: Optimizer = serde_json::from_value(settings).unwrap();
            let error = optimizer.check().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(serde_json::from_value::<Optimizer>(serde_json::json!({"kind": "sgd", "rate": 1})).is_err());
    }

    #[test]
    fn decay_is_part_of_the_gradient() {
        let (mut weight, optimizer) = (Cell::F64(vec![2.0]), Optimizer::Sgd(Sgd { learning_rate: 0.1 }));
        assert!(optimizer.update(1, 0.1, 0.5, &mut weight, Slice::F64(&[1.0]), &mut []));
        assert_eq!(weight, Cell::F64(vec![1.8]));
    }
}
