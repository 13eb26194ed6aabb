//! From a model file to a session of ONNX Runtime.

use std::collections::BTreeMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ::ort::environment::Environment;
use ::ort::session::Session as Inner;
use ::ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use super::providers::{self, Unavailable};
use crate::inference::{InferenceError, Metadata, ModelSource, Provider, SessionOptions};

/// Why a session was not built.
enum Refusal {
    Provider(Unavailable),
    Model(String),
}

/// Whether `path` is a file that can be opened.
fn readable(path: &Path) -> Result<(), InferenceError> {
    let opened = File::open(path).and_then(|file| file.metadata());
    match opened {
        Ok(entry) if entry.is_file() => Ok(()),
        Ok(_) => {
            let reason = "it is a folder".to_owned();
            Err(InferenceError::ModelRefused { path: path.to_owned(), reason })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(InferenceError::ModelMissing { path: path.to_owned() })
        }
        Err(source) => Err(InferenceError::Io { path: path.to_owned(), source }),
    }
}

/// Loads `source` on the first provider that serves it and may.
pub(super) fn load(
    environment: &Environment,
    source: &ModelSource,
    model: &str,
    options: &SessionOptions,
) -> Result<(Inner, Provider), InferenceError> {
    if let ModelSource::File(path) = source {
        readable(path)?;
    }
    if options.providers.is_empty() {
        return Err(InferenceError::NoProvider { model: model.to_owned() });
    }
    // The CPU comes after the last wish; it is reached only where a fallback is allowed.
    for provider in options.providers.iter().copied().chain([Provider::Cpu]) {
        let unavailable = match build(environment, source, provider, options) {
            Ok(session) => return Ok((session, provider)),
            Err(Refusal::Provider(unavailable)) => unavailable,
            Err(Refusal::Model(reason)) => {
                // A device that fails shows only here. It is the device's fault if the CPU takes the model.
                if provider == Provider::Cpu || build(environment, source, Provider::Cpu, options).is_err() {
                    return Err(InferenceError::ModelRefused { path: source.path().to_owned(), reason });
                }
                Unavailable::new(provider, reason)
            }
        };
        let Unavailable { reason, remedy } = unavailable;
        if !options.allow_fallback {
            return Err(InferenceError::ProviderUnavailable { model: model.to_owned(), provider, reason, remedy });
        }
        tracing::warn!(model, %provider, reason, "the provider is not available; the next one takes its place");
    }
    Err(InferenceError::NoProvider { model: model.to_owned() })
}

fn build(
    environment: &Environment,
    source: &ModelSource,
    provider: Provider,
    options: &SessionOptions,
) -> Result<Inner, Refusal> {
    let words = |error: ::ort::Error| Refusal::Model(error.message().to_owned());
    let builder = settings(environment, options).map_err(words)?;
    let mut builder = providers::register(builder, provider, options).map_err(Refusal::Provider)?;
    // The crate panics over port types it does not know.
    let committed = catch_unwind(AssertUnwindSafe(|| match source {
        ModelSource::File(path) => builder.commit_from_file(path),
        ModelSource::Memory { bytes, .. } => builder.commit_from_memory(bytes),
    }));
    match committed {
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

/// What the model file says about itself.
pub(super) fn metadata(session: &Inner) -> ::ort::Result<Metadata> {
    let found = session.metadata()?;
    let mut custom = BTreeMap::new();
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
