//! Damaged and hostile files: ONNX models with bytes changed are refused, or give a graph that runs or fails cleanly.
//! Never a panic, never a hang, and with 64 MiB allowed for the values of a graph never more than a gigabyte.
//!
//! The test takes as many of 100,000 cases as fit in ten seconds. `PERCEPT_MUTATIONS=100000` takes that many (`make mutations`),
//! `PERCEPT_MUTATION=17` that one alone.
#![allow(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use percept::engine::ops::OPS;
use percept::engine::{Network, infer_shapes};
use percept::onnx::{AttributeValue, Function, Graph, Model, Node, OpsetImport, ValueInfo, decode_tensor};
use percept::tensor::{DType, Dim, SymbolicShape, Tensor};

#[path = "common/onnx_suite.rs"]
mod suite;

use suite::{Suite, Value, is_covered, operators_of};

const SEED: u64 = 7;
const TIME: Duration = Duration::from_secs(10);
/// A case that takes longer hangs.
const TIME_OF_ONE: Duration = Duration::from_secs(60);
/// Bytes that the program may hold.
const MEMORY: usize = 1 << 30;
/// Bytes that the engine is allowed to plan for one graph.
const GRAPH_MEMORY: usize = 1 << 26;
/// Elements of an input that is made up.
const MAX_INPUT: usize = 1 << 12;
/// Models of the suite with more bytes are left out: what is in them is mostly numbers.
const MAX_MODEL: usize = 4000;

/// The system's allocator with a bound: beyond it, memory is refused, and the program ends.
struct Bounded;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static PEAK_CASE: AtomicU64 = AtomicU64::new(0);
static CASE: AtomicU64 = AtomicU64::new(0);

