//! The clock: the only place that asks the system for the time.
//!
//! Everything in percept that decides by time takes a [`Clock`], so tests, files and replays run on a [`VirtualClock`]
//! whose time moves only when somebody says so, and give the same result on every run.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use super::TimeSpan;

/// A reading of a [`Clock`]: nanoseconds since the clock's own zero. Only differences have a meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClockInstant(i64);

impl ClockInstant {
    /// The reading `nanoseconds` after the clock's zero.
    pub const fn from_nanos(nanoseconds: i64) -> Self {
        ClockInstant(nanoseconds)
    }

    /// Nanoseconds since the clock's zero.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// The span from `earlier` to this reading.
    pub const fn since(self, earlier: ClockInstant) -> TimeSpan {
        TimeSpan::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The reading `span` later.
    pub const fn after(self, span: TimeSpan) -> ClockInstant {
        ClockInstant(self.0.saturating_add(span.as_nanos()))
    }
}

/// A source of monotonic time that can also be waited for.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The present reading. Never goes back.
    fn now(&self) -> ClockInstant;

    /// The time of day, as metadata only: it may jump.
    fn wall(&self) -> SystemTime;

    /// Completes when the clock reads `deadline` or later. On a system clock it must be polled inside a tokio runtime.
    fn sleep_until(&self, deadline: ClockInstant) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Blocks the calling thread until the clock reads `deadline` or later, for at most `at_most` of real time.
    fn block_until(&self, deadline: ClockInstant, at_most: Duration);

    /// Whether time moves only when somebody advances it. Then no decision may depend on how long a computation took.
    fn is_virtual(&self) -> bool;
}

/// The system's monotonic clock; its zero is the moment of its creation.
#[derive(Debug)]
pub struct SystemClock {
    zero: Instant,
}

impl SystemClock {
    /// A clock that reads zero now.
    pub fn new() -> Self {
        SystemClock { zero: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> ClockInstant {
        ClockInstant(i64::try_from(self.zero.elapsed().as_nanos()).unwrap_or(i64::MAX))
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn sleep_until(&self, deadline: ClockInstant) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let instant = self.zero + Duration::from_nanos(deadline.0.max(0) as u64);
        Box::pin(tokio::time::sleep_until(instant.into()))
    }

    fn block_until(&self, deadline: ClockInstant, at_most: Duration) {
        let span = deadline.since(self.now()).to_std();
        if !span.is_zero() {
            std::thread::sleep(span.min(at_most));
        }
    }

    fn is_virtual(&self) -> bool {
        false
    }
}

/// A clock that stands still until [`advance`](VirtualClock::advance) is called.
#[derive(Debug, Default)]
pub struct VirtualClock {
    state: Mutex<VirtualState>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct VirtualState {
    now: ClockInstant,
    wakers: Vec<(ClockInstant, Waker)>,
}

impl VirtualClock {
    /// A clock that reads zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock on by `span` (a negative span is ignored) and wakes whoever waited for a moment now passed.
    pub fn advance(&self, span: TimeSpan) {
        let mut woken = Vec::new();
        {
            let mut state = self.lock();
            state.now = state.now.max(state.now.after(span));
            let now = state.now;
            state.wakers.retain(|(deadline, waker)| {
                let due = *deadline <= now;
                if due {
                    woken.push(waker.clone());
                }
                !due
            });
        }
        self.moved.notify_all();
        woken.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, VirtualState> {
        // The state is a number and a list of wakers: whole after any panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> ClockInstant {
        self.lock().now
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.now().0.max(0) as u64)
    }

    fn sleep_until(&self, deadline: ClockInstant) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(VirtualSleep { clock: self, deadline })
    }

    fn block_until(&self, deadline: ClockInstant, at_most: Duration) {
        let state = self.lock();
        // The result says only whether the real-time limit ended the wait; the caller reads the clock again.
        let _ = self.moved.wait_timeout_while(state, at_most, |state| state.now < deadline);
    }

    fn is_virtual(&self) -> bool {
        true
    }
}

struct VirtualSleep<'a> {
    clock: &'a VirtualClock,
    deadline: ClockInstant,
}

impl Future for VirtualSleep<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.clock.lock();
        if state.now >= self.deadline {
            return Poll::Ready(());
        }
        let known =
            state.wakers.iter().any(|(deadline, waker)| *deadline == self.deadline && waker.will_wake(cx.waker()));
        if !known {
            state.wakers.push((self.deadline, cx.waker().clone()));
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_virtual_clock_moves_only_forward_and_only_when_told() {
        let clock = VirtualClock::new();
        assert_eq!(clock.now(), ClockInstant::default());
        clock.advance(TimeSpan::from_millis(5));
        clock.advance(TimeSpan::from_millis(-9));
        assert_eq!(clock.now().as_nanos(), 5_000_000);
    }

    #[tokio::test]
    async fn sleepers_wake_at_their_moment() {
        let clock = Arc::new(VirtualClock::new());
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep_until(ClockInstant::from_nanos(10)).await }
        });
        tokio::task::yield_now().await;
        clock.advance(TimeSpan::from_nanos(9));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.advance(TimeSpan::from_nanos(1));
        sleeper.await.unwrap();
    }

    #[test]
    fn a_blocked_thread_returns_after_its_real_time_limit() {
        VirtualClock::new().block_until(ClockInstant::from_nanos(1), Duration::from_millis(1));
    }
}
