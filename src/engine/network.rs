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
use crate::tensor::{Tensor, TensorData};

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
    dtype: crate::tensor::DType,
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

    /// Bounds the bytes that compiled plans take together; the one in use is always kept.
    pub fn set_plan_memory(&mut self, bytes: usize) {
        self.plan_memory = bytes;
        self.evict();
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
        for (weight, cell) in self.program.weights.iter().zip(&self.weights) {
            let stored = model.graph.initializers.iter_mut().find(|(name, _)| *name == weight.name);
            if let (Some((_, stored)), Some(tensor)) = (stored, cell.tensor(weight.initial.shape())) {
                *stored = tensor;
            }
        }
        model
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

    /// The names and shapes of its weights: initializers of f32 and f64.
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
    /// sum over all outputs of output times cotangent. Outputs that are not of f32 or f64 take any tensor as cotangent.
    /// A gradient is `None` when the outputs do not depend on that value.
    #[allow(clippy::type_complexity, reason = "two lists")]
    pub fn gradients(
        &mut self,
        inputs: &[(&str, &Tensor)],
        cotangents: &[Tensor],
        with_respect_to: &[&str],
        seed: u64,
    ) -> Result<(Vec<Tensor>, Vec<Option<Tensor>>), EngineError> {
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
        let done = self.execute(&given, &cotangents, Mode::Training, &outputs, &gradient, seed, |plan, given| {
            let tensors: Option<Vec<Tensor>> = (0..outputs.len()).map(|index| plan.output(index, given)).collect();
            let gradients = wrt.iter().map(|(id, shape)| {
                let place = plan.gradients.iter().find(|(known, _)| known == id).map(|(_, place)| *place)?;
                tensor_of(plan.read(place, given), shape)
            });
            tensors.map(|tensors| (tensors, gradients.collect()))
        })?;
        done.ok_or_else(|| EngineError::Graph {
            graph: self.program.name.clone(),
            reason: "an output was not computed".into(),
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
    pub(super) fn weights_typed(&self) -> impl Iterator<Item = (&str, crate::tensor::DType, &[usize])> {
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
