//! Random numbers that follow from a seed and a place (epoch, sample, step), not from what was drawn before.

use rand::Rng;
use rand_pcg::Pcg64;

use crate::engine::mix;

/// What numbers are drawn for: the same seed and place give other numbers for another purpose.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// The order of an epoch.
    Order = 1,
    /// Which samples go into which part.
    Split = 2,
    /// A step of augmentation on one sample.
    Sample = 3,
    /// A step of augmentation on a minibatch.
    Batch = 4,
}

/// PCG-64 (O'Neill 2014), started from a seed, a purpose and a place. Everything drawn is defined here, so that no
/// change of a dependency changes it.
pub(super) struct Random(Pcg64);

impl Random {
    pub fn new(seed: u64, purpose: Purpose, place: &[u64]) -> Self {
        let mut state = mix(seed, 0);
        for part in place {
            state = mix(state ^ mix(*part, 1), 0);
        }
        let wide = (u128::from(mix(state ^ 1, 0)) << 64) | u128::from(mix(state ^ 2, 0));
        Random(Pcg64::new(wide, purpose as u128))
    }

    /// At least 0 and below 1, in steps of 2⁻⁵³.
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// At least `low` and below `high` (or `low`, where they are equal).
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// A whole number below `bound`, or 0 where that is 0 (Lemire 2019, without the rejection: the bias is below
    /// `bound`·2⁻⁶⁴).
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.0.next_u64()) * bound as u128) >> 64) as usize
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Standard normal (Box and Muller, 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (2.0 * std::f64::consts::PI * self.unit()).cos()
    }

    /// Puts `items` in random order (Fisher and Yates, as Durstenfeld 1964).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_and_purpose_has_numbers_of_its_own() {
        let first = |seed, purpose, place: &[u64]| Random::new(seed, purpose, place).0.next_u64();
        let base = first(1, Purpose::Order, &[2, 3]);
        assert_eq!(base, first(1, Purpose::Order, &[2, 3]));
        for other in [
            first(2, Purpose::Order, &[2, 3]),
            first(1, Purpose::Split, &[2, 3]),
            first(1, Purpose::Order, &[3, 2]),
            first(1, Purpose::Order, &[2]),
            first(1, Purpose::Order, &[2, 3, 0]),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn the_numbers_are_spread_as_they_should() {
        let mut random = Random::new(5, Purpose::Order, &[]);
        let count = 20_000;
        let units: Vec<f64> = (0..count).map(|_| random.unit()).collect();
        assert!(units.iter().all(|unit| (0.0..1.0).contains(unit)));
        assert!((units.iter().sum::<f64>() / f64::from(count) - 0.5).abs() < 0.01);
        let normals: Vec<f64> = (0..count).map(|_| random.normal()).collect();
        let variance = normals.iter().map(|x| x * x).sum::<f64>() / f64::from(count);
        assert!((variance - 1.0).abs() < 0.04, "{variance}");
        let mut counts = [0; 6];
        (0..count).for_each(|_| counts[random.below(6)] += 1);
        assert!(counts.iter().all(|n| (n - 3333i32).abs() < 200), "{counts:?}");
        assert_eq!(random.below(0), 0);
        assert!(!random.chance(0.0) && random.chance(1.0));
    }
}
