//! Decoders: from what a model says to results.

pub mod annotations;
pub mod boxes;
pub mod ctc_greedy;
pub mod embedding;
pub mod endpoint;
pub mod keypoints;
pub mod mask;
mod partials;
mod picture;
pub mod smooth;
mod tokens;
pub mod top_k;
pub mod track;
pub mod transcript;
#[cfg(test)]
mod trial;

pub use partials::Partials;
pub use picture::PictureError;
pub use tokens::{Tokens, TokensError};

use crate::stage::Kind;

/// The kinds of this role.
pub const KINDS: &[Kind] = &[
    annotations::KIND,
    boxes::KIND,
    ctc_greedy::KIND,
    embedding::KIND,
    endpoint::KIND,
    keypoints::KIND,
    mask::KIND,
    smooth::KIND,
    top_k::KIND,
    track::KIND,
    transcript::KIND,
];
