//! A stage run by itself: no actors, no links, no clock. For tests, and for preparing data with the code that serves it.

use thiserror::Error;

use super::{AnyState, Blueprint, Input, Opened, Output, PortIndex, Runnable, StageError, StageObject};
use crate::media::{Format, Origin, Packet, StreamInfo};
use crate::units::Timestamp;

/// Runs one stage on one stream, synchronously.
///
/// The caller feeds packets in order of their start, as the runtime would.
pub struct Solo {
    stage: StageObject,
    stream: StreamInfo,
    inputs: Vec<Format>,
    state: AnyState,
    outputs: Vec<Format>,
    sequences: Vec<u64>,
    out: Output,
}

/// Why a stage cannot be run by itself.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SoloError {
    /// A capture takes no packets.
    #[error("expected a stage that takes packets, found a capture")]
    IsCapture,
    /// The stage's own error.
    #[error(transparent)]
    Stage(#[from] StageError),
}

impl Solo {
    /// Builds the stage and opens `stream` with these formats on its input ports.
    pub fn open(blueprint: &dyn Blueprint, stream: StreamInfo, inputs: Vec<Format>) -> Result<Solo, SoloError> {
        let Runnable::Stage(mut stage) = blueprint.build()? else {
            return Err(SoloError::IsCapture);
        };
        let Opened { state, outputs } = stage.open(&stream, &inputs)?;
        let sequences = vec![0; outputs.len()];
        Ok(Solo { stage, stream, inputs, state, outputs, sequences, out: Output::new() })
    }

    /// The formats of its output ports.
    pub fn formats(&self) -> &[Format] {
        &self.outputs
    }

    /// Takes a packet and gives what comes of it, with output ports.
    pub fn push(&mut self, port: PortIndex, packet: Packet) -> Result<Vec<(PortIndex, Packet)>, StageError> {
        let origin = packet.origin;
        let result = self.stage.process(&mut self.state, Input { port, packet }, &mut self.out);
        let packets = self.collect(origin);
        result.map(|()| packets)
    }

    /// Tells it the time.
    pub fn tick(&mut self, now: Timestamp) -> Result<Vec<(PortIndex, Packet)>, StageError> {
        self.stage.tick(&mut self.state, now, &mut self.out)?;
        Ok(self.collect(Origin::default()))
    }

    /// Ends the stream and gives what was left.
    pub fn flush(&mut self) -> Result<Vec<(PortIndex, Packet)>, StageError> {
        self.stage.flush(&mut self.state, &mut self.out)?;
        Ok(self.collect(Origin::default()))
    }

    /// Begins the stream anew, with the same stage.
    pub fn reset(&mut self) -> Result<(), StageError> {
        let Opened { state, outputs } = self.stage.open(&self.stream, &self.inputs)?;
        self.sequences = vec![0; outputs.len()];
        self.state = state;
        self.outputs = outputs;
        Ok(())
    }

    /// The earliest start that a later output may still have, see [`super::Stage::hold_back`].
    pub fn hold_back(&self) -> Option<Timestamp> {
        self.stage.hold_back(&self.state)
    }

    fn collect(&mut self, origin: Origin) -> Vec<(PortIndex, Packet)> {
        let mut packets = Vec::with_capacity(self.out.emitted().len());
        for emitted in self.out.drain_emitted() {
            let mut packet =
                Packet::new(self.stream.id, emitted.draft.start, emitted.draft.duration, emitted.draft.payload);
            packet.flags = emitted.draft.flags;
            packet.revision = emitted.draft.revision;
            packet.weights = emitted.draft.weights;
            packet.classes = emitted.draft.classes;
            packet.view = emitted.draft.view;
            packet.origin = origin;
            if let Some(next) = self.sequences.get_mut(emitted.port) {
                packet.sequence = *next;
                *next += 1;
            }
            packets.push((emitted.port, packet));
        }
        packets
    }
}
