//! Decoders: from what a model says to results.

pub mod ctc_greedy;
pub mod endpoint;
mod partials;
pub mod transcript;

pub use partials::Partials;

use crate::stage::Kind;

/// The kinds of this role.
pub const KINDS: &[Kind] = &[ctc_greedy::KIND, endpoint::KIND, transcript::KIND];
