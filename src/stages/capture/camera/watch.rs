//! The stream of a camera: watches it by the clock, opens it again, keeps times right.

use std::sync::Arc;
use std::time::SystemTime;

use super::super::video::feed::{Fed, FrameFeed, Shown};
use super::Dial;
use crate::media::{Format, PixelFormat};
use crate::stage::{BoxFuture, Draft, EventKind, Flow, Output, Source, SourceInfo, StageError};
use crate::units::{Clock, ClockInstant, TimeSpan, Timestamp};

/// The least time between two events about lost frames.
const LOST_EVERY: TimeSpan = TimeSpan::from_millis(5_000);

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Nothing delivered for this long: the camera is silent.
    pub(super) silent_after: TimeSpan,
    /// The wait before it is opened again.
    pub(super) reopen: TimeSpan,
}

/// Where the camera stands.
enum Stage {
    Open(FrameFeed),
    /// It is opened again at this time.
    Waiting(ClockInstant),
    Opening(FrameFeed),
}

/// The stream of a camera.
pub(super) struct Watcher {
    name: String,
    patience: Patience,
    clock: Arc<dyn Clock>,
    wall: SystemTime,
    dial: Dial,
    stage: Stage,
    size: (u32, u32),
    /// The clock at stream time zero; set when reading begins.
    zero: Option<ClockInstant>,
    /// What is added to the camera's times; `None` before its first frame.
    shift: Option<TimeSpan>,
    last: Timestamp,
    /// Something is missing before the next packet.
    gap: bool,
    heard: ClockInstant,
    /// Why the camera was told to be away; `None` while it delivers.
    away: Option<String>,
    lost: u64,
    lost_told: Option<ClockInstant>,
}

impl Watcher {
    pub(super) fn new(
        name: String,
        patience: Patience,
        clock: Arc<dyn Clock>,
        dial: Dial,
        feed: FrameFeed,
        size: (u32, u32),
    ) -> Self {
        Watcher {
            name,
            patience,
            wall: clock.wall(),
            heard: clock.now(),
            clock,
            dial,
            stage: Stage::Open(feed),
            size,
            zero: None,
            shift: None,
            last: Timestamp::ZERO,
            gap: false,
            away: None,
            lost: 0,
            lost_told: None,
        }
    }

    async fn advance(&mut self, out: &mut Output) -> Result<Flow, StageError> {
        if self.zero.is_none() {
            self.zero = Some(self.clock.now());
            self.heard = self.clock.now();
        }
        loop {
            let limit = self.heard.after(self.patience.silent_after);
            match &mut self.stage {
                Stage::Waiting(until) => {
                    self.clock.sleep_until(*until).await;
                    self.heard = self.clock.now();
                    match (self.dial)() {
                        Ok(feed) => self.stage = Stage::Opening(feed),
                        Err(error) => self.is_gone(&error.to_string(), out),
                    }
                }
                Stage::Opening(feed) => {
                    let opened = tokio::select! {
                        biased;
                        opened = feed.opened() => opened.map_err(|error| error.to_string()),
                        () = self.clock.sleep_until(limit) => Err("it does not answer".to_owned()),
                    };
                    match opened {
                        Ok(spec) => {
                            self.adopt();
                            let size = (spec.width, spec.height);
                            if std::mem::replace(&mut self.size, size) != size {
                                return Ok(Flow::Reopen);
                            }
                        }
                        Err(why) => self.is_gone(&why, out),
                    }
                }
                Stage::Open(feed) => {
                    let fed = tokio::select! {
                        biased;
                        fed = feed.next() => Some(fed),
                        () = self.clock.sleep_until(limit) => None,
                    };
                    match fed {
                        Some(Ok(Fed::Opened(_))) => {}
                        Some(Ok(Fed::Frame(frame))) => self.take(frame, out),
                        Some(Ok(Fed::End(ending))) => {
                            let why = ending.error.map_or_else(|| "it has ended".to_owned(), |error| error.to_string());
                            self.is_gone(&why, out);
                        }
                        Some(Err(error)) => self.is_gone(&error.to_string(), out),
                        None => {
                            let quiet = self.patience.silent_after;
                            let message =
                                format!("the camera {} has delivered nothing for {quiet}; opening it again", self.name);
                            if self.away.is_none() {
                                out.event(EventKind::DeviceSilent, message);
                            }
                            self.away.get_or_insert_with(|| "it was silent".to_owned());
                            self.hang_up();
                        }
                    }
                }
            }
            if !out.is_empty() {
                return Ok(Flow::More);
            }
        }
    }

    fn take(&mut self, frame: Shown, out: &mut Output) {
        let now = self.clock.now();
        self.heard = now;
        if let Some(why) = self.away.take() {
            out.event(EventKind::DeviceBack, format!("the camera {} delivers again ({why} before)", self.name));
        }
        if frame.lost > 0 {
            self.gap = true;
            self.lost += frame.lost;
            if self.lost_told.is_none_or(|told| now.since(told) >= LOST_EVERY) {
                self.lost_told = Some(now);
                let message =
                    format!("{} frames were lost, as the pipeline is behind ({} so far)", frame.lost, self.lost);
                out.event(EventKind::Overrun, message);
            }
        }
        // The first frame is placed by the clock, the others by the camera.
        let shift = *self.shift.get_or_insert_with(|| {
            let time = Timestamp::ZERO + now.since(self.zero.unwrap_or(now));
            time.since(frame.start)
        });
        let start = (frame.start + shift).max(self.last);
        self.last = start;
        out.emit(0, Draft::new(start, frame.duration, frame.image).gap(std::mem::take(&mut self.gap)));
    }

    /// Goes on with a camera that was opened again.
    fn adopt(&mut self) {
        self.heard = self.clock.now();
        let later = Stage::Waiting(self.heard);
        self.stage = match std::mem::replace(&mut self.stage, later) {
            Stage::Opening(feed) => Stage::Open(feed),
            other => other,
        };
    }

    /// The camera is gone, or could not be opened again: told when that is news.
    fn is_gone(&mut self, why: &str, out: &mut Output) {
        if self.away.as_deref() != Some(why) {
            out.event(
                EventKind::DeviceLost,
                format!("the camera {} is gone: {why}; trying to open it again", self.name),
            );
            self.away = Some(why.to_owned());
        }
        self.hang_up();
    }

    /// Lets the camera go; it is opened again later.
    fn hang_up(&mut self) {
        self.stage = Stage::Waiting(self.clock.now().after(self.patience.reopen));
        self.gap = true;
        self.shift = None;
    }
}

impl Source for Watcher {
    fn info(&self) -> SourceInfo {
        SourceInfo {
            name: self.name.clone(),
            group: None,
            live: true,
            wall: Some(self.wall),
            file: None,
            formats: vec![Format::image(Some(PixelFormat::Rgb8), Some(self.size.0), Some(self.size.1))],
            seconds: None,
        }
    }

    fn read<'a>(&'a mut self, out: &'a mut Output) -> BoxFuture<'a, Result<Flow, StageError>> {
        Box::pin(self.advance(out))
    }
}
