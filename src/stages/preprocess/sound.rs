//! What the kinds that read sound have in common: the format of a stream, and the checks of its packets.

use super::PreprocessError;
use crate::media::{Audio, Format, Packet, Payload};
use crate::stage::{Blueprint, ContractFault, Draft, StageError};
use crate::units::Rate;

/// The name of the port that carries sound.
pub(super) const AUDIO: &str = "audio";

/// The format of one stream of sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sound {
    /// Frames per second.
    pub rate: Rate,
    /// Samples per frame.
    pub channels: u16,
}

impl Sound {
    /// The sound of a stream that opens with `inputs`, and the formats that `blueprint` gives for it. Fails where the
    /// blueprint refuses it, as check does, and where it is not known whole.
    pub fn open(blueprint: &impl Blueprint, inputs: &[Format]) -> Result<(Sound, Vec<Format>), PreprocessError> {
        let outputs = formats_at_open(blueprint, inputs)?;
        match inputs {
            [Format::Audio { sample_rate: Some(rate), channels: Some(channels) }] => {
                Ok((Sound { rate: *rate, channels: *channels }, outputs))
            }
            _ => Err(PreprocessError::Stream {
                port: AUDIO.into(),
                expected: "audio of a known rate and number of channels".into(),
                found: inputs.first().unwrap_or(&Format::Any).to_string(),
                help: None,
            }),
        }
    }

    /// The sound of a packet; fails when it is something else, or sound of another format.
    pub fn of<'a>(&self, packet: &'a Packet) -> Result<&'a Audio, StageError> {
        let audio = packet.payload.audio()?;
        if audio.rate() != self.rate || audio.channels() != self.channels {
            let (expected, found) = (Format::audio(Some(self.rate), Some(self.channels)), packet.payload.format());
            return Err(PreprocessError::Packet { expected, found }.into());
        }
        Ok(audio)
    }

    /// [`of`](Self::of) for stages that join packets: partial results, which overlap, are refused too.
    pub fn contiguous<'a>(&self, packet: &'a Packet) -> Result<&'a Audio, StageError> {
        let audio = self.of(packet)?;
        if packet.flags.partial { Err(PreprocessError::PartialSound.into()) } else { Ok(audio) }
    }
}

/// The formats that `blueprint` gives for a stream that opens with `inputs`; its first fault is the error.
pub(super) fn formats_at_open(blueprint: &impl Blueprint, inputs: &[Format]) -> Result<Vec<Format>, PreprocessError> {
    blueprint.outputs(inputs).map_err(|faults| match faults.into_iter().next() {
        Some(fault) => fault.into(),
        None => fault(AUDIO, "a format that the stage takes", inputs.first().unwrap_or(&Format::Any), None).into(),
    })
}

/// What is known of the sound on the first input port.
pub(super) fn known_sound(inputs: &[Format]) -> (Option<Rate>, Option<u16>) {
    match inputs.first() {
        Some(Format::Audio { sample_rate, channels }) => (*sample_rate, *channels),
        _ => (None, None),
    }
}

/// The rate in whole hertz, when it is that.
pub(super) fn whole_hz(rate: Rate) -> Option<u32> {
    let hz = rate.as_hz();
    (hz.fract() == 0.0 && hz <= f64::from(u32::MAX)).then_some(hz as u32)
}

/// A fault of an input port.
pub(super) fn fault(
    port: &str,
    expected: impl Into<String>,
    found: impl ToString,
    help: Option<String>,
) -> ContractFault {
    ContractFault { port: port.into(), expected: expected.into(), found: found.to_string(), help }
}

/// A draft with the time and the marks of `packet` and another payload: for stages that give a packet for a packet.
pub(super) fn mirrored(packet: &Packet, payload: impl Into<Payload>) -> Draft {
    let mut draft = Draft::new(packet.start, packet.duration, payload).revision(packet.revision);
    draft.flags = packet.flags;
    draft.weights = packet.weights;
    draft.classes = packet.classes.clone();
    draft.view = packet.view.clone();
    draft
}
