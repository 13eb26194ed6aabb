//! A stream whose format changes midway.

use std::sync::{Arc, Mutex};

use super::kit::*;
use crate::media::Format;
use crate::stage::{
    Blueprint, BoxFuture, Capture, CaptureContext, Contract, ContractFault, Draft, Flow, Output, Placement, Role,
    Runnable, Source, SourceInfo, StageError,
};
use crate::tensor::{DType, SymbolicShape, Tensor};
use crate::units::{TimeSpan, Timestamp};

/// A stream that carries numbers of one kind of format, and from its fourth packet on of another.
#[derive(Clone, Debug)]
struct Changing {
    at: i64,
    reopened: bool,
}

impl Changing {
    const CHANGE: i64 = 3;
    const PACKETS: i64 = 7;
}

impl Blueprint for Changing {
    fn contract(&self) -> Contract {
        Contract::new().output("out")
    }

    fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(vec![Format::ANY_TENSOR])
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::capture(ChangingOnce(Some(self.clone()))))
    }
}

struct ChangingOnce(Option<Changing>);

impl Capture for ChangingOnce {
    fn next_stream<'a>(
        &'a mut self,
        _: &'a CaptureContext,
    ) -> BoxFuture<'a, Result<Option<Box<dyn Source>>, StageError>> {
        let source = self.0.take().map(|source| Box::new(source) as Box<dyn Source>);
        Box::pin(async move { Ok(source) })
    }
}

impl Source for Changing {
    fn info(&self) -> SourceInfo {
        let sizes: &[usize] = if self.reopened { &[1, 1] } else { &[1] };
        let formats = vec![Format::Tensor { dtype: Some(DType::I64), shape: SymbolicShape::known(sizes) }];
        SourceInfo { name: "s0".into(), group: None, live: false, wall: None, file: None, formats, seconds: None }
    }

    fn read<'a>(&'a mut self, out: &'a mut Output) -> BoxFuture<'a, Result<Flow, StageError>> {
        Box::pin(async move {
            if self.at == Changing::CHANGE && !self.reopened {
                self.reopened = true;
                return Ok(Flow::Reopen);
            }
            if self.at == Changing::PACKETS {
                return Ok(Flow::End);
            }
            // Time begins anew with the new format.
            let since = if self.reopened { self.at - Changing::CHANGE } else { self.at };
            let sizes = if self.reopened { vec![1, 1] } else { vec![1] };
            let start = Timestamp::from_nanos(since * 1_000_000);
            out.emit(0, Draft::new(start, TimeSpan::from_millis(1), Tensor::new(sizes, vec![self.at]).unwrap()));
            self.at += 1;
            Ok(Flow::More)
        })
    }
}

#[test]
fn a_format_that_changes_midway_flushes_and_opens_the_stream_again() {
    for placement in [Placement::Inline, Placement::Thread] {
        let story: Arc<Mutex<Vec<String>>> = Arc::default();
        let (opened, took, flushed) = (story.clone(), story.clone(), story.clone());
        let mut contract = Contract::new().input("in", Format::Any).output("out");
        contract.placement = placement;
        // It holds two packets back, so that something is left at the change and at the end.
        let holds = Made::new(contract, move |held, value, input, out| {
            let rank = input.packet.payload.tensor().unwrap().shape().len();
            took.lock().unwrap().push(format!("{value} of rank {rank}"));
            held.push(value);
            if held.len() > 2 {
                let value = held.remove(0);
                out.emit(0, Draft::new(input.packet.start, TimeSpan::ZERO, Tensor::scalar(value)));
            }
            Ok(())
        })
        .at_open(move |_| {
            opened.lock().unwrap().push("open".into());
            Ok(())
        })
        .at_flush(move |held, out| {
            flushed.lock().unwrap().push(format!("flush {held:?}"));
            held.drain(..).for_each(|value| {
                out.emit(0, Draft::new(Timestamp::from_nanos(i64::MAX / 2), TimeSpan::ZERO, Tensor::scalar(value)));
            });
        });
        let seen = Seen::default();
        let report = Planner::new()
            .stage("changing", Role::Capture, Changing { at: 0, reopened: false })
            .stage("holds", Role::Preprocess, holds)
            .stage("sink", Role::Sink, collect(&seen))
            .link(0, 1, 0)
            .link(1, 2, 0)
            .run();
        assert!(report.is_clean(), "{report:#?}");
        assert_eq!(report.streams, 1, "it is one stream");
        assert_eq!(
            *story.lock().unwrap(),
            [
                "open",
                "0 of rank 1",
                "1 of rank 1",
                "2 of rank 1",
                "flush [1, 2]",
                "open",
                "3 of rank 2",
                "4 of rank 2",
                "5 of rank 2",
                "6 of rank 2",
                "flush [5, 6]"
            ]
        );
        assert_eq!(seen.lock().unwrap()["s0"], up_to(Changing::PACKETS), "in order, though times began anew");
    }
}
