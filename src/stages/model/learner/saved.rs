//! The versions of a learner on disk, beside those that the running stage counts.

use std::collections::BTreeMap;

use super::{LearnerError, Learning, load};
use crate::learn::{Candidate, LearnError, Versions};

/// The folder of versions, where `save` names one.
pub(super) struct Saved {
    versions: Option<Versions>,
    /// By the number under which a version serves: its number in the folder.
    numbers: BTreeMap<u64, u64>,
}

impl Saved {
    /// Opens the folder. An empty one is given the model that the pipeline's file names, so that there is always one to
    /// go back to.
    pub(super) fn open(learning: &Learning) -> Result<Saved, LearnerError> {
        let Some(folder) = &learning.config.save else {
            return Ok(Saved { versions: None, numbers: BTreeMap::new() });
        };
        let mut versions = Versions::open(folder, learning.config.keep_versions)?;
        let newest = learning.live.newest();
        let current = match versions.current() {
            Some(current) => current.number,
            None => versions.save(&load(&newest)?, &learning.names(&newest), None)?,
        };
        Ok(Saved { versions: Some(versions), numbers: BTreeMap::from([(newest.version.into(), current)]) })
    }

    /// Keeps a version that serves from now on under `number`.
    pub(super) fn keep(&mut self, number: u64, candidate: &Candidate) -> Result<(), LearnError> {
        if let Some(versions) = &mut self.versions {
            let saved = versions.save(&candidate.model, &candidate.classes, Some(&candidate.figures))?;
            self.numbers.insert(number, saved);
        }
        Ok(())
    }

    /// Notes that the version which served as `from` serves again, under `number`.
    pub(super) fn again(&mut self, from: u64, number: u64) -> Result<(), LearnError> {
        if let (Some(versions), Some(saved)) = (&mut self.versions, self.numbers.get(&from).copied()) {
            versions.rollback_to(saved)?;
            self.numbers.insert(number, saved);
        }
        Ok(())
    }
}
