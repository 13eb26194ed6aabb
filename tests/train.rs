//! Training as a user does it: recipes through the program, and what comes out on ONNX Runtime.
#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

mod common;

use std::fs;
use std::path::Path;

use common::{percept, records, root, run};
use percept::engine::Network;
use percept::onnx::Model;
use percept::tensor::Tensor;
use percept::train::Recipe;

/// A copy of models/xor in a folder of its own.
fn xor() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["recipe.yaml", "xor.csv"] {
        fs::copy(root().join("models/xor").join(name), folder.path().join(name)).unwrap();
    }
    folder
}

#[test]
fn every_recipe_that_comes_with_percept_is_sound() {
    let mut count = 0;
    for entry in fs::read_dir(root().join("models")).unwrap() {
        let path = entry.unwrap().path();
        if path.join("recipe.yaml").is_file() {
            let recipe = Recipe::open(&path, &[]).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert_eq!(recipe.settings.name, path.file_name().unwrap().to_str().unwrap());
            let model = recipe.model().unwrap();
            Network::new(&model).unwrap();
            count += 1;
        }
    }
    assert!(count >= 3, "{count}");
}

#[test]
fn xor_is_trained_measured_and_runs() {
    let folder = xor();
    let (code, stdout, stderr) = run(percept().arg("train").arg(folder.path()));
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("xor: 42 weights; 4 samples to train on"), "{stderr}");
    assert!(stderr.contains("epoch 300 of 300  loss 0.0"), "{stderr}");
    let trained = folder.path().join("trained");
    assert!(stdout.contains("written: ") && trained.join("model.onnx").is_file(), "{stdout}");
    assert_eq!(records(&trained.join("log.jsonl")).len(), 300);
    assert!(fs::read(trained.join("curve.png")).unwrap().starts_with(b"\x89PNG"));
    assert!(fs::read_to_string(trained.join("curve.svg")).unwrap().starts_with("<svg"));

    let (code, stdout, stderr) =
        run(percept().arg("eval").arg(trained.join("model.onnx")).arg("--data").arg(folder.path()));
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("4 samples") && stdout.contains("accuracy 100.00 %, F1 1.0000"), "{stdout}");
    let (code, stdout, _) =
        run(percept().arg("eval").arg(trained.join("model.onnx")).arg("--data").arg(folder.path()).arg("--json"));
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &json["accuracy"], &json["samples"]), (0, &1.0.into(), &4.into()));

    let x = Tensor::new(vec![4, 2], vec![0.0f32, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0]).unwrap();
    let scores = Network::load(trained.join("model.onnx")).unwrap().run(&[("x", &x)]).unwrap().remove(0);
    let said: Vec<bool> = scores.as_slice::<f32>().unwrap().chunks(2).map(|pair| pair[1] > pair[0]).collect();
    assert_eq!(said, [false, true, true, false]);
}

#[test]
fn a_perceptron_does_not_learn_xor() {
    let folder = xor();
    let model = "model={perceptron: {inputs: 2, outputs: 2}}";
    let (code, _, stderr) = run(percept().arg("train").arg(folder.path()).args(["--set", model]));
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("epoch 300 of 300  loss 0.6931"), "{stderr}");
}

#[test]
fn a_training_is_resumed_where_it_was() {
    let (straight, halved) = (xor(), xor());
    let train = |folder: &Path, more: &[&str]| {
        let (code, _, stderr) = run(percept().arg("train").arg(folder).args(more));
        assert_eq!(code, 0, "{stderr}");
    };
    train(straight.path(), &["--set", "epochs=40"]);
    train(halved.path(), &["--set", "epochs=25"]);
    train(halved.path(), &["--set", "epochs=40", "--resume", "-q"]);
    let file = |folder: &Path, name: &str| fs::read(folder.join("trained").join(name)).unwrap();
    for name in ["model.onnx", "log.jsonl"] {
        assert_eq!(file(straight.path(), name), file(halved.path(), name), "{name}");
    }
}

