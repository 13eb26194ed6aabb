//! A model that learns: a network, a loss, an optimizer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::cell::{Cell, Slice};
use super::error::EngineError;
use super::kernels::math::vectorised;
use super::losses::Loss;
use super::network::{Gradient, Network};
use super::op::Mode;
use super::ops::DOMAIN;
use super::plan::{Given, NEVER, Plan};
use super::program::ValueId;
use super::random::mix;
use super::schedule::Plateau;
use crate::onnx::{Model, Node, OpsetImport, ValueInfo};
use crate::tensor::{DType, SymbolicShape, Tensor};

mod options;
#[cfg(test)]
mod tests;

use options::Group;
pub(crate) use options::matches;

pub use options::{Clip, Penalty, TrainingOptions};

/// A model in training.
///
/// A step computes the loss of a minibatch, its gradient, and changes the weights. A loss or gradient that is not finite
/// is an error, and leaves the weights and the optimizer as they were.
///
/// ```
/// use percept::engine::{Builder, Dense, Loss, Optimizer, Training, TrainingOptions, optimizers::Adam};
/// use percept::tensor::{DType, Tensor};
///
/// let mut graph = Builder::new("xor", 1);
/// let x = graph.input("x", DType::F32, &[None, Some(2)])?;
/// let hidden = Dense::new("hidden", 8).apply(&mut graph, &x)?;
/// let hidden = graph.tanh(&hidden)?;
/// let y = Dense::new("out", 1).apply(&mut graph, &hidden)?;
/// graph.output("y", &y)?;
///
/// let optimizer = Optimizer::Adam(Adam { learning_rate: 0.05, ..Adam::default() });
/// let loss = Loss::new("binary_cross_entropy")?;
/// let mut training = Training::new(&graph.finish(), TrainingOptions::new(loss, optimizer))?;
/// let x = Tensor::new(vec![4, 2], vec![0.0f32, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0])?;
/// let target = Tensor::new(vec![4, 1], vec![0.0f32, 1.0, 1.0, 0.0])?;
/// let mut loss = f64::INFINITY;
/// for _ in 0..500 {
///     loss = training.step(&[("x", &x), ("target", &target)])?;
/// }
/// assert!(loss < 0.1, "{loss}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Training {
    base: Model,
    network: Network,
    options: TrainingOptions,
    loss_id: ValueId,
    wrt: Arc<BTreeSet<ValueId>>,
    /// By value: the weight's state.
    weights: BTreeMap<ValueId, WeightState>,
    steps: u64,
    /// How many gradients wait to be applied.
    waiting: u64,
    plateau: Plateau,
}

/// What training keeps of one weight.
struct WeightState {
    name: String,
    index: usize,
    rate: f64,
    penalty: Penalty,
    slots: Vec<Cell>,
    /// The sum of gradients that wait; empty unless gradients are accumulated.
    sum: Cell,
}

/// Everything that a training's next step depends on besides its batch.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingState {
    /// By kind and weight: `weight.NAME`, `slot0.NAME`, `slot1.NAME` of the optimizer, `sum.NAME` of gradients that wait.
    pub tensors: Vec<(String, Tensor)>,
    /// How many times the weights have changed.
    pub steps: u64,
    /// How many gradients wait to be applied.
    pub waiting: u64,
    /// What the schedule remembers.
    pub plateau: Plateau,
}

const LOSS: &str = "percept.loss";

