//! Acoustic model for connectionist temporal classification: time-delay layers, then a recurrent one that reads both
//! ways. Sources: Graves, Fernández, Gomez and Schmidhuber, *Connectionist temporal classification*, ICML 2006; Graves and
//! Schmidhuber, *Framewise phoneme classification with bidirectional LSTM*, Neural Networks 18, 2005; Waibel et al. 1989
//! for the time-delay layers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Architecture;
use super::recurrent::Cell;
use crate::engine::{Builder, Conv, EngineError, Initializer, Value};
use crate::onnx::{AttributeValue, Model};
use crate::tensor::{DType, Tensor};

/// `x` f32 `[batch, time, features]`, as `log_mel` gives frames → convolutions over time → recurrent layer in both
/// directions → `y` `[batch, frames, symbols]`, logits of each frame, where `frames` is `time / subsample`, rounded up.
/// Symbol 0 is the blank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ctc {
    /// Features of a frame.
    #[schemars(range(min = 1))]
    pub features: usize,
    /// Symbols that a text is spelled with, the blank included.
    #[schemars(range(min = 2))]
    pub symbols: usize,
    /// Channels of each convolution. Default: 96.
    #[serde(default = "default_channels")]
    #[schemars(range(min = 1))]
    pub channels: usize,
    /// The dilation of each convolution, each over 5 frames, padded so that the time stays. Default: `[1, 1]`.
    #[serde(default = "default_dilations")]
    #[schemars(length(min = 1))]
    pub dilations: Vec<usize>,
    /// Frames of features for each frame of the result: the stride of the first convolution. Default: 2.
    #[serde(default = "default_subsample")]
    #[schemars(range(min = 1, max = 16))]
    pub subsample: usize,
    /// The kind of recurrent unit. Default: gru.
    #[serde(default = "gru")]
    pub cell: Cell,
    /// Units in each direction. Default: 96.
    #[serde(default = "default_channels")]
    #[schemars(range(min = 1))]
    pub hidden: usize,
}

fn default_channels() -> usize {
    96
}

fn default_dilations() -> Vec<usize> {
    vec![1, 1]
}

fn default_subsample() -> usize {
    2
}

fn gru() -> Cell {
    Cell::Gru
}

impl Ctc {
    /// `[time, batch, channels]` → both directions side by side, `[time, batch, 2 · hidden]`.
    fn recurrent(&self, graph: &mut Builder, x: &Value) -> Result<Value, EngineError> {
        let (op_type, gates) = self.cell.operator();
        let (rows, fans) = (gates * self.hidden, Some((self.hidden, self.hidden)));
        let w = graph.weight_with_fans("recurrent.input", &[2, rows, self.channels], Initializer::FanIn, fans)?;
        let r = graph.weight_with_fans("recurrent.state", &[2, rows, self.hidden], Initializer::FanIn, fans)?;
        let b = graph.weight_with_fans("recurrent.bias", &[2, 2 * rows], Initializer::FanIn, fans)?;
        let attributes = [
            ("hidden_size", AttributeValue::Int(self.hidden as i64)),
            ("direction", AttributeValue::String(b"bidirectional".to_vec())),
        ];
        let outputs = graph.nodes(op_type, &[Some(x), Some(&w), Some(&r), Some(&b)], 1, &attributes)?;
        let Some(states) = outputs.into_iter().next().flatten() else {
            return Err(EngineError::Graph { graph: "ctc".into(), reason: format!("{op_type} gave no states") });
        };
        // [time, directions, batch, hidden]
        let states = graph.node("Transpose", &[&states], &[("perm", AttributeValue::Ints(vec![0, 2, 1, 3]))])?;
        let shape = graph.constant("side_by_side", Tensor::from_vec(vec![0i64, 0, 2 * self.hidden as i64]))?;
        graph.node("Reshape", &[&states, &shape], &[])
    }
}

impl Architecture for Ctc {
    fn build(&self, seed: u64) -> Result<Model, EngineError> {
        let mut graph = Builder::new("ctc", seed);
        let x = graph.input("x", DType::F32, &[None, None, Some(self.features)])?;
        let mut value = graph.node("Transpose", &[&x], &[("perm", AttributeValue::Ints(vec![0, 2, 1]))])?;
        for (index, dilation) in self.dilations.iter().enumerate() {
            let conv = Conv::new(&format!("conv{}", index + 1), self.channels, &[5]);
            let stride = if index == 0 { self.subsample } else { 1 };
            value = conv.padding(2 * dilation).dilation(*dilation).stride(stride).apply(&mut graph, &value)?;
            value = graph.relu(&value)?;
        }
        let by_time = graph.node("Transpose", &[&value], &[("perm", AttributeValue::Ints(vec![2, 0, 1]))])?;
        let states = self.recurrent(&mut graph, &by_time)?;
        let fans = Some((2 * self.hidden, self.symbols));
        let weight =
            graph.weight_with_fans("out.weight", &[2 * self.hidden, self.symbols], Initializer::FanIn, fans)?;
        let bias = graph.weight("out.bias", &[self.symbols], Initializer::Zeros)?;
        let scores = graph.node("MatMul", &[&states, &weight], &[])?;
        let scores = graph.node("Add", &[&scores, &bias], &[])?;
        let y = graph.node("Transpose", &[&scores], &[("perm", AttributeValue::Ints(vec![1, 0, 2]))])?;
        graph.output("y", &y)?;
        Ok(graph.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Network;

    #[test]
    fn frames_are_subsampled_and_hear_both_ways() {
        for (subsample, cell, frames) in [(1, Cell::Gru, 9), (2, Cell::Lstm, 5), (4, Cell::Elman, 3)] {
            let ctc = Ctc { features: 3, symbols: 4, channels: 5, dilations: vec![1, 2], subsample, cell, hidden: 6 };
            let mut network = Network::new(&ctc.build(1).unwrap()).unwrap();
            let mut run = |last: f32| {
                let mut values: Vec<f32> = (0..2 * 9 * 3).map(|k| (k as f32 * 0.7).sin()).collect();
                values[9 * 3 - 1] = last;
                let x = Tensor::new(vec![2, 9, 3], values).unwrap();
                network.run(&[("x", &x)]).unwrap().remove(0)
            };
            let (a, b) = (run(0.0), run(5.0));
            assert_eq!(a.shape(), [2, frames, 4]);
            // The last frame of the first row reaches its first result, and nothing of the second row.
            let (a, b) = (a.as_slice::<f32>().unwrap(), b.as_slice::<f32>().unwrap());
            assert_ne!(a[..4], b[..4], "{cell:?}");
            assert_eq!(a[frames * 4..], b[frames * 4..], "{cell:?}");
        }
    }
}
