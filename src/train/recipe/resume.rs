//! Going on from a checkpoint: only with what it was trained with.

use serde_json::{Map, Value as Json};

use super::{Prepared, Recipe};
use crate::config::{Fault, Faults, Node};
use crate::train::{Change, TrainError};

/// The keys of a recipe that a checkpoint holds for: what is learnt from what. All others may change when a training is
/// gone on with: how long it goes on, and how large its steps are.
const FIXED: &[&str] = &[
    "data",
    "preprocess",
    "augment",
    "model",
    "initializer",
    "freeze",
    "loss",
    "penalty",
    "penalties",
    "buckets",
    "accumulate",
    "seed",
];

impl Recipe {
    /// Goes on from the checkpoint in the recipe's output folder, where there is one; says whether there was.
    ///
    /// A checkpoint of other data, of another model, loss, penalty, rule of descent, minibatch or seed is refused, with a
    /// fault for each. `epochs`, `steps`, `patience`, `max_bad`, the numbers of the optimizer, its `schedule`, `rates` and
    /// `clip`, `threads` and `memory_mb` may be others than before.
    pub fn resume(&self, prepared: &mut Prepared) -> Result<bool, TrainError> {
        match prepared.trainer.resume() {
            Err(TrainError::AnotherTraining { changes, .. }) => {
                let mut faults = Faults::new();
                changes.iter().for_each(|change| faults.push(self.fault_of(change)));
                Err(faults.into())
            }
            other => other,
        }
    }

    /// What a checkpoint of this recipe is of, with so many samples to train on.
    pub(super) fn identity(&self, batch: Option<usize>, samples: usize) -> Map<String, Json> {
        let mut settings = match serde_json::to_value(&self.settings) {
            Ok(Json::Object(settings)) => settings,
            _ => Map::new(),
        };
        let kind = settings.get("optimizer").and_then(|optimizer| optimizer.get("kind")).cloned();
        // How to get the data says nothing of what they are.
        if let Some(Json::Object(data)) = settings.get_mut("data") {
            data.remove("get");
        }
        settings.retain(|key, _| FIXED.contains(&key.as_str()));
        settings.insert("optimizer".into(), [("kind".to_owned(), kind.unwrap_or_default())].into_iter().collect());
        settings.insert("batch".into(), batch.unwrap_or(0).into());
        settings.insert(SAMPLES.into(), samples.into());
        settings
    }

    fn fault_of(&self, change: &Change) -> Fault {
        let key = change.key.join(".");
        let message = match key.as_str() {
            SAMPLES => "the checkpoint is of another number of samples to train on".to_owned(),
            _ => format!("`{key}` is not what the checkpoint was trained with"),
        };
        let place = change.key.iter().try_fold(&self.node, |node, key| Node::get(node, key));
        let fault = Fault::error("another-training", message)
            .expected(Change::shown(&change.before))
            .found(Change::shown(&change.now))
            .help("put it back, or begin anew without `--resume` in another folder: `--set output=NAME`")
            .path(key);
        match place {
            Some(node) => fault.at_node(node, &self.source),
            None => fault.in_source(&self.source),
        }
    }
}

/// Stands for how many samples there are to train on.
const SAMPLES: &str = "training samples";
