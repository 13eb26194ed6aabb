//! Layers judged by PyTorch: frozen outputs and gradients (tests/reference/layers.py), in f64 within 1e-9, in f32 within
//! 1e-5 of a tensor's largest magnitude.

use std::path::Path;

use serde_json::{Map, Value as Json};

use crate::engine::testing::wide;
use crate::engine::{
    Attention, BatchNorm, Builder, ConvTranspose, Dense, Embedding, EngineError, KMaxMin, LocalContrast, Maxout,
    Network, Recurrent, Residual, Threshold, Value,
};
use crate::tensor::{DType, Tensor};

/// The layer of the case `name`, on these inputs.
fn layer(name: &str, graph: &mut Builder, inputs: &[Value]) -> Result<Value, EngineError> {
    let x = &inputs[0];
    match name {
        "attention" => Attention::new("l", 2).apply(graph, x),
        "attention_causal" => Attention::new("l", 3).causal().without_bias().apply(graph, x),
        "attention_context" => Attention::new("l", 2).apply_to(graph, x, &inputs[1], Some(&inputs[2])),
        "attention_mask" => Attention::new("l", 2).apply_to(graph, x, x, Some(&inputs[1])),
        "batch_norm" | "batch_norm_inference" => BatchNorm::new("l").epsilon(0.125).apply(graph, x),
        "conv_transpose" => ConvTranspose::new("l", 2, &[3, 3]).stride(2).padding(1).apply(graph, x),
        "dense" => Dense::new("l", 4).apply(graph, x),
        "embedding" => Embedding::new("l", 5, 3).apply(graph, x),
        "k_max_min" => KMaxMin::new(3).apply(graph, x),
        "k_max_min_weighted" => KMaxMin::new(4).smallest(2).weight(0.5).apply(graph, x),
        "local_contrast" => LocalContrast::new(5).apply(graph, x),
        "local_contrast_subtractive" => LocalContrast::new(3).deviation(0.8).subtractive().apply(graph, x),
        "maxout" => Maxout::new("l", 3, 4).apply(graph, x),
        "maxout_conv" => Maxout::new("l", 2, 3).kernel(&[3, 3], 1).apply(graph, x),
        "elman" => Recurrent::elman("l", 3).apply(graph, x),
        "gru" => Recurrent::gru("l", 3).apply_last(graph, x),
        "lstm" => Recurrent::lstm("l", 3).bidirectional().apply(graph, x),
        "lstm_last" => Recurrent::lstm("l", 3).bidirectional().apply_last(graph, x),
        "residual" => Residual::new("l", 3).apply(graph, x),
        "residual_projected" => Residual::new("l", 4).stride(2).apply(graph, x),
        "residual_bottleneck" => Residual::new("l", 2).bottleneck().stride(2).apply(graph, x),
        "threshold" => Threshold::new(0.25).bipolar().apply(graph, x),
        "threshold_smooth" => Threshold::new(0.25).slope(3.0).apply(graph, x),
        _ => panic!("no layer for the case {name}"),
    }
}

