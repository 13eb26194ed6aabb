//! The inbox: the reading ends of all links into one stage.
//!
//! Bounds hold per link and stream. A writer that finds no room waits for that stream only; the reader takes streams in
//! turn. A stage with several links gets a stream's packets in order of their start across the links: a packet is handed
//! out once no link can bring an earlier one. While a stage starves on one link, another that is full may grow up to its
//! byte bound, so a diamond cannot lock up; beyond that the stream fails, and the failure names both links.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use rustc_hash::FxHashMap;

use super::books::LinkBook;
use crate::media::{Format, Packet, StreamId, StreamInfo};
use crate::pipeline::{LinkSettings, Overflow};
use crate::stage::{Canceller, Input, PortIndex};
use crate::units::{TimeSpan, Timestamp};

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
    reader: Option<Waker>,
    links: Vec<LinkEnd>,
    /// The partial result that was handed out last, alone, where newer revisions replace older ones.
    at_work: Option<AtWork>,
    /// Asks the call that works on it to come back.
    canceller: Option<Canceller>,
    /// Memory for what finds no room, kept from one call to the next.
    left: VecDeque<(StreamId, Item)>,
}

/// A partial result that the stage is working on.
#[derive(Debug)]
struct AtWork {
    stream: StreamId,
    start: Timestamp,
    duration: TimeSpan,
    given_up: bool,
}

#[derive(Debug, Default)]
struct LinkEnd {
    book: LinkBook,
    depth: u64,
    finished: bool,
}

/// A stream's queues, one for each link.
#[derive(Debug)]
struct Lane {
    queues: Vec<Queue>,
    capture: usize,
    live: bool,
    /// In `ready`.
    listed: bool,
    /// The reader cannot take more of this stream: what came of it waits downstream.
    held: bool,
    /// Handed out without order, because it has failed.
    failed: bool,
    /// `Starved` still to be handed out.
    starved: Option<(usize, usize)>,
    /// The last watermark handed out.
    told: Timestamp,
}

#[derive(Debug)]
struct Queue {
    items: VecDeque<Item>,
    packets: usize,
    bytes: usize,
    /// No packet that starts before this will come.
    bound: Timestamp,
    phase: Phase,
    close_failed: bool,
    writer_waits: bool,
    /// Whom to wake when there is room: this stream's writer and nobody else's.
    writer: Option<Waker>,
    gap: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// `Open` has not been handed out yet.
    New,
    Open,
    /// `Close` was taken out, or the stream never comes on this link.
    Closed,
}

