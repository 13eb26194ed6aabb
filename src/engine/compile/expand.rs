//! Expansion of control flow: bodies put in the place of If, Loop and Scan.
//!
//! Types and constants are inferred on the way, node by node, as they decide what is put in. A copy has values of its own
//! for everything that its body computes; what the body reads from outside, and its initializers, are shared.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::types::{initial, node_types, origins};
use super::{Request, Seeds};
use crate::engine::budget::{Budget, MAX_NODES};
use crate::engine::control::{Alias, Body, Control, Kind, MAX_COPIES, Scan, Stack, Unstack, dimension};
use crate::engine::error::{EngineError, OpError};
use crate::engine::op::{Op, ValueType, integers};
use crate::engine::program::{Program, ProgramNode, ValueId};
use crate::tensor::{DType, Tensor};

/// What came of expanding.
pub(super) enum Expanded {
    /// There is no control flow.
    Same,
    /// A program without it.
    Program(Box<Program>),
    /// What is put in depends on these inputs or weights.
    NeedsValues(BTreeSet<ValueId>),
}

/// Expands all control flow that the outputs depend on.
pub(super) fn expand(program: &Program, request: &Request<'_>) -> Result<Expanded, EngineError> {
    if program.nodes.iter().all(|node| node.control.is_none()) {
        return Ok(Expanded::Same);
    }
    let mut expansion = Expansion {
        request,
        types: initial(program, request),
        out: Program {
            name: program.name.clone(),
            names: program.names.clone(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            weights: Vec::new(),
            constants: program.constants.clone(),
            nodes: Vec::new(),
            values: HashMap::new(),
        },
        frozen: vec![None; program.names.len()],
        copies: 0,
        budget: Budget::new(),
        room: request.memory,
    };
    if !matches!(request.seeds, Seeds::None) {
        for id in &request.wrt {
            expansion.frozen[*id] = expansion.is_constant(*id).then_some(*id);
        }
    }
    for index in program.needed(request.outputs).0 {
        match expansion.node(program.nodes[index].clone()) {
            Ok(()) => {}
            Err(Stop::NeedsValues(values)) => return Ok(Expanded::NeedsValues(values)),
            Err(Stop::Error(error)) => return Err(error),
        }
    }
    Ok(Expanded::Program(Box::new(expansion.out)))
}

/// Why an expansion does not go on.
enum Stop {
    Error(EngineError),
    NeedsValues(BTreeSet<ValueId>),
}

impl From<EngineError> for Stop {
    fn from(error: EngineError) -> Self {
        Stop::Error(error)
    }
}

struct Expansion<'a> {
    request: &'a Request<'a>,
    out: Program,
    types: Vec<Option<ValueType>>,
    /// For each value that is computed from the value of one whose gradient is wanted, which one that is. Were it to
    /// decide what is put in, it would be a constant of the plan, and no gradient would reach it by its other roads.
    frozen: Vec<Option<ValueId>>,
    copies: usize,
    budget: Budget,
    /// Bytes left for what is computed ahead.
    room: usize,
}

