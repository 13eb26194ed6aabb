//! `endpoint`: cuts sound into utterances by the probability that somebody speaks.
//!
//! Use it between a voice gate (a model that gives one probability for each window of sound) and a model that reads
//! whole utterances. It has two inputs, so they are named: `from: {voice: …, audio: …}`.
//!
//! # Where an utterance begins and ends
//!
//! A window whose probability is `threshold_on` or more opens a *candidate*; one below `threshold_off` drops it again.
//! A candidate as long as `min_speech_ms` is *speech*. Speech ends where windows below `threshold_off` begin that last
//! `min_silence_ms` together. The utterance is the speech with `pad_before_ms` and `pad_after_ms` of sound around it,
//! but no sound belongs to two utterances.
//!
//! Speech whose utterance reaches `max_length_ms` is cut at the begin of the least probable of its late windows, those
//! that end at 80 % of that length or later. It goes on there, as the next utterance, without padding.
//!
//! At the end of the stream, before a gap in the sound and before a stretch that the voice gate said nothing about,
//! speech ends with the sound, and a candidate of any length is an utterance: a last word is never lost. The same
//! happens by the clock when a live stream brings nothing for `stall_ms`. Sound at the end of a stream that the gate
//! did not judge counts as what came before it, as long as it is no longer than `stall_ms`.
//!
//! The windows are the voice packets' starts and durations; they need not divide the sound's rate or be of one length.
//! Decisions are made only on windows whose sound is there, so they don't depend on how either input was cut into
//! packets. The state machine was frozen in Python first: `tests/reference/endpoint.py`.
//!
//! # Partial results
//!
//! All revisions of an utterance share their start. The first partial one comes as soon as a candidate is speech, the
//! next at each window that ends `partial_every_ms`, 2 · `partial_every_ms`, … after the begin of the speech, each with
//! the sound from the utterance's start to the end of that window. Once the speech is longer than ten such distances, the
//! next one comes when it has grown by a tenth, since a model that reads the whole utterance again takes longer and longer.
//! There is none at the window that ends the utterance.
//!
//! With `eager_final`, once a silence has lasted 96 ms and the padding after it is there, one partial result holds
//! exactly the sound that the final one will have if the silence goes on, and no other follows while it does. It is
//! flagged as `expected_final`, so a model breaks off its work on an older one. A model that keeps its last result and
//! meets the same sound again can then give the final result at once.

mod listening;
mod segmenter;
mod sound;
#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::listening::Listening;
use self::segmenter::Limits;
use super::partials::Partials;
use crate::config::Faults;
use crate::media::{Format, StreamInfo};
use crate::stage::{
    Blueprint, Contract, ContractFault, Input, Kind, Opened, Output, ReadContext, Resolve, Role, Runnable, Stage,
    StageError,
};
use crate::tensor::{DType, SymbolicShape};
use crate::units::{Rate, TimeSpan, Timestamp};

/// Keys of `endpoint`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Endpoint {
    /// Probability at which a window can begin speech.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub threshold_on: f64,
    /// Probability below which a window can end speech; at most `threshold_on`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub threshold_off: f64,
    /// Shortest speech, in milliseconds. Anything shorter is taken for noise, except at the end of the stream.
    #[schemars(range(max = 10_000))]
    pub min_speech_ms: u32,
    /// Silence that ends an utterance, in milliseconds.
    #[schemars(range(min = 1, max = 60_000))]
    pub min_silence_ms: u32,
    /// Longest utterance, in milliseconds; longer speech is cut where the voice is weakest.
    #[schemars(range(min = 1000, max = 120_000))]
    pub max_length_ms: u32,
    /// Sound that an utterance holds before its speech, in milliseconds.
    #[schemars(range(max = 10_000))]
    pub pad_before_ms: u32,
    /// Sound that an utterance holds after its speech, in milliseconds, as far as it is there when the utterance ends.
    #[schemars(range(max = 10_000))]
    pub pad_after_ms: u32,
    /// Distance of partial results, in milliseconds of the stream; a tenth of the utterance where that is more.
    #[schemars(range(min = 20, max = 60_000))]
    pub partial_every_ms: u32,
    /// Which streams get partial results.
    pub partials: Partials,
    /// Whether a live stream with partial results gets one that holds the final's sound before the silence is over.
    pub eager_final: bool,
    /// How long a live stream may bring nothing, in milliseconds, before an utterance in progress is ended; and how
    /// much sound without a voice probability, in milliseconds, may end one in any stream.
    #[schemars(range(min = 100, max = 60_000))]
    pub stall_ms: u32,
}

