//! The manners of a guest: inside a program with a runtime, a recorder and a subscriber of its own, and as a program that
//! is interrupted.
#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::percept;
use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use percept::Pipeline;
use percept::stages::capture::push::Push;
use percept::stages::preprocess::resample::Resample;
use percept::stages::sink::collect::Collect;
use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};

/// The program's own recorder: counts the packets that went into stages, by pipeline.
#[derive(Default)]
struct Own {
    left: Arc<Count>,
    right: Arc<Count>,
}

#[derive(Default)]
struct Count(AtomicU64);

impl CounterFn for Count {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }

    fn absolute(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

impl Recorder for Own {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let pipeline = key.labels().find(|label| label.key() == "pipeline").map(|label| label.value().to_owned());
        match (key.name(), pipeline.as_deref()) {
            ("percept_packets_in_total", Some("left")) => Counter::from_arc(self.left.clone()),
            ("percept_packets_in_total", Some("right")) => Counter::from_arc(self.right.clone()),
            _ => Counter::noop(),
        }
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// The program's own subscriber: keeps the messages of percept, by pipeline, and how deep it was in its own span.
#[derive(Default)]
struct Log {
    spans: AtomicU64,
    told: Arc<Mutex<Vec<String>>>,
}

/// The fields of an event as text.
struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0 += &format!(" {}={value:?}", field.name());
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields(event.metadata().target().to_owned());
        event.record(&mut fields);
        self.told.lock().unwrap().push(fields.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Pushes a second of sound through a pipeline of this name; gives the samples that came out.
async fn through(name: &str, rate: u32) -> usize {
    let push = Push::sound(rate, 1).unwrap().live(false);
    let input = push.handle();
    let (collect, mut output) = Collect::new(8);
    let builder = Pipeline::builder(name)
        .stage("in", push)
        .stage("resample", Resample { sample_rate_hz: 8000 })
        .stage("out", collect);
    let running = Pipeline::build(builder).unwrap().start().unwrap();
    let mut stream = input.open_stream("s").unwrap();
    let feeding = tokio::spawn(async move {
        for _ in 0..100 {
            stream.push_audio_async(&vec![0.25; rate as usize / 100]).await.unwrap();
        }
        stream.close();
        input.finish();
    });
    let mut samples = 0;
    while let Some(received) = output.next().await {
        samples += received.packet.payload.audio().unwrap().frames();
    }
    feeding.await.unwrap();
    let report = running.finished().await;
    assert!(report.is_clean(), "{report:#?}");
    samples
}

#[test]
fn two_pipelines_are_guests_of_a_program_with_a_runtime_recorder_and_subscriber_of_its_own() {
    let own = Own::default();
    let (left, right) = (own.left.clone(), own.right.clone());
    metrics::set_global_recorder(own).expect("nobody else has installed a recorder");
    let log = Log::default();
    let told = log.told.clone();
    tracing::subscriber::set_global_default(log).expect("nobody else has installed a subscriber");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (one, two) = runtime.block_on(async { tokio::join!(through("left", 16_000), through("right", 48_000)) });
    assert_eq!((one, two), (8000, 8000));
    assert!(left.0.load(Ordering::Relaxed) >= 100 && right.0.load(Ordering::Relaxed) >= 100);
    assert!(metrics::set_global_recorder(Own::default()).is_err(), "the program's recorder is still there");
    let told = told.lock().unwrap();
    for pipeline in ["left", "right"] {
        let opened = |line: &&String| {
            line.starts_with("percept")
                && line.contains("stream opened")
                && line.contains(&format!("pipeline={pipeline}"))
        };
        assert_eq!(told.iter().filter(opened).count(), 1, "{pipeline} tells the program's subscriber: {told:#?}");
    }
}

/// Starts the program on endless sound from the standard input, five times as fast as real time.
fn endless(more: &[&str]) -> (Child, std::thread::JoinHandle<()>) {
    endless_every(Duration::from_millis(20), more)
}

/// The same with a tenth of a second of sound at this distance.
fn endless_every(distance: Duration, more: &[&str]) -> (Child, std::thread::JoinHandle<()>) {
    let folder = Box::leak(Box::new(tempfile::tempdir().unwrap()));
    let yaml = folder.path().join("endless.yaml");
    let text = "percept: 1\nstages:\n  - capture: stdin\n    format: raw\n    sample_format: s16le\n    sample_rate_hz: \
                16000\n    channels: 1\n    live: true\n  - preprocess: resample\n    sample_rate_hz: 8000\n  - sink: \
                jsonl\n    path: '-'\n";
    std::fs::write(&yaml, text).unwrap();
    let mut command = percept();
    command.arg("run").arg(yaml).args(more).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || {
        let tenth = [0u8; 3200];
        while stdin.write_all(&tenth).is_ok() {
            std::thread::sleep(distance);
        }
    });
    (child, feeder)
}

#[cfg(unix)]
fn signal(child: &Child, name: &str) {
    let status = std::process::Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

#[cfg(unix)]
#[test]
fn an_interrupt_finishes_what_is_under_way_and_the_books_balance() {
    for name in ["-INT", "-TERM"] {
        let (mut child, feeder) = endless(&[]);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.next().unwrap().unwrap().contains("\"type\":\"audio\""));
        signal(&child, name);
        let rest = std::thread::spawn(move || lines.map_while(Result::ok).count());
        let begun = Instant::now();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{name}\n{stderr}");
        assert!(begun.elapsed() < Duration::from_secs(14), "{name}: it took {:?}", begun.elapsed());
        assert!(stderr.contains("finishing what is under way") && stderr.contains("jsonl"), "{stderr}");
        rest.join().unwrap();
        feeder.join().unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_second_interrupt_stops_at_once_with_the_signals_own_code() {
    for (name, code) in [("-INT", 130), ("-TERM", 143)] {
        // Nobody reads what it writes, so it cannot finish what is under way.
        let (mut child, feeder) = endless_every(Duration::from_millis(1), &[]);
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut String::new()).unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        // It fills the pipe meanwhile, many times.
        std::thread::sleep(Duration::from_secs(2));
        signal(&child, name);
        let heard = stderr.find(|line| line.as_ref().unwrap().contains("finishing what is under way"));
        assert!(heard.is_some());
        let begun = Instant::now();
        signal(&child, name);
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(code), "{name}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{name}: it took {:?}", begun.elapsed());
        assert!(stderr.any(|line| line.unwrap().contains("cancelled: it was told to stop")));
        drop(stdout);
        feeder.join().unwrap();
    }
}

#[test]
fn the_run_ends_when_the_reader_of_its_only_output_goes_away() {
    // `percept run … | head -1`, while the sound goes on.
    let (mut child, feeder) = endless(&[]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("\"type\":\"audio\""));
    drop(lines);
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > Duration::from_secs(20) {
            child.kill().unwrap();
            panic!("it runs on");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    feeder.join().unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("the program that reads it has ended"), "{stderr}");
    assert!(!stderr.contains("panicked") && !stderr.contains("do not balance"), "{stderr}");
}

#[test]
fn metrics_are_served_while_it_runs() {
    let (mut child, feeder) = endless(&["--metrics", "127.0.0.1:19177"]);
    let deadline = Instant::now() + Duration::from_secs(20);
    let wanted = "percept_packets_in_total{pipeline=\"endless\",stage=\"jsonl\"}";
    let text = loop {
        assert!(Instant::now() < deadline, "the metrics never showed {wanted}");
        let mut text = String::new();
        if let Ok(mut connection) = TcpStream::connect("127.0.0.1:19177") {
            let _ = connection.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            let _ = connection.read_to_string(&mut text);
        }
        let counted = text.lines().find_map(|line| line.strip_prefix(wanted)?.trim().parse::<u64>().ok());
        if counted.is_some_and(|count| count > 0) {
            break text;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    for name in
        ["percept_process_seconds_bucket", "percept_queue_depth", "percept_latency_seconds", "percept_queued_bytes"]
    {
        assert!(text.contains(name), "{name} is not in\n{text}");
    }
    child.kill().unwrap();
    let _ = child.wait();
    feeder.join().unwrap();
}

#[cfg(all(unix, feature = "onnxruntime"))]
#[test]
fn no_library_notes_for_anybody_that_the_program_was_used() {
    if !common::models_are_here() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let yaml = home.path().join("voice.yaml");
    let text =
        "percept: 1\nstages:\n  - capture: file\n    path: IN\n  - model: silero-vad\n  - sink: jsonl\n    path: '-'\n";
    let sound = common::root().join("tests/data/speech/librivox-0930.wav");
    std::fs::write(&yaml, text.replace("IN", &sound.display().to_string())).unwrap();
    let cache = percept::cards::Cache::from_env().unwrap();
    let mut command = percept();
    command.arg("run").arg(yaml).env_remove("ORT_DISABLE_TELEMETRY").env_remove("XDG_CACHE_HOME");
    command.env("PERCEPT_CACHE", cache.root()).env("HOME", home.path());
    let (code, records, stderr) = common::run(&mut command);
    assert_eq!(code, 0, "{stderr}");
    assert!(records.lines().count() > 50, "the model has run");
    assert!(!home.path().join(".cache/Microsoft").exists(), "ONNX Runtime has made a store for its telemetry");
}
