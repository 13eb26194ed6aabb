//! Tests of `endpoint`: the frozen reference, any cutting of the input, partial results, the clock, gaps, bad input.

use std::sync::Arc;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::config::{Source, parse};
use crate::media::{Payload, StreamId};
use crate::stage::{Settings, Solo};
use crate::tensor::Tensor;
use crate::units::ClockInstant;

const WINDOW: u64 = 512;

fn hz(rate: u32) -> Rate {
    Rate::hz(rate).unwrap()
}

fn stream(live: bool) -> StreamInfo {
    StreamInfo {
        id: StreamId(0),
        name: Arc::from("test"),
        group: Arc::from("test"),
        live,
        zero: ClockInstant::default(),
        wall: None,
    }
}

fn formats(rate: Rate) -> Vec<Format> {
    vec![Format::ANY_TENSOR, Format::audio(Some(rate), Some(1))]
}

/// An emitted packet on the sample grid; the samples of test sound are their own positions, which is checked here.
#[derive(Clone, Debug, PartialEq)]
struct Heard {
    start: u64,
    end: u64,
    partial: bool,
    revision: u32,
}

fn heard(rate: Rate, start: Timestamp, duration: TimeSpan, payload: &Payload, partial: bool, revision: u32) -> Heard {
    let audio = payload.audio().unwrap();
    let (first, end) = (rate.index_at(start), rate.index_at(start + duration));
    assert_eq!(
        (rate.time_of(first), rate.span(first, end)),
        (start, duration),
        "times come from sample counts"
    );
    let expected: Vec<f32> = (first..end).map(|index| index as f32).collect();
    assert_eq!(&**audio.samples(), &expected[..], "the samples of {first}..{end}");
    Heard {
        start: first,
        end,
        partial,
        revision,
    }
}

/// A stream of test sound at `rate` whose samples are their positions, and voice windows of 512 samples at 16 kHz.
#[derive(Clone)]
struct Script {
    rate: Rate,
    /// Positions at which the sound is cut into packets.
    cuts: Vec<u64>,
    total: u64,
    voice: Vec<f32>,
}

impl Script {
    fn new(total: u64, voice: &[f32]) -> Self {
        Script {
            rate: hz(16_000),
            cuts: (0..total).step_by(160).collect(),
            total,
            voice: voice.to_vec(),
        }
    }

    fn window(&self, k: usize) -> (Timestamp, TimeSpan) {
        let begin = WINDOW * k as u64;
        (hz(16_000).time_of(begin), hz(16_000).span(begin, begin + WINDOW))
    }

    fn voice_packet(&self, k: usize) -> Packet {
        let (start, duration) = self.window(k);
        Packet::new(StreamId(0), start, duration, Tensor::from_vec(vec![self.voice[k]]))
    }

    fn sound_packet(&self, from: u64, to: u64) -> Packet {
        let samples: Vec<f32> = (from..to).map(|index| index as f32).collect();
        let (start, duration) = (self.rate.time_of(from), self.rate.span(from, to));
        Packet::new(StreamId(0), start, duration, Audio::mono(samples, self.rate))
    }

    /// All packets in the order in which the runtime delivers them.
    fn packets(&self) -> Vec<(usize, Packet)> {
        let mut cuts: Vec<u64> = self.cuts.iter().copied().filter(|cut| *cut < self.total).collect();
        cuts.push(0);
        cuts.push(self.total);
        cuts.sort_unstable();
        let mut packets: Vec<_> = (0..self.voice.len()).map(|k| (VOICE, self.voice_packet(k))).collect();
        packets.extend(cuts.windows(2).map(|pair| (AUDIO, self.sound_packet(pair[0], pair[1]))));
        packets.sort_by_key(|(port, packet)| (packet.start, *port));
        packets
    }

