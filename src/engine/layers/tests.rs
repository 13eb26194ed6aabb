use super::*;
use crate::engine::optimizers::Adam;
use crate::engine::testing::{difference, numerical_gradients, random, wide};
use crate::engine::{Loss, Network, Optimizer, Training, TrainingOptions};
use crate::onnx::Model;
use crate::tensor::{DType, Tensor};

mod reference;

/// The example of `entry` in a graph of its own, on an input `x` of these sizes, any batch.
fn model(entry: &LayerEntry, dtype: DType, sizes: &[usize], seed: u64) -> Result<Model, EngineError> {
    let mut graph = Builder::new("layer", seed);
    if dtype == DType::F64 {
        graph = graph.in_f64();
    }
    let dtype = if entry.tokens.is_some() { DType::I64 } else { dtype };
    let dims: Vec<_> = sizes.iter().enumerate().map(|(at, size)| (at > 0).then_some(*size)).collect();
    let x = graph.input("x", dtype, &dims)?;
    let y = (entry.example)(&mut graph, &x)?;
    graph.output("y", &y)?;
    Ok(graph.finish())
}

/// An input for it.
fn input(entry: &LayerEntry, sizes: &[usize], dtype: DType) -> Tensor {
    let count: usize = sizes.iter().product();
    match entry.tokens {
        Some(tokens) => Tensor::new(sizes.to_vec(), (0..count as i64).map(|at| at * 7 % tokens).collect::<Vec<i64>>()),
        None if dtype == DType::F32 => {
            let values = random(sizes, 5);
            let values = values.as_slice::<f64>().unwrap().iter().map(|value| *value as f32);
            Tensor::new(sizes.to_vec(), values.collect::<Vec<f32>>())
        }
        None => Ok(random(sizes, 5)),
    }
    .unwrap()
}

#[test]
fn a_value_is_of_use_after_it_has_become_an_output() {
    let mut graph = Builder::new("outputs", 1);
    let x = graph.input("x", DType::F32, &[Some(2)]).unwrap();
    let first = graph.tanh(&x).unwrap();
    let before = graph.relu(&first).unwrap();
    graph.output("first", &first).unwrap();
    let after = graph.relu(&first).unwrap();
    graph.output("before", &before).unwrap();
    graph.output("after", &after).unwrap();
    let error = graph.output("again", &first).unwrap_err().to_string();
    assert!(error.contains("an output already"), "{error}");
    let mut network = Network::new(&graph.finish()).unwrap();
    let outputs = network.run(&[("x", &Tensor::from_vec(vec![1.0f32, -1.0]))]).unwrap();
    let y = 1f32.tanh();
    let values: Vec<&[f32]> = outputs.iter().map(|output| output.as_slice().unwrap()).collect();
    for (value, expected) in values.iter().zip([[y, -y], [y, 0.0], [y, 0.0]]) {
        assert!(value.iter().zip(expected).all(|(value, expected)| (value - expected).abs() < 1e-6), "{values:?}");
    }
}

#[test]
fn every_layer_is_listed_with_its_name_and_summary() {
    assert!(LAYERS.is_sorted_by_key(|entry| entry.name));
    for entry in LAYERS {
        assert!(!entry.summary.is_empty() && entry.ranks.contains(&entry.sizes.len()), "{entry:?}");
    }
}

#[test]
fn every_layer_builds_and_survives_a_file() {
    for entry in LAYERS {
        for dtype in [DType::F32, DType::F64] {
            let made = model(entry, dtype, entry.sizes, 1).unwrap_or_else(|error| panic!("{entry:?}: {error}"));
            assert_eq!(made, model(entry, dtype, entry.sizes, 1).unwrap(), "{entry:?}: one seed, one model");
            let read = Model::decode(&made.encode(), None).unwrap();
            let x = input(entry, entry.sizes, dtype);
            let mut outputs = Vec::new();
            for model in [&made, &read] {
                let mut network = Network::new(model).unwrap_or_else(|error| panic!("{entry:?}: {error}"));
                outputs.push(network.run(&[("x", &x)]).unwrap_or_else(|error| panic!("{entry:?}: {error}")));
            }
            assert_eq!(outputs[0], outputs[1], "{entry:?}");
            // What was inferred is what comes out, for any batch.
            let promised = &made.graph.outputs[0];
            for batch in [0, 1, 3] {
                let sizes: Vec<usize> = [batch].into_iter().chain(entry.sizes[1..].iter().copied()).collect();
                let y = Network::new(&made).unwrap().run(&[("x", &input(entry, &sizes, dtype))]);
                let y = y.unwrap_or_else(|error| panic!("{entry:?}, batch {batch}: {error}")).remove(0);
                assert!(promised.shape.accepts(&y.symbolic_shape()).is_ok(), "{entry:?}: {promised:?} {:?}", y.shape());
                assert_eq!((promised.dtype, y.shape()[0]), (Some(y.dtype()), batch), "{entry:?}");
            }
        }
    }
}

