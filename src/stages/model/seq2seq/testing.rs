//! An encoder and a decoder that say what a test tells them to.

use std::any::Any;
use std::sync::{Arc, Mutex};

use super::DecoderMask;
use super::greedy::Recogniser;
use super::ports::{DecoderPorts, EncoderPorts};
use crate::inference::{
    Backend, Cancel, Canceller, InferenceError, Metadata, NativeValue, Port, Provider, Session, Value, check,
};
use crate::tensor::{DType, Dim, SymbolicShape, Tensor};

/// Layers, heads and size of the decoder's cache.
const LAYERS: usize = 2;
const HEADS: usize = 2;
const SIZE: usize = 4;
/// Samples for one frame of the encoder.
const HOP: usize = 10;

/// A port of a shape written as sizes and names: `b 2 past 4`.
pub(super) fn port(name: &str, dtype: DType, shape: &str) -> Port {
    let dims = shape.split_whitespace().map(|dim| match dim.parse() {
        Ok(size) => Dim::Known(size),
        Err(_) => Dim::Symbol(dim.into()),
    });
    Port { name: name.into(), dtype, shape: SymbolicShape::Ranked(dims.collect()) }
}

fn caches(prefix: &str, layers: usize, heads: usize, size: usize) -> impl Iterator<Item = Port> {
    let shape = format!("b {heads} length {size}");
    (0..layers).flat_map(move |layer| {
        ["decoder.key", "decoder.value", "encoder.key", "encoder.value"]
            .map(|of| port(&format!("{prefix}.{layer}.{of}"), DType::F32, &shape))
    })
}

/// The inputs of a merged decoder.
pub(super) fn decoder_inputs(layers: usize, heads: usize, size: usize) -> Vec<Port> {
    let mut ports = vec![
        port("encoder_attention_mask", DType::I64, "b source"),
        port("input_ids", DType::I64, "b steps"),
        port("encoder_hidden_states", DType::F32, "b frames 8"),
    ];
    ports.extend(caches("past_key_values", layers, heads, size));
    ports.push(port("use_cache_branch", DType::Bool, "1"));
    ports
}

/// The outputs of a merged decoder.
pub(super) fn decoder_outputs(layers: usize, heads: usize, size: usize, tokens: usize) -> Vec<Port> {
    let mut ports = vec![port("logits", DType::F32, &format!("b steps {tokens}"))];
    ports.extend(caches("present", layers, heads, size));
    ports
}

/// What a fake model says, and what it was asked.
#[derive(Clone)]
pub(super) struct Script {
    /// The tokens of every utterance, the last one over and over.
    pub says: Vec<usize>,
    /// How many logits there are.
    pub vocabulary: usize,
    /// The step whose logits are NaN.
    pub nan_at: Option<usize>,
    calls: Arc<Mutex<Vec<Call>>>,
}

/// One run of the decoder.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// The token before.
    pub before: i64,
    /// Whether the cache is used.
    pub branch: bool,
    /// The length of the mask.
    pub mask: Option<usize>,
    /// The length of the decoder's own cache.
    pub own: usize,
    /// The length of the cache of the encoder's output.
    pub cross: usize,
    /// Whether the whole cache came as the backend had given it.
    pub native: bool,
}

impl Script {
    pub fn new(says: Vec<usize>) -> Script {
        Script { says, vocabulary: 10, nan_at: None, calls: Arc::default() }
    }

    /// Every run of the decoder so far.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

/// The fake model: begin 1, end 2, 10 tokens.
pub(super) fn recogniser(script: &Script) -> Recogniser {
    let encoder = Fake {
        name: "encoder",
        script: script.clone(),
        inputs: vec![port("input_values", DType::F32, "b s"), port("attention_mask", DType::I64, "b s")],
        outputs: vec![port("last_hidden_state", DType::F32, "b frames 8")],
        canceller: Canceller::new(Ignore),
    };
    let decoder = Fake {
        name: "decoder",
        script: script.clone(),
        inputs: decoder_inputs(LAYERS, HEADS, SIZE),
        outputs: decoder_outputs(LAYERS, HEADS, SIZE, script.vocabulary),
        canceller: Canceller::new(Ignore),
    };
    Recogniser {
        encoder_ports: EncoderPorts::of(&encoder.inputs, &encoder.outputs).unwrap(),
        decoder_ports: DecoderPorts::of(&decoder.inputs, &decoder.outputs).unwrap(),
        encoder: Box::new(encoder),
        decoder: Box::new(decoder),
        decoder_mask: DecoderMask::Samples,
        begin: 1,
        end: 2,
        tokens: 10,
    }
}

struct Ignore;

impl Cancel for Ignore {
    fn cancel(&self) {}

