//! Models that learn from the stream they work on: the whole way, from a pushed packet to adopted weights.
#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;

use percept::Pipeline;
use percept::engine::{Builder, Dense};
use percept::inference::ModelSource;
use percept::learn::Target;
use percept::media::{Format, Label, Labels, StreamInfo};
use percept::runtime::Report;
use percept::stage::{
    Blueprint, Contract, ContractFault, Draft, Input, Opened, Output, Role, Runnable, Settings, Stage, StageError,
};
use percept::stages::REGISTRY;
use percept::stages::capture::push::Push;
use percept::stages::model::onnx::LiveModel;
use percept::stages::sink::collect::Collect;
use percept::tensor::{DType, SymbolicShape, Tensor};
use percept::units::{TimeSpan, Timestamp};

/// Stream time from one packet to the next.
const PACKET: TimeSpan = TimeSpan::from_millis(50);
/// What the model believes at first, and what is right: the class is 1 where the weighted sum is above zero.
const BELIEVED: [f32; 4] = [1.0, 1.0, 0.0, 0.0];
const RIGHT: [f32; 4] = [-1.0, 1.0, 0.5, 0.0];

fn class(weights: [f32; 4], x: &[f32]) -> usize {
    usize::from(x.iter().zip(weights).map(|(x, weight)| x * weight).sum::<f32>() > 0.0)
}

/// Packet number `number`: four numbers between −1 and 1 that follow from it.
fn features(number: i64) -> Vec<f32> {
    let mut state = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..5).map(|_| next()).skip(1).collect()
}

/// A classifier that believes [`BELIEVED`], in a file.
fn classifier(folder: &Path) {
    let mut graph = Builder::new("classifier", 1);
    let x = graph.input("x", DType::F32, &[None, Some(4)]).unwrap();
    let y = Dense::new("head", 2).apply(&mut graph, &x).unwrap();
    graph.output("scores", &y).unwrap();
    let mut model = graph.finish();
    for (name, tensor) in &mut model.graph.initializers {
        let shape = tensor.shape().to_vec();
        let flat: Vec<f32> = match (name.as_str(), shape.as_slice()) {
            ("head.weight", [2, 4]) => BELIEVED.iter().map(|w| -w).chain(BELIEVED).collect(),
            ("head.weight", [4, 2]) => BELIEVED.iter().flat_map(|w| [-w, *w]).collect(),
            _ => vec![0.0; tensor.len()],
        };
        *tensor = Tensor::new(shape, flat).unwrap();
    }
    model.save(folder.join("classifier.onnx")).unwrap();
}

/// Tells what is right of each packet, as a person would. From packet `wrong_from` on it tells the opposite.
#[derive(Clone, Debug)]
struct Truth {
    wrong_from: Arc<AtomicI64>,
}

impl Blueprint for Truth {
    fn contract(&self) -> Contract {
        Contract::new().input("features", Format::ANY_TENSOR).optional_output("labels")
    }

    fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(vec![Format::Labels])
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(self.clone()))
    }
}

impl Stage for Truth {
    type State = ();

    fn open(&mut self, _: &StreamInfo, _: &[Format]) -> Result<Opened<()>, StageError> {
        Ok(Opened { state: (), outputs: vec![Format::Labels] })
    }

    fn process(&mut self, _: &mut (), input: Input, out: &mut Output) -> Result<(), StageError> {
        let packet = input.packet;
        let right = class(RIGHT, packet.payload.tensor()?.as_slice::<f32>().map_err(StageError::skip)?);
        let wrong = packet.start.as_nanos() / PACKET.as_nanos() >= self.wrong_from.load(Ordering::SeqCst);
        let label = Label { index: if wrong { 1 - right } else { right }, name: None, score: 1.0 };
        out.emit(0, Draft::new(packet.start, packet.duration, Labels { entries: vec![label].into() }));
        Ok(())
    }
}

/// What came of a run.
struct Run {
    /// Of each packet that the model said something of: its number, the version that said it, whether that was right.
    answers: Vec<(i64, u32, bool)>,
    report: Report,
    model: Arc<LiveModel>,
    reports: Vec<serde_json::Value>,
}

impl Run {
    /// The share of right answers among these packets.
    fn accuracy(&self, numbers: std::ops::Range<i64>) -> f64 {
        let answers: Vec<bool> =
            self.answers.iter().filter(|(number, ..)| numbers.contains(number)).map(|(.., right)| *right).collect();
        answers.iter().filter(|right| **right).count() as f64 / answers.len() as f64
    }

    fn of_type(&self, kind: &str) -> usize {
        self.reports.iter().filter(|report| report["type"] == kind).count()
    }
}

/// Runs `packets` packets through the classifier with these keys under `learn`.
fn run(folder: &Path, packets: i64, truth: &Truth, learn: &str) -> Run {
    run_with(folder, packets, truth, learn, |_, _| {})
}

