//! What runs the models of the model kinds: ONNX Runtime, found and loaded once, or percept's engine.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use thiserror::Error;

use super::graph::Graph;
use crate::cards::{Cache, Card, Located};
use crate::config::Fault;
use crate::inference::engine::EngineSession;
use crate::inference::ort::{Found, NotFound, OnnxRuntime, OrtConfig, Search, initialize, locate};
use crate::inference::{Backend, InferenceError, ModelSource, Provider, Session, SessionOptions};
use crate::stage::{Canceller, ReadContext, Settings, StageError};

/// The built-in card of the library, and the role of the library in it.
const LIBRARY: (&str, &str) = ("onnxruntime", "library");

/// How a stage runs its models: on which backend, where ONNX Runtime is looked for, the shared pool, and the stage's own options.
///
/// A kind's config takes the options in as `#[serde(flatten)] session: SessionOptions`; `deny_unknown_fields` then
/// stands in a `schemars` attribute, since serde cannot have both, and check goes by the schema.
#[derive(Clone, Debug)]
pub struct Runtime {
    explicit: Option<PathBuf>,
    cache: Option<PathBuf>,
    pool_threads: Option<NonZeroUsize>,
    options: SessionOptions,
}

/// Why a session could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SessionError {
    /// ONNX Runtime or the model failed.
    #[error(transparent)]
    Inference(#[from] InferenceError),
    /// Neither ONNX Runtime nor the engine runs the model.
    #[error("neither ONNX Runtime nor percept's engine runs `{model}`: {onnxruntime}; {engine}")]
    Neither {
        /// The model's name.
        model: String,
        /// What stands in ONNX Runtime's way.
        #[source]
        onnxruntime: Box<InferenceError>,
        /// What stands in the engine's.
        engine: Box<InferenceError>,
    },
    /// The loaded model has other ports than its card says.
    #[error("the card of model `{model}` does not describe its file: {difference}; correct `ports` in the card")]
    Ports {
        /// The model's name.
        model: String,
        /// The first difference.
        difference: String,
    },
}

impl Runtime {
    /// ONNX Runtime as the settings name it. Relative paths in `options` start at the pipeline's folder.
    pub fn new(settings: &Settings, mut options: SessionOptions) -> Runtime {
        options.tensorrt.engine_cache = options.tensorrt.engine_cache.map(|folder| settings.resolve(folder));
        Runtime {
            explicit: settings.onnxruntime.clone(),
            cache: settings.cache.clone(),
            pool_threads: settings.model_threads.and_then(NonZeroUsize::new),
            options,
        }
    }

    /// The same for a stage being read. Code `no-provider` where its list of providers is empty.
    pub fn read(context: &ReadContext<'_>, options: SessionOptions) -> Result<Runtime, Fault> {
        if options.providers.is_empty() {
            return Err(context
                .fault("providers", "no-provider", "the list of providers is empty")
                .expected("at least one of cpu, cuda, tensorrt")
                .help("leave `providers` out to run on the processor"));
        }
        Ok(Runtime::new(context.settings, options))
    }

    /// The stage's options.
    pub fn options(&self) -> &SessionOptions {
        &self.options
    }

    /// Finds the library: the path in the settings, `ORT_DYLIB_PATH`, what was fetched into the cache, the Python
    /// package, the system. What was found stays the answer for the process while the file is there.
    pub fn locate(&self) -> Result<Found, NotFound> {
        type Question = (Option<PathBuf>, Option<PathBuf>, Option<OsString>);
        static ANSWERS: Mutex<Vec<(Question, Found)>> = Mutex::new(Vec::new());

        let question = (self.explicit.clone(), self.cache.clone(), std::env::var_os("ORT_DYLIB_PATH"));
        let mut answers = ANSWERS.lock().unwrap_or_else(PoisonError::into_inner);
        answers.retain(|(_, found)| found.library.is_file());
        if let Some((_, found)) = answers.iter().find(|(known, _)| *known == question) {
            return Ok(found.clone());
        }
        let found = locate(&Search::new(self.explicit.clone(), self.fetched()))?;
        answers.push((question, found.clone()));
        Ok(found)
    }

    /// The folder of the library that `percept setup` fetched. Only a whole one counts.
    fn fetched(&self) -> Option<PathBuf> {
        let cache = self.cache.clone().map(Cache::at).or_else(|| Cache::from_env().ok())?;
        let card = Card::built_in(LIBRARY.0)?.ok()?;
        match card.locate(LIBRARY.1, &cache) {
            Ok(Located::Ready(library)) => library.parent().map(ToOwned::to_owned),
            _ => None,
        }
    }

