//! Cast: the elements as another type; [`convert`](super::convert) says how. Derivative between f32 and f64: 1.
//!
//! The attributes `saturate` and `round_mode` are for types of 8 bits that the engine does not have.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Cast.html>.

use std::marker::PhantomData;

use super::convert::Convert;
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::cell::Scalar;
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel};
use crate::engine::kernels::float::with_any;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::DType;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Cast", since: 6, parse };

/// The codes of ONNX's data types (`TensorProto.DataType`).
const CODES: [(i64, DType); 14] = [
    (1, DType::F32),
    (2, DType::U8),
    (3, DType::I8),
    (4, DType::U16),
    (5, DType::I16),
    (6, DType::I32),
    (7, DType::I64),
    (8, DType::String),
    (9, DType::Bool),
    (10, DType::F16),
    (11, DType::F64),
    (12, DType::U32),
    (13, DType::U64),
    (16, DType::BF16),
];

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let wrong = |found: String| OpError::Attribute { name: "to".into(), expected: "the code of a type".into(), found };
    let code = node.int("to")?.ok_or_else(|| wrong("nothing".into()))?;
    let to = match CODES.iter().find(|(known, _)| *known == code) {
        Some((_, to)) => *to,
        // From float8 on to the types that there are in opset 27.
        None if (14..=26).contains(&code) => {
            return Err(OpError::NotCovered { what: format!("the data type of code {code}") });
        }
        None => return Err(wrong(code.to_string())),
    };
    let (saturate, round_mode) = extras(node)?;
    Ok(Box::new(Cast { to, saturate, round_mode }))
}

/// The attributes for types that the engine does not have.
pub(super) fn extras(node: &NodeReader<'_>) -> Result<(bool, Option<String>), OpError> {
    let saturate = node.opset() < 19 || node.flag("saturate", true)?;
    let round_mode = if node.opset() < 24 { None } else { node.string("round_mode")? };
    match round_mode {
        None | Some("up") => Ok((saturate, None)),
        Some(mode @ ("down" | "nearest")) => Ok((saturate, Some(mode.to_owned()))),
        Some(found) => Err(OpError::Attribute {
            name: "round_mode".into(),
            expected: "up, down or nearest".into(),
            found: found.into(),
        }),
    }
}

/// What [`extras`] read, to be written.
pub(super) fn write_extras(saturate: bool, round_mode: &Option<String>) -> Vec<(&'static str, AttributeValue)> {
    let mut attributes = Vec::new();
    if !saturate {
        attributes.push(("saturate", AttributeValue::Int(0)));
    }
    if let Some(mode) = round_mode {
        attributes.push(("round_mode", AttributeValue::String(mode.as_str().into())));
    }
    attributes
}

#[derive(Clone, Debug)]
struct Cast {
    to: DType,
    saturate: bool,
    round_mode: Option<String>,
}

impl Op for Cast {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let code = CODES.iter().find(|(_, dtype)| *dtype == self.to).map_or(0, |(code, _)| *code);
        let mut attributes = vec![("to", AttributeValue::Int(code))];
        attributes.extend(write_extras(self.saturate, &self.round_mode));
        attributes
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(1..=1, 1..=1)?;
        Ok(vec![ValueType::new(self.to, inputs.required(0)?.shape.clone())])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        build(signature.input(0)?.dtype, self.to)
    }

    fn is_differentiable(&self, _: usize) -> bool {
        true
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }
}

/// The kernel from one type to another.
pub(super) fn build(from: DType, to: DType) -> Result<Box<dyn Kernel>, OpError> {
    let back: fn(&mut Backward<'_>) -> Result<(), OpError> = match (from, to) {
        (DType::F32, DType::F32) => gradient::<f32, f32>,
        (DType::F32, DType::F64) => gradient::<f32, f64>,
        (DType::F64, DType::F32) => gradient::<f64, f32>,
        (DType::F64, DType::F64) => gradient::<f64, f64>,
        _ => |_| Err(OpError::NotCovered { what: "its derivative".into() }),
    };
    with_any!(from, A => with_any!(to, B => Box::new(CastKernel::<A, B>(back, PhantomData)) as Box<dyn Kernel>))?
}

struct CastKernel<A, B>(fn(&mut Backward<'_>) -> Result<(), OpError>, PhantomData<(A, B)>);

impl<A: Convert<B>, B: Scalar> Kernel for CastKernel<A, B> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let x = io.input::<A>(0)?;
        for (y, x) in io.output::<B>(0)?.iter_mut().zip(x) {
            match x.convert() {
                Some(converted) => *y = converted,
                None => return Err(unreadable(x, B::DTYPE)),
            }
        }
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        (self.0)(io)
    }
}

