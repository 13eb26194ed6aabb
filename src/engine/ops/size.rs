//! Size: the number of elements of its input. It has no derivative. Where it is known, the result is a constant.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Size.html>.

use super::rearrange::product;
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::Kernel;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::tensor::{DType, Tensor};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Size", since: 1, parse };

#[derive(Clone, Debug)]
struct Size;

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Size))
}

impl Op for Size {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(1..=1, 1..=1)?;
        let size = match inputs.required(0)?.dims() {
            Some(dims) => product(dims)?.known().and_then(|size| i64::try_from(size).ok()),
            None => None,
        };
        Ok(vec![size.map_or(ValueType::known(DType::I64, &[]), |size| ValueType::constant(Tensor::scalar(size)))])
    }

    fn build(&self, _: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        Err(OpError::Plan { what: "the size of a value of known shape is a constant".into() })
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
        check(
            "Size",
            &[
                Case::new().random_input(&[3, 4, 5]).output_tensor(Tensor::scalar(60i64)),
                Case::new().random_input(&[]).output_tensor(Tensor::scalar(1i64)),
                Case::new().random_input(&[0, 2]).output_tensor(Tensor::scalar(0i64)),
                Case::new().tensor(Tensor::from_vec(vec![true])).output_tensor(Tensor::scalar(1i64)),
                Case::new().error("expected 1 inputs, found 0"),
                Case::new().random_input(&[1]).int("axis", 0).error("attribute `axis`"),
            ],
        );
    }
}
