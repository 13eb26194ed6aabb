//! Transposed convolution: each element of the input paints a kernel into the output.

use super::{Builder, LayerEntry, Value};
use crate::engine::error::EngineError;
use crate::engine::init::Initializer;
use crate::onnx::AttributeValue;

pub(super) const ENTRY: LayerEntry = LayerEntry {
    name: "ConvTranspose",
    summary: "convolution backwards: makes a picture larger",
    ranks: 4..=4,
    sizes: &[2, 2, 3, 2],
    tokens: None,
    example: |graph, x| ConvTranspose::new("up", 3, &[3, 2]).stride(2).padding(1).apply(graph, x),
};

/// A transposed convolution, the gradient of a convolution as a layer (Zeiler et al., *Deconvolutional networks*, CVPR
/// 2010; Long, Shelhamer and Darrell, CVPR 2015, section 3.3): `[N, in, d…]` → `[N, out, d'…]` with
/// `d' = stride·(d − 1) + kernel − 2·padding`, weights `NAME.weight` `[in, out, kernel…]` and `NAME.bias` `[out]`.
#[derive(Clone, Debug)]
pub struct ConvTranspose {
    name: String,
    channels: usize,
    kernel: Vec<usize>,
    stride: usize,
    padding: usize,
    weight: Initializer,
}

impl ConvTranspose {
    /// `channels` kernels of these sizes (as many as there are dimensions), with biases; stride 1, no padding; weights and
    /// biases uniform between ±1/√(in·Πkernel).
    pub fn new(name: &str, channels: usize, kernel: &[usize]) -> Self {
        let (stride, padding, weight) = (1, 0, Initializer::FanIn);
        ConvTranspose { name: name.into(), channels, kernel: kernel.to_vec(), stride, padding, weight }
    }

    /// Places the kernels `stride` apart in every dimension.
    pub fn stride(mut self, stride: usize) -> Self {
        self.stride = stride;
        self
    }

    /// Cuts `padding` off every side.
    pub fn padding(mut self, padding: usize) -> Self {
        self.padding = padding;
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
        let Some(inputs) = x.size(1).filter(|_| x.shape().rank() == Some(rank + 2)) else {
            let expected = format!("an input of rank {} whose channels are known", rank + 2);
            return Err(graph.misfit(&self.name, &expected, x));
        };
        let mut shape = vec![inputs, self.channels];
        shape.extend(&self.kernel);
        let area = self.kernel.iter().fold(1usize, |area, size| area.saturating_mul(*size));
        let fans = Some((inputs.saturating_mul(area), self.channels.saturating_mul(area)));
        let weight = graph.weight_with_fans(&format!("{}.weight", self.name), &shape, self.weight, fans)?;
        let filled = if self.weight == Initializer::FanIn { Initializer::FanIn } else { Initializer::Zeros };
        let bias = graph.weight_with_fans(&format!("{}.bias", self.name), &[self.channels], filled, fans)?;
        let all = |value: usize, count: usize| AttributeValue::Ints(vec![value as i64; count]);
        let attributes = [("strides", all(self.stride, rank)), ("pads", all(self.padding, 2 * rank))];
        graph.node("ConvTranspose", &[x, &weight, &bias], &attributes)
    }
}
