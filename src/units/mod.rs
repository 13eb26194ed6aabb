//! Floor 0: time, durations and rates as newtypes, and the clock.
//!
//! Stream time is counted in whole nanoseconds from the first sample of a stream. It is always *computed* from a count
//! of samples or frames (see [`Rate::time_of`]) and never accumulated, so an hour of 44.1 kHz audio does not drift.

mod clock;
mod rate;
mod time;

pub use clock::{Clock, ClockInstant, SystemClock, VirtualClock};
pub use rate::{Rate, RateError};
pub use time::{TimeSpan, Timestamp};
