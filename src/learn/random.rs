//! Random numbers that follow from a seed.

use crate::engine::mix;

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), started from a seed and a purpose: the same seed gives other numbers
/// for another purpose.
#[derive(Clone, Debug)]
pub(super) struct Random {
    seed: u64,
    drawn: u64,
}

/// What numbers are drawn for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    Holdout = 1,
    Keep = 2,
    Minibatch = 3,
    Seeds = 4,
    Mask = 5,
}

impl Random {
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        Random { seed: mix(mix(seed, 0) ^ purpose as u64, 0), drawn: 0 }
    }

    /// 64 random bits.
    pub fn next(&mut self) -> u64 {
        let number = mix(self.seed, self.drawn);
        self.drawn = self.drawn.wrapping_add(1);
        number
    }

    /// At least 0 and below 1, in steps of 2⁻⁵³.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A whole number below `bound`, or 0 where that is 0 (Lemire 2019, without the rejection: the bias is below
    /// `bound`·2⁻⁶⁴).
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }
}
