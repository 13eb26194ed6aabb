//! Tests of `transcript`.

use proptest::prelude::*;

use super::*;
use crate::config::{Source, parse};
use crate::media::{Flags, Packet, Payload, StreamId};
use crate::stage::{ReadContext, Settings, Solo};
use crate::tensor::Tensor;
use crate::units::{ClockInstant, TimeSpan};

fn open(settings: Transcribe) -> Solo {
    let (name, zero) = (Arc::from("test"), ClockInstant::default());
    let stream =
        StreamInfo { id: StreamId(0), group: Arc::clone(&name), name, live: true, zero, wall: None, file: None };
    Solo::open(&settings, stream, vec![Format::Text]).unwrap()
}

fn text(text: &str) -> Text {
    Text { text: text.into(), pieces: Arc::default() }
}

/// Text whose pieces are given, each with a probability.
fn pieces(pieces: &[(&str, f32)]) -> Text {
    let pieces: Arc<[Piece]> = pieces
        .iter()
        .map(|&(text, probability)| Piece {
            text: text.into(),
            log_probability: probability.ln(),
            start: None,
            end: None,
        })
        .collect();
    Text { text: pieces.iter().map(|piece| &*piece.text).collect::<String>().into(), pieces }
}

fn packet(start_ms: i64, partial: bool, revision: u32, payload: impl Into<Payload>) -> Packet {
    let start = Timestamp::ZERO + TimeSpan::from_millis(start_ms);
    let mut packet = Packet::new(StreamId(0), start, TimeSpan::from_millis(500), payload);
    packet.flags.partial = partial;
    packet.revision = revision;
    packet
}

/// What comes of `(start in ms, partial, text)`, as (utterance, final, text).
fn run(settings: Transcribe, inputs: &[(i64, bool, &str)]) -> Vec<(u64, bool, String)> {
    let mut solo = open(settings);
    let mut told = Vec::new();
    for (revision, (start, partial, words)) in (1..).zip(inputs) {
        let input = packet(*start, *partial, revision, text(words));
        for (_, found) in solo.push(0, input.clone()).unwrap() {
            let transcript = found.payload.transcript().unwrap().clone();
            assert_eq!((found.start, found.duration, found.revision), (input.start, input.duration, revision));
            assert_eq!((found.flags.partial, transcript.is_final), (*partial, !*partial));
            told.push((transcript.utterance, transcript.is_final, transcript.text.to_string()));
        }
    }
    told.extend(solo.flush().unwrap().iter().map(|_| (0, false, "from flush".to_owned())));
    told
}

/// Inputs of a case, as of [`run`], and what comes of them.
type Case<'a> = (&'a str, Transcribe, &'a [(i64, bool, &'a str)], &'a [(u64, bool, &'a str)]);