#[test]
fn a_file_is_fine_tuned_with_frozen_weights() {
    let folder = xor();
    let (code, _, stderr) = run(percept().arg("train").arg(folder.path()).args(["--set", "epochs=50", "-q"]));
    assert_eq!(code, 0, "{stderr}");
    let first = folder.path().join("trained/model.onnx");
    fs::copy(&first, folder.path().join("mine.onnx")).unwrap();
    let tune = ["--set", "model={onnx: mine.onnx}", "--set", "freeze=[hidden1.*]", "--set", "output=tuned", "-q"];
    let (code, _, stderr) = run(percept().arg("train").arg(folder.path()).args(tune));
    assert_eq!(code, 0, "{stderr}");
    let (before, after) = (Model::load(first).unwrap(), Model::load(folder.path().join("tuned/model.onnx")).unwrap());
    let weight = |model: &Model, name: &str| model.graph.initializer(name).unwrap().clone();
    for name in ["hidden1.weight", "hidden1.bias"] {
        assert_eq!(weight(&before, name), weight(&after, name));
    }
    assert_ne!(weight(&before, "out.weight"), weight(&after, "out.weight"));
}

#[test]
fn what_is_wrong_is_said_before_anything_is_trained() {
    let folder = xor();
    let cases: &[(&[&str], i32, &str)] = &[
        (&["--set", "model={lenet6: {}}"], 2, "did you mean `lenet5`"),
        (&["--set", "loss=cross_entorpy"], 2, "did you mean `cross_entropy`"),
        (&["--set", "data.train={csv: {path: xor.csv}}"], 2, "target"),
        (&["--set", "data.train={csv: {path: none.csv, target: class}}"], 1, "none.csv"),
        (&["--set", "model={onnx: none.onnx}"], 2, "there is no file"),
        (&["--set", "freeze=[conv*]"], 1, "no weight that matches `conv*`"),
        (&["--set", "optimizer={kind: adam, learning_rate: -1}"], 2, "learning_rate"),
        (&["--set", "optimizer={kind: sgd, learning_rate: 1.0e+30}", "--set", "loss=squared"], 1, "SquaredError"),
        (&["--set", "epochs=0"], 2, "epochs"),
    ];
    for (arguments, expected, part) in cases {
        let (code, _, stderr) = run(percept().arg("train").arg(folder.path()).args(*arguments));
        assert_eq!(code, *expected, "{arguments:?}: {stderr}");
        assert!(stderr.contains(part), "{arguments:?}: {stderr}");
    }
    let (code, _, stderr) = run(percept().arg("train").arg(folder.path()).arg("--check"));
    assert_eq!(code, 0, "{stderr}");
    assert!(!folder.path().join("trained").join("model.onnx").exists());
    let (code, _, stderr) = run(percept().args(["train", "/nowhere"]));
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("/nowhere"), "{stderr}");
}

/// The fashion recipes say how to get their data where they are not.
#[test]
fn missing_data_come_with_the_way_to_get_them() {
    let data =
        "data={get: apt-get install dataset-fashion-mnist, train: {idx: {images: /nowhere/a, labels: /nowhere/b}}}";
    let (code, _, stderr) = run(percept().args(["train", "models/fashion-mlp", "--set", data]));
    assert_eq!(code, 1, "{stderr}");
    // Long lines are wrapped.
    let said = stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("/nowhere/a") && said.contains("apt-get install dataset-fashion-mnist"), "{stderr}");
}

/// The library that `percept setup` fetched.
#[cfg(feature = "onnxruntime")]
fn fetched() -> Option<std::path::PathBuf> {
    use percept::cards::{Cache, Card, Located};
    let card = Card::built_in("onnxruntime")?.ok()?;
    match card.locate("library", &Cache::from_env().ok()?) {
        Ok(Located::Ready(library)) => Some(library),
        _ => None,
    }
}

