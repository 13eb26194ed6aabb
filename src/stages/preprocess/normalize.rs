//! `normalize`: values brought to the range that a model was trained on.
//!
//! For sound: a factor, an offset, a limit; each sample by itself. For tensors also each packet to mean 0 and variance 1,
//! and means and deviations for each element of the last axis (the bands of log-mel features, say), as a recipe lists them.
//! The loudness of sound is not evened out here: what comes later would decide how loud the present is. Cut the sound into
//! frames first and let each frame be normalised by itself.

use schemars::JsonSchema;
use serde::Deserialize;

use super::PreprocessError;
use super::sound::{self, formats_at_open};
use crate::config::{Fault, Faults};
use crate::dsp;
use crate::media::{Audio, Format, Payload, StreamInfo};
use crate::stage::{
    Blueprint, Contract, ContractFault, Input, Kind, Opened, Output, ReadContext, Resolve, Role, Runnable, Stage,
    StageError,
};
use crate::tensor::{DType, Tensor};

const PORT: &str = "values";

/// Audio or tensors f32 → the same, packet by packet. What is asked for is done in this order: `mean_variance`, then
/// `(x − mean) / std`, then `x · scale + offset`, then `clip`.
///
/// Whisper's features, for one, are log-mel values with `scale: 0.25` and `offset: 1`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Normalize {
    /// Tensors only: brings each packet to mean 0 and variance 1 over all its values, (x − mean) / √(variance + epsilon).
    /// A value that is not finite makes its whole packet NaN. Default: false.
    #[serde(default)]
    pub mean_variance: bool,
    /// Keeps packets of equal values finite in `mean_variance`. Default: 1e-7.
    #[serde(default = "default_epsilon")]
    #[schemars(range(min = 0, max = 1))]
    pub epsilon: f32,
    /// Tensors only: what is subtracted, a value for each element of the last axis. Default: nothing.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub mean: Option<Vec<f32>>,
    /// Tensors only: what is divided by, a value for each element of the last axis, none of them 0. Default: nothing.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub std: Option<Vec<f32>>,
    /// The factor. Default: 1.
    #[serde(default = "default_scale")]
    pub scale: f32,
    /// What is added after the factor. Default: 0.
    #[serde(default)]
    pub offset: f32,
    /// Limits every value to −clip … clip; NaN stays NaN. Default: no limit.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub clip: Option<f32>,
}

fn default_epsilon() -> f32 {
    1e-7
}

fn default_scale() -> f32 {
    1.0
}

impl Default for Normalize {
    /// Changes nothing.
    fn default() -> Self {
        Normalize {
            mean_variance: false,
            epsilon: default_epsilon(),
            mean: None,
            std: None,
            scale: default_scale(),
            offset: 0.0,
            clip: None,
        }
    }
}

const EXAMPLE: &str = "\
percept: 1
name: features
stages:
  - capture: microphone
  - preprocess: resample
    sample_rate_hz: 16000
  - preprocess: log_mel
    preset: whisper
  - preprocess: normalize
    scale: 0.25
    offset: 1
    clip: 4
  - sink: jsonl
    path: \"{stream}.jsonl\"
";

/// The registry's entry.
pub const KIND: Kind = Kind::resolved::<Normalize>(
    "normalize",
    Role::Preprocess,
    "values brought to the range that a model was trained on",
    EXAMPLE,
);

