//! The packet: a payload with its place in a stream.

use std::sync::Arc;

use super::{Classes, Payload, StreamId, View};
use crate::units::{TimeSpan, Timestamp};

/// Which packet of the capture a packet goes back to, so that what fanned out can be joined again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The capture's sequence number.
    pub sequence: u64,
    /// Which part of it, from 0.
    pub part: u32,
    /// In how many parts.
    pub of: u32,
}

/// What is special about a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags {
    /// Something before it is missing.
    pub gap: bool,
    /// A result that later revisions replace.
    pub partial: bool,
    /// A partial result of what the final one will hold, should nothing more come: work on it goes before work on older
    /// partial ones.
    pub expected_final: bool,
    /// It came after the moment when it was wanted.
    pub late: bool,
}

/// A payload with its place in a stream. Cloning shares the payload's data.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Packet {
    /// What it carries.
    pub payload: Payload,
    /// The stream it belongs to.
    pub stream: StreamId,
    /// Its number on the port that wrote it, from 0 in each stream.
    pub sequence: u64,
    /// When it starts. Never decreases on a port.
    pub start: Timestamp,
    /// How long it lasts.
    pub duration: TimeSpan,
    /// The captured packet it goes back to.
    pub origin: Origin,
    /// What is special about it.
    pub flags: Flags,
    /// The number of a partial result's revision, and of the final one after them.
    pub revision: u32,
    /// The version of the weights that made it; 0 where no trained weights took part.
    pub weights: u32,
    /// The names of the classes that its scores are of, where they came with those weights.
    pub classes: Option<Classes>,
    /// The picture that the payload was computed from, where that is a picture and the payload does not know it itself.
    pub view: Option<Arc<View>>,
}

impl Packet {
    /// A packet with a payload, a stream and a time; everything else as in a stream's first packet.
    pub fn new(stream: StreamId, start: Timestamp, duration: TimeSpan, payload: impl Into<Payload>) -> Self {
        Packet {
            payload: payload.into(),
            stream,
            sequence: 0,
            start,
            duration,
            origin: Origin::default(),
            flags: Flags::default(),
            revision: 0,
            weights: 0,
            classes: None,
            view: None,
        }
    }

    /// When it ends.
    pub fn end(&self) -> Timestamp {
        self.start + self.duration
    }
}