impl Default for Endpoint {
    fn default() -> Self {
        Endpoint {
            threshold_on: 0.5,
            threshold_off: 0.35,
            min_speech_ms: 96,
            min_silence_ms: 500,
            max_length_ms: 15_000,
            pad_before_ms: 200,
            pad_after_ms: 200,
            partial_every_ms: 300,
            partials: Partials::Live,
            eager_final: true,
            stall_ms: 1000,
        }
    }
}

const EXAMPLE: &str = r#"percept: 1
name: utterances
stages:
  - capture: file
    path: examples/recordings
  - preprocess: mono
  - preprocess: resample
    sample_rate_hz: 16000
  - model: silero-vad
    id: vad
  - decoder: endpoint
    from: {voice: vad, audio: resample}
    min_silence_ms: 400
  - sink: wav
    path: "{stream}-{index}.wav"
"#;

/// The entry of the registry.
pub const KIND: Kind = Kind::resolved::<Endpoint>(
    "endpoint",
    Role::Decoder,
    "cuts sound into utterances, by the probability that somebody speaks",
    EXAMPLE,
);

/// The input ports, in the contract's order.
const VOICE: usize = 0;
const AUDIO: usize = 1;
/// The silence after which the final's sound may be given as a partial result.
const EAGER_SILENCE_MS: u32 = 96;
/// How often the clock looks for a stall.
const TICK_MS: i64 = 50;
/// Voice windows that may wait for their sound.
const MAX_WAITING: usize = 1 << 14;

/// What this stage cannot take.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The settings contradict each other.
    #[error("`{key}`: {problem}")]
    Settings {
        /// The key at fault.
        key: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The stream's sound is not what utterances are cut from.
    #[error("port `audio`: expected audio of 1 channel and a known rate, found {found}; insert `- preprocess: mono`")]
    Audio {
        /// The format found.
        found: Format,
    },
    /// A packet's sound differs from what the stream was opened with.
    #[error("port `audio`: expected {expected}, found {found}")]
    Changed {
        /// The stream's format.
        expected: Format,
        /// The packet's.
        found: Format,
    },
    /// A voice packet that is no probability of a window.
    #[error("port `voice` at {start}: expected one f32 probability for a span of time, found {found}")]
    Voice {
        /// When the packet starts.
        start: Timestamp,
        /// What it holds.
        found: String,
    },
    /// Voice without sound.
    #[error("port `voice` at {start}: {MAX_WAITING} windows wait for sound that does not come on port `audio`")]
    Ahead {
        /// When the packet starts.
        start: Timestamp,
    },
}

impl Endpoint {
    /// What in the settings contradicts itself: the key at fault, and why.
    fn contradictions(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if self.threshold_off.is_nan() || self.threshold_on.is_nan() || self.threshold_off > self.threshold_on {
            let (off, on) = (self.threshold_off, self.threshold_on);
            found.push(("threshold_off", format!("expected at most `threshold_on`, which is {on}, found {off}")));
        }
        let least = (u64::from(self.pad_before_ms) + u64::from(self.min_speech_ms)) * 5 / 4;
        if u64::from(self.max_length_ms) <= least {
            let length = self.max_length_ms;
            let why = "so that speech is cut inside itself: 5/4 of `pad_before_ms` and `min_speech_ms` together";
            found.push(("max_length_ms", format!("expected more than {least}, {why}; found {length}")));
        }
        found
    }

    fn limits(&self, rate: Rate, live: bool) -> Limits {
        let samples = |ms: u32| rate.samples_in(TimeSpan::from_millis(i64::from(ms)));
        let partials = self.partials.wanted(live);
        Limits {
            threshold_on: self.threshold_on as f32,
            threshold_off: self.threshold_off as f32,
            min_speech: samples(self.min_speech_ms),
            min_silence: samples(self.min_silence_ms),
            max_length: samples(self.max_length_ms),
            pad_before: samples(self.pad_before_ms),
            pad_after: samples(self.pad_after_ms),
            partial_every: partials.then(|| samples(self.partial_every_ms)),
            eager_after: (partials && live && self.eager_final).then(|| samples(EAGER_SILENCE_MS)),
        }
    }
}

