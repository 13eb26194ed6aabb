//! Tests of `ctc_greedy`: whole utterances, any cutting of a run of frames, tokens, bad input.

use proptest::prelude::*;

use super::*;
use crate::config::{Source, parse};
use crate::media::{Flags, Payload, StreamId};
use crate::stage::{Settings, Solo};
use crate::tensor::Tensor;
use crate::units::ClockInstant;

const ALPHABET: &str = "-ab|";

fn stream(live: bool) -> StreamInfo {
    let (name, zero) = (Arc::from("test"), ClockInstant::default());
    StreamInfo { id: StreamId(0), group: Arc::clone(&name), name, live, zero, wall: None, file: None }
}

fn decoder(settings: CtcGreedy) -> CtcDecoder {
    CtcGreedy { space: "|".to_owned(), ..settings }.with_tokens(Tokens::from_alphabet(ALPHABET)).unwrap()
}

fn streaming() -> CtcGreedy {
    CtcGreedy { streaming: true, frame_ms: Some(20.0), pause_ms: 100, max_length_ms: 1000, ..CtcGreedy::default() }
}

/// Log-probabilities whose best path is `path`; the later in the path, the surer.
fn scores(path: &str, first: usize) -> Vec<f32> {
    let row = |(frame, symbol): (usize, char)| {
        let best = 1.0 - 0.4 / (first + frame + 1) as f32;
        ALPHABET.chars().map(move |known| if known == symbol { best.ln() } else { ((1.0 - best) / 3.0).ln() })
    };
    path.chars().enumerate().flat_map(row).collect()
}

fn packet_at(ms: i64, duration_ms: i64, payload: impl Into<Payload>) -> Packet {
    let start = Timestamp::ZERO + TimeSpan::from_millis(ms);
    Packet::new(StreamId(0), start, TimeSpan::from_millis(duration_ms), payload)
}

/// The frames `first..` of a run of 20 ms frames.
fn frames(path: &str, first: usize) -> Packet {
    let tensor = Tensor::new(vec![path.len(), 4], scores(path, first)).unwrap();
    packet_at(20 * first as i64, 20 * path.len() as i64, tensor)
}

fn open(settings: CtcGreedy, live: bool) -> Solo {
    Solo::open(&decoder(settings), stream(live), vec![Format::ANY_TENSOR]).unwrap()
}

/// Text, start and end in ms, partial, revision.
fn short(packets: &[(usize, Packet)]) -> Vec<(String, i64, i64, bool, u32)> {
    let ms = |time: Timestamp| time.as_nanos() / 1_000_000;
    let one = |(_, packet): &(usize, Packet)| {
        let text = packet.payload.text().unwrap().text.to_string();
        (text, ms(packet.start), ms(packet.end()), packet.flags.partial, packet.revision)
    };
    packets.iter().map(one).collect()
}

#[test]
fn an_utterance_is_spelled() {
    for (shape, path, expected) in [
        (vec![8, 4], "a-ab|-b-", "aab b"),
        (vec![1, 8, 4], "-aa--abb", "aab"),
        (vec![2, 4], "--", ""),
        (vec![0, 4], "", ""),
        (vec![1, 0, 4], "", ""),
    ] {
        let mut solo = open(CtcGreedy::default(), false);
        let mut packet = packet_at(1000, 80, Tensor::new(shape.clone(), scores(path, 0)).unwrap());
        packet.flags = Flags { partial: true, gap: true, ..Flags::default() };
        (packet.revision, packet.weights) = (3, 5);
        let found = solo.push(0, packet.clone()).unwrap();
        let [(0, text)] = &found[..] else { panic!("{found:?}") };
        assert_eq!(&*text.payload.text().unwrap().text, expected, "{shape:?} {path}");
        assert_eq!((text.start, text.duration, text.flags), (packet.start, packet.duration, packet.flags));
        assert_eq!((text.revision, text.weights), (3, 5));
        assert!(solo.flush().unwrap().is_empty());
    }
}

