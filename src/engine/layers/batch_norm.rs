//! Batch normalization.

use super::{Builder, LayerEntry, Value};
use crate::engine::error::EngineError;
use crate::engine::init::Initializer;
use crate::onnx::AttributeValue;

pub(super) const ENTRY: LayerEntry = LayerEntry {
    name: "BatchNorm",
    summary: "each channel to mean 0 and variance 1 over the minibatch, then scaled and shifted",
    ranks: 2..=usize::MAX,
    sizes: &[2, 3, 4],
    tokens: None,
    example: |graph, x| BatchNorm::new("norm").apply(graph, x),
};

/// Batch normalization (Ioffe and Szegedy, ICML 2015, algorithm 1): `y = scale[c]·(x − mean[c]) / √(variance[c] + ε) +
/// bias[c]`, `[N, C, d…]` → the same shape.
///
/// In training, mean and variance are those of the channel over the minibatch; the running ones move towards them, and
/// serve in inference. Weights `NAME.scale` (1 at first) and `NAME.bias` (0), and the running statistics `NAME.mean` (0)
/// and `NAME.variance` (1), which no optimizer touches, all `[C]`.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    name: String,
    epsilon: f32,
    momentum: f32,
    scale: Initializer,
}

impl BatchNorm {
    /// ε = 10⁻⁵; the running statistics keep 0.9 of themselves at each step.
    pub fn new(name: &str) -> Self {
        BatchNorm { name: name.into(), epsilon: 1e-5, momentum: 0.9, scale: Initializer::Ones }
    }

    /// What is added to the variance.
    pub fn epsilon(mut self, epsilon: f32) -> Self {
        self.epsilon = epsilon;
        self
    }

    /// How much the running statistics keep of themselves at each step.
    pub fn momentum(mut self, momentum: f32) -> Self {
        self.momentum = momentum;
        self
    }

    /// Scales filled otherwise: zeros make a residual branch nothing at first (Goyal et al., 2017, section 5.1).
    pub fn scale(mut self, scale: Initializer) -> Self {
        self.scale = scale;
        self
    }

    /// Adds it to a graph. The second size of `x` must be known.
    pub fn apply(&self, graph: &mut Builder, x: &Value) -> Result<Value, EngineError> {
        let Some(channels) = x.size(1) else {
            return Err(graph.misfit(&self.name, "an input [N, C, d…] whose channels are known", x));
        };
        let mut inputs = Vec::new();
        for (part, filled) in [
            ("scale", self.scale),
            ("bias", Initializer::Zeros),
            ("mean", Initializer::Zeros),
            ("variance", Initializer::Ones),
        ] {
            inputs.push(graph.weight(&format!("{}.{part}", self.name), &[channels], filled)?);
        }
        let inputs: Vec<&Value> = [x].into_iter().chain(&inputs).collect();
        let attributes =
            [("epsilon", AttributeValue::Float(self.epsilon)), ("momentum", AttributeValue::Float(self.momentum))];
        graph.node("BatchNormalization", &inputs, &attributes)
    }
}