/// The same numbers as f64.
fn widened(tensor: &Tensor) -> Tensor {
    Tensor::new(tensor.shape().to_vec(), wide(tensor).unwrap()).unwrap()
}

#[test]
fn every_layer_gives_the_same_in_f32_and_f64() {
    for entry in LAYERS {
        let narrow = input(entry, entry.sizes, DType::F32);
        let wide = if entry.tokens.is_some() { narrow.clone() } else { widened(&narrow) };
        let [narrow, wide] = [(DType::F32, narrow), (DType::F64, wide)].map(|(dtype, x)| {
            let mut network = Network::new(&model(entry, dtype, entry.sizes, 3).unwrap()).unwrap();
            let y = network.run(&[("x", &x)]).unwrap().remove(0);
            assert_eq!(y.dtype(), dtype, "{entry:?}");
            widened(&y)
        });
        assert_eq!(difference(&narrow, &wide, 1e-5), None, "{entry:?}");
    }
}

#[test]
fn gradients_of_every_layer_are_those_of_central_differences() {
    for entry in LAYERS {
        let model = model(entry, DType::F64, entry.sizes, 2).unwrap();
        let mut network = Network::new(&model).unwrap();
        let x = input(entry, entry.sizes, DType::F64);
        let given = [("x".to_owned(), x.clone())];
        let mut wrt: Vec<(String, Tensor)> = given.iter().filter(|_| entry.tokens.is_none()).cloned().collect();
        wrt.extend(model.graph.initializers.iter().filter(|(_, weight)| weight.dtype() == DType::F64).cloned());
        let names: Vec<&str> = wrt.iter().map(|(name, _)| name.as_str()).collect();
        let shape = network.run(&[("x", &x)]).unwrap()[0].shape().to_vec();
        let cotangents = [random(&shape, 99)];
        let (_, found) = network.gradients(&[("x", &x)], &cotangents, &names, 7).unwrap();
        let expected = numerical_gradients(&mut network, &given, &cotangents, &wrt).unwrap();
        for (((name, value), found), expected) in wrt.iter().zip(found).zip(expected) {
            // Where no gradient arrives it is zero.
            let zeros = || Tensor::zeros(DType::F64, value.shape().to_vec()).unwrap();
            let found = found.unwrap_or_else(zeros);
            assert_eq!(difference(&found, &expected, 1e-6), None, "{entry:?}: {name}");
        }
    }
}

#[test]
fn an_input_of_another_rank_is_an_error() {
    for entry in LAYERS {
        for rank in (0..7).filter(|rank| !entry.ranks.contains(rank)) {
            let sizes: Vec<usize> = entry.sizes.iter().copied().chain([4; 7]).take(rank).collect();
            let error = model(entry, DType::F32, &sizes, 1).expect_err(&format!("{entry:?}, rank {rank}"));
            assert!(error.to_string().contains("expected"), "{entry:?}, rank {rank}: {error}");
        }
    }
}

type Make = fn(&mut Builder, &Value) -> Result<Value, EngineError>;

