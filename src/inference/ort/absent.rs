//! What stands in for ONNX Runtime when percept is built without it.

use std::path::Path;

use super::OrtConfig;
use crate::inference::{InferenceError, ModelSource, Session, SessionOptions};

/// The loaded ONNX Runtime, of which there is none in this build.
#[derive(Debug)]
pub enum OnnxRuntime {}

impl OnnxRuntime {
    /// The settings in use.
    pub fn config(&self) -> &OrtConfig {
        match *self {}
    }

    /// What the library says of its build.
    pub fn build_info(&self) -> &'static str {
        match *self {}
    }

    /// Opens the model in `path`.
    pub fn load(&self, _path: &Path, _options: &SessionOptions) -> Result<Box<dyn Session>, InferenceError> {
        match *self {}
    }

    /// The same for a model from anywhere.
    pub fn load_from(
        &self,
        _source: &ModelSource,
        _options: &SessionOptions,
    ) -> Result<Box<dyn Session>, InferenceError> {
        match *self {}
    }
}

/// Always fails, naming the feature that is missing.
pub fn initialize(_config: &OrtConfig) -> Result<&'static OnnxRuntime, InferenceError> {
    Err(InferenceError::FeatureMissing { feature: "onnxruntime" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_missing_feature_is_named() {
        let error = initialize(&OrtConfig::new("libonnxruntime.so")).unwrap_err();
        assert!(error.to_string().contains("--features onnxruntime"), "{error}");
    }
}
