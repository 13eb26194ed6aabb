//! Preprocessing: what changes a stream before a model reads it.

use crate::stage::Kind;

pub mod frame;
pub mod log_mel;
pub mod mono;
pub mod normalize;
pub mod resample;

mod error;
mod sound;
#[cfg(test)]
mod trial;

pub use error::PreprocessError;
pub use frame::Frame;
pub use log_mel::LogMel;
pub use mono::Mono;
pub use normalize::Normalize;
pub use resample::Resample;

/// The kinds of this role.
pub const KINDS: &[Kind] = &[mono::KIND, resample::KIND, frame::KIND, normalize::KIND, log_mel::KIND];
