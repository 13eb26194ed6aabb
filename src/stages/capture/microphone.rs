//! `microphone`: records what a microphone hears.
//!
//! The device is opened with its own rate and one channel unless told otherwise; a device without a mode of one channel
//! gives the mean of its channels. Put `resample` behind it for a model that wants 16 kHz.
//!
//! Silence is noticed: a device that stops delivering, is unplugged or fails is told as an event, closed and opened again
//! every `reopen_ms`, and told again when it is back. The first packet after that is flagged `gap` and starts where the
//! clock says, so that times stay right. Samples that found no room because the pipeline was behind are counted, and leave
//! a gap of their exact length. A device that gives nothing but zeros is told once: it may be muted.
//!
//! A microphone that is not there when the pipeline starts is an error, which names those that are.

mod device;
mod listen;
mod ring;

use schemars::JsonSchema;
use serde::Deserialize;

use super::AUDIO;
use super::error::CaptureError;
use crate::config::Fault;
use crate::dsp::MAX_SAMPLE_RATE_HZ;
use crate::media::Format;
use crate::stage::{
    Blueprint, BoxFuture, Capture, CaptureContext, Contract, ContractFault, Kind, Role, Runnable, Source, StageError,
};
use crate::units::{Rate, TimeSpan};

pub use device::{Device, DeviceError, list};
use device::{Line, Wish, dial};
use listen::{Listener, Patience};

/// How long the first opening may take.
const OPENING: TimeSpan = TimeSpan::from_millis(10_000);

/// Settings of `microphone`: → `audio`, one stream.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Microphone {
    /// The device: its id or name as `percept devices` lists them, or a part of either. Default: the system's default
    /// input.
    pub device: Option<String>,
    /// Frames per second, 1 to 768000. Default: the device's own, which is known when it opens.
    #[schemars(range(min = 1, max = MAX_SAMPLE_RATE_HZ))]
    pub sample_rate_hz: Option<u32>,
    /// Samples in a frame, 1 to 64; the device must offer just that. Default: one, the mean of the device's channels
    /// where it has no less.
    #[schemars(range(min = 1, max = 64))]
    pub channels: Option<u16>,
    /// The length of a packet in milliseconds, 1 to 1000. Default: 20.
    #[serde(default = "packet_ms")]
    #[schemars(range(min = 1, max = 1000))]
    pub packet_ms: u32,
    /// How much sound waits for a pipeline that is behind, in milliseconds, 20 to 60000; what comes beyond it is lost and
    /// counted. Default: 2000.
    #[serde(default = "buffer_ms")]
    #[schemars(range(min = 20, max = 60_000))]
    pub buffer_ms: u32,
    /// How long a device may deliver nothing before it counts as silent, in milliseconds, 100 to 3600000. Default: 1000.
    #[serde(default = "silent_after_ms")]
    #[schemars(range(min = 100, max = 3_600_000))]
    pub silent_after_ms: u32,
    /// How long to wait before a silent or lost device is opened again, in milliseconds, 10 to 3600000. Default: 1000.
    #[serde(default = "reopen_ms")]
    #[schemars(range(min = 10, max = 3_600_000))]
    pub reopen_ms: u32,
    /// How long a device may give nothing but zeros before it is told that it seems muted, in milliseconds; 0 for never.
    /// Default: 5000.
    #[serde(default = "muted_after_ms")]
    pub muted_after_ms: u32,
}

fn packet_ms() -> u32 {
    20
}

fn buffer_ms() -> u32 {
    2000
}

fn silent_after_ms() -> u32 {
    1000
}

fn reopen_ms() -> u32 {
    1000
}

fn muted_after_ms() -> u32 {
    5000
}

const EXAMPLE: &str = "\
percept: 1
name: listen
stages:
  - capture: microphone
  - preprocess: resample
    sample_rate_hz: 16000
  - sink: jsonl
    path: \"-\"
";

