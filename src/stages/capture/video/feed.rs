//! Frames that a thread reads ahead: from a file of video, or from a camera.

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::super::error::CaptureError;
use crate::codec::{Stopper, VideoError, VideoFrame, VideoReader, VideoSpec};
use crate::media::Image;
use crate::units::{TimeSpan, Timestamp};

/// Frames that wait to be taken.
const FRAMES_AHEAD: usize = 3;

/// A frame, when it is shown and how long.
#[derive(Debug)]
pub(in crate::stages::capture) struct Shown {
    pub(in crate::stages::capture) image: Image,
    pub(in crate::stages::capture) start: Timestamp,
    pub(in crate::stages::capture) duration: TimeSpan,
    /// Frames before it that found no room.
    pub(in crate::stages::capture) lost: u64,
}

/// How a video ended.
#[derive(Debug)]
pub(in crate::stages::capture) struct Ending {
    /// Why, unless it is the regular end.
    pub(in crate::stages::capture) error: Option<VideoError>,
    /// What the decoder stepped over.
    pub(in crate::stages::capture) complaint: Option<String>,
    /// The end of the last frame.
    pub(in crate::stages::capture) end: Timestamp,
}

/// What the thread hands over: how the video opened, frames, the ending.
#[derive(Debug)]
pub(in crate::stages::capture) enum Fed {
    Opened(Result<VideoSpec, VideoError>),
    Frame(Shown),
    End(Ending),
}

/// Which frames are taken.
#[derive(Clone, Copy, Debug)]
pub(in crate::stages::capture) struct Sampling {
    every: u64,
    fps: Option<f64>,
    seen: u64,
    slot: Option<f64>,
}

impl Sampling {
    /// Every `every`-th frame, the first one first, and of those at most `fps` a second.
    pub(in crate::stages::capture) fn new(every: u32, fps: Option<f64>) -> Self {
        Sampling { every: every.max(1).into(), fps, seen: 0, slot: None }
    }

    /// Whether the frame at `start` is taken. Time is cut into slots of 1 / fps from zero on; the first frame in each is
    /// taken.
    fn takes(&mut self, start: Timestamp) -> bool {
        let turn = self.seen.is_multiple_of(self.every);
        self.seen += 1;
        let Some(fps) = self.fps.filter(|_| turn) else { return turn };
        // A frame that begins a microsecond before its slot, as times are rounded, belongs to it.
        let slot = ((start.as_seconds() + 1e-6) * fps).floor();
        let new = self.slot.is_none_or(|last| slot > last);
        if new {
            self.slot = Some(slot);
        }
        new
    }
}

/// Whether a reader that is behind makes the video wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stages::capture) enum Haste {
    /// The video waits; each frame lasts until the next one that is taken.
    Waits,
    /// It goes on as a camera does: frames that find no room are lost. Each lasts as long as the one before it did.
    GoesOn,
}

/// The receiving end. Dropping it ends the thread, and the program that it reads from.
#[derive(Debug)]
pub(in crate::stages::capture) struct FrameFeed {
    name: String,
    receiver: mpsc::Receiver<Fed>,
    stopper: Stopper,
}

impl Drop for FrameFeed {
    fn drop(&mut self) {
        self.stopper.stop();
    }
}

impl FrameFeed {
    /// Starts a thread that opens a video, called `name` in messages, and reads it to its end. What `open` runs, `stopper`
    /// stops.
    pub(in crate::stages::capture) fn start(
        name: &str,
        stopper: Stopper,
        sampling: Sampling,
        haste: Haste,
        open: impl FnOnce() -> Result<VideoReader, VideoError> + Send + 'static,
    ) -> Result<FrameFeed, CaptureError> {
        let (sender, receiver) = mpsc::channel(FRAMES_AHEAD);
        std::thread::Builder::new()
            .name("percept/reader".into())
            .spawn(move || match open() {
                Ok(reader) => match haste {
                    Haste::Waits => read_all(reader, sampling, &sender),
                    Haste::GoesOn => read_live(reader, sampling, &sender),
                },
                // Nobody listens any more: the stream was given up meanwhile.
                Err(error) => drop(sender.blocking_send(Fed::Opened(Err(error)))),
            })
            .map_err(|source| CaptureError::Thread { name: name.to_owned(), source })?;
        Ok(FrameFeed { name: name.to_owned(), receiver, stopper })
    }

    /// What comes next; after the ending it is not called again. Cancel safe.
    pub(in crate::stages::capture) async fn next(&mut self) -> Result<Fed, CaptureError> {
        let panicked = || CaptureError::DecoderPanicked { name: self.name.clone() };
        self.receiver.recv().await.ok_or_else(panicked)
    }

