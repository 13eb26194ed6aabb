//! Errors, panics, stuck calls: each touches what it must and no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::kit::*;
use crate::media::Format;
use crate::pipeline::Overflow;
use crate::runtime::Outcome;
use crate::stage::{Contract, Placement, Role, StageError};

fn io() -> Contract {
    Contract::new().input("in", Format::Any).output("out")
}

fn run(middle: Made, streams: u32, packets: i64) -> (crate::runtime::Report, Seen) {
    let seen = Seen::default();
    let report = Planner::new()
        .stage("count", Role::Capture, Count { streams, packets, every: None })
        .stage("middle", Role::Model, middle)
        .stage("sink", Role::Sink, collect(&seen))
        .link(0, 1, 0)
        .link(1, 2, 0)
        .run();
    (report, seen)
}

#[test]
fn each_error_has_its_consequence_and_other_streams_go_on() {
    type Make = fn(String) -> StageError;
    let cases: [(&str, Make, i64, u64); 3] = [
        ("skip", |text| StageError::skip(text), 99, 0),
        ("reset", |text| StageError::reset_stream(text), 99, 0),
        ("end", |text| StageError::end_stream(text), 50, 1),
    ];
    for (name, make, kept, failed) in cases {
        for placement in [Placement::Inline, Placement::Thread] {
            let mut contract = io();
            contract.placement = placement;
            let middle = Made::new(contract, move |_, value, input, out| {
                if value == 50 && input.packet.stream.0 == 1 {
                    return Err(make(format!("{value} is not wanted")));
                }
                out.emit(0, draft(value));
                Ok(())
            });
            let (report, seen) = run(middle, 3, 100);
            assert_eq!(report.outcome, Outcome::Finished, "{name}");
            assert!(report.books.imbalances().is_empty(), "{name}: {report:#?}");
            let seen = seen.lock().unwrap();
            assert_eq!(seen["s0"], up_to(100), "{name}");
            assert_eq!(seen["s2"], up_to(100), "{name}");
            assert_eq!(seen["s1"].len() as i64, kept, "{name}");
            assert_eq!(report.failed_streams, failed, "{name}");
            assert!(!report.is_clean(), "{name}");
            // What was under way when a stream ended is skipped too; the rest of it is not read.
            let most = if failed == 1 { 50 } else { 1 };
            assert!((1..=most).contains(&report.books.stages[1].skipped), "{name}: {report:#?}");
        }
    }
}

#[test]
fn a_panic_costs_its_packet_and_a_restart_and_other_streams_keep_their_state() {
    for placement in [Placement::Inline, Placement::Thread] {
        let panics = Arc::new(AtomicUsize::new(0));
        let count = panics.clone();
        let mut contract = io();
        contract.placement = placement;
        let middle = Made::new(contract, move |state, value, input, out| {
            state.push(value);
            assert!(value != 50 || input.packet.stream.0 != 1 || count.fetch_add(1, Ordering::SeqCst) > 0, "fifty!");
            if input.packet.stream.0 != 1 {
                assert_eq!(state.len() as i64, value + 1, "state was kept");
            }
            out.emit(0, draft(value));
            Ok(())
        });
        let builds = middle.builds.clone();
        let (report, seen) = run(middle, 3, 100);
        assert_eq!(report.outcome, Outcome::Finished);
        assert!(report.books.imbalances().is_empty(), "{report:#?}");
        assert_eq!(builds.load(Ordering::SeqCst), 2);
        assert_eq!(report.books.stages[1].restarts, 1);
        assert_eq!(report.books.stages[1].lost, 1);
        assert!(!report.is_clean());
        let seen = seen.lock().unwrap();
        assert_eq!(seen["s0"], up_to(100));
        assert_eq!(seen["s2"], up_to(100));
        assert_eq!(seen["s1"].len(), 99);
    }
}

#[test]
fn a_stage_that_fails_again_and_again_ends_the_pipeline_with_the_reason() {
    let middle = Made::new(io(), |_, _, _, _| Err(StageError::fatal("the model is gone")));
    let (report, _) = run(middle, 1, 100);
    let Outcome::Failed { reason } = &report.outcome else { panic!("{report:#?}") };
    assert!(reason.contains("middle") && reason.contains("the model is gone"), "{reason}");
    assert!(report.books.imbalances().is_empty(), "{report:#?}");
}