#[test]
fn what_does_not_fit_is_an_error() {
    let cases: &[(&[usize], Make, &str)] = &[
        (&[2, 6, 5], |g, x| Attention::new("a", 4).apply(g, x), "divisible by 4 heads"),
        (&[2, 6, 5], |g, x| Attention::new("a", 0).apply(g, x), "divisible by 0 heads"),
        (&[2, 6, 4], |g, x| Attention::new("a", 2).apply_to(g, x, x, Some(x)), "expected a mask of bool"),
        (&[2, 6, 4, 4], |g, x| Conv::new("c", 4, &[3, 3]).groups(4).apply(g, x), "divide into 4 groups"),
        (&[2, 6, 4, 4], |g, x| LocalContrast::new(4).apply(g, x), "expected an odd window"),
        (&[2, 6, 4, 4], |g, x| LocalContrast::new(3).deviation(f64::NAN).apply(g, x), "NaN"),
        (&[2, 6, 4, 4], |g, x| LocalContrast::new(3).epsilon(0.0).apply(g, x), "ε above zero"),
        (&[2, 6, 2, 2], |g, x| KMaxMin::new(5).apply(g, x), "TopK"),
        (&[2, 6, 2, 2], |g, x| KMaxMin::new(0).apply(g, x), "at least 1"),
        (&[2, 6], |g, x| Maxout::new("m", 3, 0).apply(g, x), "expected 1 or more"),
        (&[2, 6], |g, x| Maxout::new("m", usize::MAX, 2).apply(g, x), "expected 1 or more"),
        (&[2, 6], |g, x| Dense::new("d", usize::MAX).apply(g, x), "at most"),
        (&[2, 6, 4, 4], |g, x| Residual::new("r", usize::MAX).bottleneck().apply(g, x), "at most"),
        (&[2, 6, 4], |g, x| Recurrent::lstm("l", usize::MAX).apply(g, x), "too many"),
        (&[2, 6, 4], |g, x| Recurrent::gru("l", 2).lengths(x).apply(g, x), "GRU"),
        (&[2, 6], |g, x| Embedding::new("e", 3, 2).apply(g, x), "token numbers"),
    ];
    for (index, (sizes, make, part)) in cases.iter().enumerate() {
        let mut graph = Builder::new("layer", 1);
        let dims: Vec<_> = sizes.iter().map(|size| Some(*size)).collect();
        let x = graph.input("x", DType::F32, &dims).unwrap();
        let error = make(&mut graph, &x).expect_err(&format!("case {index}")).to_string();
        assert!(error.contains(part), "case {index}: {error}");
    }
    // Sizes that are needed and not known.
    for entry in LAYERS.iter().filter(|entry| !matches!(entry.name, "Embedding" | "Pool2d" | "Threshold")) {
        let mut graph = Builder::new("layer", 1);
        let x = graph.input("x", DType::F32, &vec![None; entry.sizes.len()]).unwrap();
        let free = matches!(entry.name, "KMaxMin" | "LocalContrast");
        assert_eq!((entry.example)(&mut graph, &x).is_ok(), free, "{entry:?}");
    }
}

/// Runs a layer without weights on `x`.
fn run(make: Make, shape: &[usize], x: &[f64]) -> Vec<f64> {
    let mut graph = Builder::new("layer", 1).in_f64();
    // Nothing but the rank is known.
    let value = graph.input("x", DType::F64, &vec![None; shape.len()]).unwrap();
    let y = make(&mut graph, &value).unwrap();
    graph.output("y", &y).unwrap();
    let x = Tensor::new(shape.to_vec(), x.to_vec()).unwrap();
    let y = Network::new(&graph.finish()).unwrap().run(&[("x", &x)]).unwrap().remove(0);
    y.as_slice::<f64>().unwrap().to_vec()
}

#[test]
fn values_by_hand() {
    let row = [3.0, -1.0, 0.5, 8.0, 0.25];
    type Case<'a> = (Make, &'a [usize], &'a [f64], &'a [f64]);
    let cases: &[Case<'_>] = &[
        (|g, x| Threshold::new(0.5).apply(g, x), &[5], &row, &[1.0, 0.0, 0.0, 1.0, 0.0]),
        (|g, x| Threshold::new(0.5).bipolar().apply(g, x), &[5], &row, &[1.0, -1.0, -1.0, 1.0, -1.0]),
        (|g, x| Threshold::new(3.0).slope(2.0).apply(g, x), &[1], &[3.0], &[0.5]),
        (|g, x| Threshold::new(0.0).apply(g, x), &[1], &[f64::NAN], &[0.0]),
        (|g, x| KMaxMin::new(2).apply(g, x), &[1, 1, 5], &row, &[5.5 - 0.375]),
        (|g, x| KMaxMin::new(2).smallest(0).apply(g, x), &[1, 1, 5], &row, &[5.5]),
        (|g, x| KMaxMin::new(1).smallest(1).weight(0.5).apply(g, x), &[1, 1, 5], &row, &[7.5]),
        // An even picture has no contrast, at the border neither.
        (|g, x| LocalContrast::new(3).apply(g, x), &[1, 1, 2, 3], &[2.0; 6], &[0.0; 6]),
        (|g, x| LocalContrast::new(1).subtractive().apply(g, x), &[1, 2, 1, 1], &[1.0, 4.0], &[-1.5, 1.5]),
    ];
    for (index, (make, shape, x, expected)) in cases.iter().enumerate() {
        let found = run(*make, shape, x);
        let near = found.iter().zip(*expected).all(|(found, expected)| (found - expected).abs() < 1e-9);
        assert!(near && found.len() == expected.len(), "case {index}: expected {expected:?}, found {found:?}");
    }
}

