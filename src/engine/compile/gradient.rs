//! Reverse mode: the steps that turn the gradient of the outputs into that of the weights.
//!
//! Every value has at most one gradient. The first node that contributes to it (in reverse order) writes it, later ones
//! write beside it and are added. Source: Griewank and Walther, *Evaluating Derivatives*, 2nd edition, chapter 3.

use std::collections::BTreeSet;

use super::memory::Layout;
use super::types::carries_gradient;
use super::{Request, Seeds};
use crate::engine::cell::Cell;
use crate::engine::error::{EngineError, OpError};
use crate::engine::op::TensorType;
use crate::engine::plan::{Place, Step};
use crate::engine::program::{ProgramNode, ValueId};
use crate::tensor::{DType, Tensor};

/// What is known of the gradients.
pub(super) struct Tape<'a> {
    types: &'a [TensorType],
    nodes: &'a [ProgramNode],
    /// Whether the gradient of a value is wanted, for its own sake or that of what it is computed from.
    wanted: Vec<bool>,
    wrt: BTreeSet<ValueId>,
    /// The variable that holds the gradient of a value.
    gradient: Vec<Option<usize>>,
    /// Whether that variable may be written to again.
    owned: Vec<bool>,
}

impl<'a> Tape<'a> {
    pub fn new(types: &'a [TensorType], nodes: &'a [ProgramNode], request: &Request<'_>) -> Self {
        let count = types.len();
        let mut wanted = vec![false; count];
        if !matches!(request.seeds, Seeds::None) {
            for id in &request.wrt {
                wanted[*id] = types[*id].value.is_none() && carries_gradient(types[*id].dtype);
            }
            for node in nodes {
                let flows = |(index, id): (usize, &Option<ValueId>)| {
                    id.is_some_and(|id| wanted[id]) && node.op.is_differentiable(index)
                };
                if node.inputs.iter().enumerate().any(flows) {
                    for id in node.outputs.iter().flatten() {
                        wanted[*id] = carries_gradient(types[*id].dtype);
                    }
                }
            }
        }
        let wrt = request.wrt.clone();
        Tape { types, nodes, wanted, wrt, gradient: vec![None; count], owned: vec![false; count] }
    }

    /// Which gradients with respect to its inputs a node will be asked for.
    pub fn wants(&self, node: &ProgramNode) -> Vec<bool> {
        let inputs = node.inputs.iter().enumerate();
        let wants: Vec<bool> =
            inputs.map(|(i, id)| id.is_some_and(|id| self.wanted[id]) && node.op.is_differentiable(i)).collect();
        if wants.iter().any(|wants| *wants) { wants } else { Vec::new() }
    }

    /// Adds the backward steps to `layout`.
    pub fn backward(
        &mut self,
        layout: &mut Layout,
        vars: &[Option<usize>],
        kernel_of: &[Option<usize>],
        request: &Request<'_>,
    ) -> Result<(), EngineError> {
        match request.seeds {
            Seeds::None => return Ok(()),
            Seeds::Loss(loss) => {
                let one = match self.types[loss].dtype {
                    DType::F64 => Cell::from(&Tensor::scalar(1.0f64)),
                    _ => Cell::from(&Tensor::scalar(1.0f32)),
                };
                self.gradient[loss] = self.wanted[loss].then(|| layout.constant(one));
            }
            Seeds::Given => {
                for (index, id) in request.outputs.iter().enumerate().filter(|(_, id)| self.wanted[**id]) {
                    let place = Place::Input { index: request.inputs.len() + index };
                    let var = layout.given(place, self.types[*id].dtype, self.types[*id].len());
                    self.gradient[*id] = Some(var);
                }
            }
        }
        for (index, node) in self.nodes.iter().enumerate().rev() {
            let wants = self.wants(node);
            let d_outputs: Vec<Option<usize>> =
                node.outputs.iter().map(|id| id.and_then(|id| self.gradient[id])).collect();
            if wants.is_empty() || d_outputs.iter().all(Option::is_none) {
                continue;
            }
            if node.op.is_view() {
                let (Some(Some(from)), Some(Some(to))) = (node.outputs.first(), node.inputs.first()) else { continue };
                self.pass(layout, *from, *to);
                continue;
            }
            let Some(kernel) = kernel_of.get(index).copied().flatten() else {
                let what = "a node of the backward pass has no kernel".into();
                return Err(node.error(&[], OpError::Plan { what }));
            };
            let reads = node.reads();
            let read = |read: bool, id: &Option<ValueId>| if read { id.and_then(|id| vars[id]) } else { None };
            let inputs = node.inputs.iter().enumerate().map(|(i, id)| read(reads.input(i), id)).collect();
            let outputs = node.outputs.iter().enumerate().map(|(i, id)| read(reads.output(i), id)).collect();
            // What is written beside an existing gradient, and has to be added to it.
            let mut beside: Vec<(usize, usize)> = Vec::new();
            let mut d_inputs = Vec::with_capacity(node.inputs.len());
            for (index, id) in node.inputs.iter().enumerate() {
                let id = id.filter(|_| wants.get(index).copied().unwrap_or(false));
                d_inputs.push(id.map(|id| {
                    let var = layout.var(self.types[id].dtype, self.types[id].len());
                    match self.gradient[id] {
                        None => {
                            self.gradient[id] = Some(var);
                            self.owned[id] = true;
                        }
                        Some(_) => beside.push((id, var)),
                    }
                    var
                }));
            }
            layout.step(Step::Backward { kernel, inputs, outputs, d_outputs, d_inputs });
            for (id, var) in beside {
                self.add(layout, id, var);
            }
        }
        Ok(())
    }

    /// Adds what `from` holds to the gradient of `id`.
    fn add(&mut self, layout: &mut Layout, id: ValueId, from: usize) {
        let Some(gradient) = self.gradient[id] else {
            self.gradient[id] = Some(from);
            return;
        };
        let to = if self.owned[id] {
            gradient
        } else {
            let own = layout.var(self.types[id].dtype, self.types[id].len());
            layout.step(Step::Copy { from: gradient, to: own });
            self.gradient[id] = Some(own);
            self.owned[id] = true;
            own
        };
        layout.step(Step::Add { from, to });
    }

    /// The gradient of a view's output is that of its input; nobody reads the former again.
    fn pass(&mut self, layout: &mut Layout, from: ValueId, to: ValueId) {
        let Some(gradient) = self.gradient[from] else { return };
        match self.gradient[to] {
            None => {
                self.gradient[to] = Some(gradient);
                self.owned[to] = self.owned[from] && !self.wrt.contains(&from);
            }
            Some(_) => self.add(layout, to, gradient),
        }
    }

    /// The gradients that were asked for, kept from being overwritten. Those that the loss does not depend on are
    /// left out.
    pub fn gradients(&self, layout: &mut Layout) -> Vec<(ValueId, usize)> {
        let known = self.wrt.iter().filter_map(|id| self.gradient[*id].map(|var| (*id, var)));
        let known: Vec<_> = known.collect();
        for (_, var) in &known {
            layout.pin(*var);
        }
        known
    }
}
