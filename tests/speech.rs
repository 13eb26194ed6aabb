//! Speech from end to end: recordings in, the reference's words and times out, however the sound was cut.
#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{models_are_here, percept, records, reference, root, run, transcript, word_errors, words};
use percept::Pipeline;
use percept::codec::AudioReader;
use percept::media::Packet;
use percept::runtime::StartOptions;
use percept::units::VirtualClock;
use serde_json::Value as Json;

/// A segment of the reference is cut on whole samples; a record prints microseconds.
const TIME_TOLERANCE_S: f64 = 1e-5;
/// Where the model's two best tokens are nearer than this, another processor may choose the other one.
const FRAGILE: f64 = 0.1;

fn finals(records: &[Json], stream: &str) -> Vec<Json> {
    let own = |record: &&Json| record["stream"].as_str().is_some_and(|name| name.ends_with(stream));
    records
        .iter()
        .filter(own)
        .filter(|record| record["type"] == "transcript" && record["final"] == true)
        .cloned()
        .collect()
}

#[test]
fn the_recordings_come_out_as_the_reference_says() {
    if !models_are_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.jsonl");
    let (code, stdout, stderr) = run(percept()
        .args(["run", "pipelines/speech.yaml", "--input", "tests/data/speech", "examples/recordings", "--output"])
        .arg(&output));
    assert_eq!(code, 0, "{stderr}");
    let records = records(&output);
    let reference = reference("reference.json");
    let mut librivox_errors = 0;
    for clip in reference["clips"].as_array().unwrap() {
        let name = clip["name"].as_str().unwrap();
        let file = Path::new(clip["file"].as_str().unwrap()).file_name().unwrap().to_str().unwrap();
        let finals = finals(&records, file);
        let segments = clip["segments"].as_array().unwrap();
        assert_eq!(finals.len(), segments.len(), "{name}: {finals:#?}");
        for (found, segment) in finals.iter().zip(segments) {
            for key in ["start_s", "end_s"] {
                let (found, expected) = (found[key].as_f64().unwrap(), segment[key].as_f64().unwrap());
                assert!((found - expected).abs() < TIME_TOLERANCE_S, "{name}: {key} is {found}, expected {expected}");
            }
            if segment["min_margin"].as_f64().unwrap() >= FRAGILE {
                assert_eq!(found["text"], segment["text"], "{name}");
            }
            assert!(stdout.contains(found["text"].as_str().unwrap()), "the console shows every final");
        }
        let text: Vec<_> = finals.iter().map(|record| record["text"].as_str().unwrap()).collect();
        let errors = word_errors(&transcript(name), &words(&text.join(" ")));
        assert!(errors <= clip["word_errors"].as_u64().unwrap() as usize + 1, "{name}: {errors} word errors");
        if name.starts_with("librivox") {
            librivox_errors += errors;
        }
    }
    assert!(librivox_errors <= 3, "{librivox_errors} word errors of 71");
}

/// Samples of a recording that is mono at 16 kHz.
fn samples(path: &Path) -> Vec<f32> {
    let mut reader = AudioReader::open(path).unwrap();
    let mut samples = Vec::new();
    while reader.read(&mut samples).unwrap() > 0 {}
    samples
}

const PUSHED: &str = "
percept: 1
name: pushed
stages:
  - capture: push
    sample_rate_hz: 16000
    live: false
  - model: silero-vad
    batch: {max: 8, wait_ms: 5}
  - decoder: endpoint
    from: {voice: silero-vad, audio: push}
  - model: moonshine-tiny
  - decoder: transcript
  - sink: collect
";

