//! One call of the graph for an item of each of some streams.

use thiserror::Error;

use super::binding::Binding;
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
    /// A value for each state.
    pub states: &'a [Value],
    /// Whether the batch axis was added, and is to be taken away from what comes out.
    pub added: bool,
}

impl Given<'_> {
    /// Whether both can go into one call: each is a single item, and all their shapes agree.
    pub fn joins(&self, other: &Given<'_>) -> bool {
        let inputs = self.inputs.iter().map(Tensor::shape).eq(other.inputs.iter().map(Tensor::shape));
        let states = self.states.iter().map(Value::shape).eq(other.states.iter().map(Value::shape));
        self.added && other.added && inputs && states
    }
}

/// What comes out for one stream.
#[derive(Clone, Debug)]
pub struct Taken {
    /// A tensor for each output port.
    pub outputs: Vec<Tensor>,
    /// A value for each state: the next one.
    pub states: Vec<Value>,
}

impl Binding {
    /// A value for each state at a stream's start.
    pub fn first_states(&self) -> Vec<Value> {
        self.states.iter().map(|state| Value::from(state.first.clone())).collect()
    }

    /// Runs the graph once for all of `items`, of which each [joins](Given::joins) the first, and gives what comes out
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
        for (place, state) in self.states.iter().enumerate() {
            let mut states: Vec<&Value> = items.iter().filter_map(|item| item.states.get(place)).collect();
            let value = match (states.pop(), states.is_empty()) {
                // A state that stays with the backend is not copied.
                (Some(only), true) => only.clone(),
                (last, _) => {
                    let tensors = states.into_iter().chain(last).map(Value::to_tensor).collect::<Result<_, _>>()?;
                    self.join(tensors, state.input.batch_axis)?.into()
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
        let mut taken: Vec<Taken> = items.iter().map(|_| Taken { outputs: Vec::new(), states: Vec::new() }).collect();
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
        for (state, value) in self.states.iter().zip(next) {
            match &mut taken[..] {
                [only] => only.states.push(value),
                several => {
                    let tensor = value.into_tensor()?;
                    let axis = state.output.batch_axis.unwrap_or(0);
                    for (place, taken) in several.iter_mut().enumerate() {
                        let item = self.item(&state.output.port.name, &tensor, axis, place, count)?;
                        taken.states.push(item.into());
                    }
                }
            }
        }
        Ok(taken)
    }

    /// Item number `place` of `count`.
    fn item(&self, output: &str, tensor: &Tensor, axis: usize, place: usize, count: usize) -> Result<Tensor, RunError> {
        if tensor.shape().get(axis) != Some(&count) {
            return Err(RunError::BatchAxis {
                model: self.model.clone(),
                output: output.to_owned(),
                axis,
                expected: count,
                found: tensor.shape().to_vec(),
            });
        }
        tensor.narrow(axis, place, place + 1).map_err(|source| self.tensor(source))
    }

    fn tensor(&self, source: TensorError) -> RunError {
        RunError::Tensor { model: self.model.clone(), source }
    }
}
