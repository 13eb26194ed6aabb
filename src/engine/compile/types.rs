//! The type of every value, and the values of those that are constant.

use std::collections::BTreeSet;

use super::{Request, evaluate};
use crate::engine::error::{EngineError, OpError};
use crate::engine::op::{Inputs, TensorType, ValueType};
use crate::engine::pool::Pool;
use crate::engine::program::{Program, ProgramNode, ValueId};
use crate::tensor::DType;

/// Constants larger than this are computed at run time instead of ahead.
const MAX_FOLDED: usize = 1 << 24;

/// What came of inferring.
pub(super) enum Inferred {
    /// The type of each value; all sizes are known.
    Types(Vec<TensorType>),
    /// Some sizes depend on these inputs or weights.
    NeedsValues(BTreeSet<ValueId>),
}

/// Infers the types of all values that the outputs depend on.
pub(super) fn infer(program: &Program, request: &Request<'_>) -> Result<Inferred, EngineError> {
    let mut types = initial(program, request);
    let (nodes, needed) = program.needed(request.outputs);
    let mut room = request.memory;
    for node in nodes.into_iter().map(|index| &program.nodes[index]) {
        node_types(node, &mut types, request.pool, &mut room)?;
        let unknown = |id: &&ValueId| types[**id].as_ref().is_none_or(|known| known.sizes().is_none());
        if node.outputs.iter().flatten().any(|id| unknown(&id)) {
            let not_constant = |id: ValueId| types[id].as_ref().is_none_or(|known| known.value.is_none());
            let shape_inputs = node.op.shape_inputs().iter();
            let shape_inputs = shape_inputs.filter_map(|index| node.inputs.get(*index).copied().flatten());
            let values = origins(program, shape_inputs.collect(), not_constant);
            if values.is_empty() {
                let known: Vec<_> = node.inputs.iter().map(|id| id.and_then(|id| types[id].clone())).collect();
                let what = "a result whose shape does not follow from the inputs' shapes and values".into();
                return Err(node.error(&known, OpError::NotCovered { what }));
            }
            return Ok(Inferred::NeedsValues(values));
        }
    }
    let typed = |(id, known): (ValueId, Option<ValueType>)| {
        if !needed[id] {
            return Ok(TensorType { dtype: DType::F32, shape: Vec::new(), value: None });
        }
        let name = &program.names[id];
        let missing =
            || EngineError::Graph { graph: program.name.clone(), reason: format!("`{name}` has no known type") };
        let known = known.ok_or_else(missing)?;
        let shape = known.sizes().ok_or_else(missing)?;
        match super::memory::byte_len(known.dtype, &shape) {
            Some(len) if len <= request.memory => Ok(TensorType { dtype: known.dtype, shape, value: known.value }),
            _ => Err(EngineError::Graph {
                graph: program.name.clone(),
                reason: format!(
                    "`{name}` would have shape {shape:?}, which is more than the {} bytes that the graph may have: allow it \
                     more by `set_memory`",
                    request.memory
                ),
            }),
        }
    };
    let types: Result<Vec<TensorType>, EngineError> = types.into_iter().enumerate().map(typed).collect();
    Ok(Inferred::Types(types?))
}

/// Infers what a node's outputs are, and computes them where all of its inputs are constants and the outputs fit in
/// `room`, the bytes left for such values.
pub(in crate::engine) fn node_types(
    node: &ProgramNode,
    types: &mut [Option<ValueType>],
    pool: &Pool,
    room: &mut usize,
) -> Result<(), EngineError> {
    let inputs: Vec<Option<ValueType>> = node.inputs.iter().map(|id| id.and_then(|id| types[id].clone())).collect();
    let fail = |source| node.error(&inputs, source);
    let mut outputs = node.op.infer(&Inputs::new(&inputs, node.outputs.len())).map_err(fail)?;
    if outputs.len() < node.outputs.len() {
        let what = format!("{} outputs named, {} inferred", node.outputs.len(), outputs.len());
        return Err(fail(OpError::Plan { what }));
    }
    outputs.truncate(node.outputs.len());
    let constant = node
        .inputs
        .iter()
        .zip(&inputs)
        .all(|(id, known)| id.is_none() || known.as_ref().is_some_and(|known| known.value.is_some()));
    let sizes: Option<Vec<Vec<usize>>> = outputs.iter().map(ValueType::sizes).collect();
    let small = sizes.is_some_and(|sizes| {
        sizes.iter().all(|sizes| super::memory::element_count(sizes).is_some_and(|len| len <= MAX_FOLDED))
    });
    let empty = inputs.iter().flatten().filter_map(ValueType::sizes).filter(|sizes| sizes.contains(&0));
    let small = small
        && empty
            .into_iter()
            .all(|sizes| super::memory::byte_len(DType::U8, &sizes).is_some_and(|len| len <= MAX_FOLDED));
    let folded = outputs.iter().all(|output| output.value.is_some());
    let bytes = outputs
        .iter()
        .try_fold(0usize, |bytes, output| bytes.checked_add(super::memory::byte_len(output.dtype, &output.sizes()?)?));
    let left = bytes.and_then(|bytes| room.checked_sub(bytes));
    if let Some(left) = left.filter(|_| constant && small && !folded && !node.op.is_random()) {
        *room = left;
        let tensors = evaluate(node, &inputs, &outputs, pool).map_err(fail)?;
        outputs = tensors.into_iter().map(ValueType::constant).collect();
    }
    for (id, output) in node.outputs.iter().zip(outputs) {
        if let Some(id) = id {
            types[*id] = Some(output);
        }
    }
    Ok(())
}

/// What is known before any node is looked at.
pub(super) fn initial(program: &Program, request: &Request<'_>) -> Vec<Option<ValueType>> {
    let mut types: Vec<Option<ValueType>> = vec![None; program.names.len()];
    for (id, tensor) in &program.constants {
        types[*id] = Some(ValueType::constant(tensor.clone()));
    }
    for (id, known) in &request.known {
        types[*id] = Some(known.clone());
    }
    types
}

/// The values that no node computes (inputs, weights, constants) from which `pending` are computed, by way of values that
/// `follow` agrees to.
pub(super) fn origins(
    program: &Program,
    mut pending: Vec<ValueId>,
    follow: impl Fn(ValueId) -> bool,
) -> BTreeSet<ValueId> {
    let mut makers = vec![None; program.names.len()];
    for (index, node) in program.nodes.iter().enumerate() {
        for id in node.outputs.iter().flatten() {
            makers[*id] = Some(index);
        }
    }
    let mut seen = BTreeSet::new();
    let mut origins = BTreeSet::new();
    while let Some(id) = pending.pop() {
        if !follow(id) || !seen.insert(id) {
            continue;
        }
        match makers[id] {
            Some(maker) => pending.extend(program.nodes[maker].inputs.iter().flatten()),
            None => {
                origins.insert(id);
            }
        }
    }
    origins
}

/// Whether a gradient may flow through values of this type.
pub(super) fn carries_gradient(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F64)
}
