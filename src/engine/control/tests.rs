//! Graphs with control flow, against what they mean.

use crate::engine::optimizers::Sgd;
use crate::engine::testing::random;
use crate::engine::{Loss, Network, Optimizer, Training, TrainingOptions};
use crate::onnx::{Attribute, AttributeKind, AttributeValue, Function, Graph, Model, Node, OpsetImport, ValueInfo};
use crate::tensor::{DType, SymbolicShape, Tensor};

/// A graph with these inputs and outputs (of any type and shape) and nodes.
fn graph(inputs: &[&str], outputs: &[&str], nodes: Vec<Node>) -> Graph {
    let mut graph = Graph::new("g");
    graph.inputs = inputs.iter().map(|name| untyped(name)).collect();
    graph.outputs = outputs.iter().map(|name| untyped(name)).collect();
    graph.nodes = nodes;
    graph
}

fn untyped(name: &str) -> ValueInfo {
    let mut value = ValueInfo::tensor(name, DType::F64, SymbolicShape::Unranked);
    value.dtype = None;
    value
}

fn with(mut graph: Graph, name: &str, tensor: Tensor) -> Graph {
    graph.initializers.push((name.into(), tensor));
    graph
}

fn body(graph: Graph) -> AttributeValue {
    AttributeValue::Graph(graph)
}

fn run(model: Graph, inputs: &[(&str, Tensor)]) -> Result<Vec<Tensor>, String> {
    let mut network = Network::new(&Model::new(model, 22)).map_err(|error| error.to_string())?;
    let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (*name, tensor)).collect();
    network.run(&inputs).map_err(|error| error.to_string())
}

fn vector(values: &[f64]) -> Tensor {
    Tensor::from_vec(values.to_vec())
}

fn matrix(rows: usize, values: &[f64]) -> Tensor {
    Tensor::new(vec![rows, values.len() / rows], values.to_vec()).unwrap()
}

/// `y = c ? x + x : x·m`, both branches reading outer values.
fn either() -> Graph {
    let then = graph(&[], &["t"], vec![Node::new("Add", ["x", "x"], ["t"])]);
    let otherwise = graph(&[], &["e"], vec![Node::new("MatMul", ["x", "m"], ["e"])]);
    let choice = Node::new("If", ["c"], ["y"]).with("then_branch", body(then)).with("else_branch", body(otherwise));
    // Out of order: the choice waits for what only its branches read.
    graph(&["a", "m", "c"], &["y"], vec![choice, Node::new("Relu", ["a"], ["x"])])
}

#[test]
fn if_runs_the_branch_that_its_condition_chooses() {
    let (a, m) = (matrix(1, &[1.0, 2.0]), matrix(2, &[1.0, 0.0, 1.0, 3.0]));
    let mut network = Network::new(&Model::new(either(), 22)).unwrap();
    for (condition, expected, by_a, by_m) in [
        (true, [2.0, 4.0], [2.0, 20.0], None),
        (false, [3.0, 6.0], [1.0, 31.0], Some([1.0, 10.0, 2.0, 20.0])),
        (true, [2.0, 4.0], [2.0, 20.0], None),
    ] {
        let condition = Tensor::scalar(condition);
        let inputs = [("a", &a), ("m", &m), ("c", &condition)];
        assert_eq!(network.run(&inputs).unwrap(), [matrix(1, &expected)]);
        let (_, gradients) = network.gradients(&inputs, &[matrix(1, &[1.0, 10.0])], &["a", "m"], 0).unwrap();
        assert_eq!(gradients, [Some(matrix(1, &by_a)), by_m.map(|by_m| matrix(2, &by_m))]);
    }
}

#[test]
fn branches_may_be_constants_outer_values_and_further_branches() {
    let one = with(graph(&[], &["one"], Vec::new()), "one", vector(&[1.0]));
    let outer = graph(&[], &["x"], Vec::new());
    // `x` inside is another value than `x` outside.
    let shadow = graph(&[], &["x2"], vec![Node::new("Add", ["x", "x"], ["x2"]), Node::new("Add", ["a", "a"], ["x"])]);
    let inner = Node::new("If", ["d"], ["z"]).with("then_branch", body(outer)).with("else_branch", body(shadow));
    let nested = graph(&[], &["z"], vec![inner]);
    let choice = Node::new("If", ["c"], ["y"]).with("then_branch", body(one)).with("else_branch", body(nested));
    let model = graph(&["a", "c", "d"], &["y"], vec![Node::new("Relu", ["a"], ["x"]), choice]);
    for (c, d, expected) in [(true, true, 1.0), (false, true, 3.0), (false, false, 12.0)] {
        let inputs = [("a", vector(&[3.0])), ("c", Tensor::scalar(c)), ("d", Tensor::from_vec(vec![d]))];
        assert_eq!(run(model.clone(), &inputs).unwrap(), [vector(&[expected])], "{c} {d}");
    }
}

