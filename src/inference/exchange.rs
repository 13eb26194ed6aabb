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

/// Something newer was offered than what an offer was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superseded {
    /// The newest version.
    pub newest: u32,
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
    /// How many of those are remembered.
    remembered: usize,
}

/// Versions that are remembered to go back to, where nobody says how many.
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
                remembered: REMEMBERED,
            }),
        }
    }

    /// Sets how many versions are remembered beside the newest, to go back to. Those that are no files take memory.
    pub fn remember(&self, versions: usize) {
        let mut inner = self.inner();
        inner.remembered = versions.max(1);
        inner.forget();
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
    /// will be. With `over` only where that version is the newest: so nobody undoes what he has not seen.
    pub fn offer(
        &self,
        source: ModelSource,
        classes: Option<Classes>,
        session: Box<dyn Session>,
        over: Option<u32>,
    ) -> Result<u32, Superseded> {
        let mut inner = self.expecting(over)?;
        let newest = inner.newest.clone();
        inner.before.push_back(newest);
        inner.forget();
        Ok(self.put(inner, source, classes, session))
    }

    /// The same for a version that served before: what came after it is forgotten. `None` where it is not remembered.
    pub fn offer_again(
        &self,
        version: u32,
        session: Box<dyn Session>,
        over: Option<u32>,
    ) -> Result<Option<u32>, Superseded> {
        let mut inner = self.expecting(over)?;
        let Some(place) = inner.before.iter().position(|known| known.version == version) else { return Ok(None) };
        let known = inner.before.drain(place..).next();
        Ok(known.map(|known| self.put(inner, known.source.clone(), known.classes.clone(), session)))
    }

    fn expecting(&self, over: Option<u32>) -> Result<MutexGuard<'_, Inner>, Superseded> {
        let inner = self.inner();
        match inner.newest.version {
            newest if over.is_some_and(|over| over != newest) => Err(Superseded { newest }),
            _ => Ok(inner),
        }
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

impl Inner {
    fn forget(&mut self) {
        let most = self.before.len().saturating_sub(self.remembered);
        self.before.drain(..most);
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

    fn offer(exchange: &Exchange, name: &str) -> u32 {
        exchange.offer(at(name), None, session(name), None).unwrap()
    }

    #[test]
    fn what_is_newer_than_was_known_is_not_undone() {
        let exchange = exchange();
        assert_eq!(offer(&exchange, "identity.onnx"), 4);
        let (source, newer) = (at("scalar.onnx"), Err(Superseded { newest: 4 }));
        assert_eq!(exchange.offer(source.clone(), None, session("scalar.onnx"), Some(3)), newer);
        assert_eq!(exchange.offer_again(3, session("relu.onnx"), Some(3)).unwrap_err().newest, 4);
        assert_eq!((exchange.newest().version, exchange.before().len()), (4, 1));
        assert_eq!(exchange.offer(source, None, session("scalar.onnx"), Some(4)), Ok(5));
    }

    #[test]
    fn the_newest_offer_is_taken_once() {
        let exchange = exchange();
        let mut serving = session("relu.onnx");
        assert!(exchange.take(3, &mut serving).is_none());
        assert_eq!(offer(&exchange, "identity.onnx"), 4);
        let classes = Classes::new(["a".into(), "b".into()]);
        assert_eq!(exchange.offer(at("scalar.onnx"), Some(classes.clone()), session("scalar.onnx"), None), Ok(5));
        assert_eq!(exchange.adopted(), 3, "an offer is no adoption");
        let taken = exchange.take(3, &mut serving).unwrap();
        assert_eq!((taken.version, &taken.source, &taken.classes), (5, &at("scalar.onnx"), &Some(classes)));
        assert_eq!((serving.model(), exchange.adopted()), ("scalar.onnx", 5));
        assert!(exchange.take(5, &mut serving).is_none());
        assert_eq!(exchange.inner().retired.len(), 1);
        offer(&exchange, "relu.onnx");
        assert!(exchange.inner().retired.is_empty(), "put away by the next offer");
    }

    #[test]
    fn a_stage_that_is_built_anew_begins_with_the_newest() {
        let exchange = exchange();
        assert_eq!(exchange.begin().version, 3);
        offer(&exchange, "identity.onnx");
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
            offer(&exchange, name);
        }
        let numbers = || exchange.before().iter().map(|known| known.version).collect::<Vec<_>>();
        assert_eq!(numbers(), [3, 4, 5]);
        assert_eq!(exchange.offer_again(5, session("scalar.onnx"), Some(6)), Ok(Some(7)));
        assert_eq!((exchange.newest().source.clone(), numbers()), (at("scalar.onnx"), vec![3, 4]));
        assert_eq!(exchange.offer_again(9, session("relu.onnx"), None), Ok(None));
        assert_eq!(exchange.offer_again(3, session("relu.onnx"), None), Ok(Some(8)));
        assert!(numbers().is_empty());
        (0..50).for_each(|_| _ = offer(&exchange, "relu.onnx"));
        assert_eq!(numbers().len(), REMEMBERED);
        exchange.remember(2);
        assert_eq!(numbers(), [56, 57]);
        offer(&exchange, "relu.onnx");
        assert_eq!(numbers(), [57, 58]);
    }

    #[test]
    fn a_stage_may_begin_with_a_version_of_an_earlier_run() {
        let exchange = Exchange::new(Snapshot { version: 0, source: at("relu.onnx"), classes: None });
        exchange.begin_with(Snapshot { version: 12, source: at("identity.onnx"), classes: None });
        assert_eq!((exchange.begin().version, exchange.adopted()), (12, 12));
        exchange.begin_with(Snapshot { version: 20, source: at("scalar.onnx"), classes: None });
        assert_eq!(exchange.newest().version, 12, "only once");
        assert_eq!(offer(&exchange, "scalar.onnx"), 13);
        assert_eq!(exchange.offer_again(0, session("relu.onnx"), None), Ok(Some(14)), "the file is remembered too");
    }

    #[test]
    fn offers_and_takes_from_many_threads_never_go_back() {
        let exchange = exchange();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..20).for_each(|_| _ = offer(&exchange, "relu.onnx")));
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
