//! `transcript`: settles a model's text into what was said: numbered utterances with confidence, without loops.
//!
//! Use it after a model or decoder that gives text, before a sink. Text of packets flagged as partial gives partial
//! transcripts, other text final ones, with the packet's times and revision.
//!
//! * **Utterances** are numbered from 0 in each stream. Packets with one start belong to one utterance, until its final
//!   one. An utterance of which nothing is passed on takes no number.
//! * **Confidence** is the geometric mean of the probabilities of the pieces that are left: exp of the mean of their
//!   log-probabilities. A text with less than `min_confidence` counts as empty.
//! * **Repetition guard**: models that decode by their own output fall into loops on silence and noise. Of a phrase of
//!   1 to 6 words that stands more than `max_repeats` times in a row the first `max_repeats` stay. Case and the
//!   punctuation around words don't count. (Radford et al., "Robust Speech Recognition via Large-Scale Weak
//!   Supervision", 2022, section 4.5, tell loops by how well the text compresses; counting cuts exactly the loop.)
//! * **Empty text**: an empty partial one is not passed on, nor is an empty final one of an utterance that was never
//!   passed on. After partial ones it is: a display has to take them back.
//! * **Agreement** (`partials: agreed`): a partial transcript is what this partial text and the one before it begin
//!   with alike, word by word, so what is shown seldom changes. The first one of an utterance shows nothing. (Liu,
//!   Spanakis and Niehues, "Low-Latency Sequence-to-Sequence Speech Recognition and Translation by Partial Hypothesis
//!   Selection", Interspeech 2020: local agreement.)
//!
//! Where the guard or the agreement shorten a text, the pieces that lie wholly in what is left out go with it.

#[cfg(test)]
mod tests;
mod words;

use std::ops::Range;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::media::{Format, Piece, StreamInfo, Text, Transcript};
use crate::stage::{
    Blueprint, Contract, ContractFault, Draft, Input, Kind, Opened, Output, Role, Runnable, Stage, StageError,
};
use crate::units::Timestamp;

/// How partial text becomes partial transcripts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Settling {
    /// As it comes.
    #[default]
    AsIs,
    /// Only what two partial texts in a row begin with alike.
    Agreed,
}

/// Keys of `transcript`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Transcribe {
    /// Confidence, 0 to 1, below which a text counts as empty. 0 lets everything pass, and so does text whose model
    /// tells no probabilities.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_confidence: f64,
    /// How often a phrase of 1 to 6 words may stand in a row. 0: as often as it likes.
    #[schemars(range(max = 1000))]
    pub max_repeats: u32,
    /// Whether empty transcripts are dropped that nothing needs.
    pub drop_empty: bool,
    /// How partial text becomes partial transcripts.
    pub partials: Settling,
}

impl Default for Transcribe {
    fn default() -> Self {
        Transcribe { min_confidence: 0.0, max_repeats: 3, drop_empty: true, partials: Settling::AsIs }
    }
}

const EXAMPLE: &str = r#"percept: 1
name: transcribe
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
  - model: moonshine-tiny
  - decoder: transcript
    min_confidence: 0.4
  - sink: console
"#;

/// The entry of the registry.
pub const KIND: Kind = Kind::plain::<Transcribe>(
    "transcript",
    Role::Decoder,
    "settles text into numbered utterances with confidence, without loops",
    EXAMPLE,
);

impl Blueprint for Transcribe {
    fn contract(&self) -> Contract {
        Contract::new().input("text", Format::Text).output("transcripts").inline()
    }

    fn outputs(&self, inputs: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        match inputs.first() {
            None | Some(Format::Text | Format::Any) => Ok(vec![Format::Transcript]),
            Some(found) => Err(vec![ContractFault {
                port: "text".to_owned(),
                expected: "text".to_owned(),
                found: found.to_string(),
                help: Some(
                    "put it after a model or decoder that gives text, such as `- decoder: ctc_greedy`".to_owned(),
                ),
            }]),
        }
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(Settler { settings: self.clone() }))
    }
}

