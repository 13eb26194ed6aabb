//! GroupNormalization: `y = scale·(x - mean) / √(var + epsilon) + bias`, mean and variance over the channels of a group and
//! all their positions, for each sample.
//!
//! Scale and bias have one number for each channel, before version 21 one for each group. Sums are made in the type of `x`.
//! Derivative: see [`standardize`](super::standardize).
//! ONNX: <https://onnx.ai/onnx/operators/onnx__GroupNormalization.html>. Source: Wu and He, ECCV 2018.

use super::axis::Lanes;
use super::instance_normalization::check_vectors;
use super::layer_normalization::{attributes, stash_type};
use super::standardize::{Factors, Standardize};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::Kernel;
use crate::engine::kernels::float::with_float;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::{DType, Dim};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "GroupNormalization", since: 18, parse };

const EPSILON: f32 = 1e-5;

#[derive(Clone, Debug)]
struct GroupNormalization {
    groups: usize,
    epsilon: f32,
    stash: DType,
    /// Version 18: scale and bias by group.
    by_group: bool,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let by_group = node.opset() < 21;
    let groups = node.int("num_groups")?;
    let wrong = || OpError::Attribute {
        name: "num_groups".into(),
        expected: "at least 1".into(),
        found: groups.map_or_else(|| "nothing".into(), |groups| groups.to_string()),
    };
    Ok(Box::new(GroupNormalization {
        groups: groups
            .and_then(|groups| usize::try_from(groups).ok())
            .filter(|groups| *groups > 0)
            .ok_or_else(wrong)?,
        epsilon: node.float("epsilon")?.unwrap_or(EPSILON),
        stash: if by_group { DType::F32 } else { stash_type(node)? },
        by_group,
    }))
}

impl Op for GroupNormalization {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let groups = AttributeValue::Int(i64::try_from(self.groups).unwrap_or(i64::MAX));
        let mut all = attributes(-1, self.epsilon, self.stash);
        all.push(("num_groups", groups));
        all
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(3..=3, 1..=1)?;
        let x = inputs.float(0)?;
        let channels = inputs.dims(0, 2..=usize::MAX)?.and_then(|dims| dims.get(1)).cloned().unwrap_or(Dim::Any);
        if channels.known().is_some_and(|channels| channels % self.groups != 0) {
            return Err(OpError::Attribute {
                name: "num_groups".into(),
                expected: format!("a divisor of the {channels} channels"),
                found: self.groups.to_string(),
            });
        }
        check_vectors(inputs, &if self.by_group { Dim::Known(self.groups) } else { channels })?;
        Ok(vec![ValueType::new(x.dtype, x.shape.clone())])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let x = signature.input(0)?;
        let positions = Lanes::from(&x.shape, 2);
        let channels = x.shape.get(1).copied().unwrap_or(1);
        let batch = x.shape.first().copied().unwrap_or(1);
        // Without channels there are no groups either.
        let groups = if channels == 0 { 0 } else { self.groups };
        let len = channels.checked_div(groups).unwrap_or(0) * positions.len;
        let rows = Lanes { outer: batch * groups, len, inner: 1 };
        let factors = match self.by_group {
            true => Factors::Runs { length: len, count: groups },
            false => Factors::Runs { length: positions.len, count: channels },
        };
        with_float!(x.dtype, T => Box::new(Standardize::<T>::new(rows, true, self.epsilon, factors, None)))
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
        let random = |shape: &[usize], factors: usize, groups: i64| {
            let case = Case::new().random_input(shape).random_input(&[factors]).random_input(&[factors]);
            case.int("num_groups", groups)
        };
        let x = || Case::new().input(&[1, 4, 1], &[1.0, 3.0, -2.0, 2.0]).int("num_groups", 2).float("epsilon", 0.0);
        check(
            "GroupNormalization",
            &[
                x().input(&[4], &[1.0, 2.0, 3.0, 4.0])
                    .input(&[4], &[0.0, 0.5, 0.0, 0.0])
                    .output(&[1, 4, 1], &[-1.0, 2.5, -3.0, 4.0]),
                x().opset(18)
                    .input(&[2], &[1.0, 2.0])
                    .input(&[2], &[0.0, 0.5])
                    .output(&[1, 4, 1], &[-1.0, 1.0, -1.5, 2.5]),
                random(&[2, 6, 3, 5], 6, 3),
                random(&[2, 6, 3], 6, 1).int("stash_type", 1),
                random(&[3, 4, 3], 4, 4),
                random(&[2, 6, 3, 5], 3, 3).opset(20),
                random(&[2, 4], 4, 2),
                random(&[0, 4, 2], 4, 2),
                random(&[2, 4, 0], 4, 2),
                random(&[2, 0, 3], 0, 2),
                random(&[2, 6, 3], 6, 4).error("a divisor of the 6 channels, found 4"),
                random(&[2, 6, 3], 6, 0).error("at least 1, found 0"),
                random(&[2, 6, 3], 3, 3).error("input 1: expected [6]"),
                random(&[2, 6, 3], 6, 3).opset(18).error("input 1: expected [3]"),
                random(&[6], 6, 3).error("expected rank 2 or more"),
                random(&[2, 6, 3], 6, 3).opset(17).error("not covered"),
                random(&[2, 6, 3], 6, 3).opset(20).int("stash_type", 1).error("attribute `stash_type`"),
                x().error("expected 3 inputs, found 1"),
            ],
        );
    }
}