    /// What comes out, checking on the way that no promise of `hold_back` is broken and that memory is bounded.
    fn run(&self, settings: &Endpoint, live: bool) -> Vec<Heard> {
        let mut stage = Endpointer {
            settings: settings.clone(),
        };
        let mut state = stage.open(&stream(live), &formats(self.rate)).unwrap().state;
        let mut promised = Timestamp::MIN;
        let mut last = Timestamp::MIN;
        let mut out = Output::new();
        let mut result = Vec::new();
        let packets = self.packets();
        let longest = packets
            .iter()
            .map(|(_, packet)| packet.payload.audio_frames())
            .max()
            .unwrap_or(0);
        let bound = state.limits.max_length + state.limits.pad_before + state.unjudged + 4 * WINDOW + 2 * longest;
        for step in packets.into_iter().map(Some).chain([None]) {
            let mut at = Timestamp::MIN;
            match step {
                Some((port, packet)) => {
                    at = packet.start;
                    stage.process(&mut state, Input { port, packet }, &mut out).unwrap();
                    assert!(
                        (state.sound.kept() as u64) < bound,
                        "{} samples kept",
                        state.sound.kept()
                    );
                }
                None => stage.flush(&mut state, &mut out).unwrap(),
            }
            for Draft {
                start,
                duration,
                payload,
                flags,
                revision,
                ..
            } in out.drain_emitted().map(|emitted| emitted.draft)
            {
                assert!(
                    start >= last && start >= promised,
                    "{start} after {last} and the promise of {promised}"
                );
                last = start;
                result.push(heard(self.rate, start, duration, &payload, flags.partial, revision));
            }
            promised = promised.max(stage.hold_back(&state).unwrap_or(at).min(at));
        }
        result
    }
}

fn finals(heard: Vec<Heard>) -> Vec<(u64, u64)> {
    heard
        .into_iter()
        .filter(|one| !one.partial)
        .map(|one| (one.start, one.end))
        .collect()
}

#[derive(Deserialize)]
struct FrozenSettings {
    threshold_on: f64,
    threshold_off: f64,
    min_speech_ms: u32,
    min_silence_ms: u32,
    max_length_ms: u32,
    pad_before_ms: u32,
    pad_after_ms: u32,
}

impl FrozenSettings {
    fn settings(&self) -> Endpoint {
        Endpoint {
            threshold_on: self.threshold_on,
            threshold_off: self.threshold_off,
            min_speech_ms: self.min_speech_ms,
            min_silence_ms: self.min_silence_ms,
            max_length_ms: self.max_length_ms,
            pad_before_ms: self.pad_before_ms,
            pad_after_ms: self.pad_after_ms,
            ..Endpoint::default()
        }
    }
}

#[derive(Deserialize)]
struct FrozenCase {
    settings: usize,
    samples: u64,
    voice: Vec<f32>,
    segments: Vec<(u64, u64)>,
}

#[derive(Deserialize)]
struct Frozen {
    settings: Vec<FrozenSettings>,
    cases: Vec<FrozenCase>,
}

fn frozen() -> Frozen {
    serde_json::from_str(include_str!("../../../../tests/data/speech/endpoint.json")).unwrap()
}

#[test]
fn every_frozen_utterance_is_found() {
    let frozen = frozen();
    let mut utterances = 0;
    for (number, case) in frozen.cases.iter().enumerate() {
        let settings = frozen.settings[case.settings].settings();
        let found = finals(Script::new(case.samples, &case.voice).run(&settings, false));
        assert_eq!(found, case.segments, "case {number}");
        utterances += found.len();
    }
    assert_eq!((frozen.cases.len(), utterances), (60, 92));
}

