//! After the first step of a shape a training step takes no memory, but for what the `gemm` crate packs matrices into
//! during a call and gives back at its end, and the queue of the thread pool: proved by an allocator that counts. Nodes
//! with more than 8 inputs or outputs are not among these: they take the lists of those anew.
#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(unsafe_code, reason = "an allocator; it hands everything on to the system's")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use percept::engine::optimizers::{Adam, Sgd};
use percept::engine::{Clip, Loss, Optimizer, Penalty, Training, TrainingOptions};
use percept::onnx::{Graph, Model, Node, ValueInfo};
use percept::tensor::{DType, SymbolicShape, Tensor};
use percept::zoo::{Architecture, Cell, Lenet5, Mlp, RecurrentClassifier, RecurrentTagger, Tdnn};

struct Counting;

/// Bytes of the largest table of flags of `gemm`, with room for larger caches.
const MOST_FLAGS: usize = 8192;

static TAKEN: AtomicUsize = AtomicUsize::new(0);
/// Bytes in use.
static USED: AtomicUsize = AtomicUsize::new(0);

/// One test at a time: all count in one place.
static ALONE: Mutex<()> = Mutex::new(());

/// Notes an allocation, unless it is one of the two that `gemm` makes in a call: a packing buffer, aligned to lines of the
/// cache, and a table of flags: zeroed bytes, one for each few rows of a block,
/// which are fewer than the masks of these tests have.
fn count(layout: Layout, zeroed: bool) {
    if layout.align() < 64 && !(zeroed && layout.align() == 1 && layout.size() <= MOST_FLAGS) {
        TAKEN.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout, false);
        USED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout, true);
        USED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(layout, false);
        USED.fetch_add(size, Ordering::Relaxed);
        USED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn numbers(shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    Tensor::new(shape.to_vec(), (0..count).map(|i| (i as f32 * 0.37).sin()).collect::<Vec<f32>>()).unwrap()
}

fn tokens(shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    Tensor::new(shape.to_vec(), (0..count as i64).map(|i| i * 7 % 12).collect::<Vec<i64>>()).unwrap()
}

/// The bound of the plan cache counts what a plan takes: its values, and what its operators keep for themselves.
#[test]
fn the_bytes_of_plans_are_those_that_they_take() {
    let _alone = ALONE.lock();
    let recurrent =
        |cell| RecurrentClassifier { vocabulary: 12, classes: 3, cell, embedding: 5, hidden: 64, lengths: false };
    let tdnn = Tdnn { features: 8, classes: 3, channels: 32, dilations: vec![1, 2], lengths: true };
    let works: Vec<(&str, Box<dyn Architecture>, Tensor)> = vec![
        ("lenet5", Box::new(Lenet5::default()), numbers(&[64, 1, 28, 28])),
        ("lstm", Box::new(recurrent(Cell::Lstm)), tokens(&[16, 99])),
        ("gru", Box::new(recurrent(Cell::Gru)), tokens(&[16, 99])),
        ("elman", Box::new(recurrent(Cell::Elman)), tokens(&[16, 99])),
        ("tdnn", Box::new(tdnn), numbers(&[16, 8, 200])),
    ];
    for (name, architecture, x) in works {
        let model = architecture.build(1).unwrap();
        let start = || {
            let options = TrainingOptions::new(Loss::cross_entropy(), Optimizer::Sgd(Sgd::default()));
            Training::new(&model, options).unwrap()
        };
        let rows = x.shape()[0];
        let (target, lengths) = (Tensor::from_vec(vec![1i64; rows]), Tensor::from_vec(vec![150i32; rows]));
        let inputs = [("x", &x), ("target", &target), ("lengths", &lengths)];
        let inputs = if name == "tdnn" { &inputs[..] } else { &inputs[..2] };
        // Once for what a thread takes for all plans: `gemm` has a slab of the size of a cache.
        start().step(inputs).unwrap();
        let mut training = start();
        let before = USED.load(Ordering::Relaxed);
        training.step(inputs).unwrap();
        let taken = USED.load(Ordering::Relaxed).wrapping_sub(before);
        let said = training.network().plan_bytes();
        let rest = taken.abs_diff(said);
        assert!(rest < taken / 8 + (64 << 10), "{name}: {said} bytes said, {taken} taken");
    }
}

