//! The loop of one stage: takes deliveries, calls the stage, writes what came of them.
//!
//! A round has three steps. Under the core's lock it takes deliveries and lends out the states of their streams; without
//! the lock it calls the stage; under the lock it gives the states back and writes the results. A thread that does not
//! come back from a call therefore holds only what it was lent: the next generation of the worker goes on with the rest,
//! and when the lost thread does come back its generation is stale and nothing of it is used.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use rustc_hash::FxHashMap;

use super::audience::Audience;
use super::books::StageBook;
use super::events::EventHub;
use super::inbox::{Delivery, Inbox};
use super::meters::StageMeters;
use super::writer::{Writer, Written};
use crate::media::{Format, Origin, StreamId, StreamInfo};
use crate::pipeline::PlannedStage;
use crate::stage::{
    AnyState, Canceller, Emitted, Event, EventKind, Input, Item, Opened, Output, Placement, Role, Runnable, StageError,
    StageObject,
};
use crate::units::{Clock, SystemClock, TimeSpan, Timestamp};

/// Deliveries a stage on the pool takes in one round, and of one stream at a time.
const INLINE_ROUND: (usize, usize) = (128, 32);
/// Rounds after which a stage on the pool lets others run.
const ROUNDS_BEFORE_YIELD: u32 = 16;

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Every link is finished and empty.
    Finished,
    /// The pipeline was stopped.
    Cancelled,
    /// A newer generation has taken over.
    Superseded,
    /// The stage failed: a panic, a fatal error, or a build that did not succeed.
    Crashed(String),
}

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
    streams: FxHashMap<StreamId, StreamEntry>,
    /// How many of them are held.
    held: usize,
    /// Taken from the inbox but not processed by a generation that is gone.
    pending: Vec<Delivery>,
    /// What the generation on a thread of its own is working on.
    in_flight: Vec<Delivery>,
    waker: Option<Waker>,
    done: bool,
}

struct StreamEntry {
    info: Arc<StreamInfo>,
    capture: usize,
    inputs: Arc<[Format]>,
    /// `None` while it is lent out, or lost and to be made anew.
    state: Option<AnyState>,
    /// The stage has given this stream up.
    failed: bool,
    /// What came of it waits downstream.
    held: bool,
}

impl std::fmt::Debug for StreamEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamEntry")
            .field("name", &self.info.name)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

/// A stream as lent out for one round.
struct Lent {
    info: Arc<StreamInfo>,
    capture: usize,
    inputs: Arc<[Format]>,
    state: Option<AnyState>,
    failed: bool,
    closed: bool,
    /// The newest input's start: no later input starts before it.
    reached: Timestamp,
}

/// What a round has to tell, once it counts.
enum Notice {
    /// The stream goes on no further. Without a reason where another stage has told it.
    Failed {
        info: Arc<StreamInfo>,
        why: Option<String>,
    },
    /// It came to its end, but not whole.
    Broken {
        info: Arc<StreamInfo>,
        why: String,
    },
    Skipped {
        info: Arc<StreamInfo>,
        at: Timestamp,
        why: String,
    },
}

/// What a round has to write, in order.
enum Outcome {
    Open {
        info: Arc<StreamInfo>,
        capture: usize,
        formats: Vec<Format>,
    },
    /// The next `count` of what the round emitted.
    Packets {
        stream: StreamId,
        origin: Option<Origin>,
        count: usize,
    },
    Watermark {
        stream: StreamId,
        at: Timestamp,
    },
    Close {
        stream: StreamId,
        capture: usize,
        failed: bool,
    },
}

/// What is still needed of a packet after the stage has taken it.
#[derive(Clone, Copy)]
struct Place {
    origin: Origin,
    start: Timestamp,
    end: Timestamp,
    partial: bool,
}

impl Place {
    fn of(input: &Input) -> Self {
        let packet = &input.packet;
        Place { origin: packet.origin, start: packet.start, end: packet.end(), partial: packet.flags.partial }
    }
}