    fn reset(&self) {}
}

/// A result in the fake backend's own keeping.
#[derive(Debug)]
struct Kept(Tensor);

impl NativeValue for Kept {
    fn shape(&self) -> &[usize] {
        self.0.shape()
    }

    fn dtype(&self) -> DType {
        self.0.dtype()
    }

    fn to_tensor(&self) -> Result<Tensor, InferenceError> {
        Ok(self.0.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn kept(shape: &[usize]) -> Value {
    Value::native(Kept(Tensor::zeros(DType::F32, shape.to_vec()).unwrap()))
}

struct Fake {
    name: &'static str,
    script: Script,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    canceller: Canceller,
}

impl Fake {
    fn decode(&self, inputs: &[(&str, &Value)], outputs: &[&str]) -> Vec<Value> {
        let input = |name: &str| inputs.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        let length = |name: &str| input(name).unwrap().shape()[2];
        let cache: Vec<_> = inputs.iter().filter(|(name, _)| name.starts_with("past")).collect();
        let call = Call {
            before: input("input_ids").unwrap().to_tensor().unwrap().as_slice::<i64>().unwrap()[0],
            branch: input("use_cache_branch").unwrap().to_tensor().unwrap().as_slice::<bool>().unwrap()[0],
            mask: input("encoder_attention_mask").map(|mask| mask.shape()[1]),
            own: length("past_key_values.1.decoder.value"),
            cross: length("past_key_values.0.encoder.key"),
            native: cache.iter().all(|(_, value)| value.as_native().is_some()),
        };
        let step = call.own;
        let token = *self.script.says.get(step).or(self.script.says.last()).unwrap();
        let frames = input("encoder_hidden_states").unwrap().shape()[1];
        self.script.calls.lock().unwrap().push(call);
        let mut logits = vec![0.0f32; self.script.vocabulary];
        if self.script.nan_at == Some(step) {
            logits[3] = f32::NAN;
        }
        if let Some(logit) = logits.get_mut(token) {
            *logit = 3.0;
        }
        outputs
            .iter()
            .map(|name| match *name {
                "logits" => Tensor::new(vec![1, 1, logits.len()], logits.clone()).unwrap().into(),
                name if name.contains("decoder") => kept(&[1, HEADS, step + 1, SIZE]),
                // What a merged decoder gives here after the first step is a stand-in.
                _ if step > 0 => kept(&[0, HEADS, 1, SIZE]),
                _ => kept(&[1, HEADS, frames, SIZE]),
            })
            .collect()
    }
}

impl Session for Fake {
    fn model(&self) -> &str {
        self.name
    }

    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn backend(&self) -> Backend {
        Backend::Engine
    }

    fn provider(&self) -> Provider {
        Provider::Cpu
    }

    fn metadata(&self) -> &Metadata {
        static NONE: std::sync::OnceLock<Metadata> = std::sync::OnceLock::new();
        NONE.get_or_init(Metadata::default)
    }

    fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    fn run(&mut self, inputs: &[(&str, &Value)], outputs: &[&str]) -> Result<Vec<Value>, InferenceError> {
        if self.canceller.is_cancelled() {
            return Err(InferenceError::Cancelled { model: self.name.into() });
        }
        check::inputs(self.name, &self.inputs, inputs)?;
        check::outputs(self.name, &self.outputs, outputs)?;
        Ok(match self.name {
            "encoder" => vec![kept(&[1, inputs[0].1.shape()[1] / HOP, 8])],
            _ => self.decode(inputs, outputs),
        })
    }
}
