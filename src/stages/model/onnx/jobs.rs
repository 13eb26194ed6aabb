//! From packets to what goes into the graph, one stream each.

use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::Arc;

use thiserror::Error;

use super::binding::{Binding, DataInput};
use super::run::States;
use super::windows::{Step, Window, Windower};
use crate::inference::{InferenceError, Snapshot};
use crate::media::{Audio, Flags, Format, Packet, Payload, View};
use crate::stage::{Draft, EventKind, Input, Output, PortIndex, StageError};
use crate::tensor::{Buffer, Tensor, TensorData, TensorError};
use crate::units::{TimeSpan, Timestamp};

/// Why a packet cannot go into the graph.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JobError {
    /// It does not fit the graph's input.
    #[error(transparent)]
    Input(#[from] InferenceError),
    /// A payload that no input of a graph can be made of.
    #[error("port `{port}` of model `{model}`: expected {expected}, found {found}")]
    Payload {
        /// The model's name.
        model: String,
        /// The stage's port.
        port: String,
        /// What the port takes.
        expected: &'static str,
        /// What came.
        found: String,
    },
    /// Sound of another rate or number of channels than the model takes, or than the stream had before.
    #[error(
        "port `{port}` of model `{model}`: expected {expected}, found {found}; resample or mix it before the model"
    )]
    Sound {
        /// The model's name.
        model: String,
        /// The stage's port.
        port: String,
        /// What the port takes.
        expected: String,
        /// What came.
        found: String,
    },
    /// Numbers that are none.
    #[error(
        "port `{port}` of model `{model}`: what starts at {start} holds {what}; it was not run, since \
         the model would carry it on or answer with nothing else"
    )]
    NotFinite {
        /// The model's name.
        model: String,
        /// The stage's port.
        port: String,
        /// When the window or packet starts.
        start: Timestamp,
        /// What it holds.
        what: &'static str,
    },
    /// A tensor that cannot be given the graph's shape.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// What goes into the graph once, and the times of what comes out.
#[derive(Clone, Debug)]
pub struct Job {
    /// A tensor for each data input, with batch axis.
    pub inputs: Vec<Tensor>,
    /// Whether the batch axis was added.
    pub added: bool,
    /// Whether it is to begin with first states.
    fresh: bool,
    start: Timestamp,
    duration: TimeSpan,
    flags: Flags,
    revision: u32,
    view: Option<Arc<View>>,
}

/// One stream.
#[derive(Debug)]
pub struct StreamState {
    /// What is still to be run, in order.
    pub jobs: VecDeque<Job>,
    /// The graph's states.
    pub values: States,
    windower: Option<Windower>,
    /// For several data inputs: the packets that wait for the others of the same start.
    waiting: Vec<Option<Packet>>,
    /// The next job to be made begins with first states.
    fresh: bool,
    /// The next job to be made comes after something that is missing.
    gap: bool,
    /// A job was lost since the newest output.
    lost: bool,
}

impl StreamState {
    /// A stream at its start.
    pub fn new(binding: &Binding) -> StreamState {
        StreamState {
            jobs: VecDeque::new(),
            values: binding.first_states(),
            windower: None,
            waiting: vec![None; binding.inputs.len()],
            fresh: false,
            gap: false,
            lost: false,
        }
    }

    /// Puts first states in place where the next job is to begin with them.
    pub fn begin(&mut self, binding: &Binding) {
        if let Some(job) = self.jobs.front_mut()
            && std::mem::take(&mut job.fresh)
        {
            self.values = binding.first_states();
        }
    }

    /// Gives up the first `count` jobs; what comes out next has a gap before it.
    pub fn drop_jobs(&mut self, count: usize) {
        // First states that a dropped job was to begin with are due to the next one.
        let fresh = self.jobs.drain(..count.min(self.jobs.len())).any(|job| job.fresh);
        self.lost = true;
        match self.jobs.front_mut() {
            Some(next) => next.fresh |= fresh,
            None => self.fresh |= fresh,
        }
    }