    /// Loads the library, once for the process, with the pool that all models share.
    pub fn initialize(&self) -> Result<&'static OnnxRuntime, InferenceError> {
        let mut config = OrtConfig::new(self.locate()?.library);
        config.pool_threads = self.pool_threads;
        initialize(&config)
    }

    /// Opens a session on the backend that the options ask for, and sees that it has the ports that were read before.
    pub fn open(&self, graph: &Graph) -> Result<Box<dyn Session>, SessionError> {
        self.open_from(&graph.path.clone().into(), graph)
    }

    /// The same for a model that takes the place of `graph`.
    pub fn open_from(&self, source: &ModelSource, graph: &Graph) -> Result<Box<dyn Session>, SessionError> {
        let session = match self.options.backend {
            Backend::Engine => self.on_engine(source)?,
            Backend::Auto => self.on_either(source)?,
            _ => self.on_onnxruntime(source)?,
        };
        match graph.difference(&*session) {
            None => Ok(session),
            Some(difference) => Err(SessionError::Ports { model: graph.model.clone(), difference }),
        }
    }

    fn on_onnxruntime(&self, source: &ModelSource) -> Result<Box<dyn Session>, InferenceError> {
        self.initialize()?.load_from(source, &self.options)
    }

    fn on_engine(&self, source: &ModelSource) -> Result<Box<dyn Session>, InferenceError> {
        Ok(Box::new(EngineSession::open_from(source, &self.options, self.pool_threads)?))
    }

    /// On ONNX Runtime, or on the engine where that does not serve.
    fn on_either(&self, source: &ModelSource) -> Result<Box<dyn Session>, SessionError> {
        let refusal = match self.on_onnxruntime(source) {
            Ok(session) => return Ok(session),
            Err(refusal) => refusal,
        };
        match self.on_engine(source) {
            Ok(session) => {
                tracing::warn!(model = source.name(), %refusal, "the model runs on percept's engine");
                Ok(session)
            }
            Err(engine) => Err(SessionError::Neither {
                model: source.name(),
                onnxruntime: Box::new(refusal),
                engine: Box::new(engine),
            }),
        }
    }

    /// What of this machine stands in the way of running these graphs: no library, or one that will not do; a provider
    /// that is not there; an `.ort` file that is not what its card says. A provider that another one takes the place
    /// of, where that is allowed, is a warning.
    ///
    /// Models are loaded only where nothing less tells: for the engine, for providers other than the processor, and
    /// `.ort` files.
    pub fn probe(&self, graphs: &[&Graph]) -> Vec<Fault> {
        match (self.options.backend, self.initialize()) {
            (Backend::Engine, _) => return graphs.iter().filter_map(|graph| self.probe_engine(graph)).collect(),
            (Backend::Auto, Err(_)) => return graphs.iter().map(|graph| self.probe_either(graph)).collect(),
            (_, Err(error)) => return vec![fault(&error)],
            _ => {}
        }
        let on_device = self.options.providers.iter().any(|provider| *provider != Provider::Cpu);
        let mut faults: Vec<Fault> = Vec::new();
        for graph in graphs.iter().filter(|graph| on_device || graph.unverified) {
            let found = match self.open(graph) {
                Ok(session) => match self.options.providers.first() {
                    Some(wish) if *wish != session.provider() => fallback(graph, *wish, session.provider()),
                    _ => continue,
                },
                Err(SessionError::Inference(error)) => fault(&error),
                Err(error @ SessionError::Ports { .. }) => Fault::error("card-ports", error.to_string()),
                Err(error @ SessionError::Neither { .. }) => Fault::error("no-backend", error.to_string()),
            };
            // What is wrong with a provider is wrong for each graph.
            if !faults.iter().any(|known| known.code == found.code && known.found == found.found) {
                faults.push(found);
            }
        }
        faults
    }
}

impl Runtime {
    /// What stands in the way of the engine.
    fn probe_engine(&self, graph: &Graph) -> Option<Fault> {
        match self.open(graph) {
            Ok(_) => None,
            Err(SessionError::Inference(error)) => Some(fault(&error)),
            Err(error) => Some(Fault::error("card-ports", error.to_string())),
        }
    }

    /// What `backend: auto` comes to where there is no ONNX Runtime.
    fn probe_either(&self, graph: &Graph) -> Fault {
        match self.open(graph) {
            Ok(_) => {
                let message = format!("`{}` runs on percept's engine: there is no ONNX Runtime", graph.model);
                Fault::warning("backend-engine", message)
                    .help("type `percept setup` to fetch ONNX Runtime, or set `backend: engine` to choose the engine")
            }
            Err(SessionError::Neither { onnxruntime, engine, .. }) => {
                let mut found = fault(&onnxruntime);
                found.message = format!("{}, and {engine}", found.message);
                found
            }
            Err(SessionError::Inference(error)) => fault(&error),
            Err(error @ SessionError::Ports { .. }) => Fault::error("card-ports", error.to_string()),
        }
    }
}

