//! Speech to text on one thread: the five LibriVox clips and two_cities.wav (69 s) through `pipelines/speech.yaml`'s
//! stages, beside a plain Python loop and sherpa-onnx on the same models.
//!
//! `cargo bench --bench speech`. In each round every peer runs once, in a process of its own on one core: it loads its
//! models, hears the recordings once to warm up, and once more by the clock. Reading files and loading models is not
//! counted. Prints medians over rounds; asserts nothing.

#[path = "../tests/common/mod.rs"]
mod common;
mod measure;

use std::collections::BTreeMap;
use std::time::Duration;

use measure::{
    Meter, Peers, SAMPLE_RATE_HZ, again, again_on_all_cores, cell, load, median, median_ratio, memory_mib, root,
};
use percept::runtime::{Running, StartOptions};
use percept::stages::capture::push::PushHandle;
use percept::stages::sink::collect::Collected;
use serde_json::{Value as Json, json};

/// As pipelines/speech.yaml; the samples come from memory, and none in real time, so there are no partial results.
const PIPELINE: &str = "
percept: 1
name: b
stages:
  - capture: push
    sample_rate_hz: 16000
    live: false
  - preprocess: mono
  - preprocess: resample
    sample_rate_hz: 16000
  - model: silero-vad
    id: gate
  - decoder: endpoint
    from: {voice: gate, audio: resample}
  - model: moonshine-tiny
    id: words
  - decoder: transcript
  - sink: collect
";
/// The row that is not kept to one core.
const ALL_CORES: &str = "percept, all cores";
const MODELS: [&str; 2] = ["gate", "words"];
/// Samples in a packet: 100 ms, as `capture: file` cuts them.
const PACKET: usize = 1600;
/// Longer than any utterance takes.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() {
    if std::env::args().any(|argument| argument == "--one") {
        println!("{}", one());
        return;
    }
    let peers = Peers::find();
    let rounds = measure::rounds(5);
    println!(
        "speech, 69 s in six recordings, models on one thread, everything on one core (median of {rounds} rounds)"
    );
    let mut names = vec!["percept", ALL_CORES];
    if let Some(peers) = &peers {
        names.push("python");
        names.extend(peers.sherpa.then_some("sherpa-onnx"));
    }
    let before = load();
    let mut results: BTreeMap<&str, Vec<Json>> = BTreeMap::new();
    for round in 0..rounds {
        let forth = names.iter().copied();
        let order: Vec<_> = if round % 2 == 0 { forth.collect() } else { forth.rev().collect() };
        for name in order {
            let result = match (name, &peers) {
                ("python", Some(peers)) => peers.figures("speech.py", &["--passes", "1"]),
                ("sherpa-onnx", Some(peers)) => peers.figures("sherpa.py", &["--job", "speech", "--passes", "1"]),
                (ALL_CORES, _) => again_on_all_cores(&["--one"]),
                _ => again(&["--one"]),
            };
            results.entry(name).or_default().push(result);
        }
    }
    print(&names, &results);
    println!("load average {before} before, {} after", load());
}

fn print(names: &[&str], results: &BTreeMap<&str, Vec<Json>>) {
    println!(
        "{:>20}  {:>17}  {:>15}  {:>18}  {:>6}  {:>6}",
        "", "real-time factor", "percept / it", "not the models, %", "word", "peak"
    );
    println!(
        "{:>20}  {:>8} {:>8}  {:>7} {:>7}  {:>9} {:>8}  {:>6}  {:>6}",
        "", "wall", "CPU", "wall", "CPU", "threads", "calls", "errors", "MiB"
    );
    for name in names {
        let (ours, rounds) = (&results["percept"], &results[name]);
        // On one core, calls into one model wait for calls into the other.
        let calls = if *name == ALL_CORES { median(rounds, "outside_calls") } else { f64::NAN };
        println!(
            "{name:>20}  {:>8} {:>8}  {:>7} {:>7}  {:>9} {:>8}  {:>6}  {:>6}",
            cell(median(rounds, "rtf_median"), 4),
            cell(median(rounds, "cpu_rtf_median"), 4),
            cell(median_ratio(ours, rounds, "rtf_median"), 2),
            cell(median_ratio(ours, rounds, "cpu_rtf_median"), 2),
            cell(median(rounds, "outside_threads") * 100.0, 2),
            cell(calls * 100.0, 2),
            cell(median(rounds, "word_errors"), 0),
            cell(median(rounds, "peak_mib"), 0),
        );
    }
    println!(
        "not the models: CPU time that is not spent in the threads of the two model stages, and that is not spent in"
    );
    println!(
        "calls into them. Calls are timed by the wall, so the latter is right on an idle machine only, and else too low."
    );
}

