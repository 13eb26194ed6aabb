//! Moonshine itself, held against what Python's onnxruntime made of the same samples (`tests/reference`).

use std::env;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::super::testing::{Bench, require_runtime};
use super::plan::Plan;
use super::*;
use crate::cards::{self, Cache, Card, Silent};
use crate::media::{Audio, Format, Packet, StreamId, StreamInfo, Text};
use crate::stage::Solo;
use crate::tensor::Buffer;
use crate::units::ClockInstant;

/// A stage with Moonshine tiny. Where model or runtime are missing the test fails, unless the environment lets it pass
/// unproven (`None`).
fn moonshine() -> Option<Plan> {
    if !require_runtime() {
        return None;
    }
    if env::var_os("PERCEPT_TEST_FETCH").is_some() {
        let card = Card::built_in("moonshine-tiny").unwrap().unwrap();
        cards::fetch(&card, &Cache::from_env().unwrap(), &mut Silent).unwrap();
    }
    let plan = Bench::with_user_cache().context("model: moonshine-tiny\n", |context| {
        crate::config::read::<Seq2Seq>(context.node, context.source)?.plan(context)
    });
    match plan {
        Ok(plan) => Some(plan),
        Err(faults)
            if env::var_os("PERCEPT_ALLOW_MISSING_MODELS").is_some_and(|value| value == "1")
                && faults.iter().all(|fault| fault.code == "not-fetched") =>
        {
            None
        }
        Err(faults) => panic!(
            "this test needs the model moonshine-tiny.\n{faults}\n`make test` fetches it, and so does this test with \
             PERCEPT_TEST_FETCH=1; PERCEPT_ALLOW_MISSING_MODELS=1 skips what needs it"
        ),
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn json(path: &str) -> Json {
    serde_json::from_slice(&std::fs::read(root().join(path)).unwrap()).unwrap()
}

/// The samples of a mono wav of 16 bits, in −1..1.
fn samples(path: &Path) -> Buffer<f32> {
    let wav = hound::WavReader::open(path).unwrap();
    let spec = wav.spec();
    assert_eq!((spec.sample_rate, spec.channels, spec.bits_per_sample), (16_000, 1, 16));
    wav.into_samples::<i16>().map(|sample| f32::from(sample.unwrap()) / 32768.0).collect::<Vec<_>>().into()
}

fn place(segment: &Json, key: &str) -> usize {
    segment[key].as_u64().unwrap() as usize
}

fn open(plan: &Plan) -> Solo {
    let stream = StreamInfo {
        id: StreamId(0),
        name: "s".into(),
        group: "s".into(),
        live: false,
        zero: ClockInstant::default(),
        wall: None,
        file: None,
    };
    Solo::open(plan, stream, vec![Format::audio(Some(plan.rate), Some(1))]).unwrap()
}

fn hear(solo: &mut Solo, plan: &Plan, samples: &Buffer<f32>, start: usize, end: usize) -> Text {
    let audio = Audio::mono(samples.slice(start..end).unwrap(), plan.rate);
    let (from, span) = (plan.rate.time_of(start as u64), plan.rate.span(start as u64, end as u64));
    let found = solo.push(0, Packet::new(StreamId(0), from, span, audio)).unwrap();
    let [(0, packet)] = &found[..] else { panic!("{found:?}") };
    assert_eq!((packet.start, packet.duration), (from, span));
    packet.payload.text().unwrap().clone()
}

#[test]
fn the_token_file_of_moonshine() {
    let Some(plan) = moonshine() else { return };
    let said = |token: usize| plan.tokens.pieces(&[token]).remove(0);
    assert_eq!(plan.tokens.count(), 32768);
    assert_eq!((said(0).as_str(), said(1).as_str(), said(2).as_str()), ("", "", ""));
    // From 3 on the bytes themselves.
    assert_eq!((said(3 + 65).as_str(), said(3 + 122).as_str()), ("A", "z"));
    assert_eq!((said(25299).as_str(), said(31353).as_str()), ("<>", ""));
    // é, byte by byte.
    assert_eq!(plan.tokens.pieces(&[3 + 0xc3, 3 + 0xa9]), ["", "é"]);
}

#[test]
fn check_loads_the_graphs_and_finds_the_ports_of_the_card() {
    let Some(plan) = moonshine() else { return };
    assert!(plan.encoder.unverified && plan.decoder.unverified);
    assert_eq!(plan.probe(), []);
    let mut plan = plan;
    plan.decoder.inputs.retain(|port| port.name != "use_cache_branch");
    let faults = plan.probe();
    let [fault] = &faults[..] else { panic!("{faults:?}") };
    assert!(fault.code == "card-ports" && fault.message.contains("use_cache_branch"), "{fault}");
    assert!(plan.build().is_err());
}

#[test]
fn every_segment_gives_the_reference_s_tokens_text_and_probability() {
    let Some(plan) = moonshine() else { return };
    let mut recogniser = plan.open().unwrap();
    let mut solo = open(&plan);
    let mut wrong = Vec::new();
    let mut count = 0;
    for clip in json("tests/data/speech/reference.json")["clips"].as_array().unwrap() {
        let name = clip["name"].as_str().unwrap();
        let samples = samples(&root().join(clip["file"].as_str().unwrap()));
        solo.reset().unwrap();
        for segment in clip["segments"].as_array().unwrap() {
            count += 1;
            let (start, end) = (place(segment, "start"), place(segment, "end"));
            let expected: Vec<usize> =
                segment["tokens"].as_array().unwrap().iter().map(|token| token.as_u64().unwrap() as usize).collect();
            let cap = plan.config.cap(end - start, plan.rate);
            let choices = recogniser.decode(&samples.slice(start..end).unwrap(), cap).unwrap();
            let tokens: Vec<usize> = choices.iter().map(|choice| choice.token).collect();
            let text = hear(&mut solo, &plan, &samples, start, end);
            let mean = text.pieces.iter().map(|piece| f64::from(piece.log_probability)).sum::<f64>()
                / text.pieces.len() as f64;
            let same = *text.text == *segment["text"].as_str().unwrap()
                && tokens == expected
                && (mean - segment["mean_log_prob"].as_f64().unwrap()).abs() < 1e-3;
            if !same {
                wrong.push(format!("{name} {start}..{end}: {mean:.5} {} {tokens:?}\n  {segment}", text.text));
            }
        }
    }
    assert!(count >= 15, "{count} segments");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Recordings that end early. Where two tokens were about as likely another processor may choose the other.
#[test]
fn truncated_segments_give_the_reference_s_text() {
    let Some(plan) = moonshine() else { return };
    let mut solo = open(&plan);
    let cuts = json("tests/data/speech/cuts.json");
    let (mut wrong, mut count) = (Vec::new(), 0);
    for cut in cuts["cuts"].as_array().unwrap().iter().step_by(5) {
        let name = cut["clip"].as_str().unwrap();
        let samples = samples(&root().join(format!("tests/data/speech/{name}.wav")));
        let list = |key: &str| cut[key].as_array().unwrap().clone();
        for ((segment, text), margin) in list("segments").iter().zip(list("texts")).zip(list("min_margins")) {
            if margin.as_f64().is_some_and(|margin| margin < 0.1) {
                continue;
            }
            count += 1;
            let (start, end) = (segment[0].as_u64().unwrap() as usize, segment[1].as_u64().unwrap() as usize);
            solo.reset().unwrap();
            let found = hear(&mut solo, &plan, &samples, start, end);
            if *found.text != *text.as_str().unwrap() {
                wrong.push(format!("{name} {start}..{end}: {}, expected {text}", found.text));
            }
        }
    }
    assert!(count >= 10, "{count} segments");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn silence_ends_soon_and_noise_of_any_length_is_no_panic() {
    let Some(plan) = moonshine() else { return };
    let mut solo = open(&plan);
    for (samples, most) in [(895, 1), (896, 1), (1000, 1), (16_000, 7), (160_000, 65)] {
        let silence: Buffer<f32> = vec![0.0; samples].into();
        assert!(hear(&mut solo, &plan, &silence, 0, samples).pieces.len() <= most, "{samples}");
        let noise: Vec<f32> = (0..samples).map(|i| ((i * 7919 % 1000) as f32 / 500.0 - 1.0) * 100.0).collect();
        assert!(hear(&mut solo, &plan, &noise.into(), 0, samples).pieces.len() <= most, "{samples}");
    }
}
