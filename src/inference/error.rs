//! What can go wrong between a model file and its results.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::Provider;
use super::ort::NotFound;
use crate::tensor::{DType, SymbolicShape};

/// Which side of a model a name is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortRole {
    /// What a model takes.
    Input,
    /// What a model gives.
    Output,
}

impl fmt::Display for PortRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PortRole::Input => "input",
            PortRole::Output => "output",
        })
    }
}

/// Why a model could not be loaded or run. `model` is the file's name.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InferenceError {
    /// An input that the model needs was not given.
    #[error("model `{model}` needs input `{input}` ({dtype} {shape}), which was not given; given: {}", list(given))]
    MissingInput {
        /// The model.
        model: String,
        /// The input's name.
        input: String,
        /// Its data type.
        dtype: DType,
        /// Its shape.
        shape: SymbolicShape,
        /// The names that were given.
        given: Vec<String>,
    },
    /// A name that the model does not have.
    #[error("model `{model}` has no {role} `{name}`{}; it has: {}", did_you_mean(suggestion), list(known))]
    UnknownName {
        /// The model.
        model: String,
        /// The side that was looked at.
        role: PortRole,
        /// The name asked for.
        name: String,
        /// The nearest name there is, when one is near.
        suggestion: Option<String>,
        /// Every name there is.
        known: Vec<String>,
    },
    /// An input was given more than once.
    #[error("input `{input}` of model `{model}` was given more than once; give it once")]
    DuplicateInput {
        /// The model.
        model: String,
        /// The input's name.
        input: String,
    },
    /// An input has another data type.
    #[error("input `{input}` of model `{model}`: expected {expected}, found {found}; convert it before the model")]
    DType {
        /// The model.
        model: String,
        /// The input's name.
        input: String,
        /// What the model declares.
        expected: DType,
        /// What was given.
        found: DType,
    },
    /// An input has another number of dimensions.
    #[error(
        "input `{input}` of model `{model}`: expected rank {} {expected}, found rank {} {found:?}; reshape it before \
         the model",
        expected.rank().unwrap_or(0), found.len()
    )]
    Rank {
        /// The model.
        model: String,
        /// The input's name.
        input: String,
        /// What the model declares.
        expected: SymbolicShape,
        /// What was given.
        found: Vec<usize>,
    },
    /// An input has the right rank and another size.
    #[error("input `{input}` of model `{model}`: expected shape {expected}, found {found:?}")]
    Shape {
        /// The model.
        model: String,
        /// The input's name.
        input: String,
        /// What the model declares.
        expected: SymbolicShape,
        /// What was given.
        found: Vec<usize>,
    },
    /// A port whose type is no tensor percept can hold.
    #[error(
        "{role} `{name}` of model `{model}` is a {found}, which percept cannot hold; export the model with tensors of \
         floats, integers, bool or string"
    )]
    UnsupportedPort {
        /// The model.
        model: String,
        /// The port's side.
        role: PortRole,
        /// The port's name.
        name: String,
        /// Its type.
        found: String,
    },
    /// The model failed while it ran.
    #[error("model `{model}` failed on {inputs}: {reason}")]
    Failed {
        /// The model.
        model: String,
        /// Names, data types and shapes of what it was given.
        inputs: String,
        /// What the backend said.
        reason: String,
    },
    /// The run was cancelled.
    #[error("the run of model `{model}` was cancelled")]
    Cancelled {
        /// The model.
        model: String,
    },
    /// A result cannot be read into a tensor.
    #[error("cannot read a {dtype} tensor of shape {shape:?}: {reason}")]
    Unreadable {
        /// Its data type.
        dtype: DType,
        /// Its shape.
        shape: Vec<usize>,
        /// What stands in the way.
        reason: String,
    },
    /// A provider that was asked for is not there.
    #[error(
        "model `{model}` asks for provider {provider}, which is not available: {reason}; {remedy}, or set \
         `allow_fallback: true` to accept the next provider"
    )]
    ProviderUnavailable {
        /// The model.
        model: String,
        /// The provider.
        provider: Provider,
        /// Why it is not there.
        reason: String,
        /// What to install.
        remedy: String,
    },
    /// The list of providers is empty.
    #[error("model `{model}` has an empty list of providers; name at least one of cpu, cuda, tensorrt")]
    NoProvider {
        /// The model.
        model: String,
    },
    /// There is no such model file.
    #[error("model file {} does not exist; `percept models` lists those it can fetch", path.display())]
    ModelMissing {
        /// The file.
        path: PathBuf,
    },
    /// The model file, or a folder the model needs, cannot be opened.
    #[error("cannot open {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no model that the backend can load.
    #[error(
        "{} is not a model that ONNX Runtime can load: {reason}; expected a whole .onnx or .ort file, so fetch or \
         export it again",
        path.display()
    )]
    ModelRefused {
        /// The file.
        path: PathBuf,
        /// What the backend said.
        reason: String,
    },
    /// percept's engine does not run the model.
    #[error("percept's engine does not run {}: {reason}; use `backend: onnxruntime`", path.display())]
    EngineRefused {
        /// The file.
        path: PathBuf,
        /// What it does not cover, or what is wrong with the file.
        reason: String,
    },
    /// ONNX Runtime is nowhere to be found.
    #[error(transparent)]
    RuntimeMissing(#[from] NotFound),
    /// The library is not ONNX Runtime, or does not load.
    #[error(
        "{} cannot be used as ONNX Runtime: {reason}; type `percept setup` or `pip install onnxruntime`, or give \
         another with --onnxruntime",
        library.display()
    )]
    RuntimeUnusable {
        /// The library.
        library: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The library is an ONNX Runtime that is too old.
    #[error(
        "ONNX Runtime at {} is version {found}, percept needs {needed} or newer; type `percept setup` or \
         `pip install --upgrade onnxruntime`, or give another with --onnxruntime",
        library.display()
    )]
    RuntimeTooOld {
        /// The library.
        library: PathBuf,
        /// Its version.
        found: String,
        /// The oldest that will do.
        needed: String,
    },
    /// Other code of this process holds ONNX Runtime's one environment.
    #[error(
        "other code in this process has already set up ONNX Runtime's environment, of which there can be only one; \
         load percept's models before it, or in another process"
    )]
    EnvironmentTaken,
    /// percept was built without what is needed.
    #[error("this percept was built without the feature `{feature}`; build it with `--features {feature}`")]
    FeatureMissing {
        /// The cargo feature.
        feature: &'static str,
    },
}

impl InferenceError {
    /// An unknown name, with the nearest of `known` as a suggestion.
    pub fn unknown_name<'a>(
        model: &str,
        role: PortRole,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> InferenceError {
        let known: Vec<String> = known.into_iter().map(str::to_owned).collect();
        let suggestion = known
            .iter()
            .map(|candidate| (strsim::jaro_winkler(&candidate.to_lowercase(), &name.to_lowercase()), candidate))
            .filter(|(likeness, _)| *likeness >= 0.75)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, candidate)| candidate.clone());
        InferenceError::UnknownName { model: model.to_owned(), role, name: name.to_owned(), suggestion, known }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

fn did_you_mean(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_and_a_far_one_is_not() {
        for (asked, suggestion) in [
            ("stateN", Some("state")),
            ("Input", Some("input")),
            ("inptu", Some("input")),
            ("logits", None),
            ("", None),
        ] {
            let error = InferenceError::unknown_name("m.onnx", PortRole::Input, asked, ["input", "state", "sr"]);
            let InferenceError::UnknownName { suggestion: found, .. } = &error else { panic!("{error}") };
            assert_eq!(found.as_deref(), suggestion, "{asked}");
            assert!(error.to_string().contains("input, state, sr"), "{error}");
        }
    }
}
