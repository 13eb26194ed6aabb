//! Which samples fit the model, and classes that join it.

use std::sync::Arc;

use super::Learner;
use super::models::{network, training, with_logits};
use crate::learn::error::LearnError;
use crate::learn::grow::grow_classes;
use crate::learn::sample::{Sample, Target};
use crate::onnx::Model;
use crate::tensor::Tensor;

/// Shapes of inputs whose scores' shape is remembered.
const SHAPES: usize = 64;

impl Learner {
    /// The sample as it is learned from: its input with a batch axis, its class by number; nothing where it does not fit.
    pub(super) fn fit(&mut self, mut sample: Sample, may_grow: bool) -> Option<Sample> {
        let input = if sample.is_sound() { self.port.one(&sample.input).ok() } else { None };
        let Some(input) = input else {
            self.counts.malformed += 1;
            return None;
        };
        sample.input = input;
        // A shape that the model cannot take must not reach a step.
        let Ok(shape) = self.scores_of(&sample.input) else {
            self.counts.malformed += 1;
            return None;
        };
        if let (Target::Name(name), true, None) = (&sample.target, may_grow, self.resolve(&sample.target)) {
            let name = name.clone();
            if !self.join(&name) {
                self.counts.unknown_class += 1;
                return None;
            }
        }
        let target = self.resolve(&sample.target);
        let unknown = match (&target, self.class_count) {
            (None, _) => true,
            (Some(Target::Class(class)), Some(count)) => *class >= count.max(2),
            _ => false,
        };
        if unknown {
            self.counts.unknown_class += 1;
            return None;
        }
        sample.target = target?;
        let shape = self.scores_of(&sample.input).unwrap_or(shape);
        if self.measure.target(&sample.target, &shape).is_err() {
            self.counts.malformed += 1;
            return None;
        }
        Some(sample)
    }

    /// A target by name as one by number.
    pub(super) fn resolve(&self, target: &Target) -> Option<Target> {
        match target {
            Target::Name(name) => self.classes.iter().position(|known| **known == **name).map(Target::Class),
            target => Some(target.clone()),
        }
    }

    /// The shape of the scores of one input.
    pub(super) fn scores_of(&mut self, input: &Tensor) -> Result<Vec<usize>, LearnError> {
        if let Some(shape) = self.shapes.get(input.shape()) {
            return Ok(shape.clone());
        }
        let network = self.shadow.network();
        let scores = network.run_for(&[&self.output], &[(&self.port.name, input)])?;
        let shape = scores.first().map(|scores| scores.shape().to_vec()).unwrap_or_default();
        if self.shapes.len() >= SHAPES {
            self.shapes.pop_first();
        }
        self.shapes.insert(input.shape().to_vec(), shape.clone());
        Ok(shape)
    }

    /// A new class joins the model; says whether it may.
    fn join(&mut self, name: &Arc<str>) -> bool {
        let joined = self.counts.new_classes as usize;
        let (Some(count), true) = (self.class_count, joined < self.config.new_classes) else { return false };
        let grow = |learner: &mut Learner| -> Result<(), LearnError> {
            let wider = |model: &Model| -> Result<Model, LearnError> {
                let (model, ..) =
                    with_logits(&grow_classes(&learner.without_added(model.clone()), count + 1)?, learner.loss.name());
                Ok(model)
            };
            let shadow = training(&wider(&learner.shadow.model())?, &learner.config, &learner.loss, &learner.port)?;
            let serving = network(&wider(&learner.serving.network.model())?, &learner.config)?;
            let previous = match &learner.previous {
                Some(previous) => Some(network(&wider(&previous.network.model())?, &learner.config)?),
                None => None,
            };
            learner.shadow = shadow;
            learner.serving.network = serving;
            if let (Some(version), Some(network)) = (&mut learner.previous, previous) {
                version.network = network;
            }
            Ok(())
        };
        if grow(self).is_err() {
            self.counts.failed += 1;
            return false;
        }
        self.shapes.clear();
        self.class_count = Some(count + 1);
        self.classes.push(name.to_string());
        self.counts.new_classes += 1;
        true
    }
}
