//! The one environment that a process can have, and the thread pool in it.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use ::ort::LoadDynamicError;
use ::ort::environment::{Environment, GlobalThreadPoolOptions};

use super::OrtConfig;
use super::session::OrtSession;
use crate::inference::{InferenceError, ModelSource, Session, SessionOptions};

/// Set once, by the first [`initialize`] that succeeds; it lives as long as the process.
static RUNTIME: OnceLock<OnnxRuntime> = OnceLock::new();
/// Held while the library is loaded, so that two threads do not both try.
static LOADING: Mutex<()> = Mutex::new(());

/// The loaded ONNX Runtime.
#[derive(Debug)]
pub struct OnnxRuntime {
    environment: Environment,
    config: OrtConfig,
}

impl OnnxRuntime {
    /// The settings in use: those of the first [`initialize`].
    pub fn config(&self) -> &OrtConfig {
        &self.config
    }

    /// What the library says of its build: branch, commit, flags.
    pub fn build_info(&self) -> &'static str {
        ::ort::info()
    }

    /// The crate's handle.
    #[cfg(test)]
    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Opens the model in `path`, an .onnx or .ort file, with every graph optimisation.
    ///
    /// Fails when the file is missing or no model, when a port is no tensor, and when the first provider of `options`
    /// is not available and no other may take its place.
    pub fn load(&self, path: &Path, options: &SessionOptions) -> Result<Box<dyn Session>, InferenceError> {
        self.load_from(&path.into(), options)
    }

    /// The same for a model from anywhere.
    pub fn load_from(
        &self,
        source: &ModelSource,
        options: &SessionOptions,
    ) -> Result<Box<dyn Session>, InferenceError> {
        Ok(Box::new(OrtSession::open(&self.environment, source, options)?))
    }
}

/// Loads ONNX Runtime and sets up its environment, with the thread pool that all sessions share (its threads sleep when
/// there is no work).
///
/// The first call that succeeds settles the matter for the process; later ones get the same runtime, and a warning in
/// the log when they asked for another library or pool. After a failure another library may be tried.
pub fn initialize(config: &OrtConfig) -> Result<&'static OnnxRuntime, InferenceError> {
    let _loading = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
    let library = config.library.canonicalize().unwrap_or_else(|_| config.library.clone());
    let threads = config.pool_threads.or_else(|| thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
    let config = OrtConfig { library, pool_threads: Some(threads) };
    if let Some(runtime) = RUNTIME.get() {
        if runtime.config != config {
            tracing::warn!(
                in_use = ?runtime.config, asked_for = ?config,
                "ONNX Runtime is already set up in this process; the first settings stay"
            );
        }
        return Ok(runtime);
    }
    // No other call into the crate may come before `init_from` has succeeded: they panic without a library. It panics
    // itself over a library that claims to be ONNX Runtime and is not.
    let environment = catch_unwind(AssertUnwindSafe(|| load(&config.library, threads))).unwrap_or_else(|_| {
        let reason = "it does not offer the interface of its version".to_owned();
        Err(InferenceError::RuntimeUnusable { library: config.library.clone(), reason })
    })?;
    Ok(RUNTIME.get_or_init(|| OnnxRuntime { environment, config }))
}

fn load(library: &Path, threads: NonZeroUsize) -> Result<Environment, InferenceError> {
    // A bare name would be looked for beside the program first.
    if !library.is_file() {
        let reason = "there is no such file".to_owned();
        return Err(InferenceError::RuntimeUnusable { library: library.to_owned(), reason });
    }
    let builder = ::ort::init_from(library).map_err(|error| refused(library, error))?;
    let built = GlobalThreadPoolOptions::default()
        .with_intra_threads(threads.get())
        .and_then(|pool| pool.with_inter_threads(1))
        .and_then(|pool| pool.with_spin_control(false))
        .and_then(|pool| builder.with_name("percept").with_telemetry(false).with_global_thread_pool(pool).build());
    built.map_err(|error| {
        let reason = error.message().to_owned();
        if reason.contains("only one environment") {
            InferenceError::EnvironmentTaken
        } else {
            InferenceError::RuntimeUnusable { library: library.to_owned(), reason }
        }
    })
}

fn refused(library: &Path, error: LoadDynamicError) -> InferenceError {
    let unusable = |library: PathBuf, reason: String| InferenceError::RuntimeUnusable { library, reason };
    match error {
        LoadDynamicError::BadVersion { version_str, path } => InferenceError::RuntimeTooOld {
            library: path,
            found: version_str,
            needed: format!("1.{}", ::ort::MINOR_VERSION),
        },
        LoadDynamicError::MissingApi { path } => {
            unusable(path, "it is a library, but not ONNX Runtime (it has no `OrtGetApiBase`)".to_owned())
        }
        LoadDynamicError::Dlopen { error, path } => {
            // The loader's own words are in the source only.
            let source = std::error::Error::source(&error).map(ToString::to_string);
            unusable(path, source.unwrap_or_else(|| format!("{error:?}")))
        }
        other => unusable(library.to_owned(), other.to_string()),
    }
}
