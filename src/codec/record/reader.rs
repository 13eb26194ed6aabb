//! Reading a record from its beginning to its end.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::cursor::{Cursor, Malformed};
use super::frames::{Frame, Frames, HEAD, op};
use super::packets::Head;
use super::payload::{self, Kind};
use super::streams::{RecordedStream, StreamEvent, wall_of};
use super::{PROFILE, RecordError, STREAM_SCHEMA, VERSION};
use crate::media::{Classes, Format, Packet, StreamId};
use crate::units::ClockInstant;

/// What comes next in a record.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RecordItem {
    /// A stream begins; or one that has begun before goes on in other formats, and starts may begin anew.
    Open {
        /// Its number in the record.
        stream: u32,
        /// What is known of it.
        info: Arc<RecordedStream>,
        /// A format for each port.
        formats: Vec<Format>,
    },
    /// A packet; its stream is the number in the record.
    Packet {
        /// The place of its port among the record's.
        port: usize,
        /// The packet.
        packet: Packet,
    },
    /// A stream ends, unless it opens again.
    Close {
        /// Its number in the record.
        stream: u32,
        /// Whether it ended before its end.
        failed: bool,
    },
}

/// Reads a record item by item. After an error nothing more comes, and whatever came before stays good.
///
/// A file that was cut off gives every item that is whole, then [`RecordError::Cut`]. Lengths in the file are not trusted:
/// memory grows with what is there.
#[derive(Debug)]
pub struct RecordReader<R> {
    frames: Frames<R>,
    tables: Tables,
    chunk: Option<OpenChunk>,
    /// Where the last whole thing ends.
    whole: u64,
    done: bool,
}

#[derive(Debug)]
struct OpenChunk {
    /// The records, and where they begin in the file.
    records: Vec<u8>,
    at: u64,
    /// How far they were read.
    read: usize,
    /// Whether the file ends within it.
    cut: bool,
}

/// What the messages of a record refer to.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    /// The names of the schemas that say something to us, by number; `None` for those of others.
    schemas: HashMap<u16, Schema>,
    channels: HashMap<u16, Channel>,
    pub ports: Vec<String>,
    pub classes: Vec<Classes>,
    pub streams: Vec<Arc<RecordedStream>>,
    begun: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Schema {
    Streams,
    Packets(Kind),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Channel {
    Streams,
    Packets { port: usize, kind: Kind },
}

/// A message as it lies in the file.
#[derive(Debug)]
pub(super) enum Raw<'a> {
    Event(StreamEvent),
    /// Where the packet's bytes begin, what they hold, and the bytes.
    Packet {
        at: u64,
        port: usize,
        kind: Kind,
        bytes: &'a [u8],
    },
}

/// What is wrong, before it has a place.
enum Wrong {
    Here(Malformed),
    Version(u64),
}

impl From<Malformed> for Wrong {
    fn from(malformed: Malformed) -> Self {
        Wrong::Here(malformed)
    }
}

impl RecordReader<File> {
    /// Reads the record at `path`.
    pub fn open(path: &Path) -> Result<Self, RecordError> {
        let file = File::open(path).map_err(|source| RecordError::Read { path: path.to_owned(), source })?;
        RecordReader::new(file, path)
    }
}

impl<R: Read> RecordReader<R> {
    /// Reads a record from `input`; `path` stands in messages.
    pub fn new(input: R, path: &Path) -> Result<Self, RecordError> {
        let mut frames = Frames::new(input, path.to_owned())?;
        let foreign = |profile: &str| RecordError::Foreign { path: path.to_owned(), profile: profile.to_owned() };
        let header = frames.next()?;
        let Some(header) = header.filter(|frame| frame.content.len() as u64 == frame.length) else {
            return Err(RecordError::Cut { path: path.to_owned(), at: frames.at() });
        };
        let profile = Cursor::new(&header.content).text().unwrap_or("not even text");
        if header.opcode != op::HEADER || profile != PROFILE {
            return Err(foreign(profile));
        }
        let whole = frames.at();
        let mut reader = RecordReader { frames, tables: Tables::default(), chunk: None, whole, done: false };
        // The first message names the ports.
        while !reader.tables.begun {
            match reader.raw() {
                Ok(Some(Raw::Event(event @ StreamEvent::Record { .. }))) => {
                    reader.tables.take(&event).map_err(|wrong| reader.wrong(whole, wrong))?;
                }
                Ok(_) => return Err(foreign(PROFILE)),
                Err(error) => return Err(error),
            }
        }
        Ok(reader)
    }

