//! What a stage hands back from a call: drafts of packets and events.

use std::fmt;
use std::sync::Arc;

use crate::media::{Classes, Flags, Payload, StreamInfo, View};
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
    /// The names of the classes that its scores are of, where they came with those weights.
    pub classes: Option<Classes>,
    /// The picture that the payload was computed from: a stage that keeps its sense (a model, a normalisation) hands on
    /// that of its input.
    pub view: Option<Arc<View>>,
}

impl Draft {
    /// A final packet without flags.
    pub fn new(start: Timestamp, duration: TimeSpan, payload: impl Into<Payload>) -> Self {
        Draft {
            payload: payload.into(),
            start,
            duration,
            flags: Flags::default(),
            revision: 0,
            weights: 0,
            classes: None,
            view: None,
        }
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
    /// How many of `emitted` are of former calls, kept here for whoever runs the stage.
    sealed: usize,
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
        self.emitted.drain(self.sealed..)
    }

    /// Ends a call: what it emitted is kept where it lies, out of sight of the next one. Gives its number.
    pub(crate) fn seal(&mut self) -> usize {
        let count = self.emitted.len() - self.sealed;
        self.sealed = self.emitted.len();
        count
    }

    /// Takes what the sealed calls emitted, oldest first, and whatever else is here.
    pub(crate) fn drain_sealed(&mut self) -> std::vec::Drain<'_, Emitted> {
        self.sealed = 0;
        self.emitted.drain(..)
    }

    /// Moves here what was emitted into `other`, which holds no sealed calls.
    pub(crate) fn append_emitted(&mut self, other: &mut Output) {
        self.emitted.append(&mut other.emitted);
    }

    /// Takes the events, oldest first.
    pub fn drain_events(&mut self) -> std::vec::Drain<'_, Event> {
        self.events.drain(..)
    }

    /// What was emitted so far.
    pub fn emitted(&self) -> &[Emitted] {
        &self.emitted[self.sealed..]
    }

    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.emitted().is_empty() && self.events.is_empty()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(start: i64) -> Draft {
        Draft::new(Timestamp::from_nanos(start), TimeSpan::ZERO, Payload::Bytes(Vec::new().into()))
    }

    fn starts(emitted: impl Iterator<Item = Emitted>) -> Vec<i64> {
        emitted.map(|emitted| emitted.draft.start.as_nanos()).collect()
    }

    #[test]
    fn a_call_does_not_see_what_sealed_calls_emitted() {
        let mut out = Output::new();
        out.emit(0, draft(1));
        out.emit(0, draft(2));
        assert_eq!(out.seal(), 2);
        assert!(out.is_empty() && out.emitted().is_empty());
        assert_eq!(out.seal(), 0);
        out.emit(0, draft(3));
        assert_eq!(out.emitted().len(), 1);
        assert_eq!(starts(out.drain_emitted()), [3]);
        let mut other = Output::new();
        other.emit(0, draft(4));
        out.append_emitted(&mut other);
        assert_eq!((out.seal(), other.is_empty()), (1, true));
        assert_eq!(starts(out.drain_sealed()), [1, 2, 4]);
        out.emit(0, draft(5));
        assert_eq!(out.emitted().len(), 1);
    }
}
