//! Floor 3: what a stage is.
//!
//! A kind of stage is one file: a config struct that is also the stage's [`Blueprint`] (its [`Contract`], the formats it
//! gives for the formats it gets, and how to build it), the [`Stage`] itself, and a [`Kind`] constant for the registry.
//!
//! The runtime owns the time, the threads, the queues and one `State` per stream. A stage only computes: from a state
//! and a packet to packets. So it needs no code of its own for many streams, reset, batching, restart or swap.
//!
//! # What a stage may rely on
//!
//! * A stream begins with [`Stage::open`], which gives its state, and ends with [`Stage::flush`] after its last packet.
//! * The packets of a stream come in order of their start. On several ports they come in order of start *across* the
//!   ports (the earlier port first where starts are equal), however the threads ran. So a stage that decides by what it
//!   has received so far decides the same on every run.
//! * Only one call at a time is made into a stage.
//! * An error or a panic in one call touches only the stream it was made for.
//! * [`Stage::tick`] is called only for stages that ask for it in their contract, and only under a clock that runs.
//!
//! # What a stage owes
//!
//! * Starts on each output port never decrease within a stream.
//! * What it gives does not depend on how its input was cut into packets, nor on the time of day.
//! * When a later output can still start before the newest input, [`Stage::hold_back`] says how early.

mod capture;
mod context;
mod contract;
mod error;
mod kind;
mod registry;
mod solo;
mod traits;

pub use capture::{BoxFuture, Capture, CaptureContext, Flow, Loss, Source, SourceInfo};
pub use context::{Draft, Emitted, Event, EventKind, Output, PortIndex, fill_template};
pub use contract::{BatchPolicy, Contract, ContractFault, InputPort, OutputPort, Placement};
pub use error::StageError;
pub use kind::{
    Blueprint, Companion, CompanionSource, Kind, KnownSamples, OpenSamples, ReadContext, Resolve, Role, Runnable,
    SamplesPart, Settings,
};
pub use registry::Registry;
pub use solo::{Solo, SoloError};
pub use traits::{AnyStage, AnyState, Canceller, Input, Item, Opened, Stage, StageObject};
