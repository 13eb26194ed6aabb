//! What a program holds: the handle of a `push` capture, and the streams that it opens.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use thiserror::Error;

use super::queue::{QueueReader, QueueWriter, Refused, queue};
use crate::media::{Audio, Format};
use crate::stage::Draft;
use crate::units::{Rate, RateError, Timestamp};

/// Why something was not pushed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PushError {
    /// There is no room; only [`PushStream::try_push`] and [`PushStream::try_push_audio`] say this.
    #[error("stream {stream} is full: the pipeline is behind; push again later, or drop this packet")]
    Full {
        /// The stream.
        stream: String,
    },
    /// The pipeline has ended, or its capture was told to finish.
    #[error("nothing reads `{stream}`: the pipeline has ended or was told to finish; start a new one to push again")]
    Ended {
        /// The stream.
        stream: String,
    },
    /// Samples that make no whole frames.
    #[error("expected whole frames of {channels} channels, found {samples} samples")]
    PartialFrame {
        /// Channels in a frame.
        channels: u16,
        /// Samples given.
        samples: usize,
    },
    /// A packet of another format than the capture was made for.
    #[error("expected a packet of {expected}, found {found}")]
    Format {
        /// What the capture carries.
        expected: Box<Format>,
        /// What the packet is.
        found: Box<Format>,
    },
    /// Samples pushed into a capture that carries something else.
    #[error("this capture carries {found}; push samples into one of sound, made with a rate and a number of channels")]
    NotSound {
        /// What it carries.
        found: Box<Format>,
    },
    /// A packet that starts before the one before it.
    #[error("a packet starts at {start}, before the one before it, which starts at {last}; push packets in order")]
    Backward {
        /// Its start.
        start: Timestamp,
        /// The start of the packet before.
        last: Timestamp,
    },
    /// A rate of zero.
    #[error(transparent)]
    Rate(#[from] RateError),
}

/// A stream that the program has opened, on its way to the capture.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) name: String,
    pub(super) reader: QueueReader,
    repaired: Arc<AtomicU64>,
}

impl Arrival {
    /// Samples that were no numbers so far.
    pub(super) fn repaired(&self) -> u64 {
        self.repaired.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
struct HubState {
    arrivals: VecDeque<Arrival>,
    capture: Option<Waker>,
    handles: usize,
    begun: bool,
    /// No stream can be opened any more.
    finished: bool,
}

/// Where handles and the running capture meet.
#[derive(Debug)]
pub(super) struct Hub {
    format: Format,
    live: bool,
    buffer: usize,
    state: Mutex<HubState>,
}

impl Hub {
    pub(super) fn new(format: Format, live: bool, buffer: usize) -> Arc<Hub> {
        Arc::new(Hub { format, live, buffer, state: Mutex::default() })
    }

    pub(super) fn format(&self) -> &Format {
        &self.format
    }

    pub(super) fn is_live(&self) -> bool {
        self.live
    }

    fn lock(&self) -> MutexGuard<'_, HubState> {
        // Queues, counts and flags: whole after any panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The capture begins; false when one has begun before.
    pub(super) fn begin(&self) -> bool {
        let mut state = self.lock();
        !std::mem::replace(&mut state.begun, true)
    }

    /// The next stream; `None` when there will be no more, which is final.
    pub(super) fn poll_arrival(&self, cx: &mut Context<'_>) -> Poll<Option<Arrival>> {
        let mut state = self.lock();
        if let Some(arrival) = state.arrivals.pop_front() {
            return Poll::Ready(Some(arrival));
        }
        if state.finished {
            return Poll::Ready(None);
        }
        state.capture = Some(cx.waker().clone());
        Poll::Pending
    }

    fn change<T>(&self, change: impl FnOnce(&mut HubState) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state);
        let waker = state.capture.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        result
    }

    /// Nothing is read any more: streams that were not taken are abandoned.
    pub(super) fn end(&self) {
        let arrivals = self.change(|state| {
            state.finished = true;
            std::mem::take(&mut state.arrivals)
        });
        // Outside the lock: dropping them wakes their writers.
        drop(arrivals);
    }
}

/// The way into a `push` capture, as [`Blueprint::handle`](crate::stage::Blueprint::handle) gives it. Unlike a
/// [`PushHandle`] it keeps nothing open.
#[derive(Clone, Debug)]
pub struct PushInlet(Arc<Hub>);

impl PushInlet {
    pub(super) fn new(hub: Arc<Hub>) -> Self {
        PushInlet(hub)
    }

