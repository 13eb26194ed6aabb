//! Order, backpressure, fairness, overflow policies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::kit::*;
use crate::media::Format;
use crate::pipeline::Overflow;
use crate::stage::{BatchPolicy, Contract, Role};
use crate::tensor::Tensor;
use crate::units::TimeSpan;

fn count(streams: u32, packets: i64) -> Count {
    Count { streams, packets, every: None }
}

#[test]
fn every_packet_arrives_once_and_in_order_on_every_kind_of_thread() {
    for inline in [true, false] {
        let seen = Seen::default();
        let mut middle = pass();
        if !inline {
            middle.contract.placement = crate::stage::Placement::Thread;
        }
        let report = Planner::new()
            .stage("count", Role::Capture, count(7, 1000))
            .stage("middle", Role::Preprocess, middle)
            .stage("sink", Role::Sink, collect(&seen))
            .link(0, 1, 0)
            .link(1, 2, 0)
            .run();
        assert!(report.is_clean(), "{report:#?}");
        assert_eq!(report.streams, 7);
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 7);
        assert!(seen.values().all(|values| *values == up_to(1000)));
    }
}

#[test]
fn what_a_stage_holds_comes_out_at_the_end() {
    let seen = Seen::default();
    let hold = Made::new(Contract::new().input("in", Format::Any).output("out"), |state, value, _, _| {
        state.push(value);
        Ok(())
    })
    .at_flush(|state, out| state.drain(..).for_each(|value| out.emit(0, draft(value))));
    let report = Planner::new()
        .stage("count", Role::Capture, count(3, 100))
        .stage("hold", Role::Preprocess, hold)
        .stage("sink", Role::Sink, collect(&seen))
        .link(0, 1, 0)
        .link(1, 2, 0)
        .run();
    assert!(report.is_clean(), "{report:#?}");
    assert!(seen.lock().unwrap().values().all(|values| *values == up_to(100)));
}

#[test]
fn a_full_link_blocks_the_writer_and_holds_no_more_than_its_bound() {
    let seen = Seen::default();
    let slow = Made::new(Contract::new().input("in", Format::Any).output("out"), |_, value, _, out| {
        std::thread::sleep(Duration::from_micros(200));
        out.emit(0, draft(value));
        Ok(())
    });
    let report = Planner::new()
        .stage("count", Role::Capture, count(1, 300))
        .stage("slow", Role::Model, slow)
        .stage("sink", Role::Sink, collect(&seen))
        .link_with(0, 1, 0, settings(4, Overflow::Block))
        .link(1, 2, 0)
        .run();
    assert!(report.is_clean(), "{report:#?}");
    assert!(report.books.links[0].deepest <= 4, "{:?}", report.books.links[0]);
    assert_eq!(seen.lock().unwrap()["s0"], up_to(300));
}

#[test]
fn a_stalled_stream_leaves_31_others_alone() {
    let seen = Seen::default();
    let others_done = Arc::new(AtomicBool::new(false));
    let gate = others_done.clone();
    let watch = seen.clone();
    // The sink does not take s0's packets until all others are through: it sits on a thread and only looks at s0 last.
    let stall = Made::new(Contract::new().input("in", Format::Any).output("out").inline(), |_, value, input, out| {
        out.emit(0, draft(value));
        let _ = input;
        Ok(())
    });
    let report = {
        let stuck = Made::new(Contract::new().input("in", Format::Any), move |_, _, _, _| {
            while !gate.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        });
        // s0 comes from a capture of its own, through the shared stage, to a sink of its own that stands still.
        let only = |wanted: bool| {
            Made::new(Contract::new().input("in", Format::Any).output("out").inline(), move |_, value, input, out| {
                if (input.packet.stream.0 == 0) == wanted {
                    out.emit(0, draft(value));
                }
                Ok(())
            })
        };
        let running = Planner::new()
            .stage("count", Role::Capture, count(32, 500))
            .stage("shared", Role::Preprocess, stall)
            .stage("first", Role::Preprocess, only(true))
            .stage("rest", Role::Preprocess, only(false))
            .stage("stuck", Role::Sink, stuck)
            .stage("sink", Role::Sink, collect(&seen))
            .link(0, 1, 0)
            .link(1, 2, 0)
            .link(1, 3, 0)
            .link_with(2, 4, 0, settings(1, Overflow::Block))
            .link(3, 5, 0)
            .start();
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        loop {
            let done = watch.lock().unwrap().values().filter(|values| values.len() == 500).count();
            if done == 31 {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "{done} of 31 streams came through beside a stalled one");
            std::thread::sleep(Duration::from_millis(5));
        }
        others_done.store(true, Ordering::SeqCst);
        running.wait_for(Duration::from_secs(30)).unwrap()
    };
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(report.books.links[3].received, 500);
}

