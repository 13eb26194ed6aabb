//! `push`: takes what the program itself brings.
//!
//! For percept as a library: a robot, a server, a test opens streams and pushes sound into them, from threads or from
//! tasks of any runtime. In Rust a [`Push`] may carry any [`Format`]; in a pipeline file it carries sound.
//!
//! ```
//! use percept::stages::capture::push::{Push, PushError};
//!
//! let push = Push::sound(16_000, 1)?;
//! let handle = push.handle();
//! // … build a pipeline with `push` as its capture and start it …
//! let mut stream = handle.open_stream("robot ear")?;
//! stream.push_audio(&[0.0; 1600])?;
//! stream.close();
//! handle.finish();
//! # Ok::<(), PushError>(())
//! ```
//!
//! A stream holds a bounded number of packets; when it is full, [`PushStream::push`] blocks, [`PushStream::push_async`]
//! waits and [`PushStream::try_push`] refuses. Before the pipeline runs nothing makes room, so a thread that pushes more
//! than fits before it starts the pipeline waits for ever.

mod handle;
mod queue;

use std::any::Any;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::AUDIO;
use super::error::CaptureError;
use crate::config::Faults;
use crate::dsp::MAX_SAMPLE_RATE_HZ;
use crate::media::Format;
use crate::stage::{
    Blueprint, BoxFuture, Capture, CaptureContext, Contract, ContractFault, Draft, EventKind, Flow, Kind, Loss, Output,
    ReadContext, Resolve, Role, Runnable, Source, SourceInfo, StageError,
};
use crate::units::{Rate, RateError};

use handle::{Arrival, Hub};
pub use handle::{PushError, PushHandle, PushInlet, PushStream};

/// Packets that a stream holds unless told otherwise.
const BUFFER: usize = 64;

/// Settings of `push`: → `audio`, streams as the program opens them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PushConfig {
    /// Frames per second that the program will push, 1 to 768000.
    #[schemars(range(min = 1, max = MAX_SAMPLE_RATE_HZ))]
    pub sample_rate_hz: u32,
    /// Samples in a frame, 1 to 64. Default: 1.
    #[serde(default = "channels")]
    #[schemars(range(min = 1, max = 64))]
    pub channels: u16,
    /// Whether it comes in real time, so that decoders may watch the clock. Default: true.
    #[serde(default = "live")]
    pub live: bool,
    /// Packets that a stream holds before pushing waits, 1 to 100000. Default: 64.
    #[serde(default = "buffer")]
    #[schemars(range(min = 1, max = 100_000))]
    pub buffer: usize,
}

fn channels() -> u16 {
    1
}

fn live() -> bool {
    true
}

fn buffer() -> usize {
    BUFFER
}

const EXAMPLE: &str = "\
percept: 1
name: robot
stages:
  - capture: push
    sample_rate_hz: 16000
  - sink: jsonl
    path: \"{stream}.jsonl\"
";

/// The registry's entry.
pub const KIND: Kind = Kind::resolved::<PushConfig>("push", Role::Capture, "what the program itself brings", EXAMPLE);

impl Resolve for PushConfig {
    fn resolve(self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        let push = Push::sound(self.sample_rate_hz, self.channels)
            .map_err(|error| context.fault("sample_rate_hz", "invalid-value", error.to_string()))?;
        Ok(Box::new(push.live(self.live).buffer(self.buffer)))
    }
}

/// A capture whose streams the program pushes. It runs once.
#[derive(Debug)]
pub struct Push {
    format: Format,
    live: bool,
    buffer: usize,
    hub: Arc<Hub>,
}

impl Push {
    /// Streams of sound with `channels` samples in a frame; 0 is taken as 1. Fails when the rate is zero.
    pub fn sound(sample_rate_hz: u32, channels: u16) -> Result<Push, RateError> {
        Ok(Push::of(Format::audio(Some(Rate::hz(sample_rate_hz)?), Some(channels.max(1)))))
    }

