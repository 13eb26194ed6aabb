//! Where the packets of each stream lie in a record, so that streams can be read each on its own.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cursor::Cursor;
use super::frames::{HEAD, MAGIC, op};
use super::packets::Head;
use super::payload::Kind;
use super::reader::{Raw, RecordItem, RecordReader, Tables};
use super::streams::{JsonFormat, RecordedStream, widened};
use super::{METADATA, RecordError};
use crate::media::{Format, Packet};
use crate::units::Timestamp;

/// The most bytes of a summary that are read; of a record with a longer one all is read instead.
const MOST_SUMMARY: u64 = 256 << 20;
/// The footer and the magic bytes behind it.
const FOOTER: u64 = HEAD as u64 + 20 + MAGIC.len() as u64;

/// The ports of a record, as its ending names them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RecordSummary {
    /// The names of the ports, and what all streams have in common there.
    pub ports: Vec<(String, Format)>,
    /// How many streams there are.
    pub streams: u64,
    /// Whether the record has an ending; without one it was cut off, or is still being written.
    pub whole: bool,
}

impl RecordSummary {
    /// Reads the ending of the record at `path`, or all of it where it has none.
    pub fn open(path: &Path) -> Result<RecordSummary, RecordError> {
        let read = |source| RecordError::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(read)?;
        // What is no record of ours is told by its beginning.
        RecordReader::new(&file, path)?;
        if let Some(summary) = ending(&mut file) {
            return Ok(summary);
        }
        file.seek(SeekFrom::Start(0)).map_err(read)?;
        let mut reader = RecordReader::new(&file, path)?;
        let mut formats: Vec<Option<Format>> = vec![None; reader.ports().len()];
        let whole = loop {
            match reader.raw() {
                Ok(Some(Raw::Packet { .. })) => {}
                Ok(Some(Raw::Event(event))) => {
                    let Ok(Some(RecordItem::Open { formats: opened, .. })) = reader.take(&event) else { continue };
                    for (known, opened) in formats.iter_mut().zip(opened) {
                        *known = Some(known.take().map_or(opened.clone(), |known| widened(&known, &opened)));
                    }
                }
                Ok(None) => break true,
                Err(RecordError::Cut { .. }) => break false,
                Err(error) => return Err(error),
            }
        };
        let formats = formats.into_iter().map(|format| format.unwrap_or(Format::Any));
        let ports = reader.ports().iter().cloned().zip(formats).collect();
        Ok(RecordSummary { ports, streams: reader.tables().streams.len() as u64, whole })
    }

    /// Takes the ports of another record too: of those that both have, what they have in common stays known.
    pub fn join(&mut self, other: &RecordSummary) {
        for (name, format) in &other.ports {
            match self.ports.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => *known = widened(known, format),
                None => self.ports.push((name.clone(), format.clone())),
            }
        }
        self.streams = self.streams.saturating_add(other.streams);
        self.whole &= other.whole;
    }
}

/// What the ending says; `None` where there is none that makes sense.
fn ending(file: &mut File) -> Option<RecordSummary> {
    #[derive(serde::Deserialize)]
    struct Port {
        name: String,
        format: JsonFormat,
    }
    let length = file.metadata().ok().filter(|found| found.is_file())?.len();
    let footer_at = length.checked_sub(FOOTER)?;
    let footer = part(file, footer_at, FOOTER)?;
    let mut bytes = Cursor::new(&footer);
    let (opcode, _) = (bytes.u8().ok()?, bytes.u64().ok()?);
    let (summary, _, _) = (bytes.u64().ok()?, bytes.u64().ok()?, bytes.u32().ok()?);
    let summary_length = footer_at.checked_sub(summary).filter(|length| summary > 0 && *length <= MOST_SUMMARY)?;
    if opcode != op::FOOTER || bytes.rest() != MAGIC {
        return None;
    }
    let summary = part(file, summary, summary_length)?;
    let mut records = Cursor::new(&summary);
    while records.len() > 0 {
        let (opcode, size) = (records.u8().ok()?, usize::try_from(records.u64().ok()?).ok()?);
        let mut content = Cursor::new(records.take(size).ok()?);
        if opcode != op::METADATA_INDEX {
            continue;
        }
        let (at, size) = (content.u64().ok()?, content.u64().ok()?);
        let fits = at.checked_add(size).is_some_and(|end| end <= length) && size <= MOST_SUMMARY;
        if content.text().ok()? != METADATA || !fits {
            continue;
        }
        let record = part(file, at, size)?;
        let mut content = Cursor::new(&record);
        content.take(HEAD).ok()?;
        content.text().ok()?;
        content.u32().ok()?;
        let mut said = HashMap::new();
        while content.len() > 0 {
            said.insert(content.text().ok()?, content.text().ok()?);
        }
        let ports: Vec<Port> = serde_json::from_str(said.get("ports")?).ok()?;
        let ports: Option<_> = ports.into_iter().map(|port| Some((port.name, port.format.format().ok()?))).collect();
        return Some(RecordSummary { ports: ports?, streams: said.get("streams")?.parse().ok()?, whole: true });
    }
    None
}

/// `length` bytes of a file that has as many.
fn part(file: &mut File, at: u64, length: u64) -> Option<Vec<u8>> {
    file.seek(SeekFrom::Start(at)).ok()?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 == length).then_some(bytes)
}

