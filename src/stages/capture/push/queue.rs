//! The bounded queue between a program's thread and the stream that is read from it.
//!
//! It is a lock, a condition variable and wakers, since both ends may be in a thread or in a task of any runtime.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::stage::Draft;

#[derive(Debug)]
struct State {
    drafts: VecDeque<Draft>,
    /// Nothing more will be written.
    closed: bool,
    /// Nothing more will be read.
    abandoned: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Debug)]
struct Shared {
    capacity: usize,
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Drafts and flags: whole after any panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, waker: Option<Waker>) {
        self.changed.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The writing end. Dropping it closes the queue: what is in it is still read.
#[derive(Debug)]
pub(super) struct QueueWriter(Arc<Shared>);

/// The reading end. Dropping it abandons the queue: what is in it is lost, writers are told.
#[derive(Debug)]
pub(super) struct QueueReader(Arc<Shared>);

/// Why a draft was not written; it comes back.
#[derive(Debug)]
pub(super) enum Refused {
    /// There is no room now.
    Full(Draft),
    /// Nobody reads any more.
    Abandoned,
}

/// A queue of at most `capacity` drafts, at least one.
pub(super) fn queue(capacity: usize) -> (QueueWriter, QueueReader) {
    let state = State { drafts: VecDeque::new(), closed: false, abandoned: false, reader: None, writer: None };
    let shared = Arc::new(Shared { capacity: capacity.max(1), state: Mutex::new(state), changed: Condvar::new() });
    (QueueWriter(shared.clone()), QueueReader(shared))
}

impl QueueWriter {
    /// Writes when there is room.
    pub(super) fn try_write(&self, draft: Draft) -> Result<(), Refused> {
        let mut state = self.0.lock();
        if state.abandoned {
            return Err(Refused::Abandoned);
        }
        if state.drafts.len() >= self.0.capacity {
            return Err(Refused::Full(draft));
        }
        state.drafts.push_back(draft);
        let waker = state.reader.take();
        drop(state);
        self.0.wake(waker);
        Ok(())
    }

    /// Blocks until there is room, then writes.
    pub(super) fn write(&self, draft: Draft) -> Result<(), Refused> {
        let mut draft = draft;
        loop {
            match self.try_write(draft) {
                Err(Refused::Full(back)) => draft = back,
                result => return result,
            }
            let full = |state: &mut State| !state.abandoned && state.drafts.len() >= self.0.capacity;
            drop(self.0.changed.wait_while(self.0.lock(), full).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Whether a draft can be written now, or never will be.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.abandoned || state.drafts.len() < self.0.capacity {
            return Poll::Ready(());
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for QueueWriter {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closed = true;
        let waker = state.reader.take();
        drop(state);
        self.0.wake(waker);
    }
}

impl QueueReader {
    /// Takes everything, oldest first; `None` when nothing will come any more.
    pub(super) fn poll_read(&self, cx: &mut Context<'_>) -> Poll<Option<VecDeque<Draft>>> {
        let mut state = self.0.lock();
        if !state.drafts.is_empty() {
            let drafts = std::mem::take(&mut state.drafts);
            let waker = state.writer.take();
            drop(state);
            self.0.wake(waker);
            return Poll::Ready(Some(drafts));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Takes what is there; nothing can be written from then on.
    pub(super) fn abandon(&self) -> VecDeque<Draft> {
        let mut state = self.0.lock();
        state.abandoned = true;
        let drafts = std::mem::take(&mut state.drafts);
        let waker = state.writer.take();
        drop(state);
        self.0.wake(waker);
        drafts
    }
}

impl Drop for QueueReader {
    fn drop(&mut self) {
        self.abandon();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;
    use crate::tensor::Tensor;
    use crate::units::{TimeSpan, Timestamp};

    fn draft(number: i64) -> Draft {
        Draft::new(Timestamp::from_nanos(number), TimeSpan::ZERO, Tensor::scalar(number))
    }

    #[test]
    fn a_full_queue_gives_the_draft_back() {
        let (writer, reader) = queue(1);
        writer.try_write(draft(1)).unwrap();
        let Err(Refused::Full(back)) = writer.try_write(draft(2)) else { panic!("there was room") };
        assert_eq!(back.start.as_nanos(), 2);
        assert_eq!(reader.abandon().len(), 1);
        assert!(matches!(writer.try_write(draft(3)), Err(Refused::Abandoned)));
    }

    #[test]
    fn a_blocked_writer_goes_on_when_room_is_made_or_nobody_reads() {
        let (writer, reader) = queue(1);
        let thread = std::thread::spawn(move || {
            let mut written = 0;
            while writer.write(draft(written)).is_ok() {
                written += 1;
            }
            written
        });
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut read = 0;
        while read < 100 {
            read += runtime.block_on(poll_fn(|cx| reader.poll_read(cx))).unwrap().len();
        }
        std::thread::sleep(Duration::from_millis(5));
        read += reader.abandon().len();
        assert_eq!(thread.join().unwrap(), read as i64, "what was written was read");
    }

    #[tokio::test]
    async fn a_closed_queue_is_read_to_its_end() {
        let (writer, reader) = queue(2);
        writer.try_write(draft(1)).unwrap();
        drop(writer);
        assert_eq!(poll_fn(|cx| reader.poll_read(cx)).await.unwrap().len(), 1);
        assert!(poll_fn(|cx| reader.poll_read(cx)).await.is_none());
    }

    #[tokio::test]
    async fn room_wakes_a_waiting_task() {
        let (writer, reader) = queue(1);
        writer.try_write(draft(1)).unwrap();
        let task = tokio::spawn(async move {
            poll_fn(|cx| writer.poll_room(cx)).await;
            writer.try_write(draft(2)).unwrap();
        });
        tokio::task::yield_now().await;
        for expected in [1, 2] {
            let drafts = poll_fn(|cx| reader.poll_read(cx)).await.unwrap();
            assert_eq!(drafts[0].start.as_nanos(), expected);
        }
        task.await.unwrap();
    }
}
