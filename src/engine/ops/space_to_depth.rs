//! SpaceToDepth: blocks of places become blocks of channels: `[n, c, h·b, w·b]` to `[n, b²·c, h, w]`.
//!
//! In mode `CRD` (from version 28 on) the block's places are the inner part of the channels, otherwise (`DCR`) the outer
//! part. The gradient is moved back. ONNX: <https://onnx.ai/onnx/operators/onnx__SpaceToDepth.html>.

use super::depth_to_space::{block, columns_first};
use super::permute;
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::Kernel;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::Dim;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "SpaceToDepth", since: 1, parse };

#[derive(Clone, Debug)]
struct SpaceToDepth {
    block: usize,
    /// Mode `CRD`.
    columns_first: bool,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(SpaceToDepth { block: block(node)?, columns_first: columns_first(node, 28)? }))
}

impl Op for SpaceToDepth {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let mut attributes = vec![("blocksize", AttributeValue::Int(self.block as i64))];
        if self.columns_first {
            attributes.push(("mode", AttributeValue::String("CRD".into())));
        }
        attributes
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(1..=1, 1..=1)?;
        let x = inputs.required(0)?;
        let Some([n, c, h, w]) = inputs.dims(0, 4..=4)? else {
            return Ok(vec![ValueType::ranked(x.dtype, vec![Dim::Any; 4])]);
        };
        let part = |dim: &Dim| match dim {
            Dim::Known(size) if size.is_multiple_of(self.block) => Ok(Dim::Known(size / self.block)),
            Dim::Known(_) => {
                let expected = format!("a height and a width that {} divides", self.block);
                Err(OpError::Shape { input: 0, expected, found: x.shape.clone() })
            }
            unknown if self.block == 1 => Ok(unknown.clone()),
            _ => Ok(Dim::Any),
        };
        let channels = match c {
            Dim::Known(size) => {
                let too_large = || OpError::TooLarge { shape: format!("{size} × {}²", self.block) };
                Dim::Known(size.checked_mul(self.block * self.block).ok_or_else(too_large)?)
            }
            unknown if self.block == 1 => unknown.clone(),
            _ => Dim::Any,
        };
        Ok(vec![ValueType::ranked(x.dtype, vec![n.clone(), channels, part(h)?, part(w)?])])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let x = signature.input(0)?;
        let &[n, c, h, w] = x.shape.as_slice() else {
            return Err(OpError::Plan { what: "an input of another rank than 4".into() });
        };
        let b = self.block;
        let order = if self.columns_first { [0, 1, 3, 5, 2, 4] } else { [0, 3, 5, 1, 2, 4] };
        permute::kernel(x.dtype, &[n, c, h / b, b, w / b, b], &order)
    }

    fn is_differentiable(&self, _: usize) -> bool {
        true
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        let x = || {
            let values: Vec<f64> = (0..8).map(f64::from).collect();
            Case::new().input(&[1, 2, 2, 2], &values)
        };
        check(
            "SpaceToDepth",
            &[
                x().int("blocksize", 2).output(&[1, 8, 1, 1], &[0.0, 4.0, 1.0, 5.0, 2.0, 6.0, 3.0, 7.0]),
                Case::new().random_input(&[2, 3, 4, 6]).int("blocksize", 2),
                Case::new().random_input(&[0, 3, 3, 6]).int("blocksize", 3),
                x().int("blocksize", 3).error("that 3 divides"),
                x().error("attribute `blocksize`"),
                x().int("blocksize", -1).error("1 or more"),
                x().int("blocksize", 2).string("mode", "DCR").error("attribute `mode`"),
                Case::new().random_input(&[2, 2]).int("blocksize", 2).error("expected rank 4"),
            ],
        );
    }
}