impl Training {
    /// Puts the loss on top of the model. Weights are all initializers that the loss depends on, but for frozen ones, and
    /// for scalars unless [`TrainingOptions::train_scalars`] names them.
    pub fn new(model: &Model, options: TrainingOptions) -> Result<Self, EngineError> {
        options.optimizer.check()?;
        options.schedule.check()?;
        options.check()?;
        let extended = with_loss(model, &options.loss)?;
        let mut network = Network::new(&extended)?;
        network.set_threads(options.threads)?;
        let loss_id = network.output_id(LOSS)?;
        let mut weights = BTreeMap::new();
        let names: Vec<(String, DType, usize, usize)> = network
            .weights_typed()
            .map(|(name, dtype, shape)| (name.to_owned(), dtype, shape.len(), shape.iter().product()))
            .collect();
        for group in &options.groups {
            if !names.iter().any(|(name, ..)| matches(&group.pattern, name)) {
                let known: Vec<&str> = names.iter().map(|(name, ..)| name.as_str()).take(12).collect();
                let hint = format!("; there is {}", known.join(", "));
                return Err(EngineError::NoSuch { what: "weight that matches", name: group.pattern.clone(), hint });
            }
        }
        for (index, (name, dtype, rank, len)) in names.iter().enumerate() {
            let groups: Vec<&Group> = options.groups.iter().filter(|group| matches(&group.pattern, name)).collect();
            let is_scalar = *rank == 0 && !groups.iter().any(|group| group.scalars);
            if is_scalar || groups.iter().any(|group| group.frozen) {
                continue;
            }
            let zeros = || Cell::zeros(*dtype, *len).unwrap_or_default();
            let general = if *rank >= 2 { options.penalty } else { Penalty::default() };
            weights.insert(
                network.weight_id(index),
                WeightState {
                    name: name.clone(),
                    index,
                    rate: groups.iter().filter_map(|group| group.rate).product(),
                    penalty: groups.iter().rev().find_map(|group| group.penalty).unwrap_or(general),
                    slots: (0..options.optimizer.slots()).map(|_| zeros()).collect(),
                    sum: if options.accumulate > 1 { zeros() } else { Cell::default() },
                },
            );
        }
        let wrt = Arc::new(weights.keys().copied().collect());
        let base = model.clone();
        Ok(Training {
            base,
            network,
            options,
            loss_id,
            wrt,
            weights,
            steps: 0,
            waiting: 0,
            plateau: Plateau::default(),
        })
    }

