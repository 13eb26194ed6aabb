//! Cross-entropy of logits, along dimension 1: with class indices `t`, the weighted mean of `−ln softmax(p)[t]`; with
//! probabilities `t`, the mean over all positions of `−Σ t·ln softmax(p)`.
//!
//! - Predictions: f32 or f64, `[N, C]` or `[N, C, d…]`; targets: i64 `[N]` or `[N, d…]`, or probabilities of the
//!   predictions' shape and type.
//! - `label_smoothing` ε (0): the target becomes `(1 − ε)·t + ε/C`.
//! - `class_weights` (all 1): one number a class; with indices the mean is weighted by that of the target.
//! - `ignore_index` (−100): positions with that index count nothing.
//!
//! Derivative with indices: `(w·softmax(p) − target) / Σw`. Source: Goodfellow, Bengio and Courville, *Deep Learning*,
//! 6.2.2.3; smoothing: Szegedy et al., CVPR 2016, section 7.

use std::marker::PhantomData;

use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel, bytes};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::with_float;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::engine::ops::DOMAIN;
use crate::onnx::AttributeValue;
use crate::tensor::{DType, SymbolicShape};

pub(super) const ENTRY: OpEntry = OpEntry { domain: DOMAIN, op_type: "CrossEntropy", since: 1, parse };
pub(super) const SETTINGS: &[&str] = &["label_smoothing", "class_weights", "ignore_index"];

const IGNORE: i64 = -100;

#[derive(Clone, Debug)]
struct CrossEntropy {
    label_smoothing: f32,
    class_weights: Option<Vec<f32>>,
    ignore_index: i64,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let op = CrossEntropy {
        label_smoothing: node.float("label_smoothing")?.unwrap_or(0.0),
        class_weights: node.floats("class_weights")?,
        ignore_index: node.int("ignore_index")?.unwrap_or(IGNORE),
    };
    let wrong = |name: &str, expected: &str, found: String| {
        Err(OpError::Attribute { name: name.into(), expected: expected.into(), found })
    };
    if !(0.0..1.0).contains(&op.label_smoothing) {
        return wrong("label_smoothing", "at least 0 and below 1", op.label_smoothing.to_string());
    }
    if let Some(weights) = &op.class_weights
        && !weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0)
    {
        return wrong("class_weights", "numbers that are not negative", format!("{weights:?}"));
    }
    Ok(Box::new(op))
}

impl Op for CrossEntropy {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let mut attributes = Vec::new();
        if self.label_smoothing != 0.0 {
            attributes.push(("label_smoothing", AttributeValue::Float(self.label_smoothing)));
        }
        if let Some(weights) = &self.class_weights {
            attributes.push(("class_weights", AttributeValue::Floats(weights.clone())));
        }
        if self.ignore_index != IGNORE {
            attributes.push(("ignore_index", AttributeValue::Int(self.ignore_index)));
        }
        attributes
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(2..=2, 1..=1)?;
        let logits = inputs.float(0)?;
        let target = inputs.of(1, "i64, or probabilities of the predictions' type", |dtype| {
            dtype == DType::I64 || dtype == logits.dtype
        })?;
        if let Some(dims) = inputs.dims(0, 2..=usize::MAX)? {
            if let (Some(weights), Some(classes)) = (&self.class_weights, dims[1].known())
                && weights.len() != classes
            {
                let (name, expected) = ("class_weights".into(), format!("{classes} numbers, one for each class"));
                return Err(OpError::Attribute { name, expected, found: weights.len().to_string() });
            }
            let mut expected = dims.to_vec();
            if target.dtype == DType::I64 {
                expected.remove(1);
            }
            let expected = SymbolicShape::Ranked(expected);
            if expected.accepts(&target.shape).is_err() {
                let expected = format!("shape {expected}");
                return Err(OpError::Shape { input: 1, expected, found: target.shape.clone() });
            }
        }
        Ok(vec![ValueType::known(logits.dtype, &[])])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (logits, target) = (signature.input(0)?, signature.input(1)?);
        let (rows, classes) = (logits.shape[0], logits.shape[1]);
        let inner: usize = logits.shape[2..].iter().product();
        with_float!(logits.dtype, T => {
            let weights = match &self.class_weights {
                Some(weights) => weights.iter().map(|weight| T::of(f64::from(*weight))).collect(),
                None => vec![T::of(1.0); classes],
            };
            Box::new(CrossEntropyKernel::<T> {
                op: self.clone(),
                rows,
                classes,
                inner,
                by_index: target.dtype == DType::I64,
                probabilities: vec![T::of(0.0); logits.len()],
                weights,
                total: T::of(0.0),
                kind: PhantomData,
            })
        })
    }

    fn is_differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self) -> Reads {
        Reads::of(&[1], &[])
    }
}

