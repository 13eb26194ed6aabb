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