/// Where the packets of each stream of a record lie.
#[derive(Debug)]
#[non_exhaustive]
pub struct RecordIndex {
    /// The streams in the order in which they opened.
    pub streams: Vec<IndexedStream>,
    /// Why the record ends before its end, if it does; what is indexed is good.
    pub fault: Option<RecordError>,
    /// The most streams that were open at a time; at least 1.
    pub together: usize,
    path: PathBuf,
    ports: Vec<String>,
    tables: Arc<Tables>,
}

/// One stream of a record.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IndexedStream {
    /// What is known of it.
    pub info: Arc<RecordedStream>,
    /// What happened in it, in order. The first is that it opens.
    pub steps: Vec<RecordStep>,
    /// Whether it failed at its end; `None` where the record ends before it does.
    pub ended: Option<bool>,
    /// Where its last packet ends.
    pub until: Timestamp,
}

/// What happens in a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum RecordStep {
    /// It opens, or opens again, with a format for each port.
    Open(Vec<Format>),
    /// A packet.
    Packet(PacketPlace),
}

/// Where a packet lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketPlace {
    /// The place of its port among the record's.
    pub port: usize,
    kind: Kind,
    at: u64,
    length: usize,
}

impl RecordIndex {
    /// Reads the record at `path` once. Fails when it is none; a fault further on stands in [`fault`](Self::fault).
    pub fn open(path: &Path) -> Result<RecordIndex, RecordError> {
        let mut reader = RecordReader::open(path)?;
        let ports = reader.ports().to_vec();
        let mut streams: Vec<IndexedStream> = Vec::new();
        let (mut open, mut together) = (0usize, 1);
        let fault = loop {
            let found = match reader.raw() {
                Ok(None) => break None,
                Err(error) => break Some(error),
                Ok(Some(Raw::Event(event))) => Err(event),
                Ok(Some(Raw::Packet { at, port, kind, bytes })) => {
                    let place = PacketPlace { port, kind, at, length: bytes.len() };
                    Ok((place, Head::read(&mut Cursor::new(bytes))))
                }
            };
            match found {
                Ok((place, head)) => {
                    let head = head.and_then(|head| reader.tables().holds(&head).map(|()| head));
                    let stream = head.as_ref().ok().and_then(|head| streams.get_mut(head.stream as usize));
                    let (Ok(head), Some(stream)) = (&head, stream) else {
                        let detail = head.err().map_or_else(String::new, |malformed| malformed.0);
                        break Some(RecordError::Damaged { path: path.to_owned(), at: place.at, detail });
                    };
                    stream.until = stream.until.max(head.start + head.duration);
                    stream.steps.push(RecordStep::Packet(place));
                }
                Err(event) => match reader.take(&event) {
                    Err(error) => break Some(error),
                    Ok(Some(RecordItem::Open { stream, info, formats })) => {
                        if streams.len() == stream as usize {
                            let (steps, until) = (Vec::new(), Timestamp::ZERO);
                            streams.push(IndexedStream { info, steps, ended: Some(false), until });
                        }
                        if let Some(stream) = streams.get_mut(stream as usize) {
                            stream.steps.push(RecordStep::Open(formats));
                            open += usize::from(stream.ended.take().is_some());
                            together = together.max(open);
                        }
                    }
                    Ok(Some(RecordItem::Close { stream, failed })) => {
                        if let Some(stream) = streams.get_mut(stream as usize)
                            && stream.ended.replace(failed).is_none()
                        {
                            open = open.saturating_sub(1);
                        }
                    }
                    Ok(_) => {}
                },
            }
        };
        let tables = Arc::new(reader.into_tables());
        Ok(RecordIndex { streams, fault, together, path: path.to_owned(), ports, tables })
    }

    /// The names of the recorded ports.
    pub fn ports(&self) -> &[String] {
        &self.ports
    }

    /// Opens the file, to read packets of one stream from it.
    pub fn packets(&self) -> Result<RecordedPackets, RecordError> {
        let path = self.path.clone();
        let file = File::open(&path).map_err(|source| RecordError::Read { path: path.clone(), source })?;
        Ok(RecordedPackets { file, path, tables: self.tables.clone() })
    }
}

/// Reads packets of a record by their places.
#[derive(Debug)]
pub struct RecordedPackets {
    file: File,
    path: PathBuf,
    tables: Arc<Tables>,
}

impl RecordedPackets {
    /// The packet at `place`, whose stream is the number in the record.
    pub fn read(&mut self, place: &PacketPlace) -> Result<Packet, RecordError> {
        let read = |source| RecordError::Read { path: self.path.clone(), source };
        self.file.seek(SeekFrom::Start(place.at)).map_err(read)?;
        let mut bytes = Vec::with_capacity(place.length);
        (&self.file).take(place.length as u64).read_to_end(&mut bytes).map_err(read)?;
        if bytes.len() < place.length {
            return Err(RecordError::Cut { path: self.path.clone(), at: place.at });
        }
        self.tables.packet(place.kind, &bytes).map_err(|malformed| RecordError::Damaged {
            path: self.path.clone(),
            at: place.at,
            detail: malformed.0,
        })
    }
}
