//! From a program to a plan: types, constants, gradients and memory, for certain input shapes.

mod chain;
mod expand;
mod fuse;
mod gradient;
mod memory;
mod types;

use std::collections::{BTreeSet, HashMap};

use self::expand::{Expanded, expand};
use self::gradient::Tape;
use self::memory::Layout;
pub(super) use self::types::node_types;
use super::cell::Cell;
use super::error::{EngineError, OpError};
use super::kernel::{Backward, Forward, Kernel};
use super::op::{Mode, Signature, TensorType, ValueType};
use super::plan::{Place, Plan, Step};
use super::pool::Pool;
use super::program::{Program, ProgramNode, ValueId};
use crate::tensor::{DType, Tensor};

/// What a program is compiled for.
pub(super) struct Request<'a> {
    pub mode: Mode,
    /// The values known: inputs (with their shapes), weights (with their values only where those are constants).
    pub known: HashMap<ValueId, ValueType>,
    /// Where the gradient begins; empty without one.
    pub seeds: Seeds,
    /// Weights and inputs whose gradient is wanted.
    pub wrt: BTreeSet<ValueId>,
    /// Input values, in the order in which they will be given; the cotangents of [`Seeds::Given`] follow them.
    pub inputs: &'a [ValueId],
    /// Weights, in the order in which they will be given.
    pub weights: &'a [ValueId],
    /// What is to be computed.
    pub outputs: &'a [ValueId],
    pub pool: &'a Pool,
    /// Bytes that the values may take together.
    pub memory: usize,
}

/// Where the gradient begins.
pub(super) enum Seeds {
    /// Nowhere: no gradient.
    None,
    /// At this scalar, with one.
    Loss(ValueId),
    /// At each output, with a cotangent that is given.
    Given,
}

/// What came of it.
pub(super) enum Compiled {
    /// A plan.
    Plan(Box<Plan>),
    /// Shapes depend on these values (inputs or weights): they must be known.
    NeedsValues(BTreeSet<ValueId>),
}

/// Compiles `program`.
pub(super) fn compile(program: &Program, request: Request<'_>) -> Result<Compiled, EngineError> {
    let expanded = match expand(program, &request)? {
        Expanded::Same => None,
        Expanded::Program(program) => Some(program),
        Expanded::NeedsValues(values) => return Ok(Compiled::NeedsValues(values)),
    };
    let program = expanded.as_deref().unwrap_or(program);
    let types = match types::infer(program, &request)? {
        types::Inferred::Types(types) => types,
        types::Inferred::NeedsValues(values) => return Ok(Compiled::NeedsValues(values)),
    };
    let nodes = fuse::fuse(needed(program, &types, &request), &types, &request);
    let mut layout = Layout::new();
    let mut vars: Vec<Option<usize>> = vec![None; program.names.len()];
    for (index, id) in request.inputs.iter().enumerate() {
        if types[*id].value.is_none() {
            vars[*id] = Some(layout.given(Place::Input { index }, types[*id].dtype, types[*id].len()));
        }
    }
    for (index, id) in request.weights.iter().enumerate() {
        if types[*id].value.is_none() {
            vars[*id] = Some(layout.given(Place::Weight { index }, types[*id].dtype, types[*id].len()));
        }
    }
    let mut tape = Tape::new(&types, &nodes, &request);
    let mut kernels: Vec<(Box<dyn Kernel>, std::sync::Arc<str>)> = Vec::new();
    let mut kernel_of: Vec<Option<usize>> = vec![None; nodes.len()];
    let mut updates = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        for id in node.inputs.iter().flatten() {
            constant(&types, &mut layout, &mut vars, *id);
        }
        if node.op.is_view() {
            let (Some(from), Some(to)) =
                (node.inputs.first().copied().flatten(), node.outputs.first().copied().flatten())
            else {
                return Err(node.error(&[], OpError::MissingInput { input: 0 }));
            };
            vars[to] = vars[from];
            continue;
        }
        let replaced = replaced_weights(node, &request);
        let signature = signature(node, &types, &request, &tape, &replaced);
        let kernel = kernel(node, &signature).map_err(|source| node_error(node, &types, source))?;
        for id in node.outputs.iter().flatten() {
            vars[*id] = Some(layout.var(types[*id].dtype, types[*id].len()));
        }
        let mut outputs: Vec<Option<usize>> = node.outputs.iter().map(|id| id.and_then(|id| vars[id])).collect();
        outputs.resize(signature.outputs.len(), None);
        for Replaced { output, weight, input } in replaced {
            let var = *outputs[output].get_or_insert_with(|| layout.var(types[input].dtype, types[input].len()));
            layout.pin(var);
            updates.push((weight, var));
        }
        layout.step(Step::Forward {
            kernel: kernels.len(),
            inputs: node.inputs.iter().map(|id| id.and_then(|id| vars[id])).collect(),
            outputs,
        });
        kernel_of[index] = Some(kernels.len());
        kernels.push((kernel, node.label.clone()));
    }
    for id in request.outputs {
        constant(&types, &mut layout, &mut vars, *id);
        if let Some(var) = vars[*id] {
            layout.pin(var);
        }
    }
    let forward_steps = layout.len();
    tape.backward(&mut layout, &vars, &kernel_of, &request)?;
    let gradients = tape.gradients(&mut layout);
    let (cells, steps, places) = layout.finish(request.memory).ok_or_else(|| EngineError::Graph {
        graph: program.name.clone(),
        reason: format!(
            "its values take more memory than the {} bytes that it may have: allow it more by `set_memory`",
            request.memory
        ),
    })?;
    let outputs = request.outputs.iter().map(|id| {
        let place = vars[*id].map_or(Place::Absent, |var| places[var]);
        (place, types[*id].shape.clone())
    });
    Ok(Compiled::Plan(Box::new(Plan::new(
        cells,
        kernels,
        steps,
        forward_steps,
        outputs.collect(),
        gradients.into_iter().map(|(id, var)| (id, places[var])).collect(),
        updates.into_iter().map(|(weight, var)| (weight, places[var])).collect(),
    ))))
}