    /// Learns from one minibatch; returns its loss. Inputs are those of the model, and the targets of the loss.
    pub fn step(&mut self, inputs: &[(&str, &Tensor)]) -> Result<f64, EngineError> {
        let given = self.network.sort_inputs(inputs)?;
        let gradient = Gradient::OfLoss(self.wrt.clone());
        let seed = mix(self.options.seed, self.steps * self.options.accumulate + self.waiting);
        let (clip, accumulate, steps) = (self.options.clip, self.options.accumulate, self.steps);
        let remedy = "a lower learning rate, clipping of gradients, or another look at this batch";
        let states = &self.weights;
        let loss =
            self.network.execute(&given, &[], Mode::Training, &[self.loss_id], &gradient, seed, |plan, given| {
                let loss = scalar(plan.output_slice(0, given));
                if !loss.is_finite() {
                    return Err(EngineError::NotFinite { step: steps, what: format!("the loss, {loss},"), remedy });
                }
                let mut squares = 0.0;
                for (id, place) in &plan.gradients {
                    let gradient = plan.read(*place, given);
                    let own = sum_of_squares(gradient);
                    // Optimizers square what is not clipped, in the gradient's own type.
                    let largest = match (clip, gradient) {
                        (Clip::None, Slice::F32(_)) => f64::from(f32::MAX),
                        _ => f64::MAX,
                    };
                    if own.is_nan() || own > largest {
                        let name = states.get(id).map_or("", |state| state.name.as_str());
                        let what =
                            format!("the gradient of weight `{name}`{}", if own.is_finite() { " squared" } else { "" });
                        return Err(EngineError::NotFinite { step: steps, what, remedy });
                    }
                    squares += own;
                }
                Ok((loss, squares.sqrt()))
            })??;
        let (loss, norm) = loss;
        let Some((plan, cells, pool)) = self.network.current() else {
            return Err(EngineError::Setting { what: "training", expected: "a plan".into(), found: "none".into() });
        };
        plan.apply_updates(cells);
        self.waiting += 1;
        if accumulate > 1 {
            for (id, place) in &plan.gradients {
                let given = Given { inputs: &[], weights: &*cells, pool, seed, stop: &NEVER };
                if let Some(state) = self.weights.get_mut(id) {
                    add(&mut state.sum, plan.read(*place, given), 1.0 / accumulate as f64);
                }
            }
            if self.waiting < accumulate {
                return Ok(loss);
            }
        }
        let norm = if accumulate > 1 {
            let sums = self.weights.values().map(|state| sum_of_squares(state.sum.slice(usize::MAX)));
            sums.sum::<f64>().sqrt()
        } else {
            norm
        };
        let factor = self.options.schedule.factor(self.steps, &self.plateau);
        let rate = self.options.optimizer.learning_rate() * factor;
        let scale = match clip {
            Clip::Norm(bound) if norm > bound => bound / norm,
            _ => 1.0,
        };
        let shaped = scale != 1.0
            || matches!(clip, Clip::Value(_))
            || self.weights.values().any(|state| state.penalty.l1 != 0.0);
        for at in 0..plan.gradients.len() {
            let (id, place) = plan.gradients[at];
            let Some(state) = self.weights.get_mut(&id) else { continue };
            if shaped {
                plan.change(place, |gradient| {
                    shape_gradient(gradient, cells.get(state.index), scale, clip, state.penalty.l1)
                });
                if accumulate > 1 {
                    shape_gradient(&mut state.sum, cells.get(state.index), scale, clip, state.penalty.l1);
                }
            }
            // The weights are not read while they change.
            let mut weight = cells.get_mut(state.index).map(std::mem::take).unwrap_or_default();
            let given = Given { inputs: &[], weights: &*cells, pool, seed, stop: &NEVER };
            let gradient = if accumulate > 1 { state.sum.slice(usize::MAX) } else { plan.read(place, given) };
            let optimizer = &self.options.optimizer;
            let rate = rate * state.rate;
            let done =
                optimizer.update(self.steps + 1, rate, state.penalty.l2, &mut weight, gradient, &mut state.slots);
            if let Some(place) = cells.get_mut(state.index) {
                *place = weight;
            }
            if !done {
                let expected = "a gradient of the weight's type and size".into();
                return Err(EngineError::Setting { what: "training", expected, found: "another".into() });
            }
            if accumulate > 1 {
                clear(&mut state.sum);
            }
        }
        self.waiting = 0;
        self.steps += 1;
        Ok(loss)
    }

    /// The loss of one minibatch, in inference mode; nothing changes.
    pub fn evaluate(&mut self, inputs: &[(&str, &Tensor)]) -> Result<f64, EngineError> {
        let given = self.network.sort_inputs(inputs)?;
        let loss_id = self.loss_id;
        self.network.execute(&given, &[], Mode::Inference, &[loss_id], &Gradient::None, 0, |plan: &mut Plan, given| {
            scalar(plan.output_slice(0, given))
        })
    }