#[test]
fn the_recordings_are_cut_as_in_the_reference() {
    #[derive(Deserialize)]
    struct Segment {
        start: u64,
        end: u64,
    }
    #[derive(Deserialize)]
    struct Clip {
        name: String,
        samples: u64,
        voice: Vec<f32>,
        segments: Vec<Segment>,
    }
    #[derive(Deserialize)]
    struct Reference {
        endpoint: FrozenSettings,
        clips: Vec<Clip>,
    }
    let reference: Reference =
        serde_json::from_str(include_str!("../../../../tests/data/speech/reference.json")).unwrap();
    assert_eq!(reference.endpoint.settings(), Endpoint::default());
    for clip in &reference.clips {
        let found = finals(Script::new(clip.samples, &clip.voice).run(&Endpoint::default(), false));
        let expected: Vec<_> = clip
            .segments
            .iter()
            .map(|segment| (segment.start, segment.end))
            .collect();
        assert_eq!(found, expected, "{}", clip.name);
    }
    assert_eq!(reference.clips.len(), 11);
}

#[test]
fn the_whole_stream_in_one_packet_or_in_samples_gives_the_same() {
    let frozen = frozen();
    for case in frozen.cases.iter().step_by(9) {
        let settings = Endpoint {
            partials: Partials::Always,
            ..frozen.settings[case.settings].settings()
        };
        let mut script = Script::new(case.samples, &case.voice);
        let expected = script.run(&settings, true);
        for cuts in [
            Vec::new(),
            (0..case.samples).collect(),
            (0..case.samples).step_by(4801).collect(),
        ] {
            script.cuts = cuts;
            assert_eq!(script.run(&settings, true), expected);
        }
    }
}

