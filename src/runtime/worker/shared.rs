//! What a stage keeps while generations of its worker come and go.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use rustc_hash::FxHashMap;

use super::Exit;
use super::lent::{Lent, LentStreams, position};
use crate::media::{Format, StreamId, StreamInfo};
use crate::pipeline::PlannedStage;
use crate::runtime::audience::Audience;
use crate::runtime::books::StageBook;
use crate::runtime::events::EventHub;
use crate::runtime::inbox::{Delivery, Inbox};
use crate::runtime::meters::StageMeters;
use crate::runtime::writer::Writer;
use crate::stage::{AnyState, Canceller, Placement};
use crate::units::{Clock, SystemClock, Timestamp};

/// What a stage's actor, its worker and the books share.
#[derive(Debug)]
pub(crate) struct StageShared {
    pub plan: PlannedStage,
    /// Its place in the plan.
    pub index: usize,
    pub pipeline: Arc<str>,
    /// For a sink: whom it tells which streams it takes.
    pub audience: Option<Arc<Audience>>,
    pub inbox: Arc<Inbox>,
    pub clock: Arc<dyn Clock>,
    pub watch: Arc<SystemClock>,
    pub hub: EventHub,
    pub meters: StageMeters,
    /// The links into it, in the inbox's order, for messages.
    pub link_names: Vec<String>,
    /// Whether somebody downstream needs watermarks.
    pub watermarks: bool,
    pub cancelled: AtomicBool,
    /// For a companion that failed too often: it is given up, and what comes to it is let go.
    pub retired: AtomicBool,
    /// When the call under way began, on the watch; 0 when none is.
    pub call_started: AtomicI64,
    /// The present generation, for a look without the lock.
    pub generation: AtomicU64,
    /// Asks the call under way to come back, for stages that can.
    pub canceller: Mutex<Option<Canceller>>,
    pub core: Mutex<Core>,
}

/// What a stage keeps from one generation of its worker to the next.
#[derive(Debug)]
pub(crate) struct Core {
    pub generation: u64,
    pub book: StageBook,
    pub writer: Writer,
    pub(super) streams: FxHashMap<StreamId, StreamEntry>,
    /// How many of them are held.
    pub(super) held: usize,
    /// Taken from the inbox but not processed by a generation that is gone.
    pub(super) pending: Vec<Delivery>,
    /// What the generation on a thread of its own is working on.
    pub(super) in_flight: Vec<Delivery>,
    pub(super) waker: Option<Waker>,
    pub(super) done: bool,
}

pub(super) struct StreamEntry {
    pub(super) info: Arc<StreamInfo>,
    pub(super) capture: usize,
    pub(super) inputs: Arc<[Format]>,
    /// `None` while it is lent out, or lost and to be made anew.
    pub(super) state: Option<AnyState>,
    /// The stage has given this stream up.
    pub(super) failed: bool,
    /// What came of it waits downstream.
    pub(super) held: bool,
}

impl std::fmt::Debug for StreamEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamEntry")
            .field("name", &self.info.name)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl StageShared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Core> {
        // No stage code runs under this lock, so a poisoned core is whole.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The core, unless `generation` is no longer the present one.
    pub(super) fn present(&self, generation: u64) -> Result<MutexGuard<'_, Core>, Exit> {
        if self.cancelled.load(Ordering::Acquire) {
            return Err(Exit::Cancelled);
        }
        let core = self.lock();
        if core.generation == generation { Ok(core) } else { Err(Exit::Superseded) }
    }

    /// Stops the stage at once: what waits in it is counted as cancelled.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        let mut core = self.lock();
        self.next_generation(&mut core);
        core.cancel();
        let waker = core.waker.take();
        drop(core);
        self.inbox.cancel();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Gives the stage up, which must not run now: its next generation takes what comes and does nothing.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        // The states are of the stage that is gone; its successor makes its own.
        self.lock().streams.values_mut().for_each(|entry| entry.state = None);
    }

    /// Says, where it is a sink, that it takes nothing more of a stream.
    pub(super) fn leaves(&self, stream: StreamId) {
        if let Some(audience) = &self.audience {
            audience.leave(stream, self.index);
        }
    }

    /// Asks the call under way to come back.
    pub(crate) fn cancel_call(&self) {
        let canceller = self.canceller.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(canceller) = canceller {
            canceller.cancel();
        }
    }

    /// Takes the stage away from a worker that does not come back from its call. What it was working on is lost.
    pub(crate) fn abandon(&self) -> u64 {
        let mut core = self.lock();
        let generation = self.next_generation(&mut core);
        core.book.abandoned += 1;
        self.call_started.store(0, Ordering::Release);
        let in_flight = std::mem::take(&mut core.in_flight);
        let (packets, rest): (Vec<_>, Vec<_>) =
            in_flight.into_iter().partition(|delivery| matches!(delivery, Delivery::Packet(_)));
        core.book.lost += packets.len() as u64;
        for delivery in &rest {
            // Its end may have been in that call: what was left of it is gone.
            if let Delivery::Close { stream, .. } = delivery
                && let Some(entry) = core.streams.get(stream)
            {
                self.hub.stream_failed(
                    &self.plan.id,
                    &entry.info,
                    "what was left of it is lost in a call that did not come back",
                );
            }
        }
        core.pending.splice(0..0, rest);
        generation
    }

    /// Begins the next generation.
    pub(crate) fn next_generation(&self, core: &mut Core) -> u64 {
        core.generation += 1;
        self.generation.store(core.generation, Ordering::Release);
        core.generation
    }
}

