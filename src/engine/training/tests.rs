use super::*;
use crate::engine::{Builder, Dense, Optimizer, Schedule};

fn model() -> Model {
    let mut graph = Builder::new("test", 3);
    let x = graph.input("x", DType::F32, &[None, Some(2)]).unwrap();
    let hidden = Dense::new("hidden", 8).apply(&mut graph, &x).unwrap();
    let hidden = graph.relu(&hidden).unwrap();
    let y = Dense::new("out", 1).apply(&mut graph, &hidden).unwrap();
    graph.output("y", &y).unwrap();
    graph.finish()
}

fn xor() -> (Tensor, Tensor) {
    let x = Tensor::new(vec![4, 2], vec![0.0f32, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0]).unwrap();
    (x, Tensor::new(vec![4, 1], vec![0.0f32, 1.0, 1.0, 0.0]).unwrap())
}

fn adam(rate: f64) -> Optimizer {
    Optimizer::Adam(crate::engine::optimizers::Adam::default()).with_learning_rate(rate)
}

fn options(loss: &str) -> TrainingOptions {
    TrainingOptions::new(Loss::new(loss).unwrap(), adam(0.05))
}

#[test]
fn patterns() {
    for (pattern, name, expected) in [
        ("conv*", "conv1.weight", true),
        ("conv*", "fc1.weight", false),
        ("*.bias", "fc1.bias", true),
        ("*.bias", "fc1.bias.x", false),
        ("fc1.weight", "fc1.weight", true),
        ("fc1", "fc1.weight", false),
        ("*", "anything", true),
        ("a*b*c", "a-b-b-c", true),
        ("a*b*c", "a-c-b", false),
    ] {
        assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
    }
}

#[test]
fn xor_is_learned_by_hidden_units_and_not_without() {
    let (x, target) = xor();
    let mut training = Training::new(&model(), options("binary_cross_entropy")).unwrap();
    let mut loss = f64::NAN;
    for _ in 0..400 {
        loss = training.step(&[("x", &x), ("target", &target)]).unwrap();
    }
    assert!(loss < 0.05, "{loss}");
    let outputs = training.run(&[("x", &x)]).unwrap();
    let right = outputs[0].as_slice::<f32>().unwrap().iter().zip(target.as_slice::<f32>().unwrap());
    assert!(right.into_iter().all(|(y, t)| (*y > 0.0) == (*t > 0.5)));

    let mut graph = Builder::new("line", 1);
    let x_value = graph.input("x", DType::F32, &[None, Some(2)]).unwrap();
    let y = Dense::new("out", 1).apply(&mut graph, &x_value).unwrap();
    graph.output("y", &y).unwrap();
    let mut training = Training::new(&graph.finish(), options("binary_cross_entropy")).unwrap();
    for _ in 0..400 {
        loss = training.step(&[("x", &x), ("target", &target)]).unwrap();
    }
    assert!(loss > 0.69, "a straight line cannot: {loss}");
}

#[test]
fn a_restored_training_goes_on_bit_for_bit() {
    let (x, target) = xor();
    let inputs = [("x", &x), ("target", &target)];
    let options = || options("squared").schedule(Schedule::Cosine { steps: 20, floor: 0.1 }).accumulate(2);
    let mut straight = Training::new(&model(), options()).unwrap();
    let mut first = Training::new(&model(), options()).unwrap();
    for _ in 0..7 {
        straight.step(&inputs).unwrap();
        first.step(&inputs).unwrap();
    }
    let mut second = Training::new(&model(), options()).unwrap();
    second.restore(&first.state()).unwrap();
    for _ in 0..7 {
        assert_eq!(straight.step(&inputs).unwrap().to_bits(), second.step(&inputs).unwrap().to_bits());
    }
    assert_eq!(straight.state(), second.state());
    let mut other = Training::new(&model(), TrainingOptions::new(Loss::squared(), adam(0.1))).unwrap();
    let error = other.restore(&first.state()).unwrap_err().to_string();
    assert!(error.contains("tensors, as this training has"), "{error}");
}

