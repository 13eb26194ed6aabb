//! Events of a running pipeline: what happened that is no packet, for whoever watches, and for the log.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;

use crate::media::StreamInfo;
use crate::stage::{Event, EventKind};
use crate::units::Timestamp;

/// Events that wait for a watcher who does not read; older ones are dropped for it, and it is told how many.
const WAITING_EVENTS: usize = 1024;
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

/// Where a pipeline's events meet: logged, kept for the report, and told to watchers.
#[derive(Clone, Debug)]
pub(crate) struct EventHub {
    shared: Arc<HubShared>,
}

#[derive(Debug)]
struct HubShared {
    pipeline: Arc<str>,
    sender: broadcast::Sender<PipelineEvent>,
    failures: Mutex<(Vec<StreamFailure>, u64)>,
}

impl EventHub {
    pub(crate) fn new(pipeline: Arc<str>) -> Self {
        let (sender, _) = broadcast::channel(WAITING_EVENTS);
        EventHub { shared: Arc::new(HubShared { pipeline, sender, failures: Mutex::default() }) }
    }

    pub(crate) fn watch(&self) -> broadcast::Receiver<PipelineEvent> {
        self.shared.sender.subscribe()
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
        if self.shared.sender.receiver_count() > 0 {
            self.tell(PipelineEvent::Progress { stream: info.name.clone(), at });
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
        let _ = self.shared.sender.send(event);
    }
}
