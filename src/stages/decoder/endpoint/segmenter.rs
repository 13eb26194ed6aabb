//! Where utterances begin and end: the state machine of `endpoint`, on sample positions alone.
//!
//! It knows neither time nor sound. Positions count samples from an origin that its owner chooses; all arithmetic is on
//! integers, so the result is exact.

use std::collections::VecDeque;

/// The settings of `endpoint` in samples.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// A probability from here on opens a candidate.
    pub threshold_on: f32,
    /// A probability from here on keeps speech alive.
    pub threshold_off: f32,
    /// The shortest candidate that is speech.
    pub min_speech: u64,
    /// The shortest silence that ends an utterance.
    pub min_silence: u64,
    /// The length at which an utterance is cut.
    pub max_length: u64,
    /// What an utterance holds before its speech.
    pub pad_before: u64,
    /// What an utterance holds after its speech.
    pub pad_after: u64,
    /// The distance of partial results. `None`: there are none.
    pub partial_every: Option<u64>,
    /// The silence after which a partial result with the final's sound may be given. `None`: it is not wanted.
    pub eager_after: Option<u64>,
}

/// A window with the probability that somebody speaks in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub begin: u64,
    pub end: u64,
    pub probability: f32,
}

/// An utterance, or as much of it as there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub start: u64,
    pub end: u64,
    pub partial: bool,
    /// A partial result with the sound that the final one will have if the silence goes on.
    pub eager: bool,
    /// Counts the partial results of an utterance from 1; the final one has the next number.
    pub revision: u32,
}

/// A candidate, or the speech that it became.
#[derive(Clone, Copy, Debug)]
struct Spoken {
    /// Where the speech began.
    speech: u64,
    /// Where its utterance begins: the speech less the padding, or a cut.
    start: u64,
    /// Where the silence inside the speech began that still runs.
    silence: Option<u64>,
    /// Whether it is more than a candidate.
    settled: bool,
    /// Partial results given so far.
    revision: u32,
    /// A window that ends here or later brings the next partial result.
    partial_due: u64,
    /// The final's sound was given as a partial result for the silence that runs.
    eager_given: bool,
}

impl Spoken {
    fn new(speech: u64, start: u64) -> Self {
        Spoken { speech, start, silence: None, settled: false, revision: 0, partial_due: 0, eager_given: false }
    }

    /// Whether there will be an utterance whatever comes.
    fn is_certain(&self) -> bool {
        self.silence.is_none_or(|silence| silence > self.speech)
    }
}

/// The state machine.
#[derive(Clone, Debug)]
pub(super) struct Segmenter {
    limits: Limits,
    spoken: Option<Spoken>,
    /// The windows that begin after [`Segmenter::needed_from`]: those at whose begin speech can be cut.
    windows: VecDeque<Window>,
    /// No utterance starts before: the end of the last one.
    floor: u64,
    /// Where the newest window ended.
    reached: u64,
}

impl Segmenter {
    /// In silence, at position 0.
    pub fn new(limits: Limits) -> Self {
        Segmenter { limits, spoken: None, windows: VecDeque::new(), floor: 0, reached: 0 }
    }

    /// Where the newest window ended: the next one begins there unless something is missing.
    pub fn reached(&self) -> u64 {
        self.reached
    }

    /// Whether there is a candidate or speech.
    pub fn is_in_utterance(&self) -> bool {
        self.spoken.is_some()
    }

    /// No utterance to come starts before this position, nor needs sound from before it.
    pub fn needed_from(&self) -> u64 {
        match &self.spoken {
            Some(spoken) => spoken.start,
            None => self.reached.saturating_sub(self.limits.pad_before).max(self.floor),
        }
    }

    /// Takes the next window, whose sound up to `read` is there: up to its end, or less in the last one of a stream.
    pub fn window(&mut self, window: Window, read: u64, found: &mut Vec<Found>) {
        let Window { begin, end, probability } = window;
        self.windows.push_back(window);
        self.reached = end;
        let limits = self.limits;
        if self.spoken.is_none() && probability >= limits.threshold_on {
            let start = begin.saturating_sub(limits.pad_before).max(self.floor);
            self.spoken = Some(Spoken::new(begin, start));
        }
        if let Some(mut spoken) = self.spoken.take() {
            self.spoken = if spoken.settled || probability >= limits.threshold_off {
                spoken.settled |= end - spoken.speech >= limits.min_speech;
                if spoken.settled { self.speech(spoken, window, read, found) } else { Some(spoken) }
            } else {
                None
            };
        }
        let needed = self.needed_from();
        while self.windows.front().is_some_and(|window| window.begin <= needed) {
            self.windows.pop_front();
        }
    }