#[test]
fn accumulated_gradients_are_those_of_the_whole() {
    let (x, target) = xor();
    let sgd = || Optimizer::Sgd(crate::engine::optimizers::Sgd { learning_rate: 0.1 });
    let mut whole = Training::new(&model(), TrainingOptions::new(Loss::squared(), sgd())).unwrap();
    let mut parts = Training::new(&model(), TrainingOptions::new(Loss::squared(), sgd()).accumulate(2)).unwrap();
    for _ in 0..3 {
        whole.step(&[("x", &x), ("target", &target)]).unwrap();
        for half in 0..2 {
            let x = x.narrow(0, half * 2, half * 2 + 2).unwrap();
            let target = target.narrow(0, half * 2, half * 2 + 2).unwrap();
            parts.step(&[("x", &x), ("target", &target)]).unwrap();
        }
    }
    assert_eq!((whole.steps(), parts.steps()), (3, 3));
    for ((name, a), (_, b)) in whole.model().graph.initializers.iter().zip(&parts.model().graph.initializers) {
        let difference = crate::engine::testing::difference(a, b, 1e-6);
        assert_eq!(difference, None, "{name}");
    }
}

#[test]
fn frozen_weights_stay_and_rates_and_penalties_hold() {
    let (x, target) = xor();
    let inputs = [("x", &x), ("target", &target)];
    let mut training = Training::new(&model(), options("squared").freeze("hidden.*")).unwrap();
    training.step(&inputs).unwrap();
    let (before, after) = (model(), training.model());
    for name in ["hidden.weight", "hidden.bias"] {
        assert_eq!(before.graph.initializer(name), after.graph.initializer(name));
    }
    assert_ne!(before.graph.initializer("out.weight"), after.graph.initializer("out.weight"));

    let mut training = Training::new(&model(), options("squared").rate_for("out.*", 0.0)).unwrap();
    training.step(&inputs).unwrap();
    assert_eq!(before.graph.initializer("out.weight"), training.model().graph.initializer("out.weight"));

    // With targets that the model meets, only the penalty pulls.
    let mut training = Training::new(&model(), options("squared")).unwrap();
    let met = training.run(&[("x", &x)]).unwrap().remove(0);
    let sgd = Optimizer::Sgd(crate::engine::optimizers::Sgd { learning_rate: 0.1 });
    let penalised = TrainingOptions::new(Loss::squared(), sgd).penalty(Penalty { l1: 0.0, l2: 0.5 });
    let mut training = Training::new(&model(), penalised).unwrap();
    training.step(&[("x", &x), ("target", &met)]).unwrap();
    let model_after = training.model();
    let (old, new) =
        (before.graph.initializer("out.weight").unwrap(), model_after.graph.initializer("out.weight").unwrap());
    for (old, new) in old.as_slice::<f32>().unwrap().iter().zip(new.as_slice::<f32>().unwrap()) {
        assert!((new - 0.95 * old).abs() < 1e-6, "{old} {new}");
    }
    assert_eq!(before.graph.initializer("out.bias"), model_after.graph.initializer("out.bias"), "rank 1");
}

#[test]
fn clipping_bounds_the_step() {
    let (x, _) = xor();
    let far = Tensor::new(vec![4, 1], vec![1e6f32; 4]).unwrap();
    for clip in [Clip::Norm(1.0), Clip::Value(0.25)] {
        let sgd = Optimizer::Sgd(crate::engine::optimizers::Sgd { learning_rate: 1.0 });
        let mut training = Training::new(&model(), TrainingOptions::new(Loss::squared(), sgd).clip(clip)).unwrap();
        training.step(&[("x", &x), ("target", &far)]).unwrap();
        let (before, after) = (model(), training.model());
        let mut squares = 0.0;
        for ((_, a), (_, b)) in before.graph.initializers.iter().zip(&after.graph.initializers) {
            for (a, b) in a.as_slice::<f32>().unwrap().iter().zip(b.as_slice::<f32>().unwrap()) {
                assert!((a - b).abs() <= 1.0 + 1e-5);
                squares += f64::from(a - b).powi(2);
            }
        }
        match clip {
            Clip::Norm(_) => assert!((squares.sqrt() - 1.0).abs() < 1e-4, "{squares}"),
            _ => assert!(squares > 0.06, "{squares}"),
        }
    }
}

