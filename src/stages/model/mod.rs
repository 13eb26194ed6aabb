//! Models: what runs a graph.

use crate::stage::Kind;

/// The kinds of this role.
pub const KINDS: &[Kind] = &[];
