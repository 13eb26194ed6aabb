//! U-Net. Source: Ronneberger, Fischer and Brox, *U-Net: convolutional networks for biomedical image segmentation*, MICCAI
//! 2015, section 2; with padded convolutions, so that every pixel of the input is labelled.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Architecture;
use crate::engine::{BatchNorm, Builder, Conv, ConvTranspose, EngineError, Initializer, Pool2d, Value};
use crate::onnx::{AttributeValue, Model};
use crate::tensor::DType;

/// `x` `[batch, channels, height, width]` → `depth` times two convolutions and a pool, each time with twice the channels,
/// and as many times up again, beside what was there on the way down → `y` `[batch, classes, height, width]`, logits of
/// each pixel. Height and width are multiples of 2^depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Unet {
    /// Channels of the picture. Default: 1.
    #[schemars(range(min = 1))]
    pub channels: usize,
    /// Classes of a pixel. Default: 2.
    #[schemars(range(min = 1))]
    pub classes: usize,
    /// How many times the picture is halved. Default: 4.
    #[schemars(range(min = 0, max = 16))]
    pub depth: usize,
    /// Channels at full size. Default: 64.
    #[schemars(range(min = 1))]
    pub width: usize,
    /// Whether each convolution is followed by a batch normalization, which the paper does without. Default: false.
    pub batch_norm: bool,
}

/// The most halvings: a picture of 65,536 pixels across is a point then.
const MAX_DEPTH: usize = 16;

impl Default for Unet {
    fn default() -> Self {
        Unet { channels: 1, classes: 2, depth: 4, width: 64, batch_norm: false }
    }
}

impl Unet {
    /// Two 3×3 convolutions, each with a ReLU.
    fn double(&self, graph: &mut Builder, x: Value, name: &str, channels: usize) -> Result<Value, EngineError> {
        let mut value = x;
        for number in 1..=2 {
            let conv = Conv::new(&format!("{name}.conv{number}"), channels, &[3, 3]).padding(1);
            let conv = conv.initializer(Initializer::He);
            value = match self.batch_norm {
                false => conv.apply(graph, &value)?,
                true => {
                    let value = conv.without_bias().apply(graph, &value)?;
                    BatchNorm::new(&format!("{name}.norm{number}")).apply(graph, &value)?
                }
            };
            value = graph.relu(&value)?;
        }
        Ok(value)
    }
}

impl Architecture for Unet {
    fn build(&self, seed: u64) -> Result<Model, EngineError> {
        if self.depth > MAX_DEPTH {
            let (expected, found) = (format!("at most {MAX_DEPTH}"), self.depth.to_string());
            return Err(EngineError::Setting { what: "depth", expected, found });
        }
        let mut graph = Builder::new("unet", seed);
        let mut value = graph.input("x", DType::F32, &[None, Some(self.channels), None, None])?;
        let widths: Vec<usize> = (0..=self.depth).map(|level| self.width.saturating_mul(1 << level)).collect();
        let mut beside = Vec::new();
        for (level, width) in widths.iter().take(self.depth).enumerate() {
            value = self.double(&mut graph, value, &format!("down{}", level + 1), *width)?;
            beside.push(value.clone());
            value = Pool2d::Max(2).apply(&mut graph, &value)?;
        }
        value = self.double(&mut graph, value, "bottom", widths[self.depth])?;
        for (level, (width, left)) in widths.iter().zip(&beside).enumerate().rev() {
            let name = format!("up{}", level + 1);
            let up = ConvTranspose::new(&format!("{name}.conv"), *width, &[2, 2]).stride(2);
            value = up.apply(&mut graph, &value)?;
            value = graph.node("Concat", &[left, &value], &[("axis", AttributeValue::Int(1))])?;
            value = self.double(&mut graph, value, &name, *width)?;
        }
        let y = Conv::new("out", self.classes, &[1, 1]).apply(&mut graph, &value)?;
        graph.output("y", &y)?;
        Ok(graph.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Network;
    use crate::tensor::Tensor;

    #[test]
    fn the_output_has_the_size_of_the_input() {
        for (depth, sizes) in [(0, [5, 3]), (1, [6, 4]), (3, [8, 24])] {
            for batch_norm in [false, true] {
                let unet = Unet { channels: 2, classes: 3, depth, width: 2, batch_norm };
                let mut network = Network::new(&unet.build(1).unwrap()).unwrap();
                let x = Tensor::zeros(DType::F32, vec![2, 2, sizes[0], sizes[1]]).unwrap();
                let y = network.run(&[("x", &x)]).unwrap().remove(0);
                assert_eq!(y.shape(), [2, 3, sizes[0], sizes[1]], "{unet:?}");
            }
        }
    }

    #[test]
    fn the_paper_has_23_convolutions() {
        let model = Unet { width: 1, ..Unet::default() }.build(1).unwrap();
        let count = |op_type: &str| model.graph.nodes.iter().filter(|node| node.op_type == op_type).count();
        assert_eq!((count("Conv"), count("ConvTranspose"), count("MaxPool")), (19, 4, 4));
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        assert!(Unet { depth: 64, ..Unet::default() }.build(1).unwrap_err().to_string().contains("at most 16"));
        assert!(Unet { width: usize::MAX, ..Unet::default() }.build(1).is_err());
        let model = Unet { depth: 2, width: 2, ..Unet::default() }.build(1).unwrap();
        let x = Tensor::zeros(DType::F32, vec![1, 1, 6, 8]).unwrap();
        let error = Network::new(&model).unwrap().run(&[("x", &x)]).unwrap_err().to_string();
        assert!(error.contains("concat"), "{error}");
    }
}
