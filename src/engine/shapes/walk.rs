//! The types of all values, node by node, as far as they follow: nothing here has to be known.

use std::collections::HashMap;

use crate::engine::compile::node_types;
use crate::engine::control::{Body, Control, Kind, Scan, dimension};
use crate::engine::error::{EngineError, OpError};
use crate::engine::op::{ValueType, integers};
use crate::engine::pool::Pool;
use crate::engine::program::{Program, ProgramNode, ValueId};
use crate::tensor::{DType, Dim, SymbolicShape};

/// How often the body of a loop is looked at until its state changes no more. A shape can lose its dimensions one by one.
const MOST_ROUNDS: usize = 80;

/// How many nodes are looked at beyond four times those of the graph itself: bodies are looked at again and again, and lie
/// inside one another. What comes after is unknown.
const MOST_NODES: usize = 100_000;

/// The types of all values, by number, from those that `given` holds; `None` where the data type does not follow. Values
/// computed ahead take at most `room` bytes. Fails where a shape rule refuses what is known.
pub(super) fn walk(
    program: &Program,
    given: &HashMap<ValueId, ValueType>,
    pool: &Pool,
    room: usize,
) -> Result<Types, EngineError> {
    let mut types = vec![None; program.names.len()];
    for (id, known) in given {
        types[*id] = Some(known.clone());
    }
    let left = program.nodes.len().saturating_mul(4).saturating_add(MOST_NODES);
    let mut walk = Walk { types, pool, room, left };
    program.nodes.iter().try_for_each(|node| walk.node(node))?;
    Ok(walk.types)
}

/// Types of several values; `None` where one's data type does not follow.
type Types = Vec<Option<ValueType>>;

struct Walk<'a> {
    types: Types,
    pool: &'a Pool,
    room: usize,
    /// How many nodes may still be looked at.
    left: usize,
}

