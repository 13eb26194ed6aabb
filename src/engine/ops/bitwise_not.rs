//! BitwiseNot: each bit of an integer the other way.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__BitwiseNot.html>.

use std::marker::PhantomData;

use super::binary::{Integer, with_integer};
use super::logic::is_integer;
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::{Forward, Kernel};
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "BitwiseNot", since: 18, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(BitwiseNot))
}

#[derive(Clone, Debug)]
struct BitwiseNot;

impl Op for BitwiseNot {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(1..=1, 1..=1)?;
        let x = inputs.of(0, "an integer", is_integer)?;
        Ok(vec![ValueType::new(x.dtype, x.shape.clone())])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        with_integer!(signature.input(0)?.dtype, T => Box::new(NotKernel::<T>(PhantomData)))
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }
}

struct NotKernel<T>(PhantomData<T>);

impl<T: Integer> Kernel for NotKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let x = io.input::<T>(0)?;
        io.output::<T>(0)?.iter_mut().zip(x).for_each(|(y, x)| *y = Integer::not(*x));
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
            "BitwiseNot",
            &[
                Case::new().ints(&[3], &[0, 5, -1]).output_tensor(Tensor::from_vec(vec![-1i64, -6, 0])),
                Case::new().tensor(Tensor::from_vec(vec![0u8, 250])).output_tensor(Tensor::from_vec(vec![255u8, 5])),
                Case::new().ints(&[0], &[]).output_tensor(Tensor::new(vec![0], Vec::<i64>::new()).unwrap()),
                Case::new().random_input(&[1]).error("an integer"),
                Case::new().error("expected 1 inputs"),
            ],
        );
    }
}
