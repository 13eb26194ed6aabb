//! The writing ends of all links out of one stage: numbers packets, keeps starts in order, and holds what found no room.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use rustc_hash::FxHashMap;

use super::inbox::{Inbox, Item};
use crate::media::{Format, Origin, Packet, StreamId, StreamInfo};
use crate::stage::{Draft, Emitted};
use crate::units::Timestamp;

/// What the writing end of a link has handed over; shared with the books.
#[derive(Debug, Default)]
pub(crate) struct SentCount {
    pub(crate) packets: AtomicU64,
    pub(crate) frames: AtomicU64,
    /// Packets taken back from the writing end when the pipeline was stopped.
    pub(crate) cancelled: AtomicU64,
    pub(crate) frames_cancelled: AtomicU64,
}

/// One link as its writing stage sees it.
#[derive(Clone, Debug)]
pub(crate) struct OutletSpec {
    /// The inbox it leads to.
    pub inbox: Arc<Inbox>,
    /// Its place in that inbox.
    pub link: usize,
    /// Its count.
    pub sent: Arc<SentCount>,
    /// Whether the reader needs watermarks.
    pub watermarks: bool,
    /// Whether the reader runs on the pool.
    pub on_pool: bool,
}

#[derive(Debug)]
struct Outlet {
    spec: OutletSpec,
    waiting: VecDeque<(StreamId, Item)>,
    /// Counted here since the last flush: the shared count is touched once a flush, not once a packet.
    packets: u64,
    frames: u64,
}

#[derive(Clone, Copy, Debug)]
struct PortState {
    next_sequence: u64,
    last_start: Timestamp,
}

#[derive(Debug)]
struct OpenStream {
    ports: Vec<PortState>,
}

/// What became of a call's drafts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Packets written.
    pub packets: u64,
    /// Packets refused: to a port that does not exist, or with a start before the one before.
    pub refused: u64,
    /// Frames of audio written.
    pub frames: u64,
}

impl Written {
    pub(crate) fn add(&mut self, other: Written) {
        self.packets += other.packets;
        self.refused += other.refused;
        self.frames += other.frames;
    }
}

/// The writing ends of a stage's links, by output port.
#[derive(Debug)]
pub(crate) struct Writer {
    ports: Vec<Vec<Outlet>>,
    streams: FxHashMap<StreamId, OpenStream>,
}

impl Writer {
    pub(crate) fn new(ports: Vec<Vec<OutletSpec>>) -> Self {
        let outlets = |specs: Vec<OutletSpec>| {
            specs.into_iter().map(|spec| Outlet { spec, waiting: VecDeque::new(), packets: 0, frames: 0 }).collect()
        };
        Writer { ports: ports.into_iter().map(outlets).collect(), streams: FxHashMap::default() }
    }

    /// Opens a stream, or opens it again in other formats. Numbers go on; starts may begin anew.
    pub(crate) fn open(&mut self, info: &Arc<StreamInfo>, capture: usize, formats: &[Format]) {
        let count = self.ports.len();
        let fresh = PortState { next_sequence: 0, last_start: Timestamp::MIN };
        let stream = self.streams.entry(info.id).or_insert_with(|| OpenStream { ports: vec![fresh; count] });
        for port in &mut stream.ports {
            port.last_start = Timestamp::MIN;
        }
        for (port, outlets) in self.ports.iter_mut().enumerate() {
            let format = formats.get(port).cloned().unwrap_or(Format::Any);
            for outlet in outlets {
                outlet.waiting.push_back((info.id, Item::Open { info: info.clone(), capture, format: format.clone() }));
            }
        }
    }

    /// Writes what came of one input packet (or of a tick or flush): `count` drafts, all that `emitted` gives. Without an
    /// `origin` each packet is its own.
    pub(crate) fn write(
        &mut self,
        stream: StreamId,
        origin: Option<Origin>,
        emitted: impl Iterator<Item = Emitted>,
        count: usize,
    ) -> Written {
        let mut written = Written::default();
        let Some(open) = self.streams.get_mut(&stream) else {
            written.refused = count as u64;
            emitted.for_each(drop);
            return written;
        };
        for (part, Emitted { port, draft }) in emitted.enumerate() {
            let Some(state) = open.ports.get_mut(port) else {
                written.refused += 1;
                continue;
            };
            if draft.start < state.last_start {
                written.refused += 1;
                continue;
            }
            state.last_start = draft.start;
            let origin = match origin {
                None => Origin { sequence: state.next_sequence, part: 0, of: 1 },
                Some(origin) if count == 1 => origin,
                Some(origin) => Origin { sequence: origin.sequence, part: part as u32, of: count as u32 },
            };
            let packet = stamp(draft, stream, state.next_sequence, origin);
            state.next_sequence += 1;
            written.packets += 1;
            let frames = packet.payload.audio_frames();
            written.frames += frames;
            hand(&mut self.ports[port], stream, packet, frames);
        }
        written
    }

