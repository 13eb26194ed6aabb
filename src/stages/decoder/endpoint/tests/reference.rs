//! The frozen reference, and any cutting of the input.

use proptest::prelude::*;
use serde::Deserialize;

use super::super::*;
use super::kit::{Script, WINDOW, finals, hz};

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
    serde_json::from_str(include_str!("../../../../../tests/data/speech/endpoint.json")).unwrap()
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
        serde_json::from_str(include_str!("../../../../../tests/data/speech/reference.json")).unwrap();
    assert_eq!(reference.endpoint.settings(), Endpoint::default());
    for clip in &reference.clips {
        let found = finals(Script::new(clip.samples, &clip.voice).run(&Endpoint::default(), false));
        let expected: Vec<_> = clip.segments.iter().map(|segment| (segment.start, segment.end)).collect();
        assert_eq!(found, expected, "{}", clip.name);
    }
    assert_eq!(reference.clips.len(), 11);
}

#[test]
fn the_whole_stream_in_one_packet_or_in_samples_gives_the_same() {
    let frozen = frozen();
    for case in frozen.cases.iter().step_by(9) {
        let settings = Endpoint { partials: Partials::Always, ..frozen.settings[case.settings].settings() };
        let mut script = Script::new(case.samples, &case.voice);
        let expected = script.run(&settings, true);
        for cuts in [Vec::new(), (0..case.samples).collect(), (0..case.samples).step_by(4801).collect()] {
            script.cuts = cuts;
            assert_eq!(script.run(&settings, true), expected);
        }
    }
}

/// Probabilities in stretches, as a voice gate gives them.
fn voices() -> impl Strategy<Value = Vec<f32>> {
    let level = prop::sample::select(vec![0.02f32, 0.3, 0.35, 0.45, 0.5, 0.95]);
    prop::collection::vec((level, 1usize..30), 0..10)
        .prop_map(|stretches| stretches.into_iter().flat_map(|(level, count)| vec![level; count]).collect())
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
        // Partial results change nothing about the final ones, each has its own revisions from 1, and no sound is told
        // twice.
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
