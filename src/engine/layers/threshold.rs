//! Threshold unit: 1 above a threshold, else 0.

use super::{Builder, LayerEntry, Value};
use crate::engine::error::EngineError;

pub(super) const ENTRY: LayerEntry = LayerEntry {
    name: "Threshold",
    summary: "1 above a threshold, else 0: McCulloch and Pitts' unit",
    ranks: 0..=usize::MAX,
    sizes: &[2, 7],
    tokens: None,
    example: |graph, x| Threshold::new(0.1).apply(graph, x),
};

/// McCulloch and Pitts' unit (*A logical calculus of the ideas immanent in nervous activity*, 1943), the output of
/// Rosenblatt's perceptron (1958): `y = 1` where `x > θ`, else `y = 0`; of any shape, without weights.
///
/// Its derivative is zero wherever there is one, and zero is what flows back: nothing below it learns by gradient
/// descent. The classic perceptron learns from the net input `x` instead, with the loss `perceptron`, and the threshold
/// is put on top of what was learned. To train through it, [`slope`](Threshold::slope) gives a smooth unit, whose limit
/// it is; it has no weights, so those learned with the one fit the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    threshold: f64,
    bipolar: bool,
    slope: Option<f64>,
}

impl Threshold {
    /// 1 where the input is above `threshold`, else 0.
    pub fn new(threshold: f64) -> Self {
        Threshold { threshold, bipolar: false, slope: None }
    }

    /// −1 instead of 0.
    pub fn bipolar(mut self) -> Self {
        self.bipolar = true;
        self
    }

    /// The smooth unit `1 / (1 + exp(−slope·(x − θ)))` in its place, which has a derivative.
    pub fn slope(mut self, slope: f64) -> Self {
        self.slope = Some(slope);
        self
    }

    /// Adds it to a graph. `x` must be of the graph's [type of weights](Builder::float).
    pub fn apply(&self, graph: &mut Builder, x: &Value) -> Result<Value, EngineError> {
        let threshold = graph.numbers(&[], &[self.threshold])?;
        let active = match self.slope {
            Some(slope) => {
                let slope = graph.numbers(&[], &[slope])?;
                let above = graph.node("Sub", &[x, &threshold], &[])?;
                let net = graph.node("Mul", &[&above, &slope], &[])?;
                graph.node("Sigmoid", &[&net], &[])?
            }
            None => {
                let active = graph.node("Greater", &[x, &threshold], &[])?;
                graph.node("CastLike", &[&active, x], &[])?
            }
        };
        if !self.bipolar {
            return Ok(active);
        }
        let (two, one) = (graph.numbers(&[], &[2.0])?, graph.numbers(&[], &[1.0])?);
        let doubled = graph.node("Mul", &[&active, &two], &[])?;
        graph.node("Sub", &[&doubled, &one], &[])
    }
}
