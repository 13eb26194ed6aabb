//! Models: what runs a graph.

pub mod files;
pub mod graph;
pub mod onnx;
pub mod session;
#[cfg(test)]
pub(crate) mod testing;

use crate::stage::Kind;

/// The kinds of this role.
pub const KINDS: &[Kind] = &[onnx::KIND];
