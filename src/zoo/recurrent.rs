//! Recurrent networks over tokens: a classifier of sequences, a tagger of steps.
//!
//! Sources: Elman, *Finding structure in time*, 1990; Hochreiter and Schmidhuber, *Long short-term memory*, 1997; Cho et
//! al., EMNLP 2014 (GRU).
//!
//! With `lengths` they take sequences of varying lengths in one minibatch: an input `lengths` i32 `[batch]` says how many
//! steps of each row count; what lies beyond changes nothing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Architecture;
use crate::engine::{Builder, Dense, EngineError, Initializer, Value};
use crate::onnx::{AttributeValue, Model};
use crate::tensor::{DType, Tensor};

/// The kind of recurrent unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cell {
    /// One tanh.
    Elman,
    /// Gated recurrent unit.
    Gru,
    /// Long short-term memory.
    #[default]
    Lstm,
}

impl Cell {
    /// The operator, and how many gates its weights hold.
    pub(super) fn operator(self) -> (&'static str, usize) {
        match self {
            Cell::Elman => ("RNN", 1),
            Cell::Gru => ("GRU", 3),
            Cell::Lstm => ("LSTM", 4),
        }
    }
}

/// `x` i64 `[batch, time]` (token numbers) → embedding → recurrent layer → last state → `y` `[batch, classes]`, logits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecurrentClassifier {
    /// How many tokens there are.
    #[schemars(range(min = 1))]
    pub vocabulary: usize,
    /// Classes.
    #[schemars(range(min = 1))]
    pub classes: usize,
    /// The kind of unit. Default: lstm.
    #[serde(default)]
    pub cell: Cell,
    /// Numbers for each token. Default: 16.
    #[serde(default = "default_embedding")]
    #[schemars(range(min = 1))]
    pub embedding: usize,
    /// Units. Default: 64.
    #[serde(default = "default_hidden")]
    #[schemars(range(min = 1))]
    pub hidden: usize,
    /// Takes an input `lengths` i32 `[batch]`, the steps of each row that count. Default: all count.
    #[serde(default)]
    pub lengths: bool,
}

/// `x` i64 `[batch, time]` (token numbers) → embedding → recurrent layer → `y` `[batch, classes, time]`, logits of each
/// step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecurrentTagger {
    /// How many tokens there are.
    #[schemars(range(min = 1))]
    pub vocabulary: usize,
    /// Classes of a step.
    #[schemars(range(min = 1))]
    pub classes: usize,
    /// The kind of unit. Default: lstm.
    #[serde(default)]
    pub cell: Cell,
    /// Numbers for each token. Default: 16.
    #[serde(default = "default_embedding")]
    #[schemars(range(min = 1))]
    pub embedding: usize,
    /// Units. Default: 64.
    #[serde(default = "default_hidden")]
    #[schemars(range(min = 1))]
    pub hidden: usize,
    /// Takes an input `lengths` i32 `[batch]`, the steps of each row that count. Default: all count.
    #[serde(default)]
    pub lengths: bool,
}

fn default_embedding() -> usize {
    16
}

fn default_hidden() -> usize {
    64
}

/// All states `[time, 1, batch, hidden]` (zero beyond a row's length) and the last `[1, batch, hidden]` of one recurrent
/// layer over tokens.
fn layer(
    graph: &mut Builder,
    cell: Cell,
    [vocabulary, embedding, hidden]: [usize; 3],
    lengths: bool,
) -> Result<(Value, Value), EngineError> {
    let x = graph.input("x", DType::I64, &[None, None])?;
    let lengths = if lengths { Some(graph.input("lengths", DType::I32, &[None])?) } else { None };
    let table = graph.weight("embedding.weight", &[vocabulary, embedding], Initializer::Normal(1.0))?;
    let embedded = graph.node("Gather", &[&table, &x], &[])?;
    let by_time = graph.node("Transpose", &[&embedded], &[("perm", AttributeValue::Ints(vec![1, 0, 2]))])?;
    let (op_type, gates) = cell.operator();
    let fans = Some((hidden, hidden));
    let rows = gates * hidden;
    let w = graph.weight_with_fans("recurrent.input", &[1, rows, embedding], Initializer::FanIn, fans)?;
    let r = graph.weight_with_fans("recurrent.state", &[1, rows, hidden], Initializer::FanIn, fans)?;
    let b = graph.weight_with_fans("recurrent.bias", &[1, 2 * rows], Initializer::FanIn, fans)?;
    let size = [("hidden_size", AttributeValue::Int(hidden as i64))];
    let mut inputs = vec![Some(&by_time), Some(&w), Some(&r), Some(&b)];
    if lengths.is_some() {
        inputs.push(lengths.as_ref());
    }
    let mut outputs = graph.nodes(op_type, &inputs, 2, &size)?.into_iter();
    match (outputs.next().flatten(), outputs.next().flatten()) {
        (Some(all), Some(last)) => Ok((all, last)),
        _ => Err(EngineError::Graph { graph: "recurrent".into(), reason: format!("{op_type} gave no states") }),
    }
}

impl Architecture for RecurrentClassifier {
    fn build(&self, seed: u64) -> Result<Model, EngineError> {
        let mut graph = Builder::new("recurrent_classifier", seed);
        let (_, last) = layer(&mut graph, self.cell, [self.vocabulary, self.embedding, self.hidden], self.lengths)?;
        let axis = graph.constant("directions", Tensor::from_vec(vec![0i64]))?;
        let last = graph.node("Squeeze", &[&last, &axis], &[])?;
        let y = Dense::new("out", self.classes).apply(&mut graph, &last)?;
        graph.output("y", &y)?;
        Ok(graph.finish())
    }
}

impl Architecture for RecurrentTagger {
    fn build(&self, seed: u64) -> Result<Model, EngineError> {
        let mut graph = Builder::new("recurrent_tagger", seed);
        let (all, _) = layer(&mut graph, self.cell, [self.vocabulary, self.embedding, self.hidden], self.lengths)?;
        let axis = graph.constant("directions", Tensor::from_vec(vec![1i64]))?;
        let all = graph.node("Squeeze", &[&all, &axis], &[])?;
        let weight = graph.weight_with_fans(
            "out.weight",
            &[self.hidden, self.classes],
            Initializer::FanIn,
            Some((self.hidden, self.classes)),
        )?;
        let bias = graph.weight("out.bias", &[self.classes], Initializer::Zeros)?;
        let scores = graph.node("MatMul", &[&all, &weight], &[])?;
        let scores = graph.node("Add", &[&scores, &bias], &[])?;
        let y = graph.node("Transpose", &[&scores], &[("perm", AttributeValue::Ints(vec![1, 2, 0]))])?;
        graph.output("y", &y)?;
        Ok(graph.finish())
    }
}
