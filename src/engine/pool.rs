//! Threads for kernels.

use super::error::EngineError;

/// The threads that kernels of one network share. They sleep when there is nothing to do.
///
/// Work is cut by its size and the number of threads alone, and no piece depends on another, so the same number of
/// threads gives the same bits.
pub struct Pool {
    threads: usize,
    rayon: Option<rayon::ThreadPool>,
}

impl Pool {
    /// A pool of `threads` threads (0: one for each core). One thread is the caller's own.
    pub fn new(threads: usize) -> Result<Self, EngineError> {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        if threads == 1 {
            return Ok(Pool { threads, rayon: None });
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("percept-engine-{index}"))
            .build()
            .map_err(|error| EngineError::Threads { threads, reason: error.to_string() })?;
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

/// Nanoseconds of work below which waking another thread costs more than it gains.
const WORTH_A_THREAD: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

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
