//! The stage with a fake model, and what check says of its config.

use super::super::testing::Bench;
use super::super::tokens::Tokens;
use super::plan::Plan;
use super::stage::Seq2SeqStage;
use super::testing::{Script, recogniser};
use super::*;
use crate::config::Fault;
use crate::media::{Audio, Format, Packet, StreamId, StreamInfo, Text};
use crate::stage::{Contract, ContractFault, PortIndex, Runnable, Solo, StageError};
use crate::tensor::Buffer;
use crate::units::{ClockInstant, Rate, TimeSpan, Timestamp};

/// A card like Moonshine's for files beside it, which no session ever opens.
fn card() -> String {
    let cards: Vec<_> = crate::cards::BUILT_IN.iter().filter(|card| card.name == "moonshine-tiny").collect();
    let text = cards[0].card.replace("name: moonshine-tiny", "name: own");
    let own = |line: &&str| {
        let line = line.trim_start();
        !(line.starts_with("from: {download") || line.starts_with("sha256: ") || line.starts_with("bytes: "))
    };
    let (head, rest) = text.split_once("  downloads:").unwrap();
    let files = rest.split_once("files:").unwrap().1;
    let files: Vec<&str> = files.lines().filter(own).collect();
    format!("{head}files:{}\n", files.join("\n"))
}

/// The first bytes of an ONNX Runtime file.
const ORT: &[u8] = b"\x18\0\0\0ORTM then more";

/// A bench with the model `own`.
fn bench(card: &str, tokens: usize) -> Bench {
    let bench = Bench::new();
    bench.write("models/own/card.yaml", card);
    for graph in ["encoder_model.ort", "decoder_model_merged.ort"] {
        bench.write(&format!("models/own/{graph}"), ORT);
    }
    bench.write("models/own/tokenizer.bin", b"\x01a".repeat(tokens));
    bench.write("models/own/LICENSE", "");
    bench
}

fn plan() -> Plan {
    let bench = bench(&card(), 32768);
    let config =
        |context: &ReadContext<'_>| crate::config::read::<Seq2Seq>(context.node, context.source)?.plan(context);
    bench.context("model: own\n", config).unwrap_or_else(|faults| panic!("{faults}"))
}

#[test]
fn the_card_gives_what_the_pipeline_leaves_out() {
    let plan = plan();
    let config = &plan.config;
    assert_eq!((config.begin_token, config.end_token, config.min_samples), (1, 2, 895));
    assert_eq!((config.max_tokens_per_s, config.max_length_s), (6.5, 60.0));
    assert_eq!(config.decoder_mask, DecoderMask::Samples);
    assert_eq!(plan.rate, Rate::hz(16_000).unwrap());
    assert_eq!(plan.decoder_ports.cache.len(), 24);
    assert_eq!(plan.tokens.count(), 32768);
    let contract = plan.contract();
    assert!(contract.supersede && contract.batch.max == 1 && contract.deadline.is_some());
}

#[test]
fn every_fault_of_a_stage_is_reported() {
    let whole = card();
    for (yaml, card, tokens, says) in [
        ("model: own\nbeam: 4\n", whole.clone(), 32768, "test.yaml:2:1: error"),
        ("model: own\nmax_tokens_per_s: 0\n", whole.clone(), 32768, "test.yaml:2:19: error"),
        ("model: own\nmin_samples: 0\n", whole.clone(), 32768, "test.yaml:2:14: error"),
        ("model: own\nproviders: []\n", whole.clone(), 32768, "[no-provider]"),
        (
            "model: own\nend_token: 32768\n",
            whole.clone(),
            32768,
            "test.yaml:2:12: error: `end_token` is no token of `own`",
        ),
        ("model: own\nencoder: licence\n", whole.clone(), 32768, "[bad-model]"),
        ("model: own\ntokens: words\n", whole.clone(), 32768, "it has: decoder, encoder, licence, tokens"),
        ("model: own\n", whole.clone(), 32767, "32768 tokens, as the decoder's `logits`"),
        ("model: own\n", whole.clone(), 32767, "32768 tokens, as the card says"),
        ("model: own\n", whole.clone(), 0, "found an empty file"),
        (
            "model: own\n",
            whole.replace("sample_rate_hz: 16000", "value_range: [-1, 1]").replacen(
                "  value_range: [-1.0, 1.0]\n",
                "",
                1,
            ),
            32768,
            "the sample rate that `own` hears is not known",
        ),
        ("model: own\n", whole.replace("channels: 1", "channels: 2"), 32768, "hears 2 channels"),
        ("model: own\n", whole.replace("  begin_token: 1\n", ""), 32768, "begin_token"),
        (
            "model: own\n",
            whole.replace("[batch, frames, 288]}\n  decoder", "[batch, frames, 289]}\n  decoder"),
            32768,
            "do not belong together",
        ),
        (
            "model: own\n",
            whole.replace("past_key_values.3.encoder.key", "past_key_values.3.encoder.kay"),
            32768,
            "past_key_values.3.encoder.key",
        ),
        ("model: own\n", whole.replace("  encoder:\n    inputs:", "  licence:\n    inputs:"), 32768, "[ort-ports]"),
    ] {
        let bench = bench(&card, tokens);
        let faults = bench.read(&KIND, yaml).err().unwrap_or_else(|| panic!("{yaml}: no fault, expected {says}"));
        assert!(faults.to_string().contains(says), "{yaml}: {faults}");
    }
    // Several at once.
    let bench = bench(&whole, 7);
    let faults = bench.read(&KIND, "model: own\nend_token: 9\nencoder: nothing\n").unwrap_err().to_string();
    for code in ["[token-count]", "[no-such-token]", "[model-file]"] {
        assert!(faults.contains(code), "{faults}");
    }
}

