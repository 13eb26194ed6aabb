//! Text as models give it, and transcripts as decoders settle it.

use std::sync::Arc;

use crate::units::Timestamp;

/// A token of recognised text, with what the model knows of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// Its characters, leading space included.
    pub text: Arc<str>,
    /// Natural logarithm of the probability that the model gave it.
    pub log_probability: f32,
    /// Where it starts in the stream, for models that know.
    pub start: Option<Timestamp>,
    /// Where it ends in the stream, for models that know.
    pub end: Option<Timestamp>,
}

/// Text as a model or a decoding algorithm gives it, token by token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Text {
    /// The whole text.
    pub text: Arc<str>,
    /// Its tokens; may be empty when the model does not tell.
    pub pieces: Arc<[Piece]>,
}

/// What was said in a span of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Transcript {
    /// The words, trimmed.
    pub text: Arc<str>,
    /// Whether it will not change any more. A partial transcript is replaced by the next one with the same utterance.
    pub is_final: bool,
    /// Number of the utterance in its stream, from 0; partials and their final share it.
    pub utterance: u64,
    /// Geometric mean of the tokens' probabilities, 0..1, when the model tells them.
    pub confidence: Option<f32>,
    /// The tokens, when the model tells them.
    pub pieces: Arc<[Piece]>,
}