/// The running stage.
#[derive(Debug)]
struct Settler {
    settings: Transcribe,
}

/// What belongs to one stream.
#[derive(Debug, Default)]
struct Settled {
    /// The number of the next utterance that is passed on.
    utterance: u64,
    current: Option<Current>,
}

/// The utterance in progress.
#[derive(Debug)]
struct Current {
    start: Timestamp,
    /// Whether something of it was passed on.
    told: bool,
    /// Its newest partial text, as the guard left it.
    last: Arc<str>,
}

impl Stage for Settler {
    type State = Settled;

    fn open(&mut self, _: &StreamInfo, _: &[Format]) -> Result<Opened<Settled>, StageError> {
        Ok(Opened { state: Settled::default(), outputs: vec![Format::Transcript] })
    }

    fn process(&mut self, state: &mut Settled, input: Input, out: &mut Output) -> Result<(), StageError> {
        let packet = &input.packet;
        let text = packet.payload.text()?;
        let is_final = !packet.flags.partial;
        if state.current.as_ref().is_some_and(|current| current.start != packet.start) {
            state.end();
        }
        let fresh = || Current { start: packet.start, told: false, last: Arc::default() };
        let current = state.current.get_or_insert_with(fresh);

        let mut words = without(text, &words::repetitions(&text.text, self.settings.max_repeats as usize));
        if !is_final && self.settings.partials == Settling::Agreed {
            let whole = words.text.clone();
            let agreed = words::agreed(&whole, &current.last).len();
            words = without(&words, std::slice::from_ref(&(agreed..whole.len())));
            current.last = whole;
        }
        let confidence = confidence(&words.pieces);
        if confidence.is_some_and(|confidence| f64::from(confidence) < self.settings.min_confidence) {
            words = Text::default();
        }

        let trimmed = words.text.trim();
        let needed = !trimmed.is_empty() || !self.settings.drop_empty || (is_final && current.told);
        if needed {
            current.told = true;
            let transcript = Transcript {
                text: if trimmed.len() == words.text.len() { words.text.clone() } else { trimmed.into() },
                is_final,
                utterance: state.utterance,
                confidence,
                pieces: words.pieces.clone(),
            };
            let mut draft = Draft::new(packet.start, packet.duration, transcript);
            draft.flags = packet.flags;
            draft.revision = packet.revision;
            draft.weights = packet.weights;
            out.emit(0, draft);
        }
        if is_final {
            state.end();
        }
        Ok(())
    }
}

impl Settled {
    /// The utterance in progress is over.
    fn end(&mut self) {
        if self.current.take().is_some_and(|current| current.told) {
            self.utterance += 1;
        }
    }
}

/// A text without some of its parts, which are in order; and without the pieces that lie wholly in them, when the
/// pieces spell the text.
fn without(text: &Text, parts: &[Range<usize>]) -> Text {
    if parts.iter().all(Range::is_empty) {
        return text.clone();
    }
    let mut left = String::with_capacity(text.text.len());
    let mut from = 0;
    for part in parts {
        left.push_str(&text.text[from..part.start]);
        from = part.end;
    }
    left.push_str(&text.text[from..]);
    let spelled = text.pieces.iter().map(|piece| &*piece.text).collect::<String>() == *text.text;
    let mut end = 0;
    let stays = |piece: &&Piece| {
        let begin = end;
        end += piece.text.len();
        !spelled || !parts.iter().any(|part| part.start <= begin && end <= part.end)
    };
    Text { text: left.into(), pieces: text.pieces.iter().filter(stays).cloned().collect() }
}

/// The geometric mean of the pieces' probabilities; `None` without pieces, or when one's is no number.
fn confidence(pieces: &[Piece]) -> Option<f32> {
    let sum: f64 = pieces.iter().map(|piece| f64::from(piece.log_probability)).sum();
    let mean = sum / pieces.len() as f64;
    (!mean.is_nan()).then(|| mean.min(0.0).exp() as f32)
}
