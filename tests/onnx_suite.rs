//! The engine judged by ONNX: every node test of the `onnx` package whose operators are all covered, and the nine
//! `light_` networks. A table of passed, failed and not covered by operator is printed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use percept::engine::ops::OPS;
use percept::engine::{EngineError, Network, OpError, infer_shapes};
use percept::onnx::{Model, OnnxError, decode_tensor};
use percept::tensor::{DType, Tensor, TensorData};

#[path = "common/onnx_suite.rs"]
mod suite;

use suite::{Suite, SuiteTest, Value, is_covered, operators_of, qualified};

/// Tests whose outputs are drawn at random, by a generator that the specification leaves open: only their types and
/// shapes are compared.
const RANDOM: &[&str] = &[
    "test_bernoulli",
    "test_bernoulli_double",
    "test_bernoulli_double_expanded",
    "test_bernoulli_expanded",
    "test_bernoulli_seed",
    "test_bernoulli_seed_expanded",
    "test_training_dropout",
    "test_training_dropout_default",
    "test_training_dropout_default_mask",
    "test_training_dropout_mask",
];

/// Operators without a node test of their own, and what holds them instead.
const NOT_IN_SUITE: &[(&str, &str)] = &[("GlobalLpPool", "onnx 1.23.2 has no node test of it; cases beside the code")];

/// How many node tests pass at least: what is once covered stays so. Raise it when more do.
const LEAST_PASSED: usize = 1242;

/// The first version of ONNX's operators that the engine reads.
const OLDEST_OPSET: i64 = 7;

/// What came of a test.
enum Outcome {
    Passed,
    Failed(String),
    NotCovered(String),
}

/// What came of the tests of one operator.
#[derive(Default)]
struct Row {
    passed: usize,
    failed: usize,
    not_covered: BTreeMap<String, usize>,
}