    /// Tells those readers who need it that nothing before `at` will come on `port`.
    pub(crate) fn watermark(&mut self, stream: StreamId, at: Timestamp) {
        let Some(open) = self.streams.get_mut(&stream) else { return };
        for (state, outlets) in open.ports.iter_mut().zip(&mut self.ports) {
            if at <= state.last_start {
                continue;
            }
            // A later packet before the watermark would break the promise just made: it is refused.
            state.last_start = at;
            for outlet in outlets.iter_mut().filter(|outlet| outlet.spec.watermarks) {
                outlet.waiting.push_back((stream, Item::Watermark(at)));
            }
        }
    }

    /// Closes a stream, opened or not.
    pub(crate) fn close(&mut self, stream: StreamId, capture: usize, failed: bool) {
        self.streams.remove(&stream);
        for outlet in self.ports.iter_mut().flatten() {
            outlet.waiting.push_back((stream, Item::Close { capture, failed }));
        }
    }

    /// Hands over what waits, as far as there is room. Whether nothing waits any more.
    pub(crate) fn flush(&mut self, waker: Option<&Waker>) -> bool {
        let mut empty = true;
        for outlet in self.ports.iter_mut().flatten() {
            if !outlet.waiting.is_empty() {
                outlet.publish();
                outlet.spec.inbox.push(outlet.spec.link, &mut outlet.waiting, waker);
                empty &= outlet.waiting.is_empty();
            }
        }
        empty
    }

    /// Whether a reader runs on the pool: then it can run as soon as the writing task lets it.
    pub(crate) fn reads_on_pool(&self) -> bool {
        self.ports.iter().flatten().any(|outlet| outlet.spec.on_pool)
    }

    /// Whether something of `stream` waits for room.
    pub(crate) fn waits(&self, stream: StreamId) -> bool {
        self.ports.iter().flatten().any(|outlet| outlet.waiting.iter().any(|(waiting, _)| *waiting == stream))
    }

    /// The streams of which something waits for room, each once.
    pub(crate) fn waiting_streams(&self) -> Vec<StreamId> {
        let mut streams: Vec<StreamId> =
            self.ports.iter().flatten().flat_map(|outlet| outlet.waiting.iter().map(|(stream, _)| *stream)).collect();
        streams.sort_unstable();
        streams.dedup();
        streams
    }

    /// Says on every link that nothing will come any more.
    pub(crate) fn finish(&mut self) {
        for outlet in self.ports.iter_mut().flatten() {
            outlet.spec.inbox.finish(outlet.spec.link);
        }
    }

    /// Throws away what waits, counting it as cancelled.
    pub(crate) fn cancel(&mut self) {
        for outlet in self.ports.iter_mut().flatten() {
            outlet.publish();
            for (_, item) in outlet.waiting.drain(..) {
                if let Item::Packet(packet) = item {
                    outlet.spec.sent.cancelled.fetch_add(1, Ordering::Relaxed);
                    outlet.spec.sent.frames_cancelled.fetch_add(packet.payload.audio_frames(), Ordering::Relaxed);
                }
            }
        }
        self.streams.clear();
    }
}

fn stamp(draft: Draft, stream: StreamId, sequence: u64, origin: Origin) -> Packet {
    let mut packet = Packet::new(stream, draft.start, draft.duration, draft.payload);
    packet.sequence = sequence;
    packet.origin = origin;
    packet.flags = draft.flags;
    packet.revision = draft.revision;
    packet.weights = draft.weights;
    packet.classes = draft.classes;
    packet.view = draft.view;
    packet
}

/// Queues a packet for every outlet of a port; the last one takes it without a clone.
fn hand(outlets: &mut [Outlet], stream: StreamId, packet: Packet, frames: u64) {
    let Some((last, others)) = outlets.split_last_mut() else { return };
    for outlet in others {
        outlet.count(frames);
        outlet.waiting.push_back((stream, Item::Packet(packet.clone())));
    }
    last.count(frames);
    last.waiting.push_back((stream, Item::Packet(packet)));
}

impl Outlet {
    fn count(&mut self, frames: u64) {
        self.packets += 1;
        self.frames += frames;
    }

    fn publish(&mut self) {
        if self.packets > 0 {
            self.spec.sent.packets.fetch_add(std::mem::take(&mut self.packets), Ordering::Relaxed);
            self.spec.sent.frames.fetch_add(std::mem::take(&mut self.frames), Ordering::Relaxed);
        }
    }
}