    /// Takes the results of the job at the front, made `by` this version: the next states, and what goes out.
    pub fn settle(&mut self, outputs: Vec<Tensor>, states: States, by: &Snapshot, out: &mut Output) {
        let Some(job) = self.jobs.pop_front() else { return };
        // A partial result is replaced by a later one, which begins where this one began.
        if !job.flags.partial {
            self.values = states;
        }
        let flags = Flags { gap: job.flags.gap || std::mem::take(&mut self.lost), ..job.flags };
        for (port, tensor) in outputs.into_iter().enumerate() {
            let mut draft = Draft::new(job.start, job.duration, tensor);
            draft.flags = flags;
            draft.revision = job.revision;
            draft.weights = by.version;
            draft.classes = by.classes.clone();
            draft.view = job.view.clone();
            out.emit(port, draft);
        }
    }

    /// The earliest start that a later output may have, when windows hold one back.
    pub fn hold_back(&self) -> Option<Timestamp> {
        let waiting = self.windower.as_ref().and_then(Windower::next_start);
        self.jobs.front().map(|job| job.start).into_iter().chain(waiting).min()
    }
}

impl Binding {
    /// Makes jobs of a packet. An error is about a part of it: what jobs there are count all the same.
    pub fn take(&self, state: &mut StreamState, input: Input, out: &mut Output) -> Result<(), StageError> {
        let made = match self.windows {
            Some(_) => return self.take_sound(state, &input.packet).map_err(StageError::skip),
            None if self.inputs.len() == 1 => self.make(state, &[input.packet]),
            None => match self.gather(state, input.port, input.packet, out) {
                Some(packets) => self.make(state, &packets),
                None => Ok(()),
            },
        };
        made.map_err(|error| {
            state.gap = true;
            StageError::skip(error)
        })
    }

    /// Makes jobs of what is left at the end of a stream.
    pub fn take_rest(&self, state: &mut StreamState, out: &mut Output) -> Result<(), StageError> {
        self.give_up(state, out);
        let mut steps = Vec::new();
        if let Some(windower) = &mut state.windower {
            windower.finish(&mut steps);
        }
        self.cut(state, steps, Flags::default()).map_err(StageError::skip)
    }

    fn take_sound(&self, state: &mut StreamState, packet: &Packet) -> Result<(), JobError> {
        let (Some(size), Some(input)) = (self.windows, self.inputs.first()) else {
            return Ok(());
        };
        let audio = match &packet.payload {
            Payload::Audio(audio) => audio,
            other => return Err(self.payload(input, "sound", other)),
        };
        self.check_sound(input, audio)?;
        let windower = state.windower.get_or_insert_with(|| Windower::new(size, audio.rate(), audio.channels()));
        if !windower.fits(audio) {
            return Err(self.sound(input, "sound as before in this stream", audio));
        }
        let mut steps = Vec::new();
        windower.push(packet, audio, &mut steps);
        self.cut(state, steps, Flags { late: packet.flags.late, ..Flags::default() })
    }

    /// Makes a job of each window. Gives the first error; windows after it become jobs all the same.
    fn cut(&self, state: &mut StreamState, steps: Vec<Step>, flags: Flags) -> Result<(), JobError> {
        let mut result = Ok(());
        let (Some(input), Some(windower)) = (self.inputs.first(), &state.windower) else {
            return result;
        };
        let channels = windower.channels();
        for step in steps {
            let Window { start, duration, samples } = match step {
                Step::Window(window) => window,
                Step::Break => {
                    state.fresh = true;
                    state.gap = true;
                    continue;
                }
            };
            match self.window(input, start, samples, channels) {
                Ok((tensor, added)) => {
                    let fresh = std::mem::take(&mut state.fresh);
                    let flags = Flags { gap: std::mem::take(&mut state.gap), ..flags };
                    state.jobs.push_back(Job {
                        inputs: vec![tensor],
                        added,
                        fresh,
                        start,
                        duration,
                        flags,
                        revision: 0,
                        view: None,
                    });
                }
                Err(error) => {
                    state.gap = true;
                    result = result.and(Err(error));
                }
            }
        }
        result
    }

