//! The links alone: latency of a hop at three sizes, and packets per second through five stages with full books, each
//! beside a bare tokio channel that does the same, in turn, in one process.
//!
//! `cargo bench --bench links` for both, `… -- hop` or `… -- packets` for one. Prints medians over rounds; asserts
//! nothing.
#![allow(clippy::unwrap_used, reason = "a bench stops where something is wrong")]

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use percept::media::{Format, Packet, Payload, StreamId, StreamInfo};
use percept::pipeline::Builder;
use percept::runtime::{Running, StartOptions};
use percept::stage::{
    Blueprint, BoxFuture, Capture, CaptureContext, Contract, ContractFault, Draft, Flow, Input, Opened, Output,
    Runnable, Source, SourceInfo, Stage, StageError,
};
use percept::tensor::Buffer;
use percept::units::{TimeSpan, Timestamp};

fn main() {
    // Cargo adds `--bench`.
    let parts: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let asked = |part: &str| parts.is_empty() || parts.iter().any(|asked| asked == part);
    if asked("hop") {
        hops();
    }
    if asked("packets") {
        packets();
    }
}

fn hops() {
    println!("hop latency, paced at 1,000 packets a second, µs (median of 5 rounds of 2,000 packets)");
    println!("{:>10}  {:>10} {:>10}  {:>10} {:>10}", "payload", "percept", "", "tokio mpsc", "");
    println!("{:>10}  {:>10} {:>10}  {:>10} {:>10}", "", "p50", "p99", "p50", "p99");
    for (name, size) in [("64 B", 64usize), ("4 KB", 4096), ("4 MB", 4 << 20)] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            ours.push(hop_percept(size, 2000));
            theirs.push(hop_tokio(size, 2000));
        }
        let (our50, our99) = medians(&ours);
        let (their50, their99) = medians(&theirs);
        println!("{name:>10}  {our50:>10.2} {our99:>10.2}  {their50:>10.2} {their99:>10.2}");
    }
    println!();
}

fn packets() {
    println!("packets through five stages (capture, three that pass on, sink), million a second");
    println!("{:>10}  {:>10}  {:>8}", "percept", "tokio mpsc", "ratio");
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..7 {
        let our = throughput_percept(1_000_000);
        let their = throughput_tokio(1_000_000);
        ratios.push(our / their);
        ours.push(our);
        theirs.push(their);
    }
    println!("{:>10.2}  {:>10.2}  {:>8.2}", median(ours), median(theirs), median(ratios));
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn medians(rounds: &[(f64, f64)]) -> (f64, f64) {
    (median(rounds.iter().map(|round| round.0).collect()), median(rounds.iter().map(|round| round.1).collect()))
}

fn percentiles(mut nanos: Vec<i64>) -> (f64, f64) {
    nanos.sort_unstable();
    let at = |share: f64| nanos[((nanos.len() - 1) as f64 * share) as usize] as f64 / 1000.0;
    (at(0.50), at(0.99))
}

/// Sends packets of one buffer, paced or as fast as it goes; the send time travels as the packet's start.
#[derive(Clone, Debug)]
struct Sender {
    payload: Buffer<u8>,
    count: u64,
    paced: bool,
    zero: Instant,
}

impl Blueprint for Sender {
    fn contract(&self) -> Contract {
        Contract::new().output("out")
    }

    fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(vec![Format::Bytes])
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::capture(Sending(Some(self.clone()))))
    }
}

struct Sending(Option<Sender>);

impl Capture for Sending {
    fn next_stream<'a>(
        &'a mut self,
        _: &'a CaptureContext,
    ) -> BoxFuture<'a, Result<Option<Box<dyn Source>>, StageError>> {
        let source = self.0.take().map(|sender| Box::new(Stream { sender, sent: 0 }) as Box<dyn Source>);
        Box::pin(async move { Ok(source) })
    }
}

struct Stream {
    sender: Sender,
    sent: u64,
}

impl Source for Stream {
    fn info(&self) -> SourceInfo {
        SourceInfo {
            name: "bench".into(),
            group: None,
            live: false,
            wall: None,
            file: None,
            formats: vec![Format::Bytes],
            seconds: None,
        }
    }

    fn read<'a>(&'a mut self, out: &'a mut Output) -> BoxFuture<'a, Result<Flow, StageError>> {
        Box::pin(async move {
            let burst = if self.sender.paced { 1 } else { 64 };
            if self.sender.paced {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            for _ in 0..burst {
                if self.sent == self.sender.count {
                    return Ok(Flow::End);
                }
                let start = match self.sender.paced {
                    true => self.sender.zero.elapsed().as_nanos() as i64,
                    false => self.sent as i64,
                };
                let payload = Payload::Bytes(self.sender.payload.clone());
                out.emit(0, Draft::new(Timestamp::from_nanos(start), TimeSpan::ZERO, payload));
                self.sent += 1;
            }
            Ok(Flow::More)
        })
    }
}

#[derive(Clone, Debug)]
struct Pass;

impl Blueprint for Pass {
    fn contract(&self) -> Contract {
        Contract::new().input("in", Format::Any).output("out").inline()
    }

    fn outputs(&self, inputs: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(inputs.to_vec())
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(Pass))
    }
}

impl Stage for Pass {
    type State = ();

