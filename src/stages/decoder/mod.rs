//! Decoders: from what a model says to results.

pub mod annotations;
pub mod ctc_greedy;
pub mod endpoint;
mod partials;
mod tokens;
pub mod top_k;
pub mod transcript;

pub use partials::Partials;
pub use tokens::{Tokens, TokensError};

use crate::stage::Kind;

/// The kinds of this role.
pub const KINDS: &[Kind] = &[annotations::KIND, ctc_greedy::KIND, endpoint::KIND, top_k::KIND, transcript::KIND];
