//! A model on ONNX Runtime.

use std::borrow::Cow;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use ::ort::environment::Environment;
use ::ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ::ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ::ort::session::{RunOptions, Session as Inner, SessionInputValue, SessionOutputs};
use ::ort::value::DynValue;

use super::convert::{self, OrtValue};
use super::providers::{self, Unavailable};
use crate::inference::{
    Cancel, Canceller, InferenceError, Metadata, Port, PortRole, Provider, Session, SessionOptions, Value, check,
};
use crate::tensor::{DType, Tensor};

/// A loaded model.
pub(super) struct OrtSession {
    model: String,
    inner: Inner,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    /// Outputs that are no tensors, by name and type. They cannot be asked for.
    unsupported: Vec<(String, String)>,
    provider: Provider,
    metadata: Metadata,
    options: Arc<RunOptions>,
    canceller: Canceller,
    results: Results,
}

/// Where results are left.
enum Results {
    /// In the processor's memory.
    Host,
    /// In a device's memory, until somebody reads them.
    Device(AllocationDevice<'static>, i32),
}

/// Stops a run between two of its kernels.
struct Terminator(Arc<RunOptions>);

impl Cancel for Terminator {
    fn cancel(&self) {
        if let Err(error) = self.0.terminate() {
            tracing::error!(%error, "ONNX Runtime refuses to terminate a run");
        }
    }

    fn reset(&self) {
        if let Err(error) = self.0.unterminate() {
            tracing::error!(%error, "ONNX Runtime refuses to allow runs again");
        }
    }
}

/// Why a session was not built.
enum Refusal {
    Provider(Unavailable),
    Model(String),
}

impl OrtSession {
    /// Loads the file `path`. See [`OnnxRuntime::load`](super::OnnxRuntime::load).
    pub(super) fn open(
        environment: &Environment,
        path: &Path,
        options: &SessionOptions,
    ) -> Result<Self, InferenceError> {
        readable(path)?;
        let model = path
            .file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy()
            .into_owned();
        let (inner, provider) = serve(environment, path, &model, options)?;
        let refused = |reason: String| InferenceError::ModelRefused {
            path: path.to_owned(),
            reason,
        };

        let mut inputs = Vec::new();
        for outlet in inner.inputs() {
            let port = convert::port(outlet).map_err(|found| InferenceError::UnsupportedPort {
                model: model.clone(),
                role: PortRole::Input,
                name: outlet.name().to_owned(),
                found,
            })?;
            inputs.push(port);
        }
        let (mut outputs, mut unsupported) = (Vec::new(), Vec::new());
        for outlet in inner.outputs() {
            match convert::port(outlet) {
                Ok(port) => outputs.push(port),
                Err(found) => unsupported.push((outlet.name().to_owned(), found)),
            }
        }
        let metadata = metadata(&inner).map_err(|error| refused(error.message().to_owned()))?;
        let run_options = Arc::new(RunOptions::new().map_err(|error| refused(error.message().to_owned()))?);
        let results = match provider {
            Provider::Cpu => Results::Host,
            Provider::Cuda | Provider::TensorRt => Results::Device(AllocationDevice::CUDA, options.device.into()),
        };
        Ok(OrtSession {
            model,
            inner,
            inputs,
            outputs,
            unsupported,
            provider,
            metadata,
            canceller: Canceller::new(Terminator(run_options.clone())),
            options: run_options,
            results,
        })
    }