/// Probabilities in stretches, as a voice gate gives them.
fn voices() -> impl Strategy<Value = Vec<f32>> {
    let level = prop::sample::select(vec![0.02f32, 0.3, 0.35, 0.45, 0.5, 0.95]);
    prop::collection::vec((level, 1usize..30), 0..10).prop_map(|stretches| {
        stretches
            .into_iter()
            .flat_map(|(level, count)| vec![level; count])
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_cutting_gives_the_same(
        voice in voices(),
        short in 0u64..511,
        rate in prop::sample::select(vec![8000u32, 16_000, 44_100]),
        cuts in prop::collection::vec(0u64..200_000, 0..60),
        other in prop::collection::vec(0u64..200_000, 0..8),
        live in any::<bool>(),
    ) {
        let total = (WINDOW * voice.len() as u64).saturating_sub(short) * u64::from(rate) / 16_000;
        let settings = Endpoint { partials: Partials::Always, max_length_ms: 2000, ..Endpoint::default() };
        let script = Script { rate: hz(rate), cuts, total, voice };
        let found = script.run(&settings, live);
        prop_assert_eq!(&Script { cuts: other, ..script.clone() }.run(&settings, live), &found);
        // Partial results change nothing about the final ones, each has its own revisions from 1, and no sound is told twice.
        let without = script.run(&Endpoint { partials: Partials::Never, ..settings }, live);
        prop_assert!(without.iter().all(|one| !one.partial && one.revision == 1));
        prop_assert_eq!(finals(found.clone()), finals(without));
        let mut expected = 1;
        let mut floor = 0;
        let mut start = None;
        for one in &found {
            prop_assert_eq!(one.revision, expected);
            prop_assert!(one.start >= floor && one.end > one.start && one.end <= total);
            prop_assert!(start.is_none_or(|start| start == one.start));
            start = one.partial.then_some(one.start);
            expected = if one.partial { expected + 1 } else { 1 };
            if !one.partial { floor = one.end; }
        }
        prop_assert_eq!(expected, 1, "the last utterance has its final");
    }
}

/// `count` windows of each probability.
fn stretches(stretches: &[(f32, usize)]) -> Vec<f32> {
    stretches
        .iter()
        .flat_map(|&(level, count)| vec![level; count])
        .collect()
}

#[test]
fn partial_results_come_at_their_windows() {
    let window = |k: u64| WINDOW * k;
    // Speech in windows 10..40; the sound before it begins 3200 samples earlier. Silence from window 40 on.
    let voice = stretches(&[(0.0, 10), (1.0, 30), (0.0, 30)]);
    let start = window(10) - 3200;
    let script = Script::new(window(70), &voice);
    // Speech after 96 ms: window 12. Then the windows that reach 300, 600, 900 ms after its begin: 9.375 windows each.
    let regular = [window(13), window(20), window(29), window(39)];
    let last = window(40) + 3200;
    let run = |settings: Endpoint, live: bool| {
        let heard = script.run(&settings, live);
        assert!(heard.iter().all(|one| one.start == start));
        heard.into_iter().map(|one| (one.end, one.partial)).collect::<Vec<_>>()
    };
    let partials = |ends: &[u64]| ends.iter().map(|end| (*end, true)).collect::<Vec<_>>();
    let with = |mut expected: Vec<(u64, bool)>| {
        expected.push((last, false));
        expected
    };
    let default = Endpoint::default();
    let always = Endpoint {
        partials: Partials::Always,
        ..default.clone()
    };
    let never = Endpoint {
        partials: Partials::Never,
        ..default.clone()
    };
    let not_eager = Endpoint {
        eager_final: false,
        ..default.clone()
    };
    // The silence's 200 ms of padding are there at the end of window 46; nothing more comes while the silence runs.
    let eager: Vec<u64> = regular.iter().copied().chain([last]).collect();
    let going_on: Vec<u64> = regular.iter().copied().chain([window(48)]).collect();
    for (name, settings, live, expected) in [
        ("a file", default.clone(), false, with(vec![])),
        ("live", default.clone(), true, with(partials(&eager))),
        ("live, never", never, true, with(vec![])),
        ("live, not eager", not_eager.clone(), true, with(partials(&going_on))),
        ("a file, always", always, false, with(partials(&going_on))),
    ] {
        assert_eq!(run(settings, live), expected, "{name}");
    }
}

#[test]
fn the_eager_result_holds_the_finals_sound_and_comes_once_a_silence() {
    for (after, expected) in [
        // The padding ends inside the silence; with none, 96 ms of silence bring it.
        (200, vec![(20, 3200), (43, 3200)]),
        (0, vec![(20, 0), (43, 0)]),
        // Longer than the silence that ends the utterance: never there in time.
        (900, vec![]),
    ] {
        let voice = stretches(&[(1.0, 20), (0.0, 13), (1.0, 10), (0.0, 30)]);
        let settings = Endpoint {
            pad_after_ms: after,
            partial_every_ms: 60_000,
            ..Endpoint::default()
        };
        let heard = Script::new(WINDOW * 73, &voice).run(&settings, true);
        let eager: Vec<_> = heard
            .iter()
            .filter(|one| one.partial && one.revision > 1)
            .map(|one| one.end)
            .collect();
        let expected: Vec<u64> = expected.iter().map(|(window, pad)| WINDOW * window + pad).collect();
        assert_eq!(eager, expected, "{after} ms");
        let last = heard.last().unwrap();
        assert!(!last.partial && last.revision == heard.len() as u32);
        if let Some(end) = eager.last() {
            assert_eq!(last.end, *end, "{after} ms");
        }
    }
}

#[test]
fn speech_that_goes_on_after_a_cut_is_told_at_once() {
    let voice = stretches(&[(1.0, 30), (0.6, 1), (1.0, 40)]);
    let settings = Endpoint {
        max_length_ms: 1000,
        partial_every_ms: 60_000,
        ..Endpoint::default()
    };
    let heard = Script::new(WINDOW * 71, &voice).run(&settings, true);
    let cut = WINDOW * 30;
    assert_eq!(
        heard[1],
        Heard {
            start: 0,
            end: cut,
            partial: false,
            revision: 2
        }
    );
    assert_eq!(
        heard[2],
        Heard {
            start: cut,
            end: WINDOW * 32,
            partial: true,
            revision: 1
        }
    );
}

/// Runs packets through the stage as they are and gives the utterances and the events of it.
struct Run {
    stage: Endpointer,
    state: Listening,
    out: Output,
}

impl Run {
    fn new(settings: Endpoint, live: bool) -> Self {
        let mut stage = Endpointer { settings };
        let state = stage.open(&stream(live), &formats(hz(16_000))).unwrap().state;
        Run {
            stage,
            state,
            out: Output::new(),
        }
    }

    fn push(&mut self, port: usize, packet: Packet) {
        self.stage
            .process(&mut self.state, Input { port, packet }, &mut self.out)
            .unwrap();
    }

    fn push_all(&mut self, script: &Script) {
        for (port, packet) in script.packets() {
            self.push(port, packet);
        }
    }

    fn tick(&mut self, ms: i64) {
        let now = Timestamp::ZERO + TimeSpan::from_millis(ms);
        self.stage.tick(&mut self.state, now, &mut self.out).unwrap();
    }

    fn flush(&mut self) {
        self.stage.flush(&mut self.state, &mut self.out).unwrap();
    }

    /// Final utterances so far, as milliseconds.
    fn finals(&mut self) -> Vec<(i64, i64)> {
        let ms = |time: Timestamp| time.as_nanos() / 1_000_000;
        self.out
            .drain_emitted()
            .filter(|emitted| !emitted.draft.flags.partial)
            .map(|emitted| {
                (
                    ms(emitted.draft.start),
                    ms(emitted.draft.start + emitted.draft.duration),
                )
            })
            .collect()
    }

    fn events(&mut self) -> Vec<String> {
        self.out.drain_events().map(|event| event.message).collect()
    }
}

#[test]
fn the_clock_ends_an_utterance_when_nothing_comes() {
    let speaking = Script::new(WINDOW * 50, &stretches(&[(0.0, 10), (1.0, 40)]));
    let mut run = Run::new(Endpoint::default(), true);
    run.push_all(&speaking);
    run.tick(2600);
    assert_eq!(
        run.finals(),
        [],
        "1000 ms after the sound's end at 1600 ms it may still go on"
    );
    run.tick(2601);
    assert_eq!(run.finals(), [(120, 1600)]);
    assert_eq!(run.events().len(), 1);
    run.tick(9000);
    assert!(run.out.is_empty(), "once is enough");
    // The sound comes back where it ended: the state machine goes on from silence, and no sound is given twice.
    let voice = stretches(&[(0.0, 50), (1.0, 10), (0.0, 20)]);
    let all = Script::new(WINDOW * 80, &voice);
    for (port, packet) in all
        .packets()
        .into_iter()
        .filter(|(_, packet)| packet.start >= Timestamp::from_nanos(1_600_000_000))
    {
        run.push(port, packet);
    }
    assert_eq!(run.finals(), [(1600, 2120)]);
    run.tick(60_000);
    assert!(run.out.is_empty(), "silence needs no clock");
}

#[test]
fn the_clock_leaves_a_file_alone() {
    let mut run = Run::new(Endpoint::default(), false);
    run.push_all(&Script::new(WINDOW * 50, &stretches(&[(1.0, 50)])));
    run.tick(60_000);
    assert!(run.out.is_empty());
    run.flush();
    assert_eq!(run.finals(), [(0, 1600)]);
}

#[test]
fn an_utterance_ends_before_what_is_missing() {
    let later = |packet: &mut Packet, ms: i64| packet.start = packet.start + TimeSpan::from_millis(ms);
    let script = Script::new(WINDOW * 100, &stretches(&[(1.0, 100)]));
    let half = Timestamp::from_nanos(1_600_000_000);
    type Change = fn(&mut Vec<(usize, Packet)>);
    let changes: [(&str, i64, Change, &[(i64, i64)]); 6] = [
        ("nothing is missing", 0, |_| {}, &[(0, 3200)]),
        ("both jump", 500, |_| {}, &[(0, 1600), (2100, 3700)]),
        (
            "the sound is flagged",
            0,
            |packets| {
                let first = packets
                    .iter_mut()
                    .find(|(port, packet)| *port == AUDIO && packet.start.as_nanos() >= 1_600_000_000);
                first.unwrap().1.flags.gap = true;
            },
            &[(0, 1600), (1600, 3200)],
        ),
        (
            "the voice is flagged",
            0,
            |packets| {
                let first = packets
                    .iter_mut()
                    .find(|(port, packet)| *port == VOICE && packet.start.as_nanos() >= 1_600_000_000);
                first.unwrap().1.flags.gap = true;
            },
            &[(0, 1600), (1600, 3200)],
        ),
        (
            "the gate was silent for 320 ms",
            0,
            |packets| {
                packets.retain(|(port, packet)| {
                    *port == AUDIO || !(1_600_000_000..1_920_000_000).contains(&packet.start.as_nanos())
                });
            },
            // The next utterance has its padding, which was heard though not judged.
            &[(0, 1600), (1720, 3200)],
        ),
        (
            "the gate was silent for the last 480 ms",
            0,
            |packets| packets.retain(|(port, packet)| *port == AUDIO || packet.start.as_nanos() < 2_720_000_000),
            &[(0, 3200)],
        ),
    ];
    for (name, jump, change, expected) in changes {
        let mut packets = script.packets();
        for (_, packet) in packets.iter_mut().filter(|(_, packet)| packet.start >= half) {
            later(packet, jump);
        }
        change(&mut packets);
        let mut run = Run::new(Endpoint::default(), false);
        for (port, packet) in packets {
            run.push(port, packet);
        }
        run.flush();
        assert_eq!(run.finals(), expected, "{name}");
    }
}

#[test]
fn a_gate_that_falls_silent_ends_speech_and_bounds_memory() {
    for cut in [160, 16_000] {
        let mut script = Script::new(16_000 * 120, &stretches(&[(1.0, 100)]));
        script.cuts = (0..script.total).step_by(cut).collect();
        // `run` checks the bound.
        assert_eq!(
            finals(script.run(&Endpoint::default(), false)),
            [(0, WINDOW * 100)],
            "packets of {cut}"
        );
    }
    // No voice at all.
    assert_eq!(Script::new(16_000 * 60, &[]).run(&Endpoint::default(), true), []);
}

#[test]
fn a_probability_that_is_no_number_is_silence_and_told_once() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut run = Run::new(Endpoint::default(), false);
        run.push_all(&Script::new(WINDOW * 60, &stretches(&[(1.0, 20), (bad, 40)])));
        assert_eq!(run.finals(), [(0, 840)]);
        let events = run.events();
        assert_eq!(events.len(), 1, "{events:?}");
        assert!(events[0].contains(&format!("{bad}")), "{events:?}");
    }
}

