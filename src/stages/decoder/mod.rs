//! Decoders: from what a model says to results.

pub mod endpoint;
mod partials;

pub use partials::Partials;

use crate::stage::Kind;

/// The kinds of this role.
pub const KINDS: &[Kind] = &[endpoint::KIND];
