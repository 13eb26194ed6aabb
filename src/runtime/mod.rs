//! Floor 8: pipelines while they run: actors, links, supervision, accounts and metrics.
//!
//! A stage is an actor for control and a loop for data. The pipeline's actor supervises the stages' actors and restarts
//! one that fails, with a growing wait, as long as that does not happen too often. Packets travel on bounded links, never
//! in an actor's mailbox, which has no bound.

mod actors;
mod audience;
mod books;
mod events;
mod inbox;
mod meters;
mod pipeline;
mod running;
mod source;
mod worker;
mod writer;

pub use books::{Books, Imbalance, LinkBook, StageBook};
pub use events::{Events, PipelineEvent, StreamFailure};
pub use pipeline::Pipeline;
pub use running::{Finished, Outcome, Report, Running, StartError, StartOptions};

#[cfg(test)]
mod tests;
