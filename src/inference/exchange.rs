//! How what a model stage serves with is changed while it runs.
//!
//! Whoever brings something new builds and tries the whole session first, on a thread of its own, and
//! [offers](Exchange::offer) it with a [`Snapshot`]. The stage looks before each call, at the cost of reading one number,
//! and [takes](Exchange::take) the newest session, giving its old one in exchange: between two packets, with the states
//! of its streams untouched. The old session is put away by the next one who offers, so that the stage never waits for
//! that.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{ModelSource, Session};
use crate::media::Classes;

/// One version of what a stage serves with.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Its number. Numbers grow with each offer, whatever it holds: a step back has a new number as well. 0 is the file
    /// that the pipeline names.
    pub version: u32,
    /// The model.
    pub source: ModelSource,
    /// The names of its classes, where they are its own and not those of the pipeline's file.
    pub classes: Option<Classes>,
}

/// The place where a stage and those who change what it serves with meet. Shared by both, kept over the stage's restarts.
pub struct Exchange {
    offered: AtomicU32,
    adopted: AtomicU32,
    inner: Mutex<Inner>,
}

struct Inner {
    /// The newest offered.
    newest: Arc<Snapshot>,
    /// Its session, until the stage takes it.
    ready: Option<Box<dyn Session>>,
    /// What the stage gave back.
    retired: Vec<Box<dyn Session>>,
    /// What served before the newest, oldest first.
    before: VecDeque<Arc<Snapshot>>,
}

/// Versions that are remembered, to go back to.
const REMEMBERED: usize = 16;

impl Exchange {
    /// An exchange whose stage begins with `first`.
    pub fn new(first: Snapshot) -> Exchange {
        Exchange {
            offered: AtomicU32::new(first.version),
            adopted: AtomicU32::new(first.version),
            inner: Mutex::new(Inner {
                newest: Arc::new(first),
                ready: None,
                retired: Vec::new(),
                before: VecDeque::new(),
            }),
        }
    }

    /// The newest that was offered; a stage that is built anew begins with it.
    pub fn newest(&self) -> Arc<Snapshot> {
        self.inner().newest.clone()
    }

    /// The version that the stage took last.
    pub fn adopted(&self) -> u32 {
        self.adopted.load(Ordering::Acquire)
    }

    /// Puts another snapshot in the place of the first, where nothing else was offered yet.
    pub fn begin_with(&self, snapshot: Snapshot) {
        let mut inner = self.inner();
        if inner.newest.version == 0 && snapshot.version > 0 && inner.before.is_empty() {
            self.offered.store(snapshot.version, Ordering::Release);
            let first = std::mem::replace(&mut inner.newest, Arc::new(snapshot));
            inner.before.push_back(first);
        }
    }

    /// Offers a session on the model of `source`, and gives its version. An earlier offer that was not taken yet never
    /// will be.
    pub fn offer(&self, source: ModelSource, classes: Option<Classes>, session: Box<dyn Session>) -> u32 {
        let mut inner = self.inner();
        let newest = inner.newest.clone();
        inner.before.push_back(newest);
        if inner.before.len() > REMEMBERED {
            inner.before.pop_front();
        }
        self.put(inner, source, classes, session)
    }

    /// The same for a version that served before: what came after it is forgotten. `None` where it is not remembered.
    pub fn offer_again(&self, version: u32, session: Box<dyn Session>) -> Option<u32> {
        let mut inner = self.inner();
        let place = inner.before.iter().position(|known| known.version == version)?;
        let known = inner.before.drain(place..).next()?;
        Some(self.put(inner, known.source.clone(), known.classes.clone(), session))
    }

    /// What served before the newest, oldest first, as far as it is remembered.
    pub fn before(&self) -> Vec<Arc<Snapshot>> {
        self.inner().before.iter().cloned().collect()
    }

    fn put(
        &self,
        mut inner: MutexGuard<'_, Inner>,
        source: ModelSource,
        classes: Option<Classes>,
        session: Box<dyn Session>,
    ) -> u32 {
        let version = inner.newest.version.saturating_add(1);
        inner.newest = Arc::new(Snapshot { version, source, classes });
        let superseded = inner.ready.replace(session);
        let retired = mem::take(&mut inner.retired);
        self.offered.store(version, Ordering::Release);
        drop(inner);
        // Closing a session takes its time, which is not the stage's.
        drop((superseded, retired));
        version
    }

    /// For the stage, which serves with version `have`: puts the newest session in the place of `session`, when there is
    /// a newer one, and gives its snapshot.
    pub fn take(&self, have: u32, session: &mut Box<dyn Session>) -> Option<Arc<Snapshot>> {
        if self.offered.load(Ordering::Acquire) == have {
            return None;
        }
        let mut inner = self.inner();
        let ready = inner.ready.take()?;
        let old = mem::replace(session, ready);
        inner.retired.push(old);
        self.adopted.store(inner.newest.version, Ordering::Release);
        Some(inner.newest.clone())
    }

