//! Multilayer perceptron. Source: Rumelhart, Hinton and Williams, *Learning representations by back-propagating errors*,
//! Nature 323, 1986.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Architecture;
use crate::engine::{Builder, Dense, EngineError, Value};
use crate::onnx::Model;
use crate::tensor::DType;

/// `x` `[batch, inputs…]` → hidden layers of these sizes with ReLU → `y` `[batch, outputs]`. Inputs of several
/// dimensions are flattened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mlp {
    /// The input's sizes.
    #[schemars(length(min = 1))]
    pub inputs: Vec<usize>,
    /// The sizes of the hidden layers.
    pub hidden: Vec<usize>,
    /// Outputs.
    #[schemars(range(min = 1))]
    pub outputs: usize,
}

impl Architecture for Mlp {
    fn build(&self, seed: u64) -> Result<Model, EngineError> {
        let mut graph = Builder::new("mlp", seed);
        let sizes: Vec<Option<usize>> = [None].into_iter().chain(self.inputs.iter().map(|size| Some(*size))).collect();
        let x = graph.input("x", DType::F32, &sizes)?;
        let mut value: Value = if self.inputs.len() == 1 { x } else { graph.flatten(&x)? };
        for (index, size) in self.hidden.iter().enumerate() {
            value = Dense::new(&format!("hidden{}", index + 1), *size).apply(&mut graph, &value)?;
            value = graph.relu(&value)?;
        }
        let y = Dense::new("out", self.outputs).apply(&mut graph, &value)?;
        graph.output("y", &y)?;
        Ok(graph.finish())
    }
}