/// `v += x` each time; every `v` is laid beside the others.
fn counting(trip: &str, condition: &str) -> Node {
    let mut inside = graph(
        &["i", "go", "v"],
        &["stay", "w", "w"],
        vec![Node::new("Add", ["v", "x"], ["w"]), Node::new("Reshape", ["keep", "scalar"], ["stay"])],
    );
    inside = with(inside, "scalar", Tensor::new(vec![0], Vec::<i64>::new()).unwrap());
    inside.outputs[2] = ValueInfo::tensor("w", DType::F64, SymbolicShape::known(&[2]));
    Node::new("Loop", [trip, condition, "start"], ["end", "all"]).with("body", body(inside))
}

#[test]
fn loop_copies_its_body_for_each_iteration() {
    let model = graph(&["m", "c", "keep", "x", "start"], &["end", "all"], vec![counting("m", "c")]);
    let mut network = Network::new(&Model::new(model, 22)).unwrap();
    let (x, start) = (vector(&[1.0, 2.0]), vector(&[10.0, 20.0]));
    for (trip, first, keep, count) in [
        (3, true, true, 3),
        (0, true, true, 0),
        (3, false, true, 0),
        (1, true, true, 1),
        (5, true, false, 1),
        (-2, true, true, 0),
        (3, true, true, 3),
    ] {
        let (trip, first, keep) = (Tensor::scalar(trip as i64), Tensor::scalar(first), Tensor::from_vec(vec![keep]));
        let inputs = [("m", &trip), ("c", &first), ("keep", &keep), ("x", &x), ("start", &start)];
        let at = |step: usize| [10.0 + step as f64, 20.0 + 2.0 * step as f64];
        let all: Vec<f64> = (1..=count).flat_map(at).collect();
        let all = Tensor::new(vec![count, 2], all).unwrap();
        assert_eq!(network.run(&inputs).unwrap(), [vector(&at(count)), all.clone()], "{trip:?} {first:?} {keep:?}");
        let ones = Tensor::new(vec![count, 2], vec![1.0; 2 * count]).unwrap();
        let cotangents = [vector(&[1.0, 5.0]), ones];
        let (_, gradients) = network.gradients(&inputs, &cotangents, &["x", "start"], 0).unwrap();
        let steps = count as f64;
        let sum = steps * (steps + 1.0) / 2.0;
        let by_x = (count > 0).then(|| vector(&[steps + sum, 5.0 * steps + sum]));
        assert_eq!(gradients, [by_x, Some(vector(&[1.0 + steps, 5.0 + steps]))], "{trip:?}");
    }
}

#[test]
fn loop_without_trip_count_or_condition() {
    let constant = |name: &str, tensor: Tensor| (name.to_owned(), tensor);
    let mut model = graph(&["x", "start"], &["end"], vec![counting("", "c")]);
    model.initializers = vec![constant("c", Tensor::scalar(true)), constant("keep", Tensor::scalar(false))];
    let inputs = [("x", vector(&[1.0, 2.0])), ("start", vector(&[0.0, 0.0]))];
    assert_eq!(run(model.clone(), &inputs).unwrap(), [vector(&[1.0, 2.0])]);
    model.nodes = vec![counting("m", "")];
    model.initializers[0] = constant("m", Tensor::from_vec(vec![4i64]));
    assert_eq!(run(model.clone(), &inputs).unwrap(), [vector(&[4.0, 8.0])]);
    model.initializers[0] = constant("m", Tensor::from_vec(vec![10_001i64]));
    assert!(run(model.clone(), &inputs).unwrap_err().contains("more than 10000 iterations"));
    model.initializers[0] = constant("m", Tensor::from_vec(vec![4i32, 5]));
    assert!(run(model.clone(), &inputs).unwrap_err().contains("expected one i64"));
    model.nodes = vec![counting("", "")];
    assert!(run(model, &inputs).unwrap_err().contains("more than 10000 iterations"));
}

