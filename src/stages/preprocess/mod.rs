//! Preprocessing: what changes a stream before a model reads it.

use crate::stage::Kind;

/// The kinds of this role.
pub const KINDS: &[Kind] = &[];
