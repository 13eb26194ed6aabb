//! Residual network. Source: He, Zhang, Ren and Sun, *Deep residual learning for image recognition*, CVPR 2016, sections
//! 3.3, 3.4 and 4.2.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Architecture;
use crate::engine::{BatchNorm, Builder, Conv, Dense, EngineError, Initializer, Residual};
use crate::onnx::{AttributeValue, Model};
use crate::tensor::DType;

/// What stands before the first block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stem {
    /// A 7×7 convolution and a 3×3 max-pool, both with stride 2: for pictures of about 224×224.
    #[default]
    Large,
    /// A 3×3 convolution: for pictures of about 32×32.
    Small,
}

/// `x` `[batch, channels, height, width]`, of any size → stem → stages of residual blocks, each but the first with half
/// the size and twice the channels → mean over all positions → `y` `[batch, classes]`, logits. The defaults make
/// ResNet-18; `blocks: [3, 4, 6, 3]` makes ResNet-34, with `bottleneck: true` ResNet-50.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Resnet {
    /// Channels of the picture. Default: 3.
    #[schemars(range(min = 1))]
    pub channels: usize,
    /// Classes. Default: 10.
    #[schemars(range(min = 1))]
    pub classes: usize,
    /// What stands before the first block: `large`, or `small` for small pictures. Default: large.
    pub stem: Stem,
    /// Channels of the first stage. Default: 64.
    #[schemars(range(min = 1))]
    pub width: usize,
    /// Residual blocks of each stage. Default: `[2, 2, 2, 2]`.
    #[schemars(length(min = 1))]
    pub blocks: Vec<usize>,
    /// Blocks of three convolutions onto four times the channels, instead of two. Default: false.
    pub bottleneck: bool,
}

impl Default for Resnet {
    fn default() -> Self {
        let (channels, classes, stem, width) = (3, 10, Stem::Large, 64);
        Resnet { channels, classes, stem, width, blocks: vec![2, 2, 2, 2], bottleneck: false }
    }
}

impl Architecture for Resnet {
    fn build(&self, seed: u64) -> Result<Model, EngineError> {
        let mut graph = Builder::new("resnet", seed);
        let x = graph.input("x", DType::F32, &[None, Some(self.channels), None, None])?;
        let (kernel, stride) = match self.stem {
            Stem::Large => (7, 2),
            Stem::Small => (3, 1),
        };
        let conv = Conv::new("stem", self.width, &[kernel, kernel]).stride(stride).padding(kernel / 2);
        let mut value = conv.without_bias().initializer(Initializer::He).apply(&mut graph, &x)?;
        value = BatchNorm::new("stem_norm").apply(&mut graph, &value)?;
        value = graph.relu(&value)?;
        if self.stem == Stem::Large {
            let [sizes, pads] = [vec![3, 3], vec![1; 4]].map(AttributeValue::Ints);
            let strides = AttributeValue::Ints(vec![2, 2]);
            let attributes = [("kernel_shape", sizes), ("strides", strides), ("pads", pads)];
            value = graph.node("MaxPool", &[&value], &attributes)?;
        }
        let mut width = self.width;
        for (stage, blocks) in self.blocks.iter().enumerate() {
            if stage > 0 {
                width = width.saturating_mul(2);
            }
            for block in 0..*blocks {
                let residual = Residual::new(&format!("stage{}.block{}", stage + 1, block + 1), width);
                let residual = residual.stride(if stage > 0 && block == 0 { 2 } else { 1 });
                let residual = if self.bottleneck { residual.bottleneck() } else { residual };
                value = residual.apply(&mut graph, &value)?;
            }
        }
        value = graph.node("GlobalAveragePool", &[&value], &[])?;
        value = graph.flatten(&value)?;
        let y = Dense::new("out", self.classes).apply(&mut graph, &value)?;
        graph.output("y", &y)?;
        Ok(graph.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published numbers of weights, with 1000 classes; the running statistics of normalisations are none.
    #[test]
    fn sizes_are_as_published() {
        for (blocks, bottleneck, expected) in [([2, 2, 2, 2], false, 11_689_512), ([3, 4, 6, 3], true, 25_557_032)] {
            let resnet = Resnet { classes: 1000, blocks: blocks.to_vec(), bottleneck, ..Resnet::default() };
            let model = resnet.build(1).unwrap();
            let learned = |name: &str| !name.ends_with(".mean") && !name.ends_with(".variance");
            let weights = model.graph.initializers.iter().filter(|(name, _)| learned(name));
            assert_eq!(weights.map(|(_, weight)| weight.len()).sum::<usize>(), expected, "{blocks:?}");
        }
    }

    #[test]
    fn what_cannot_be_built_is_an_error() {
        for resnet in [
            Resnet { width: usize::MAX / 4, ..Resnet::default() },
            Resnet { channels: 1, width: 1 << 15, stem: Stem::Small, ..Resnet::default() },
            Resnet { channels: usize::MAX, ..Resnet::default() },
        ] {
            let error = resnet.build(1).unwrap_err().to_string();
            assert!(error.contains("at most 536870912 elements"), "{error}");
        }
    }
}