    /// What the program opens streams with.
    pub fn handle(&self) -> PushHandle {
        self.0.change(|state| state.handles += 1);
        PushHandle(self.0.clone())
    }

    /// The format that its streams carry.
    pub fn format(&self) -> &Format {
        &self.0.format
    }
}

/// Opens streams of a `push` capture. Cheap to clone. When the last clone is dropped, or after [`PushHandle::finish`],
/// the capture ends as soon as its open streams have.
#[derive(Debug)]
pub struct PushHandle(Arc<Hub>);

impl PushHandle {
    /// Opens a stream, before the pipeline runs or while it does. Fails when the pipeline has ended.
    pub fn open_stream(&self, name: impl Into<String>) -> Result<PushStream, PushError> {
        let name = name.into();
        let (writer, reader) = queue(self.0.buffer);
        let repaired = Arc::new(AtomicU64::new(0));
        let arrival = Arrival { name: name.clone(), reader, repaired: repaired.clone() };
        let refused = self.0.change(|state| {
            if state.finished {
                return Some(arrival);
            }
            state.arrivals.push_back(arrival);
            None
        });
        if refused.is_some() {
            return Err(PushError::Ended { stream: name });
        }
        let format = self.0.format.clone();
        Ok(PushStream { name, writer, format, position: 0, last: Timestamp::MIN, repaired })
    }

    /// No further streams: the capture ends as soon as its open streams have.
    pub fn finish(&self) {
        self.0.change(|state| state.finished = true);
    }

    /// The format that its streams carry.
    pub fn format(&self) -> &Format {
        &self.0.format
    }
}

impl Clone for PushHandle {
    fn clone(&self) -> Self {
        self.0.change(|state| state.handles += 1);
        PushHandle(self.0.clone())
    }
}

impl Drop for PushHandle {
    fn drop(&mut self) {
        self.0.change(|state| {
            state.handles -= 1;
            state.finished |= state.handles == 0;
        });
    }
}

/// A stream that the program pushes into. Dropping it ends the stream; what was pushed is still processed.
#[derive(Debug)]
pub struct PushStream {
    name: String,
    writer: QueueWriter,
    format: Format,
    /// Frames of sound so far, for the start of the next.
    position: u64,
    last: Timestamp,
    repaired: Arc<AtomicU64>,
}

impl PushStream {
    /// The name it was opened with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The start that the next samples will have.
    pub fn position(&self) -> Timestamp {
        self.rate().map_or(self.last.max(Timestamp::ZERO), |rate| rate.time_of(self.position))
    }

    /// Pushes interleaved samples, nominally in −1..1, that follow those before without a gap; blocks while the stream is
    /// full. Samples that are no numbers become silence, which the pipeline tells as an event.
    ///
    /// Fails when they make no whole frames, when this is no stream of sound, or when the pipeline has ended.
    pub fn push_audio(&mut self, samples: &[f32]) -> Result<(), PushError> {
        let Some((draft, position)) = self.sound(samples)? else { return Ok(()) };
        self.write(draft, Some(position))
    }

    /// As [`PushStream::push_audio`], without blocking: waits as a future. Dropped while it waits, it pushes nothing.
    pub async fn push_audio_async(&mut self, samples: &[f32]) -> Result<(), PushError> {
        let Some((draft, position)) = self.sound(samples)? else { return Ok(()) };
        self.write_async(draft, Some(position)).await
    }

    /// As [`PushStream::push_audio`], but fails with [`PushError::Full`] instead of blocking. Samples that were refused
    /// and are not pushed again are a gap that the pipeline does not see: push what follows as a packet of its own
    /// start, flagged `gap`.
    pub fn try_push_audio(&mut self, samples: &[f32]) -> Result<(), PushError> {
        let Some((draft, position)) = self.sound(samples)? else { return Ok(()) };
        self.try_write(draft, Some(position))
    }