#[test]
fn utterances_are_numbered_and_settled() {
    let default = Transcribe::default();
    let all = Transcribe { drop_empty: false, ..default.clone() };
    let agreed = Transcribe { partials: Settling::Agreed, ..default.clone() };
    let cases: &[Case<'_>] = &[
        ("trimmed", default.clone(), &[(0, false, "  Hello  world. ")], &[(0, true, "Hello  world.")]),
        (
            "one start is one utterance",
            default.clone(),
            &[(0, true, "a"), (0, true, "a b"), (0, false, "a b c"), (9, true, "d"), (9, false, "d")],
            &[(0, false, "a"), (0, false, "a b"), (0, true, "a b c"), (1, false, "d"), (1, true, "d")],
        ),
        (
            "a final one ends it",
            default.clone(),
            &[(0, false, "a"), (0, false, "b")],
            &[(0, true, "a"), (1, true, "b")],
        ),
        (
            "one that never got its final has its number",
            default.clone(),
            &[(0, true, "a"), (5, false, "b")],
            &[(0, false, "a"), (1, true, "b")],
        ),
        (
            "what is empty takes no number",
            default.clone(),
            &[(0, true, " "), (0, false, ""), (5, false, "b"), (8, false, " "), (9, false, "c")],
            &[(0, true, "b"), (1, true, "c")],
        ),
        (
            "an empty final one takes back",
            default.clone(),
            &[(0, true, "a"), (0, true, ""), (0, false, " "), (5, false, "b")],
            &[(0, false, "a"), (0, true, ""), (1, true, "b")],
        ),
        (
            "all that is empty",
            all,
            &[(0, true, " "), (0, false, ""), (5, false, "")],
            &[(0, false, ""), (0, true, ""), (1, true, "")],
        ),
        (
            "loops",
            default.clone(),
            &[(0, false, " Thank you. thank you thank you, thank you. Bye.")],
            &[(0, true, "Thank you. thank you thank you, Bye.")],
        ),
        (
            "loops are let through",
            Transcribe { max_repeats: 0, ..default.clone() },
            &[(0, false, "no no no no no")],
            &[(0, true, "no no no no no")],
        ),
        (
            "agreement",
            agreed,
            &[
                (0, true, " I scream"),
                (0, true, " ice cream is"),
                (0, true, " ice cream it's good"),
                (0, true, " ice cream it's good"),
                (0, false, " ice cream is good"),
                (5, true, " ice cream is good"),
                (5, true, " ice"),
            ],
            &[
                (0, false, "ice cream"),
                (0, false, "ice cream it's good"),
                (0, true, "ice cream is good"),
                (1, false, "ice"),
            ],
        ),
    ];
    for (name, settings, inputs, expected) in cases {
        let found = run(settings.clone(), inputs);
        let found: Vec<_> = found.iter().map(|(number, is_final, text)| (*number, *is_final, &**text)).collect();
        assert_eq!(found, *expected, "{name}");
    }
}

fn transcript(settings: Transcribe, partial: bool, text: Text) -> Option<Transcript> {
    let found = open(settings).push(0, packet(0, partial, 0, text)).unwrap();
    found.first().map(|(_, packet)| packet.payload.transcript().unwrap().clone())
}

#[test]
fn confidence_is_the_geometric_mean() {
    for (given, expected) in [
        (pieces(&[]), None),
        (pieces(&[("a", 0.5)]), Some(0.5)),
        (pieces(&[("a", 0.9), ("b", 0.4)]), Some(0.6)),
        (pieces(&[("a", 0.9), ("b", 0.0)]), Some(0.0)),
        (pieces(&[("a", 1.5)]), Some(1.0)),
        (pieces(&[("a", f32::NAN), ("b", 0.5)]), None),
        // A loop does not count more often than it is told.
        (pieces(&[("no", 0.1), (" no", 0.1), (" no", 0.1), (" no", 1.0), (" no", 1.0)]), Some(0.1)),
    ] {
        let given = if given.text.is_empty() { text("a") } else { given };
        let found = transcript(Transcribe::default(), false, given.clone()).unwrap().confidence;
        match (found, expected) {
            (Some(found), Some(expected)) => assert!((found - expected).abs() < 1e-6, "{given:?}: {found}"),
            (found, expected) => assert_eq!(found, expected, "{given:?}"),
        }
    }
}

#[test]
fn text_of_little_confidence_counts_as_empty() {
    let settings = Transcribe { min_confidence: 0.5, ..Transcribe::default() };
    assert!(transcript(settings.clone(), false, pieces(&[("a", 0.49)])).is_none());
    assert!(transcript(settings.clone(), true, pieces(&[("a", 0.49)])).is_none());
    assert!(transcript(settings.clone(), false, pieces(&[("a", 0.51)])).is_some());
    assert!(transcript(settings.clone(), false, text("a")).is_some(), "nothing is known of it");
    let mut solo = open(settings);
    solo.push(0, packet(0, true, 1, pieces(&[("a", 0.9)]))).unwrap();
    let found = solo.push(0, packet(0, false, 2, pieces(&[("b", 0.1)]))).unwrap();
    let taken_back = found[0].1.payload.transcript().unwrap();
    assert!(taken_back.is_final && taken_back.text.is_empty() && taken_back.pieces.is_empty());
    assert!((taken_back.confidence.unwrap() - 0.1).abs() < 1e-6);
}

