//! ONNX Runtime's library and pool, in a process that nothing else shares: what is loaded, refused and counted here
//! holds for the whole process.

#![allow(clippy::unwrap_used, reason = "a test")]
#![cfg(all(feature = "onnxruntime", target_os = "linux"))]

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use percept::inference::ort::{OrtConfig, Search, initialize, locate};
use percept::inference::{InferenceError, SessionOptions};

/// The threads of this process.
fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

/// A library that calls itself ONNX Runtime 1.10.0.
fn outdated(folder: &Path) -> PathBuf {
    let (source, library) = (folder.join("old.c"), folder.join("libonnxruntime.so.1.10.0"));
    let text = "static const void *api(unsigned version) { return 0; }\n\
        static const char *version(void) { return \"1.10.0\"; }\n\
        static struct { const void *(*api)(unsigned); const char *(*version)(void); } base = {api, version};\n\
        const void *OrtGetApiBase(void) { return &base; }\n";
    fs::write(&source, text).unwrap();
    let status = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status().unwrap();
    assert!(status.success());
    library
}

fn failure(library: impl Into<PathBuf>) -> (InferenceError, String) {
    let error = initialize(&OrtConfig::new(library)).unwrap_err();
    let text = error.to_string();
    (error, text)
}

#[test]
fn bad_libraries_are_refused_and_a_good_one_is_shared() {
    let folder = tempfile::tempdir().unwrap();

    let (error, text) = failure("/nowhere/libonnxruntime.so");
    assert!(matches!(error, InferenceError::RuntimeUnusable { .. }), "{text}");
    assert!(text.contains("/nowhere/libonnxruntime.so") && text.contains("no such file"), "{text}");

    let libm = [
        "/lib/x86_64-linux-gnu/libm.so.6",
        "/lib64/libm.so.6",
        "/usr/lib/libm.so.6",
        "/lib/aarch64-linux-gnu/libm.so.6",
    ];
    let libm = libm.into_iter().find(|path| Path::new(path).is_file()).expect("a C library");
    let (error, text) = failure(libm);
    assert!(matches!(error, InferenceError::RuntimeUnusable { .. }), "{text}");
    assert!(text.contains("not ONNX Runtime") && text.contains("percept setup"), "{text}");

    let garbage = folder.path().join("libonnxruntime.so");
    fs::write(&garbage, "not a library").unwrap();
    let (error, text) = failure(&garbage);
    assert!(matches!(error, InferenceError::RuntimeUnusable { .. }), "{text}");
    assert!(text.contains("libonnxruntime.so") && text.contains("--onnxruntime"), "{text}");

    let (error, text) = failure(outdated(folder.path()));
    assert!(matches!(&error, InferenceError::RuntimeTooOld { found, .. } if found == "1.10.0"), "{text}");
    assert!(text.contains("needs 1.24 or newer"), "{text}");

    // After all that, the right one works.
    let library = match locate(&Search::new(None, fetched())) {
        Ok(found) => found.library,
        Err(_) if std::env::var_os("PERCEPT_ALLOW_MISSING_RUNTIME").is_some_and(|value| value == "1") => return,
        Err(error) => panic!("this test needs ONNX Runtime. {error}\nPERCEPT_ALLOW_MISSING_RUNTIME=1 skips it"),
    };
    let mut config = OrtConfig::new(library);
    config.pool_threads = NonZeroUsize::new(3);
    let runtime = initialize(&config).unwrap();
    assert_eq!(runtime.config().pool_threads, NonZeroUsize::new(3));

    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/inference/relu.onnx");
    let shared = SessionOptions::default();
    let first = runtime.load(&model, &shared).unwrap();
    let with_pool = threads();
    let sessions: Vec<_> = (0..8).map(|_| runtime.load(&model, &shared).unwrap()).collect();
    assert_eq!(threads(), with_pool, "sessions share the pool");

    let mut own = SessionOptions::default();
    own.threads = NonZeroUsize::new(4);
    let alone = runtime.load(&model, &own).unwrap();
    assert_eq!(threads(), with_pool + 3, "a pool of four is the caller and three threads");
    drop((first, sessions, alone));
    // A thread that was joined may stay in the system's list for a moment.
    for _ in 0..200 {
        if threads() == with_pool {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{} threads are left of {with_pool}: those of a pool should end with it", threads());
}

/// The folder of the library that `percept setup` fetched.
fn fetched() -> Option<std::path::PathBuf> {
    use percept::cards::{Cache, Card, Located};
    let card = Card::built_in("onnxruntime")?.ok()?;
    match card.locate("library", &Cache::from_env().ok()?) {
        Ok(Located::Ready(library)) => library.parent().map(Path::to_path_buf),
        _ => None,
    }
}