#[test]
fn a_step_that_is_not_finite_changes_nothing() {
    let (x, target) = xor();
    let mut training = Training::new(&model(), options("squared")).unwrap();
    training.step(&[("x", &x), ("target", &target)]).unwrap();
    let before = training.state();
    let mut bad = x.as_slice::<f32>().unwrap().to_vec();
    bad[3] = f32::NAN;
    let bad = Tensor::new(vec![4, 2], bad).unwrap();
    let error = training.step(&[("x", &bad), ("target", &target)]).unwrap_err();
    assert!(matches!(error, EngineError::NotFinite { step: 1, .. }), "{error}");
    assert_eq!(training.state(), before);
    training.step(&[("x", &x), ("target", &target)]).unwrap();
}

#[test]
fn what_is_wrong_is_said() {
    let (x, target) = xor();
    let new = |options| Training::new(&model(), options).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(new(options("squared").freeze("conv*")).contains("no weight that matches `conv*`; there is hidden.weight"));
    assert!(new(options("squared").clip(Clip::Norm(0.0))).contains("clip: expected a number above 0"));
    assert!(new(options("squared").accumulate(0)).contains("accumulate"));
    let loss = Loss::squared().of(&["z"]);
    assert!(new(TrainingOptions::new(loss, adam(0.1))).contains("no output `z`; there is y"));
    let loss = Loss::squared().targets(&["x"]);
    assert!(new(TrainingOptions::new(loss, adam(0.1))).contains("name the loss's target otherwise"));
    let mut training = Training::new(&model(), options("squared")).unwrap();
    let error = training.step(&[("x", &x)]).unwrap_err().to_string();
    assert!(error.contains("input `target`: expected a tensor, found nothing"), "{error}");
    let error = training.step(&[("x", &x), ("y", &target)]).unwrap_err().to_string();
    assert!(error.contains("no input `y`; there is x, target"), "{error}");
    let short = target.narrow(0, 0, 3).unwrap();
    let error = training.step(&[("x", &x), ("target", &short)]).unwrap_err().to_string();
    assert!(error.contains("SquaredError") && error.contains("[3, 1]"), "{error}");
}

/// `y = norm(x·w)` and the statistics that it keeps.
fn normalised() -> Model {
    let mut graph = crate::onnx::Graph::new("normalised");
    graph.inputs.push(ValueInfo::tensor("x", DType::F32, SymbolicShape::Unranked));
    graph.outputs.push(ValueInfo::tensor("y", DType::F32, SymbolicShape::Unranked));
    let square = Tensor::new(vec![2, 2], vec![0.5f32, -1.0, 0.25, 0.75]).unwrap();
    graph.initializers.push(("w".into(), square));
    for (name, values) in [("scale", [1.5f32, 0.5]), ("bias", [0.0, 0.25]), ("mean", [0.5, -0.5]), ("var", [2.0, 0.5])]
    {
        graph.initializers.push((name.into(), Tensor::from_vec(values.to_vec())));
    }
    graph.nodes.push(Node::new("MatMul", ["x", "w"], ["h"]));
    graph.nodes.push(Node::new("BatchNormalization", ["h", "scale", "bias", "mean", "var"], ["y"]));
    Model::new(graph, 17)
}

fn sgd(rate: f64) -> Optimizer {
    Optimizer::Sgd(crate::engine::optimizers::Sgd { learning_rate: rate })
}

fn weights_of(training: &mut Training, names: &[&str]) -> Vec<Vec<f32>> {
    let weight = |name: &&str| training.network().weight(name).unwrap().as_slice::<f32>().unwrap().to_vec();
    names.iter().map(weight).collect()
}