#[test]
fn pieces_have_times_and_probabilities() {
    let ms = |piece: &Piece| (piece.start.unwrap().as_nanos() / 1000, piece.end.unwrap().as_nanos() / 1000);
    for (frame_ms, expected) in [
        (None, [(1_000_000, 1_020_000), (1_030_000, 1_040_000)]),
        (Some(20.0), [(1_000_000, 1_040_000), (1_060_000, 1_080_000)]),
    ] {
        let mut solo = open(CtcGreedy { frame_ms, input: Scores::LogProbs, ..CtcGreedy::default() }, false);
        let tensor = Tensor::new(vec![4, 4], scores("aa-b", 0)).unwrap();
        let found = solo.push(0, packet_at(1000, 40, tensor)).unwrap();
        let pieces = &found[0].1.payload.text().unwrap().pieces;
        assert_eq!(pieces.iter().map(ms).collect::<Vec<_>>(), expected, "{frame_ms:?}");
        // The surer of the two frames of `a` is the second.
        for (piece, (text, probability)) in pieces.iter().zip([("a", 0.8f32), ("b", 0.9)]) {
            assert_eq!(&*piece.text, text);
            assert!((piece.log_probability - probability.ln()).abs() < 1e-6, "{piece:?}");
        }
    }
}

#[test]
fn utterances_of_a_run_end_with_pauses_length_gaps_and_the_stream() {
    let mut solo = open(CtcGreedy { partials: Partials::Always, ..streaming() }, false);
    let mut told = Vec::new();
    for (path, first) in [("--aa", 0), ("ab--", 4), ("--", 8), ("---b", 10), ("bb-b", 14)] {
        told.extend(solo.push(0, frames(path, first)).unwrap());
    }
    let mut gap = frames("ba", 40);
    gap.flags.gap = true;
    told.extend(solo.push(0, gap).unwrap());
    told.extend(solo.flush().unwrap());
    let partial = |text: &str, start, end, revision| (text.to_owned(), start, end, true, revision);
    let last = |text: &str, start, end, revision| (text.to_owned(), start, end, false, revision);
    assert_eq!(
        short(&told),
        [
            partial("a", 40, 80, 1),
            partial("ab", 40, 120, 2),
            // Five blanks: frames 6 to 10.
            last("ab", 40, 120, 3),
            partial("b", 260, 280, 1),
            partial("bb", 260, 360, 2),
            last("bb", 260, 360, 3),
            partial("ba", 800, 840, 1),
            last("ba", 800, 840, 2),
        ]
    );
    // 1000 ms are 50 frames: the utterance is divided where a symbol ended.
    let mut solo = open(streaming(), true);
    let mut told = solo.push(0, frames(&"ab".repeat(40), 0)).unwrap();
    told.extend(solo.flush().unwrap());
    let finals: Vec<_> = short(&told).into_iter().filter(|one| !one.3).map(|one| (one.0.len(), one.1, one.2)).collect();
    assert_eq!(finals, [(50, 0, 1000), (30, 1000, 1600)]);
}

