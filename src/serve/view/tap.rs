//! The stage that a page looks through: it reads one output on a link of its own, and writes nothing.

use std::sync::Arc;

use super::board::Board;
use super::outline::{PortOutline, Shows};
use crate::media::{Format, StreamInfo};
use crate::pipeline::{LinkSettings, Overflow, Plan, PlannedLink, PlannedStage};
use crate::stage::{Blueprint, Contract, ContractFault, Input, Opened, Output, Role, Runnable, Stage, StageError};

/// Adds to the plan the look into `port`, the board's `place`th. Gives the new stage's id.
///
/// It belongs to the stage that it looks into: given up where it fails, while that one goes on. It is no sink: a run
/// whose last sink has gone is over, whoever looks.
pub(super) fn add(plan: &mut Plan, place: usize, port: &PortOutline, board: &Arc<Board>) -> Arc<str> {
    let id: Arc<str> = format!("{}.view", port.name).into();
    let tap = Tap { place, board: board.clone() };
    plan.stages.push(PlannedStage {
        id: id.clone(),
        role: Role::Decoder,
        kind: "view".to_owned(),
        contract: tap.contract(),
        blueprint: Arc::new(tap),
        owner: Some((port.from.0, "a look")),
    });
    let (queue, overflow) = match port.shows {
        Shows::Pictures => (1, Overflow::Latest),
        _ => (256, Overflow::DropOldest),
    };
    let settings = LinkSettings { queue, overflow, ..LinkSettings::default() };
    plan.links.push(PlannedLink { from: port.from, to: (plan.stages.len() - 1, 0), settings });
    id
}

#[derive(Debug)]
struct Tap {
    place: usize,
    board: Arc<Board>,
}

impl Blueprint for Tap {
    fn contract(&self) -> Contract {
        // Microseconds: see the board.
        Contract::new().input("in", Format::Any).inline()
    }

    fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(Vec::new())
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(Looking { place: self.place, board: self.board.clone() }))
    }
}

struct Looking {
    place: usize,
    board: Arc<Board>,
}

impl Stage for Looking {
    type State = StreamInfo;

    fn open(&mut self, stream: &StreamInfo, _: &[Format]) -> Result<Opened<StreamInfo>, StageError> {
        Ok(Opened { state: stream.clone(), outputs: Vec::new() })
    }

    fn process(&mut self, stream: &mut StreamInfo, input: Input, _: &mut Output) -> Result<(), StageError> {
        self.board.see(self.place, stream, &input.packet);
        Ok(())
    }
}
