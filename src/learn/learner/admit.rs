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

    /// Other names for the classes: what is kept is numbered by them from now on, and what has no class any more is
    /// removed, from the reference set too.
    pub(super) fn renamed(&mut self, names: Vec<String>, count: Option<usize>) {
        let old = std::mem::replace(&mut self.classes, names);
        self.class_count = count;
        let renumber = renumbering(old, self.classes.clone(), count);
        self.replay.retarget(&renumber);
        if let Some(guard) = &mut self.guard {
            let measured = std::mem::take(guard.samples_mut()).into_iter().zip(std::mem::take(&mut self.original));
            for (sample, measure) in measured {
                if let Some(target) = renumber(&sample.target) {
                    guard.samples_mut().push(Sample { target, ..sample });
                    self.original.push(measure);
                }
            }
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
        let (Some(count), Some(began_with)) = (self.class_count, self.began_with) else { return false };
        if count >= began_with.saturating_add(self.config.new_classes) {
            return false;
        }
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

/// Gives a target that is numbered by the names `old` its number by `new`, where it has one.
fn renumbering(old: Vec<String>, new: Vec<String>, count: Option<usize>) -> impl Fn(&Target) -> Option<Target> {
    let named = !old.is_empty() && !new.is_empty();
    let same = !named || old.iter().zip(&new).all(|(old, new)| old == new);
    let fits = move |class: usize| count.is_none_or(|count| class < count.max(2)).then_some(class);
    let number = move |class: usize| match named {
        true => old.get(class).and_then(|name| new.iter().position(|known| known == name)).and_then(fits),
        false => fits(class),
    };
    move |target| match target {
        Target::Class(class) => number(*class).map(Target::Class),
        Target::Name(_) => Some(target.clone()),
        // Scores are in the order of the old classes.
        Target::Tensor(tensor) => match tensor.as_slice::<i64>() {
            Err(_) => same.then(|| target.clone()),
            Ok(classes) => {
                let renumbered = classes.iter().map(|class| match usize::try_from(*class) {
                    Ok(class) => number(class).and_then(|class| i64::try_from(class).ok()),
                    // What a loss is told to pass over.
                    Err(_) => Some(*class),
                });
                let renumbered = renumbered.collect::<Option<Vec<i64>>>()?;
                Tensor::new(tensor.shape().to_vec(), renumbered).ok().map(Target::Tensor)
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_renumbered_by_name() {
        let names = |names: &str| names.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let tensor = |classes: &[i64]| Target::Tensor(Tensor::from_vec(classes.to_vec()));
        let scores = Target::Tensor(Tensor::from_vec(vec![0.1f32, 0.9]));
        for (old, new, count, target, expected) in [
            ("a b c", "c a b", 3, Target::Class(0), Some(Target::Class(1))),
            ("a b c", "a b c d", 4, Target::Class(2), Some(Target::Class(2))),
            ("a b c", "a b", 2, Target::Class(2), None),
            ("a b c", "", 3, Target::Class(2), Some(Target::Class(2))),
            ("", "", 2, Target::Class(2), None),
            ("", "", 1, Target::Class(1), Some(Target::Class(1))),
            ("a b", "b a", 2, tensor(&[0, 1, -1]), Some(tensor(&[1, 0, -1]))),
            ("a b", "b", 2, tensor(&[0, 1]), None),
            ("a b", "a b", 2, scores.clone(), Some(scores.clone())),
            ("a b", "b a", 2, scores.clone(), None),
            ("a b", "b a", 2, Target::Name("b".into()), Some(Target::Name("b".into()))),
        ] {
            assert_eq!(renumbering(names(old), names(new), Some(count))(&target), expected, "{old} {new} {target:?}");
        }
    }
}
