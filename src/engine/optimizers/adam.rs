//! Adam: `m ← β₁·m + (1−β₁)·g`, `v ← β₂·v + (1−β₂)·g²`, `w ← w − η·m̂ / (√v̂ + ε)` with `m̂ = m/(1−β₁ᵗ)`, `v̂ = v/(1−β₂ᵗ)`.
//!
//! Source: Kingma and Ba, ICLR 2015, algorithm 1.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Rule, fraction, positive};
use crate::engine::error::EngineError;
use crate::engine::kernels::Float;

/// Settings of Adam.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Adam {
    /// η, 0.001 unless given.
    pub learning_rate: f64,
    /// β₁, 0.9 unless given; at least 0 and below 1.
    pub beta1: f64,
    /// β₂, 0.999 unless given; at least 0 and below 1.
    pub beta2: f64,
    /// ε, 1e-8 unless given.
    pub epsilon: f64,
}

impl Default for Adam {
    fn default() -> Self {
        Adam { learning_rate: 0.001, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }
}

impl Adam {
    pub(super) fn check(&self) -> Result<(), EngineError> {
        fraction("beta1", self.beta1)?;
        fraction("beta2", self.beta2)?;
        positive("epsilon", self.epsilon)
    }
}

/// What one step of Adam needs.
#[derive(Clone, Copy)]
pub(in crate::engine) struct AdamStep<T> {
    /// `η / (1−β₁ᵗ)`.
    rate: T,
    beta1: T,
    beta2: T,
    /// `1 / √(1−β₂ᵗ)`.
    root: T,
    epsilon: T,
}

impl<T: Float> AdamStep<T> {
    pub(super) fn new(step: u64, rate: f64, beta1: f64, beta2: f64, epsilon: f64) -> Self {
        let power = i32::try_from(step).unwrap_or(i32::MAX);
        AdamStep {
            rate: T::of(rate / (1.0 - beta1.powi(power))),
            beta1: T::of(beta1),
            beta2: T::of(beta2),
            root: T::of(1.0 / (1.0 - beta2.powi(power)).sqrt()),
            epsilon: T::of(epsilon),
        }
    }

    #[inline(always)]
    pub(super) fn change(self, gradient: T, slots: &mut [T; 2]) -> T {
        let one = T::one();
        slots[0] = self.beta1 * slots[0] + (one - self.beta1) * gradient;
        slots[1] = self.beta2 * slots[1] + (one - self.beta2) * gradient * gradient;
        self.rate * slots[0] / (slots[1].sqrt() * self.root + self.epsilon)
    }
}

impl Rule for Adam {
    const SLOTS: usize = 2;
    type Step<T: Float> = AdamStep<T>;

    fn step<T: Float>(&self, step: u64, rate: f64) -> AdamStep<T> {
        AdamStep::new(step, rate, self.beta1, self.beta2, self.epsilon)
    }

    #[inline(always)]
    fn update<T: Float>(step: AdamStep<T>, weight: T, gradient: T, slots: &mut [T; 2]) -> T {
        weight - step.change(gradient, slots)
    }
}
