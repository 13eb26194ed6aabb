//! Providers other than the CPU: whether they are there, and how they are set up.

use ::ort::session::builder::SessionBuilder;

use crate::inference::{Provider, SessionOptions};

/// Why a provider cannot serve, and what would help.
#[derive(Debug)]
pub(super) struct Unavailable {
    pub(super) reason: String,
    pub(super) remedy: String,
}

impl Unavailable {
    pub(super) fn new(provider: Provider, reason: impl Into<String>) -> Self {
        let build = if cfg!(feature = "gpu") { "" } else { "build percept with `--features gpu`, then " };
        let install = match provider {
            Provider::TensorRt => {
                "onnxruntime-gpu (`pip install onnxruntime-gpu`), CUDA 12 or 13, cuDNN 9 and TensorRT 10"
            }
            _ => "onnxruntime-gpu (`pip install onnxruntime-gpu`), CUDA 12 or 13 and cuDNN 9",
        };
        Unavailable { reason: reason.into(), remedy: format!("{build}install {install}") }
    }
}

/// Puts `provider` in front of the CPU in `builder`.
#[cfg(not(feature = "gpu"))]
pub(super) fn register(
    builder: SessionBuilder,
    provider: Provider,
    _options: &SessionOptions,
) -> Result<SessionBuilder, Unavailable> {
    match provider {
        Provider::Cpu => Ok(builder),
        Provider::Cuda | Provider::TensorRt => {
            Err(Unavailable::new(provider, "this percept was built without the feature `gpu`"))
        }
    }
}

/// Puts `provider` in front of the CPU in `builder`.
#[cfg(feature = "gpu")]
pub(super) fn register(
    builder: SessionBuilder,
    provider: Provider,
    options: &SessionOptions,
) -> Result<SessionBuilder, Unavailable> {
    use ::ort::ep::{CUDA, ExecutionProvider, TensorRT};

    let compiled_in = match provider {
        Provider::Cpu => return Ok(builder),
        Provider::Cuda => CUDA::is_available(),
        Provider::TensorRt => TensorRT::is_available(),
    };
    if !compiled_in.unwrap_or(false) {
        return Err(Unavailable::new(provider, "the ONNX Runtime in use is built without it"));
    }
    let mut chain = vec![cuda(options).build().error_on_failure()];
    if provider == Provider::TensorRt {
        let tensorrt = tensorrt(options).map_err(|reason| Unavailable::new(provider, reason))?;
        chain.insert(0, tensorrt.build().error_on_failure());
    }
    builder.with_execution_providers(chain).map_err(|error| Unavailable::new(provider, error.message()))
}

/// CUDA with an arena that grows by what is asked for, so that one large input does not double it for good.
#[cfg(feature = "gpu")]
fn cuda(options: &SessionOptions) -> ::ort::ep::CUDA {
    use ::ort::ep::ArenaExtendStrategy;
    use ::ort::ep::cuda::ConvAlgorithmSearch;

    use crate::inference::ConvSearch;

    ::ort::ep::CUDA::default()
        .with_device_id(options.device.into())
        .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested)
        .with_conv_algorithm_search(match options.cuda.conv_search {
            ConvSearch::Heuristic => ConvAlgorithmSearch::Heuristic,
            ConvSearch::Exhaustive => ConvAlgorithmSearch::Exhaustive,
            ConvSearch::Default => ConvAlgorithmSearch::Default,
        })
}

#[cfg(feature = "gpu")]
fn tensorrt(options: &SessionOptions) -> Result<::ort::ep::TensorRT, String> {
    let wanted = &options.tensorrt;
    let mut tensorrt = ::ort::ep::TensorRT::default().with_device_id(options.device.into()).with_fp16(wanted.fp16);
    if let Some(folder) = &wanted.engine_cache {
        std::fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        let folder = folder.display();
        tensorrt = tensorrt
            .with_engine_cache(true)
            .with_engine_cache_path(&folder)
            .with_timing_cache(true)
            .with_timing_cache_path(&folder);
    }
    if let Some(shapes) = &wanted.shapes {
        tensorrt = tensorrt
            .with_profile_min_shapes(profile(&shapes.min))
            .with_profile_opt_shapes(profile(&shapes.opt))
            .with_profile_max_shapes(profile(&shapes.max));
    }
    Ok(tensorrt)
}

/// `audio:1x512,state:2x1x128`, as TensorRT's options want it.
#[cfg(feature = "gpu")]
fn profile(shapes: &std::collections::BTreeMap<String, Vec<usize>>) -> String {
    let inputs: Vec<String> = shapes
        .iter()
        .map(|(name, sizes)| {
            let sizes: Vec<String> = sizes.iter().map(ToString::to_string).collect();
            format!("{name}:{}", sizes.join("x"))
        })
        .collect();
    inputs.join(",")
}
