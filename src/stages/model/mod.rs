//! Models: what runs a graph.

pub mod files;
pub mod graph;
pub mod learner;
pub mod onnx;
pub mod seq2seq;
pub mod session;
#[cfg(test)]
pub(crate) mod testing;
pub mod tokens;

use crate::stage::Kind;

/// The kinds of this role.
pub const KINDS: &[Kind] = &[onnx::KIND, seq2seq::KIND];
