//! Stochastic gradient descent: `w ← w − η·g`.
//!
//! Source: Robbins and Monro, *A stochastic approximation method*, 1951.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Rule;
use crate::engine::error::EngineError;
use crate::engine::kernels::Float;

/// Settings of stochastic gradient descent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sgd {
    /// η, 0.01 unless given.
    pub learning_rate: f64,
}

impl Default for Sgd {
    fn default() -> Self {
        Sgd { learning_rate: 0.01 }
    }
}

impl Sgd {
    pub(super) fn check(&self) -> Result<(), EngineError> {
        Ok(())
    }
}

impl Rule for Sgd {
    const SLOTS: usize = 0;
    type Step<T: Float> = T;

    fn step<T: Float>(&self, _: u64, rate: f64) -> T {
        T::of(rate)
    }

    #[inline(always)]
    fn update<T: Float>(rate: T, weight: T, gradient: T, _: &mut [T; 2]) -> T {
        weight - rate * gradient
    }
}