#[test]
fn sound_is_passed_on_as_it_is() {
    let blueprint = Endpoint::default();
    let mut solo = Solo::open(&blueprint, stream(false), formats(hz(16_000))).unwrap();
    let voice = Packet::new(
        StreamId(0),
        Timestamp::ZERO,
        TimeSpan::from_millis(32),
        Tensor::scalar(1.0f32),
    );
    solo.push(VOICE, voice).unwrap();
    let empty = Packet::new(
        StreamId(0),
        Timestamp::ZERO,
        TimeSpan::ZERO,
        Audio::mono(vec![], hz(16_000)),
    );
    solo.push(AUDIO, empty).unwrap();
    let samples = vec![f32::NAN; 512];
    let sound = Packet::new(
        StreamId(0),
        Timestamp::ZERO,
        TimeSpan::from_millis(32),
        Audio::mono(samples, hz(16_000)),
    );
    solo.push(AUDIO, sound).unwrap();
    let flushed = solo.flush().unwrap();
    let [(0, utterance)] = &flushed[..] else {
        panic!("{flushed:?}")
    };
    let audio = utterance.payload.audio().unwrap();
    assert!(audio.frames() == 512 && audio.samples().iter().all(|sample| sample.is_nan()));
    assert!(!utterance.flags.partial && utterance.revision == 1);
}

