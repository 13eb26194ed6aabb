//! Sinks: where results go.

use crate::stage::Kind;

/// The kinds of this role.
pub const KINDS: &[Kind] = &[];