    fn window(
        &self,
        input: &DataInput,
        start: Timestamp,
        samples: Vec<f32>,
        channels: usize,
    ) -> Result<(Tensor, bool), JobError> {
        self.check_finite(input, start, &samples)?;
        self.fit(input, below(samples, channels, input)?)
    }

    /// Makes a job of a packet on each port.
    fn make(&self, state: &mut StreamState, packets: &[Packet]) -> Result<(), JobError> {
        let Some(first) = packets.first() else { return Ok(()) };
        let mut flags = Flags::default();
        let mut revision = 0;
        for packet in packets {
            flags.gap |= packet.flags.gap;
            flags.partial |= packet.flags.partial;
            flags.late |= packet.flags.late;
            revision = revision.max(packet.revision);
        }
        state.fresh |= flags.gap;
        state.gap |= flags.gap;
        let (mut inputs, mut added) = (Vec::with_capacity(packets.len()), false);
        for (input, packet) in self.inputs.iter().zip(packets) {
            let Some(tensor) = self.tensor_of(input, packet)? else {
                return Ok(());
            };
            let (tensor, lacked) = self.fit(input, tensor)?;
            inputs.push(tensor);
            added |= lacked;
        }
        let (start, duration) = (first.start, first.duration);
        flags.gap = std::mem::take(&mut state.gap);
        let fresh = std::mem::take(&mut state.fresh);
        let view = packets.iter().find_map(|packet| packet.view.clone());
        state.jobs.push_back(Job { inputs, added, fresh, start, duration, flags, revision, view });
        Ok(())
    }

    /// What the packet carries, as a tensor; `None` for sound of no length.
    fn tensor_of(&self, input: &DataInput, packet: &Packet) -> Result<Option<Tensor>, JobError> {
        match &packet.payload {
            Payload::Tensor(tensor) if !self.states.is_empty() && holds_nan(tensor) => {
                Err(self.not_finite(input, packet.start, "NaN (not a number)"))
            }
            Payload::Tensor(tensor) => Ok(Some(tensor.clone())),
            Payload::Audio(audio) if input.takes_sound() => {
                self.check_sound(input, audio)?;
                self.check_finite(input, packet.start, audio.samples())?;
                let sound = || below(audio.samples().clone(), audio.channels().into(), input);
                Ok((audio.frames() > 0).then(sound).transpose()?)
            }
            other => {
                let expected = if input.takes_sound() { "a tensor or sound" } else { "a tensor" };
                Err(self.payload(input, expected, other))
            }
        }
    }

    /// Puts the packet with those of the same start; gives them, port by port, when none is wanting.
    fn gather(
        &self,
        state: &mut StreamState,
        port: PortIndex,
        packet: Packet,
        out: &mut Output,
    ) -> Option<Vec<Packet>> {
        let start = state.waiting.iter().flatten().map(|waiting| waiting.start).next();
        let taken = state.waiting.get(port).is_some_and(Option::is_some);
        if start.is_some_and(|start| start != packet.start) || taken {
            self.give_up(state, out);
        }
        if let Some(place) = state.waiting.get_mut(port) {
            *place = Some(packet);
        }
        if state.waiting.iter().any(Option::is_none) {
            return None;
        }
        Some(state.waiting.iter_mut().filter_map(Option::take).collect())
    }

    /// Drops the packets that wait for others, and says so.
    fn give_up(&self, state: &mut StreamState, out: &mut Output) {
        let Some(start) = state.waiting.iter().flatten().map(|packet| packet.start).next() else {
            return;
        };
        let names = |there: bool| {
            let ports = self.inputs.iter().zip(&state.waiting).filter(|(_, packet)| packet.is_some() == there);
            ports.map(|(input, _)| format!("`{}`", input.name)).collect::<Vec<_>>().join(", ")
        };
        let message = format!(
            "nothing that starts at {start} came on {} of model `{}`, so what came on {} was not run",
            names(false),
            self.model,
            names(true)
        );
        out.event(EventKind::Notice, message);
        state.waiting.iter_mut().for_each(|place| *place = None);
        state.gap = true;
    }

