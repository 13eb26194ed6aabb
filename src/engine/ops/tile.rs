//! Tile: its input repeated as a whole along each axis. The gradient is summed over the repeats.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Tile.html>.

use super::rearrange::{Axis, Fill, Rearrange, kernel, strides};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::Kernel;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::tensor::{Dim, SymbolicShape};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Tile", since: 6, parse };

#[derive(Clone, Debug)]
struct Tile;

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Tile))
}

impl Op for Tile {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(2..=2, 1..=1)?;
        let x = inputs.required(0)?;
        let repeats = inputs.integers(1)?;
        let Some(dims) = x.dims() else { return Ok(vec![ValueType::new(x.dtype, SymbolicShape::Unranked)]) };
        let Some(repeats) = repeats else { return Ok(vec![ValueType::ranked(x.dtype, vec![Dim::Any; dims.len()])]) };
        let wrong = || OpError::Value {
            input: 1,
            expected: format!("{} counts, one for each axis", dims.len()),
            found: format!("{repeats:?}"),
        };
        if repeats.len() != dims.len() {
            return Err(wrong());
        }
        let repeated = dims.iter().zip(&repeats).map(|(dim, count)| {
            let count = usize::try_from(*count).map_err(|_| wrong())?;
            let too_large = || OpError::TooLarge { shape: format!("{} repeated {repeats:?} times", x.shape) };
            Ok(match dim {
                Dim::Known(size) => Dim::Known(size.checked_mul(count).ok_or_else(too_large)?),
                unknown if count == 1 => unknown.clone(),
                _ if count == 0 => Dim::Known(0),
                _ => Dim::Any,
            })
        });
        Ok(vec![ValueType::ranked(x.dtype, repeated.collect::<Result<_, OpError>>()?)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (x, y) = (signature.input(0)?, signature.output(0)?);
        let places = strides(&x.shape);
        let axes = x.shape.iter().zip(&y.shape).zip(places).map(|((given, size), stride)| {
            Axis::new(stride, (0..*size).map(|position| Some(position % (*given).max(1))))
        });
        kernel(x, Rearrange::new(&y.shape, axes), Fill::Number(0.0))
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
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        let x = || Case::new().input(&[2, 2], &[0.0, 1.0, 2.0, 3.0]);
        let twice = [0.0, 1.0, 0.0, 1.0, 2.0, 3.0, 2.0, 3.0];
        check(
            "Tile",
            &[
                x().constant_ints(&[1, 2]).output(&[2, 4], &twice),
                x().ints(&[2], &[1, 2]).output(&[2, 4], &twice),
                x().constant_ints(&[2, 1]).output(&[4, 2], &[0.0, 1.0, 2.0, 3.0, 0.0, 1.0, 2.0, 3.0]),
                x().constant_ints(&[0, 1]).output(&[0, 2], &[]),
                Case::new()
                    .tensor(Tensor::from_vec(vec![true, false]))
                    .constant_ints(&[2])
                    .output_tensor(Tensor::from_vec(vec![true, false, true, false])),
                Case::new().random_input(&[2, 3, 1, 2]).constant_ints(&[2, 2, 3, 2]),
                Case::new().random_input(&[0, 2]).constant_ints(&[3, 2]),
                Case::new().random_input(&[]).constant_ints(&[]),
                x().constant_ints(&[2]).error("2 counts, one for each axis"),
                x().constant_ints(&[2, -1]).error("2 counts, one for each axis"),
                x().constant_ints(&[i64::MAX, 9]).error("which is more than"),
                x().input(&[2], &[1.0, 1.0]).error("expected i64 or i32"),
                x().error("expected 2 inputs"),
            ],
        );
    }
}
