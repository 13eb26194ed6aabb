//! The running stage: utterances in, texts out.

use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;

use super::super::session;
use super::super::tokens::Tokens;
use super::choice::Choice;
use super::greedy::{DecodeError, Recogniser};
use super::plan::Plan;
use crate::media::{Audio, Format, Piece, StreamInfo, Text};
use crate::stage::{Canceller, ContractFault, Draft, Input, Opened, Output, Stage, StageError};
use crate::tensor::Buffer;
use crate::units::Timestamp;

/// An utterance or a stream that the stage cannot take.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Seq2SeqError {
    /// It is sound of another format than the model hears.
    #[error("expected {expected}, found {found}{}", help.as_ref().map(|help| format!("; {help}")).unwrap_or_default())]
    Format {
        /// What the model hears.
        expected: String,
        /// What came.
        found: String,
        /// What to do.
        help: Option<String>,
    },
    /// A sample is no number.
    #[error("expected finite samples, found {value} at sample {index} of {count}; the text would be noise")]
    NotFinite {
        /// The first such sample.
        index: usize,
        /// Its value.
        value: f32,
        /// How many samples there are.
        count: usize,
    },
    /// It is longer than the stage takes.
    #[error(
        "expected an utterance of at most {most_s} s, found {found_s:.1} s; put `- decoder: endpoint` before the \
         model, or set `max_length_s`"
    )]
    TooLong {
        /// The longest.
        most_s: f64,
        /// Its length.
        found_s: f64,
    },
}

/// How many utterances, partial ones included, a stage has turned into text, over all streams and restarts.
///
/// It is the stage's [`handle`](crate::stage::Blueprint::handle).
#[derive(Debug, Default)]
pub struct Counts {
    decoded: AtomicU64,
    reused: AtomicU64,
}

impl Counts {
    /// Utterances for which the model ran.
    pub fn decoded(&self) -> u64 {
        self.decoded.load(Ordering::Relaxed)
    }

    /// Utterances that had the sound, and so the text, of the one before.
    pub fn reused(&self) -> u64 {
        self.reused.load(Ordering::Relaxed)
    }
}

/// The running stage.
pub(super) struct Seq2SeqStage {
    /// How it was planned.
    pub plan: Plan,
    /// Its graphs, loaded.
    pub recogniser: Recogniser,
}

/// The utterance before, with its text.
pub(super) struct Heard {
    start: Timestamp,
    samples: Buffer<f32>,
    text: Text,
}

impl Heard {
    fn is(&self, start: Timestamp, samples: &Buffer<f32>) -> bool {
        // By bits: 0 and −0 are equal numbers, but need not be equal to a model.
        let shared = std::ptr::eq::<[f32]>(&*self.samples, &**samples);
        let same = || bytemuck::cast_slice::<f32, u32>(&self.samples) == bytemuck::cast_slice::<f32, u32>(samples);
        self.start == start && (shared || same())
    }
}

impl Stage for Seq2SeqStage {
    type State = Option<Heard>;

    fn open(&mut self, _: &StreamInfo, inputs: &[Format]) -> Result<Opened<Option<Heard>>, StageError> {
        match inputs.iter().find_map(|format| self.plan.refuse(format)) {
            Some(ContractFault { expected, found, help, .. }) => {
                Err(StageError::end_stream(Seq2SeqError::Format { expected, found, help }))
            }
            None => Ok(Opened { state: None, outputs: vec![Format::Text] }),
        }
    }

    fn process(&mut self, last: &mut Option<Heard>, input: Input, out: &mut Output) -> Result<(), StageError> {
        let packet = input.packet;
        let samples = self.sound(packet.payload.audio()?)?.clone();
        let text = match last {
            Some(heard) if heard.is(packet.start, &samples) => {
                self.plan.counts.reused.fetch_add(1, Ordering::Relaxed);
                heard.text.clone()
            }
            _ if samples.len() < self.plan.config.min_samples => Text::default(),
            _ => {
                let text = self.decode(&samples)?;
                *last = Some(Heard { start: packet.start, samples, text: text.clone() });
                text
            }
        };
        let mut draft = Draft::new(packet.start, packet.duration, text).revision(packet.revision);
        draft.flags = packet.flags;
        draft.weights = packet.weights;
        out.emit(0, draft);
        Ok(())
    }

    fn canceller(&self) -> Option<Canceller> {
        let sessions = [self.recogniser.encoder.canceller(), self.recogniser.decoder.canceller()];
        Some(Canceller::new(move || sessions.iter().for_each(|session| session.cancel())))
    }
}

impl Seq2SeqStage {
    /// The samples of an utterance that the model can hear.
    fn sound<'a>(&self, audio: &'a Audio) -> Result<&'a Buffer<f32>, StageError> {
        let format = Format::audio(Some(audio.rate()), Some(audio.channels()));
        if let Some(ContractFault { expected, found, help, .. }) = self.plan.refuse(&format) {
            return Err(StageError::skip(Seq2SeqError::Format { expected, found, help }));
        }
        let samples = audio.samples();
        let (found_s, most_s) = (samples.len() as f64 / self.plan.rate.as_hz(), self.plan.config.max_length_s);
        if found_s > most_s {
            return Err(StageError::skip(Seq2SeqError::TooLong { most_s, found_s }));
        }
        match samples.iter().enumerate().find(|(_, sample)| !sample.is_finite()) {
            Some((index, &value)) => {
                Err(StageError::skip(Seq2SeqError::NotFinite { index, value, count: samples.len() }))
            }
            None => Ok(samples),
        }
    }

    fn decode(&mut self, samples: &Buffer<f32>) -> Result<Text, StageError> {
        session::allow_runs(&*self.recogniser.encoder);
        session::allow_runs(&*self.recogniser.decoder);
        let cap = self.plan.config.cap(samples.len(), self.plan.rate);
        let provider = self.recogniser.decoder.provider();
        let choices = self.recogniser.decode(samples, cap).map_err(|error| match error {
            DecodeError::Inference(error) => session::run_error(error, provider),
            error => StageError::skip(error),
        })?;
        self.plan.counts.decoded.fetch_add(1, Ordering::Relaxed);
        Ok(text(&self.plan.tokens, &choices))
    }
}

/// The text of these tokens: without spaces around it, each token a piece. The end token is a piece too, with an empty
/// text: its probability belongs to the text's.
fn text(tokens: &Tokens, choices: &[Choice]) -> Text {
    let numbers: Vec<usize> = choices.iter().map(|choice| choice.token).collect();
    let pieces = tokens.pieces(&numbers);
    let text = pieces.concat();
    let pieces = pieces.into_iter().zip(choices).map(|(text, choice)| Piece {
        text: text.into(),
        log_probability: choice.log_probability,
        start: None,
        end: None,
    });
    Text { text: text.trim().into(), pieces: pieces.collect() }
}
