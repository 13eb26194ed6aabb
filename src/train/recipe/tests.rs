use super::*;
use crate::train::Then;

const XOR: &str = "percept_recipe: 1\nname: xor\ndata:\n  train: {csv: {path: xor.csv, target: class}}\n\
    model: {mlp: {inputs: [2], hidden: [8], outputs: 2}}\nloss: cross_entropy\n\
    optimizer: {kind: adam, learning_rate: 0.05}\nbatch: 0\nepochs: 300\nthreads: 1\n";

fn faults(text: &str, changes: &[&str]) -> String {
    let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
    match Recipe::parse(&Source::new("recipe.yaml", text), Path::new("/nowhere"), &changes) {
        Ok(_) => String::new(),
        Err(faults) => faults.iter().map(|fault| format!("{}: {fault}\n", fault.place())).collect(),
    }
}

#[test]
fn a_recipe_trains() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("xor.csv"), "a,b,class\n0,0,0\n0,1,1\n1,0,1\n1,1,0\n").unwrap();
    std::fs::write(folder.path().join("recipe.yaml"), XOR).unwrap();
    std::fs::create_dir(folder.path().join("trained")).unwrap();
    let recipe = Recipe::open(folder.path(), &["seed=3".into()]).unwrap();
    let mut prepared = recipe.prepare().unwrap();
    assert_eq!(prepared.samples, (4, 0));
    prepared.trainer.run(|_| Then::Continue).unwrap();
    let path = folder.path().join("model.onnx");
    prepared.trainer.training().model().save(&path).unwrap();
    let evaluation = recipe.evaluate(&path).unwrap();
    assert_eq!((evaluation.samples, evaluation.confusion.unwrap().accuracy()), (4, 1.0));
}

/// Two recordings at 8 kHz on two channels, and a recipe without its `preprocess`.
fn recordings(folder: &Path) -> String {
    use crate::codec::{WavSampleFormat, WavWriter};
    for (class, hz) in [("low", 200.0), ("high", 1500.0)] {
        std::fs::create_dir(folder.join(class)).unwrap();
        let rate = crate::units::Rate::hz(8000).unwrap();
        let path = folder.join(class).join("tone.wav");
        let mut writer = WavWriter::create(&path, rate, 2, WavSampleFormat::S16).unwrap();
        let sample = |k: usize| (k as f32 / 8000.0 * hz * std::f32::consts::TAU).sin() * 0.5;
        writer.write(&(0..2400).flat_map(|k| [sample(k), 0.0]).collect::<Vec<_>>()).unwrap();
        writer.finalize().unwrap();
    }
    "percept_recipe: 1\nname: tones\ndata:\n  train: {wav_folder: {path: .}}\nmodel: {mlp: {inputs: [30, 20], hidden: \
     [4], outputs: 2}}\nloss: cross_entropy\nepochs: 1\n"
        .to_owned()
}

