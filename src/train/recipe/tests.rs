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
    ] {
        let found = faults(XOR, &[change]);
        assert!(found.contains(part), "{change}: {found}");
    }
}
