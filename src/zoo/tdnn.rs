//! Time-delay neural network. Source: Waibel et al., *Phoneme recognition using time-delay neural networks*, IEEE Trans.
//! ASSP 37, 1989; as convolutions over time with ReLU and a mean over time at the end.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Architecture;
use crate::engine::{Builder, Conv, Dense, EngineError};
use crate::onnx::{AttributeValue, Model};
use crate::tensor::DType;

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
        for (index, dilation) in self.dilations.iter().enumerate() {
            let conv = Conv::new(&format!("conv{}", index + 1), self.channels, &[5]);
            value = conv.padding(2 * dilation).dilation(*dilation).apply(&mut graph, &value)?;
            value = graph.relu(&value)?;
        }
        let axes = graph.constant("time", crate::tensor::Tensor::from_vec(vec![2i64]))?;
        value = graph.node("ReduceMean", &[&value, &axes], &[("keepdims", AttributeValue::Int(0))])?;
        let y = Dense::new("out", self.classes).apply(&mut graph, &value)?;
        graph.output("y", &y)?;
        Ok(graph.finish())
    }
}
