//! The head that every packet of a record has in front of its payload.

use super::cursor::{Cursor, Malformed};
use super::payload::{place, put_place};
use crate::media::{Flags, Origin, Packet, View};
use crate::units::{TimeSpan, Timestamp};

/// The encoding of packets, as channels name it.
pub(super) const PACKET_ENCODING: &str = "percept";

/// How the head lies, as every schema says it.
pub(super) const HEAD_LAYOUT: &str = "A packet of percept, version 1. All numbers are little-endian and follow each other \
without padding. text is a length u32 in bytes and UTF-8; option is a byte 0, or a byte 1 and the value; list is a count \
u32 and the values.
head: stream u32, sequence u64, start i64 ns, duration i64 ns, origin_sequence u64, origin_part u32, origin_of u32, \
revision u32, weights u32, flags u8 (1 gap, 2 partial, 4 expected_final, 8 late, 16 view), classes u32 (number of the \
list of names, 0 for none); with the flag view: width u32, height u32, to_frame f64 x 6, frame_width u32, frame_height u32
payload:";

/// The number of a packet's stream, its head without payload and classes, and the number of its list of classes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub stream: u32,
    pub sequence: u64,
    pub start: Timestamp,
    pub duration: TimeSpan,
    pub origin: Origin,
    pub flags: Flags,
    pub revision: u32,
    pub weights: u32,
    pub classes: u32,
    pub view: Option<View>,
}

/// The flag of a head that a view ends.
const VIEW: u8 = 1 << 4;

/// Writes the head of a packet.
pub(super) fn put_head(out: &mut Vec<u8>, stream: u32, packet: &Packet, classes: u32) {
    let Flags { gap, partial, expected_final, late } = packet.flags;
    out.extend(stream.to_le_bytes());
    out.extend(packet.sequence.to_le_bytes());
    out.extend(packet.start.as_nanos().to_le_bytes());
    out.extend(packet.duration.as_nanos().to_le_bytes());
    out.extend(packet.origin.sequence.to_le_bytes());
    out.extend(packet.origin.part.to_le_bytes());
    out.extend(packet.origin.of.to_le_bytes());
    out.extend(packet.revision.to_le_bytes());
    out.extend(packet.weights.to_le_bytes());
    let flags = u8::from(gap) | u8::from(partial) << 1 | u8::from(expected_final) << 2 | u8::from(late) << 3;
    out.push(flags | if packet.view.is_some() { VIEW } else { 0 });
    out.extend(classes.to_le_bytes());
    if let Some(view) = &packet.view {
        out.extend(view.width.to_le_bytes());
        out.extend(view.height.to_le_bytes());
        put_place(out, &view.place);
    }
}

impl Head {
    /// Reads a head; the payload is left.
    pub(super) fn read(bytes: &mut Cursor<'_>) -> Result<Head, Malformed> {
        let stream = bytes.u32()?;
        let sequence = bytes.u64()?;
        let start = Timestamp::from_nanos(bytes.i64()?);
        let duration = TimeSpan::from_nanos(bytes.i64()?);
        let origin = Origin { sequence: bytes.u64()?, part: bytes.u32()?, of: bytes.u32()? };
        let (revision, weights, flags) = (bytes.u32()?, bytes.u32()?, bytes.u8()?);
        if flags > 0b1_1111 {
            return Err(Malformed(format!("expected flags below 32, found {flags}")));
        }
        let has_view = flags & VIEW != 0;
        let bit = |place: u8| flags >> place & 1 == 1;
        let flags = Flags { gap: bit(0), partial: bit(1), expected_final: bit(2), late: bit(3) };
        let classes = bytes.u32()?;
        let view = match has_view {
            true => Some(View { width: bytes.u32()?, height: bytes.u32()?, place: place(bytes)? }),
            false => None,
        };
        Ok(Head { stream, sequence, start, duration, origin, flags, revision, weights, classes, view })
    }
}