    /// Runs, and gives the results asked for, each with its place in `asked` (the first, where it is asked for twice).
    fn execute(&mut self, inputs: &[(&str, &Value)], asked: &[&str]) -> ::ort::Result<Vec<(usize, DynValue)>> {
        let placed = |results: SessionOutputs<'_>| {
            let place = |name: &str| asked.iter().position(|asked| *asked == name);
            results
                .into_iter()
                .filter_map(|(name, value)| Some((place(name)?, value)))
                .collect()
        };
        let on_host = matches!(self.results, Results::Host);
        // Values of other backends, and those in a device's memory that this session does not use, are copied first.
        let foreign: Vec<Option<Tensor>> = inputs
            .iter()
            .map(|(_, value)| match value.as_native() {
                Some(native) if !is_own(value, on_host) => native.to_tensor().map(Some).map_err(::ort::Error::wrap),
                _ => Ok(None),
            })
            .collect::<::ort::Result<_>>()?;
        let mut borrowed: Vec<(Cow<'_, str>, SessionInputValue<'_>)> = Vec::with_capacity(inputs.len());
        for ((name, value), foreign) in inputs.iter().zip(&foreign) {
            let own = value
                .as_native()
                .and_then(|native| native.as_any().downcast_ref::<OrtValue>());
            let input = match (foreign.as_ref().or(value.as_tensor()), own) {
                (Some(tensor), _) => convert::borrow(tensor)?,
                (None, Some(own)) => own.borrow(),
                (None, None) => continue,
            };
            borrowed.push(((*name).into(), input));
        }
        let Results::Device(device, index) = &self.results else {
            // On the processor every output is computed whichever are asked for; those not asked for are dropped unread.
            let results = self.inner.run_with_options(borrowed, &*self.options)?;
            return Ok(placed(results));
        };
        // A fresh binding each time: one that is used again writes into the results it gave before.
        let mut binding = self.inner.create_binding()?;
        for (name, input) in &borrowed {
            binding.bind_input(&**name, input)?;
        }
        for port in self.outputs.iter().filter(|port| asked.contains(&&*port.name)) {
            let device = if port.dtype == DType::String {
                AllocationDevice::CPU
            } else {
                device.clone()
            };
            let index = if port.dtype == DType::String { 0 } else { *index };
            let memory = MemoryInfo::new(device, index, AllocatorType::Device, MemoryType::Default)?;
            binding.bind_output_to_device(&*port.name, &memory)?;
        }
        let results = self.inner.run_binding_with_options(&binding, &self.options)?;
        Ok(placed(results))
    }
}