impl Resolve for Endpoint {
    fn resolve(self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        let fault = |(key, problem): (&'static str, String)| {
            context.fault(key, "contradiction", format!("`{key}` does not fit the other keys: {problem}"))
        };
        let faults: Faults = self.contradictions().into_iter().map(fault).collect();
        if faults.is_empty() { Ok(Box::new(self)) } else { Err(faults) }
    }
}

impl Blueprint for Endpoint {
    fn contract(&self) -> Contract {
        Contract::new()
            .input("voice", Format::Tensor { dtype: Some(DType::F32), shape: SymbolicShape::Unranked })
            .input("audio", Format::audio(None, Some(1)))
            .output("utterances")
            .inline()
            .tick(TimeSpan::from_millis(TICK_MS))
    }

    fn outputs(&self, inputs: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        let fault = |port: &str, expected: &str, found: &Format, help: &str| ContractFault {
            port: port.to_owned(),
            expected: expected.to_owned(),
            found: found.to_string(),
            help: Some(help.to_owned()),
        };
        let mut faults = Vec::new();
        match inputs.get(VOICE) {
            Some(Format::Tensor { dtype, shape })
                if dtype.is_none_or(|dtype| dtype == DType::F32)
                    && shape.dims().is_none_or(|dims| dims.iter().all(|dim| dim.known().is_none_or(|n| n == 1))) => {}
            None | Some(Format::Any) => {}
            Some(other) => {
                let help = "connect a voice gate, a model that gives one probability a window: \
                            `from: {voice: vad, audio: resample}`";
                faults.push(fault("voice", "tensor f32 of one element", other, help));
            }
        }
        let mut rate = None;
        match inputs.get(AUDIO) {
            Some(Format::Audio { sample_rate, channels: None | Some(1) }) => rate = *sample_rate,
            None | Some(Format::Any) => {}
            Some(other @ Format::Audio { .. }) => {
                faults.push(fault("audio", "audio of 1 channel", other, "insert `- preprocess: mono` before it"));
            }
            Some(other) => {
                let help = "connect the sound that the voice gate reads: `from: {voice: vad, audio: resample}`";
                faults.push(fault("audio", "audio of 1 channel", other, help));
            }
        }
        if faults.is_empty() { Ok(vec![Format::audio(rate, Some(1))]) } else { Err(faults) }
    }

    fn build(&self) -> Result<Runnable, StageError> {
        match self.contradictions().into_iter().next() {
            Some((key, problem)) => Err(StageError::fatal(EndpointError::Settings { key, problem })),
            None => Ok(Runnable::stage(Endpointer { settings: self.clone() })),
        }
    }
}

/// The running stage.
#[derive(Debug)]
struct Endpointer {
    settings: Endpoint,
}

impl Stage for Endpointer {
    type State = Listening;

    fn open(&mut self, stream: &StreamInfo, inputs: &[Format]) -> Result<Opened<Listening>, StageError> {
        let rate = match inputs.get(AUDIO) {
            Some(Format::Audio { sample_rate: Some(rate), channels: Some(1) }) => *rate,
            other => {
                let found = other.cloned().unwrap_or(Format::Any);
                return Err(StageError::end_stream(EndpointError::Audio { found }));
            }
        };
        let limits = self.settings.limits(rate, stream.live);
        let stall = TimeSpan::from_millis(i64::from(self.settings.stall_ms));
        let state = Listening::new(rate, limits, stall, stream.live);
        Ok(Opened { state, outputs: vec![Format::audio(Some(rate), Some(1))] })
    }

    fn process(&mut self, state: &mut Listening, input: Input, out: &mut Output) -> Result<(), StageError> {
        match input.port {
            VOICE => state.hear_voice(&input.packet, out),
            _ => state.hear_sound(&input.packet, out),
        }
    }

    fn tick(&mut self, state: &mut Listening, now: Timestamp, out: &mut Output) -> Result<(), StageError> {
        state.look_at_clock(now, out);
        Ok(())
    }

    fn flush(&mut self, state: &mut Listening, out: &mut Output) -> Result<(), StageError> {
        state.end_run(Timestamp::MAX, out);
        Ok(())
    }

    fn hold_back(&self, state: &Listening) -> Option<Timestamp> {
        state.needed_from()
    }
}
