//! Layers: one file each. A layer only adds ONNX nodes and weights to a graph; it has no gradient code of its own.
//!
//! A layer is a struct of settings with a method `apply`, which adds it to the graph of a [`Builder`] and gives its output.
//! What a graph of them computes, forward and backward, is what its ONNX nodes say. [`LAYERS`] lists them.

mod attention;
mod batch_norm;
mod builder;
mod conv;
mod conv_transpose;
mod dense;
mod embedding;
mod k_max_min;
mod local_contrast;
mod maxout;
mod recurrent;
mod residual;
#[cfg(test)]
mod tests;
mod threshold;

use std::fmt;
use std::ops::RangeInclusive;

pub use attention::Attention;
pub use batch_norm::BatchNorm;
pub use builder::{Builder, Value};
pub use conv::{Conv, Pool2d};
pub use conv_transpose::ConvTranspose;
pub use dense::Dense;
pub use embedding::Embedding;
pub use k_max_min::KMaxMin;
pub use local_contrast::LocalContrast;
pub use maxout::Maxout;
pub use recurrent::Recurrent;
pub use residual::Residual;
pub use threshold::Threshold;

use super::error::EngineError;

/// A line of [`LAYERS`].
#[derive(Clone)]
pub struct LayerEntry {
    /// The name of its type.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    /// How many dimensions the input of the example may have; another number is an error.
    pub ranks: RangeInclusive<usize>,
    /// Sizes of an input that fits the example, the batch first.
    pub sizes: &'static [usize],
    /// The example takes token numbers (i64) below this instead of numbers.
    pub tokens: Option<i64>,
    /// Adds a small one to a graph.
    pub example: fn(&mut Builder, &Value) -> Result<Value, EngineError>,
}

impl fmt::Debug for LayerEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "layer {}", self.name)
    }
}

/// Every layer.
pub const LAYERS: &[LayerEntry] = &[
    attention::ENTRY,
    batch_norm::ENTRY,
    conv::CONV,
    conv_transpose::ENTRY,
    dense::ENTRY,
    embedding::ENTRY,
    k_max_min::ENTRY,
    local_contrast::ENTRY,
    maxout::ENTRY,
    conv::POOL,
    recurrent::ENTRY,
    residual::ENTRY,
    threshold::ENTRY,
];
