//! What an inbox hands out: streams in turn, and within a stream packets in the order of their starts.

use std::task::{Context, Poll, Waker};

use rustc_hash::FxHashMap;

use super::at_work::AtWork;
use super::lane::{Lane, Phase, Queue};
use super::{Delivery, Inbox, Item, LinkEnd, LinkSpec, Shared, account_removed};
use crate::media::{Format, StreamId};
use crate::stage::Input;
use crate::units::Timestamp;

impl Inbox {
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

    pub(super) fn take(
        &self,
        shared: &mut Shared,
        most: usize,
        quantum: usize,
        out: &mut Vec<Delivery>,
        woken: &mut Vec<Waker>,
    ) {
        let Shared { streams, ready, links, took_out, in_turn, .. } = shared;
        let first = |streams: &FxHashMap<StreamId, Lane>| {
            streams.iter().filter(|(_, lane)| self.spec.in_order && !lane.live).map(|(stream, _)| *stream).min()
        };
        if in_turn.is_none_or(|stream| !streams.contains_key(&stream)) {
            *in_turn = first(streams);
        }
        // Streams whose turn has not come.
        let mut later: Vec<StreamId> = Vec::new();
        while out.len() < most {
            let Some(stream) = ready.pop_front() else { break };
            let Some(lane) = streams.get_mut(&stream) else { continue };
            if self.spec.in_order && !lane.live && *in_turn != Some(stream) {
                later.push(stream);
                continue;
            }
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
                if *in_turn == Some(stream) {
                    *in_turn = first(streams);
                    ready.extend(later.drain(..));
                }
            } else if closed || more {
                lane.listed = true;
                ready.push_back(stream);
            }
        }
        ready.extend(later);
    }

    /// Wakes writers that waited on a queue of this lane and would now be let in: when it is half empty, so that they do
    /// not wake for each single place, or when the stage starves on another link.
    pub(super) fn wake_writers(&self, lane: &mut Lane, woken: &mut Vec<Waker>) {
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
    pub(super) fn hand_out(
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
    pub(super) fn next(
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
    pub(super) fn open(&self, lane: &mut Lane) -> Option<Delivery> {
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

    pub(super) fn watermark(&self, lane: &mut Lane, stream: StreamId) -> Option<Delivery> {
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
