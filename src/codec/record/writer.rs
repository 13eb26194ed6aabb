//! Writing a record: packets gather in a chunk, and each chunk is one write.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

use crc32fast::Hasher;

use super::RecordError;
use super::cursor::put_text;
use super::frames::{HEAD, MAGIC, op, put_block, put_map, put_record};
use super::packets::{PACKET_ENCODING, put_head};
use super::payload::{self, Kind};
use super::streams::{self, JsonFormat, RecordedStream, StreamEvent, widened};
use super::{METADATA, MOST_PACKET, PROFILE, STREAM_SCHEMA, STREAMS, VERSION};
use crate::media::{Classes, Format, Packet};
use crate::units::Timestamp;

/// A chunk is written when it holds this much.
const CHUNK_BYTES: usize = 1 << 20;
/// Or when the packets in it lie this far apart, in nanoseconds of stream time: so much a power cut costs.
const CHUNK_NANOS: u64 = 1_000_000_000;
/// The most ports.
const MOST_PORTS: usize = 4096;

/// Where a record is written to.
pub trait RecordTarget: Write {
    /// Throws away all that lies behind `length` bytes, and writes on from there.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

impl RecordTarget for File {
    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)?;
        self.seek(SeekFrom::Start(length)).map(|_| ())
    }
}

impl RecordTarget for Vec<u8> {
    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        Ok(())
    }
}

/// Writes a record; see the [module](super) for what it holds.
///
/// Packets are kept in memory until a chunk is full or [`flush`](Self::flush) is called. Each chunk is one write, and one
/// that fails is taken back: the target never ends with half a chunk, and every later call gives the same error.
/// [`finish`](Self::finish) makes the file whole; what is written after that takes the ending away until the next one.
#[derive(Debug)]
pub struct RecordWriter<T> {
    target: T,
    /// Bytes that stay: all but the ending.
    whole: u64,
    /// Their checksum.
    sum: Hasher,
    /// Whether the ending lies behind them.
    ended: bool,
    failed: Option<io::ErrorKind>,
    /// Whether the first message was written.
    begun: bool,
    ports: Vec<Port>,
    kinds: Vec<(Kind, u16)>,
    /// The records of schemas and channels, which the ending repeats; ids count from 1.
    schemas: Vec<Vec<u8>>,
    channels: Vec<Channel>,
    streams: Vec<Stream>,
    classes: Vec<Classes>,
    chunk: Chunk,
    chunks: Vec<ChunkIndex>,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Port {
    name: String,
    /// What all its streams have in common; `None` before the first.
    format: Option<Format>,
    channels: Vec<(Kind, u16)>,
}

#[derive(Debug)]
struct Channel {
    record: Vec<u8>,
    messages: u64,
}

#[derive(Debug)]
struct Stream {
    info: RecordedStream,
    open: bool,
    /// The newest time of a message of it.
    time: u64,
}

#[derive(Debug, Default)]
struct Chunk {
    records: Vec<u8>,
    /// Of its first message, and the least and the greatest of all.
    first: u64,
    from: u64,
    to: u64,
    /// For each channel the times and places of its messages.
    index: BTreeMap<u16, Vec<(u64, u64)>>,
}

#[derive(Debug)]
struct ChunkIndex {
    from: u64,
    to: u64,
    at: u64,
    length: u64,
    /// Where each channel's index lies.
    indexes: Vec<(u16, u64)>,
    indexes_length: u64,
    records_length: u64,
}

impl<T: RecordTarget> RecordWriter<T> {
    /// Begins a record of packets of these ports.
    pub fn new(target: T, ports: &[String]) -> Result<Self, RecordError> {
        let twice = |(at, name): (usize, &String)| ports[..at].contains(name);
        if ports.is_empty() || ports.len() > MOST_PORTS || ports.iter().enumerate().any(twice) {
            return Err(RecordError::Ports { most: MOST_PORTS, found: ports.join(", ") });
        }
        let port = |name: &String| Port { name: name.clone(), format: None, channels: Vec::new() };
        let mut writer = RecordWriter {
            target,
            whole: 0,
            sum: Hasher::new(),
            ended: false,
            failed: None,
            begun: false,
            ports: ports.iter().map(port).collect(),
            kinds: Vec::new(),
            schemas: Vec::new(),
            channels: Vec::new(),
            streams: Vec::new(),
            classes: Vec::new(),
            chunk: Chunk::default(),
            chunks: Vec::new(),
            scratch: Vec::new(),
        };
        let mut head = MAGIC.to_vec();
        put_record(&mut head, op::HEADER, |out| {
            put_text(out, PROFILE);
            put_text(out, concat!("percept ", env!("CARGO_PKG_VERSION")));
        });
        writer.append(&head)?;
        let schema = writer.add_schema(STREAM_SCHEMA, "jsonschema", streams::SCHEMA);
        writer.add_channel(schema, STREAMS, "json", &[]);
        Ok(writer)
    }