#[test]
fn bad_packets_are_errors_and_change_nothing() {
    let rate = hz(16_000);
    let span = TimeSpan::from_millis(32);
    let packet = |duration, payload: Payload| Packet::new(StreamId(0), Timestamp::ZERO, duration, payload);
    let mut run = Run::new(Endpoint::default(), false);
    run.push_all(&Script::new(WINDOW * 20, &stretches(&[(1.0, 20)])));
    for (port, packet, words) in [
        (
            VOICE,
            packet(span, Tensor::from_vec(vec![0.5f32, 0.5]).into()),
            "found tensor f32 [2]",
        ),
        (
            VOICE,
            packet(span, Tensor::from_vec(Vec::<f32>::new()).into()),
            "found tensor f32 [0]",
        ),
        (VOICE, packet(span, Tensor::scalar(1i64).into()), "found tensor i64"),
        (
            VOICE,
            packet(TimeSpan::ZERO, Tensor::scalar(1f32).into()),
            "without duration",
        ),
        (
            VOICE,
            packet(TimeSpan::from_nanos(-5), Tensor::scalar(1f32).into()),
            "without duration",
        ),
        (
            VOICE,
            packet(span, Audio::mono(vec![0.0], rate).into()),
            "expected a payload of tensor",
        ),
        (
            AUDIO,
            packet(span, Tensor::scalar(1f32).into()),
            "expected a payload of audio",
        ),
        (
            AUDIO,
            packet(span, Audio::mono(vec![0.0], hz(8000)).into()),
            "found audio 8000 Hz",
        ),
        (
            AUDIO,
            packet(span, Audio::new(vec![0.0; 2], 2, rate).unwrap().into()),
            "2 channels",
        ),
    ] {
        let error = run
            .stage
            .process(&mut run.state, Input { port, packet }, &mut run.out)
            .unwrap_err();
        assert!(
            matches!(error, StageError::Skip(_)) && error.to_string().contains(words),
            "{error}"
        );
    }
    assert_eq!(run.finals(), []);
    run.flush();
    assert_eq!(run.finals(), [(0, 640)]);
}