    /// The outputs of the model, in inference mode. Targets are not needed.
    pub fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Vec<Tensor>, EngineError> {
        let names: Vec<String> = self.base.graph.outputs.iter().map(|output| output.name.clone()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.network.run_for(&names, inputs)
    }

    /// The model as it is now, without the loss.
    pub fn model(&self) -> Model {
        let mut model = self.base.clone();
        self.network.write_weights(&mut model);
        model
    }

    /// Everything that the next step depends on besides its batch: enough to go on bit for bit.
    pub fn state(&self) -> TrainingState {
        let mut tensors = Vec::new();
        let mut keep = |kind: &str, name: &str, cell: &Cell, shape: &[usize]| {
            if let Some(tensor) = cell.tensor(shape) {
                tensors.push((format!("{kind}.{name}"), tensor));
            }
        };
        let shapes: Vec<(&str, &[usize])> = self.network.weights().collect();
        for (name, shape) in &shapes {
            if let Ok(tensor) = self.network.weight(name) {
                keep("weight", name, &Cell::from(&tensor), shape);
            }
        }
        for state in self.weights.values() {
            let Some((name, shape)) = shapes.get(state.index) else { continue };
            for (slot, cell) in state.slots.iter().enumerate() {
                keep(&format!("slot{slot}"), name, cell, shape);
            }
            if !state.sum.is_empty() {
                keep("sum", name, &state.sum, shape);
            }
        }
        TrainingState { tensors, steps: self.steps, waiting: self.waiting, plateau: self.plateau.clone() }
    }

    /// Goes back to a state of a training of the same model with the same options. On an error nothing has changed.
    pub fn restore(&mut self, state: &TrainingState) -> Result<(), EngineError> {
        let own = self.state();
        for (name, tensor) in &own.tensors {
            let found = state.tensors.iter().find(|(known, _)| known == name).map(|(_, tensor)| tensor);
            if !found.is_some_and(|found| found.dtype() == tensor.dtype() && found.shape() == tensor.shape()) {
                return Err(EngineError::Input {
                    name: name.clone(),
                    expected: format!("{} {:?}, as this training has it", tensor.dtype(), tensor.shape()),
                    found: found
                        .map_or_else(|| "nothing".into(), |found| format!("{} {:?}", found.dtype(), found.shape())),
                });
            }
        }
        if state.tensors.len() != own.tensors.len() {
            return Err(EngineError::Setting {
                what: "the state",
                expected: format!("{} tensors, as this training has", own.tensors.len()),
                found: state.tensors.len().to_string(),
            });
        }
        let names: Vec<String> = self.network.weights().map(|(name, _)| name.to_owned()).collect();
        let tensor = |kind: &str, name: &str| {
            let name = format!("{kind}.{name}");
            state.tensors.iter().find(|(known, _)| *known == name).map(|(_, tensor)| tensor)
        };
        for name in &names {
            if let Some(tensor) = tensor("weight", name) {
                self.network.set_weight(name, tensor)?;
            }
        }
        for own in self.weights.values_mut() {
            let Some(name) = names.get(own.index) else { continue };
            for (slot, cell) in own.slots.iter_mut().enumerate() {
                if let Some(tensor) = tensor(&format!("slot{slot}"), name) {
                    *cell = Cell::from(tensor);
                }
            }
            if let Some(tensor) = tensor("sum", name) {
                own.sum = Cell::from(tensor);
            }
        }
        self.steps = state.steps;
        self.waiting = state.waiting;
        self.plateau = state.plateau.clone();
        Ok(())
    }

    /// How many times the weights have changed.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The learning rate of the next step.
    pub fn learning_rate(&self) -> f64 {
        self.options.optimizer.learning_rate() * self.options.schedule.factor(self.steps, &self.plateau)
    }

    /// Tells the schedule of a measurement (smaller is better): [`Schedule::OnPlateau`](super::Schedule::OnPlateau) waits for it.
    pub fn observe(&mut self, measure: f64) {
        self.options.schedule.observe(measure, &mut self.plateau);
    }

    /// The network with the loss on top, its output `percept.loss`.
    pub fn network(&mut self) -> &mut Network {
        &mut self.network
    }
}

/// The model with the loss as one more node, and its targets as inputs.
fn with_loss(model: &Model, loss: &Loss) -> Result<Model, EngineError> {
    let mut extended = model.clone();
    let graph = &mut extended.graph;
    let mut inputs: Vec<String> = match loss.outputs.as_slice() {
        [] => graph.outputs.first().map(|output| output.name.clone()).into_iter().collect(),
        outputs => outputs.to_vec(),
    };
    for output in &inputs {
        if !graph.outputs.iter().any(|known| known.name == *output) {
            let known: Vec<&str> = graph.outputs.iter().map(|output| output.name.as_str()).collect();
            let hint = format!("; there is {}", known.join(", "));
            return Err(EngineError::NoSuch { what: "output", name: output.clone(), hint });
        }
    }
    for target in &loss.targets {
        let mut free =
            graph.inputs.iter().map(|input| &input.name).chain(graph.nodes.iter().flat_map(|node| &node.outputs));
        if free.any(|name| name == target) {
            return Err(EngineError::Graph {
                graph: graph.name.clone(),
                reason: format!("it has a value `{target}` already: name the loss's target otherwise"),
            });
        }
        // Of any type: the loss says which it takes.
        graph.inputs.push(ValueInfo::of_kind(
            crate::onnx::ValueKind::Tensor,
            target.clone(),
            None,
            SymbolicShape::Unranked,
        ));
        inputs.push(target.clone());
    }
    let mut node = Node::new(loss.entry.op.op_type, inputs, [LOSS]);
    node.domain = DOMAIN.into();
    node.name = LOSS.into();
    for (name, value) in &loss.attributes {
        node = node.with(name.clone(), value.clone());
    }
    graph.nodes.push(node);
    graph.outputs.push(ValueInfo::tensor(LOSS, DType::F32, SymbolicShape::Ranked(Vec::new())));
    extended.opset_imports.push(OpsetImport::new(DOMAIN, 1));
    Ok(extended)
}

fn scalar(slice: Slice<'_>) -> f64 {
    match slice {
        Slice::F32(values) => values.first().map_or(f64::NAN, |value| f64::from(*value)),
        Slice::F64(values) => values.first().copied().unwrap_or(f64::NAN),
        _ => f64::NAN,
    }
}

fn sum_of_squares(slice: Slice<'_>) -> f64 {
    match slice {
        Slice::F32(values) => {
            let fast = sum_of_f32_squares(values);
            // A square may be beyond f32 where the number is not.
            if fast.is_finite() { fast } else { values.iter().map(|value| f64::from(*value).powi(2)).sum() }
        }
        Slice::F64(values) => values.iter().map(|value| value * value).sum(),
        _ => 0.0,
    }
}

fn sum_of_f32_squares(values: &[f32]) -> f64 {
    vectorised(|| {
        // Sums of 16, so that the compiler can keep them in one vector.
        let mut sums = [0.0f32; 16];
        let mut total = 0.0f64;
        for piece in values.chunks(4096) {
            let (chunks, rest) = piece.as_chunks::<16>();
            for chunk in chunks {
                for (sum, value) in sums.iter_mut().zip(chunk) {
                    *sum += value * value;
                }
            }
            total += f64::from(rest.iter().map(|value| value * value).sum::<f32>());
            total += sums.iter().map(|sum| f64::from(*sum)).sum::<f64>();
            sums = [0.0; 16];
        }
        total
    })
}

fn add(to: &mut Cell, from: Slice<'_>, factor: f64) {
    match (to, from) {
        (Cell::F32(to), Slice::F32(from)) => to.iter_mut().zip(from).for_each(|(to, from)| *to += factor as f32 * from),
        (Cell::F64(to), Slice::F64(from)) => to.iter_mut().zip(from).for_each(|(to, from)| *to += factor * from),
        _ => {}
    }
}

fn clear(cell: &mut Cell) {
    match cell {
        Cell::F32(values) => values.fill(0.0),
        Cell::F64(values) => values.fill(0.0),
        _ => {}
    }
}

/// Scales a gradient, holds it in bounds, and adds the derivative of λ·Σ|w|.
fn shape_gradient(gradient: &mut Cell, weight: Option<&Cell>, scale: f64, clip: Clip, l1: f64) {
    fn each<T: super::kernels::Float>(gradient: &mut [T], weight: &[T], scale: f64, clip: Clip, l1: f64) {
        let (scale, l1) = (T::of(scale), T::of(l1));
        let bound = match clip {
            Clip::Value(bound) => T::of(bound),
            _ => T::infinity(),
        };
        for (gradient, weight) in gradient.iter_mut().zip(weight) {
            let sign = if *weight == T::zero() { T::zero() } else { weight.signum() };
            *gradient = (*gradient * scale).max(-bound).min(bound) + l1 * sign;
        }
    }
    match (gradient, weight) {
        (Cell::F32(gradient), Some(Cell::F32(weight))) => each(gradient, weight, scale, clip, l1),
        (Cell::F64(gradient), Some(Cell::F64(weight))) => each(gradient, weight, scale, clip, l1),
        _ => {}
    }
}
