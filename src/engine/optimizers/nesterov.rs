//! Nesterov's momentum: `v ← μ·v + g`, `w ← w − η·(g + μ·v)`.
//!
//! Source: Nesterov, 1983; the form at the point already looked ahead to is that of Sutskever et al., ICML 2013.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Rule, fraction};
use crate::engine::error::EngineError;
use crate::engine::kernels::Float;

/// Settings of Nesterov's momentum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Nesterov {
    /// η, 0.01 unless given.
    pub learning_rate: f64,
    /// μ, 0.9 unless given; at least 0 and below 1.
    pub momentum: f64,
}

impl Default for Nesterov {
    fn default() -> Self {
        Nesterov { learning_rate: 0.01, momentum: 0.9 }
    }
}

impl Nesterov {
    pub(super) fn check(&self) -> Result<(), EngineError> {
        fraction("momentum", self.momentum)
    }
}

impl Rule for Nesterov {
    const SLOTS: usize = 1;
    type Step<T: Float> = (T, T);

    fn step<T: Float>(&self, _: u64, rate: f64) -> (T, T) {
        (T::of(rate), T::of(self.momentum))
    }

    #[inline(always)]
    fn update<T: Float>((rate, momentum): (T, T), weight: T, gradient: T, slots: &mut [T; 2]) -> T {
        slots[0] = momentum * slots[0] + gradient;
        weight - rate * (gradient + momentum * slots[0])
    }
}