#[test]
fn scan_carries_states_and_lays_outputs_side_by_side() {
    // The example of ONNX: running sums.
    let inside = || graph(&["s", "e"], &["t", "t"], vec![Node::new("Add", ["s", "e"], ["t"])]);
    let scan = |inside: Graph| {
        Node::new("Scan", ["start", "x"], ["end", "all"])
            .with("num_scan_inputs", AttributeValue::Int(1))
            .with("body", body(inside))
    };
    let x = matrix(3, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let model = |node: Node| graph(&["start", "x"], &["end", "all"], vec![node]);
    let inputs = |start: &[f64]| [("start", vector(start)), ("x", x.clone())];
    let sums = matrix(3, &[1.0, 2.0, 4.0, 6.0, 9.0, 12.0]);
    assert_eq!(run(model(scan(inside())), &inputs(&[0.0, 0.0])).unwrap(), [vector(&[9.0, 12.0]), sums]);
    let ints = |values: &[i64]| AttributeValue::Ints(values.to_vec());
    let reversed = scan(inside()).with("scan_input_directions", ints(&[1])).with("scan_output_directions", ints(&[1]));
    let sums = matrix(3, &[9.0, 12.0, 8.0, 10.0, 5.0, 6.0]);
    assert_eq!(run(model(reversed), &inputs(&[0.0, 0.0])).unwrap(), [vector(&[9.0, 12.0]), sums]);
    let columns = scan(inside()).with("scan_input_axes", ints(&[1])).with("scan_output_axes", ints(&[-1]));
    let sums = matrix(3, &[1.0, 3.0, 3.0, 7.0, 5.0, 11.0]);
    assert_eq!(run(model(columns.clone()), &inputs(&[0.0; 3])).unwrap(), [vector(&[3.0, 7.0, 11.0]), sums]);

    let mut network = Network::new(&Model::new(model(columns), 22)).unwrap();
    let start = vector(&[0.0; 3]);
    let cotangents = [vector(&[1.0, 2.0, 3.0]), matrix(3, &[1.0, 10.0, 2.0, 20.0, 3.0, 30.0])];
    let (_, gradients) = network.gradients(&[("start", &start), ("x", &x)], &cotangents, &["start", "x"], 0).unwrap();
    let by_x = matrix(3, &[12.0, 11.0, 24.0, 22.0, 36.0, 33.0]);
    assert_eq!(gradients, [Some(vector(&[12.0, 24.0, 36.0])), Some(by_x)]);

    let mut declared = inside();
    declared.outputs[1] = ValueInfo::tensor("t", DType::F64, SymbolicShape::known(&[2]));
    let nothing = [("start", vector(&[7.0, 8.0])), ("x", Tensor::new(vec![0, 2], Vec::<f64>::new()).unwrap())];
    let empty = Tensor::new(vec![0, 2], Vec::<f64>::new()).unwrap();
    assert_eq!(run(model(scan(declared)), &nothing).unwrap(), [vector(&[7.0, 8.0]), empty]);
    assert!(run(model(scan(inside())), &nothing).unwrap_err().contains("does not declare its outputs"));
}

#[test]
fn a_recurrent_network_written_as_scan_equals_the_operator() {
    let (time, batch, width, hidden) = (5, 2, 3, 4);
    let names = AttributeValue::Strings(vec![b"Relu".to_vec()]);
    let inside = graph(
        &["h", "e"],
        &["next", "next"],
        vec![
            Node::new("Gemm", ["e", "w", "b"], ["u"]).with("transB", AttributeValue::Int(1)),
            Node::new("Gemm", ["h", "r", "u"], ["v"]).with("transB", AttributeValue::Int(1)),
            Node::new("Relu", ["v"], ["next"]),
        ],
    );
    let scan = Node::new("Scan", ["h0", "x"], ["last", "all"])
        .with("num_scan_inputs", AttributeValue::Int(1))
        .with("body", body(inside));
    let mut scanned = graph(&["x"], &["all", "last"], vec![scan]);
    let mut whole = graph(
        &["x"],
        &["y", "y_h"],
        vec![Node::new("RNN", ["x", "w", "r", "b"], ["y", "y_h"]).with("activations", names)],
    );
    let (w, r, b) = (random(&[hidden, width], 1), random(&[hidden, hidden], 2), random(&[hidden], 3));
    let both: Vec<f64> = b.as_slice::<f64>().unwrap().iter().copied().chain([0.0; 4]).collect();
    let zeros = Tensor::new(vec![batch, hidden], vec![0.0; batch * hidden]).unwrap();
    whole.initializers = vec![
        ("w".into(), w.reshape(vec![1, hidden, width]).unwrap()),
        ("r".into(), r.reshape(vec![1, hidden, hidden]).unwrap()),
        ("b".into(), Tensor::new(vec![1, 2 * hidden], both).unwrap()),
    ];
    scanned.initializers = vec![("w".into(), w), ("r".into(), r), ("b".into(), b), ("h0".into(), zeros)];
    let x = random(&[time, batch, width], 4);
    let (dy, dlast) = (random(&[time, batch, hidden], 5), random(&[batch, hidden], 6));
    let mut results = Vec::new();
    for (model, inner) in [(scanned, vec![time, batch, hidden]), (whole, vec![time, 1, batch, hidden])] {
        let last = if inner.len() == 4 { vec![1, batch, hidden] } else { vec![batch, hidden] };
        let cotangents = [dy.reshape(inner).unwrap(), dlast.reshape(last).unwrap()];
        let mut network = Network::new(&Model::new(model, 22)).unwrap();
        let (outputs, gradients) = network.gradients(&[("x", &x)], &cotangents, &["x", "w", "r"], 0).unwrap();
        let all: Vec<Tensor> = outputs.into_iter().chain(gradients.into_iter().map(Option::unwrap)).collect();
        results.push(all.iter().flat_map(|tensor| tensor.as_slice::<f64>().unwrap().to_vec()).collect::<Vec<f64>>());
    }
    assert_eq!(results[0].len(), results[1].len());
    for (scanned, whole) in results[0].iter().zip(&results[1]) {
        assert!((scanned - whole).abs() < 1e-12, "{scanned} {whole}");
    }
}

#[test]
fn what_cannot_be_expanded_is_refused() {
    let empty = || graph(&[], &["x"], Vec::new());
    let choice =
        |then: Graph| Node::new("If", ["c"], ["y"]).with("then_branch", body(then)).with("else_branch", body(empty()));
    let given = [("c", Tensor::from_vec(vec![true, false])), ("x", vector(&[1.0]))];
    let model = |node: Node| graph(&["c", "x"], &["y"], vec![node]);
    let scan = |inputs: &[&str], count: i64| {
        Node::new("Scan", inputs.to_vec(), ["y"])
            .with("num_scan_inputs", AttributeValue::Int(count))
            .with("body", body(graph(&["p", "q"], &["p"], Vec::new())))
    };
    for (node, part) in [
        (choice(empty()), "expected one bool"),
        (choice(graph(&[], &[], Vec::new())), "outputs of the body"),
        (choice(graph(&["z"], &["z"], Vec::new())), "inputs of the body"),
        (choice(graph(&[], &["nobody"], Vec::new())), "reads `nobody`"),
        (choice(graph(&[], &["t"], vec![Node::new("Add", ["x", "nobody"], ["t"])])), "reads `nobody`"),
        (choice(graph(&[], &["t"], vec![Node::new("Sqrl", ["x"], ["t"])])), "Sqrl"),
        (Node::new("If", ["c"], ["y"]).with("then_branch", body(empty())), "`else_branch`: expected a graph"),
        (choice(empty()).with("then", AttributeValue::Int(1)), "`then`"),
        (scan(&["x", "x"], 3), "1 to 2"),
        (scan(&["x"], 1), "inputs of the body"),
        (scan(&["c", "x"], 2), "size 2 in dimension 0"),
        (scan(&["x", "x"], 1).with("scan_input_axes", AttributeValue::Ints(vec![1])), "a dimension of rank 1"),
        (scan(&["x", "x"], 1).with("scan_input_axes", AttributeValue::Ints(vec![0, 0])), "1 numbers"),
    ] {
        let error = run(model(node.clone()), &given).unwrap_err();
        assert!(error.contains(part), "{node:?}: {error}");
    }
    // A gradient past a condition that the same weight decides would be wrong.
    let keep = Node::new("Loop", ["", "go", "x"], ["y"]).with(
        "body",
        body(graph(
            &["i", "g", "v"],
            &["stop", "w"],
            vec![Node::new("Add", ["v", "v"], ["w"]), Node::new("Reshape", ["deciding", "shape"], ["stop"])],
        )),
    );
    let mut deciding = graph(&["x", "deciding", "shape"], &["y"], vec![keep]);
    deciding.initializers = vec![("go".into(), Tensor::scalar(true))];
    let shape = Tensor::from_vec(vec![1i64]);
    let mut network = Network::new(&Model::new(deciding, 22)).unwrap();
    let inputs = [("x", &vector(&[1.0])), ("deciding", &vector(&[0.0])), ("shape", &shape)];
    let error = network.gradients(&inputs, &[vector(&[1.0])], &["deciding"], 0).unwrap_err().to_string();
    assert!(error.contains("a gradient with respect to `deciding`"), "{error}");
    assert!(network.run(&inputs).unwrap_err().to_string().contains("expected one bool"));
}

/// `y = scale·x·x`, where `scale` is an attribute.
fn scaled() -> Function {
    let reference = AttributeValue::Reference { name: "scale".into(), kind: AttributeKind::Float };
    let mut function = Function {
        name: "Scaled".into(),
        domain: "own".into(),
        inputs: vec!["x".into(), "c".into()],
        outputs: vec!["y".into()],
        attributes: vec!["scale".into()],
        opset_imports: vec![OpsetImport::new("", 22)],
        ..Function::default()
    };
    function.nodes.push(Node::new("Gemm", ["x", "x", "c"], ["y"]).with("alpha", reference));
    function
}

#[test]
fn functions_take_attributes() {
    let call = |attributes: &[(&str, AttributeValue)], function: Function| {
        let node = attributes
            .iter()
            .fold(Node::new("Scaled", ["x"], ["y"]), |node, (name, value)| node.with(*name, value.clone()));
        let mut model = graph(&["x"], &["y"], vec![Node { domain: "own".into(), ..node }]);
        model.name = "caller".into();
        let mut model = Model::new(model, 22);
        model.opset_imports.push(OpsetImport::new("own", 1));
        model.functions.push(function);
        let result = Network::new(&model).and_then(|mut network| network.run(&[("x", &matrix(1, &[3.0]))]));
        result.map(|outputs| outputs[0].as_slice::<f64>().unwrap()[0]).map_err(|error| error.to_string())
    };
    let scale = |value: f32| ("scale", AttributeValue::Float(value));
    assert_eq!(call(&[scale(0.5)], scaled()), Ok(4.5));
    let mut optional = scaled();
    optional.attributes.clear();
    optional.attribute_defaults.push(Attribute::new("scale", AttributeValue::Float(2.0)));
    assert_eq!(call(&[], optional.clone()), Ok(18.0));
    assert_eq!(call(&[scale(0.5)], optional), Ok(4.5));
    assert!(call(&[], scaled()).unwrap_err().contains("needs attribute `scale`"));
    assert!(
        call(&[scale(1.0), ("more", AttributeValue::Int(1))], scaled())
            .unwrap_err()
            .contains("does not take attribute `more`")
    );
    assert!(call(&[("scale", AttributeValue::Int(1))], scaled()).unwrap_err().contains("not of the type"));
}

#[test]
fn a_condition_computed_in_the_body_is_followed_step_by_step() {
    // v doubles while it is below the limit.
    let inside = graph(
        &["i", "go", "v"],
        &["below", "w", "i"],
        vec![Node::new("Add", ["v", "v"], ["w"]), Node::new("Less", ["w", "limit"], ["below"])],
    );
    let node = Node::new("Loop", ["", "go", "start"], ["end", "steps"]).with("body", body(inside));
    let model = with(graph(&["start"], &["end", "steps"], vec![node]), "go", Tensor::scalar(true));
    let model = with(model, "limit", Tensor::scalar(100.0));
    let mut network = Network::new(&Model::new(model, 22)).unwrap();
    for (start, end, count) in [(1.0, 128.0, 7), (60.0, 120.0, 1), (3.0, 192.0, 6)] {
        let outputs = network.run(&[("start", &Tensor::scalar(start))]).unwrap();
        assert_eq!(outputs, [Tensor::scalar(end), Tensor::from_vec((0..count).collect::<Vec<i64>>())], "{start}");
    }
    network.set_weight("limit", &Tensor::scalar(10.0)).unwrap();
    let start = Tensor::scalar(1.0);
    assert_eq!(network.run(&[("start", &start)]).unwrap()[0], Tensor::scalar(16.0));
    let cotangents = [Tensor::scalar(1.0), Tensor::from_vec(vec![0i64; 4])];
    let error = network.gradients(&[("start", &start)], &cotangents, &["start"], 0).unwrap_err().to_string();
    assert!(error.contains("a gradient with respect to `start`, on which a condition depends,"), "{error}");
    // It never ends: 0 stays 0.
    let error = network.run(&[("start", &Tensor::scalar(0.0))]).unwrap_err().to_string();
    assert!(error.contains("more than 10000 iterations"), "{error}");
}

/// `y = c ? x·w : x + w`, each branch with its own `w`, and `z` = `x·v` three times over.
fn trainable() -> Model {
    let branch = |op: &str, out: &str, w: f64| {
        with(graph(&[], &[out], vec![Node::new(op, ["x", "w"], [out])]), "w", vector(&[w]))
    };
    let choice = Node::new("If", ["c"], ["y"])
        .with("then_branch", body(branch("Mul", "t", 2.0)))
        .with("else_branch", body(branch("Add", "e", 5.0)));
    let steps = graph(
        &["i", "go", "s"],
        &["on", "next"],
        vec![Node::new("Identity", ["go"], ["on"]), Node::new("Mul", ["s", "v"], ["next"])],
    );
    let repeated = Node::new("Loop", ["count", "", "y"], ["z"]).with("body", body(with(steps, "v", vector(&[3.0]))));
    let whole = graph(&["x", "c"], &["z"], vec![choice, repeated]);
    Model::new(with(whole, "count", Tensor::scalar(3i64)), 22)
}

#[test]
fn initializers_of_bodies_are_weights() {
    let model = trainable();
    let mut network = Network::new(&model).unwrap();
    assert_eq!(network.weights().map(|(name, _)| name).collect::<Vec<_>>(), ["w", "y/w", "v"]);
    let x = vector(&[4.0]);
    // z = y·v³, with y = x·w or x + w.
    for (condition, z, by_then, by_else, by_v) in
        [(true, 216.0, Some(108.0), None, 216.0), (false, 243.0, None, Some(27.0), 243.0)]
    {
        let (outputs, found) = network
            .gradients(&[("x", &x), ("c", &Tensor::scalar(condition))], &[vector(&[1.0])], &["w", "y/w", "v"], 0)
            .unwrap();
        assert_eq!(outputs[0], vector(&[z]));
        assert_eq!(found, [by_then, by_else, Some(by_v)].map(|by| by.map(|by| vector(&[by]))), "{condition}");
    }
    network.set_weight("y/w", &vector(&[6.0])).unwrap();
    let saved = network.model();
    let mut read = Network::new(&Model::decode(&saved.encode(), None).unwrap()).unwrap();
    assert_eq!(read.weight("y/w").unwrap(), vector(&[6.0]));
    assert_eq!(read.run(&[("x", &x), ("c", &Tensor::scalar(false))]).unwrap()[0], vector(&[270.0]));
}

#[test]
fn initializers_of_bodies_are_trained() {
    let (x, condition, target) = (vector(&[1.0]), Tensor::scalar(true), vector(&[50.0]));
    let optimizer = Optimizer::Sgd(Sgd { learning_rate: 1e-5 });
    let options = || TrainingOptions::new(Loss::squared(), optimizer.clone());
    let given = [("x", &x), ("c", &condition), ("target", &target)];
    let mut training = Training::new(&trainable(), options()).unwrap();
    // (y·v³ − 50)² at y = 2, v = 3.
    assert_eq!(training.step(&given).unwrap(), 16.0);
    let weights = |training: &Training| {
        let network = Network::new(&training.model()).unwrap();
        ["w", "y/w", "v"].map(|name| network.weight(name).unwrap().as_slice::<f64>().unwrap()[0])
    };
    let found = weights(&training);
    let expected = [2.0 - 1e-5 * 8.0 * 27.0, 5.0, 3.0 - 1e-5 * 8.0 * 54.0];
    assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-12), "{found:?}");
    let mut frozen = Training::new(&trainable(), options().freeze("v")).unwrap();
    frozen.step(&given).unwrap();
    assert_eq!(weights(&frozen)[2], 3.0);
}

