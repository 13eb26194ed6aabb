//! One layer of weights: perceptron, linear and logistic regression, by the loss that it is trained with.
//!
//! Sources: Rosenblatt, *The perceptron*, 1958; Cox, *The regression analysis of binary sequences*, 1958.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Architecture;
use crate::engine::{Builder, Dense, EngineError, Initializer};
use crate::onnx::Model;
use crate::tensor::DType;

/// `x` `[batch, inputs]` → `y = W·x + b` `[batch, outputs]`, weights zero at first.
///
/// With the loss `perceptron` it is Rosenblatt's perceptron, with `squared` linear regression, with
/// `binary_cross_entropy` (one output) or `cross_entropy` (one for each class) logistic regression.
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
        let mut graph = Builder::new("perceptron", seed);
        let x = graph.input("x", DType::F32, &[None, Some(self.inputs)])?;
        let y = Dense::new("out", self.outputs).initializer(Initializer::Zeros).apply(&mut graph, &x)?;
        graph.output("y", &y)?;
        Ok(graph.finish())
    }
}