impl Bounded {
    fn admit(&self, size: usize) -> bool {
        let live = LIVE.fetch_add(size, Ordering::Relaxed) + size;
        if live > MEMORY {
            LIVE.fetch_sub(size, Ordering::Relaxed);
            let mut text = [0u8; 96];
            let mut rest = &mut text[..];
            // Nothing may allocate here, and nothing can be done when it does not fit.
            let _ = writeln!(rest, "case {}: {size} bytes asked for", CASE.load(Ordering::Relaxed));
            let unused = rest.len();
            let _ = std::io::stderr().write_all(&text[..96 - unused]);
            return false;
        }
        if PEAK.fetch_max(live, Ordering::Relaxed) < live {
            PEAK_CASE.store(CASE.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        true
    }
}

// SAFETY: every call is handed to the system's allocator with the same arguments, or answered with null, which the
// contract allows.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !self.admit(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !self.admit(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above; the pointer came from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;

/// A file and inputs that fit it.
struct Seed {
    name: String,
    bytes: Vec<u8>,
    model: Model,
    inputs: Vec<Tensor>,
}

/// How far a case came.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Reached {
    NoModel,
    NoNetwork,
    DidNotRun,
    Ran,
    HasGradients,
}

#[test]
fn damaged_files_are_errors_or_graphs() {
    let corpus = corpus();
    assert!(corpus.len() > 20, "only {} files to start from", corpus.len());
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a whole number"));
    let (only, count) = (number("PERCEPT_MUTATION"), number("PERCEPT_MUTATIONS"));
    let range = match only {
        Some(case) => case..case + 1,
        None => 0..count.unwrap_or(100_000),
    };
    let until = Instant::now() + if count.or(only).is_some() { Duration::from_secs(100_000_000) } else { TIME };
    let panics: Arc<Mutex<BTreeMap<String, Vec<u64>>>> = Arc::default();
    let (noted, hook) = (panics.clone(), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map_or_else(String::new, ToString::to_string);
        let payload = panic.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref().copied());
        let text = text.unwrap_or_default().lines().next().unwrap_or_default();
        if let Ok(mut panics) = noted.lock() {
            panics.entry(format!("{place}: {text}")).or_default().push(CASE.load(Ordering::Relaxed));
        }
    }));
    let done = Arc::new(AtomicBool::new(false));
    let finished = done.clone();
    let worker = std::thread::spawn(move || {
        let mut reached: BTreeMap<Reached, u64> = BTreeMap::new();
        for case in range {
            if Instant::now() > until {
                break;
            }
            CASE.store(case, Ordering::Relaxed);
            let mut random = Random { state: mix(SEED, case) };
            let seed = &corpus[random.below(corpus.len())];
            // Bytes at random mostly break the file; changes to what it says reach what lies behind.
            let (bytes, inputs) = match case % 2 {
                0 => (change_bytes(&seed.bytes, &corpus, &mut random), seed.inputs.clone()),
                _ => (change_model(seed.model.clone(), &mut random).encode(), change_inputs(&seed.inputs, &mut random)),
            };
            if only.is_some() {
                print(&format!("case {case}: {} with {} bytes\n", seed.name, bytes.len()));
                print(&format!("{:?}\n", Model::decode(&bytes, None)));
            }
            let outcome = catch_unwind(AssertUnwindSafe(|| attempt(&bytes, &inputs)));
            *reached.entry(outcome.unwrap_or(Reached::NoModel)).or_default() += 1;
        }
        finished.store(true, Ordering::Relaxed);
        reached
    });
    let mut current = (u64::MAX, Instant::now());
    while !done.load(Ordering::Relaxed) && !worker.is_finished() {
        std::thread::sleep(Duration::from_millis(20));
        let case = CASE.load(Ordering::Relaxed);
        if case != current.0 {
            current = (case, Instant::now());
        }
        assert!(current.1.elapsed() < TIME_OF_ONE, "case {case} takes longer than {TIME_OF_ONE:?}");
    }
    let reached = worker.join().expect("panics are caught");
    std::panic::set_hook(hook);
    let total: u64 = reached.values().sum();
    let peak = PEAK.load(Ordering::Relaxed) >> 20;
    let largest = PEAK_CASE.load(Ordering::Relaxed);
    print(&format!("{total} damaged files, at most {peak} MiB (case {largest}): {reached:?}\n"));
    let panics = panics.lock().expect("nobody panics here");
    let list = panics.iter().map(|(place, cases)| format!("{} times, first case {}: {place}", cases.len(), cases[0]));
    assert!(panics.is_empty(), "panics:\n{}", list.collect::<Vec<_>>().join("\n"));
    if only.is_none() {
        for stage in [Reached::NoModel, Reached::NoNetwork, Reached::DidNotRun, Reached::HasGradients] {
            assert!(reached.contains_key(&stage), "no case came to {stage:?} and not beyond");
        }
    }
}

#[test]
fn a_graph_that_needs_more_than_it_may_have_is_refused() {
    let mut graph = Graph::new("wide");
    let scalar = SymbolicShape::known(&[1]);
    graph.inputs.push(ValueInfo::tensor("x", DType::F32, scalar));
    graph.outputs.push(ValueInfo::tensor("y", DType::F32, SymbolicShape::Unranked));
    graph.initializers.push(("shape".into(), Tensor::from_vec(vec![1000i64, 100])));
    graph.nodes.push(Node::new("Expand", ["x", "shape"], ["wide"]));
    graph.nodes.push(Node::new("Relu", ["wide"], ["y"]));
    let x = Tensor::from_vec(vec![1.0f32]);
    // Two values of 400,000 bytes.
    for (memory, part) in
        [(300_000, "`wide` would have shape [1000, 100]"), (700_000, "its values take more"), (900_000, "")]
    {
        let mut network = Network::new(&Model::new(graph.clone(), 17)).expect("it is a model");
        network.set_memory(memory);
        match network.run(&[("x", &x)]) {
            Ok(outputs) => assert!(part.is_empty() && outputs[0].len() == 100_000, "{memory}"),
            Err(error) => assert!(!part.is_empty() && error.to_string().contains(part), "{memory}: {error}"),
        }
    }
}

