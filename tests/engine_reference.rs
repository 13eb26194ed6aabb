//! The engine judged by PyTorch: frozen outputs and gradients (tests/reference/engine.py) in f64 within 1e-9, in f32
//! within 1e-5 of a tensor's largest magnitude. Cases of operators that the engine does not have are counted.

use std::io::Write;
use std::path::Path;

use percept::engine::{EngineError, Network};
use percept::onnx::{AttributeValue, Graph, Model, Node, OpsetImport, ValueInfo};
use percept::tensor::{DType, SymbolicShape, Tensor};
use serde_json::{Map, Value as Json};

/// All files of tests/data/engine.
const FAMILIES: &[&str] = &[
    "activations",
    "arithmetic",
    "convolutions",
    "losses",
    "movement",
    "normalisations",
    "pools",
    "recurrent",
    "reductions",
];

/// How far a number may be off, of the largest in its tensor, and in f64 of 1 at least.
fn tolerance(dtype: DType, largest: f64) -> f64 {
    match dtype {
        DType::F64 => 1e-9 * largest.max(1.0),
        // What cancels to nothing in f64 leaves the rounding of numbers near 1.
        _ => 1e-5 * largest.max(0.05),
    }
}

#[test]
fn outputs_and_gradients_are_those_of_pytorch() {
    let mut failures = Vec::new();
    let mut table = format!("{:<16} passed failed not covered\n", "family");
    for family in FAMILIES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/engine").join(format!("{family}.json"));
        let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let cases: Vec<Json> = serde_json::from_slice(&text).expect("it is JSON");
        let (mut passed, mut failed, mut missing) = (0, 0, Vec::new());
        for case in &cases {
            match [DType::F64, DType::F32].into_iter().map(|dtype| run(case, dtype)).find(|done| *done != Ok(())) {
                None => passed += 1,
                Some(Err(Fault::NoOperator(name))) => missing.push(name),
                Some(fault) => {
                    failed += 1;
                    failures.push(format!("{family}: {}: {fault:?}", text_of(&case["name"])));
                }
            }
        }
        let not_covered = missing.len();
        missing.sort();
        missing.dedup();
        let names = if missing.is_empty() { String::new() } else { format!("  ({})", missing.join(", ")) };
        table += &format!("{family:<16} {passed:>6} {failed:>6} {not_covered:>11}{names}\n");
    }
    // There is nobody to tell when the output is closed.
    let _ = std::io::stdout().write_all(table.as_bytes());
    assert!(failures.is_empty(), "{} cases differ from PyTorch:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn the_generator_is_that_of_the_script() {
    // draw((2,), 7, -2.0, 3.0) in engine.py.
    assert_eq!(draw(2, 7, -2.0, 3.0), [-0.050851258043642655, -1.9160585273592194]);
}

#[test]
fn what_differs_is_seen() {
    let found = |values: &[f64]| Tensor::from_vec(values.to_vec());
    let cases = [
        (vec![1.0, 200.0], DType::F64, true),
        (vec![1.0 + 1e-7, 200.0], DType::F64, true),
        (vec![1.0 + 3e-7, 200.0], DType::F64, false),
        (vec![1.001, 200.0], DType::F32, true),
        (vec![1.003, 200.0], DType::F32, false),
        (vec![f64::NAN, 200.0], DType::F32, false),
        (vec![1.0, f64::INFINITY], DType::F64, false),
    ];
    for (values, dtype, near) in cases {
        assert_eq!(compare("y", &found(&values), &[2], &[1.0, 200.0], dtype).is_ok(), near, "{values:?}");
    }
    assert!(compare("y", &found(&[1.0]), &[1, 1], &[1.0], DType::F64).is_err());
}

#[derive(Debug, PartialEq)]
enum Fault {
    NoOperator(String),
    Wrong(String),
}

impl From<EngineError> for Fault {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::UnknownOp { op_type, .. } => Fault::NoOperator(op_type),
            error => Fault::Wrong(error.to_string()),
        }
    }
}

/// Runs a case in `dtype` and compares everything that it says.
fn run(case: &Json, dtype: DType) -> Result<(), Fault> {
    let mut given = Vec::new();
    let model = model(case, dtype, &mut given);
    let mut network = Network::new(&model)?;
    let inputs: Vec<(&str, &Tensor)> = given.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let expected = object(&case["outputs"]);
    let Some(gradients) = case.get("gradients").map(object) else {
        let outputs = network.run(&inputs)?;
        return outputs.iter().zip(expected).try_for_each(|(found, (name, expected))| {
            compare(name, found, &shape(expected), &numbers(&expected["values"]), dtype)
        });
    };
    let cotangents: Vec<Tensor> = expected
        .values()
        .enumerate()
        .map(|(index, output)| {
            let shape = shape(output);
            let values = draw(shape.iter().product(), 1000 + index as u64, -1.0, 1.0);
            tensor(dtype, shape, values)
        })
        .collect();
    let names: Vec<&str> = gradients.keys().map(String::as_str).collect();
    let (outputs, found) = network.gradients(&inputs, &cotangents, &names, 1)?;
    for (found, (name, expected)) in outputs.iter().zip(expected) {
        compare(name, found, &shape(expected), &numbers(&expected["values"]), dtype)?;
    }
    for (found, (name, expected)) in found.iter().zip(gradients) {
        let shape = shape(&case["inputs"][name]);
        let name = format!("gradient of {name}");
        let expected = numbers(expected);
        match found {
            Some(found) => compare(&name, found, &shape, &expected, dtype)?,
            None if expected.iter().all(|value| *value == 0.0) => {}
            None => return Err(Fault::Wrong(format!("{dtype}: there is no {name}"))),
        }
    }
    Ok(())
}

