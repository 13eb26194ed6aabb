//! The versions of a learner on disk.

use super::{LearnerError, Learning, load};
use crate::learn::{Figures, LearnError, Versions};
use crate::onnx::Model;

/// The folder of versions, where `save` names one.
pub(super) struct Saved(Option<Versions>);

impl Saved {
    /// Opens the folder, and notes there what serves.
    pub(super) fn open(learning: &Learning) -> Result<Saved, LearnerError> {
        let Some(folder) = &learning.config.save else { return Ok(Saved(None)) };
        let newest = learning.live.newest();
        let mut saved = Saved(Some(Versions::open(folder, learning.config.keep_versions)?));
        saved.serves(&load(&newest)?, &learning.names(&newest), None)?;
        Ok(saved)
    }

    /// Notes that this model serves from now on: a version that is there already, or a new one.
    pub(super) fn serves(
        &mut self,
        model: &Model,
        classes: &[String],
        figures: Option<&Figures>,
    ) -> Result<(), LearnError> {
        let Some(versions) = &mut self.0 else { return Ok(()) };
        match versions.find(model, classes) {
            Some(number) if versions.current().is_some_and(|current| current.number == number) => Ok(()),
            Some(number) => versions.rollback_to(number),
            None => versions.save(model, classes, figures).map(drop),
        }
    }
}
