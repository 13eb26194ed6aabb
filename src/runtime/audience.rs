//! Who still takes a stream: one that no sink takes any more is not read on.
//!
//! A sink leaves a stream when it gives it up (its reader has gone, its disk is full) or when the stream reaches it as
//! ended, because a stage before gave it up. Once every sink that the stream's capture leads to has left, the capture is
//! told to stop reading that stream; other streams go on. So a pipeline whose only output is a closed pipe ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use crate::media::StreamId;

/// The sinks of every stream that is being read.
#[derive(Debug)]
pub(crate) struct Audience {
    /// How many sinks each capture leads to, by its place in the plan.
    sinks: Vec<usize>,
    streams: Mutex<FxHashMap<StreamId, Listeners>>,
}

#[derive(Debug)]
struct Listeners {
    sinks: usize,
    /// The sinks that have left, by their place in the plan.
    left: Vec<usize>,
    nobody: Arc<Notify>,
}

impl Audience {
    /// For captures that lead to so many sinks each, by their place in the plan.
    pub(crate) fn new(sinks: Vec<usize>) -> Self {
        Audience { sinks, streams: Mutex::default() }
    }

    /// A stream begins. What is returned is notified once nobody takes it any more.
    pub(crate) fn open(&self, stream: StreamId, capture: usize) -> Arc<Notify> {
        let sinks = self.sinks.get(capture).copied().unwrap_or(0);
        let nobody = Arc::new(Notify::new());
        self.lock().insert(stream, Listeners { sinks, left: Vec::new(), nobody: nobody.clone() });
        nobody
    }

    /// The stream is no longer read: who leaves it from now on is of no interest.
    pub(crate) fn close(&self, stream: StreamId) {
        self.lock().remove(&stream);
    }

    /// A sink takes nothing more of the stream.
    pub(crate) fn leave(&self, stream: StreamId, sink: usize) {
        let mut streams = self.lock();
        let Some(listeners) = streams.get_mut(&stream) else { return };
        if listeners.left.contains(&sink) {
            return;
        }
        listeners.left.push(sink);
        if listeners.left.len() == listeners.sinks {
            // Kept for a reader that is busy just now.
            listeners.nobody.notify_one();
        }
    }

    /// A sink takes the stream, perhaps again after its format has changed.
    pub(crate) fn join(&self, stream: StreamId, sink: usize) {
        if let Some(listeners) = self.lock().get_mut(&stream) {
            listeners.left.retain(|left| *left != sink);
        }
    }

    fn lock(&self) -> MutexGuard<'_, FxHashMap<StreamId, Listeners>> {
        // No other code runs under this lock, so a poisoned map is whole.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn is_told(nobody: &Notify) -> bool {
        pin!(nobody.notified()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn the_last_sink_to_leave_ends_the_stream_and_no_other() {
        let audience = Audience::new(vec![2, 0]);
        let (a, b) = (audience.open(StreamId(0), 0), audience.open(StreamId(1), 0));
        for (sink, told) in [(5, false), (5, false), (6, true), (6, false)] {
            audience.leave(StreamId(0), sink);
            assert_eq!(is_told(&a), told);
        }
        assert!(!is_told(&b));
        audience.close(StreamId(1));
        audience.leave(StreamId(1), 5);
        audience.leave(StreamId(1), 6);
        assert!(!is_told(&b), "it had ended by itself");
    }

    #[test]
    fn who_comes_back_counts_again() {
        let audience = Audience::new(vec![2]);
        let stream = audience.open(StreamId(0), 0);
        audience.leave(StreamId(0), 1);
        audience.join(StreamId(0), 1);
        audience.leave(StreamId(0), 2);
        assert!(!is_told(&stream));
        audience.leave(StreamId(0), 1);
        assert!(is_told(&stream));
    }

    #[test]
    fn a_capture_that_leads_to_no_sink_is_read_to_its_end() {
        let audience = Audience::new(vec![0]);
        let stream = audience.open(StreamId(0), 0);
        audience.leave(StreamId(0), 1);
        assert!(!is_told(&stream));
    }
}
