//! Numbers that look random and follow from other numbers.

/// Number `number` (from 0) of the sequence that SplitMix64 gives for `seed` (Steele, Lea and Flood, *Fast splittable
/// pseudorandom number generators*, OOPSLA 2014).
pub(crate) fn mix(seed: u64, number: u64) -> u64 {
    let mut z = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of the authors' program for the seed 1234567.
    #[test]
    fn the_sequence_is_that_of_splitmix64() {
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!([0, 1, 2].map(|number| mix(1_234_567, number)), expected);
        assert_ne!(mix(u64::MAX, u64::MAX), mix(u64::MAX, 0));
    }
}
