//! Reshape: the same elements under another shape. `0` keeps a size (unless `allowzero`), one `-1` is what remains.
//!
//! The gradient is reshaped back. ONNX: <https://onnx.ai/onnx/operators/onnx__Reshape.html>.

use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::Kernel;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::{Dim, SymbolicShape};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Reshape", since: 5, parse };

#[derive(Clone, Debug)]
struct Reshape {
    allow_zero: bool,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Reshape { allow_zero: node.flag("allowzero", false)? }))
}

impl Op for Reshape {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        if self.allow_zero { vec![("allowzero", AttributeValue::Int(1))] } else { Vec::new() }
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(2..=2, 1..=1)?;
        let x = inputs.required(0)?;
        let Some(target) = inputs.integers(1)? else {
            let rank = inputs.required(1)?.dims().and_then(|dims| dims.first().and_then(Dim::known));
            let shape = match rank {
                Some(rank) if rank <= 64 => SymbolicShape::Ranked(vec![Dim::Any; rank]),
                _ => SymbolicShape::Unranked,
            };
            return Ok(vec![ValueType::new(x.dtype, shape)]);
        };
        let wrong = |expected: String| OpError::Value { input: 1, expected, found: format!("{target:?}") };
        let mut dims = Vec::with_capacity(target.len());
        let mut rest = None;
        for (index, size) in target.iter().enumerate() {
            dims.push(match *size {
                -1 if rest.is_some() => return Err(wrong("at most one -1".into())),
                -1 => {
                    rest = Some(index);
                    Dim::Any
                }
                0 if !self.allow_zero => match x.dims() {
                    Some(known) => {
                        known.get(index).cloned().ok_or_else(|| wrong(format!("no 0 beyond rank {}", known.len())))?
                    }
                    None => Dim::Any,
                },
                size => Dim::Known(usize::try_from(size).map_err(|_| wrong("sizes, 0 or -1".into()))?),
            });
        }
        if let Some(sizes) = x.sizes() {
            // A declared shape may promise more than there is memory for.
            let count = sizes.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
            let count = count.ok_or_else(|| wrong("a tensor that can be held".into()))?;
            let others = dims.iter().enumerate().filter(|(index, _)| Some(*index) != rest);
            let others: Option<usize> =
                others.map(|(_, dim)| dim.known()).try_fold(1usize, |product, size| product.checked_mul(size?));
            let fits = match (others, rest) {
                (Some(others), None) => others == count,
                (Some(0), Some(_)) => false,
                (Some(others), Some(index)) => {
                    dims[index] = Dim::Known(count / others);
                    count.is_multiple_of(others)
                }
                (None, _) => false,
            };
            if !fits {
                return Err(wrong(format!("a shape for {count} elements")));
            }
        }
        Ok(vec![ValueType::ranked(x.dtype, dims)])
    }

    fn build(&self, _: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        Err(OpError::Plan { what: "a view has no kernel".into() })
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1]
    }

    fn is_differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }

    fn is_view(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        let six = || Case::new().input(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        check(
            "Reshape",
            &[
                six().constant_ints(&[3, 2]).output(&[3, 2], &values),
                six().constant_ints(&[-1]).output(&[6], &values),
                six().constant_ints(&[0, 1, -1]).output(&[2, 1, 3], &values),
                six().ints(&[2], &[1, 6]).output(&[1, 6], &values),
                Case::new().random_input(&[0, 3]).constant_ints(&[3, 0]).int("allowzero", 1).output(&[3, 0], &[]),
                six().constant_ints(&[4, 2]).error("a shape for 6 elements"),
                six().constant_ints(&[-1, -1]).error("at most one -1"),
                six().constant_ints(&[-2, 3]).error("sizes, 0 or -1"),
                six().constant_ints(&[2, 3, 0]).error("no 0 beyond rank 2"),
                six().input(&[2], &[2.0, 3.0]).error("expected i64 or i32"),
            ],
        );
    }
}
