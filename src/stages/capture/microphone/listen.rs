//! The stream of a microphone: cuts packets, watches the device by the clock, opens it again, keeps times right.

use std::sync::{Arc, mpsc};
use std::time::SystemTime;

use tokio::sync::oneshot;

use super::Dial;
use super::device::{Connected, Line};
use crate::media::{Audio, Format};
use crate::stage::{BoxFuture, Draft, EventKind, Flow, Loss, Output, Source, SourceInfo, StageError};
use crate::units::{Clock, ClockInstant, Rate, TimeSpan, Timestamp};

/// The least time between two events about lost samples.
const OVERRUN_EVERY: TimeSpan = TimeSpan::from_millis(5_000);

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// The length of a packet.
    pub packet: TimeSpan,
    /// Nothing delivered for this long: the device is silent.
    pub silent_after: TimeSpan,
    /// The wait before it is opened again.
    pub reopen: TimeSpan,
    /// Nothing but zeros for this long: it seems muted. `None`: never.
    pub muted_after: Option<TimeSpan>,
}

/// Where the device stands.
enum Stage {
    /// It is open.
    Open {
        device: Connected,
        /// Dropped to close it.
        _hold: mpsc::Sender<()>,
        closed: oneshot::Receiver<()>,
    },
    /// It is being closed. Only then is it opened again: most devices can be open once only.
    Closing(oneshot::Receiver<()>),
    /// It is opened again at this time.
    Waiting(ClockInstant),
    /// It is being opened.
    Opening(Line),
}

/// The stream of a microphone.
pub(super) struct Listener {
    name: String,
    patience: Patience,
    clock: Arc<dyn Clock>,
    wall: SystemTime,
    dial: Dial,
    stage: Stage,
    rate: Rate,
    channels: u16,
    /// The clock at stream time zero; set when reading begins.
    zero: Option<ClockInstant>,
    /// The time of frame 0 of the present format.
    base: Timestamp,
    /// Frames of the present format up to here, those that are missing too.
    position: u64,
    /// Samples that make no whole packet yet; they start at `position`.
    held: Vec<f32>,
    /// Something is missing before the next packet.
    gap: bool,
    /// How much is missing is for the clock to say when the next samples come.
    by_clock: bool,
    heard: ClockInstant,
    /// Why the device was told to be away; `None` while it delivers.
    away: Option<String>,
    /// Frames of zeros at the end.
    zeros: u64,
    muted_told: bool,
    overrun_told: Option<ClockInstant>,
    taken: u64,
    /// Frames that found no room in rings that are closed.
    overrun: u64,
}

impl Listener {
    pub(super) fn new(
        name: String,
        patience: Patience,
        clock: Arc<dyn Clock>,
        dial: Dial,
        line: Line,
        device: Connected,
    ) -> Self {
        let (rate, channels) = (device.rate, device.channels);
        let Line { hold, closed, .. } = line;
        Listener {
            name,
            patience,
            wall: clock.wall(),
            heard: clock.now(),
            clock,
            dial,
            stage: Stage::Open { device, _hold: hold, closed },
            rate,
            channels,
            zero: None,
            base: Timestamp::ZERO,
            position: 0,
            held: Vec::new(),
            gap: false,
            by_clock: false,
            away: None,
            zeros: 0,
            muted_told: false,
            overrun_told: None,
            taken: 0,
            overrun: 0,
        }
    }

