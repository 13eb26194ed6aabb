//! Recurrent layers: Elman, GRU, LSTM.

use super::{Builder, LayerEntry, Value};
use crate::engine::error::EngineError;
use crate::engine::init::Initializer;
use crate::onnx::AttributeValue;

pub(super) const ENTRY: LayerEntry = LayerEntry {
    name: "Recurrent",
    summary: "Elman, GRU or LSTM units over the steps of a sequence",
    ranks: 3..=3,
    sizes: &[2, 3, 2],
    tokens: None,
    example: |graph, x| Recurrent::lstm("recurrent", 2).bidirectional().apply(graph, x),
};

/// Recurrent units over sequences, batch first: `[N, T, in]` → their states at all steps, `[N, T, hidden]`, or after the
/// last one, `[N, hidden]`. The first state is zero.
///
/// - [Elman](Recurrent::elman) (*Finding structure in time*, 1990): `h = tanh(x·Wᵀ + h'·Rᵀ + b)`;
/// - [GRU](Recurrent::gru) (Cho et al., EMNLP 2014; the reset gate before the product, as there);
/// - [LSTM](Recurrent::lstm) (Hochreiter and Schmidhuber, 1997; with forget gates, without peepholes).
///
/// Weights in the layout of ONNX's RNN, GRU and LSTM: `NAME.input` `[D, gates·hidden, in]`, `NAME.state`
/// `[D, gates·hidden, hidden]` and `NAME.bias` `[D, 2·gates·hidden]`, uniform between ±1/√hidden; D is 1, or 2 where both
/// directions are read.
#[derive(Clone, Debug)]
pub struct Recurrent {
    name: String,
    op_type: &'static str,
    gates: usize,
    hidden: usize,
    bidirectional: bool,
    lengths: Option<Value>,
}

impl Recurrent {
    /// `hidden` units with one tanh each.
    pub fn elman(name: &str, hidden: usize) -> Self {
        Recurrent::new(name, "RNN", 1, hidden)
    }

    /// `hidden` gated recurrent units.
    pub fn gru(name: &str, hidden: usize) -> Self {
        Recurrent::new(name, "GRU", 3, hidden)
    }

    /// `hidden` long short-term memory units.
    pub fn lstm(name: &str, hidden: usize) -> Self {
        Recurrent::new(name, "LSTM", 4, hidden)
    }

    fn new(name: &str, op_type: &'static str, gates: usize, hidden: usize) -> Self {
        Recurrent { name: name.into(), op_type, gates, hidden, bidirectional: false, lengths: None }
    }

    /// A second set of units reads backwards; the states of both are side by side, `2·hidden` numbers.
    pub fn bidirectional(mut self) -> Self {
        self.bidirectional = true;
        self
    }

    /// How many steps each sequence has, i32 `[N]`: states beyond are zero, the last state is that of its last step.
    pub fn lengths(mut self, lengths: &Value) -> Self {
        self.lengths = Some(lengths.clone());
        self
    }

    /// Adds it to a graph; gives the states of all steps. The last size of `x` must be known.
    pub fn apply(&self, graph: &mut Builder, x: &Value) -> Result<Value, EngineError> {
        let states = self.states(graph, x, 0)?;
        let by_row = graph.node("Transpose", &[&states], &[("perm", AttributeValue::Ints(vec![2, 0, 1, 3]))])?;
        let together = graph.integers(&[0, 0, self.width()])?;
        graph.node("Reshape", &[&by_row, &together], &[])
    }

    /// Adds it to a graph; gives the states after the last step. The last size of `x` must be known.
    pub fn apply_last(&self, graph: &mut Builder, x: &Value) -> Result<Value, EngineError> {
        let last = self.states(graph, x, 1)?;
        if !self.bidirectional {
            let directions = graph.integers(&[0])?;
            return graph.node("Squeeze", &[&last, &directions], &[]);
        }
        let by_row = graph.node("Transpose", &[&last], &[("perm", AttributeValue::Ints(vec![1, 0, 2]))])?;
        let together = graph.integers(&[0, self.width()])?;
        graph.node("Reshape", &[&by_row, &together], &[])
    }

    fn directions(&self) -> usize {
        1 + usize::from(self.bidirectional)
    }

    fn width(&self) -> i64 {
        (self.directions() * self.hidden) as i64
    }

    /// Output 0, all states `[T, D, N, hidden]`, or 1, the last ones `[D, N, hidden]`.
    fn states(&self, graph: &mut Builder, x: &Value, output: usize) -> Result<Value, EngineError> {
        let Some(inputs) = x.size(2).filter(|_| x.shape().rank() == Some(3)) else {
            return Err(graph.misfit(&self.name, "sequences [N, T, known size]", x));
        };
        let (directions, hidden) = (self.directions(), self.hidden);
        let Some(rows) = hidden.checked_mul(2 * self.gates).map(|rows| rows / 2) else {
            return Err(graph.fault(format!("layer `{}`: {hidden} units are too many", self.name)));
        };
        let by_time = graph.node("Transpose", &[x], &[("perm", AttributeValue::Ints(vec![1, 0, 2]))])?;
        let mut weights = Vec::new();
        for (part, shape) in [
            ("input", [directions, rows, inputs].as_slice()),
            ("state", &[directions, rows, hidden]),
            ("bias", &[directions, 2 * rows]),
        ] {
            let name = format!("{}.{part}", self.name);
            weights.push(graph.weight_with_fans(&name, shape, Initializer::FanIn, Some((hidden, hidden)))?);
        }
        let mut inputs: Vec<Option<&Value>> = [&by_time].into_iter().chain(&weights).map(Some).collect();
        if let Some(lengths) = &self.lengths {
            inputs.push(Some(lengths));
        }
        let direction = if self.bidirectional { "bidirectional" } else { "forward" };
        let attributes = [
            ("hidden_size", AttributeValue::Int(hidden as i64)),
            ("direction", AttributeValue::String(direction.into())),
        ];
        let states = graph.nodes(self.op_type, &inputs, 2, &attributes)?;
        match states.into_iter().nth(output).flatten() {
            Some(states) => Ok(states),
            None => Err(graph.fault(format!("{} gave no states", self.op_type))),
        }
    }
}
