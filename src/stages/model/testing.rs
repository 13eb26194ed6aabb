//! What the tests of model kinds share.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::files::ModelFiles;
use super::session::Runtime;
use crate::cards::{self, Model};
use crate::config::{self, Faults, Node, Source};
use crate::inference::SessionOptions;
use crate::stage::{Blueprint, Kind, ReadContext, Settings};

/// A folder of its own with a pipeline `test.yaml` and a cache.
pub struct Bench {
    folder: TempDir,
    settings: Settings,
}

impl Bench {
    pub fn new() -> Bench {
        let folder = TempDir::new().unwrap();
        let settings = Settings {
            base_dir: folder.path().to_owned(),
            cache: Some(folder.path().join("cache")),
            // The bench's cache is empty; the library that `percept setup` fetched lies in the user's.
            onnxruntime: Runtime::new(&Settings::default(), SessionOptions::default())
                .locate()
                .ok()
                .map(|found| found.library),
            model_threads: Some(1),
            samples: None,
        };
        Bench { folder, settings }
    }

    /// The same with the cache of this user, for models that have to be fetched.
    pub fn with_user_cache() -> Bench {
        let mut bench = Bench::new();
        bench.settings.cache = None;
        bench
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Reads a stage of `kind` from its keys as YAML, `model` first. Keys of the card come in as a pipeline brings
    /// them.
    pub fn read(&self, kind: &Kind, yaml: &str) -> Result<Box<dyn Blueprint>, Faults> {
        self.context(yaml, |context| (kind.read)(context))
    }

    pub fn files(&self, model: &str) -> Result<ModelFiles, Faults> {
        self.context(&format!("model: {model}\n"), ModelFiles::find)
    }

    /// Calls `each` with what a kind is given for a stage of these keys.
    pub fn context<T>(&self, yaml: &str, each: impl FnOnce(&ReadContext<'_>) -> T) -> T {
        let source = Source::new("test.yaml", yaml);
        let node = config::parse(&source).unwrap();
        let model = node.get("model").cloned().unwrap();
        let entries = node.as_mapping().unwrap().iter().filter(|(key, _)| key.name != "model").cloned().collect();
        let own = Node::new(node.span, config::Value::Mapping(entries));
        let own = with_card(own, model.as_str().unwrap(), &self.settings.base_dir);
        each(&ReadContext { node: &own, model: Some(&model), source: &source, settings: &self.settings })
    }
}

/// The keys of a model stage with those of its card below them, as a pipeline brings them.
pub fn with_card(own: Node, model: &str, base: &Path) -> Node {
    let mut entries = own.as_mapping().unwrap().to_vec();
    if let Ok(Model::Card(card)) = cards::find(model, base) {
        for (key, value) in card.config().and_then(Node::as_mapping).unwrap_or_default() {
            if own.get(&key.name).is_none() {
                let (mut key, mut value) = (key.clone(), value.clone());
                key.origin = Some(card.source().clone());
                value.origin = Some(card.source().clone());
                entries.push((key, value));
            }
        }
    }
    Node::new(own.span, config::Value::Mapping(entries))
}

/// Whether ONNX Runtime is on this machine. Where it is not the test fails, unless `PERCEPT_ALLOW_MISSING_RUNTIME=1`
/// lets it pass unproven (`false`).
pub fn require_runtime() -> bool {
    let settings = Settings { model_threads: Some(1), ..Settings::default() };
    match Runtime::new(&settings, SessionOptions::default()).initialize() {
        Ok(_) => true,
        Err(_) if env::var_os("PERCEPT_ALLOW_MISSING_RUNTIME").is_some_and(|value| value == "1") => false,
        Err(error) => panic!(
            "this test needs ONNX Runtime. {error}\n`make test` sets one up; PERCEPT_ALLOW_MISSING_RUNTIME=1 skips \
             what needs it"
        ),
    }
}

/// One of the small models of `tests/data/inference`.
pub fn small_model(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/inference").join(name)
}
