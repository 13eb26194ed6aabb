//! The loop of a capture: asks for streams and reads each on its own, so that one that waits holds up no other.

use std::any::Any;
use std::collections::HashMap;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::audience::Audience;
use super::books::StageBook;
use super::events::EventHub;
use super::meters::StageMeters;
use super::worker::{Exit, chain, panic_text};
use super::writer::{OutletSpec, Writer};
use crate::media::{StreamId, StreamInfo};
use crate::pipeline::PlannedStage;
use crate::stage::{Capture, CaptureContext, Flow, Loss, Output, Runnable, Source, StageError};
use crate::units::{Clock, Timestamp};

/// What a capture's actor, its streams and the books share.
#[derive(Debug)]
pub(crate) struct CaptureShared {
    pub plan: PlannedStage,
    /// Its place in the plan.
    pub index: usize,
    pub clock: Arc<dyn Clock>,
    pub hub: EventHub,
    pub meters: StageMeters,
    pub outlets: Vec<Vec<OutletSpec>>,
    /// Who takes its streams.
    pub audience: Arc<Audience>,
    pub book: Mutex<StageBook>,
    /// Numbers streams over all captures of the pipeline.
    pub next_stream: Arc<AtomicU32>,
    /// How many streams were opened, over all captures of the pipeline.
    pub opened: Arc<AtomicU64>,
    /// Names in use, so that two streams never share one.
    pub names: Arc<Mutex<HashMap<String, u32>>>,
    pub stop: watch::Receiver<bool>,
}

impl CaptureShared {
    pub(crate) fn book(&self) -> StageBook {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, round: &StageBook) {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).add(round);
        self.meters.round(round);
    }

    /// Says on every link that nothing will come any more.
    pub(crate) fn finish(&self) {
        for outlet in self.outlets.iter().flatten() {
            outlet.inbox.finish(outlet.link);
        }
    }

    /// `name`, or with a number behind it when another stream has it already.
    fn unique(&self, name: String) -> String {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let uses = names.entry(name.clone()).or_insert(0);
        *uses += 1;
        if *uses == 1 { name } else { format!("{name}#{uses}") }
    }
}

/// Runs a capture until it has no more streams, or is told to stop.
pub(crate) async fn run(shared: Arc<CaptureShared>) -> Exit {
    let mut capture = match catch_unwind(AssertUnwindSafe(|| shared.plan.blueprint.build())) {
        Ok(Ok(Runnable::Capture(capture))) => capture,
        Ok(Ok(Runnable::Stage(_))) => return Exit::Crashed("a stage stands where a capture was planned".into()),
        Ok(Err(error)) => return Exit::Crashed(chain(&error)),
        Err(panic) => return Exit::Crashed(format!("it panicked while it was built: {}", panic_text(&*panic))),
    };
    let context = CaptureContext { clock: shared.clock.clone() };
    let mut stop = shared.stop.clone();
    let mut streams = JoinSet::new();
    let concurrency = capture.concurrency().max(1);
    let exit = loop {
        while streams.try_join_next().is_some() {}
        if streams.len() >= concurrency {
            streams.join_next().await;
            continue;
        }
        if *stop.borrow_and_update() {
            break Exit::Finished;
        }
        let next = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break Exit::Finished,
            next = guarded(next_stream(&mut *capture, &context)) => next,
        };
        match next {
            Ok(Ok(Some(source))) => {
                let shared = shared.clone();
                // Numbered here, so that numbers follow the capture's order however the streams' tasks run.
                let id = StreamId(shared.next_stream.fetch_add(1, Ordering::Relaxed));
                streams.spawn(async move {
                    if let Err(panic) = guarded(read_stream(&shared, id, source)).await {
                        let why = format!("the capture panicked over it: {}", panic_text(&*panic));
                        shared.hub.failed(&shared.plan.id, format!("{id}").into(), &why);
                        shared.audience.close(id);
                        let mut writer = Writer::new(shared.outlets.clone());
                        writer.close(id, shared.index, true);
                        poll_fn(|cx| if writer.flush(Some(cx.waker())) { Poll::Ready(()) } else { Poll::Pending })
                            .await;
                    }
                });
            }
            Ok(Ok(None)) => break Exit::Finished,
            Ok(Err(StageError::Fatal(error))) => break Exit::Crashed(chain(&*error)),
            Ok(Err(error)) => shared.hub.failed(&shared.plan.id, shared.plan.id.clone(), &chain(&error)),
            Err(panic) => break Exit::Crashed(panic_text(&*panic)),
        }
    };
    while streams.join_next().await.is_some() {}
    exit
}

async fn next_stream(
    capture: &mut dyn Capture,
    context: &CaptureContext,
) -> Result<Option<Box<dyn Source>>, StageError> {
    capture.next_stream(context).await
}

