//! The bounded queue between a running pipeline and one subscriber.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::collect::Received;
use crate::media::StreamId;

/// A queue with a bound per stream. One side puts, the other takes; each can end it.
#[derive(Debug)]
pub(super) struct Queue {
    capacity: usize,
    inner: Mutex<Inner>,
    /// Something came, or nothing will come any more.
    readable: Condvar,
    /// Something was taken, or nothing is taken any more, or a wait was cancelled.
    writable: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    /// What waits, by the order in which it came.
    waiting: BTreeMap<u64, Received>,
    /// The same by stream. No stream without a packet.
    by_stream: FxHashMap<StreamId, VecDeque<u64>>,
    next: u64,
    dropped: u64,
    /// No more will be put.
    ended: bool,
    /// No more will be taken.
    left: bool,
    waker: Option<Waker>,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// It waits to be taken.
    Waits,
    /// It waits, in the place of the oldest one of its stream.
    Displaced,
    /// Nobody will take it.
    Refused,
    /// There was no room until the wait was cancelled.
    Cancelled,
}

impl Queue {
    /// At most `capacity` packets of each stream wait; zero counts as one.
    pub(super) fn new(capacity: usize) -> Self {
        Queue { capacity: capacity.max(1), inner: Mutex::default(), readable: Condvar::new(), writable: Condvar::new() }
    }

