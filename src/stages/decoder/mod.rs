//! Decoders: from what a model says to results.

use crate::stage::Kind;

/// The kinds of this role.
pub const KINDS: &[Kind] = &[];