#[test]
fn a_graph_is_bounded_also_where_nobody_says_so() {
    let mut graph = Graph::new("vast");
    graph.inputs.push(ValueInfo::tensor("x", DType::F32, SymbolicShape::known(&[1])));
    graph.outputs.push(ValueInfo::tensor("y", DType::F32, SymbolicShape::Unranked));
    graph.initializers.push(("shape".into(), Tensor::from_vec(vec![1i64 << 31])));
    graph.nodes.push(Node::new("Expand", ["x", "shape"], ["y"]));
    let mut network = Network::new(&Model::new(graph, 17)).expect("it is a model");
    let error = network.run(&[("x", &Tensor::from_vec(vec![1.0f32]))]).expect_err("it takes 8 GiB").to_string();
    assert!(error.contains("more than the 4294967296 bytes") && error.contains("`set_memory`"), "{error}");
}

/// Small files that stand for much: each is refused, or runs, in the memory and the time that all others have.
#[test]
fn small_files_that_stand_for_much_are_harmless() {
    let empty = |shape: &[usize]| Tensor::new(shape.to_vec(), Vec::<f32>::new()).expect("it has no elements");
    let of = |node: Node, initializers: &[(&str, Tensor)]| {
        let mut graph = Graph::new("empty");
        graph.initializers = initializers.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone())).collect();
        graph.outputs.push(ValueInfo::tensor("y", DType::F32, SymbolicShape::Unranked));
        graph.nodes.push(node);
        let mut model = Model::new(graph, 17);
        model.opset_imports.push(OpsetImport::new("ai.percept", 1));
        model
    };
    let pool = || Node::new("AveragePool", ["x"], ["y"]).with("kernel_shape", AttributeValue::Ints(vec![1, 1]));
    let conv = || Node::new("Conv", ["x", "w"], ["y"]);
    let own = |op_type: &str| in_domain("ai.percept", Node::new(op_type, ["x", "t"], ["y"]));
    let none = |shape: &[usize]| Tensor::new(shape.to_vec(), Vec::<i64>::new()).expect("it has no elements");
    // As large as a value may be, were the empty dimension one; and larger.
    let cases = [
        (of(pool(), &[("x", empty(&[0, 1, 1 << 12, 1 << 12]))]), Reached::HasGradients),
        (of(pool(), &[("x", empty(&[0, 1, 1 << 17, 1 << 17]))]), Reached::DidNotRun),
        (
            of(conv(), &[("x", empty(&[0, 1 << 14, 32, 32])), ("w", empty(&[0, 1 << 14, 32, 32]))]),
            Reached::HasGradients,
        ),
        (of(conv(), &[("x", empty(&[0, 1, 3, 3])), ("w", empty(&[0, 1, 1 << 17, 1 << 17]))]), Reached::DidNotRun),
        (of(own("CrossEntropy"), &[("x", empty(&[0, 1 << 24])), ("t", none(&[0]))]), Reached::HasGradients),
        (of(own("CrossEntropy"), &[("x", empty(&[0, 1 << 40])), ("t", none(&[0]))]), Reached::DidNotRun),
        (of(own("Ctc"), &[("x", empty(&[0, 1 << 12, 1 << 12])), ("t", none(&[0, 1 << 22]))]), Reached::HasGradients),
        (of(own("Ctc"), &[("x", empty(&[0, 1 << 17, 1 << 17])), ("t", none(&[0, 2]))]), Reached::DidNotRun),
        (calls(15, 10), Reached::NoNetwork),
        (calls(4, 10), Reached::HasGradients),
        (turns(2000, 10_000), Reached::DidNotRun),
        (turns(2000, i64::MAX), Reached::DidNotRun),
        (turns(20, 50), Reached::HasGradients),
        (choices(5_000), Reached::HasGradients),
    ];
    for (index, (model, expected)) in cases.iter().enumerate() {
        let begun = Instant::now();
        let reached = attempt(&model.encode(), &[Tensor::from_vec(vec![1.0f32, -1.0])]);
        assert_eq!(reached, *expected, "case {index}");
        assert!(begun.elapsed() < TIME, "case {index} took {:?}", begun.elapsed());
    }
}