#[test]
fn preprocess_is_checked_as_in_a_pipeline() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recordings(folder.path());
    let (mono, resample) = ("  - preprocess: mono\n", "  - preprocess: resample\n    sample_rate_hz: 16000\n");
    let features = "  - preprocess: log_mel\n    preset: kaldi\n    bands: 20\n    frames: 30\n";
    let wide = features.replace("bands: 20", "bands: 21");
    // The stages, whether the fault shows before the data are opened, what is said, and where.
    for (stages, early, says, place) in [
        (&[mono, resample, &wide][..], true, "expected: tensor f32 [30, 20] for each sample", "{mlp"),
        (&[mono, resample], true, "insert `- preprocess: log_mel` with `frames: 30` and `bands: 20`", "{mlp"),
        (&[resample, features], false, "insert `- preprocess: mono`", "log_mel"),
        (&[mono, features], false, "insert `- preprocess: resample` with `sample_rate_hz: 16000`", "log_mel"),
        (&["  - preprocess: monno\n"], true, "did you mean `mono`?", "monno"),
    ] {
        let source = Source::new("recipe.yaml", format!("{recipe}preprocess:\n{}", stages.concat()));
        let faults = match Recipe::parse(&source, folder.path(), &[]) {
            Err(faults) => {
                assert!(early, "{stages:?}: {faults}");
                faults
            }
            Ok(recipe) => match recipe.prepare().err() {
                Some(TrainError::Faults(faults)) if !early => faults,
                other => panic!("{stages:?}: {other:?}"),
            },
        };
        let fault = faults.iter().find(|fault| fault.to_string().contains(says));
        let fault = fault.unwrap_or_else(|| panic!("{stages:?}: {faults}"));
        let slice = fault.source.as_ref().unwrap().slice(fault.span.unwrap()).unwrap();
        assert!(slice.starts_with(place), "{slice}: {fault}");
    }
    let whole = format!("{recipe}preprocess:\n{mono}{resample}{features}");
    let good = Recipe::parse(&Source::new("r", whole.clone()), folder.path(), &[]).unwrap();
    assert_eq!(good.train_data().unwrap().sample(1).unwrap().input.shape(), [30, 20]);
    std::fs::create_dir(folder.path().join("trained")).unwrap();
    let mut prepared = good.prepare().unwrap();
    prepared.trainer.run(|_| Then::Continue).unwrap();
    // A rate of the loader's own would be a second way to resample.
    let changes = ["data.train.wav_folder.sample_rate_hz=8000".to_owned()];
    let twice = Recipe::parse(&Source::new("r", whole), folder.path(), &changes).unwrap();
    let error = twice.prepare().err().unwrap().to_string();
    assert!(error.contains("sample_rate_hz: expected none beside `preprocess`"), "{error}");
}

const WORDS: &str = "percept_recipe: 1\nname: words\ndata:\n  train: {text_lines: {path: words.tsv}}\n  \
    validation: 0.2\nmodel: {recurrent_classifier: {vocabulary: 4, classes: 2, hidden: 8, lengths: true}}\n\
    loss: cross_entropy\noptimizer: {kind: adam, learning_rate: 0.02}\nbuckets: {lengths: [3, 6, 9]}\nbatch: 8\n\
    epochs: 15\nthreads: 1\n";

/// Lines of one to nine letters, of the class of their last letter.
#[test]
fn a_recipe_trains_on_texts_of_varying_lengths() {
    let folder = tempfile::tempdir().unwrap();
    let line = |i: usize| {
        let text: String = (0..1 + i % 9).map(|k| if (i >> k) & 1 == 1 { 'a' } else { 'b' }).collect();
        format!("{text}\t{}\n", if text.ends_with('a') { "A" } else { "B" })
    };
    std::fs::write(folder.path().join("words.tsv"), (1..150).map(line).collect::<String>()).unwrap();
    let recipe = |changes: &[String]| {
        Recipe::parse(&Source::new("recipe.yaml", WORDS), folder.path(), changes).unwrap().prepare()
    };
    std::fs::create_dir(folder.path().join("trained")).unwrap();
    let mut prepared = recipe(&[]).unwrap();
    prepared.trainer.run(|_| Then::Continue).unwrap();
    let last = prepared.trainer.history().last().unwrap().clone();
    assert!(last.validation_accuracy.unwrap() > 0.95, "{last:?}");
    for (change, expected) in [
        ("model.recurrent_classifier.lengths=false", "expected a model with an input `lengths`"),
        ("buckets.lengths=[3, 2]", "buckets.lengths: expected ascending bounds"),
    ] {
        let error = recipe(&[change.into()]).err().unwrap().to_string();
        assert!(error.contains(expected), "{change}: {error}");
    }
}