#[test]
fn pieces_go_with_their_words() {
    let one = |text: Text| transcript(Transcribe { max_repeats: 1, ..Transcribe::default() }, false, text).unwrap();
    let spelled = |found: &Transcript| found.pieces.iter().map(|piece| piece.text.to_string()).collect::<Vec<_>>();
    let found = one(pieces(&[(" so", 1.0), (" lo", 1.0), ("ng", 1.0), (" lo", 1.0), ("ng", 1.0), (" bye", 1.0)]));
    assert_eq!(
        (&*found.text, spelled(&found)),
        ("so long bye", [" so", " lo", "ng", " bye"].map(String::from).to_vec())
    );
    // A piece that lies in both stays.
    let found = one(pieces(&[("no n", 1.0), ("o yes", 1.0)]));
    assert_eq!((&*found.text, found.pieces.len()), ("no yes", 2));
    // Pieces that don't spell the text are left alone.
    let found = one(Text { text: "no no".into(), ..pieces(&[("x", 1.0)]) });
    assert_eq!((&*found.text, found.pieces.len()), ("no", 1));
}

#[test]
fn what_is_no_text_is_skipped() {
    let mut solo = open(Transcribe::default());
    let error = solo.push(0, packet(0, false, 0, Tensor::scalar(1f32))).unwrap_err();
    assert!(
        matches!(error, StageError::Skip(_)) && error.to_string().contains("expected a payload of text"),
        "{error}"
    );
    for (format, fits) in [(Format::Text, true), (Format::Any, true), (Format::ANY_TENSOR, false)] {
        assert_eq!(Transcribe::default().outputs(&[format]).is_ok(), fits);
    }
}

#[test]
fn flags_and_weights_are_kept() {
    let mut input = packet(0, true, 4, text("a"));
    input.flags = Flags { partial: true, expected_final: true, gap: true, late: true };
    input.weights = 9;
    let found = open(Transcribe::default()).push(0, input.clone()).unwrap().remove(0).1;
    assert_eq!((found.flags, found.weights), (input.flags, 9));
}

#[test]
fn keys_are_checked() {
    let settings = Settings::default();
    for (yaml, fits) in [
        ("{}", true),
        ("{min_confidence: 0.5, max_repeats: 0, drop_empty: false, partials: agreed}", true),
        ("{min_confidence: 2}", false),
        ("{min_confidence: -0.1}", false),
        ("{max_repeats: -1}", false),
        ("{partials: never}", false),
        ("{max_repeat: 3}", false),
    ] {
        let source = Source::new("test.yaml", yaml);
        let node = parse(&source).unwrap();
        let context = ReadContext { node: &node, model: None, source: &source, settings: &settings };
        assert_eq!((KIND.read)(&context).is_ok(), fits, "{yaml}");
    }
}

proptest! {
    #[test]
    fn final_transcripts_do_not_depend_on_partial_ones(
        inputs in prop::collection::vec((0i64..4, any::<bool>(), "[ab ]{0,12}"), 0..20),
    ) {
        let mut start = 0;
        let inputs: Vec<_> = inputs.iter().map(|(step, partial, text)| {
            start += step;
            (start, *partial, &**text)
        }).collect();
        let finals = |inputs: &[(i64, bool, &str)]| {
            let told = run(Transcribe::default(), inputs);
            told.into_iter().filter(|one| one.1 && !one.2.is_empty()).map(|one| one.2).collect::<Vec<_>>()
        };
        let only: Vec<_> = inputs.iter().copied().filter(|one| !one.1).collect();
        prop_assert_eq!(finals(&inputs), finals(&only));
    }
}
