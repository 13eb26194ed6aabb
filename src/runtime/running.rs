//! A pipeline while it runs, and the report when it is over.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ractor::{Actor, ActorRef};
use serde::Serialize;
use thiserror::Error;
use tokio::sync::watch;

use super::actors::{PipelineActor, PipelineMessage, Unit};
use super::audience::Audience;
use super::books::{Books, LinkBook, StageBook};
use super::events::{EventHub, Events, StreamFailure};
use super::inbox::{Inbox, InboxSpec, LinkSpec, Memory};
use super::meters::{LinkMeters, StageMeters};
use super::source::CaptureShared;
use super::worker::{Core, StageShared};
use super::writer::{OutletSpec, SentCount, Writer};
use crate::pipeline::Plan;
use crate::stage::{Placement, Role};
use crate::stages::sink::collect::Hub;
use crate::units::{Clock, SystemClock, TimeSpan};

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// Every stream came to its end, or the captures were told to stop and everything under way was finished.
    Finished,
    /// It was stopped before everything under way was finished.
    Cancelled {
        /// Why.
        reason: String,
    },
    /// A stage failed too often.
    Failed {
        /// Which, and why.
        reason: String,
    },
}

/// What a run did, when it is over.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The pipeline's name.
    pub pipeline: Arc<str>,
    /// How it ended.
    pub outcome: Outcome,
    /// The books of all stages and links.
    pub books: Books,
    /// Streams that were ended before their end: the first hundred.
    pub failures: Vec<StreamFailure>,
    /// How many streams were ended before their end.
    pub failed_streams: u64,
    /// How many streams were opened.
    pub streams: u64,
    /// How long it ran, in real time.
    pub elapsed: TimeSpan,
}

impl Report {
    /// Whether it finished, every stream came to its end, nothing was lost but by a policy of the file, and the books
    /// balance.
    pub fn is_clean(&self) -> bool {
        self.outcome == Outcome::Finished
            && self.failed_streams == 0
            && self.books.unplanned_losses() == 0
            && self.books.imbalances().is_empty()
    }
}

/// Why a pipeline could not be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The system gave no thread.
    #[error("the threads of pipeline {pipeline} could not be started: {source}")]
    Threads {
        /// The pipeline.
        pipeline: Arc<str>,
        /// The system's word.
        source: std::io::Error,
    },
    /// The supervising actor did not start.
    #[error("the actors of pipeline {pipeline} could not be started: {reason}")]
    Actors {
        /// The pipeline.
        pipeline: Arc<str>,
        /// Why.
        reason: String,
    },
}

/// What all actors of a pipeline share.
#[derive(Debug)]
pub(crate) struct PipelineShared {
    pub name: Arc<str>,
    pub units: Vec<Unit>,
    pub hub: EventHub,
    pub watch: Arc<SystemClock>,
    /// How long one call may hold the end, see [`StartOptions::end_deadline`].
    pub end_deadline: Option<Duration>,
    links: Vec<Link>,
    memory: Arc<Memory>,
    opened: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
    completion: Completion,
    queued_bytes: metrics::Gauge,
}

struct Link {
    name: String,
    sent: Arc<SentCount>,
    inbox: Arc<Inbox>,
    place: usize,
    meters: LinkMeters,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A report that is waited for from threads and tasks.
#[derive(Debug, Default)]
struct Completion {
    state: Mutex<(Option<Report>, Vec<Waker>)>,
    done: Condvar,
}

impl PipelineShared {
    pub(crate) fn stop_captures(&self) {
        self.stop.send_replace(true);
    }

    /// Publishes gauges.
    pub(crate) fn publish(&self) {
        for link in &self.links {
            let books = link.inbox.books();
            let depths = link.inbox.depths();
            if let (Some(book), Some(depth)) = (books.get(link.place), depths.get(link.place)) {
                link.meters.set(*depth, book.dropped, book.superseded);
            }
        }
        self.queued_bytes.set(self.memory.queued() as f64);
    }

