//! `seq2seq`: speech to text with an encoder and a decoder, such as Moonshine.
//!
//! Put it behind `endpoint`: each packet of sound is one utterance, and becomes one text of the same time. The model hears
//! an utterance as a whole, so a text comes when the utterance is over; partial results are the utterance so far, decoded
//! again. Under a clock that runs, a newer partial result replaces one that still waits.
//!
//! Decoding is greedy: at each step the likeliest token, until the end token, or until there are more tokens than anybody
//! says in that time (`max_tokens_per_s`), which also bounds a model that repeats itself. Utterances too short for the
//! encoder have an empty text.
//!
//! The model is a card with three files: an encoder that takes raw samples, a decoder *merged* from its two branches
//! (first step, and later ones with a cache of keys and values), and a `tokenizer.bin`. The graphs' ports have the names
//! that Hugging Face's exporter gives. It is never batched nor padded.
//!
//! `endpoint` sends the same sound twice when an utterance ends where a partial result was given already. The model runs
//! once: a packet with the same start and the very same samples as the one before it in its stream gets the text of that
//! one. [`Counts`] tells how often.

use std::any::Any;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::files::ModelFiles;
use super::graph::Graph;
use super::session::{Runtime, SessionError};
use super::tokens::Tokens;
use crate::config::{Fault, Faults};
use crate::inference::{Port, SessionOptions};
use crate::media::Format;
use crate::stage::{Blueprint, Contract, ContractFault, Kind, ReadContext, Resolve, Role, Runnable, StageError};
use crate::units::Rate;

mod choice;
mod greedy;
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

use greedy::Recogniser;
use ports::{DecoderPorts, EncoderPorts};
use stage::Seq2SeqStage;

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

/// The port that carries sound.
const AUDIO: &str = "audio";
/// The port that carries text.
const TEXT: &str = "text";

/// A `seq2seq` stage whose files are found and fit together.
#[derive(Clone, Debug)]
struct Plan {
    config: Seq2Seq,
    runtime: Runtime,
    encoder: Graph,
    decoder: Graph,
    encoder_ports: EncoderPorts,
    decoder_ports: DecoderPorts,
    tokens: Arc<Tokens>,
    rate: Rate,
    counts: Arc<Counts>,
}

impl Resolve for Seq2Seq {
    fn resolve(self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        Ok(Box::new(self.plan(context)?))
    }
}

impl Seq2Seq {
    /// Finds the files and sees that they fit together; every fault at once.
    fn plan(self, context: &ReadContext<'_>) -> Result<Plan, Faults> {
        let files = ModelFiles::find(context)?;
        let mut faults = Vec::new();
        let rate = note(&mut faults, sample_rate(&files));
        let runtime = note(
            &mut faults,
            Runtime::read(context, self.session.clone()).map_err(Faults::from),
        );
        let encoder = note(&mut faults, read_graph(&files, &self.encoder, EncoderPorts::of));
        let decoder = note(&mut faults, read_graph(&files, &self.decoder, DecoderPorts::of));
        if let (Some((encoder, ports)), Some((decoder, _))) = (&encoder, &decoder) {
            faults.extend(disagreement(
                &files,
                encoder.output(&ports.hidden),
                decoder.input("encoder_hidden_states"),
            ));
        }
        let tokens = note(&mut faults, read_tokens(&files, &self.tokens));
        if let Some(tokens) = &tokens {
            let graph = decoder.as_ref().and_then(|(_, ports)| ports.tokens);
            self.check_tokens(context, &files, tokens.count(), graph, &mut faults);
        }
        match (rate, runtime, encoder, decoder, tokens) {
            (
                Some(rate),
                Some(runtime),
                Some((encoder, encoder_ports)),
                Some((decoder, decoder_ports)),
                Some(tokens),
            ) if faults.is_empty() => {
                let (tokens, counts, config) = (Arc::new(tokens), Arc::default(), self);
                Ok(Plan {
                    config,
                    runtime,
                    encoder,
                    decoder,
                    encoder_ports,
                    decoder_ports,
                    tokens,
                    rate,
                    counts,
                })
            }
            _ => {
                let mut all = Faults::new();
                all.extend(faults);
                Err(all)
            }
        }
    }

    /// Whether the graph, the token file, the card and the tokens with a meaning agree on how many tokens there are.
    fn check_tokens(
        &self,
        context: &ReadContext<'_>,
        files: &ModelFiles,
        count: usize,
        graph: Option<usize>,
        faults: &mut Vec<Fault>,
    ) {
        let mut disagree = |with: &str, expected: String| {
            faults.push(
                files
                    .fault(
                        "token-count",
                        format!("the token file of `{}` does not fit its {with}", files.name()),
                    )
                    .expected(expected)
                    .found(format!("{count} tokens in the file of the role `{}`", self.tokens))
                    .help("bring the token file that was exported with the decoder"),
            );
        };
        if let Some(graph) = graph.filter(|graph| *graph != count) {
            disagree("decoder", format!("{graph} tokens, as the decoder's `logits`"));
        }
        let labels = files.card().and_then(|card| card.spec().labels.as_ref());
        if let Some(labels) = labels.filter(|labels| labels.file == self.tokens && labels.size != count as u64) {
            disagree("card", format!("{} tokens, as the card says", labels.size));
        }
        for (key, token) in [("begin_token", self.begin_token), ("end_token", self.end_token)] {
            if token as usize >= count {
                faults.push(
                    context
                        .fault(
                            key,
                            "no-such-token",
                            format!("`{key}` is no token of `{}`", files.name()),
                        )
                        .expected(format!("0 to {}", count.saturating_sub(1)))
                        .found(token.to_string()),
                );
            }
        }
    }

