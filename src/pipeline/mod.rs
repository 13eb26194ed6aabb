//! Floor 6: from a pipeline file, or a program's calls, to a plan that can run.
//!
//! [`PipelineFile`] (or [`Builder`]) → stages that know their kind → [`Plan`]. Kinds are seen only through the registry
//! that the caller hands in. Each step collects every fault; nothing starts while there is one.
//!
//! A [`Chain`] is checked likewise, and run at once in the caller's thread: for preparing data as a pipeline would.

mod assemble;
mod builder;
mod chain;
mod file;
mod plan;
mod spec;

#[cfg(test)]
mod tests;

pub use builder::Builder;
pub use chain::{Chain, ChainError, ChainRun};
pub use file::PipelineFile;
pub use plan::{LinkSettings, Overflow, Plan, PlannedLink, PlannedStage};
pub use spec::{FORMAT_VERSION, head_schema, link_schema};