#[test]
fn every_fault_is_reported_at_once_with_its_place() {
    assert_eq!(faults(XOR, &[]), "");
    let bad = XOR.replace("csv:", "cvs:").replace("mlp:", "mpl:").replace("cross_entropy", "cross_entrpy");
    let found = faults(&bad, &[]);
    for part in ["did you mean `csv`", "did you mean `mlp`", "did you mean `cross_entropy`"] {
        assert!(found.contains(part), "{part}: {found}");
    }
    assert_eq!(found.lines().filter(|line| line.starts_with("recipe.yaml")).count(), 3, "{found}");
    for (change, part) in [
        ("epoch=3", "epoch"),
        ("optimizer.kind=adm", "adm"),
        ("optimizer.learning_rate=0", "learning_rate: expected a number above 0"),
        ("data.validation=1.5", "no share"),
        ("batch=-1", "batch"),
        ("percept_recipe=2", "percept_recipe"),
        ("model.mlp.hiden=[3]", "hiden"),
        ("preprocess=[{preprocess: mono}]", "`mono` cannot read this"),
        ("preprocess=[{preprocess: normalise}]", "did you mean `normalize`?"),
        ("preprocess=[{sink: jsonl}]", "a sink cannot stand in `preprocess`"),
        ("preprocess=3", "preprocess"),
        ("patience=3", "`patience` without `data.validation`"),
        ("steps=5", "`steps` and `epochs` both say when the training ends"),
        ("steps=0", "steps"),
        ("accumulate=0", "accumulate"),
        ("memory_mb=0", "memory_mb"),
        ("freeze=[conv*]", "there is hidden1.weight, hidden1.bias, out.weight, out.bias"),
        ("freeze=[hiden1.bias]", "did you mean `hidden1.bias`?"),
        ("rates={conv*: 0.1}", "no weight matches `conv*`"),
        ("rates={hidden*: -0.1}", "the rate of `hidden*` is no factor"),
        ("penalties={out.wieght: {l2: 0.1}}", "did you mean `out.weight`?"),
        ("penalties={out.*: {l2: -1}}", "l2"),
        ("penalties={out.*: {l3: 1}}", "l3"),
        ("initializer=hee", "initializer"),
        ("initializer={normal: -1}", "`initializer` spreads nothing"),
        ("clip={norm: 0}", "`clip.norm` is no bound"),
        ("clip={norm: 1, value: 1}", "`clip` has both"),
    ] {
        let found = faults(XOR, &[change]);
        assert!(found.contains(part), "{change}: {found}");
    }
}

/// The recipe `text` in a folder of its own, with the four samples.
fn xor(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("xor.csv"), "a,b,class\n0,0,0\n0,1,1\n1,0,1\n1,1,0\n").unwrap();
    std::fs::write(folder.path().join("recipe.yaml"), text).unwrap();
    std::fs::create_dir(folder.path().join("trained")).unwrap();
    folder
}

fn changes(changes: &[&str]) -> Vec<String> {
    changes.iter().map(|change| (*change).to_owned()).collect()
}

/// The recipe's training, run to its end.
fn trained(folder: &Path, with: &[&str]) -> Prepared {
    let mut prepared = Recipe::open(folder, &changes(with)).unwrap().prepare().unwrap();
    prepared.trainer.run(|_| Then::Continue).unwrap();
    prepared
}

/// Where a fault of a pattern is, and of a value.
#[test]
fn faults_of_weights_have_their_place() {
    for (more, place) in [
        ("freeze: [out.bias, conv1.bias]\n", "conv1.bias"),
        ("rates: {out.bias: 1, conv1.bias: 2}\n", "conv1.bias"),
        ("penalties:\n  conv1.bias: {l2: 2}\n", "conv1.bias"),
        ("rates: {out.bias: -1}\n", "-1"),
        ("steps: 17\n", "17"),
        ("clip: {value: -2}\n", "-2"),
        ("initializer: {normal: -3}\n", "{normal: -3}"),
    ] {
        let source = Source::new("recipe.yaml", format!("{XOR}{more}"));
        let faults = Recipe::parse(&source, Path::new("/nowhere"), &[]).err().unwrap();
        let [fault] = faults.iter().collect::<Vec<_>>()[..] else { panic!("{more}: {faults}") };
        let slice = source.slice(fault.span.unwrap()).unwrap();
        assert_eq!(slice.trim(), place, "{more}: {fault}");
    }
}

#[test]
fn steps_and_accumulation_are_counted() {
    let folder = xor(XOR);
    // Four minibatches an epoch.
    for (with, steps, epochs) in [
        (&["epochs=3", "batch=1"][..], 12, 3),
        (&["epochs=3", "batch=1", "accumulate=2"], 6, 3),
        (&["epochs=null", "steps=7", "batch=1"], 7, 2),
        (&["epochs=null", "steps=7", "batch=1", "accumulate=3"], 7, 6),
        (&["epochs=null"], 10, 10),
        (&["epochs=2", "batch=null"], 2, 2),
    ] {
        let mut prepared = trained(folder.path(), with);
        let found = (prepared.trainer.training().steps(), prepared.trainer.history().len());
        assert_eq!(found, (steps, epochs), "{with:?}");
    }
}

