//! Floor 6: the stage kinds, one file each, and the registry that lists them.
//!
//! A new kind is one file in the folder of its role, a `pub mod` line and a line in the folder's `KINDS`. The tests walk
//! the registry and cover it without being asked.

pub mod capture;
pub mod decoder;
mod join;
pub mod model;
pub mod preprocess;
pub mod sink;
pub mod timeline;

#[cfg(test)]
mod tests;

use crate::stage::{Registry, Role};

/// All kinds of this build.
pub const REGISTRY: Registry = Registry::new(
    &[
        (Role::Capture, capture::KINDS),
        (Role::Preprocess, preprocess::KINDS),
        (Role::Model, model::KINDS),
        (Role::Decoder, decoder::KINDS),
        (Role::Sink, sink::KINDS),
    ],
    &[
        #[cfg(not(feature = "microphone"))]
        (Role::Capture, "microphone", "microphone"),
    ],
);