#[test]
fn local_contrast_does_not_see_brightness_and_contrast() {
    let x: Vec<f64> = random(&[2, 2, 6, 5], 8).as_slice::<f64>().unwrap().to_vec();
    let other: Vec<f64> = x.iter().map(|value| 40.0 * value - 7.0).collect();
    let make: Make = |graph, x| LocalContrast::new(5).apply(graph, x);
    let (found, expected) = (run(make, &[2, 2, 6, 5], &other), run(make, &[2, 2, 6, 5], &x));
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }
}

#[test]
fn a_gradient_through_an_even_picture_is_finite() {
    let mut graph = Builder::new("layer", 1).in_f64();
    let x = graph.input("x", DType::F64, &[None, Some(1), Some(4), Some(4)]).unwrap();
    let y = LocalContrast::new(3).apply(&mut graph, &x).unwrap();
    graph.output("y", &y).unwrap();
    let x = Tensor::new(vec![1, 1, 4, 4], vec![3.0f64; 16]).unwrap();
    let mut network = Network::new(&graph.finish()).unwrap();
    let (_, found) = network.gradients(&[("x", &x)], &[random(&[1, 1, 4, 4], 1)], &["x"], 1).unwrap();
    let found = found[0].as_ref().unwrap().as_slice::<f64>().unwrap().to_vec();
    assert!(found.iter().all(|value| value.is_finite()), "{found:?}");
}

#[test]
fn a_causal_step_does_not_see_later_ones() {
    let mut graph = Builder::new("layer", 1);
    let x = graph.input("x", DType::F32, &[None, None, Some(4)]).unwrap();
    let y = Attention::new("attention", 2).causal().apply(&mut graph, &x).unwrap();
    graph.output("y", &y).unwrap();
    let mut network = Network::new(&graph.finish()).unwrap();
    let values: Vec<f32> = random(&[1, 5, 4], 3).as_slice::<f64>().unwrap().iter().map(|value| *value as f32).collect();
    let mut run = |values: &[f32], steps: usize| {
        let x = Tensor::new(vec![1, steps, 4], values[..4 * steps].to_vec()).unwrap();
        network.run(&[("x", &x)]).unwrap().remove(0).as_slice::<f32>().unwrap().to_vec()
    };
    let all = run(&values, 5);
    for steps in 1..5 {
        for (found, expected) in run(&values, steps).iter().zip(&all) {
            assert!((found - expected).abs() < 1e-6, "{steps}: {found} {expected}");
        }
    }
    let mut other = values.clone();
    other[3] += 1.0;
    assert_ne!(run(&other, 5)[16..], all[16..], "a later step sees earlier ones");
}

#[test]
fn where_nothing_may_be_looked_at_there_is_no_nan() {
    let mut graph = Builder::new("layer", 1);
    let x = graph.input("x", DType::F32, &[None, Some(2), Some(2)]).unwrap();
    let mask = graph.input("mask", DType::Bool, &[None, Some(2)]).unwrap();
    let y = Attention::new("attention", 1).apply_to(&mut graph, &x, &x, Some(&mask)).unwrap();
    graph.output("y", &y).unwrap();
    let x = Tensor::new(vec![1, 2, 2], vec![1.0f32, 2.0, 3.0, 4.0]).unwrap();
    let mask = Tensor::new(vec![1, 2], vec![false, false]).unwrap();
    let y = Network::new(&graph.finish()).unwrap().run(&[("x", &x), ("mask", &mask)]).unwrap().remove(0);
    let y = y.as_slice::<f32>().unwrap();
    assert!(y.iter().all(|value| value.is_finite()) && y[..2] == y[2..], "{y:?}");
}

