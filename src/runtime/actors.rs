//! The actors of a running pipeline: one for the pipeline, which supervises one for each stage.
//!
//! Actors carry control only: start, exit, watch, stop. Packets travel on links.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use rustc_hash::FxHashMap;

use super::running::{Outcome, PipelineShared};
use super::source::{self, CaptureShared};
use super::worker::{self, Exit, StageShared};
use crate::stage::Placement;
use crate::units::{Clock, ClockInstant, TimeSpan};

/// Restarts of one stage within [`RESTART_WINDOW`] before the pipeline gives up.
const RESTARTS: usize = 5;
const RESTART_WINDOW: TimeSpan = TimeSpan::from_millis(30_000);
/// The wait before the first restart; doubled with each further one in the window.
const FIRST_BACK_OFF: Duration = Duration::from_millis(20);
/// How often a call under way is looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);
/// How long a cancelled call may take to come back before its thread is abandoned.
const CANCEL_GRACE: Duration = Duration::from_millis(500);
/// How often gauges are published.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(500);

/// A stage or a capture, as its actor holds it.
#[derive(Clone, Debug)]
pub(crate) enum Unit {
    Stage(Arc<StageShared>),
    Capture(Arc<CaptureShared>),
}

impl Unit {
    fn id(&self) -> &Arc<str> {
        match self {
            Unit::Stage(shared) => &shared.plan.id,
            Unit::Capture(shared) => &shared.plan.id,
        }
    }
}

/// The actor of one generation of a stage.
struct StageActor;

#[derive(Debug)]
enum StageMessage {
    Exited(Exit),
    Watch,
}

struct StageArgs {
    unit: Unit,
    generation: u64,
    handle: tokio::runtime::Handle,
}

struct StageState {
    unit: Unit,
    generation: u64,
    /// When the call that was asked to come back began; 0: none was.
    cancelled_call: i64,
}

const FINISHED: &str = "finished";
const CANCELLED: &str = "cancelled";

impl Actor for StageActor {
    type Msg = StageMessage;
    type State = StageState;
    type Arguments = StageArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<StageMessage>,
        args: StageArgs,
    ) -> Result<StageState, ActorProcessingErr> {
        let StageArgs { unit, generation, handle } = args;
        match unit.clone() {
            Unit::Capture(shared) => {
                handle.spawn(async move {
                    let running = tokio::spawn(source::run(shared.clone()));
                    let exit = running.await.unwrap_or_else(|panic| Exit::Crashed(panic.to_string()));
                    shared.finish();
                    // The actor may be gone already when the pipeline was stopped.
                    let _ = myself.cast(StageMessage::Exited(exit));
                });
            }
            Unit::Stage(shared) => {
                if shared.plan.contract.placement == Placement::Thread && shared.plan.contract.deadline.is_some() {
                    myself.send_interval(WATCH_INTERVAL, || StageMessage::Watch);
                }
                let name = format!("{}/{}", shared.pipeline, shared.plan.id);
                let placement = shared.plan.contract.placement;
                let work = worker::run(shared, generation);
                match placement {
                    Placement::Inline => {
                        handle.spawn(async move {
                            let exit =
                                tokio::spawn(work).await.unwrap_or_else(|panic| Exit::Crashed(panic.to_string()));
                            let _ = myself.cast(StageMessage::Exited(exit));
                        });
                    }
                    Placement::Thread => {
                        let handle = handle.clone();
                        std::thread::Builder::new().name(name).spawn(move || {
                            let exit = handle.block_on(work);
                            let _ = myself.cast(StageMessage::Exited(exit));
                        })?;
                    }
                }
            }
        }
        Ok(StageState { unit, generation, cancelled_call: 0 })
    }

    async fn handle(
        &self,
        myself: ActorRef<StageMessage>,
        message: StageMessage,
        state: &mut StageState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            StageMessage::Exited(Exit::Finished) => myself.stop(Some(FINISHED.into())),
            StageMessage::Exited(Exit::Cancelled | Exit::Superseded) => myself.stop(Some(CANCELLED.into())),
            StageMessage::Exited(Exit::Crashed(why)) => return Err(why.into()),
            StageMessage::Watch => {
                let Unit::Stage(shared) = &state.unit else { return Ok(()) };
                if let Some(why) = overdue(shared, &mut state.cancelled_call) {
                    let abandoned = shared.abandon();
                    debug_assert!(abandoned > state.generation);
                    return Err(why.into());
                }
            }
        }
        Ok(())
    }
}

