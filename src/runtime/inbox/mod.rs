//! The inbox: the reading ends of all links into one stage.
//!
//! Bounds hold per link and stream. A writer that finds no room waits for that stream only; the reader takes streams in
//! turn. A stage with several links gets a stream's packets in order of their start across the links: a packet is handed
//! out once no link can bring an earlier one. While a stage starves on one link, another that is full may grow up to its
//! byte bound, so a diamond cannot lock up; beyond that the stream fails, and the failure names both links.

mod at_work;
mod lane;
mod put;
mod take;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use rustc_hash::FxHashMap;

use self::at_work::AtWork;
use self::lane::{Lane, Phase};
use super::books::LinkBook;
use crate::media::{Format, Packet, StreamId, StreamInfo};
use crate::pipeline::LinkSettings;
use crate::stage::{Canceller, Input, PortIndex};
use crate::units::Timestamp;

/// What travels on a link.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// A stream begins, or begins again in another format.
    Open { info: Arc<StreamInfo>, capture: usize, format: Format },
    /// A packet.
    Packet(Packet),
    /// No later packet starts before this.
    Watermark(Timestamp),
    /// The stream is over; `failed` when it was cut short, perhaps before it could open.
    Close { capture: usize, failed: bool },
}

/// What a stage is handed.
#[derive(Clone, Debug)]
pub(crate) enum Delivery {
    /// A stream opens on all links that bring it; `formats` by input port. `broken` when one of them failed before.
    Open { info: Arc<StreamInfo>, capture: usize, formats: Vec<Format>, broken: bool },
    /// A packet.
    Packet(Input),
    /// No later packet of the stream starts before `at`.
    Watermark { stream: StreamId, at: Timestamp },
    /// The stream is over on all links.
    Close { stream: StreamId, capture: usize, failed: bool },
    /// The stream cannot go on: link `full` is at its byte bound while nothing comes on link `starving`.
    Starved { stream: StreamId, full: usize, starving: usize },
}

/// One link as its reading stage sees it.
#[derive(Clone, Debug)]
pub(crate) struct LinkSpec {
    /// The input port it leads to.
    pub port: PortIndex,
    /// Bounds and policy.
    pub settings: LinkSettings,
    /// The captures whose streams can come through it.
    pub captures: Vec<usize>,
    /// Whether it never holds a live stream up, whatever its policy: at its bounds the oldest packet is dropped.
    pub yields: bool,
}

/// How an inbox treats what comes in.
#[derive(Clone, Debug)]
pub(crate) struct InboxSpec {
    /// Its links.
    pub links: Vec<LinkSpec>,
    /// The number of input ports of its stage.
    pub ports: usize,
    /// Whether newer revisions of a partial result replace older ones that wait.
    pub supersede: bool,
    /// Whether somebody downstream needs watermarks.
    pub watermarks: bool,
    /// Whether streams that are not live come whole, one after the other in the order of their numbers: then what a
    /// stage makes of all of them together does not depend on who was faster.
    pub in_order: bool,
}

/// Bytes waiting in all links of a pipeline, and their bound.
#[derive(Debug)]
pub(crate) struct Memory {
    queued: AtomicU64,
    bound: u64,
}

impl Memory {
    pub(crate) fn new(bound: usize) -> Self {
        Memory { queued: AtomicU64::new(0), bound: bound as u64 }
    }

    pub(crate) fn queued(&self) -> u64 {
        self.queued.load(Ordering::Relaxed)
    }

    /// Settles what a call put in and took out, in one step.
    fn settle(&self, put_in: usize, took_out: usize) {
        match put_in.cmp(&took_out) {
            std::cmp::Ordering::Greater => {
                self.queued.fetch_add((put_in - took_out) as u64, Ordering::Relaxed);
            }
            std::cmp::Ordering::Less => {
                self.queued.fetch_sub((took_out - put_in) as u64, Ordering::Relaxed);
            }
            std::cmp::Ordering::Equal => {}
        }
    }

    /// Bytes that may still be put in; below zero when more are in than may be.
    fn free(&self) -> i64 {
        i64::try_from(self.bound).unwrap_or(i64::MAX).saturating_sub_unsigned(self.queued())
    }
}

/// The reading ends of all links into one stage.
#[derive(Debug)]
pub(crate) struct Inbox {
    spec: InboxSpec,
    memory: Arc<Memory>,
    shared: Mutex<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Bytes put in and taken out by the call under way.
    put_in: usize,
    took_out: usize,
    streams: FxHashMap<StreamId, Lane>,
    /// Streams that may have something to hand out, each once.
    ready: VecDeque<StreamId>,
    /// Where streams come one after the other: the one whose turn it is.
    in_turn: Option<StreamId>,
    reader: Option<Waker>,
    links: Vec<LinkEnd>,
    /// The partial result that was handed out last, alone, where newer revisions replace older ones.
    at_work: Option<AtWork>,
    /// Asks the call that works on it to come back.
    canceller: Option<Canceller>,
    /// Memory for what finds no room, kept from one call to the next.
    left: VecDeque<(StreamId, Item)>,
}

#[derive(Debug, Default)]
struct LinkEnd {
    book: LinkBook,
    depth: u64,
    finished: bool,
}

