//! LeNet-5. Source: LeCun, Bottou, Bengio and Haffner, *Gradient-based learning applied to document recognition*, Proc.
//! IEEE 86, 1998, section II; with ReLU, max-pooling and one dense output layer, as it is taught today.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Architecture;
use crate::engine::{Builder, Conv, Dense, EngineError, Pool2d};
use crate::onnx::Model;
use crate::tensor::DType;

/// `x` `[batch, channels, size, size]` → conv 6 5×5 (padded by 2) → pool → conv 16 5×5 → pool → 120 → 84 → `y`
/// `[batch, classes]`, logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Lenet5 {
    /// Channels of the picture, 1 by default.
    pub channels: usize,
    /// Its width and height, 28 by default; a multiple of 4, at least 12.
    pub size: usize,
    /// Classes, 10 by default.
    pub classes: usize,
}

impl Default for Lenet5 {
    fn default() -> Self {
        Lenet5 { channels: 1, size: 28, classes: 10 }
    }
}

impl Architecture for Lenet5 {
    fn build(&self, seed: u64) -> Result<Model, EngineError> {
        let mut graph = Builder::new("lenet5", seed);
        let size = Some(self.size);
        let mut value = graph.input("x", DType::F32, &[None, Some(self.channels), size, size])?;
        for (name, channels, padding) in [("conv1", 6, 2), ("conv2", 16, 0)] {
            value = Conv::new(name, channels, &[5, 5]).padding(padding).apply(&mut graph, &value)?;
            value = graph.relu(&value)?;
            value = Pool2d::Max(2).apply(&mut graph, &value)?;
        }
        value = graph.flatten(&value)?;
        for (name, size) in [("fc1", 120), ("fc2", 84)] {
            value = Dense::new(name, size).apply(&mut graph, &value)?;
            value = graph.relu(&value)?;
        }
        let y = Dense::new("out", self.classes).apply(&mut graph, &value)?;
        graph.output("y", &y)?;
        Ok(graph.finish())
    }
}
