//! `ctc_greedy`: the text of a model trained by connectionist temporal classification, by its most probable path.
//!
//! Use it after a model that gives scores for each symbol of an alphabet in each frame: tensors `[T, V]` or `[1, T, V]`
//! with T frames and V symbols, one of which is the blank. It is the fastest decoder for such models and knows no
//! language; for clear speech and printed text it is often enough.
//!
//! In each frame the most probable symbol is taken, repeated ones are merged, blanks dropped (Graves et al., ICML 2006,
//! section 3). A piece of the text is a symbol: it starts and ends with the frames that were merged, and its
//! log-probability is that of the frame where the model is surest of it.
//!
//! A packet is a whole utterance unless `streaming` is set; its text has the packet's times, flags and revision. With
//! `streaming` the packets of a stream are taken as one run of frames, so a symbol may go on from one to the next and
//! the text does not depend on where the packets were cut. An utterance then begins with its first symbol and ends with
//! its last, once `pause_ms` of blanks follow, or `max_length_ms` are reached, or something is missing, or the stream
//! ends.

mod best_path;
#[cfg(test)]
mod tests;

pub use best_path::Scores;

use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::best_path::{Merged, Merger};
use super::partials::Partials;
use super::{Tokens, TokensError};
use crate::config::Faults;
use crate::media::{Format, Packet, Piece, StreamInfo, Text};
use crate::stage::{
    Blueprint, Contract, ContractFault, Draft, Input, Kind, Opened, Output, ReadContext, Resolve, Role, Runnable,
    Stage, StageError,
};
use crate::stages::timeline::{Continuity, Timeline};
use crate::tensor::{DType, Dim, SymbolicShape};
use crate::units::{Rate, TimeSpan, Timestamp};

/// Keys of `ctc_greedy`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CtcGreedy {
    /// What the model's numbers are.
    pub input: Scores,
    /// File of the model's symbols in the order of its columns, one a line (or `SYMBOL NUMBER` on every line). Either
    /// this or `alphabet` is needed.
    pub tokens: Option<PathBuf>,
    /// The model's symbols in the order of its columns, a character each. Either this or `tokens` is needed.
    pub alphabet: Option<String>,
    /// Column of the blank, from 0.
    pub blank: usize,
    /// What stands for a space in the symbols. The default is the mark of SentencePiece, U+2581; models that spell by
    /// characters often have `|`.
    pub space: String,
    /// Duration of a frame in milliseconds. Without it a packet's duration is divided by the number of its frames;
    /// `streaming` needs it.
    #[schemars(range(min = 0.001, max = 4000.0))]
    pub frame_ms: Option<f64>,
    /// Whether the packets of a stream are pieces of one run of frames, rather than whole utterances.
    pub streaming: bool,
    /// With `streaming`: blanks that end an utterance, in milliseconds.
    #[schemars(range(min = 1, max = 60_000))]
    pub pause_ms: u32,
    /// With `streaming`: longest utterance, in milliseconds; a longer one is divided between two symbols.
    #[schemars(range(min = 1000, max = 600_000))]
    pub max_length_ms: u32,
    /// With `streaming`: which streams get a partial result after each packet that changes the text.
    pub partials: Partials,
}

impl Default for CtcGreedy {
    fn default() -> Self {
        CtcGreedy {
            input: Scores::Logits,
            tokens: None,
            alphabet: None,
            blank: 0,
            space: "\u{2581}".to_owned(),
            frame_ms: None,
            streaming: false,
            pause_ms: 800,
            max_length_ms: 30_000,
            partials: Partials::Live,
        }
    }
}

const EXAMPLE: &str = r#"percept: 1
name: spell
stages:
  - capture: file
    path: examples/recordings
  - preprocess: mono
  - preprocess: resample
    sample_rate_hz: 16000
  - preprocess: log_mel           # stands in for a model with 28 outputs
    bands: 28
    frames: 100
  - decoder: ctc_greedy
    alphabet: "_ abcdefghijklmnopqrstuvwxyz"
  - sink: jsonl
    path: "-"
"#;

/// The entry of the registry.
pub const KIND: Kind = Kind::resolved::<CtcGreedy>(
    "ctc_greedy",
    Role::Decoder,
    "spells the text of a CTC model by its most probable path",
    EXAMPLE,
);