#[test]
fn a_model_that_is_not_fetched_is_one_fault() {
    let faults: Vec<Fault> = Bench::new().read(&KIND, "model: moonshine-tiny\n").unwrap_err().into_iter().collect();
    let [fault] = &faults[..] else { panic!("{faults:?}") };
    assert_eq!(fault.code, "not-fetched");
    assert!(fault.to_string().contains("percept setup test.yaml"), "{fault}");
}

#[test]
fn sound_that_the_model_cannot_hear() {
    let plan = plan();
    let rate = |hz| Rate::hz(hz).ok();
    for (format, helps) in [
        (Format::audio(rate(48_000), Some(1)), &["insert `- preprocess: resample` with `sample_rate_hz: 16000`"][..]),
        (Format::audio(rate(16_000), Some(2)), &["insert `- preprocess: mono`"]),
        (Format::audio(rate(44_100), Some(2)), &["`- preprocess: mono`", "`sample_rate_hz: 16000`"]),
        (Format::Text, &[]),
    ] {
        let faults = plan.outputs(std::slice::from_ref(&format)).unwrap_err();
        let [fault] = &faults[..] else { panic!("{faults:?}") };
        assert_eq!((fault.port.as_str(), fault.expected.as_str()), ("audio", "audio 16000 Hz, 1 channel"));
        assert_eq!(fault.found, format.to_string());
        let help = fault.help.clone().unwrap_or_default();
        assert!(helps.iter().all(|says| help.contains(says)), "{help}");
    }
    for format in [Format::audio(rate(16_000), Some(1)), Format::ANY_AUDIO, Format::Any] {
        assert_eq!(plan.outputs(&[format]).unwrap(), [Format::Text]);
    }
}

#[test]
fn the_cap_is_the_reference_s() {
    let plan = plan();
    for samples in (0..2_000).chain((0..960_001).step_by(997)).chain((1..30).map(|k| k * 32_000)) {
        assert_eq!(plan.config.cap(samples, plan.rate), (13 * samples).div_ceil(32_000), "{samples}");
    }
}

/// The stage with a fake model.
#[derive(Clone)]
struct Spoken {
    plan: Plan,
    script: Script,
}

impl std::fmt::Debug for Spoken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Spoken")
    }
}

impl Spoken {
    fn new(says: Vec<usize>) -> Spoken {
        let mut plan = plan();
        plan.tokens = std::sync::Arc::new(
            Tokens::parse(b"\x01?\x03<s>\x04</s>\x01x\x01x\x06\xe2\x96\x81the\x01n\x06<0xC3>\x06<0xA9>\x01x").unwrap(),
        );
        Spoken { plan, script: Script::new(says) }
    }

    fn stage(&self) -> Seq2SeqStage {
        Seq2SeqStage { plan: self.plan.clone(), recogniser: recogniser(&self.script) }
    }

    fn solo(&self) -> Solo {
        Solo::open(self, stream(0), vec![Format::audio(Rate::hz(16_000).ok(), Some(1))]).unwrap()
    }
}