impl Inbox {
    pub(crate) fn new(spec: InboxSpec, memory: Arc<Memory>) -> Self {
        let links = spec.links.iter().map(|_| LinkEnd::default()).collect();
        let shared = Shared {
            put_in: 0,
            in_turn: None,
            took_out: 0,
            streams: FxHashMap::default(),
            ready: VecDeque::new(),
            reader: None,
            links,
            at_work: None,
            canceller: None,
            left: VecDeque::new(),
        };
        Inbox { spec, memory, shared: Mutex::new(shared) }
    }

    /// How the stage's calls can be asked to come back, for when the final result, or what is expected to be it, comes
    /// while a call works on a partial one of the same start.
    pub(crate) fn cancels_with(&self, canceller: Option<Canceller>) {
        let mut shared = self.lock();
        shared.canceller = canceller.filter(|_| self.spec.supersede);
        shared.at_work = None;
    }

    /// Whether the call on what was handed out last was asked to come back, because the final result waits.
    pub(crate) fn gave_up(&self) -> bool {
        self.spec.supersede && self.lock().at_work.as_ref().is_some_and(|partial| partial.given_up)
    }

    /// Stops, or allows again, the handing out of a stream.
    pub(crate) fn hold(&self, stream: StreamId, held: bool) {
        let mut shared = self.lock();
        let Some(lane) = shared.streams.get_mut(&stream) else { return };
        lane.held = held;
        if !held && !lane.listed {
            lane.listed = true;
            shared.ready.push_back(stream);
        }
    }

    /// Hands out whatever comes of `stream` from now on without order: its stage has given it up.
    pub(crate) fn fail(&self, stream: StreamId) {
        let mut shared = self.lock();
        let Shared { streams, ready, reader, .. } = &mut *shared;
        let Some(lane) = streams.get_mut(&stream) else { return };
        lane.failed = true;
        // What waited for its order can be handed out now.
        if !lane.listed {
            lane.listed = true;
            ready.push_back(stream);
        }
        let reader = reader.take();
        drop(shared);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// The writer of `link` is gone. Streams that it left open end as failed.
    pub(crate) fn finish(&self, link: usize) {
        let mut shared = self.lock();
        shared.links[link].finished = true;
        let Shared { streams, ready, .. } = &mut *shared;
        for (stream, lane) in streams.iter_mut() {
            let queue = &mut lane.queues[link];
            let closes = queue.phase == Phase::Closed
                || queue.items.iter().any(|item| matches!(item, Item::Close { .. }))
                || self.spec.links[link].settings.feedback;
            if !closes {
                queue.items.push_back(Item::Close { capture: lane.capture, failed: true });
            }
            if !lane.listed {
                lane.listed = true;
                ready.push_back(*stream);
            }
        }
        let reader = shared.reader.take();
        drop(shared);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Empties all queues, counting what was in them as cancelled, and lets every writer through.
    pub(crate) fn cancel(&self) {
        let mut woken: Vec<Waker> = Vec::new();
        let mut shared = self.lock();
        let Shared { streams, links, ready, reader, took_out, .. } = &mut *shared;
        for lane in streams.values_mut() {
            for (queue, end) in lane.queues.iter_mut().zip(links.iter_mut()) {
                for item in queue.items.drain(..) {
                    if let Item::Packet(packet) = item {
                        end.book.cancelled += 1;
                        end.book.frames_removed += packet.payload.audio_frames();
                        end.depth -= 1;
                        *took_out += packet.payload.byte_len();
                    }
                }
                queue.packets = 0;
                queue.bytes = 0;
                woken.extend(queue.writer.take());
            }
        }
        streams.clear();
        ready.clear();
        woken.extend(reader.take());
        self.settle(&mut shared);
        drop(shared);
        woken.into_iter().for_each(Waker::wake);
    }

    /// What passed each link so far; `sent` is the writer's to fill in.
    pub(crate) fn books(&self) -> Vec<LinkBook> {
        self.lock().links.iter().map(|link| link.book.clone()).collect()
    }

    /// Packets waiting on each link now.
    pub(crate) fn depths(&self) -> Vec<u64> {
        self.lock().links.iter().map(|link| link.depth).collect()
    }

    /// Removes one waiting packet without telling anybody, so that a test can see the books find it.
    #[cfg(test)]
    pub(crate) fn delete_one(&self) -> bool {
        let mut shared = self.lock();
        for lane in shared.streams.values_mut() {
            for queue in &mut lane.queues {
                if let Some(at) = queue.items.iter().position(|item| matches!(item, Item::Packet(_))) {
                    queue.items.remove(at);
                    queue.packets -= 1;
                    return true;
                }
            }
        }
        false
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // The only foreign code that is called under the lock asks a call to come back, before anything is changed, so a
        // poisoned one is whole.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing can come any more. What closes a cycle is not awaited: its writer ends after this reader.
    fn is_finished(&self, shared: &Shared) -> bool {
        let awaited = |(end, link): (&LinkEnd, &LinkSpec)| end.finished || link.settings.feedback;
        shared.streams.is_empty() && shared.links.iter().zip(&self.spec.links).all(awaited)
    }

    fn settle(&self, shared: &mut Shared) {
        self.memory.settle(std::mem::take(&mut shared.put_in), std::mem::take(&mut shared.took_out));
    }
}

/// Takes removed packets out of a link's count; gives their bytes.
fn account_removed(end: &mut LinkEnd, removed: &[Packet]) -> usize {
    let mut bytes = 0;
    for packet in removed {
        end.book.frames_removed += packet.payload.audio_frames();
        end.depth -= 1;
        bytes += packet.payload.byte_len();
    }
    bytes
}
