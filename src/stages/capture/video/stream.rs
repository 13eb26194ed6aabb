//! The stream of a video: frames and sound in the order of their times, over and over if it is a loop.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use super::super::error::CaptureError;
use super::super::feed::{Cutting, Feed};
use super::super::find::FoundFile;
use super::super::sound_feed::{self, SoundFeed};
use super::feed::{Ending, Fed, FrameFeed, Haste, Sampling, Shown};
use crate::codec::{AudioSpec, Stopper, VideoError, VideoOptions, VideoReader, VideoSpec, video_sound};
use crate::media::{Format, PixelFormat};
use crate::stage::{BoxFuture, Draft, EventKind, Flow, Loss, Output, Source, SourceInfo, StageError};
use crate::units::{Clock, ClockInstant, TimeSpan, Timestamp};

/// How the streams of a capture are read.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    pub(super) options: VideoOptions,
    pub(super) every: u32,
    pub(super) fps: Option<f64>,
    pub(super) again: bool,
    pub(super) realtime: bool,
    pub(super) sound: bool,
    pub(super) cutting: Cutting,
}

/// A file that is being opened.
#[derive(Debug)]
pub(super) struct Opening {
    name: String,
    path: PathBuf,
    frames: FrameFeed,
    spec: Option<VideoSpec>,
    sound: Option<OpeningSound>,
    sound_spec: Option<AudioSpec>,
}

/// Its sound, and how long after the file's start that begins, once it is known.
#[derive(Debug)]
struct OpeningSound {
    feed: Feed,
    begin: Arc<OnceLock<TimeSpan>>,
    stop: StopOnDrop,
}

/// Ends what a thread reads from when nobody listens to it any more.
#[derive(Debug)]
struct StopOnDrop(Stopper);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Opening {
    pub(super) fn start(file: FoundFile, manner: &Manner) -> Result<Opening, CaptureError> {
        let FoundFile { name, path, .. } = file;
        // Each has its own stopper: one that has ended must not stop the other.
        let own = || VideoOptions { stopper: Stopper::default(), ..manner.options.clone() };
        let sound = match manner.sound {
            false => None,
            true => {
                let (options, file) = (own(), path.clone());
                let stop = StopOnDrop(options.stopper.clone());
                let begin = Arc::new(OnceLock::new());
                let told = begin.clone();
                let open = move || {
                    let (reader, begin) = video_sound(&file, &options)?;
                    // It is opened once.
                    let _ = told.set(begin);
                    Ok(reader)
                };
                Some(OpeningSound { feed: Feed::start(&name, manner.cutting, open)?, begin, stop })
            }
        };
        let (options, file) = (own(), path.clone());
        let stopper = options.stopper.clone();
        let sampling = Sampling::new(manner.every, manner.fps);
        let open = move || VideoReader::open(&file, &options);
        let frames = FrameFeed::start(&name, stopper, sampling, Haste::Waits, open)?;
        Ok(Opening { name, path, frames, spec: None, sound, sound_spec: None })
    }

    /// Waits until frames and sound are there. Cancel safe.
    pub(super) async fn ready(&mut self) -> Result<(), CaptureError> {
        if self.spec.is_none() {
            self.spec = Some(self.frames.opened().await?);
        }
        if let (Some(sound), None) = (&mut self.sound, &self.sound_spec) {
            self.sound_spec = Some(sound.feed.opened().await?);
        }
        Ok(())
    }

    /// The stream, once it is ready.
    pub(super) fn stream(self, manner: Manner, notice: Option<String>, clock: &Arc<dyn Clock>) -> Option<VideoStream> {
        let (name, path) = (self.name.clone(), self.path.clone());
        let spec = self.spec.clone()?;
        let sound_spec = self.sound_spec;
        Some(VideoStream {
            name,
            path,
            spec,
            sound_spec,
            clock: clock.clone(),
            round: self.round(&manner)?,
            manner,
            notice,
            zero: None,
            base: Timestamp::ZERO,
            reopening: None,
            damaged: 0,
            former: Loss::default(),
        })
    }

