//! `seq2seq`: speech to text with an encoder and a decoder, such as Moonshine.
//!
//! Put it behind `endpoint`: each packet of sound is one utterance, and becomes one text of the same time. The model
//! hears an utterance as a whole, so a text comes when the utterance is over; partial results are the utterance so far,
//! decoded again. Under a clock that runs, a newer partial result replaces one that still waits, and the final one breaks
//! off the decoding of a partial one.
//!
//! Decoding is greedy: at each step the likeliest token, until the end token, or until there are more tokens than
//! anybody says in that time (`max_tokens_per_s`), which also bounds a model that repeats itself. Utterances too short
//! for the encoder have an empty text.
//!
//! The model is a card with three files: an encoder that takes raw samples, a decoder *merged* from its two branches
//! (first step, and later ones with a cache of keys and values), and a `tokenizer.bin`. The graphs' ports have the
//! names that Hugging Face's exporter gives. It is never batched nor padded.
//!
//! `endpoint` sends the same sound twice when an utterance ends where a partial result was given already. The model
//! runs once: a packet with the same start and the very same samples as the one before it in its stream gets the text
//! of that one. [`Counts`] tells how often.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::Faults;
use crate::inference::SessionOptions;
use crate::stage::{Blueprint, Kind, ReadContext, Resolve, Role};

mod choice;
mod greedy;
mod plan;
mod ports;
#[cfg(test)]
mod reference_tests;
mod stage;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use greedy::DecodeError;
pub use ports::PortFault;
pub use stage::{Counts, Seq2SeqError};

/// Speech to text: audio utterances at the model's sample rate, 1 channel → text, utterance by utterance.
///
/// What has no default here stands in the card.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Seq2Seq {
    /// The token that the decoder is given before the first.
    pub begin_token: u32,
    /// The token with which an utterance ends.
    pub end_token: u32,
    /// Most tokens for a second of sound; the cap of an utterance is rounded up. Default 6.5.
    #[serde(default = "default_max_tokens_per_s")]
    #[schemars(range(min = 0.1, max = 1000.0))]
    pub max_tokens_per_s: f64,
    /// Fewest samples that the encoder takes; a shorter utterance has an empty text. Default 895, Moonshine's.
    #[serde(default = "default_min_samples")]
    #[schemars(range(min = 1))]
    pub min_samples: usize,
    /// Longest utterance in seconds; a longer one is skipped, because the encoder's memory grows with the square of the
    /// length. Default 60.
    #[serde(default = "default_max_length_s")]
    #[schemars(range(min = 0.1, max = 600.0))]
    pub max_length_s: f64,
    /// What the decoder's `encoder_attention_mask` is as long as. Default `samples`.
    #[serde(default)]
    pub decoder_mask: DecoderMask,
    /// The role of the encoder's file in the card. Default `encoder`.
    #[serde(default = "default_encoder")]
    pub encoder: String,
    /// The role of the decoder's file in the card. Default `decoder`.
    #[serde(default = "default_decoder")]
    pub decoder: String,
    /// The role of the token file (`tokenizer.bin`) in the card. Default `tokens`.
    #[serde(default = "default_tokens")]
    pub tokens: String,
    /// Where and how the graphs run.
    #[serde(flatten)]
    pub session: SessionOptions,
}

/// What the decoder's `encoder_attention_mask` is as long as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DecoderMask {
    /// The utterance, in samples.
    #[default]
    Samples,
    /// The encoder's output, in frames.
    Frames,
}

fn default_max_tokens_per_s() -> f64 {
    6.5
}

fn default_min_samples() -> usize {
    895
}

fn default_max_length_s() -> f64 {
    60.0
}

fn default_encoder() -> String {
    "encoder".into()
}

fn default_decoder() -> String {
    "decoder".into()
}

fn default_tokens() -> String {
    "tokens".into()
}

const EXAMPLE: &str = "\
percept: 1
name: speech
stages:
  - capture: microphone
  - preprocess: resample
    sample_rate_hz: 16000
  - model: silero-vad
    id: vad
  - decoder: endpoint
    from: {voice: vad, audio: resample}
  - model: moonshine-tiny
  - decoder: transcript
  - sink: console
";

/// The registry's entry.
pub const KIND: Kind = Kind::resolved::<Seq2Seq>(
    "seq2seq",
    Role::Model,
    "speech to text with an encoder and a decoder, such as Moonshine",
    EXAMPLE,
);

impl Resolve for Seq2Seq {
    fn resolve(self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        Ok(Box::new(self.plan(context)?))
    }
}