#[test]
fn a_companion_that_fails_again_and_again_is_given_up_and_the_stream_goes_on() {
    for (every, packets) in [(None, 5_000), (Some(Duration::from_millis(1)), 1_000)] {
        let seen = Seen::default();
        let fails = Made::new(Contract::new().input("in", Format::Any), |_, _, _, _| panic!("no learning today"));
        let builds = fails.builds.clone();
        let mut planner = Planner::new()
            .stage("count", Role::Capture, Count { streams: 2, packets, every })
            .stage("model", Role::Model, pass())
            .stage("sink", Role::Sink, collect(&seen))
            .stage("model.learner", Role::Model, fails)
            .link(0, 1, 0)
            .link(1, 2, 0)
            .link(0, 3, 0);
        planner.plan.stages[3].owner = Some((1, "weights"));
        let report = planner.run();
        assert_eq!(report.outcome, Outcome::Finished, "{report:#?}");
        assert!(report.books.imbalances().is_empty(), "{report:#?}");
        let seen = seen.lock().unwrap();
        assert_eq!((&seen["s0"], &seen["s1"]), (&up_to(packets), &up_to(packets)));
        assert_eq!((builds.load(Ordering::SeqCst), report.books.stages[3].lost), (6, 6));
        assert_eq!(report.failures.len(), 1);
        assert!(report.failures[0].why.contains("given up: stage model.learner failed 6 times"), "{report:#?}");
        assert!(!report.is_clean());
    }
}

#[test]
fn a_stage_may_get_recorded_streams_one_after_the_other() {
    for round in 0..5u64 {
        let order: Arc<std::sync::Mutex<Vec<(u32, i64)>>> = Arc::default();
        let seen = order.clone();
        let learner = Made::new(
            Contract::new().input("in", Format::Any).input("again", Format::Any).in_order(),
            move |_, value, input, _| {
                if value % 7 == 0 {
                    std::thread::sleep(Duration::from_micros(50 * round));
                }
                seen.lock().unwrap().push((input.packet.stream.0, value));
                Ok(())
            },
        );
        let mut planner = Planner::new()
            .stage("count", Role::Capture, Count { streams: 20, packets: 50, every: None })
            .stage("model", Role::Model, pass())
            .stage("sink", Role::Sink, collect(&Seen::default()))
            .stage("model.learner", Role::Model, learner)
            .link(0, 1, 0)
            .link(1, 2, 0)
            .link_with(0, 3, 0, settings(4, Overflow::Block))
            .link_with(1, 3, 1, settings(4, Overflow::Block));
        planner.plan.stages[3].owner = Some((1, "weights"));
        let report = planner.run();
        assert!(report.is_clean(), "{report:#?}");
        // Which comes first is the capture's matter; each comes whole.
        let mut order = order.lock().unwrap().clone();
        let mut streams: Vec<u32> = order.iter().map(|(stream, _)| *stream).collect();
        streams.dedup();
        assert_eq!(streams.len(), 20, "{streams:?}");
        order.sort_by_key(|(stream, _)| *stream);
        let whole = |stream| order.iter().filter(|(of, _)| *of == stream).map(|(_, value)| *value).collect::<Vec<_>>();
        let twice: Vec<i64> = (0..50).flat_map(|value| [value; 2]).collect();
        assert!((0..20).all(|stream| whole(stream) == twice));
    }
}

