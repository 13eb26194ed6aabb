//! ScatterElements (called Scatter before version 11): its input, updated at single elements:
//! `y[i, indices[i, j, k], k] = updates[i, j, k]` for axis 1, and so for each other axis; or their sum, product, maximum
//! or minimum.
//!
//! Derivatives: see [`places::scatter`](super::places::scatter).
//! ONNX: <https://onnx.ai/onnx/operators/onnx__ScatterElements.html>,
//! <https://onnx.ai/onnx/operators/onnx__Scatter.html>.

use super::gather_elements::fits;
use super::indexing::index_input;
use super::places::{self, Places, Reduction};
use super::rearrange::attribute_axis;
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::Kernel;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "ScatterElements", since: 11, parse };
/// The same under its old name.
pub const SCATTER: OpEntry = OpEntry { domain: "", op_type: "Scatter", since: 9, parse };

#[derive(Clone, Debug)]
struct ScatterElements {
    axis: i64,
    reduction: Reduction,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(ScatterElements { axis: node.int("axis")?.unwrap_or(0), reduction: Reduction::parse(node)? }))
}

impl Op for ScatterElements {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let axis = (self.axis != 0).then_some(("axis", AttributeValue::Int(self.axis)));
        let reduction = self.reduction.name().map(|name| ("reduction", AttributeValue::String(name.into())));
        axis.into_iter().chain(reduction).collect()
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(3..=3, 1..=1)?;
        let x = inputs.required(0)?;
        let (indices, updates) = (index_input(inputs, 1)?, inputs.required(2)?);
        inputs.same_dtype(2, x.dtype)?;
        if indices.shape.accepts(&updates.shape).is_err() {
            let expected = format!("the shape of the indices, {}", indices.shape);
            return Err(OpError::Shape { input: 2, expected, found: updates.shape.clone() });
        }
        if let Some(data) = inputs.dims(0, 1..=usize::MAX)? {
            let axis = attribute_axis("axis", self.axis, data.len())?;
            if let Some(indices) = indices.dims() {
                fits(data, indices, axis)?;
            }
        }
        Ok(vec![ValueType::new(x.dtype, x.shape.clone())])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (x, indices) = (signature.input(0)?, signature.input(1)?);
        let axis = attribute_axis("axis", self.axis, x.shape.len())?;
        places::scatter(x.dtype, &x.shape, Places::elements(&x.shape, &indices.shape, axis), self.reduction)
    }

    fn is_differentiable(&self, index: usize) -> bool {
        index != 1
    }

    fn reads(&self) -> Reads {
        self.reduction.reads()
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::Network;
    use crate::engine::testing::{Case, check};
    use crate::onnx::{AttributeValue, Graph, Model, Node, ValueInfo};
    use crate::tensor::{DType, SymbolicShape, Tensor};

    #[test]
    fn cases() {
        let line = || Case::new().input(&[1, 5], &[1.0, 2.0, 3.0, 4.0, 5.0]).int("axis", 1);
        let put = |case: Case| case.ints(&[1, 2], &[1, 3]).input(&[1, 2], &[1.1, 2.1]);
        let twice = || line().ints(&[1, 2], &[1, -4]).input(&[1, 2], &[1.5, 0.5]);
        let zeros = || Case::new().input(&[1, 3], &[2.0, 0.0, 1.0]).ints(&[1, 4], &[0, 1, 0, 1]).int("axis", 1);
        let cube = || Case::new().random_input(&[2, 3, 2]).ints(&[2, 2, 1], &[0, 2, 2, 1]);
        check(
            "ScatterElements",
            &[
                put(line()).output(&[1, 5], &[1.0, 1.1, 3.0, 2.1, 5.0]),
                put(line().opset(11)).output(&[1, 5], &[1.0, 1.1, 3.0, 2.1, 5.0]),
                twice().string("reduction", "add").output(&[1, 5], &[1.0, 4.0, 3.0, 4.0, 5.0]),
                twice().string("reduction", "mul").output(&[1, 5], &[1.0, 1.5, 3.0, 4.0, 5.0]),
                twice().string("reduction", "max").output(&[1, 5], &[1.0, 2.0, 3.0, 4.0, 5.0]),
                twice().string("reduction", "min").output(&[1, 5], &[1.0, 0.5, 3.0, 4.0, 5.0]),
                Case::new()
                    .input(&[1], &[f64::NAN])
                    .ints(&[1], &[0])
                    .input(&[1], &[1.0])
                    .string("reduction", "max")
                    .output(&[1], &[f64::NAN])
                    .without_gradient(),
                cube().random_input(&[2, 2, 1]).int("axis", 1),
                cube().random_input(&[2, 2, 1]).int("axis", 1).string("reduction", "mul"),
                cube().random_input(&[2, 2, 1]).int("axis", 1).string("reduction", "max"),
                cube().random_input(&[2, 2, 1]).int("axis", 1).string("reduction", "min"),
                // One zero, two zeros, a zero that is updated: still the product of all others.
                zeros()
                    .input(&[1, 4], &[0.0, 2.0, 0.0, 0.0])
                    .string("reduction", "mul")
                    .output(&[1, 3], &[0.0, 0.0, 1.0]),
                zeros().input(&[1, 4], &[3.0, 2.0, -1.5, 0.5]).string("reduction", "mul"),
                zeros().random_input(&[1, 4]).string("reduction", "max"),
                Case::new().random_input(&[2, 3]).ints(&[0, 3], &[]).random_input(&[0, 3]).string("reduction", "mul"),
                cube().random_input(&[2, 2, 1]).int("axis", -2).string("reduction", "add"),
                Case::new().random_input(&[2, 3]).ints(&[0, 3], &[]).random_input(&[0, 3]),
                Case::new()
                    .tensor(Tensor::from_vec(vec!["a".to_string(), "b".to_string()]))
                    .ints(&[1], &[0])
                    .tensor(Tensor::from_vec(vec!["c".to_string()]))
                    .output_tensor(Tensor::from_vec(vec!["c".to_string(), "b".to_string()])),
                Case::new()
                    .tensor(Tensor::from_vec(vec![250u8]))
                    .ints(&[1], &[0])
                    .tensor(Tensor::from_vec(vec![10u8]))
                    .string("reduction", "add")
                    .output_tensor(Tensor::from_vec(vec![4u8])),
                line().ints(&[1, 1], &[5]).input(&[1, 1], &[0.0]).error("indices from -5 to below 5"),
                line().ints(&[1, 1], &[0]).input(&[1, 2], &[0.0, 0.0]).error("the shape of the indices"),
                line().ints(&[2, 1], &[0, 0]).input(&[2, 1], &[0.0, 0.0]).error("no larger size"),
                line().ints(&[1, 1], &[0]).ints(&[1, 1], &[0]).error("input 2: expected f"),
                put(line()).string("reduction", "mean").error("none, add, mul, max or min"),
                put(line()).opset(16).string("reduction", "max").error("none, add or mul"),
                put(line()).opset(13).string("reduction", "add").error("attribute `reduction`"),
                line().error("expected 3 inputs"),
            ],
        );
        // PyTorch 2: scatter_reduce of these, "amax" and "prod", backward from [1, 2, 3].
        for (reduction, by_data, by_updates) in [
            ("max", [0.5, 2.0 / 3.0, 3.0], [0.5, 2.0 / 3.0, 0.0, 2.0 / 3.0]),
            ("min", [0.0, 2.0 / 3.0, 3.0], [0.0, 2.0 / 3.0, 1.0, 2.0 / 3.0]),
            ("mul", [2.0, 0.0, 3.0], [2.0, 0.0, 4.0, 0.0]),
        ] {
            let [data, updates] = derivatives(reduction);
            assert_eq!((data, updates), (by_data.to_vec(), by_updates.to_vec()), "{reduction}");
        }
        check("Scatter", &[put(line().opset(9)).output(&[1, 5], &[1.0, 1.1, 3.0, 2.1, 5.0])]);
    }

    /// By data [2, 0, 1] and updates [2, 0, 1, 0] of elements 0, 1, 0, 1: ties and several zeros.
    fn derivatives(reduction: &str) -> [Vec<f64>; 2] {
        let mut graph = Graph::new("ties");
        for (name, dtype, size) in [("x", DType::F64, 3), ("u", DType::F64, 4)] {
            graph.inputs.push(ValueInfo::tensor(name, dtype, SymbolicShape::known(&[size])));
        }
        graph.initializers.push(("i".into(), Tensor::from_vec(vec![0i64, 1, 0, 1])));
        graph.outputs.push(ValueInfo::tensor("y", DType::F64, SymbolicShape::Unranked));
        let node = Node::new("ScatterElements", ["x", "i", "u"], ["y"]);
        graph.nodes.push(node.with("reduction", AttributeValue::String(reduction.into())));
        let mut network = Network::new(&Model::new(graph, 18)).unwrap();
        let (x, u) = (Tensor::from_vec(vec![2.0f64, 0.0, 1.0]), Tensor::from_vec(vec![2.0f64, 0.0, 1.0, 0.0]));
        let dy = [Tensor::from_vec(vec![1.0f64, 2.0, 3.0])];
        let (_, found) = network.gradients(&[("x", &x), ("u", &u)], &dy, &["x", "u"], 0).unwrap();
        let values = |gradient: &Option<Tensor>| gradient.as_ref().unwrap().as_slice::<f64>().unwrap().to_vec();
        [values(&found[0]), values(&found[1])]
    }
}
