//! Nodes put together, so that one step does the work of several while its operands are at hand.
//!
//! Elementwise operators that only read one another become one [chain](super::chain). An [activation](crate::engine::op::Op::activation) becomes part of the node before it, where that
//! [takes](crate::engine::op::Op::takes_activation) one: its argument is never stored, and its derivative follows from the
//! result, which is there anyway.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Request;
use super::chain::{Chain, Link};
use super::types::carries_gradient;
use crate::engine::op::TensorType;
use crate::engine::program::{ProgramNode, ValueId};

/// Puts nodes together that one step can do. `nodes` are in order, and stay so; values that only a node inside one of
/// the results reads are no longer computed.
pub(super) fn fuse(nodes: Vec<ProgramNode>, types: &[TensorType], request: &Request<'_>) -> Vec<ProgramNode> {
    chains(activations(nodes, types, request), types, request)
}

/// Makes activations part of the nodes before them.
fn activations(mut nodes: Vec<ProgramNode>, types: &[TensorType], request: &Request<'_>) -> Vec<ProgramNode> {
    let readers = Readers::count(&nodes, types.len(), request);
    // The node whose output 0 each value is.
    let mut makers: Vec<Option<usize>> = vec![None; types.len()];
    let mut gone = vec![false; nodes.len()];
    for index in 0..nodes.len() {
        match taken_by(&nodes, index, &makers, &readers, types) {
            Some((before, result)) => {
                nodes[before].activation = nodes[index].op.activation();
                nodes[before].outputs[0] = Some(result);
                makers[result] = Some(before);
                gone[index] = true;
            }
            None => {
                if let Some(Some(result)) = nodes[index].outputs.first() {
                    makers[*result] = Some(index);
                }
            }
        }
    }
    let mut gone = gone.into_iter();
    nodes.retain(|_| !gone.next().unwrap_or(false));
    nodes
}

/// The node before `index` that can apply it, and the value that it then computes.
fn taken_by(
    nodes: &[ProgramNode],
    index: usize,
    makers: &[Option<usize>],
    readers: &Readers,
    types: &[TensorType],
) -> Option<(usize, ValueId)> {
    let node = &nodes[index];
    let (&[Some(argument)], &[Some(result)]) = (node.inputs.as_slice(), node.outputs.as_slice()) else { return None };
    let before = makers[argument]?;
    let takes = nodes[before].activation.is_none() && nodes[before].op.takes_activation();
    let fits = takes && readers.is_private(argument) && carries_gradient(types[argument].dtype);
    (fits && node.op.activation().is_some()).then_some((before, result))
}

/// Makes chains of elementwise nodes. Each is grown from its last node towards the values that it reads, as long as nobody
/// else reads these; it then takes the place of its last node.
fn chains(nodes: Vec<ProgramNode>, types: &[TensorType], request: &Request<'_>) -> Vec<ProgramNode> {
    let wanted: BTreeSet<ValueId> = request.outputs.iter().chain(&request.wrt).copied().collect();
    let mut makers: Vec<Option<usize>> = vec![None; types.len()];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); types.len()];
    for (index, node) in nodes.iter().enumerate() {
        node.inputs.iter().flatten().for_each(|id| readers[*id].push(index));
        node.outputs.iter().flatten().for_each(|id| makers[*id] = Some(index));
    }
    let results: Vec<Option<ValueId>> = nodes.iter().map(|node| elementwise(node, types)).collect();
    // For each node the last one of its chain.
    let mut chain_of: Vec<Option<usize>> = vec![None; nodes.len()];
    let mut members: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); nodes.len()];
    for last in (0..nodes.len()).rev() {
        let (Some(result), None) = (results[last], chain_of[last]) else { continue };
        let fits = |id: ValueId| types[id].dtype == types[result].dtype && types[id].shape == types[result].shape;
        let mut chain = BTreeSet::from([last]);
        let mut pending: Vec<ValueId> = nodes[last].inputs.iter().flatten().copied().collect();
        while let Some(id) = pending.pop() {
            let Some(maker) = makers[id].filter(|maker| results[*maker] == Some(id) && chain_of[*maker].is_none())
            else {
                continue;
            };
            // When its last reader joins, it is looked at once more.
            let inside = !wanted.contains(&id) && fits(id) && readers[id].iter().all(|reader| chain.contains(reader));
            if inside && chain.insert(maker) {
                pending.extend(nodes[maker].inputs.iter().flatten());
            }
        }
        if chain.len() > 1 {
            chain.iter().for_each(|member| chain_of[*member] = Some(last));
            members[last] = chain;
        }
    }
    let mut fused = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.iter().enumerate() {
        match chain_of[index] {
            None => fused.push(node.clone()),
            Some(last) if last == index => fused.push(chain(&nodes, &members[last], node, types)),
            Some(_) => {}
        }
    }
    fused
}

