//! What stands in the place of a companion that was given up, so that whoever wrote to it goes on.

use crate::media::{Format, StreamInfo};
use crate::stage::{Input, Opened, Output, Stage, StageError};

/// Takes everything and does nothing.
pub(super) struct Retired {
    /// How many output ports it stands for.
    pub outputs: usize,
}

impl Stage for Retired {
    type State = ();

    fn open(&mut self, _: &StreamInfo, _: &[Format]) -> Result<Opened<()>, StageError> {
        Ok(Opened { state: (), outputs: vec![Format::Any; self.outputs] })
    }

    fn process(&mut self, _: &mut (), _: Input, _: &mut Output) -> Result<(), StageError> {
        Ok(())
    }
}
