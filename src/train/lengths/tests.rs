//! Samples in buckets give what each of them gives alone.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::engine::optimizers::Sgd;
use crate::engine::{Builder, EngineError, Initializer, Optimizer, Training, TrainingOptions, Value};
use crate::onnx::AttributeValue;
use crate::tensor::SymbolicShape;
use crate::train::data::{BatchSettings, Batches, Memory, Sample};
use crate::train::{Then, Trainer, TrainerOptions};
use crate::zoo::{Architecture, Cell, Mlp, RecurrentClassifier, RecurrentTagger, Tdnn};

/// A model, a loss, samples of given lengths, and the buckets that suit them.
struct Work {
    name: &'static str,
    model: Model,
    loss: Loss,
    sample: fn(usize, usize) -> Sample,
    buckets: Buckets,
    /// What a sample counts in the mean over a minibatch.
    weight: fn(usize) -> f64,
    /// The dimension of an output that has the steps, if one has.
    steps: Option<usize>,
}

fn wave(shape: &[usize], seed: usize) -> Tensor {
    let values = (0..shape.iter().product()).map(|i: usize| ((i * 7 + seed * 13) as f32 * 0.37).sin());
    Tensor::new(shape.to_vec(), values.collect::<Vec<f32>>()).unwrap()
}

fn tokens(steps: usize, seed: usize) -> Tensor {
    Tensor::from_vec((0..steps).map(|i| 1 + ((i * i + 3 * i + seed * 5) % 8) as i64).collect::<Vec<_>>())
}

/// `x` f32 `[batch, time, 3]` and `lengths` → GRU → `[batch, time, classes]`, or `[batch, time]` for one class.
fn frames(classes: usize) -> Result<Model, EngineError> {
    let mut graph = Builder::new("frames", 3);
    let x = graph.input("x", DType::F32, &[None, None, Some(3)])?;
    let lengths = graph.input("lengths", DType::I32, &[None])?;
    let perm = |graph: &mut Builder, x: &Value| {
        graph.node("Transpose", &[x], &[("perm", AttributeValue::Ints(vec![1, 0, 2]))])
    };
    let by_time = perm(&mut graph, &x)?;
    let w = graph.weight("w", &[1, 12, 3], Initializer::Normal(0.5))?;
    let r = graph.weight("r", &[1, 12, 4], Initializer::Normal(0.5))?;
    let b = graph.weight("b", &[1, 24], Initializer::Normal(0.5))?;
    let size = [("hidden_size", AttributeValue::Int(4))];
    let inputs = [Some(&by_time), Some(&w), Some(&r), Some(&b), Some(&lengths)];
    let all = graph.nodes("GRU", &inputs, 1, &size)?.remove(0).unwrap();
    let axis = graph.constant("directions", Tensor::from_vec(vec![1i64]))?;
    let all = graph.node("Squeeze", &[&all, &axis], &[])?;
    let out = graph.weight("out", &[4, classes], Initializer::Normal(0.5))?;
    let scores = graph.node("MatMul", &[&all, &out], &[])?;
    let mut y = perm(&mut graph, &scores)?;
    if classes == 1 {
        let axis = graph.constant("last", Tensor::from_vec(vec![2i64]))?;
        y = graph.node("Squeeze", &[&y, &axis], &[])?;
    }
    graph.output("y", &y)?;
    Ok(graph.finish())
}

fn works() -> Vec<Work> {
    let class =
        |steps: usize, seed: usize| Sample { input: tokens(steps, seed), target: Tensor::scalar(seed as i64 % 3) };
    let classifier = |name, cell| Work {
        name,
        model: RecurrentClassifier { vocabulary: 9, classes: 3, cell, embedding: 3, hidden: 4, lengths: true }
            .build(1)
            .unwrap(),
        loss: Loss::cross_entropy(),
        sample: class,
        buckets: Buckets::new(vec![3, 5, 8]),
        weight: |_| 1.0,
        steps: None,
    };
    let by_frames = Buckets { axis: 0, ..Buckets::new(vec![4, 8]) };
    vec![
        classifier("elman", Cell::Elman),
        classifier("gru", Cell::Gru),
        classifier("lstm", Cell::Lstm),
        Work {
            name: "tagger",
            model: RecurrentTagger {
                vocabulary: 9,
                classes: 4,
                cell: Cell::Lstm,
                embedding: 3,
                hidden: 4,
                lengths: true,
            }
            .build(1)
            .unwrap(),
            sample: |steps, seed| Sample {
                input: tokens(steps, seed),
                target: Tensor::from_vec((0..steps).map(|i| ((i + seed) % 4) as i64).collect::<Vec<_>>()),
            },
            weight: |steps| steps as f64,
            steps: Some(2),
            ..classifier("", Cell::Lstm)
        },
        Work {
            name: "tdnn",
            model: Tdnn { features: 2, classes: 3, channels: 4, dilations: vec![1, 2], lengths: true }
                .build(1)
                .unwrap(),
            sample: |steps, seed| Sample { input: wave(&[2, steps], seed), target: Tensor::scalar(seed as i64 % 3) },
            ..classifier("", Cell::Lstm)
        },
        Work {
            name: "ctc",
            model: frames(3).unwrap(),
            loss: Loss::new("ctc").unwrap(),
            sample: |steps, seed| Sample {
                input: wave(&[steps, 3], seed),
                target: Tensor::from_vec(
                    (0..steps.div_ceil(2)).map(|i| 1 + ((i + seed) % 2) as i64).collect::<Vec<_>>(),
                ),
            },
            buckets: Buckets { target_length: Some(5), ..by_frames.clone() },
            steps: Some(1),
            ..classifier("", Cell::Lstm)
        },
        Work {
            name: "numbers",
            model: frames(1).unwrap(),
            loss: Loss::squared(),
            sample: |steps, seed| Sample { input: wave(&[steps, 3], seed), target: wave(&[steps], seed + 1) },
            buckets: by_frames,
            weight: |steps| steps as f64,
            steps: Some(1),
        },
    ]
}