#[test]
fn frozen_statistics_stay_and_are_normalised_by() {
    let (x, _) = xor();
    let target = Tensor::new(vec![4, 2], vec![0.0f32, 1.0, 1.0, 0.0, 0.5, -0.5, 2.0, 1.0]).unwrap();
    let inputs = [("x", &x), ("target", &target)];
    let before = normalised().graph.initializers;
    for (frozen, changed) in [
        (&["*"][..], &[][..]),
        (&["mean", "var"], &["w", "scale", "bias"]),
        (&["mean"], &["w", "scale", "bias", "var"]),
        (&[], &["w", "scale", "bias", "mean", "var"]),
    ] {
        let options = TrainingOptions::new(Loss::squared(), sgd(0.1));
        let options = frozen.iter().fold(options, |options, pattern| options.freeze(pattern));
        let mut training = Training::new(&normalised(), options).unwrap();
        let expected = training.evaluate(&inputs).unwrap();
        let loss = training.step(&inputs).unwrap();
        let after = training.model().graph.initializers;
        let found: Vec<&str> =
            before.iter().zip(&after).filter(|(a, b)| a != b).map(|((name, _), _)| name.as_str()).collect();
        assert_eq!(found, changed, "{frozen:?}");
        // With both statistics frozen a step normalises as inference does, else by the batch.
        let as_inference = matches!(frozen, ["*"] | ["mean", "var"]);
        assert_eq!((loss - expected).abs() < 1e-6, as_inference, "{frozen:?}: {loss} {expected}");
    }
}

#[test]
fn gradients_through_frozen_statistics_agree_with_differences() {
    let (x, _) = xor();
    let target = Tensor::new(vec![4, 2], vec![0.0f32, 1.0, 1.0, 0.0, 0.5, -0.5, 2.0, 1.0]).unwrap();
    let inputs = [("x", &x), ("target", &target)];
    let options = TrainingOptions::new(Loss::squared(), sgd(1.0)).freeze("mean").freeze("var");
    let mut training = Training::new(&normalised(), options).unwrap();
    let names = ["w", "scale", "bias"];
    let before = weights_of(&mut training, &names);
    let mut expected = Vec::new();
    for (name, values) in names.iter().zip(&before) {
        let shape = training.network().weight(name).unwrap().shape().to_vec();
        for at in 0..values.len() {
            let mut loss = |by: f32| {
                let mut moved = values.clone();
                moved[at] += by;
                training.network().set_weight(name, &Tensor::new(shape.clone(), moved).unwrap()).unwrap();
                training.evaluate(&inputs).unwrap()
            };
            // The loss is a square of each weight: central differences are exact but for rounding.
            expected.push((loss(0.25) - loss(-0.25)) / 0.5);
            loss(0.0);
        }
    }
    training.step(&inputs).unwrap();
    let after = weights_of(&mut training, &names);
    let found = before.concat().into_iter().zip(after.concat()).map(|(before, after)| f64::from(before - after));
    for (index, (found, expected)) in found.zip(expected).enumerate() {
        assert!((found - expected).abs() < 1e-4, "{index}: {found}, by differences {expected}");
    }
}

#[test]
fn every_batch_counts_in_running_statistics_also_while_gradients_wait() {
    let (x, _) = xor();
    let target = Tensor::new(vec![4, 2], vec![0.0f32; 8]).unwrap();
    let double =
        Tensor::new(vec![4, 2], x.as_slice::<f32>().unwrap().iter().map(|x| 2.0 * x + 1.0).collect::<Vec<_>>());
    let double = double.unwrap();
    let mut found = Vec::new();
    for accumulate in [1, 2, 3] {
        let options = TrainingOptions::new(Loss::squared(), sgd(0.1)).rate_for("*", 0.0).accumulate(accumulate);
        let mut training = Training::new(&normalised(), options).unwrap();
        for x in [&x, &double] {
            training.step(&[("x", x), ("target", &target)]).unwrap();
        }
        found.push(weights_of(&mut training, &["mean", "var"]));
    }
    assert_eq!(found[0], found[1]);
    assert_eq!(found[0], found[2]);
    assert_ne!(found[0], [[0.5, -0.5], [2.0, 0.5]]);
}

