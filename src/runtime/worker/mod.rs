//! The loop of one stage: takes deliveries, calls the stage, writes what came of them.
//!
//! A round has three steps. Under the core's lock it takes deliveries and lends out the states of their streams; without
//! the lock it calls the stage; under the lock it gives the states back and writes the results. A thread that does not
//! come back from a call therefore holds only what it was lent: the next generation of the worker goes on with the rest,
//! and when the lost thread does come back its generation is stale and nothing of it is used.

mod calls;
mod lent;
mod retired;
mod shared;
mod text;

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};

use self::calls::call;
use self::lent::{LentStreams, Notice, Outcome};
use self::retired::Retired;
use self::shared::StreamEntry;
pub(crate) use self::shared::{Core, StageShared};
pub(crate) use self::text::{chain, panic_text};
use super::books::StageBook;
use super::inbox::Delivery;
use super::writer::{Writer, Written};
use crate::media::{StreamId, StreamInfo};
use crate::stage::{Event, Input, Output, Placement, Runnable, StageObject};
use crate::units::{Clock, TimeSpan};

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

enum Wake {
    Work,
    Tick,
    Exit(Exit),
}

/// Runs one generation of a stage's worker to its end.
pub(crate) async fn run(shared: Arc<StageShared>, generation: u64) -> Exit {
    let built = catch_unwind(AssertUnwindSafe(|| match shared.retired.load(Ordering::Acquire) {
        true => Ok(Runnable::stage(Retired { outputs: shared.plan.contract.outputs.len() })),
        false => shared.plan.blueprint.build(),
    }));
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
}