#[test]
fn a_slow_companion_holds_no_live_stream_up() {
    for (every, dropped) in [(Some(Duration::from_millis(1)), true), (None, false)] {
        let seen = Seen::default();
        let slow = Made::new(Contract::new().input("in", Format::Any), |_, _, _, _| {
            std::thread::sleep(Duration::from_millis(10));
            Ok(())
        });
        let mut planner = Planner::new()
            .stage("count", Role::Capture, Count { streams: 1, packets: 100, every })
            .stage("model", Role::Model, pass())
            .stage("sink", Role::Sink, collect(&seen))
            .stage("model.learner", Role::Model, slow)
            .link(0, 1, 0)
            .link(1, 2, 0)
            .link_with(0, 3, 0, settings(8, Overflow::Block));
        planner.plan.stages[3].owner = Some((1, "weights"));
        let report = planner.run();
        assert!(report.is_clean(), "what it drops is planned: {report:#?}");
        assert_eq!(seen.lock().unwrap()["s0"], up_to(100));
        assert_eq!(report.books.links[2].dropped > 0, dropped, "{report:#?}");
        assert_eq!(report.books.links[0].dropped + report.books.links[1].dropped, 0);
    }
}

#[test]
fn a_call_that_does_not_come_back_is_abandoned_and_the_rest_goes_on() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    let contract = io().deadline(Some(Duration::from_millis(150)));
    let middle = Made::new(contract, move |_, value, _, out| {
        if value == 5 && count.fetch_add(1, Ordering::SeqCst) == 0 {
            std::thread::sleep(Duration::from_secs(3));
        }
        out.emit(0, draft(value));
        Ok(())
    });
    let (report, seen) = run(middle, 1, 20);
    assert_eq!(report.outcome, Outcome::Finished, "{report:#?}");
    assert_eq!(report.books.stages[1].abandoned, 1);
    assert_eq!(report.books.stages[1].lost, 1);
    assert!(report.books.imbalances().is_empty(), "{report:#?}");
    let expected: Vec<i64> = up_to(20).into_iter().filter(|value| *value != 5).collect();
    assert_eq!(seen.lock().unwrap()["s0"], expected);
}

#[test]
fn a_stream_that_cannot_open_ends_and_the_others_run() {
    let middle = Made::new(io(), |_, value, _, out| {
        out.emit(0, draft(value));
        Ok(())
    })
    .at_open(|info| if &*info.name == "s1" { Err(StageError::end_stream("no room for s1")) } else { Ok(()) });
    let (report, seen) = run(middle, 3, 50);
    assert_eq!(report.outcome, Outcome::Finished);
    assert_eq!(report.failures[0].why, "no room for s1");
    assert!(report.books.imbalances().is_empty(), "{report:#?}");
    let seen = seen.lock().unwrap();
    assert!(!seen.contains_key("s1"));
    assert_eq!(seen["s2"], up_to(50));
}

#[test]
fn a_start_that_goes_back_is_refused_and_counted() {
    let middle = Made::new(io(), |_, value, _, out| {
        out.emit(0, draft(if value == 7 { 0 } else { value }));
        Ok(())
    });
    let (report, seen) = run(middle, 1, 20);
    assert_eq!(report.books.stages[1].refused, 1);
    assert!(report.books.imbalances().is_empty(), "{report:#?}");
    assert!(!report.is_clean());
    assert_eq!(seen.lock().unwrap()["s0"].len(), 19);
}

#[test]
fn a_panic_at_the_end_or_the_beginning_of_a_stream_is_that_streams_failure() {
    for at_end in [true, false] {
        let middle = Made::new(io(), |_, value, _, out| {
            out.emit(0, draft(value));
            Ok(())
        });
        let middle = match at_end {
            true => middle.at_flush(|state, _| assert!(state.capacity() > 1_000_000, "the end is too much")),
            false => middle.at_open(|info| {
                assert!(&*info.name != "s1", "s1 is too much");
                Ok(())
            }),
        };
        let streams = if at_end { 1 } else { 3 };
        let (report, seen) = run(middle, streams, 50);
        assert_eq!(report.outcome, Outcome::Finished, "{report:#?}");
        assert_eq!(report.failed_streams, 1, "{report:#?}");
        assert!(report.failures[0].why.contains("too much"), "{report:#?}");
        assert!(!report.is_clean());
        assert!(report.books.imbalances().is_empty(), "{report:#?}");
        let seen = seen.lock().unwrap();
        assert_eq!(seen["s0"], up_to(50));
        if !at_end {
            assert_eq!(seen["s2"], up_to(50));
            assert!(!seen.contains_key("s1"));
        }
    }
}