#[test]
fn absurd_times_are_survived() {
    let mut run = Run::new(Endpoint::default(), true);
    for start in [i64::MIN, -1, 0, i64::MAX - 5, i64::MAX, 3, i64::MIN] {
        for duration in [1, i64::MAX] {
            let (start, duration) = (Timestamp::from_nanos(start), TimeSpan::from_nanos(duration));
            for (port, payload) in [
                (VOICE, Payload::from(Tensor::scalar(0.9f32))),
                (AUDIO, Audio::mono(vec![0.0; 700], hz(16_000)).into()),
            ] {
                let packet = Packet::new(StreamId(0), start, duration, payload);
                let _ = run.stage.process(&mut run.state, Input { port, packet }, &mut run.out);
            }
        }
        run.stage.tick(&mut run.state, Timestamp::MAX, &mut run.out).unwrap();
    }
    run.flush();
    assert!(
        run.out
            .drain_emitted()
            .all(|emitted| emitted.draft.payload.audio_frames() > 0)
    );
}

#[test]
fn voice_without_sound_is_refused_in_the_end() {
    let mut run = Run::new(Endpoint::default(), true);
    let packet = |k: i64| {
        let start = Timestamp::ZERO + TimeSpan::from_millis(32 * k);
        Packet::new(StreamId(0), start, TimeSpan::from_millis(32), Tensor::scalar(0.5f32))
    };
    for k in 0..MAX_WAITING as i64 {
        run.push(VOICE, packet(k));
    }
    let input = Input {
        port: VOICE,
        packet: packet(MAX_WAITING as i64),
    };
    let error = run.stage.process(&mut run.state, input, &mut run.out).unwrap_err();
    assert!(error.to_string().contains("windows wait for sound"), "{error}");
}