    async fn advance(&mut self, out: &mut Output) -> Result<Flow, StageError> {
        if self.zero.is_none() {
            self.zero = Some(self.clock.now());
            self.heard = self.clock.now();
        }
        loop {
            match &mut self.stage {
                Stage::Open { .. } => {
                    self.listen(out);
                    if !out.is_empty() {
                        return Ok(Flow::More);
                    }
                    let half = TimeSpan::from_nanos(self.patience.packet.as_nanos() / 2);
                    self.clock.sleep_until(self.clock.now().after(half)).await;
                }
                Stage::Closing(closed) => {
                    // It ends with an error: nothing is ever sent.
                    let _ = closed.await;
                    self.stage = Stage::Waiting(self.clock.now().after(self.patience.reopen));
                }
                Stage::Waiting(until) => {
                    self.clock.sleep_until(*until).await;
                    self.stage = Stage::Opening((self.dial)());
                }
                Stage::Opening(line) => {
                    let answer = match (&mut line.answer).await {
                        Ok(Ok(device)) => Ok(device),
                        Ok(Err(error)) => Err(error.to_string()),
                        Err(_) => Err("its driver panicked".to_owned()),
                    };
                    let again = Stage::Waiting(self.clock.now().after(self.patience.reopen));
                    let Stage::Opening(line) = std::mem::replace(&mut self.stage, again) else { continue };
                    match answer {
                        Ok(device) => {
                            if self.adopt(device, line) {
                                return Ok(Flow::Reopen);
                            }
                        }
                        Err(why) => {
                            if self.is_gone(&why, out) {
                                return Ok(Flow::More);
                            }
                        }
                    }
                }
            }
        }
    }

    /// Takes what the device delivered, and looks whether it still delivers.
    fn listen(&mut self, out: &mut Output) {
        let now = self.clock.now();
        if self.take(now, out) > 0 {
            self.heard = now;
            if let Some(why) = self.away.take() {
                out.event(EventKind::DeviceBack, format!("the microphone delivers again ({why} before)"));
            }
        }
        let Stage::Open { device, .. } = &self.stage else { return };
        let quiet = now.since(self.heard);
        if let Some(why) = device.failure.get() {
            self.send_rest(out);
            let name = device_name(&self.stage);
            if self.away.is_none() {
                out.event(
                    EventKind::DeviceLost,
                    format!("the microphone {name} is gone: {why}; trying to open it again"),
                );
            }
            self.away.get_or_insert_with(|| "it was gone".to_owned());
            self.hang_up();
        } else if quiet >= self.patience.silent_after {
            self.send_rest(out);
            let name = device_name(&self.stage);
            if self.away.is_none() {
                let message = format!("the microphone {name} has delivered nothing for {quiet}; opening it again");
                out.event(EventKind::DeviceSilent, message);
            }
            self.away.get_or_insert_with(|| "it was silent".to_owned());
            self.hang_up();
        }
    }

    /// Takes everything out of the ring; gives the number of frames.
    fn take(&mut self, now: ClockInstant, out: &mut Output) -> usize {
        let mut total = 0;
        loop {
            let Stage::Open { device, .. } = &mut self.stage else { return total };
            let before = self.held.len();
            let (frames, hole) = device.ring.read(&mut self.held);
            let (waiting, lost) = (device.ring.waiting(), device.ring.overrun());
            total += frames;
            self.taken += frames as u64;
            if frames > 0 && std::mem::take(&mut self.by_clock) {
                self.place_by_clock(now, (frames + waiting) as u64);
            }
            self.watch_zeros(before, frames, out);
            self.send_whole(out);
            let Some(hole) = hole else { return total };
            self.send_rest(out);
            self.gap = true;
            self.position += hole.frames;
            self.by_clock |= hole.frames == 0;
            if self.overrun_told.is_none_or(|told| now.since(told) >= OVERRUN_EVERY) {
                self.overrun_told = Some(now);
                let message = match hole.frames {
                    0 => {
                        "the device lost samples before they could be taken; the times after it are by the clock".into()
                    }
                    frames => format!(
                        "{} of sound were lost, as the pipeline is behind ({} frames so far)",
                        self.rate.span(0, frames),
                        self.overrun + lost
                    ),
                };
                out.event(EventKind::Overrun, message);
            }
        }
    }

    /// The next sample came `frames` frames before `now`. Never goes back.
    fn place_by_clock(&mut self, now: ClockInstant, frames: u64) {
        let time = Timestamp::ZERO + now.since(self.zero.unwrap_or(now));
        let heard = self.rate.samples_in(time.since(self.base));
        self.position = self.position.max(heard.saturating_sub(frames));
    }