    /// Begins a stream with a format for each port, and gives its number in the record.
    pub fn open(&mut self, info: RecordedStream, formats: &[Format]) -> Result<u32, RecordError> {
        let number = self.streams.len() as u32;
        let time = time_of(&info, Timestamp::ZERO);
        self.streams.push(Stream { info, open: false, time });
        self.reopen(number, formats)?;
        Ok(number)
    }

    /// Lets a stream go on in other formats, or go on again after its [`close`](Self::close). Starts may begin anew.
    pub fn reopen(&mut self, stream: u32, formats: &[Format]) -> Result<(), RecordError> {
        self.check()?;
        let mut all = formats.to_vec();
        all.resize(self.ports.len(), Format::Any);
        let known = self.streams.get_mut(stream as usize).ok_or(unknown("stream", stream.into()))?;
        known.open = true;
        let (event, time) = (known.info.opens(stream, &all), known.time);
        self.begin(time)?;
        for (port, format) in self.ports.iter_mut().zip(&all) {
            port.format = Some(match &port.format {
                Some(known) => widened(known, format),
                None => format.clone(),
            });
        }
        self.event(&event, time)
    }

    /// Writes a packet of a stream that is open; its own number of the stream plays no part.
    pub fn write(&mut self, stream: u32, port: usize, packet: &Packet) -> Result<(), RecordError> {
        self.check()?;
        let known = self.streams.get_mut(stream as usize).filter(|known| known.open);
        let known = known.ok_or(unknown("stream", stream.into()))?;
        let time = time_of(&known.info, packet.start);
        known.time = known.time.max(time);
        let Some(kind) = Kind::of(&packet.payload) else {
            let crate::media::Payload::Custom(custom) = &packet.payload else { return Ok(()) };
            return Err(RecordError::Custom { type_name: custom.type_name() });
        };
        let too_large = |found| RecordError::TooLarge { found, most: MOST_PACKET };
        let found = packet.payload.byte_len();
        if found > MOST_PACKET {
            return Err(too_large(found));
        }
        let channel = self.channel(port, kind)?;
        let classes = packet.classes.as_ref().map_or(Ok(0), |classes| self.classes(classes, time))?;
        let mut data = std::mem::take(&mut self.scratch);
        data.clear();
        put_head(&mut data, stream, packet, classes);
        payload::put(&mut data, &packet.payload);
        let result = match data.len() {
            found if found > MOST_PACKET => Err(too_large(found)),
            // Sequence numbers of messages have 32 bits; the whole one is in the packet's head.
            _ => self.message(channel, packet.sequence as u32, time, &data),
        };
        self.scratch = data;
        result
    }

    /// Ends a stream.
    pub fn close(&mut self, stream: u32, failed: bool) -> Result<(), RecordError> {
        self.check()?;
        let known = self.streams.get_mut(stream as usize).filter(|known| known.open);
        let known = known.ok_or(unknown("stream", stream.into()))?;
        known.open = false;
        let time = known.time;
        self.event(&StreamEvent::Close { stream, failed }, time)
    }