/// A future whose panics come back as values.
async fn guarded<T>(future: impl Future<Output = T>) -> Result<T, Box<dyn Any + Send>> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

/// A future that notes in `waited` when it is not ready at once.
async fn noting_waits<T>(future: impl Future<Output = T>, waited: &mut bool) -> T {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let polled = future.as_mut().poll(cx);
        *waited |= polled.is_pending();
        polled
    })
    .await
}

/// A stream while it is read.
struct Reading<'a> {
    shared: &'a CaptureShared,
    info: Arc<StreamInfo>,
    writer: Writer,
    out: Output,
    /// The end of the newest packet.
    at: Timestamp,
    seen: Loss,
}

async fn read_stream(shared: &CaptureShared, id: StreamId, mut source: Box<dyn Source>) {
    let described = source.info();
    let name: Arc<str> = shared.unique(described.name).into();
    let info = Arc::new(StreamInfo {
        id,
        group: described.group.map_or_else(|| name.clone(), Arc::from),
        name,
        live: described.live,
        zero: shared.clock.now(),
        wall: described.wall,
        file: described.file.map(Arc::from),
    });
    shared.opened.fetch_add(1, Ordering::Relaxed);
    shared.hub.stream_opened(&info, described.seconds);
    let mut writer = Writer::new(shared.outlets.clone());
    writer.open(&info, shared.index, &described.formats);
    let mut reading = Reading { shared, info, writer, out: Output::new(), at: Timestamp::ZERO, seen: Loss::default() };
    let mut stop = shared.stop.clone();
    let nobody = shared.audience.open(id, shared.index);
    let mut stopped = pin!(stop.wait_for(|stop| *stop));
    let failed = loop {
        reading.hand_over().await;
        let mut waited = false;
        let read = tokio::select! {
            biased;
            _ = &mut stopped => None,
            _ = nobody.notified() => {
                tracing::info!(stage = %shared.plan.id, stream = %reading.info.name, "no sink takes it any more");
                None
            }
            read = noting_waits(guarded(source.read(&mut reading.out)), &mut waited) => Some(read),
        };
        if read.is_none() {
            source.stop(&mut reading.out);
        }
        reading.write(source.loss(), waited).await;
        match read {
            None | Some(Ok(Ok(Flow::End))) => break false,
            Some(Ok(Ok(Flow::More))) => {}
            Some(Ok(Ok(Flow::Reopen))) => {
                let formats = source.info().formats;
                reading.writer.open(&reading.info, shared.index, &formats);
            }
            Some(Ok(Err(error))) => {
                shared.hub.stream_failed(&shared.plan.id, &reading.info, &chain(&error));
                break true;
            }
            Some(Err(panic)) => {
                let why = format!("reading it panicked: {}", panic_text(&*panic));
                shared.hub.stream_failed(&shared.plan.id, &reading.info, &why);
                break true;
            }
        }
    };
    shared.audience.close(id);
    reading.writer.close(reading.info.id, shared.index, failed);
    reading.hand_over().await;
    shared.hub.stream_closed(&reading.info, reading.at);
}

impl Reading<'_> {
    /// Waits until every reader has taken what was written.
    async fn hand_over(&mut self) {
        poll_fn(|cx| if self.writer.flush(Some(cx.waker())) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Writes what the source emitted, hands it over as far as there is room, and keeps its account.
    ///
    /// `waited`: the source had nothing ready, so there is time. Then readers on the pool run before the account is kept.
    async fn write(&mut self, loss: Loss, waited: bool) {
        let end = self.out.emitted().last().map(|last| last.draft.start + last.draft.duration);
        let count = self.out.emitted().len();
        let written = self.writer.write(self.info.id, None, self.out.drain_emitted(), count);
        // What finds no room waits in `hand_over`.
        self.writer.flush(None);
        if waited && written.packets > 0 && self.writer.reads_on_pool() {
            tokio::task::yield_now().await;
        }
        if let Some(end) = end {
            self.at = self.at.max(end);
            self.shared.hub.progress(&self.info, self.at);
        }
        let round = StageBook {
            written: written.packets,
            refused: written.refused,
            samples_delivered: loss.delivered.saturating_sub(self.seen.delivered),
            samples_overrun: loss.overrun.saturating_sub(self.seen.overrun),
            blocks_damaged: loss.damaged.saturating_sub(self.seen.damaged),
            samples_written: if loss.delivered > 0 { written.frames } else { 0 },
            ..StageBook::default()
        };
        self.seen = loss;
        self.shared.add(&round);
        if written.refused > 0 {
            self.shared.hub.refused(&self.shared.plan.id, written.refused);
        }
        for event in self.out.drain_events() {
            self.shared.hub.event(&self.shared.plan.id, &self.info, event);
        }
    }
}
