//! ConstantOfShape: one value (0 of f32, unless given), everywhere in a shape that is an input. It has no derivative.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__ConstantOfShape.html>.

use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::cell::Scalar;
use crate::engine::error::OpError;
use crate::engine::kernel::{Forward, Kernel};
use crate::engine::kernels::float::with_any;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::{Dim, SymbolicShape, Tensor};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "ConstantOfShape", since: 9, parse };

/// The most axes that a result of unknown sizes may have.
const MAX_RANK: usize = 64;

#[derive(Clone, Debug)]
struct ConstantOfShape {
    value: Option<Tensor>,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let value = node.tensor("value")?.cloned();
    match &value {
        Some(several) if several.len() != 1 => Err(OpError::Attribute {
            name: "value".into(),
            expected: "one element".into(),
            found: several.len().to_string(),
        }),
        _ => Ok(Box::new(ConstantOfShape { value })),
    }
}

impl ConstantOfShape {
    fn value(&self) -> Tensor {
        self.value.clone().unwrap_or_else(|| Tensor::scalar(0f32))
    }
}

impl Op for ConstantOfShape {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        self.value.iter().map(|value| ("value", AttributeValue::Tensor(value.clone()))).collect()
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(1..=1, 1..=1)?;
        let dtype = self.value().dtype();
        let Some(sizes) = inputs.integers(0)? else {
            return Ok(vec![match inputs.dims(0, 1..=1)? {
                Some([Dim::Known(rank)]) if *rank <= MAX_RANK => ValueType::ranked(dtype, vec![Dim::Any; *rank]),
                _ => ValueType::new(dtype, SymbolicShape::Unranked),
            }]);
        };
        let shape: Option<Vec<usize>> = sizes.iter().map(|size| usize::try_from(*size).ok()).collect();
        let wrong = || OpError::Value { input: 0, expected: "sizes".into(), found: format!("{sizes:?}") };
        Ok(vec![ValueType::known(dtype, &shape.ok_or_else(wrong)?)])
    }

    fn build(&self, _: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let value = self.value();
        let wrong = |_| OpError::Plan { what: "a value of two types".into() };
        with_any!(value.dtype(), T => {
            let value = value.as_slice::<T>().map_err(wrong)?.first().cloned().unwrap_or_default();
            Box::new(FillKernel::<T>(value))
        })
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[0]
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }
}

struct FillKernel<T>(T);

impl<T: Scalar> Kernel for FillKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        io.output::<T>(0)?.fill(self.0.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::onnx::AttributeValue;
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        let value = |tensor: Tensor| Case::new().attribute("value", AttributeValue::Tensor(tensor));
        check(
            "ConstantOfShape",
            &[
                Case::new().constant_ints(&[2]).output_tensor(Tensor::from_vec(vec![0f32; 2])),
                Case::new().ints(&[2], &[2, 0]).output_tensor(Tensor::new(vec![2, 0], Vec::<f32>::new()).unwrap()),
                value(Tensor::from_vec(vec![7i64]))
                    .constant_ints(&[1, 2])
                    .output_tensor(Tensor::new(vec![1, 2], vec![7i64; 2]).unwrap()),
                value(Tensor::scalar(true)).constant_ints(&[]).output_tensor(Tensor::scalar(true)),
                value(Tensor::from_vec(vec!["a".to_string()]))
                    .constant_ints(&[1])
                    .output_tensor(Tensor::from_vec(vec!["a".to_string()])),
                value(Tensor::from_vec(vec![1i64, 2])).constant_ints(&[1]).error("one element, found 2"),
                Case::new().constant_ints(&[-1]).error("input 0: expected sizes"),
                Case::new().constant_ints(&[i64::MAX, i64::MAX]).error("which is more than"),
                Case::new().random_input(&[1]).error("expected i64 or i32"),
                Case::new().error("expected 1 inputs"),
            ],
        );
    }
}
