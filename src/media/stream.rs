//! Streams: one logical source of packets each.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::units::{ClockInstant, TimeSpan, Timestamp};

/// The number of a stream in its running pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// What a stage is told of a stream when it opens.
#[derive(Clone, Debug)]
pub struct StreamInfo {
    /// Its number in this run.
    pub id: StreamId,
    /// Its name: a file's path, a device's name, or what the program called it.
    pub name: Arc<str>,
    /// Streams recorded together share a group and its clock.
    pub group: Arc<str>,
    /// Whether it comes in real time, so that waiting for it means something.
    pub live: bool,
    /// The clock's reading at stream time zero.
    pub zero: ClockInstant,
    /// The time of day at stream time zero, where it is known. Metadata only.
    pub wall: Option<SystemTime>,
    /// Where the file lies that it is read from, if it is: absolute, or seen from the current folder.
    pub file: Option<Arc<Path>>,
}

impl StreamInfo {
    /// The stream time at the clock reading `now`.
    pub fn time_at(&self, now: ClockInstant) -> Timestamp {
        Timestamp::ZERO + now.since(self.zero)
    }

    /// The clock reading at stream time `time`.
    pub fn clock_at(&self, time: Timestamp) -> ClockInstant {
        self.zero.after(TimeSpan::from_nanos(time.as_nanos()))
    }
}