#[test]
fn overflow_policies_drop_what_they_say_and_the_books_know() {
    for (policy, keeps_last) in [(Overflow::DropOldest, true), (Overflow::Latest, true), (Overflow::DropNewest, false)]
    {
        let seen = Seen::default();
        let open = Arc::new(AtomicBool::new(false));
        let gate = open.clone();
        let slow = Made::new(Contract::new().input("in", Format::Any).output("out"), move |_, value, _, out| {
            while !gate.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            out.emit(0, draft(value));
            Ok(())
        });
        let running = Planner::new()
            .stage("count", Role::Capture, count(1, 200))
            .stage("slow", Role::Model, slow)
            .stage("sink", Role::Sink, collect(&seen))
            .link_with(0, 1, 0, settings(3, policy))
            .link(1, 2, 0)
            .start();
        while running.stats().stages[0].written < 200 {
            std::thread::sleep(Duration::from_millis(1));
        }
        open.store(true, Ordering::SeqCst);
        let report = running.wait();
        assert!(report.books.imbalances().is_empty(), "{report:#?}");
        assert_eq!(report.books.unplanned_losses(), 0);
        let values = seen.lock().unwrap()["s0"].clone();
        assert_eq!(report.books.planned_drops() as usize, 200 - values.len());
        assert!(values.len() <= 5 && values.is_sorted());
        assert_eq!(values.last() == Some(&199), keeps_last, "{policy}: {values:?}");
    }
}

#[test]
fn batches_join_streams_and_give_each_its_own() {
    let seen = Seen::default();
    let largest = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    #[derive(Clone, Debug)]
    struct Batched(Arc<std::sync::atomic::AtomicUsize>);
    impl crate::stage::Blueprint for Batched {
        fn contract(&self) -> Contract {
            let batch = BatchPolicy { max: 8, wait: TimeSpan::from_millis(5) };
            Contract::new().input("in", Format::Any).output("out").batch(batch)
        }
        fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<crate::stage::ContractFault>> {
            Ok(vec![Format::Any])
        }
        fn build(&self) -> Result<crate::stage::Runnable, crate::stage::StageError> {
            Ok(crate::stage::Runnable::stage(self.clone()))
        }
    }
    impl crate::stage::Stage for Batched {
        type State = i64;
        fn open(
            &mut self,
            _: &crate::media::StreamInfo,
            _: &[Format],
        ) -> Result<crate::stage::Opened<i64>, crate::stage::StageError> {
            Ok(crate::stage::Opened { state: 0, outputs: vec![Format::Any] })
        }
        fn process(
            &mut self,
            _: &mut i64,
            _: crate::stage::Input,
            _: &mut crate::stage::Output,
        ) -> Result<(), crate::stage::StageError> {
            panic!("a batching stage is called for batches, or for single packets through them")
        }
        fn process_batch(&mut self, items: &mut [crate::stage::Item<'_, i64>]) {
            self.0.fetch_max(items.len(), Ordering::SeqCst);
            for item in items {
                // The state counts the stream's own packets: mixing streams up would show.
                assert_eq!(value(&item.input.packet), *item.state);
                *item.state += 1;
                let packet = &item.input.packet;
                item.out
                    .emit(0, crate::stage::Draft::new(packet.start, packet.duration, Tensor::scalar(value(packet))));
            }
        }
    }
    let report = Planner::new()
        .stage("count", Role::Capture, count(5, 200))
        .stage("batched", Role::Model, Batched(largest.clone()))
        .stage("sink", Role::Sink, collect(&seen))
        .link(0, 1, 0)
        .link(1, 2, 0)
        .run();
    assert!(report.is_clean(), "{report:#?}");
    assert!(seen.lock().unwrap().values().all(|values| *values == up_to(200)));
    assert!(largest.load(Ordering::SeqCst) > 1);
    assert!(report.books.stages[1].calls < 1000, "{} calls", report.books.stages[1].calls);
}

#[test]
fn a_memory_bound_holds_and_nothing_stops() {
    let seen = Seen::default();
    let mut planner = Planner::new()
        .stage("count", Role::Capture, count(4, 300))
        .stage("middle", Role::Preprocess, pass())
        .stage("sink", Role::Sink, collect(&seen))
        .link(0, 1, 0)
        .link(1, 2, 0);
    planner.plan.memory_bytes = 1;
    let report = planner.run();
    assert!(report.is_clean(), "{report:#?}");
    // One packet for each stream is always let in.
    assert!(report.books.links.iter().all(|link| link.deepest <= 4), "{report:#?}");
}
