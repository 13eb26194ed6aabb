//! Captures: where streams come from.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use super::{Output, StageError};
use crate::media::Format;
use crate::units::Clock;

/// A future on the heap, as captures return them.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a capture is given when it starts.
#[derive(Clone, Debug)]
pub struct CaptureContext {
    /// The pipeline's clock.
    pub clock: Arc<dyn Clock>,
}

/// A stage without inputs: it opens streams, each of which is then read on its own.
///
/// Both futures must be cancel safe: the runtime drops them when the pipeline stops.
pub trait Capture: Send + 'static {
    /// The next stream, or `None` when there will be no more. An error is the failure of that stream alone, and the
    /// runtime asks again, unless it is [`StageError::Fatal`].
    fn next_stream<'a>(
        &'a mut self,
        context: &'a CaptureContext,
    ) -> BoxFuture<'a, Result<Option<Box<dyn Source>>, StageError>>;

    /// Most streams read at a time; the next is asked for when one has ended.
    fn concurrency(&self) -> usize {
        usize::MAX
    }
}

/// What is known of a stream when it opens.
#[derive(Clone, Debug)]
pub struct SourceInfo {
    /// Its name.
    pub name: String,
    /// Streams recorded together share a group. `None`: a group of its own.
    pub group: Option<String>,
    /// Whether it comes in real time.
    pub live: bool,
    /// The time of day of its first sample, where it is known.
    pub wall: Option<SystemTime>,
    /// Where the file lies that it is read from, if it is: absolute, or seen from the current folder.
    pub file: Option<PathBuf>,
    /// A format for each output port of the capture; no unknowns.
    pub formats: Vec<Format>,
    /// Its length in seconds, where it is known, for progress.
    pub seconds: Option<f64>,
}

/// Whether a stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// There may be more.
    More,
    /// That was all.
    End,
    /// The format has changed: the runtime flushes the stream, asks for [`Source::info`] again and reopens it.
    Reopen,
}

/// Input that was lost before it became packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Frames of audio that the device or the file delivered. 0: this source keeps no such count.
    pub delivered: u64,
    /// Frames of them that had no place and were dropped.
    pub overrun: u64,
    /// Blocks that could not be decoded.
    pub damaged: u64,
}

/// One stream of a capture.
pub trait Source: Send + 'static {
    /// What is known of it now.
    fn info(&self) -> SourceInfo;

    /// Reads on: emits some packets, waiting for them if it must. Starts never decrease. An error ends the stream.
    fn read<'a>(&'a mut self, out: &'a mut Output) -> BoxFuture<'a, Result<Flow, StageError>>;

    /// The pipeline stops: emits what was already taken in but not read yet, without waiting.
    fn stop(&mut self, out: &mut Output) {
        let _ = out;
    }

    /// What was lost so far.
    fn loss(&self) -> Loss {
        Loss::default()
    }
}
