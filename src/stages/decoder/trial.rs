//! One stream through one decoder, for the tests of the kinds.

use std::sync::Arc;

use crate::config::{Source, parse};
use crate::media::{Format, Packet, Payload, Regions, StreamId, StreamInfo, View};
use crate::stage::{Blueprint, Kind, ReadContext, Settings, Solo};
use crate::tensor::Tensor;
use crate::units::{ClockInstant, TimeSpan, Timestamp};

/// The stage that `kind` reads from its own keys, in the folder of the repository, or its faults as text.
pub(super) fn read(kind: &Kind, yaml: &str) -> Result<Box<dyn Blueprint>, String> {
    let source = Source::new("test.yaml", if yaml.is_empty() { "{}" } else { yaml });
    let node = parse(&source).map_err(|faults| faults.to_string())?;
    let settings = Settings { base_dir: env!("CARGO_MANIFEST_DIR").into(), ..Settings::default() };
    let context = ReadContext { node: &node, model: None, source: &source, settings: &settings };
    (kind.read)(&context).map_err(|faults| faults.to_string())
}

/// The stage with an open stream whose ports carry what its contract says.
pub(super) fn open(blueprint: &dyn Blueprint) -> Solo {
    let formats: Vec<Format> = blueprint.contract().inputs.into_iter().map(|port| port.format).collect();
    let stream = StreamInfo {
        id: StreamId(0),
        name: "trial".into(),
        group: "trial".into(),
        live: false,
        zero: ClockInstant::default(),
        wall: None,
        file: None,
    };
    Solo::open(blueprint, stream, formats).unwrap()
}

/// A packet that starts at this millisecond.
pub(super) fn packet(millis: i64, payload: impl Into<Payload>) -> Packet {
    let start = Timestamp::ZERO + TimeSpan::from_millis(millis);
    Packet::new(StreamId(0), start, TimeSpan::from_millis(1), payload)
}

/// A packet of numbers made of a picture.
pub(super) fn seen(millis: i64, shape: &[usize], values: Vec<f32>, view: View) -> Packet {
    let tensor = Tensor::new(shape.to_vec(), values).unwrap();
    Packet { view: Some(Arc::new(view)), ..packet(millis, tensor) }
}

/// The regions of the only packet.
pub(super) fn regions(found: &[(usize, Packet)]) -> &Regions {
    let [(0, packet)] = found else { panic!("one packet was expected: {found:?}") };
    packet.payload.regions().unwrap()
}