/// The same with somebody who is told of each packet before it is pushed, and may change the model.
fn run_with(
    folder: &Path,
    packets: i64,
    truth: &Truth,
    learn: &str,
    person: impl FnMut(i64, &LiveModel) + Send + 'static,
) -> Run {
    run_labelled(folder, packets, truth, &format!("  labels: {{from: truth}}\n{learn}"), person)
}

/// The same with the key `labels` in `learn` too.
fn run_labelled(
    folder: &Path,
    packets: i64,
    truth: &Truth,
    learn: &str,
    mut person: impl FnMut(i64, &LiveModel) + Send + 'static,
) -> Run {
    let shape = SymbolicShape::Ranked(vec![4usize.into()]);
    let push = Push::of(Format::Tensor { dtype: Some(DType::F32), shape }).live(false);
    let input = push.handle();
    let (answers, mut answered) = Collect::new(64);
    let (reports, mut reported) = Collect::new(64);
    let settings = Settings { base_dir: folder.to_owned(), ..Settings::default() };
    let stage = format!("model: classifier.onnx\nbackend: engine\nlearn:\n{learn}");
    let builder = Pipeline::builder("adapt")
        .settings(settings)
        .stage("in", push)
        .stage("truth", truth.clone())
        .yaml(&REGISTRY, &stage)
        .from("in")
        .stage("answers", answers)
        .stage("reports", reports)
        .from("classifier.learner");
    let pipeline = Pipeline::build(builder).unwrap();
    assert!(pipeline.plan().stages.iter().any(|stage| &*stage.id == "classifier.learner" && stage.role == Role::Model));
    let model = pipeline.model("classifier").unwrap();
    let running = pipeline.start().unwrap();
    let changed = model.clone();
    let pushing = thread::spawn(move || {
        let mut stream = input.open_stream("numbers").unwrap();
        for number in 0..packets {
            let start = Timestamp::from_nanos(number * PACKET.as_nanos());
            person(number, &changed);
            stream.push(Draft::new(start, PACKET, Tensor::from_vec(features(number)))).unwrap();
        }
        stream.close();
        input.finish();
    });
    let reading = thread::spawn(move || {
        let mut reports = Vec::new();
        while let Some(received) = reported.recv() {
            reports.push(serde_json::from_str(&received.packet.payload.text().unwrap().text).unwrap());
        }
        reports
    });
    let mut said = Vec::new();
    while let Some(received) = answered.recv() {
        let packet = received.packet;
        let number = packet.start.as_nanos() / PACKET.as_nanos();
        let scores = packet.payload.tensor().unwrap().as_slice::<f32>().unwrap().to_vec();
        let right = usize::from(scores[1] > scores[0]) == class(RIGHT, &features(number));
        said.push((number, packet.weights, right));
    }
    pushing.join().unwrap();
    let reports = reading.join().unwrap();
    Run { answers: said, report: running.wait(), model, reports }
}

const LEARN: &str = "  optimizer: {kind: adam, learning_rate: 0.02}\n  promote: {every_s: 2}\n";

fn truth() -> Truth {
    Truth { wrong_from: Arc::new(AtomicI64::new(i64::MAX)) }
}

#[test]
fn a_model_learns_from_the_stream_and_no_packet_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    classifier(folder.path());
    let run = run(folder.path(), 4000, &truth(), LEARN);
    assert!(run.report.is_clean(), "{:#?}", run.report);
    assert_eq!(run.answers.iter().map(|(number, ..)| *number).collect::<Vec<_>>(), (0..4000).collect::<Vec<_>>());
    assert!(run.answers.windows(2).all(|pair| pair[0].1 <= pair[1].1), "versions never go back");
    assert!(run.of_type("promoted") > 0, "{:#?}", run.reports);
    assert_eq!(run.of_type("rolled_back"), 0, "{:#?}", run.reports);
    let (first, last) = (run.accuracy(0..40), run.accuracy(3500..4000));
    assert!(first < 0.8 && last > 0.95, "{first} {last} {:#?}", run.reports);
    assert_eq!(run.model.version(), run.answers.last().unwrap().1);
}

#[test]
fn the_same_stream_gives_the_same_weights_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    classifier(folder.path());
    let weights = |run: &Run| match &run.model.newest().source {
        ModelSource::Memory { bytes, .. } => bytes.clone(),
        other => panic!("{other:?}"),
    };
    let first = run(folder.path(), 1500, &truth(), LEARN);
    let second = run(folder.path(), 1500, &truth(), LEARN);
    assert_eq!(first.reports, second.reports);
    assert_eq!(first.model.newest().version, second.model.newest().version);
    assert_eq!(weights(&first), weights(&second));
}

