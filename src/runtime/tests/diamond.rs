//! Stages with several links: order across them, and no deadlock.

use std::sync::{Arc, Mutex};

use super::kit::*;
use crate::media::Format;
use crate::pipeline::{LinkSettings, Overflow};
use crate::runtime::Outcome;
use crate::stage::{Contract, Role};

/// Gives one packet for every ten, at the last of the ten.
fn every_tenth() -> Made {
    Made::new(Contract::new().input("in", Format::Any).output("out"), |state, value, _, out| {
        state.push(value);
        if state.len() == 10 {
            out.emit(0, draft(value));
            state.clear();
        }
        Ok(())
    })
}

type Order = Arc<Mutex<Vec<(usize, i64)>>>;

fn join(order: &Order) -> Made {
    let order = order.clone();
    let contract = Contract::new().input("slow", Format::Any).input("fast", Format::Any);
    Made::new(contract, move |_, value, input, _| {
        order.lock().unwrap().push((input.port, value));
        Ok(())
    })
}

fn diamond(middle: Made, fast: LinkSettings, order: &Order) -> Planner {
    Planner::new()
        .stage("count", Role::Capture, Count { streams: 1, packets: 200, every: None })
        .stage("middle", Role::Preprocess, middle)
        .stage("join", Role::Sink, join(order))
        .link_with(0, 1, 0, settings(1, Overflow::Block))
        .link_with(1, 2, 0, settings(1, Overflow::Block))
        .link_with(0, 2, 1, fast)
}

#[test]
fn with_queues_of_one_it_runs_and_orders_by_time() {
    let order = Order::default();
    let report = diamond(every_tenth(), settings(1, Overflow::Block), &order).run();
    assert!(report.is_clean(), "{report:#?}");
    let mut expected = Vec::new();
    for value in 0..200 {
        if value % 10 == 9 {
            expected.push((0, value));
        }
        expected.push((1, value));
    }
    assert_eq!(*order.lock().unwrap(), expected);
}

#[test]
fn a_branch_with_nothing_to_say_moves_time_on() {
    let order = Order::default();
    let silent = Made::new(Contract::new().input("in", Format::Any).output("out"), |_, _, _, _| Ok(()));
    let report = diamond(silent, settings(1, Overflow::Block), &order).run();
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(order.lock().unwrap().len(), 200);
    assert!(report.books.links[2].deepest < 20, "{:?}", report.books.links[2]);
}

#[test]
fn beyond_the_byte_bound_the_stream_fails_and_both_paths_are_named() {
    #[derive(Clone, Debug)]
    struct Withholding;
    impl crate::stage::Blueprint for Withholding {
        fn contract(&self) -> Contract {
            Contract::new().input("in", Format::Any).output("out")
        }
        fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<crate::stage::ContractFault>> {
            Ok(vec![Format::Any])
        }
        fn build(&self) -> Result<crate::stage::Runnable, crate::stage::StageError> {
            Ok(crate::stage::Runnable::stage(Withholding))
        }
    }
    impl crate::stage::Stage for Withholding {
        type State = ();
        fn open(
            &mut self,
            _: &crate::media::StreamInfo,
            _: &[Format],
        ) -> Result<crate::stage::Opened<()>, crate::stage::StageError> {
            Ok(crate::stage::Opened { state: (), outputs: vec![Format::Any] })
        }
        fn process(
            &mut self,
            _: &mut (),
            _: crate::stage::Input,
            _: &mut crate::stage::Output,
        ) -> Result<(), crate::stage::StageError> {
            Ok(())
        }
        fn hold_back(&self, _: &()) -> Option<crate::units::Timestamp> {
            Some(crate::units::Timestamp::ZERO - crate::units::TimeSpan::from_millis(1))
        }
    }
    let order = Order::default();
    let fast = LinkSettings { queue: 1, queue_bytes: 80, ..LinkSettings::default() };
    let report = Planner::new()
        .stage("count", Role::Capture, Count { streams: 1, packets: 200, every: None })
        .stage("middle", Role::Preprocess, Withholding)
        .stage("join", Role::Sink, join(&order))
        .link(0, 1, 0)
        .link(1, 2, 0)
        .link_with(0, 2, 1, fast)
        .run();
    assert_eq!(report.outcome, Outcome::Finished);
    assert!(report.books.imbalances().is_empty(), "{report:#?}");
    assert_eq!(report.failed_streams, 1);
    let why = &report.failures[0].why;
    assert!(why.contains("count → join.fast") && why.contains("middle → join.slow"), "{why}");
}

/// What a later stage feeds back is read while the stream lasts, and holds up neither the stream nor the end.
#[test]
fn a_cycle_with_feedback_ends() {
    let order = Order::default();
    let seen = order.clone();
    let contract = Contract::new().input("in", Format::Any).input("back", Format::Any).output("out").inline();
    let adder = Made::new(contract, move |_, value, input, out| {
        seen.lock().unwrap().push((input.port, value));
        if input.port == 0 {
            out.emit(0, draft(value));
        }
        Ok(())
    });
    let mut planner = Planner::new()
        .stage("count", Role::Capture, Count { streams: 2, packets: 300, every: None })
        .stage("adder", Role::Preprocess, adder)
        .stage("echo", Role::Preprocess, pass())
        .stage("sink", Role::Sink, collect(&Seen::default()))
        .link(0, 1, 0)
        .link(1, 2, 0)
        .link(2, 3, 0);
    let feedback = LinkSettings { feedback: true, overflow: Overflow::DropOldest, ..LinkSettings::default() };
    planner = planner.link_with(2, 1, 1, feedback);
    let report = planner.run();
    assert_eq!(report.outcome, Outcome::Finished);
    assert!(report.is_clean(), "{report:#?}");
    let order = order.lock().unwrap();
    assert_eq!(order.iter().filter(|(port, _)| *port == 0).count(), 600);
    assert!(order.iter().any(|(port, _)| *port == 1), "something came back");
}
