//! One stream through one stage, for the tests of the kinds.

use crate::config::{Faults, Source, parse};
use crate::media::{Audio, Format, Image, Packet, Payload, PixelFormat, StreamId, StreamInfo};
use crate::stage::{Blueprint, ContractFault, Kind, ReadContext, Settings, Solo, SoloError, StageError};
use crate::units::{ClockInstant, Rate, TimeSpan, Timestamp};

/// A stage with one open stream.
pub(super) struct Trial {
    solo: Solo,
}

impl Trial {
    /// Builds the stage and opens a stream of this format.
    pub fn open(blueprint: &dyn Blueprint, format: Format) -> Result<Trial, SoloError> {
        let stream = StreamInfo {
            id: StreamId(0),
            name: "trial".into(),
            group: "trial".into(),
            live: false,
            zero: ClockInstant::default(),
            wall: None,
            file: None,
        };
        Ok(Trial { solo: Solo::open(blueprint, stream, vec![format])? })
    }

    /// A packet of these interleaved samples that starts at `nanos`.
    pub fn packet(&self, nanos: i64, samples: &[f32], channels: u16, hz: u32) -> Packet {
        let audio = Audio::new(samples.to_vec(), channels, Rate::hz(hz).unwrap()).unwrap();
        let duration = audio.rate().span(0, audio.frames() as u64);
        Packet::new(StreamId(0), Timestamp::from_nanos(nanos), duration, audio)
    }

    /// Takes a packet of sound; gives what comes of it.
    pub fn audio(&mut self, nanos: i64, samples: &[f32], channels: u16, hz: u32) -> Result<Vec<Packet>, StageError> {
        self.push(self.packet(nanos, samples, channels, hz))
    }

    /// Takes a packet of any payload that starts at `nanos` and lasts a millisecond.
    pub fn payload(&mut self, nanos: i64, payload: impl Into<Payload>) -> Result<Vec<Packet>, StageError> {
        self.push(Packet::new(StreamId(0), Timestamp::from_nanos(nanos), TimeSpan::from_millis(1), payload))
    }

    /// Takes a packet; gives what comes of it.
    pub fn push(&mut self, packet: Packet) -> Result<Vec<Packet>, StageError> {
        Ok(self.solo.push(0, packet)?.into_iter().map(|(_, packet)| packet).collect())
    }

    /// Ends the stream; gives what was left.
    pub fn flush(&mut self) -> Vec<Packet> {
        self.solo.flush().unwrap().into_iter().map(|(_, packet)| packet).collect()
    }

    /// The stage's hold-back in nanoseconds.
    pub fn hold_back(&self) -> Option<i64> {
        self.solo.hold_back().map(Timestamp::as_nanos)
    }

    /// The format of its output.
    pub fn format(&self) -> &Format {
        &self.solo.formats()[0]
    }
}

/// A rate of whole hertz.
pub(super) fn hz(hz: u32) -> Option<Rate> {
    Some(Rate::hz(hz).unwrap())
}

/// A picture whose bytes count from 0 on, over and over.
pub(super) fn counting(width: u32, height: u32, format: PixelFormat) -> Image {
    let bytes = width as usize * height as usize * format.bytes();
    Image::new((0..bytes).map(|n| n as u8).collect::<Vec<u8>>(), width, height, format).unwrap()
}

/// The output format for an input format, or the first fault.
pub(super) fn outputs(blueprint: &dyn Blueprint, input: Format) -> Result<Format, ContractFault> {
    match blueprint.outputs(&[input]) {
        Ok(formats) => Ok(formats.into_iter().next().unwrap()),
        Err(faults) => Err(faults.into_iter().next().unwrap()),
    }
}

/// Starts and ends of packets, in nanoseconds.
pub(super) fn times(packets: &[Packet]) -> Vec<(i64, i64)> {
    packets.iter().map(|packet| (packet.start.as_nanos(), packet.end().as_nanos())).collect()
}

/// What `kind` reads from its own keys, in debug form, or its faults.
pub(super) fn read(kind: &Kind, yaml: &str) -> Result<String, Faults> {
    let source = Source::new("test.yaml", yaml);
    let node = parse(&source)?;
    let settings = Settings::default();
    let context = ReadContext { node: &node, model: None, source: &source, settings: &settings };
    (kind.read)(&context).map(|blueprint| format!("{blueprint:?}"))
}

/// The codes of the faults that `kind` finds in its own keys.
pub(super) fn faults(kind: &Kind, yaml: &str) -> Vec<&'static str> {
    read(kind, yaml).map_or_else(|faults| faults.iter().map(|fault| fault.code).collect(), |_| Vec::new())
}
