//! A stream's queues in an inbox, and which of their packets is next.

use std::collections::VecDeque;
use std::task::Waker;

use super::{Item, LinkSpec};
use crate::media::Packet;
use crate::pipeline::LinkSettings;
use crate::units::Timestamp;

/// A stream's queues, one for each link.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) queues: Vec<Queue>,
    pub(super) capture: usize,
    pub(super) live: bool,
    /// In `ready`.
    pub(super) listed: bool,
    /// The reader cannot take more of this stream: what came of it waits downstream.
    pub(super) held: bool,
    /// Handed out without order, because it has failed.
    pub(super) failed: bool,
    /// `Starved` still to be handed out.
    pub(super) starved: Option<(usize, usize)>,
    /// The last watermark handed out.
    pub(super) told: Timestamp,
}

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) items: VecDeque<Item>,
    pub(super) packets: usize,
    pub(super) bytes: usize,
    /// No packet that starts before this will come.
    pub(super) bound: Timestamp,
    pub(super) phase: Phase,
    pub(super) close_failed: bool,
    pub(super) writer_waits: bool,
    /// Whom to wake when there is room: this stream's writer and nobody else's.
    pub(super) writer: Option<Waker>,
    pub(super) gap: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// `Open` has not been handed out yet.
    New,
    Open,
    /// `Close` was taken out, or the stream never comes on this link.
    Closed,
}

impl Lane {
    pub(super) fn new(links: &[LinkSpec], capture: usize) -> Self {
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
    pub(super) fn begin_again(&mut self, links: &[LinkSpec]) -> bool {
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
    pub(super) fn is_plain(&self) -> bool {
        match &self.queues[..] {
            [queue] => queue.phase == Phase::Open && queue.has_packet() && self.starved.is_none(),
            _ => false,
        }
    }

    /// The link whose first packet is next: the earliest start, the earlier port where starts are equal; none while
    /// another link may still bring an earlier one.
    pub(super) fn next_link(&self, links: &[LinkSpec]) -> Option<usize> {
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
    pub(super) fn starving_link(&self, full: usize, links: &[LinkSpec]) -> Option<usize> {
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
    pub(super) fn waits(&mut self, waker: &Waker) {
        if !self.writer.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.writer = Some(waker.clone());
        }
    }

    pub(super) fn has_packet(&self) -> bool {
        matches!(self.items.front(), Some(Item::Packet(_)))
    }

    /// The earliest start that this link can still bring.
    pub(super) fn reach(&self) -> Timestamp {
        match self.items.front() {
            Some(Item::Packet(packet)) => packet.start,
            // It stands at the next opening, which waits for the other links.
            Some(Item::Open { .. }) if self.phase == Phase::Open => Timestamp::MAX,
            _ if self.phase == Phase::Closed => Timestamp::MAX,
            _ => self.bound,
        }
    }

    /// Takes watermarks and the end out of the queue's head; of a link that closes a cycle all but the packets.
    pub(super) fn settle(&mut self, feedback: bool) {
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
    pub(super) fn drop_all(&mut self) -> Vec<Packet> {
        let is_packet = |item: Item| match item {
            Item::Packet(packet) => Some(packet),
            _ => None,
        };
        self.packets = 0;
        self.bytes = 0;
        self.items.drain(..).filter_map(is_packet).collect()
    }

    /// Whether `bytes` more would be too many. An empty queue takes any packet, so that progress is never impossible.
    pub(super) fn is_over(&self, settings: &LinkSettings, bytes: usize, free: i64) -> bool {
        self.packets > 0
            && (self.packets >= settings.queue
                || self.bytes.saturating_add(bytes) > settings.queue_bytes
                || i64::try_from(bytes).unwrap_or(i64::MAX) > free)
    }

    /// Whether `packet` is a newer revision of a partial result that waits here.
    pub(super) fn supersedes(&self, packet: &Packet) -> bool {
        packet.revision > 0
            && self.items.iter().any(|item| match item {
                Item::Packet(waiting) => waiting.flags.partial && waiting.start == packet.start,
                _ => false,
            })
    }

    pub(super) fn remove_partials(&mut self, start: Timestamp) -> Vec<Packet> {
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

    pub(super) fn remove_oldest(&mut self) -> Option<Packet> {
        let at = self.items.iter().position(|item| matches!(item, Item::Packet(_)))?;
        let Some(Item::Packet(packet)) = self.items.remove(at) else { return None };
        self.packets -= 1;
        self.bytes -= packet.payload.byte_len();
        Some(packet)
    }

    /// Marks the packet after a dropped one: the first that waits, or else the one about to be queued.
    pub(super) fn mark_gap(&mut self, incoming: &mut Packet) {
        let waiting = self.items.iter_mut().find_map(|item| match item {
            Item::Packet(packet) => Some(packet),
            _ => None,
        });
        waiting.unwrap_or(incoming).flags.gap = true;
    }
}
