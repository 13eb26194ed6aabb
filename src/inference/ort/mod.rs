//! ONNX Runtime, loaded at run time. The only place that names the crate `ort`.
//!
//! [`locate`] finds the library, [`initialize`] loads it and sets up the one environment a process can have, with the
//! thread pool that all sessions share; [`OnnxRuntime::load`] opens a model. Without the feature `onnxruntime`,
//! [`initialize`] fails and says so, and all else compiles the same.

use std::num::NonZeroUsize;
use std::path::PathBuf;

#[cfg(not(feature = "onnxruntime"))]
#[path = "absent.rs"]
mod environment;
#[cfg(feature = "onnxruntime")]
mod environment;
mod locate;
mod system;

#[cfg(feature = "onnxruntime")]
mod convert;
#[cfg(feature = "onnxruntime")]
mod load;
#[cfg(feature = "onnxruntime")]
mod providers;
#[cfg(feature = "onnxruntime")]
mod session;
#[cfg(all(test, feature = "onnxruntime"))]
mod testing;

pub use environment::{OnnxRuntime, initialize};
pub use locate::{Attempt, Found, NotFound, Origin, PythonPackage, Search, SystemFolders, Variable, locate};

/// How the process uses ONNX Runtime. Settled by the first [`initialize`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OrtConfig {
    /// The library to load, as [`locate`] found it.
    pub library: PathBuf,
    /// Threads of the pool that all sessions share. Default: the number of cores.
    pub pool_threads: Option<NonZeroUsize>,
}

impl OrtConfig {
    /// The library `library` with the default pool.
    pub fn new(library: impl Into<PathBuf>) -> Self {
        OrtConfig { library: library.into(), pool_threads: None }
    }
}
