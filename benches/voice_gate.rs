//! The voice gate over many streams: Silero VAD over 1, 8 and 32 streams at a time, a call for each window, and one call
//! for a window of each stream (`batch: {max: 32, wait_ms: 5}`), beside Python and sherpa-onnx on the same model.
//!
//! `cargo bench --bench voice_gate`. Each figure comes from a process of its own on one core: CPU time of all threads, the
//! best of three passes; memory that was added from before the model was loaded (the library was) to the end. Every
//! stream is two_cities.wav from a place of its own, brought in packets of 32 ms as fast as they are taken. Prints
//! medians over rounds; asserts nothing.

mod measure;

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::Duration;

use measure::{Meter, Peers, SAMPLE_RATE_HZ, again, cell, load, median, memory_mib, root};
use percept::inference::SessionOptions;
use percept::runtime::StartOptions;
use percept::stages::model::session::Runtime;
use serde_json::{Value as Json, json};

const STREAMS: [&str; 3] = ["1", "8", "32"];
/// Audio in a stream, in seconds.
const SECONDS: &str = "20";
const PASSES: usize = 3;
/// Samples in a window, and in a packet.
const WINDOW: usize = 512;
/// Longer than any call takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn yaml(batch: &str) -> String {
    format!(
        "
percept: 1
name: b
stages:
  - capture: push
    sample_rate_hz: 16000
    live: false
  - model: silero-vad
    id: gate
{batch}
  - sink: collect
"
    )
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(place) = arguments.iter().position(|argument| argument == "--one") {
        let [mode, streams, seconds] = &arguments[place + 1..place + 4] else { unreachable!("three were taken") };
        println!("{}", one(mode, streams.parse().expect("a number"), seconds.parse().expect("a number")));
        return;
    }
    let peers = Peers::find();
    let rounds = measure::rounds(3);
    println!(
        "voice gate, {SECONDS} s in each stream, model on one thread, everything on one core (median of {rounds} rounds)"
    );
    let mut names = vec!["percept, alone", "percept, batched"];
    if let Some(peers) = &peers {
        names.extend(["python, alone", "python, batched"]);
        names.extend(peers.sherpa.then_some("sherpa-onnx"));
    }
    let before = load();
    let mut results: BTreeMap<(&str, &str), Vec<Json>> = BTreeMap::new();
    for streams in STREAMS {
        for round in 0..rounds {
            let forth = names.iter().copied();
            let order: Vec<_> = if round % 2 == 0 { forth.collect() } else { forth.rev().collect() };
            for name in order {
                let mode = name.rsplit(", ").next().unwrap_or_default();
                let size = ["--streams", streams, "--seconds", SECONDS];
                let result = match &peers {
                    Some(peers) if name.starts_with("python") => {
                        peers.figures("vad_streams.py", &[&["--one", mode], &size[..]].concat())
                    }
                    Some(peers) if name == "sherpa-onnx" => {
                        peers.figures("sherpa.py", &[&["--job", "gate"], &size[..]].concat())
                    }
                    _ => again(&["--one", mode, streams, SECONDS]),
                };
                results.entry((name, streams)).or_default().push(result);
            }
        }
    }
    for (title, key, digits) in [
        ("CPU ms per second of audio", "cpu_ms_per_s", 2),
        ("memory added, MiB", "grown_mib", 1),
        ("peak memory, MiB", "peak_mib", 0),
        ("windows in a call", "windows_per_call", 1),
    ] {
        print!("\n{title:>28}  ");
        STREAMS.iter().for_each(|streams| print!("{:>8}", format!("{streams} str.")));
        println!();
        for name in &names {
            let found = STREAMS.map(|streams| median(&results[&(*name, streams)], key));
            if found.iter().any(|value| !value.is_nan()) {
                println!("{name:>28}  {}", found.map(|value| format!("{:>8}", cell(value, digits))).concat());
            }
        }
    }
    println!("\nload average {before} before, {} after", load());
}

/// Measures percept in this process.
fn one(mode: &str, streams: usize, seconds: usize) -> Json {
    let whole = measure::samples(&root().join("examples/recordings/two_cities.wav"));
    // Twice, so that a window may go over the end.
    let recording = whole.repeat(2);
    let windows = seconds * SAMPLE_RATE_HZ / WINDOW;
    let library = Runtime::new(&measure::settings(), SessionOptions::default());
    library.initialize().expect("the models were checked with it");
    let memory_before = memory_mib("VmRSS");

    let batch = if mode == "batched" { "    batch: {max: 32, wait_ms: 5}" } else { "" };
    let mut pipeline = measure::pipeline(&yaml(batch));
    let push = pipeline.push("push").expect("it is a push");
    let mut results = pipeline.subscribe("collect", 64).expect("it collects");
    let mut options = StartOptions::default();
    options.pool_threads = Some(1);
    let running = pipeline.start_with(options).expect("it starts");

    // This thread pushes; another one reads, tells when a pass is over, and lives until the pipeline has ended, so that
    // its time is counted too.
    let (tell, told) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut read = 0;
        while results.recv().is_some() {
            read += 1;
            if read % (streams * windows) == 0 {
                let _ = tell.send(());
            }
        }
    });
    let mut best = f64::INFINITY;
    for pass in 0..PASSES {
        let open = |stream| push.open_stream(format!("{stream}/{pass}")).expect("the pipeline runs");
        let mut open: Vec<_> = (0..streams).map(open).collect();
        let meter = Meter::start();
        for window in 0..windows {
            for (stream, inlet) in open.iter_mut().enumerate() {
                let start = (stream * SAMPLE_RATE_HZ + window * WINDOW) % whole.len();
                inlet.push_audio(&recording[start..start + WINDOW]).expect("the pipeline runs");
            }
        }
        told.recv_timeout(PATIENCE).expect("a probability for each window");
        best = best.min(meter.stop().cpu().as_secs_f64());
    }
    let memory_after = memory_mib("VmRSS");

    push.finish();
    let report = running.wait();
    assert!(report.is_clean(), "{report:#?}");
    reader.join().expect("it only counts");
    let gate = report.books.stages.iter().find(|stage| &*stage.id == "gate").expect("it is a stage");
    let audio_s = (streams * windows * WINDOW) as f64 / SAMPLE_RATE_HZ as f64;
    json!({
        "bench": "voice gate", "peer": format!("percept, {mode}"), "streams": streams,
        "cpu_ms_per_s": 1000.0 * best / audio_s, "windows_per_call": gate.done as f64 / gate.calls as f64,
        "grown_mib": memory_after - memory_before, "peak_mib": memory_mib("VmHWM"), "load": load(),
    })
}