/// Looks at the call under way. Past its deadline it is cancelled; some time later the answer is why it is abandoned.
fn overdue(shared: &StageShared, cancelled: &mut i64) -> Option<String> {
    let started = shared.call_started.load(Ordering::Acquire);
    let deadline = shared.plan.contract.deadline?;
    if started == 0 {
        return None;
    }
    let took = shared.watch.now().since(ClockInstant::from_nanos(started));
    if took.to_std() < deadline {
        return None;
    }
    if *cancelled != started {
        *cancelled = started;
        shared.cancel_call();
        return None;
    }
    let why = format!("a call did not come back after {took} (deadline {:?}); its thread was abandoned", deadline);
    (took.to_std() >= deadline + CANCEL_GRACE).then_some(why)
}

/// The actor that supervises all stages of one pipeline.
pub(crate) struct PipelineActor;

#[derive(Debug)]
pub(crate) enum PipelineMessage {
    /// A stage's back-off is over.
    Restart(usize),
    /// Gauges are due.
    Publish,
    /// Captures stop; what is under way is finished until the deadline.
    Drain(Duration),
    /// The deadline of a drain, or a stop at once.
    Cancel(Outcome),
}

pub(crate) struct PipelineState {
    shared: Arc<PipelineShared>,
    handle: tokio::runtime::Handle,
    actors: FxHashMap<ActorId, usize>,
    history: Vec<VecDeque<ClockInstant>>,
    left: usize,
    /// Captures that have not ended, and when the last one has.
    captures: usize,
    read: Option<ClockInstant>,
    outcome: Option<Outcome>,
}

impl Actor for PipelineActor {
    type Msg = PipelineMessage;
    type State = PipelineState;
    type Arguments = (Arc<PipelineShared>, tokio::runtime::Handle);