/// The result of a node that can be part of a chain.
fn elementwise(node: &ProgramNode, types: &[TensorType]) -> Option<ValueId> {
    let &[Some(result)] = node.outputs.as_slice() else { return None };
    let kind = &types[result];
    let fits = |id: &Option<ValueId>| {
        let id = id.as_ref()?;
        let same = types[*id].dtype == kind.dtype && types[*id].shape == kind.shape;
        (same || single(&types[*id], kind)).then_some(same)
    };
    let operands: Option<Vec<bool>> = node.inputs.iter().map(fits).collect();
    let fits = operands.is_some_and(|operands| operands.contains(&true));
    let plain = node.activation.is_none() && node.op.updates().is_empty() && !node.op.is_random();
    (fits && plain && node.op.is_elementwise() && carries_gradient(kind.dtype)).then_some(result)
}

/// Whether a value is a constant of one element beside values of type `other`.
fn single(value: &TensorType, other: &TensorType) -> bool {
    value.value.is_some() && value.len() == 1 && value.dtype == other.dtype && value.shape.len() <= other.shape.len()
}

/// The node that does what the `members`, the last of which is `last`, did.
fn chain(nodes: &[ProgramNode], members: &BTreeSet<usize>, last: &ProgramNode, types: &[TensorType]) -> ProgramNode {
    let members: Vec<&ProgramNode> = members.iter().map(|index| &nodes[*index]).collect();
    let results: Vec<Option<ValueId>> = members.iter().map(|node| node.outputs.first().copied().flatten()).collect();
    let mut outside: Vec<ValueId> = Vec::new();
    for id in members.iter().flat_map(|node| node.inputs.iter().flatten()) {
        if !results.contains(&Some(*id)) && !outside.contains(id) {
            outside.push(*id);
        }
    }
    let number = |id: &ValueId| {
        let among = results.iter().position(|result| *result == Some(*id));
        among.map(|at| outside.len() + at).or_else(|| outside.iter().position(|known| known == id))
    };
    let links = members
        .iter()
        .map(|node| Link { op: node.op.clone(), inputs: node.inputs.iter().flatten().filter_map(number).collect() });
    let result = last.outputs.first().copied().flatten();
    let constant = |id: &ValueId| {
        let whole = result.is_some_and(|result| types[*id].shape == types[result].shape);
        (!whole).then(|| types[*id].clone())
    };
    let op = Chain::new(links.collect(), outside.iter().map(constant).collect());
    ProgramNode { op: Arc::new(op), inputs: outside.into_iter().map(Some).collect(), ..last.clone() }
}

/// How many operands of nodes each value is; what somebody else wants as well counts as many.
struct Readers(Vec<usize>);

impl Readers {
    fn count(nodes: &[ProgramNode], values: usize, request: &Request<'_>) -> Self {
        let mut counts = vec![0usize; values];
        for id in nodes.iter().flat_map(|node| node.inputs.iter().flatten()) {
            counts[*id] += 1;
        }
        for id in request.outputs.iter().chain(&request.wrt) {
            counts[*id] = usize::MAX;
        }
        Readers(counts)
    }

