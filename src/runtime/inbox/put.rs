//! What comes into an inbox: bounds, policies, and whom they touch.

use std::collections::VecDeque;
use std::task::Waker;

use super::lane::Lane;
use super::{Inbox, Item, LinkEnd, Shared, account_removed};
use crate::media::{Packet, StreamId};
use crate::pipeline::Overflow;

impl Inbox {
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

    /// Puts one item into its queue, or gives it back when there is no room and the policy is to wait.
    ///
    /// `free`: the bytes for which all links together have room.
    pub(super) fn accept(
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
                let overflow = match spec.settings.overflow {
                    Overflow::Block if spec.yields && lane.live => Overflow::DropOldest,
                    overflow => overflow,
                };
                if over {
                    match overflow {
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

    pub(super) fn drop_packet(&self, end: &mut LinkEnd, packet: &Packet) {
        end.book.dropped += 1;
        end.book.frames_removed += packet.payload.audio_frames();
    }
}
