//! k-max + k-min pooling: the mean of the largest and the mean of the smallest.

use super::{Builder, LayerEntry, Value};
use crate::engine::error::EngineError;
use crate::onnx::AttributeValue;

pub(super) const ENTRY: LayerEntry = LayerEntry {
    name: "KMaxMin",
    summary: "the mean of the k largest plus the mean of the k smallest of each channel",
    ranks: 3..=usize::MAX,
    sizes: &[2, 3, 4, 2],
    tokens: None,
    example: |graph, x| KMaxMin::new(3).smallest(2).weight(0.7).apply(graph, x),
};

/// k-max + k-min pooling (Durand, Thome and Cord, *WELDON: weakly supervised learning of deep convolutional neural
/// networks*, CVPR 2016, equations 2 to 4): over all positions of a channel, the mean of the `k` largest, where the
/// evidence for a class is, plus the mean of the `k` smallest, where the evidence against it is: `[N, C, d…]` → `[N, C]`.
///
/// The gradient, 1/k each, goes to the positions that were chosen. Without weights. A channel needs `k` positions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KMaxMin {
    largest: usize,
    smallest: usize,
    weight: f64,
}

impl KMaxMin {
    /// The `k` largest and the `k` smallest, weighted alike.
    pub fn new(k: usize) -> Self {
        KMaxMin { largest: k, smallest: k, weight: 1.0 }
    }

    /// Another number of smallest elements; 0: none, which is k-max pooling.
    pub fn smallest(mut self, k: usize) -> Self {
        self.smallest = k;
        self
    }

    /// What the mean of the smallest is multiplied by, 1 at first: α of WILDCAT (Durand et al., CVPR 2017, equation 2).
    pub fn weight(mut self, weight: f64) -> Self {
        self.weight = weight;
        self
    }

    /// Adds it to a graph.
    pub fn apply(&self, graph: &mut Builder, x: &Value) -> Result<Value, EngineError> {
        let Some([_, _, sizes @ ..]) = x.shape().dims().filter(|dims| dims.len() >= 3) else {
            return Err(graph.misfit("k-max + k-min pooling", "an input [N, C, d…]", x));
        };
        if self.largest == 0 {
            return Err(graph.fault("k-max + k-min pooling: k is 0: expected at least 1"));
        }
        let positions = sizes.iter().try_fold(1usize, |count, size| count.checked_mul(size.known()?));
        let positions = positions.and_then(|count| i64::try_from(count).ok()).unwrap_or(-1);
        let rows = graph.integers(&[0, 0, positions])?;
        let rows = graph.node("Reshape", &[x, &rows], &[])?;
        let largest = mean_of(graph, &rows, self.largest, true)?;
        if self.smallest == 0 {
            return Ok(largest);
        }
        let mut smallest = mean_of(graph, &rows, self.smallest, false)?;
        if self.weight != 1.0 {
            let weight = graph.numbers(&[], &[self.weight])?;
            smallest = graph.node("Mul", &[&smallest, &weight], &[])?;
        }
        graph.node("Add", &[&largest, &smallest], &[])
    }
}

/// The mean of the `k` largest, or smallest, of the last dimension of `x`.
fn mean_of(graph: &mut Builder, x: &Value, k: usize, largest: bool) -> Result<Value, EngineError> {
    let k = graph.integers(&[i64::try_from(k).unwrap_or(i64::MAX)])?;
    let attributes = [("axis", AttributeValue::Int(-1)), ("largest", AttributeValue::Int(largest.into()))];
    let chosen = graph.nodes("TopK", &[Some(x), Some(&k)], 2, &attributes)?;
    let Some(values) = chosen.into_iter().next().flatten() else {
        return Err(graph.fault("TopK gave no values"));
    };
    let axes = graph.integers(&[-1])?;
    graph.node("ReduceMean", &[&values, &axes], &[("keepdims", AttributeValue::Int(0))])
}
