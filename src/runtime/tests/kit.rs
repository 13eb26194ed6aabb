//! Stages and plans for the tests of the runtime.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::media::{Format, Packet, StreamInfo};
use crate::pipeline::{LinkSettings, Overflow, Plan, PlannedLink, PlannedStage};
use crate::runtime::{Report, Running, StartOptions};
use crate::stage::{
    Blueprint, BoxFuture, Capture, CaptureContext, Contract, ContractFault, Draft, Flow, Input, Opened, Output, Role,
    Runnable, Settings, Source, SourceInfo, Stage, StageError,
};
use crate::tensor::Tensor;
use crate::units::{TimeSpan, Timestamp};

/// What one call does.
pub type Process = Arc<dyn Fn(&mut Vec<i64>, i64, &Input, &mut Output) -> Result<(), StageError> + Send + Sync>;

/// What the end of a stream does.
pub type Flush = Arc<dyn Fn(&mut Vec<i64>, &mut Output) + Send + Sync>;

/// What the beginning of a stream does.
pub type Open = Arc<dyn Fn(&StreamInfo) -> Result<(), StageError> + Send + Sync>;

/// A blueprint made of closures.
#[derive(Clone)]
pub struct Made {
    pub contract: Contract,
    pub process: Process,
    pub flush: Flush,
    pub open: Open,
    pub builds: Arc<AtomicUsize>,
}

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Made")
    }
}

impl Made {
    pub fn new(
        contract: Contract,
        process: impl Fn(&mut Vec<i64>, i64, &Input, &mut Output) -> Result<(), StageError> + Send + Sync + 'static,
    ) -> Made {
        Made {
            contract,
            process: Arc::new(process),
            flush: Arc::new(|_, _| {}),
            open: Arc::new(|_| Ok(())),
            builds: Arc::default(),
        }
    }

    pub fn at_flush(mut self, flush: impl Fn(&mut Vec<i64>, &mut Output) + Send + Sync + 'static) -> Made {
        self.flush = Arc::new(flush);
        self
    }

    pub fn at_open(mut self, open: impl Fn(&StreamInfo) -> Result<(), StageError> + Send + Sync + 'static) -> Made {
        self.open = Arc::new(open);
        self
    }
}

impl Blueprint for Made {
    fn contract(&self) -> Contract {
        self.contract.clone()
    }

    fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(vec![Format::ANY_TENSOR; self.contract.outputs.len()])
    }

    fn build(&self) -> Result<Runnable, StageError> {
        self.builds.fetch_add(1, Ordering::SeqCst);
        Ok(Runnable::stage(MadeStage(self.clone())))
    }
}

struct MadeStage(Made);

impl Stage for MadeStage {
    type State = Vec<i64>;

    fn open(&mut self, stream: &StreamInfo, _: &[Format]) -> Result<Opened<Vec<i64>>, StageError> {
        (self.0.open)(stream)?;
        Ok(Opened { state: Vec::new(), outputs: vec![Format::ANY_TENSOR; self.0.contract.outputs.len()] })
    }

    fn process(&mut self, state: &mut Vec<i64>, input: Input, out: &mut Output) -> Result<(), StageError> {
        let value = value(&input.packet);
        (self.0.process)(state, value, &input, out)
    }

    fn flush(&mut self, state: &mut Vec<i64>, out: &mut Output) -> Result<(), StageError> {
        (self.0.flush)(state, out);
        Ok(())
    }
}

/// The number that a test packet carries.
pub fn value(packet: &Packet) -> i64 {
    packet.payload.tensor().unwrap().as_slice::<i64>().unwrap()[0]
}

/// A packet of number `value` at its millisecond.
pub fn draft(value: i64) -> Draft {
    Draft::new(Timestamp::from_nanos(value * 1_000_000), TimeSpan::from_millis(1), Tensor::scalar(value))
}

/// Passes every packet on.
pub fn pass() -> Made {
    Made::new(Contract::new().input("in", Format::Any).output("out").inline(), |_, value, input, out| {
        out.emit(0, Draft::new(input.packet.start, input.packet.duration, Tensor::scalar(value)));
        Ok(())
    })
}

/// What a sink has seen, by stream name.
pub type Seen = Arc<Mutex<BTreeMap<String, Vec<i64>>>>;

