//! Packets of a record that a thread reads ahead, and the stream over them.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::error::CaptureError;
use crate::codec::record::{IndexedStream, RecordError, RecordIndex, RecordStep};
use crate::media::{Format, Packet};
use crate::stage::{BoxFuture, Draft, EventKind, Flow, Loss, Output, PortIndex, Source, SourceInfo, StageError};
use crate::units::{Clock, ClockInstant};

/// Packets that wait to be taken.
const PACKETS_AHEAD: usize = 16;

/// How a stream ends.
#[derive(Clone, Debug)]
enum Ending {
    /// As it did.
    Done,
    /// It failed when it was recorded.
    FailedThen,
    /// The run that was recorded was stopped before.
    Stopped,
    /// The record ends before.
    Fault(Arc<RecordError>),
}

/// What the thread hands over: packets and formats as they follow each other, then the ending.
#[derive(Debug)]
enum Fed {
    Packet(PortIndex, Box<Packet>),
    Reopen(Vec<Format>),
    End(Ending),
}

/// A stream as it was recorded.
#[derive(Debug)]
pub(super) struct RecordedSource {
    info: SourceInfo,
    /// The format of each port of the capture that the record lacks, and for the others nothing that counts.
    others: Vec<Format>,
    /// For each port of the record its place among those of the capture.
    places: Arc<[PortIndex]>,
    receiver: mpsc::Receiver<Fed>,
    /// Holds each packet back until this clock says that it was there.
    pace: Option<Arc<dyn Clock>>,
    zero: Option<ClockInstant>,
    /// Taken from the thread, not sent yet.
    held: Option<(PortIndex, Box<Packet>)>,
    /// What is told first.
    notice: Option<String>,
    loss: Loss,
    /// Lets another stream begin when this one is gone.
    _turn: OwnedSemaphorePermit,
}

/// What a stream is made of, beside the record.
#[derive(Debug)]
pub(super) struct Manner {
    pub pace: Option<Arc<dyn Clock>>,
    pub notice: Option<String>,
    /// A format for each port of the capture.
    pub formats: Vec<Format>,
    /// For each port of the record its place among them.
    pub places: Arc<[PortIndex]>,
    pub turn: OwnedSemaphorePermit,
}

impl RecordedSource {
    /// Stream number `number` of a record, whose fault `fault` is.
    pub(super) fn start(
        index: &Arc<RecordIndex>,
        number: usize,
        fault: Option<Arc<RecordError>>,
        manner: Manner,
    ) -> Result<Option<RecordedSource>, CaptureError> {
        let Some(stream) = index.streams.get(number) else { return Ok(None) };
        let name = stream.info.name.to_string();
        let ending = match (stream.ended, fault) {
            (Some(false), _) => Ending::Done,
            (Some(true), _) => Ending::FailedThen,
            (None, Some(fault)) => Ending::Fault(fault),
            (None, None) => Ending::Stopped,
        };
        let (sender, receiver) = mpsc::channel(PACKETS_AHEAD);
        let (shared, places) = (index.clone(), manner.places.clone());
        std::thread::Builder::new()
            .name("percept/reader".into())
            .spawn(move || {
                let result = match shared.streams.get(number) {
                    Some(stream) => read_all(&shared, stream, &places, &sender),
                    None => Ok(()),
                };
                let ending = result.map_or_else(|error| Ending::Fault(error.into()), |()| ending);
                // Nobody listens any more: the stream was given up meanwhile.
                drop(sender.blocking_send(Fed::End(ending)));
            })
            .map_err(|source| CaptureError::Thread { name: name.clone(), source })?;
        let info = SourceInfo {
            name,
            group: Some(stream.info.group.to_string()),
            live: stream.info.live && manner.pace.is_some(),
            wall: stream.info.wall,
            file: stream.info.file.as_deref().map(|file| file.to_owned()),
            formats: Vec::new(),
            seconds: Some(stream.until.as_seconds()),
        };
        let mut source = RecordedSource {
            info,
            others: manner.formats,
            places: manner.places,
            receiver,
            pace: manner.pace,
            zero: None,
            held: None,
            notice: manner.notice,
            loss: Loss::default(),
            _turn: manner.turn,
        };
        let first = stream.steps.first();
        source.open(if let Some(RecordStep::Open(formats)) = first { formats } else { &[] });
        Ok(Some(source))
    }

    /// Takes note of the formats of the record's ports.
    fn open(&mut self, formats: &[Format]) {
        self.info.formats.clone_from(&self.others);
        for (place, format) in self.places.iter().zip(formats) {
            if let Some(known) = self.info.formats.get_mut(*place) {
                known.clone_from(format);
            }
        }
    }

    async fn advance(&mut self, out: &mut Output) -> Result<Flow, StageError> {
        if let Some(notice) = self.notice.take() {
            out.event(EventKind::Notice, notice);
        }
        if self.held.is_none() {
            match self.receiver.recv().await {
                Some(Fed::Packet(port, packet)) => self.held = Some((port, packet)),
                Some(Fed::Reopen(formats)) => {
                    self.open(&formats);
                    return Ok(Flow::Reopen);
                }
                Some(Fed::End(ending)) => return self.end(ending, out),
                None => return Err(CaptureError::DecoderPanicked { name: self.info.name.clone() }.ends_stream()),
            }
        }
        if let (Some(clock), Some((_, packet))) = (self.pace.clone(), &self.held) {
            let zero = *self.zero.get_or_insert_with(|| clock.now());
            let end = packet.end().max(packet.start);
            clock.sleep_until(zero.after(end.since(crate::units::Timestamp::ZERO))).await;
        }
        if let Some((port, packet)) = self.held.take() {
            let Packet { payload, start, duration, flags, revision, weights, classes, view, .. } = *packet;
            out.emit(port, Draft { payload, start, duration, flags, revision, weights, classes, view });
        }
        Ok(Flow::More)
    }

    fn end(&mut self, ending: Ending, out: &mut Output) -> Result<Flow, StageError> {
        match ending {
            Ending::Done => {}
            Ending::FailedThen => {
                return Err(CaptureError::FailedThen { name: self.info.name.clone() }.ends_stream());
            }
            Ending::Stopped => out.event(EventKind::Notice, "the recorded run was stopped before this stream's end"),
            Ending::Fault(fault) if matches!(*fault, RecordError::Cut { .. }) => {
                self.loss.damaged += 1;
                out.event(EventKind::Damaged, fault.to_string());
            }
            Ending::Fault(fault) => return Err(CaptureError::from(fault).ends_stream()),
        }
        Ok(Flow::End)
    }
}

/// Hands over all steps of a stream but its first opening.
fn read_all(
    index: &RecordIndex,
    stream: &IndexedStream,
    places: &[PortIndex],
    sender: &mpsc::Sender<Fed>,
) -> Result<(), RecordError> {
    let mut packets = index.packets()?;
    for step in stream.steps.iter().skip(1) {
        let fed = match step {
            RecordStep::Open(formats) => Fed::Reopen(formats.clone()),
            RecordStep::Packet(place) => {
                let Some(port) = places.get(place.port) else { continue };
                Fed::Packet(*port, Box::new(packets.read(place)?))
            }
        };
        if sender.blocking_send(fed).is_err() {
            break;
        }
    }
    Ok(())
}

impl Source for RecordedSource {
    fn info(&self) -> SourceInfo {
        self.info.clone()
    }

    fn read<'a>(&'a mut self, out: &'a mut Output) -> BoxFuture<'a, Result<Flow, StageError>> {
        Box::pin(self.advance(out))
    }

    fn loss(&self) -> Loss {
        self.loss
    }
}
