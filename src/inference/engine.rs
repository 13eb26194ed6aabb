//! Sessions on percept's own engine: no library, the processor only.
//!
//! What a model computes is the same as on ONNX Runtime within rounding. Of a file the engine takes what its operators
//! cover ([`crate::engine::ops::OPS`]); another one is refused when it is loaded, and the message names the node.

use std::num::NonZeroUsize;
use std::path::Path;

use super::{
    Backend, Cancel, Canceller, InferenceError, Metadata, ModelSource, Port, PortRole, Provider, Session,
    SessionOptions, Value, check,
};
use crate::engine::{EngineError, Network, Stop};
use crate::onnx::{Model, OnnxError, ValueInfo};
use crate::tensor::Tensor;

/// One model on the engine.
pub struct EngineSession {
    model: String,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    /// Outputs that are no tensors.
    unsupported: Vec<(String, String)>,
    metadata: Metadata,
    network: Network,
    canceller: Canceller,
}

impl EngineSession {
    /// Opens the model in `path`, an `.onnx` file.
    ///
    /// It runs on `options.threads` threads of its own, else on the `pool_threads` (default: one for each core) that all
    /// models of the process share. Fails when the file is missing or no model, when it uses what the engine does not
    /// cover, when an input is no tensor, and when the first provider is not the CPU and may not be replaced.
    pub fn open(
        path: &Path,
        options: &SessionOptions,
        pool_threads: Option<NonZeroUsize>,
    ) -> Result<EngineSession, InferenceError> {
        EngineSession::open_from(&path.into(), options, pool_threads)
    }

    /// The same for a model from anywhere.
    pub fn open_from(
        source: &ModelSource,
        options: &SessionOptions,
        pool_threads: Option<NonZeroUsize>,
    ) -> Result<EngineSession, InferenceError> {
        let (model, path) = (source.name(), source.path());
        match options.providers.first() {
            None => return Err(InferenceError::NoProvider { model }),
            Some(Provider::Cpu) => {}
            Some(provider) if options.allow_fallback => {
                tracing::warn!(model, %provider, "percept's engine runs on the processor, which takes its place");
            }
            Some(provider) => {
                return Err(InferenceError::ProviderUnavailable {
                    model,
                    provider: *provider,
                    reason: "percept's engine runs on the processor only".to_owned(),
                    remedy: "use `backend: onnxruntime`".to_owned(),
                });
            }
        }
        let file = match source {
            ModelSource::File(path) => Model::load(path),
            ModelSource::Memory { bytes, .. } => Model::decode(bytes, None),
        };
        let file = file.map_err(|error| not_read(source, error))?;
        let refused =
            |error: EngineError| InferenceError::EngineRefused { path: path.to_owned(), reason: error.to_string() };
        let mut network = Network::new(&file).map_err(refused)?;
        match options.threads {
            Some(own) => network.set_threads(own.get()),
            None => network.share_threads(pool_threads.map_or(0, NonZeroUsize::get)),
        }
        .map_err(refused)?;
        let given = |input: &&ValueInfo| network.inputs().any(|name| name == input.name);
        let inputs = file.graph.inputs.iter().filter(given).map(|input| {
            Port::of_value(input).ok_or_else(|| InferenceError::UnsupportedPort {
                model: model.clone(),
                role: PortRole::Input,
                name: input.name.clone(),
                found: input.kind.name().to_owned(),
            })
        });
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let no_tensor = |output: &ValueInfo| match Port::of_value(output) {
            Some(_) => None,
            None => Some((output.name.clone(), output.kind.name().to_owned())),
        };
        Ok(EngineSession {
            inputs,
            outputs: file.graph.outputs.iter().filter_map(Port::of_value).collect(),
            unsupported: file.graph.outputs.iter().filter_map(no_tensor).collect(),
            metadata: metadata(&file),
            canceller: Canceller::new(network.stop_handle()),
            network,
            model,
        })
    }
}

impl Cancel for Stop {
    fn cancel(&self) {
        self.stop();
    }

    fn reset(&self) {
        Stop::reset(self);
    }
}

impl Session for EngineSession {
    fn model(&self) -> &str {
        &self.model
    }

    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn backend(&self) -> Backend {
        Backend::Engine
    }

