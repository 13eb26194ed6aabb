//! Labels from outside of the pipeline: from a person, by `percept live label`, or from the program that runs it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;

use crate::learn::Target;
use crate::media::StreamId;
use crate::units::Timestamp;

/// Labels that may wait for the learner.
const WAITING: usize = 4096;

/// Where labels from outside wait for the learner, and what it tells of the streams that it knows.
#[derive(Debug, Default)]
pub(in crate::stages::model) struct Desk(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Whether labels are learned from.
    attended: bool,
    /// The streams that are open: the name, and the start of the newest input.
    streams: BTreeMap<StreamId, (Arc<str>, Option<Timestamp>)>,
    waiting: VecDeque<(StreamId, Timestamp, Target)>,
}

/// What a label from outside was taken for.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Labelled {
    /// The name of the stream.
    pub stream: Arc<str>,
    /// The time in that stream.
    pub at: Timestamp,
}

/// Why a label from outside is not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LabelError {
    /// Nobody learns from labels.
    #[error("model `{model}` does not learn from labels; give its stage `learn: {{labels: {{from: control}}}}`")]
    NotLearned {
        /// The model.
        model: String,
    },
    /// There is no such stream, or several may be meant.
    #[error("model `{model}` works on no such stream: expected {wanted}, found {}", list(.found))]
    NoStream {
        /// The model.
        model: String,
        /// What was asked for.
        wanted: String,
        /// The streams that are open.
        found: Vec<Arc<str>>,
    },
    /// The stream has brought nothing yet.
    #[error("stream `{stream}` has brought nothing yet that a label could be for")]
    Nothing {
        /// The stream.
        stream: Arc<str>,
    },
    /// More labels wait than the learner takes.
    #[error("{WAITING} labels wait for the learner of model `{model}` already")]
    Full {
        /// The model.
        model: String,
    },
}

fn list(names: &[Arc<str>]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

impl Desk {
    /// The learner is there, and takes labels.
    pub fn attend(&self) {
        *self.inner() = Inner { attended: true, ..Inner::default() };
    }

    pub fn open(&self, stream: StreamId, name: &Arc<str>) {
        self.inner().streams.insert(stream, (name.clone(), None));
    }

    /// An input came.
    pub fn see(&self, stream: StreamId, start: Timestamp) {
        if let Some((_, newest)) = self.inner().streams.get_mut(&stream) {
            *newest = Some(start);
        }
    }

    pub fn close(&self, stream: StreamId) {
        self.inner().streams.remove(&stream);
    }

    /// What waits.
    pub fn take(&self) -> VecDeque<(StreamId, Timestamp, Target)> {
        std::mem::take(&mut self.inner().waiting)
    }

    /// Takes a label of `stream` (the only one, where none is named) for what starts `at`, or for the newest input.
    pub fn label(
        &self,
        model: &str,
        target: Target,
        stream: Option<&str>,
        at: Option<Timestamp>,
    ) -> Result<Labelled, LabelError> {
        let mut inner = self.inner();
        if !inner.attended {
            return Err(LabelError::NotLearned { model: model.to_owned() });
        }
        // Of those with the same name the one that was opened last.
        let mut named =
            inner.streams.iter().rev().filter(|(_, (name, _))| stream.is_none_or(|wanted| **name == *wanted));
        let found = named.next().filter(|_| stream.is_some() || inner.streams.len() == 1);
        let Some((id, (name, newest))) = found else {
            let wanted =
                stream.map_or("one stream, or the name of one of several".to_owned(), |name| format!("`{name}`"));
            let found = inner.streams.values().map(|(name, _)| name.clone()).collect();
            return Err(LabelError::NoStream { model: model.to_owned(), wanted, found });
        };
        let (id, stream) = (*id, name.clone());
        let Some(at) = at.or(*newest) else { return Err(LabelError::Nothing { stream }) };
        if inner.waiting.len() >= WAITING {
            return Err(LabelError::Full { model: model.to_owned() });
        }
        inner.waiting.push_back((id, at, target));
        Ok(Labelled { stream, at })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics between two steps that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn a_label_is_for_the_newest_input_of_the_stream_that_is_meant() {
        let desk = Desk::default();
        let label = |stream, at| desk.label("m", Target::Class(1), stream, at).map_err(|error| error.to_string());
        assert!(label(None, None).unwrap_err().contains("`m` does not learn from labels; give its stage `learn:"));
        desk.attend();
        assert!(
            label(None, None).unwrap_err().ends_with("expected one stream, or the name of one of several, found none")
        );
        desk.open(StreamId(0), &"a".into());
        assert_eq!(label(None, None).unwrap_err(), "stream `a` has brought nothing yet that a label could be for");
        assert_eq!(label(None, Some(at(5))).unwrap().at, at(5));
        desk.see(StreamId(0), at(40));
        assert_eq!(label(None, None).unwrap(), Labelled { stream: "a".into(), at: at(40) });
        desk.open(StreamId(1), &"b".into());
        desk.see(StreamId(1), at(7));
        assert!(label(None, None).unwrap_err().ends_with("found a, b"));
        assert!(label(Some("c"), None).unwrap_err().ends_with("expected `c`, found a, b"));
        assert_eq!(label(Some("b"), None).unwrap().at, at(7));
        let taken = desk.take().into_iter().map(|(stream, at, _)| (stream.0, at)).collect::<Vec<_>>();
        assert_eq!(taken, [(0, at(5)), (0, at(40)), (1, at(7))]);
        desk.close(StreamId(0));
        assert_eq!(&*label(None, None).unwrap().stream, "b");
        (1..WAITING).for_each(|_| drop(label(None, None).unwrap()));
        assert!(label(None, None).unwrap_err().contains("4096 labels wait"));
    }
}