#[test]
fn a_person_tells_what_is_right() {
    let folder = tempfile::tempdir().unwrap();
    classifier(folder.path());
    let taken = Arc::new(AtomicI64::new(0));
    let count = taken.clone();
    let learn = format!("  labels: {{from: control}}\n{LEARN}");
    let run = run_labelled(folder.path(), 4000, &truth(), &learn, move |number, model| {
        // Until the stream's first packet has reached the learner there is nothing that a label could be for.
        let at = Timestamp::from_nanos(number * PACKET.as_nanos());
        let right = Target::Class(class(RIGHT, &features(number)));
        count.fetch_add(model.label(right, None, Some(at)).is_ok().into(), Ordering::SeqCst);
        assert!(model.label(Target::Class(0), Some("words"), None).is_err());
    });
    assert!(run.report.is_clean(), "{:#?}", run.report);
    assert!(taken.load(Ordering::SeqCst) > 3000 && run.of_type("promoted") > 0, "{:#?}", run.reports);
    assert!(run.accuracy(3500..4000) > 0.95, "{:#?}", run.reports);
}

#[test]
fn what_a_person_takes_back_stays_taken_back_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    classifier(folder.path());
    let saved = format!("{LEARN}  save: versions\n");
    let first = run(folder.path(), 2000, &truth(), &saved);
    assert!(first.report.is_clean() && first.of_type("promoted") > 0, "{:#?}", first.report);
    let learned = first.accuracy(1500..2000);
    // What was learned serves from the first packet of the next run on, until a person takes it back.
    let frozen = "  promote: {min_gain: 0.9}\n  save: versions\n";
    let second = run_with(folder.path(), 2000, &truth(), frozen, |number, model| {
        if number == 1000 {
            assert!(model.version() > 0);
            model.rollback(Some(0)).unwrap();
        }
    });
    assert!(second.report.is_clean(), "{:#?}", second.report);
    let serving = |run: &Run, number: usize| run.answers[number].1;
    assert!(serving(&second, 0) > 0 && serving(&second, 1999) > serving(&second, 0));
    let (before, after) = (second.accuracy(0..900), second.accuracy(1500..2000));
    assert!(before > learned - 0.05 && after < 0.8, "{before} {after}");
    // The next one begins with what served last, which is a version of the folder.
    let third = run(folder.path(), 400, &truth(), frozen);
    assert!(third.accuracy(0..400) < 0.8 && serving(&third, 0) > 0, "{}", third.accuracy(0..400));
}

/// The pipeline as a user runs it: accents that the model has never heard.
#[test]
fn a_new_accent_is_learned_and_the_old_one_kept() {
    if Command::new("espeak-ng").arg("--version").output().is_err() {
        eprintln!("SKIPPED: espeak-ng, which speaks the recordings, is not installed");
        return;
    }
    // The recordings and the versions are written beside the files, so these are copied.
    let folder = tempfile::tempdir().unwrap();
    let copied = |name: &str| {
        fs::create_dir_all(folder.path().join(name)).unwrap();
        for entry in fs::read_dir(common::root().join(name)).unwrap().map(Result::unwrap) {
            if entry.path().is_file() {
                fs::copy(entry.path(), folder.path().join(name).join(entry.file_name())).unwrap();
            }
        }
        folder.path().join(name)
    };
    let (model, pipelines) = (copied("models/spoken-digits"), copied("pipelines"));
    assert!(Command::new("sh").arg(model.join("speak.sh")).status().unwrap().success());
    let pipeline = pipelines.join("digits-adapt.yaml");
    let (code, _, stderr) = common::run(common::percept().arg("check").arg(&pipeline));
    assert_eq!(code, 0, "{stderr}");
    let (code, _, stderr) = common::run(common::percept().arg("run").arg(&pipeline));
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(common::records(&pipelines.join("digits-adapt.jsonl")).len(), 600, "no answer is lost");
    // Of accents that it never learned from, which the recipe tests on, and of the old voices, which guard it.
    let accuracy = |file: &Path| {
        let data = model.join("recipe.yaml");
        let (code, stdout, stderr) =
            common::run(common::percept().args(["eval", "--json"]).arg(file).arg("--data").arg(data));
        assert_eq!(code, 0, "{stderr}");
        serde_json::from_str::<serde_json::Value>(&stdout).unwrap()["accuracy"].as_f64().unwrap()
    };
    let adapted = pipelines.join("digits-adapted");
    let current = fs::read_to_string(adapted.join("current.json")).unwrap();
    let number = serde_json::from_str::<serde_json::Value>(&current).unwrap()["number"].as_u64().unwrap();
    assert!(number > 1, "nothing was adopted: {stderr}");
    let (before, after) = (accuracy(&model.join("model.onnx")), accuracy(&adapted.join(format!("v{number:06}.onnx"))));
    assert!(before < 0.7 && after > before + 0.15, "{before} {after}");
    let mut promoted = common::records(&pipelines.join("digits-reports.jsonl"))
        .iter()
        .map(|record| serde_json::from_str::<serde_json::Value>(record["text"].as_str().unwrap()).unwrap())
        .filter(|report| report["type"] == "promoted")
        .collect::<Vec<_>>();
    let guard = promoted.pop().unwrap()["figures"]["guard"].take();
    let lost = guard["candidate"].as_f64().unwrap() - guard["original"].as_f64().unwrap();
    assert!(lost < 0.02, "{guard}");
}
