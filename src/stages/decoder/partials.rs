//! When a decoder tells results that may still change.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which streams get partial results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Partials {
    /// Streams that come in real time: nobody waits for those of a file.
    #[default]
    Live,
    /// All streams.
    Always,
    /// No stream: final results only.
    Never,
}

impl Partials {
    /// Whether a stream gets them; `live`: it comes in real time.
    pub fn wanted(self, live: bool) -> bool {
        match self {
            Partials::Live => live,
            Partials::Always => true,
            Partials::Never => false,
        }
    }
}