fn cast(tensor: &Tensor, dtype: DType) -> Tensor {
    match tensor.as_slice::<f32>() {
        Ok(values) if dtype == DType::F64 => {
            let values: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
            Tensor::new(tensor.shape().to_vec(), values).unwrap()
        }
        _ => tensor.clone(),
    }
}

/// The model computing in `dtype`.
fn in_dtype(model: &Model, dtype: DType) -> Model {
    let mut model = model.clone();
    if dtype == DType::F32 {
        return model;
    }
    let graph = &mut model.graph;
    for (_, tensor) in &mut graph.initializers {
        *tensor = cast(tensor, dtype);
    }
    for value in graph.inputs.iter_mut().chain(&mut graph.outputs).filter(|value| value.dtype == Some(DType::F32)) {
        value.dtype = Some(dtype);
    }
    for attribute in graph.nodes.iter_mut().filter(|node| node.op_type == "Cast").flat_map(|node| &mut node.attributes)
    {
        if attribute.value == AttributeValue::Int(1) {
            attribute.value = AttributeValue::Int(11);
        }
    }
    model
}

fn wide(tensor: &Tensor) -> Vec<f64> {
    cast(tensor, DType::F64).as_slice::<f64>().unwrap().to_vec()
}

fn close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1.0f64, |largest, value| largest.max(value.abs()));
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= tolerance * scale,
            "{what}, element {at}: expected {expected}, found {found}"
        );
    }
}

/// The outputs, the loss, and the gradient of every weight (by a step of descent with rate 1).
fn learned(model: &Model, loss: &Loss, options: &TrainerOptions, batch: &Batch) -> (Tensor, f64, Vec<Vec<f64>>) {
    let optimizer = Optimizer::Sgd(Sgd { learning_rate: 1.0 });
    let mut training = Training::new(model, TrainingOptions::new(loss.clone(), optimizer)).unwrap();
    let extra = options.lengths.tensors(batch).unwrap();
    let (inputs, own) = options.inputs(batch, &extra);
    let outputs = training.run(&inputs[..own]).unwrap();
    let loss = training.step(&inputs).unwrap();
    let after = training.model();
    let weights = model.graph.initializers.iter().zip(&after.graph.initializers);
    let gradients = weights
        .filter(|((_, tensor), _)| matches!(tensor.dtype(), DType::F32 | DType::F64))
        .map(|((_, before), (_, after))| wide(before).iter().zip(wide(after)).map(|(b, a)| b - a).collect());
    (outputs[0].clone(), loss, gradients.collect())
}