#[test]
fn outputs_and_gradients_are_those_of_pytorch() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/engine/layers.json");
    let cases: Vec<Json> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(cases.len() >= 20, "{}", cases.len());
    let failures: Vec<String> = cases
        .iter()
        .flat_map(|case| [DType::F64, DType::F32].map(|dtype| check(case, dtype)))
        .filter_map(Result::err)
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn check(case: &Json, dtype: DType) -> Result<(), String> {
    let name = case["name"].as_str().unwrap();
    let fail = |error: EngineError| format!("{name}, {dtype}: {error}");
    let mut graph = Builder::new(name, 1);
    if dtype == DType::F64 {
        graph = graph.in_f64();
    }
    let given: Vec<(&String, Tensor)> =
        object(&case["inputs"]).iter().map(|(key, described)| (key, tensor(described, dtype))).collect();
    let mut inputs = Vec::new();
    for (key, value) in &given {
        let sizes: Vec<_> = value.shape().iter().enumerate().map(|(at, size)| (at > 0).then_some(*size)).collect();
        inputs.push(graph.input(key, value.dtype(), &sizes).map_err(fail)?);
    }
    let y = layer(name, &mut graph, &inputs).map_err(fail)?;
    graph.output("y", &y).map_err(fail)?;
    let mut network = Network::new(&graph.finish()).map_err(fail)?;

    let weights = object(&case["weights"]);
    assert_eq!(network.weights().count(), weights.len(), "{name}: {:?}", network.weights().collect::<Vec<_>>());
    for (key, described) in weights {
        network.set_weight(key, &tensor(described, dtype)).map_err(fail)?;
    }
    let given: Vec<(&str, &Tensor)> = given.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let expected = &case["output"];
    let Some(gradients) = case.get("gradients").map(object) else {
        let found = network.run(&given).map_err(fail)?.remove(0);
        return compare(name, "y", &found, &shape(expected), expected, dtype);
    };
    let cotangent = drawn(&shape(expected), 1000, [-1.0, 1.0], dtype);
    let names: Vec<&str> = gradients.keys().map(String::as_str).collect();
    let (outputs, found) = network.gradients(&given, &[cotangent], &names, 1).map_err(fail)?;
    compare(name, "y", &outputs[0], &shape(expected), expected, dtype)?;
    for ((key, expected), found) in gradients.iter().zip(found) {
        let described = case["weights"].get(key).unwrap_or(&case["inputs"][key]);
        let found = found.unwrap_or_else(|| Tensor::zeros(dtype, shape(described)).unwrap());
        compare(name, &format!("gradient of {key}"), &found, &shape(described), expected, dtype)?;
    }
    Ok(())
}

fn compare(
    case: &str,
    what: &str,
    found: &Tensor,
    shape: &[usize],
    expected: &Json,
    dtype: DType,
) -> Result<(), String> {
    let expected: Vec<f64> = list(&expected["values"]).iter().map(|value| value.as_f64().unwrap()).collect();
    if found.shape() != shape {
        return Err(format!("{case}, {dtype}: {what}: expected shape {shape:?}, found {:?}", found.shape()));
    }
    let largest = expected.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    let bound = match dtype {
        DType::F64 => 1e-9 * largest.max(1.0),
        // What cancels to nothing in f64 leaves the rounding of numbers near 1.
        _ => 1e-5 * largest.max(0.05),
    };
    let found = wide(found).unwrap();
    let near = |(found, expected): (&f64, &f64)| (found - expected).abs() <= bound;
    match found.iter().zip(&expected).position(|pair| !near(pair)) {
        None => Ok(()),
        Some(at) => {
            Err(format!("{case}, {dtype}: {what}: element {at}: expected {}, found {}", expected[at], found[at]))
        }
    }
}

/// The tensor that an input or a weight of a case describes; numbers are of `dtype`.
fn tensor(described: &Json, dtype: DType) -> Tensor {
    let shape = shape(described);
    if let Some(seed) = described.get("seed") {
        let range = [&described["low"], &described["high"]].map(|bound| bound.as_f64().unwrap());
        return drawn(&shape, seed.as_u64().unwrap(), range, dtype);
    }
    let values = list(&described["values"]);
    match values.first() {
        Some(Json::Bool(_)) => Tensor::new(shape, values.iter().filter_map(Json::as_bool).collect::<Vec<bool>>()),
        _ => Tensor::new(shape, values.iter().filter_map(Json::as_i64).collect::<Vec<i64>>()),
    }
    .unwrap()
}

/// Numbers within `range`: SplitMix64 of seed and position (Steele, Lea and Flood, OOPSLA 2014), 53 bits of it.
fn drawn(shape: &[usize], seed: u64, range: [f64; 2], dtype: DType) -> Tensor {
    let number = |index: u64| {
        let mut z = seed.wrapping_add((index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        range[0] + (range[1] - range[0]) * (((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64)
    };
    let values = (0..shape.iter().product::<usize>() as u64).map(number);
    match dtype {
        DType::F64 => Tensor::new(shape.to_vec(), values.collect::<Vec<f64>>()),
        _ => Tensor::new(shape.to_vec(), values.map(|value| value as f32).collect::<Vec<f32>>()),
    }
    .unwrap()
}

fn object(value: &Json) -> &Map<String, Json> {
    value.as_object().unwrap()
}

fn list(value: &Json) -> &[Json] {
    value.as_array().unwrap()
}

fn shape(value: &Json) -> Vec<usize> {
    list(&value["shape"]).iter().map(|size| size.as_u64().unwrap() as usize).collect()
}
