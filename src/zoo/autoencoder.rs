//! Autoencoder. Source: Hinton and Salakhutdinov, *Reducing the dimensionality of data with neural networks*, Science 313,
//! 2006; trained as a whole.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Architecture;
use crate::engine::{Builder, Dense, EngineError};
use crate::onnx::Model;
use crate::tensor::DType;

/// `x` `[batch, inputs…]` → layers of falling size with ReLU → code → the same layers backwards → `y`
/// `[batch, Π inputs]`. Trained with the loss `squared` and the input as its own target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Autoencoder {
    /// The input's sizes.
    #[schemars(length(min = 1))]
    pub inputs: Vec<usize>,
    /// The sizes of the layers down to the code, which is the last.
    #[schemars(length(min = 1))]
    pub hidden: Vec<usize>,
}

impl Architecture for Autoencoder {
    fn build(&self, seed: u64) -> Result<Model, EngineError> {
        let mut graph = Builder::new("autoencoder", seed);
        let sizes: Vec<Option<usize>> = [None].into_iter().chain(self.inputs.iter().map(|size| Some(*size))).collect();
        let x = graph.input("x", DType::F32, &sizes)?;
        let mut value = if self.inputs.len() == 1 { x } else { graph.flatten(&x)? };
        for (index, size) in self.hidden.iter().enumerate() {
            value = Dense::new(&format!("encoder{}", index + 1), *size).apply(&mut graph, &value)?;
            if index + 1 < self.hidden.len() {
                value = graph.relu(&value)?;
            }
        }
        for (index, size) in self.hidden.iter().rev().skip(1).enumerate() {
            value = Dense::new(&format!("decoder{}", index + 1), *size).apply(&mut graph, &value)?;
            value = graph.relu(&value)?;
        }
        let y = Dense::new("out", self.inputs.iter().product()).apply(&mut graph, &value)?;
        graph.output("y", &y)?;
        Ok(graph.finish())
    }
}
