//! Points and spans of stream time.

use std::fmt;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// A point in stream time: nanoseconds since the first sample of its stream. May be negative (padding before it).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

/// A length of stream time in nanoseconds. May be negative: the difference of two timestamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimeSpan(i64);

impl Timestamp {
    /// The first sample of a stream.
    pub const ZERO: Timestamp = Timestamp(0);
    /// Before anything that a stream can hold.
    pub const MIN: Timestamp = Timestamp(i64::MIN);
    /// After anything that a stream can hold: the watermark of a stream that has ended.
    pub const MAX: Timestamp = Timestamp(i64::MAX);

    /// The point `nanoseconds` after the start of the stream.
    pub const fn from_nanos(nanoseconds: i64) -> Self {
        Timestamp(nanoseconds)
    }

    /// Nanoseconds since the start of the stream.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Seconds since the start of the stream, for printing and for records; not for arithmetic.
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// The point `span` later; saturates at the ends of the scale.
    pub const fn saturating_add(self, span: TimeSpan) -> Self {
        Timestamp(self.0.saturating_add(span.0))
    }

    /// The point `span` earlier; saturates at the ends of the scale.
    pub const fn saturating_sub(self, span: TimeSpan) -> Self {
        Timestamp(self.0.saturating_sub(span.0))
    }

    /// The span from `earlier` to here; saturates, and is negative when `earlier` is later.
    pub const fn since(self, earlier: Timestamp) -> TimeSpan {
        TimeSpan(self.0.saturating_sub(earlier.0))
    }
}

impl TimeSpan {
    /// No time at all.
    pub const ZERO: TimeSpan = TimeSpan(0);
    /// The longest span.
    pub const MAX: TimeSpan = TimeSpan(i64::MAX);

    /// A span of `nanoseconds`.
    pub const fn from_nanos(nanoseconds: i64) -> Self {
        TimeSpan(nanoseconds)
    }

    /// A span of `milliseconds`; saturates.
    pub const fn from_millis(milliseconds: i64) -> Self {
        TimeSpan(milliseconds.saturating_mul(1_000_000))
    }

    /// A span of `seconds`, rounded to the nanosecond; saturates, and NaN is zero.
    pub fn from_seconds(seconds: f64) -> Self {
        TimeSpan((seconds * 1e9).round() as i64)
    }

    /// The whole span in nanoseconds.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// The span in seconds, for printing and for records; not for arithmetic.
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// The span in milliseconds, for printing and for records; not for arithmetic.
    pub fn as_millis(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// As a standard duration; a negative span is zero.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.0.max(0) as u64)
    }
}

impl From<std::time::Duration> for TimeSpan {
    fn from(duration: std::time::Duration) -> Self {
        TimeSpan(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }
}

impl Add<TimeSpan> for Timestamp {
    type Output = Timestamp;
    fn add(self, span: TimeSpan) -> Timestamp {
        self.saturating_add(span)
    }
}

impl Sub<TimeSpan> for Timestamp {
    type Output = Timestamp;
    fn sub(self, span: TimeSpan) -> Timestamp {
        self.saturating_sub(span)
    }
}

impl Sub for Timestamp {
    type Output = TimeSpan;
    fn sub(self, earlier: Timestamp) -> TimeSpan {
        self.since(earlier)
    }
}

impl Add for TimeSpan {
    type Output = TimeSpan;
    fn add(self, other: TimeSpan) -> TimeSpan {
        TimeSpan(self.0.saturating_add(other.0))
    }
}

impl Sub for TimeSpan {
    type Output = TimeSpan;
    fn sub(self, other: TimeSpan) -> TimeSpan {
        TimeSpan(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Timestamp {
    /// `h:mm:ss.mmm`, the hours only when there are any.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let millis = self.0.unsigned_abs() / 1_000_000;
        let (hours, minutes) = (millis / 3_600_000, millis / 60_000 % 60);
        let (seconds, millis) = (millis / 1000 % 60, millis % 1000);
        if hours > 0 {
            write!(f, "{sign}{hours}:{minutes:02}:{seconds:02}.{millis:03}")
        } else {
            write!(f, "{sign}{minutes:02}:{seconds:02}.{millis:03}")
        }
    }
}

impl fmt::Display for TimeSpan {
    /// Seconds with three digits, as in `1.250 s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} s", self.as_seconds())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        assert_eq!(Timestamp::MAX + TimeSpan::from_millis(1), Timestamp::MAX);
        assert_eq!(Timestamp::MIN - TimeSpan::from_millis(1), Timestamp::MIN);
        assert_eq!(Timestamp::MAX - Timestamp::MIN, TimeSpan::MAX);
        assert_eq!(TimeSpan::from_millis(i64::MAX), TimeSpan::MAX);
        assert_eq!(TimeSpan::from_seconds(f64::NAN), TimeSpan::ZERO);
    }

    #[test]
    fn display_cases() {
        for (nanos, text) in [
            (0, "00:00.000"),
            (61_234_000_000, "01:01.234"),
            (3_600_000_000_000, "1:00:00.000"),
            (-1_500_000_000, "-00:01.500"),
        ] {
            assert_eq!(Timestamp::from_nanos(nanos).to_string(), text);
        }
        assert_eq!(TimeSpan::from_millis(1250).to_string(), "1.250 s");
    }
}