    /// Waits until the video is open. Called first; cancel safe.
    pub(in crate::stages::capture) async fn opened(&mut self) -> Result<VideoSpec, CaptureError> {
        match self.next().await? {
            Fed::Opened(result) => Ok(result?),
            _ => Err(CaptureError::DecoderPanicked { name: self.name.clone() }),
        }
    }
}

fn read_all(mut reader: VideoReader, mut sampling: Sampling, sender: &mpsc::Sender<Fed>) {
    if sender.blocking_send(Fed::Opened(Ok(reader.spec().clone()))).is_err() {
        return;
    }
    // The frame that is to be sent when it is known how long it lasts.
    let mut held: Option<VideoFrame> = None;
    let mut last = Timestamp::ZERO;
    let mut step = reader.spec().period;
    let mut any = false;
    let error = loop {
        let frame = match reader.read() {
            Ok(Some(frame)) => frame,
            Ok(None) => break None,
            Err(error) => break Some(error),
        };
        // Starts never decrease.
        let start = if any { frame.start.max(last) } else { frame.start };
        if any && step.is_none() && start > last {
            step = Some(start.since(last));
        }
        (any, last) = (true, start);
        if !sampling.takes(start) {
            continue;
        }
        if let Some(before) = held.replace(VideoFrame { start, ..frame })
            && !send(before, start, sender)
        {
            return;
        }
    };
    let end = if any { last + step.unwrap_or(TimeSpan::ZERO) } else { last };
    if let Some(before) = held
        && !send(before, end, sender)
    {
        return;
    }
    let complaint = reader.complaint().map(str::to_owned);
    // Nobody listens any more: the stream was given up meanwhile.
    drop(sender.blocking_send(Fed::End(Ending { error, complaint, end })));
}

/// Sends a frame that lasts until `end`. Whether somebody listens.
fn send(frame: VideoFrame, end: Timestamp, sender: &mpsc::Sender<Fed>) -> bool {
    let VideoFrame { image, start } = frame;
    let shown = Shown { image, start, duration: end.since(start), lost: 0 };
    sender.blocking_send(Fed::Frame(shown)).is_ok()
}

fn read_live(mut reader: VideoReader, mut sampling: Sampling, sender: &mpsc::Sender<Fed>) {
    if sender.blocking_send(Fed::Opened(Ok(reader.spec().clone()))).is_err() {
        return;
    }
    let mut last: Option<Timestamp> = None;
    let mut lost = 0;
    let error = loop {
        let VideoFrame { image, start } = match reader.read() {
            Ok(Some(frame)) => frame,
            Ok(None) => break None,
            Err(error) => break Some(error),
        };
        if !sampling.takes(start) {
            continue;
        }
        let duration = last.map_or(TimeSpan::ZERO, |last| start.max(last).since(last));
        last = Some(start);
        match sender.try_send(Fed::Frame(Shown { image, start, duration, lost })) {
            Ok(()) => lost = 0,
            Err(TrySendError::Full(_)) => lost += 1,
            Err(TrySendError::Closed(_)) => return,
        }
    };
    let complaint = reader.complaint().map(str::to_owned);
    // Nobody listens any more: the camera was given up meanwhile.
    drop(sender.blocking_send(Fed::End(Ending { error, complaint, end: last.unwrap_or(Timestamp::ZERO) })));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_by_number_and_by_time() {
        let at = |ms: i64| Timestamp::from_nanos(ms * 1_000_000);
        let taken = |every, fps, times: &[i64]| {
            let mut sampling = Sampling::new(every, fps);
            times.iter().copied().filter(|ms| sampling.takes(at(*ms))).collect::<Vec<_>>()
        };
        let steady: Vec<i64> = (0..10).map(|n| n * 40).collect();
        for (every, fps, times, expected) in [
            (1, None, &steady[..4], &[0, 40, 80, 120][..]),
            (3, None, &steady, &[0, 120, 240, 360]),
            (1, Some(10.0), &steady, &[0, 120, 200, 320]),
            (2, Some(10.0), &steady, &[0, 160, 240, 320]),
            (1, Some(100.0), &steady[..3], &[0, 40, 80]),
            // A pause, and times that jump together.
            (1, Some(10.0), &[0, 10, 20, 500, 510, 610], &[0, 500, 610]),
            (0, Some(1.0), &[5, 999, 1000], &[5, 1000]),
        ] {
            assert_eq!(taken(every, fps, times), expected, "every {every}, {fps:?}");
        }
    }
}
