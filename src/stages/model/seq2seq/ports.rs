//! What the graphs of an encoder and a merged decoder are for, by the names of their ports.
//!
//! The names are those that Hugging Face's exporter (`optimum`) gives:
//!
//! | graph | input | is |
//! |---|---|---|
//! | encoder | the only one of f32, `[1, samples]` | the samples |
//! | encoder | the only one of i64, `[1, samples]`; may be missing | ones |
//! | decoder | `input_ids` i64 `[1, 1]` | the token before |
//! | decoder | `encoder_hidden_states` | the encoder's output |
//! | decoder | `encoder_attention_mask` i64; may be missing | ones |
//! | decoder | `use_cache_branch` bool `[1]` | false at the first step, then true |
//! | decoder | `past_key_values.N.{decoder,encoder}.{key,value}` `[1, heads, length, size]` | the cache of layer N |
//!
//! The decoder gives `logits` `[1, 1, tokens]` and, for each `past_key_values.…`, a `present.…`. Those of `.decoder.`
//! are fed back at each step; those of `.encoder.` come from the first step and stay.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::inference::{Port, PortRole};
use crate::tensor::{DType, Dim, SymbolicShape};

const PAST: &str = "past_key_values.";
const PRESENT: &str = "present.";
/// The four caches of a layer: of the tokens so far, and of the encoder's output.
const OF_A_LAYER: [&str; 4] = ["decoder.key", "decoder.value", "encoder.key", "encoder.value"];
/// Layers of a decoder; more is no decoder, but would be work to report.
const MAX_LAYERS: usize = 1024;

/// A port of a graph that is not what a `seq2seq` model has there.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{graph} {role} `{name}`: expected {expected}, found {found}")]
#[non_exhaustive]
pub struct PortFault {
    /// `encoder` or `decoder`.
    pub graph: &'static str,
    /// Which side of the graph.
    pub role: PortRole,
    /// The port's name; what it should have, where there is none.
    pub name: String,
    /// What was expected.
    pub expected: String,
    /// What was found.
    pub found: String,
}

/// The ports of an encoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EncoderPorts {
    /// Takes the samples.
    pub samples: String,
    /// Takes a one for each sample.
    pub mask: Option<String>,
    /// Gives the hidden states.
    pub hidden: String,
}

/// The ports of a merged decoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DecoderPorts {
    /// Whether `encoder_attention_mask` is there.
    pub mask: bool,
    /// How many tokens the logits are for, where the graph says it.
    pub tokens: Option<usize>,
    /// The caches, layer by layer.
    pub cache: Vec<CachePort>,
}

/// A cache of keys or values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CachePort {
    /// Takes it.
    pub past: String,
    /// Gives it.
    pub present: String,
    /// Whether it grows with each token; the others come from the first step and stay.
    pub grows: bool,
    /// Its data type.
    pub dtype: DType,
    /// Its shape when nothing is in it.
    pub empty: Vec<usize>,
}

impl EncoderPorts {
    /// The parts of an encoder with these ports, or everything that is wrong with them.
    pub fn of(inputs: &[Port], outputs: &[Port]) -> Result<EncoderPorts, Vec<PortFault>> {
        let mut check = Check { graph: "encoder", inputs, outputs, faults: Vec::new() };
        let of_type = |dtype: DType| inputs.iter().filter(move |port| port.dtype == dtype);
        let samples = of_type(DType::F32).next();
        let mask = of_type(DType::I64).next();
        if samples.is_none() {
            let names: Vec<String> = inputs.iter().map(ToString::to_string).collect();
            check.fault(PortRole::Input, "input_values", "f32 samples [1, samples]", list(&names));
        }
        for port in samples.into_iter().chain(mask) {
            check.shape(PortRole::Input, port, &[Some(1), None]);
        }
        for port in inputs.iter().filter(|port| ![samples, mask].contains(&Some(port))) {
            check.fault(PortRole::Input, &port.name, "no input beside samples (f32) and mask (i64)", port.to_string());
        }
        let hidden = outputs.iter().find(|port| port.name == "last_hidden_state").or(outputs.first());
        match hidden {
            Some(port) => check.shape(PortRole::Output, port, &[Some(1), None, None]),
            None => check.fault(PortRole::Output, "last_hidden_state", "hidden states", "no output".into()),
        }
        match (samples, hidden) {
            (Some(samples), Some(hidden)) if check.faults.is_empty() => Ok(EncoderPorts {
                samples: samples.name.clone(),
                mask: mask.map(|port| port.name.clone()),
                hidden: hidden.name.clone(),
            }),
            _ => Err(check.faults),
        }
    }
}

