//! AdamW: Adam, and `w ← w − η·λ·w` beside it.
//!
//! Source: Loshchilov and Hutter, *Decoupled weight decay regularization*, ICLR 2019, algorithm 2 (with η scaled by the
//! schedule in both terms, as PyTorch has it).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::adam::AdamStep;
use super::{Rule, fraction, positive};
use crate::engine::error::EngineError;
use crate::engine::kernels::Float;

/// Settings of AdamW.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdamW {
    /// η, 0.001 unless given.
    pub learning_rate: f64,
    /// β₁, 0.9 unless given; at least 0 and below 1.
    pub beta1: f64,
    /// β₂, 0.999 unless given; at least 0 and below 1.
    pub beta2: f64,
    /// ε, 1e-8 unless given.
    pub epsilon: f64,
    /// λ, 0.01 unless given.
    pub weight_decay: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        AdamW { learning_rate: 0.001, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 }
    }
}

impl AdamW {
    pub(super) fn check(&self) -> Result<(), EngineError> {
        fraction("beta1", self.beta1)?;
        fraction("beta2", self.beta2)?;
        positive("epsilon", self.epsilon)?;
        fraction("weight_decay", self.weight_decay)
    }
}

impl Rule for AdamW {
    const SLOTS: usize = 2;
    type Step<T: Float> = (AdamStep<T>, T);

    fn step<T: Float>(&self, step: u64, rate: f64) -> (AdamStep<T>, T) {
        let adam = AdamStep::new(step, rate, self.beta1, self.beta2, self.epsilon);
        (adam, T::of(1.0 - rate * self.weight_decay))
    }

    #[inline(always)]
    fn update<T: Float>((adam, shrink): (AdamStep<T>, T), weight: T, gradient: T, slots: &mut [T; 2]) -> T {
        weight * shrink - adam.change(gradient, slots)
    }
}
