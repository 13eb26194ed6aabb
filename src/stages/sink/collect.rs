//! `collect`: hands packets to the program that runs the pipeline. For robots, tests and servers: audio in, results out,
//! no file between.
//!
//! [`Collect::new`] gives the stage and the receiving end together. When the stage comes from YAML, the program
//! subscribes to its [`Hub`]; a subscriber gets what comes after that, so it subscribes before the pipeline starts to
//! miss nothing. Packets that come while nobody is subscribed go nowhere; they are counted and told of at the end of
//! their stream.
//!
//! Each subscriber has a queue of its own, bounded per stream. When a subscriber does not read, `overflow: block` makes
//! the pipeline wait for it, and `drop_oldest` drops the oldest packet of that stream, counts it and tells of it.

use std::any::Any;
use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::SinkError;
use super::collect_queue::{Put, Queue};
use crate::media::{Format, Packet, StreamInfo};
use crate::stage::{
    Blueprint, Canceller, Contract, ContractFault, EventKind, Input, Kind, Opened, Output, Role, Runnable, Stage,
    StageError,
};

/// What happens to a packet when a subscriber's queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CollectOverflow {
    /// The stage waits for the subscriber: nothing is lost.
    #[default]
    Block,
    /// The oldest packet of the stream is dropped from the queue.
    DropOldest,
}

/// Settings of `collect`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Collect {
    /// What happens when a subscriber does not read: `block` or `drop_oldest`. Default: `block`.
    #[serde(default)]
    pub overflow: CollectOverflow,
    #[serde(skip)]
    feed: Arc<Feed>,
}

/// The writing end of a hub: its subscriptions end when the last blueprint and the last stage with it are gone.
#[derive(Debug, Default)]
struct Feed(Arc<Hub>);

impl Drop for Feed {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Collect {
    /// The stage, and a receiver that is subscribed to it with room for `capacity` packets of each stream (at least 1).
    pub fn new(capacity: usize) -> (Collect, Collected) {
        let collect = Collect::default();
        let collected = collect.hub().subscribe(capacity);
        (collect, collected)
    }

    /// Drops the oldest packet instead of waiting for a subscriber that does not read.
    #[must_use]
    pub fn drop_oldest(mut self) -> Self {
        self.overflow = CollectOverflow::DropOldest;
        self
    }

    /// Where programs subscribe. It is the same for all clones of this config and all stages built from them.
    pub fn hub(&self) -> Arc<Hub> {
        self.feed.0.clone()
    }
}

/// The subscriptions to a `collect` stage.
#[derive(Debug, Default)]
pub struct Hub {
    queues: Mutex<Vec<Arc<Queue>>>,
    unclaimed: AtomicU64,
    /// The wait for a subscriber that is under way, or else the next one, comes back.
    cancelled: AtomicBool,
}

impl Hub {
    /// A receiver of what comes from now on, with room for `capacity` packets of each stream (at least 1).
    pub fn subscribe(&self, capacity: usize) -> Collected {
        let queue = Arc::new(Queue::new(capacity));
        self.lock().push(queue.clone());
        Collected { queue }
    }

    /// Ends all subscriptions there are: their receivers take what waits, and then learn that it was all. For whoever
    /// runs the pipeline, at its end.
    pub fn close(&self) {
        for queue in self.lock().drain(..) {
            queue.end();
        }
    }

    /// How many receivers there are.
    pub fn subscribers(&self) -> usize {
        let mut queues = self.lock();
        queues.retain(|queue| queue.is_open());
        queues.len()
    }

    /// Packets so far that came while nobody was subscribed.
    pub fn unclaimed(&self) -> u64 {
        self.unclaimed.load(Ordering::Relaxed)
    }

    /// The queues as they are now; none is locked while a packet waits for room in another.
    fn queues(&self) -> Vec<Arc<Queue>> {
        self.lock().clone()
    }

    fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        self.queues().iter().for_each(|queue| queue.recheck());
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Queue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A packet that came to a `collect` stage.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Received {
    /// The name of its stream.
    pub stream: Arc<str>,
    /// The packet.
    pub packet: Packet,
}

/// Why there is no packet.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoPacket {
    /// None has come yet.
    #[error("no packet has come yet")]
    Yet,
    /// That was all: the pipeline has ended.
    #[error("the pipeline has ended: no more packets come")]
    Ended,
}

/// The receiving end of a subscription. Dropping it unsubscribes.
///
/// It works from any thread, and as a future in any executor.
pub struct Collected {
    queue: Arc<Queue>,
}

impl Collected {
    /// The next packet; waits for it. `None`: that was all.
    pub fn recv(&mut self) -> Option<Received> {
        match self.queue.take(None) {
            Poll::Ready(received) => received,
            // Without a time limit it comes back only with a packet or at the end.
            Poll::Pending => None,
        }
    }

    /// The next packet; waits at most `timeout` for it.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Received, NoPacket> {
        or_why(self.queue.take(Some(timeout)))
    }

    /// The next packet, if it is there.
    pub fn try_recv(&mut self) -> Result<Received, NoPacket> {
        or_why(self.queue.try_take())
    }