#[test]
fn no_node_test_of_a_covered_operator_fails() {
    let suite = Suite::open();
    let tests = || suite.tests.iter().filter(|test| test.name.starts_with("test_"));
    let of_node: BTreeMap<&str, String> = tests()
        .filter(|test| !test.name.contains("_expanded"))
        .map(|test| (test.name.as_str(), main_operator(&suite, test)))
        .collect();
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    let mut failures = Vec::new();
    for test in tests() {
        let plain = test.name.split("_expanded").next().unwrap_or_default();
        let row = rows.entry(of_node.get(plain).map_or("?", String::as_str)).or_default();
        match judge(&suite, test) {
            Outcome::Passed => row.passed += 1,
            Outcome::NotCovered(reason) => *row.not_covered.entry(reason).or_default() += 1,
            Outcome::Failed(reason) => {
                row.failed += 1;
                failures.push(format!("{}: {reason}", test.name));
            }
        }
    }
    print(&table(&rows));
    assert!(!rows.contains_key("?"), "a test belongs to no operator");
    let passed: usize = rows.values().map(|row| row.passed).sum();
    assert!(passed >= LEAST_PASSED, "{passed} tests passed; {LEAST_PASSED} did once");
    assert!(failures.is_empty(), "{} node tests failed:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn the_light_networks_agree() {
    let suite = Suite::open();
    let mut failures = Vec::new();
    let mut count = 0;
    for test in suite.tests.iter().filter(|test| test.name.starts_with("light_")) {
        count += 1;
        let outcome = match judge(&suite, test) {
            Outcome::Passed => "passed".to_owned(),
            Outcome::NotCovered(reason) => format!("not covered: {reason}"),
            Outcome::Failed(reason) => {
                failures.push(format!("{}: {reason}", test.name));
                "failed".to_owned()
            }
        };
        print(&format!("{:<22} {outcome}\n", test.name));
    }
    assert_eq!(count, 9);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// What tests/reference/shapes.py found by ONNX's own shape inference, where the files say nothing themselves.
#[test]
fn the_shapes_of_the_light_networks_are_inferred() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/engine/shapes.json");
    let cases: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let suite = Suite::open();
    let mut failures = Vec::new();
    let mut count = 0;
    for test in suite.tests.iter().filter(|test| test.name.starts_with("light_")) {
        count += 1;
        let mut model = Model::decode(suite.model(test), None).unwrap();
        model.graph.value_info.clear();
        let found = infer_shapes(&model).unwrap_or_else(|error| panic!("{}: {error}", test.name));
        let case = cases.iter().find(|case| case["name"] == test.name.as_str()).expect("the script knows it");
        for (name, expected) in case["values"].as_object().unwrap() {
            // What ONNX leaves open may be known here.
            let expected = expected.as_str().unwrap();
            let known = found.get(name).map(|known| format!("{} {}", known.dtype, known.shape));
            if !expected.contains(['?', '…']) && known.as_deref() != Some(expected) {
                failures.push(format!("{}: `{name}`: expected {expected}, found {known:?}", test.name));
            }
        }
    }
    assert_eq!(count, 9);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_operator_is_documented_and_in_the_suite_or_says_why_not() {
    let suite = Suite::open();
    let plain = suite.tests.iter().filter(|test| !test.name.contains("_expanded"));
    let tested: BTreeSet<String> = plain.flat_map(|test| operators(&suite, test)).collect();
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine/ops"));
    let mut known = BTreeSet::new();
    let mut faults = Vec::new();
    for entry in OPS {
        let name = entry.op_type;
        if !known.insert((entry.domain, name)) {
            faults.push(format!("{name} is twice in the table"));
        }
        let mut own = sources.iter().filter(|(_, text)| text.contains(&format!("\"{name}\"")));
        let documented = |text: &str| match entry.domain {
            "" => text.contains(&format!("https://onnx.ai/onnx/operators/onnx__{name}.html")),
            _ => text.contains(name),
        };
        if !own.any(|(_, text)| documented(&head(text))) {
            faults.push(format!("{name}: the head of its file does not name its page at onnx.ai"));
        }
        let excused = NOT_IN_SUITE.iter().any(|(excused, _)| *excused == name);
        match (entry.domain.is_empty() && tested.contains(name), excused) {
            (false, false) if entry.domain.is_empty() => {
                faults.push(format!("{name} is in no node test: say in NOT_IN_SUITE what holds it instead"));
            }
            (true, true) => faults.push(format!("{name} is in a node test: take it out of NOT_IN_SUITE")),
            _ => {}
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn numbers_are_compared_as_onnx_does() {
    let f32s = |values: &[f32]| Tensor::from_vec(values.to_vec());
    let cases = [
        (f32s(&[1.0, f32::NAN, f32::INFINITY]), f32s(&[1.000_9, f32::NAN, f32::INFINITY]), true),
        (f32s(&[1.0]), f32s(&[1.002]), false),
        (f32s(&[0.0]), f32s(&[2e-7]), false),
        (f32s(&[f32::NAN]), f32s(&[0.0]), false),
        (f32s(&[f32::INFINITY]), f32s(&[f32::NEG_INFINITY]), false),
        (f32s(&[f32::INFINITY]), f32s(&[1.0]), false),
        (f32s(&[1.0]), f32s(&[f32::INFINITY]), false),
        (Tensor::from_vec(vec![1i64]), Tensor::from_vec(vec![1i64]), true),
        (Tensor::from_vec(vec![1i64]), Tensor::from_vec(vec![1i32]), false),
        (f32s(&[1.0]), Tensor::scalar(1.0f32), false),
        (Tensor::from_vec(vec!["a".to_owned()]), Tensor::from_vec(vec!["b".to_owned()]), false),
        (Tensor::from_vec(vec![true]), Tensor::from_vec(vec![false]), false),
    ];
    for (found, expected, equal) in cases {
        assert_eq!(difference(&found, &expected, 1e-3, 1e-7).is_none(), equal, "{found:?} {expected:?}");
    }
}

/// Runs a test, unless some part of it is not covered.
fn judge(suite: &Suite, test: &SuiteTest) -> Outcome {
    let read = |values: &[Value]| -> Result<Vec<Tensor>, Outcome> {
        let tensor = |value: &Value| match value {
            Value::Tensor(piece) => decode_tensor(suite.bytes(*piece)).map_err(|fault| refused(&fault)),
            Value::Other(kind) => Err(Outcome::NotCovered(format!("values that are a {kind}"))),
        };
        values.iter().map(tensor).collect()
    };
    let done = || -> Result<(), Outcome> {
        let model = Model::decode(suite.model(test), None).map_err(|fault| refused(&fault))?;
        if let Some(missing) = operators_of(&model).iter().find(|name| !is_covered(name)) {
            return Err(Outcome::NotCovered(format!("operator {missing}")));
        }
        let (inputs, expected) = (read(&test.inputs)?, read(&test.outputs)?);
        let names = model.graph.free_inputs().map(|port| port.name.as_str());
        let inputs: Vec<(&str, &Tensor)> = names.zip(&inputs).collect();
        let run = || Network::new(&model).and_then(|mut network| network.run(&inputs));
        let found = match catch_unwind(AssertUnwindSafe(run)) {
            Ok(found) => found.map_err(|error| fault(&error))?,
            Err(_) => return Err(Outcome::Failed("it panicked".into())),
        };
        if found.len() != expected.len() {
            return Err(Outcome::Failed(format!("expected {} outputs, found {}", expected.len(), found.len())));
        }
        for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let difference = match RANDOM.contains(&test.name.as_str()) {
                true => difference_of_kind(found, expected),
                false => difference(found, expected, test.rtol, test.atol),
            };
            if let Some(difference) = difference {
                return Err(Outcome::Failed(format!("output {index}: {difference}")));
            }
        }
        Ok(())
    };
    done().err().unwrap_or(Outcome::Passed)
}

/// A file that percept does not read: a data type it does not hold, or a fault.
fn refused(fault: &OnnxError) -> Outcome {
    match fault {
        OnnxError::UnsupportedDType { found, .. } => Outcome::NotCovered(format!("data type {found}")),
        _ => Outcome::Failed(fault.to_string()),
    }
}

/// What the engine does not compute, or a fault.
fn fault(error: &EngineError) -> Outcome {
    match error {
        EngineError::Onnx(fault) => refused(fault),
        // A few tests are written for versions before the oldest that the engine reads.
        EngineError::Opset { found, .. } if *found < OLDEST_OPSET => Outcome::NotCovered(format!("version {found}")),
        EngineError::Node { source: OpError::NotCovered { what }, .. } => Outcome::NotCovered(what.clone()),
        EngineError::Node { source: OpError::DType { found: found @ (DType::F16 | DType::BF16), .. }, .. } => {
            Outcome::NotCovered(format!("arithmetic in {found}"))
        }
        _ => Outcome::Failed(error.to_string()),
    }
}

/// The operator that a test is for: that of its first node.
fn main_operator(suite: &Suite, test: &SuiteTest) -> String {
    let Ok(model) = Model::decode(suite.model(test), None) else {
        // A constant of a data type that percept does not hold.
        return "Constant".into();
    };
    model.graph.nodes.first().map_or_else(String::new, |node| qualified(&node.domain, &node.op_type))
}

fn operators(suite: &Suite, test: &SuiteTest) -> BTreeSet<String> {
    Model::decode(suite.model(test), None).map(|model| operators_of(&model)).unwrap_or_default()
}

/// The files below `folder`, with their texts.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the sources are there") {
        let path = entry.expect("it can be listed").path();
        match path.is_dir() {
            true => found.extend(sources(&path)),
            false => found.push((path.clone(), std::fs::read_to_string(&path).expect("it is text"))),
        }
    }
    found
}

/// What a file says of itself: the `//!` lines that it begins with.
fn head(text: &str) -> String {
    text.lines().take_while(|line| line.starts_with("//!")).collect::<Vec<_>>().join("\n")
}

fn difference_of_kind(found: &Tensor, expected: &Tensor) -> Option<String> {
    let kind = |tensor: &Tensor| format!("{} {}", tensor.dtype(), tensor.symbolic_shape());
    (kind(found) != kind(expected)).then(|| format!("expected {}, found {}", kind(expected), kind(found)))
}

/// What differs, if anything, by the rule of ONNX's test runner (`numpy.testing.assert_allclose`): the same type and
/// shape, `|found - expected| <= atol + rtol·|expected|`, NaN and infinities in the same places.
fn difference(found: &Tensor, expected: &Tensor, rtol: f64, atol: f64) -> Option<String> {
    if let Some(difference) = difference_of_kind(found, expected) {
        return Some(difference);
    }
    // Two units in the last place of bf16.
    let rtol = if found.dtype() == DType::BF16 { rtol.max(2f64.powi(-6)) } else { rtol };
    let (Some(found), Some(expected)) = (numbers(found), numbers(expected)) else {
        return (found != expected).then(|| format!("expected {expected:?}, found {found:?}"));
    };
    let near = |found: f64, expected: f64| {
        found == expected
            || found.is_nan() && expected.is_nan()
            || found.is_finite() && expected.is_finite() && (found - expected).abs() <= atol + rtol * expected.abs()
    };
    let wrong: Vec<usize> = (0..found.len()).filter(|index| !near(found[*index], expected[*index])).collect();
    let first = *wrong.first()?;
    let (count, total) = (wrong.len(), found.len());
    Some(format!("{count} of {total} differ; element {first}: expected {}, found {}", expected[first], found[first]))
}

/// The elements as f64; `None` for bool and text, and for integers that f64 cannot hold.
fn numbers(tensor: &Tensor) -> Option<Vec<f64>> {
    const EXACT: u64 = 1 << 53;
    Some(match tensor.data() {
        TensorData::F16(buffer) => buffer.iter().map(|x| x.to_f64()).collect(),
        TensorData::BF16(buffer) => buffer.iter().map(|x| x.to_f64()).collect(),
        TensorData::F32(buffer) => buffer.iter().map(|x| f64::from(*x)).collect(),
        TensorData::F64(buffer) => buffer.to_vec(),
        TensorData::I8(buffer) => buffer.iter().map(|x| f64::from(*x)).collect(),
        TensorData::I16(buffer) => buffer.iter().map(|x| f64::from(*x)).collect(),
        TensorData::I32(buffer) => buffer.iter().map(|x| f64::from(*x)).collect(),
        TensorData::U8(buffer) => buffer.iter().map(|x| f64::from(*x)).collect(),
        TensorData::U16(buffer) => buffer.iter().map(|x| f64::from(*x)).collect(),
        TensorData::U32(buffer) => buffer.iter().map(|x| f64::from(*x)).collect(),
        TensorData::I64(buffer) if buffer.iter().all(|x| x.unsigned_abs() < EXACT) => {
            buffer.iter().map(|x| *x as f64).collect()
        }
        TensorData::U64(buffer) if buffer.iter().all(|x| *x < EXACT) => buffer.iter().map(|x| *x as f64).collect(),
        _ => return None,
    })
}

/// The rows of operators of which anything ran, then why the rest did not.
fn table(rows: &BTreeMap<&str, Row>) -> String {
    let mut text = format!("{:<28} passed failed not covered\n", "operator");
    let mut total = (0, 0, 0);
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, row) in rows {
        let not_covered: usize = row.not_covered.values().sum();
        total = (total.0 + row.passed, total.1 + row.failed, total.2 + not_covered);
        row.not_covered.iter().for_each(|(reason, count)| *reasons.entry(reason).or_default() += count);
        if row.passed + row.failed > 0 || is_covered(name) {
            let why: Vec<String> = row.not_covered.iter().map(|(why, count)| format!("{why} {count}")).collect();
            text += &format!("{name:<28} {:>6} {:>6} {not_covered:>11}", row.passed, row.failed);
            text += &if why.is_empty() { "\n".to_owned() } else { format!("  ({})\n", why.join(", ")) };
        }
    }
    text += &format!("{:<28} {:>6} {:>6} {:>11}\n", "all", total.0, total.1, total.2);
    let reasons: Vec<String> = reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    text + &format!("not covered, tests each: {}\n", reasons.join(", "))
}

/// Prints past the test runner, which shows what is printed only of tests that fail.
fn print(text: &str) {
    // There is nobody to tell when the output is closed.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