impl Resolve for Normalize {
    fn resolve(self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        let mut faults = Faults::new();
        if self == (Normalize { epsilon: self.epsilon, ..Normalize::default() }) {
            faults.push(
                Fault::error("nothing-to-do", "this normalisation changes nothing")
                    .expected("`mean_variance: true`, `mean`, `std`, `scale`, `offset` or `clip`")
                    .help("say what to change, or leave the stage out")
                    .at_node(context.node, context.source),
            );
        }
        if let (Some(mean), Some(std)) = (&self.mean, &self.std)
            && mean.len() != std.len()
        {
            faults.push(
                context
                    .fault("std", "lengths-differ", "`mean` and `std` are not of one length")
                    .expected(format!("{} values", mean.len()))
                    .found(format!("{} values", std.len())),
            );
        }
        for (at, _) in self.std.iter().flatten().enumerate().filter(|(_, value)| **value == 0.0) {
            let place = context.node.get("std").and_then(|node| node.as_sequence()?.get(at)).unwrap_or(context.node);
            faults.push(
                Fault::error("zero-deviation", "nothing can be divided by 0")
                    .help("a feature that never varies is left alone by 1")
                    .at_node(place, context.source),
            );
        }
        if faults.is_empty() { Ok(Box::new(self)) } else { Err(faults) }
    }
}

impl Normalize {
    /// The key that needs tensors, if one is used.
    fn tensors_only(&self) -> Option<&'static str> {
        match self {
            Normalize { mean_variance: true, .. } => Some("mean_variance"),
            Normalize { mean: Some(_), .. } => Some("mean"),
            Normalize { std: Some(_), .. } => Some("std"),
            _ => None,
        }
    }

    /// The lists, by key.
    fn lists(&self) -> impl Iterator<Item = (&'static str, &[f32])> {
        [("mean", &self.mean), ("std", &self.std)].into_iter().filter_map(|(key, list)| Some((key, list.as_deref()?)))
    }

    /// Normalises the values of one packet. Lists are as long as the last axis, which was checked.
    fn apply(&self, values: &mut [f32]) {
        if self.mean_variance {
            dsp::mean_variance(values, self.epsilon);
        }
        if let Some(mean) = &self.mean {
            values.chunks_mut(mean.len()).for_each(|row| row.iter_mut().zip(mean).for_each(|(x, mean)| *x -= mean));
        }
        if let Some(std) = &self.std {
            values.chunks_mut(std.len()).for_each(|row| row.iter_mut().zip(std).for_each(|(x, std)| *x /= std));
        }
        if self.scale != 1.0 {
            dsp::scale(values, self.scale);
        }
        if self.offset != 0.0 {
            values.iter_mut().for_each(|x| *x += self.offset);
        }
        if let Some(limit) = self.clip {
            dsp::clip(values, limit);
        }
    }

    fn tensor(&self, tensor: &Tensor) -> Result<Tensor, StageError> {
        for (key, list) in self.lists() {
            if tensor.shape().last() != Some(&list.len()) {
                let (expected, shape) = (list.len(), tensor.shape().to_vec());
                return Err(PreprocessError::LastAxis { key, expected, shape }.into());
            }
        }
        let mut values = tensor.as_slice::<f32>().map_err(StageError::skip)?.to_vec();
        self.apply(&mut values);
        Tensor::new(tensor.shape().to_vec(), values).map_err(StageError::skip)
    }

    fn audio(&self, audio: &Audio) -> Result<Audio, StageError> {
        let mut samples = audio.samples().to_vec();
        self.apply(&mut samples);
        Audio::new(samples, audio.channels(), audio.rate()).map_err(StageError::skip)
    }
}

impl Blueprint for Normalize {
    fn contract(&self) -> Contract {
        Contract::new().input(PORT, Format::Any).output(PORT).inline()
    }

    fn outputs(&self, inputs: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        let found = inputs.first().unwrap_or(&Format::Any);
        let output = match found {
            Format::Any => Format::Any,
            Format::Audio { .. } => {
                if let Some(key) = self.tensors_only() {
                    let help =
                        "insert `- preprocess: frame` with `window_ms`, so that each frame is normalised by itself";
                    let expected = format!("tensor f32, as `{key}` needs");
                    return Err(vec![sound::fault(PORT, expected, found, Some(help.into()))]);
                }
                found.clone()
            }
            Format::Tensor { dtype: None | Some(DType::F32), shape } => {
                for (key, list) in self.lists() {
                    let Some(dims) = shape.dims() else { continue };
                    if !dims.last().is_some_and(|last| last.accepts(&list.len().into())) {
                        let expected = format!("a tensor whose last axis has {}, as `{key}` has", list.len());
                        return Err(vec![sound::fault(PORT, expected, found, None)]);
                    }
                }
                Format::Tensor { dtype: Some(DType::F32), shape: shape.clone() }
            }
            _ => return Err(vec![sound::fault(PORT, "audio or tensor f32", found, None)]),
        };
        Ok(vec![output])
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(NormalizeStage(self.clone())))
    }
}

