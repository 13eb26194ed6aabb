//! Records: packets of several ports and streams in a file, lossless, with their times.
//!
//! | to | use |
//! |---|---|
//! | write one | [`RecordWriter`] |
//! | read one from beginning to end | [`RecordReader`] |
//! | know its ports before anything is read | [`RecordSummary`] |
//! | read its streams each on its own | [`RecordIndex`], [`RecordedPackets`] |
//!
//! # The file
//!
//! A record is an [MCAP](https://mcap.dev/spec) file, the log format of robotics, so Foxglove, the `mcap` program and its
//! libraries in Python, C++ and other languages open it. Its profile is `percept`. Chunks are not compressed, hold about a
//! mebibyte or a second each, carry a checksum and are followed by their message indexes; the summary at the end has
//! schemas, channels, statistics, chunk indexes and one metadata record, `percept`, with the ports, their formats and the number of streams.
//! Without the summary (a power cut) a record is read all the same, up to its last whole message.
//!
//! * The channel `percept/streams` (encoding `json`, schema `percept.Stream` as a JSON Schema) says which ports there are
//!   (`record`, the first message), when streams open, with which formats, and close (`open`, `close`), and names lists of
//!   classes (`classes`).
//! * Each port is a topic of its own name, with a channel for each type of payload that came on it (encoding `percept`,
//!   schema `percept.Audio`, `percept.Image`, `percept.Tensor`, `percept.Text`, `percept.Transcript`, `percept.Labels`,
//!   `percept.Regions` or `percept.Bytes`).
//! * Messages lie in the order in which they were written. The time of a message is the packet's start, after the time of
//!   day of its stream where that is known; the exact times are in the packet.
//!
//! # A packet
//!
//! All numbers are little-endian and follow each other without padding, so that NaNs keep every bit. *Text* is a length
//! (u32) in bytes and UTF-8, an *option* a byte 0, or a byte 1 and the value, a *list* a count (u32) and the values. The
//! schemas in the file say the same in words.
//!
//! | head | |
//! |---|---|
//! | stream | u32, its number in the record |
//! | sequence | u64 |
//! | start, duration | i64, i64, in nanoseconds |
//! | origin | u64 sequence, u32 part, u32 of |
//! | revision, weights | u32, u32 |
//! | flags | u8: 1 gap, 2 partial, 4 expected final, 8 late, 16 there is a view |
//! | classes | u32, number of the list of names; 0 for none |
//! | view | with that flag only: width u32, height u32, to_frame f64 × 6, frame_width u32, frame_height u32 |
//!
//! | payload | behind the head |
//! |---|---|
//! | Audio | rate u32/u32, channels u16, samples f32 interleaved, to the end |
//! | Image | pixel u8 (1 gray8, 2 rgb8, 3 rgba8), width u32, height u32, to_frame f64 × 6, frame_width u32, frame_height u32, rows of pixels, to the end |
//! | Tensor | dtype u8 (1 f16, 2 bf16, 3 f32, 4 f64, 5 i8, 6 i16, 7 i32, 8 i64, 9 u8, 10 u16, 11 u32, 12 u64, 13 bool, 14 string), rank u32, sizes u64, elements row by row, to the end (bool a byte, string a text) |
//! | Text | text, list of pieces: text, log_probability f32, option start i64, option end i64 |
//! | Transcript | text, is_final u8, utterance u64, option confidence f32, list of pieces |
//! | Labels | list of: index u64, option name text, score f32 |
//! | Regions | frame_width u32, frame_height u32, list of: x y width height score f32, option label, list of outline points f32 × 2, list of keypoints (x y score f32, option name text), option mask (width u32, height u32, to_frame f64 × 6, list of u8), option track u64, option embedding (list of f32) |
//! | Bytes | the bytes, to the end |
//!
//! A payload of the user's own type has no form here and is refused. `examples/read_record.py` reads a record in Python.

mod cursor;
mod error;
mod frames;
mod index;
mod packets;
mod payload;
mod reader;
mod streams;
mod writer;

#[cfg(test)]
mod tests;

pub use error::RecordError;
pub use index::{IndexedStream, PacketPlace, RecordIndex, RecordStep, RecordSummary, RecordedPackets};
pub use reader::{RecordItem, RecordReader};
pub use streams::RecordedStream;
pub use writer::{RecordTarget, RecordWriter};

/// The version of the layout of streams and packets.
const VERSION: u64 = 1;
/// The profile in the header of the file.
const PROFILE: &str = "percept";
/// The topic of what happens to streams, and the name of its schema.
const STREAMS: &str = "percept/streams";
const STREAM_SCHEMA: &str = "percept.Stream";
/// The name of the metadata record with the ports.
const METADATA: &str = "percept";
/// The most bytes of a packet: what a chunk can hold, with room to spare.
const MOST_PACKET: usize = 1 << 29;