/// `y = (w·x) ^ two`, as files have it that were exported from a program.
fn squared_by_a_scalar() -> Model {
    let mut graph = crate::onnx::Graph::new("power");
    graph.inputs.push(ValueInfo::tensor("x", DType::F32, SymbolicShape::Unranked));
    graph.outputs.push(ValueInfo::tensor("y", DType::F32, SymbolicShape::Unranked));
    graph.initializers.push(("w".into(), Tensor::from_vec(vec![1.0f32, -1.0])));
    graph.initializers.push(("two".into(), Tensor::scalar(2.0f32)));
    graph.nodes.push(Node::new("Mul", ["x", "w"], ["h"]));
    graph.nodes.push(Node::new("Pow", ["h", "two"], ["y"]));
    Model::new(graph, 17)
}

#[test]
fn scalars_are_trained_only_where_asked() {
    let (x, target) = (Tensor::from_vec(vec![1.0f32, 2.0]), Tensor::from_vec(vec![2.0f32, 3.0]));
    let inputs = [("x", &x), ("target", &target)];
    let options = || TrainingOptions::new(Loss::squared(), sgd(0.01));
    let mut training = Training::new(&squared_by_a_scalar(), options()).unwrap();
    for _ in 0..3 {
        training.step(&inputs).unwrap();
    }
    let found = weights_of(&mut training, &["w", "two"]);
    assert_eq!(found[1], [2.0]);
    assert_ne!(found[0], [1.0, -1.0]);
    // The derivative is (h ^ two)·ln h, and h is negative once: the error says which weight that is.
    let mut training = Training::new(&squared_by_a_scalar(), options().train_scalars("t*")).unwrap();
    let error = training.step(&inputs).unwrap_err().to_string();
    assert!(error.contains("the gradient of weight `two` is not finite"), "{error}");
    let positive = Tensor::from_vec(vec![1.0f32, -2.0]);
    training.step(&[("x", &positive), ("target", &target)]).unwrap();
    assert_ne!(weights_of(&mut training, &["two"]), [[2.0]]);
    let error = Training::new(&squared_by_a_scalar(), options().train_scalars("three")).err().unwrap().to_string();
    assert!(error.contains("no weight that matches `three`"), "{error}");
}

#[test]
fn clipping_saves_a_gradient_whose_square_is_too_large_for_f32() {
    let x = Tensor::new(vec![1, 2], vec![1e10f32, -1e10]).unwrap();
    let target = Tensor::new(vec![1, 1], vec![1e15f32]).unwrap();
    let inputs = [("x", &x), ("target", &target)];
    let line = || {
        let mut graph = Builder::new("line", 1);
        let x = graph.input("x", DType::F32, &[None, Some(2)]).unwrap();
        let y = Dense::new("out", 1).apply(&mut graph, &x).unwrap();
        graph.output("y", &y).unwrap();
        graph.finish()
    };
    for accumulate in [1, 2] {
        let options = TrainingOptions::new(Loss::squared(), sgd(1.0)).accumulate(accumulate);
        let mut training = Training::new(&line(), options.clone().clip(Clip::Norm(1.0))).unwrap();
        let before = weights_of(&mut training, &["out.weight", "out.bias"]).concat();
        for _ in 0..accumulate {
            training.step(&inputs).unwrap();
        }
        let after = weights_of(&mut training, &["out.weight", "out.bias"]).concat();
        let moved: f32 = before.iter().zip(&after).map(|(a, b)| (a - b).powi(2)).sum();
        assert!((moved - 1.0).abs() < 1e-4, "{accumulate}: {moved}");
        // Without, an optimizer that squares it would never recover.
        let mut training = Training::new(&line(), options).unwrap();
        let before = training.state();
        let error = training.step(&inputs).unwrap_err().to_string();
        assert!(error.contains("the gradient of weight `out.weight`") && error.contains("clipping"), "{error}");
        assert_eq!(training.state(), before);
    }
    for (values, expected) in [(&[3.0f32, 4.0][..], 25.0), (&[f32::MAX], f64::from(f32::MAX).powi(2))] {
        assert_eq!(sum_of_squares(Slice::F32(values)), expected);
    }
    assert!(sum_of_squares(Slice::F32(&[1.0, f32::INFINITY])).is_infinite());
    assert!(sum_of_squares(Slice::F32(&[1e30, f32::NAN])).is_nan());
}
