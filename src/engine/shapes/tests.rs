//! Shape inference against ONNX's own, and against what the engine computes.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;
use crate::engine::Network;
use crate::onnx::{AttributeValue, Graph, Node};
use crate::tensor::Tensor;

/// A case of tests/reference/shapes.py.
#[derive(Deserialize)]
struct Frozen {
    name: String,
    model: Option<String>,
    values: BTreeMap<String, String>,
}

fn frozen() -> Vec<(String, Model, BTreeMap<String, String>)> {
    let cases: Vec<Frozen> = serde_json::from_str(include_str!("../../../tests/data/engine/shapes.json")).unwrap();
    let digits = |text: &str| -> Vec<u8> {
        (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
    };
    let case = |case: Frozen| Some((case.name, Model::decode(&digits(&case.model?), None).unwrap(), case.values));
    cases.into_iter().filter_map(case).collect()
}

fn shown(found: &BTreeMap<String, Inferred>) -> BTreeMap<&str, String> {
    found.iter().map(|(name, known)| (name.as_str(), format!("{} {}", known.dtype, known.shape))).collect()
}

/// Whether `found` says all that `expected` does.
fn covers(found: &str, expected: &str) -> bool {
    let parts = |text: &str| -> (String, Vec<String>) {
        let (dtype, dims) = text.split_once(" [").unwrap();
        (dtype.to_owned(), dims.trim_end_matches(']').split(", ").map(str::to_owned).collect())
    };
    let (found, expected) = (parts(found), parts(expected));
    let agrees = |(found, expected): (&String, &String)| found == expected || expected == "?";
    found.0 == expected.0
        && (expected.1 == ["…"] || found.1.len() == expected.1.len() && found.1.iter().zip(&expected.1).all(agrees))
}

#[test]
fn all_that_onnx_infers_is_inferred() {
    let cases = frozen();
    assert!(cases.len() >= 10);
    for (name, model, expected) in cases {
        let found = infer_shapes(&model).unwrap_or_else(|error| panic!("{name}: {error}"));
        let found = shown(&found);
        for (value, expected) in expected {
            let found = found.get(value.as_str()).unwrap_or_else(|| panic!("{name}: `{value}` is missing"));
            assert!(covers(found, &expected), "{name}: `{value}`: expected {expected}, found {found}");
        }
    }
}

#[test]
fn and_more() {
    let cases = frozen();
    for (name, value, expected) in [
        ("convolutions", "c", "f32 [N, 8, H, W]"),
        ("convolutions", "p", "f32 [N, 8, floor(H/2), floor(W/2)]"),
        ("convolutions", "d", "f32 [N, 16, floor((H + 2)/4), floor((W + 2)/4)]"),
        ("reshaped", "y", "f32 [N, 4, T, 16]"),
        ("joined", "j", "f32 [N + M, 4]"),
        ("joined", "y", "f32 [K, 4]"),
        // One of them may be 1.
        ("joined", "z", "f32 [?, 4]"),
        ("branches", "y", "f32 [N, 4]"),
        ("branches", "z", "f32 [N, ?]"),
        ("loop", "y", "f32 [N, 4]"),
        ("loop", "all", "f32 [?, N, 4]"),
        ("arranged", "tiled", "f32 [N, 12, T]"),
        ("arranged", "padded", "f32 [N, 6, T + 3]"),
    ] {
        let (_, model, _) = cases.iter().find(|(known, ..)| known == name).unwrap();
        assert_eq!(shown(&infer_shapes(model).unwrap())[value], expected, "{name}: {value}");
    }
}

/// A graph with one node after another, from inputs of these shapes.
fn graph(inputs: &[(&str, DType, &[&str])], nodes: Vec<Node>) -> Model {
    let mut graph = Graph::new("g");
    for (name, dtype, dims) in inputs {
        let dim = |text: &&str| match text.parse() {
            Ok(size) => Dim::Known(size),
            Err(_) if *text == "?" => Dim::Any,
            Err(_) => Dim::Symbol((*text).into()),
        };
        let shape = SymbolicShape::Ranked(dims.iter().map(dim).collect());
        graph.inputs.push(ValueInfo::tensor(*name, *dtype, shape));
    }
    let last = nodes.last().unwrap().outputs[0].clone();
    graph.outputs.push(ValueInfo::of_kind(ValueKind::Tensor, last, None, SymbolicShape::Unranked));
    graph.nodes = nodes;
    Model::new(graph, 21)
}

fn constant(name: &str, values: &[i64]) -> Node {
    let value = AttributeValue::Tensor(Tensor::from_vec(values.to_vec()));
    Node::new("Constant", [""; 0], [name]).with("value", value)
}

#[test]
fn what_follows_from_nothing_is_left_open() {
    let x = ("x", DType::F32, &["N", "4"][..]);
    let cases: Vec<(Model, &str)> = vec![
        // How many there are depends on values.
        (graph(&[x], vec![Node::new("NonZero", ["x"], ["y"])]), "i64 [2, ?]"),
        // A dimension without a name says nothing of another, and varies all the same.
        (graph(&[("x", DType::F32, &["?", "?"])], vec![Node::new("Relu", ["x"], ["y"])]), "f32 [?, ?]"),
        (
            graph(
                &[("x", DType::F32, &["?", "8"])],
                vec![constant("s", &[-1, 2]), Node::new("Reshape", ["x", "s"], ["y"])],
            ),
            "f32 [?, 2]",
        ),
        // A shape that is fed in.
        (graph(&[x, ("s", DType::I64, &["3"])], vec![Node::new("Reshape", ["x", "s"], ["y"])]), "f32 [?, ?, ?]"),
        (graph(&[x, ("s", DType::I64, &["K"])], vec![Node::new("Reshape", ["x", "s"], ["y"])]), "f32 […]"),
        // Only whole heads are accepted.
        (graph(&[x], vec![constant("s", &[-1, 12]), Node::new("Reshape", ["x", "s"], ["y"])]), "f32 [N/3, 12]"),
        (
            graph(
                &[x],
                vec![
                    constant("k", &[2]),
                    Node::new("Shape", ["x"], ["s"]),
                    Node::new("Mul", ["s", "k"], ["t"]),
                    Node::new("ConstantOfShape", ["t"], ["y"]),
                ],
            ),
            "f32 [2*N, 8]",
        ),
        // Not a line: it stops to grow.
        (
            graph(
                &[x],
                vec![constant("a", &[0]), constant("b", &[50]), Node::new("Slice", ["x", "a", "b", "a"], ["y"])],
            ),
            "f32 [?, 4]",
        ),
    ];
    for (model, expected) in cases {
        let found = infer_shapes(&model).unwrap();
        assert_eq!(shown(&found)["y"], expected, "{:?}", model.graph.nodes);
    }
}

#[test]
fn what_contradicts_itself_is_an_error() {
    let model = graph(
        &[("a", DType::F32, &["N", "4"]), ("b", DType::F32, &["5", "M"])],
        vec![Node::new("MatMul", ["a", "b"], ["y"])],
    );
    let error = infer_shapes(&model).unwrap_err().to_string();
    assert!(error.contains("node `y` (MatMul"), "{error}");
    let mut kept = model.clone();
    assert!(write_shapes(&mut kept).is_err());
    assert_eq!(kept, model);
}

/// The types stand in the file, what it said of open dimensions stays, and what the engine computes agrees with them.
#[test]
fn a_written_model_says_what_it_computes() {
    for (name, mut model, _) in frozen() {
        if ["branches", "loop", "joined"].contains(&name.as_str()) {
            continue;
        }
        for output in &mut model.graph.outputs {
            output.shape = SymbolicShape::Unranked;
        }
        write_shapes(&mut model).unwrap();
        let read = Model::decode(&model.encode(), None).unwrap();
        let declared: Vec<&ValueInfo> = read.graph.value_info.iter().chain(&read.graph.outputs).collect();
        let computed: usize = read.graph.nodes.iter().map(|node| node.outputs.len()).sum();
        assert_eq!(declared.len(), computed, "{name}");
        // Every value becomes an output, to be compared.
        let names: Vec<String> = declared.iter().map(|value| value.name.clone()).collect();
        let mut all = read.clone();
        all.graph.outputs = declared.iter().map(|value| (*value).clone()).collect();
        let mut network = Network::new(&all).unwrap();
        let sizes = |symbol: &str| 40 + 4 * symbol.len() + usize::from(symbol.as_bytes()[0] % 7);
        let inputs: Vec<(String, Tensor)> = all
            .graph
            .free_inputs()
            .map(|input| {
                let dims = input.shape.dims().unwrap().iter();
                let size = |dim: &Dim| match dim {
                    Dim::Known(size) => *size,
                    other => sizes(&other.to_string()),
                };
                (input.name.clone(), Tensor::zeros(input.dtype.unwrap(), dims.map(size).collect()).unwrap())
            })
            .collect();
        let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let outputs = network.run(&inputs).unwrap_or_else(|error| panic!("{name}: {error}"));
        for ((value, tensor), name) in declared.iter().zip(&outputs).zip(&names) {
            assert_eq!(value.dtype, Some(tensor.dtype()), "{name}");
            let dims = value.shape.dims().unwrap();
            assert_eq!(dims.len(), tensor.shape().len(), "{name}");
            for (dim, size) in dims.iter().zip(tensor.shape()) {
                match dim {
                    Dim::Known(known) => assert_eq!(known, size, "{name}"),
                    Dim::Symbol(symbol) if symbol.len() == 1 => assert_eq!(sizes(symbol), *size, "{name}"),
                    _ => {}
                }
            }
        }
    }
}

#[test]
fn declared_dimensions_stay_where_nothing_is_known() {
    let mut model = graph(&[("x", DType::F32, &["N", "4"])], vec![Node::new("NonZero", ["x"], ["y"])]);
    model.graph.outputs[0].shape = SymbolicShape::Ranked(vec![Dim::Any, Dim::Symbol("found".into())]);
    write_shapes(&mut model).unwrap();
    assert_eq!(model.graph.outputs[0].to_string(), "y: i64 [2, found]");
    let again = model.clone();
    write_shapes(&mut model).unwrap();
    assert_eq!(model, again);
}

/// Loops in loops, each of which needs several looks: their number is bounded.
#[test]
fn bodies_in_bodies_end() {
    let mut body: Option<Graph> = None;
    for depth in 0..14 {
        let mut graph = Graph::new("b");
        let name = |text: &str| format!("{text}{depth}");
        for (text, dtype, rank) in [("i", DType::I64, 0), ("c", DType::Bool, 0), ("s", DType::F32, 1)] {
            let shape = SymbolicShape::Ranked(vec![Dim::Any; rank]);
            graph.inputs.push(ValueInfo::tensor(name(text), dtype, shape));
        }
        graph.nodes.push(Node::new("Identity", [name("c")], [name("d")]));
        graph.nodes.push(Node::new("Concat", [name("s"), name("s")], [name("t")]).with("axis", AttributeValue::Int(0)));
        let mut last = name("t");
        if let Some(inner) = body.take() {
            let node = Node::new("Loop", [String::new(), name("c"), name("t")], [name("u")]);
            graph.nodes.push(node.with("body", AttributeValue::Graph(inner)));
            last = name("u");
        }
        for output in [name("d"), last] {
            graph.outputs.push(ValueInfo::of_kind(ValueKind::Tensor, output, None, SymbolicShape::Unranked));
        }
        body = Some(graph);
    }
    let inputs = [("x", DType::F32, &["N"][..]), ("go", DType::Bool, &[])];
    let node = Node::new("Loop", ["", "go", "x"], ["y"]).with("body", AttributeValue::Graph(body.unwrap()));
    let found = infer_shapes(&graph(&inputs, vec![node])).unwrap();
    let text = found.get("y").map(|known| known.shape.to_string());
    assert!(matches!(text.as_deref(), None | Some("[?]")), "{text:?}");
}

/// Models with bytes changed are refused, or have types.
#[test]
fn damaged_models_end() {
    let mut inferred = 0;
    for (_, model, _) in frozen() {
        let whole = model.encode();
        for case in 0..60u64 {
            let mut bytes = whole.clone();
            for change in 0..1 + case % 3 {
                let number = crate::engine::random::mix(case, change);
                let at = number as usize % bytes.len();
                bytes[at] = (number >> 32) as u8;
            }
            if let Ok(mut model) = Model::decode(&bytes, None) {
                inferred += usize::from(write_shapes(&mut model).is_ok());
            }
        }
    }
    assert!(inferred > 0);
}
