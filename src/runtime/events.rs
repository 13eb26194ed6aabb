//! Events of a running pipeline: what happened that is no packet, for whoever watches, and for the log.
//!
//! Progress comes with every packet that a capture reads. It has a ring of its own, so that it never pushes an event out
//! that a watcher has not read yet.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;

use crate::media::StreamInfo;
use crate::stage::{Event, EventKind};
use crate::units::Timestamp;

/// Events that wait for a watcher who does not read; older ones are dropped for it, and it is told how many.
const WAITING_EVENTS: usize = 1024;
/// Progress that waits for such a watcher. What it misses of that is no loss: the next one says more.
const WAITING_PROGRESS: usize = 64;
/// Failures that a report names one by one; the rest are counted.
const NAMED_FAILURES: usize = 100;

/// Something that happened in a running pipeline.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PipelineEvent {
    /// A stream opened in a capture.
    StreamOpened {
        /// The stream.
        stream: Arc<str>,
        /// Its length in seconds, where it is known.
        seconds: Option<f64>,
    },
    /// A capture has read a stream up to this time.
    Progress {
        /// The stream.
        stream: Arc<str>,
        /// How far.
        at: Timestamp,
    },
    /// A stream ended in its capture.
    StreamClosed {
        /// The stream.
        stream: Arc<str>,
        /// Its length.
        at: Timestamp,
    },
    /// A stream was ended before its end.
    StreamFailed {
        /// The stage that ended it.
        stage: Arc<str>,
        /// The stream.
        stream: Arc<str>,
        /// Why.
        why: String,
    },
    /// A stage skipped a packet.
    Skipped {
        /// The stage.
        stage: Arc<str>,
        /// The stream.
        stream: Arc<str>,
        /// The packet's start.
        at: Timestamp,
        /// Why.
        why: String,
    },
    /// A stage was restarted.
    Restarted {
        /// The stage.
        stage: Arc<str>,
        /// Why.
        why: String,
    },
    /// What a stage itself has to tell.
    Stage {
        /// The stage.
        stage: Arc<str>,
        /// The stream.
        stream: Arc<str>,
        /// The event.
        event: Event,
    },
}

/// A stream that was ended before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamFailure {
    /// The stage that ended it.
    pub stage: Arc<str>,
    /// The stream.
    pub stream: Arc<str>,
    /// Why.
    pub why: String,
}

/// An event with its place in what was told.
type Numbered = (u64, PipelineEvent);

/// Where a pipeline's events meet: logged, kept for the report, and told to watchers.
#[derive(Clone, Debug)]
pub(crate) struct EventHub {
    shared: Arc<HubShared>,
}

#[derive(Debug)]
struct HubShared {
    pipeline: Arc<str>,
    /// Numbers what is told, over both rings.
    told: AtomicU64,
    sender: broadcast::Sender<Numbered>,
    progress: broadcast::Sender<Numbered>,
    failures: Mutex<(Vec<StreamFailure>, u64)>,
}

impl EventHub {
    pub(crate) fn new(pipeline: Arc<str>) -> Self {
        let (sender, _) = broadcast::channel(WAITING_EVENTS);
        let (progress, _) = broadcast::channel(WAITING_PROGRESS);
        let told = AtomicU64::new(0);
        EventHub { shared: Arc::new(HubShared { pipeline, told, sender, progress, failures: Mutex::default() }) }
    }

    pub(crate) fn watch(&self) -> Events {
        Events { told: self.shared.sender.subscribe(), progress: self.shared.progress.subscribe(), newest: 0 }
    }