    /// The names of the recorded ports.
    pub fn ports(&self) -> &[String] {
        &self.tables.ports
    }

    /// The next item; `None` at the end of a whole record, and after an error.
    #[allow(clippy::should_implement_trait, reason = "an iterator would hide that errors end it")]
    pub fn next(&mut self) -> Result<Option<RecordItem>, RecordError> {
        loop {
            // A raw packet borrows the chunk, so what is decoded of it is decoded here.
            let (at, event) = match self.raw()? {
                None => return Ok(None),
                Some(Raw::Event(event)) => (self.whole, event),
                Some(Raw::Packet { at, port, kind, bytes }) => {
                    let bytes = bytes.to_vec();
                    return match self.tables.packet(kind, &bytes) {
                        Ok(packet) => Ok(Some(RecordItem::Packet { port, packet })),
                        Err(malformed) => Err(self.wrong(at, malformed.into())),
                    };
                }
            };
            if let Some(item) = self.tables.take(&event).map_err(|wrong| self.wrong(at, wrong))? {
                return Ok(Some(item));
            }
        }
    }

    /// The next message.
    pub(super) fn raw(&mut self) -> Result<Option<Raw<'_>>, RecordError> {
        match self.find() {
            Ok(None) => {
                self.done = true;
                Ok(None)
            }
            Err(error) => {
                self.done = true;
                Err(error)
            }
            Ok(Some((channel, start, end))) => {
                let chunk = self.chunk.as_ref().expect("a message was found in it");
                let at = chunk.at + start as u64;
                let bytes = &chunk.records[start..end];
                match channel {
                    Channel::Packets { port, kind } => Ok(Some(Raw::Packet { at, port, kind, bytes })),
                    Channel::Streams => match serde_json::from_slice(bytes) {
                        Ok(event) => Ok(Some(Raw::Event(event))),
                        Err(error) => {
                            self.done = true;
                            Err(self.frames.damaged(at, format!("expected an event of a stream: {error}")))
                        }
                    },
                }
            }
        }
    }

    pub(super) fn tables(&mut self) -> &mut Tables {
        &mut self.tables
    }

    pub(super) fn into_tables(self) -> Tables {
        self.tables
    }

    /// Takes note of an event, at the place of which a fault of it is told.
    pub(super) fn take(&mut self, event: &StreamEvent) -> Result<Option<RecordItem>, RecordError> {
        let at = self.whole;
        self.tables.take(event).map_err(|wrong| self.wrong(at, wrong))
    }

    fn wrong(&mut self, at: u64, wrong: Wrong) -> RecordError {
        self.done = true;
        match wrong {
            Wrong::Here(Malformed(detail)) => self.frames.damaged(at, detail),
            Wrong::Version(found) => RecordError::Version { path: self.frames.path.clone(), found },
        }
    }

    fn cut(&self) -> RecordError {
        RecordError::Cut { path: self.frames.path.clone(), at: self.whole }
    }

    /// The channel of the next message of ours, and where in the open chunk its content begins and ends.
    fn find(&mut self) -> Result<Option<(Channel, usize, usize)>, RecordError> {
        if self.done {
            return Ok(None);
        }
        loop {
            let Some(chunk) = &mut self.chunk else {
                match self.frames.next()? {
                    None => return Err(self.cut()),
                    Some(frame) if frame.opcode == op::CHUNK => self.chunk = Some(self.open_chunk(frame)?),
                    Some(frame) if (frame.content.len() as u64) < frame.length => return Err(self.cut()),
                    Some(frame) if frame.opcode == op::DATA_END => return Ok(None),
                    // A record outside of chunks, as another program may have written it, is a chunk of its own.
                    Some(frame) if matches!(frame.opcode, op::SCHEMA | op::CHANNEL | op::MESSAGE) => {
                        let mut records = vec![frame.opcode];
                        records.extend(frame.length.to_le_bytes());
                        records.extend_from_slice(&frame.content);
                        let at = frame.at - HEAD as u64;
                        self.chunk = Some(OpenChunk { records, at, read: 0, cut: false });
                    }
                    Some(_) => self.whole = self.frames.at(),
                }
                continue;
            };
            let rest = &chunk.records[chunk.read..];
            let at = chunk.at + chunk.read as u64;
            let record = match rest.split_at_checked(HEAD) {
                Some((head, content)) => {
                    let length = head[1..].iter().rev().fold(0, |length, byte| length << 8 | u64::from(*byte));
                    let content = usize::try_from(length).ok().and_then(|length| content.get(..length));
                    content.map(|content| (head[0], content))
                }
                None => None,
            };
            let Some((opcode, content)) = record else {
                if chunk.cut {
                    return Err(self.cut());
                }
                if !rest.is_empty() {
                    return Err(self.frames.damaged(at, "a record that reaches beyond the end of its chunk"));
                }
                self.whole = chunk.at + chunk.records.len() as u64;
                self.chunk = None;
                continue;
            };
            let (start, end) = (chunk.read + HEAD, chunk.read + HEAD + content.len());
            let found = self.tables.record(opcode, content);
            chunk.read = end;
            self.whole = chunk.at + end as u64;
            match found {
                Ok(Some((channel, skip))) => return Ok(Some((channel, start + skip, end))),
                Ok(None) => {}
                Err(Malformed(detail)) => return Err(self.frames.damaged(at, detail)),
            }
        }
    }

    /// The records of a chunk, with their checksum held.
    fn open_chunk(&self, frame: Frame) -> Result<OpenChunk, RecordError> {
        let damaged = |Malformed(detail)| self.frames.damaged(frame.at, detail);
        let cut = (frame.content.len() as u64) < frame.length;
        let mut bytes = Cursor::new(&frame.content);
        let mut head = || -> Result<_, Malformed> {
            let (_, _, length, sum) = (bytes.u64()?, bytes.u64()?, bytes.u64()?, bytes.u32()?);
            let compression = bytes.text()?;
            Ok((length, sum, compression, bytes.u64()?))
        };
        let (length, sum, compression, stored) = match head() {
            Ok(head) => head,
            Err(_) if cut => return Err(self.cut()),
            Err(malformed) => return Err(damaged(malformed)),
        };
        if !compression.is_empty() {
            let path = self.frames.path.clone();
            return Err(RecordError::Compressed { path, how: compression.escape_default().take(32).collect() });
        }
        let start = frame.content.len() - bytes.len();
        let here = bytes.len() as u64;
        let expected = frame.length - start as u64;
        if length != stored || stored != expected {
            let detail = format!("a chunk of {expected} bytes says that it holds {length} of {stored}");
            return Err(damaged(Malformed(detail)));
        }
        let mut records = frame.content;
        records.drain(..start);
        let found = crc32fast::hash(&records);
        if here == expected && sum != 0 && found != sum {
            let detail = format!("expected the checksum {sum:08x}, found {found:08x}");
            return Err(self.frames.damaged(frame.at, detail));
        }
        Ok(OpenChunk { records, at: frame.at + start as u64, read: 0, cut })
    }
}

