//! Sinks: where results go.
//!
//! | kind | takes | gives |
//! |---|---|---|
//! | [`console`](mod@console) | anything | lines on the terminal, partial results rewritten in place |
//! | [`jsonl`](mod@jsonl) | anything | a JSON object a line |
//! | [`record`](mod@record_file) | anything, on any number of ports | a record, which `capture: replay` plays back |
//! | [`contact_sheet`] | pictures, and their labels | many of them small on one |
//! | [`csv`](mod@csv) | labels, regions, transcripts, text | a table |
//! | [`folder`](mod@folder) | labels of streams read from files | those files, in a folder for each label |
//! | [`subtitles`](mod@subtitles) | transcripts | SRT or WebVTT files |
//! | [`wav`](mod@wav) | audio | wav files |
//! | [`annotate`](mod@annotate) | pictures, and what was found on them | pictures or a video with all that drawn on them |
//! | [`collect`](mod@collect) | anything | packets in the program that runs the pipeline |
//!
//! # Files
//!
//! * A relative path starts at the folder of the pipeline's file (in a program: at the current folder). Folders on the
//!   way are made. `{stream}` in a path becomes the stream's name.
//! * A file that exists when the pipeline first writes it is overwritten. After that nothing is: a stage that was
//!   restarted, or a stream that opened anew, goes on in the file it began, and another stream whose path is taken gets
//!   a number (`talk-2.srt`).
//! * What cannot be written ends the streams that were to be written there, with an error that names the file and says
//!   what to do; the pipeline goes on with the others.

pub mod annotate;
mod claims;
pub mod collect;
mod collect_queue;
pub mod console;
pub mod contact_sheet;
pub mod csv;
mod error;
pub mod folder;
pub mod jsonl;
mod output_file;
mod path;
mod record;
pub mod record_file;
mod screen;
pub mod subtitles;
mod summary;
pub mod wav;

pub use error::SinkError;

use crate::media::{Packet, Payload};
use crate::stage::Kind;

/// The kinds of this role.
pub const KINDS: &[Kind] = &[
    annotate::KIND,
    collect::KIND,
    console::KIND,
    contact_sheet::KIND,
    csv::KIND,
    folder::KIND,
    jsonl::KIND,
    record_file::KIND,
    subtitles::KIND,
    wav::KIND,
];

/// Whether a later revision replaces what the packet says.
fn is_partial(packet: &Packet) -> bool {
    packet.flags.partial || matches!(&packet.payload, Payload::Transcript(transcript) if !transcript.is_final)
}

#[cfg(test)]
mod kit {
    //! Streams, packets and formats for the tests of sinks.

    use std::sync::Arc;

    use crate::media::{Packet, Payload, StreamId, StreamInfo, Transcript};
    use crate::units::{ClockInstant, Timestamp};

    pub fn stream(number: u32, name: &str) -> StreamInfo {
        let name: Arc<str> = name.into();
        StreamInfo {
            id: StreamId(number),
            group: name.clone(),
            name,
            live: false,
            zero: ClockInstant::from_nanos(0),
            wall: None,
            file: None,
        }
    }

    /// A packet from `start` to `end`, in milliseconds.
    pub fn packet(start: i64, end: i64, payload: impl Into<Payload>) -> Packet {
        let start = Timestamp::from_nanos(start * 1_000_000);
        let end = Timestamp::from_nanos(end * 1_000_000);
        Packet::new(StreamId(0), start, end - start, payload)
    }

    pub fn transcript(start: i64, end: i64, text: &str, is_final: bool) -> Packet {
        let transcript =
            Transcript { text: text.into(), is_final, utterance: 0, confidence: None, pieces: Arc::default() };
        let mut packet = packet(start, end, transcript);
        packet.flags.partial = !is_final;
        packet
    }
}