#[test]
fn formats_are_solved_or_refused_with_help() {
    let voice = |dtype, sizes: &[usize]| Format::Tensor {
        dtype: Some(dtype),
        shape: SymbolicShape::known(sizes),
    };
    let good = voice(DType::F32, &[1, 1]);
    let sound = Format::audio(Some(hz(8000)), Some(1));
    for (inputs, expected) in [
        ([good.clone(), sound.clone()], Ok(sound.clone())),
        (
            [Format::ANY_TENSOR, Format::ANY_AUDIO],
            Ok(Format::audio(None, Some(1))),
        ),
        (
            [voice(DType::F32, &[2]), sound.clone()],
            Err("voice: connect a voice gate"),
        ),
        (
            [voice(DType::F64, &[1]), sound.clone()],
            Err("voice: connect a voice gate"),
        ),
        ([sound.clone(), sound.clone()], Err("voice: connect a voice gate")),
        (
            [good.clone(), Format::audio(Some(hz(8000)), Some(2))],
            Err("audio: insert `- preprocess: mono`"),
        ),
        ([good.clone(), good.clone()], Err("audio: connect the sound")),
    ] {
        match (Endpoint::default().outputs(&inputs), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, [expected]),
            (Err(faults), Err(words)) => {
                let [fault] = &faults[..] else { panic!("{faults:?}") };
                let text = format!("{}: {}", fault.port, fault.help.as_deref().unwrap_or_default());
                assert!(text.starts_with(words), "{text}");
            }
            (found, expected) => panic!("{inputs:?}: expected {expected:?}, found {found:?}"),
        }
    }
    let mut stage = Endpointer {
        settings: Endpoint::default(),
    };
    for format in [Format::ANY_AUDIO, Format::audio(Some(hz(1)), Some(2)), Format::Text] {
        assert!(matches!(
            stage.open(&stream(true), &[Format::Any, format]),
            Err(StageError::EndStream(_))
        ));
    }
}

fn read(yaml: &str) -> Result<Box<dyn Blueprint>, Faults> {
    let source = Source::new("test.yaml", yaml);
    let node = parse(&source).unwrap();
    let settings = Settings::default();
    (KIND.read)(&ReadContext {
        node: &node,
        model: None,
        source: &source,
        settings: &settings,
    })
}

#[test]
fn keys_are_checked() {
    assert!(read("{min_silence_ms: 400, partials: always, eager_final: false}").is_ok());
    for (yaml, words) in [
        ("{threshold_on: 0.3}", "`threshold_off` does not fit"),
        ("{threshold_on: 1.5}", "threshold_on"),
        ("{threshold_off: .nan}", "threshold_off"),
        ("{min_silence_ms: 0}", "min_silence_ms"),
        ("{max_length_ms: 0}", "max_length_ms"),
        ("{max_length_ms: 1000, pad_before_ms: 900}", "expected more than 1245"),
        ("{partial_every_ms: 0}", "partial_every_ms"),
        ("{stall_ms: 0}", "stall_ms"),
        ("{pad_before_ms: -1}", "pad_before_ms"),
        ("{partials: sometimes}", "partials"),
        ("{min_silence: 3}", "min_silence_ms"),
    ] {
        let faults = read(yaml).unwrap_err().to_string();
        assert!(
            faults.contains(words) && faults.contains("test.yaml:1:"),
            "{yaml}: {faults}"
        );
    }
    let bad = Endpoint {
        threshold_on: 0.1,
        ..Endpoint::default()
    };
    assert!(matches!(bad.build(), Err(StageError::Fatal(_))));
}