impl DecoderPorts {
    /// The parts of a decoder with these ports, or everything that is wrong with them.
    pub fn of(inputs: &[Port], outputs: &[Port]) -> Result<DecoderPorts, Vec<PortFault>> {
        let mut check = Check { graph: "decoder", inputs, outputs, faults: Vec::new() };
        check.need(PortRole::Input, "input_ids", Some(DType::I64), &[Some(1), Some(1)]);
        check.need(PortRole::Input, "encoder_hidden_states", None, &[Some(1), None, None]);
        check.need(PortRole::Input, "use_cache_branch", Some(DType::Bool), &[Some(1)]);
        let mask = inputs.iter().any(|port| port.name == "encoder_attention_mask");
        if mask {
            check.need(PortRole::Input, "encoder_attention_mask", Some(DType::I64), &[Some(1), None]);
        }
        let logits = check.need(PortRole::Output, "logits", None, &[Some(1), Some(1), None]);
        if let Some(port) = logits.filter(|port| !matches!(port.dtype, DType::F32 | DType::F16)) {
            check.fault(PortRole::Output, "logits", "f32 or f16", port.dtype.to_string());
        }
        let layers = check.layers();
        if layers == 0 {
            let expected = "caches of keys and values, one set a layer: a merged export with past";
            check.fault(PortRole::Input, "past_key_values.0.decoder.key", expected, "no such port".into());
        }
        let mut cache = Vec::with_capacity(layers * OF_A_LAYER.len());
        for (layer, of) in (0..layers).flat_map(|layer| OF_A_LAYER.map(|of| (layer, of))) {
            cache.extend(check.cache(layer, of));
        }
        let known: BTreeSet<&str> = cache
            .iter()
            .map(|port| &*port.past)
            .chain(["input_ids", "encoder_hidden_states", "encoder_attention_mask", "use_cache_branch"])
            .collect();
        for port in inputs.iter().filter(|port| !known.contains(&*port.name) && cache_name(&port.name).is_none()) {
            check.fault(PortRole::Input, &port.name, "no input beside those of a merged decoder", port.to_string());
        }
        if !check.faults.is_empty() {
            return Err(check.faults);
        }
        let tokens = logits.and_then(|port| port.shape.dims()?.last()?.known());
        Ok(DecoderPorts { mask, tokens, cache })
    }
}

/// The layer and the part of a cache's input: `past_key_values.3.encoder.key` → 3, `encoder.key`.
fn cache_name(name: &str) -> Option<(usize, &'static str)> {
    let (layer, of) = name.strip_prefix(PAST)?.split_once('.')?;
    let of = OF_A_LAYER.into_iter().find(|known| *known == of)?;
    let layer = layer.parse().ok().filter(|layer| *layer < MAX_LAYERS)?;
    Some((layer, of))
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "no input".into() } else { names.join(", ") }
}

/// Looks at the ports of one graph and notes what is wrong.
struct Check<'a> {
    graph: &'static str,
    inputs: &'a [Port],
    outputs: &'a [Port],
    faults: Vec<PortFault>,
}

impl<'a> Check<'a> {
    fn fault(&mut self, role: PortRole, name: &str, expected: impl Into<String>, found: String) {
        let (graph, name, expected) = (self.graph, name.to_owned(), expected.into());
        self.faults.push(PortFault { graph, role, name, expected, found });
    }