fn fallback(graph: &Graph, wish: Provider, served: Provider) -> Fault {
    Fault::warning("provider-fallback", format!("`{}` does not run on {wish}, but on {served}", graph.model))
        .expected(format!("provider {wish}"))
        .found(format!("{served}, which `allow_fallback: true` accepts"))
}

/// The error as a fault of check.
fn fault(error: &InferenceError) -> Fault {
    match error {
        InferenceError::RuntimeMissing(NotFound { attempts }) => {
            let looked: Vec<_> =
                attempts.iter().map(|attempt| format!("{}: {}", attempt.origin, attempt.outcome)).collect();
            Fault::error("no-onnxruntime", "ONNX Runtime, which runs the models, was not found")
                .expected("its shared library, 1.24 or newer")
                .found(looked.join("\n"))
                .help(
                    "type `percept setup` to fetch it, or `pip install onnxruntime`, or say where it is with \
                     `--onnxruntime PATH` or ORT_DYLIB_PATH",
                )
        }
        InferenceError::RuntimeUnusable { .. } | InferenceError::RuntimeTooOld { .. } => {
            Fault::error("no-onnxruntime", error.to_string())
        }
        InferenceError::EnvironmentTaken => Fault::error("onnxruntime-taken", error.to_string()),
        InferenceError::FeatureMissing { feature } => {
            Fault::error("left-out", "this build was made without ONNX Runtime, which runs the models")
                .help(format!("build percept with the feature `{feature}`"))
        }
        InferenceError::ProviderUnavailable { provider, reason, remedy, .. } => {
            Fault::error("no-provider", format!("the provider {provider} is not there"))
                .found(reason.clone())
                .help(format!("{remedy}, or set `allow_fallback: true` to accept the next provider"))
        }
        InferenceError::EngineRefused { path, reason } => {
            Fault::error("not-covered", format!("percept's engine does not run {}", path.display()))
                .found(reason.clone())
                .help("set `backend: onnxruntime`, or `auto`")
        }
        _ => Fault::error("bad-model", error.to_string()),
    }
}

/// What a failed run means for the stream and the stage.
///
/// A run that fails gives no state, so the stream's stays as it was, and only the packet is lost: *skip*. That holds
/// for a wrong input, for a failure inside the graph and for a run that was cancelled. A device that reports that it is
/// lost fails every later run as well: *fatal*, and the stage is built anew.
pub fn run_error(error: InferenceError, provider: Provider) -> StageError {
    match &error {
        InferenceError::Failed { reason, .. } | InferenceError::Unreadable { reason, .. }
            if provider != Provider::Cpu && device_lost(reason) =>
        {
            StageError::fatal(error)
        }
        _ => StageError::skip(error),
    }
}

/// Whether the words are those with which ONNX Runtime passes on that CUDA and its libraries no longer work. Too little
/// memory for one input is not among them.
fn device_lost(reason: &str) -> bool {
    let reason = reason.to_lowercase();
    ["cuda failure", "cuda error", "cudnn failure", "cublas failure"].iter().any(|sign| reason.contains(sign))
        && !reason.contains("out of memory")
}

/// A handle with which the runtime breaks off a session's run that takes too long. The session refuses runs from then
/// on, until [`allow_runs`].
pub fn canceller(session: &dyn Session) -> Canceller {
    let canceller = session.canceller();
    Canceller::new(move || canceller.cancel())
}