fn check(work: &Work, lengths: &[usize], dtype: DType, tolerance: f64) {
    let model = in_dtype(&work.model, dtype);
    let samples: Vec<Sample> = lengths
        .iter()
        .enumerate()
        .map(|(seed, steps)| {
            let Sample { input, target } = (work.sample)(*steps, seed);
            Sample { input: cast(&input, dtype), target: cast(&target, dtype) }
        })
        .collect();
    let (loss, inputs) = LengthInputs::of(&model, work.loss.clone(), &work.buckets, &samples[0].target).unwrap();
    let options = TrainerOptions { lengths: inputs, ..TrainerOptions::new("x", 3, 1) };
    let settings = BatchSettings { size: 3, ..BatchSettings::default() };
    let data = Arc::new(Memory::new(samples.clone()));
    let batches = Batches::new(data, (0..samples.len()).collect(), settings, 0, None).unwrap();
    let mut seen = 0;
    for batch in batches.with_buckets(Arc::new(work.buckets.clone())).unwrap() {
        let batch = batch.unwrap();
        seen += batch.indices.len();
        let (outputs, found_loss, found) = learned(&model, &loss, &options, &batch);
        let total: f64 = batch.lengths.iter().map(|steps| (work.weight)(*steps)).sum();
        let (mut mean, mut expected) = (0.0, vec![Vec::new(); found.len()]);
        for (row, index) in batch.indices.iter().enumerate() {
            let steps = lengths[*index];
            let sample = &samples[*index];
            let alone = |tensor: &Tensor| {
                let shape = [&[1], tensor.shape()].concat();
                tensor.reshape(shape).unwrap()
            };
            let alone = Batch {
                inputs: alone(&sample.input),
                targets: alone(&sample.target),
                indices: vec![*index],
                lengths: vec![steps],
                next: batch.next,
            };
            let (output, loss, gradients) = learned(&model, &loss, &options, &alone);
            let own = outputs.narrow(0, row, row + 1).unwrap();
            let own = work.steps.map_or(own.clone(), |axis| own.narrow(axis, 0, steps).unwrap());
            close(&format!("{} {dtype}: output", work.name), &wide(&own), &wide(&output), tolerance);
            let share = (work.weight)(steps) / total;
            mean += share * loss;
            for (sum, gradient) in expected.iter_mut().zip(gradients) {
                sum.resize(gradient.len(), 0.0);
                sum.iter_mut().zip(gradient).for_each(|(sum, gradient)| *sum += share * gradient);
            }
        }
        close(&format!("{} {dtype}: loss", work.name), &[found_loss], &[mean], tolerance);
        for (number, (found, expected)) in found.iter().zip(&expected).enumerate() {
            close(&format!("{} {dtype}: gradient {number}", work.name), found, expected, tolerance);
        }
        assert!(found.iter().flatten().any(|gradient| *gradient != 0.0), "{}: nothing was learned", work.name);
    }
    assert_eq!(seen, samples.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn in_buckets_as_alone(lengths in prop::collection::vec(1usize..=8, 1..8)) {
        for work in works() {
            check(&work, &lengths, DType::F64, 1e-9);
            check(&work, &lengths, DType::F32, 1e-5);
        }
    }
}

/// Without a leftover there is a plan for each bucket, with one there is one more, epoch after epoch.
#[test]
fn there_is_at_most_one_plan_for_each_bucket() {
    for (count, most) in [(24, 3), (25, 4)] {
        let work = &works()[1];
        let samples = (0..count).map(|i| (work.sample)(1 + i * 5 % 8, i)).collect();
        let (loss, lengths) =
            LengthInputs::of(&work.model, work.loss.clone(), &work.buckets, &Tensor::scalar(0i64)).unwrap();
        let optimizer = Optimizer::Sgd(Sgd::default());
        let training = Training::new(&work.model, TrainingOptions::new(loss, optimizer)).unwrap();
        let buckets = Some(Arc::new(work.buckets.clone()));
        let options = TrainerOptions { buckets, lengths, ..TrainerOptions::new("x", 4, 5) };
        let mut trainer = Trainer::new(training, Arc::new(Memory::new(samples)), None, options).unwrap();
        trainer.run(|_| Then::Continue).unwrap();
        assert_eq!(trainer.history().len(), 5);
        let plans = trainer.training().network().plan_count();
        assert!((2..=most).contains(&plans), "{count}: {plans}");
    }
}

#[test]
fn a_model_that_would_take_filling_for_steps_is_refused() {
    let buckets = Buckets::new(vec![4]);
    let texts = Buckets { target_length: Some(3), axis: 0, ..buckets.clone() };
    let (ctc, class) = (|| Loss::new("ctc").unwrap(), Tensor::scalar(0i64));
    let mlp = Mlp { inputs: vec![2], hidden: vec![], outputs: 2 }.build(1).unwrap();
    let mut floats = frames(3).unwrap();
    floats.graph.inputs[1] = crate::onnx::ValueInfo::tensor(LENGTHS, DType::F32, SymbolicShape::Unranked);
    let own = frames(3).unwrap();
    let classifier = &works()[0].model;
    let steps = Tensor::from_vec(vec![1i64, 2]);
    for (model, loss, buckets, target, expected) in [
        (
            &mlp,
            Loss::cross_entropy(),
            &buckets,
            &class,
            "expected a model with an input `lengths`, as `recurrent_classif",
        ),
        (&floats, Loss::cross_entropy(), &buckets, &class, "expected an input `lengths` of i32"),
        (&own, ctc(), &buckets, &steps, "expected `target_length`, as the loss is ctc"),
        (classifier, ctc(), &texts, &steps, "as many frames as it takes steps, found 3 frames of x_1 steps"),
        (&own, Loss::cross_entropy(), &texts, &steps, "expected no `target_length`: only ctc"),
        (&own, Loss::cross_entropy(), &Buckets::new(vec![]), &class, "buckets.lengths: expected ascending bounds"),
    ] {
        let error = LengthInputs::of(model, loss, buckets, target).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