/// So many values, each chosen among two bodies by If.
fn choices(count: usize) -> Model {
    let value = |name: &str| ValueInfo::tensor(name, DType::F32, SymbolicShape::Unranked);
    let choose = |index: usize| {
        let branch = |op_type: &str| {
            let mut body = Graph::new("body");
            body.outputs.push(value("b"));
            body.nodes.push(Node::new(op_type, [format!("v{index}")], ["b"]));
            AttributeValue::Graph(body)
        };
        let node = Node::new("If", ["first"], [format!("v{}", index + 1)]);
        node.with("then_branch", branch("Relu")).with("else_branch", branch("Neg"))
    };
    let mut graph = Graph::new("choices");
    graph.inputs.push(ValueInfo::tensor("v0", DType::F32, SymbolicShape::known(&[2])));
    graph.outputs.push(value(&format!("v{count}")));
    graph.initializers.push(("first".into(), Tensor::scalar(true)));
    graph.nodes = (0..count).map(choose).collect();
    Model::new(graph, 17)
}

fn in_domain(domain: &str, mut node: Node) -> Node {
    node.domain = domain.into();
    node
}

/// `levels` functions, each of which calls the next `count` times.
fn calls(levels: usize, count: usize) -> Model {
    let call = |level: usize, output: String| match level < levels {
        true => in_domain("own", Node::new(format!("F{level}"), ["x".to_owned()], [output])),
        false => Node::new("Relu", ["x".to_owned()], [output]),
    };
    let mut graph = Graph::new("calls");
    graph.inputs.push(ValueInfo::tensor("x", DType::F32, SymbolicShape::known(&[2])));
    graph.outputs.push(ValueInfo::tensor("y", DType::F32, SymbolicShape::Unranked));
    graph.nodes.push(call(0, "y".into()));
    let mut model = Model::new(graph, 17);
    let imports = [OpsetImport::new("", 17), OpsetImport::new("own", 1)];
    model.opset_imports.push(imports[1].clone());
    for level in 0..levels {
        let mut function = Function::default();
        (function.name, function.domain) = (format!("F{level}"), "own".into());
        (function.inputs, function.outputs) = (vec!["x".into()], vec!["y0".into()]);
        function.opset_imports = imports.to_vec();
        function.nodes = (0..count).map(|index| call(level + 1, format!("y{index}"))).collect();
        model.functions.push(function);
    }
    model
}

/// A loop of `count` turns around `nodes` nodes.
fn turns(nodes: usize, count: i64) -> Model {
    let value = |name: &str, dtype| ValueInfo::tensor(name, dtype, SymbolicShape::Unranked);
    let mut body = Graph::new("body");
    body.inputs = vec![value("i", DType::I64), value("on", DType::Bool), value("v0", DType::F32)];
    body.outputs = vec![value("on", DType::Bool), value(&format!("v{nodes}"), DType::F32)];
    body.nodes = (0..nodes).map(|i| Node::new("Relu", [format!("v{i}")], [format!("v{}", i + 1)])).collect();
    let mut graph = Graph::new("turns");
    graph.inputs.push(ValueInfo::tensor("x", DType::F32, SymbolicShape::known(&[2])));
    graph.outputs.push(value("y", DType::F32));
    graph.initializers.push(("count".into(), Tensor::scalar(count)));
    graph.nodes.push(Node::new("Loop", ["count", "", "x"], ["y"]).with("body", AttributeValue::Graph(body)));
    Model::new(graph, 17)
}

