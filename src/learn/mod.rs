//! Floor 4: learning from a stream, the mathematics of it.
//!
//! A model serves a stream; a copy of it, the shadow, learns from what is known to be right. All of it is synchronous and
//! knows no clock, no thread and no pipeline: whoever runs it hands it inputs, labels and times of the stream.
//!
//! 1. [`Joiner`] joins labels to their inputs, by stream and time.
//!    [`Supervisor`] makes samples of inputs alone.
//! 2. [`Learner`] keeps the samples within bounds ([`Replay`]), holds some out, rehearses those of the old task, trains the
//!    shadow, and compares it with the serving version. A candidate must be better on what is held out, and no worse on
//!    the trusted samples of a [`Guard`]. A version that turns out worse is taken back.
//! 3. [`drift`] sees whether the stream has changed.
//! 4. [`Versions`] keeps adopted versions in a folder, each whole.
//! 5. [`grow_classes`] widens a head by classes that are new.

mod config;
pub mod drift;
mod error;
mod grow;
mod guard;
mod joiner;
mod learner;
mod measure;
mod npz;
mod random;
mod replay;
mod sample;
mod statistics;
mod supervision;
mod versions;

pub use config::{
    BudgetConfig, ClipConfig, GuardConfig, Keep, LabelsConfig, LearnConfig, LossConfig, Measured, Per, PromoteConfig,
    ReplayConfig, Supervision, When,
};
pub use drift::Drift;
pub use error::LearnError;
pub use grow::grow_classes;
pub use guard::{Guard, GuardFigures};
pub use joiner::{Counts, Joiner};
pub use learner::{Candidate, Figures, LearnCounts, Learner, LiveFigures, Reason, Verdict};
pub use npz::load_samples;
pub use replay::{Place, Replay};
pub use sample::{Sample, Target};
pub use supervision::{Supervisor, confidence};
pub use versions::{Manifest, Versions};
