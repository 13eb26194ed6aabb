//! ReduceMin: the smallest element over the axes; NaN, if there is one.
//!
//! `dx = dy` there and 0 elsewhere; elements that tie share it evenly, as PyTorch's amax and amin do.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__ReduceMin.html>.

use super::axis;
use super::reduce::{Integers, Reduce, Reduction};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "ReduceMin", since: 1, parse };

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Reduce::<ReduceMin>::read(node)?))
}

#[derive(Clone, Debug)]
struct ReduceMin;

impl Reduction for ReduceMin {
    const READS: Reads = Reads::ALL;
    const INTEGERS: Integers = Integers::AndBool;
    const NOTES: Option<[f64; 2]> = Some([0.0; 2]);

    fn start<T: Float>() -> T {
        T::infinity()
    }

    fn join<T: Float>(a: T, b: T) -> T {
        axis::smaller(a, b)
    }

    fn slope<T: Float>(x: T, y: T, [ties, _]: [T; 2], _: usize) -> T {
        if x == y { ties.recip() } else { T::zero() }
    }

    fn note<T: Float>([ties, _]: &mut [T; 2], x: T, y: T) {
        if x == y {
            *ties += T::one();
        }
    }

    fn integer_start(_: i128, most: i128) -> i128 {
        most
    }

    fn integer_join(a: i128, b: i128) -> i128 {
        a.min(b)
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        let six = || Case::new().input(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        check(
            "ReduceMin",
            &[
                six().output(&[1, 1], &[1.0]),
                six().constant_ints(&[0]).int("keepdims", 0).output(&[3], &[1.0, 2.0, 3.0]),
                six().ints_attribute("axes", &[1]).opset(12).output(&[2, 1], &[1.0, 4.0]),
                Case::new().input(&[3], &[1.0, f64::NAN, 2.0]).output(&[1], &[f64::NAN]).without_gradient(),
                Case::new().input(&[2, 0], &[]).constant_ints(&[1]).output(&[2, 1], &[f64::INFINITY; 2]),
                Case::new().ints(&[0], &[]).output_tensor(Tensor::from_vec(vec![i64::MAX])),
                Case::new().tensor(Tensor::from_vec(vec![true, false])).output_tensor(Tensor::from_vec(vec![false])),
                Case::new().tensor(Tensor::from_vec(vec![3i8, -2])).output_tensor(Tensor::from_vec(vec![-2i8])),
                Case::new().random_input(&[2, 3, 4, 5]).constant_ints(&[1, 3]),
                Case::new().random_input(&[3, 35]).constant_ints(&[-1]).int("keepdims", 0),
                Case::new().random_input(&[3, 4, 2]).constant_ints(&[0]),
                Case::new().random_input(&[2, 2]),
                Case::new().random_input(&[]),
                Case::new().random_input(&[0, 3]).constant_ints(&[1]),
                Case::new().random_input(&[2, 3]).constant_ints(&[]).int("noop_with_empty_axes", 1),
                six().constant_ints(&[2]).error("axes of -2 to 1, found 2"),
                Case::new().tensor(Tensor::from_vec(vec![String::new()])).error("an integer or bool"),
            ],
        );
    }

    #[test]
    fn ties_share_the_gradient() {
        let mut graph = crate::onnx::Graph::new("ties");
        let shape = crate::tensor::SymbolicShape::known(&[3]);
        graph.inputs.push(crate::onnx::ValueInfo::tensor("x", crate::tensor::DType::F64, shape));
        let unknown = crate::tensor::SymbolicShape::Unranked;
        graph.outputs.push(crate::onnx::ValueInfo::tensor("y", crate::tensor::DType::F64, unknown));
        graph.nodes.push(crate::onnx::Node::new("ReduceMin", ["x"], ["y"]));
        let mut network = crate::engine::Network::new(&crate::onnx::Model::new(graph, 20)).unwrap();
        let x = Tensor::from_vec(vec![2.0f64, 4.0, 2.0]);
        let (_, gradients) = network.gradients(&[("x", &x)], &[Tensor::from_vec(vec![3.0f64])], &["x"], 0).unwrap();
        assert_eq!(gradients, [Some(Tensor::from_vec(vec![1.5f64, 0.0, 1.5]))]);
    }
}