/// One recording.
struct Recording {
    name: String,
    samples: Vec<f32>,
    utterances: usize,
}

/// Those that the frozen reference knows, without the short ones of playing cards.
fn recordings() -> Vec<Recording> {
    let reference = common::reference("reference.json");
    let clips = reference["clips"].as_array().expect("a list").iter();
    let clips = clips.filter(|clip| !clip["name"].as_str().expect("a name").starts_with("cards"));
    clips
        .map(|clip| Recording {
            name: clip["name"].as_str().expect("a name").to_owned(),
            samples: measure::samples(&root().join(clip["file"].as_str().expect("a path"))),
            utterances: clip["segments"].as_array().expect("a list").len(),
        })
        .collect()
}

/// Measures percept in this process.
fn one() -> Json {
    let recordings = recordings();
    let mut pipeline = measure::pipeline(PIPELINE);
    let push = pipeline.push("push").expect("it is a push");
    let mut results = pipeline.subscribe("collect", 1000).expect("it collects");
    let mut options = StartOptions::default();
    options.pool_threads = Some(1);
    let running = pipeline.start_with(options).expect("it starts");
    hear(&recordings, &push, &mut results, "warm up");

    let busy_before = busy(&running);
    let meter = Meter::start();
    let texts = hear(&recordings, &push, &mut results, "measured");
    let reading = meter.stop();
    let busy: Duration = busy(&running) - busy_before;

    push.finish();
    let report = running.wait();
    assert!(report.is_clean(), "{report:#?}");
    let audio_s =
        recordings.iter().map(|recording| recording.samples.len()).sum::<usize>() as f64 / SAMPLE_RATE_HZ as f64;
    let wall = reading.wall.as_secs_f64();
    let cpu = reading.cpu().as_secs_f64();
    let models: Duration = MODELS.iter().map(|stage| reading.cpu_of("b", stage)).sum();
    let errors =
        |(name, text): (&String, &String)| common::word_errors(&common::transcript(name), &common::words(text));
    json!({
        "bench": "speech", "peer": "percept", "audio_s": audio_s,
        "utterances": recordings.iter().map(|recording| recording.utterances).sum::<usize>(),
        "word_errors": texts.iter().map(errors).sum::<usize>(),
        "rtf_median": wall / audio_s, "cpu_rtf_median": cpu / audio_s,
        "outside_calls": 1.0 - busy.as_secs_f64() / cpu,
        "by_thread_s": reading.by_thread(),
        "outside_threads": 1.0 - models.as_secs_f64() / cpu,
        "peak_mib": memory_mib("VmHWM"), "load": load(),
    })
}

/// Pushes one recording after the other, and waits for every utterance. Gives the text of each recording.
fn hear(recordings: &[Recording], push: &PushHandle, results: &mut Collected, pass: &str) -> BTreeMap<String, String> {
    let mut expected = 0;
    for recording in recordings {
        let mut stream = push.open_stream(format!("{}/{pass}", recording.name)).expect("the pipeline runs");
        for packet in recording.samples.chunks(PACKET) {
            stream.push_audio(packet).expect("the pipeline runs");
        }
        expected += recording.utterances;
    }
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    for _ in 0..expected {
        let received = results.recv_timeout(PATIENCE).expect("an utterance for each of the reference's");
        let text = &received.packet.payload.transcript().expect("a transcript").text;
        let name = received.stream.split('/').next().unwrap_or_default().to_owned();
        let whole = texts.entry(name).or_default();
        whole.push_str(text);
        whole.push('\n');
    }
    texts
}

/// Time spent so far in calls into the models.
fn busy(running: &Running) -> Duration {
    let books = running.stats();
    let models = books.stages.iter().filter(|stage| MODELS.contains(&&*stage.id));
    Duration::from_nanos(models.map(|stage| stage.busy_ns).sum())
}
