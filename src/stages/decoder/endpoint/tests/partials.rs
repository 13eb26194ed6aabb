//! When partial results come, and what they hold.

use super::super::*;
use super::kit::{Heard, Script, WINDOW, formats, stream, stretches};
use crate::media::Packet;
use crate::stage::Solo;

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
    let always = Endpoint { partials: Partials::Always, ..default.clone() };
    let never = Endpoint { partials: Partials::Never, ..default.clone() };
    let not_eager = Endpoint { eager_final: false, ..default.clone() };
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
        let settings = Endpoint { pad_after_ms: after, partial_every_ms: 60_000, ..Endpoint::default() };
        let heard = Script::new(WINDOW * 73, &voice).run(&settings, true);
        let eager: Vec<_> = heard.iter().filter(|one| one.partial && one.revision > 1).map(|one| one.end).collect();
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
    let settings = Endpoint { max_length_ms: 1000, partial_every_ms: 60_000, ..Endpoint::default() };
    let heard = Script::new(WINDOW * 71, &voice).run(&settings, true);
    let cut = WINDOW * 30;
    assert_eq!(heard[1], Heard { start: 0, end: cut, partial: false, revision: 2 });
    assert_eq!(heard[2], Heard { start: cut, end: WINDOW * 32, partial: true, revision: 1 });
}

#[test]
fn partial_results_of_a_long_utterance_are_a_tenth_of_it_apart() {
    let script = Script::new(WINDOW * 300, &stretches(&[(1.0, 300)]));
    // The first one comes as soon as it is speech.
    let heard = script.run(&Endpoint::default(), true).into_iter().filter(|one| one.partial).skip(1);
    let heard: Vec<Heard> = heard.collect();
    let distances: Vec<u64> = heard.windows(2).map(|pair| pair[1].end - pair[0].end).collect();
    for (pair, distance) in heard.windows(2).zip(&distances) {
        let wanted = 4800.max(pair[0].end / 10);
        assert!((wanted - WINDOW..=wanted + 2 * WINDOW).contains(distance), "{distance} after {}", pair[0].end);
    }
    assert!(distances.last().unwrap() > &12_000, "{distances:?}");
}

#[test]
fn only_the_eager_result_is_expected_to_be_the_final_one() {
    let script = Script::new(WINDOW * 73, &stretches(&[(1.0, 30), (0.0, 43)]));
    for eager_final in [true, false] {
        let settings = Endpoint { eager_final, ..Endpoint::default() };
        let mut solo = Solo::open(&settings, stream(true), formats(script.rate)).unwrap();
        let packets = script.packets().into_iter().flat_map(|(port, packet)| solo.push(port, packet).unwrap());
        let results: Vec<Packet> = packets.map(|(_, packet)| packet).collect();
        let (last, partial) = results.split_last().unwrap();
        assert!(!last.flags.partial && !last.flags.expected_final);
        for (place, one) in partial.iter().enumerate() {
            assert!(one.flags.partial);
            let expected = eager_final && place + 1 == partial.len();
            assert_eq!((one.flags.expected_final, one.duration == last.duration), (expected, expected), "{place}");
        }
        assert!(partial.len() > 2);
    }
}