    fn open(&mut self, _: &StreamInfo, inputs: &[Format]) -> Result<Opened<()>, StageError> {
        Ok(Opened { state: (), outputs: inputs.to_vec() })
    }

    fn process(&mut self, _: &mut (), input: Input, out: &mut Output) -> Result<(), StageError> {
        let Packet { start, duration, payload, .. } = input.packet;
        out.emit(0, Draft::new(start, duration, payload));
        Ok(())
    }
}

/// Counts packets, and keeps how long each was under way when it is given a clock's zero.
#[derive(Clone, Debug)]
struct Sink {
    zero: Option<Instant>,
    count: Arc<AtomicU64>,
    took: Arc<Mutex<Vec<i64>>>,
}

impl Blueprint for Sink {
    fn contract(&self) -> Contract {
        Contract::new().input("in", Format::Any).inline()
    }

    fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(Vec::new())
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(self.clone()))
    }
}

impl Stage for Sink {
    type State = ();

    fn open(&mut self, _: &StreamInfo, _: &[Format]) -> Result<Opened<()>, StageError> {
        Ok(Opened { state: (), outputs: Vec::new() })
    }

    fn process(&mut self, _: &mut (), input: Input, _: &mut Output) -> Result<(), StageError> {
        if let Some(zero) = self.zero {
            let now = zero.elapsed().as_nanos() as i64;
            self.took.lock().unwrap().push(now - input.packet.start.as_nanos());
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

fn run(sender: Sender, passes: usize, sink: Sink) {
    let mut builder = Builder::new("bench").stage("send", sender);
    for pass in 0..passes {
        builder = builder.stage(&format!("pass{pass}"), Pass);
    }
    let (plan, _) = builder.stage("sink", sink).check().expect("the pipeline is whole");
    let report = Running::start(plan, StartOptions::default()).expect("it starts").wait();
    assert!(report.is_clean(), "{report:?}");
}

fn hop_percept(size: usize, count: u64) -> (f64, f64) {
    let zero = Instant::now();
    let sink = Sink { zero: Some(zero), count: Arc::default(), took: Arc::default() };
    let took = sink.took.clone();
    run(Sender { payload: vec![1u8; size].into(), count, paced: true, zero }, 0, sink);
    percentiles(
        Arc::try_unwrap(took)
            .map(|took| took.into_inner().unwrap())
            .unwrap_or_else(|took| took.lock().unwrap().clone()),
    )
}

fn hop_tokio(size: usize, count: u64) -> (f64, f64) {
    let zero = Instant::now();
    let payload: Buffer<u8> = vec![1u8; size].into();
    let took = pool().block_on(async move {
        let (send, mut receive) = tokio::sync::mpsc::channel::<(i64, Buffer<u8>)>(32);
        let reader = tokio::spawn(async move {
            let mut took = Vec::new();
            while let Some((sent, _)) = receive.recv().await {
                took.push(zero.elapsed().as_nanos() as i64 - sent);
            }
            took
        });
        tokio::spawn(async move {
            for _ in 0..count {
                tokio::time::sleep(Duration::from_millis(1)).await;
                let _ = send.send((zero.elapsed().as_nanos() as i64, payload.clone())).await;
            }
        });
        reader.await.unwrap()
    });
    percentiles(took)
}

fn throughput_percept(count: u64) -> f64 {
    let zero = Instant::now();
    let sink = Sink { zero: None, count: Arc::default(), took: Arc::default() };
    let seen = sink.count.clone();
    run(Sender { payload: vec![1u8; 64].into(), count, paced: false, zero }, 3, sink);
    assert_eq!(seen.load(Ordering::Relaxed), count);
    count as f64 / zero.elapsed().as_secs_f64() / 1e6
}

/// The same five steps as tasks with a bounded channel between each two: no books, no streams, no supervision.
fn throughput_tokio(count: u64) -> f64 {
    let zero = Instant::now();
    let total = Arc::new(AtomicI64::new(0));
    let seen = total.clone();
    pool().block_on(async move {
        let payload: Buffer<u8> = vec![1u8; 64].into();
        let packet = move |sent: u64| {
            let start = Timestamp::from_nanos(sent as i64);
            Packet::new(StreamId(0), start, TimeSpan::ZERO, Payload::Bytes(payload.clone()))
        };
        let (send, mut receive) = tokio::sync::mpsc::channel(32);
        let mut tasks = vec![tokio::spawn(async move {
            for sent in 0..count {
                if send.send(packet(sent)).await.is_err() {
                    return;
                }
            }
        })];
        for _ in 0..3 {
            let (forward, next) = tokio::sync::mpsc::channel(32);
            let mut from = std::mem::replace(&mut receive, next);
            tasks.push(tokio::spawn(async move {
                while let Some(packet) = from.recv().await {
                    if forward.send(packet).await.is_err() {
                        return;
                    }
                }
            }));
        }
        tasks.push(tokio::spawn(async move {
            while receive.recv().await.is_some() {
                seen.fetch_add(1, Ordering::Relaxed);
            }
        }));
        for task in tasks {
            let _ = task.await;
        }
    });
    assert_eq!(total.load(Ordering::Relaxed), count as i64);
    count as f64 / zero.elapsed().as_secs_f64() / 1e6
}

fn pool() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap()
}