/// `levels` functions, each of which calls the next `calls` times; the last one has one node.
fn calling(levels: usize, calls: usize) -> Model {
    let own = |name: String, from: &str, to: String| Node {
        domain: "own".into(),
        ..Node::new(name, [from.to_owned()], [to])
    };
    let mut model = graph(&["x"], &["y"], vec![own("F0".into(), "x", "y".into())]);
    model.name = "caller".into();
    let mut model = Model::new(model, 22);
    model.opset_imports.push(OpsetImport::new("own", 1));
    for level in 0..levels {
        let nodes = match level + 1 == levels {
            true => vec![Node::new("Relu", ["x"], ["y0"])],
            false => (0..calls).map(|call| own(format!("F{}", level + 1), "x", format!("y{call}"))).collect(),
        };
        model.functions.push(Function {
            name: format!("F{level}"),
            domain: "own".into(),
            inputs: vec!["x".into()],
            outputs: vec!["y0".into()],
            opset_imports: vec![OpsetImport::new("", 22), OpsetImport::new("own", 1)],
            nodes,
            ..Function::default()
        });
    }
    model
}

#[test]
fn functions_that_call_each_other_too_often_are_refused() {
    let new = |levels, calls| Network::new(&calling(levels, calls)).map_err(|error| error.to_string());
    let outputs = new(4, 10).unwrap().run(&[("x", &vector(&[-1.0, 2.0]))]).unwrap();
    assert_eq!(outputs, [vector(&[0.0, 2.0])]);
    for (levels, calls) in [(7, 10), (15, 10), (15, 1000)] {
        let error = new(levels, calls).err().unwrap_or_default();
        assert!(error.contains("function `F") && error.contains("more than 500000 nodes"), "{levels}: {error}");
    }
    let error = new(17, 1).err().unwrap_or_default();
    assert!(error.contains("function `F16` is called more than 16 deep"), "{error}");
    let mut endless = calling(2, 1);
    endless.functions[1].nodes = endless.functions[0].nodes.clone();
    let error = Network::new(&endless).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("function `F1` is called more than 16 deep"), "{error}");
}