    /// Whether one node alone reads it.
    fn is_private(&self, id: ValueId) -> bool {
        self.0[id] == 1
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::{Builder, Conv, Dense, EngineError, Initializer, Network, Value};
    use crate::onnx::{AttributeValue, Model, ValueInfo};
    use crate::tensor::{DType, SymbolicShape, Tensor};

    fn numbers(dtype: DType, shape: &[usize], step: f64) -> Tensor {
        let count: usize = shape.iter().product();
        let values = (0..count).map(|i| (i as f64 * step).sin());
        match dtype {
            DType::F64 => Tensor::new(shape.to_vec(), values.collect::<Vec<f64>>()),
            _ => Tensor::new(shape.to_vec(), values.map(|value| value as f32).collect::<Vec<f32>>()),
        }
        .unwrap()
    }

    /// The same with every value an output, so that no value can go: nothing is put together.
    fn plain(model: &Model) -> Model {
        let mut model = model.clone();
        let results: Vec<String> = model.graph.nodes.iter().flat_map(|node| node.outputs.clone()).collect();
        for name in results {
            if !model.graph.outputs.iter().any(|output| output.name == name) {
                model.graph.outputs.push(ValueInfo::tensor(name, DType::F32, SymbolicShape::Unranked));
            }
        }
        model
    }

    /// Runs a model on `x`, and its gradients with respect to `x` and all weights;
    fn results(model: &Model, x: &Tensor, threads: usize) -> (Tensor, Vec<Option<Tensor>>) {
        let mut network = Network::new(model).unwrap();
        network.set_threads(threads).unwrap();
        let outputs = network.run(&[("x", x)]).unwrap();
        let cotangents: Vec<Tensor> = outputs
            .iter()
            .zip(network.outputs())
            .map(|(output, name)| numbers(output.dtype(), output.shape(), if name == "y" { 0.83 } else { 0.0 }))
            .collect();
        let names: Vec<String> = network.weights().map(|(name, _)| name.to_owned()).collect();
        let mut wrt = vec!["x"];
        wrt.extend(names.iter().map(String::as_str));
        let (again, gradients) = network.gradients(&[("x", x)], &cotangents, &wrt, 1).unwrap();
        assert_eq!(again[0], outputs[0], "training and inference");
        (outputs[0].clone(), gradients)
    }

    type Make = fn(&mut Builder, &Value) -> Result<Value, EngineError>;

    /// A constant of f32.
    fn single(graph: &mut Builder, value: f32) -> Result<Value, EngineError> {
        graph.node("Constant", &[], &[("value_float", AttributeValue::Float(value))])
    }

    #[test]
    fn what_is_put_together_computes_the_same_bits() {
        let cases: Vec<(&[usize], Make, &[&str])> = vec![
            // Activations, after direct convolutions, gathered ones, and dense layers.
            (
                &[2, 3, 12, 12],
                |g, x| Conv::new("c", 8, &[3, 3]).padding(1).apply(g, x).and_then(|y| g.relu(&y)),
                &["c"],
            ),
            (&[3, 6, 14, 14], |g, x| Conv::new("c", 16, &[5, 5]).apply(g, x).and_then(|y| g.tanh(&y)), &["c"]),
            (&[2, 2, 4, 4], |g, x| Conv::new("c", 3, &[3, 3]).apply(g, x).and_then(|y| g.sigmoid(&y)), &["c"]),
            (&[5, 7], |g, x| Dense::new("d", 9).apply(g, x).and_then(|y| g.relu(&y)), &["d"]),
            // A second activation has nobody before it to go to.
            (
                &[5, 7],
                |g, x| {
                    let y = Dense::new("d", 9).apply(g, x)?;
                    let y = g.relu(&y)?;
                    g.tanh(&y)
                },
                &["d", "tanh"],
            ),
            // Somebody else reads the argument.
            (
                &[5, 7],
                |g, x| {
                    let y = Dense::new("d", 9).apply(g, x)?;
                    let positive = g.relu(&y)?;
                    let negative = g.node("Sub", &[&y, &positive], &[])?;
                    let w = g.weight("w", &[9, 2], Initializer::FanIn)?;
                    g.node("MatMul", &[&negative, &w], &[])
                },
                &["d", "relu, sub", "matmul"],
            ),
            // Chains: of more than a piece, of whole pieces, of enough for two threads, of nothing.
            (
                &[3, 1000],
                |g, x| {
                    let w = g.weight("w", &[3, 1000], Initializer::FanIn)?;
                    let (a, b) = (g.node("Mul", &[x, &w], &[])?, g.node("Sin", &[x], &[])?);
                    let c = g.node("Add", &[&a, &b], &[])?;
                    g.tanh(&c)
                },
                &["tanh"],
            ),
            (
                &[2, 1024],
                |g, x| {
                    let gate = g.sigmoid(x)?;
                    g.node("Mul", &[x, &gate], &[])
                },
                &["mul"],
            ),
            (
                &[400_000],
                |g, x| {
                    let (half, three) = (single(g, 0.5)?, single(g, 3.0)?);
                    let y = g.node("Mul", &[x, &half], &[])?;
                    let y = g.node("Exp", &[&y], &[])?;
                    let y = g.node("Mul", &[&y, &y], &[])?;
                    g.node("Div", &[&three, &y], &[])
                },
                &["div"],
            ),
            (&[0, 4], |g, x| g.relu(x).and_then(|y| g.tanh(&y)), &["tanh"]),
            // A broadcast operand is no part of a chain.
            (
                &[4, 6],
                |g, x| {
                    let w = g.weight("w", &[6], Initializer::FanIn)?;
                    let y = g.node("Mul", &[x, &w], &[])?;
                    let y = g.node("Neg", &[&y], &[])?;
                    g.relu(&y)
                },
                &["mul", "relu"],
            ),
        ];
        for (shape, make, planned) in cases {
            for dtype in [DType::F32, DType::F64] {
                let mut graph = Builder::new("fused", 1);
                let sizes: Vec<Option<usize>> = shape.iter().map(|size| Some(*size)).collect();
                let x = graph.input("x", dtype, &sizes).unwrap();
                let y = make(&mut graph, &x);
                // The layers have weights of f32.
                let y = match y {
                    Err(_) if dtype == DType::F64 => continue,
                    y => y.unwrap(),
                };
                graph.output("y", &y).unwrap();
                let model = graph.finish();
                let x = numbers(dtype, shape, 0.37);
                for threads in [1, 2] {
                    let (expected, gradients) = results(&plain(&model), &x, threads);
                    let (found, found_gradients) = results(&model, &x, threads);
                    assert_eq!(found, expected, "{planned:?} {dtype}");
                    assert_eq!(found_gradients, gradients, "{planned:?} {dtype}");
                    let mut network = Network::new(&model).unwrap();
                    network.run(&[("x", &x)]).unwrap();
                    assert_eq!(network.planned().len(), planned.len(), "{:?}, not {planned:?}", network.planned());
                }
            }
        }
    }
}
