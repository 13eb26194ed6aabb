//! Convolution and pooling over one, two or three dimensions.

use super::{Builder, LayerEntry, Value};
use crate::engine::error::EngineError;
use crate::engine::init::Initializer;
use crate::onnx::AttributeValue;

pub(super) const CONV: LayerEntry = LayerEntry {
    name: "Conv",
    summary: "convolution over one, two or three dimensions",
    ranks: 4..=4,
    sizes: &[2, 2, 4, 5],
    tokens: None,
    example: |graph, x| Conv::new("conv", 4, &[3, 2]).stride(2).padding(1).groups(2).apply(graph, x),
};

pub(super) const POOL: LayerEntry = LayerEntry {
    name: "Pool2d",
    summary: "the largest, or the mean, of each square of a picture",
    ranks: 4..=4,
    sizes: &[2, 2, 5, 4],
    tokens: None,
    example: |graph, x| Pool2d::Max(2).apply(graph, x),
};

/// A convolution: `[N, in, d…]` → `[N, out, d'…]`, weights `NAME.weight` `[out, in / groups, kernel…]` and `NAME.bias`
/// `[out]`.
#[derive(Clone, Debug)]
pub struct Conv {
    name: String,
    channels: usize,
    kernel: Vec<usize>,
    stride: usize,
    padding: usize,
    dilation: usize,
    groups: usize,
    bias: bool,
    weight: Initializer,
}

impl Conv {
    /// `channels` kernels of these sizes (as many as there are dimensions), with biases; stride 1, no padding.
    pub fn new(name: &str, channels: usize, kernel: &[usize]) -> Self {
        Conv {
            name: name.into(),
            channels,
            kernel: kernel.to_vec(),
            stride: 1,
            padding: 0,
            dilation: 1,
            groups: 1,
            bias: true,
            weight: Initializer::FanIn,
        }
    }

    /// Moves by `stride` in every dimension.
    pub fn stride(mut self, stride: usize) -> Self {
        self.stride = stride;
        self
    }

    /// Adds `padding` zeros on every side.
    pub fn padding(mut self, padding: usize) -> Self {
        self.padding = padding;
        self
    }

    /// Takes every `dilation`-th element.
    pub fn dilation(mut self, dilation: usize) -> Self {
        self.dilation = dilation;
        self
    }

    /// Connects each of `groups` groups of channels only within itself.
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// Without biases.
    pub fn without_bias(mut self) -> Self {
        self.bias = false;
        self
    }

    /// Weights filled otherwise; biases are zero then.
    pub fn initializer(mut self, weight: Initializer) -> Self {
        self.weight = weight;
        self
    }

    /// Adds it to a graph. The number of channels of `x` must be known.
    pub fn apply(&self, graph: &mut Builder, x: &Value) -> Result<Value, EngineError> {
        let rank = self.kernel.len();
        let channels = x
            .size(1)
            .filter(|channels| x.shape().rank() == Some(rank + 2) && self.groups > 0 && channels % self.groups == 0);
        let Some(channels) = channels else {
            let (rank, groups) = (rank + 2, self.groups);
            let expected = format!("an input of rank {rank} whose channels are known and divide into {groups} groups");
            return Err(graph.misfit(&self.name, &expected, x));
        };
        let mut shape = vec![self.channels, channels / self.groups];
        shape.extend(&self.kernel);
        let weight = graph.weight(&format!("{}.weight", self.name), &shape, self.weight)?;
        let all = |value: usize, count: usize| AttributeValue::Ints(vec![value as i64; count]);
        let attributes = [
            ("strides", all(self.stride, rank)),
            ("pads", all(self.padding, 2 * rank)),
            ("dilations", all(self.dilation, rank)),
            ("group", AttributeValue::Int(self.groups as i64)),
        ];
        if !self.bias {
            return graph.node("Conv", &[x, &weight], &attributes);
        }
        let filled = if self.weight == Initializer::FanIn { Initializer::FanIn } else { Initializer::Zeros };
        let fan_in = shape[1..].iter().fold(1usize, |fan, size| fan.saturating_mul(*size));
        let bias =
            graph.weight_with_fans(&format!("{}.bias", self.name), &[self.channels], filled, Some((fan_in, fan_in)))?;
        graph.node("Conv", &[x, &weight, &bias], &attributes)
    }
}

/// The largest, or the mean, of each square of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool2d {
    /// The largest of `size × size`, `size` apart.
    Max(usize),
    /// The mean of `size × size`, `size` apart.
    Average(usize),
}

impl Pool2d {
    /// Adds it to a graph.
    pub fn apply(self, graph: &mut Builder, x: &Value) -> Result<Value, EngineError> {
        let (op_type, size) = match self {
            Pool2d::Max(size) => ("MaxPool", size),
            Pool2d::Average(size) => ("AveragePool", size),
        };
        let sizes = AttributeValue::Ints(vec![size as i64; 2]);
        graph.node(op_type, &[x], &[("kernel_shape", sizes.clone()), ("strides", sizes)])
    }
}