    /// Puts a packet. A stream whose packets fill their share waits, or with `displace` loses its oldest. A wait comes
    /// back when `cancelled` is set and [`recheck`](Queue::recheck) called, and takes the flag back.
    pub(super) fn put(&self, received: Received, displace: bool, cancelled: &AtomicBool) -> Put {
        let stream = received.packet.stream;
        let is_full =
            |inner: &Inner| inner.by_stream.get(&stream).is_some_and(|numbers| numbers.len() >= self.capacity);
        let mut inner = self.lock();
        let mut put = Put::Waits;
        if displace && is_full(&inner) {
            inner.drop_oldest(stream);
            put = Put::Displaced;
        }
        while is_full(&inner) && !inner.ended && !inner.left {
            if cancelled.swap(false, Ordering::AcqRel) {
                return Put::Cancelled;
            }
            inner = self.writable.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        if inner.ended || inner.left {
            return Put::Refused;
        }
        let number = inner.next;
        inner.next += 1;
        inner.waiting.insert(number, received);
        inner.by_stream.entry(stream).or_default().push_back(number);
        self.readable.notify_one();
        if let Some(waker) = inner.waker.take() {
            drop(inner);
            waker.wake();
        }
        put
    }

    /// Takes what came first; `Ready(None)` when nothing waits and nothing will come.
    pub(super) fn try_take(&self) -> Poll<Option<Received>> {
        self.taken(&mut self.lock())
    }

    /// Takes what came first, waiting at most so long for it.
    pub(super) fn take(&self, timeout: Option<Duration>) -> Poll<Option<Received>> {
        let starved = |inner: &mut Inner| inner.waiting.is_empty() && !inner.ended;
        let inner = self.lock();
        let mut inner = match timeout {
            None => self.readable.wait_while(inner, starved).unwrap_or_else(PoisonError::into_inner),
            Some(timeout) => {
                self.readable.wait_timeout_while(inner, timeout, starved).unwrap_or_else(PoisonError::into_inner).0
            }
        };
        self.taken(&mut inner)
    }

    /// Takes what came first, or asks to be woken.
    pub(super) fn poll_take(&self, context: &Context<'_>) -> Poll<Option<Received>> {
        let mut inner = self.lock();
        let taken = self.taken(&mut inner);
        if taken.is_pending() {
            inner.waker = Some(context.waker().clone());
        }
        taken
    }

    fn taken(&self, inner: &mut Inner) -> Poll<Option<Received>> {
        match inner.waiting.pop_first() {
            Some((_, received)) => {
                inner.forget(received.packet.stream);
                self.writable.notify_all();
                Poll::Ready(Some(received))
            }
            None if inner.ended => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    /// No more will be put; what waits can still be taken.
    pub(super) fn end(&self) {
        let waker = {
            let mut inner = self.lock();
            inner.ended = true;
            inner.waker.take()
        };
        self.readable.notify_all();
        self.writable.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// No more will be taken.
    pub(super) fn leave(&self) {
        let mut inner = self.lock();
        inner.left = true;
        inner.waiting.clear();
        inner.by_stream.clear();
        self.writable.notify_all();
    }

    /// Lets a wait for room look again whether it was cancelled.
    pub(super) fn recheck(&self) {
        // Under the lock: whoever waits has either not looked at its flag yet, or hears this.
        let _inner = self.lock();
        self.writable.notify_all();
    }

    /// Whether anything can still come of putting.
    pub(super) fn is_open(&self) -> bool {
        let inner = self.lock();
        !inner.ended && !inner.left
    }

    /// Packets that were displaced so far.
    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics between two steps that belong together.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn drop_oldest(&mut self, stream: StreamId) {
        if let Some(number) = self.forget(stream) {
            self.waiting.remove(&number);
            self.dropped += 1;
        }
    }

    /// Takes the oldest packet of `stream` out of the list of its stream.
    fn forget(&mut self, stream: StreamId) -> Option<u64> {
        let numbers = self.by_stream.get_mut(&stream)?;
        let number = numbers.pop_front();
        if numbers.is_empty() {
            self.by_stream.remove(&stream);
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::media::Packet;
    use crate::tensor::Tensor;
    use crate::units::{TimeSpan, Timestamp};

    fn received(stream: u32, value: i64) -> Received {
        let packet = Packet::new(StreamId(stream), Timestamp::ZERO, TimeSpan::ZERO, Tensor::scalar(value));
        Received { stream: format!("s{stream}").into(), packet }
    }

    fn value(received: &Received) -> (u32, i64) {
        (received.packet.stream.0, received.packet.payload.tensor().unwrap().as_slice::<i64>().unwrap()[0])
    }

    fn put(queue: &Queue, stream: u32, number: i64, displace: bool) -> Put {
        queue.put(received(stream, number), displace, &AtomicBool::new(false))
    }

    fn drain(queue: &Queue) -> Vec<(u32, i64)> {
        std::iter::from_fn(|| match queue.try_take() {
            Poll::Ready(Some(received)) => Some(value(&received)),
            _ => None,
        })
        .collect()
    }

    #[test]
    fn a_full_stream_displaces_only_its_own() {
        let queue = Queue::new(2);
        for (stream, number, expected) in [
            (0, 0, Put::Waits),
            (1, 0, Put::Waits),
            (1, 1, Put::Waits),
            (1, 2, Put::Displaced),
            (0, 1, Put::Waits),
            (1, 3, Put::Displaced),
        ] {
            assert_eq!(put(&queue, stream, number, true), expected);
        }
        assert_eq!(drain(&queue), [(0, 0), (1, 2), (0, 1), (1, 3)]);
        assert_eq!(queue.dropped(), 2);
    }

    #[test]
    fn what_waits_outlives_the_end() {
        let queue = Queue::new(0);
        assert_eq!(put(&queue, 0, 1, false), Put::Waits);
        queue.end();
        assert_eq!(put(&queue, 0, 2, false), Put::Refused);
        assert!(!queue.is_open());
        assert!(matches!(queue.take(None), Poll::Ready(Some(_))));
        assert!(matches!(queue.take(None), Poll::Ready(None)));
    }

    #[test]
    fn a_wait_for_room_ends_in_each_way() {
        type End = fn(&Queue, &AtomicBool);
        let ends: [(End, Put); 4] = [
            (|queue, _| assert!(queue.try_take().is_ready()), Put::Waits),
            (|queue, _| queue.end(), Put::Refused),
            (|queue, _| queue.leave(), Put::Refused),
            (
                |queue, cancelled| {
                    cancelled.store(true, Ordering::Release);
                    queue.recheck();
                },
                Put::Cancelled,
            ),
        ];
        for (end, expected) in ends {
            let (queue, cancelled) = (Arc::new(Queue::new(1)), Arc::new(AtomicBool::new(false)));
            put(&queue, 0, 1, false);
            let waiting = {
                let (queue, cancelled) = (queue.clone(), cancelled.clone());
                std::thread::spawn(move || queue.put(received(0, 2), false, &cancelled))
            };
            // Whether it waits already or comes to wait later, it must come back.
            std::thread::yield_now();
            end(&queue, &cancelled);
            assert_eq!(waiting.join().unwrap(), expected);
            assert!(!cancelled.load(Ordering::Acquire), "the flag is taken back");
        }
    }

    proptest! {
        #[test]
        fn each_stream_keeps_its_newest_in_order(
            steps in proptest::collection::vec((0u32..3, any::<bool>()), 0..60),
            capacity in 1usize..5,
        ) {
            let queue = Queue::new(capacity);
            let mut model: Vec<(u32, i64)> = Vec::new();
            let mut dropped = 0;
            for (number, (stream, take)) in (0i64..).zip(steps) {
                if take {
                    let expected = (!model.is_empty()).then(|| model.remove(0));
                    let taken = match queue.try_take() {
                        Poll::Ready(received) => received.as_ref().map(value),
                        Poll::Pending => None,
                    };
                    prop_assert_eq!(taken, expected);
                } else {
                    if model.iter().filter(|(of, _)| *of == stream).count() == capacity {
                        let oldest = model.iter().position(|(of, _)| *of == stream).unwrap();
                        model.remove(oldest);
                        dropped += 1;
                    }
                    model.push((stream, number));
                    put(&queue, stream, number, true);
                }
            }
            prop_assert_eq!(drain(&queue), model);
            prop_assert_eq!(queue.dropped(), dropped);
        }
    }
}
