//! Training as a user does it: recipes through the program, and what comes out on ONNX Runtime.
#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

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
            Network::new(recipe.model()).unwrap();
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

/// An earlier training is never written over unasked: neither what it learnt nor its log.
#[test]
fn an_earlier_training_is_kept() {
    let folder = xor();
    let train = |more: &[&str]| {
        let (code, _, stderr) = run(percept().arg("train").arg(folder.path()).args(["--set", "epochs=5"]).args(more));
        (code, stderr.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let contents = || {
        let names = fs::read_dir(folder.path().join("trained")).unwrap().map(|entry| entry.unwrap().path());
        names.map(|path| (path.clone(), fs::read(path).unwrap())).collect::<std::collections::BTreeMap<_, _>>()
    };
    assert_eq!(train(&[]).0, 0);
    let before = contents();
    let (code, said) = train(&[]);
    assert_eq!(code, 2, "{said}");
    for part in ["an earlier training lies in", "checkpoint.safetensors", "--resume", "--set output=NAME"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // With another seed, minibatch or model it is another training.
    for (change, key) in [("seed=9", "`seed`"), ("batch=1", "`batch`"), ("model.mlp.hidden=[9]", "`model.mlp.hidden`")]
    {
        let (code, said) = train(&["--resume", "--set", change]);
        assert!(code == 2 && said.contains(key), "{change}: {code} {said}");
    }
    assert_eq!(contents(), before);
    assert_eq!(train(&["--check"]).0, 0, "a check writes nothing");
    assert_eq!(train(&["--set", "output=again"]).0, 0);
    assert_eq!(train(&["--resume", "--set", "epochs=6"]).0, 0);
    // A model without its checkpoint is kept as well.
    fs::remove_file(folder.path().join("trained/checkpoint.safetensors")).unwrap();
    let (code, said) = train(&["--resume"]);
    assert!(code == 2 && said.contains("model.onnx would be written over"), "{said}");
}

/// On two threads, with noise, gradients that wait from epoch to epoch and a rate that falls on a plateau, a seed gives the
/// same bits, and so does a training that was gone on with.
#[test]
fn one_seed_gives_the_same_bits_on_two_threads() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["recipe.yaml", "digits.csv.gz"] {
        fs::copy(root().join("models/digits").join(name), folder.path().join(name)).unwrap();
    }
    let train = |output: &str, seed: u64, epochs: u64, more: &[&str]| {
        let changes = [format!("output={output}"), format!("seed={seed}"), format!("epochs={epochs}")];
        // All samples at once: enough for both threads.
        let also = ["threads=2", "batch=0", "accumulate=2", "schedule={kind: on_plateau, factor: 0.5, patience: 0}"];
        let set = changes.iter().map(String::as_str).chain(also).flat_map(|change| ["--set", change]);
        let (code, _, stderr) = run(percept().arg("train").arg(folder.path()).args(set).args(more));
        assert_eq!(code, 0, "{stderr}");
        ["model.onnx", "checkpoint.safetensors", "log.jsonl"]
            .map(|name| fs::read(folder.path().join(output).join(name)).unwrap())
    };
    let first = train("straight", 1, 3, &[]);
    train("halved", 1, 1, &[]);
    for (way, again) in [("again", train("again", 1, 3, &[])), ("halved", train("halved", 1, 3, &["--resume"]))] {
        for (at, name) in ["model", "checkpoint", "log"].into_iter().enumerate() {
            assert!(first[at] == again[at], "{way}: {name}");
        }
    }
    assert_ne!(train("other", 2, 3, &[])[0], first[0]);
}

/// Samples that are left out are named, once, and counted where a model is measured.
#[test]
fn bad_samples_are_named_and_counted() {
    let folder = xor();
    let bad = "a,b,class\n0,0,0\n0,?,1\n0,1,1\n1,0,1\n1,1,0\n";
    fs::write(folder.path().join("bad.csv"), bad).unwrap();
    let data = "{csv: {path: bad.csv, target: class}}";
    let set = [format!("data.train={data}"), format!("data.test={data}"), "epochs=5".into()];
    let set: Vec<&str> = set.iter().flat_map(|change| ["--set", change]).collect();
    let train = |more: &[&str]| run(percept().arg("train").arg(folder.path()).args(&set).args(more));
    let (code, _, stderr) = train(&[]);
    assert!(code == 1 && stderr.contains("max_bad"), "{stderr}");
    let (code, stdout, stderr) = train(&["--set", "max_bad=1"]);
    assert_eq!(code, 0, "{stderr}");
    for part in ["sample 1 of the training data is left out", "sample 1 of the test data is left out"] {
        assert_eq!(stderr.matches(part).count(), 1, "{part}: {stderr}");
    }
    assert!(stdout.contains("on 4 samples"), "{stdout}");
    let model = folder.path().join("trained/model.onnx");
    let eval = |more: &[&str]| {
        run(percept()
            .arg("eval")
            .arg(&model)
            .arg("--data")
            .arg(folder.path())
            .args(&set)
            .args(["--set", "max_bad=1"])
            .args(more))
    };
    let (code, stdout, stderr) = eval(&[]);
    assert!(code == 0 && stdout.contains("1 bad samples left out"), "{stdout}{stderr}");
    assert!(stderr.contains("sample 1 of the measured data is left out"), "{stderr}");
    let json: serde_json::Value = serde_json::from_str(&eval(&["--json"]).1).unwrap();
    assert_eq!((&json["samples"], &json["bad_samples"]), (&4.into(), &1.into()));
}

/// Killed in the middle of epochs, and of what it writes, a training that is resumed ends in the same bits.
#[test]
fn a_training_that_is_killed_is_resumed_to_the_same_bits() {
    let (straight, killed) = (xor(), xor());
    let epochs = ["--set", "epochs=60", "--set", "batch=1", "-q"];
    let (code, _, stderr) = run(percept().arg("train").arg(straight.path()).args(epochs));
    assert_eq!(code, 0, "{stderr}");
    let log = killed.path().join("trained/log.jsonl");
    let lines = || fs::read_to_string(&log).unwrap_or_default().lines().count();
    let mut kills = 0;
    for (round, goal) in [5, 17, 30, 44].into_iter().enumerate() {
        let mut child = percept().arg("train").arg(killed.path()).args(epochs).arg("--resume").spawn().unwrap();
        let alive = |child: &mut Child| child.try_wait().unwrap().is_none();
        while lines() < goal && alive(&mut child) {
            std::thread::sleep(Duration::from_micros(200));
        }
        // Each time at another place of an epoch.
        std::thread::sleep(Duration::from_micros(300 * round as u64));
        kills += usize::from(alive(&mut child));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(kills > 0, "it was never caught at work");
    let (code, _, stderr) = run(percept().arg("train").arg(killed.path()).args(epochs).arg("--resume"));
    assert_eq!(code, 0, "{stderr}");
    let file = |folder: &Path, name: &str| fs::read(folder.join("trained").join(name)).unwrap();
    for name in ["model.onnx", "log.jsonl", "checkpoint.safetensors", "curve.svg"] {
        assert_eq!(file(straight.path(), name), file(killed.path(), name), "{name}");
    }
    let names = fs::read_dir(killed.path().join("trained")).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = names.filter(|name| name.to_string_lossy().ends_with(".part")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Where a checkpoint cannot be written any more, the training ends, says what to do, and the one before is whole.
#[cfg(unix)]
#[test]
fn a_checkpoint_that_does_not_fit_leaves_the_one_before() {
    let folder = xor();
    let (code, _, stderr) = run(percept().arg("train").arg(folder.path()).args(["--set", "epochs=2", "-q"]));
    assert_eq!(code, 0, "{stderr}");
    let trained = folder.path().join("trained");
    let before = fs::read(trained.join("checkpoint.safetensors")).unwrap();
    // Files may have a block of 512 bytes: a checkpoint has more, the log does not get that far.
    let mut shell = Command::new("sh");
    shell.arg("-c").arg("trap '' XFSZ; ulimit -f 1; exec \"$@\"").arg("sh").arg(env!("CARGO_BIN_EXE_percept"));
    shell.arg("train").arg(folder.path()).args(["--set", "epochs=40", "--resume", "-q"]).env("NO_COLOR", "1");
    let (code, _, stderr) = run(&mut shell);
    assert_eq!(code, 1, "{stderr}");
    let said = stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("checkpoint.safetensors") && said.contains("make room"), "{stderr}");
    assert_eq!(fs::read(trained.join("checkpoint.safetensors")).unwrap(), before);
    let resume = ["--set", "epochs=40", "--resume"];
    let (code, _, stderr) = run(percept().arg("train").arg(folder.path()).args(resume));
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("epoch  3 of 40") && !stderr.contains("epoch  2 of 40"), "{stderr}");
}

/// A learning rate that is far too high ends the training with an error; the best epoch is kept, and gone on from.
#[test]
fn a_training_that_diverges_keeps_its_best_epoch() {
    let folder = xor();
    let line = "model={perceptron: {inputs: 2, outputs: 1}}";
    let data = "data.train={csv: {path: xor.csv, target: class, target_type: number}}";
    let rate = |rate: &str| format!("optimizer={{kind: sgd, learning_rate: {rate}}}");
    let common = ["--set", line, "--set", data, "--set", "loss=squared", "--set"];
    let train = |more: &[&str]| run(percept().arg("train").arg(folder.path()).args(common).args(more));
    let (code, _, stderr) = train(&[&rate("0.01"), "--set", "epochs=10"]);
    assert_eq!(code, 0, "{stderr}");
    let (code, _, stderr) = train(&[&rate("100"), "--set", "epochs=100", "--resume"]);
    let said = stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(code, 1, "{stderr}");
    for part in ["the training diverged in epoch", "is not finite", "epoch 10, the best one, is kept in"] {
        assert!(said.contains(part), "{part}: {stderr}");
    }
    let (code, _, stderr) = train(&[&rate("0.01"), "--set", "epochs=12", "--resume"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("epoch 11 of 12  loss 0.") && !stderr.contains("epoch 10 of 12"), "{stderr}");
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
        (&["--set", "freeze=[conv*]"], 2, "no weight matches `conv*`"),
        (&["--set", "optimizer={kind: adam, learning_rate: -1}"], 2, "learning_rate"),
        (&["--set", "optimizer={kind: sgd, learning_rate: 1.0e+30}", "--set", "loss=squared"], 1, "SquaredError"),
        (&["--set", "epochs=0"], 2, "epochs"),
        (&["--set", "steps=10"], 2, "`--set epochs=null` takes the other out"),
        (&["--set", "patience=2"], 2, "`patience` without `data.validation`"),
        (&["--set", "rates={hidden9.*: 0.1}", "--check"], 2, "no weight matches `hidden9.*`"),
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
    // So does one whose recordings are made by a script.
    let folder = tempfile::tempdir().unwrap();
    for name in ["recipe.yaml", "phrases.csv"] {
        fs::copy(root().join("models/spoken-phrases").join(name), folder.path().join(name)).unwrap();
    }
    let (code, _, stderr) = run(percept().arg("train").arg(folder.path()).arg("--check"));
    let said = stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(code == 1 && said.contains("wav/01.wav") && said.contains("phrases.sh"), "{stderr}");
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
    use percept::zoo::{Architecture, Cell, Lenet5, LogisticRegression, Mlp, RecurrentClassifier, RecurrentTagger};
    use percept::zoo::{Resnet, Stem, Tdnn, Unet};

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
        (
            "logistic_regression",
            Box::new(LogisticRegression { inputs: 5, classes: 3 }),
            numbers(&[3, 5]),
            Tensor::from_vec(vec![0i64, 1, 2]),
        ),
        (
            "resnet",
            Box::new(Resnet { stem: Stem::Small, width: 6, blocks: vec![1, 1], ..Resnet::default() }),
            numbers(&[4, 3, 9, 10]),
            Tensor::from_vec(vec![0i64, 2, 1, 9]),
        ),
        (
            "unet",
            Box::new(Unet { classes: 3, depth: 2, width: 4, batch_norm: true, ..Unet::default() }),
            numbers(&[2, 1, 8, 12]),
            Tensor::new(vec![2, 8, 12], (0..192i64).map(|at| (at % 12 / 4 + at / 96) % 3).collect::<Vec<_>>()).unwrap(),
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

/// What percept saves passes the checks of the `onnx` package, shape inference included: every architecture before and
/// after training, and every layer. A Python with `onnx` is needed: the one that
/// `PERCEPT_PYTHON` names, else `python3`.
#[test]
fn saved_models_pass_the_checker_of_onnx() {
    use percept::config::{Source, parse};
    use percept::engine::{Builder, LAYERS, Loss, Optimizer, Training, TrainingOptions, optimizers::Sgd};
    use percept::tensor::{DType, Dim};
    use percept::zoo::ZOO;

    let python = std::env::var("PERCEPT_PYTHON").unwrap_or_else(|_| "python3".into());
    let is_there = Command::new(&python).args(["-c", "import onnx"]).output().is_ok_and(|found| found.status.success());
    if !is_there {
        eprintln!("SKIPPED: {python} has no package `onnx`; PERCEPT_PYTHON may name one that has");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    let mut save = |model: &Model, name: &str| {
        let path = folder.path().join(format!("{name}.onnx"));
        model.save(&path).unwrap();
        files.push(path);
    };
    // Two samples; pictures and times that are free are large enough for all.
    let sizes = |dims: &[Dim]| {
        let free = |at: usize| [2, if dims.len() == 4 { 32 } else { 20 }][at.min(1)];
        dims.iter().enumerate().map(|(at, dim)| dim.known().unwrap_or(free(at))).collect::<Vec<_>>()
    };
    let filled = |dtype: Option<DType>, shape: Vec<usize>| {
        let count: usize = shape.iter().product();
        match dtype {
            Some(DType::I64) => Tensor::new(shape, vec![1i64; count]),
            Some(DType::I32) => Tensor::new(shape, vec![2i32; count]),
            _ => Tensor::new(shape, (0..count).map(|at| (at as f32 * 0.37).sin()).collect::<Vec<f32>>()),
        }
        .unwrap()
    };
    for entry in ZOO {
        let source = Source::new("example", entry.example);
        let model = (entry.read)(&parse(&source).unwrap(), &source).unwrap().build(1).unwrap();
        save(&model, &format!("{}-before", entry.name));
        let inputs: Vec<_> = model.graph.free_inputs().collect();
        let x = filled(inputs[0].dtype, sizes(inputs[0].shape.dims().unwrap()));
        // With the loss of their own answers changed a little: any weights will do, but those of the start.
        let loss = Loss::new("squared").unwrap();
        let optimizer = Optimizer::Sgd(Sgd { learning_rate: 0.001 });
        let mut training = Training::new(&model, TrainingOptions::new(loss, optimizer)).unwrap();
        let target = training.run(&[("x", &x)]).unwrap_or_else(|error| panic!("{entry:?}: {error}")).remove(0);
        let target = target.as_slice::<f32>().unwrap().iter().map(|value| value + 1.0).collect::<Vec<f32>>();
        let shape = training.run(&[("x", &x)]).unwrap()[0].shape().to_vec();
        let target = Tensor::new(shape, target).unwrap();
        training.step(&[("x", &x), ("target", &target)]).unwrap_or_else(|error| panic!("{entry:?}: {error}"));
        assert_ne!(training.model().graph.initializers, model.graph.initializers, "{entry:?}");
        save(&training.model(), &format!("{}-after", entry.name));
    }
    for entry in LAYERS {
        let mut graph = Builder::new("layer", 1);
        let dtype = if entry.tokens.is_some() { DType::I64 } else { DType::F32 };
        let sizes: Vec<_> = entry.sizes.iter().enumerate().map(|(at, size)| (at > 0).then_some(*size)).collect();
        let x = graph.input("x", dtype, &sizes).unwrap();
        let y = (entry.example)(&mut graph, &x).unwrap();
        graph.output("y", &y).unwrap();
        save(&graph.finish(), &format!("layer-{}", entry.name));
    }
    assert!(files.len() >= 2 * ZOO.len() + LAYERS.len());
    let script = root().join("tests/reference/onnx_checker.py");
    let found = Command::new(python).arg(script).args(&files).output().unwrap();
    let said = String::from_utf8_lossy(&found.stdout).into_owned() + &String::from_utf8_lossy(&found.stderr);
    assert!(found.status.success(), "{said}");
    assert!(said.contains(&format!("{} files pass", files.len())), "{said}");
}

/// So it is for every layer, on the file that its example makes.
#[cfg(feature = "onnxruntime")]
#[test]
fn every_layer_gives_the_same_on_onnx_runtime() {
    use percept::engine::{Builder, LAYERS};
    use percept::inference::ort::{OrtConfig, initialize};
    use percept::inference::{SessionOptions, Value};
    use percept::tensor::DType;

    if !common::models_are_here() {
        return;
    }
    let runtime = initialize(&OrtConfig::new(fetched().expect("make test fetches it"))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for entry in LAYERS {
        let mut graph = Builder::new("layer", 1);
        let dtype = if entry.tokens.is_some() { DType::I64 } else { DType::F32 };
        let sizes: Vec<_> = entry.sizes.iter().enumerate().map(|(at, size)| (at > 0).then_some(*size)).collect();
        let x = graph.input("x", dtype, &sizes).unwrap();
        let y = (entry.example)(&mut graph, &x).unwrap();
        graph.output("y", &y).unwrap();
        let mut network = Network::new(&graph.finish()).unwrap();
        let path = folder.path().join("layer.onnx");
        network.save(&path).unwrap();

        let (shape, count) = (entry.sizes.to_vec(), entry.sizes.iter().product::<usize>());
        let x = match entry.tokens {
            Some(tokens) => Tensor::new(shape, (0..count as i64).map(|at| at * 7 % tokens).collect::<Vec<i64>>()),
            None => Tensor::new(shape, (0..count).map(|at| (at as f32 * 0.37).sin()).collect::<Vec<f32>>()),
        };
        let x = x.unwrap();
        let ours = network.run(&[("x", &x)]).unwrap().remove(0);
        let mut session = runtime.load(&path, &SessionOptions::default()).unwrap();
        let theirs = session.run(&[("x", &Value::from(x.clone()))], &["y"]).unwrap().remove(0).into_tensor().unwrap();
        assert_eq!(ours.shape(), theirs.shape(), "{entry:?}");
        for (ours, theirs) in ours.as_slice::<f32>().unwrap().iter().zip(theirs.as_slice::<f32>().unwrap()) {
            assert!((ours - theirs).abs() <= 1e-4 * theirs.abs().max(1.0), "{entry:?}: {ours} {theirs}");
        }
    }
}

/// A Rust program does all of it; the file that it writes loads.
#[test]
fn the_example_of_a_program_trains() {
    let examples = Path::new(env!("CARGO_BIN_EXE_percept")).parent().unwrap().join("examples");
    let folder = tempfile::tempdir().unwrap();
    let mut program = Command::new(examples.join("train"));
    let (code, stdout, stderr) = run(program.current_dir(root()).env("TMPDIR", folder.path()));
    assert_eq!(code, 0, "{stderr}");
    let accuracy: f64 = stdout.split(' ').next().unwrap().parse().unwrap();
    assert!(accuracy > 90.0, "{stdout}");
    assert_eq!(Network::load(folder.path().join("digits.onnx")).unwrap().outputs().collect::<Vec<_>>(), ["y"]);
}

/// Tones of two classes and mixed lengths, at 22.05 kHz on two channels, and a recipe that tells them apart.
fn tones() -> tempfile::TempDir {
    use percept::codec::{WavSampleFormat, WavWriter};
    use percept::units::Rate;
    let folder = tempfile::tempdir().unwrap();
    for (class, hz) in [("low", 300.0f32), ("high", 1200.0)] {
        fs::create_dir_all(folder.path().join("wav").join(class)).unwrap();
        for number in 0..4u8 {
            let path = folder.path().join("wav").join(class).join(format!("{number}.wav"));
            let mut writer = WavWriter::create(&path, Rate::hz(22_050).unwrap(), 2, WavSampleFormat::S16).unwrap();
            let hz = hz * (1.0 + 0.05 * f32::from(number));
            let sample = |k: usize| (k as f32 / 22_050.0 * hz * std::f32::consts::TAU).sin() * 0.4;
            let frames = 7000 + 500 * usize::from(number);
            writer.write(&(0..frames).flat_map(|k| [sample(k), 0.5 * sample(k + 3)]).collect::<Vec<f32>>()).unwrap();
            writer.finalize().unwrap();
        }
    }
    let recipe = format!(
        "percept_recipe: 1\nname: Two Tones\nsummary: High or low.\nlicence: MIT\ndata:\n  train: {{wav_folder: {{path: \
         wav}}}}\n  test: {{wav_folder: {{path: wav}}}}\npreprocess:\n{TONE_STAGES}model: {{mlp: {{inputs: [45, 20], hidden: \
         [8], outputs: 2}}}}\nloss: cross_entropy\noptimizer: {{kind: adam, learning_rate: 0.01}}\nbatch: 4\nepochs: \
         20\nseed: 2\nthreads: 1\n"
    );
    fs::write(folder.path().join("recipe.yaml"), recipe).unwrap();
    folder
}

/// The stages of `tones`, as a recipe and a pipeline have them.
const TONE_STAGES: &str = "  - preprocess: mono\n  - preprocess: resample\n    sample_rate_hz: 16000\n  - preprocess: \
                           log_mel\n    preset: kaldi\n    bands: 20\n    frames: 45\n  - preprocess: normalize\n    \
                           mean_variance: true\n";

/// All packets that a pipeline with these stages gives for the recordings `path`, by the name of the stream.
fn served(folder: &Path, path: &str, stages: &str) -> std::collections::BTreeMap<String, Vec<Tensor>> {
    use percept::Pipeline;
    let file = folder.join("pipeline.yaml");
    let text = format!(
        "percept: 1\nstages:\n  - capture: file\n    path: {path}\n    recursive: true\n    packet_ms: 37\n{stages}  - sink: \
         collect\n"
    );
    fs::write(&file, text).unwrap();
    let mut pipeline = Pipeline::open(&file).unwrap_or_else(|faults| panic!("{faults}"));
    let mut packets = pipeline.subscribe("collect", 64).unwrap();
    let running = pipeline.start().unwrap();
    let mut found: std::collections::BTreeMap<String, Vec<Tensor>> = Default::default();
    while let Some(received) = packets.recv() {
        found.entry(received.stream.to_string()).or_default().push(received.packet.payload.tensor().unwrap().clone());
    }
    assert!(running.wait().is_clean());
    found
}

/// What a model is trained on is, bit for bit, what it is served.
#[test]
fn a_recipe_prepares_a_sample_as_a_running_pipeline_does() {
    let folder = tones();
    let data = Recipe::open(folder.path(), &[]).unwrap().train_data().unwrap();
    let served = served(folder.path(), "wav", TONE_STAGES);
    // Both go by folder and then by name.
    assert_eq!((served.len(), data.len()), (8, 8));
    let bits = |tensor: &Tensor| tensor.as_slice::<f32>().unwrap().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    for (index, (stream, packets)) in served.iter().enumerate() {
        let sample = data.sample(index).unwrap();
        let [packet] = packets.as_slice() else { panic!("{stream}: {} packets", packets.len()) };
        assert_eq!((packet.shape(), sample.input.shape()), (&[45, 20][..], &[45, 20][..]));
        assert_eq!(bits(packet), bits(&sample.input), "{stream}");
    }
}

#[test]
fn a_trained_model_has_a_card_that_says_what_it_is() {
    use percept::cards::{Card, Exactness};
    let folder = tones();
    let set = ["--set", "epochs=3", "-q"];
    let (code, _, stderr) = run(percept().arg("train").arg(folder.path()).args(set));
    assert_eq!(code, 0, "{stderr}");
    let trained = folder.path().join("trained");
    let text = fs::read_to_string(trained.join("card.yaml")).unwrap();
    let card = Card::open(&trained).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let spec = card.spec();
    assert_eq!((card.name(), card.kind(), spec.licence.as_str()), ("two-tones", "onnx", "MIT"));
    assert_eq!((spec.batch, spec.padding), (Exactness::Exact, Exactness::Never));
    assert_eq!(spec.labels.as_ref().map(|labels| (labels.file.as_str(), labels.size)), Some(("labels", 2)));
    let ports = card.ports("model").unwrap();
    assert_eq!(ports.input("x").unwrap().shape.to_string(), "[batch, 45, 20]");
    let stages = &spec.preprocess.as_ref().unwrap().stages;
    let kinds: Vec<_> = stages.iter().map(|stage| stage["preprocess"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["mono", "resample", "log_mel", "normalize"]);
    // The lines of the card are those of the recipe, so that they can be copied into a pipeline.
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let recipe: Vec<String> = TONE_STAGES.lines().map(|line| format!("  {line}")).collect();
    assert!(lines.windows(recipe.len()).any(|window| window == recipe), "{text}");
    for part in ["seed 2", "Two Tones", "epochs=3", "SHA-256", "Test data: 8 samples, loss "] {
        assert!(spec.source.text.contains(part), "{part}: {}", spec.source.text);
    }
    let (code, stdout, stderr) = run(percept().args(["models", "verify"]).arg(&trained));
    assert_eq!(code, 0, "{stdout}{stderr}");
    let (code, stdout, _) = run(percept().args(["models", "show"]).arg(&trained));
    assert!(code == 0 && stdout.contains("preprocess: log_mel, preset: kaldi, bands: 20, frames: 45"), "{stdout}");
    // A byte changed is noticed.
    let model = trained.join("model.onnx");
    let mut bytes = fs::read(&model).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&model, bytes).unwrap();
    let (code, _, _) = run(percept().args(["models", "verify"]).arg(&trained));
    assert_ne!(code, 0);
}

/// Trained, measured, and run in a pipeline by its card: all three say the same of each recording.
#[cfg(feature = "onnxruntime")]
#[test]
fn a_pipeline_runs_what_a_recipe_trained() {
    if !common::models_are_here() {
        return;
    }
    let folder = tones();
    let (code, stdout, stderr) = run(percept().arg("train").arg(folder.path()));
    assert_eq!(code, 0, "{stderr}");
    let trained = folder.path().join("trained");
    assert!(stdout.contains(&format!("`model: {}`", trained.display())), "{stdout}");
    let model = trained.join("model.onnx");
    let (code, stdout, _) = run(percept().arg("eval").arg(&model).arg("--data").arg(folder.path()));
    assert!(code == 0 && stdout.contains("8 samples") && stdout.contains("accuracy 100.00 %"), "{stdout}");
    assert!(stdout.contains("0 high    4    0") && stdout.contains("1 low    0    4"), "{stdout}");

    let labels = fs::read_to_string(trained.join("labels.txt")).unwrap();
    let labels: Vec<&str> = labels.lines().collect();
    let data = Recipe::open(folder.path(), &[]).unwrap().train_data().unwrap();
    let mut network = Network::load(&model).unwrap();
    let served = served(folder.path(), "wav", &format!("{TONE_STAGES}  - model: ./trained\n"));
    assert_eq!(served.len(), 8);
    for (index, (stream, packets)) in served.iter().enumerate() {
        let [scores] = packets.as_slice() else { panic!("{stream}: {} packets", packets.len()) };
        let scores = scores.as_slice::<f32>().unwrap();
        let best = if scores[1] > scores[0] { 1 } else { 0 };
        assert!(stream.contains(&format!("/{}/", labels[best])), "{stream}: {scores:?}");
        let input = data.sample(index).unwrap().input.reshape(vec![1, 45, 20]).unwrap();
        let ours = network.run(&[("x", &input)]).unwrap().remove(0);
        for (ours, theirs) in ours.as_slice::<f32>().unwrap().iter().zip(scores) {
            assert!((ours - theirs).abs() <= 1e-4 * theirs.abs().max(1.0), "{stream}: {ours} {theirs}");
        }
    }
}

/// Words spelled in tones, a pitch for each letter.
fn spelled_tones() -> tempfile::TempDir {
    use percept::codec::{WavSampleFormat, WavWriter};
    use percept::units::Rate;
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("wav")).unwrap();
    let mut table = String::from("file,label\n");
    for (number, text) in ["ab ba", "bab"].iter().enumerate() {
        table.push_str(&format!("{number}.wav,{text}\n"));
        let path = folder.path().join(format!("wav/{number}.wav"));
        let mut writer = WavWriter::create(&path, Rate::hz(16_000).unwrap(), 1, WavSampleFormat::S16).unwrap();
        for letter in text.chars() {
            let hz = [300.0, 900.0, 2500.0f32]["ab ".find(letter).unwrap()];
            let sample = |k: usize| (k as f32 / 16_000.0 * hz * std::f32::consts::TAU).sin() * 0.4;
            // A tone and a pause.
            let samples = (0..1600).map(|k| if k < 1200 { sample(k) } else { 0.0 });
            writer.write(&samples.collect::<Vec<f32>>()).unwrap();
        }
        writer.finalize().unwrap();
    }
    fs::write(folder.path().join("words.csv"), table).unwrap();
    let data = "{wav_folder: {path: wav, table: words.csv, target: characters, target_length: 6}}";
    let recipe = format!(
        "percept_recipe: 1\nname: spelled-tones\ndata:\n  train: {data}\n  validation: {data}\n  test: \
         {data}\npreprocess:\n{SPELLED_STAGES}model: {{ctc: {{features: 16, symbols: 5, channels: 12, dilations: [1], hidden: \
         12}}}}\nloss: ctc\noptimizer: {{kind: adam, learning_rate: 0.02}}\nclip: {{norm: 5}}\nbatch: 0\nepochs: 80\nseed: \
         1\nthreads: 1\n"
    );
    fs::write(folder.path().join("recipe.yaml"), recipe).unwrap();
    folder
}

const SPELLED_STAGES: &str = "  - preprocess: log_mel\n    preset: kaldi\n    bands: 16\n    frames: 50\n  - preprocess: \
                              normalize\n    mean_variance: true\n";

#[test]
fn a_ctc_model_learns_to_spell() {
    let folder = spelled_tones();
    let (code, stdout, stderr) = run(percept().arg("train").arg(folder.path()));
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("character errors 0.00 %  word errors 0.00 %"), "{stderr}");
    assert!(stdout.contains("character errors 0.00 %, word errors 0.00 % on 2 samples"), "{stdout}");
    let few = ["--set", "model={ctc: {features: 16, symbols: 4}}", "--check"];
    let (code, _, stderr) = run(percept().arg("train").arg(folder.path()).args(few));
    assert!(code == 1 && stderr.contains("the model's symbols: expected at least 5"), "{stderr}");
    let trained = folder.path().join("trained");
    let last = records(&trained.join("log.jsonl")).pop().unwrap();
    assert_eq!((&last["validation_character_errors"], &last["validation_word_errors"]), (&0.0.into(), &0.0.into()));
    assert_eq!(fs::read_to_string(trained.join("tokens.txt")).unwrap().lines().count(), 5);
    let eval = |more: &[&str]| {
        let model = trained.join("model.onnx");
        let (code, stdout, stderr) = run(percept().arg("eval").arg(model).arg("--data").arg(folder.path()).args(more));
        assert_eq!(code, 0, "{stderr}");
        stdout
    };
    let said = eval(&[]);
    assert!(said.starts_with("2 samples, loss ") && said.ends_with("character errors 0.00 %, word errors 0.00 %\n"));
    let json: serde_json::Value = serde_json::from_str(&eval(&["--json"])).unwrap();
    assert_eq!((&json["character_errors"], &json["accuracy"]), (&0.0.into(), &serde_json::Value::Null));

    #[cfg(feature = "onnxruntime")]
    if common::models_are_here() {
        let file = folder.path().join("spell.yaml");
        let text = format!(
            "percept: 1\nstages:\n  - capture: file\n    path: wav\n{SPELLED_STAGES}  - model: ./trained\n  - decoder: \
             ctc_greedy\n    tokens: trained/tokens.txt\n  - sink: jsonl\n    path: said.jsonl\n"
        );
        fs::write(&file, text).unwrap();
        let (code, _, stderr) = run(percept().arg("run").arg(&file));
        assert_eq!(code, 0, "{stderr}");
        let mut said: Vec<_> = records(&folder.path().join("said.jsonl"))
            .iter()
            .map(|record| (record["stream"].as_str().unwrap().to_owned(), record["text"].as_str().unwrap().to_owned()))
            .collect();
        said.sort();
        assert_eq!(said, [("wav/0.wav".to_owned(), "ab ba".to_owned()), ("wav/1.wav".into(), "bab".into())]);
    }
}