struct CrossEntropyKernel<T> {
    op: CrossEntropy,
    rows: usize,
    classes: usize,
    inner: usize,
    by_index: bool,
    /// The softmax of the last forward pass.
    probabilities: Vec<T>,
    weights: Vec<T>,
    /// What the sum of the last forward pass was divided by.
    total: T,
    kind: PhantomData<T>,
}

impl<T: Float> CrossEntropyKernel<T> {
    /// The class of a target, `None` to be ignored.
    fn class(&self, target: i64) -> Result<Option<usize>, OpError> {
        if target == self.op.ignore_index {
            return Ok(None);
        }
        usize::try_from(target).ok().filter(|class| *class < self.classes).map(Some).ok_or_else(|| OpError::Value {
            input: 1,
            expected: format!("class indices below {}", self.classes),
            found: target.to_string(),
        })
    }
}

impl<T: Float> Kernel for CrossEntropyKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let logits = io.input::<T>(0)?;
        let (classes, inner) = (self.classes, self.inner);
        let smoothing = T::of(f64::from(self.op.label_smoothing));
        let each = smoothing / T::of(classes.max(1) as f64);
        let (mut sum, mut total) = (0.0f64, 0.0f64);
        for row in 0..self.rows {
            for position in 0..inner {
                let start = row * classes * inner + position;
                let at = |class: usize| start + class * inner;
                let largest = (0..classes).fold(T::neg_infinity(), |largest, class| largest.max(logits[at(class)]));
                let mut partition = T::zero();
                for class in 0..classes {
                    let power = (logits[at(class)] - largest).exp();
                    self.probabilities[at(class)] = power;
                    partition += power;
                }
                let log_partition = largest + partition.ln();
                for class in 0..classes {
                    self.probabilities[at(class)] /= partition;
                }
                let surprise = |class: usize| log_partition - logits[at(class)];
                if self.by_index {
                    let Some(class) = self.class(io.input::<i64>(1)?[row * inner + position])? else { continue };
                    let weight = self.weights[class];
                    let mut loss = (T::one() - smoothing) * weight * surprise(class);
                    if self.op.label_smoothing > 0.0 {
                        loss += (0..classes).map(|class| each * self.weights[class] * surprise(class)).sum::<T>();
                    }
                    sum += loss.wide();
                    total += weight.wide();
                } else {
                    let targets = io.input::<T>(1)?;
                    let smooth = |class: usize| (T::one() - smoothing) * targets[at(class)] + each;
                    let loss: T = (0..classes).map(|class| smooth(class) * self.weights[class] * surprise(class)).sum();
                    sum += loss.wide();
                    total += 1.0;
                }
            }
        }
        self.total = T::of(total);
        io.output::<T>(0)?.fill(if total > 0.0 { T::of(sum / total) } else { T::zero() });
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let d_loss = io.d_output::<T>(0)?.first().copied().unwrap_or(T::zero());
        let (indices, targets) = match self.by_index {
            true => (Some(io.input::<i64>(1)?), None),
            false => (None, Some(io.input::<T>(1)?)),
        };
        let Some(gradient) = io.d_input::<T>(0)? else { return Ok(()) };
        let (classes, inner) = (self.classes, self.inner);
        let smoothing = T::of(f64::from(self.op.label_smoothing));
        let each = smoothing / T::of(classes.max(1) as f64);
        let scale = if self.total > T::zero() { d_loss / self.total } else { T::zero() };
        for row in 0..self.rows {
            for position in 0..inner {
                let start = row * classes * inner + position;
                let at = |class: usize| start + class * inner;
                let index = match indices {
                    Some(indices) => match self.class(indices[row * inner + position])? {
                        Some(class) => Some(class),
                        None => {
                            (0..classes).for_each(|class| gradient[at(class)] = T::zero());
                            continue;
                        }
                    },
                    None => None,
                };
                // With indices, the smoothed target's weight is that of each class, the target's own that of its class.
                let share = |class: usize| {
                    let target = match (index, targets) {
                        (Some(index), _) => {
                            if index == class {
                                T::one()
                            } else {
                                T::zero()
                            }
                        }
                        (None, Some(targets)) => targets[at(class)],
                        (None, None) => T::zero(),
                    };
                    ((T::one() - smoothing) * target + each) * self.weights[class]
                };
                let mass: T = (0..classes).map(share).sum();
                for class in 0..classes {
                    gradient[at(class)] = scale * (mass * self.probabilities[at(class)] - share(class));
                }
            }
        }
        Ok(())
    }

    fn owned_bytes(&self) -> usize {
        bytes(&self.probabilities) + bytes(&self.weights)
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::ops::DOMAIN;
    use crate::engine::testing::{Case, check_in};
    use crate::onnx::AttributeValue;

    #[test]
    fn cases() {
        let weights = AttributeValue::Floats(vec![1.0, 2.0, 0.5]);
        let logits = || Case::new().input(&[2, 3], &[1.0, 2.0, 3.0, 0.0, 0.0, 0.0]);
        // PyTorch 2: cross_entropy of these logits.
        check_in(
            DOMAIN,
            "CrossEntropy",
            &[
                logits().ints(&[2], &[2, 0]).output(&[], &[(0.4076059644443803 + 1.0986122886681098) / 2.0]),
                logits().ints(&[2], &[2, -100]).output(&[], &[0.4076059644443803]),
                logits().ints(&[2], &[-100, -100]).output(&[], &[0.0]),
                logits()
                    .ints(&[2], &[2, 0])
                    .attribute("class_weights", weights.clone())
                    .output(&[], &[(0.5 * 0.4076059644443803 + 1.0986122886681098) / 1.5]),
                logits().ints(&[2], &[2, 0]).float("label_smoothing", 0.5).attribute("class_weights", weights.clone()),
                logits().ints(&[2], &[1, 1]).int("ignore_index", 1).output(&[], &[0.0]),
                logits().input(&[2, 3], &[0.0, 0.5, 0.5, 1.0, 0.0, 0.0]).float("label_smoothing", 0.1),
                Case::new().random_input(&[2, 3, 2, 2]).ints(&[2, 2, 2], &[0, 1, 2, 0, 1, 2, -100, 0]),
                Case::new().random_input(&[0, 3]).ints(&[0], &[]).output(&[], &[0.0]),
                Case::new().input(&[1, 2], &[1000.0, -1000.0]).ints(&[1], &[1]).output(&[], &[2000.0]).tolerance(1e-4),
                logits().ints(&[2], &[3, 0]).error("class indices below 3"),
                logits().ints(&[3], &[0, 0, 0]).error("expected shape [2]"),
                logits().ints(&[2], &[0, 0]).float("label_smoothing", 1.0).error("at least 0 and below 1"),
                logits()
                    .ints(&[2], &[0, 0])
                    .attribute("class_weights", AttributeValue::Floats(vec![1.0]))
                    .error("3 numbers"),
                Case::new().random_input(&[3]).ints(&[], &[0]).error("expected rank 2 or more"),
                Case::new().random_input(&[0, 1 << 40]).ints(&[0], &[]).error("which is more than the"),
            ],
        );
    }
}
