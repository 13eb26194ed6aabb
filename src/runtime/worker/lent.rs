//! What a round borrows, and what comes of it.

use std::sync::Arc;

use super::shared::StageShared;
use crate::media::{Format, Origin, StreamId, StreamInfo};
use crate::runtime::inbox::Delivery;
use crate::runtime::writer::{Writer, Written};
use crate::stage::{AnyState, Emitted, Input};
use crate::units::Timestamp;

/// A stream as lent out for one round.
pub(super) struct Lent {
    pub(super) info: Arc<StreamInfo>,
    pub(super) capture: usize,
    pub(super) inputs: Arc<[Format]>,
    pub(super) state: Option<AnyState>,
    pub(super) failed: bool,
    pub(super) closed: bool,
    /// The newest input's start: no later input starts before it.
    pub(super) reached: Timestamp,
}

/// The lent streams of a round; few, so searched in order.
pub(super) type LentStreams = Vec<(StreamId, Lent)>;

impl Lent {
    pub(super) fn new(info: Arc<StreamInfo>, capture: usize) -> Self {
        Lent {
            info,
            capture,
            inputs: Arc::default(),
            state: None,
            failed: false,
            closed: false,
            reached: Timestamp::MIN,
        }
    }
}

pub(super) fn position(lent: &LentStreams, stream: StreamId) -> Option<usize> {
    lent.iter().position(|(known, _)| *known == stream)
}

/// What a round has to tell, once it counts.
pub(super) enum Notice {
    /// The stream goes on no further. Without a reason where another stage has told it.
    Failed {
        info: Arc<StreamInfo>,
        why: Option<String>,
    },
    /// It came to its end, but not whole.
    Broken {
        info: Arc<StreamInfo>,
        why: String,
    },
    Skipped {
        info: Arc<StreamInfo>,
        at: Timestamp,
        why: String,
    },
}

/// What a round has to write, in order.
pub(super) enum Outcome {
    Open {
        info: Arc<StreamInfo>,
        capture: usize,
        formats: Vec<Format>,
    },
    /// The next `count` of what the round emitted.
    Packets {
        stream: StreamId,
        origin: Option<Origin>,
        count: usize,
    },
    Watermark {
        stream: StreamId,
        at: Timestamp,
    },
    Close {
        stream: StreamId,
        capture: usize,
        failed: bool,
    },
}

impl Outcome {
    /// Writes it. `emitted` stands before what it takes of it.
    pub(super) fn write(
        self,
        shared: &StageShared,
        writer: &mut Writer,
        emitted: &mut impl Iterator<Item = Emitted>,
    ) -> Written {
        match self {
            Outcome::Open { info, capture, formats } => {
                if let Some(audience) = &shared.audience {
                    audience.join(info.id, shared.index);
                }
                writer.open(&info, capture, &formats);
            }
            Outcome::Packets { stream, origin, count } => {
                return writer.write(stream, origin, emitted.take(count), count);
            }
            Outcome::Watermark { stream, at } => writer.watermark(stream, at),
            Outcome::Close { stream, capture, failed } => {
                shared.leaves(stream);
                writer.close(stream, capture, failed);
            }
        }
        Written::default()
    }
}

/// What is still needed of a packet after the stage has taken it.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) origin: Origin,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) partial: bool,
}

impl Place {
    pub(super) fn of(input: &Input) -> Self {
        let packet = &input.packet;
        Place { origin: packet.origin, start: packet.start, end: packet.end(), partial: packet.flags.partial }
    }
}

impl Delivery {
    pub(super) fn stream(&self) -> StreamId {
        match self {
            Delivery::Open { info, .. } => info.id,
            Delivery::Packet(input) => input.packet.stream,
            Delivery::Watermark { stream, .. } | Delivery::Close { stream, .. } | Delivery::Starved { stream, .. } => {
                *stream
            }
        }
    }
}
