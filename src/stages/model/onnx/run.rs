//! One call of the graph for an item of each of some streams.

use std::sync::{Arc, OnceLock};

use thiserror::Error;

use super::binding::{Binding, Carried, State};
use crate::inference::{InferenceError, Session, Value};
use crate::tensor::{Tensor, TensorError};

/// Why an item could not be run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// The session failed.
    #[error(transparent)]
    Inference(#[from] InferenceError),
    /// Tensors could not be put together or taken apart.
    #[error("model `{model}`: {source}")]
    Tensor {
        /// The model's name.
        model: String,
        /// What stood in the way.
        source: TensorError,
    },
    /// An output has no batch axis where one was to be taken away.
    #[error(
        "output `{output}` of model `{model}` came out as {found:?}, expected {expected} at its batch axis \
         {axis}; name the right one with `batch_axis: {{{output}: N}}`, or null if it has none"
    )]
    BatchAxis {
        /// The model's name.
        model: String,
        /// The output's name.
        output: String,
        /// The axis.
        axis: usize,
        /// The number of items that went in.
        expected: usize,
        /// The shape that came out.
        found: Vec<usize>,
    },
}

/// What goes in for one stream.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// A tensor for each data input, with batch axis.
    pub inputs: &'a [Tensor],
    /// Its states.
    pub states: &'a States,
    /// Whether the batch axis was added, and is to be taken away from what comes out.
    pub added: bool,
}

/// The states of one stream: a value for each of the graph's.
#[derive(Clone, Debug)]
pub enum States {
    /// Its own.
    Own(Vec<Value>),
    /// Item number `place` of what a call for several streams gave. It stays there: when the same streams come again in
    /// the same order, as they do while all of them run, the whole goes in as it came out.
    Joint {
        /// What the call gave.
        whole: Arc<Joint>,
        /// Which item of it.
        place: usize,
    },
}

/// The states that a call for several streams gave.
#[derive(Debug)]
pub struct Joint {
    /// A value for each state, with all items.
    values: Vec<Value>,
    /// How many items they hold.
    count: usize,
    /// The values as tensors, once somebody has needed a part of them.
    tensors: OnceLock<Vec<Tensor>>,
}

impl Joint {
    fn tensor(&self, state: usize) -> Result<Option<&Tensor>, InferenceError> {
        let tensors = match self.tensors.get() {
            Some(tensors) => tensors,
            None => {
                let tensors: Vec<Tensor> = self.values.iter().map(Value::to_tensor).collect::<Result<_, _>>()?;
                self.tensors.get_or_init(|| tensors)
            }
        };
        Ok(tensors.get(state))
    }
}

impl States {
    /// The sizes of the dimensions of a state, 1 at its batch axis when it lies with others.
    fn shape_is(&self, state: usize, axis: usize, other: &States) -> bool {
        let shape = |states: &States| match states {
            States::Own(values) => values.get(state).map(|value| (value.shape().to_vec(), false)),
            States::Joint { whole, .. } => whole.values.get(state).map(|value| (value.shape().to_vec(), true)),
        };
        let item = |(mut shape, joint): (Vec<usize>, bool)| {
            if joint && let Some(size) = shape.get_mut(axis) {
                *size = 1;
            }
            shape
        };
        match (self, other) {
            // Of one call, so of one shape.
            (States::Joint { whole: a, .. }, States::Joint { whole: b, .. }) if Arc::ptr_eq(a, b) => true,
            _ => shape(self).map(item) == shape(other).map(item),
        }
    }

    /// What all of `items` lie in together, when they are all that lies there, in order.
    fn whole<'a>(items: &[Given<'a>]) -> Option<&'a Joint> {
        let States::Joint { whole: first, .. } = items.first()?.states else { return None };
        let in_place = |(number, item): (usize, &Given<'a>)| match item.states {
            States::Joint { whole, place } => Arc::ptr_eq(whole, first) && *place == number,
            States::Own(_) => false,
        };
        (items.len() == first.count && items.iter().enumerate().all(in_place)).then_some(first)
    }
}

/// What comes out for one stream.
#[derive(Clone, Debug)]
pub struct Taken {
    /// A tensor for each output port.
    pub outputs: Vec<Tensor>,
    /// The next states.
    pub states: States,
}

impl Binding {
    /// The states at a stream's start.
    pub fn first_states(&self) -> States {
        States::Own(self.states.iter().map(|state| Value::from(state.first.clone())).collect())
    }

    /// Whether two items can go into one call: each is a single one, and all their shapes agree.
    pub fn joins(&self, one: &Given<'_>, other: &Given<'_>) -> bool {
        let inputs = || one.inputs.iter().map(Tensor::shape).eq(other.inputs.iter().map(Tensor::shape));
        let axis = |state: &State| state.output.batch_axis.unwrap_or(0);
        let mut states = self.states.iter().enumerate();
        one.added
            && other.added
            && inputs()
            && states.all(|(place, state)| one.states.shape_is(place, axis(state), other.states))
    }

