//! Shape: the sizes of its input as integers, from axis `start` to (not including) `end`. It has no derivative.
//!
//! Where all of those sizes are known, so is the result.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Shape.html>.

use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::Kernel;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::{DType, Dim, Tensor};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Shape", since: 1, parse };

#[derive(Clone, Debug)]
struct Shape {
    start: i64,
    end: Option<i64>,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    if node.opset() < 15 {
        return Ok(Box::new(Shape { start: 0, end: None }));
    }
    Ok(Box::new(Shape { start: node.int("start")?.unwrap_or(0), end: node.int("end")? }))
}

impl Op for Shape {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let start = (self.start != 0).then_some(("start", AttributeValue::Int(self.start)));
        start.into_iter().chain(self.end.map(|end| ("end", AttributeValue::Int(end)))).collect()
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(1..=1, 1..=1)?;
        let Some(dims) = inputs.required(0)?.dims() else {
            return Ok(vec![ValueType::ranked(DType::I64, vec![Dim::Any])]);
        };
        let rank = dims.len() as i64;
        let clamp = |axis: i64| (if axis < 0 { axis.saturating_add(rank) } else { axis }).clamp(0, rank) as usize;
        let (start, end) = (clamp(self.start), clamp(self.end.unwrap_or(rank)));
        let dims = dims.get(start..end).unwrap_or(&[]);
        let sizes: Option<Vec<i64>> =
            dims.iter().map(|dim| dim.known().and_then(|size| i64::try_from(size).ok())).collect();
        Ok(vec![match sizes {
            Some(sizes) => ValueType::constant(Tensor::from_vec(sizes)),
            None => ValueType::known(DType::I64, &[dims.len()]),
        }])
    }

    fn build(&self, _: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        Err(OpError::Plan { what: "the shape of a value of known shape is a constant".into() })
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }
}

#[cfg(test)]
mod tests {
    use super::Shape;
    use crate::engine::op::{Inputs, Op, ValueType};
    use crate::engine::testing::{Case, check};
    use crate::tensor::{DType, Dim, Tensor};

    #[test]
    fn cases() {
        let x = || Case::new().random_input(&[3, 4, 5]);
        let is = |values: &[i64]| Tensor::from_vec(values.to_vec());
        check(
            "Shape",
            &[
                x().output_tensor(is(&[3, 4, 5])),
                x().int("start", 1).output_tensor(is(&[4, 5])),
                x().int("end", -1).output_tensor(is(&[3, 4])),
                x().int("start", -10).int("end", 10).output_tensor(is(&[3, 4, 5])),
                x().int("start", 2).int("end", 1).output_tensor(is(&[])),
                x().int("start", i64::MIN).int("end", i64::MAX).output_tensor(is(&[3, 4, 5])),
                Case::new().random_input(&[]).output_tensor(is(&[])),
                Case::new().tensor(Tensor::from_vec(vec!["a".to_string()])).output_tensor(is(&[1])),
                x().opset(13).int("start", 1).error("attribute `start`"),
                x().float("start", 1.0).error("expected an integer"),
                x().random_input(&[1]).error("expected 1 inputs"),
            ],
        );
    }

    #[test]
    fn it_is_a_constant_as_soon_as_the_sizes_are_known() {
        let of = |start: i64, dims: Vec<Dim>| {
            let inputs = [Some(ValueType::ranked(DType::F32, dims))];
            Shape { start, end: None }.infer(&Inputs::new(&inputs, 1)).unwrap().remove(0)
        };
        let n = || Dim::Symbol("n".into());
        assert_eq!(of(0, vec![n(), Dim::Known(3)]), ValueType::known(DType::I64, &[2]));
        assert_eq!(of(1, vec![n(), Dim::Known(3)]), ValueType::constant(Tensor::from_vec(vec![3i64])));
    }
}