/// Runs streams of samples, each cut into packets of its own size, under a virtual clock; gives every stream's finals.
fn recognise(streams: Vec<(String, Vec<f32>, usize)>) -> BTreeMap<String, Vec<Packet>> {
    let mut pipeline = Pipeline::from_yaml(PUSHED).unwrap_or_else(|faults| panic!("{faults}"));
    let mut results = pipeline.subscribe("collect", 1000).unwrap();
    let push = pipeline.push("push").unwrap();
    let mut options = StartOptions::default();
    options.clock = Some(std::sync::Arc::new(VirtualClock::new()));
    let running = pipeline.start_with(options).unwrap();
    let feeder = std::thread::spawn(move || {
        let feeders: Vec<_> = streams
            .into_iter()
            .map(|(name, samples, size)| {
                let mut stream = push.open_stream(name).unwrap();
                std::thread::spawn(move || samples.chunks(size).for_each(|chunk| stream.push_audio(chunk).unwrap()))
            })
            .collect();
        push.finish();
        feeders.into_iter().for_each(|feeder| feeder.join().unwrap());
    });
    let mut found: BTreeMap<String, Vec<Packet>> = BTreeMap::new();
    while let Some(received) = results.recv() {
        assert!(!received.packet.flags.partial, "a stream that is not live has no partial results");
        found.entry(received.stream.to_string()).or_default().push(received.packet);
    }
    feeder.join().unwrap();
    let report = running.wait();
    assert!(report.is_clean(), "{report:#?}");
    let pushed = report.books.stages.iter().find(|stage| &*stage.id == "push").unwrap();
    let read = report.books.links.iter().find(|link| link.name == "push → endpoint.audio").unwrap();
    assert_eq!(pushed.samples_written, read.frames_received, "samples segmented are samples read");
    found
}

fn text(packet: &Packet) -> (i64, i64, String, bool) {
    let transcript = packet.payload.transcript().unwrap();
    (packet.start.as_nanos(), packet.duration.as_nanos(), transcript.text.to_string(), transcript.is_final)
}

#[test]
fn any_cutting_gives_the_same_transcript() {
    if !models_are_here() {
        return;
    }
    let samples = samples(&root().join("tests/data/speech/librivox-0890.wav"));
    let sizes = [1, 7, 160, 512, 4801, 16_000, 160_000];
    let streams = sizes.iter().map(|size| (format!("by {size}"), samples.clone(), *size)).collect();
    let found = recognise(streams);
    assert_eq!(found.len(), sizes.len());
    let first: Vec<_> = found["by 1"].iter().map(text).collect();
    assert!(!first.is_empty());
    for (name, packets) in &found {
        assert_eq!(packets.iter().map(text).collect::<Vec<_>>(), first, "{name}");
    }
}

#[test]
fn cut_anywhere_the_last_word_is_not_lost() {
    if !models_are_here() {
        return;
    }
    let cuts = reference("cuts.json");
    let cuts = cuts["cuts"].as_array().unwrap();
    assert_eq!(cuts.len(), 100);
    let mut clips: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    let streams = cuts.iter().enumerate().map(|(index, cut)| {
        let clip = cut["clip"].as_str().unwrap();
        let whole = clips
            .entry(clip.to_owned())
            .or_insert_with(|| samples(&root().join(format!("tests/data/speech/{clip}.wav"))));
        let kept = whole[..cut["samples"].as_u64().unwrap() as usize].to_vec();
        (format!("{index}"), kept, 1600 + 37 * index)
    });
    let found = recognise(streams.collect());
    for (index, cut) in cuts.iter().enumerate() {
        let packets = found.get(&format!("{index}")).cloned().unwrap_or_default();
        // A segment without any word gives no transcript.
        let expected: Vec<(&Json, &str, f64)> = cut["segments"]
            .as_array()
            .unwrap()
            .iter()
            .zip(cut["texts"].as_array().unwrap())
            .zip(cut["min_margins"].as_array().unwrap())
            .map(|((segment, text), margin)| (segment, text.as_str().unwrap(), margin.as_f64().unwrap_or(0.0)))
            .filter(|(_, text, _)| !text.is_empty())
            .collect();
        assert_eq!(packets.len(), expected.len(), "cut {index}: {packets:#?}");
        for (packet, (segment, words, margin)) in packets.iter().zip(expected) {
            let at = |nanos: i64| (nanos as f64 * 16e-6).round() as u64;
            let (start, duration, found, _) = text(packet);
            assert_eq!(at(start), segment[0].as_u64().unwrap(), "cut {index}");
            assert_eq!(at(start + duration), segment[1].as_u64().unwrap(), "cut {index}");
            if margin >= FRAGILE {
                assert_eq!(found, words, "cut {index}");
            }
        }
    }
}
