//! One stream of `endpoint`: brings windows and sound together and emits what the segmenter finds.

use std::collections::VecDeque;

use super::segmenter::{Found, Limits, Segmenter, Window};
use super::sound::Sound;
use super::{EndpointError, MAX_WAITING};
use crate::media::{Audio, Format, Packet};
use crate::stage::{Draft, EventKind, Output, StageError};
use crate::stages::timeline::{Continuity, Timeline};
use crate::units::{Rate, TimeSpan, Timestamp};

/// A voice packet that waits for the sound of its window.
#[derive(Clone, Copy, Debug)]
struct Voice {
    start: Timestamp,
    end: Timestamp,
    probability: f32,
    gap: bool,
}

/// What belongs to one stream.
#[derive(Debug)]
pub(super) struct Listening {
    limits: Limits,
    live: bool,
    stall: TimeSpan,
    /// Sound without voice windows that may end an utterance, in samples.
    unjudged: u64,
    /// Positions are samples of the present run of sound.
    timeline: Timeline,
    begun: bool,
    sound: Sound,
    voice: VecDeque<Voice>,
    segmenter: Segmenter,
    found: Vec<Found>,
    /// The end of the newest packet on either port.
    newest: Timestamp,
    /// What was the newest at the last look that found something new, and when that was by the clock.
    last_look: Option<(Timestamp, Timestamp)>,
    told_bad_probability: bool,
}

impl Listening {
    /// A stream that has not begun. `stall`: see `stall_ms`.
    pub fn new(rate: Rate, limits: Limits, stall: TimeSpan, live: bool) -> Self {
        Listening {
            limits,
            live,
            stall,
            unjudged: rate.samples_in(stall),
            timeline: Timeline::new(rate),
            begun: false,
            sound: Sound::default(),
            voice: VecDeque::new(),
            segmenter: Segmenter::new(limits),
            found: Vec::new(),
            newest: Timestamp::MIN,
            last_look: None,
            told_bad_probability: false,
        }
    }

    /// Samples in memory.
    #[cfg(test)]
    pub fn kept(&self) -> usize {
        self.sound.kept()
    }

    /// No utterance to come starts before this; `None` before the first sound.
    pub fn needed_from(&self) -> Option<Timestamp> {
        let from = self.segmenter.needed_from().min(self.sound.len());
        self.begun.then(|| self.timeline.time_of(from))
    }

    /// Ends the utterance in progress when nothing has come for too long, by the clock alone: sound may lag behind it, by
    /// the time that a device took to start or by its own idea of a second.
    pub fn look_at_clock(&mut self, now: Timestamp, out: &mut Output) {
        match self.last_look {
            Some((newest, since)) if newest == self.newest => {
                let silent = now - since;
                if self.live && self.segmenter.is_in_utterance() && silent > self.stall {
                    let message = format!("nothing came for {silent}: the utterance in progress is ended");
                    out.event(EventKind::Notice, message);
                    self.end_speech(Timestamp::MAX);
                    self.tell(out);
                }
            }
            _ => self.last_look = Some((self.newest, now)),
        }
    }

    /// Takes a voice packet.
    pub fn hear_voice(&mut self, packet: &Packet, out: &mut Output) -> Result<(), StageError> {
        let (start, end) = (packet.start, packet.end());
        let tensor = packet.payload.tensor()?;
        let wrong = |found: String| StageError::skip(EndpointError::Voice { start, found });
        let probability = match tensor.as_slice::<f32>() {
            Ok([probability]) => *probability,
            _ => return Err(wrong(packet.payload.format().to_string())),
        };
        if end <= start {
            return Err(wrong("a packet without duration".to_owned()));
        }
        if self.voice.len() >= MAX_WAITING {
            return Err(StageError::skip(EndpointError::Ahead { start }));
        }
        if !probability.is_finite() && !self.told_bad_probability {
            self.told_bad_probability = true;
            let message =
                format!("the voice probability at {start} is {probability}: taken as 0, here and from now on");
            out.event(EventKind::Notice, message);
        }
        let probability = if probability.is_finite() { probability } else { 0.0 };
        self.voice.push_back(Voice { start, end, probability, gap: packet.flags.gap });
        self.heard(end, out);
        Ok(())
    }

