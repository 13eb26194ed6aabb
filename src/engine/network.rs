//! A model that runs.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use smallvec::SmallVec;

use super::cell::{Cell, Slice};
use super::compile::{Compiled, Request, Seeds, compile};
use super::error::{EngineError, OpError};
use super::op::{Mode, ValueType};
use super::plan::{Given, Plan};
use super::pool::Pool;
use super::program::{Port, Program, ValueId};
use crate::onnx::Model;
use crate::tensor::{DType, Tensor, TensorData};

/// Bytes that the compiled plans of one network may take together, unless
/// [`set_plan_memory`](Network::set_plan_memory) says otherwise.
pub const DEFAULT_PLAN_MEMORY: usize = 1 << 30;

/// Bytes that the values of one graph may take, unless [`set_memory`](Network::set_memory) says otherwise: 4 GiB.
pub const DEFAULT_MEMORY: usize = 1 << 32;

/// An ONNX model on the engine: its weights can be read and changed, and it computes outputs and gradients.
///
/// The graph is compiled when inputs of new shapes arrive, and the plan is kept for the next time. Where shapes depend
/// on the *values* of an input (a `shape` that is fed in), a plan holds for those values.
pub struct Network {
    model: Model,
    program: Program,
    weights: Vec<Cell>,
    /// The value that each weight is.
    weight_ids: Vec<ValueId>,
    input_ids: Vec<ValueId>,
    /// Weights whose values decide shapes, so that they are constants; and inputs that do.
    by_value: BTreeSet<ValueId>,
    plans: Vec<Cached>,
    plan_memory: usize,
    memory: usize,
    pool: Pool,
    /// For plans that are not worth several threads.
    single: Pool,
    /// Stands where an input is not given.
    absent: Tensor,
    stop: Stop,
}

/// Stops the runs of a [`Network`] from another thread. Clones act on the same network.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Makes the run under way fail with [`EngineError::Stopped`] before its next node, and every later one at its
    /// start, until [`Stop::reset`].
    pub fn stop(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Allows runs again.
    pub fn reset(&self) {
        self.0.store(false, Ordering::Release);
    }

    /// What a plan looks at.
    pub(super) fn flag(&self) -> &AtomicBool {
        &self.0
    }
}

/// A plan and what it holds for.
struct Cached {
    mode: Mode,
    outputs: SmallVec<[ValueId; 4]>,
    gradient: Gradient,
    /// By input: nothing when it was not given.
    inputs: Vec<Option<CachedInput>>,
    plan: Box<Plan>,
}

struct CachedInput {
    dtype: DType,
    shape: Vec<usize>,
    /// The value, where the plan holds for that alone.
    value: Option<Tensor>,
}

/// Which gradients a plan computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Gradient {
    /// None.
    None,
    /// Of output 0, a scalar, with respect to these values.
    OfLoss(Arc<BTreeSet<ValueId>>),
    /// Of all outputs, with cotangents that are given after the inputs.
    OfAll(Arc<BTreeSet<ValueId>>),
}

impl Network {
    /// Reads a model. Fails when an operator, or the way it is used, is not covered: the error names the node.
    pub fn new(model: &Model) -> Result<Self, EngineError> {
        let program = Program::new(model)?;
        let weights = program.weights.iter().map(|weight| Cell::from(&weight.initial)).collect();
        let weight_ids = program.weights.iter().map(|weight| weight.id).collect();
        let input_ids = program.inputs.iter().map(|input| input.id).collect();
        Ok(Network {
            model: model.clone(),
            program,
            weights,
            weight_ids,
            input_ids,
            by_value: BTreeSet::new(),
            plans: Vec::new(),
            plan_memory: DEFAULT_PLAN_MEMORY,
            memory: DEFAULT_MEMORY,
            pool: Pool::new(1)?,
            single: Pool::new(1)?,
            absent: Tensor::scalar(0.0f32),
            stop: Stop::default(),
        })
    }

