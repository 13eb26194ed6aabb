//! A model on ONNX Runtime.

use std::borrow::Cow;
use std::sync::Arc;

use ::ort::environment::Environment;
use ::ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ::ort::session::{RunOptions, Session as Inner, SessionInputValue, SessionOutputs};
use ::ort::value::DynValue;

use super::convert::{self, OrtValue};
use super::load;
use crate::inference::{
    Backend, Cancel, Canceller, InferenceError, Metadata, ModelSource, Port, PortRole, Provider, Session,
    SessionOptions, Value, check,
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

impl OrtSession {
    /// Loads a model. See [`OnnxRuntime::load`](super::OnnxRuntime::load).
    pub(super) fn open(
        environment: &Environment,
        source: &ModelSource,
        options: &SessionOptions,
    ) -> Result<Self, InferenceError> {
        let model = source.name();
        let (inner, provider) = load::load(environment, source, &model, options)?;
        let refused = |reason: String| InferenceError::ModelRefused { path: source.path().to_owned(), reason };

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
        let metadata = load::metadata(&inner).map_err(|error| refused(error.message().to_owned()))?;
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
            results.into_iter().filter_map(|(name, value)| Some((place(name)?, value))).collect()
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
            let own = value.as_native().and_then(|native| native.as_any().downcast_ref::<OrtValue>());
            let input = match (foreign.as_ref().or(value.as_tensor()), own) {
                (Some(tensor), _) if on_host => convert::borrow(tensor)?,
                (Some(tensor), _) => convert::own(tensor)?,
                (None, Some(own)) => own.borrow(),
                (None, None) => continue,
            };
            borrowed.push(((*name).into(), input));
        }
        let Results::Device(device, index) = &self.results else {
            // On the processor every output is computed whichever are asked for; the others are dropped unread.
            let results = self.inner.run_with_options(borrowed, &*self.options)?;
            return Ok(placed(results));
        };
        // A fresh binding each time: one that is used again writes into the results it gave before.
        let mut binding = self.inner.create_binding()?;
        for (name, input) in &borrowed {
            binding.bind_input(&**name, input)?;
        }
        for port in self.outputs.iter().filter(|port| asked.contains(&&*port.name)) {
            let device = if port.dtype == DType::String { AllocationDevice::CPU } else { device.clone() };
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

    fn backend(&self) -> Backend {
        Backend::OnnxRuntime
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
            return Err(InferenceError::Cancelled { model: self.model.clone() });
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
                return Err(InferenceError::Cancelled { model: self.model.clone() });
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
    let own = value.as_native().and_then(|native| native.as_any().downcast_ref::<OrtValue>());
    own.is_some_and(|own| !on_host || own.is_on_host())
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
