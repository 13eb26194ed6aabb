//! RMSNormalization: `y = scale·x / √(mean of x² + epsilon)`, the mean over all axes from `axis` on.
//!
//! The scale is broadcast to those axes. Sums are made in the type of `x`. Derivative: see
//! [`standardize`](super::standardize). ONNX: <https://onnx.ai/onnx/operators/onnx__RMSNormalization.html>.
//! Source: Zhang and Sennrich, NeurIPS 2019.

use super::axis::{self, Lanes};
use super::layer_normalization::{attributes, check_factors, factors, stash_type};
use super::standardize::Standardize;
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::Kernel;
use crate::engine::kernels::float::with_float;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::DType;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "RMSNormalization", since: 23, parse };

const EPSILON: f32 = 1e-5;

#[derive(Clone, Debug)]
struct RmsNormalization {
    axis: i64,
    epsilon: f32,
    stash: DType,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(RmsNormalization {
        axis: node.int("axis")?.unwrap_or(-1),
        epsilon: node.float("epsilon")?.unwrap_or(EPSILON),
        stash: stash_type(node)?,
    }))
}

impl Op for RmsNormalization {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        attributes(self.axis, self.epsilon, self.stash)
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(2..=2, 1..=1)?;
        let x = inputs.float(0)?;
        inputs.required(1)?;
        if let Some(dims) = inputs.dims(0, 1..=usize::MAX)? {
            axis::resolve("axis", self.axis, dims.len())?;
        }
        check_factors(inputs, self.axis, 1)?;
        Ok(vec![ValueType::new(x.dtype, x.shape.clone())])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (x, scale) = (signature.input(0)?, signature.input(1)?);
        let first = axis::resolve("axis", self.axis, x.shape.len())?;
        let (rows, factors) = (Lanes::from(&x.shape, first), factors(x, first, &scale.shape));
        with_float!(x.dtype, T => Box::new(Standardize::<T>::new(rows, false, self.epsilon, factors, None)))
    }

    fn is_differentiable(&self, _: usize) -> bool {
        true
    }

    fn reads(&self) -> Reads {
        Reads::of(&[0, 1], &[])
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        let x = || Case::new().opset(23).input(&[2, 2], &[3.0, 4.0, -6.0, 8.0]).float("epsilon", 0.0);
        let root = 2f64.sqrt();
        let random =
            |shape: &[usize], factors: &[usize]| Case::new().opset(23).random_input(shape).random_input(factors);
        check(
            "RMSNormalization",
            &[
                x().input(&[2], &[1.0, 2.0]).output(&[2, 2], &[0.6 * root, 1.6 * root, -0.6 * root, 1.6 * root]),
                random(&[3, 5], &[5]),
                random(&[2, 3, 4], &[3, 4]).int("axis", 1),
                random(&[2, 3, 4], &[3, 1]).int("axis", 0),
                random(&[2, 3, 4], &[]).int("axis", -3).float("epsilon", 0.5),
                random(&[0, 3], &[3]),
                random(&[3, 0], &[0]),
                random(&[2, 3], &[2]).error("that can be repeated to [3]"),
                random(&[2, 3], &[3]).int("axis", 2).error("expected -2 to 1, found 2"),
                random(&[2, 3], &[3]).opset(22).error("not covered"),
                random(&[2, 3], &[3]).random_input(&[3]).error("expected 2 inputs, found 3"),
                Case::new().opset(23).ints(&[2], &[1, 1]).ints(&[2], &[1, 1]).error("expected f32 or f64"),
            ],
        );
    }
}
