//! A head with more classes.

use std::collections::BTreeSet;

use super::error::LearnError;
use crate::onnx::{AttributeValue, Model, Node};
use crate::tensor::{Dim, Element, SymbolicShape, Tensor, TensorData};

/// Operators between the head and the output that act on each class alone, or on all of them alike.
const AFTER: &[&str] = &["Softmax", "LogSoftmax", "Sigmoid", "Identity", "Flatten"];

/// What of the head has a number for each class.
#[derive(Clone, Copy)]
struct Part {
    /// The axis of the classes.
    axis: usize,
}

/// The model with `count` classes instead of the fewer that it has: the weights of a new class are the mean of those of
/// the others, its bias too, so its score is the mean of their scores. It is never the highest one, and no answer changes
/// before something is learned.
///
/// The head is the Gemm or MatMul (with or without an Add) that the first output comes from, directly or through Softmax,
/// LogSoftmax, Sigmoid, Identity or Flatten. As many classes as there are give the model as it is.
pub fn grow_classes(model: &Model, count: usize) -> Result<Model, LearnError> {
    let graph = &model.graph;
    let fail = |from: usize, reason: String| LearnError::Head { model: graph.name.clone(), from, to: count, reason };
    let Some(output) = graph.outputs.first() else { return Err(fail(0, "the graph has no output".into())) };
    let producer = |name: &str| graph.nodes.iter().find(|node| node.outputs.iter().any(|output| output == name));
    let is_weight = |name: &str| graph.initializers.iter().any(|(known, _)| known == name);
    // From the output back to the head.
    let mut value = output.name.as_str();
    let mut passed: BTreeSet<&str> = [value].into();
    let mut parts: Vec<(&str, Part)> = Vec::new();
    let (head, weight) = loop {
        let Some(node) = producer(value) else {
            return Err(fail(0, format!("`{value}` comes from no node")));
        };
        let input = |at: usize| node.inputs.get(at).map(String::as_str).unwrap_or_default();
        match node.op_type.as_str() {
            "Gemm" => {
                if int(node, "transA") != 0 {
                    return Err(fail(0, format!("node `{}` transposes its input", node.name)));
                }
                if !input(2).is_empty() {
                    parts.push((input(2), Part { axis: usize::MAX }));
                }
                break (node, (input(1), if int(node, "transB") == 0 { 1 } else { 0 }));
            }
            "MatMul" => break (node, (input(1), 1)),
            "Add" if parts.is_empty() => {
                let bias = [0, 1].into_iter().find(|at| is_weight(input(*at)));
                let Some(bias) = bias else {
                    return Err(fail(0, format!("node `{}` (Add) adds no weight of the file", node.name)));
                };
                parts.push((input(bias), Part { axis: usize::MAX }));
                value = input(1 - bias);
            }
            op if AFTER.contains(&op) && node.domain.is_empty() => value = input(0),
            op => return Err(fail(0, format!("the last operator is {op} (node `{}`)", node.name))),
        }
        if !passed.insert(value) {
            return Err(fail(0, format!("`{value}` depends on itself")));
        }
    };
    let (weight, axis) = weight;
    let Some(matrix) = graph.initializer(weight) else {
        return Err(fail(0, format!("the weights `{weight}` of node `{}` are computed, not stored", head.name)));
    };
    let from = match matrix.shape() {
        shape @ [_, _] => shape[axis],
        shape => return Err(fail(0, format!("the weights `{weight}` have the shape {shape:?}, expected rank 2"))),
    };
    if count < from || from == 0 {
        return Err(fail(from, "a head only grows".into()));
    }
    let used = |name: &str| {
        let uses = graph.nodes.iter().flat_map(|node| &node.inputs).filter(|input| *input == name).count();
        uses + graph.outputs.iter().filter(|output| output.name == name).count()
    };
    parts.insert(0, (weight, Part { axis }));
    let mut grown = model.clone();
    for (name, part) in parts {
        if used(name) != 1 {
            return Err(fail(from, format!("the weights `{name}` are used in {} places", used(name))));
        }
        let Some((_, stored)) = grown.graph.initializers.iter_mut().find(|(known, _)| known == name) else {
            return Err(fail(from, format!("the bias `{name}` is computed, not stored")));
        };
        let axis = match part.axis {
            usize::MAX => match stored.shape().len().checked_sub(1) {
                Some(axis) => axis,
                None => continue, // A scalar is added to each class alike.
            },
            axis => axis,
        };
        match stored.shape()[axis] {
            // One number for all classes.
            1 if part.axis == usize::MAX && from != 1 => continue,
            size if size == from => {}
            size => return Err(fail(from, format!("`{name}` has {size} numbers where there are {from} classes"))),
        }
        *stored = widen(stored, axis, count)
            .ok_or_else(|| fail(from, format!("`{name}` holds {}, expected f32 or f64", stored.dtype())))?;
    }
    // Shapes that were written for the old number of classes.
    let stale: Vec<String> = passed.iter().map(|name| (*name).to_owned()).chain(head.outputs.iter().cloned()).collect();
    grown.graph.value_info.retain(|info| !stale.contains(&info.name));
    for output in &mut grown.graph.outputs {
        if let (true, SymbolicShape::Ranked(dims)) = (stale.contains(&output.name), &mut output.shape)
            && let Some(last) = dims.last_mut()
            && last.known() == Some(from)
        {
            *last = Dim::Known(count);
        }
    }
    Ok(grown)
}