/// What this stage cannot take.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CtcError {
    /// The keys contradict each other, or the tokens.
    #[error("`{key}`: {problem}")]
    Settings {
        /// The key at fault.
        key: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A tensor of another shape.
    #[error(
        "at {start}: expected scores of shape [T, {columns}] or [1, T, {columns}], a column for each token, \
         found {found:?}"
    )]
    Shape {
        /// When the packet starts.
        start: Timestamp,
        /// How many tokens there are.
        columns: usize,
        /// The shape found.
        found: Vec<usize>,
    },
    /// A frame that holds no scores of the kind that `input` says.
    #[error("frame {frame} of the packet at {start} has {problem}")]
    Frame {
        /// The frame, from 0 in its packet.
        frame: usize,
        /// When the packet starts.
        start: Timestamp,
        /// What is wrong with it.
        problem: String,
    },
    /// The tensor is of another data type.
    #[error("at {start}: {error}")]
    Tensor {
        /// When the packet starts.
        start: Timestamp,
        /// What was expected and found.
        error: crate::tensor::TensorError,
    },
}

impl CtcGreedy {
    /// The stage with these settings (whose `tokens` and `alphabet` don't matter any more) and these tokens.
    pub fn with_tokens(self, tokens: Tokens) -> Result<CtcDecoder, CtcError> {
        if let Some((key, problem)) = self.contradictions(Some(&tokens)).into_iter().next() {
            return Err(CtcError::Settings { key, problem });
        }
        let tokens = tokens.with_spaces(&self.space);
        Ok(CtcDecoder { settings: self, tokens })
    }

    /// What in the settings contradicts itself or the tokens: the key at fault, and why.
    fn contradictions(&self, tokens: Option<&Tokens>) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if let Some(tokens) = tokens
            && self.blank >= tokens.len()
        {
            let (blank, count) = (self.blank, tokens.len());
            found.push(("blank", format!("expected one of the {count} tokens, numbered from 0, found {blank}")));
        }
        if self.frame_ms.is_some_and(|ms| !(0.001..=4000.0).contains(&ms)) {
            found.push(("frame_ms", "expected 0.001 to 4000 ms".to_owned()));
        }
        if self.streaming && self.frame_ms.is_none() {
            let problem = "`streaming` counts frames from packet to packet, so `frame_ms` must be given";
            found.push(("streaming", problem.to_owned()));
        }
        found
    }

    /// Frames per second, exactly as long as a frame is whole nanoseconds.
    fn frame_rate(&self) -> Option<Rate> {
        let nanos = (self.frame_ms? * 1e6).round() as u32;
        Rate::new(1_000_000_000, nanos).ok()
    }

    /// Reads the tokens from where the settings say.
    fn read_tokens(&self, context: &ReadContext<'_>) -> Result<Tokens, Faults> {
        match (&self.tokens, &self.alphabet) {
            (Some(path), None) => Tokens::read(&context.settings.resolve(path)).map_err(|error| {
                let code = if matches!(error, TokensError::Read { .. }) { "missing-file" } else { "bad-tokens" };
                context.fault("tokens", code, error.to_string()).into()
            }),
            (None, Some(alphabet)) => Ok(Tokens::from_alphabet(alphabet)),
            (None, None) => Err(context
                .fault("tokens", "missing-key", "the symbols of the model are not given")
                .help("give the model's token list, `tokens: FILE`, or spell its alphabet, `alphabet: \"…\"`")
                .into()),
            (Some(_), Some(_)) => Err(context
                .fault("alphabet", "contradiction", "both `tokens` and `alphabet` give the symbols of the model")
                .help("remove one of them")
                .into()),
        }
    }
}

impl Resolve for CtcGreedy {
    fn resolve(self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        let tokens = self.read_tokens(context);
        let known = tokens.as_ref().ok();
        let mut faults: Faults = self
            .contradictions(known)
            .into_iter()
            .map(|(key, problem)| {
                context.fault(key, "contradiction", format!("`{key}` does not fit the other keys: {problem}"))
            })
            .collect();
        match tokens {
            Ok(tokens) if faults.is_empty() => {
                let tokens = tokens.with_spaces(&self.space);
                return Ok(Box::new(CtcDecoder { settings: self, tokens }));
            }
            Ok(_) => {}
            Err(found) => faults.extend(found),
        }
        Err(faults)
    }
}

/// A [`CtcGreedy`] whose tokens are known.
#[derive(Clone, Debug)]
pub struct CtcDecoder {
    settings: CtcGreedy,
    tokens: Tokens,
}