impl Session for OrtSession {
    fn model(&self) -> &str {
        &self.model
    }

    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn provider(&self) -> Provider {
        self.provider
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    fn run(&mut self, inputs: &[(&str, &Value)], outputs: &[&str]) -> Result<Vec<Value>, InferenceError> {
        if self.canceller.is_cancelled() {
            return Err(InferenceError::Cancelled {
                model: self.model.clone(),
            });
        }
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

        let failed = |model: &str, reason: String| InferenceError::Failed {
            model: model.to_owned(),
            inputs: check::describe(inputs),
            reason,
        };
        let results = match self.execute(inputs, outputs) {
            Ok(results) => results,
            Err(_) if self.canceller.is_cancelled() => {
                return Err(InferenceError::Cancelled {
                    model: self.model.clone(),
                });
            }
            Err(error) => return Err(failed(&self.model, error.message().to_owned())),
        };
        let mut found: Vec<(&str, Value)> = Vec::with_capacity(outputs.len());
        for (place, value) in results {
            let name = outputs[place];
            // An input handed through comes back in the caller's memory, so the caller's value is given back instead,
            // which keeps that memory alive.
            let value = match inputs.iter().find(|(input, _)| *input == name) {
                Some((_, value)) => (*value).clone(),
                None => Value::native(
                    OrtValue::new(value)
                        .map_err(|what| failed(&self.model, format!("output `{name}` came out as a {what}")))?,
                ),
            };
            found.push((name, value));
        }
        outputs
            .iter()
            .map(|asked| match found.iter().find(|(name, _)| name == asked) {
                Some((_, value)) => Ok(value.clone()),
                None => Err(failed(&self.model, format!("it gave no output `{asked}`"))),
            })
            .collect()
    }
}

/// Whether `value` is ONNX Runtime's own and lies where this session can read it.
fn is_own(value: &Value, on_host: bool) -> bool {
    let own = value
        .as_native()
        .and_then(|native| native.as_any().downcast_ref::<OrtValue>());
    own.is_some_and(|own| !on_host || own.is_on_host())
}

/// Whether `path` is a file that can be opened.
fn readable(path: &Path) -> Result<(), InferenceError> {
    let opened = File::open(path).and_then(|file| file.metadata());
    match opened {
        Ok(entry) if entry.is_file() => Ok(()),
        Ok(_) => {
            let reason = "it is a folder".to_owned();
            Err(InferenceError::ModelRefused {
                path: path.to_owned(),
                reason,
            })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(InferenceError::ModelMissing { path: path.to_owned() })
        }
        Err(source) => Err(InferenceError::Io {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Builds the session on the first provider that serves it and may.
fn serve(
    environment: &Environment,
    path: &Path,
    model: &str,
    options: &SessionOptions,
) -> Result<(Inner, Provider), InferenceError> {
    if options.providers.is_empty() {
        return Err(InferenceError::NoProvider {
            model: model.to_owned(),
        });
    }
    // The CPU comes after the last wish; it is reached only where a fallback is allowed.
    for provider in options.providers.iter().copied().chain([Provider::Cpu]) {
        let unavailable = match build(environment, path, provider, options) {
            Ok(session) => return Ok((session, provider)),
            Err(Refusal::Provider(unavailable)) => unavailable,
            Err(Refusal::Model(reason)) => {
                // A device that fails shows only here. It is the device's fault if the CPU takes the model.
                if provider == Provider::Cpu || build(environment, path, Provider::Cpu, options).is_err() {
                    return Err(InferenceError::ModelRefused {
                        path: path.to_owned(),
                        reason,
                    });
                }
                Unavailable::new(provider, reason)
            }
        };
        let Unavailable { reason, remedy } = unavailable;
        if !options.allow_fallback {
            return Err(InferenceError::ProviderUnavailable {
                model: model.to_owned(),
                provider,
                reason,
                remedy,
            });
        }
        tracing::warn!(model, %provider, reason, "the provider is not available; the next one takes its place");
    }
    Err(InferenceError::NoProvider {
        model: model.to_owned(),
    })
}

fn build(
    environment: &Environment,
    path: &Path,
    provider: Provider,
    options: &SessionOptions,
) -> Result<Inner, Refusal> {
    let words = |error: ::ort::Error| Refusal::Model(error.message().to_owned());
    let builder = settings(environment, options).map_err(words)?;
    let mut builder = providers::register(builder, provider, options).map_err(Refusal::Provider)?;
    // The crate panics over port types it does not know.
    match catch_unwind(AssertUnwindSafe(|| builder.commit_from_file(path))) {
        Ok(session) => session.map_err(words),
        Err(_) => Err(Refusal::Model("it has a port of an unknown type".to_owned())),
    }
}

fn settings(environment: &Environment, options: &SessionOptions) -> ::ort::Result<SessionBuilder> {
    let builder = Inner::builder(environment)?.with_optimization_level(GraphOptimizationLevel::All)?;
    match options.threads {
        None => Ok(builder),
        Some(threads) => Ok(builder
            .with_independent_thread_pool()?
            .with_intra_threads(threads.get())?
            .with_inter_threads(1)?
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)?),
    }
}

fn metadata(session: &Inner) -> ::ort::Result<Metadata> {
    let found = session.metadata()?;
    let mut custom = std::collections::BTreeMap::new();
    for key in found.custom_keys()? {
        let value = found.custom(&key).unwrap_or_default();
        custom.insert(key, value);
    }
    Ok(Metadata {
        producer: found.producer().unwrap_or_default(),
        name: found.name().unwrap_or_default(),
        description: found.description().unwrap_or_default(),
        version: found.version(),
        opset: session.opset_for_domain(""),
        custom,
    })
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
