//! One model, two backends: what ONNX Runtime computes, percept's engine computes.
#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::{models_are_here, percept, records, root, run};
use percept::inference::{Backend, InferenceError, Port, Session, SessionOptions, Value};
use percept::onnx::OnnxError;
use percept::stage::Settings;
use percept::stages::model::session::Runtime;
use percept::tensor::{DType, Dim, Tensor};

/// Models of this repository that the engine does not run, and why.
const NOT_ON_THE_ENGINE: &[(&str, &str)] =
    &[("relu.ort", "flatbuffer (.ort)"), ("sequence.onnx", "SequenceConstruct"), ("sequence_input.onnx", "sequence")];

/// What files leave open about inputs, by file and input: the value, or the size of the last axis.
const CONSTANTS: &[(&str, &str, i64)] = &[("silero_vad_16k_op15.onnx", "sr", 16_000)];
const LAST: &[(&str, &str, usize)] = &[("reshape.onnx", "x", 4), ("silero_vad_16k_op15.onnx", "input", 576)];

/// Every model file that is committed.
fn models() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("models"), root().join("tests/data/inference")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension().and_then(|extension| extension.to_str()) {
                _ if path.is_dir() && path.file_name().is_some_and(|name| name != "trained") => folders.push(path),
                Some("onnx" | "ort") => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// The same numbers each time, within a range that nets are made for.
fn filled(file: &str, port: &Port, symbol: usize) -> Value {
    let constant = CONSTANTS.iter().find(|(of, input, _)| *of == file && *input == port.name).map(|found| found.2);
    let last = LAST.iter().find(|(of, input, _)| *of == file && *input == port.name).map(|found| found.2);
    let mut sizes: Vec<usize> = port
        .shape
        .dims()
        .unwrap_or_default()
        .iter()
        .map(|dim| match dim {
            Dim::Known(size) => *size,
            _ => symbol,
        })
        .collect();
    if let (Some(size), Some(known)) = (sizes.last_mut(), last) {
        *size = known;
    }
    let count = sizes.iter().product::<usize>();
    let numbers = (0..count).map(|i| ((i as f64 * 0.7311 + 0.13).sin() * 0.5) as f32);
    let tensor = match (port.dtype, constant) {
        (DType::F32, _) => Tensor::new(sizes, numbers.collect::<Vec<f32>>()),
        (DType::F64, _) => Tensor::new(sizes, numbers.map(f64::from).collect::<Vec<f64>>()),
        (DType::I64, _) => Tensor::new(sizes, vec![constant.unwrap_or(1); count]),
        (dtype, _) => Tensor::zeros(dtype, sizes),
    };
    tensor.unwrap().into()
}

fn open(path: &Path, backend: &str) -> Result<Box<dyn Session>, InferenceError> {
    let options: SessionOptions =
        serde_json::from_value(serde_json::json!({ "backend": backend, "threads": 1 })).unwrap();
    match options.backend {
        Backend::Engine => {
            let session = percept::inference::engine::EngineSession::open(path, &options, None)?;
            Ok(Box::new(session))
        }
        _ => Runtime::new(&Settings::default(), options.clone()).initialize()?.load(path, &options),
    }
}

/// The numbers of a tensor of floats.
fn floats(value: &Tensor) -> Option<Vec<f64>> {
    match value.dtype() {
        DType::F32 => Some(value.as_slice::<f32>().unwrap().iter().map(|x| f64::from(*x)).collect()),
        DType::F64 => Some(value.as_slice::<f64>().unwrap().to_vec()),
        _ => None,
    }
}

#[test]
fn every_committed_model_gives_the_same_on_both() {
    if !models_are_here() {
        return;
    }
    let mut compared = 0;
    let mut refused = BTreeMap::new();
    for path in models() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let mut ours = match open(&path, "engine") {
            Ok(session) => session,
            Err(error) => {
                refused.insert(name, error.to_string());
                continue;
            }
        };
        let mut theirs = open(&path, "onnxruntime").unwrap();
        assert_eq!((ours.backend(), theirs.backend()), (Backend::Engine, Backend::OnnxRuntime));
        for symbol in [1, 2] {
            let values: Vec<(String, Value)> =
                ours.inputs().iter().map(|port| (port.name.clone(), filled(&name, port, symbol))).collect();
            let given: Vec<(&str, &Value)> = values.iter().map(|(name, value)| (name.as_str(), value)).collect();
            let outputs: Vec<String> = theirs.outputs().iter().map(|port| port.name.clone()).collect();
            assert_eq!(outputs, ours.outputs().iter().map(|port| port.name.clone()).collect::<Vec<_>>(), "{name}");
            let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
            let theirs = theirs.run(&given, &outputs).unwrap_or_else(|error| panic!("{name}: {error}"));
            let ours = ours.run(&given, &outputs).unwrap_or_else(|error| panic!("{name}: {error}"));
            for ((output, ours), theirs) in outputs.iter().zip(ours).zip(theirs) {
                let (ours, theirs) = (ours.into_tensor().unwrap(), theirs.into_tensor().unwrap());
                assert_eq!((ours.dtype(), ours.shape()), (theirs.dtype(), theirs.shape()), "{name} {output}");
                let (Some(ours), Some(theirs)) = (floats(&ours), floats(&theirs)) else {
                    assert_eq!(ours, theirs, "{name} {output}");
                    continue;
                };
                let scale = theirs.iter().fold(1f64, |largest, x| largest.max(x.abs()));
                for (ours, theirs) in ours.iter().zip(&theirs) {
                    assert!((ours - theirs).abs() <= 1e-4 * scale, "{name} {output}: {ours} beside {theirs}");
                }
            }
            compared += 1;
        }
    }
    assert!(compared >= 16, "{compared}");
    let expected: Vec<&str> = NOT_ON_THE_ENGINE.iter().map(|(name, _)| *name).collect();
    assert_eq!(refused.keys().map(String::as_str).collect::<Vec<_>>(), expected, "{refused:#?}");
    for (name, why) in NOT_ON_THE_ENGINE {
        assert!(refused[*name].contains(why), "{name}: {}", refused[*name]);
    }
}

