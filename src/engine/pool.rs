//! Threads for kernels.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::error::EngineError;

/// The pools that networks share, by their number of threads, while somebody uses them.
static SHARED: Mutex<Vec<(usize, Weak<rayon::ThreadPool>)>> = Mutex::new(Vec::new());

/// The threads that kernels of one network share. They sleep when there is nothing to do.
///
/// Work is cut by its size and the number of threads alone, and no piece depends on another, so the same number of
/// threads gives the same bits.
pub struct Pool {
    threads: usize,
    rayon: Option<Arc<rayon::ThreadPool>>,
}

impl Pool {
    /// A pool of `threads` threads (0: one for each core). One thread is the caller's own.
    pub fn new(threads: usize) -> Result<Self, EngineError> {
        let threads = number(threads);
        if threads == 1 {
            return Ok(Pool { threads, rayon: None });
        }
        Ok(Pool { threads, rayon: Some(Arc::new(start(threads)?)) })
    }

    /// A pool of `threads` threads (0: one for each core) which it shares with every other that asks for so many here.
    pub fn shared(threads: usize) -> Result<Self, EngineError> {
        let threads = number(threads);
        if threads == 1 {
            return Ok(Pool { threads, rayon: None });
        }
        let mut pools = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|(_, pool)| pool.strong_count() > 0);
        let running = pools.iter().find(|(known, _)| *known == threads).and_then(|(_, pool)| pool.upgrade());
        let pool = match running {
            Some(pool) => pool,
            None => {
                let pool = Arc::new(start(threads)?);
                pools.push((threads, Arc::downgrade(&pool)));
                pool
            }
        };
        Ok(Pool { threads, rayon: Some(pool) })
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `work` where its kernels may use all threads.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.rayon {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }

    /// Runs both, at the same time where there are two threads.
    pub fn join<A: Send, B: Send>(
        &self,
        first: impl FnOnce() -> A + Send,
        second: impl FnOnce() -> B + Send,
    ) -> (A, B) {
        match &self.rayon {
            Some(_) => rayon::join(first, second),
            None => (first(), second()),
        }
    }

    /// Cuts `elements` into pieces of `size` (the last may be shorter) and calls `work` with the number and the
    /// elements of each, on as many threads as `cost` is worth: about the nanoseconds that the whole takes on one.
    pub fn for_pieces<T: Send>(
        &self,
        elements: &mut [T],
        size: usize,
        cost: usize,
        work: impl Fn(usize, &mut [T]) + Sync,
    ) {
        let size = size.max(1);
        let count = elements.len().div_ceil(size);
        let parts = self.threads.min(count).min(cost / WORTH_A_THREAD + 1);
        self.run_parts(elements, size, 0, count, parts, &work);
    }

    fn run_parts<T: Send>(
        &self,
        elements: &mut [T],
        size: usize,
        first: usize,
        count: usize,
        parts: usize,
        work: &(impl Fn(usize, &mut [T]) + Sync),
    ) {
        if parts <= 1 {
            for (index, piece) in elements.chunks_mut(size).enumerate() {
                work(first + index, piece);
            }
            return;
        }
        let half = parts / 2;
        let pieces = count * half / parts;
        let (left, right) = elements.split_at_mut((pieces * size).min(elements.len()));
        self.join(
            || self.run_parts(left, size, first, pieces, half, work),
            || self.run_parts(right, size, first + pieces, count - pieces, parts - half, work),
        );
    }
}

fn number(threads: usize) -> usize {
    match threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    }
}

fn start(threads: usize) -> Result<rayon::ThreadPool, EngineError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|index| format!("percept-engine-{index}"))
        .build()
        .map_err(|error| EngineError::Threads { threads, reason: error.to_string() })
}

/// Nanoseconds of work below which waking another thread costs more than it gains.
const WORTH_A_THREAD: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_ask_for_as_many_share() {
        let (a, b, own) = (Pool::shared(2).unwrap(), Pool::shared(2).unwrap(), Pool::new(2).unwrap());
        let same = |a: &Pool, b: &Pool| Arc::ptr_eq(a.rayon.as_ref().unwrap(), b.rayon.as_ref().unwrap());
        assert!(same(&a, &b) && !same(&a, &own) && !same(&a, &Pool::shared(3).unwrap()));
    }

    #[test]
    fn every_piece_is_visited_once_with_its_number() {
        for threads in [1, 2, 3] {
            let pool = Pool::new(threads).unwrap();
            for (len, size) in [(0, 3), (1, 3), (10, 3), (12, 3), (7, 100), (5, 0)] {
                let mut elements = vec![0usize; len];
                pool.install(|| {
                    pool.for_pieces(&mut elements, size, usize::MAX, |index, piece| {
                        piece.iter_mut().for_each(|element| *element += index + 1);
                    });
                });
                let expected: Vec<usize> = (0..len).map(|i| i / size.max(1) + 1).collect();
                assert_eq!(elements, expected, "{threads} threads, {len} by {size}");
            }
        }
    }
}