impl Tables {
    /// Takes note of a record within a chunk. For a message of ours: its channel, and where its content begins.
    fn record(&mut self, opcode: u8, content: &[u8]) -> Result<Option<(Channel, usize)>, Malformed> {
        let mut bytes = Cursor::new(content);
        match opcode {
            op::SCHEMA => {
                let (id, name) = (bytes.u16()?, bytes.text()?);
                let schema = match name {
                    STREAM_SCHEMA => Some(Schema::Streams),
                    name => Kind::from_schema(name).map(Schema::Packets),
                };
                if let Some(schema) = schema {
                    let known = self.schemas.insert(id, schema);
                    if known.is_some_and(|known| known != schema) {
                        return Err(Malformed(format!("two schemas have the number {id}")));
                    }
                }
            }
            op::CHANNEL => {
                let (id, schema, topic) = (bytes.u16()?, bytes.u16()?, bytes.text()?);
                let channel = match self.schemas.get(&schema) {
                    None => return Ok(None),
                    Some(Schema::Streams) => Channel::Streams,
                    Some(Schema::Packets(kind)) => {
                        let port = self.ports.iter().position(|port| port == topic);
                        let port = port.ok_or_else(|| Malformed(format!("a channel of a port `{topic}`")))?;
                        Channel::Packets { port, kind: *kind }
                    }
                };
                let known = self.channels.insert(id, channel);
                if known.is_some_and(|known| known != channel) {
                    return Err(Malformed(format!("two channels have the number {id}")));
                }
            }
            op::MESSAGE => {
                let channel = self.channels.get(&bytes.u16()?).copied();
                bytes.take(4 + 8 + 8)?;
                return Ok(channel.map(|channel| (channel, content.len() - bytes.len())));
            }
            _ => {}
        }
        Ok(None)
    }

