//! Nodes put together, so that one step does the work of several while its operands are at hand.
//!
//! An [activation](crate::engine::op::Op::activation) becomes part of the node before it, where that
//! [takes](crate::engine::op::Op::takes_activation) one: its argument is never stored, and its derivative follows from the
//! result, which is there anyway.

use super::Request;
use super::types::carries_gradient;
use crate::engine::op::TensorType;
use crate::engine::program::{ProgramNode, ValueId};

/// Puts nodes together that one step can do. `nodes` are in order, and stay so; values that only a node inside one of
/// the results reads are no longer computed.
pub(super) fn fuse(mut nodes: Vec<ProgramNode>, types: &[TensorType], request: &Request<'_>) -> Vec<ProgramNode> {
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