impl Expansion<'_> {
    fn node(&mut self, node: ProgramNode) -> Result<(), Stop> {
        let Some(control) = node.control.clone() else { return self.plain(node) };
        match &control.kind {
            Kind::If => self.branch(&node, &control),
            Kind::Loop => self.repeat(&node, &control),
            Kind::Scan(scan) => self.scan(&node, &control, scan),
        }
    }

    /// Adds a node that is no control flow.
    fn plain(&mut self, node: ProgramNode) -> Result<(), Stop> {
        node_types(&node, &mut self.types, self.request.pool, &mut self.room)?;
        let unknown = |id: &ValueId| self.types[*id].as_ref().is_none_or(|known| known.sizes().is_none());
        if node.outputs.iter().flatten().any(unknown) {
            let inputs = node.op.shape_inputs().iter().filter_map(|index| node.inputs.get(*index).copied().flatten());
            let needed = self.needs(&node, inputs.collect(), "a result whose shape does not follow from the inputs'");
            return Err(needed);
        }
        if let Some(wrt) = node.inputs.iter().flatten().find_map(|id| self.frozen[*id]) {
            node.outputs.iter().flatten().for_each(|id| self.frozen[*id] = Some(wrt));
        }
        self.out.nodes.push(node);
        Ok(())
    }

    /// Takes one node with `bytes` bytes of names, inputs and outputs off the budget.
    fn take(&mut self, of: &ProgramNode, bytes: usize) -> Result<(), Stop> {
        match self.budget.take(bytes) {
            true => Ok(()),
            false => Err(self.too_many(of)),
        }
    }

    /// Refuses `copies` copies of a body when there is no room for them, before any is made.
    fn expect_room(&self, node: &ProgramNode, body: &Body, copies: usize) -> Result<(), Stop> {
        match self.budget.has(body.nodes.len().saturating_mul(copies)) {
            true => Ok(()),
            false => Err(self.too_many(node)),
        }
    }

    fn too_many(&self, node: &ProgramNode) -> Stop {
        let what = format!(
            "a graph with more than {MAX_NODES} nodes, once its loops are expanded (long names and lists count as nodes),"
        );
        self.error(node, OpError::NotCovered { what }).into()
    }

    /// Stops because `values` have to be known; `what` says what depends on them where they never will be.
    fn needs(&self, node: &ProgramNode, values: Vec<ValueId>, what: &str) -> Stop {
        let origins = origins(&self.out, values, |id| !self.is_constant(id));
        match origins.is_empty() {
            false => Stop::NeedsValues(origins),
            true => Stop::Error(self.error(node, OpError::NotCovered { what: what.into() })),
        }
    }

    fn is_constant(&self, id: ValueId) -> bool {
        self.types[id].as_ref().is_some_and(|known| known.value.is_some())
    }

    fn error(&self, node: &ProgramNode, source: OpError) -> EngineError {
        let known: Vec<_> = node.inputs.iter().map(|id| id.and_then(|id| self.types[id].clone())).collect();
        node.error(&known, source)
    }

    /// The value of `id`, on which depends what is put in.
    fn known(&self, node: &ProgramNode, id: ValueId, what: &str) -> Result<Tensor, Stop> {
        let Some(value) = self.types[id].as_ref().and_then(|known| known.value.clone()) else {
            return Err(self.needs(node, vec![id], &format!("{what} that does not follow from the inputs")));
        };
        if let Some(wrt) = self.frozen[id] {
            let what = format!("a gradient with respect to `{}`, on which {what} depends,", self.out.names[wrt]);
            return Err(self.error(node, OpError::NotCovered { what }).into());
        }
        Ok(value)
    }

    fn condition(&self, node: &ProgramNode, id: ValueId) -> Result<bool, Stop> {
        let value = self.known(node, id, "a condition")?;
        let wrong = || OpError::Value { input: 0, expected: "one bool".into(), found: format!("{value:?}") };
        match value.as_slice::<bool>() {
            Ok([value]) => Ok(*value),
            _ => Err(self.error(node, wrong()).into()),
        }
    }

    /// A new value.
    fn fresh(&mut self, name: String, known: Option<ValueType>) -> ValueId {
        self.out.names.push(name);
        self.types.push(known);
        self.frozen.push(None);
        self.out.names.len() - 1
    }

    fn constant(&mut self, name: &str, tensor: Tensor) -> ValueId {
        let id = self.fresh(name.into(), Some(ValueType::constant(tensor.clone())));
        self.out.constants.push((id, tensor));
        id
    }

    /// Adds a node of the expansion itself.
    fn glue(
        &mut self,
        of: &ProgramNode,
        op: impl Op + 'static,
        inputs: Vec<Option<ValueId>>,
        outputs: Vec<Option<ValueId>>,
    ) -> Result<(), Stop> {
        let ProgramNode { label, op_type, opset, .. } = of.clone();
        self.plain(ProgramNode {
            label,
            op_type,
            opset,
            op: Arc::new(op),
            activation: None,
            inputs,
            outputs,
            control: None,
        })
    }

    /// Copies a body; returns its outputs.
    fn copy(
        &mut self,
        node: &ProgramNode,
        control: &Control,
        body: &Body,
        inputs: &[ValueId],
        place: &str,
    ) -> Result<Vec<ValueId>, Stop> {
        self.copies += 1;
        if self.copies > MAX_COPIES {
            let what = format!("a graph with more than {MAX_COPIES} iterations of loops");
            return Err(self.error(node, OpError::NotCovered { what }).into());
        }
        // What stays of a copy besides its nodes: what it takes and gives.
        self.take(node, (inputs.len() + body.outputs.len()) * size_of::<ValueId>())?;
        let captured = control.captured.iter().copied().zip(node.inputs[control.explicit..].iter().flatten().copied());
        let mut here: HashMap<ValueId, ValueId> = captured.collect();
        here.extend(body.inputs.iter().copied().zip(inputs.iter().copied()));
        for template in &body.nodes {
            let prefix = node.label.len() + place.len();
            let names = template.outputs.iter().flatten().map(|id| prefix + self.out.names[*id].len());
            let lists = (template.inputs.len() + template.outputs.len()) * size_of::<Option<ValueId>>();
            self.take(node, prefix + template.label.len() + names.sum::<usize>() + lists)?;
            let mut copy = template.clone();
            copy.label = format!("{}{place}/{}", node.label, template.label).into();
            for id in copy.inputs.iter_mut().flatten() {
                *id = here.get(id).copied().unwrap_or(*id);
            }
            for id in copy.outputs.iter_mut().flatten() {
                let name = format!("{}{place}/{}", node.label, self.out.names[*id]);
                let new = self.fresh(name, None);
                here.insert(*id, new);
                *id = new;
            }
            self.node(copy)?;
        }
        Ok(body.outputs.iter().map(|id| here.get(id).copied().unwrap_or(*id)).collect())
    }

    fn branch(&mut self, node: &ProgramNode, control: &Control) -> Result<(), Stop> {
        let Some(condition) = node.inputs.first().copied().flatten() else {
            return Err(self.error(node, OpError::MissingInput { input: 0 }).into());
        };
        let (index, place) = if self.condition(node, condition)? { (0, ".then") } else { (1, ".else") };
        let values = self.copy(node, control, &control.bodies[index], &[], place)?;
        self.pass_on(node, 0, &values)
    }

    /// Gives the node's outputs from `first` on the values of the copies.
    fn pass_on(&mut self, node: &ProgramNode, first: usize, values: &[ValueId]) -> Result<(), Stop> {
        for (output, value) in node.outputs[first.min(node.outputs.len())..].iter().zip(values) {
            if output.is_some() {
                self.glue(node, Alias, vec![Some(*value)], vec![*output])?;
            }
        }
        Ok(())
    }

    fn repeat(&mut self, node: &ProgramNode, control: &Control) -> Result<(), Stop> {
        let body = &control.bodies[0];
        let explicit = &node.inputs[..control.explicit];
        let limit = match explicit.first().copied().flatten() {
            None => None,
            Some(id) => {
                let value = self.known(node, id, "a trip count")?;
                let count =
                    integers(&value).filter(|values| values.len() == 1).and_then(|values| values.first().copied());
                let wrong = || OpError::Value { input: 0, expected: "one i64".into(), found: format!("{value:?}") };
                Some(count.ok_or_else(|| self.error(node, wrong()))?)
            }
        };
        let given = explicit.get(1).copied().flatten();
        let mut condition = match given {
            Some(id) => id,
            None => self.constant("condition", Tensor::scalar(true)),
        };
        let mut carried = Vec::new();
        for (index, id) in explicit.iter().enumerate().skip(2) {
            carried.push(id.ok_or_else(|| self.error(node, OpError::MissingInput { input: index }))?);
        }
        let count = carried.len();
        if let (None, Some(limit)) = (given, limit) {
            self.expect_room(node, body, usize::try_from(limit).unwrap_or(0))?;
        }
        let mut scanned: Vec<Vec<ValueId>> = vec![Vec::new(); body.outputs.len() - 1 - count];
        let mut iteration = 0;
        while limit.is_none_or(|limit| iteration < limit) {
            if given.is_some() && !self.condition(node, condition)? {
                break;
            }
            let mut inputs = vec![self.constant("iteration", Tensor::scalar(iteration)), condition];
            inputs.extend(&carried);
            let outputs = self.copy(node, control, body, &inputs, &format!("[{iteration}]"))?;
            condition = outputs[0];
            carried = outputs[1..=count].to_vec();
            scanned.iter_mut().zip(&outputs[1 + count..]).for_each(|(all, id)| all.push(*id));
            iteration += 1;
        }
        self.pass_on(node, 0, &carried)?;
        for (index, values) in scanned.into_iter().enumerate() {
            let declared = body.declared[1 + count + index].as_ref();
            self.stack(node, count + index, values, declared, (0, false))?;
        }
        Ok(())
    }

    fn scan(&mut self, node: &ProgramNode, control: &Control, scan: &Scan) -> Result<(), Stop> {
        let body = &control.bodies[0];
        let mut given = Vec::new();
        for (index, id) in node.inputs[..control.explicit].iter().enumerate() {
            given.push(id.ok_or_else(|| self.error(node, OpError::MissingInput { input: index }))?);
        }
        let count = given.len() - scan.inputs;
        let mut length = None;
        for (index, id) in given[count..].iter().enumerate() {
            let shape = self.types[*id].as_ref().and_then(ValueType::sizes).unwrap_or_default();
            let axis = dimension(scan.input(index).0, shape.len()).map_err(|source| self.error(node, source))?;
            match length {
                Some(length) if length != shape[axis] => {
                    let expected = format!("size {length} in dimension {axis}, as input {count} is scanned");
                    let found = crate::tensor::SymbolicShape::known(&shape);
                    return Err(self.error(node, OpError::Shape { input: count + index, expected, found }).into());
                }
                _ => length = Some(shape[axis]),
            }
        }
        let length = length.unwrap_or(0);
        if length > MAX_COPIES {
            let what = format!("a graph with more than {MAX_COPIES} iterations of loops");
            return Err(self.error(node, OpError::NotCovered { what }).into());
        }
        self.expect_room(node, body, length)?;
        let mut elements = Vec::new();
        for (index, id) in given[count..].iter().enumerate() {
            let (axis, reversed) = scan.input(index);
            // Each element is a value with a type.
            self.take(node, length * size_of::<ValueType>())?;
            let parts: Vec<ValueId> = (0..length).map(|_| self.fresh("element".into(), None)).collect();
            if length > 0 {
                let outputs = parts.iter().copied().map(Some).collect();
                self.glue(node, Unstack { axis, reversed }, vec![Some(*id)], outputs)?;
            }
            elements.push(parts);
        }
        let mut state = given[..count].to_vec();
        let mut scanned: Vec<Vec<ValueId>> = vec![Vec::new(); body.outputs.len() - count];
        for step in 0..length {
            let inputs: Vec<ValueId> = state.iter().copied().chain(elements.iter().map(|parts| parts[step])).collect();
            let outputs = self.copy(node, control, body, &inputs, &format!("[{step}]"))?;
            state = outputs[..count].to_vec();
            scanned.iter_mut().zip(&outputs[count..]).for_each(|(all, id)| all.push(*id));
        }
        self.pass_on(node, 0, &state)?;
        for (index, values) in scanned.into_iter().enumerate() {
            self.stack(node, count + index, values, body.declared[count + index].as_ref(), scan.output(index))?;
        }
        Ok(())
    }

    /// Gives output `output` of the node the values of all iterations side by side.
    fn stack(
        &mut self,
        node: &ProgramNode,
        output: usize,
        values: Vec<ValueId>,
        declared: Option<&ValueType>,
        (axis, reversed): (i64, bool),
    ) -> Result<(), Stop> {
        let Some(id) = node.outputs.get(output).copied().flatten() else { return Ok(()) };
        if !values.is_empty() {
            let values = values.into_iter().map(Some).collect();
            return self.glue(node, Stack { axis, reversed }, values, vec![Some(id)]);
        }
        // Without an iteration nothing but the declaration says what an element would be; unknown sizes are 0.
        let known = declared.and_then(|declared| declared.dims().map(|dims| (declared.dtype, dims)));
        let Some((dtype, dims)) = known else {
            let what = "a loop without iterations, whose body does not declare its outputs,".into();
            return Err(self.error(node, OpError::NotCovered { what }).into());
        };
        let mut shape: Vec<usize> = dims.iter().map(|dim| dim.known().unwrap_or(0)).collect();
        let axis = dimension(axis, shape.len() + 1).map_err(|source| self.error(node, source))?;
        shape.insert(axis, 0);
        let Some(empty) = empty(dtype, &shape) else {
            let what = format!("an empty tensor of {dtype}");
            return Err(self.error(node, OpError::NotCovered { what }).into());
        };
        let value = self.constant("nothing", empty);
        self.glue(node, Alias, vec![Some(value)], vec![Some(id)])
    }
}

fn empty(dtype: DType, shape: &[usize]) -> Option<Tensor> {
    crate::engine::cell::Cell::zeros(dtype, 0)?.tensor(shape)
}
