//! The stream over a [`Feed`]: cuts packets, keeps the pace, tells what was damaged.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use super::error::CaptureError;
use super::feed::{Block, Cutting, Ending, Fed, Feed};
use crate::codec::{AudioSpec, CodecError};
use crate::media::{Audio, Format};
use crate::stage::{BoxFuture, Draft, EventKind, Flow, Loss, Output, Source, SourceInfo, StageError};
use crate::units::{Clock, ClockInstant};

/// How a stream is run.
#[derive(Debug)]
pub(super) struct Manner {
    /// The stream's name.
    pub name: String,
    /// How it is cut.
    pub cutting: Cutting,
    /// Whether it counts as coming in real time.
    pub live: bool,
    /// Holds each packet back until this clock says that it would have been recorded.
    pub pace: Option<Arc<dyn Clock>>,
    /// The time of day of its first sample.
    pub wall: Option<SystemTime>,
    /// The file that it is read from.
    pub file: Option<PathBuf>,
    /// Whether what was read but not sent is sent when the pipeline stops: it cannot be read again.
    pub once: bool,
    /// What is told first.
    pub notice: Option<String>,
}

/// One stream of sound from a [`Feed`].
#[derive(Debug)]
pub(super) struct SoundFeed {
    manner: Manner,
    feed: Feed,
    spec: AudioSpec,
    packet_frames: usize,
    /// Frames sent.
    position: u64,
    /// Sound to be sent, and how many of its frames were.
    held: Option<(Audio, usize)>,
    ending: Option<Ending>,
    ended: bool,
    loss: Loss,
    /// The clock at the first sample.
    zero: Option<ClockInstant>,
    not_finite: Tally,
    damaged: Tally,
}

/// Faults in a stream: how many there were, and how many the first event told of.
#[derive(Debug, Default)]
struct Tally {
    count: u64,
    told: u64,
}

impl SoundFeed {
    pub(super) fn new(manner: Manner, feed: Feed, spec: AudioSpec) -> Self {
        SoundFeed {
            packet_frames: manner.cutting.packet_frames(spec.sample_rate),
            manner,
            feed,
            spec,
            position: 0,
            held: None,
            ending: None,
            ended: false,
            loss: Loss::default(),
            zero: None,
            not_finite: Tally::default(),
            damaged: Tally::default(),
        }
    }

    async fn advance(&mut self, out: &mut Output) -> Result<Flow, StageError> {
        if let Some(notice) = self.manner.notice.take() {
            out.event(EventKind::Notice, notice);
        }
        loop {
            if let Some(clock) = self.manner.pace.clone() {
                if let Some(frames) = self.next_packet() {
                    let zero = *self.zero.get_or_insert_with(|| clock.now());
                    let end = self.spec.sample_rate.span(0, self.position + frames as u64);
                    clock.sleep_until(zero.after(end)).await;
                    self.send(frames, out);
                    return Ok(Flow::More);
                }
            } else if self.send_held(out) {
                return Ok(Flow::More);
            }
            if let Some(ending) = self.ending.take() {
                return self.finish(ending, out);
            }
            if self.ended {
                return Ok(Flow::End);
            }
            match self.feed.next().await.map_err(CaptureError::ends_stream)? {
                Fed::Opened(_) => {}
                Fed::Block(block) => self.take(block, out)?,
                Fed::End(ending) => self.take_ending(ending, out)?,
            }
        }
    }

    /// Frames of the next packet; `None` when nothing is held.
    fn next_packet(&self) -> Option<usize> {
        let (audio, sent) = self.held.as_ref()?;
        let rest = audio.frames().saturating_sub(*sent);
        (rest > 0).then_some(rest.min(self.packet_frames))
    }

    /// Sends the next `frames` of what is held.
    fn send(&mut self, frames: usize, out: &mut Output) {
        let Some((audio, sent)) = &mut self.held else { return };
        let Some(packet) = audio.slice(*sent..sent.saturating_add(frames)) else { return };
        *sent += frames;
        let rate = self.spec.sample_rate;
        let end = self.position + frames as u64;
        out.emit(0, Draft::new(rate.time_of(self.position), rate.span(self.position, end), packet));
        self.position = end;
    }

    /// Sends all that is held. Whether there was something.
    fn send_held(&mut self, out: &mut Output) -> bool {
        let before = self.position;
        while let Some(frames) = self.next_packet() {
            self.send(frames, out);
        }
        self.position > before
    }