    /// A window while speech runs; gives what runs on after it.
    fn speech(&mut self, mut spoken: Spoken, window: Window, read: u64, found: &mut Vec<Found>) -> Option<Spoken> {
        let Window { begin, end, probability } = window;
        if probability >= self.limits.threshold_off {
            spoken.silence = None;
            spoken.eager_given = false;
        } else {
            spoken.silence.get_or_insert(begin);
        }
        if let Some(silence) = spoken.silence
            && end - silence >= self.limits.min_silence
        {
            self.close(spoken, silence, read, found);
            return None;
        }
        if end.saturating_sub(spoken.start) >= self.limits.max_length
            && let Some(cut) = self.cut(spoken.start)
        {
            let revision = spoken.revision + 1;
            found.push(Found { start: spoken.start, end: cut, partial: false, eager: false, revision });
            self.floor = cut;
            let silence = spoken.silence.map(|silence| silence.max(cut));
            spoken = Spoken { silence, settled: true, ..Spoken::new(cut, cut) };
        }
        if read == end && spoken.is_certain() {
            self.partial(&mut spoken, end, found);
        }
        Some(spoken)
    }

    /// Gives a partial result at the end of a window, if one is due.
    fn partial(&self, spoken: &mut Spoken, end: u64, found: &mut Vec<Found>) {
        let Some(every) = self.limits.partial_every else { return };
        if spoken.eager_given {
            return;
        }
        let eager = spoken.silence.zip(self.limits.eager_after).and_then(|(silence, after)| {
            let last = silence.saturating_add(self.limits.pad_after);
            (end - silence >= after && last <= end).then_some(last)
        });
        spoken.eager_given = eager.is_some();
        if eager.is_none() && end < spoken.partial_due {
            return;
        }
        // An offline model reads the whole utterance again: as it grows, so does what it costs.
        let every = every.max((end - spoken.speech) / 10).max(1);
        spoken.partial_due = spoken.speech.saturating_add(((end - spoken.speech) / every + 1).saturating_mul(every));
        let (end, eager) = (eager.unwrap_or(end), eager.is_some());
        if end > spoken.start {
            spoken.revision += 1;
            found.push(Found { start: spoken.start, end, partial: true, eager, revision: spoken.revision });
        }
    }

    /// Where speech that has become too long is cut: the begin of the window with the lowest probability, the earliest
    /// of equals, among those that end at 80 % of the greatest length or later.
    fn cut(&self, start: u64) -> Option<u64> {
        let late = |window: &&Window| {
            let length = u128::from(window.end.saturating_sub(start));
            window.begin > start && 5 * length >= 4 * u128::from(self.limits.max_length)
        };
        let lowest = |a: &&Window, b: &&Window| a.probability.total_cmp(&b.probability);
        // `min_by` gives the first of equals.
        self.windows.iter().filter(late).min_by(lowest).map(|window| window.begin)
    }

    /// The speech ended at `speech_end`, and there is sound up to `read`.
    fn close(&mut self, spoken: Spoken, speech_end: u64, read: u64, found: &mut Vec<Found>) {
        let end = speech_end.saturating_add(self.limits.pad_after).min(read);
        if speech_end > spoken.speech && end > spoken.start {
            found.push(Found { start: spoken.start, end, partial: false, eager: false, revision: spoken.revision + 1 });
            self.floor = end;
        }
    }

    /// Nothing follows on what was read up to `read`: speech ends where the silence that runs began, else there. A
    /// candidate of any length is an utterance, so that a last word is never lost.
    pub fn finish(&mut self, read: u64, found: &mut Vec<Found>) {
        if let Some(spoken) = self.spoken.take() {
            self.close(spoken, spoken.silence.unwrap_or(read), read, found);
        }
    }

    /// Goes on at `to`, in silence; what was in progress must have been finished.
    pub fn skip_to(&mut self, to: u64) {
        self.spoken = None;
        self.windows.clear();
        self.reached = self.reached.max(to);
    }
}