    async fn pre_start(
        &self,
        myself: ActorRef<PipelineMessage>,
        (shared, handle): Self::Arguments,
    ) -> Result<PipelineState, ActorProcessingErr> {
        let count = shared.units.len();
        let history = vec![VecDeque::new(); count];
        let captures = shared.units.iter().filter(|unit| matches!(unit, Unit::Capture(_))).count();
        let mut state = PipelineState {
            shared,
            handle,
            actors: FxHashMap::default(),
            history,
            left: count,
            captures,
            read: None,
            outcome: None,
        };
        // Readers first: nothing is written before somebody reads.
        for index in (0..count).rev() {
            state.spawn(index, myself.get_cell()).await?;
        }
        myself.send_interval(PUBLISH_INTERVAL, || PipelineMessage::Publish);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<PipelineMessage>,
        message: PipelineMessage,
        state: &mut PipelineState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            PipelineMessage::Restart(index) => {
                if state.outcome.is_none() {
                    state.spawn(index, myself.get_cell()).await?;
                }
            }
            PipelineMessage::Publish => {
                state.shared.publish();
                if let Some(reason) = state.held_end() {
                    state.cancel(&myself, Outcome::Cancelled { reason });
                }
            }
            PipelineMessage::Drain(deadline) => {
                state.shared.stop_captures();
                myself.send_after(deadline, move || {
                    PipelineMessage::Cancel(Outcome::Cancelled {
                        reason: format!("it did not drain within {deadline:?}"),
                    })
                });
            }
            PipelineMessage::Cancel(outcome) => state.cancel(&myself, outcome),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<PipelineMessage>,
        event: SupervisionEvent,
        state: &mut PipelineState,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(cell, _, _) => {
                if let Some(index) = state.actors.remove(&cell.get_id()) {
                    state.left -= 1;
                    state.ended(index);
                }
                state.finish_when_done(&myself);
            }
            SupervisionEvent::ActorFailed(cell, error) => {
                if let Some(index) = state.actors.remove(&cell.get_id()) {
                    state.failed(&myself, index, &error.to_string());
                    state.ended(index);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl PipelineState {
    async fn spawn(&mut self, index: usize, supervisor: ActorCell) -> Result<(), ActorProcessingErr> {
        let unit = self.shared.units[index].clone();
        let generation = match &unit {
            Unit::Stage(shared) => {
                let mut core = shared.lock();
                shared.next_generation(&mut core)
            }
            Unit::Capture(_) => 0,
        };
        let args = StageArgs { unit, generation, handle: self.handle.clone() };
        let (actor, _) = Actor::spawn_linked(None, StageActor, args, supervisor).await?;
        self.actors.insert(actor.get_id(), index);
        Ok(())
    }

    /// A stage has failed: it is restarted after a wait, unless that happened too often, or it is a capture.
    fn failed(&mut self, myself: &ActorRef<PipelineMessage>, index: usize, why: &str) {
        let unit = self.shared.units[index].clone();
        if self.outcome.is_some() {
            self.left -= 1;
            self.finish_when_done(myself);
            return;
        }
        let Unit::Stage(shared) = &unit else {
            // Its streams have ended as failed; what they brought so far is finished.
            self.shared.hub.failed(unit.id(), unit.id().clone(), why);
            self.left -= 1;
            self.finish_when_done(myself);
            return;
        };
        let now = self.shared.watch.now();
        let history = &mut self.history[index];
        while history.front().is_some_and(|restart| now.since(*restart) > RESTART_WINDOW) {
            history.pop_front();
        }
        if history.len() >= RESTARTS {
            let reason = format!(
                "stage {} failed {} times within {} s, the last time because it {why}",
                unit.id(),
                history.len() + 1,
                RESTART_WINDOW.as_seconds()
            );
            if shared.plan.owner.is_none() {
                self.left -= 1;
                self.cancel(myself, Outcome::Failed { reason });
                return;
            }
            // What it ran beside goes on without it.
            shared.retire();
            self.shared.hub.failed(unit.id(), unit.id().clone(), &format!("given up: {reason}"));
        }
        history.push_back(now);
        let back_off = FIRST_BACK_OFF * 2u32.pow(history.len() as u32 - 1);
        shared.lock().book.restarts += 1;
        shared.meters.restarted();
        self.shared.hub.restarted(unit.id(), why);
        myself.send_after(back_off, move || PipelineMessage::Restart(index));
    }

    /// Notes, where it was a capture, that it has ended.
    fn ended(&mut self, index: usize) {
        if matches!(self.shared.units.get(index), Some(Unit::Capture(_))) {
            self.captures = self.captures.saturating_sub(1);
            if self.captures == 0 {
                self.read = Some(self.shared.watch.now());
            }
        }
    }

    /// Why a run that has been read to its end does not end: a call without a deadline of its own takes too long.
    fn held_end(&self) -> Option<String> {
        let (read, deadline) = (self.read?, self.shared.end_deadline?);
        let now = self.shared.watch.now();
        self.shared.units.iter().find_map(|unit| {
            let Unit::Stage(shared) = unit else { return None };
            let started = shared.call_started.load(Ordering::Acquire);
            if started == 0 || shared.plan.contract.deadline.is_some() {
                return None;
            }
            let since = read.max(ClockInstant::from_nanos(started));
            (now.since(since).to_std() >= deadline).then(|| {
                format!(
                    "stage {} has not taken what was left within {deadline:?} after the end of all streams; is what \
                     reads its output still there?",
                    shared.plan.id
                )
            })
        })
    }

    fn cancel(&mut self, myself: &ActorRef<PipelineMessage>, outcome: Outcome) {
        if self.outcome.is_some() {
            return;
        }
        self.outcome = Some(outcome);
        self.shared.stop_captures();
        for unit in &self.shared.units {
            if let Unit::Stage(shared) = unit {
                shared.cancel();
            }
        }
        // A stage that waited for its restart, or whose thread does not come back, has no exit to be waited for.
        let waiting: Vec<usize> = (0..self.shared.units.len()).collect();
        self.left = waiting.iter().filter(|index| self.actors.values().any(|running| running == *index)).count();
        for (index, unit) in self.shared.units.iter().enumerate() {
            if let Unit::Stage(shared) = unit
                && shared.call_started.load(Ordering::Acquire) != 0
            {
                shared.cancel_call();
                let lost: Vec<ActorId> =
                    self.actors.iter().filter(|(_, running)| **running == index).map(|(id, _)| *id).collect();
                for id in lost {
                    self.actors.remove(&id);
                    self.left -= 1;
                }
            }
        }
        self.finish_when_done(myself);
    }

    fn finish_when_done(&mut self, myself: &ActorRef<PipelineMessage>) {
        if self.left == 0 {
            self.shared.publish();
            self.shared.complete(self.outcome.take().unwrap_or(Outcome::Finished));
            myself.stop(None);
        }
    }
}
