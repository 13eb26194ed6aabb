//! The networks of a learner.

use crate::engine::{Loss, Network, Training, TrainingOptions};
use crate::learn::config::{LearnConfig, Measured};
use crate::learn::error::LearnError;
use crate::learn::guard::Guard;
use crate::learn::measure::{Measure, Port, evaluate};
use crate::learn::statistics::MIN_FOR_STUDENT;
use crate::onnx::{Model, ValueInfo};
use crate::tensor::{DType, TensorData};

/// Bytes that the compiled plans of a network to measure by may take.
const PLAN_BYTES: usize = 64 << 20;

/// The model to measure it by, on threads that all networks share.
pub(super) fn network(model: &Model, config: &LearnConfig) -> Result<Network, LearnError> {
    let mut network = Network::new(model)?;
    network.share_threads(config.budget.threads)?;
    network.set_plan_memory(PLAN_BYTES);
    Ok(network)
}

/// A training of the model by these settings, on threads that all its networks share.
pub(super) fn training(model: &Model, config: &LearnConfig, loss: &Loss, port: &Port) -> Result<Training, LearnError> {
    let accumulate = if port.batches { 1 } else { config.batch as u64 };
    let options = TrainingOptions::new(loss.clone(), config.optimizer.clone())
        .clip(config.clip())
        .accumulate(accumulate)
        .seed(config.seed);
    let options = config.freeze.iter().fold(options, |options, pattern| options.freeze(pattern));
    let mut training = Training::new(model, options)?;
    training.network().share_threads(config.budget.threads)?;
    Ok(training)
}

/// The model with the scores that the loss takes as an output, that output's name, and whether it was added:
/// cross-entropy takes logits, which are the input of a Softmax that gives the first output.
pub(super) fn with_logits(model: &Model, loss: &str) -> (Model, String, bool) {
    let mut model = model.clone();
    let Some(first) = model.graph.outputs.first().cloned() else { return (model, String::new(), false) };
    let producer = model.graph.nodes.iter().find(|node| node.outputs.first() == Some(&first.name));
    let logits = producer
        .filter(|node| node.op_type == "Softmax" && node.domain.is_empty() && loss == "cross_entropy")
        .and_then(|node| node.inputs.first().cloned());
    match logits {
        None => (model, first.name, false),
        Some(logits) => {
            let added = !model.graph.outputs.iter().any(|output| output.name == logits);
            if added {
                let dtype = first.dtype.unwrap_or(DType::F32);
                model.graph.outputs.push(ValueInfo::tensor(logits.clone(), dtype, first.shape));
            }
            (model, logits, added)
        }
    }
}

/// Fits the reference set to the model, and measures the model by it.
pub(super) fn judge_original(
    guard: &mut Guard,
    config: &LearnConfig,
    port: &Port,
    output: &str,
    measure: &mut Measure,
    network: &mut Network,
) -> Result<Vec<f64>, LearnError> {
    for (index, sample) in guard.samples_mut().iter_mut().enumerate() {
        sample.input = port.one(&sample.input).map_err(|reason| LearnError::Reference { index, reason })?;
    }
    let path = config.guard.reference.clone().unwrap_or_default();
    let original = evaluate(network, port, output, measure, guard.samples())
        .map_err(|error| LearnError::Unreadable { path, reason: error.to_string() })?;
    if let Some(index) = original.iter().position(|measure| !measure.is_finite()) {
        let reason = "the model has no finite measure on it: its target must be a class that the model has, or numbers of \
                      the shape of its answer";
        return Err(LearnError::Reference { index, reason: reason.into() });
    }
    let hopeless = match measure.kind() {
        Measured::Error => Guard::is_hopeless(&config.guard, original.len()),
        Measured::Loss if original.len() < MIN_FOR_STUDENT => {
            Some(format!("is too small: expected at least {MIN_FOR_STUDENT} samples, found {}", original.len()))
        }
        Measured::Loss => None,
    };
    match hopeless {
        Some(message) => Err(LearnError::Setting { key: "guard.reference".into(), message }),
        None => Ok(original),
    }
}

/// Whether all weights of a model are finite.
pub(super) fn is_finite(model: &Model) -> bool {
    model.graph.initializers.iter().all(|(_, weight)| match weight.data() {
        TensorData::F32(values) => values.iter().all(|value| value.is_finite()),
        TensorData::F64(values) => values.iter().all(|value| value.is_finite()),
        _ => true,
    })
}