/// Gives a constant its cell, when it has none yet.
fn constant(types: &[TensorType], layout: &mut Layout, vars: &mut [Option<usize>], id: ValueId) {
    if vars[id].is_none()
        && let Some(value) = &types[id].value
    {
        vars[id] = Some(layout.constant(Cell::from(value)));
    }
}

/// The nodes that the outputs depend on and that are not computed already, in order.
fn needed(program: &Program, types: &[TensorType], request: &Request<'_>) -> Vec<ProgramNode> {
    let mut wanted = vec![false; program.names.len()];
    for id in request.outputs {
        wanted[*id] = true;
    }
    let mut nodes = Vec::new();
    for node in program.nodes.iter().rev() {
        let mut outputs = node.outputs.iter().flatten();
        if !outputs.any(|id| wanted[*id] && types[*id].value.is_none()) {
            continue;
        }
        nodes.push(node.clone());
        for id in node.inputs.iter().flatten() {
            wanted[*id] = true;
        }
    }
    nodes.reverse();
    nodes
}

/// An output of a training step that takes the place of a weight.
struct Replaced {
    output: usize,
    /// The position of the weight among the weights.
    weight: usize,
    /// The weight as a value, which has the type of the output.
    input: ValueId,
}

/// What a training step replaces, see [`Op::updates`](super::op::Op::updates): not what is frozen.
fn replaced_weights(node: &ProgramNode, request: &Request<'_>) -> Vec<Replaced> {
    if request.mode != Mode::Training {
        return Vec::new();
    }
    let replaced = |(output, input): &(usize, usize)| {
        let input = node.inputs.get(*input).copied().flatten()?;
        let weight = request.weights.iter().position(|weight| *weight == input)?;
        (!is_frozen(request, input)).then_some(Replaced { output: *output, weight, input })
    };
    node.op.updates().iter().filter_map(replaced).collect()
}

/// Whether a value is a weight that the training compiled for leaves as it is.
fn is_frozen(request: &Request<'_>, id: ValueId) -> bool {
    matches!(request.seeds, Seeds::Loss(_)) && request.weights.contains(&id) && !request.wrt.contains(&id)
}

/// What a node's kernel is built for. Outputs that replace weights are wanted also where the node does not name them.
fn signature(
    node: &ProgramNode,
    types: &[TensorType],
    request: &Request<'_>,
    tape: &Tape<'_>,
    replaced: &[Replaced],
) -> Signature {
    let typed = |id: &Option<ValueId>| id.map(|id| types[id].clone());
    let mut outputs: Vec<Option<TensorType>> = node.outputs.iter().map(typed).collect();
    for Replaced { output, input, .. } in replaced {
        outputs.resize(outputs.len().max(output + 1), None);
        outputs[*output].get_or_insert_with(|| TensorType { value: None, ..types[*input].clone() });
    }
    Signature {
        inputs: node.inputs.iter().map(typed).collect(),
        outputs,
        mode: request.mode,
        wants: tape.wants(node),
        frozen: node.inputs.iter().map(|id| id.is_some_and(|id| is_frozen(request, id))).collect(),
        activation: node.activation.clone(),
    }
}