    /// Runs the graph once for all of `items`, of which each [joins](Binding::joins) the first, and gives what comes out
    /// for each, in their order.
    pub fn run(&self, session: &mut dyn Session, items: &[Given<'_>]) -> Result<Vec<Taken>, RunError> {
        let count = items.len();
        let mut values: Vec<(&str, Value)> = Vec::new();
        for (place, input) in self.inputs.iter().enumerate() {
            let tensors: Vec<Tensor> = items.iter().filter_map(|item| item.inputs.get(place).cloned()).collect();
            values.push((&input.port.name, self.join(tensors, input.batch_axis)?.into()));
        }
        for constant in &self.constants {
            let repeated = constant.batch_axis.filter(|_| count > 1);
            let value = match repeated {
                Some(_) => self.join(vec![constant.value.clone(); count], repeated)?,
                None => constant.value.clone(),
            };
            values.push((&constant.input, value.into()));
        }
        let whole = States::whole(items);
        for (place, state) in self.states.iter().enumerate() {
            let axis = |carried: &Carried| carried.batch_axis.unwrap_or(0);
            let joint = whole.filter(|_| axis(&state.input) == axis(&state.output));
            let value = match (joint.and_then(|whole| whole.values.get(place)), items) {
                // What stays with the backend is not copied.
                (Some(whole), _) => whole.clone(),
                (None, [only]) => self.state(only.states, place)?,
                (None, several) => {
                    let tensors =
                        several.iter().map(|item| self.state(item.states, place)?.into_tensor().map_err(Into::into));
                    self.join(tensors.collect::<Result<_, RunError>>()?, state.input.batch_axis)?.into()
                }
            };
            values.push((&state.input.port.name, value));
        }
        let given: Vec<(&str, &Value)> = values.iter().map(|(name, value)| (*name, value)).collect();
        let states = self.states.iter().map(|state| state.output.port.name.as_str());
        let asked: Vec<&str> = self.outputs.iter().map(|output| output.port.name.as_str()).chain(states).collect();
        let mut found = session.run(&given, &asked)?;
        let next = found.split_off(self.outputs.len().min(found.len()));
        self.split(items, found, next)
    }

    fn join(&self, mut tensors: Vec<Tensor>, axis: Option<usize>) -> Result<Tensor, RunError> {
        match (tensors.len(), tensors.pop()) {
            (1, Some(only)) => Ok(only),
            (_, last) => {
                tensors.extend(last);
                Tensor::concat(&tensors, axis.unwrap_or(0)).map_err(|source| self.tensor(source))
            }
        }
    }

    fn split(&self, items: &[Given<'_>], found: Vec<Value>, next: Vec<Value>) -> Result<Vec<Taken>, RunError> {
        let count = items.len();
        let added = items.iter().any(|item| item.added);
        let mut taken: Vec<Taken> = self
            .next_states(count, next)?
            .into_iter()
            .map(|states| Taken { outputs: Vec::with_capacity(self.outputs.len()), states })
            .collect();
        for (output, value) in self.outputs.iter().zip(found) {
            let tensor = value.into_tensor()?;
            for (place, taken) in taken.iter_mut().enumerate() {
                taken.outputs.push(match output.batch_axis.filter(|_| added) {
                    None => tensor.clone(),
                    Some(axis) => {
                        let item = self.item(&output.port.name, &tensor, axis, place, count)?;
                        let mut shape = item.shape().to_vec();
                        shape.remove(axis);
                        item.reshape(shape).map_err(|source| self.tensor(source))?
                    }
                });
            }
        }
        Ok(taken)
    }

    /// The next states of each of `count` items.
    fn next_states(&self, count: usize, next: Vec<Value>) -> Result<Vec<States>, RunError> {
        if count == 1 || self.states.is_empty() {
            return Ok(vec![States::Own(next); count]);
        }
        for (state, value) in self.states.iter().zip(&next) {
            let axis = state.output.batch_axis.unwrap_or(0);
            self.check_items(&state.output.port.name, value.shape(), axis, count)?;
        }
        let whole = Arc::new(Joint { values: next, count, tensors: OnceLock::new() });
        Ok((0..count).map(|place| States::Joint { whole: whole.clone(), place }).collect())
    }

    /// State number `state` of one item.
    fn state(&self, states: &States, state: usize) -> Result<Value, RunError> {
        let lacks = || RunError::Tensor {
            model: self.model.clone(),
            source: TensorError::Rows { what: "take a state", reason: format!("there is none of number {state}") },
        };
        match states {
            States::Own(values) => values.get(state).cloned().ok_or_else(lacks),
            States::Joint { whole, place } => {
                let tensor = whole.tensor(state)?.ok_or_else(lacks)?;
                let axis = self.states.get(state).and_then(|state| state.output.batch_axis).unwrap_or(0);
                Ok(tensor.narrow(axis, *place, *place + 1).map_err(|source| self.tensor(source))?.into())
            }
        }
    }

    /// Item number `place` of `count`.
    fn item(&self, output: &str, tensor: &Tensor, axis: usize, place: usize, count: usize) -> Result<Tensor, RunError> {
        self.check_items(output, tensor.shape(), axis, count)?;
        tensor.narrow(axis, place, place + 1).map_err(|source| self.tensor(source))
    }

    /// Fails unless `shape` has `count` items along `axis`.
    fn check_items(&self, output: &str, shape: &[usize], axis: usize, count: usize) -> Result<(), RunError> {
        if shape.get(axis) == Some(&count) {
            return Ok(());
        }
        let (model, output) = (self.model.clone(), output.to_owned());
        Err(RunError::BatchAxis { model, output, axis, expected: count, found: shape.to_vec() })
    }

    fn tensor(&self, source: TensorError) -> RunError {
        RunError::Tensor { model: self.model.clone(), source }
    }
}