#[test]
fn rates_and_penalties_go_by_name() {
    let folder = xor(XOR);
    let norm = |model: &Model, name: &str| {
        let weight = model.graph.initializer(name).unwrap().as_slice::<f32>().unwrap().to_vec();
        weight.iter().map(|value| value * value).sum::<f32>().sqrt()
    };
    let shrunk = |with: &[&str]| {
        let all = [&["epochs=1", "optimizer={kind: sgd, learning_rate: 0.1}"], with].concat();
        let before = Recipe::open(folder.path(), &changes(&all)).unwrap().model().clone();
        let after = trained(folder.path(), &all).trainer.training().model();
        ["hidden1.weight", "out.weight"].map(|name| norm(&after, name) / norm(&before, name))
    };
    let near = |found: f32, expected: f32| (found - expected).abs() < 0.1;
    for (with, expected) in [
        (&[][..], [1.0, 1.0]),
        // One step of rate 0.1 with λ = 10 forgets a weight.
        (&["penalty={l2: 10}"], [0.0, 0.0]),
        (&["penalties={out.*: {l2: 10}}"], [1.0, 0.0]),
        (&["penalty={l2: 10}", "penalties={out.weight: {l2: 0}}"], [0.0, 1.0]),
        (&["penalties={'*': {l2: 10}, out.weight: {l2: 0}}"], [0.0, 1.0]),
        (&["penalties={out.weight: {l2: 0}, '*': {l2: 10}}"], [0.0, 1.0]),
        (&["penalty={l2: 10}", "rates={hidden1.*: 0.5}"], [0.5, 0.0]),
        (&["penalty={l2: 10}", "rates={hidden1.*: 0.5, '*.weight': 0}"], [1.0, 1.0]),
    ] {
        let found = shrunk(with);
        assert!(near(found[0], expected[0]) && near(found[1], expected[1]), "{with:?}: {found:?}");
    }
}

#[test]
fn an_initializer_draws_the_first_weights() {
    let folder = xor(XOR);
    let weight = |with: &[&str]| {
        let recipe = Recipe::open(folder.path(), &changes(with)).unwrap();
        recipe.model().graph.initializer("hidden1.weight").unwrap().as_slice::<f32>().unwrap().to_vec()
    };
    assert_eq!(weight(&["initializer=ones"]), [1.0; 16]);
    assert!(weight(&["initializer={uniform: 0.01}"]).iter().all(|value| value.abs() <= 0.01 && *value != 0.0));
    assert_eq!(weight(&["initializer=he"]), weight(&["initializer=he"]));
    assert_ne!(weight(&["initializer=he"]), weight(&["initializer=he", "seed=9"]));
    assert_ne!(weight(&["initializer=he"]), weight(&[]));
    // A file has its weights.
    Recipe::open(folder.path(), &[]).unwrap().model().save(folder.path().join("mine.onnx")).unwrap();
    let file = changes(&["model={onnx: mine.onnx}", "initializer=he"]);
    let error = Recipe::open(folder.path(), &file).err().unwrap().to_string();
    assert!(error.contains("`initializer` beside a file"), "{error}");
}

#[test]
fn a_step_stays_within_its_memory() {
    let folder = xor(XOR);
    let run = |with: &[&str]| {
        let prepared = Recipe::open(folder.path(), &changes(with)).unwrap().prepare();
        prepared.unwrap().trainer.run(|_| Then::Continue)
    };
    let large = "model={mlp: {inputs: [2], hidden: [100000], outputs: 2}}";
    let error = run(&[large, "epochs=1", "memory_mb=1"]).unwrap_err().to_string();
    assert!(error.contains("memory") || error.contains("bytes"), "{error}");
    run(&[large, "epochs=1", "memory_mb=64"]).unwrap();
}

