//! Reading minibatches ahead, in the background.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::{BadSample, Batch, Batches, DataError};

/// What the thread sends: a result, and the bad samples found on the way to it.
enum Progress {
    Batch(Result<Batch, DataError>, Vec<BadSample>),
    End(Vec<BadSample>),
}

/// The minibatches of [`Batches`], the same bits in the same order, read by a thread that stays at most
/// [`ahead`](super::BatchSettings::ahead) minibatches in front.
///
/// Dropping it ends the thread, after the sample that it is reading.
pub struct Loader {
    progress: Option<Receiver<Progress>>,
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    bad: Vec<BadSample>,
}

impl Loader {
    /// Starts reading.
    pub fn start(batches: Batches) -> Result<Self, DataError> {
        let (sender, receiver) = sync_channel(batches.settings().ahead.clamp(1, 1024));
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = std::thread::Builder::new()
            .name("percept-data".into())
            .spawn(move || read(batches, &sender, &seen))
            .map_err(|error| DataError::Stopped { reason: format!("no thread: {error}") })?;
        Ok(Loader { progress: Some(receiver), thread: Some(thread), stop, bad: Vec::new() })
    }

    /// The bad samples that were met on the way to the last minibatch given.
    pub fn bad(&self) -> &[BadSample] {
        &self.bad
    }

    /// Ends the thread and waits for it; its panic's message, if it did.
    fn join(&mut self) -> Option<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.progress = None;
        let panic = self.thread.take()?.join().err()?;
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Some(text.unwrap_or_else(|| "a panic".into()))
    }
}

fn read(mut batches: Batches, sender: &SyncSender<Progress>, stop: &AtomicBool) {
    let mut bad = 0;
    while !stop.load(Ordering::Relaxed) {
        let result = batches.next_after(bad);
        let found = batches.take_bad();
        bad += found.len();
        let ended = result.is_none();
        let progress = match result {
            Some(result) => Progress::Batch(result, found),
            None => Progress::End(found),
        };
        // A receiver that is gone wants no more.
        if sender.send(progress).is_err() || ended {
            return;
        }
    }
}

impl Iterator for Loader {
    type Item = Result<Batch, DataError>;

    /// The next minibatch, waiting for it; after an error comes nothing more. A panic in the data set is an error.
    fn next(&mut self) -> Option<Self::Item> {
        match self.progress.as_ref()?.recv() {
            Ok(Progress::Batch(result, bad)) => {
                self.bad.extend(bad);
                if result.is_err() {
                    self.join();
                }
                Some(result)
            }
            Ok(Progress::End(bad)) => {
                self.bad.extend(bad);
                self.join();
                None
            }
            Err(_) => {
                let reason = self.join().unwrap_or_else(|| "the thread left".into());
                Some(Err(DataError::Stopped { reason }))
            }
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.join();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::testing::numbered;
    use super::super::{BatchSettings, DataSet, Memory, Sample, epoch_order};
    use super::*;

    /// Counts reads; slow at some samples, bad or panicking at one.
    struct Trial {
        inner: Memory,
        reads: Arc<AtomicUsize>,
        slow: bool,
        bad: Option<usize>,
        panics: Option<usize>,
    }

    impl Trial {
        fn new(count: usize) -> Self {
            Trial { inner: numbered(count), reads: Arc::default(), slow: false, bad: None, panics: None }
        }

        fn batches(self, size: usize, ahead: usize, max_bad: usize) -> Batches {
            let order = epoch_order(self.len(), 1, 1);
            let settings = BatchSettings { size, ahead, max_bad, drop_last: false };
            Batches::new(Arc::new(self), order, settings, 1, None).unwrap()
        }
    }

    impl DataSet for Trial {
        fn len(&self) -> usize {
            self.inner.len()
        }

        fn sample(&self, index: usize) -> Result<Sample, DataError> {
            self.reads.fetch_add(1, Ordering::SeqCst);
            if self.slow && index.is_multiple_of(3) {
                std::thread::sleep(Duration::from_micros(200));
            }
            assert_ne!(Some(index), self.panics, "no such luck");
            if self.bad == Some(index) {
                return Err(DataError::setting("trial", "luck", index));
            }
            self.inner.sample(index)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn the_loader_gives_what_batches_give(
            count in 0usize..40,
            size in 1usize..7,
            ahead in 1usize..4,
            bad in prop::option::of(0usize..40),
            max_bad in 0usize..2,
        ) {
            let trial = |slow| Trial { slow, bad, ..Trial::new(count) }.batches(size, ahead, max_bad);
            let mut direct = trial(false);
            let mut loader = Loader::start(trial(true)).unwrap();
            loop {
                let (expected, found) = (direct.next(), loader.next());
                prop_assert_eq!(format!("{expected:?}"), format!("{found:?}"));
                prop_assert_eq!(format!("{:?}", direct.bad()), format!("{:?}", loader.bad()));
                if expected.is_none() {
                    break;
                }
            }
            prop_assert!(loader.next().is_none());
        }
    }

    #[test]
    fn it_reads_ahead_within_bounds_and_stops_when_dropped() {
        let trial = Trial::new(1000);
        let reads = trial.reads.clone();
        let mut loader = Loader::start(trial.batches(10, 2, 0)).unwrap();
        loader.next().unwrap().unwrap();
        // One taken, two in the queue, one waiting for a place.
        let deadline = 400;
        for _ in 0..deadline {
            if reads.load(Ordering::SeqCst) == 40 {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(reads.load(Ordering::SeqCst), 40);
        drop(loader);
        assert!(reads.load(Ordering::SeqCst) <= 50);
    }

    #[test]
    fn a_panic_of_the_data_set_is_an_error() {
        let trial = Trial { panics: Some(7), ..Trial::new(10) };
        let mut loader = Loader::start(trial.batches(1, 4, 10)).unwrap();
        let error = loader.find_map(Result::err).unwrap();
        assert!(matches!(&error, DataError::Stopped { reason } if reason.contains("no such luck")), "{error}");
        assert!(loader.next().is_none());
    }
}
