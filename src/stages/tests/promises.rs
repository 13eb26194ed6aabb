//! What a stage owes, as assertions over a [`Subject`]. Each run also holds the stage to the promises of the [`Rig`].
//!
//! [`Rig`]: super::rig::Rig

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::inputs::{self, SIZES, cut, cut_at, payloads, poison, schedule, with_empty};
use super::rig::{difference, nearly};
use super::subject::Subject;
use crate::media::{Format, Packet};
use crate::stage::StageError;

/// Check's formats are those that open gives, with and without unknowns.
pub fn check_solves_what_open_gives(subject: &Subject) {
    let (name, contract) = (subject.name(), subject.blueprint.contract());
    let solved = subject.blueprint.outputs(&subject.formats).unwrap();
    assert_eq!(solved.len(), contract.outputs.len(), "{name}");
    let rig = subject.rig(&["a"]);
    let opened = rig.opened(0);
    assert_eq!(opened.len(), solved.len(), "{name}");
    for (solved, opened) in solved.iter().zip(opened) {
        assert!(solved.accepts(opened).is_ok(), "{name}: solved {solved}, opened {opened}");
    }
    let ports: Vec<Format> = contract.inputs.iter().map(|port| port.format.clone()).collect();
    let unknown = subject.blueprint.outputs(&ports);
    for (unknown, solved) in unknown.iter().flatten().zip(&solved) {
        assert!(unknown.accepts(solved).is_ok(), "{name}: {unknown} became {solved}");
    }
    for input in &contract.inputs {
        let same = contract.inputs.iter().filter(|other| other.name == input.name);
        assert_eq!(same.count(), 1, "{name}: two input ports are called `{}`", input.name);
    }
}

/// Runs the stream whole and in pieces of these sizes.
fn same_in_pieces(subject: &Subject, ports: &[Vec<Packet>], sizes: &[usize]) -> Result<(), String> {
    let pieces: Vec<_> = ports.iter().map(|packets| cut(packets, sizes)).collect();
    difference(&subject.run(ports), &subject.run(&pieces))
        .map_err(|why| format!("{} in chunks of {sizes:?}: {why}", subject.name()))
}

/// The results are the same for any chunking.
pub fn chunking(subject: &Subject) {
    let ports = subject.whole(1);
    for size in SIZES {
        same_in_pieces(subject, &ports, &[size]).unwrap_or_else(|why| panic!("{why}"));
    }
}

/// The results are the same for any chunking at random.
pub fn random_chunking(subject: &Subject) {
    let ports = subject.whole(2);
    let config = ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() };
    let sizes = proptest::collection::vec(prop_oneof![1usize..40, 1usize..6000], 1..30);
    let run = |sizes: Vec<usize>| same_in_pieces(subject, &ports, &sizes).map_err(TestCaseError::fail);
    TestRunner::new(config).run(&sizes, run).unwrap();
}

/// A gap splits a stream at the same place for any chunking.
pub fn chunking_around_a_gap(subject: &Subject) {
    let ports: Vec<_> = subject.whole(4).iter().map(|packets| cut_at(packets, 0.6, 0.25)).collect();
    for size in [7, 160, 4801] {
        same_in_pieces(subject, &ports, &[size]).unwrap_or_else(|why| panic!("{why}"));
    }
}

/// Packets without frames change nothing.
pub fn empty_packets(subject: &Subject) {
    let ports: Vec<_> = subject.whole(3).iter().map(|packets| cut(packets, &[500])).collect();
    let padded: Vec<_> = ports.iter().map(|packets| with_empty(packets)).collect();
    difference(&subject.run(&ports), &subject.run(&padded)).unwrap_or_else(|why| panic!("{}: {why}", subject.name()));
}

/// A stream that begins anew in its middle gives what a fresh one gives. A sink keeps what it wrote, so it only replays.
pub fn reset_and_replay(subject: &Subject) {
    let ports: Vec<_> = subject.whole(5).iter().map(|packets| cut(packets, &[777])).collect();
    let (schedule, fresh) = (schedule(&ports), subject.again());
    let expected = fresh.run(&ports);
    let mut rig = subject.rig(&["a"]);
    if super::gives_results(subject) {
        rig.feed(0, &schedule[..schedule.len() / 2]);
        rig.reset(0);
    }
    rig.run(0, &schedule);
    difference(&expected, &subject.seen(&rig, 0)).unwrap_or_else(|why| panic!("{}: {why}", subject.name()));
    assert_eq!(fresh.files(), subject.files(), "{}", subject.name());
}