struct NormalizeStage(Normalize);

impl Stage for NormalizeStage {
    /// The format of the stream.
    type State = Format;

    fn open(&mut self, _: &StreamInfo, inputs: &[Format]) -> Result<Opened<Format>, StageError> {
        let outputs = formats_at_open(&self.0, inputs)?;
        Ok(Opened { state: inputs.first().cloned().unwrap_or(Format::Any), outputs })
    }

    fn process(&mut self, state: &mut Format, input: Input, out: &mut Output) -> Result<(), StageError> {
        let found = input.packet.payload.format();
        if state.accepts(&found).is_err() {
            return Err(PreprocessError::Packet { expected: state.clone(), found }.into());
        }
        let payload: Payload = match &input.packet.payload {
            Payload::Audio(audio) if self.0.tensors_only().is_none() => self.0.audio(audio)?.into(),
            payload => self.0.tensor(payload.tensor()?)?.into(),
        };
        out.emit(0, sound::mirrored(&input.packet, payload));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::{Trial, faults, hz, outputs};
    use super::*;
    use crate::tensor::SymbolicShape;

    fn none() -> Normalize {
        Normalize::default()
    }

    fn f32s(sizes: &[usize]) -> Format {
        Format::Tensor { dtype: Some(DType::F32), shape: SymbolicShape::known(sizes) }
    }

    #[test]
    fn values() {
        let cases: [(&str, Normalize, &[f32], &[f32]); 8] = [
            ("scale", Normalize { scale: 2.0, ..none() }, &[1.0, -2.0, 0.0, 4.0], &[2.0, -4.0, 0.0, 8.0]),
            ("offset after scale", Normalize { scale: 2.0, offset: 1.0, ..none() }, &[1.0, -2.0], &[3.0, -3.0]),
            ("clip last", Normalize { scale: 2.0, offset: 1.0, clip: Some(2.5), ..none() }, &[1.0, -2.0], &[2.5, -2.5]),
            ("mean", Normalize { mean: Some(vec![1.0, 2.0]), ..none() }, &[1.0, 2.0, 3.0, 4.0], &[0.0, 0.0, 2.0, 2.0]),
            ("std", Normalize { std: Some(vec![2.0, 4.0]), ..none() }, &[2.0, 2.0, 4.0, 4.0], &[1.0, 0.5, 2.0, 1.0]),
            (
                "both, then the rest",
                Normalize { mean: Some(vec![1.0, 1.0]), std: Some(vec![2.0, 4.0]), scale: 10.0, ..none() },
                &[3.0, 5.0],
                &[10.0, 10.0],
            ),
            ("each packet", Normalize { mean_variance: true, epsilon: 0.0, ..none() }, &[1.0, 3.0], &[-1.0, 1.0]),
            ("silence stays", Normalize { mean_variance: true, ..none() }, &[5.0, 5.0], &[0.0, 0.0]),
        ];
        for (name, kind, values, expected) in cases {
            let shape = vec![values.len() / 2, 2];
            let mut trial = Trial::open(&kind, f32s(&shape)).unwrap();
            let found = trial.payload(5, Tensor::new(shape.clone(), values.to_vec()).unwrap()).unwrap();
            let tensor = found[0].payload.tensor().unwrap();
            assert_eq!((tensor.shape(), tensor.as_slice::<f32>().unwrap()), (&*shape, expected), "{name}");
            assert_eq!((found[0].start.as_nanos(), found[0].duration.as_nanos()), (5, 1_000_000), "{name}");
        }
    }

    #[test]
    fn sound_keeps_its_format() {
        let kind = Normalize { scale: 4.0, clip: Some(1.0), ..none() };
        let format = Format::audio(hz(8000), Some(2));
        let mut trial = Trial::open(&kind, format.clone()).unwrap();
        let found = trial.audio(0, &[0.125, 0.5, f32::NAN, f32::NEG_INFINITY], 2, 8000).unwrap();
        let samples = found[0].payload.audio().unwrap().samples().to_vec();
        assert!(samples[..2] == [0.5, 1.0] && samples[2].is_nan() && samples[3] == -1.0, "{samples:?}");
        assert_eq!((&found[0].payload.format(), trial.format()), (&format, &format));
    }

    #[test]
    fn formats() {
        let bands = Normalize { mean: Some(vec![0.0; 40]), ..none() };
        let rows =
            |last| Format::Tensor { dtype: None, shape: SymbolicShape::Ranked(vec![crate::tensor::Dim::Any, last]) };
        for format in [f32s(&[40]), f32s(&[3, 40]), rows(crate::tensor::Dim::Any), Format::ANY_TENSOR, Format::Any] {
            assert!(outputs(&bands, format.clone()).is_ok(), "{format}");
        }
        for format in [f32s(&[40, 3]), f32s(&[]), rows(3.into()), Format::Text, Format::ANY_AUDIO] {
            assert!(outputs(&bands, format.clone()).is_err(), "{format}");
        }
        let double = Format::Tensor { dtype: Some(DType::F64), shape: SymbolicShape::Unranked };
        assert!(outputs(&none(), double).is_err());
        let fault = outputs(&Normalize { mean_variance: true, ..none() }, Format::ANY_AUDIO).unwrap_err();
        assert!(fault.help.unwrap().contains("preprocess: frame"));
    }

    #[test]
    fn bad_packets_are_skipped() {
        let kind = Normalize { mean: Some(vec![0.0; 2]), ..none() };
        let mut trial = Trial::open(&kind, Format::ANY_TENSOR).unwrap();
        for payload in [
            Payload::from(Tensor::from_vec(vec![0.0f32; 3])),
            Tensor::scalar(0.0f32).into(),
            Tensor::from_vec(vec![0.0f64; 2]).into(),
            Tensor::from_vec(vec![String::new(); 2]).into(),
            crate::media::Text::default().into(),
            Audio::mono(vec![0.0; 2], hz(1).unwrap()).into(),
        ] {
            let error = trial.payload(0, payload.clone()).unwrap_err();
            assert!(matches!(error, StageError::Skip(_)), "{payload:?}: {error:?}");
        }
        let empty = Tensor::new(vec![0, 2], Vec::<f32>::new()).unwrap();
        assert!(trial.payload(0, empty).unwrap()[0].payload.tensor().unwrap().is_empty());
    }

    #[test]
    fn configs() {
        for (yaml, codes) in [
            ("{scale: 2}", &[][..]),
            ("{mean: [1, 2], std: [1, 2.5]}", &[]),
            ("{}", &["nothing-to-do"]),
            ("{epsilon: 0.1, scale: 1}", &["nothing-to-do"]),
            ("{mean: [1], std: [0, 0]}", &["lengths-differ", "zero-deviation", "zero-deviation"]),
            ("{scale: 1e300, mean: [1e300]}", &["out-of-range", "out-of-range"]),
        ] {
            assert_eq!(faults(&KIND, yaml), codes, "{yaml}");
        }
        for yaml in ["{clip: -1}", "{mean: []}", "{epsilon: -1}", "{scale: .nan}", "{scale: x}"] {
            assert_eq!(faults(&KIND, yaml).len(), 1, "{yaml}");
        }
    }
}