    /// For the stage, when it is built: what it is to serve with. What was offered and not taken is taken by this.
    pub fn begin(&self) -> Arc<Snapshot> {
        let mut inner = self.inner();
        let unused = inner.ready.take();
        let newest = inner.newest.clone();
        self.adopted.store(newest.version, Ordering::Release);
        drop(inner);
        drop(unused);
        newest
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange").field("newest", &self.newest()).field("adopted", &self.adopted()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::path::PathBuf;

    use super::super::SessionOptions;
    use super::super::engine::EngineSession;
    use super::*;

    fn path(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/inference").join(name)
    }

    fn at(name: &str) -> ModelSource {
        path(name).into()
    }

    fn session(name: &str) -> Box<dyn Session> {
        Box::new(EngineSession::open(&path(name), &SessionOptions::default(), NonZeroUsize::new(1)).unwrap())
    }

    fn exchange() -> Exchange {
        Exchange::new(Snapshot { version: 3, source: path("relu.onnx").into(), classes: None })
    }

    #[test]
    fn the_newest_offer_is_taken_once() {
        let exchange = exchange();
        let mut serving = session("relu.onnx");
        assert!(exchange.take(3, &mut serving).is_none());
        assert_eq!(exchange.offer(at("identity.onnx"), None, session("identity.onnx")), 4);
        let classes = Classes::new(["a".into(), "b".into()]);
        assert_eq!(exchange.offer(at("scalar.onnx"), Some(classes.clone()), session("scalar.onnx")), 5);
        assert_eq!(exchange.adopted(), 3, "an offer is no adoption");
        let taken = exchange.take(3, &mut serving).unwrap();
        assert_eq!((taken.version, &taken.source, &taken.classes), (5, &at("scalar.onnx"), &Some(classes)));
        assert_eq!((serving.model(), exchange.adopted()), ("scalar.onnx", 5));
        assert!(exchange.take(5, &mut serving).is_none());
        assert_eq!(exchange.inner().retired.len(), 1);
        exchange.offer(at("relu.onnx"), None, session("relu.onnx"));
        assert!(exchange.inner().retired.is_empty(), "put away by the next offer");
    }

    #[test]
    fn a_stage_that_is_built_anew_begins_with_the_newest() {
        let exchange = exchange();
        assert_eq!(exchange.begin().version, 3);
        exchange.offer(at("identity.onnx"), None, session("identity.onnx"));
        assert_eq!(exchange.begin().source, at("identity.onnx"));
        let mut serving = session("identity.onnx");
        assert_eq!(exchange.adopted(), 4);
        assert!(exchange.take(4, &mut serving).is_none());
        // Even one that says it has another finds nothing that was not built for it.
        assert!(exchange.take(3, &mut serving).is_none());
    }

    #[test]
    fn a_version_may_be_offered_again() {
        let exchange = exchange();
        for name in ["identity.onnx", "scalar.onnx", "identity.onnx"] {
            exchange.offer(at(name), None, session(name));
        }
        let numbers = || exchange.before().iter().map(|known| known.version).collect::<Vec<_>>();
        assert_eq!(numbers(), [3, 4, 5]);
        assert_eq!(exchange.offer_again(5, session("scalar.onnx")), Some(7));
        assert_eq!((exchange.newest().source.clone(), numbers()), (at("scalar.onnx"), vec![3, 4]));
        assert_eq!(exchange.offer_again(9, session("relu.onnx")), None);
        assert_eq!(exchange.offer_again(3, session("relu.onnx")), Some(8));
        assert!(numbers().is_empty());
        (0..50).for_each(|_| _ = exchange.offer(at("relu.onnx"), None, session("relu.onnx")));
        assert_eq!(numbers().len(), REMEMBERED);
    }

    #[test]
    fn a_stage_may_begin_with_a_version_of_an_earlier_run() {
        let exchange = Exchange::new(Snapshot { version: 0, source: at("relu.onnx"), classes: None });
        exchange.begin_with(Snapshot { version: 12, source: at("identity.onnx"), classes: None });
        assert_eq!((exchange.begin().version, exchange.adopted()), (12, 12));
        exchange.begin_with(Snapshot { version: 20, source: at("scalar.onnx"), classes: None });
        assert_eq!(exchange.newest().version, 12, "only once");
        assert_eq!(exchange.offer(at("scalar.onnx"), None, session("scalar.onnx")), 13);
        assert_eq!(exchange.offer_again(0, session("relu.onnx")), Some(14), "the file is remembered too");
    }

    #[test]
    fn offers_and_takes_from_many_threads_never_go_back() {
        let exchange = exchange();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..20).for_each(|_| _ = exchange.offer(at("relu.onnx"), None, session("relu.onnx"))));
            }
            let mut serving = session("relu.onnx");
            let mut have = 3;
            while have < 43 {
                if let Some(taken) = exchange.take(have, &mut serving) {
                    assert!(taken.version > have);
                    have = taken.version;
                }
                std::thread::yield_now();
            }
        });
        assert_eq!(exchange.adopted(), 43);
    }
}
