//! Floor 6: from a pipeline file to a plan that can run.

mod plan;

pub use plan::{LinkSettings, Overflow, Plan, PlannedLink, PlannedStage};