    /// Pushes a packet of the capture's format; blocks while the stream is full. Starts must not decrease.
    ///
    /// Samples pushed after a packet of sound follow its end.
    pub fn push(&mut self, draft: Draft) -> Result<(), PushError> {
        let position = self.accept(&draft)?;
        self.write(draft, position)
    }

    /// As [`PushStream::push`], without blocking: waits as a future. Dropped while it waits, it pushes nothing.
    pub async fn push_async(&mut self, draft: Draft) -> Result<(), PushError> {
        let position = self.accept(&draft)?;
        self.write_async(draft, position).await
    }

    /// As [`PushStream::push`], but fails with [`PushError::Full`] instead of blocking.
    pub fn try_push(&mut self, draft: Draft) -> Result<(), PushError> {
        let position = self.accept(&draft)?;
        self.try_write(draft, position)
    }

    /// Ends the stream, as dropping it does.
    pub fn close(self) {}

    fn rate(&self) -> Option<Rate> {
        match self.format {
            Format::Audio { sample_rate, .. } => sample_rate,
            _ => None,
        }
    }

    /// A packet of samples, and the position after it; none for no samples.
    fn sound(&self, samples: &[f32]) -> Result<Option<(Draft, u64)>, PushError> {
        let Format::Audio { sample_rate: Some(rate), channels: Some(channels) } = self.format else {
            return Err(PushError::NotSound { found: Box::new(self.format.clone()) });
        };
        let mut samples = samples.to_vec();
        let partial = PushError::PartialFrame { channels, samples: samples.len() };
        let not_finite = samples.iter().filter(|sample| !sample.is_finite()).count();
        if not_finite > 0 {
            samples.iter_mut().filter(|sample| !sample.is_finite()).for_each(|sample| *sample = 0.0);
        }
        let audio = Audio::new(samples, channels, rate).map_err(|_| partial)?;
        if audio.frames() == 0 {
            return Ok(None);
        }
        self.repaired.fetch_add(not_finite as u64, Ordering::Relaxed);
        let end = self.position.saturating_add(audio.frames() as u64);
        // A packet pushed before may start within a sample of here.
        let start = rate.time_of(self.position).max(self.last);
        let draft = Draft::new(start, rate.span(self.position, end), audio);
        Ok(Some((draft, end)))
    }

    /// Whether a packet fits, and the position after it when it is sound.
    fn accept(&self, draft: &Draft) -> Result<Option<u64>, PushError> {
        self.format.accepts(&draft.payload.format()).map_err(|mismatch| PushError::Format {
            expected: Box::new(mismatch.expected),
            found: Box::new(mismatch.found),
        })?;
        if draft.start < self.last {
            return Err(PushError::Backward { start: draft.start, last: self.last });
        }
        let frames = draft.payload.audio_frames();
        Ok(self.rate().map(|rate| rate.index_at(draft.start).saturating_add(frames)))
    }

    fn written(
        &mut self,
        result: Result<(), Refused>,
        start: Timestamp,
        position: Option<u64>,
    ) -> Result<(), PushError> {
        match result {
            Ok(()) => {
                self.last = start;
                self.position = position.unwrap_or(self.position);
                Ok(())
            }
            Err(Refused::Full(_)) => Err(PushError::Full { stream: self.name.clone() }),
            Err(Refused::Abandoned) => Err(PushError::Ended { stream: self.name.clone() }),
        }
    }

    fn write(&mut self, draft: Draft, position: Option<u64>) -> Result<(), PushError> {
        let start = draft.start;
        let result = self.writer.write(draft);
        self.written(result, start, position)
    }

    fn try_write(&mut self, draft: Draft, position: Option<u64>) -> Result<(), PushError> {
        let start = draft.start;
        let result = self.writer.try_write(draft);
        self.written(result, start, position)
    }

    async fn write_async(&mut self, draft: Draft, position: Option<u64>) -> Result<(), PushError> {
        let start = draft.start;
        let mut draft = draft;
        loop {
            match self.writer.try_write(draft) {
                Err(Refused::Full(back)) => draft = back,
                result => return self.written(result, start, position),
            }
            poll_fn(|cx| self.writer.poll_room(cx)).await;
        }
    }
}