/// The registry's entry.
pub const KIND: Kind = Kind::plain::<Microphone>("microphone", Role::Capture, "what a microphone hears", EXAMPLE);

impl Default for Microphone {
    /// The default input as it is.
    fn default() -> Self {
        Microphone {
            device: None,
            sample_rate_hz: None,
            channels: None,
            packet_ms: packet_ms(),
            buffer_ms: buffer_ms(),
            silent_after_ms: silent_after_ms(),
            reopen_ms: reopen_ms(),
            muted_after_ms: muted_after_ms(),
        }
    }
}

impl Microphone {
    fn wish(&self) -> Wish {
        Wish {
            device: self.device.clone(),
            sample_rate_hz: self.sample_rate_hz,
            channels: self.channels,
            buffer_ms: self.buffer_ms,
        }
    }

    fn patience(&self) -> Patience {
        let span = |ms: u32| TimeSpan::from_millis(ms.into());
        Patience {
            packet: span(self.packet_ms.max(1)),
            silent_after: span(self.silent_after_ms),
            reopen: span(self.reopen_ms),
            muted_after: (self.muted_after_ms > 0).then(|| span(self.muted_after_ms)),
        }
    }
}

impl Blueprint for Microphone {
    fn contract(&self) -> Contract {
        Contract::new().output(AUDIO)
    }

    fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        let rate = self.sample_rate_hz.and_then(|rate| Rate::hz(rate).ok());
        Ok(vec![Format::audio(rate, Some(self.channels.unwrap_or(1)))])
    }

    fn build(&self) -> Result<Runnable, StageError> {
        let wish = self.wish();
        Ok(Runnable::capture(Recorder {
            name: self.device.clone().unwrap_or_else(|| "microphone".into()),
            patience: self.patience(),
            dial: Some(Box::new(move || dial(&wish))),
            opening: None,
        }))
    }

    /// An absent device is a warning: it may be plugged in before the start. Opens none.
    fn probe(&self) -> Vec<Fault> {
        match device::look_for(self.device.as_deref()) {
            Ok(()) => Vec::new(),
            Err(error) => vec![Fault::warning("no-device", error.to_string())],
        }
    }
}

/// Begins to open the device.
type Dial = Box<dyn FnMut() -> Line + Send>;

/// The capture: one stream.
struct Recorder {
    name: String,
    patience: Patience,
    /// Taken when the stream is there.
    dial: Option<Dial>,
    /// Kept over a call that was dropped.
    opening: Option<Line>,
}

impl Recorder {
    async fn next(&mut self, context: &CaptureContext) -> Result<Option<Box<dyn Source>>, StageError> {
        let Some(dial) = &mut self.dial else { return Ok(None) };
        let line = self.opening.get_or_insert_with(dial);
        let deadline = context.clock.now().after(OPENING);
        let failed = |reason: &str| DeviceError::Failed {
            device: self.name.clone(),
            doing: "does not open",
            reason: reason.to_owned(),
            busy: false,
        };
        let answer = tokio::select! {
            answer = &mut line.answer => answer.unwrap_or_else(|_| Err(failed("its driver panicked"))),
            () = context.clock.sleep_until(deadline) => Err(failed("its driver does not answer")),
        };
        let (dial, line) = (self.dial.take(), self.opening.take());
        let connected = answer.map_err(|error| StageError::fatal(CaptureError::from(error)))?;
        let (Some(dial), Some(line)) = (dial, line) else { return Ok(None) };
        let clock = context.clock.clone();
        Ok(Some(Box::new(Listener::new(self.name.clone(), self.patience, clock, dial, line, connected))))
    }
}

impl Capture for Recorder {
    fn next_stream<'a>(
        &'a mut self,
        context: &'a CaptureContext,
    ) -> BoxFuture<'a, Result<Option<Box<dyn Source>>, StageError>> {
        Box::pin(self.next(context))
    }
}

#[cfg(test)]
mod tests;