/// A model whose input is fixed at two samples.
#[test]
fn a_file_may_be_fixed_at_a_batch() {
    use crate::engine::{Builder, Dense};
    use crate::tensor::DType;
    let folder = xor(&XOR.replace("batch: 0\n", ""));
    let mut graph = Builder::new("fixed", 1);
    let x = graph.input("x", DType::F32, &[Some(2), Some(2)]).unwrap();
    let y = Dense::new("out", 2).apply(&mut graph, &x).unwrap();
    graph.output("y", &y).unwrap();
    graph.finish().save(folder.path().join("fixed.onnx")).unwrap();
    let mut prepared = trained(folder.path(), &["model={onnx: fixed.onnx}", "epochs=3"]);
    assert_eq!(prepared.trainer.training().steps(), 6);
    // Three samples to be measured, in minibatches of two, whatever the recipe trains with.
    std::fs::write(folder.path().join("test.csv"), "a,b,class\n0,0,0\n0,1,1\n1,0,1\n").unwrap();
    let recipe =
        Recipe::open(folder.path(), &changes(&["data.test={csv: {path: test.csv, target: class}}", "batch=0"]));
    let evaluation = recipe.unwrap().evaluate(&folder.path().join("fixed.onnx")).unwrap();
    assert_eq!((evaluation.samples, evaluation.confusion.unwrap().total()), (3, 3));
    for (batch, found) in [("batch=3", "`batch: 2`, or none"), ("batch=0", "`batch: 2`, or none"), ("batch=2", "")] {
        let recipe = Recipe::open(folder.path(), &changes(&["model={onnx: fixed.onnx}", batch]));
        let error = recipe.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(found) && error.is_empty() == found.is_empty(), "{batch}: {error}");
    }
}

#[test]
fn a_checkpoint_is_gone_on_from_with_what_it_was_trained_with() {
    let folder = xor(XOR);
    trained(folder.path(), &["epochs=3"]);
    let resume = |with: &[&str]| {
        let recipe = Recipe::open(folder.path(), &changes(with)).unwrap();
        let mut prepared = recipe.prepare().unwrap();
        recipe.resume(&mut prepared).map(|there| (there, prepared.trainer.history().len()))
    };
    let also = ["epochs=5", "optimizer.learning_rate=0.01", "schedule={kind: exponential, factor: 0.9}", "threads=2"];
    let more = ["clip={norm: 1}", "max_bad=1", "rates={out.*: 0.5}", "memory_mb=100", "name=other", "data.get=somehow"];
    assert_eq!(resume(&[&also[..], &more].concat()).unwrap(), (true, 3));
    std::fs::write(folder.path().join("more.csv"), "a,b,class\n0,0,0\n0,1,1\n1,0,1\n1,1,0\n1,0,1\n").unwrap();
    for (with, says) in [
        (&["batch=1"][..], "`batch` is not what the checkpoint was trained with"),
        (&["seed=4"], "expected: 0"),
        (&["accumulate=2"], "`accumulate`"),
        (&["loss={kind: cross_entropy, label_smoothing: 0.1}"], "`loss`"),
        (&["optimizer={kind: sgd}"], "`optimizer.kind`"),
        (&["model.mlp.hidden=[9]"], "`model.mlp.hidden`"),
        (&["freeze=[out.*]"], "`freeze`"),
        (&["penalty.l2=0.1"], "`penalty.l2`"),
        (&["penalties={out.*: {l2: 0.1}}"], "`penalties.out.*`"),
        (&["initializer=he"], "`initializer`"),
        (&["augment=[{noise: {deviation: 0.1}}]"], "`augment`"),
        (&["data.validation=0.5"], "`data.validation`"),
        (&["data.train.csv.path=more.csv"], "another number of samples to train on"),
    ] {
        let error = resume(with).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("--set output=NAME"), "{with:?}: {error}");
    }
    // Each at its place, in the file or among the changes.
    std::fs::write(folder.path().join("recipe.yaml"), XOR.replace("batch: 0", "batch: 2")).unwrap();
    let recipe = Recipe::open(folder.path(), &changes(&["seed=4"])).unwrap();
    let error = recipe.resume(&mut recipe.prepare().unwrap()).unwrap_err();
    let TrainError::Faults(faults) = error else { panic!("{error}") };
    let places: Vec<&str> =
        faults.iter().map(|fault| fault.source.as_ref().unwrap().slice(fault.span.unwrap()).unwrap()).collect();
    assert_eq!(places, ["2", "4"], "{faults}");
    assert!(faults.to_string().contains("found: 2"), "{faults}");
}