#[test]
fn long_names_and_lists_count_as_nodes() {
    // Ten thousand calls of a function whose node has a name of 100,000 letters.
    let mut model = calling(3, 100);
    Network::new(&model).unwrap();
    model.functions[2].nodes[0].name = "n".repeat(100_000);
    let error = Network::new(&model).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("more than 500000 nodes"), "{}", error.len());
    let body_of = |name: &str| {
        body(graph(
            &["i", "go", "v"],
            &["go", "w"],
            vec![Node { name: name.into(), ..Node::new("Relu", ["v"], ["w"]) }],
        ))
    };
    for (name, refused) in [("n".to_owned(), false), ("n".repeat(100_000), true)] {
        let node = Node::new("Loop", ["trip", "", "x"], ["y"]).with("body", body_of(&name));
        let model = with(graph(&["x"], &["y"], vec![node]), "trip", Tensor::scalar(2000i64));
        match run(model, &[("x", vector(&[3.0]))]) {
            Ok(outputs) => assert!(!refused && outputs == [vector(&[3.0])]),
            Err(error) => assert!(refused && error.contains("more than 500000 nodes"), "{}", &error[..200]),
        }
    }
}

#[test]
fn loops_of_many_nodes_are_refused() {
    let mut nodes: Vec<Node> =
        (0..999).map(|i| Node::new("Relu", [format!("v{i}")], [format!("v{}", i + 1)])).collect();
    nodes.push(Node::new("Identity", ["v999"], ["w"]));
    let inside = body(graph(&["i", "go", "v0"], &["go", "w"], nodes.clone()));
    let step = body(graph(&["v0", "e"], &["w"], nodes));
    for (trip, refused) in [(3, false), (600, true)] {
        let node = Node::new("Loop", ["trip", "", "x"], ["y"]).with("body", inside.clone());
        let repeated = with(graph(&["x"], &["y"], vec![node]), "trip", Tensor::scalar(trip as i64));
        let node = Node::new("Scan", ["x", "all"], ["y"]).with("body", step.clone());
        let scanned = graph(&["x", "all"], &["y"], vec![node.with("num_scan_inputs", AttributeValue::Int(1))]);
        for (model, all) in [(repeated, None), (scanned, Some(vector(&vec![0.0; trip])))] {
            let mut inputs = vec![("x", vector(&[3.0]))];
            inputs.extend(all.map(|all| ("all", all)));
            match run(model, &inputs) {
                Ok(outputs) => assert!(!refused && outputs == [vector(&[3.0])], "{trip}"),
                Err(error) => assert!(refused && error.contains("more than 500000 nodes"), "{trip}: {error}"),
            }
        }
    }
}
