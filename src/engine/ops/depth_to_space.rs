//! DepthToSpace: blocks of channels become blocks of places: `[n, c·b², h, w]` to `[n, c, h·b, w·b]`.
//!
//! In mode `DCR` the block's places are the outer part of the channels, in `CRD` the inner part. The gradient is moved
//! back. ONNX: <https://onnx.ai/onnx/operators/onnx__DepthToSpace.html>.

use super::permute;
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::Kernel;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::Dim;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "DepthToSpace", since: 1, parse };

#[derive(Clone, Debug)]
struct DepthToSpace {
    block: usize,
    /// Mode `CRD`.
    columns_first: bool,
}

/// The largest side of a block: far beyond any use, and its square is no problem.
const MAX_BLOCK: usize = 1 << 20;

/// The attribute `blocksize`.
pub fn block(node: &NodeReader<'_>) -> Result<usize, OpError> {
    let given = node.int("blocksize")?;
    let block = given.and_then(|size| usize::try_from(size).ok()).filter(|size| (1..=MAX_BLOCK).contains(size));
    block.ok_or_else(|| OpError::Attribute {
        name: "blocksize".into(),
        expected: "1 or more".into(),
        found: given.map_or("nothing".into(), |size| size.to_string()),
    })
}

/// Whether the attribute `mode` is `CRD`; versions below `since` have none.
pub fn columns_first(node: &NodeReader<'_>, since: i64) -> Result<bool, OpError> {
    match if node.opset() < since { None } else { node.string("mode")? } {
        None | Some("DCR") => Ok(false),
        Some("CRD") => Ok(true),
        Some(found) => {
            let (name, expected, found) = ("mode".into(), "DCR or CRD".into(), found.into());
            Err(OpError::Attribute { name, expected, found })
        }
    }
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(DepthToSpace { block: block(node)?, columns_first: columns_first(node, 11)? }))
}

/// `dim` times `by`.
fn times(dim: &Dim, by: usize) -> Result<Dim, OpError> {
    let too_large = || OpError::TooLarge { shape: format!("{dim} × {by}") };
    Ok(match dim {
        Dim::Known(size) => Dim::Known(size.checked_mul(by).ok_or_else(too_large)?),
        unknown if by == 1 => unknown.clone(),
        _ => Dim::Any,
    })
}

impl Op for DepthToSpace {
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
        let square = self.block * self.block;
        let channels = match c {
            Dim::Known(size) if size.is_multiple_of(square) => Dim::Known(size / square),
            Dim::Known(_) => {
                let expected = format!("a number of channels that {square} divides");
                return Err(OpError::Shape { input: 0, expected, found: x.shape.clone() });
            }
            unknown if square == 1 => unknown.clone(),
            _ => Dim::Any,
        };
        Ok(vec![ValueType::ranked(x.dtype, vec![n.clone(), channels, times(h, self.block)?, times(w, self.block)?])])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let x = signature.input(0)?;
        let &[n, c, h, w] = x.shape.as_slice() else {
            return Err(OpError::Plan { what: "an input of another rank than 4".into() });
        };
        let (b, c) = (self.block, c / (self.block * self.block));
        match self.columns_first {
            true => permute::kernel(x.dtype, &[n, c, b, b, h, w], &[0, 1, 4, 2, 5, 3]),
            false => permute::kernel(x.dtype, &[n, b, b, c, h, w], &[0, 3, 4, 1, 5, 2]),
        }
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
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        let x = || {
            let values: Vec<f64> = (0..8).map(f64::from).collect();
            Case::new().input(&[1, 8, 1, 1], &values).int("blocksize", 2)
        };
        check(
            "DepthToSpace",
            &[
                x().output(&[1, 2, 2, 2], &[0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0]),
                x().string("mode", "DCR").opset(11).output(&[1, 2, 2, 2], &[0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0]),
                x().string("mode", "CRD").output(&[1, 2, 2, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]),
                Case::new()
                    .tensor(Tensor::new(vec![1, 4, 1, 1], vec![1i8, 2, 3, 4]).unwrap())
                    .int("blocksize", 2)
                    .output_tensor(Tensor::new(vec![1, 1, 2, 2], vec![1i8, 2, 3, 4]).unwrap()),
                Case::new().random_input(&[2, 8, 2, 3]).int("blocksize", 2),
                Case::new().random_input(&[2, 8, 2, 3]).int("blocksize", 2).string("mode", "CRD"),
                Case::new().random_input(&[2, 9, 0, 3]).int("blocksize", 3),
                Case::new().random_input(&[1, 2, 2, 2]).int("blocksize", 1),
                Case::new().random_input(&[1, 6, 1, 1]).int("blocksize", 2).error("that 4 divides"),
                Case::new().random_input(&[4, 1, 1]).int("blocksize", 2).error("expected rank 4"),
                Case::new()
                    .random_input(&[1, 4, 1, 1])
                    .error("attribute `blocksize`: expected 1 or more, found nothing"),
                Case::new().random_input(&[1, 4, 1, 1]).int("blocksize", 0).error("expected 1 or more"),
                Case::new().random_input(&[1, 4, 1, 1]).int("blocksize", i64::MAX).error("attribute `blocksize`"),
                x().string("mode", "RDC").error("DCR or CRD"),
                x().string("mode", "CRD").opset(10).error("attribute `mode`"),
            ],
        );
    }
}
