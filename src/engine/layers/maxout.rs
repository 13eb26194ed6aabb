//! Maxout: `yᵢ = maxⱼ (x·Wᵢⱼ + bᵢⱼ)`.

use super::{Builder, Conv, Dense, LayerEntry, Value};
use crate::engine::error::EngineError;
use crate::engine::init::Initializer;
use crate::onnx::AttributeValue;

pub(super) const ENTRY: LayerEntry = LayerEntry {
    name: "Maxout",
    summary: "units that are the largest of several affine pieces",
    ranks: 2..=2,
    sizes: &[2, 5],
    tokens: None,
    example: |graph, x| Maxout::new("maxout", 3, 2).apply(graph, x),
};

/// A layer of units that are each the largest of `pieces` affine functions of the input (Goodfellow et al., *Maxout
/// networks*, ICML 2013, section 2): `yᵢ = maxⱼ (x·Wᵢⱼ + bᵢⱼ)`.
///
/// Dense: `[N, in]` → `[N, size]`, weights `NAME.weight` `[pieces·size, in]` and `NAME.bias` `[pieces·size]`, piece by
/// piece. With a [kernel](Maxout::kernel) the pieces are convolutions: `[N, in, d…]` → `[N, size, d'…]`, weights
/// `[pieces·size, in, kernel…]`. The gradient goes to the piece that is the largest.
#[derive(Clone, Debug)]
pub struct Maxout {
    name: String,
    size: usize,
    pieces: usize,
    kernel: Vec<usize>,
    padding: usize,
    weight: Initializer,
}

impl Maxout {
    /// `size` units of `pieces` dense pieces each; weights and biases uniform between ±1/√in.
    pub fn new(name: &str, size: usize, pieces: usize) -> Self {
        Maxout { name: name.into(), size, pieces, kernel: Vec::new(), padding: 0, weight: Initializer::FanIn }
    }

    /// Pieces that are convolutions with a kernel of these sizes, stride 1, and `padding` zeros on every side.
    pub fn kernel(mut self, kernel: &[usize], padding: usize) -> Self {
        self.kernel = kernel.to_vec();
        self.padding = padding;
        self
    }

    /// Weights filled otherwise; biases are zero then.
    pub fn initializer(mut self, weight: Initializer) -> Self {
        self.weight = weight;
        self
    }

    /// Adds it to a graph. The second size of `x` must be known.
    pub fn apply(&self, graph: &mut Builder, x: &Value) -> Result<Value, EngineError> {
        let (size, pieces) = (self.size, self.pieces);
        let Some(rows) = size.checked_mul(pieces).filter(|rows| *rows > 0) else {
            return Err(
                graph.fault(format!("layer `{}`: {size} units of {pieces} pieces: expected 1 or more", self.name))
            );
        };
        let all = match self.kernel.as_slice() {
            [] => Dense::new(&self.name, rows).initializer(self.weight).apply(graph, x)?,
            kernel => {
                let conv = Conv::new(&self.name, rows, kernel).padding(self.padding);
                conv.initializer(self.weight).apply(graph, x)?
            }
        };
        if pieces == 1 {
            return Ok(all);
        }
        let attributes = [("axis", AttributeValue::Int(1)), ("num_outputs", AttributeValue::Int(pieces as i64))];
        let parts = graph.nodes("Split", &[Some(&all)], pieces, &attributes)?;
        let parts: Vec<&Value> = parts.iter().flatten().collect();
        graph.node("Max", &parts, &[])
    }
}