    /// Takes note of an event.
    fn take(&mut self, event: &StreamEvent) -> Result<Option<RecordItem>, Wrong> {
        let wrong = |detail: String| Wrong::Here(Malformed(detail));
        match event {
            StreamEvent::Record { version, ports } => {
                if *version != VERSION {
                    return Err(Wrong::Version(*version));
                }
                if std::mem::replace(&mut self.begun, true) {
                    return Err(wrong("a second beginning".into()));
                }
                self.ports.clone_from(ports);
                Ok(None)
            }
            StreamEvent::Classes { number, names } => {
                if *number as usize != self.classes.len() + 1 {
                    return Err(wrong(format!("a list of classes with the number {number} out of order")));
                }
                self.classes.push(Classes::new(names.iter().map(|name| Arc::from(name.as_str()))));
                Ok(None)
            }
            StreamEvent::Open { stream, name, group, live, zero_ns, wall_ns, file, formats } => {
                let formats = formats.iter().map(|format| format.format()).collect::<Result<Vec<_>, _>>();
                let formats = formats.map_err(wrong)?;
                if formats.len() != self.ports.len() {
                    return Err(wrong(format!("{} formats for {} ports", formats.len(), self.ports.len())));
                }
                let info = Arc::new(RecordedStream {
                    name: name.as_str().into(),
                    group: group.as_str().into(),
                    live: *live,
                    zero: ClockInstant::from_nanos(*zero_ns),
                    wall: wall_ns.map(wall_of),
                    file: file.as_deref().map(|file| Path::new(file).into()),
                });
                let place = *stream as usize;
                match self.streams.get(place) {
                    Some(known) => Ok(Some(RecordItem::Open { stream: *stream, info: known.clone(), formats })),
                    None if place == self.streams.len() => {
                        self.streams.push(info.clone());
                        Ok(Some(RecordItem::Open { stream: *stream, info, formats }))
                    }
                    None => Err(wrong(format!("a stream with the number {stream} out of order"))),
                }
            }
            StreamEvent::Close { stream, failed } => {
                if *stream as usize >= self.streams.len() {
                    return Err(wrong(format!("the end of a stream {stream} that never opened")));
                }
                Ok(Some(RecordItem::Close { stream: *stream, failed: *failed }))
            }
        }
    }

    /// The packet in these bytes.
    pub(super) fn packet(&self, kind: Kind, bytes: &[u8]) -> Result<Packet, Malformed> {
        let mut bytes = Cursor::new(bytes);
        let head = Head::read(&mut bytes)?;
        self.holds(&head)?;
        let payload = payload::get(kind, &mut bytes)?;
        let mut packet = Packet::new(StreamId(head.stream), head.start, head.duration, payload);
        (packet.sequence, packet.origin, packet.flags) = (head.sequence, head.origin, head.flags);
        (packet.revision, packet.weights) = (head.revision, head.weights);
        packet.view = head.view.map(Arc::new);
        packet.classes = (head.classes as usize).checked_sub(1).and_then(|place| self.classes.get(place)).cloned();
        Ok(packet)
    }

    /// Whether there is all that a packet refers to.
    pub(super) fn holds(&self, head: &Head) -> Result<(), Malformed> {
        if head.stream as usize >= self.streams.len() {
            return Err(Malformed(format!("a packet of a stream {} that never opened", head.stream)));
        }
        if head.classes as usize > self.classes.len() {
            return Err(Malformed(format!("a packet with the list of classes {}, which is not there", head.classes)));
        }
        Ok(())
    }
}