    fn round(self, manner: &Manner) -> Option<Round> {
        let sound = match (self.sound, self.sound_spec) {
            (Some(sound), Some(spec)) => {
                let own = sound_feed::Manner {
                    name: self.name,
                    cutting: manner.cutting,
                    live: false,
                    pace: None,
                    wall: None,
                    file: None,
                    once: false,
                    notice: None,
                };
                Some(Sound {
                    feed: SoundFeed::new(own, sound.feed, spec),
                    begin: sound.begin.get().copied().unwrap_or(TimeSpan::ZERO),
                    out: Output::new(),
                    waiting: VecDeque::new(),
                    end: Timestamp::ZERO,
                    ended: false,
                    _stop: sound.stop,
                })
            }
            (None, _) => None,
            (Some(_), None) => return None,
        };
        Some(Round { frames: self.frames, next: None, ending: None, sound, sent: 0 })
    }
}

/// One reading of the file from its start to its end.
struct Round {
    frames: FrameFeed,
    /// Taken from the feed, not sent yet.
    next: Option<Shown>,
    ending: Option<Ending>,
    sound: Option<Sound>,
    sent: u64,
}

struct Sound {
    feed: SoundFeed,
    begin: TimeSpan,
    /// What a read that is under way has said.
    out: Output,
    waiting: VecDeque<Draft>,
    end: Timestamp,
    ended: bool,
    _stop: StopOnDrop,
}

impl Sound {
    /// Reads on until there is something to send, or it has ended. Events go to `out`. Cancel safe.
    async fn fill(&mut self, out: &mut Output) -> Result<(), StageError> {
        while self.waiting.is_empty() && !self.ended {
            let read = self.feed.read(&mut self.out).await;
            for event in self.out.drain_events() {
                out.event(event.kind, event.message);
            }
            for mut emitted in self.out.drain_emitted() {
                emitted.draft.start = emitted.draft.start + self.begin;
                self.end = emitted.draft.start + emitted.draft.duration;
                self.waiting.push_back(emitted.draft);
            }
            self.ended = read? == Flow::End;
        }
        Ok(())
    }
}

/// One file's stream.
pub(super) struct VideoStream {
    name: String,
    path: PathBuf,
    spec: VideoSpec,
    sound_spec: Option<AudioSpec>,
    manner: Manner,
    clock: Arc<dyn Clock>,
    /// What is told first.
    notice: Option<String>,
    /// The clock at the start of the file.
    zero: Option<ClockInstant>,
    /// When the present round began.
    base: Timestamp,
    round: Round,
    /// The next round; kept over a call that was dropped.
    reopening: Option<Opening>,
    damaged: u64,
    /// What earlier rounds lost.
    former: Loss,
}

/// The port of frames, and the port of sound.
const FRAMES_PORT: usize = 0;
const SOUND_PORT: usize = 1;

impl VideoStream {
    async fn advance(&mut self, out: &mut Output) -> Result<Flow, StageError> {
        if let Some(notice) = self.notice.take() {
            out.event(EventKind::Notice, notice);
        }
        loop {
            if self.reopening.is_some() {
                self.begin_again().await.map_err(CaptureError::ends_stream)?;
            }
            let round = &mut self.round;
            while round.next.is_none() && round.ending.is_none() {
                match round.frames.next().await.map_err(CaptureError::ends_stream)? {
                    Fed::Opened(_) => {}
                    Fed::Frame(frame) => round.next = Some(frame),
                    Fed::End(ending) => round.ending = Some(ending),
                }
            }
            if let Some(sound) = &mut round.sound {
                sound.fill(out).await?;
            }
            if self.send_next(out).await {
                return Ok(Flow::More);
            }
            if !self.finish(out)? {
                return Ok(Flow::End);
            }
        }
    }