/// How many classes the head has, where it is one that grows.
pub(super) fn classes_of(model: &Model) -> Option<usize> {
    match grow_classes(model, 0) {
        Err(LearnError::Head { from, .. }) if from > 0 => Some(from),
        _ => None,
    }
}

fn int(node: &Node, name: &str) -> i64 {
    match node.attribute(name) {
        Some(AttributeValue::Int(value)) => *value,
        _ => 0,
    }
}

/// The tensor with `count` places along `axis`, the new ones holding the mean of the old.
fn widen(tensor: &Tensor, axis: usize, count: usize) -> Option<Tensor> {
    fn filled<T: Element + Copy>(
        values: &[T],
        shape: &[usize],
        axis: usize,
        count: usize,
        mean: impl Fn(&mut dyn Iterator<Item = T>) -> T,
    ) -> Option<Tensor> {
        let size = shape[axis];
        let inner: usize = shape[axis + 1..].iter().product();
        let mut elements = Vec::with_capacity(values.len().checked_div(size)?.checked_mul(count)?);
        for block in values.chunks(size.checked_mul(inner)?.max(1)) {
            elements.extend_from_slice(block);
            let means: Vec<T> =
                (0..inner).map(|column| mean(&mut block.iter().skip(column).step_by(inner).copied())).collect();
            (size..count).for_each(|_| elements.extend_from_slice(&means));
        }
        let mut shape = shape.to_vec();
        shape[axis] = count;
        Tensor::new(shape, elements).ok()
    }
    let size = tensor.shape()[axis] as f64;
    match tensor.data() {
        TensorData::F32(values) => {
            filled(values, tensor.shape(), axis, count, |values| (values.map(f64::from).sum::<f64>() / size) as f32)
        }
        TensorData::F64(values) => filled(values, tensor.shape(), axis, count, |values| values.sum::<f64>() / size),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Builder, Conv, Dense, Network};
    use crate::onnx::{Graph, ValueInfo};
    use crate::tensor::DType;

    fn head(bias: bool, softmax: bool) -> Model {
        let mut graph = Builder::new("head", 3);
        let x = graph.input("x", DType::F32, &[None, Some(4)]).unwrap();
        let dense = if bias { Dense::new("out", 3) } else { Dense::new("out", 3).without_bias() };
        let y = dense.apply(&mut graph, &x).unwrap();
        let y = if softmax { graph.node("Softmax", &[&y], &[]).unwrap() } else { y };
        graph.output("y", &y).unwrap();
        graph.finish()
    }

    fn run(model: &Model, x: &Tensor) -> Vec<f32> {
        Network::new(model).unwrap().run(&[("x", x)]).unwrap()[0].as_slice::<f32>().unwrap().to_vec()
    }

    /// x·W + b with the weights stored one way or the other.
    fn plain(transposed: bool, shape_of_bias: &[usize]) -> Model {
        let x = ValueInfo::tensor("x", DType::F32, SymbolicShape::Ranked(vec![Dim::Known(1), Dim::Known(2)]));
        let y = ValueInfo::tensor("y", DType::F32, SymbolicShape::Ranked(vec![Dim::Known(1), Dim::Known(3)]));
        let weights = vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0];
        let bias = vec![0.5f32; shape_of_bias.iter().product()];
        let shape = if transposed { vec![3, 2] } else { vec![2, 3] };
        let nodes = match transposed {
            true => vec![Node::new("Gemm", ["x", "w", "b"], ["y"]).with("transB", AttributeValue::Int(1))],
            false => vec![Node::new("MatMul", ["x", "w"], ["p"]), Node::new("Add", ["b", "p"], ["y"])],
        };
        let graph = Graph {
            name: "plain".into(),
            inputs: vec![x],
            outputs: vec![y],
            initializers: vec![
                ("w".into(), Tensor::new(shape, weights).unwrap()),
                ("b".into(), Tensor::new(shape_of_bias.to_vec(), bias).unwrap()),
            ],
            nodes,
            ..Graph::default()
        };
        Model::new(graph, 17)
    }

    #[test]
    fn old_scores_stay_and_a_new_one_is_their_mean() {
        let x = Tensor::new(vec![2, 4], (0..8).map(|value| value as f32 * 0.3 - 1.0).collect::<Vec<_>>()).unwrap();
        for bias in [true, false] {
            let model = head(bias, false);
            let (old, new) = (run(&model, &x), run(&grow_classes(&model, 5).unwrap(), &x));
            for row in 0..2 {
                let (old, new) = (&old[row * 3..][..3], &new[row * 5..][..5]);
                assert_eq!(old, &new[..3]);
                let mean = old.iter().sum::<f32>() / 3.0;
                assert!(new[3..].iter().all(|score| (score - mean).abs() < 1e-6), "{new:?} {mean}");
            }
            assert_eq!(classes_of(&model), Some(3));
        }
        let through = grow_classes(&head(true, true), 4).unwrap();
        assert_eq!(run(&through, &x).len(), 8);
        assert_eq!(through.graph.outputs[0].shape.dims().unwrap()[1], Dim::Known(4));
        let x = Tensor::new(vec![1, 2], vec![1.0f32, 1.0]).unwrap();
        for (model, expected) in [
            (plain(true, &[3]), vec![3.5, 7.5, 11.5, 7.5]),
            (plain(true, &[1]), vec![3.5, 7.5, 11.5, 7.5]),
            (plain(true, &[]), vec![3.5, 7.5, 11.5, 7.5]),
            (plain(false, &[3]), vec![5.5, 7.5, 9.5, 7.5]),
            (plain(false, &[1, 3]), vec![5.5, 7.5, 9.5, 7.5]),
        ] {
            assert_eq!(run(&grow_classes(&model, 4).unwrap(), &x), expected);
        }
        let same = plain(true, &[3]);
        assert_eq!(grow_classes(&same, 3).unwrap(), same);
    }

    #[test]
    fn a_head_that_cannot_grow_says_why() {
        let mut conv = Builder::new("conv", 1);
        let x = conv.input("x", DType::F32, &[None, Some(1), Some(5), Some(5)]).unwrap();
        let y = Conv::new("out", 3, &[3, 3]).apply(&mut conv, &x).unwrap();
        conv.output("y", &y).unwrap();
        let mut shared = plain(true, &[3]);
        shared.graph.nodes.push(Node::new("Identity", ["w"], ["other"]));
        let mut computed = plain(true, &[3]);
        computed.graph.initializers.remove(0);
        let mut bare = plain(true, &[3]);
        bare.graph.outputs.clear();
        for (model, count, says) in [
            (conv.finish(), 4, "the last operator is Conv"),
            (plain(true, &[3]), 2, "only grows"),
            (shared, 4, "used in 2 places"),
            (computed, 4, "are computed"),
            (bare, 4, "no output"),
        ] {
            let error = grow_classes(&model, count).unwrap_err().to_string();
            assert!(error.contains(says), "{says}: {error}");
        }
    }
}
