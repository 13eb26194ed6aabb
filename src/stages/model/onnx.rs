//! `onnx`: runs any ONNX graph on ONNX Runtime, or with `backend: engine` on percept's own engine, which needs no library
//! and covers most operators. For every model that is one graph; encoder and decoder with a cache are `seq2seq`.
//!
//! # What goes in
//!
//! Every input of the graph is filled by one of three things: packets (`input`, `inputs`), a constant (`constants`), or
//! what an output of the last run gave (`state`: zeros at a stream's start and after a gap; each stream has its own).
//! The names are the graph's; a card gives them as defaults.
//!
//! An input that packets fill is a port of the stage, and takes
//!
//! * *tensors* of its data type and shape, a run for each packet. Where the packet's rank is one less than the graph's,
//!   a batch axis of size 1 is added, and taken away again from the outputs;
//! * *sound*, where the input is f32 of rank 1 (samples), 2 (batch, samples) or 3 (batch, channels, samples): a run for
//!   each packet, or, with `window_samples`, for each window of a contiguous stream, preceded by `context_samples`
//!   samples of the past (zeros at the start). Then the results do not depend on how the sound was cut into packets. A
//!   stream's last samples are filled up with zeros (`pad_last`).
//!
//! With several such ports a run takes the packets of equal start on all of them; packets that find no partner are
//! dropped with a notice.
//!
//! # What comes out
//!
//! Each output that feeds no state is a port; the first, or `output`, is what a bare stage name means. A result has the
//! start and duration of its packet, or of its window's new samples. A partial packet is run and leaves the state as it
//! was.
//!
//! # Several streams in one call
//!
//! With `batch: {max: 8, wait_ms: 5}` items of several streams, states too, are put together along their batch axes,
//! where the card says that this changes nothing (`batch: exact`). Items of different shapes run apart. When such a
//! call fails, each is run alone, so that an error is that of its own stream.
//!
//! # Another model while it runs
//!
//! What a program does through [`LiveModel`], and a learner does by itself, is to bring another model of the same ports.
//! It is opened and tried beside the stream, adopted between two calls, and each packet says which version made it.
//! States are carried over. A model that does not fit is refused, and the old one goes on.
//!
//! # Errors
//!
//! A packet or window that does not fit, a run that fails and one that is cancelled are skipped: a failed run gives no
//! state, so the stream goes on with the one it had. Sound that is not finite is skipped as well, and so are tensors
//! with NaN where there is a state that would carry it on. A device that is lost is fatal: the stage is built anew.

mod axes;
mod binder;
mod binding;
mod config;
mod constant;
mod desk;
mod facts;
mod formats;
mod jobs;
mod live;
mod run;
#[cfg(test)]
mod tests;
mod windows;

use std::any::Any;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use self::binding::Binding;
pub use self::config::{BatchConfig, OnnxConfig};
pub use self::desk::{LabelError, Labelled};
pub use self::jobs::{JobError, StreamState};
pub use self::live::{LiveModel, SwapError};
pub use self::run::RunError;
use self::run::{Given, Taken};
use super::files::ModelFiles;
use super::graph::Graph;
use super::learner::Learning;
use super::session::{self, Runtime};
use crate::config::{Fault, Faults};
use crate::inference::{self, InferenceError, Session, Snapshot};
use crate::media::{Format, StreamInfo};
use crate::stage::{
    Blueprint, Canceller, Companion, Contract, ContractFault, Input, Item, Kind, Opened, Output, ReadContext, Resolve,
    Role, Runnable, Stage, StageError,
};
use crate::units::Timestamp;

/// The speech probability of every 32 ms.
const EXAMPLE: &str = "\
percept: 1
name: voice
stages:
  - capture: file
    path: examples/recordings
  - preprocess: mono
  - preprocess: resample
    sample_rate_hz: 16000
  - model: silero-vad
    batch: {max: 8, wait_ms: 5}
  - sink: jsonl
    path: \"-\"
";

/// The registry's entry.
pub const KIND: Kind =
    Kind::resolved::<OnnxConfig>("onnx", Role::Model, "any ONNX graph, on ONNX Runtime or percept's engine", EXAMPLE);

impl Resolve for OnnxConfig {
    fn resolve(self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        let runtime = Runtime::read(context, self.session.clone());
        let found = ModelFiles::find(context).and_then(|files| {
            let graph = Graph::read(&files, files.graph_role())?;
            let binding = Binding::new(&self, &graph, &files, context)?;
            Ok((graph, binding, files.class_names()))
        });
        match (runtime, found) {
            (Ok(runtime), Ok((graph, binding, names))) => {
                let live = Arc::new(LiveModel::new(Arc::new(binding), graph, runtime));
                let learning = self.learn.as_ref().map(|learn| Learning::read(learn, &live, names, context));
                Ok(Box::new(Onnx { live, learning: learning.transpose()? }))
            }
            (runtime, found) => Err(runtime.err().into_iter().chain(found.err().into_iter().flatten()).collect()),
        }
    }
}

/// A graph bound to the stage's ports, not yet loaded.
#[derive(Debug)]
struct Onnx {
    live: Arc<LiveModel>,
    learning: Option<Learning>,
}

impl Blueprint for Onnx {
    fn contract(&self) -> Contract {
        self.live.binding().contract()
    }

    fn outputs(&self, inputs: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        self.live.binding().formats(inputs)
    }

    fn build(&self) -> Result<Runnable, StageError> {
        let (session, serving) = self.live.begin().map_err(StageError::fatal)?;
        let canceller = Arc::new(Mutex::new(session.canceller()));
        Ok(Runnable::stage(OnnxStage { live: self.live.clone(), session, serving, canceller }))
    }

