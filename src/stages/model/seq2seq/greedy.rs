//! Greedy decoding with an encoder and a merged decoder: at each step the likeliest token, until the end token or a
//! cap.
//!
//! The encoder reads the samples once. The decoder reads one token at a time and what it remembers of those before: its
//! keys and values, which stay with the backend and are handed back as they came, without a copy.

use std::borrow::Cow;

use thiserror::Error;

use super::DecoderMask;
use super::choice::{Choice, likeliest};
use super::ports::{CachePort, DecoderPorts, EncoderPorts};
use crate::inference::{InferenceError, Session, Value};
use crate::tensor::{Buffer, DType, Tensor, TensorData, TensorError};

/// Why a segment could not be decoded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A graph failed.
    #[error(transparent)]
    Inference(#[from] InferenceError),
    /// The decoder gave logits of another shape or type.
    #[error("model `{model}`: expected logits f32 or f16 [1, 1, {tokens}], found {dtype} {shape:?}")]
    Logits {
        /// The decoder.
        model: String,
        /// How many tokens there are.
        tokens: usize,
        /// Their data type.
        dtype: DType,
        /// Their shape.
        shape: Vec<usize>,
    },
    /// The decoder's logits say nothing.
    #[error("model `{model}` gave logits of which none is the highest (NaN or infinite) at step {step}")]
    NoChoice {
        /// The decoder.
        model: String,
        /// The step, from 0.
        step: usize,
    },
    /// A tensor could not be made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// The two graphs, and how they are used.
pub(super) struct Recogniser {
    pub encoder: Box<dyn Session>,
    pub decoder: Box<dyn Session>,
    pub encoder_ports: EncoderPorts,
    pub decoder_ports: DecoderPorts,
    pub decoder_mask: DecoderMask,
    /// The token that comes before the first.
    pub begin: u32,
    /// The token after which there is none.
    pub end: u32,
    /// How many tokens there are.
    pub tokens: usize,
}

impl Recogniser {
    /// The tokens of these samples: at most `cap`, the end token, which comes last where it was chosen, included.
    pub fn decode(&mut self, samples: &Buffer<f32>, cap: usize) -> Result<Vec<Choice>, DecodeError> {
        if cap == 0 {
            return Ok(Vec::new());
        }
        let ones = |length: usize| Tensor::new(vec![1, length], vec![1i64; length]).map(Value::from);
        let mask = ones(samples.len())?;
        let hidden = self.encode(samples, &mask)?;
        let mask = match self.decoder_mask {
            DecoderMask::Samples => mask,
            DecoderMask::Frames => ones(hidden.shape().get(1).copied().unwrap_or(0))?,
        };
        let ports = &self.decoder_ports;
        let mut cache = ports
            .cache
            .iter()
            .map(|port| Tensor::zeros(port.dtype, port.empty.clone()).map(Value::from))
            .collect::<Result<Vec<Value>, _>>()?;

        let mut choices: Vec<Choice> = Vec::new();
        for step in 0..cap {
            let before = choices.last().map_or(i64::from(self.begin), |choice| choice.token as i64);
            let before = Value::from(Tensor::new(vec![1, 1], vec![before])?);
            let branch = Value::from(Tensor::from_vec(vec![step > 0]));
            let mut inputs: Vec<(&str, &Value)> = Vec::with_capacity(4 + cache.len());
            inputs.extend([("input_ids", &before), ("encoder_hidden_states", &hidden), ("use_cache_branch", &branch)]);
            if ports.mask {
                inputs.push(("encoder_attention_mask", &mask));
            }
            inputs.extend(ports.cache.iter().zip(&cache).map(|(port, value)| (&*port.past, value)));
            // After the first step the keys and values of the encoder's output are no longer given.
            let is_new = |port: &CachePort| step == 0 || port.grows;
            let mut outputs = vec!["logits"];
            outputs.extend(ports.cache.iter().filter(|port| is_new(port)).map(|port| &*port.present));

            let mut results = self.decoder.run(&inputs, &outputs)?.into_iter();
            let logits = results.next();
            for (_, value) in ports.cache.iter().zip(&mut cache).filter(|(port, _)| is_new(port)) {
                if let Some(result) = results.next() {
                    *value = result;
                }
            }
            let choice = self.choose(logits, step)?;
            choices.push(choice);
            if choice.token == self.end as usize {
                break;
            }
        }
        Ok(choices)
    }

    fn encode(&mut self, samples: &Buffer<f32>, mask: &Value) -> Result<Value, DecodeError> {
        let ports = &self.encoder_ports;
        let samples = Value::from(Tensor::new(vec![1, samples.len()], samples.clone())?);
        let mut inputs = vec![(&*ports.samples, &samples)];
        if let Some(name) = &ports.mask {
            inputs.push((name, mask));
        }
        let found = self.encoder.run(&inputs, &[&ports.hidden])?.into_iter().next();
        found.ok_or_else(|| {
            let (model, inputs) = (self.encoder.model().to_owned(), crate::inference::check::describe(&inputs));
            InferenceError::Failed { model, inputs, reason: "it gave no hidden states".into() }.into()
        })
    }

    fn choose(&self, logits: Option<Value>, step: usize) -> Result<Choice, DecodeError> {
        let wrong = |dtype: DType, shape: &[usize]| DecodeError::Logits {
            model: self.decoder.model().to_owned(),
            tokens: self.tokens,
            dtype,
            shape: shape.to_vec(),
        };
        let Some(logits) = logits else {
            return Err(wrong(DType::F32, &[]));
        };
        let logits = logits.into_tensor()?;
        if logits.shape() != [1, 1, self.tokens] {
            return Err(wrong(logits.dtype(), logits.shape()));
        }
        let scores: Cow<'_, [f32]> = match logits.data() {
            TensorData::F32(scores) => Cow::Borrowed(&**scores),
            TensorData::F16(scores) => scores.iter().map(|score| score.to_f32()).collect(),
            _ => return Err(wrong(logits.dtype(), logits.shape())),
        };
        likeliest(&scores).ok_or_else(|| DecodeError::NoChoice { model: self.decoder.model().to_owned(), step })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Script, recogniser};
    use super::*;

    fn tokens(choices: &[Choice]) -> Vec<usize> {
        choices.iter().map(|choice| choice.token).collect()
    }

    #[test]
    fn until_the_end_token_or_the_cap() {
        // Begin 1, end 2.
        for (says, cap, expected) in [
            (vec![5, 6, 2, 7], 10, vec![5, 6, 2]),
            (vec![5, 6, 2, 7], 3, vec![5, 6, 2]),
            (vec![5, 6, 2, 7], 2, vec![5, 6]),
            (vec![2], 10, vec![2]),
            (vec![4; 100], 7, vec![4; 7]),
            (vec![5], 0, vec![]),
        ] {
            let script = Script::new(says.clone());
            let mut recogniser = recogniser(&script);
            let found = recogniser.decode(&vec![0.5; 100].into(), cap).unwrap();
            assert_eq!(tokens(&found), expected, "{says:?} {cap}");
            // The next segment begins anew.
            assert_eq!(tokens(&recogniser.decode(&vec![0.5; 100].into(), cap).unwrap()), expected);
        }
    }

    #[test]
    fn what_the_decoder_is_given() {
        for (mask, length) in [(DecoderMask::Samples, 100), (DecoderMask::Frames, 10)] {
            let script = Script::new(vec![5, 6, 2]);
            let mut recogniser = recogniser(&script);
            recogniser.decoder_mask = mask;
            recogniser.decode(&vec![0.5; 100].into(), 10).unwrap();
            let calls = script.calls();
            let before: Vec<i64> = calls.iter().map(|call| call.before).collect();
            assert_eq!(before, [1, 5, 6]);
            let branches: Vec<bool> = calls.iter().map(|call| call.branch).collect();
            assert_eq!(branches, [false, true, true]);
            assert!(calls.iter().all(|call| call.mask == Some(length)), "{calls:?}");
            // Own keys grow by one a step; those of the encoder come from the first step and stay.
            let own: Vec<usize> = calls.iter().map(|call| call.own).collect();
            let cross: Vec<usize> = calls.iter().map(|call| call.cross).collect();
            assert_eq!((own, cross), (vec![0, 1, 2], vec![0, 10, 10]));
            assert!(calls.iter().skip(1).all(|call| call.native), "keys and values are handed back as they came");
        }
    }

    #[test]
    fn logits_that_are_refused() {
        let mut script = Script::new(vec![5, 6]);
        script.nan_at = Some(1);
        let error = recogniser(&script).decode(&vec![0.0; 10].into(), 5).unwrap_err();
        assert!(error.to_string().contains("at step 1"), "{error}");
        let mut script = Script::new(vec![5, 6]);
        script.vocabulary = 9;
        let error = recogniser(&script).decode(&vec![0.0; 10].into(), 5).unwrap_err().to_string();
        assert!(error.contains("[1, 1, 10]") && error.contains("[1, 1, 9]"), "{error}");
    }
}