fn node_error(node: &ProgramNode, types: &[TensorType], source: OpError) -> EngineError {
    let known: Vec<Option<ValueType>> =
        node.inputs.iter().map(|id| id.map(|id| ValueType::known(types[id].dtype, &types[id].shape))).collect();
    node.error(&known, source)
}

/// A kernel for a node; one that does nothing where there is nothing to compute, whatever sizes the inputs have beside
/// an empty dimension.
fn kernel(node: &ProgramNode, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
    match signature.outputs.iter().flatten().all(|output| output.shape.contains(&0)) {
        true => Ok(Box::new(Idle {
            inputs: signature.inputs.iter().map(|input| input.as_ref().map(|input| input.dtype)).collect(),
        })),
        false => node.op.build(signature),
    }
}

/// The kernel of a node whose outputs have no elements, so that the gradients with respect to its inputs are zero.
struct Idle {
    /// The data types of the inputs.
    inputs: Vec<Option<DType>>,
}

impl Kernel for Idle {
    fn forward(&mut self, _: &mut Forward<'_>) -> Result<(), OpError> {
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        for (index, dtype) in self.inputs.iter().enumerate() {
            match dtype {
                Some(DType::F32) => io.d_input::<f32>(index)?.into_iter().for_each(|gradient| gradient.fill(0.0)),
                Some(DType::F64) => io.d_input::<f64>(index)?.into_iter().for_each(|gradient| gradient.fill(0.0)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Computes one node ahead, from constants.
fn evaluate(
    node: &ProgramNode,
    types: &[Option<ValueType>],
    outputs: &[ValueType],
    pool: &Pool,
) -> Result<Vec<Tensor>, OpError> {
    let concrete = |known: &ValueType| {
        known.sizes().map(|shape| TensorType { dtype: known.dtype, shape, value: known.value.clone() })
    };
    let planned: Option<Vec<TensorType>> = outputs.iter().map(concrete).collect();
    let Some(planned) = planned else {
        return Err(OpError::Plan { what: "the shape of a constant is not known".into() });
    };
    let mut cells = Vec::new();
    for output in &planned {
        let len = memory::element_count(&output.shape)
            .ok_or_else(|| OpError::TooLarge { shape: format!("{:?}", output.shape) })?;
        let cell = Cell::zeros(output.dtype, len);
        cells.push(cell.ok_or_else(|| OpError::NotCovered { what: format!("data type {}", output.dtype) })?);
    }
    if node.op.is_view() {
        let from = types.first().and_then(Option::as_ref).and_then(|known| known.value.as_ref());
        let (Some(from), Some(to)) = (from, planned.first()) else {
            return Err(OpError::MissingInput { input: 0 });
        };
        let view = from.reshape(to.shape.clone());
        return view.map(|view| vec![view]).map_err(|error| OpError::Plan { what: error.to_string() });
    }
    let signature = Signature {
        inputs: types.iter().map(|known| known.as_ref().and_then(concrete)).collect(),
        outputs: planned.iter().cloned().map(Some).collect(),
        mode: Mode::Inference,
        wants: Vec::new(),
        frozen: Vec::new(),
        activation: None,
    };
    let mut kernel = kernel(node, &signature)?;
    let inputs = types
        .iter()
        .map(|known| {
            known.as_ref().and_then(|known| known.value.as_ref()).map_or(super::cell::Slice::Absent, Into::into)
        })
        .collect();
    let slices = cells.iter_mut().map(|cell| cell.slice_mut(usize::MAX)).collect();
    let env = super::kernel::Env { pool, seed: 0 };
    kernel.forward(&mut super::kernel::Forward::new(inputs, slices, env))?;
    let tensors = cells.iter().zip(&planned).map(|(cell, planned)| cell.tensor(&planned.shape));
    let tensors: Option<Vec<Tensor>> = tensors.collect();
    tensors.ok_or_else(|| OpError::Plan { what: "a constant is shorter than its shape".into() })
}
