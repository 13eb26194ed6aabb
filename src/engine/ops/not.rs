//! Not: true where x is false.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Not.html>.

use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::{Forward, Kernel};
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::tensor::DType;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Not", since: 1, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Not))
}

#[derive(Clone, Debug)]
struct Not;

impl Op for Not {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(1..=1, 1..=1)?;
        let x = inputs.of(0, "bool", |dtype| dtype == DType::Bool)?;
        Ok(vec![ValueType::new(x.dtype, x.shape.clone())])
    }

    fn build(&self, _: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        Ok(Box::new(NotKernel))
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }
}

struct NotKernel;

impl Kernel for NotKernel {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let x = io.input::<bool>(0)?;
        io.output::<bool>(0)?.iter_mut().zip(x).for_each(|(y, x)| *y = !x);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        check(
            "Not",
            &[
                Case::new()
                    .tensor(Tensor::from_vec(vec![true, false]))
                    .output_tensor(Tensor::from_vec(vec![false, true])),
                Case::new()
                    .tensor(Tensor::new(vec![0, 2], Vec::<bool>::new()).unwrap())
                    .output_tensor(Tensor::new(vec![0, 2], Vec::<bool>::new()).unwrap()),
                Case::new().ints(&[1], &[1]).error("expected bool"),
                Case::new().error("expected 1 inputs"),
            ],
        );
    }
}
