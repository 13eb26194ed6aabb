//! What a training keeps in its checkpoint, and how it goes on from there.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::{Best, Epoch, Trainer};
use crate::engine::{Plateau, TrainingState};
use crate::tensor::Tensor;
use crate::train::TrainError;
use crate::train::checkpoint::Checkpoint;
use crate::train::error::Change;

impl Trainer {
    /// Goes on from the checkpoint, where there is one; says whether there was.
    ///
    /// # Errors
    /// [`TrainError::AnotherTraining`] when the checkpoint is of another training by its
    /// [identity](super::TrainerOptions::identity). On an error nothing has changed.
    pub fn resume(&mut self) -> Result<bool, TrainError> {
        let Some(path) = self.options.checkpoint.clone() else { return Ok(false) };
        if !path.exists() {
            return Ok(false);
        }
        let checkpoint = Checkpoint::load(&path)?;
        let fault = |reason: String| TrainError::Checkpoint { path: path.display().to_string(), reason };
        let notes = checkpoint.notes.get("training").ok_or_else(|| fault("it says nothing of a training".into()))?;
        let notes: Notes = serde_json::from_str(notes).map_err(|error| fault(error.to_string()))?;
        let changes = Change::between(&notes.identity, &self.options.identity);
        if !changes.is_empty() {
            return Err(TrainError::AnotherTraining { path, changes });
        }
        let part = |prefix: &str, steps: u64, waiting: u64, plateau: &Plateau| TrainingState {
            tensors: checkpoint
                .tensors
                .iter()
                .filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone())))
                .collect(),
            steps,
            waiting,
            plateau: plateau.clone(),
        };
        self.training.restore(&part("now.", notes.steps, notes.waiting, &notes.plateau))?;
        let epochs = notes.history.len() as u64;
        self.best = notes.best.map(|best| {
            let prefix = if best.epoch == epochs { "now." } else { "best." };
            Best { epoch: best.epoch, loss: best.loss, state: part(prefix, best.steps, best.waiting, &best.plateau) }
        });
        self.last = (self.validation.is_none() && epochs > 0).then(|| self.training.state());
        self.history = notes.history;
        self.bad = notes.bad;
        Ok(true)
    }

    /// Writes the checkpoint of the last epoch, after which the training was in this state.
    pub(super) fn save(&self, state: &TrainingState) -> Result<(), TrainError> {
        let Some(path) = &self.options.checkpoint else { return Ok(()) };
        let named = |prefix: &str, state: &TrainingState| -> Vec<(String, Tensor)> {
            state.tensors.iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor.clone())).collect()
        };
        let mut tensors = named("now.", state);
        // The best is the newest as long as it learns.
        if let Some(best) = self.best.as_ref().filter(|best| best.epoch != self.history.len() as u64) {
            tensors.extend(named("best.", &best.state));
        }
        let notes = Notes {
            identity: self.options.identity.clone(),
            steps: state.steps,
            waiting: state.waiting,
            plateau: state.plateau.clone(),
            history: self.history.clone(),
            bad: self.bad.clone(),
            best: self.best.as_ref().map(|best| BestNotes {
                epoch: best.epoch,
                loss: best.loss,
                steps: best.state.steps,
                waiting: best.state.waiting,
                plateau: best.state.plateau.clone(),
            }),
        };
        let notes = serde_json::to_string(&notes)
            .map_err(|error| TrainError::Checkpoint { path: path.display().to_string(), reason: error.to_string() })?;
        Checkpoint { tensors, notes: [("training".to_owned(), notes)].into() }.save(path)
    }
}

/// What a checkpoint says besides its tensors. A float is written so that it is read back as the same bits.
#[derive(Serialize, Deserialize)]
struct Notes {
    /// What the training is of.
    identity: Map<String, Json>,
    steps: u64,
    /// Gradients that wait; their sums are among the tensors.
    waiting: u64,
    plateau: Plateau,
    history: Vec<Epoch>,
    /// The numbers of the training samples that were skipped.
    bad: BTreeSet<usize>,
    best: Option<BestNotes>,
}

#[derive(Serialize, Deserialize)]
struct BestNotes {
    epoch: u64,
    loss: f64,
    steps: u64,
    waiting: u64,
    plateau: Plateau,
}
