//! One layer of weights. Source: Rosenblatt, *The perceptron*, Psychological Review 65, 1958.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Architecture;
use crate::engine::{Builder, Dense, EngineError, Initializer};
use crate::onnx::Model;
use crate::tensor::DType;

/// `x` `[batch, inputs]` → `y = W·x + b` `[batch, outputs]`, weights zero at first.
///
/// With the loss `perceptron` it learns by Rosenblatt's rule; its answer is whether `y` is above zero, or the largest of
/// several. [`LinearRegression`](super::LinearRegression) and [`LogisticRegression`](super::LogisticRegression) are the
/// same sum with other losses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Perceptron {
    /// Features.
    #[schemars(range(min = 1))]
    pub inputs: usize,
    /// Outputs.
    #[schemars(range(min = 1))]
    pub outputs: usize,
}

impl Architecture for Perceptron {
    fn build(&self, seed: u64) -> Result<Model, EngineError> {
        one_layer("perceptron", self.inputs, self.outputs, seed)
    }
}

/// One layer of weights, zero at first.
pub(super) fn one_layer(name: &str, inputs: usize, outputs: usize, seed: u64) -> Result<Model, EngineError> {
    let mut graph = Builder::new(name, seed);
    let x = graph.input("x", DType::F32, &[None, Some(inputs)])?;
    let y = Dense::new("out", outputs).initializer(Initializer::Zeros).apply(&mut graph, &x)?;
    graph.output("y", &y)?;
    Ok(graph.finish())
}
