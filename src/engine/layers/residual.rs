//! Residual block.

use super::{BatchNorm, Builder, Conv, LayerEntry, Value};
use crate::engine::error::EngineError;
use crate::engine::init::Initializer;

pub(super) const ENTRY: LayerEntry = LayerEntry {
    name: "Residual",
    summary: "two convolutions beside a shortcut",
    ranks: 4..=4,
    sizes: &[2, 2, 4, 4],
    tokens: None,
    example: |graph, x| Residual::new("block", 3).stride(2).apply(graph, x),
};

/// A residual block (He, Zhang, Ren and Sun, *Deep residual learning for image recognition*, CVPR 2016, equations 1 and 2):
/// `y = relu(F(x) + shortcut(x))`, `[N, in, H, W]` → `[N, out, H/stride, W/stride]` (rounded up).
///
/// F is two 3×3 convolutions (`NAME.conv1`, `.conv2`), each without bias and followed by [`BatchNorm`] (`NAME.norm1`,
/// `.norm2`), a ReLU between them; the first has the stride. A [bottleneck](Residual::bottleneck) is 1×1, 3×3 (with the
/// stride, as Goyal et al. 2017 do) and 1×1 onto four times the channels. The shortcut is the input itself where the shape
/// stays, else a projection, 1×1 with the stride (`NAME.shortcut`), and normalised (`NAME.shortcut_norm`): option B of the
/// paper. Kernels are filled for rectifiers (He et al., ICCV 2015).
#[derive(Clone, Debug)]
pub struct Residual {
    name: String,
    channels: usize,
    stride: usize,
    bottleneck: bool,
}

/// How many times wider a bottleneck's output is.
const EXPANSION: usize = 4;

impl Residual {
    /// A block of two 3×3 convolutions with `channels` channels, stride 1.
    pub fn new(name: &str, channels: usize) -> Self {
        Residual { name: name.into(), channels, stride: 1, bottleneck: false }
    }

    /// Moves by `stride` in both dimensions.
    pub fn stride(mut self, stride: usize) -> Self {
        self.stride = stride;
        self
    }

    /// A block of three convolutions, whose output has four times `channels` channels.
    pub fn bottleneck(mut self) -> Self {
        self.bottleneck = true;
        self
    }

    /// Adds it to a graph. The number of channels of `x` must be known.
    pub fn apply(&self, graph: &mut Builder, x: &Value) -> Result<Value, EngineError> {
        let Some(inputs) = x.size(1).filter(|_| x.shape().rank() == Some(4)) else {
            return Err(graph.misfit(&self.name, "pictures [N, C, H, W] whose channels are known", x));
        };
        let (channels, stride) = (self.channels, self.stride);
        let outputs = if self.bottleneck { channels.saturating_mul(EXPANSION) } else { channels };
        let steps: &[(usize, usize, usize)] = match self.bottleneck {
            false => &[(channels, 3, stride), (outputs, 3, 1)],
            true => &[(channels, 1, 1), (channels, 3, stride), (outputs, 1, 1)],
        };
        let mut value = x.clone();
        for (index, (channels, kernel, stride)) in steps.iter().enumerate() {
            if index > 0 {
                value = graph.relu(&value)?;
            }
            let number = index + 1;
            value = convolution(graph, &value, &self.part(&format!("conv{number}")), *channels, *kernel, *stride)?;
            value = BatchNorm::new(&self.part(&format!("norm{number}"))).apply(graph, &value)?;
        }
        let shortcut = if inputs == outputs && stride == 1 {
            x.clone()
        } else {
            let projected = convolution(graph, x, &self.part("shortcut"), outputs, 1, stride)?;
            BatchNorm::new(&self.part("shortcut_norm")).apply(graph, &projected)?
        };
        let sum = graph.node("Add", &[&value, &shortcut], &[])?;
        graph.relu(&sum)
    }

    fn part(&self, part: &str) -> String {
        format!("{}.{part}", self.name)
    }
}

/// A square convolution without bias, padded so that with stride 1 the size stays.
fn convolution(
    graph: &mut Builder,
    x: &Value,
    name: &str,
    channels: usize,
    kernel: usize,
    stride: usize,
) -> Result<Value, EngineError> {
    let conv = Conv::new(name, channels, &[kernel, kernel]).stride(stride).padding(kernel / 2);
    conv.without_bias().initializer(Initializer::He).apply(graph, x)
}