#[test]
fn a_run_is_told_live_only_by_default() {
    for (live, count) in [(true, 2), (false, 1)] {
        let mut solo = open(streaming(), live);
        let mut told = solo.push(0, frames("ab", 0)).unwrap();
        assert_eq!(solo.hold_back(), Some(Timestamp::ZERO));
        told.extend(solo.flush().unwrap());
        assert_eq!((told.len(), solo.hold_back()), (count, None));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_cutting_of_a_run_gives_the_same(
        path in "[ab|-]{0,60}(-{0,9}[ab]{0,20}){0,6}",
        cuts in prop::collection::vec(0usize..200, 0..12),
    ) {
        let run = |cuts: &[usize]| {
            let mut bounds: Vec<usize> = cuts.iter().map(|cut| cut % (path.len() + 1)).chain([0, path.len()]).collect();
            bounds.sort_unstable();
            let mut solo = open(streaming(), false);
            let mut told = Vec::new();
            let mut promised = Timestamp::MIN;
            for pair in bounds.windows(2) {
                let packet = frames(&path[pair[0]..pair[1]], pair[0]);
                let start = packet.start;
                let found = solo.push(0, packet).unwrap();
                assert!(found.iter().all(|(_, packet)| packet.start >= promised));
                told.extend(found);
                promised = promised.max(solo.hold_back().unwrap_or(start).min(start));
            }
            told.extend(solo.flush().unwrap());
            told.into_iter()
                .map(|(_, packet)| {
                    (packet.start, packet.duration, packet.revision, packet.payload.text().unwrap().clone())
                })
                .collect::<Vec<_>>()
        };
        let whole = run(&[]);
        prop_assert_eq!(run(&cuts), &whole[..]);
        // All utterances together spell the whole path.
        let mut one = open(CtcGreedy::default(), false);
        let spelled = one.push(0, frames(&path, 0)).unwrap()[0].1.payload.text().unwrap().text.clone();
        prop_assert_eq!(whole.iter().map(|one| &*one.3.text).collect::<String>(), &*spelled);
    }
}

#[test]
fn bad_packets_are_skipped_and_change_nothing() {
    let tensor =
        |shape: &[usize], value: f32| Tensor::new(shape.to_vec(), vec![value; shape.iter().product()]).unwrap();
    let mut solo = open(streaming(), false);
    solo.push(0, frames("ab", 0)).unwrap();
    for (payload, words) in [
        (Payload::from(tensor(&[2, 5], 0.0)), "expected scores of shape [T, 4]"),
        (tensor(&[2, 2, 4], 0.0).into(), "expected scores of shape [T, 4]"),
        (tensor(&[4], 0.0).into(), "expected scores of shape [T, 4]"),
        (tensor(&[1, 4], f32::NAN).into(), "frame 0 of the packet at 00:00.040 has a NaN"),
        (Tensor::new(vec![1, 4], vec![0i64; 4]).unwrap().into(), "expected a tensor of f32"),
        (Text::default().into(), "expected a payload of tensor"),
    ] {
        let error = solo.push(0, packet_at(40, 20, payload)).unwrap_err();
        assert!(matches!(error, StageError::Skip(_)) && error.to_string().contains(words), "{error}");
    }
    assert!(solo.push(0, frames("b", 2)).unwrap().is_empty());
    assert_eq!(short(&solo.flush().unwrap()), [("ab".to_owned(), 0, 60, false, 1)]);
}

#[test]
fn shapes_are_solved_or_refused() {
    let shape = |dims: &[Option<usize>]| {
        let dims = dims.iter().map(|dim| dim.map_or(Dim::Any, Dim::Known)).collect();
        Format::Tensor { dtype: Some(DType::F32), shape: SymbolicShape::Ranked(dims) }
    };
    let decoder = decoder(CtcGreedy::default());
    for (format, fits) in [
        (Format::ANY_TENSOR, true),
        (shape(&[None, Some(4)]), true),
        (shape(&[None, None, None]), true),
        (shape(&[Some(1), None, Some(4)]), true),
        (shape(&[Some(2), None, Some(4)]), false),
        (shape(&[None, Some(5)]), false),
        (shape(&[None, None, Some(3)]), false),
        (shape(&[Some(4)]), false),
        (Format::Tensor { dtype: Some(DType::I64), shape: SymbolicShape::Unranked }, false),
        (Format::Text, false),
    ] {
        let found = decoder.outputs(std::slice::from_ref(&format));
        assert_eq!(found.is_ok(), fits, "{format}: {found:?}");
        if let Err(faults) = found {
            assert!(faults[0].expected.contains("4 tokens"), "{faults:?}");
        }
    }
}

#[test]
fn keys_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokens.txt"), "<blank>\na\nb\n").unwrap();
    std::fs::write(folder.path().join("binary.txt"), b"\xff\xfe").unwrap();
    let settings = Settings { base_dir: folder.path().to_owned(), ..Settings::default() };
    for (yaml, words) in [
        ("{tokens: tokens.txt}", None),
        ("{alphabet: _ab, blank: 2, streaming: true, frame_ms: 20}", None),
        ("{}", Some("missing-key")),
        ("{tokens: tokens.txt, alphabet: ab}", Some("both `tokens` and `alphabet`")),
        ("{tokens: nowhere.txt}", Some("missing-file")),
        ("{tokens: binary.txt}", Some("not UTF-8")),
        ("{tokens: tokens.txt, blank: 3}", Some("one of the 3 tokens")),
        ("{alphabet: ''}", Some("one of the 0 tokens")),
        ("{alphabet: ab, streaming: true}", Some("`frame_ms` must be given")),
        ("{alphabet: ab, frame_ms: 0}", Some("frame_ms")),
        ("{alphabet: ab, pause_ms: 0}", Some("pause_ms")),
        ("{alphabet: ab, input: scores}", Some("input")),
        ("{alphabet: ab, blanks: 0}", Some("blank")),
    ] {
        let source = Source::new("test.yaml", yaml);
        let node = parse(&source).unwrap();
        let context = ReadContext { node: &node, model: None, source: &source, settings: &settings };
        match ((KIND.read)(&context), words) {
            (Ok(_), None) => {}
            (Err(faults), Some(words)) => {
                let text = faults.to_string();
                assert!(text.contains(words) && text.contains("test.yaml:1:"), "{yaml}: {text}");
            }
            (found, _) => panic!("{yaml}: {found:?}"),
        }
    }
    let bad = CtcGreedy { blank: 9, ..CtcGreedy::default() }.with_tokens(Tokens::from_alphabet("ab"));
    assert!(matches!(bad, Err(CtcError::Settings { key: "blank", .. })));
}