    /// Failed streams so far: the first ones by name, and how many there were in all.
    pub(crate) fn failures(&self) -> (Vec<StreamFailure>, u64) {
        self.shared.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn stream_opened(&self, info: &StreamInfo, seconds: Option<f64>) {
        tracing::debug!(pipeline = %self.shared.pipeline, stream = %info.name, "stream opened");
        self.tell(PipelineEvent::StreamOpened { stream: info.name.clone(), seconds });
    }

    pub(crate) fn progress(&self, info: &StreamInfo, at: Timestamp) {
        if self.shared.progress.receiver_count() > 0 {
            let event = PipelineEvent::Progress { stream: info.name.clone(), at };
            let _ = self.shared.progress.send((self.number(), event));
        }
    }

    pub(crate) fn stream_closed(&self, info: &StreamInfo, at: Timestamp) {
        tracing::debug!(pipeline = %self.shared.pipeline, stream = %info.name, at = %at, "stream closed");
        self.tell(PipelineEvent::StreamClosed { stream: info.name.clone(), at });
    }

    pub(crate) fn stream_failed(&self, stage: &Arc<str>, info: &StreamInfo, why: &str) {
        self.failed(stage, info.name.clone(), why);
    }

    /// A stream, perhaps one that never opened, was ended before its end.
    pub(crate) fn failed(&self, stage: &Arc<str>, stream: Arc<str>, why: &str) {
        tracing::error!(pipeline = %self.shared.pipeline, stage = %stage, stream = %stream, "stream failed: {why}");
        let failure = StreamFailure { stage: stage.clone(), stream: stream.clone(), why: why.to_owned() };
        {
            let mut failures = self.shared.failures.lock().unwrap_or_else(PoisonError::into_inner);
            failures.1 += 1;
            if failures.0.len() < NAMED_FAILURES {
                failures.0.push(failure);
            }
        }
        self.tell(PipelineEvent::StreamFailed { stage: stage.clone(), stream, why: why.to_owned() });
    }

    pub(crate) fn skipped(&self, stage: &Arc<str>, info: &StreamInfo, at: Timestamp, why: &str) {
        tracing::warn!(pipeline = %self.shared.pipeline, stage = %stage, stream = %info.name, at = %at, "packet skipped: {why}");
        let (stage, stream, why) = (stage.clone(), info.name.clone(), why.to_owned());
        self.tell(PipelineEvent::Skipped { stage, stream, at, why });
    }

    pub(crate) fn refused(&self, stage: &Arc<str>, count: u64) {
        tracing::error!(
            pipeline = %self.shared.pipeline, stage = %stage,
            "{count} packets refused: written to a port that the contract does not have, or with a start before the one \
             before"
        );
    }

    pub(crate) fn restarted(&self, stage: &Arc<str>, why: &str) {
        tracing::warn!(pipeline = %self.shared.pipeline, stage = %stage, "restarted: {why}");
        self.tell(PipelineEvent::Restarted { stage: stage.clone(), why: why.to_owned() });
    }

    pub(crate) fn event(&self, stage: &Arc<str>, info: &StreamInfo, event: Event) {
        let (pipeline, stream) = (&self.shared.pipeline, &info.name);
        match event.kind {
            EventKind::Notice | EventKind::DeviceBack => {
                tracing::info!(%pipeline, %stage, %stream, "{}: {}", event.kind, event.message);
            }
            _ => tracing::warn!(%pipeline, %stage, %stream, "{}: {}", event.kind, event.message),
        }
        self.tell(PipelineEvent::Stage { stage: stage.clone(), stream: info.name.clone(), event });
    }

    fn tell(&self, event: PipelineEvent) {
        // An error says only that nobody watches.
        let _ = self.shared.sender.send((self.number(), event));
    }

    fn number(&self) -> u64 {
        self.shared.told.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// The events of a running pipeline, for one watcher.
///
/// A watcher that does not keep up loses the oldest of more than 1024 events; of [`PipelineEvent::Progress`] it sees only
/// the newest. Progress never follows an event that was told after it.
#[derive(Debug)]
pub struct Events {
    told: broadcast::Receiver<Numbered>,
    progress: broadcast::Receiver<Numbered>,
    /// The number of the newest event given that is not progress.
    newest: u64,
}

impl Events {
    /// The next event; `None` when the pipeline is gone. Works in any async runtime, and may be dropped at any time.
    pub async fn next(&mut self) -> Option<PipelineEvent> {
        use broadcast::error::RecvError;
        loop {
            tokio::select! {
                biased;
                told = self.told.recv() => match told {
                    Ok((number, event)) => {
                        self.newest = number;
                        return Some(event);
                    }
                    Err(RecvError::Lagged(missed)) => warn_of_loss(missed),
                    Err(RecvError::Closed) => return None,
                },
                progress = self.progress.recv() => match progress {
                    Ok((number, event)) if number > self.newest => return Some(event),
                    Ok(_) | Err(RecvError::Lagged(_) | RecvError::Closed) => {}
                },
            }
        }
    }

    /// The next event that is already there.
    pub fn try_next(&mut self) -> Option<PipelineEvent> {
        use broadcast::error::TryRecvError;
        loop {
            match self.told.try_recv() {
                Ok((number, event)) => {
                    self.newest = number;
                    return Some(event);
                }
                Err(TryRecvError::Lagged(missed)) => warn_of_loss(missed),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        loop {
            match self.progress.try_recv() {
                Ok((number, event)) if number > self.newest => return Some(event),
                Ok(_) | Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
            }
        }
    }
}

fn warn_of_loss(missed: u64) {
    tracing::warn!("{missed} events were not read in time and are lost to this watcher");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::StreamId;
    use crate::units::ClockInstant;

    fn info(name: &str) -> StreamInfo {
        StreamInfo {
            id: StreamId(0),
            group: name.into(),
            name: name.into(),
            live: true,
            zero: ClockInstant::from_nanos(0),
            wall: None,
            file: None,
        }
    }

    fn lost() -> Event {
        Event { kind: EventKind::DeviceLost, message: "unplugged".into() }
    }

    /// What a watcher who reads late gets, shortened.
    fn read(events: &mut Events) -> Vec<String> {
        std::iter::from_fn(|| events.try_next())
            .map(|event| match event {
                PipelineEvent::StreamOpened { stream, .. } => format!("{stream} opened"),
                PipelineEvent::Progress { stream, at } => format!("{stream} {}", at.as_nanos()),
                PipelineEvent::StreamClosed { stream, .. } => format!("{stream} closed"),
                PipelineEvent::Stage { event, .. } => event.kind.to_string(),
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn progress_pushes_no_event_out() {
        let hub = EventHub::new("test".into());
        let mut events = hub.watch();
        hub.event(&"microphone".into(), &info("s"), lost());
        for at in 0..10 * WAITING_EVENTS as i64 {
            hub.progress(&info("s"), Timestamp::from_nanos(at));
        }
        let read = read(&mut events);
        assert_eq!(read[0], "device lost");
        assert_eq!(read.len(), 1 + WAITING_PROGRESS);
        assert_eq!(read.last().unwrap(), "s 10239", "the newest progress is there");
    }

    #[test]
    fn progress_never_follows_what_was_told_after_it() {
        let hub = EventHub::new("test".into());
        let (mut late, mut prompt) = (hub.watch(), hub.watch());
        hub.stream_opened(&info("s"), None);
        hub.progress(&info("s"), Timestamp::from_nanos(1));
        assert_eq!(read(&mut prompt), ["s opened", "s 1"]);
        hub.stream_closed(&info("s"), Timestamp::from_nanos(2));
        hub.progress(&info("t"), Timestamp::from_nanos(3));
        assert_eq!(read(&mut prompt), ["s closed", "t 3"]);
        assert_eq!(read(&mut late), ["s opened", "s closed", "t 3"]);
    }

    #[tokio::test]
    async fn waiting_gives_the_same_and_ends_with_the_pipeline() {
        let hub = EventHub::new("test".into());
        let mut events = hub.watch();
        hub.progress(&info("s"), Timestamp::from_nanos(1));
        assert!(matches!(events.next().await, Some(PipelineEvent::Progress { .. })));
        hub.event(&"microphone".into(), &info("s"), lost());
        for _ in 0..10 * WAITING_EVENTS {
            hub.progress(&info("s"), Timestamp::ZERO);
        }
        assert!(matches!(events.next().await, Some(PipelineEvent::Stage { .. })));
        assert!(matches!(events.next().await, Some(PipelineEvent::Progress { .. })));
        drop(hub);
        while events.next().await.is_some() {}
    }
}
