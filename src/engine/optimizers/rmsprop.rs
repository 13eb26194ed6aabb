//! RMSProp: `s ← ρ·s + (1−ρ)·g²`, `w ← w − η·g / (√s + ε)`.
//!
//! Source: Tieleman and Hinton, *Neural Networks for Machine Learning*, lecture 6.5, 2012.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Rule, fraction, positive};
use crate::engine::error::EngineError;
use crate::engine::kernels::Float;

/// Settings of RMSProp.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RmsProp {
    /// η, 0.001 unless given.
    pub learning_rate: f64,
    /// ρ, 0.99 unless given; at least 0 and below 1.
    pub rho: f64,
    /// ε, 1e-8 unless given.
    pub epsilon: f64,
}

impl Default for RmsProp {
    fn default() -> Self {
        RmsProp { learning_rate: 0.001, rho: 0.99, epsilon: 1e-8 }
    }
}

impl RmsProp {
    pub(super) fn check(&self) -> Result<(), EngineError> {
        fraction("rho", self.rho)?;
        positive("epsilon", self.epsilon)
    }
}

impl Rule for RmsProp {
    const SLOTS: usize = 1;
    type Step<T: Float> = (T, T, T);

    fn step<T: Float>(&self, _: u64, rate: f64) -> (T, T, T) {
        (T::of(rate), T::of(self.rho), T::of(self.epsilon))
    }

    #[inline(always)]
    fn update<T: Float>((rate, rho, epsilon): (T, T, T), weight: T, gradient: T, slots: &mut [T; 2]) -> T {
        slots[0] = rho * slots[0] + (T::one() - rho) * gradient * gradient;
        weight - rate * gradient / (slots[0].sqrt() + epsilon)
    }
}
