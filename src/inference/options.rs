//! How a model is to be run: providers, threads, and what each provider may be told.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What executes a model's nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Provider {
    /// The processor. Always there.
    #[default]
    Cpu,
    /// An NVIDIA GPU through CUDA and cuDNN.
    Cuda,
    /// An NVIDIA GPU through TensorRT; nodes that TensorRT does not take run on CUDA.
    TensorRt,
}

impl Provider {
    /// Every provider, in the order of their declaration.
    pub const ALL: [Provider; 3] = [Provider::Cpu, Provider::Cuda, Provider::TensorRt];

    /// The name used in pipelines and messages: `cpu`, `cuda`, `tensorrt`.
    pub const fn name(self) -> &'static str {
        match self {
            Provider::Cpu => "cpu",
            Provider::Cuda => "cuda",
            Provider::TensorRt => "tensorrt",
        }
    }

    /// The provider with this name, as [`Provider::name`] gives it.
    pub fn from_name(name: &str) -> Option<Provider> {
        Provider::ALL.into_iter().find(|provider| provider.name() == name)
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What runs a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Backend {
    /// ONNX Runtime, a library that is loaded at run time: every model, on the processor and on GPUs.
    #[default]
    OnnxRuntime,
    /// percept's own engine: `.onnx` files whose operators it covers, on the processor, with no library at all.
    Engine,
    /// ONNX Runtime where it is found and takes the model, else the engine; which of them is told.
    Auto,
}

impl Backend {
    /// The name used in pipelines and messages: `onnxruntime`, `engine`, `auto`.
    pub const fn name(self) -> &'static str {
        match self {
            Backend::OnnxRuntime => "onnxruntime",
            Backend::Engine => "engine",
            Backend::Auto => "auto",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How one model is run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SessionOptions {
    /// What runs the model. Default: `onnxruntime`.
    pub backend: Backend,
    /// The providers in order of wish. The first must be available unless `allow_fallback` is set. Default: `[cpu]`.
    pub providers: Vec<Provider>,
    /// Whether the next provider of the list, and after the last the CPU, may take the place of one that is not
    /// available. Default: false.
    pub allow_fallback: bool,
    /// Threads of a pool of the model's own. Default: the pool that all models of the process share.
    pub threads: Option<NonZeroUsize>,
    /// The index of the GPU, for providers that use one. Default: 0.
    pub device: u16,
    /// What only CUDA reads.
    pub cuda: CudaOptions,
    /// What only TensorRT reads.
    pub tensorrt: TensorRtOptions,
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions {
            backend: Backend::default(),
            providers: vec![Provider::Cpu],
            allow_fallback: false,
            threads: None,
            device: 0,
            cuda: CudaOptions::default(),
            tensorrt: TensorRtOptions::default(),
        }
    }
}

/// Options of the CUDA provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CudaOptions {
    /// How the algorithm of a convolution is chosen. Default: `heuristic`.
    pub conv_search: ConvSearch,
}

/// How cuDNN's algorithm for a convolution is chosen, anew for each input shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ConvSearch {
    /// By cuDNN's own estimate: no measurable cost.
    #[default]
    Heuristic,
    /// By timing all of them: costs 0.3 to 1.3 s for each new shape, best where shapes never change.
    Exhaustive,
    /// Always the same algorithm: least memory, sometimes much slower.
    Default,
}

/// Options of the TensorRT provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TensorRtOptions {
    /// The folder where built engines and kernel timings are kept between starts; made when it is missing. Without it
    /// every start builds its engines again. Default: none.
    pub engine_cache: Option<PathBuf>,
    /// Whether half precision may be used. Default: false.
    pub fp16: bool,
    /// The input shapes an engine is built for. Without it an engine is rebuilt whenever a shape leaves the range seen
    /// so far, which takes up to minutes. Default: none.
    pub shapes: Option<ShapeProfile>,
}

/// Ranges of input shapes: by input name the smallest, the usual and the largest sizes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ShapeProfile {
    /// The smallest shape of each input.
    pub min: BTreeMap<String, Vec<usize>>,
    /// The shape of each input that the engine is tuned for.
    pub opt: BTreeMap<String, Vec<usize>>,
    /// The largest shape of each input.
    pub max: BTreeMap<String, Vec<usize>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_file() {
        for provider in Provider::ALL {
            assert_eq!(Provider::from_name(provider.name()), Some(provider));
            assert_eq!(serde_json::to_value(provider).unwrap(), provider.name());
        }
        assert_eq!(Provider::from_name("gpu"), None);
    }

    #[test]
    fn an_empty_mapping_is_the_default_and_bad_ones_are_refused() {
        assert_eq!(serde_json::from_str::<SessionOptions>("{}").unwrap(), SessionOptions::default());
        let full = r#"{"providers": ["tensorrt", "cpu"], "allow_fallback": true, "threads": 2, "device": 1,
            "cuda": {"conv_search": "exhaustive"}, "tensorrt": {"fp16": true, "engine_cache": "trt"}}"#;
        let options: SessionOptions = serde_json::from_str(full).unwrap();
        assert_eq!(options.providers, [Provider::TensorRt, Provider::Cpu]);
        assert_eq!(options.threads, NonZeroUsize::new(2));
        assert_eq!(options.cuda.conv_search, ConvSearch::Exhaustive);
        for bad in
            [r#"{"provider": ["cpu"]}"#, r#"{"threads": 0}"#, r#"{"providers": ["gpu"]}"#, r#"{"cuda": {"x": 1}}"#]
        {
            assert!(serde_json::from_str::<SessionOptions>(bad).is_err(), "{bad}");
        }
    }
}
