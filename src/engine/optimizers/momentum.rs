//! Momentum: `v ← μ·v + g`, `w ← w − η·v`.
//!
//! Source: Polyak, *Some methods of speeding up the convergence of iteration methods*, 1964; the form with η outside the
//! velocity is that of Sutskever et al., ICML 2013, as PyTorch has it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Rule, fraction};
use crate::engine::error::EngineError;
use crate::engine::kernels::Float;

/// Settings of momentum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Momentum {
    /// η, 0.01 unless given.
    pub learning_rate: f64,
    /// μ, 0.9 unless given; at least 0 and below 1.
    pub momentum: f64,
}

impl Default for Momentum {
    fn default() -> Self {
        Momentum { learning_rate: 0.01, momentum: 0.9 }
    }
}

impl Momentum {
    pub(super) fn check(&self) -> Result<(), EngineError> {
        fraction("momentum", self.momentum)
    }
}

impl Rule for Momentum {
    const SLOTS: usize = 1;
    type Step<T: Float> = (T, T);

    fn step<T: Float>(&self, _: u64, rate: f64) -> (T, T) {
        (T::of(rate), T::of(self.momentum))
    }

    #[inline(always)]
    fn update<T: Float>((rate, momentum): (T, T), weight: T, gradient: T, slots: &mut [T; 2]) -> T {
        slots[0] = momentum * slots[0] + gradient;
        weight - rate * slots[0]
    }
}