    fn find(&self, role: PortRole, name: &str) -> Option<&'a Port> {
        let ports = match role {
            PortRole::Input => self.inputs,
            PortRole::Output => self.outputs,
        };
        ports.iter().find(|port| port.name == name)
    }

    /// A port that must be there, of this data type and with these sizes; `None` is any.
    fn need(&mut self, role: PortRole, name: &str, dtype: Option<DType>, sizes: &[Option<usize>]) -> Option<&'a Port> {
        let Some(port) = self.find(role, name) else {
            let expected = dtype.map_or("a tensor".to_owned(), |dtype| format!("a tensor of {dtype}"));
            self.fault(role, name, expected, "no such port".into());
            return None;
        };
        match dtype {
            Some(dtype) if port.dtype != dtype => self.fault(role, name, dtype.to_string(), port.dtype.to_string()),
            _ => self.shape(role, port, sizes),
        }
        Some(port)
    }

    fn shape(&mut self, role: PortRole, port: &Port, sizes: &[Option<usize>]) {
        let wanted = SymbolicShape::Ranked(sizes.iter().map(|size| size.map_or(Dim::Any, Dim::Known)).collect());
        if port.shape.accepts(&wanted).is_err() {
            self.fault(role, &port.name, format!("shape {wanted}"), port.shape.to_string());
        }
    }

    /// One more than the last layer that has a cache.
    fn layers(&self) -> usize {
        self.inputs.iter().filter_map(|port| cache_name(&port.name)).map(|(layer, _)| layer + 1).max().unwrap_or(0)
    }

    fn cache(&mut self, layer: usize, of: &str) -> Option<CachePort> {
        let (past, present) = (format!("{PAST}{layer}.{of}"), format!("{PRESENT}{layer}.{of}"));
        let any = [Some(1), None, None, None];
        let port = self.need(PortRole::Input, &past, None, &any)?;
        self.need(PortRole::Output, &present, Some(port.dtype), &any)?;
        let dims = port.shape.dims().unwrap_or_default();
        let sizes = match dims {
            [_, heads, length, size] if length.known().is_none_or(|length| length == 0) => {
                heads.known().zip(size.known())
            }
            _ => None,
        };
        let Some((heads, size)) = sizes else {
            let expected = "shape [1, heads, length, size], of which only the length is open";
            self.fault(PortRole::Input, &past, expected, port.shape.to_string());
            return None;
        };
        let (dtype, empty) = (port.dtype, vec![1, heads, 0, size]);
        Some(CachePort { past, present, grows: of.starts_with("decoder"), dtype, empty })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{decoder_inputs, decoder_outputs, port};
    use super::*;
    use crate::cards::Card;

    fn from_card(ports: &[crate::cards::Port]) -> Vec<Port> {
        ports
            .iter()
            .map(|port| Port { name: port.name.clone(), dtype: port.dtype, shape: port.shape.clone() })
            .collect()
    }

    #[test]
    fn moonshine_has_six_layers() {
        let card = Card::built_in("moonshine-tiny").unwrap().unwrap();
        let encoder = card.ports("encoder").unwrap();
        let encoder = EncoderPorts::of(&from_card(&encoder.inputs), &from_card(&encoder.outputs)).unwrap();
        let expected = EncoderPorts {
            samples: "input_values".into(),
            mask: Some("attention_mask".into()),
            hidden: "last_hidden_state".into(),
        };
        assert_eq!(encoder, expected);
        let decoder = card.ports("decoder").unwrap();
        let decoder = DecoderPorts::of(&from_card(&decoder.inputs), &from_card(&decoder.outputs)).unwrap();
        assert_eq!((decoder.mask, decoder.tokens, decoder.cache.len()), (true, Some(32768), 24));
        assert_eq!(decoder.cache.iter().filter(|port| port.grows).count(), 12);
        assert_eq!(decoder.cache[23].past, "past_key_values.5.encoder.value");
        assert_eq!(decoder.cache[23].present, "present.5.encoder.value");
        assert!(decoder.cache.iter().all(|port| port.empty == [1, 8, 0, 36] && port.dtype == DType::F32));
    }

    #[test]
    fn other_exports_of_the_scheme() {
        // No masks, twelve layers, half precision.
        let inputs: Vec<Port> = decoder_inputs(12, 7, 64)
            .into_iter()
            .filter(|port| port.name != "encoder_attention_mask")
            .map(|port| Port { dtype: if port.dtype == DType::F32 { DType::F16 } else { port.dtype }, ..port })
            .collect();
        let outputs: Vec<Port> =
            decoder_outputs(12, 7, 64, 10).into_iter().map(|port| Port { dtype: DType::F16, ..port }).collect();
        let decoder = DecoderPorts::of(&inputs, &outputs).unwrap();
        assert_eq!((decoder.mask, decoder.tokens, decoder.cache.len()), (false, Some(10), 48));
        let encoder =
            EncoderPorts::of(&[port("audio", DType::F32, "1 s")], &[port("y", DType::F16, "1 t 64")]).unwrap();
        assert_eq!((encoder.samples.as_str(), encoder.mask, encoder.hidden.as_str()), ("audio", None, "y"));
    }

    #[test]
    fn encoders_that_are_refused() {
        let out = || vec![port("last_hidden_state", DType::F32, "b t 8")];
        let audio = || port("input_values", DType::F32, "b s");
        for (inputs, outputs, says) in [
            (vec![], out(), "encoder input `input_values`: expected f32 samples [1, samples], found no input"),
            (
                vec![port("input_features", DType::F32, "b 80 3000")],
                out(),
                "`input_features`: expected shape [1, ?], found [b, 80, 3000]",
            ),
            (vec![port("input_values", DType::F64, "b s")], out(), "found input_values: f64 [b, s]"),
            (vec![port("input_values", DType::F32, "4 s")], out(), "expected shape [1, ?], found [4, s]"),
            (vec![audio(), port("extra", DType::F32, "b")], out(), "`extra`: expected no input beside"),
            (vec![audio(), port("mask", DType::I64, "b s t")], out(), "`mask`: expected shape [1, ?], found [b, s, t]"),
            (vec![audio()], vec![], "output `last_hidden_state`: expected hidden states, found no output"),
            (vec![audio()], vec![port("y", DType::F32, "b t")], "output `y`: expected shape [1, ?, ?], found [b, t]"),
        ] {
            let faults = EncoderPorts::of(&inputs, &outputs).unwrap_err();
            let text: Vec<String> = faults.iter().map(ToString::to_string).collect();
            assert!(text.iter().any(|text| text.contains(says)), "{says}: {text:?}");
        }
    }

    #[test]
    fn decoders_that_are_refused() {
        type Change = fn(&mut Vec<Port>, &mut Vec<Port>);
        let cases: [(Change, &[&str]); 11] = [
            (
                |inputs, _| inputs.retain(|port| port.name != "use_cache_branch"),
                &["input `use_cache_branch`: expected a tensor of bool, found no such port"],
            ),
            (
                |inputs, _| inputs.retain(|port| !port.name.starts_with("past")),
                &["expected caches of keys and values, one set a layer"],
            ),
            (
                |inputs, _| {
                    inputs
                        .retain(|port| !port.name.ends_with("1.encoder.key") && !port.name.ends_with("0.decoder.value"))
                },
                &[
                    "`past_key_values.1.encoder.key`: expected a tensor, found no such port",
                    "`past_key_values.0.decoder.value`",
                ],
            ),
            (
                |_, outputs| outputs.retain(|port| port.name != "present.1.decoder.key"),
                &["output `present.1.decoder.key`: expected a tensor of f32, found no such port"],
            ),
            (|_, outputs| outputs.retain(|port| port.name != "logits"), &["output `logits`"]),
            (|_, outputs| outputs[0].dtype = DType::I64, &["output `logits`: expected f32 or f16, found i64"]),
            (|_, outputs| outputs[1].dtype = DType::F16, &["output `present.0.decoder.key`: expected f32, found f16"]),
            (
                |inputs, _| inputs.push(port("position_ids", DType::I64, "b s")),
                &["`position_ids`: expected no input beside"],
            ),
            (
                |inputs, _| inputs.push(port("past_key_values.0.key", DType::F32, "b 2 s 4")),
                &["`past_key_values.0.key`: expected no input beside"],
            ),
            (
                |inputs, _| inputs[4].shape = port("", DType::F32, "b h s 4").shape,
                &["of which only the length is open, found [b, h, s, 4]"],
            ),
            (
                |inputs, _| {
                    inputs.push(port("past_key_values.18446744073709551615.decoder.key", DType::F32, "b 2 s 4"))
                },
                &["expected no input beside"],
            ),
        ];
        for (change, says) in cases {
            let (mut inputs, mut outputs) = (decoder_inputs(2, 2, 4), decoder_outputs(2, 2, 4, 10));
            assert!(DecoderPorts::of(&inputs, &outputs).is_ok());
            change(&mut inputs, &mut outputs);
            let faults = DecoderPorts::of(&inputs, &outputs).unwrap_err();
            let text: Vec<String> = faults.iter().map(ToString::to_string).collect();
            for says in says {
                assert!(text.iter().any(|text| text.contains(says)), "{says}: {text:?}");
            }
        }
    }
}
