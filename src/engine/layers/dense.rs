//! Dense: `y = x·Wᵀ + b`.

use super::{Builder, LayerEntry, Value};
use crate::engine::error::EngineError;
use crate::engine::init::Initializer;
use crate::onnx::AttributeValue;

pub(super) const ENTRY: LayerEntry = LayerEntry {
    name: "Dense",
    summary: "fully connected units",
    ranks: 2..=2,
    sizes: &[2, 3],
    tokens: None,
    example: |graph, x| Dense::new("dense", 4).apply(graph, x),
};

/// A fully connected layer, `y = x·Wᵀ + b`: `[N, in]` → `[N, out]`, weights `NAME.weight` `[out, in]` and `NAME.bias` `[out]`.
#[derive(Clone, Debug)]
pub struct Dense {
    name: String,
    size: usize,
    bias: bool,
    weight: Initializer,
}

impl Dense {
    /// `size` units with biases; weights and biases uniform between ±1/√in.
    pub fn new(name: &str, size: usize) -> Self {
        Dense { name: name.into(), size, bias: true, weight: Initializer::FanIn }
    }

    /// Without biases.
    pub fn without_bias(mut self) -> Self {
        self.bias = false;
        self
    }

    /// Weights filled otherwise; biases are zero then.
    pub fn initializer(mut self, weight: Initializer) -> Self {
        self.weight = weight;
        self
    }

    /// Adds it to a graph. The second size of `x` must be known.
    pub fn apply(&self, graph: &mut Builder, x: &Value) -> Result<Value, EngineError> {
        let Some(inputs) = x.size(1).filter(|_| x.shape().rank() == Some(2)) else {
            return Err(graph.misfit(&self.name, "an input [N, known size]", x));
        };
        let weight = graph.weight(&format!("{}.weight", self.name), &[self.size, inputs], self.weight)?;
        let transposed = [("transB", AttributeValue::Int(1))];
        if !self.bias {
            return graph.node("Gemm", &[x, &weight], &transposed);
        }
        let filled = if self.weight == Initializer::FanIn { Initializer::FanIn } else { Initializer::Zeros };
        let fans = Some((inputs, self.size));
        let bias = graph.weight_with_fans(&format!("{}.bias", self.name), &[self.size], filled, fans)?;
        graph.node("Gemm", &[x, &weight, &bias], &transposed)
    }
}
