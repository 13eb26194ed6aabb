//! Pictures that a thread reads and decodes ahead, and the stream over them.

use std::path::PathBuf;

use tokio::sync::mpsc;

use super::error::CaptureError;
use super::pixels::Pixels;
use crate::codec::{PictureFrames, PictureLimits};
use crate::media::{Format, Image};
use crate::stage::{BoxFuture, Draft, EventKind, Flow, Output, Source, SourceInfo, StageError};
use crate::units::{TimeSpan, Timestamp};

/// Pictures of an animation that wait to be taken.
const FRAMES_AHEAD: usize = 2;
/// How long a picture of an animation is shown whose file says 0, as viewers have it, in milliseconds.
const NO_DELAY_MS: i64 = 100;

/// A picture and when it is shown.
#[derive(Debug)]
pub(super) struct Frame {
    image: Image,
    start: Timestamp,
    duration: TimeSpan,
}

/// What the thread hands over: frames, then the ending.
#[derive(Debug)]
enum Fed {
    Frame(Frame),
    End(Result<(), CaptureError>),
}

/// The receiving end. Dropping it ends the thread at its next picture.
#[derive(Debug)]
pub(super) struct PictureFeed {
    name: String,
    path: PathBuf,
    receiver: mpsc::Receiver<Fed>,
}

impl PictureFeed {
    /// Starts a thread that reads the file at `path`, called `name` in messages, and decodes its pictures.
    pub(super) fn start(
        name: &str,
        path: PathBuf,
        pixels: Pixels,
        limits: PictureLimits,
    ) -> Result<PictureFeed, CaptureError> {
        let (sender, receiver) = mpsc::channel(FRAMES_AHEAD);
        let (stream, file) = (name.to_owned(), path.clone());
        std::thread::Builder::new()
            .name("percept/reader".into())
            .spawn(move || {
                let result = PictureFrames::open(&path, &limits)
                    .map_err(CaptureError::from)
                    .and_then(|frames| read_all(frames, pixels, &stream, &sender));
                // Nobody listens any more: the stream was given up meanwhile.
                drop(sender.blocking_send(Fed::End(result)));
            })
            .map_err(|source| CaptureError::Thread { name: name.to_owned(), source })?;
        Ok(PictureFeed { name: name.to_owned(), path: file, receiver })
    }

    /// The first picture, which every stream has. Cancel safe.
    pub(super) async fn first(&mut self) -> Result<Frame, CaptureError> {
        self.next().await?.ok_or_else(|| CaptureError::NoPicture { name: self.name.clone() })
    }

    /// The next picture; `None` after the last one, and then it is not called again. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, CaptureError> {
        match self.receiver.recv().await {
            Some(Fed::Frame(frame)) => Ok(Some(frame)),
            Some(Fed::End(result)) => result.map(|()| None),
            None => Err(CaptureError::DecoderPanicked { name: self.name.clone() }),
        }
    }
}

fn read_all(frames: PictureFrames, pixels: Pixels, name: &str, sender: &mpsc::Sender<Fed>) -> Result<(), CaptureError> {
    let mut start = Timestamp::ZERO;
    for frame in frames {
        let frame = frame?;
        let image = pixels.of(frame.image).map_err(|source| CaptureError::Pixels { name: name.to_owned(), source })?;
        let duration = match frame.delay {
            None => TimeSpan::ZERO,
            Some(TimeSpan::ZERO) => TimeSpan::from_millis(NO_DELAY_MS),
            Some(delay) => delay,
        };
        if sender.blocking_send(Fed::Frame(Frame { image, start, duration })).is_err() {
            return Ok(());
        }
        start = start + duration;
    }
    Ok(())
}

/// One file's stream, opened with its first picture.
#[derive(Debug)]
pub(super) struct PictureStream {
    feed: PictureFeed,
    format: Format,
    /// Taken from the feed, not sent yet.
    held: Option<Frame>,
    /// What is told first.
    notice: Option<String>,
}

impl PictureStream {
    /// The stream that goes on from its first picture.
    pub(super) fn new(feed: PictureFeed, first: Frame, notice: Option<String>) -> Self {
        let (pixel, width, height) = (first.image.format(), first.image.width(), first.image.height());
        let format = Format::image(Some(pixel), Some(width), Some(height));
        PictureStream { feed, format, held: Some(first), notice }
    }

    async fn advance(&mut self, out: &mut Output) -> Result<Flow, StageError> {
        if let Some(notice) = self.notice.take() {
            out.event(EventKind::Notice, notice);
        }
        if self.held.is_none() {
            self.held = self.feed.next().await.map_err(CaptureError::ends_stream)?;
        }
        Ok(if self.send_held(out) { Flow::More } else { Flow::End })
    }

    fn send_held(&mut self, out: &mut Output) -> bool {
        let Some(Frame { image, start, duration }) = self.held.take() else { return false };
        out.emit(0, Draft::new(start, duration, image));
        true
    }
}

impl Source for PictureStream {
    fn info(&self) -> SourceInfo {
        SourceInfo {
            name: self.feed.name.clone(),
            group: None,
            live: false,
            wall: None,
            file: Some(self.feed.path.clone()),
            formats: vec![self.format.clone()],
            seconds: None,
        }
    }

    fn read<'a>(&'a mut self, out: &'a mut Output) -> BoxFuture<'a, Result<Flow, StageError>> {
        Box::pin(self.advance(out))
    }

    fn stop(&mut self, out: &mut Output) {
        self.send_held(out);
    }
}