impl Outcome {
    /// Writes it. `emitted` stands before what it takes of it.
    fn write(self, shared: &StageShared, writer: &mut Writer, emitted: &mut impl Iterator<Item = Emitted>) -> Written {
        match self {
            Outcome::Open { info, capture, formats } => {
                if let Some(audience) = &shared.audience {
                    audience.join(info.id, shared.index);
                }
                writer.open(&info, capture, &formats);
            }
            Outcome::Packets { stream, origin, count } => {
                return writer.write(stream, origin, emitted.take(count), count);
            }
            Outcome::Watermark { stream, at } => writer.watermark(stream, at),
            Outcome::Close { stream, capture, failed } => {
                shared.leaves(stream);
                writer.close(stream, capture, failed);
            }
        }
        Written::default()
    }
}

enum Wake {
    Work,
    Tick,
    Exit(Exit),
}

impl StageShared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Core> {
        // No stage code runs under this lock, so a poisoned core is whole.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The core, unless `generation` is no longer the present one.
    fn present(&self, generation: u64) -> Result<MutexGuard<'_, Core>, Exit> {
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

    /// Says, where it is a sink, that it takes nothing more of a stream.
    fn leaves(&self, stream: StreamId) {
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

    fn cancel(&mut self) {
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
}

/// Runs one generation of a stage's worker to its end.
pub(crate) async fn run(shared: Arc<StageShared>, generation: u64) -> Exit {
    let built = catch_unwind(AssertUnwindSafe(|| shared.plan.blueprint.build()));
    let mut stage = match built {
        Ok(Ok(Runnable::Stage(stage))) => stage,
        Ok(Ok(Runnable::Capture(_))) => return Exit::Crashed("a capture stands where a stage was planned".into()),
        Ok(Err(error)) => return Exit::Crashed(format!("it could not be built: {}", chain(&error))),
        Err(panic) => return Exit::Crashed(format!("it panicked while it was built: {}", panic_text(&*panic))),
    };
    *shared.canceller.lock().unwrap_or_else(PoisonError::into_inner) = stage.canceller();
    shared.inbox.cancels_with(stage.canceller());
    let mut worker = Worker {
        generation,
        deliveries: Vec::new(),
        lent: Vec::new(),
        out: Output::new(),
        results: Vec::new(),
        writer: None,
        written: Written::default(),
        events: Vec::new(),
        notices: Vec::new(),
        taken: 0,
        tally: StageBook::default(),
        tick: None,
        shared,
    };
    if let Err(exit) = worker.adopt(&mut stage) {
        return exit;
    }
    let mut rounds = 0u32;
    loop {
        match worker.wait().await {
            Wake::Exit(exit) => return exit,
            Wake::Work => {
                if let Err(exit) = worker.round(&mut stage).await {
                    return exit;
                }
            }
            Wake::Tick => {
                if let Err(exit) = worker.tick_streams(&mut stage) {
                    return exit;
                }
            }
        }
        rounds += 1;
        if rounds.is_multiple_of(ROUNDS_BEFORE_YIELD) && worker.shared.plan.contract.placement == Placement::Inline {
            tokio::task::yield_now().await;
        }
    }
}

struct Worker {
    shared: Arc<StageShared>,
    generation: u64,
    /// What this round deals with, and the states lent out for it.
    deliveries: Vec<Delivery>,
    lent: LentStreams,
    /// On the pool, the writing ends, lent out for this round: results are written as they come.
    writer: Option<Writer>,
    /// What was written so in this round.
    written: Written,
    /// On a thread of its own, which may be abandoned: what this round's calls emitted, in the order of `results`, to be
    /// written when the round is committed.
    out: Output,
    results: Vec<Outcome>,
    events: Vec<(Arc<StreamInfo>, Event)>,
    /// Streams given up in this round, and packets skipped: told when it is committed.
    notices: Vec<Notice>,
    /// Packets that this round took.
    taken: u64,
    /// Counts of this round, added to the book when it is committed.
    tally: StageBook,
    tick: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

/// The lent streams of a round; few, so searched in order.
type LentStreams = Vec<(StreamId, Lent)>;

impl Worker {
    /// Makes anew the states that a former generation lost.
    fn adopt(&mut self, stage: &mut StageObject) -> Result<(), Exit> {
        let shared = self.shared.clone();
        let lost: Vec<_> = {
            let mut core = shared.present(self.generation)?;
            let lost = |(stream, entry): (&StreamId, &mut StreamEntry)| {
                (entry.state.is_none() && !entry.failed).then(|| (*stream, entry.info.clone(), entry.inputs.clone()))
            };
            core.streams.iter_mut().filter_map(lost).collect()
        };
        for (stream, info, inputs) in lost {
            let opened = call(&shared, self.generation, || stage.open(&info, &inputs));
            let mut core = shared.present(self.generation)?;
            let (failure, crash) = match opened {
                Ok(Ok(opened)) => {
                    if let Some(entry) = core.streams.get_mut(&stream) {
                        entry.state = Some(opened.state);
                    }
                    continue;
                }
                Ok(Err(error)) => (chain(&error), None),
                Err(panic) => (panic.clone(), Some(panic)),
            };
            if let Some(entry) = core.streams.get_mut(&stream) {
                entry.failed = true;
                let capture = entry.capture;
                core.writer.close(stream, capture, true);
            }
            drop(core);
            self.shared.leaves(stream);
            self.shared.inbox.fail(stream);
            self.shared.hub.stream_failed(&self.shared.plan.id, &info, &failure);
            if let Some(panic) = crash {
                return Err(Exit::Crashed(panic));
            }
        }
        Ok(())
    }

    /// Waits until there is something to do, handing over meanwhile what waits for room downstream.
    async fn wait(&mut self) -> Wake {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        if self.shared.plan.contract.tick.is_some() {
            // Before the packets: a stage that is never idle hears the clock too.
            if let Poll::Ready(wake) = self.poll_tick(cx) {
                return Poll::Ready(wake);
            }
        }
        let Worker { shared, generation, deliveries, lent, writer, taken, .. } = self;
        let mut core = match shared.present(*generation) {
            Ok(core) => core,
            Err(exit) => return Poll::Ready(Wake::Exit(exit)),
        };
        if !core.waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            core.waker = Some(cx.waker().clone());
        }
        let empty = core.writer.flush(Some(cx.waker()));
        core.release_held(&shared.inbox, empty);
        let mut finished = false;
        let contract = &shared.plan.contract;
        let work = if core.pending.is_empty() {
            let (most, quantum) = match contract.placement {
                Placement::Inline => INLINE_ROUND,
                Placement::Thread => (contract.batch.max.max(1), 1),
            };
            match shared.inbox.poll_take(cx, most, quantum, deliveries) {
                Poll::Ready(true) => true,
                Poll::Ready(false) => {
                    finished = true;
                    false
                }
                Poll::Pending => false,
            }
        } else {
            deliveries.append(&mut core.pending);
            true
        };
        if work {
            // A batch may have to wait for more.
            if contract.batch.max <= 1 {
                *taken = core.lend(contract.placement, deliveries, lent);
                *writer = core.lend_writer(contract.placement);
            }
            return Poll::Ready(Wake::Work);
        }
        if finished && empty {
            core.writer.finish();
            core.done = true;
            return Poll::Ready(Wake::Exit(Exit::Finished));
        }
        Poll::Pending
    }

    fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        let Some(every) = self.shared.plan.contract.tick else { return Poll::Pending };
        let clock = self.shared.clock.clone();
        let tick = self.tick.get_or_insert_with(|| {
            let next = clock.now().after(every);
            Box::pin(async move { clock.sleep_until(next).await })
        });
        match tick.as_mut().poll(cx) {
            Poll::Ready(()) => {
                self.tick = None;
                Poll::Ready(Wake::Tick)
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// Waits a little for more streams to join a half-full batch.
    async fn fill_batch(&mut self) {
        let batch = self.shared.plan.contract.batch;
        let open = self.shared.lock().open_streams();
        let wanted = batch.max.min(open);
        if batch.wait <= TimeSpan::ZERO || self.shared.clock.is_virtual() || self.deliveries.len() >= wanted {
            return;
        }
        let clock = self.shared.clock.clone();
        let mut deadline = Box::pin(async move { clock.sleep_until(clock.now().after(batch.wait)).await });
        poll_fn(|cx| {
            loop {
                let before = self.deliveries.len();
                let ready = self.shared.inbox.poll_take(cx, wanted, 1, &mut self.deliveries).is_ready();
                if self.deliveries.len() >= wanted || (ready && self.deliveries.len() == before) {
                    return Poll::Ready(());
                }
                if !ready {
                    return deadline.as_mut().poll(cx);
                }
            }
        })
        .await;
    }

    async fn round(&mut self, stage: &mut StageObject) -> Result<(), Exit> {
        if self.shared.plan.contract.batch.max > 1 {
            self.fill_batch().await;
            self.lend()?;
        }
        let started = self.shared.watch.now();
        let mut lent = std::mem::take(&mut self.lent);
        let mut deliveries = std::mem::take(&mut self.deliveries);
        let mut rest = deliveries.drain(..);
        let mut unprocessed = Vec::new();
        let mut crash = None;
        if self.shared.plan.contract.batch.max > 1 {
            let mut group: Vec<Input> = Vec::new();
            let max = self.shared.plan.contract.batch.max;
            while crash.is_none() {
                let next = rest.next();
                let stream = next.as_ref().map(Delivery::stream);
                let joins = matches!(next, Some(Delivery::Packet(_)))
                    && group.len() < max
                    && group.iter().all(|input| Some(input.packet.stream) != stream);
                if !joins && !group.is_empty() {
                    crash = self.process_group(stage, &mut lent, std::mem::take(&mut group)).err();
                }
                match next {
                    None => break,
                    Some(delivery) if crash.is_some() => {
                        unprocessed.push(delivery);
                        break;
                    }
                    Some(Delivery::Packet(input)) => group.push(input),
                    Some(delivery) => crash = self.handle(stage, &mut lent, delivery).err(),
                }
            }
        } else {
            while crash.is_none()
                && let Some(delivery) = rest.next()
            {
                crash = self.handle(stage, &mut lent, delivery).err();
            }
        }
        unprocessed.extend(rest);
        self.deliveries = deliveries;
        let busy = self.shared.watch.now().since(started);
        self.commit(lent, unprocessed, busy)?;
        crash.map_or(Ok(()), |message| Err(Exit::Crashed(message)))
    }

    /// Lends out the states of the streams that this round touches.
    fn lend(&mut self) -> Result<(), Exit> {
        let Worker { shared, generation, deliveries, lent, writer, taken, .. } = self;
        let mut core = match shared.present(*generation) {
            Ok(core) => core,
            Err(exit) => {
                // Taken from the inbox after a cancel: the book must still know of them.
                let packets = deliveries.drain(..).filter(|delivery| matches!(delivery, Delivery::Packet(_))).count();
                let mut core = shared.lock();
                core.book.entered += packets as u64;
                core.book.cancelled += packets as u64;
                return Err(exit);
            }
        };
        *taken = core.lend(shared.plan.contract.placement, deliveries, lent);
        *writer = core.lend_writer(shared.plan.contract.placement);
        Ok(())
    }

    /// Gives the states back and writes the results. `unprocessed` is left for the next generation.
    fn commit(&mut self, mut lent: LentStreams, unprocessed: Vec<Delivery>, busy: TimeSpan) -> Result<(), Exit> {
        self.tally.busy_ns += busy.as_nanos().max(0) as u64;
        let shared = &*self.shared;
        let mut core = match shared.present(self.generation) {
            Ok(core) => core,
            Err(exit) => {
                // What a thread was working on has been accounted for by whoever took the stage away.
                if shared.plan.contract.placement == Placement::Inline {
                    shared.lock().book.cancelled += self.taken;
                }
                if let Some(mut writer) = self.writer.take() {
                    writer.cancel();
                }
                self.written = Written::default();
                self.results.clear();
                self.out.drain_sealed();
                self.events.clear();
                self.notices.clear();
                self.tally = StageBook::default();
                return Err(exit);
            }
        };
        core.in_flight.clear();
        let unprocessed_packets = unprocessed.iter().filter(|delivery| matches!(delivery, Delivery::Packet(_))).count();
        // They enter again with the next generation.
        core.book.entered -= unprocessed_packets as u64;
        core.pending.extend(unprocessed);
        for (stream, lent) in lent.drain(..) {
            if lent.closed {
                let held = core.streams.remove(&stream).is_some_and(|entry| entry.held);
                core.held -= usize::from(held);
            } else {
                core.take_back(stream, lent);
            }
        }
        self.lent = lent;
        if let Some(writer) = self.writer.take() {
            core.writer = writer;
        }
        let mut written = std::mem::take(&mut self.written);
        let mut emitted = self.out.drain_sealed();
        for result in self.results.drain(..) {
            written.add(result.write(shared, &mut core.writer, &mut emitted));
        }
        drop(emitted);
        self.tally.written += written.packets;
        self.tally.refused += written.refused;
        core.book.add(&self.tally);
        shared.meters.round(&self.tally);
        self.tally = StageBook::default();
        let Core { writer, waker, .. } = &mut *core;
        if !writer.flush(waker.as_ref()) {
            core.hold_waiting(&shared.inbox);
        }
        drop(core);
        for notice in self.notices.drain(..) {
            match notice {
                Notice::Failed { info, why } => {
                    shared.inbox.fail(info.id);
                    if let Some(why) = why {
                        shared.hub.stream_failed(&shared.plan.id, &info, &why);
                    }
                }
                Notice::Broken { info, why } => shared.hub.stream_failed(&shared.plan.id, &info, &why),
                Notice::Skipped { info, at, why } => shared.hub.skipped(&shared.plan.id, &info, at, &why),
            }
        }
        for (info, event) in self.events.drain(..) {
            shared.hub.event(&shared.plan.id, &info, event);
        }
        if written.refused > 0 {
            shared.hub.refused(&shared.plan.id, written.refused);
        }
        Ok(())
    }

    /// Deals with one delivery. An error is the stage's crash.
    fn handle(&mut self, stage: &mut StageObject, lent: &mut LentStreams, delivery: Delivery) -> Result<(), String> {
        match delivery {
            Delivery::Packet(input) => {
                let Some(at) = position(lent, input.packet.stream) else {
                    self.tally.skipped += 1;
                    return Ok(());
                };
                self.process(stage, &mut lent[at].1, input)
            }
            Delivery::Watermark { stream, at } => {
                if let Some(place) = position(lent, stream) {
                    let lent = &mut lent[place].1;
                    lent.reached = lent.reached.max(at);
                    self.promise(stage, lent, at);
                }
                Ok(())
            }
            Delivery::Open { info, capture, formats, broken } => self.open(stage, lent, info, capture, formats, broken),
            Delivery::Close { stream, capture, failed } => {
                let Some(at) = position(lent, stream) else {
                    // It ended before it could open here; who reads on must know.
                    self.put(Outcome::Close { stream, capture, failed });
                    return Ok(());
                };
                let lent = &mut lent[at].1;
                lent.closed = true;
                if lent.failed {
                    return Ok(());
                }
                let flushed = self.flush(stage, lent);
                let failed = failed || !matches!(flushed, Ok(true));
                self.put(Outcome::Close { stream, capture: lent.capture, failed });
                flushed.map(|_| ())
            }
            Delivery::Starved { stream, full, starving } => {
                if let Some(at) = position(lent, stream) {
                    let name = |link: usize| self.shared.link_names.get(link).map_or("?", String::as_str);
                    let text = format!(
                        "link {} is at its byte bound while nothing comes on link {}; a stage between them holds back \
                         too long, or one of the two branches drops what the other waits for: raise `queue_bytes` or \
                         mend the branch",
                        name(full),
                        name(starving)
                    );
                    self.give_up(&mut lent[at].1, &text);
                }
                Ok(())
            }
        }
    }

    fn open(
        &mut self,
        stage: &mut StageObject,
        lent: &mut LentStreams,
        info: Arc<StreamInfo>,
        capture: usize,
        formats: Vec<Format>,
        broken: bool,
    ) -> Result<(), String> {
        let place = match position(lent, info.id) {
            Some(at) => {
                // The same stream in another format: what is left of the old one comes out first.
                if !lent[at].1.failed {
                    let _whole = self.flush(stage, &mut lent[at].1)?;
                }
                at
            }
            None => {
                lent.push((info.id, Lent::new(info.clone(), capture)));
                lent.len() - 1
            }
        };
        let lent = &mut lent[place].1;
        // A copy of its own: counting the holders of one that all stages share would pass it from core to core.
        lent.info = Arc::new(StreamInfo::clone(&info));
        lent.inputs = formats.into();
        lent.failed = false;
        lent.reached = Timestamp::MIN;
        lent.state = None;
        if broken {
            self.close_failed(lent, None);
            return Ok(());
        }
        match self.open_state(stage, lent)? {
            Some(outputs) => self.put(Outcome::Open { info, capture, formats: outputs }),
            None => debug_assert!(lent.failed),
        }
        Ok(())
    }

    /// Makes a stream's state. A stage that cannot open a stream gives it up; one that panics over it is rebuilt besides.
    fn open_state(&mut self, stage: &mut StageObject, lent: &mut Lent) -> Result<Option<Vec<Format>>, String> {
        let (info, inputs) = (lent.info.clone(), lent.inputs.clone());
        match call(&self.shared, self.generation, || stage.open(&info, &inputs)) {
            Ok(Ok(Opened { state, outputs })) => {
                lent.state = Some(state);
                Ok(Some(outputs))
            }
            Ok(Err(StageError::Fatal(error))) => {
                let text = chain(&*error);
                self.give_up(lent, &text);
                Err(text)
            }
            Ok(Err(error)) => {
                self.give_up(lent, &chain(&error));
                Ok(None)
            }
            Err(panic) => {
                self.give_up(lent, &panic);
                Err(panic)
            }
        }
    }

    fn process(&mut self, stage: &mut StageObject, lent: &mut Lent, input: Input) -> Result<(), String> {
        let Some(mut state) = lent.state.take().filter(|_| !lent.failed) else {
            self.tally.skipped += 1;
            return Ok(());
        };
        let place = Place::of(&input);
        let out = &mut self.out;
        let result = call(&self.shared, self.generation, || stage.process(&mut state, input, out));
        self.tally.calls += 1;
        self.collect(lent, Some(place.origin));
        match result {
            Ok(result) => {
                lent.state = Some(state);
                self.settle(stage, lent, place, result)
            }
            Err(panic) => {
                self.tally.lost += 1;
                Err(panic)
            }
        }
    }

    /// One call for packets of several streams.
    fn process_group(
        &mut self,
        stage: &mut StageObject,
        lent: &mut LentStreams,
        group: Vec<Input>,
    ) -> Result<(), String> {
        let mut places: Vec<(usize, Place, AnyState, Output)> = Vec::with_capacity(group.len());
        let mut inputs: Vec<Input> = Vec::with_capacity(group.len());
        for input in group {
            let usable = position(lent, input.packet.stream).filter(|&at| !lent[at].1.failed);
            match usable.and_then(|at| Some((at, lent[at].1.state.take()?))) {
                Some((at, state)) => {
                    places.push((at, Place::of(&input), state, Output::new()));
                    inputs.push(input);
                }
                None => self.tally.skipped += 1,
            }
        }
        if places.is_empty() {
            return Ok(());
        }
        let mut items: Vec<Item<'_, AnyState>> = places
            .iter_mut()
            .zip(inputs)
            .map(|((_, _, state, out), input)| Item { state, input, out, result: Ok(()) })
            .collect();
        let called = call(&self.shared, self.generation, || stage.process_batch(&mut items));
        self.tally.calls += 1;
        let results: Vec<_> = items.into_iter().map(|item| item.result).collect();
        if let Err(panic) = called {
            self.tally.lost += places.len() as u64;
            return Err(panic);
        }
        let mut crash = Ok(());
        for ((at, place, state, mut out), result) in places.into_iter().zip(results) {
            let lent = &mut lent[at].1;
            self.out.append_emitted(&mut out);
            self.events.extend(out.drain_events().map(|event| (lent.info.clone(), event)));
            self.collect(lent, Some(place.origin));
            lent.state = Some(state);
            crash = crash.and(self.settle(stage, lent, place, result));
        }
        crash
    }

    /// What follows from a call's result: counts, resets, gives up, or crashes.
    fn settle(
        &mut self,
        stage: &mut StageObject,
        lent: &mut Lent,
        place: Place,
        result: Result<(), StageError>,
    ) -> Result<(), String> {
        match result {
            Ok(()) => {
                self.tally.done += 1;
                if self.shared.plan.role == Role::Sink && lent.info.live && !place.partial {
                    let now = self.shared.clock.now();
                    self.shared.meters.latency(now.since(lent.info.clock_at(place.end)));
                }
            }
            Err(error) => {
                let text = chain(&error);
                match error {
                    // It came back because it was asked to.
                    StageError::Skip(_) if place.partial && self.shared.inbox.gave_up() => self.tally.late += 1,
                    StageError::Skip(_) => {
                        self.tally.skipped += 1;
                        self.skip(lent, place.start, text);
                    }
                    StageError::ResetStream(_) => {
                        self.tally.skipped += 1;
                        self.skip(lent, place.start, text);
                        lent.state = None;
                        self.open_state(stage, lent)?;
                    }
                    StageError::EndStream(_) => {
                        self.tally.skipped += 1;
                        self.give_up(lent, &text);
                    }
                    StageError::Fatal(_) => {
                        self.tally.lost += 1;
                        return Err(text);
                    }
                }
            }
        }
        lent.reached = lent.reached.max(place.start);
        self.promise(stage, lent, place.start);
        Ok(())
    }

    /// Passes a watermark on, as far as the stage does not hold it back.
    fn promise(&mut self, stage: &StageObject, lent: &Lent, reached: Timestamp) {
        if !self.shared.watermarks || lent.failed {
            return;
        }
        let Some(state) = &lent.state else { return };
        let at = match stage.hold_back(state) {
            Some(hold) => hold.min(reached),
            None => reached,
        };
        self.put(Outcome::Watermark { stream: lent.info.id, at });
    }

    /// Flushes a stream's state; whether all of it came out.
    fn flush(&mut self, stage: &mut StageObject, lent: &mut Lent) -> Result<bool, String> {
        let Some(mut state) = lent.state.take() else { return Ok(true) };
        let out = &mut self.out;
        let result = call(&self.shared, self.generation, || stage.flush(&mut state, out));
        self.collect(lent, None);
        let (why, flushed) = match result {
            Ok(Ok(())) => return Ok(true),
            Ok(Err(StageError::Fatal(error))) => (chain(&*error), Err(chain(&*error))),
            Ok(Err(error)) => (chain(&error), Ok(false)),
            Err(panic) => (panic.clone(), Err(panic)),
        };
        let why = format!("what was left of it at its end is lost: {why}");
        self.notices.push(Notice::Broken { info: lent.info.clone(), why });
        flushed
    }

    fn tick_streams(&mut self, stage: &mut StageObject) -> Result<(), Exit> {
        let shared = self.shared.clone();
        let mut lent: LentStreams = {
            let mut core = shared.present(self.generation)?;
            self.writer = core.lend_writer(shared.plan.contract.placement);
            let ticking =
                |entry: &StreamEntry| entry.info.live && !entry.failed && !entry.held && entry.state.is_some();
            core.streams.iter_mut().filter(|(_, entry)| ticking(entry)).map(|(id, entry)| (*id, entry.lend())).collect()
        };
        let started = shared.watch.now();
        let now = shared.clock.now();
        let mut crash = None;
        for (_, lent) in &mut lent {
            let Some(mut state) = lent.state.take() else { continue };
            let time = lent.info.time_at(now);
            let out = &mut self.out;
            let result = call(&shared, self.generation, || stage.tick(&mut state, time, out));
            self.collect(lent, None);
            match result {
                Ok(Ok(())) => lent.state = Some(state),
                Ok(Err(StageError::Fatal(error))) => crash = Some(chain(&*error)),
                Ok(Err(StageError::EndStream(error))) => self.give_up(lent, &chain(&*error)),
                Ok(Err(StageError::ResetStream(_))) => crash = self.open_state(stage, lent).err(),
                Ok(Err(error)) => {
                    lent.state = Some(state);
                    let message = format!("tick: {}", chain(&error));
                    self.events.push((lent.info.clone(), Event { kind: EventKind::Notice, message }));
                }
                Err(panic) => crash = Some(panic),
            }
            if crash.is_some() {
                break;
            }
        }
        let busy = shared.watch.now().since(started);
        self.commit(lent, Vec::new(), busy)?;
        crash.map_or(Ok(()), |message| Err(Exit::Crashed(message)))
    }

    /// Writes what is no packet, or puts it among the round's results.
    fn put(&mut self, outcome: Outcome) {
        match &mut self.writer {
            Some(writer) => self.written.add(outcome.write(&self.shared, writer, &mut std::iter::empty())),
            None => self.results.push(outcome),
        }
    }

    /// Writes what a call emitted, or puts it among the round's results.
    fn collect(&mut self, lent: &Lent, origin: Option<Origin>) {
        let (stream, count) = (lent.info.id, self.out.emitted().len());
        match &mut self.writer {
            _ if count == 0 => {}
            Some(writer) => self.written.add(writer.write(stream, origin, self.out.drain_emitted(), count)),
            None => {
                self.out.seal();
                self.results.push(Outcome::Packets { stream, origin, count });
            }
        }
        self.events.extend(self.out.drain_events().map(|event| (lent.info.clone(), event)));
    }

    /// Ends a stream that cannot go on, and says so.
    fn give_up(&mut self, lent: &mut Lent, why: &str) {
        self.close_failed(lent, Some(why.to_owned()));
    }

    /// Says of a packet that it was skipped.
    fn skip(&mut self, lent: &Lent, at: Timestamp, why: String) {
        self.notices.push(Notice::Skipped { info: lent.info.clone(), at, why });
    }

    fn close_failed(&mut self, lent: &mut Lent, why: Option<String>) {
        lent.failed = true;
        lent.state = None;
        self.notices.push(Notice::Failed { info: lent.info.clone(), why });
        self.put(Outcome::Close { stream: lent.info.id, capture: lent.capture, failed: true });
    }
}

/// Calls into the stage; a panic comes back as its text.
fn call<T>(shared: &StageShared, generation: u64, call: impl FnOnce() -> T) -> Result<T, String> {
    if shared.plan.contract.placement == Placement::Inline {
        return catch_unwind(AssertUnwindSafe(call)).map_err(|panic| format!("panicked: {}", panic_text(&*panic)));
    }
    let started = shared.watch.now().as_nanos().max(1);
    shared.call_started.store(started, Ordering::Release);
    let result = catch_unwind(AssertUnwindSafe(call));
    // Only its own mark: an abandoned thread that comes back must not take away its successor's.
    let _ = shared.call_started.compare_exchange(started, 0, Ordering::AcqRel, Ordering::Acquire);
    if shared.generation.load(Ordering::Acquire) != generation {
        return Err("it came back after it was abandoned".to_owned());
    }
    result.map_err(|panic| format!("panicked: {}", panic_text(&*panic)))
}

impl Core {
    /// Lends out the states of the streams that `deliveries` touch, and enters their packets. Gives how many these are.
    fn lend(&mut self, placement: Placement, deliveries: &[Delivery], lent: &mut LentStreams) -> u64 {
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
    fn lend_writer(&mut self, placement: Placement) -> Option<Writer> {
        let lends = placement == Placement::Inline;
        lends.then(|| std::mem::replace(&mut self.writer, Writer::new(Vec::new())))
    }

    /// Lets the inbox hand out again the streams of which nothing waits any more.
    fn release_held(&mut self, inbox: &Inbox, empty: bool) {
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
    fn hold_waiting(&mut self, inbox: &Inbox) {
        for stream in self.writer.waiting_streams() {
            if let Some(entry) = self.streams.get_mut(&stream) {
                self.held += usize::from(!entry.held);
                entry.held = true;
                inbox.hold(stream, true);
            }
        }
    }

    fn take_back(&mut self, stream: StreamId, lent: Lent) {
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
    fn lend(&mut self) -> Lent {
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

impl Lent {
    fn new(info: Arc<StreamInfo>, capture: usize) -> Self {
        Lent {
            info,
            capture,
            inputs: Arc::default(),
            state: None,
            failed: false,
            closed: false,
            reached: Timestamp::MIN,
        }
    }
}

impl Delivery {
    fn stream(&self) -> StreamId {
        match self {
            Delivery::Open { info, .. } => info.id,
            Delivery::Packet(input) => input.packet.stream,
            Delivery::Watermark { stream, .. } | Delivery::Close { stream, .. } | Delivery::Starved { stream, .. } => {
                *stream
            }
        }
    }
}

fn position(lent: &LentStreams, stream: StreamId) -> Option<usize> {
    lent.iter().position(|(known, _)| *known == stream)
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// The text of a panic.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "with a value that is no text".to_owned())
}