    /// The next packet; `None`: that was all. Cancel safe: a packet is only taken by a future that gives it.
    pub async fn next(&mut self) -> Option<Received> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// The next packet, for those who write a stream or a future of their own.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Received>> {
        self.queue.poll_take(context)
    }

    /// Packets that `overflow: drop_oldest` has dropped from this subscription so far.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped()
    }
}

fn or_why(taken: Poll<Option<Received>>) -> Result<Received, NoPacket> {
    match taken {
        Poll::Ready(Some(received)) => Ok(received),
        Poll::Ready(None) => Err(NoPacket::Ended),
        Poll::Pending => Err(NoPacket::Yet),
    }
}

impl fmt::Debug for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collected").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

impl Drop for Collected {
    fn drop(&mut self) {
        self.queue.leave();
    }
}

impl Blueprint for Collect {
    fn contract(&self) -> Contract {
        // A packet waits for its subscribers as long as it takes.
        Contract::new().input("in", Format::Any).deadline(None)
    }

    fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(Vec::new())
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(CollectStage(self.clone())))
    }

    /// The [`Hub`].
    fn handle(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(self.hub())
    }
}

/// An example.
pub const EXAMPLE: &str = "\
percept: 1
name: robot
stages:
  - capture: microphone
  - sink: collect
    overflow: drop_oldest
";

/// The registry's entry.
pub const KIND: Kind =
    Kind::plain::<Collect>("collect", Role::Sink, "hands packets to the program that runs the pipeline", EXAMPLE);

struct CollectStage(Collect);

/// What is known of a stream.
struct Stream {
    name: Arc<str>,
    unclaimed: u64,
    dropped: u64,
}

impl Stage for CollectStage {
    type State = Stream;

    fn open(&mut self, stream: &StreamInfo, _: &[Format]) -> Result<Opened<Stream>, StageError> {
        Ok(Opened { state: Stream { name: stream.name.clone(), unclaimed: 0, dropped: 0 }, outputs: Vec::new() })
    }