/// Reads, runs and differentiates what it can.
fn attempt(bytes: &[u8], inputs: &[Tensor]) -> Reached {
    let Ok(model) = Model::decode(bytes, None) else { return Reached::NoModel };
    let Ok(mut network) = Network::new(&model) else { return Reached::NoNetwork };
    network.set_memory(GRAPH_MEMORY);
    // An error or types; that it comes to an end is what counts.
    let _ = infer_shapes(&model);
    let ports: Vec<&ValueInfo> = model.graph.free_inputs().collect();
    let made: Vec<Tensor> = ports
        .iter()
        .enumerate()
        .filter_map(|(index, port)| inputs.get(index).filter(|given| fits(port, given)).cloned().or_else(|| make(port)))
        .collect();
    if made.len() < ports.len() {
        return Reached::DidNotRun;
    }
    let given: Vec<(&str, &Tensor)> = ports.iter().map(|port| port.name.as_str()).zip(&made).collect();
    let Ok(outputs) = network.run(&given) else { return Reached::DidNotRun };
    let floats = given.iter().filter(|(_, tensor)| matches!(tensor.dtype(), DType::F32 | DType::F64));
    let mut wrt: Vec<String> = floats.map(|(name, _)| (*name).to_owned()).collect();
    wrt.extend(network.weights().map(|(name, _)| name.to_owned()));
    let wrt: Vec<&str> = wrt.iter().map(String::as_str).collect();
    match network.gradients(&given, &outputs, &wrt, 1) {
        Ok(_) => Reached::HasGradients,
        Err(_) => Reached::Ran,
    }
}

fn fits(port: &ValueInfo, given: &Tensor) -> bool {
    port.dtype == Some(given.dtype()) && port.shape.accepts(&given.symbolic_shape()).is_ok()
}

/// An input of zeros for a port, unless it is too large; free sizes are 2.
fn make(port: &ValueInfo) -> Option<Tensor> {
    let sizes = port.shape.dims()?.iter().map(|dim| dim.known().unwrap_or(2)).collect::<Vec<_>>();
    let len = sizes.iter().try_fold(1usize, |len, size| len.checked_mul(*size))?;
    if len > MAX_INPUT { None } else { Tensor::zeros(port.dtype?, sizes).ok() }
}

/// The small models of covered operators in ONNX's suite, the files of tests/data/onnx, and some made here.
fn corpus() -> Vec<Seed> {
    let suite = Suite::open();
    let mut corpus = made();
    for name in ["everything.onnx", "linear.onnx", "sequence.onnx"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/onnx").join(name);
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let model = Model::load(&path).expect("it is a model");
        corpus.push(Seed { name: name.into(), bytes, model, inputs: Vec::new() });
    }
    for test in &suite.tests {
        let bytes = suite.model(test);
        let Ok(model) = Model::decode(bytes, None) else { continue };
        if bytes.len() > MAX_MODEL || !operators_of(&model).iter().all(|name| is_covered(name)) {
            continue;
        }
        let tensor = |value: &Value| match value {
            Value::Tensor(piece) => decode_tensor(suite.bytes(*piece)).ok(),
            Value::Other(_) => None,
        };
        let inputs: Option<Vec<Tensor>> = test.inputs.iter().map(tensor).collect();
        corpus.extend(inputs.map(|inputs| Seed { name: test.name.clone(), bytes: bytes.to_vec(), model, inputs }));
    }
    corpus
}