    pub(crate) fn complete(&self, outcome: Outcome) {
        // Programs that wait for packets learn that it was all.
        for unit in &self.units {
            if let Unit::Stage(shared) = unit
                && let Some(handle) = shared.plan.blueprint.handle()
                && let Ok(hub) = handle.downcast::<Hub>()
            {
                hub.close();
            }
        }
        let (failures, failed_streams) = self.hub.failures();
        let report = Report {
            pipeline: self.name.clone(),
            outcome,
            books: self.books(),
            failures,
            failed_streams,
            streams: self.opened.load(Ordering::Relaxed),
            elapsed: TimeSpan::from_nanos(self.watch.now().as_nanos()),
        };
        let mut state = self.completion.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0.get_or_insert(report);
        let wakers = std::mem::take(&mut state.1);
        drop(state);
        self.completion.done.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    fn books(&self) -> Books {
        let stage = |unit: &Unit| match unit {
            Unit::Stage(shared) => shared.lock().book.clone(),
            Unit::Capture(shared) => shared.book(),
        };
        let link = |link: &Link| {
            let taken = link.inbox.books().into_iter().nth(link.place).unwrap_or_default();
            LinkBook {
                name: link.name.clone(),
                sent: link.sent.packets.load(Ordering::Relaxed),
                frames_sent: link.sent.frames.load(Ordering::Relaxed),
                cancelled: taken.cancelled + link.sent.cancelled.load(Ordering::Relaxed),
                frames_removed: taken.frames_removed + link.sent.frames_cancelled.load(Ordering::Relaxed),
                ..taken
            }
        };
        Books { stages: self.units.iter().map(stage).collect(), links: self.links.iter().map(link).collect() }
    }
}

/// A pipeline that runs.
///
/// It owns its threads and needs no async runtime around it; inside one it can be awaited. Dropping it stops it at once.
pub struct Running {
    shared: Arc<PipelineShared>,
    actor: ActorRef<PipelineMessage>,
    runtime: Option<tokio::runtime::Runtime>,
}

/// How to start a pipeline.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StartOptions {
    /// The clock that its stages see; `None`: the system's.
    pub clock: Option<Arc<dyn Clock>>,
    /// Threads that move packets and run light stages; `None`: two, or one on a machine with one core.
    pub pool_threads: Option<usize>,
    /// After all captures have ended: how long one call of a stage that otherwise may take for ever, a sink whose reader
    /// pauses, can hold the end of the run. Then it is cancelled, and what was left is counted. `None`: for ever.
    /// Default: 10 minutes, looked at twice a second.
    pub end_deadline: Option<Duration>,
}

impl Default for StartOptions {
    fn default() -> Self {
        StartOptions { clock: None, pool_threads: None, end_deadline: Some(Duration::from_secs(600)) }
    }
}

impl Running {
    /// Starts a plan.
    pub fn start(plan: Plan, options: StartOptions) -> Result<Running, StartError> {
        let threads = options
            .pool_threads
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |cores| cores.get().min(2)));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .thread_name(format!("{}/pool", plan.name))
            .enable_time()
            .build()
            .map_err(|source| StartError::Threads { pipeline: plan.name.clone(), source })?;
        let name = plan.name.clone();
        let clock = options.clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
        let shared = Arc::new(wire(plan, clock, options.end_deadline));
        // The caller may itself be inside a runtime, where blocking on ours is not allowed: a thread does it.
        let handle = runtime.handle().clone();
        let started = {
            let shared = shared.clone();
            let inner = handle.clone();
            std::thread::scope(|scope| {
                scope
                    .spawn(move || inner.block_on(Actor::spawn(None, PipelineActor, (shared, handle))))
                    .join()
                    .map_err(|_| "the starting thread panicked".to_owned())
                    .and_then(|started| started.map_err(|error| error.to_string()))
            })
        };
        match started {
            Ok((actor, _)) => Ok(Running { shared, actor, runtime: Some(runtime) }),
            Err(reason) => {
                runtime.shutdown_background();
                Err(StartError::Actors { pipeline: name, reason })
            }
        }
    }

    /// The pipeline's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The books as they stand. While packets are under way they need not balance.
    pub fn stats(&self) -> Books {
        self.shared.books()
    }

    /// What happens from now on. A watcher that does not keep up loses the oldest events; progress pushes none out.
    pub fn events(&self) -> Events {
        self.shared.hub.watch()
    }

    /// Waits until the run is over, blocking the thread.
    pub fn wait(&self) -> Report {
        let mut state = self.shared.completion.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(report) = &state.0 {
                return report.clone();
            }
            state = self.shared.completion.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until the run is over, but no longer than `at_most`.
    pub fn wait_for(&self, at_most: Duration) -> Option<Report> {
        let state = self.shared.completion.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.shared.completion.done.wait_timeout_while(state, at_most, |state| state.0.is_none());
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.0.clone()
    }

    /// Completes when the run is over. Works in any async runtime.
    pub fn finished(&self) -> Finished {
        Finished { shared: self.shared.clone() }
    }

    /// Tells the captures to stop; what is under way is finished, the last word too. What is not finished after
    /// `deadline` is cancelled. Returns at once: [`wait`](Self::wait) for the end.
    pub fn drain(&self, deadline: Duration) {
        // An actor that is gone has nothing left to drain.
        let _ = self.actor.cast(PipelineMessage::Drain(deadline));
    }

    /// Stops at once: what is under way is cancelled, and counted. Returns at once: [`wait`](Self::wait) for the end.
    pub fn stop(&self) {
        let reason = "it was told to stop".to_owned();
        let _ = self.actor.cast(PipelineMessage::Cancel(Outcome::Cancelled { reason }));
    }

    #[cfg(test)]
    pub(crate) fn inboxes(&self) -> Vec<Arc<Inbox>> {
        self.shared.links.iter().map(|link| link.inbox.clone()).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
        self.shared.stop_captures();
        for unit in &self.shared.units {
            if let Unit::Stage(shared) = unit {
                shared.cancel();
            }
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        // The actors may have had no time to say so; a report that is there already stays.
        self.shared.complete(Outcome::Cancelled { reason: "it was dropped while it ran".to_owned() });
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("pipeline", &self.shared.name).finish_non_exhaustive()
    }
}

/// Completes with the report when a run is over.
#[derive(Debug)]
pub struct Finished {
    shared: Arc<PipelineShared>,
}

impl Future for Finished {
    type Output = Report;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Report> {
        let mut state = self.shared.completion.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(report) = &state.0 {
            return Poll::Ready(report.clone());
        }
        if !state.1.iter().any(|known| known.will_wake(cx.waker())) {
            state.1.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// Makes the inboxes, writers and shared parts of every stage of a plan.
fn wire(plan: Plan, clock: Arc<dyn Clock>, end_deadline: Option<Duration>) -> PipelineShared {
    let hub = EventHub::new(plan.name.clone());
    let watch = Arc::new(SystemClock::new());
    let memory = Arc::new(Memory::new(plan.memory_bytes));
    let (stop, stopped) = watch::channel(false);
    let reach = captures_by_stage(&plan);
    let needs = watermark_needs(&plan);
    let into = |stage: usize| plan.links.iter().enumerate().filter(move |(_, link)| link.to.0 == stage);
    let supersede = !clock.is_virtual();
    let inboxes: Vec<Arc<Inbox>> = (0..plan.stages.len())
        .map(|stage| {
            let links = into(stage)
                .map(|(_, link)| LinkSpec {
                    port: link.to.1,
                    settings: link.settings,
                    captures: reach[link.from.0].clone(),
                    yields: plan.stages[stage].owner.is_some(),
                })
                .collect();
            let contract = &plan.stages[stage].contract;
            let spec = InboxSpec {
                links,
                ports: contract.inputs.len(),
                supersede: contract.supersede && supersede,
                watermarks: needs[stage],
                in_order: contract.in_order,
            };
            Arc::new(Inbox::new(spec, memory.clone()))
        })
        .collect();
    let links: Vec<Link> = plan
        .links
        .iter()
        .enumerate()
        .map(|(index, link)| {
            let name = plan.link_name(link);
            let place = into(link.to.0).position(|(other, _)| other == index).unwrap_or_default();
            let meters = LinkMeters::new(&plan.name, &name);
            Link { name, sent: Arc::default(), inbox: inboxes[link.to.0].clone(), place, meters }
        })
        .collect();
    let outlets = |stage: usize| -> Vec<Vec<OutletSpec>> {
        let ports = plan.stages[stage].contract.outputs.len();
        (0..ports)
            .map(|port| {
                let out = plan.links.iter().zip(&links).filter(|(planned, _)| planned.from == (stage, port));
                out.map(|(planned, link)| OutletSpec {
                    inbox: link.inbox.clone(),
                    link: link.place,
                    sent: link.sent.clone(),
                    watermarks: !planned.settings.feedback && (needs[planned.to.0] || into(planned.to.0).count() > 1),
                    on_pool: plan.stages[planned.to.0].contract.placement == Placement::Inline,
                })
                .collect()
            })
            .collect()
    };
    let is_sink = |stage: usize| plan.stages[stage].role == Role::Sink;
    let sinks_of = |capture: usize| (0..reach.len()).filter(|&at| is_sink(at) && reach[at].contains(&capture)).count();
    let audience = Arc::new(Audience::new((0..plan.stages.len()).map(sinks_of).collect()));
    let next_stream: Arc<AtomicU32> = Arc::default();
    let opened: Arc<AtomicU64> = Arc::default();
    let names: Arc<Mutex<HashMap<String, u32>>> = Arc::default();
    let unit = |index: usize| {
        let planned = plan.stages[index].clone();
        let meters = StageMeters::new(&plan.name, &planned.id);
        let book = StageBook { id: planned.id.clone(), ..StageBook::default() };
        if planned.role == Role::Capture {
            return Unit::Capture(Arc::new(CaptureShared {
                index,
                clock: clock.clone(),
                hub: hub.clone(),
                meters,
                outlets: outlets(index),
                audience: audience.clone(),
                book: Mutex::new(book),
                next_stream: next_stream.clone(),
                opened: opened.clone(),
                names: names.clone(),
                stop: stopped.clone(),
                plan: planned,
            }));
        }
        Unit::Stage(Arc::new(StageShared {
            index,
            audience: (planned.role == Role::Sink).then(|| audience.clone()),
            pipeline: plan.name.clone(),
            inbox: inboxes[index].clone(),
            clock: clock.clone(),
            watch: watch.clone(),
            hub: hub.clone(),
            meters,
            link_names: into(index).map(|(_, link)| plan.link_name(link)).collect(),
            watermarks: needs[index],
            cancelled: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            call_started: AtomicI64::new(0),
            generation: AtomicU64::new(0),
            canceller: Mutex::default(),
            core: Mutex::new(Core::new(book, Writer::new(outlets(index)))),
            plan: planned,
        }))
    };
    let units = (0..plan.stages.len()).map(unit).collect();
    let queued_bytes = metrics::gauge!("percept_queued_bytes", "pipeline" => plan.name.to_string());
    PipelineShared {
        name: plan.name.clone(),
        units,
        hub,
        watch,
        end_deadline,
        links,
        memory,
        opened,
        stop,
        completion: Completion::default(),
        queued_bytes,
    }
}

/// For each stage, the captures whose streams can reach it.
fn captures_by_stage(plan: &Plan) -> Vec<Vec<usize>> {
    let mut reach: Vec<Vec<usize>> = plan
        .stages
        .iter()
        .enumerate()
        .map(|(index, stage)| if stage.role == Role::Capture { vec![index] } else { Vec::new() })
        .collect();
    // As many passes as stages: enough for any order of the file.
    for _ in 0..plan.stages.len() {
        for link in plan.links.iter().filter(|link| !link.settings.feedback) {
            for capture in reach[link.from.0].clone() {
                if !reach[link.to.0].contains(&capture) {
                    reach[link.to.0].push(capture);
                }
            }
        }
    }
    reach
}

/// For each stage, whether a stage behind it merges several links and so needs its watermarks.
fn watermark_needs(plan: &Plan) -> Vec<bool> {
    let awaited = |link: &&crate::pipeline::PlannedLink| !link.settings.feedback;
    let merges: Vec<bool> = (0..plan.stages.len())
        .map(|stage| plan.links.iter().filter(awaited).filter(|link| link.to.0 == stage).count() > 1)
        .collect();
    let mut needs = vec![false; plan.stages.len()];
    for _ in 0..plan.stages.len() {
        for link in plan.links.iter().filter(awaited) {
            needs[link.from.0] |= merges[link.to.0] || needs[link.to.0];
        }
    }
    needs
}