/// Two layers with normalization and dropout between them.
fn normalised(inputs: usize, hidden: usize) -> Model {
    let mut graph = Graph::new("normalised");
    graph.inputs.push(ValueInfo::tensor("x", DType::F32, SymbolicShape::Unranked));
    graph.outputs.push(ValueInfo::tensor("y", DType::F32, SymbolicShape::Unranked));
    let ones = || Tensor::new(vec![hidden], vec![1.0f32; hidden]).unwrap();
    graph.initializers = vec![
        ("w".into(), numbers(&[inputs, hidden])),
        ("scale".into(), ones()),
        ("bias".into(), numbers(&[hidden])),
        ("mean".into(), numbers(&[hidden])),
        ("var".into(), ones()),
        ("out".into(), numbers(&[hidden, 3])),
    ];
    graph.nodes = vec![
        Node::new("MatMul", ["x", "w"], ["h"]),
        Node::new("BatchNormalization", ["h", "scale", "bias", "mean", "var"], ["n"]),
        Node::new("Dropout", ["n"], ["d", "mask"]),
        Node::new("Relu", ["d"], ["r"]),
        Node::new("MatMul", ["r", "out"], ["y"]),
    ];
    Model::new(graph, 17)
}

#[test]
fn a_training_step_takes_no_memory_after_the_first_of_its_shape() {
    let _alone = ALONE.lock();
    let recurrent =
        |cell| RecurrentClassifier { vocabulary: 12, classes: 3, cell, embedding: 5, hidden: 16, lengths: false };
    let tagger =
        RecurrentTagger { vocabulary: 12, classes: 12, cell: Cell::Lstm, embedding: 5, hidden: 16, lengths: false };
    let tdnn = Tdnn { features: 8, classes: 3, channels: 16, dilations: vec![1, 2], lengths: false };
    let works: Vec<(&str, Box<dyn Architecture>, Tensor, Tensor)> = vec![
        (
            "mlp",
            Box::new(Mlp { inputs: vec![64], hidden: vec![32, 32], outputs: 3 }),
            numbers(&[8, 64]),
            Tensor::from_vec(vec![0i64, 1, 2, 0, 1, 2, 0, 1]),
        ),
        ("lenet5, batch 1", Box::new(Lenet5::default()), numbers(&[1, 1, 28, 28]), Tensor::from_vec(vec![3i64])),
        ("lenet5", Box::new(Lenet5::default()), numbers(&[4, 1, 28, 28]), Tensor::from_vec(vec![3i64, 1, 2, 9])),
        ("lstm", Box::new(recurrent(Cell::Lstm)), tokens(&[3, 9]), Tensor::from_vec(vec![0i64, 1, 2])),
        ("gru", Box::new(recurrent(Cell::Gru)), tokens(&[1, 9]), Tensor::from_vec(vec![0i64])),
        ("elman", Box::new(recurrent(Cell::Elman)), tokens(&[3, 9]), Tensor::from_vec(vec![0i64, 1, 2])),
        ("tagger", Box::new(tagger), tokens(&[3, 9]), tokens(&[3, 9])),
        ("tdnn", Box::new(tdnn), numbers(&[2, 8, 30]), Tensor::from_vec(vec![0i64, 2])),
    ];
    let mut works: Vec<(&str, Model, Tensor, Tensor, [u64; 2])> = works
        .into_iter()
        .map(|(name, architecture, x, target)| (name, architecture.build(1).unwrap(), x, target, [1, 1]))
        .collect();
    let classes = |count: i64| Tensor::from_vec((0..count).map(|i| i % 3).collect::<Vec<i64>>());
    works.extend([
        ("normalised", normalised(64, 2048), numbers(&[8, 64]), classes(8), [1, 1]),
        ("normalised, accumulated", normalised(64, 2048), numbers(&[8, 64]), classes(8), [2, 1]),
        ("normalised, 2 threads", normalised(64, 4096), numbers(&[64, 64]), classes(64), [1, 2]),
    ]);
    let mut found = Vec::new();
    for (name, model, x, target, [accumulate, threads]) in works {
        for optimizer in [Optimizer::Sgd(Sgd::default()), Optimizer::Adam(Adam::default())] {
            let options = TrainingOptions::new(Loss::cross_entropy(), optimizer)
                .clip(Clip::Norm(0.5))
                .penalty(Penalty { l1: 1e-5, l2: 1e-4 })
                .accumulate(accumulate)
                .threads(threads as usize);
            let mut training = Training::new(&model, options).unwrap();
            let inputs = [("x", &x), ("target", &target)];
            for _ in 0..accumulate {
                training.step(&inputs).unwrap();
            }
            let (before, used) = (TAKEN.load(Ordering::Relaxed), USED.load(Ordering::Relaxed));
            for _ in 0..6 {
                training.step(&inputs).unwrap();
            }
            let taken = TAKEN.load(Ordering::Relaxed) - before;
            let left = USED.load(Ordering::Relaxed).wrapping_sub(used);
            // What each thread of a pool packs into it keeps, from its first product on.
            if taken > 0 || left != 0 && threads == 1 {
                found.push(format!("{name}: {taken} times in 6 steps, {left} bytes not given back"));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