    /// The most tokens for this many samples, the end token included.
    fn cap(&self, samples: usize, rate: Rate) -> usize {
        (self.max_tokens_per_s * samples as f64 / rate.as_hz()).ceil() as usize
    }
}

/// The value; or the faults, each once (a card that is not fetched lacks every file).
fn note<T>(faults: &mut Vec<Fault>, result: Result<T, Faults>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(found) => {
            for fault in found {
                if !faults.contains(&fault) {
                    faults.push(fault);
                }
            }
            None
        }
    }
}

/// The rate of the sound that the model hears, which only its card tells.
fn sample_rate(files: &ModelFiles) -> Result<Rate, Faults> {
    let told = files.card().and_then(|card| card.spec().preprocess.as_ref());
    let channels = told.and_then(|told| told.channels).unwrap_or(1);
    if channels != 1 {
        return Err(files
            .fault("card-audio", format!("`{}` hears {channels} channels", files.name()))
            .expected("a model of 1 channel")
            .into());
    }
    told.and_then(|told| told.sample_rate_hz)
        .and_then(|hz| Rate::hz(hz).ok())
        .ok_or_else(|| {
            files
                .fault(
                    "card-audio",
                    format!("the sample rate that `{}` hears is not known", files.name()),
                )
                .expected("a card with `preprocess: {sample_rate_hz: …}`")
                .help("write it into the card.yaml of the model")
                .into()
        })
}

/// A graph of the card, and what its ports are for.
fn read_graph<P>(
    files: &ModelFiles,
    role: &str,
    ports: fn(&[Port], &[Port]) -> Result<P, Vec<PortFault>>,
) -> Result<(Graph, P), Faults> {
    let graph = Graph::read(files, role)?;
    match ports(&graph.inputs, &graph.outputs) {
        Ok(ports) => Ok((graph, ports)),
        Err(found) => {
            let mut faults = Faults::new();
            for PortFault {
                graph: which,
                role,
                name,
                expected,
                found,
            } in found
            {
                let message = format!(
                    "the {which} of `{}` is none for `seq2seq`: {role} `{name}`",
                    files.name()
                );
                faults.push(files.fault("not-seq2seq", message).expected(expected).found(found).help(
                    "export an encoder of raw samples and a merged decoder with past, as `optimum-cli export onnx \
                     --task automatic-speech-recognition-with-past` does",
                ));
            }
            Err(faults)
        }
    }
}

/// What the encoder gives and the decoder takes, where these are different things.
fn disagreement(files: &ModelFiles, gives: Option<&Port>, takes: Option<&Port>) -> Option<Fault> {
    let (gives, takes) = gives.zip(takes)?;
    let agree = gives.dtype == takes.dtype && takes.shape.accepts(&gives.shape).is_ok();
    (!agree).then(|| {
        let message = format!(
            "the encoder and the decoder of `{}` do not belong together",
            files.name()
        );
        let fault = files
            .fault("not-seq2seq", message)
            .expected(format!("{takes}, as the decoder takes"));
        fault
            .found(format!("{gives}, which the encoder gives"))
            .help("name two graphs of one export")
    })
}

fn read_tokens(files: &ModelFiles, role: &str) -> Result<Tokens, Faults> {
    let path = files.file(role)?;
    Tokens::read(&path).map_err(|error| {
        files
            .fault("token-file", format!("the token file {}: {error}", path.display()))
            .into()
    })
}

impl Plan {
    /// What of this format the model cannot hear.
    fn refuse(&self, format: &Format) -> Option<ContractFault> {
        let wanted = Format::audio(Some(self.rate), Some(1));
        wanted.accepts(format).err()?;
        let mut help = Vec::new();
        if let Format::Audio { sample_rate, channels } = format {
            if channels.is_some_and(|channels| channels != 1) {
                help.push("insert `- preprocess: mono` before it".to_owned());
            }
            if sample_rate.is_some_and(|rate| rate != self.rate) {
                let hz = self.rate.as_hz();
                help.push(format!(
                    "insert `- preprocess: resample` with `sample_rate_hz: {hz}` where the sound comes in"
                ));
            }
        }
        Some(ContractFault {
            port: AUDIO.into(),
            expected: wanted.to_string(),
            found: format.to_string(),
            help: (!help.is_empty()).then(|| help.join(" and ")),
        })
    }

    fn open(&self) -> Result<Recogniser, SessionError> {
        Ok(Recogniser {
            encoder: self.runtime.open(&self.encoder)?,
            decoder: self.runtime.open(&self.decoder)?,
            encoder_ports: self.encoder_ports.clone(),
            decoder_ports: self.decoder_ports.clone(),
            decoder_mask: self.config.decoder_mask,
            begin: self.config.begin_token,
            end: self.config.end_token,
            tokens: self.tokens.count(),
        })
    }
}

impl Blueprint for Plan {
    fn contract(&self) -> Contract {
        Contract::new().input(AUDIO, Format::ANY_AUDIO).output(TEXT).supersede()
    }

    fn outputs(&self, inputs: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        match inputs.iter().find_map(|format| self.refuse(format)) {
            Some(fault) => Err(vec![fault]),
            None => Ok(vec![Format::Text]),
        }
    }

    fn build(&self) -> Result<Runnable, StageError> {
        let recogniser = self.open().map_err(StageError::fatal)?;
        Ok(Runnable::stage(Seq2SeqStage {
            plan: self.clone(),
            recogniser,
        }))
    }

    fn probe(&self) -> Vec<Fault> {
        self.runtime.probe(&[&self.encoder, &self.decoder])
    }

    fn handle(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(self.counts.clone())
    }
}
