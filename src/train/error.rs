//! What can go wrong in a training.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use serde_json::{Map, Value as Json};
use thiserror::Error;

use super::data::DataError;
use crate::config::Faults;
use crate::engine::EngineError;
use crate::files::FileError;

/// Why a training cannot begin or go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The model, or a step of it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The data are not there, and the recipe says how to get them.
    #[error("{source}; to get the data: {get}")]
    NoData {
        /// What is wrong.
        source: DataError,
        /// How to get them.
        get: String,
    },
    /// A recipe has faults.
    #[error("{0}")]
    Faults(#[from] Faults),
    /// There is nothing to learn from.
    #[error("the {what} data hold no sample: expected at least one that is not bad")]
    Empty {
        /// Training, validation or evaluation.
        what: &'static str,
    },
    /// A file cannot be saved; the one that was there is untouched.
    #[error(transparent)]
    Save(#[from] FileError),
    /// The loss, a gradient or a weight is no number any more. The trainer is back at its best epoch, where there was one.
    #[error("the training diverged in epoch {epoch}, step {step}: {what} is not finite; {}", went_back(.best, .checkpoint))]
    Diverged {
        /// The epoch that was not finished.
        epoch: u64,
        /// How many steps were taken before.
        step: u64,
        /// What is not finite.
        what: String,
        /// The epoch whose weights the model has again; `None` when none was whole.
        best: Option<u64>,
        /// The checkpoint that holds them.
        checkpoint: Option<PathBuf>,
    },
    /// A checkpoint cannot be written or read.
    #[error("checkpoint {path}: {reason}")]
    Checkpoint {
        /// Its path.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A checkpoint is of another training than the one that is to go on from it.
    #[error("checkpoint {} is of another training: {}; go on with what it was trained with, or begin anew elsewhere",
        .path.display(), listed(.changes))]
    AnotherTraining {
        /// Its path.
        path: PathBuf,
        /// What differs.
        changes: Vec<Change>,
    },
    /// A file cannot be read or written.
    #[error("{path}: {reason}")]
    Output {
        /// Its path.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A setting is out of range.
    #[error("{what}: expected {expected}, found {found}")]
    Setting {
        /// The setting.
        what: &'static str,
        /// What it may be.
        expected: String,
        /// What it is.
        found: String,
    },
}

/// A value that is not what it was when a training began.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Change {
    /// The keys that lead to it, the outermost first.
    pub key: Vec<String>,
    /// What it was; null where there was none.
    pub before: Json,
    /// What it is.
    pub now: Json,
}

impl Change {
    /// What differs between two mappings: as few values as tell it, in the order of their keys.
    pub(super) fn between(before: &Map<String, Json>, now: &Map<String, Json>) -> Vec<Change> {
        let mut changes = Vec::new();
        let keys: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
        for key in keys {
            let value = |map: &Map<String, Json>| map.get(key).cloned().unwrap_or_default();
            match (value(before), value(now)) {
                (before, now) if before == now => {}
                (Json::Object(before), Json::Object(now)) => {
                    changes.extend(Change::between(&before, &now).into_iter().map(|mut change| {
                        change.key.insert(0, key.clone());
                        change
                    }));
                }
                (before, now) => changes.push(Change { key: vec![key.clone()], before, now }),
            }
        }
        changes
    }

    /// A value as people read it.
    pub(super) fn shown(value: &Json) -> String {
        match value {
            Json::Null => "nothing".into(),
            value => value.to_string(),
        }
    }
}

impl fmt::Display for Change {
    /// In words: `` `batch` was 64 and is 32 ``.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, before, now) = (self.key.join("."), Change::shown(&self.before), Change::shown(&self.now));
        write!(f, "`{key}` was {before} and is {now}")
    }
}

fn listed(changes: &[Change]) -> String {
    changes.iter().map(Change::to_string).collect::<Vec<_>>().join(", ")
}

fn went_back(best: &Option<u64>, checkpoint: &Option<PathBuf>) -> String {
    match (best, checkpoint) {
        (None, _) => {
            "no epoch is kept: begin anew, with a lower learning rate, clipping of gradients, or other data".into()
        }
        (Some(best), None) => format!("the model is as it was after epoch {best}, the best one"),
        (Some(best), Some(checkpoint)) => format!(
            "epoch {best}, the best one, is kept in {}: go on from there with a lower learning rate",
            checkpoint.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_is_told_by_its_key() {
        let before = json!({"batch": 64, "data": {"train": {"csv": {"path": "a"}}, "validation": 0.1}, "seed": 1});
        for (now, expected) in [
            (before.clone(), ""),
            (json!({"seed": 1, "batch": 64, "data": before["data"]}), ""),
            (
                json!({"batch": 32, "data": {"train": {"csv": {"path": "b"}}, "validation": 0.1}, "seed": 1}),
                "`batch` was 64 and is 32, `data.train.csv.path` was \"a\" and is \"b\"",
            ),
            (
                json!({"batch": 64, "data": {"train": {"csv": {"path": "a"}}}, "freeze": ["a"]}),
                "`data.validation` was 0.1 and is nothing, `freeze` was nothing and is [\"a\"], `seed` was 1 and is nothing",
            ),
        ] {
            let changes = Change::between(before.as_object().unwrap(), now.as_object().unwrap());
            assert_eq!(listed(&changes), expected);
        }
    }
}
