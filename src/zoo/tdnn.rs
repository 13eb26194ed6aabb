//! Time-delay neural network. Source: Waibel et al., *Phoneme recognition using time-delay neural networks*, IEEE Trans.
//! ASSP 37, 1989; as convolutions over time with ReLU and a mean over time at the end.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Architecture;
use crate::engine::{Builder, Conv, Dense, EngineError, Value};
use crate::onnx::{AttributeValue, Model};
use crate::tensor::{DType, Tensor};

/// `x` `[batch, features, time]` → convolutions over time → mean over time → `y` `[batch, classes]`, logits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tdnn {
    /// Features of a frame.
    #[schemars(range(min = 1))]
    pub features: usize,
    /// Classes.
    #[schemars(range(min = 1))]
    pub classes: usize,
    /// Channels of each convolution. Default: 128.
    #[serde(default = "default_channels")]
    #[schemars(range(min = 1))]
    pub channels: usize,
    /// The dilation of each convolution, each over 5 frames, padded so that the time stays. Default: `[1, 2]`.
    #[serde(default = "default_dilations")]
    pub dilations: Vec<usize>,
    /// Takes an input `lengths` i32 `[batch]`, the frames of each row that count: those beyond are zero before and after
    /// every convolution, as padding is, and no part of the mean. Default: all count.
    #[serde(default)]
    pub lengths: bool,
}

fn default_channels() -> usize {
    128
}

fn default_dilations() -> Vec<usize> {
    vec![1, 2]
}

impl Architecture for Tdnn {
    fn build(&self, seed: u64) -> Result<Model, EngineError> {
        let mut graph = Builder::new("tdnn", seed);
        let mut value = graph.input("x", DType::F32, &[None, Some(self.features), None])?;
        let own = if self.lengths { Some(OwnFrames::new(&mut graph, &value)?) } else { None };
        if let Some(own) = &own {
            value = graph.node("Mul", &[&value, &own.mask], &[])?;
        }
        for (index, dilation) in self.dilations.iter().enumerate() {
            let conv = Conv::new(&format!("conv{}", index + 1), self.channels, &[5]);
            value = conv.padding(2 * dilation).dilation(*dilation).apply(&mut graph, &value)?;
            value = graph.relu(&value)?;
            if let Some(own) = &own {
                value = graph.node("Mul", &[&value, &own.mask], &[])?;
            }
        }
        let axes = graph.constant("time", Tensor::from_vec(vec![2i64]))?;
        let without = [("keepdims", AttributeValue::Int(0))];
        value = match &own {
            None => graph.node("ReduceMean", &[&value, &axes], &without)?,
            Some(own) => {
                let sum = graph.node("ReduceSum", &[&value, &axes], &without)?;
                graph.node("Div", &[&sum, &own.count], &[])?
            }
        };
        let y = Dense::new("out", self.classes).apply(&mut graph, &value)?;
        graph.output("y", &y)?;
        Ok(graph.finish())
    }
}

/// Which frames of a row are its own.
struct OwnFrames {
    /// f32 `[batch, 1, time]`: 1 in the row's own frames, 0 beyond.
    mask: Value,
    /// f32 `[batch, 1]`: how many they are, at least 1.
    count: Value,
}

impl OwnFrames {
    /// From the input `lengths`, for `x` `[batch, features, time]`.
    fn new(graph: &mut Builder, x: &Value) -> Result<Self, EngineError> {
        let lengths = graph.input("lengths", DType::I32, &[None])?;
        let cast = |graph: &mut Builder, value: &Value, to: i64| {
            graph.node("Cast", &[value], &[("to", AttributeValue::Int(to))])
        };
        let constant = |graph: &mut Builder, name: &str, shape: &[usize], value: i64| {
            graph.constant(name, Tensor::new(shape.to_vec(), vec![value])?)
        };
        let (first, second) = (constant(graph, "axis0", &[1], 0)?, constant(graph, "axis1", &[1], 1)?);
        let (zero, one) = (constant(graph, "zero", &[], 0)?, constant(graph, "one", &[], 1)?);
        let time = [("start", AttributeValue::Int(2)), ("end", AttributeValue::Int(3))];
        let time = graph.node("Shape", &[x], &time)?;
        let time = graph.node("Squeeze", &[&time, &first], &[])?;
        let frames = graph.node("Range", &[&zero, &time, &one], &[])?;
        let lengths = cast(graph, &lengths, I64)?;
        let lengths = graph.node("Unsqueeze", &[&lengths, &second], &[])?;
        let own = graph.node("Less", &[&frames, &lengths], &[])?;
        let own = cast(graph, &own, F32)?;
        let mask = graph.node("Unsqueeze", &[&own, &second], &[])?;
        let count = graph.node("Max", &[&lengths, &one], &[])?;
        let count = cast(graph, &count, F32)?;
        Ok(OwnFrames { mask, count })
    }
}

/// Data types as ONNX numbers them (`TensorProto.DataType`).
const F32: i64 = 1;
const I64: i64 = 7;