    /// Reads the model at `path`.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, EngineError> {
        Network::new(&Model::load(path)?)
    }

    /// Uses `threads` threads (0: one for each core; at first there is one).
    pub fn set_threads(&mut self, threads: usize) -> Result<(), EngineError> {
        self.pool = Pool::new(threads)?;
        Ok(())
    }

    /// Uses `threads` threads (0: one for each core) that all networks share which ask for so many here.
    pub fn share_threads(&mut self, threads: usize) -> Result<(), EngineError> {
        self.pool = Pool::shared(threads)?;
        Ok(())
    }

    /// A handle that stops this network's runs.
    pub fn stop_handle(&self) -> Stop {
        self.stop.clone()
    }

    /// Bounds the bytes that compiled plans take together, values and what operators keep for themselves; the one in use
    /// is always kept.
    pub fn set_plan_memory(&mut self, bytes: usize) {
        self.plan_memory = bytes;
        self.evict();
    }

    /// How many compiled plans are kept: one for each set of input shapes, outputs and gradients that was asked for.
    pub fn plan_count(&self) -> usize {
        self.plans.len()
    }

    /// How many bytes they take together, as [`set_plan_memory`](Network::set_plan_memory) counts them.
    pub fn plan_bytes(&self) -> usize {
        self.plans.iter().map(|cached| cached.plan.byte_len()).sum()
    }

    /// Bounds the bytes that the values of the graph take together (4 GiB at first): a graph that needs more is an error
    /// before anything is allocated for it. What an operator keeps for itself (a workspace, indices) is not counted. Less
    /// is wise for graphs from strangers, whose sizes may be anything; more may be needed to train with large minibatches.
    pub fn set_memory(&mut self, bytes: usize) {
        self.memory = bytes;
    }

    /// The model with the weights as they are now.
    pub fn model(&self) -> Model {
        let mut model = self.model.clone();
        self.write_weights(&mut model);
        model
    }

    /// Writes the weights as they are now to `model`, which has them where this network's own has them.
    pub(super) fn write_weights(&self, model: &mut Model) {
        for (weight, cell) in self.program.weights.iter().zip(&self.weights) {
            if let (Some(stored), Some(tensor)) = (weight.stored(model), cell.tensor(weight.initial.shape())) {
                *stored = tensor;
            }
        }
    }

    /// Writes [`model`](Network::model) to `path`, all or nothing.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), EngineError> {
        Ok(self.model().save(path)?)
    }

    /// The names of its inputs.
    pub fn inputs(&self) -> impl Iterator<Item = &str> {
        self.program.inputs.iter().map(|port| port.name.as_str())
    }

    /// The names of its outputs.
    pub fn outputs(&self) -> impl Iterator<Item = &str> {
        self.program.outputs.iter().map(|port| port.name.as_str())
    }

    /// The names and shapes of its weights: initializers of f32 and f64, those inside the bodies of If, Loop and Scan
    /// included. Where one of a body has the name of another weight, the node's name and a `/` stand before it.
    pub fn weights(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.program.weights.iter().map(|weight| (weight.name.as_str(), weight.initial.shape()))
    }

    /// A copy of the weight `name`.
    pub fn weight(&self, name: &str) -> Result<Tensor, EngineError> {
        let index = self.weight_index(name)?;
        let tensor = self.weights[index].tensor(self.program.weights[index].initial.shape());
        tensor.ok_or_else(|| self.no_such("weight", name))
    }

    /// Replaces the weight `name` by one of the same type and shape.
    pub fn set_weight(&mut self, name: &str, value: &Tensor) -> Result<(), EngineError> {
        let index = self.weight_index(name)?;
        let initial = &self.program.weights[index].initial;
        if value.dtype() != initial.dtype() || value.shape() != initial.shape() {
            return Err(EngineError::Input {
                name: name.into(),
                expected: format!("{} {:?}", initial.dtype(), initial.shape()),
                found: format!("{} {:?}", value.dtype(), value.shape()),
            });
        }
        self.weights[index] = Cell::from(value);
        if self.by_value.contains(&self.weight_ids[index]) {
            self.plans.clear();
        }
        Ok(())
    }

    /// The nodes that the plan in use computes, in order, nothing before the first run. A node that does the work of those
    /// after or before it as well (a convolution with its activation, a chain of elementwise operators) stands for all.
    pub fn planned(&self) -> Vec<&str> {
        self.plans.first().map(|cached| cached.plan.labels().collect()).unwrap_or_default()
    }

    /// Computes all outputs.
    pub fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Vec<Tensor>, EngineError> {
        let outputs: Vec<ValueId> = self.program.outputs.iter().map(|port| port.id).collect();
        self.compute(inputs, &outputs)
    }

    /// Computes the outputs named, and only what they need.
    pub fn run_for(&mut self, outputs: &[&str], inputs: &[(&str, &Tensor)]) -> Result<Vec<Tensor>, EngineError> {
        let outputs: Result<Vec<ValueId>, EngineError> = outputs.iter().map(|name| self.output_id(name)).collect();
        self.compute(inputs, &outputs?)
    }

    fn compute(&mut self, inputs: &[(&str, &Tensor)], outputs: &[ValueId]) -> Result<Vec<Tensor>, EngineError> {
        let given = self.sort_inputs(inputs)?;
        self.execute(&given, &[], Mode::Inference, outputs, &Gradient::None, 0, |plan, given| {
            let tensors: Option<Vec<Tensor>> = (0..outputs.len()).map(|index| plan.output(index, given)).collect();
            tensors
        })?
        .ok_or_else(|| EngineError::Graph {
            graph: self.program.name.clone(),
            reason: "an output was not computed".into(),
        })
    }

    /// Computes all outputs in training mode, and the gradients with respect to the weights and inputs named, of the
    /// sum over all outputs of output times cotangent. A cotangent has the type and shape of its output; outputs that are
    /// not of f32 or f64 take any tensor. A gradient is `None` when the outputs do not depend on that value.
    #[allow(clippy::type_complexity, reason = "two lists")]
    pub fn gradients(
        &mut self,
        inputs: &[(&str, &Tensor)],
        cotangents: &[Tensor],
        with_respect_to: &[&str],
        seed: u64,
    ) -> Result<(Vec<Tensor>, Vec<Option<Tensor>>), EngineError> {
        let count = self.program.outputs.len();
        let done = self.differentiate(inputs, cotangents, with_respect_to, seed, |plan, given, wrt| {
            let tensors: Option<Vec<Tensor>> = (0..count).map(|index| plan.output(index, given)).collect();
            let gradients = wrt.iter().map(|(id, shape)| tensor_of(plan.gradient(*id, given)?, shape));
            tensors.map(|tensors| (tensors, gradients.collect()))
        })?;
        done.ok_or_else(|| EngineError::Graph {
            graph: self.program.name.clone(),
            reason: "an output was not computed".into(),
        })
    }

    /// The same without copies: `read` is lent the elements of the outputs and of the gradients where they lie.
    pub fn gradients_with<R>(
        &mut self,
        inputs: &[(&str, &Tensor)],
        cotangents: &[Tensor],
        with_respect_to: &[&str],
        seed: u64,
        read: impl FnOnce(&[Slice<'_>], &[Option<Slice<'_>>]) -> R,
    ) -> Result<R, EngineError> {
        let count = self.program.outputs.len();
        self.differentiate(inputs, cotangents, with_respect_to, seed, |plan, given, wrt| {
            let plan = &*plan;
            let outputs: SmallVec<[Slice<'_>; 4]> = (0..count).map(|index| plan.output_slice(index, given)).collect();
            let gradients: SmallVec<[Option<Slice<'_>>; 8]> =
                wrt.iter().map(|(id, _)| plan.gradient(*id, given)).collect();
            read(&outputs, &gradients)
        })
    }

    /// Computes outputs and gradients, and hands them to `finish` with the values and shapes that the gradients are for.
    fn differentiate<R>(
        &mut self,
        inputs: &[(&str, &Tensor)],
        cotangents: &[Tensor],
        with_respect_to: &[&str],
        seed: u64,
        finish: impl FnOnce(&mut Plan, Given<'_>, &[(ValueId, Vec<usize>)]) -> R,
    ) -> Result<R, EngineError> {
        let outputs: Vec<ValueId> = self.program.outputs.iter().map(|port| port.id).collect();
        if cotangents.len() != outputs.len() {
            return Err(EngineError::Setting {
                what: "cotangents",
                expected: format!("one for each of {} outputs", outputs.len()),
                found: cotangents.len().to_string(),
            });
        }
        let wrt: Result<Vec<(ValueId, Vec<usize>)>, EngineError> = with_respect_to
            .iter()
            .map(|name| match self.program.inputs.iter().position(|port| port.name == *name) {
                Some(at) => {
                    let shape =
                        inputs.iter().find(|(given, _)| given == name).map(|(_, tensor)| tensor.shape().to_vec());
                    Ok((self.input_ids[at], shape.unwrap_or_default()))
                }
                None => {
                    let index = self.weight_index(name)?;
                    Ok((self.weight_ids[index], self.program.weights[index].initial.shape().to_vec()))
                }
            })
            .collect();
        let wrt = wrt?;
        let gradient = Gradient::OfAll(Arc::new(wrt.iter().map(|(id, _)| *id).collect()));
        let given = self.sort_inputs(inputs)?;
        let cotangents: Vec<&Tensor> = cotangents.iter().collect();
        self.execute(&given, &cotangents, Mode::Training, &outputs, &gradient, seed, |plan, given| {
            finish(plan, given, &wrt)
        })
    }

    /// Finds or makes the plan, runs it, and hands it to `finish`.
    #[allow(clippy::too_many_arguments, reason = "one call of a private road")]
    pub(super) fn execute<R>(
        &mut self,
        inputs: &[Option<&Tensor>],
        cotangents: &[&Tensor],
        mode: Mode,
        outputs: &[ValueId],
        gradient: &Gradient,
        seed: u64,
        finish: impl FnOnce(&mut Plan, Given<'_>) -> R,
    ) -> Result<R, EngineError> {
        let found = self.plans.iter().position(|cached| cached.holds_for(inputs, mode, outputs, gradient));
        match found {
            Some(0) => {}
            Some(at) => self.plans[..=at].rotate_right(1),
            None => {
                let cached = self.compile(inputs, mode, outputs, gradient)?;
                self.plans.insert(0, cached);
                self.evict();
            }
        }
        let Some(Cached { plan, .. }) = self.plans.first_mut() else {
            return Err(EngineError::Graph { graph: self.program.name.clone(), reason: "it has no plan".into() });
        };
        let tensors: SmallVec<[&Tensor; 8]> =
            inputs.iter().map(|input| input.unwrap_or(&self.absent)).chain(cotangents.iter().copied()).collect();
        let pool = if plan.is_large() { &self.pool } else { &self.single };
        let given = Given { inputs: &tensors, weights: &self.weights, pool, seed, stop: self.stop.flag() };
        for (index, cotangent) in cotangents.iter().enumerate() {
            if let Some((dtype, shape)) = plan.output_type(index, given)
                && matches!(dtype, DType::F32 | DType::F64)
                && (cotangent.dtype() != dtype || cotangent.shape() != shape)
            {
                let output = outputs.get(index).map_or("", |id| self.program.names[*id].as_str());
                return Err(EngineError::Setting {
                    what: "a cotangent",
                    expected: format!("{dtype} {shape:?}, as the output `{output}` has"),
                    found: format!("{} {:?}", cotangent.dtype(), cotangent.shape()),
                });
            }
        }
        let result = pool.install(|| {
            plan.forward(given)?;
            if *gradient != Gradient::None {
                plan.backward(given)?;
            }
            Ok(())
        });
        if let Err((_, OpError::Stopped)) = result {
            return Err(EngineError::Stopped);
        }
        if let Err((label, source)) = result {
            let node = self.program.nodes.iter().find(|node| node.label == label);
            let error = node.map(|node| node.error(&[], source.clone()));
            return Err(error.unwrap_or_else(|| EngineError::Graph {
                graph: self.program.name.clone(),
                reason: format!("node `{label}`: {source}"),
            }));
        }
        Ok(finish(plan, given))
    }

    fn compile(
        &mut self,
        inputs: &[Option<&Tensor>],
        mode: Mode,
        outputs: &[ValueId],
        gradient: &Gradient,
    ) -> Result<Cached, EngineError> {
        let (_, needed) = self.program.needed(outputs);
        for (port, given) in self.program.inputs.iter().zip(inputs) {
            match given {
                Some(given) => fits(port, given)?,
                None if needed[port.id] => {
                    return Err(EngineError::Input {
                        name: port.name.clone(),
                        expected: port.declared.as_ref().map_or_else(|| "a tensor".into(), ToString::to_string),
                        found: "nothing".into(),
                    });
                }
                None => {}
            }
        }
        loop {
            let mut known = HashMap::new();
            for (port, given) in self.program.inputs.iter().zip(inputs) {
                if let Some(given) = given {
                    known.insert(port.id, self.known(port.id, given));
                }
            }
            for (weight, cell) in self.program.weights.iter().zip(&self.weights) {
                let mut kind = ValueType::known(weight.initial.dtype(), weight.initial.shape());
                if self.by_value.contains(&weight.id) {
                    kind.value = cell.tensor(weight.initial.shape());
                }
                known.insert(weight.id, kind);
            }
            let (seeds, wrt) = match gradient {
                Gradient::None => (Seeds::None, BTreeSet::new()),
                Gradient::OfLoss(wrt) => (outputs.first().map_or(Seeds::None, |id| Seeds::Loss(*id)), (**wrt).clone()),
                Gradient::OfAll(wrt) => (Seeds::Given, (**wrt).clone()),
            };
            let request = Request {
                mode,
                known,
                seeds,
                wrt,
                inputs: &self.input_ids,
                weights: &self.weight_ids,
                outputs,
                pool: &self.pool,
                memory: self.memory,
            };
            match compile(&self.program, request)? {
                Compiled::Plan(plan) => {
                    let cached = |(id, given): (&ValueId, &Option<&Tensor>)| {
                        given.map(|given| CachedInput {
                            dtype: given.dtype(),
                            shape: given.shape().to_vec(),
                            value: self.by_value.contains(id).then(|| given.clone()),
                        })
                    };
                    return Ok(Cached {
                        mode,
                        outputs: outputs.iter().copied().collect(),
                        gradient: gradient.clone(),
                        inputs: self.input_ids.iter().zip(inputs).map(cached).collect(),
                        plan,
                    });
                }
                Compiled::NeedsValues(values) => {
                    let before = self.by_value.len();
                    self.by_value.extend(values);
                    if self.by_value.len() == before {
                        return Err(EngineError::Graph {
                            graph: self.program.name.clone(),
                            reason: "its shapes do not follow from its inputs".into(),
                        });
                    }
                }
            }
        }
    }

    fn known(&self, id: ValueId, given: &Tensor) -> ValueType {
        match self.by_value.contains(&id) {
            true => ValueType::constant(given.clone()),
            false => ValueType::known(given.dtype(), given.shape()),
        }
    }

    fn evict(&mut self) {
        let mut total = 0;
        let mut kept = 0;
        for cached in &self.plans {
            total += cached.plan.byte_len();
            if kept > 0 && total > self.plan_memory {
                break;
            }
            kept += 1;
        }
        self.plans.truncate(kept);
    }

    /// The inputs in the order of the graph's.
    pub(super) fn sort_inputs<'t>(
        &self,
        inputs: &[(&str, &'t Tensor)],
    ) -> Result<SmallVec<[Option<&'t Tensor>; 8]>, EngineError> {
        let mut sorted: SmallVec<[Option<&Tensor>; 8]> = smallvec::smallvec![None; self.program.inputs.len()];
        for (name, tensor) in inputs {
            match self.program.inputs.iter().position(|port| port.name == *name) {
                Some(at) => sorted[at] = Some(tensor),
                None => return Err(self.no_such("input", name)),
            }
        }
        Ok(sorted)
    }

    pub(super) fn output_id(&self, name: &str) -> Result<ValueId, EngineError> {
        let known = self.program.outputs.iter().find(|port| port.name == name);
        known.map(|port| port.id).ok_or_else(|| self.no_such("output", name))
    }

    pub(super) fn weight_index(&self, name: &str) -> Result<usize, EngineError> {
        let known = self.program.weights.iter().position(|weight| weight.name == name);
        known.ok_or_else(|| self.no_such("weight", name))
    }

    pub(super) fn weight_id(&self, index: usize) -> ValueId {
        self.weight_ids[index]
    }

    /// The names, types and shapes of its weights.
    pub(super) fn weights_typed(&self) -> impl Iterator<Item = (&str, DType, &[usize])> {
        self.program.weights.iter().map(|weight| (weight.name.as_str(), weight.initial.dtype(), weight.initial.shape()))
    }

    /// The plan that ran last, and the weights.
    pub(super) fn current(&mut self) -> Option<(&mut Plan, &mut [Cell], &Pool)> {
        let plan = &mut self.plans.first_mut()?.plan;
        Some((plan, &mut self.weights, &self.pool))
    }

    fn no_such(&self, what: &'static str, name: &str) -> EngineError {
        let known: Vec<&str> = match what {
            "input" => self.inputs().collect(),
            "output" => self.outputs().collect(),
            _ => self.weights().map(|(name, _)| name).collect(),
        };
        let hint = match known.len() {
            0 => String::new(),
            1..=12 => format!("; there is {}", known.join(", ")),
            _ => match known
                .iter()
                .map(|known| (strsim::jaro_winkler(known, name), known))
                .max_by(|a, b| a.0.total_cmp(&b.0))
            {
                Some((_, nearest)) => format!("; did you mean `{nearest}`?"),
                None => String::new(),
            },
        };
        EngineError::NoSuch { what, name: name.into(), hint }
    }
}

impl Cached {
    fn holds_for(&self, inputs: &[Option<&Tensor>], mode: Mode, outputs: &[ValueId], gradient: &Gradient) -> bool {
        self.mode == mode
            && self.outputs.as_slice() == outputs
            && self.gradient == *gradient
            && self.inputs.len() == inputs.len()
            && self.inputs.iter().zip(inputs).all(|(cached, given)| match (cached, given) {
                (None, None) => true,
                (Some(cached), Some(given)) => {
                    cached.dtype == given.dtype()
                        && cached.shape == given.shape()
                        && cached.value.as_ref().is_none_or(|value| same(value, given))
                }
                _ => false,
            })
    }
}

/// Whether two tensors hold the same bits (a NaN is itself here).
fn same(a: &Tensor, b: &Tensor) -> bool {
    match (a.data(), b.data()) {
        (TensorData::F32(x), TensorData::F32(y)) => x.iter().map(|x| x.to_bits()).eq(y.iter().map(|y| y.to_bits())),
        (TensorData::F64(x), TensorData::F64(y)) => x.iter().map(|x| x.to_bits()).eq(y.iter().map(|y| y.to_bits())),
        _ => a == b,
    }
}

fn fits(port: &Port, given: &Tensor) -> Result<(), EngineError> {
    let Some(declared) = &port.declared else { return Ok(()) };
    if declared.dtype == given.dtype() && declared.shape.accepts(&given.symbolic_shape()).is_ok() {
        return Ok(());
    }
    Err(EngineError::Input {
        name: port.name.clone(),
        expected: declared.to_string(),
        found: format!("{} {}", given.dtype(), given.symbolic_shape()),
    })
}

fn tensor_of(slice: Slice<'_>, shape: &[usize]) -> Option<Tensor> {
    match slice {
        Slice::F32(elements) => Tensor::new(shape.to_vec(), elements.to_vec()).ok(),
        Slice::F64(elements) => Tensor::new(shape.to_vec(), elements.to_vec()).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Builder, Initializer};
    use crate::onnx::{Graph, Node, ValueInfo};
    use crate::tensor::SymbolicShape;

    /// Plans of a recurrent layer, whose operator keeps more than the values: they are counted, and given up.
    #[test]
    fn what_operators_keep_counts_in_the_bound() {
        let mut graph = Builder::new("g", 1);
        let x = graph.input("x", DType::F32, &[None, Some(1), Some(2)]).unwrap();
        let w = graph.weight("w", &[1, 24, 2], Initializer::Zeros).unwrap();
        let r = graph.weight("r", &[1, 24, 8], Initializer::Zeros).unwrap();
        let size = [("hidden_size", crate::onnx::AttributeValue::Int(8))];
        let last = graph.nodes("GRU", &[Some(&x), Some(&w), Some(&r)], 2, &size).unwrap().remove(1).unwrap();
        graph.output("y", &last).unwrap();
        let mut network = Network::new(&graph.finish()).unwrap();
        let run = |network: &mut Network, time: usize| {
            let x = Tensor::zeros(DType::F32, vec![time, 1, 2]).unwrap();
            network.run(&[("x", &x)]).unwrap();
            (network.plan_count(), network.plan_bytes())
        };
        let (count, first) = run(&mut network, 100);
        // Three gates and a state for each of 100 steps.
        assert!(count == 1 && first >= 100 * 4 * 8 * 4, "{count}: {first} bytes");
        let (count, both) = run(&mut network, 101);
        assert!(count == 2 && both > 2 * first, "{count}: {both} bytes");
        network.set_plan_memory(both - 1);
        assert_eq!(network.plan_count(), 1);
        assert_eq!(run(&mut network, 100).0, 1);
    }

    #[test]
    fn a_cotangent_has_the_type_and_shape_of_its_output() {
        let mut graph = Graph::new("g");
        graph.inputs.push(ValueInfo::tensor("x", DType::F32, SymbolicShape::known(&[2, 3])));
        for (name, dtype) in [("y", DType::F32), ("n", DType::I64)] {
            graph.outputs.push(ValueInfo::tensor(name, dtype, SymbolicShape::Unranked));
        }
        graph.nodes.push(Node::new("Exp", ["x"], ["y"]));
        graph.nodes.push(Node::new("Shape", ["x"], ["n"]));
        let mut network = Network::new(&Model::new(graph, 21)).unwrap();
        let x = Tensor::zeros(DType::F32, vec![2, 3]).unwrap();
        let zeros = |dtype, shape: &[usize]| Tensor::zeros(dtype, shape.to_vec()).unwrap();
        let any = Tensor::scalar(true);
        for (cotangent, expected) in [
            (zeros(DType::F64, &[2, 3]), "found f64 [2, 3]"),
            (zeros(DType::F32, &[3, 2]), "found f32 [3, 2]"),
            (zeros(DType::F32, &[2]), "found f32 [2]"),
            (any.clone(), "found bool []"),
        ] {
            let error = network.gradients(&[("x", &x)], &[cotangent, any.clone()], &["x"], 0).unwrap_err().to_string();
            let start = "a cotangent: expected f32 [2, 3], as the output `y` has, ";
            assert_eq!(error, format!("{start}{expected}"));
        }
        let found = network.gradients(&[("x", &x)], &[zeros(DType::F32, &[2, 3]), any], &["x"], 0).unwrap().1;
        assert_eq!(found, [Some(x)]);
    }
}
