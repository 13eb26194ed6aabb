//! The stage as it is planned: files found, graphs and tokens that fit together.

use std::any::Any;
use std::sync::Arc;

use super::super::files::ModelFiles;
use super::super::graph::Graph;
use super::super::session::{Runtime, SessionError};
use super::super::tokens::Tokens;
use super::Seq2Seq;
use super::greedy::Recogniser;
use super::ports::{DecoderPorts, EncoderPorts, PortFault};
use super::stage::{Counts, Seq2SeqStage};
use crate::config::{Fault, Faults};
use crate::inference::Port;
use crate::media::Format;
use crate::stage::{Blueprint, Contract, ContractFault, ReadContext, Runnable, StageError};
use crate::units::Rate;

/// The port that carries sound.
const AUDIO: &str = "audio";
/// The port that carries text.
const TEXT: &str = "text";

/// A `seq2seq` stage whose files are found and fit together.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// What the pipeline and the card say.
    pub config: Seq2Seq,
    /// Runs the graphs.
    pub runtime: Runtime,
    /// The encoder, not loaded.
    pub encoder: Graph,
    /// The decoder, not loaded.
    pub decoder: Graph,
    /// What the encoder's ports are for.
    pub encoder_ports: EncoderPorts,
    /// What the decoder's ports are for.
    pub decoder_ports: DecoderPorts,
    /// What the tokens stand for.
    pub tokens: Arc<Tokens>,
    /// The rate of the sound that the model hears.
    pub rate: Rate,
    /// What has been done so far.
    pub counts: Arc<Counts>,
}

impl Seq2Seq {
    /// Finds the files and sees that they fit together; every fault at once.
    pub(super) fn plan(self, context: &ReadContext<'_>) -> Result<Plan, Faults> {
        let files = ModelFiles::find(context)?;
        let mut faults = Vec::new();
        let rate = note(&mut faults, sample_rate(&files));
        let runtime = note(&mut faults, Runtime::read(context, self.session.clone()).map_err(Faults::from));
        let encoder = note(&mut faults, read_graph(&files, &self.encoder, EncoderPorts::of));
        let decoder = note(&mut faults, read_graph(&files, &self.decoder, DecoderPorts::of));
        if let (Some((encoder, ports)), Some((decoder, _))) = (&encoder, &decoder) {
            faults.extend(disagreement(&files, encoder.output(&ports.hidden), decoder.input("encoder_hidden_states")));
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
                Ok(Plan { config, runtime, encoder, decoder, encoder_ports, decoder_ports, tokens, rate, counts })
            }
            _ => Err(faults.into_iter().collect()),
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
                    .fault("token-count", format!("the token file of `{}` does not fit its {with}", files.name()))
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
                        .fault(key, "no-such-token", format!("`{key}` is no token of `{}`", files.name()))
                        .expected(format!("0 to {}", count.saturating_sub(1)))
                        .found(token.to_string()),
                );
            }
        }
    }

    /// The most tokens for this many samples, the end token included.
    pub(super) fn cap(&self, samples: usize, rate: Rate) -> usize {
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
    told.and_then(|told| told.sample_rate_hz).and_then(|hz| Rate::hz(hz).ok()).ok_or_else(|| {
        files
            .fault("card-audio", format!("the sample rate that `{}` hears is not known", files.name()))
            .expected("a card with `preprocess: {sample_rate_hz: …}`")
            .help("write it into the card.yaml of the model")
            .into()
    })
}

/// A graph of the card, and what its ports are for.
fn read_graph<P>(
    files: &ModelFiles,
    role: &str,
    ports: impl Fn(&[Port], &[Port]) -> Result<P, Vec<PortFault>>,
) -> Result<(Graph, P), Faults> {
    let graph = Graph::read(files, role)?;
    match ports(&graph.inputs, &graph.outputs) {
        Ok(ports) => Ok((graph, ports)),
        Err(found) => {
            let mut faults = Faults::new();
            for PortFault { graph: which, role, name, expected, found } in found {
                let message = format!("the {which} of `{}` is none for `seq2seq`: {role} `{name}`", files.name());
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
        let message = format!("the encoder and the decoder of `{}` do not belong together", files.name());
        let fault = files.fault("not-seq2seq", message).expected(format!("{takes}, as the decoder takes"));
        fault.found(format!("{gives}, which the encoder gives")).help("name two graphs of one export")
    })
}

fn read_tokens(files: &ModelFiles, role: &str) -> Result<Tokens, Faults> {
    let path = files.file(role)?;
    Tokens::read(&path)
        .map_err(|error| files.fault("token-file", format!("the token file {}: {error}", path.display())).into())
}

impl Plan {
    /// What of this format the model cannot hear.
    pub fn refuse(&self, format: &Format) -> Option<ContractFault> {
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

    /// Loads the graphs.
    pub fn open(&self) -> Result<Recogniser, SessionError> {
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
        Ok(Runnable::stage(Seq2SeqStage { plan: self.clone(), recogniser }))
    }

    fn probe(&self) -> Vec<Fault> {
        self.runtime.probe(&[&self.encoder, &self.decoder])
    }

    fn handle(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(self.counts.clone())
    }
}