    /// Streams of any format. What is unknown in it may differ from packet to packet.
    pub fn of(format: Format) -> Push {
        Push { hub: Hub::new(format.clone(), true, BUFFER), format, live: true, buffer: BUFFER }
    }

    /// Whether the streams come in real time. Default: true. To be called before [`Push::handle`].
    #[must_use]
    pub fn live(mut self, live: bool) -> Push {
        self.live = live;
        self.renewed()
    }

    /// Packets that a stream holds before pushing waits. Default: 64. To be called before [`Push::handle`].
    #[must_use]
    pub fn buffer(mut self, packets: usize) -> Push {
        self.buffer = packets.max(1);
        self.renewed()
    }

    fn renewed(mut self) -> Push {
        self.hub = Hub::new(self.format.clone(), self.live, self.buffer);
        self
    }

    /// What the program opens streams with.
    pub fn handle(&self) -> PushHandle {
        self.inlet().handle()
    }

    fn inlet(&self) -> PushInlet {
        PushInlet::new(self.hub.clone())
    }
}

impl Drop for Push {
    fn drop(&mut self) {
        self.hub.end();
    }
}

impl Blueprint for Push {
    fn contract(&self) -> Contract {
        let port = if matches!(self.format, Format::Audio { .. }) { AUDIO } else { "out" };
        Contract::new().output(port).many_streams(true)
    }

    fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(vec![self.format.clone()])
    }

    fn build(&self) -> Result<Runnable, StageError> {
        if !self.hub.begin() {
            return Err(StageError::fatal(CaptureError::PushRunsOnce));
        }
        Ok(Runnable::capture(Pushed(self.hub.clone())))
    }

    /// A [`PushInlet`].
    fn handle(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(Arc::new(self.inlet()))
    }
}

/// The running capture.
struct Pushed(Arc<Hub>);

impl Capture for Pushed {
    fn next_stream<'a>(
        &'a mut self,
        _: &'a CaptureContext,
    ) -> BoxFuture<'a, Result<Option<Box<dyn Source>>, StageError>> {
        Box::pin(async move {
            let arrival = poll_fn(|cx| self.0.poll_arrival(cx)).await;
            Ok(arrival.map(|arrival| {
                let (format, live) = (self.0.format().clone(), self.0.is_live());
                Box::new(PushedStream { arrival, format, live, loss: Loss::default(), told: false }) as Box<dyn Source>
            }))
        })
    }
}

impl Drop for Pushed {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A stream while it is read.
struct PushedStream {
    arrival: Arrival,
    format: Format,
    live: bool,
    loss: Loss,
    /// Whether samples that are no numbers were told of.
    told: bool,
}

impl PushedStream {
    fn emit(&mut self, drafts: VecDeque<Draft>, out: &mut Output) {
        for draft in drafts {
            self.loss.delivered += draft.payload.audio_frames();
            out.emit(0, draft);
        }
        let repaired = self.arrival.repaired();
        if repaired > 0 && !self.told {
            self.told = true;
            let message = format!(
                "{repaired} pushed samples were not numbers and were made silence, as all further ones will be"
            );
            out.event(EventKind::Damaged, message);
        }
    }
}

impl Source for PushedStream {
    fn info(&self) -> SourceInfo {
        SourceInfo {
            name: self.arrival.name.clone(),
            group: None,
            live: self.live,
            wall: None,
            file: None,
            formats: vec![self.format.clone()],
            seconds: None,
        }
    }

    fn read<'a>(&'a mut self, out: &'a mut Output) -> BoxFuture<'a, Result<Flow, StageError>> {
        Box::pin(async move {
            let Some(drafts) = poll_fn(|cx| self.arrival.reader.poll_read(cx)).await else { return Ok(Flow::End) };
            self.emit(drafts, out);
            Ok(Flow::More)
        })
    }

    fn stop(&mut self, out: &mut Output) {
        let drafts = self.arrival.reader.abandon();
        self.emit(drafts, out);
    }

    fn loss(&self) -> Loss {
        self.loss
    }
}

#[cfg(test)]
mod tests;