/// What the card of EfficientNet-Lite0 says with `batch: exact`.
#[test]
fn a_batch_of_pictures_gives_what_each_gives_alone() {
    let path = root().join("models/efficientnet-lite0/efficientnet-lite0.onnx");
    let size = 3 * 224 * 224;
    let pictures: Vec<f32> = (0..3 * size).map(|i| ((i as f64 * 0.37 + (i / size) as f64).sin()) as f32).collect();
    for backend in ["engine", "onnxruntime"] {
        if backend == "onnxruntime" && !models_are_here() {
            return;
        }
        let mut session = open(&path, backend).unwrap();
        let mut scores = |pictures: &[f32]| {
            let shape = vec![pictures.len() / size, 3, 224, 224];
            let value: Value = Tensor::new(shape, pictures.to_vec()).unwrap().into();
            let found = session.run(&[("image", &value)], &["logits"]).unwrap().remove(0);
            floats(&found.into_tensor().unwrap()).unwrap()
        };
        let together = scores(&pictures);
        for (picture, together) in pictures.chunks(size).zip(together.chunks(1000)) {
            let alone = scores(picture);
            assert!(alone.iter().any(|score| score.abs() > 1.0), "{backend}: the scores say something");
            for (alone, together) in alone.iter().zip(together) {
                assert!((alone - together).abs() <= 1e-5, "{backend}: {alone} alone, {together} in a batch");
            }
        }
    }
}

/// The voice gate on a recording: what it writes, by backend.
const GATE: &str = "\
percept: 1
name: gate
stages:
  - capture: file
    path: .
  - preprocess: mono
  - preprocess: resample
    sample_rate_hz: 16000
  - model: silero-vad
  - decoder: endpoint
    from: {voice: silero-vad, audio: resample}
  - sink: jsonl
    path: \"-\"
";

fn utterances(extra: &[&str], hidden: bool) -> (i32, Vec<(f64, f64)>, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gate.yaml");
    std::fs::write(&file, GATE).unwrap();
    let out = folder.path().join("out.jsonl");
    let mut command = percept();
    command.arg("run").arg(&file).args(["--input", "examples/recordings"]).arg("--output").arg(&out).args(extra);
    if hidden {
        // A machine with no ONNX Runtime: an empty cache, and nothing where Python and the system would look.
        command
            .env("PERCEPT_CACHE", folder.path().join("cache"))
            .env("PATH", "")
            .env("ORT_DYLIB_PATH", "/nowhere/x.so");
    }
    let (code, _, stderr) = run(&mut command);
    let spans = |record: serde_json::Value| (record["start_s"].as_f64().unwrap(), record["end_s"].as_f64().unwrap());
    let found = if out.exists() { records(&out).into_iter().map(spans).collect() } else { Vec::new() };
    (code, found, stderr)
}

#[test]
fn a_pipeline_gives_the_same_on_both_and_runs_with_no_library_at_all() {
    if !models_are_here() {
        return;
    }
    let (code, on_onnxruntime, stderr) = utterances(&[], false);
    assert_eq!(code, 0, "{stderr}");
    assert!(on_onnxruntime.len() >= 5, "{on_onnxruntime:?}");
    let (code, on_engine, stderr) = utterances(&["--set", "silero-vad.backend=engine"], true);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(on_engine, on_onnxruntime);
    let (code, on_auto, stderr) = utterances(&["--set", "silero-vad.backend=auto"], true);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(on_auto, on_onnxruntime);
    assert!(stderr.contains("`silero-vad` runs on percept's engine"), "{stderr}");
    let (code, _, stderr) = utterances(&[], true);
    assert!(code != 0 && stderr.contains("no-onnxruntime"), "{code}: {stderr}");
}

#[test]
fn an_onnxruntime_file_on_the_engine_is_a_fault_that_says_what_to_do() {
    let error = open(&root().join("tests/data/inference/relu.ort"), "engine").err().unwrap();
    assert!(error.to_string().contains("backend: onnxruntime"), "{error}");
    assert!(matches!(
        percept::onnx::inspect(root().join("tests/data/inference/relu.ort")),
        Err(OnnxError::InFile { .. })
    ));
}