    fn provider(&self) -> Provider {
        Provider::Cpu
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    fn run(&mut self, inputs: &[(&str, &Value)], outputs: &[&str]) -> Result<Vec<Value>, InferenceError> {
        check::inputs(&self.model, &self.inputs, inputs)?;
        if let Some((name, found)) = self.unsupported.iter().find(|(name, _)| outputs.contains(&&**name)) {
            return Err(InferenceError::UnsupportedPort {
                model: self.model.clone(),
                role: PortRole::Output,
                name: name.clone(),
                found: found.clone(),
            });
        }
        check::outputs(&self.model, &self.outputs, outputs)?;
        let tensors = inputs.iter().map(|(name, value)| Ok((*name, value.to_tensor()?)));
        let tensors: Vec<(&str, Tensor)> = tensors.collect::<Result<_, InferenceError>>()?;
        let given: Vec<(&str, &Tensor)> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
        match self.network.run_for(outputs, &given) {
            Ok(results) => Ok(results.into_iter().map(Value::from).collect()),
            Err(EngineError::Stopped) => Err(InferenceError::Cancelled { model: self.model.clone() }),
            Err(error) => Err(InferenceError::Failed {
                model: self.model.clone(),
                inputs: check::describe(inputs),
                reason: error.to_string(),
            }),
        }
    }
}

fn not_read(source: &ModelSource, error: OnnxError) -> InferenceError {
    let path = source.path();
    if let (ModelSource::File(_), Ok(false)) = (source, path.try_exists()) {
        return InferenceError::ModelMissing { path: path.to_owned() };
    }
    // The message names the path already.
    let reason = match error {
        OnnxError::InFile { fault, .. } => fault.to_string(),
        error => error.to_string(),
    };
    InferenceError::EngineRefused { path: path.to_owned(), reason }
}

fn metadata(model: &Model) -> Metadata {
    Metadata {
        producer: model.producer_name.clone(),
        name: model.graph.name.clone(),
        description: model.doc_string.clone(),
        version: Some(model.model_version).filter(|version| *version != 0),
        opset: model.opset("").and_then(|version| u32::try_from(version).ok()),
        custom: model.metadata.iter().cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::tensor::DType;

    fn file(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/inference").join(name)
    }

    fn open(name: &str) -> EngineSession {
        EngineSession::open(&file(name), &SessionOptions::default(), NonZeroUsize::new(1)).unwrap()
    }

    fn x(values: [f32; 4]) -> Value {
        Tensor::new(vec![1, 4], values.to_vec()).unwrap().into()
    }

    #[test]
    fn a_model_says_its_ports_and_runs() {
        let mut session = open("relu.onnx");
        assert_eq!(
            (session.model(), session.backend(), session.provider()),
            ("relu.onnx", Backend::Engine, Provider::Cpu)
        );
        assert_eq!(session.inputs()[0].to_string(), "x: f32 [1, 4]");
        let y = session.run(&[("x", &x([-1.0, 2.0, -3.0, 4.0]))], &["y"]).unwrap();
        assert_eq!(y[0].as_tensor().unwrap().as_slice::<f32>().unwrap(), [0.0, 2.0, 0.0, 4.0]);
    }

    #[test]
    fn what_is_wrong_is_told_before_the_engine_is_asked() {
        let mut session = open("relu.onnx");
        let doubles: Value = Tensor::zeros(DType::F64, vec![1, 4]).unwrap().into();
        for (name, value, output, says) in [
            ("x", &doubles, "y", "expected f32, found f64"),
            ("xx", &doubles, "y", "did you mean `x`?"),
            ("x", &x([0.0; 4]), "z", "has no output `z`"),
        ] {
            let error = session.run(&[(name, value)], &[output]).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn files_and_options_that_are_refused() {
        let options = |json: &str| serde_json::from_str::<SessionOptions>(json).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("text.onnx");
        std::fs::write(&text, "not a model").unwrap();
        for (path, json, says) in [
            (file("relu.ort"), "{}", "ONNX Runtime"),
            (text, "{}", "engine does not run"),
            (file("nowhere.onnx"), "{}", "does not exist"),
            (file("sequence_input.onnx"), "{}", "sequence"),
            (file("relu.onnx"), r#"{"providers": ["cuda"]}"#, "runs on the processor only"),
            (file("relu.onnx"), r#"{"providers": []}"#, "empty list of providers"),
        ] {
            let Err(error) = EngineSession::open(&path, &options(json), None) else { panic!("{}", path.display()) };
            assert!(error.to_string().contains(says), "{error}");
        }
        let fallback = options(r#"{"providers": ["cuda", "cpu"], "allow_fallback": true}"#);
        assert!(EngineSession::open(&file("relu.onnx"), &fallback, None).is_ok());
    }

    #[test]
    fn a_cancelled_session_refuses_until_it_is_reset() {
        let mut session = open("relu.onnx");
        let value = x([1.0; 4]);
        session.canceller().cancel();
        let error = session.run(&[("x", &value)], &["y"]).unwrap_err();
        assert!(matches!(error, InferenceError::Cancelled { .. }), "{error}");
        session.canceller().reset();
        assert!(session.run(&[("x", &value)], &["y"]).is_ok());
    }
}
