//! What a stage hands back from a call: drafts of packets and events.

use std::fmt;

use crate::media::{Flags, Payload, StreamInfo};
use crate::units::{TimeSpan, Timestamp};

/// The place of a port in its stage's contract.
pub type PortIndex = usize;

/// A packet as its stage writes it; the runtime adds stream, number and origin.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What it carries.
    pub payload: Payload,
    /// When it starts.
    pub start: Timestamp,
    /// How long it lasts.
    pub duration: TimeSpan,
    /// What is special about it.
    pub flags: Flags,
    /// The number of a partial result's revision.
    pub revision: u32,
    /// The version of the weights that made it.
    pub weights: u32,
}

impl Draft {
    /// A final packet without flags.
    pub fn new(start: Timestamp, duration: TimeSpan, payload: impl Into<Payload>) -> Self {
        Draft { payload: payload.into(), start, duration, flags: Flags::default(), revision: 0, weights: 0 }
    }

    /// Marks it as a partial result.
    pub fn partial(mut self, partial: bool) -> Self {
        self.flags.partial = partial;
        self
    }

    /// Marks it as following a gap.
    pub fn gap(mut self, gap: bool) -> Self {
        self.flags.gap = gap;
        self
    }

    /// Numbers its revision.
    pub fn revision(mut self, revision: u32) -> Self {
        self.revision = revision;
        self
    }
}

/// A draft on its way to a port.
#[derive(Clone, Debug)]
pub struct Emitted {
    /// The output port.
    pub port: PortIndex,
    /// The packet to be.
    pub draft: Draft,
}

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// A device delivers nothing.
    DeviceSilent,
    /// A device is gone.
    DeviceLost,
    /// A device delivers again.
    DeviceBack,
    /// Samples were lost before percept could take them.
    Overrun,
    /// Input could be read only in part.
    Damaged,
    /// Anything else worth telling.
    Notice,
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EventKind::DeviceSilent => "device silent",
            EventKind::DeviceLost => "device lost",
            EventKind::DeviceBack => "device back",
            EventKind::Overrun => "overrun",
            EventKind::Damaged => "damaged input",
            EventKind::Notice => "notice",
        })
    }
}

/// Something that happened to a stream and is no packet: told to whoever watches the pipeline, and logged.
#[derive(Clone, Debug)]
pub struct Event {
    /// What kind of thing.
    pub kind: EventKind,
    /// What exactly, for people.
    pub message: String,
}

/// Where a stage puts what it has to say during one call.
#[derive(Debug, Default)]
pub struct Output {
    emitted: Vec<Emitted>,
    events: Vec<Event>,
}

impl Output {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends a packet to the output port `port` (its place in the contract).
    pub fn emit(&mut self, port: PortIndex, draft: Draft) {
        self.emitted.push(Emitted { port, draft });
    }

    /// Tells of something that is no packet.
    pub fn event(&mut self, kind: EventKind, message: impl Into<String>) {
        self.events.push(Event { kind, message: message.into() });
    }

    /// Takes what was emitted, oldest first, leaving its memory for the next call.
    pub fn drain_emitted(&mut self) -> std::vec::Drain<'_, Emitted> {
        self.emitted.drain(..)
    }

    /// Takes the events, oldest first.
    pub fn drain_events(&mut self) -> std::vec::Drain<'_, Event> {
        self.events.drain(..)
    }

    /// What was emitted so far.
    pub fn emitted(&self) -> &[Emitted] {
        &self.emitted
    }

    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.emitted.is_empty() && self.events.is_empty()
    }
}

/// The path template of a sink, filled in for one stream: `{stream}` becomes the stream's name, made safe as a file name
/// (separators and characters that some file system refuses become `_`).
pub fn fill_template(template: &str, stream: &StreamInfo) -> String {
    let name = stream.name.trim_start_matches(['/', '.']);
    let safe: String =
        name.chars()
            .map(|c| {
                if c.is_control() || matches!(c, '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|') {
                    '_'
                } else {
                    c
                }
            })
            .collect();
    template.replace("{stream}", &safe)
}