/// NaN, infinities and wrong payloads in one stream change nothing in another.
pub fn isolation(subject: &Subject) {
    let clean: Vec<_> = subject.whole(6).iter().map(|packets| cut(packets, &[480])).collect();
    let alone = subject.again();
    let mut rig = alone.rig(&["clean"]);
    rig.run(0, &schedule(&clean));
    let expected = alone.seen(&rig, 0);

    let poisoned: Vec<_> = subject.whole(7).iter().map(|packets| poison(&cut(packets, &[480]))).collect();
    let (clean, poisoned, wrong) = (schedule(&clean), schedule(&poisoned), payloads());
    let mut rig = subject.rig(&["clean", "poisoned"]);
    for at in 0..clean.len().max(poisoned.len()) {
        if let Some(slice) = poisoned.get(at..at + 1) {
            rig.feed(1, slice);
            let (port, mut packet) = slice[0].clone();
            packet.payload = wrong[at % wrong.len()].clone();
            // Whether it is refused is another promise.
            let _ = rig.try_feed(1, port, packet);
        }
        if let Some(slice) = clean.get(at..at + 1) {
            rig.feed(0, slice);
        }
    }
    // A poisoned stream may well fail at its end.
    let _ = rig.try_flush(1);
    rig.flush(0);
    difference(&expected, &subject.seen(&rig, 0)).unwrap_or_else(|why| panic!("{}: {why}", subject.name()));
    let writes = subject.blueprint.contract().writes;
    if writes.is_some_and(|path| path.contains("{stream}")) {
        let (expected, mut files) = (alone.files(), subject.files());
        files.retain(|name, _| expected.contains_key(name));
        assert_eq!(files, expected, "{}", subject.name());
    }
}

/// Streams that share calls get what each gets alone: a model's numbers within 1e-5, anything else exactly.
pub fn batching(subject: &Subject) {
    let streams: Vec<_> = (0..3)
        .map(|number| {
            // Of unequal length, so that some end while others go on; and not in step.
            let whole = subject.whole(8 + number);
            let ports: Vec<_> = whole.iter().map(|packets| cut(packets, &[300 + 211 * number as usize])).collect();
            schedule(&ports)
        })
        .collect();
    let names = ["a", "b", "c"];
    let alone = subject.again();
    let mut rig = alone.rig(&names);
    (0..streams.len()).for_each(|stream| rig.run(stream, &streams[stream]));
    let expected: Vec<_> = (0..streams.len()).map(|stream| alone.seen(&rig, stream)).collect();

    let mut rig = subject.rig(&names);
    let most = subject.blueprint.contract().batch.max.max(1);
    for at in 0..streams.iter().map(Vec::len).max().unwrap() {
        let one = |stream: usize| streams[stream].get(at).map(|(port, packet)| (stream, *port, packet.clone()));
        // Each has its turn at each place in the batch.
        let round: Vec<_> = (0..streams.len()).filter_map(|turn| one((turn + at) % streams.len())).collect();
        round.chunks(most).for_each(|batch| rig.feed_together(batch));
    }
    for (stream, expected) in expected.iter().enumerate() {
        rig.flush(stream);
        nearly(expected, &subject.seen(&rig, stream), 1e-5)
            .unwrap_or_else(|why| panic!("{}, stream {stream}: {why}", subject.name()));
    }
}

/// A payload that its port does not take is an error.
pub fn wrong_payloads(subject: &Subject) {
    for (port, input) in subject.blueprint.contract().inputs.iter().enumerate() {
        for payload in payloads() {
            let format = payload.format();
            let result: Result<(), StageError> =
                subject.rig(&["a"]).try_feed(0, port, inputs::packet(0, 1_000_000, payload));
            let refused = input.format.accepts(&format).is_err();
            assert!(!refused || result.is_err(), "{} took {format} on `{}`", subject.name(), input.name);
        }
    }
}