impl Blueprint for CtcDecoder {
    fn contract(&self) -> Contract {
        let scores = Format::Tensor { dtype: Some(DType::F32), shape: SymbolicShape::Unranked };
        Contract::new().input("scores", scores).output("text").inline()
    }

    fn outputs(&self, inputs: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        let columns = self.tokens.len();
        let fits = |dims: &[Dim]| {
            let is = |dim: &Dim, size: usize| dim.known().is_none_or(|known| known == size);
            match dims {
                [_, tokens] => is(tokens, columns),
                [batch, _, tokens] => is(batch, 1) && is(tokens, columns),
                _ => false,
            }
        };
        match inputs.first() {
            None | Some(Format::Any) => Ok(vec![Format::Text]),
            Some(Format::Tensor { dtype, shape })
                if dtype.is_none_or(|dtype| dtype == DType::F32) && shape.dims().is_none_or(fits) =>
            {
                Ok(vec![Format::Text])
            }
            Some(found) => Err(vec![ContractFault {
                port: "scores".to_owned(),
                expected: format!(
                    "tensor f32 [T, {columns}] or [1, T, {columns}]: a column for each of {columns} tokens"
                ),
                found: found.to_string(),
                help: Some("give the token list that belongs to this model, blank included".to_owned()),
            }]),
        }
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(Speller { settings: self.settings.clone(), tokens: self.tokens.clone() }))
    }
}

/// The running stage.
#[derive(Debug)]
struct Speller {
    settings: CtcGreedy,
    tokens: Tokens,
}

/// The run of frames of a stream, with `streaming`.
#[derive(Debug)]
struct Running {
    timeline: Timeline,
    pause: u64,
    max_length: u64,
    partials: bool,
    merger: Merger,
    /// The symbols of the utterance in progress that have ended.
    ended: Vec<Merged>,
    revision: u32,
    /// How many symbols the last partial result had.
    told: usize,
}

impl Stage for Speller {
    type State = Option<Running>;

    fn open(&mut self, stream: &StreamInfo, _: &[Format]) -> Result<Opened<Option<Running>>, StageError> {
        let running = |rate: Rate| {
            let frames = |ms: u32| rate.samples_in(TimeSpan::from_millis(i64::from(ms))).max(1);
            Running {
                timeline: Timeline::new(rate),
                pause: frames(self.settings.pause_ms),
                max_length: frames(self.settings.max_length_ms),
                partials: self.settings.partials.wanted(stream.live),
                merger: Merger::new(self.settings.blank),
                ended: Vec::new(),
                revision: 0,
                told: 0,
            }
        };
        let rate = self.settings.frame_rate().filter(|_| self.settings.streaming);
        Ok(Opened { state: rate.map(running), outputs: vec![Format::Text] })
    }

    fn process(&mut self, state: &mut Option<Running>, input: Input, out: &mut Output) -> Result<(), StageError> {
        let path = self.best_path(&input.packet).map_err(|error| match error {
            PathError::Payload(error) => StageError::from(error),
            PathError::Ctc(error) => StageError::skip(error),
        })?;
        match state {
            Some(running) => running.take(&input.packet, &path, &self.tokens, out),
            None => out.emit(0, self.utterance(&input.packet, &path)),
        }
        Ok(())
    }

    fn flush(&mut self, state: &mut Option<Running>, out: &mut Output) -> Result<(), StageError> {
        if let Some(running) = state {
            running.end_run(&self.tokens, out);
        }
        Ok(())
    }

    fn hold_back(&self, state: &Option<Running>) -> Option<Timestamp> {
        let running = state.as_ref()?;
        running.begin().map(|frame| running.timeline.time_of(frame))
    }
}

enum PathError {
    Payload(crate::media::PayloadMismatch),
    Ctc(CtcError),
}

impl Speller {
    /// The best symbol of each frame, and the logarithm of its probability.
    fn best_path(&self, packet: &Packet) -> Result<Vec<(usize, f32)>, PathError> {
        let (start, columns) = (packet.start, self.tokens.len());
        let tensor = packet.payload.tensor().map_err(PathError::Payload)?;
        if !matches!(tensor.shape(), [_, tokens] | [1, _, tokens] if *tokens == columns) {
            let found = tensor.shape().to_vec();
            return Err(PathError::Ctc(CtcError::Shape { start, columns, found }));
        }
        let scores = tensor.as_slice::<f32>().map_err(|error| PathError::Ctc(CtcError::Tensor { start, error }))?;
        let best = |(frame, row): (usize, &[f32])| {
            let wrong = |problem| PathError::Ctc(CtcError::Frame { frame, start, problem });
            self.settings.input.best(row).map_err(wrong)
        };
        scores.chunks_exact(columns.max(1)).enumerate().map(best).collect()
    }