    /// Writes what has gathered.
    pub fn flush(&mut self) -> Result<(), RecordError> {
        self.check()?;
        if self.chunk.records.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::take(&mut self.chunk);
        let records_length = chunk.records.len() as u64;
        let mut out = Vec::with_capacity(chunk.records.len() + 256);
        put_record(&mut out, op::CHUNK, |out| {
            out.extend(chunk.from.to_le_bytes());
            out.extend(chunk.to.to_le_bytes());
            out.extend(records_length.to_le_bytes());
            out.extend(crc32fast::hash(&chunk.records).to_le_bytes());
            put_text(out, "");
            out.extend(records_length.to_le_bytes());
            out.extend_from_slice(&chunk.records);
        });
        let length = out.len() as u64;
        let mut indexes = Vec::new();
        for (channel, places) in &chunk.index {
            indexes.push((*channel, self.whole + out.len() as u64));
            put_record(&mut out, op::MESSAGE_INDEX, |out| {
                out.extend(channel.to_le_bytes());
                put_block(out, |out| {
                    for (time, place) in places {
                        out.extend(time.to_le_bytes());
                        out.extend(place.to_le_bytes());
                    }
                });
            });
        }
        let indexes_length = out.len() as u64 - length;
        let (at, from, to) = (self.whole, chunk.from, chunk.to);
        self.append(&out)?;
        self.chunks.push(ChunkIndex { from, to, at, length, indexes, indexes_length, records_length });
        Ok(())
    }

    /// Writes what has gathered, and the ending that makes the file whole: what it holds, and where.
    pub fn finish(&mut self) -> Result<(), RecordError> {
        self.check()?;
        self.begin(0)?;
        self.flush()?;
        if self.ended {
            return Ok(());
        }
        let ending = self.ending();
        self.put(&ending)?;
        self.ended = true;
        Ok(())
    }

    /// Where it is written to.
    pub fn target(&self) -> &T {
        &self.target
    }

    /// Gives back where it was written to, without an ending unless it has one.
    pub fn into_target(self) -> T {
        self.target
    }

    /// The error of the call that failed, if one did.
    fn check(&self) -> Result<(), RecordError> {
        self.failed.map_or(Ok(()), |kind| Err(RecordError::Write { source: kind.into() }))
    }

    /// Writes the first message, which names the ports.
    fn begin(&mut self, time: u64) -> Result<(), RecordError> {
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        let ports = self.ports.iter().map(|port| port.name.clone()).collect();
        self.event(&StreamEvent::Record { version: VERSION, ports }, time)
    }

    fn event(&mut self, event: &StreamEvent, time: u64) -> Result<(), RecordError> {
        let json = serde_json::to_vec(event).expect("texts, numbers and lists have a form in JSON");
        self.message(1, 0, time, &json)
    }

    /// The number of a list of names, which is written when it is new.
    fn classes(&mut self, classes: &Classes, time: u64) -> Result<u32, RecordError> {
        let known = self.classes.iter().rposition(|known| known.same(classes) || known == classes);
        if let Some(place) = known {
            return Ok(place as u32 + 1);
        }
        let number = self.classes.len() as u32 + 1;
        let names = classes.names().iter().map(|name| name.to_string()).collect();
        self.event(&StreamEvent::Classes { number, names }, time)?;
        self.classes.push(classes.clone());
        Ok(number)
    }

    /// The channel for payloads of this type on this port.
    fn channel(&mut self, port: usize, kind: Kind) -> Result<u16, RecordError> {
        let Some(known) = self.ports.get(port) else { return Err(unknown("port", port as u64)) };
        if let Some((_, channel)) = known.channels.iter().find(|(known, _)| *known == kind) {
            return Ok(*channel);
        }
        let name = known.name.clone();
        let schema = match self.kinds.iter().find(|(known, _)| *known == kind) {
            Some((_, schema)) => *schema,
            None => {
                let text = format!("{}\n{}\n", super::packets::HEAD_LAYOUT, kind.layout());
                let schema = self.add_schema(kind.schema(), "text", &text);
                self.kinds.push((kind, schema));
                schema
            }
        };
        let channel = self.add_channel(schema, &name, PACKET_ENCODING, &[("port", &name)]);
        self.ports[port].channels.push((kind, channel));
        Ok(channel)
    }

