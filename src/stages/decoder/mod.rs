//! Decoders: from what a model says to results.

pub mod boxes;
pub mod ctc_greedy;
pub mod endpoint;
mod join;
mod partials;
mod picture;
mod tokens;
pub mod top_k;
pub mod transcript;
#[cfg(test)]
mod trial;

pub use partials::Partials;
pub use picture::PictureError;
pub use tokens::{Tokens, TokensError};

use crate::stage::Kind;

/// The kinds of this role.
pub const KINDS: &[Kind] = &[boxes::KIND, ctc_greedy::KIND, endpoint::KIND, top_k::KIND, transcript::KIND];