/// A sink that keeps what it sees.
pub fn collect(seen: &Seen) -> Made {
    let names: Arc<Mutex<BTreeMap<u32, String>>> = Arc::default();
    let (seen, opened) = (seen.clone(), names.clone());
    Made::new(Contract::new().input("in", Format::Any).inline(), move |_, value, input, _| {
        let name = names.lock().unwrap()[&input.packet.stream.0].clone();
        seen.lock().unwrap().entry(name).or_default().push(value);
        Ok(())
    })
    .at_open(move |info| {
        opened.lock().unwrap().insert(info.id.0, info.name.to_string());
        Ok(())
    })
}

/// A capture of `streams` streams named `s0`, `s1`, …, each counting from 0 to `packets`.
#[derive(Clone, Debug)]
pub struct Count {
    pub streams: u32,
    pub packets: i64,
    /// Waits for real time between packets.
    pub every: Option<Duration>,
}

impl Blueprint for Count {
    fn contract(&self) -> Contract {
        Contract::new().output("out")
    }

    fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(vec![Format::ANY_TENSOR])
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::capture(Counting { count: self.clone(), next: AtomicU32::new(0) }))
    }
}

struct Counting {
    count: Count,
    next: AtomicU32,
}

impl Capture for Counting {
    fn next_stream<'a>(
        &'a mut self,
        _: &'a CaptureContext,
    ) -> BoxFuture<'a, Result<Option<Box<dyn Source>>, StageError>> {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let source = (number < self.count.streams)
            .then(|| Box::new(Counter { number, count: self.count.clone(), at: 0 }) as Box<dyn Source>);
        Box::pin(async move { Ok(source) })
    }
}

struct Counter {
    number: u32,
    count: Count,
    at: i64,
}

impl Source for Counter {
    fn info(&self) -> SourceInfo {
        SourceInfo {
            name: format!("s{}", self.number),
            group: None,
            live: self.count.every.is_some(),
            wall: None,
            file: None,
            formats: vec![Format::ANY_TENSOR],
            seconds: None,
        }
    }

    fn read<'a>(&'a mut self, out: &'a mut Output) -> BoxFuture<'a, Result<Flow, StageError>> {
        Box::pin(async move {
            if let Some(every) = self.count.every {
                tokio::time::sleep(every).await;
            }
            if self.at == self.count.packets {
                return Ok(Flow::End);
            }
            out.emit(0, draft(self.at));
            self.at += 1;
            Ok(Flow::More)
        })
    }
}

/// A plan from stages and `(from, to, port)` links with these settings.
pub struct Planner {
    pub plan: Plan,
}

impl Planner {
    pub fn new() -> Self {
        Planner {
            plan: Plan {
                name: "test".into(),
                stages: Vec::new(),
                links: Vec::new(),
                formats: Vec::new(),
                settings: Settings::default(),
                memory_bytes: Plan::DEFAULT_MEMORY_BYTES,
            },
        }
    }

    pub fn stage(mut self, id: &str, role: Role, blueprint: impl Blueprint + 'static) -> Self {
        let contract = blueprint.contract();
        let blueprint = Arc::new(blueprint);
        self.plan.stages.push(PlannedStage { id: id.into(), role, kind: id.to_owned(), blueprint, contract });
        self
    }

    pub fn link(self, from: usize, to: usize, port: usize) -> Self {
        self.link_with(from, to, port, LinkSettings::default())
    }

    pub fn link_with(mut self, from: usize, to: usize, port: usize, settings: LinkSettings) -> Self {
        self.plan.links.push(PlannedLink { from: (from, 0), to: (to, port), settings });
        self
    }

    pub fn start(self) -> Running {
        Running::start(self.plan, StartOptions::default()).unwrap()
    }

    pub fn run(self) -> Report {
        let running = self.start();
        running.wait_for(Duration::from_secs(60)).expect("the run ends within a minute")
    }
}

pub fn settings(queue: usize, overflow: Overflow) -> LinkSettings {
    LinkSettings { queue, overflow, ..LinkSettings::default() }
}

/// `0, 1, … count − 1`.
pub fn up_to(count: i64) -> Vec<i64> {
    (0..count).collect()
}