/// Three towers with one set of weights.
fn towers(dtype: DType) -> Model {
    let mut graph = Builder::new("towers", 4);
    if dtype == DType::F64 {
        graph = graph.in_f64();
    }
    let tower = |graph: &mut Builder, name: &str| -> Result<(), EngineError> {
        let x = graph.input(name, dtype, &[None, Some(3)])?;
        let hidden = Dense::new("hidden", 5).apply(graph, &x)?;
        let hidden = graph.tanh(&hidden)?;
        let y = Dense::new("out", 2).without_bias().apply(graph, &hidden)?;
        graph.output(&format!("of_{name}"), &y)
    };
    tower(&mut graph, "a").unwrap();
    for name in ["p", "n"] {
        graph.again(|graph| tower(graph, name)).unwrap();
    }
    graph.finish()
}

#[test]
fn towers_share_their_weights() {
    let model = towers(DType::F64);
    let names: Vec<&str> = model.graph.initializers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["hidden.weight", "hidden.bias", "out.weight"]);
    let given: Vec<(String, Tensor)> =
        ["a", "p", "n"].iter().zip(1..).map(|(name, seed)| ((*name).to_owned(), random(&[2, 3], seed))).collect();
    let inputs: Vec<(&str, &Tensor)> = given.iter().map(|(name, value)| (name.as_str(), value)).collect();
    let cotangents = [11, 12, 13].map(|seed| random(&[2, 2], seed));
    let mut network = Network::new(&model).unwrap();
    let (_, found) = network.gradients(&inputs, &cotangents, &names, 1).unwrap();
    let expected = numerical_gradients(&mut network, &given, &cotangents, &model.graph.initializers).unwrap();
    for ((name, found), expected) in names.iter().zip(found).zip(expected) {
        assert_eq!(difference(&found.unwrap(), &expected, 1e-6), None, "{name}");
    }
}

#[test]
fn a_siamese_network_learns_from_triplets() {
    let loss = Loss::new("triplet").unwrap().of(&["of_a", "of_p", "of_n"]).targets(&[]);
    let optimizer = Optimizer::Adam(Adam { learning_rate: 0.02, ..Adam::default() });
    let mut training = Training::new(&towers(DType::F32), TrainingOptions::new(loss, optimizer)).unwrap();
    // What belongs together has the same sign in its last place.
    let rows = |sign: f32, seed: f32| -> Vec<f32> {
        let row = |at: usize| {
            [(at as f32 + seed).sin(), (at as f32 * seed).cos(), sign * if at.is_multiple_of(2) { 1.0 } else { -1.0 }]
        };
        (0..8).flat_map(row).collect()
    };
    let [a, p, n] =
        [(1.0, 1.3), (1.0, 2.7), (-1.0, 4.1)].map(|(s, seed)| Tensor::new(vec![8, 3], rows(s, seed)).unwrap());
    let mut step = || training.step(&[("a", &a), ("p", &p), ("n", &n)]).unwrap();
    let first = step();
    let last = (0..150).fold(first, |_, _| step());
    assert!(first > 0.3 && last < 0.05, "{first} {last}");
}

#[test]
fn weights_that_are_not_there_cannot_be_used_again() {
    let mut graph = Builder::new("towers", 1);
    let x = graph.input("x", DType::F32, &[None, Some(3)]).unwrap();
    Dense::new("one", 2).apply(&mut graph, &x).unwrap();
    let cases: &[(&str, usize, &str)] = &[
        ("two", 2, "weight `two.weight`, to be used again: expected f32 [2, 3], found none"),
        ("one", 4, "expected f32 [4, 3], found f32 [2, 3]"),
    ];
    for (name, size, part) in cases {
        let error = graph.again(|graph| Dense::new(name, *size).apply(graph, &x)).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    // An error ends it.
    assert!(Dense::new("two", 2).apply(&mut graph, &x).is_ok());
    assert!(Dense::new("one", 2).apply(&mut graph, &x).unwrap_err().to_string().contains("already"));
}
