//! AdaGrad: `s ← s + g²`, `w ← w − η·g / (√s + ε)`.
//!
//! Source: Duchi, Hazan and Singer, JMLR 12, 2011, section 1.1 (diagonal form).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Rule, positive};
use crate::engine::error::EngineError;
use crate::engine::kernels::Float;

/// Settings of AdaGrad.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdaGrad {
    /// η, 0.01 unless given.
    pub learning_rate: f64,
    /// ε, 1e-10 unless given.
    pub epsilon: f64,
}

impl Default for AdaGrad {
    fn default() -> Self {
        AdaGrad { learning_rate: 0.01, epsilon: 1e-10 }
    }
}

impl AdaGrad {
    pub(super) fn check(&self) -> Result<(), EngineError> {
        positive("epsilon", self.epsilon)
    }
}

impl Rule for AdaGrad {
    const SLOTS: usize = 1;
    type Step<T: Float> = (T, T);

    fn step<T: Float>(&self, _: u64, rate: f64) -> (T, T) {
        (T::of(rate), T::of(self.epsilon))
    }

    #[inline(always)]
    fn update<T: Float>((rate, epsilon): (T, T), weight: T, gradient: T, slots: &mut [T; 2]) -> T {
        slots[0] += gradient * gradient;
        weight - rate * gradient / (slots[0].sqrt() + epsilon)
    }
}