    /// Sends whichever comes first, a frame before sound that starts with it. Whether there was something.
    async fn send_next(&mut self, out: &mut Output) -> bool {
        let round = &self.round;
        let sound = round.sound.as_ref().and_then(|sound| sound.waiting.front());
        let (port, due) = match (&round.next, sound) {
            (Some(frame), Some(draft)) if frame.start > draft.start => (SOUND_PORT, draft.start + draft.duration),
            (Some(frame), _) => (FRAMES_PORT, frame.start),
            (None, Some(draft)) => (SOUND_PORT, draft.start + draft.duration),
            (None, None) => return false,
        };
        let base = self.base.since(Timestamp::ZERO);
        if self.manner.realtime {
            let zero = *self.zero.get_or_insert_with(|| self.clock.now());
            self.clock.sleep_until(zero.after((due + base).since(Timestamp::ZERO))).await;
        }
        self.send(port, out);
        true
    }

    /// Sends the next packet of a port.
    fn send(&mut self, port: usize, out: &mut Output) {
        let base = self.base.since(Timestamp::ZERO);
        let round = &mut self.round;
        if port == SOUND_PORT {
            if let Some(mut draft) = round.sound.as_mut().and_then(|sound| sound.waiting.pop_front()) {
                draft.start = draft.start + base;
                out.emit(SOUND_PORT, draft);
            }
        } else if let Some(Shown { image, start, duration, .. }) = round.next.take() {
            round.sent += 1;
            out.emit(FRAMES_PORT, Draft::new(start + base, duration, image));
        }
    }

    /// The end of a round: tells what was damaged. Whether another one follows.
    fn finish(&mut self, out: &mut Output) -> Result<bool, StageError> {
        let Some(ending) = self.round.ending.take() else { return Ok(false) };
        if let Some(said) = ending.complaint {
            self.damaged += 1;
            out.event(EventKind::Damaged, format!("ffmpeg read on over damage in the video: {said}"));
        }
        match ending.error {
            None => {}
            Some(error @ VideoError::Truncated { .. }) => {
                self.damaged += 1;
                out.event(EventKind::Damaged, error.to_string());
            }
            Some(error) => return Err(CaptureError::from(error).ends_stream()),
        }
        if !self.manner.again || self.round.sent == 0 {
            return Ok(false);
        }
        let sound_end = self.round.sound.as_ref().map_or(Timestamp::ZERO, |sound| sound.end);
        self.base = self.base + ending.end.max(sound_end).since(Timestamp::ZERO);
        let file = FoundFile { name: self.name.clone(), path: self.path.clone(), named: true, item: 0 };
        self.reopening = Some(Opening::start(file, &self.manner).map_err(CaptureError::ends_stream)?);
        Ok(true)
    }

    async fn begin_again(&mut self) -> Result<(), CaptureError> {
        if let Some(opening) = &mut self.reopening {
            opening.ready().await?;
        }
        self.former = self.loss();
        self.damaged = 0;
        if let Some(round) = self.reopening.take().and_then(|opening| opening.round(&self.manner)) {
            self.round = round;
        }
        Ok(())
    }
}

impl Source for VideoStream {
    fn info(&self) -> SourceInfo {
        let mut formats = vec![Format::image(Some(PixelFormat::Rgb8), Some(self.spec.width), Some(self.spec.height))];
        formats.extend(self.sound_spec.map(|spec| Format::audio(Some(spec.sample_rate), Some(spec.channels))));
        let seconds = self.spec.duration.filter(|_| !self.manner.again).map(TimeSpan::as_seconds);
        SourceInfo {
            name: self.name.clone(),
            group: None,
            live: self.manner.realtime,
            wall: None,
            file: Some(self.path.clone()),
            formats,
            seconds,
        }
    }

    fn read<'a>(&'a mut self, out: &'a mut Output) -> BoxFuture<'a, Result<Flow, StageError>> {
        Box::pin(self.advance(out))
    }

    fn stop(&mut self, out: &mut Output) {
        self.send(FRAMES_PORT, out);
    }

    fn loss(&self) -> Loss {
        let sound = self.round.sound.as_ref().map_or(Loss::default(), |sound| sound.feed.loss());
        Loss {
            delivered: self.former.delivered + sound.delivered,
            overrun: self.former.overrun + sound.overrun,
            damaged: self.former.damaged + sound.damaged + self.damaged,
        }
    }
}