impl Blueprint for Spoken {
    fn contract(&self) -> Contract {
        self.plan.contract()
    }

    fn outputs(&self, inputs: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        self.plan.outputs(inputs)
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(self.stage()))
    }
}

fn stream(id: u32) -> StreamInfo {
    StreamInfo {
        id: StreamId(id),
        name: "s".into(),
        group: "s".into(),
        live: false,
        zero: ClockInstant::default(),
        wall: None,
        file: None,
    }
}

fn utterance(start_ms: i64, samples: impl Into<Buffer<f32>>) -> Packet {
    let rate = Rate::hz(16_000).unwrap();
    let audio = Audio::mono(samples, rate);
    let duration = rate.span(0, audio.frames() as u64);
    Packet::new(StreamId(0), Timestamp::ZERO + TimeSpan::from_millis(start_ms), duration, audio)
}

fn only_text(found: Vec<(PortIndex, Packet)>) -> Text {
    let [(0, packet)] = &found[..] else { panic!("{found:?}") };
    packet.payload.text().unwrap().clone()
}

#[test]
fn an_utterance_becomes_a_text_of_the_same_time() {
    let mut solo = Spoken::new(vec![5, 6, 7, 8, 2]).solo();
    let mut packet = utterance(250, vec![0.1; 16_000]);
    packet.flags.partial = true;
    packet.flags.gap = true;
    packet.revision = 3;
    let found = solo.push(0, packet.clone()).unwrap();
    let [(0, out)] = &found[..] else { panic!("{found:?}") };
    assert_eq!((out.start, out.duration), (packet.start, packet.duration));
    assert_eq!((out.flags, out.revision), (packet.flags, 3));
    let text = out.payload.text().unwrap();
    assert_eq!(&*text.text, "then\u{e9}");
    let pieces: Vec<&str> = text.pieces.iter().map(|piece| &*piece.text).collect();
    assert_eq!(pieces, [" the", "n", "", "\u{e9}", ""]);
    // One logit of 3 among nine of 0.
    let expected = 3.0 - (3.0f32.exp() + 9.0).ln();
    assert!(text.pieces.iter().all(|piece| (piece.log_probability - expected).abs() < 1e-5), "{text:?}");
    assert!(solo.flush().unwrap().is_empty());
    assert_eq!(solo.hold_back(), None);
}

#[test]
fn too_short_is_an_empty_text_and_a_runaway_ends_at_the_cap() {
    let spoken = Spoken::new(vec![6]);
    let mut solo = spoken.solo();
    for (samples, text) in [(0, 0), (894, 0), (895, 1), (16_000, 7), (32_000, 13), (32_001, 14)] {
        let found = only_text(solo.push(0, utterance(samples as i64, vec![0.5; samples])).unwrap());
        assert_eq!((&*found.text, found.pieces.len()), (&*"n".repeat(text), text), "{samples}");
    }
    assert_eq!(spoken.plan.counts.decoded(), 4);
}

#[test]
fn the_same_sound_is_decoded_once() {
    let spoken = Spoken::new(vec![5, 2]);
    let mut solo = spoken.solo();
    let sound: Buffer<f32> = vec![0.25; 2000].into();
    let mut eager = utterance(10, sound.clone());
    eager.flags.partial = true;
    let first = only_text(solo.push(0, eager).unwrap());
    let calls = spoken.script.calls().len();
    let mut minus_zero = vec![0.25; 2000];
    minus_zero[7] = 0.0;
    let zero = minus_zero.clone();
    minus_zero[7] = -0.0;
    for (packet, decoded, reused) in [
        (utterance(10, sound.clone()), 1, 1),
        (utterance(10, sound.to_vec()), 1, 2),
        (utterance(11, sound.clone()), 2, 2),
        (utterance(11, sound.slice(0..1999).unwrap()), 3, 2),
        (utterance(11, zero), 4, 2),
        (utterance(11, minus_zero), 5, 2),
        // Too short to be decoded: the one before it is still remembered.
        (utterance(12, vec![0.0; 10]), 5, 2),
    ] {
        let is_final = packet.payload.audio().unwrap().frames() > 10;
        let found = only_text(solo.push(0, packet).unwrap());
        assert_eq!(found, if is_final { first.clone() } else { Text::default() });
        assert_eq!((spoken.plan.counts.decoded(), spoken.plan.counts.reused()), (decoded, reused));
    }
    assert_eq!(spoken.script.calls().len() as u64, calls as u64 * spoken.plan.counts.decoded());
    let handle = spoken.plan.handle().unwrap().downcast::<Counts>().unwrap();
    assert_eq!(handle.reused(), 2);
}