    fn take(&mut self, block: Block, out: &mut Output) -> Result<(), StageError> {
        let audio =
            Audio::new(block.samples, self.spec.channels, self.spec.sample_rate).map_err(StageError::end_stream)?;
        self.loss.delivered += audio.frames() as u64;
        self.held = Some((audio, 0));
        self.not_finite.count += block.not_finite;
        if let Some(first) = block.first_not_finite.filter(|_| self.not_finite.told == 0) {
            self.not_finite.told = block.not_finite;
            let message = format!(
                "{} in the sound at {} {} made silence, as all further ones will be",
                counted(block.not_finite, "sample that is not a number", "samples that are not numbers"),
                self.spec.sample_rate.time_of(first),
                if block.not_finite == 1 { "was" } else { "were" },
            );
            out.event(EventKind::Damaged, message);
        }
        self.damaged(block.damaged, out);
        Ok(())
    }

    fn take_ending(&mut self, mut ending: Ending, out: &mut Output) -> Result<(), StageError> {
        self.take(std::mem::take(&mut ending.last), out)?;
        self.ending = Some(ending);
        self.ended = true;
        Ok(())
    }

    /// Takes note of all damaged places so far, and tells of the first.
    fn damaged(&mut self, count: u64, out: &mut Output) {
        if count > self.damaged.count {
            self.loss.damaged += count - self.damaged.count;
            self.damaged.count = count;
        }
        if self.damaged.told == 0 && count > 0 {
            self.damaged.told = count;
            let places = counted(count, "damaged place was", "damaged places were");
            let at = self.spec.sample_rate.time_of(self.loss.delivered);
            out.event(EventKind::Damaged, format!("{places} stepped over before {at}; the rest is read on"));
        }
    }

    /// What is left to tell when the last sample was sent.
    fn finish(&mut self, ending: Ending, out: &mut Output) -> Result<Flow, StageError> {
        self.tell_totals(out);
        if ending.leftover_bytes > 0 {
            self.loss.damaged += 1;
            let bytes = counted(ending.leftover_bytes as u64, "byte", "bytes");
            let message = format!(
                "{bytes} at the end make no whole frame and were left out; check `sample_format` and `channels`"
            );
            out.event(EventKind::Damaged, message);
        }
        match ending.error {
            None => Ok(Flow::End),
            Some(error @ CodecError::Truncated { .. }) => {
                self.loss.damaged += 1;
                out.event(EventKind::Damaged, error.to_string());
                Ok(Flow::End)
            }
            Some(error) => Err(CaptureError::from(error).ends_stream()),
        }
    }

    fn tell_totals(&mut self, out: &mut Output) {
        for (tally, what) in [(&self.not_finite, "samples were not numbers"), (&self.damaged, "places were damaged")] {
            if tally.count > tally.told {
                out.event(EventKind::Notice, format!("{} {what} in all", tally.count));
            }
        }
    }
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

impl Source for SoundFeed {
    fn info(&self) -> SourceInfo {
        SourceInfo {
            name: self.manner.name.clone(),
            group: None,
            live: self.manner.live,
            wall: self.manner.wall,
            file: self.manner.file.clone(),
            formats: vec![Format::audio(Some(self.spec.sample_rate), Some(self.spec.channels))],
            seconds: self.spec.frames.map(|frames| self.spec.sample_rate.time_of(frames).as_seconds()),
        }
    }

    fn read<'a>(&'a mut self, out: &'a mut Output) -> BoxFuture<'a, Result<Flow, StageError>> {
        Box::pin(self.advance(out))
    }

    fn stop(&mut self, out: &mut Output) {
        self.send_held(out);
        while self.manner.once {
            // What cannot be taken any more was lost with the stream; its reason is told by the ending.
            let taken = match self.feed.ready() {
                Some(Fed::Block(block)) => self.take(block, out),
                Some(Fed::End(ending)) => self.take_ending(ending, out),
                Some(Fed::Opened(_)) => Ok(()),
                None => break,
            };
            if taken.is_err() {
                break;
            }
            self.send_held(out);
        }
        match self.ending.take() {
            // An error no longer matters: the stream ends here by wish.
            Some(ending) => drop(self.finish(ending, out)),
            None => self.tell_totals(out),
        }
    }

    fn loss(&self) -> Loss {
        self.loss
    }
}
