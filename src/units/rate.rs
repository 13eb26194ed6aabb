//! Rates: how many samples or frames a second holds.

use std::fmt;

use thiserror::Error;

use super::{TimeSpan, Timestamp};

const NANOS: i128 = 1_000_000_000;

/// Samples or frames per second, as an exact fraction (30000/1001 for NTSC video, 16000/1 for speech).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    numerator: u32,
    denominator: u32,
}

/// A rate that is not a positive number.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a rate must be a positive number of samples per second, found {numerator}/{denominator}")]
pub struct RateError {
    numerator: u32,
    denominator: u32,
}

impl Rate {
    /// `numerator / denominator` per second. Fails when either is zero.
    pub const fn new(numerator: u32, denominator: u32) -> Result<Self, RateError> {
        if numerator == 0 || denominator == 0 {
            return Err(RateError { numerator, denominator });
        }
        Ok(Rate { numerator, denominator })
    }

    /// A whole number of samples per second. Fails at zero.
    pub const fn hz(per_second: u32) -> Result<Self, RateError> {
        Rate::new(per_second, 1)
    }

    /// Its numerator and denominator, as they were given.
    pub const fn fraction(self) -> (u32, u32) {
        (self.numerator, self.denominator)
    }

    /// Samples per second as a number.
    pub fn as_hz(self) -> f64 {
        f64::from(self.numerator) / f64::from(self.denominator)
    }

    /// The time at which sample number `index` starts, rounded to the nearest nanosecond.
    ///
    /// Exact for any index: the product is formed in 128 bits, so nothing accumulates.
    pub fn time_of(self, index: u64) -> Timestamp {
        let numerator = i128::from(self.numerator);
        let product = i128::from(index) * i128::from(self.denominator) * NANOS;
        let nanos = (product + numerator / 2) / numerator;
        Timestamp::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
    }

    /// The span from sample `from` to sample `to`, computed from both ends so that neighbours touch exactly.
    pub fn span(self, from: u64, to: u64) -> TimeSpan {
        self.time_of(to) - self.time_of(from)
    }

    /// The sample that starts nearest to `time`; times before the stream give sample 0.
    pub fn index_at(self, time: Timestamp) -> u64 {
        let denominator = i128::from(self.denominator) * NANOS;
        let product = i128::from(time.as_nanos().max(0)) * i128::from(self.numerator);
        u64::try_from((product + denominator / 2) / denominator).unwrap_or(u64::MAX)
    }

    /// The number of samples in `span`, rounded to the nearest; negative spans hold none.
    pub fn samples_in(self, span: TimeSpan) -> u64 {
        self.index_at(Timestamp::from_nanos(span.as_nanos()))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.denominator {
            1 => write!(f, "{} Hz", self.numerator),
            denominator => write!(f, "{}/{denominator} Hz", self.numerator),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn time_does_not_drift_over_a_day() {
        let rate = Rate::hz(44_100).unwrap();
        assert_eq!(rate.time_of(44_100 * 86_400), Timestamp::from_nanos(86_400_000_000_000));
        let ntsc = Rate::new(30_000, 1001).unwrap();
        assert_eq!(ntsc.time_of(30_000), Timestamp::from_nanos(1_001_000_000_000));
    }

    #[test]
    fn zero_is_refused() {
        assert!(Rate::hz(0).is_err());
        assert!(Rate::new(1, 0).is_err());
    }

    proptest! {
        #[test]
        fn index_and_time_are_inverse(hz in 1u32..768_000, index in 0u64..1 << 40) {
            let rate = Rate::hz(hz).unwrap();
            // A timestamp holds 292 years; at one sample per second 2^40 samples are more, and saturate.
            let index = index % (u64::from(hz) << 33);
            prop_assert_eq!(rate.index_at(rate.time_of(index)), index);
        }

        #[test]
        fn neighbouring_spans_add_up(hz in 1u32..768_000, a in 0u64..1 << 30, b in 0u64..1 << 20, c in 0u64..1 << 20) {
            let rate = Rate::hz(hz).unwrap();
            prop_assert_eq!(rate.span(a, a + b) + rate.span(a + b, a + b + c), rate.span(a, a + b + c));
        }
    }
}