/// The graph of a case, and what goes in.
fn model(case: &Json, dtype: DType, given: &mut Vec<(String, Tensor)>) -> Model {
    let mut graph = Graph::new(text_of(&case["name"]));
    for (name, input) in object(&case["inputs"]) {
        let shape = shape(input);
        let drawn = input.get("seed").map(|seed| {
            let range = [&input["low"], &input["high"]].map(|bound| bound.as_f64().expect("a number"));
            draw(shape.iter().product(), seed.as_u64().expect("a whole number"), range[0], range[1])
        });
        let value = match drawn {
            Some(values) => tensor(dtype, shape, values),
            None if input.get("float").is_some() => tensor(dtype, shape, numbers(&input["values"])),
            None => {
                let values = list(&input["values"]).iter().map(|value| value.as_i64().expect("a whole number"));
                Tensor::new(shape, values.collect::<Vec<i64>>()).expect("it has its shape")
            }
        };
        match input.get("constant") {
            Some(_) => graph.initializers.push((name.clone(), value)),
            None => {
                graph.inputs.push(ValueInfo::tensor(name.clone(), value.dtype(), value.symbolic_shape()));
                given.push((name.clone(), value));
            }
        }
    }
    for name in object(&case["outputs"]).keys() {
        graph.outputs.push(ValueInfo::tensor(name.clone(), dtype, SymbolicShape::Unranked));
    }
    for described in list(&case["nodes"]) {
        let names = |key: &str| list(&described[key]).iter().map(|name| text_of(name).to_owned()).collect::<Vec<_>>();
        let mut node = Node::new(text_of(&described["op"]), names("inputs"), names("outputs"));
        node.domain = described.get("domain").map_or("", text_of).into();
        for (name, value) in described.get("attributes").map(object).into_iter().flatten() {
            node = node.with(name.clone(), attribute(value));
        }
        graph.nodes.push(node);
    }
    let mut model = Model::new(graph, case["opset"].as_i64().expect("a whole number"));
    model.opset_imports.push(OpsetImport::new("ai.percept", 1));
    model
}

fn attribute(value: &Json) -> AttributeValue {
    match value {
        Json::String(text) => AttributeValue::String(text.clone().into_bytes()),
        Json::Array(values) if values.iter().all(Json::is_i64) => {
            AttributeValue::Ints(values.iter().filter_map(Json::as_i64).collect())
        }
        Json::Array(_) => AttributeValue::Floats(numbers(value).into_iter().map(|value| value as f32).collect()),
        value => match value.as_i64() {
            Some(value) => AttributeValue::Int(value),
            None => AttributeValue::Float(value.as_f64().expect("a number") as f32),
        },
    }
}

fn compare(name: &str, found: &Tensor, shape: &[usize], expected: &[f64], dtype: DType) -> Result<(), Fault> {
    if found.shape() != shape {
        return Err(Fault::Wrong(format!("{dtype}: {name}: expected shape {shape:?}, found {:?}", found.shape())));
    }
    let found: Vec<f64> = match found.dtype() {
        DType::F32 => found.as_slice::<f32>().map(|x| x.iter().map(|x| f64::from(*x)).collect()),
        DType::F64 => found.as_slice::<f64>().map(<[f64]>::to_vec),
        _ => found.as_slice::<i64>().map(|x| x.iter().map(|x| *x as f64).collect()),
    }
    .map_err(|error| Fault::Wrong(format!("{name}: {error}")))?;
    let largest = expected.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    let bound = tolerance(dtype, largest);
    let off = |index: &usize| (found[*index] - expected[*index]).abs();
    let Some(worst) = (0..found.len()).max_by(|a, b| off(a).total_cmp(&off(b))) else { return Ok(()) };
    // A NaN is off too.
    if off(&worst) <= bound {
        return Ok(());
    }
    let (expected, found) = (expected[worst], found[worst]);
    Err(Fault::Wrong(format!(
        "{dtype}: {name}: element {worst}: expected {expected}, found {found}, largest {largest}"
    )))
}

fn tensor(dtype: DType, shape: Vec<usize>, values: Vec<f64>) -> Tensor {
    match dtype {
        DType::F64 => Tensor::new(shape, values),
        _ => Tensor::new(shape, values.into_iter().map(|value| value as f32).collect::<Vec<f32>>()),
    }
    .expect("it has its shape")
}

/// Numbers between `low` and `high`: SplitMix64 of seed and position (Steele, Lea and Flood, OOPSLA 2014), 53 bits of it.
fn draw(count: usize, seed: u64, low: f64, high: f64) -> Vec<f64> {
    let number = |index: u64| {
        let mut z = seed.wrapping_add((index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        low + (high - low) * (((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64)
    };
    (0..count as u64).map(number).collect()
}

fn object(value: &Json) -> &Map<String, Json> {
    value.as_object().expect("an object")
}

fn list(value: &Json) -> &[Json] {
    value.as_array().expect("a list")
}

fn text_of(value: &Json) -> &str {
    value.as_str().expect("text")
}

fn numbers(value: &Json) -> Vec<f64> {
    list(value).iter().map(|value| value.as_f64().expect("a number")).collect()
}

fn shape(value: &Json) -> Vec<usize> {
    list(&value["shape"]).iter().map(|size| size.as_u64().expect("a size") as usize).collect()
}