impl Walk<'_> {
    fn node(&mut self, node: &ProgramNode) -> Result<(), EngineError> {
        let Some(left) = self.left.checked_sub(1) else {
            self.write(node, &[]);
            return Ok(());
        };
        self.left = left;
        match &node.control {
            Some(control) => self.control(node, control),
            None if node.inputs.iter().flatten().all(|id| self.types[*id].is_some()) => {
                node_types(node, &mut self.types, self.pool, &mut self.room)
            }
            None => {
                self.write(node, &[]);
                Ok(())
            }
        }
    }

    /// Gives the outputs of a node these types; those beyond are unknown.
    fn write(&mut self, node: &ProgramNode, outputs: &[Option<ValueType>]) {
        for (index, id) in node.outputs.iter().enumerate() {
            if let Some(id) = id {
                self.types[*id] = outputs.get(index).cloned().flatten();
            }
        }
    }

    fn control(&mut self, node: &ProgramNode, control: &Control) -> Result<(), EngineError> {
        let outputs = match &control.kind {
            Kind::If => self.branches(node, control)?,
            Kind::Loop => self.repeated(node, control)?,
            Kind::Scan(scan) => self.scanned(node, control, scan)?,
        };
        self.write(node, &outputs);
        Ok(())
    }

    fn body(&mut self, body: &Body) -> Result<Types, EngineError> {
        body.nodes.iter().try_for_each(|node| self.node(node))?;
        Ok(body.outputs.iter().map(|id| self.types[*id].clone()).collect())
    }

    fn input(&self, node: &ProgramNode, index: usize) -> Option<&ValueType> {
        self.types[node.inputs.get(index).copied().flatten()?].as_ref()
    }

    /// What both branches have in common. A branch whose types contradict one another is never run.
    fn branches(&mut self, node: &ProgramNode, control: &Control) -> Result<Types, EngineError> {
        let value = self.input(node, 0).and_then(|condition| condition.value.as_ref());
        let chosen = value.and_then(|value| value.as_slice::<bool>().ok()?.first().copied());
        if let Some(condition) = chosen {
            let body = &control.bodies[usize::from(!condition)];
            return self.body(body);
        }
        let (then, otherwise) = (self.body(&control.bodies[0]), self.body(&control.bodies[1]));
        match (then, otherwise) {
            (Ok(then), Ok(otherwise)) => Ok(then.iter().zip(&otherwise).map(|(a, b)| joined(a, b)).collect()),
            (Ok(only), Err(_)) | (Err(_), Ok(only)) => Ok(only.into_iter().map(without_value).collect()),
            (Err(error), Err(_)) => Err(error),
        }
    }

    /// Looks at a body until the types of its state, which `place` puts before it, change no more; returns the state and
    /// the other outputs.
    fn settled(
        &mut self,
        body: &Body,
        mut state: Types,
        first: usize,
        place: impl Fn(&mut Self, &[Option<ValueType>]),
    ) -> Result<(Types, Types), EngineError> {
        for _ in 0..MOST_ROUNDS {
            place(self, &state);
            let outputs = self.body(body)?;
            let next: Types =
                state.iter().zip(&outputs[first..]).map(|(before, after)| joined(before, after)).collect();
            if next == state {
                let rest = outputs[first + state.len()..].iter().cloned().map(without_value).collect();
                return Ok((state, rest));
            }
            state = next;
        }
        let rest = body.outputs.len() - first - state.len();
        Ok((vec![None; state.len()], vec![None; rest]))
    }

    fn repeated(&mut self, node: &ProgramNode, control: &Control) -> Result<Types, EngineError> {
        let body = &control.bodies[0];
        let count = self.input(node, 0).and_then(|count| integers(count.value.as_ref()?)?.first().copied());
        // With a condition nobody knows how often it runs.
        let conditional = node.inputs[..control.explicit].get(1).is_some_and(Option::is_some);
        let count = match count.filter(|_| !conditional).map(|count| usize::try_from(count).unwrap_or(0)) {
            Some(count) => Dim::Known(count),
            None => Dim::Any,
        };
        let carried = (2..control.explicit.max(2)).map(|index| without_value(self.input(node, index).cloned()));
        let carried: Types = carried.collect();
        let (state, rest) = self.settled(body, carried, 1, |walk, state| {
            let own = [Some(ValueType::known(DType::I64, &[])), Some(ValueType::known(DType::Bool, &[]))];
            walk.place(body, own.iter().chain(state));
        })?;
        let stacked = rest.into_iter().map(|element| laid_out(element, &count, 0));
        Ok(state.into_iter().chain(stacked).collect())
    }

    fn scanned(&mut self, node: &ProgramNode, control: &Control, scan: &Scan) -> Result<Types, EngineError> {
        let body = &control.bodies[0];
        let states = control.explicit - scan.inputs;
        let state = (0..states).map(|index| without_value(self.input(node, index).cloned())).collect();
        let mut length = Dim::Any;
        let mut elements = Vec::with_capacity(scan.inputs);
        for index in 0..scan.inputs {
            let Some(whole) = self.input(node, states + index) else {
                elements.push(None);
                continue;
            };
            let (dtype, mut shape) = (whole.dtype, whole.shape.clone());
            if let SymbolicShape::Ranked(dims) = &mut shape {
                let axis = dimension(scan.input(index).0, dims.len()).map_err(|source| self.fault(node, source))?;
                let own = dims.remove(axis);
                if length == Dim::Any || own.known().is_some() {
                    length = own;
                }
            }
            elements.push(Some(ValueType::new(dtype, shape)));
        }
        let (state, rest) =
            self.settled(body, state, 0, |walk, state| walk.place(body, state.iter().chain(&elements)))?;
        let stacked =
            rest.into_iter().enumerate().map(|(index, element)| laid_out(element, &length, scan.output(index).0));
        Ok(state.into_iter().chain(stacked).collect())
    }

    /// Gives the inputs of a body these types.
    fn place<'t>(&mut self, body: &Body, types: impl Iterator<Item = &'t Option<ValueType>>) {
        for (id, known) in body.inputs.iter().zip(types) {
            self.types[*id] = known.clone();
        }
    }

    fn fault(&self, node: &ProgramNode, source: OpError) -> EngineError {
        let known: Types = node.inputs.iter().map(|id| id.and_then(|id| self.types[id].clone())).collect();
        node.error(&known, source)
    }
}

fn without_value(known: Option<ValueType>) -> Option<ValueType> {
    known.map(|known| ValueType { value: None, ..known })
}

/// What holds of both; nothing when their data types differ.
fn joined(a: &Option<ValueType>, b: &Option<ValueType>) -> Option<ValueType> {
    let (a, b) = (a.as_ref()?, b.as_ref()?);
    if a.dtype != b.dtype {
        return None;
    }
    let shape = match (&a.shape, &b.shape) {
        (SymbolicShape::Ranked(a), SymbolicShape::Ranked(b)) if a.len() == b.len() => {
            let both = a.iter().zip(b).map(|(a, b)| if a == b { a.clone() } else { Dim::Any });
            SymbolicShape::Ranked(both.collect())
        }
        _ => SymbolicShape::Unranked,
    };
    Some(ValueType::new(a.dtype, shape))
}

/// The type of `length` such elements side by side along a new dimension.
fn laid_out(element: Option<ValueType>, length: &Dim, axis: i64) -> Option<ValueType> {
    let element = element?;
    let shape = match element.shape {
        SymbolicShape::Ranked(mut dims) => match dimension(axis, dims.len() + 1) {
            Ok(axis) => {
                dims.insert(axis, length.clone());
                SymbolicShape::Ranked(dims)
            }
            Err(_) => SymbolicShape::Unranked,
        },
        SymbolicShape::Unranked => SymbolicShape::Unranked,
    };
    Some(ValueType::new(element.dtype, shape))
}