    /// Takes a packet of sound.
    pub fn hear_sound(&mut self, packet: &Packet, out: &mut Output) -> Result<(), StageError> {
        let audio = packet.payload.audio()?;
        let expected = Format::audio(Some(self.timeline.rate()), Some(1));
        let found = packet.payload.format();
        if expected != found {
            return Err(StageError::skip(EndpointError::Changed { expected, found }));
        }
        if self.timeline.follows_packet(packet) == Continuity::Gap {
            self.end_run(packet.start, out);
        }
        self.timeline.accept_packet(packet, audio.frames());
        self.begun = true;
        // Every window that starts by now has come, so the gate will say nothing about what lies between.
        let begin = self.sound.len();
        if self.voice.is_empty() && begin.saturating_sub(self.segmenter.reached()) > self.unjudged {
            self.segmenter.finish(self.segmenter.reached(), &mut self.found);
            self.tell(out);
            self.segmenter.skip_to(begin);
        }
        self.sound.push(audio.samples());
        self.heard(packet.end(), out);
        Ok(())
    }

    /// Something came that ends at `end`: decides what can be decided by now.
    fn heard(&mut self, end: Timestamp, out: &mut Output) {
        self.newest = self.newest.max(end);
        self.advance(false, Timestamp::MAX);
        self.tell(out);
    }

    /// Takes the windows that start before `before` and whose sound is there; when no more of it will come
    /// (`complete`), those too of which only a part is there.
    fn advance(&mut self, complete: bool, before: Timestamp) {
        if !self.begun {
            return;
        }
        let total = self.sound.len();
        while let Some(window) = self.voice.front().copied()
            && window.start < before
        {
            let (begin, end) = (self.timeline.index_at(window.start), self.timeline.index_at(window.end));
            let reached = self.segmenter.reached();
            // Neighbours touch, give or take the rounding of their times; of those that overlap the rest counts.
            let missing = begin > reached.saturating_add(1);
            let begin = if missing { begin } else { reached };
            if end > begin {
                let ready = if complete { begin < total } else { end <= total };
                if !ready {
                    return;
                }
                if missing || window.gap {
                    self.segmenter.finish(reached.min(total), &mut self.found);
                    self.segmenter.skip_to(begin);
                }
                let window = Window { begin, end, probability: window.probability };
                self.segmenter.window(window, end.min(total), &mut self.found);
            }
            self.voice.pop_front();
        }
    }

    /// Ends what is in progress: no more sound comes for the windows that start before `before`.
    fn end_speech(&mut self, before: Timestamp) {
        self.advance(true, before);
        let (reached, total) = (self.segmenter.reached(), self.sound.len());
        let judged = total.saturating_sub(reached) <= self.unjudged;
        self.segmenter.finish(if judged { total } else { reached }, &mut self.found);
    }

    /// Ends the present run of sound; what starts at `before` or later belongs to the next.
    pub fn end_run(&mut self, before: Timestamp, out: &mut Output) {
        self.end_speech(before);
        self.tell(out);
        while self.voice.front().is_some_and(|window| window.start < before) {
            self.voice.pop_front();
        }
        self.sound = Sound::default();
        self.segmenter = Segmenter::new(self.limits);
    }

    /// Emits what was found, and forgets the sound that is needed no more.
    fn tell(&mut self, out: &mut Output) {
        for Found { start, end, partial, eager, revision } in self.found.drain(..) {
            let audio = Audio::mono(self.sound.copy(start..end), self.timeline.rate());
            let mut draft = Draft::new(self.timeline.time_of(start), self.timeline.span(start, end), audio);
            draft.flags.partial = partial;
            draft.flags.expected_final = eager;
            out.emit(0, draft.revision(revision));
        }
        self.sound.forget_before(self.segmenter.needed_from());
    }
}
