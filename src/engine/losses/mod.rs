//! Losses: one file each, one line each in [`LOSSES`].
//!
//! A loss is an operator of percept's own domain with one output, a scalar: input 0 is the prediction (an output of the
//! model), input 1 the target. So a graph that is trained is a graph like any other, and a loss passes the same tests
//! as every operator.

mod absolute;
mod binary_cross_entropy;
mod cosine_embedding;
mod cross_entropy;
mod ctc;
mod hinge;
mod huber;
mod kl;
mod pair;
mod perceptron;
mod squared;
mod triplet;

use serde_json::{Map, Value};

use super::attributes::OpEntry;
use super::error::EngineError;
use crate::onnx::AttributeValue;

/// A line of the table of losses.
#[derive(Clone, Copy, Debug)]
pub struct LossEntry {
    /// The name by which a recipe asks for it.
    pub name: &'static str,
    /// The operator.
    pub op: OpEntry,
    /// Its settings: numbers by name. Lists of numbers are allowed where the operator takes them.
    pub settings: &'static [&'static str],
}

/// Every loss.
#[rustfmt::skip]
pub const LOSSES: &[LossEntry] = &[
    LossEntry { name: "absolute", op: absolute::ENTRY, settings: &[] },
    LossEntry { name: "binary_cross_entropy", op: binary_cross_entropy::ENTRY, settings: &[] },
    LossEntry { name: "cosine_embedding", op: cosine_embedding::ENTRY, settings: &["margin"] },
    LossEntry { name: "cross_entropy", op: cross_entropy::ENTRY, settings: cross_entropy::SETTINGS },
    LossEntry { name: "ctc", op: ctc::ENTRY, settings: &["blank_index"] },
    LossEntry { name: "hinge", op: hinge::ENTRY, settings: &[] },
    LossEntry { name: "huber", op: huber::ENTRY, settings: &["delta"] },
    LossEntry { name: "kl", op: kl::ENTRY, settings: &[] },
    LossEntry { name: "perceptron", op: perceptron::ENTRY, settings: &[] },
    LossEntry { name: "squared", op: squared::ENTRY, settings: &[] },
    LossEntry { name: "triplet", op: triplet::ENTRY, settings: &["margin"] },
];

/// A loss with its settings, and what it compares.
#[derive(Clone, Debug)]
pub struct Loss {
    pub(super) entry: LossEntry,
    pub(super) attributes: Vec<(String, AttributeValue)>,
    /// The outputs of the model that it reads; the first one, when empty.
    pub(super) outputs: Vec<String>,
    /// The names under which targets are given to a step.
    pub(super) targets: Vec<String>,
}

impl Loss {
    /// The loss `name` of [`LOSSES`], with its default settings.
    pub fn new(name: &str) -> Result<Self, EngineError> {
        let Some(entry) = LOSSES.iter().find(|entry| entry.name == name) else {
            let names: Vec<&str> = LOSSES.iter().map(|entry| entry.name).collect();
            let hint = format!("; there is {}", names.join(", "));
            return Err(EngineError::NoSuch { what: "loss", name: name.into(), hint });
        };
        Ok(Loss::of_entry(entry.name, entry.op, entry.settings))
    }

    /// Cross-entropy of logits with class indices or with probabilities.
    pub fn cross_entropy() -> Self {
        Loss::of_entry("cross_entropy", cross_entropy::ENTRY, cross_entropy::SETTINGS)
    }

    /// The mean of squared differences.
    pub fn squared() -> Self {
        Loss::of_entry("squared", squared::ENTRY, &[])
    }

    fn of_entry(name: &'static str, op: OpEntry, settings: &'static [&'static str]) -> Self {
        let entry = LossEntry { name, op, settings };
        Loss { entry, attributes: Vec::new(), outputs: Vec::new(), targets: vec!["target".into()] }
    }

    /// Changes its settings, by name.
    pub fn with_settings(mut self, settings: &Map<String, Value>) -> Result<Self, EngineError> {
        for (name, value) in settings {
            if !self.entry.settings.contains(&name.as_str()) {
                let hint = match self.entry.settings {
                    [] => format!("; {} takes none", self.entry.name),
                    known => format!("; {} takes {}", self.entry.name, known.join(", ")),
                };
                return Err(EngineError::NoSuch { what: "setting", name: name.clone(), hint });
            }
            let wrong = || EngineError::Setting {
                what: "a setting of the loss",
                expected: format!("`{name}` as a number or a list of numbers"),
                found: value.to_string(),
            };
            let number = |value: &Value| value.as_f64().map(|value| value as f32);
            let attribute = match value {
                Value::Array(values) => {
                    AttributeValue::Floats(values.iter().map(number).collect::<Option<_>>().ok_or_else(wrong)?)
                }
                Value::Number(value) if value.is_i64() && name.ends_with("index") => {
                    AttributeValue::Int(value.as_i64().ok_or_else(wrong)?)
                }
                value => AttributeValue::Float(number(value).ok_or_else(wrong)?),
            };
            self.attributes.push((name.clone(), attribute));
        }
        Ok(self)
    }

    /// Reads these outputs of the model instead of the first one.
    pub fn of(mut self, outputs: &[&str]) -> Self {
        self.outputs = outputs.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// Takes its targets under these names instead of `target`.
    pub fn targets(mut self, targets: &[&str]) -> Self {
        self.targets = targets.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// The same with one target more, by this name: the `mask` of losses that compare number with number, the `lengths`
    /// of `ctc`.
    pub fn with_target(mut self, name: &str) -> Self {
        self.targets.push(name.to_owned());
        self
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.entry.name
    }

    /// The class that stands for nothing, where it is CTC.
    pub fn blank(&self) -> Option<usize> {
        let set = self.attributes.iter().rev().find_map(|(name, value)| match value {
            AttributeValue::Int(index) if name == "blank_index" => usize::try_from(*index).ok(),
            _ => None,
        });
        (self.entry.name == "ctc").then(|| set.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_loss_and_what_is_wrong_is_said() {
        for entry in LOSSES {
            assert_eq!(Loss::new(entry.name).unwrap().name(), entry.name);
        }
        assert!(Loss::new("mse").unwrap_err().to_string().contains("there is absolute"));
        let settings = serde_json::json!({"blank_index": 3});
        let ctc = Loss::new("ctc").unwrap();
        assert_eq!((ctc.blank(), Loss::squared().blank()), (Some(0), None));
        assert_eq!(ctc.with_settings(settings.as_object().unwrap()).unwrap().blank(), Some(3));
        let settings = serde_json::json!({"delta": 1.0});
        let error = Loss::squared().with_settings(settings.as_object().unwrap()).unwrap_err().to_string();
        assert!(error.contains("squared takes none"), "{error}");
    }
}
