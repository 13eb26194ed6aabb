//! The end: drained, stopped, dropped.

use std::time::{Duration, Instant};

use super::kit::*;
use crate::media::Format;
use crate::runtime::{Outcome, Running, StartOptions};
use crate::stage::{Contract, Role, StageError};

fn endless(seen: &Seen, middle: Made) -> Planner {
    Planner::new()
        .stage("count", Role::Capture, Count { streams: 2, packets: i64::MAX, every: Some(Duration::from_millis(1)) })
        .stage("middle", Role::Preprocess, middle)
        .stage("sink", Role::Sink, collect(seen))
        .link(0, 1, 0)
        .link(1, 2, 0)
}

#[test]
fn a_drain_finishes_what_is_under_way_and_flushes() {
    let seen = Seen::default();
    let hold = Made::new(Contract::new().input("in", Format::Any).output("out"), |state, value, _, _| {
        state.push(value);
        Ok(())
    })
    .at_flush(|state, out| state.drain(..).for_each(|value| out.emit(0, draft(value))));
    let running = endless(&seen, hold).start();
    std::thread::sleep(Duration::from_millis(100));
    running.drain(Duration::from_secs(10));
    let report = running.wait();
    assert!(report.is_clean(), "{report:#?}");
    let captured = report.books.stages[0].written;
    assert!(captured > 10);
    assert_eq!(seen.lock().unwrap().values().map(Vec::len).sum::<usize>() as u64, captured);
}

#[test]
fn a_drain_that_takes_too_long_is_cancelled_and_accounted_for() {
    let seen = Seen::default();
    let slow = Made::new(Contract::new().input("in", Format::Any).output("out"), |_, value, _, out| {
        std::thread::sleep(Duration::from_millis(200));
        out.emit(0, draft(value));
        Ok(())
    });
    let running = endless(&seen, slow).start();
    std::thread::sleep(Duration::from_millis(300));
    let begun = Instant::now();
    running.drain(Duration::from_millis(100));
    let report = running.wait();
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert!(matches!(&report.outcome, Outcome::Cancelled { reason } if reason.contains("drain")), "{report:#?}");
    assert!(report.books.imbalances().is_empty(), "{report:#?}");
}

#[test]
fn a_stop_ends_at_once_even_with_a_stuck_call() {
    let seen = Seen::default();
    let stuck = Made::new(Contract::new().input("in", Format::Any).output("out"), |_, _, _, _| {
        std::thread::sleep(Duration::from_secs(5));
        Ok(())
    });
    let running = endless(&seen, stuck).start();
    std::thread::sleep(Duration::from_millis(50));
    let begun = Instant::now();
    running.stop();
    let report = running.wait();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(matches!(report.outcome, Outcome::Cancelled { .. }));
    assert!(report.books.imbalances().is_empty(), "{report:#?}");
}

#[test]
fn a_sink_that_never_takes_the_rest_does_not_hold_the_end_for_ever() {
    let stuck = |at: i64, time: Duration| {
        Made::new(Contract::new().input("in", Format::Any).deadline(None), move |_, value, _, _| {
            std::thread::sleep(if value == at { time } else { Duration::ZERO });
            Ok(())
        })
    };
    // Before the end it may take its time; after it only so long for one call.
    for (what, packets, every, at, finished) in
        [("while it is read", 20, Some(Duration::from_millis(100)), 0, true), ("the last packet", 20, None, 19, false)]
    {
        let options = StartOptions { end_deadline: Some(Duration::from_millis(600)), ..StartOptions::default() };
        let plan = Planner::new()
            .stage("count", Role::Capture, Count { streams: 1, packets, every })
            .stage("stuck", Role::Sink, stuck(at, Duration::from_millis(if finished { 1500 } else { 30_000 })))
            .link(0, 1, 0)
            .plan;
        let begun = Instant::now();
        let report = Running::start(plan, options).unwrap().wait();
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}");
        match report.outcome {
            Outcome::Finished => assert!(finished, "{what}"),
            Outcome::Cancelled { reason } => assert!(!finished && reason.contains("stage stuck"), "{what}: {reason}"),
            other => panic!("{what}: {other:?}"),
        }
        assert!(report.books.imbalances().is_empty(), "{what}: {:#?}", report.books);
    }
}

#[test]
fn dropping_a_running_pipeline_stops_it() {
    let seen = Seen::default();
    let begun = Instant::now();
    drop(endless(&seen, pass()).start());
    assert!(begun.elapsed() < Duration::from_secs(2));
}

/// A sink that gives up each stream at its packet `at`.
fn leaves(at: i64) -> Made {
    Made::new(Contract::new().input("in", Format::Any).inline(), move |_, value, _, _| {
        if value < at {
            Ok(())
        } else {
            Err(StageError::end_stream(std::io::Error::from(std::io::ErrorKind::BrokenPipe)))
        }
    })
}

#[test]
fn streams_that_no_sink_takes_any_more_are_not_read_on() {
    let seen = Seen::default();
    let running = endless(&seen, pass()).stage("other", Role::Sink, leaves(5)).link(1, 3, 0).start();
    assert!(running.wait_for(Duration::from_millis(300)).is_none(), "the other sink still takes them");
    running.stop();
    running.wait();

    // Given up by both sinks, and by a stage before them.
    let two = |middle: Made, first: Made, second: Made| {
        let count = Count { streams: 2, packets: i64::MAX, every: Some(Duration::from_millis(1)) };
        Planner::new()
            .stage("count", Role::Capture, count)
            .stage("middle", Role::Preprocess, middle)
            .stage("first", Role::Sink, first)
            .stage("second", Role::Sink, second)
            .link(0, 1, 0)
            .link(1, 2, 0)
            .link(1, 3, 0)
    };
    let middle = Made { contract: Contract::new().input("in", Format::Any).output("out"), ..leaves(20) };
    for plan in [two(pass(), leaves(5), leaves(30)), two(middle, collect(&seen), collect(&seen))] {
        let report = plan.start().wait_for(Duration::from_secs(20)).expect("it ends by itself");
        assert_eq!(report.outcome, Outcome::Finished, "{report:#?}");
        assert_eq!(report.streams, 2);
        assert!(report.failed_streams >= 2 && !report.is_clean(), "{report:#?}");
        assert!(report.books.imbalances().is_empty(), "{report:#?}");
    }
}

#[tokio::test]
async fn it_runs_inside_an_async_runtime_and_can_be_awaited() {
    let seen = Seen::default();
    let running = Planner::new()
        .stage("count", Role::Capture, Count { streams: 2, packets: 100, every: None })
        .stage("sink", Role::Sink, collect(&seen))
        .link(0, 1, 0)
        .start();
    let report = running.finished().await;
    assert!(report.is_clean(), "{report:#?}");
}