impl Core {
    pub(crate) fn new(book: StageBook, writer: Writer) -> Self {
        Core {
            generation: 0,
            book,
            writer,
            streams: FxHashMap::default(),
            held: 0,
            pending: Vec::new(),
            in_flight: Vec::new(),
            waker: None,
            done: false,
        }
    }

    pub(super) fn cancel(&mut self) {
        let is_packet = |delivery: &Delivery| matches!(delivery, Delivery::Packet(_));
        let pending = self.pending.drain(..).filter(is_packet).count() as u64;
        let in_flight = self.in_flight.drain(..).filter(is_packet).count() as u64;
        // What is pending was taken off the count of what entered, to enter again.
        self.book.entered += pending;
        self.book.cancelled += pending + in_flight;
        self.writer.cancel();
        self.streams.clear();
        self.held = 0;
        self.done = true;
    }

    /// Streams that are open in this stage.
    pub(crate) fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// Lends out the states of the streams that `deliveries` touch, and enters their packets. Gives how many these are.
    pub(super) fn lend(&mut self, placement: Placement, deliveries: &[Delivery], lent: &mut LentStreams) -> u64 {
        let mut packets = 0;
        let mut last = None;
        for delivery in deliveries {
            packets += u64::from(matches!(delivery, Delivery::Packet(_)));
            let stream = delivery.stream();
            if last.replace(stream) != Some(stream)
                && position(lent, stream).is_none()
                && let Some(entry) = self.streams.get_mut(&stream)
            {
                lent.push((stream, entry.lend()));
            }
        }
        self.book.entered += packets;
        if placement == Placement::Thread {
            self.in_flight.clear();
            self.in_flight.extend_from_slice(deliveries);
        }
        packets
    }

    /// Lends out the writing ends to a round on the pool. A round on a thread may never come back with them.
    pub(super) fn lend_writer(&mut self, placement: Placement) -> Option<Writer> {
        let lends = placement == Placement::Inline;
        lends.then(|| std::mem::replace(&mut self.writer, Writer::new(Vec::new())))
    }

    /// Lets the inbox hand out again the streams of which nothing waits any more.
    pub(super) fn release_held(&mut self, inbox: &Inbox, empty: bool) {
        if self.held == 0 {
            return;
        }
        let Core { streams, writer, held, .. } = self;
        for (stream, entry) in streams.iter_mut().filter(|(_, entry)| entry.held) {
            if empty || !writer.waits(*stream) {
                entry.held = false;
                *held -= 1;
                inbox.hold(*stream, false);
            }
        }
    }

    /// Keeps the inbox from handing out streams of which something waits.
    pub(super) fn hold_waiting(&mut self, inbox: &Inbox) {
        for stream in self.writer.waiting_streams() {
            if let Some(entry) = self.streams.get_mut(&stream) {
                self.held += usize::from(!entry.held);
                entry.held = true;
                inbox.hold(stream, true);
            }
        }
    }

    pub(super) fn take_back(&mut self, stream: StreamId, lent: Lent) {
        let Lent { info, capture, inputs, state, failed, .. } = lent;
        match self.streams.get_mut(&stream) {
            Some(entry) => *entry = StreamEntry { info, capture, inputs, state, failed, held: entry.held },
            None => {
                self.streams.insert(stream, StreamEntry { info, capture, inputs, state, failed, held: false });
            }
        }
    }
}

impl StreamEntry {
    pub(super) fn lend(&mut self) -> Lent {
        Lent {
            info: self.info.clone(),
            capture: self.capture,
            inputs: self.inputs.clone(),
            state: self.state.take(),
            failed: self.failed,
            closed: false,
            reached: Timestamp::MIN,
        }
    }
}
