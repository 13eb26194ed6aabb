//! A partial result at work, which the final one may overtake.

use super::Delivery;
use crate::media::{Packet, StreamId};
use crate::stage::Input;
use crate::units::{TimeSpan, Timestamp};

/// A partial result that the stage is working on.
#[derive(Debug)]
pub(super) struct AtWork {
    pub(super) stream: StreamId,
    pub(super) start: Timestamp,
    pub(super) duration: TimeSpan,
    pub(super) given_up: bool,
}

impl AtWork {
    /// The partial result that was handed out alone, if it was one.
    pub(super) fn among(out: &[Delivery]) -> Option<AtWork> {
        match out {
            [Delivery::Packet(Input { packet, .. })] if packet.flags.partial => {
                Some(AtWork { stream: packet.stream, start: packet.start, duration: packet.duration, given_up: false })
            }
            _ => None,
        }
    }

    /// Whether `packet` is the final result that this one was to come before, or is expected to be. One of the same span
    /// holds the same, so the work is not lost. Any other partial result stops none: where they come faster than they are
    /// worked on, none would ever be done.
    pub(super) fn is_stale_beside(&self, packet: &Packet) -> bool {
        !self.given_up
            && (!packet.flags.partial || packet.flags.expected_final)
            && packet.revision > 0
            && (packet.stream, packet.start) == (self.stream, self.start)
            && packet.duration != self.duration
    }
}
