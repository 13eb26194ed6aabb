//! Floor 1: YAML with spans, faults, validation, substitution and suggestions. The only place that knows YAML.
//!
//! The way of a file: [`Source`] → [`parse`] → [`Node`] → [`Override`] → [`substitute`] → [`read`] into a config struct.
//! Each step reports everything that is wrong at once, as [`Faults`] whose places are byte spans in the source; a value
//! that came from the command line points at the argument, not into the file.
//!
//! One struct with `Deserialize` and `JsonSchema` gives the schema ([`schema_of`]), the check ([`validate`]) and the
//! typed value ([`read`]); doc comments of its fields become the reference.

mod alternatives;
mod fault;
mod loader;
mod mismatch;
mod node;
mod overrides;
mod parse;
mod read;
mod render;
mod scalar;
mod schema;
mod source;
mod substitute;
mod suggest;
mod validate;
mod write;

pub use fault::{Fault, Faults, Severity};
pub use node::{Key, Node, Value};
pub use overrides::{Override, set};
pub use parse::{MAX_DEPTH, MAX_EXPANDED_BYTES, MAX_KEY_BYTES, MAX_NODES, parse};
pub use read::{read, schema_of, to_json};
pub use render::RenderStyle;
pub use source::{MAX_BYTES, Position, Source, Span};
pub use substitute::substitute;
pub use suggest::suggest;
pub use validate::validate;
pub use write::to_yaml;
