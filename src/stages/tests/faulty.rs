//! The promises are able to fail: each is broken by a stage with one fault, and kept by the same stage without it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use super::promises;
use super::subject::Subject;
use crate::media::{Format, StreamInfo};
use crate::stage::{
    BatchPolicy, Blueprint, Contract, ContractFault, Draft, Input, Item, Opened, Output, Role, Runnable, Stage,
    StageError,
};
use crate::stages::timeline::{Continuity, Timeline};
use crate::tensor::{DType, SymbolicShape, Tensor};
use crate::units::{Rate, TimeSpan, Timestamp};

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wrong {
    Nothing,
    GivesByPacket,
    CountsEmptyPackets,
    SeesGapsInLongPacketsOnly,
    GoesBackInTime,
    HoldsBackTooLittle,
    OpensAnotherFormat,
    GivesAnotherFormat,
    SharesOneState,
    TakesAnything,
    MixesUpABatch,
}

/// Sums of 1000 samples each.
#[derive(Clone, Copy, Debug)]
struct Sums(Wrong);

const SIZE: usize = 1000;

fn format(size: usize) -> Format {
    Format::Tensor { dtype: Some(DType::F32), shape: SymbolicShape::known(&[size]) }
}

fn rate() -> Rate {
    Rate::hz(16_000).unwrap()
}

impl Blueprint for Sums {
    fn contract(&self) -> Contract {
        let batch = BatchPolicy { max: 8, wait: TimeSpan::ZERO };
        Contract::new().input("audio", Format::audio(Some(rate()), Some(1))).output("sums").batch(batch)
    }

    fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(vec![format(1)])
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(SumsStage { wrong: self.0, shared: Vec::new() }))
    }
}

struct SumsStage {
    wrong: Wrong,
    shared: Vec<f32>,
}

struct State {
    timeline: Timeline,
    held: Vec<f32>,
    given: u64,
}

impl Stage for SumsStage {
    type State = State;

    fn open(&mut self, _: &StreamInfo, _: &[Format]) -> Result<Opened<State>, StageError> {
        let size = if self.wrong == Wrong::OpensAnotherFormat { 2 } else { 1 };
        let state = State { timeline: Timeline::new(rate()), held: Vec::new(), given: 0 };
        Ok(Opened { state, outputs: vec![format(size)] })
    }

    fn process(&mut self, state: &mut State, input: Input, out: &mut Output) -> Result<(), StageError> {
        let taken = Format::audio(Some(rate()), Some(1)).accepts(&input.packet.payload.format());
        match taken {
            Err(_) if self.wrong == Wrong::TakesAnything => return Ok(()),
            taken => taken.map_err(StageError::skip)?,
        }
        let audio = input.packet.payload.audio()?;
        let seen = self.wrong != Wrong::SeesGapsInLongPacketsOnly || audio.frames() > 1000;
        if seen && state.timeline.follows_packet(&input.packet) == Continuity::Gap {
            self.flush(state, out)?;
        }
        state.timeline.accept_packet(&input.packet, audio.frames());
        let held = if self.wrong == Wrong::SharesOneState { &mut self.shared } else { &mut state.held };
        held.extend_from_slice(audio.samples());
        let by_packet =
            self.wrong == Wrong::GivesByPacket || self.wrong == Wrong::CountsEmptyPackets && held.is_empty();
        while held.len() >= SIZE || by_packet {
            let sum = held.drain(..held.len().min(SIZE)).sum();
            give(self.wrong, state.timeline.time_of(state.given * SIZE as u64), sum, out);
            state.given += 1;
            if by_packet {
                break;
            }
        }
        Ok(())
    }

    fn process_batch(&mut self, items: &mut [Item<'_, State>]) {
        if self.wrong == Wrong::MixesUpABatch
            && let [first, .., last] = items
        {
            std::mem::swap(&mut first.input.packet.payload, &mut last.input.packet.payload);
        }
        for item in items {
            item.result = self.process(item.state, item.input.clone(), item.out);
        }
    }

    fn flush(&mut self, state: &mut State, out: &mut Output) -> Result<(), StageError> {
        let sum = state.held.drain(..).sum();
        give(self.wrong, state.timeline.time_of(state.given * SIZE as u64), sum, out);
        state.given = 0;
        Ok(())
    }

    fn hold_back(&self, state: &State) -> Option<Timestamp> {
        let next = || state.timeline.time_of(state.given * SIZE as u64);
        (self.wrong != Wrong::HoldsBackTooLittle && state.timeline.has_begun()).then(next)
    }
}

fn give(wrong: Wrong, start: Timestamp, sum: f32, out: &mut Output) {
    let values = if wrong == Wrong::GivesAnotherFormat { vec![sum; 2] } else { vec![sum] };
    let start = if wrong == Wrong::GoesBackInTime { Timestamp::ZERO - start.since(Timestamp::ZERO) } else { start };
    out.emit(0, Draft::new(start, TimeSpan::from_millis(1), Tensor::from_vec(values)));
}

type Promise = (&'static str, fn(&Subject));

const PROMISES: &[Promise] = &[
    ("formats", promises::check_solves_what_open_gives),
    ("chunking", promises::chunking),
    ("random chunking", promises::random_chunking),
    ("gaps", promises::chunking_around_a_gap),
    ("empty packets", promises::empty_packets),
    ("reset", promises::reset_and_replay),
    ("isolation", promises::isolation),
    ("wrong payloads", promises::wrong_payloads),
    ("batching", promises::batching),
];

/// The promises that the stage breaks.
fn broken(wrong: Wrong) -> Vec<&'static str> {
    let make = Rc::new(move |_: &std::path::Path| Box::new(Sums(wrong)) as Box<dyn Blueprint>);
    let subject = Subject::new(Role::Decoder, "sums", &[Format::audio(Some(rate()), Some(1))], make);
    let breaks = |promise: fn(&Subject)| catch_unwind(AssertUnwindSafe(|| promise(&subject))).is_err();
    PROMISES.iter().filter(|(_, promise)| breaks(*promise)).map(|(name, _)| *name).collect()
}

#[test]
fn a_right_stage_breaks_no_promise() {
    assert_eq!(broken(Wrong::Nothing), [""; 0]);
}

#[test]
fn each_fault_is_seen() {
    // The order, the watermark and the formats are held to in every run.
    let every_run = ["chunking", "random chunking", "gaps", "empty packets", "reset", "isolation"];
    for (wrong, breaks) in [
        (Wrong::GivesByPacket, &["chunking", "random chunking", "gaps", "empty packets"][..]),
        (Wrong::CountsEmptyPackets, &["empty packets"]),
        (Wrong::SeesGapsInLongPacketsOnly, &["gaps"]),
        (Wrong::GoesBackInTime, &every_run),
        (Wrong::HoldsBackTooLittle, &["chunking", "isolation"]),
        (Wrong::OpensAnotherFormat, &["formats"]),
        (Wrong::OpensAnotherFormat, &every_run),
        (Wrong::GivesAnotherFormat, &every_run),
        (Wrong::SharesOneState, &["reset", "isolation"]),
        (Wrong::TakesAnything, &["wrong payloads"]),
        (Wrong::MixesUpABatch, &["batching"]),
    ] {
        let broken = broken(wrong);
        for promise in breaks {
            assert!(broken.contains(promise), "{wrong:?}: `{promise}` did not see it, only {broken:?} did");
        }
    }
}