/// Several nodes in a row, and sizes that are computed: what single operators don't have.
fn made() -> Vec<Seed> {
    let tensor = |shape: &[usize]| {
        let len = shape.iter().product::<usize>();
        Tensor::new(shape.to_vec(), (0..len).map(|i| i as f32 * 0.125 - 0.5).collect::<Vec<_>>()).expect("it fits")
    };
    let free = |name: &str, size: usize| {
        ValueInfo::tensor(name, DType::F32, SymbolicShape::Ranked(vec![Dim::Symbol("N".into()), Dim::Known(size)]))
    };
    let seed = |name: &str, graph: Graph, inputs: Vec<Tensor>| {
        let model = Model::new(graph, 17);
        Seed { name: name.into(), bytes: model.encode(), model, inputs }
    };
    let mut mlp = Graph::new("mlp");
    mlp.inputs.push(free("x", 4));
    mlp.outputs.push(free("y", 2));
    for (name, shape) in [("w1", &[3, 4][..]), ("b1", &[3]), ("w2", &[2, 3]), ("b2", &[2])] {
        mlp.initializers.push((name.into(), tensor(shape)));
    }
    let gemm =
        |inputs: [&str; 3], output: &str| Node::new("Gemm", inputs, [output]).with("transB", AttributeValue::Int(1));
    mlp.nodes.extend([
        gemm(["x", "w1", "b1"], "h"),
        Node::new("Relu", ["h"], ["r"]),
        gemm(["r", "w2", "b2"], "s"),
        Node::new("Add", ["s", "b2"], ["y"]),
    ]);
    let mut sizes = Graph::new("sizes");
    sizes.inputs.push(free("x", 6));
    sizes.inputs.push(ValueInfo::tensor("shape", DType::I64, SymbolicShape::known(&[2])));
    sizes.outputs.push(ValueInfo::tensor("y", DType::F32, SymbolicShape::Unranked));
    sizes.initializers.push(("two".into(), Tensor::from_vec(vec![1i64, 0])));
    sizes.nodes.extend([
        Node::new("Add", ["shape", "two"], ["wanted"]),
        Node::new("Reshape", ["x", "wanted"], ["t"]),
        Node::new("Relu", ["t"], ["y"]),
    ]);
    let body = |nodes: Vec<Node>, inputs: &[(&str, DType)], outputs: &[(&str, DType)]| {
        let ports = |list: &[(&str, DType)]| -> Vec<ValueInfo> {
            list.iter().map(|(name, dtype)| ValueInfo::tensor(*name, *dtype, SymbolicShape::Unranked)).collect()
        };
        let mut graph = Graph::new("body");
        (graph.nodes, graph.inputs, graph.outputs) = (nodes, ports(inputs), ports(outputs));
        graph
    };
    let mut turns = Graph::new("turns");
    turns.inputs.push(free("x", 3));
    turns.outputs.push(ValueInfo::tensor("y", DType::F32, SymbolicShape::Unranked));
    turns.outputs.push(ValueInfo::tensor("all", DType::F32, SymbolicShape::Unranked));
    turns.initializers.push(("count".into(), Tensor::scalar(3i64)));
    turns.initializers.push(("go".into(), Tensor::scalar(true)));
    let step = vec![
        Node::new("Add", ["state", "x"], ["next"]),
        Node::new("Relu", ["next"], ["seen"]),
        Node::new("Identity", ["on"], ["still"]),
    ];
    let once = body(
        step,
        &[("i", DType::I64), ("on", DType::Bool), ("state", DType::F32)],
        &[("still", DType::Bool), ("next", DType::F32), ("seen", DType::F32)],
    );
    let then = body(vec![Node::new("Relu", ["end"], ["t"])], &[], &[("t", DType::F32)]);
    let otherwise = body(vec![Node::new("Add", ["end", "x"], ["e"])], &[], &[("e", DType::F32)]);
    turns.nodes.extend([
        Node::new("Loop", ["count", "go", "x"], ["end", "all"]).with("body", AttributeValue::Graph(once)),
        Node::new("If", ["go"], ["y"])
            .with("then_branch", AttributeValue::Graph(then))
            .with("else_branch", AttributeValue::Graph(otherwise)),
    ]);
    vec![
        seed("turns", turns, vec![tensor(&[2, 3])]),
        seed("mlp", mlp, vec![tensor(&[5, 4])]),
        seed("sizes", sizes, vec![tensor(&[2, 6]), Tensor::from_vec(vec![2i64, 4])]),
    ]
}

