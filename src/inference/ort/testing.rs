//! What the tests that need ONNX Runtime share.

use std::env;
use std::path::PathBuf;

use super::{OnnxRuntime, OrtConfig, Search, initialize, locate};
use crate::cards::{Cache, Card, Located};
use crate::inference::{Session, SessionOptions};

/// The runtime of this machine. Where there is none the test fails, unless `PERCEPT_ALLOW_MISSING_RUNTIME=1` lets it
/// pass unproven (`None`).
pub(super) fn require_runtime() -> Option<&'static OnnxRuntime> {
    let runtime = match locate(&Search::new(None, fetched())) {
        Ok(found) => initialize(&OrtConfig::new(found.library)).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match runtime {
        Ok(runtime) => Some(runtime),
        Err(_) if env::var_os("PERCEPT_ALLOW_MISSING_RUNTIME").is_some_and(|value| value == "1") => None,
        Err(error) => panic!(
            "this test needs ONNX Runtime. {error}\n`make test` sets one up; PERCEPT_ALLOW_MISSING_RUNTIME=1 skips \
             what needs it"
        ),
    }
}

/// The folder of the library that `percept setup` fetched.
fn fetched() -> Option<PathBuf> {
    let card = Card::built_in("onnxruntime")?.ok()?;
    match card.locate("library", &Cache::from_env().ok()?) {
        Ok(Located::Ready(library)) => library.parent().map(PathBuf::from),
        _ => None,
    }
}

/// One of the small models of `tests/data/inference`.
pub(super) fn model(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/inference").join(name)
}

/// Opens one of the small models with the default options.
pub(super) fn open(runtime: &OnnxRuntime, name: &str) -> Box<dyn Session> {
    runtime.load(&model(name), &SessionOptions::default()).unwrap_or_else(|error| panic!("{name}: {error}"))
}