/// Allows runs again that a [`canceller`] has broken off: to be called as a call into the stage begins.
pub fn allow_runs(session: &dyn Session) {
    let canceller = session.canceller();
    if canceller.is_cancelled() {
        canceller.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::GRAPH_ROLE;
    use super::super::testing::{Bench, require_runtime, small_model};
    use super::*;

    fn options(json: &str) -> SessionOptions {
        serde_json::from_str(json).unwrap()
    }

    fn graph(bench: &Bench, file: &str, ports: &str) -> Graph {
        let card = format!(
            "percept_card: 1\nname: own\nkind: onnx\nsummary: s\nlicence: MIT\nsource: {{text: t}}\n\
             files: {{model: {{path: {file}}}}}\n{ports}"
        );
        bench.write("models/own/card.yaml", card);
        bench.write(&format!("models/own/{file}"), std::fs::read(small_model(file)).unwrap());
        Graph::read(&bench.files("own").unwrap(), GRAPH_ROLE).unwrap()
    }

    #[test]
    fn a_library_that_is_nowhere_is_a_fault_that_says_what_to_type() {
        let bench = Bench::new();
        let settings = Settings { onnxruntime: Some(bench.path("nowhere.so")), ..bench.settings().clone() };
        let faults = Runtime::new(&settings, SessionOptions::default()).probe(&[]);
        let [fault] = &faults[..] else { panic!("{faults:?}") };
        assert_eq!(fault.code, "no-onnxruntime");
        let text = fault.to_string();
        assert!(text.contains("nowhere.so") && text.contains("percept setup"), "{text}");
    }

    #[test]
    fn an_ort_file_is_held_against_its_card() {
        if !require_runtime() {
            return;
        }
        let bench = Bench::new();
        let runtime = Runtime::new(bench.settings(), SessionOptions::default());
        for (width, sound) in [(4, true), (5, false)] {
            let ports = format!(
                "ports: {{model: {{inputs: [{{name: x, dtype: f32, shape: [1, {width}]}}], \
                 outputs: [{{name: y, dtype: f32}}]}}}}\n"
            );
            let graph = graph(&bench, "relu.ort", &ports);
            let faults = runtime.probe(&[&graph]);
            if sound {
                assert_eq!(faults, []);
                assert_eq!(runtime.open(&graph).unwrap().inputs()[0].name, "x");
            } else {
                let [fault] = &faults[..] else { panic!("{faults:?}") };
                assert!(
                    fault.code == "card-ports" && fault.message.contains("expected f32 [1, 5], found f32 [1, 4]"),
                    "{fault}"
                );
                assert!(runtime.open(&graph).is_err());
            }
        }
    }

    #[test]
    fn a_provider_that_is_not_there_is_a_fault_unless_a_fallback_is_allowed() {
        if !require_runtime() || cfg!(feature = "gpu") {
            return;
        }
        let bench = Bench::new();
        let graph = graph(&bench, "relu.onnx", "");
        for provider in ["cuda", "tensorrt"] {
            let strict = Runtime::new(bench.settings(), options(&format!(r#"{{"providers": ["{provider}"]}}"#)));
            let faults = strict.probe(&[&graph, &graph]);
            let [fault] = &faults[..] else { panic!("{faults:?}") };
            assert_eq!(fault.code, "no-provider");
            assert!(fault.to_string().contains("onnxruntime-gpu") && fault.message.contains(provider), "{fault}");
            let json = format!(r#"{{"providers": ["{provider}", "cpu"], "allow_fallback": true}}"#);
            let faults = Runtime::new(bench.settings(), options(&json)).probe(&[&graph]);
            let [fault] = &faults[..] else { panic!("{faults:?}") };
            assert_eq!((fault.code, fault.severity), ("provider-fallback", crate::config::Severity::Warning));
        }
    }

    #[test]
    fn an_empty_list_of_providers_is_a_fault_at_its_place() {
        Bench::new().context("model: x.onnx\nproviders: []\n", |context| {
            let fault = Runtime::read(context, options(r#"{"providers": []}"#)).unwrap_err();
            assert!(fault.to_string().starts_with("test.yaml:2:12: error: the list of providers is empty"), "{fault}");
        });
    }

    #[test]
    fn what_a_failed_run_means() {
        let failed =
            |reason: &str| InferenceError::Failed { model: "m".into(), inputs: "x".into(), reason: reason.into() };
        let lost = "CUDA failure 700: an illegal memory access was encountered ; GPU=0";
        for (error, provider, fatal) in [
            (failed(lost), Provider::Cuda, true),
            (failed(lost), Provider::Cpu, false),
            (failed("CUDNN failure 5000: execution failed"), Provider::TensorRt, true),
            (failed("CUDA failure 2: out of memory"), Provider::Cuda, false),
            (failed("Reshape: 3 elements"), Provider::Cuda, false),
            (InferenceError::Cancelled { model: "m".into() }, Provider::Cuda, false),
        ] {
            let text = error.to_string();
            let mapped = run_error(error, provider);
            assert_eq!(matches!(mapped, StageError::Fatal(_)), fatal, "{text}");
            assert_eq!(matches!(mapped, StageError::Skip(_)), !fatal, "{text}");
        }
    }

    #[test]
    fn a_cancelled_session_runs_again_once_it_is_allowed() {
        if !require_runtime() {
            return;
        }
        let bench = Bench::new();
        let graph = graph(&bench, "relu.onnx", "");
        let mut session = Runtime::new(bench.settings(), SessionOptions::default()).open(&graph).unwrap();
        let x = crate::tensor::Tensor::new(vec![1, 4], vec![1.0f32, -1.0, 0.0, 2.0]).unwrap().into();
        canceller(&*session).cancel();
        assert!(matches!(session.run(&[("x", &x)], &["y"]), Err(InferenceError::Cancelled { .. })));
        allow_runs(&*session);
        assert!(session.run(&[("x", &x)], &["y"]).is_ok());
    }
}