/// Numbers at the edges.
fn striking(random: &mut Random) -> i64 {
    const NUMBERS: [i64; 16] =
        [0, 1, -1, 2, 3, -2, 7, 64, 1000, 65536, 1 << 20, i32::MAX as i64, 1 << 31, 1 << 40, i64::MAX, i64::MIN];
    match random.below(4) {
        0 => random.below(8) as i64 - 3,
        1 => (random.next() >> random.below(64)) as i64,
        _ => NUMBERS[random.below(NUMBERS.len())],
    }
}

/// One to three changes to what a model says.
fn change_model(mut model: Model, random: &mut Random) -> Model {
    const FLOATS: [f32; 8] = [0.0, -1.0, 1e30, -1e30, f32::NAN, f32::INFINITY, 1e-40, 0.5];
    for _ in 0..1 + random.below(3) {
        let kind = random.below(11);
        let graph = &mut model.graph;
        if graph.nodes.is_empty() {
            break;
        }
        let at = random.below(graph.nodes.len());
        let others = graph.nodes[random.below(graph.nodes.len())].clone();
        let node = &mut graph.nodes[at];
        match kind {
            0..=2 if !node.attributes.is_empty() => {
                let at = random.below(node.attributes.len());
                match &mut node.attributes[at].value {
                    AttributeValue::Int(value) => *value = striking(random),
                    AttributeValue::Float(value) => *value = FLOATS[random.below(FLOATS.len())],
                    AttributeValue::Ints(values) if !values.is_empty() => match random.below(4) {
                        0 => values.truncate(random.below(values.len())),
                        1 => values.push(striking(random)),
                        _ => {
                            let at = random.below(values.len());
                            values[at] = striking(random);
                        }
                    },
                    AttributeValue::Tensor(tensor) => *tensor = change_tensor(tensor, random),
                    _ => drop(node.attributes.remove(at)),
                }
            }
            3 => {
                let entry = &OPS[random.below(OPS.len())];
                (node.op_type, node.domain) = (entry.op_type.into(), entry.domain.into());
            }
            4 => drop(node.inputs.pop()),
            5 => {
                if let Some(name) = others.inputs.first() {
                    node.inputs.push(name.clone());
                }
            }
            6 if !node.inputs.is_empty() => {
                let at = random.below(node.inputs.len());
                node.inputs[at] = if random.below(2) == 0 { String::new() } else { node.inputs[0].clone() };
            }
            7 if random.below(2) == 0 => drop(node.outputs.pop()),
            7 => node.outputs.push(format!("more{}", node.outputs.len())),
            8 if !graph.initializers.is_empty() => {
                let at = random.below(graph.initializers.len());
                let changed = change_tensor(&graph.initializers[at].1, random);
                graph.initializers[at].1 = changed;
            }
            9 if !graph.inputs.is_empty() => {
                let at = random.below(graph.inputs.len());
                let port = &mut graph.inputs[at];
                match random.below(4) {
                    0 => port.dtype = Some(DType::ALL[random.below(DType::ALL.len())]),
                    1 => port.shape = SymbolicShape::Unranked,
                    _ => {
                        let mut dims = port.shape.dims().unwrap_or_default().to_vec();
                        match random.below(3) {
                            0 => drop(dims.pop()),
                            1 => dims.push(Dim::Known(random.below(4))),
                            _ if dims.is_empty() => {}
                            _ => {
                                let at = random.below(dims.len());
                                dims[at] = usize::try_from(striking(random)).map_or(Dim::Any, Dim::Known);
                            }
                        }
                        port.shape = SymbolicShape::Ranked(dims);
                    }
                }
            }
            10 => model.opset_imports.iter_mut().for_each(|import| import.version = 6 + random.below(22) as i64),
            _ => {}
        }
    }
    model
}