impl Inbox {
    pub(crate) fn new(spec: InboxSpec, memory: Arc<Memory>) -> Self {
        let links = spec.links.iter().map(|_| LinkEnd::default()).collect();
        let shared = Shared {
            put_in: 0,
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

    /// Hands items over on `link`, in order. What finds no room stays in `items`; `waker` is woken when there is some.
    pub(crate) fn push(&self, link: usize, items: &mut VecDeque<(StreamId, Item)>, waker: Option<&Waker>) {
        if items.is_empty() {
            return;
        }
        let mut shared = self.lock();
        let mut left = std::mem::take(&mut shared.left);
        let mut added = false;
        // Read once: every link of the pipeline counts there.
        let free = self.memory.free();
        while let Some((stream, item)) = items.pop_front() {
            if !left.is_empty() && left.iter().any(|(waiting, _)| *waiting == stream) {
                left.push_back((stream, item));
                continue;
            }
            match self.accept(&mut shared, link, stream, item, free) {
                Ok(()) => added = true,
                Err(item) => {
                    left.push_back((stream, item));
                    // What is of one stream stays where it is.
                    if items.iter().all(|(waiting, _)| *waiting == stream) {
                        break;
                    }
                }
            }
        }
        if !left.is_empty()
            && let Some(waker) = waker
        {
            for (stream, _) in &left {
                if let Some(lane) = shared.streams.get_mut(stream) {
                    lane.queues[link].waits(waker);
                }
            }
        }
        left.drain(..).rev().for_each(|item| items.push_front(item));
        shared.left = left;
        self.settle(&mut shared);
        let reader = if added { shared.reader.take() } else { None };
        drop(shared);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Takes up to `most` deliveries, at most `quantum` of a stream before the next one's turn.
    ///
    /// `Ready(false)` when every link is finished and empty.
    pub(crate) fn poll_take(
        &self,
        cx: &mut Context<'_>,
        most: usize,
        quantum: usize,
        out: &mut Vec<Delivery>,
    ) -> Poll<bool> {
        let mut woken: Vec<Waker> = Vec::new();
        let poll = {
            let mut shared = self.lock();
            self.take(&mut shared, most, quantum, out, &mut woken);
            if self.spec.supersede {
                shared.at_work = AtWork::among(out);
            }
            self.settle(&mut shared);
            if !out.is_empty() {
                Poll::Ready(true)
            } else if self.is_finished(&shared) {
                Poll::Ready(false)
            } else {
                match &shared.reader {
                    Some(known) if known.will_wake(cx.waker()) => {}
                    _ => shared.reader = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
        };
        woken.into_iter().for_each(Waker::wake);
        poll
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

    /// Puts one item into its queue, or gives it back when there is no room and the policy is to wait.
    ///
    /// `free`: the bytes for which all links together have room.
    fn accept(
        &self,
        shared: &mut Shared,
        link: usize,
        stream: StreamId,
        mut item: Item,
        free: i64,
    ) -> Result<(), Item> {
        let spec = &self.spec.links[link];
        let Shared { streams, ready, links, put_in, took_out, at_work, canceller, .. } = shared;
        if let Item::Open { capture, .. } | Item::Close { capture, .. } = &item
            && !spec.settings.feedback
        {
            let lane = streams.entry(stream).or_insert_with(|| Lane::new(&self.spec.links, *capture));
            if let Item::Open { info, .. } = &item {
                lane.live = info.live;
            }
        }
        let Some(lane) = streams.get_mut(&stream) else {
            // Nobody reads the stream any more: after a cancel, or fed back after its end.
            if let Item::Packet(packet) = &item {
                let book = &mut links[link].book;
                book.frames_removed += packet.payload.audio_frames();
                *(if spec.settings.feedback { &mut book.dropped } else { &mut book.cancelled }) += 1;
            }
            return Ok(());
        };
        let end = &mut links[link];
        match &mut item {
            Item::Packet(packet) => {
                let bytes = packet.payload.byte_len();
                if let Some(partial) = at_work.as_mut().filter(|partial| lane.live && partial.is_stale_beside(packet))
                    && let Some(canceller) = canceller
                {
                    // Under the lock, so that what is asked to come back is the call on that partial result or nothing:
                    // the next one is handed out under the same lock.
                    partial.given_up = true;
                    canceller.cancel();
                }
                if self.spec.supersede && lane.live && lane.queues[link].supersedes(packet) {
                    let removed = lane.queues[link].remove_partials(packet.start);
                    *took_out += account_removed(end, &removed);
                    end.book.superseded += removed.len() as u64;
                }
                let over = lane.queues[link].is_over(&spec.settings, bytes, free);
                if over {
                    match spec.settings.overflow {
                        Overflow::Block if spec.settings.feedback => {
                            self.drop_packet(end, packet);
                            return Ok(());
                        }
                        Overflow::Block => match lane.starving_link(link, &self.spec.links) {
                            _ if lane.held || lane.failed => {
                                lane.queues[link].writer_waits = true;
                                return Err(item);
                            }
                            Some(starving) => {
                                if lane.queues[link].bytes.saturating_add(bytes) > spec.settings.queue_bytes {
                                    lane.failed = true;
                                    lane.starved = Some((link, starving));
                                }
                            }
                            None => {
                                lane.queues[link].writer_waits = true;
                                return Err(item);
                            }
                        },
                        Overflow::DropNewest => {
                            lane.queues[link].gap = true;
                            self.drop_packet(end, packet);
                            return Ok(());
                        }
                        Overflow::DropOldest | Overflow::Latest => {
                            let all = spec.settings.overflow == Overflow::Latest;
                            while lane.queues[link].packets > 0
                                && (all || lane.queues[link].is_over(&spec.settings, bytes, free))
                            {
                                let Some(removed) = lane.queues[link].remove_oldest() else { break };
                                *took_out += account_removed(end, std::slice::from_ref(&removed));
                                end.book.dropped += 1;
                                lane.queues[link].mark_gap(packet);
                            }
                        }
                    }
                }
                let queue = &mut lane.queues[link];
                if std::mem::take(&mut queue.gap) {
                    packet.flags.gap = true;
                }
                queue.packets += 1;
                queue.bytes += bytes;
                *put_in += bytes;
                end.depth += 1;
                end.book.deepest = end.book.deepest.max(end.depth);
                queue.items.push_back(item);
            }
            Item::Watermark(at) => match lane.queues[link].items.back_mut() {
                Some(Item::Watermark(last)) => *last = (*at).max(*last),
                _ => lane.queues[link].items.push_back(item),
            },
            _ => lane.queues[link].items.push_back(item),
        }
        if !lane.listed && !lane.held {
            lane.listed = true;
            ready.push_back(stream);
        }
        Ok(())
    }

    fn drop_packet(&self, end: &mut LinkEnd, packet: &Packet) {
        end.book.dropped += 1;
        end.book.frames_removed += packet.payload.audio_frames();
    }

    fn take(&self, shared: &mut Shared, most: usize, quantum: usize, out: &mut Vec<Delivery>, woken: &mut Vec<Waker>) {
        let Shared { streams, ready, links, took_out, .. } = shared;
        while out.len() < most {
            let Some(stream) = ready.pop_front() else { break };
            let Some(lane) = streams.get_mut(&stream) else { continue };
            lane.listed = false;
            if lane.held {
                continue;
            }
            let mut closed = false;
            let mut more = true;
            for _ in 0..quantum.min(most - out.len()) {
                if lane.is_plain() {
                    self.hand_out(lane, 0, links, took_out, out);
                    continue;
                }
                if !self.next(lane, links, took_out, stream, out) {
                    more = false;
                    break;
                }
                closed = matches!(out.last(), Some(Delivery::Close { .. }));
                if closed {
                    break;
                }
            }
            self.wake_writers(lane, woken);
            if closed && !lane.begin_again(&self.spec.links) {
                streams.remove(&stream);
            } else if closed || more {
                lane.listed = true;
                ready.push_back(stream);
            }
        }
    }

    /// Wakes writers that waited on a queue of this lane and would now be let in: when it is half empty, so that they do
    /// not wake for each single place, or when the stage starves on another link.
    fn wake_writers(&self, lane: &mut Lane, woken: &mut Vec<Waker>) {
        for link in 0..lane.queues.len() {
            if !lane.queues[link].writer_waits {
                continue;
            }
            let settings = &self.spec.links[link].settings;
            let queue = &lane.queues[link];
            let room = queue.packets <= settings.queue / 2 && !queue.is_over(settings, 0, self.memory.free());
            if room || lane.starving_link(link, &self.spec.links).is_some() {
                let queue = &mut lane.queues[link];
                queue.writer_waits = false;
                woken.extend(queue.writer.take());
            }
        }
    }

    /// Hands out the packet at the head of `link`'s queue, if one stands there.
    fn hand_out(
        &self,
        lane: &mut Lane,
        link: usize,
        links: &mut [LinkEnd],
        took_out: &mut usize,
        out: &mut Vec<Delivery>,
    ) -> bool {
        let queue = &mut lane.queues[link];
        let Some(Item::Packet(packet)) = queue.items.pop_front() else {
            return false;
        };
        let bytes = packet.payload.byte_len();
        queue.packets -= 1;
        queue.bytes -= bytes;
        queue.bound = queue.bound.max(packet.start);
        *took_out += bytes;
        let end = &mut links[link];
        end.depth -= 1;
        end.book.received += 1;
        end.book.frames_received += packet.payload.audio_frames();
        lane.told = lane.told.max(packet.start);
        out.push(Delivery::Packet(Input { port: self.spec.links[link].port, packet }));
        true
    }

    /// Hands out the next thing of a stream; whether there was one.
    fn next(
        &self,
        lane: &mut Lane,
        links: &mut [LinkEnd],
        took_out: &mut usize,
        stream: StreamId,
        out: &mut Vec<Delivery>,
    ) -> bool {
        if let Some((full, starving)) = lane.starved.take() {
            out.push(Delivery::Starved { stream, full, starving });
            return true;
        }
        for (queue, link) in lane.queues.iter_mut().zip(&self.spec.links) {
            queue.settle(link.settings.feedback);
        }
        let over = |(queue, link): (&Queue, &LinkSpec)| queue.phase == Phase::Closed || link.settings.feedback;
        if lane.queues.iter().zip(&self.spec.links).all(over) {
            for ((queue, link), end) in lane.queues.iter_mut().zip(&self.spec.links).zip(links.iter_mut()) {
                if link.settings.feedback {
                    let rest = queue.drop_all();
                    *took_out += account_removed(end, &rest);
                    end.book.dropped += rest.len() as u64;
                }
            }
            let failed = lane.queues.iter().any(|queue| queue.close_failed);
            out.push(Delivery::Close { stream, capture: lane.capture, failed });
            return true;
        }
        if let Some(open) = self.open(lane) {
            out.push(open);
            return true;
        }
        if let Some(link) = lane.next_link(&self.spec.links) {
            return self.hand_out(lane, link, links, took_out, out);
        }
        let watermark = self.watermark(lane, stream);
        let found = watermark.is_some();
        out.extend(watermark);
        found
    }

    /// Opens (or reopens) the stream when every link that brings it stands at an `Open` or has closed.
    fn open(&self, lane: &mut Lane) -> Option<Delivery> {
        let awaited = |link: &LinkSpec| !link.settings.feedback;
        let stands =
            lane.queues.iter().zip(&self.spec.links).filter(|(_, link)| awaited(link)).all(|(queue, _)| {
                queue.phase == Phase::Closed || matches!(queue.items.front(), Some(Item::Open { .. }))
            });
        if !stands {
            return None;
        }
        let mut formats = vec![Format::Any; self.spec.ports];
        let mut opened = None;
        for (queue, link) in lane.queues.iter_mut().zip(&self.spec.links) {
            if awaited(link)
                && matches!(queue.items.front(), Some(Item::Open { .. }))
                && let Some(Item::Open { info, format, .. }) = queue.items.pop_front()
            {
                queue.phase = Phase::Open;
                queue.bound = Timestamp::MIN;
                formats[link.port] = format;
                opened = Some(info);
            }
        }
        lane.told = Timestamp::MIN;
        lane.failed = false;
        let broken = lane.queues.iter().any(|queue| queue.close_failed);
        opened.map(|info| Delivery::Open { info, capture: lane.capture, formats, broken })
    }

    fn watermark(&self, lane: &mut Lane, stream: StreamId) -> Option<Delivery> {
        if !self.spec.watermarks {
            return None;
        }
        let at = lane
            .queues
            .iter()
            .zip(&self.spec.links)
            .filter(|(queue, link)| queue.phase == Phase::Open && !link.settings.feedback)
            .map(|(queue, _)| queue.reach())
            .min();
        match at {
            Some(at) if at > lane.told => {
                lane.told = at;
                Some(Delivery::Watermark { stream, at })
            }
            _ => None,
        }
    }
}

impl AtWork {
    /// The partial result that was handed out alone, if it was one.
    fn among(out: &[Delivery]) -> Option<AtWork> {
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
    fn is_stale_beside(&self, packet: &Packet) -> bool {
        !self.given_up
            && (!packet.flags.partial || packet.flags.expected_final)
            && packet.revision > 0
            && (packet.stream, packet.start) == (self.stream, self.start)
            && packet.duration != self.duration
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

impl Lane {
    fn new(links: &[LinkSpec], capture: usize) -> Self {
        let queues = links
            .iter()
            .map(|link| Queue {
                items: VecDeque::new(),
                packets: 0,
                bytes: 0,
                bound: Timestamp::MIN,
                phase: if link.captures.contains(&capture) { Phase::New } else { Phase::Closed },
                close_failed: false,
                writer_waits: false,
                writer: None,
                gap: false,
            })
            .collect();
        Lane {
            queues,
            capture,
            live: false,
            listed: false,
            held: false,
            failed: false,
            starved: None,
            told: Timestamp::MIN,
        }
    }

    /// After its end, whether the stream begins again: it was given up and reopened before the end was read.
    fn begin_again(&mut self, links: &[LinkSpec]) -> bool {
        let again = self.queues.iter().any(|queue| matches!(queue.items.front(), Some(Item::Open { .. })));
        if again {
            for (queue, link) in self.queues.iter_mut().zip(links) {
                queue.phase = if link.captures.contains(&self.capture) { Phase::New } else { Phase::Closed };
                queue.close_failed = false;
                queue.bound = Timestamp::MIN;
            }
            self.failed = false;
        }
        again
    }

    /// Whether nothing but the packet at the head of its only queue can be next.
    fn is_plain(&self) -> bool {
        match &self.queues[..] {
            [queue] => queue.phase == Phase::Open && queue.has_packet() && self.starved.is_none(),
            _ => false,
        }
    }

    /// The link whose first packet is next: the earliest start, the earlier port where starts are equal; none while
    /// another link may still bring an earlier one.
    fn next_link(&self, links: &[LinkSpec]) -> Option<usize> {
        if self.queues.len() == 1 {
            return self.queues[0].has_packet().then_some(0);
        }
        if self.failed {
            return self.queues.iter().position(Queue::has_packet);
        }
        if let Some(feedback) =
            (0..links.len()).find(|&link| links[link].settings.feedback && self.queues[link].has_packet())
        {
            return Some(feedback);
        }
        let key = |link: usize| (self.queues[link].reach(), links[link].port, link);
        let first =
            (0..self.queues.len()).filter(|&link| self.queues[link].has_packet()).min_by_key(|&link| key(link))?;
        let earliest = key(first);
        let waits = (0..self.queues.len()).any(|link| {
            link != first && !links[link].settings.feedback && !self.queues[link].has_packet() && key(link) < earliest
        });
        (!waits).then_some(first)
    }

    /// The link that the stage starves on while `full` has packets that cannot be handed out.
    fn starving_link(&self, full: usize, links: &[LinkSpec]) -> Option<usize> {
        if self.queues.len() == 1 || self.held || self.failed || self.next_link(links).is_some() {
            return None;
        }
        (0..self.queues.len()).find(|&link| {
            link != full
                && !links[link].settings.feedback
                && self.queues[link].phase != Phase::Closed
                && !self.queues[link].has_packet()
                && !self.queues[link].items.iter().any(|item| matches!(item, Item::Close { .. } | Item::Watermark(_)))
        })
    }
}

impl Queue {
    /// Notes whom to wake when there is room.
    fn waits(&mut self, waker: &Waker) {
        if !self.writer.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.writer = Some(waker.clone());
        }
    }

    fn has_packet(&self) -> bool {
        matches!(self.items.front(), Some(Item::Packet(_)))
    }

    /// The earliest start that this link can still bring.
    fn reach(&self) -> Timestamp {
        match self.items.front() {
            Some(Item::Packet(packet)) => packet.start,
            // It stands at the next opening, which waits for the other links.
            Some(Item::Open { .. }) if self.phase == Phase::Open => Timestamp::MAX,
            _ if self.phase == Phase::Closed => Timestamp::MAX,
            _ => self.bound,
        }
    }

    /// Takes watermarks and the end out of the queue's head; of a link that closes a cycle all but the packets.
    fn settle(&mut self, feedback: bool) {
        while feedback || self.phase != Phase::Closed {
            match self.items.front() {
                Some(Item::Watermark(_) | Item::Close { .. }) => {}
                Some(Item::Open { .. }) if feedback => {}
                _ => return,
            }
            match self.items.pop_front() {
                Some(Item::Watermark(at)) => self.bound = self.bound.max(at),
                Some(Item::Close { failed, .. }) if !feedback => {
                    self.phase = Phase::Closed;
                    self.close_failed |= failed;
                }
                _ => {}
            }
        }
    }

    /// Empties the queue.
    fn drop_all(&mut self) -> Vec<Packet> {
        let is_packet = |item: Item| match item {
            Item::Packet(packet) => Some(packet),
            _ => None,
        };
        self.packets = 0;
        self.bytes = 0;
        self.items.drain(..).filter_map(is_packet).collect()
    }

    /// Whether `bytes` more would be too many. An empty queue takes any packet, so that progress is never impossible.
    fn is_over(&self, settings: &LinkSettings, bytes: usize, free: i64) -> bool {
        self.packets > 0
            && (self.packets >= settings.queue
                || self.bytes.saturating_add(bytes) > settings.queue_bytes
                || i64::try_from(bytes).unwrap_or(i64::MAX) > free)
    }

    /// Whether `packet` is a newer revision of a partial result that waits here.
    fn supersedes(&self, packet: &Packet) -> bool {
        packet.revision > 0
            && self.items.iter().any(|item| match item {
                Item::Packet(waiting) => waiting.flags.partial && waiting.start == packet.start,
                _ => false,
            })
    }

    fn remove_partials(&mut self, start: Timestamp) -> Vec<Packet> {
        let mut removed = Vec::new();
        self.items.retain_mut(|item| match item {
            Item::Packet(waiting) if waiting.flags.partial && waiting.start == start => {
                removed.push(waiting.clone());
                false
            }
            _ => true,
        });
        self.packets -= removed.len();
        self.bytes -= removed.iter().map(|packet| packet.payload.byte_len()).sum::<usize>();
        removed
    }

    fn remove_oldest(&mut self) -> Option<Packet> {
        let at = self.items.iter().position(|item| matches!(item, Item::Packet(_)))?;
        let Some(Item::Packet(packet)) = self.items.remove(at) else { return None };
        self.packets -= 1;
        self.bytes -= packet.payload.byte_len();
        Some(packet)
    }

    /// Marks the packet after a dropped one: the first that waits, or else the one about to be queued.
    fn mark_gap(&mut self, incoming: &mut Packet) {
        let waiting = self.items.iter_mut().find_map(|item| match item {
            Item::Packet(packet) => Some(packet),
            _ => None,
        });
        waiting.unwrap_or(incoming).flags.gap = true;
    }
}