    fn probe(&self) -> Vec<Fault> {
        self.live.probe()
    }

    fn companion(&self) -> Option<Companion> {
        self.learning.as_ref().map(Learning::companion)
    }

    fn handle(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(self.live.clone())
    }
}

/// A loaded graph.
struct OnnxStage {
    live: Arc<LiveModel>,
    session: Box<dyn Session>,
    /// What `session` is.
    serving: Arc<Snapshot>,
    /// Cancels the session that serves now.
    canceller: Arc<Mutex<inference::Canceller>>,
}

/// A stream in a call: its state, and where results go.
struct Work<'a> {
    state: &'a mut StreamState,
    out: &'a mut Output,
    result: &'a mut Result<(), StageError>,
}

impl Work<'_> {
    /// What the job at the front takes.
    fn given(&self) -> Option<Given<'_>> {
        let job = self.state.jobs.front()?;
        Some(Given { inputs: &job.inputs, states: &self.state.values, added: job.added })
    }
}

impl OnnxStage {
    /// Goes over to the newest model that was offered.
    fn adopt(&mut self) {
        if let Some(newest) = self.live.exchange().take(self.serving.version, &mut self.session) {
            self.serving = newest;
            *self.canceller.lock().unwrap_or_else(PoisonError::into_inner) = self.session.canceller();
        }
        session::allow_runs(&*self.session);
    }

    /// Runs all that wait, round by round: the next job of each stream, those that join in one call.
    fn run_all(&mut self, streams: &mut [Work<'_>]) {
        loop {
            for stream in &mut *streams {
                stream.state.begin(self.live.binding());
            }
            let mut groups: Vec<Vec<usize>> = Vec::new();
            for (place, stream) in streams.iter().enumerate() {
                let Some(given) = stream.given() else { continue };
                let joins = |group: &&mut Vec<usize>| {
                    let first = group.first().and_then(|&first| streams[first].given());
                    group.len() < self.live.binding().batch.max
                        && first.is_some_and(|first| self.live.binding().joins(&first, &given))
                };
                match groups.iter_mut().find(joins) {
                    Some(group) => group.push(place),
                    None => groups.push(vec![place]),
                }
            }
            if groups.is_empty() {
                return;
            }
            for group in groups {
                self.run(streams, &group);
            }
        }
    }

    /// Runs the jobs at the front of these streams, which join each other, in one call; each alone if that fails.
    fn run(&mut self, streams: &mut [Work<'_>], group: &[usize]) {
        let given: Vec<Given<'_>> = group.iter().filter_map(|&place| streams[place].given()).collect();
        match self.live.binding().run(&mut *self.session, &given) {
            Ok(taken) => {
                for (&place, Taken { outputs, states }) in group.iter().zip(taken) {
                    let stream = &mut streams[place];
                    stream.state.settle(outputs, states, &self.serving, stream.out);
                }
            }
            Err(error) => match group {
                [place] => self.failed(&mut streams[*place], error),
                _ => group.iter().for_each(|place| self.run(streams, &[*place])),
            },
        }
    }

    /// Gives up the job at the front, and after a cancelled run all that wait.
    fn failed(&self, stream: &mut Work<'_>, error: RunError) {
        let cancelled = matches!(error, RunError::Inference(InferenceError::Cancelled { .. }));
        stream.state.drop_jobs(if cancelled { usize::MAX } else { 1 });
        let error = match error {
            RunError::Inference(error) => session::run_error(error, self.session.provider()),
            error => StageError::skip(error),
        };
        if stream.result.is_ok() || matches!(error, StageError::Fatal(_)) {
            *stream.result = Err(error);
        }
    }
}

impl Stage for OnnxStage {
    type State = StreamState;

    fn open(&mut self, _: &StreamInfo, inputs: &[Format]) -> Result<Opened<StreamState>, StageError> {
        let outputs = self.live.binding().formats(inputs).map_err(|faults| {
            let text = |fault: &ContractFault| {
                let help = fault.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
                format!("port `{}`: expected {}, found {}{help}", fault.port, fault.expected, fault.found)
            };
            let text: Vec<_> = faults.iter().map(text).collect();
            StageError::end_stream(Box::<dyn Error + Send + Sync>::from(text.join("; ")))
        })?;
        Ok(Opened { state: StreamState::new(self.live.binding()), outputs })
    }

    fn process(&mut self, state: &mut StreamState, input: Input, out: &mut Output) -> Result<(), StageError> {
        let mut items = [Item { state, input, out, result: Ok(()) }];
        self.process_batch(&mut items);
        let [item] = items;
        item.result
    }

    fn process_batch(&mut self, items: &mut [Item<'_, StreamState>]) {
        self.adopt();
        let mut streams: Vec<Work<'_>> = items
            .iter_mut()
            .map(|item| {
                item.result = self.live.binding().take(item.state, item.input.clone(), item.out);
                Work { state: item.state, out: item.out, result: &mut item.result }
            })
            .collect();
        self.run_all(&mut streams);
    }

    fn flush(&mut self, state: &mut StreamState, out: &mut Output) -> Result<(), StageError> {
        self.adopt();
        let mut result = self.live.binding().take_rest(state, out);
        self.run_all(&mut [Work { state, out, result: &mut result }]);
        result
    }

    fn hold_back(&self, state: &StreamState) -> Option<Timestamp> {
        state.hold_back()
    }

    fn canceller(&self) -> Option<Canceller> {
        let serving = self.canceller.clone();
        Some(Canceller::new(move || serving.lock().unwrap_or_else(PoisonError::into_inner).cancel()))
    }
}