    /// The text of a packet that is an utterance of its own.
    fn utterance(&self, packet: &Packet, path: &[(usize, f32)]) -> Draft {
        let mut merger = Merger::new(self.settings.blank);
        let frames = (0u64..).zip(path);
        let mut merged: Vec<Merged> =
            frames.filter_map(|(frame, &(symbol, log))| merger.step(frame, symbol, log)).collect();
        merged.extend(merger.finish());
        let count = path.len().max(1) as i128;
        let whole = i128::from(packet.duration.as_nanos());
        let rate = self.settings.frame_rate();
        let time = |frame: u64| {
            let after = match rate {
                Some(rate) => rate.span(0, frame),
                None => TimeSpan::from_nanos(i64::try_from(whole * i128::from(frame) / count).unwrap_or(i64::MAX)),
            };
            packet.start + after
        };
        let mut draft = Draft::new(packet.start, packet.duration, text(&merged, &self.tokens, time));
        draft.flags = packet.flags;
        draft.revision = packet.revision;
        draft.weights = packet.weights;
        draft
    }
}

impl Running {
    /// Takes the frames of the next packet.
    fn take(&mut self, packet: &Packet, path: &[(usize, f32)], tokens: &Tokens, out: &mut Output) {
        if self.timeline.follows_packet(packet) == Continuity::Gap {
            self.end_run(tokens, out);
        }
        self.timeline.accept_packet(packet, path.len());
        let first = self.timeline.samples() - path.len() as u64;
        for (frame, &(symbol, log_probability)) in (first..).zip(path) {
            self.ended.extend(self.merger.step(frame, symbol, log_probability));
            // Whether the utterance is over is decided by the frames up to this one alone.
            let Some((begin, end)) = self.ended.first().zip(self.ended.last()).map(|(a, b)| (a.from, b.to)) else {
                continue;
            };
            let paused = self.merger.open().is_none() && frame + 1 - end >= self.pause;
            if paused || end - begin >= self.max_length {
                self.end_utterance(tokens, out);
            }
        }
        let symbols = self.ended.len() + usize::from(self.merger.open().is_some());
        if self.partials && symbols > self.told {
            self.told = symbols;
            self.revision += 1;
            let merged: Vec<Merged> = self.ended.iter().chain(self.merger.open()).copied().collect();
            self.tell(&merged, true, tokens, out);
        }
    }

    /// The frame with which the utterance in progress begins.
    fn begin(&self) -> Option<u64> {
        self.ended.first().or(self.merger.open()).map(|merged| merged.from)
    }

    /// Gives the utterance of the symbols that have ended.
    fn end_utterance(&mut self, tokens: &Tokens, out: &mut Output) {
        let merged = std::mem::take(&mut self.ended);
        if !merged.is_empty() {
            self.revision += 1;
            self.tell(&merged, false, tokens, out);
        }
        self.revision = 0;
        self.told = 0;
    }

    /// Nothing follows on the frames so far.
    fn end_run(&mut self, tokens: &Tokens, out: &mut Output) {
        self.ended.extend(self.merger.finish());
        self.end_utterance(tokens, out);
    }

    fn tell(&self, merged: &[Merged], partial: bool, tokens: &Tokens, out: &mut Output) {
        let (Some(first), Some(last)) = (merged.first(), merged.last()) else {
            return;
        };
        let text = text(merged, tokens, |frame| self.timeline.time_of(frame));
        let draft = Draft::new(self.timeline.time_of(first.from), self.timeline.span(first.from, last.to), text);
        out.emit(0, draft.partial(partial).revision(self.revision));
    }
}

/// The text of a labelling.
fn text(merged: &[Merged], tokens: &Tokens, time: impl Fn(u64) -> Timestamp) -> Text {
    let piece = |merged: &Merged| Piece {
        text: tokens.get(merged.symbol).cloned().unwrap_or_default(),
        log_probability: merged.log_probability,
        start: Some(time(merged.from)),
        end: Some(time(merged.to)),
    };
    let pieces: Arc<[Piece]> = merged.iter().map(piece).collect();
    Text { text: pieces.iter().map(|piece| &*piece.text).collect::<String>().into(), pieces }
}
