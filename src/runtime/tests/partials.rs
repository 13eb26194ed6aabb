//! Partial results and the final one: what is being worked on when the final one comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::kit::*;
use crate::media::{Format, StreamInfo};
use crate::stage::{
    Blueprint, BoxFuture, Canceller, Capture, CaptureContext, Contract, ContractFault, Draft, Flow, Input, Opened,
    Output, Role, Runnable, Source, SourceInfo, Stage, StageError,
};
use crate::tensor::Tensor;
use crate::units::{TimeSpan, Timestamp};

/// How long a call on a partial result takes that nobody breaks off.
const WORK: Duration = Duration::from_millis(400);

/// What the capture and the stage tell each other.
#[derive(Clone, Debug, Default)]
struct Signs {
    at_work: Arc<AtomicBool>,
    cancelled: Arc<AtomicBool>,
}

/// A live stream of a partial result of number 1 and 10 ms, and, once it is worked on, of `next` with number 2.
#[derive(Clone, Debug)]
struct Revisions {
    signs: Signs,
    next: Draft,
    sent: usize,
}

fn revision(start: i64, ms: i64, partial: bool, number: u32) -> Draft {
    Draft::new(Timestamp::from_nanos(start), TimeSpan::from_millis(ms), Tensor::scalar(i64::from(number)))
        .partial(partial)
        .revision(number)
}

fn expected(mut draft: Draft) -> Draft {
    draft.flags.expected_final = true;
    draft
}

impl Blueprint for Revisions {
    fn contract(&self) -> Contract {
        Contract::new().output("out")
    }

    fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(vec![Format::ANY_TENSOR])
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::capture(Once(Some(self.clone()))))
    }
}

struct Once(Option<Revisions>);

impl Capture for Once {
    fn next_stream<'a>(
        &'a mut self,
        _: &'a CaptureContext,
    ) -> BoxFuture<'a, Result<Option<Box<dyn Source>>, StageError>> {
        let source = self.0.take().map(|source| Box::new(source) as Box<dyn Source>);
        Box::pin(async move { Ok(source) })
    }
}

impl Source for Revisions {
    fn info(&self) -> SourceInfo {
        let (name, formats) = ("s0".to_owned(), vec![Format::ANY_TENSOR]);
        SourceInfo { name, group: None, live: true, wall: None, file: None, formats, seconds: None }
    }

    fn read<'a>(&'a mut self, out: &'a mut Output) -> BoxFuture<'a, Result<Flow, StageError>> {
        Box::pin(async move {
            self.sent += 1;
            match self.sent {
                1 => out.emit(0, revision(0, 10, true, 1)),
                2 => {
                    while !self.signs.at_work.load(Ordering::SeqCst) {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    out.emit(0, self.next.clone());
                }
                _ => return Ok(Flow::End),
            }
            Ok(Flow::More)
        })
    }
}

/// A model that takes its time over the first packet.
#[derive(Clone, Debug)]
struct Slow(Signs);

impl Blueprint for Slow {
    fn contract(&self) -> Contract {
        Contract::new().input("in", Format::Any).output("out").supersede()
    }

    fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(vec![Format::ANY_TENSOR])
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(self.clone()))
    }
}

impl Stage for Slow {
    type State = ();

    fn open(&mut self, _: &StreamInfo, _: &[Format]) -> Result<Opened<()>, StageError> {
        Ok(Opened { state: (), outputs: vec![Format::ANY_TENSOR] })
    }

    fn process(&mut self, _: &mut (), input: Input, out: &mut Output) -> Result<(), StageError> {
        if !self.0.at_work.swap(true, Ordering::SeqCst) {
            let begun = Instant::now();
            while begun.elapsed() < WORK {
                if self.0.cancelled.load(Ordering::SeqCst) {
                    return Err(StageError::skip("cancelled"));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let number = Tensor::scalar(value(&input.packet));
        out.emit(0, Draft::new(input.packet.start, input.packet.duration, number));
        Ok(())
    }

    fn canceller(&self) -> Option<Canceller> {
        let cancelled = self.0.cancelled.clone();
        Some(Canceller::new(move || cancelled.store(true, Ordering::SeqCst)))
    }
}

#[test]
fn the_final_result_breaks_off_the_work_on_a_partial_one_that_it_replaces() {
    for (what, next, given_up) in [
        ("the final one", revision(0, 30, false, 2), true),
        ("the final one with the same sound", revision(0, 10, false, 2), false),
        ("a newer partial one", revision(0, 30, true, 2), false),
        ("a newer partial one that is expected to be the final one", expected(revision(0, 30, true, 2)), true),
        ("such a one with the same sound", expected(revision(0, 10, true, 2)), false),
        ("another utterance's", revision(5, 30, false, 2), false),
        ("a packet that is no revision", revision(0, 30, false, 0), false),
    ] {
        let (signs, seen) = (Signs::default(), Seen::default());
        let number = i64::from(next.revision);
        let report = Planner::new()
            .stage("speech", Role::Capture, Revisions { signs: signs.clone(), next, sent: 0 })
            .stage("slow", Role::Model, Slow(signs))
            .stage("sink", Role::Sink, collect(&seen))
            .link(0, 1, 0)
            .link(1, 2, 0)
            .run();
        assert!(report.is_clean(), "{what}: {report:#?}");
        let expected = if given_up { vec![number] } else { vec![1, number] };
        let book = &report.books.stages[1];
        assert_eq!((book.late, book.skipped), (u64::from(given_up), 0), "{what}");
        let seen = seen.lock().unwrap()["s0"].clone();
        assert_eq!(seen, expected, "{what}");
    }
}