    /// The tensor with its batch axis, and whether it lacked it. Fails where it does not fit the graph's input.
    fn fit(&self, input: &DataInput, tensor: Tensor) -> Result<(Tensor, bool), JobError> {
        let port = &input.port;
        let (model, name) = (self.model.clone(), port.name.clone());
        if tensor.dtype() != port.dtype {
            let (expected, found) = (port.dtype, tensor.dtype());
            return Err(InferenceError::DType { model, input: name, expected, found }.into());
        }
        let rank = port.shape.rank().unwrap_or(tensor.shape().len());
        let lacks = input.batch_axis.filter(|axis| tensor.shape().len() + 1 == rank && *axis < rank);
        let whole = match lacks {
            Some(axis) => {
                let mut shape = tensor.shape().to_vec();
                shape.insert(axis, 1);
                tensor.reshape(shape)?
            }
            None => tensor.clone(),
        };
        let (expected, found) = (port.shape.clone(), tensor.shape().to_vec());
        if whole.shape().len() != rank {
            return Err(InferenceError::Rank { model, input: name, expected, found }.into());
        }
        match port.shape.accepts(&whole.symbolic_shape()) {
            Ok(()) => Ok((whole, lacks.is_some())),
            Err(_) => Err(InferenceError::Shape { model, input: name, expected, found }.into()),
        }
    }

    fn check_sound(&self, input: &DataInput, audio: &Audio) -> Result<(), JobError> {
        let channels = self.channels_of(input);
        let wrong_rate = self.rate.is_some_and(|rate| rate != audio.rate());
        if wrong_rate || channels.is_some_and(|channels| channels != audio.channels()) {
            return Err(self.sound(input, Format::audio(self.rate, channels), audio));
        }
        Ok(())
    }

    fn check_finite(&self, input: &DataInput, start: Timestamp, samples: &[f32]) -> Result<(), JobError> {
        if samples.iter().all(|sample| sample.is_finite()) {
            return Ok(());
        }
        Err(self.not_finite(input, start, "samples that are no finite numbers"))
    }

    fn payload(&self, input: &DataInput, expected: &'static str, found: &Payload) -> JobError {
        let (model, port) = (self.model.clone(), input.name.clone());
        JobError::Payload { model, port, expected, found: found.format().to_string() }
    }

    fn sound(&self, input: &DataInput, expected: impl Display, found: &Audio) -> JobError {
        let found = Format::audio(Some(found.rate()), Some(found.channels())).to_string();
        JobError::Sound { model: self.model.clone(), port: input.name.clone(), expected: expected.to_string(), found }
    }

    fn not_finite(&self, input: &DataInput, start: Timestamp, what: &'static str) -> JobError {
        JobError::NotFinite { model: self.model.clone(), port: input.name.clone(), start, what }
    }
}

/// Interleaved samples in the graph's shape without its batch axis: `[samples]`, or `[channels, samples]` for rank 3.
fn below(samples: impl Into<Buffer<f32>>, channels: usize, input: &DataInput) -> Result<Tensor, TensorError> {
    let samples = samples.into();
    if input.port.shape.rank() != Some(3) {
        return Tensor::new(vec![samples.len()], samples);
    }
    let channels = channels.max(1);
    let frames = samples.len() / channels;
    if channels == 1 {
        return Tensor::new(vec![1, frames], samples);
    }
    let planar: Vec<f32> =
        (0..channels).flat_map(|channel| samples.iter().skip(channel).step_by(channels).copied()).collect();
    Tensor::new(vec![channels, frames], planar)
}

fn holds_nan(tensor: &Tensor) -> bool {
    match tensor.data() {
        TensorData::F16(elements) => elements.iter().any(|element| element.is_nan()),
        TensorData::BF16(elements) => elements.iter().any(|element| element.is_nan()),
        TensorData::F32(elements) => elements.iter().any(|element| element.is_nan()),
        TensorData::F64(elements) => elements.iter().any(|element| element.is_nan()),
        _ => false,
    }
}