/// What the engine computes is what ONNX Runtime computes on the file that it saved, before and after training.
#[cfg(feature = "onnxruntime")]
#[test]
fn saved_models_give_the_same_on_onnx_runtime() {
    use percept::inference::ort::{OrtConfig, initialize};
    use percept::inference::{SessionOptions, Value};
    use percept::zoo::{Architecture, Cell, Lenet5, Mlp, RecurrentClassifier, RecurrentTagger, Tdnn};

    if !common::models_are_here() {
        return;
    }
    let library = fetched().expect("make test fetches it");
    let runtime = initialize(&OrtConfig::new(library)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let tokens = |shape: [usize; 2]| {
        let count = shape[0] * shape[1];
        Tensor::new(shape.to_vec(), (0..count as i64).map(|i| i * 7 % 12).collect::<Vec<i64>>()).unwrap()
    };
    let numbers = |shape: &[usize]| {
        let count: usize = shape.iter().product();
        Tensor::new(shape.to_vec(), (0..count).map(|i| (i as f32 * 0.37).sin()).collect::<Vec<f32>>()).unwrap()
    };
    let classifier =
        |cell| RecurrentClassifier { vocabulary: 12, classes: 3, cell, embedding: 5, hidden: 7, lengths: false };
    let models: Vec<(&str, Box<dyn Architecture>, Tensor, Tensor)> = vec![
        ("lenet5", Box::new(Lenet5::default()), numbers(&[2, 1, 28, 28]), Tensor::from_vec(vec![3i64, 9])),
        (
            "mlp",
            Box::new(Mlp { inputs: vec![5], hidden: vec![8], outputs: 4 }),
            numbers(&[3, 5]),
            Tensor::from_vec(vec![0i64, 1, 3]),
        ),
        ("gru", Box::new(classifier(Cell::Gru)), tokens([2, 9]), Tensor::from_vec(vec![0i64, 2])),
        ("elman", Box::new(classifier(Cell::Elman)), tokens([2, 9]), Tensor::from_vec(vec![0i64, 2])),
        (
            "tagger",
            Box::new(RecurrentTagger {
                vocabulary: 12,
                classes: 3,
                cell: Cell::Lstm,
                embedding: 5,
                hidden: 7,
                lengths: false,
            }),
            tokens([2, 4]),
            Tensor::new(vec![2, 4], vec![0i64, 1, 2, 0, 1, 2, -100, 0]).unwrap(),
        ),
        (
            "tdnn",
            Box::new(Tdnn { features: 6, classes: 3, channels: 8, dilations: vec![1, 2], lengths: false }),
            numbers(&[2, 6, 20]),
            Tensor::from_vec(vec![0i64, 2]),
        ),
    ];
    for (name, architecture, x, target) in models {
        use percept::engine::{Loss, Optimizer, Training, TrainingOptions, optimizers::Adam};
        let optimizer = Optimizer::Adam(Adam { learning_rate: 0.01, ..Adam::default() });
        let model = architecture.build(1).unwrap();
        let mut training = Training::new(&model, TrainingOptions::new(Loss::cross_entropy(), optimizer)).unwrap();
        let mut losses = Vec::new();
        for part in ["before", "after"] {
            let path = folder.path().join(format!("{name}-{part}.onnx"));
            training.model().save(&path).unwrap();
            let ours = training.run(&[("x", &x)]).unwrap().remove(0);
            let mut session = runtime.load(&path, &SessionOptions::default()).unwrap();
            let theirs =
                session.run(&[("x", &Value::from(x.clone()))], &["y"]).unwrap().remove(0).into_tensor().unwrap();
            assert_eq!(ours.shape(), theirs.shape(), "{name} {part}");
            for (ours, theirs) in ours.as_slice::<f32>().unwrap().iter().zip(theirs.as_slice::<f32>().unwrap()) {
                assert!((ours - theirs).abs() <= 1e-4 * theirs.abs().max(1.0), "{name} {part}: {ours} {theirs}");
            }
            for _ in 0..20 {
                losses.push(training.step(&[("x", &x), ("target", &target)]).unwrap());
            }
        }
        assert!(losses[39] < losses[0] * 0.7, "{name}: {losses:?}");
    }
}