/// Another value, shape or type in the place of a small tensor.
fn change_tensor(tensor: &Tensor, random: &mut Random) -> Tensor {
    let shape = tensor.shape().to_vec();
    let shape_len = shape.len();
    let changed = match random.below(7) {
        // Empty, but for one dimension of any size.
        3 if shape.len() >= 2 => {
            let (mut shape, at) = (shape, random.below(shape_len));
            shape[at] = 0;
            let other = (at + 1 + random.below(shape_len - 1)) % shape_len;
            shape[other] = 1 << random.below(48);
            Tensor::zeros(tensor.dtype(), shape).ok()
        }
        0 => Tensor::zeros(tensor.dtype(), shape.into_iter().take(1).collect()).ok(),
        1 => Tensor::zeros(DType::ALL[random.below(DType::ALL.len())], shape).ok(),
        2 => tensor.reshape(vec![tensor.len()]).ok(),
        _ => match tensor.as_slice::<i64>() {
            Ok(values) if !values.is_empty() => {
                let mut values = values.to_vec();
                let at = random.below(values.len());
                values[at] = striking(random);
                Tensor::new(shape, values).ok()
            }
            _ => Tensor::zeros(tensor.dtype(), shape).ok(),
        },
    };
    changed.filter(|changed| changed.len() <= MAX_INPUT).unwrap_or_else(|| tensor.clone())
}

fn change_inputs(inputs: &[Tensor], random: &mut Random) -> Vec<Tensor> {
    let change = |input: &Tensor| if random.below(4) == 0 { change_tensor(input, random) } else { input.clone() };
    inputs.iter().map(change).collect()
}

/// One to four changes to the bytes.
fn change_bytes(bytes: &[u8], corpus: &[Seed], random: &mut Random) -> Vec<u8> {
    const STRIKING: [u8; 8] = [0, 1, 2, 0x7f, 0x80, 0xff, 8, 0x40];
    let mut bytes = bytes.to_vec();
    for _ in 0..1 + random.below(4) {
        if bytes.is_empty() {
            break;
        }
        let at = random.below(bytes.len());
        let len = (1 + random.below(16)).min(bytes.len() - at);
        match random.below(18) {
            0..=8 if random.below(2) == 0 => bytes[at] ^= 1 << random.below(8),
            0..=8 => bytes[at] = bytes[at].wrapping_add(1 + random.below(3) as u8),
            9 => bytes[at] = random.next() as u8,
            10 => bytes[at] = STRIKING[random.below(STRIKING.len())],
            11 => drop(bytes.drain(at..at + len)),
            12 => bytes.extend_from_within(at..at + len),
            13 => {
                let copy = bytes[at..at + len].to_vec();
                bytes.splice(at..at, copy);
            }
            14 => {
                // A number of up to 64 bits, as protobuf writes it.
                let mut number = random.next() >> random.below(64);
                let mut digits = Vec::new();
                while number >= 0x80 {
                    digits.push(number as u8 | 0x80);
                    number >>= 7;
                }
                digits.push(number as u8);
                bytes.splice(at..at + 1, digits);
            }
            15 => {
                let other = &corpus[random.below(corpus.len())].bytes;
                let from = random.below(other.len());
                let piece = &other[from..(from + len).min(other.len())];
                bytes.splice(at..at + len, piece.iter().copied());
            }
            _ => {
                // Names and operators for one another.
                let other = random.below(bytes.len());
                bytes.swap(at, other);
            }
        }
    }
    bytes
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
struct Random {
    state: u64,
}

impl Random {
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scramble(self.state)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

fn mix(seed: u64, number: u64) -> u64 {
    scramble(seed.wrapping_add(number.wrapping_mul(0xd134_2543_de82_ef95)))
}

fn scramble(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Prints past the test runner, which shows what is printed only of tests that fail.
fn print(text: &str) {
    // There is nobody to tell when the output is closed.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