    fn process(&mut self, state: &mut Stream, input: Input, out: &mut Output) -> Result<(), StageError> {
        let hub = &self.0.feed.0;
        let displace = self.0.overflow == CollectOverflow::DropOldest;
        let received = Received { stream: state.name.clone(), packet: input.packet };
        let (mut claimed, mut gone) = (false, false);
        for queue in hub.queues() {
            match queue.put(received.clone(), displace, &hub.cancelled) {
                Put::Waits => claimed = true,
                Put::Displaced => {
                    claimed = true;
                    state.dropped += 1;
                    if state.dropped == 1 {
                        out.event(EventKind::Notice, "a subscriber does not keep up: its oldest packets are dropped");
                    }
                }
                Put::Refused => gone = true,
                Put::Cancelled => return Err(SinkError::Cancelled.into()),
            }
        }
        if gone {
            hub.subscribers();
        }
        if !claimed {
            state.unclaimed += 1;
            hub.unclaimed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn flush(&mut self, state: &mut Stream, out: &mut Output) -> Result<(), StageError> {
        if state.unclaimed > 0 {
            out.event(EventKind::Notice, format!("{} packets came while nobody was subscribed", state.unclaimed));
        }
        if state.dropped > 0 {
            out.event(EventKind::Notice, format!("{} packets were dropped from full subscriptions", state.dropped));
        }
        Ok(())
    }

    fn canceller(&self) -> Option<Canceller> {
        let hub = self.0.hub();
        Some(Canceller::new(move || hub.cancel()))
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::media::StreamId;
    use crate::stage::{AnyState, StageObject};
    use crate::stages::sink::kit::{packet, stream};
    use crate::tensor::Tensor;

    /// A stage as the runtime holds it, with one open stream.
    struct Running {
        stage: StageObject,
        state: AnyState,
        out: Output,
    }

    impl Running {
        fn new(collect: &Collect) -> Running {
            let Ok(Runnable::Stage(mut stage)) = collect.build() else { panic!("it builds a stage") };
            let state = stage.open(&stream(0, "mic"), &[Format::Any]).unwrap().state;
            Running { stage, state, out: Output::new() }
        }

        fn push(&mut self, value: i64) -> Result<(), StageError> {
            let packet = packet(value, value + 1, Tensor::scalar(value));
            self.stage.process(&mut self.state, Input { port: 0, packet }, &mut self.out)
        }

        fn events(&mut self) -> Vec<String> {
            self.stage.flush(&mut self.state, &mut self.out).unwrap();
            self.out.drain_events().map(|event| event.message).collect()
        }
    }

    fn value(received: &Received) -> i64 {
        assert_eq!((&*received.stream, received.packet.stream), ("mic", StreamId(0)));
        received.packet.payload.tensor().unwrap().as_slice::<i64>().unwrap()[0]
    }

    fn values(collected: &mut Collected) -> Vec<i64> {
        std::iter::from_fn(|| collected.try_recv().ok()).map(|received| value(&received)).collect()
    }

    #[test]
    fn every_way_of_receiving() {
        let (collect, mut collected) = Collect::new(8);
        let mut running = Running::new(&collect);
        assert_eq!(collected.try_recv().unwrap_err(), NoPacket::Yet);
        assert_eq!(collected.recv_timeout(Duration::from_millis(1)).unwrap_err(), NoPacket::Yet);
        for number in 0..5 {
            running.push(number).unwrap();
        }
        assert_eq!(value(&collected.recv().unwrap()), 0);
        assert_eq!(value(&collected.recv_timeout(Duration::ZERO).unwrap()), 1);
        assert_eq!(value(&collected.try_recv().unwrap()), 2);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(value(&runtime.block_on(collected.next()).unwrap()), 3);
        assert_eq!(running.events(), [""; 0]);
        drop((collect, running));
        assert_eq!(value(&collected.recv().unwrap()), 4);
        assert!(collected.recv().is_none());
        assert!(runtime.block_on(collected.next()).is_none());
        assert_eq!(collected.try_recv().unwrap_err(), NoPacket::Ended);
        assert_eq!(collected.recv_timeout(Duration::from_secs(9)).unwrap_err(), NoPacket::Ended);
    }

    #[test]
    fn a_future_is_woken_by_a_packet_and_by_the_end() {
        let (collect, mut collected) = Collect::new(1);
        let mut running = Running::new(&collect);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            assert!(collected.poll_next(&mut Context::from_waker(Waker::noop())).is_pending());
            let reader =
                async { (collected.next().await.map(|received| value(&received)), collected.next().await.is_none()) };
            let writer = async {
                tokio::task::yield_now().await;
                running.push(7).unwrap();
                tokio::task::yield_now().await;
                drop((collect, running));
            };
            assert_eq!(tokio::join!(reader, writer).0, (Some(7), true));
        });
    }

    #[test]
    fn a_restarted_stage_feeds_the_same_subscribers() {
        let (collect, mut collected) = Collect::new(8);
        for number in 0..3 {
            Running::new(&collect.clone()).push(number).unwrap();
        }
        assert_eq!(values(&mut collected), [0, 1, 2]);
    }

    #[test]
    fn who_comes_later_gets_what_comes_later() {
        let collect = Collect::default();
        let mut running = Running::new(&collect);
        running.push(0).unwrap();
        let (mut first, mut second) = (collect.hub().subscribe(8), collect.hub().subscribe(8));
        running.push(1).unwrap();
        drop(first.recv());
        drop(first);
        running.push(2).unwrap();
        assert_eq!(collect.hub().subscribers(), 1);
        assert_eq!(values(&mut second), [1, 2]);
        drop(second);
        running.push(3).unwrap();
        assert_eq!(collect.hub().unclaimed(), 2);
        assert_eq!(running.events(), ["2 packets came while nobody was subscribed"]);
    }

    #[test]
    fn drop_oldest_keeps_the_newest_and_tells() {
        let (collect, mut collected) = Collect::new(2);
        let collect = collect.drop_oldest();
        let mut running = Running::new(&collect);
        for number in 0..5 {
            running.push(number).unwrap();
        }
        assert_eq!(collected.dropped(), 3);
        assert_eq!(values(&mut collected), [3, 4]);
        assert_eq!(
            running.events(),
            [
                "a subscriber does not keep up: its oldest packets are dropped",
                "3 packets were dropped from full subscriptions"
            ]
        );
    }

    #[test]
    fn block_waits_for_the_subscriber_and_loses_nothing() {
        let (collect, mut collected) = Collect::new(1);
        let writer = std::thread::spawn(move || {
            let mut running = Running::new(&collect);
            (0..100).for_each(|number| running.push(number).unwrap());
        });
        let received: Vec<i64> = std::iter::from_fn(|| collected.recv()).map(|received| value(&received)).collect();
        assert_eq!(received, (0..100).collect::<Vec<_>>());
        writer.join().unwrap();
    }

    #[test]
    fn a_wait_can_be_cancelled_and_the_next_call_works() {
        let (collect, mut collected) = Collect::new(1);
        let mut running = Running::new(&collect);
        let canceller = running.stage.canceller().unwrap();
        running.push(0).unwrap();
        let waiting = std::thread::spawn(move || (running.push(1), running));
        canceller.cancel();
        let (result, mut running) = waiting.join().unwrap();
        assert!(matches!(result, Err(StageError::Skip(_))), "{result:?}");
        assert_eq!(values(&mut collected), [0]);
        running.push(2).unwrap();
        assert_eq!(values(&mut collected), [2]);
    }

    #[test]
    fn closing_ends_subscriptions_and_frees_a_waiting_stage() {
        let (collect, mut collected) = Collect::new(1);
        let mut running = Running::new(&collect);
        running.push(0).unwrap();
        let waiting = std::thread::spawn(move || running.push(1));
        collect.hub().close();
        waiting.join().unwrap().unwrap();
        assert_eq!(value(&collected.recv().unwrap()), 0);
        assert!(collected.recv().is_none());
    }
}
