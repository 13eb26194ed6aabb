//! Embedding: a vector for each token.

use super::{Builder, LayerEntry, Value};
use crate::engine::error::EngineError;
use crate::engine::init::Initializer;
use crate::tensor::DType;

pub(super) const ENTRY: LayerEntry = LayerEntry {
    name: "Embedding",
    summary: "a vector for each token",
    ranks: 0..=usize::MAX,
    sizes: &[2, 4],
    tokens: Some(5),
    example: |graph, x| Embedding::new("embedding", 5, 3).apply(graph, x),
};

/// Row `x` of a table for each token number `x` (Bengio et al., *A neural probabilistic language model*, JMLR 2003): i64
/// or i32 of any shape `[N, …]` → `[N, …, size]`, weight `NAME.weight` `[vocabulary, size]`.
///
/// A row receives the sum of the gradients of its uses; rows that are not used receive zero. A number that is not below
/// `vocabulary` is an error when the graph runs (a negative one counts from the end, as in ONNX's Gather).
#[derive(Clone, Debug)]
pub struct Embedding {
    name: String,
    vocabulary: usize,
    size: usize,
    weight: Initializer,
}

impl Embedding {
    /// `size` numbers for each of `vocabulary` tokens, normal around 0 with deviation 1.
    pub fn new(name: &str, vocabulary: usize, size: usize) -> Self {
        Embedding { name: name.into(), vocabulary, size, weight: Initializer::Normal(1.0) }
    }

    /// Weights filled otherwise.
    pub fn initializer(mut self, weight: Initializer) -> Self {
        self.weight = weight;
        self
    }

    /// Adds it to a graph.
    pub fn apply(&self, graph: &mut Builder, x: &Value) -> Result<Value, EngineError> {
        if !matches!(x.dtype(), DType::I64 | DType::I32) {
            return Err(graph.misfit(&self.name, "token numbers of i64 or i32", x));
        }
        let table = graph.weight(&format!("{}.weight", self.name), &[self.vocabulary, self.size], self.weight)?;
        graph.node("Gather", &[&table, x], &[])
    }
}
