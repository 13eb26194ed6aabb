//! Where the lengths of samples go: to the model, and to the loss.

use super::data::{Batch, Buckets};
use super::error::TrainError;
use crate::engine::{Loss, infer_shapes};
use crate::onnx::Model;
use crate::tensor::{DType, Dim, Tensor};

#[cfg(test)]
mod tests;

/// The input of a model that takes how many steps of each sample count.
const LENGTHS: &str = "lengths";
/// What a loss calls its mask, and the lengths that it takes: no input of the model may be called so.
const MASK: &str = "mask";
const LOSS_LENGTHS: &str = "target_lengths";

/// The inputs, besides samples and targets, that a minibatch of samples of varying lengths is given to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LengthInputs {
    /// An input of the model, i32 `[batch]`: how many steps of each sample count.
    pub model: Option<String>,
    /// A target of the loss, i64 `[batch]`: the same (the lengths of `ctc`).
    pub loss: Option<String>,
    /// A target of the loss, of the targets' shape and type: 1 at the steps of a sample, 0 beyond (the mask of losses that
    /// compare number with number).
    pub mask: Option<String>,
}

impl LengthInputs {
    /// What a model and a loss need for samples in `buckets`, with a target like `target`: the loss with its further
    /// targets, and where lengths go.
    ///
    /// - The model must have an input `lengths`, i32 `[batch]`, and mind it. (Those of the zoo do with `lengths: true`.)
    /// - `cross_entropy` ignores what targets of classes are filled with; losses that compare number with number take a
    ///   mask where targets have steps.
    /// - `ctc` takes the lengths: the model must give as many frames as it takes, and `target_length` be set.
    pub fn of(model: &Model, loss: Loss, buckets: &Buckets, target: &Tensor) -> Result<(Loss, Self), TrainError> {
        let fault = |expected: &str, found: String| {
            Err(TrainError::Setting { what: "buckets", expected: expected.into(), found })
        };
        buckets.check()?;
        let inputs: Vec<&str> = model.graph.free_inputs().map(|input| input.name.as_str()).collect();
        let Some(lengths) = model.graph.free_inputs().find(|input| input.name == LENGTHS) else {
            let expected = "a model with an input `lengths`, as `recurrent_classifier`, `recurrent_tagger` and `tdnn` have \
                            it with `lengths: true`: any other would take what samples are filled with for their own";
            return fault(expected, format!("inputs {}", inputs.join(", ")));
        };
        if lengths.dtype.is_some_and(|dtype| dtype != DType::I32) {
            return fault("an input `lengths` of i32", lengths.to_string());
        }
        let mut own = LengthInputs { model: Some(LENGTHS.into()), ..LengthInputs::default() };
        if loss.name() == "ctc" {
            if buckets.target_length.is_none() {
                return fault("`target_length`, as the loss is ctc", "none".into());
            }
            let (steps, frames) = (steps_of(model, buckets), frames_of(model)?);
            if steps.is_none() || steps != frames {
                let shown = |dim: Option<Dim>| dim.map_or_else(|| "?".into(), |dim| dim.to_string());
                let found = format!("{} frames of {} steps", shown(frames), shown(steps));
                return fault("a model that gives ctc as many frames as it takes steps", found);
            }
            own.loss = Some(LOSS_LENGTHS.into());
            return Ok((loss.with_target(LOSS_LENGTHS), own));
        }
        if buckets.target_length.is_some() && !target.shape().is_empty() {
            return fault("no `target_length`: only ctc takes targets with lengths of their own", loss.name().into());
        }
        if !target.shape().is_empty() && matches!(target.dtype(), DType::F32 | DType::F64) {
            own.mask = Some(MASK.into());
            return Ok((loss.with_target(MASK), own));
        }
        Ok((loss, own))
    }

    /// What a minibatch gives them; the model's first. Nothing without lengths.
    pub(super) fn tensors(&self, batch: &Batch) -> Result<Vec<(&str, Tensor)>, TrainError> {
        let mut tensors = Vec::new();
        if batch.lengths.is_empty() {
            return Ok(tensors);
        }
        if let Some(name) = &self.model {
            let lengths = batch.lengths.iter().map(|steps| i32::try_from(*steps).unwrap_or(i32::MAX));
            tensors.push((name.as_str(), Tensor::from_vec(lengths.collect::<Vec<_>>())));
        }
        if let Some(name) = &self.loss {
            let lengths = batch.lengths.iter().map(|steps| i64::try_from(*steps).unwrap_or(i64::MAX));
            tensors.push((name.as_str(), Tensor::from_vec(lengths.collect::<Vec<_>>())));
        }
        if let Some(name) = &self.mask {
            tensors.push((name.as_str(), mask(&batch.targets, &batch.lengths)?));
        }
        Ok(tensors)
    }
}

/// 1 where the last dimension of `targets` is within a row's length, else 0.
fn mask(targets: &Tensor, lengths: &[usize]) -> Result<Tensor, TrainError> {
    let shape = targets.shape();
    let steps = shape.last().copied().unwrap_or(1).max(1);
    let row = targets.len().checked_div(lengths.len()).unwrap_or(0).max(1);
    let own = (0..targets.len()).map(|at| lengths.get(at / row).is_some_and(|length| at % steps < *length));
    let mask = match targets.dtype() {
        DType::F64 => Tensor::new(shape.to_vec(), own.map(|own| f64::from(u8::from(own))).collect::<Vec<_>>()),
        _ => Tensor::new(shape.to_vec(), own.map(|own| f32::from(u8::from(own))).collect::<Vec<_>>()),
    };
    Ok(mask.map_err(super::data::DataError::from)?)
}

/// The steps of the model's first input.
fn steps_of(model: &Model, buckets: &Buckets) -> Option<Dim> {
    let dims = model.graph.free_inputs().next()?.shape.dims()?;
    // The batch comes before the dimensions of a sample.
    let at = if buckets.axis < 0 { i64::try_from(dims.len()).ok()? + buckets.axis } else { buckets.axis + 1 };
    dims.get(usize::try_from(at).ok()?).filter(|dim| matches!(dim, Dim::Symbol(_))).cloned()
}

/// The frames of the model's first output, `[batch, frames, classes]`.
fn frames_of(model: &Model) -> Result<Option<Dim>, TrainError> {
    let inferred = infer_shapes(model)?;
    let output = model.graph.outputs.first().and_then(|output| inferred.get(&output.name));
    Ok(output.and_then(|known| known.shape.dims()?.get(1).cloned()))
}
