//! Attention: scaled dot-product, with several heads.

use super::{Builder, LayerEntry, Value};
use crate::engine::error::EngineError;
use crate::engine::init::Initializer;
use crate::onnx::AttributeValue;
use crate::tensor::{DType, Tensor};

pub(super) const ENTRY: LayerEntry = LayerEntry {
    name: "Attention",
    summary: "each step a mean of all steps, weighted by likeness; several heads",
    ranks: 3..=3,
    sizes: &[2, 3, 4],
    tokens: None,
    example: |graph, x| Attention::new("attention", 2).causal().apply(graph, x),
};

/// Multi-head attention (Vaswani et al., *Attention is all you need*, NeurIPS 2017, section 3.2): queries `[N, L, E]` and a
/// context `[N, S, E']` → `[N, L, E]`.
///
/// With `Q = queries·W_Q + b_Q`, `K` and `V` likewise of the context, each split into `heads` parts of `d = E / heads`:
/// `softmax(Q·Kᵀ / √d)·V` in each head, the heads side by side, times `W_O`, plus `b_O`. Weights `NAME.query`, `.key`,
/// `.value` `[in, E]` and `.out` `[E, E]`, Xavier's, and biases `NAME.query_bias` and so on `[E]`, zero at first.
///
/// A mask of bool says what may be looked at: `[N, S]` (positions of the context that are there) or `[N, L, S]` (which
/// query may look where); sizes of 1 are repeated. What is masked has weight 0; where nothing may be looked at, all
/// positions have the same weight.
#[derive(Clone, Debug)]
pub struct Attention {
    name: String,
    heads: usize,
    causal: bool,
    bias: bool,
}

/// A score so low that softmax makes it zero, and finite, so that a row of it is no NaN.
const MASKED: f64 = -1e30;

impl Attention {
    /// `heads` heads, which must divide the last size of the queries; with biases; everything may be looked at.
    pub fn new(name: &str, heads: usize) -> Self {
        Attention { name: name.into(), heads, causal: false, bias: true }
    }

    /// Step `i` looks at steps up to `i` only.
    pub fn causal(mut self) -> Self {
        self.causal = true;
        self
    }

    /// Without biases.
    pub fn without_bias(mut self) -> Self {
        self.bias = false;
        self
    }

    /// Self-attention: the steps of `x` `[N, L, E]` look at each other. E must be known.
    pub fn apply(&self, graph: &mut Builder, x: &Value) -> Result<Value, EngineError> {
        self.apply_to(graph, x, x, None)
    }

    /// The steps of `queries` look at those of `context`, where `mask` allows it. Their last sizes must be known.
    pub fn apply_to(
        &self,
        graph: &mut Builder,
        queries: &Value,
        context: &Value,
        mask: Option<&Value>,
    ) -> Result<Value, EngineError> {
        let width = |value: &Value| value.size(2).filter(|_| value.shape().rank() == Some(3));
        let size = width(queries).filter(|size| self.heads > 0 && *size > 0 && size % self.heads == 0);
        let (Some(size), Some(inputs)) = (size, width(context)) else {
            let (heads, wrong) = (self.heads, if size.is_none() { queries } else { context });
            let expected = format!("steps [N, L, E], E known, the queries' divisible by {heads} heads");
            return Err(graph.misfit(&self.name, &expected, wrong));
        };
        let part = size / self.heads;
        let q = self.project(graph, queries, "query", [size, size])?;
        let k = self.project(graph, context, "key", [inputs, size])?;
        let v = self.project(graph, context, "value", [inputs, size])?;
        let q = self.heads(graph, &q, part, [0, 2, 1, 3])?;
        let k = self.heads(graph, &k, part, [0, 2, 3, 1])?;
        let v = self.heads(graph, &v, part, [0, 2, 1, 3])?;
        let scale = graph.numbers(&[], &[1.0 / (part as f64).sqrt()])?;
        let q = graph.node("Mul", &[&q, &scale], &[])?;
        let mut scores = graph.node("MatMul", &[&q, &k], &[])?;
        if self.causal {
            let earlier = earlier(graph, &scores)?;
            scores = masked(graph, &earlier, &scores)?;
        }
        if let Some(mask) = mask {
            let axes: &[i64] = match (mask.dtype(), mask.shape().rank()) {
                (DType::Bool, Some(2)) => &[1, 2],
                (DType::Bool, Some(3)) => &[1],
                _ => return Err(graph.misfit(&self.name, "a mask of bool [N, S] or [N, L, S]", mask)),
            };
            let axes = graph.integers(axes)?;
            let mask = graph.node("Unsqueeze", &[mask, &axes], &[])?;
            scores = masked(graph, &mask, &scores)?;
        }
        let weights = graph.node("Softmax", &[&scores], &[("axis", AttributeValue::Int(-1))])?;
        let seen = graph.node("MatMul", &[&weights, &v], &[])?;
        let seen = graph.node("Transpose", &[&seen], &[("perm", AttributeValue::Ints(vec![0, 2, 1, 3]))])?;
        let together = graph.integers(&[0, 0, size as i64])?;
        let seen = graph.node("Reshape", &[&seen, &together], &[])?;
        self.project(graph, &seen, "out", [size, size])
    }

    /// `x·W + b`.
    fn project(&self, graph: &mut Builder, x: &Value, part: &str, shape: [usize; 2]) -> Result<Value, EngineError> {
        let weight = graph.weight(&format!("{}.{part}", self.name), &shape, Initializer::Xavier)?;
        let y = graph.node("MatMul", &[x, &weight], &[])?;
        if !self.bias {
            return Ok(y);
        }
        let bias = graph.weight(&format!("{}.{part}_bias", self.name), &shape[1..], Initializer::Zeros)?;
        graph.node("Add", &[&y, &bias], &[])
    }

    /// `[N, L, E]` as `[N, L, heads, part]`, its dimensions in the order `order`.
    fn heads(&self, graph: &mut Builder, x: &Value, part: usize, order: [i64; 4]) -> Result<Value, EngineError> {
        let parts = graph.integers(&[0, 0, self.heads as i64, part as i64])?;
        let parts = graph.node("Reshape", &[x, &parts], &[])?;
        graph.node("Transpose", &[&parts], &[("perm", AttributeValue::Ints(order.to_vec()))])
    }
}

/// Which column of `scores` `[…, L, S]` is not beyond its row: `[L, S]`.
fn earlier(graph: &mut Builder, scores: &Value) -> Result<Value, EngineError> {
    let sizes = graph.node("Shape", &[scores], &[("start", AttributeValue::Int(-2))])?;
    let one = AttributeValue::Tensor(Tensor::from_vec(vec![1i64]));
    let ones = graph.node("ConstantOfShape", &[&sizes], &[("value", one)])?;
    let lower = graph.node("Trilu", &[&ones], &[("upper", AttributeValue::Int(0))])?;
    let zero = graph.integers(&[0])?;
    graph.node("Greater", &[&lower, &zero], &[])
}

/// The scores where `mask` holds, else one so low that it counts for nothing.
fn masked(graph: &mut Builder, mask: &Value, scores: &Value) -> Result<Value, EngineError> {
    let low = graph.numbers(&[], &[MASKED])?;
    graph.node("Where", &[mask, scores, &low], &[])
}
