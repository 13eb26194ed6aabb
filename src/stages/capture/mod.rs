//! Captures: where streams come from.

use crate::stage::Kind;

/// The kinds of this role.
pub const KINDS: &[Kind] = &[];