#[cold]
fn unreadable<A: Scalar>(x: &A, to: DType) -> OpError {
    OpError::Value { input: 0, expected: format!("text of a {to}"), found: format!("{x:?}") }
}

fn gradient<A: Scalar, B: Convert<A>>(io: &mut Backward<'_>) -> Result<(), OpError> {
    let dy = io.d_output::<B>(0)?;
    let Some(dx) = io.d_input::<A>(0)? else { return Ok(()) };
    dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx = dy.convert().unwrap_or_default());
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::engine::network::Network;
    use crate::engine::testing::{Case, check};
    use crate::onnx::{AttributeValue, Graph, Model, Node, ValueInfo};
    use crate::tensor::{DType, SymbolicShape, Tensor, f16};

    #[test]
    fn cases() {
        let three = || Case::new().input(&[3], &[-1.5, 0.0, 2.75]);
        check(
            "Cast",
            &[
                three().int("to", 11).output_tensor(Tensor::from_vec(vec![-1.5f64, 0.0, 2.75])),
                three().int("to", 1).output_tensor(Tensor::from_vec(vec![-1.5f32, 0.0, 2.75])).without_gradient(),
                three().int("to", 7).output_tensor(Tensor::from_vec(vec![-1i64, 0, 2])).without_gradient(),
                three().int("to", 9).output_tensor(Tensor::from_vec(vec![true, false, true])).without_gradient(),
                three()
                    .int("to", 10)
                    .output_tensor(Tensor::from_vec([-1.5, 0.0, 2.75].map(f16::from_f32).to_vec()))
                    .without_gradient(),
                Case::new()
                    .input(&[2], &[0.5, 2e20])
                    .int("to", 8)
                    .output_tensor(Tensor::from_vec(vec!["0.5".to_owned(), "2e+20".into()]))
                    .without_gradient(),
                Case::new()
                    .tensor(Tensor::from_vec(vec!["1.5".to_owned(), "-INF".into()]))
                    .int("to", 1)
                    .output_tensor(Tensor::from_vec(vec![1.5f32, f32::NEG_INFINITY])),
                Case::new().tensor(Tensor::from_vec(vec!["one".to_owned()])).int("to", 1).error("text of a f32"),
                Case::new().tensor(Tensor::scalar(true)).int("to", 13).output_tensor(Tensor::scalar(1u64)),
                Case::new().ints(&[2], &[-1, 300]).int("to", 2).output_tensor(Tensor::from_vec(vec![255u8, 44])),
                Case::new().random_input(&[2, 3]).int("to", 11),
                Case::new().random_input(&[0, 3]).int("to", 11),
                three().int("to", 6).int("saturate", 0).opset(19).without_gradient(),
                three().int("to", 6).string("round_mode", "down").opset(24).without_gradient(),
                three().int("to", 6).string("round_mode", "even").opset(24).error("up, down or nearest"),
                three().int("to", 6).int("saturate", 0).opset(18).error("attribute `saturate`"),
                three().int("to", 17).error("code 17 is not covered"),
                three().int("to", 99).error("the code of a type"),
                three().error("attribute `to`"),
                Case::new().int("to", 1).error("expected 1 inputs"),
            ],
        );
    }

    #[test]
    fn the_gradient_goes_back_in_the_other_precision() {
        let mut graph = Graph::new("precision");
        graph.inputs.push(ValueInfo::tensor("x", DType::F32, SymbolicShape::known(&[2])));
        graph.outputs.push(ValueInfo::tensor("y", DType::F64, SymbolicShape::known(&[2])));
        let node = Node::new("Cast", ["x"], ["y"]);
        graph.nodes.push(node.with("to", AttributeValue::Int(11)));
        let mut network = Network::new(&Model::new(graph, 22)).unwrap();
        let (x, dy) = (Tensor::from_vec(vec![1.0f32, 2.0]), Tensor::from_vec(vec![0.5f64, -3.0]));
        let (y, dx) = network.gradients(&[("x", &x)], &[dy], &["x"], 1).unwrap();
        assert_eq!(y, [Tensor::from_vec(vec![1.0f64, 2.0])]);
        assert_eq!(dx, [Some(Tensor::from_vec(vec![0.5f32, -3.0]))]);
    }
}