    fn add_schema(&mut self, name: &str, encoding: &str, data: &str) -> u16 {
        let id = self.schemas.len() as u16 + 1;
        let mut record = Vec::new();
        put_record(&mut record, op::SCHEMA, |out| {
            out.extend(id.to_le_bytes());
            put_text(out, name);
            put_text(out, encoding);
            put_text(out, data);
        });
        self.chunk.records.extend_from_slice(&record);
        self.schemas.push(record);
        id
    }

    fn add_channel(&mut self, schema: u16, topic: &str, encoding: &str, metadata: &[(&str, &str)]) -> u16 {
        let id = self.channels.len() as u16 + 1;
        let mut record = Vec::new();
        put_record(&mut record, op::CHANNEL, |out| {
            out.extend(id.to_le_bytes());
            out.extend(schema.to_le_bytes());
            put_text(out, topic);
            put_text(out, encoding);
            put_map(out, metadata);
        });
        self.chunk.records.extend_from_slice(&record);
        self.channels.push(Channel { record, messages: 0 });
        id
    }

    fn message(&mut self, channel: u16, sequence: u32, time: u64, data: &[u8]) -> Result<(), RecordError> {
        let chunk = &mut self.chunk;
        if chunk.index.is_empty() {
            (chunk.first, chunk.from, chunk.to) = (time, time, time);
        }
        (chunk.from, chunk.to) = (chunk.from.min(time), chunk.to.max(time));
        chunk.index.entry(channel).or_default().push((time, chunk.records.len() as u64));
        chunk.records.reserve(data.len() + HEAD + 22);
        put_record(&mut chunk.records, op::MESSAGE, |out| {
            out.extend(channel.to_le_bytes());
            out.extend(sequence.to_le_bytes());
            out.extend(time.to_le_bytes());
            out.extend(time.to_le_bytes());
            out.extend_from_slice(data);
        });
        let full = chunk.records.len() >= CHUNK_BYTES || time.abs_diff(chunk.first) >= CHUNK_NANOS;
        if let Some(channel) = self.channels.get_mut(usize::from(channel) - 1) {
            channel.messages += 1;
        }
        if full { self.flush() } else { Ok(()) }
    }

    /// All behind the last chunk: the formats of the ports, and the summary of the whole.
    fn ending(&self) -> Vec<u8> {
        let ports: Vec<_> = self
            .ports
            .iter()
            .map(|port| {
                let format = JsonFormat::of(port.format.as_ref().unwrap_or(&Format::Any));
                serde_json::json!({"name": port.name, "format": format})
            })
            .collect();
        let ports = serde_json::Value::from(ports).to_string();
        let (version, streams) = (VERSION.to_string(), self.streams.len().to_string());
        let mut out = Vec::new();
        put_record(&mut out, op::METADATA, |out| {
            put_text(out, METADATA);
            put_map(out, &[("ports", &ports), ("streams", &streams), ("version", &version)]);
        });
        let metadata_length = out.len() as u64;
        let mut sum = self.sum.clone();
        sum.update(&out);
        put_record(&mut out, op::DATA_END, |out| out.extend(sum.finalize().to_le_bytes()));

        let (summary, mut groups) = (out.len(), Vec::new());
        let mut group = |out: &mut Vec<u8>, opcode: u8, put: &mut dyn FnMut(&mut Vec<u8>)| {
            let start = out.len();
            put(out);
            if out.len() > start {
                groups.push((opcode, self.whole + start as u64, (out.len() - start) as u64));
            }
        };
        group(&mut out, op::SCHEMA, &mut |out| self.schemas.iter().for_each(|record| out.extend_from_slice(record)));
        group(&mut out, op::CHANNEL, &mut |out| {
            self.channels.iter().for_each(|channel| out.extend_from_slice(&channel.record));
        });
        group(&mut out, op::STATISTICS, &mut |out| self.put_statistics(out));
        group(&mut out, op::CHUNK_INDEX, &mut |out| self.chunks.iter().for_each(|chunk| chunk.put(out)));
        group(&mut out, op::METADATA_INDEX, &mut |out| {
            put_record(out, op::METADATA_INDEX, |out| {
                out.extend(self.whole.to_le_bytes());
                out.extend(metadata_length.to_le_bytes());
                put_text(out, METADATA);
            });
        });
        let offsets = self.whole + out.len() as u64;
        for (opcode, start, length) in groups {
            put_record(&mut out, op::SUMMARY_OFFSET, |out| {
                out.push(opcode);
                out.extend(start.to_le_bytes());
                out.extend(length.to_le_bytes());
            });
        }
        out.push(op::FOOTER);
        out.extend(20u64.to_le_bytes());
        out.extend((self.whole + summary as u64).to_le_bytes());
        out.extend(offsets.to_le_bytes());
        let sum = crc32fast::hash(&out[summary..]);
        out.extend(sum.to_le_bytes());
        out.extend(MAGIC);
        out
    }