#[test]
fn what_is_skipped() {
    let spoken = Spoken::new(vec![5, 2]);
    let mut solo = spoken.solo();
    let with = |value: f32| {
        let mut samples = vec![0.0; 2000];
        samples[1500] = value;
        utterance(0, samples)
    };
    let other = |rate: u32, channels: u16| {
        let audio = Audio::new(vec![0.0; 4000], channels, Rate::hz(rate).unwrap()).unwrap();
        Packet::new(StreamId(0), Timestamp::ZERO, TimeSpan::ZERO, audio)
    };
    for (packet, says) in [
        (with(f32::NAN), "found NaN at sample 1500 of 2000"),
        (with(f32::INFINITY), "found inf at sample 1500"),
        (with(f32::NEG_INFINITY), "found -inf at sample 1500"),
        (utterance(0, vec![0.0; 960_001]), "at most 60 s, found 60.0 s; put `- decoder: endpoint` before"),
        (other(8_000, 1), "expected audio 16000 Hz, 1 channel, found audio 8000 Hz, 1 channel"),
        (other(16_000, 2), "insert `- preprocess: mono`"),
        (Packet::new(StreamId(0), Timestamp::ZERO, TimeSpan::ZERO, Text::default()), "expected a payload of audio"),
    ] {
        let error = solo.push(0, packet).unwrap_err();
        assert!(matches!(error, StageError::Skip(_)) && error.to_string().contains(says), "{error}");
        // The stream goes on.
        assert_eq!(&*only_text(solo.push(0, utterance(0, vec![0.5; 1000])).unwrap()).text, "the");
    }
    let error = Solo::open(&spoken, stream(0), vec![Format::audio(Rate::hz(8_000).ok(), Some(1))]).err().unwrap();
    assert!(error.to_string().contains("`sample_rate_hz: 16000`"), "{error}");
}

#[test]
fn a_cancelled_call_ends_and_the_next_one_works() {
    use crate::stage::Stage;

    let spoken = Spoken::new(vec![5, 2]);
    let mut stage = spoken.stage();
    let canceller = stage.canceller().unwrap();
    let formats = [Format::audio(Rate::hz(16_000).ok(), Some(1))];
    let mut state = stage.open(&stream(0), &formats).unwrap().state;
    let samples: Buffer<f32> = vec![0.5; 2000].into();
    canceller.cancel();
    let error = stage.recogniser.decode(&samples, 5).unwrap_err();
    assert!(error.to_string().contains("cancelled"), "{error}");
    let input = crate::stage::Input { port: 0, packet: utterance(0, samples) };
    let mut out = crate::stage::Output::new();
    stage.process(&mut state, input, &mut out).unwrap();
    assert_eq!(out.emitted().len(), 1);
}

#[test]
fn nan_in_one_stream_changes_no_other() {
    use crate::stage::{Input, Output, Stage};

    let mut stage = Spoken::new(vec![5, 2]).stage();
    let formats = [Format::audio(Rate::hz(16_000).ok(), Some(1))];
    let mut states: Vec<_> = (0..2).map(|id| stage.open(&stream(id), &formats).unwrap().state).collect();
    for (index, sample, fine) in [(0, 0.5, true), (1, f32::NAN, false), (0, 0.25, true), (1, 0.25, true)] {
        let mut out = Output::new();
        let input = Input { port: 0, packet: utterance(0, vec![sample; 1000]) };
        let result = stage.process(&mut states[index], input, &mut out);
        assert_eq!((result.is_ok(), out.emitted().len()), (fine, usize::from(fine)), "{index} {sample}");
    }
    // Each stream remembers its own utterance only.
    assert_eq!(stage.plan.counts.reused(), 0);
}

#[test]
fn every_key_is_documented() {
    let schema = crate::config::schema_of::<Seq2Seq>();
    let keys = schema["properties"].as_object().unwrap();
    assert!(keys.len() >= 9 && keys.contains_key("providers"), "{schema:#}");
    for (key, value) in keys {
        assert!(value.get("description").is_some() || value.get("$ref").is_some(), "{key}");
    }
}