    fn watch_zeros(&mut self, from: usize, frames: usize, out: &mut Output) {
        let Some(limit) = self.patience.muted_after.filter(|_| frames > 0 && !self.muted_told) else { return };
        let zeros = self.held.iter().skip(from).all(|sample| *sample == 0.0);
        self.zeros = if zeros { self.zeros + frames as u64 } else { 0 };
        let span = self.rate.span(0, self.zeros);
        if span >= limit {
            self.muted_told = true;
            let name = device_name(&self.stage);
            out.event(
                EventKind::DeviceSilent,
                format!("the microphone {name} gives nothing but zeros for {span}; is it muted?"),
            );
        }
    }

    fn packet_samples(&self) -> usize {
        let frames = self.rate.samples_in(self.patience.packet).max(1);
        usize::try_from(frames).unwrap_or(usize::MAX).saturating_mul(self.channels.into())
    }

    fn send_whole(&mut self, out: &mut Output) {
        let packet = self.packet_samples();
        while self.held.len() >= packet {
            let rest = self.held.split_off(packet);
            let samples = std::mem::replace(&mut self.held, rest);
            self.send(samples, out);
        }
    }

    fn send_rest(&mut self, out: &mut Output) {
        let samples = std::mem::take(&mut self.held);
        if !samples.is_empty() {
            self.send(samples, out);
        }
    }

    fn send(&mut self, samples: Vec<f32>, out: &mut Output) {
        // The ring holds whole frames, and packets are cut between them.
        let Ok(audio) = Audio::new(samples, self.channels, self.rate) else { return };
        let end = self.position + audio.frames() as u64;
        let start = self.base + self.rate.span(0, self.position);
        let duration = self.rate.span(self.position, end);
        out.emit(0, Draft::new(start, duration, audio).gap(std::mem::take(&mut self.gap)));
        self.position = end;
    }

    /// Lets the device go. What it still delivers until it is closed is part of the gap.
    fn hang_up(&mut self) {
        let later = Stage::Waiting(self.clock.now().after(self.patience.reopen));
        if let Stage::Open { device, closed, .. } = std::mem::replace(&mut self.stage, later) {
            self.overrun += device.ring.overrun();
            self.stage = Stage::Closing(closed);
        }
        self.gap = true;
        self.by_clock = true;
    }

    /// The device could not be opened again. Whether that is news.
    fn is_gone(&mut self, why: &str, out: &mut Output) -> bool {
        let news = self.away.as_deref() != Some(why);
        if news {
            out.event(EventKind::DeviceLost, format!("{why}; trying again"));
            self.away = Some(why.to_owned());
        }
        news
    }

    /// Goes on with a device that was opened again. Whether its format is another one.
    fn adopt(&mut self, device: Connected, line: Line) -> bool {
        let now = self.clock.now();
        let other = (device.rate, device.channels) != (self.rate, self.channels);
        if other {
            let end = self.base + self.rate.span(0, self.position);
            self.base = end.max(Timestamp::ZERO + now.since(self.zero.unwrap_or(now)));
            self.position = 0;
            (self.rate, self.channels) = (device.rate, device.channels);
        }
        self.heard = now;
        self.stage = Stage::Open { device, _hold: line.hold, closed: line.closed };
        other
    }
}

fn device_name(stage: &Stage) -> String {
    match stage {
        Stage::Open { device, .. } => format!("\"{}\"", device.name),
        _ => String::new(),
    }
}

impl Source for Listener {
    fn info(&self) -> SourceInfo {
        SourceInfo {
            name: self.name.clone(),
            group: None,
            live: true,
            wall: Some(self.wall),
            file: None,
            formats: vec![Format::audio(Some(self.rate), Some(self.channels))],
            seconds: None,
        }
    }

    fn read<'a>(&'a mut self, out: &'a mut Output) -> BoxFuture<'a, Result<Flow, StageError>> {
        Box::pin(self.advance(out))
    }

    fn stop(&mut self, out: &mut Output) {
        self.take(self.clock.now(), out);
        self.send_rest(out);
    }

    fn loss(&self) -> Loss {
        let open = if let Stage::Open { device, .. } = &self.stage { device.ring.overrun() } else { 0 };
        let overrun = self.overrun + open;
        Loss { delivered: self.taken + overrun, overrun, damaged: 0 }
    }
}

#[cfg(test)]
mod tests;