    fn put_statistics(&self, out: &mut Vec<u8>) {
        put_record(out, op::STATISTICS, |out| {
            let messages: u64 = self.channels.iter().map(|channel| channel.messages).sum();
            out.extend(messages.to_le_bytes());
            out.extend((self.schemas.len() as u16).to_le_bytes());
            out.extend((self.channels.len() as u32).to_le_bytes());
            out.extend(0u32.to_le_bytes());
            out.extend(1u32.to_le_bytes());
            out.extend((self.chunks.len() as u32).to_le_bytes());
            out.extend(self.chunks.iter().map(|chunk| chunk.from).min().unwrap_or(0).to_le_bytes());
            out.extend(self.chunks.iter().map(|chunk| chunk.to).max().unwrap_or(0).to_le_bytes());
            put_block(out, |out| {
                for (id, channel) in (1u16..).zip(&self.channels) {
                    out.extend(id.to_le_bytes());
                    out.extend(channel.messages.to_le_bytes());
                }
            });
        });
    }

    /// Writes bytes that stay.
    fn append(&mut self, bytes: &[u8]) -> Result<(), RecordError> {
        if self.ended {
            self.ended = false;
            self.target.cut(self.whole).map_err(|source| self.fail(source))?;
        }
        self.put(bytes)?;
        self.whole += bytes.len() as u64;
        self.sum.update(bytes);
        Ok(())
    }

    /// Writes bytes; what was written of them is taken back when that fails.
    fn put(&mut self, bytes: &[u8]) -> Result<(), RecordError> {
        let written = self.target.write_all(bytes).and_then(|()| self.target.flush());
        written.map_err(|source| {
            // Where cutting fails too, the error tells of the file.
            let _ = self.target.cut(self.whole);
            self.fail(source)
        })
    }

    fn fail(&mut self, source: io::Error) -> RecordError {
        self.failed = Some(source.kind());
        RecordError::Write { source }
    }
}

impl ChunkIndex {
    fn put(&self, out: &mut Vec<u8>) {
        put_record(out, op::CHUNK_INDEX, |out| {
            for number in [self.from, self.to, self.at, self.length] {
                out.extend(number.to_le_bytes());
            }
            put_block(out, |out| {
                for (channel, place) in &self.indexes {
                    out.extend(channel.to_le_bytes());
                    out.extend(place.to_le_bytes());
                }
            });
            out.extend(self.indexes_length.to_le_bytes());
            put_text(out, "");
            out.extend(self.records_length.to_le_bytes());
            out.extend(self.records_length.to_le_bytes());
        });
    }
}

fn unknown(what: &'static str, number: u64) -> RecordError {
    RecordError::Unknown { what, number }
}

/// The time of a message: the time of day where it is known, else stream time; not before 1970.
fn time_of(info: &RecordedStream, start: Timestamp) -> u64 {
    u64::try_from(info.wall_nanos().saturating_add(start.as_nanos())).unwrap_or(0)
}
