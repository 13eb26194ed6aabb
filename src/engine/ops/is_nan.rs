//! IsNaN: whether x is not a number.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__IsNaN.html>.

use std::marker::PhantomData;

use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::cell::Scalar;
use crate::engine::error::OpError;
use crate::engine::kernel::{Forward, Kernel};
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::tensor::{DType, bf16, f16};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "IsNaN", since: 9, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(IsNaN))
}

#[derive(Clone, Debug)]
struct IsNaN;

impl Op for IsNaN {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        infer(inputs)
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        build(signature, Test::NotANumber)
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }
}

/// What is asked of a floating-point number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Test {
    /// Whether it is not a number.
    NotANumber,
    /// Whether it is one of these infinities.
    Infinite {
        /// +∞.
        positive: bool,
        /// −∞.
        negative: bool,
    },
}

/// One floating-point input, one bool of its shape.
pub(super) fn infer(inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
    inputs.expect(1..=1, 1..=1)?;
    let x = inputs.of(0, "a floating-point number", |dtype| {
        matches!(dtype, DType::F16 | DType::BF16 | DType::F32 | DType::F64)
    })?;
    Ok(vec![ValueType::new(DType::Bool, x.shape.clone())])
}

/// The kernel that asks `test`.
pub(super) fn build(signature: &Signature, test: Test) -> Result<Box<dyn Kernel>, OpError> {
    Ok(match signature.input(0)?.dtype {
        DType::F16 => Box::new(TestKernel::<f16>(test, PhantomData)),
        DType::BF16 => Box::new(TestKernel::<bf16>(test, PhantomData)),
        DType::F32 => Box::new(TestKernel::<f32>(test, PhantomData)),
        DType::F64 => Box::new(TestKernel::<f64>(test, PhantomData)),
        found => return Err(OpError::DType { input: 0, expected: "a floating-point number", found }),
    })
}

struct TestKernel<T>(Test, PhantomData<T>);

impl<T: Scalar + Copy + Into<f64>> Kernel for TestKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let x = io.input::<T>(0)?.iter().map(|x| -> f64 { (*x).into() });
        let y = io.output::<bool>(0)?.iter_mut().zip(x);
        match self.0 {
            Test::NotANumber => y.for_each(|(y, x)| *y = x.is_nan()),
            Test::Infinite { positive, negative } => {
                y.for_each(|(y, x)| *y = positive & (x == f64::INFINITY) | negative & (x == f64::NEG_INFINITY));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::{Tensor, bf16};

    #[test]
    fn cases() {
        check(
            "IsNaN",
            &[
                Case::new()
                    .input(&[3], &[1.0, f64::NAN, f64::INFINITY])
                    .output_tensor(Tensor::from_vec(vec![false, true, false])),
                Case::new()
                    .tensor(Tensor::from_vec(vec![bf16::NAN, bf16::ONE]))
                    .output_tensor(Tensor::from_vec(vec![true, false])),
                Case::new().random_input(&[0]).output_tensor(Tensor::new(vec![0], Vec::<bool>::new()).unwrap()),
                Case::new().ints(&[1], &[1]).error("a floating-point number"),
                Case::new().error("expected 1 inputs"),
            ],
        );
    }
}
