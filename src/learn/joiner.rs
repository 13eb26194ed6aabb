//! Labels find their inputs.
//!
//! A label belongs to the input whose span holds the label's start (of several, to the one that starts last), else to the
//! nearest one within the tolerance. It is joined once no better input can come: an input's starts never decrease, so a
//! later start, or the stream's time, says so. In which order inputs and labels arrive makes no difference.
//!
//! With [`Per::Stream`] a label belongs to every input that starts in its span; to each of the stream, where the span has
//! no length.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::config::{LearnConfig, Per};
use super::sample::{Sample, Target, bytes_of, is_sound};
use crate::media::StreamId;
use crate::tensor::Tensor;
use crate::units::{TimeSpan, Timestamp};

#[cfg(test)]
mod tests;

/// What became of inputs and labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Inputs that came.
    pub inputs: u64,
    /// Labels that came.
    pub labels: u64,
    /// Samples made.
    pub joined: u64,
    /// Labels whose input had been given up, or whose stream had ended.
    pub late: u64,
    /// Labels that came before their input (they are in another column too, once it is clear which).
    pub early: u64,
    /// Labels that wait now.
    pub early_waiting: u64,
    /// Inputs that no label came for in time.
    pub missing: u64,
    /// Labels for an input that had one.
    pub duplicate: u64,
    /// Labels of streams that there are not.
    pub wrong_stream: u64,
    /// Labels that start in no input, and near none.
    pub unmatched: u64,
    /// Inputs and labels with numbers that are not finite, without any, with a negative span, or that go back in time.
    pub malformed: u64,
    /// Inputs, labels and samples that the bounds left no room for.
    pub evicted: u64,
}

/// An input that waits.
struct Waiting {
    start: Timestamp,
    end: Timestamp,
    /// Nothing once it is joined: only its place is remembered, for duplicates.
    input: Option<Tensor>,
}

/// A label that waits.
struct Early {
    start: Timestamp,
    end: Timestamp,
    target: Target,
    /// Whether an input has it (with [`Per::Stream`] there may be more).
    used: bool,
}

#[derive(Default)]
struct Stream {
    /// By start.
    inputs: VecDeque<Waiting>,
    /// In the order of arrival.
    labels: VecDeque<Early>,
    /// What no coming input starts before.
    time: Option<Timestamp>,
    /// Whether an input came, or the stream was opened.
    known: bool,
    /// The end of what was given up: labels before it are late.
    given_up: Option<Timestamp>,
}

/// Joins inputs and labels by stream and time; bounded in inputs, labels and bytes.
pub struct Joiner {
    per: Per,
    wait: TimeSpan,
    tolerance: TimeSpan,
    /// Inputs that may wait, labels likewise, and samples that are not taken.
    room: usize,
    bytes: usize,
    held: usize,
    streams: BTreeMap<StreamId, Stream>,
    ended: BTreeSet<StreamId>,
    ready: VecDeque<Sample>,
    counts: Counts,
}

/// Streams that have ended, whose labels are known to be late.
const ENDED: usize = 4096;

impl Joiner {
    /// A joiner by these settings; what waits may take `replay.bytes`.
    pub fn new(config: &LearnConfig) -> Self {
        Joiner {
            per: config.per,
            wait: TimeSpan::from_millis(config.labels.wait_ms.into()),
            tolerance: TimeSpan::from_millis(config.labels.tolerance_ms.into()),
            room: config.labels.waiting.max(1),
            bytes: config.replay.bytes,
            held: 0,
            streams: BTreeMap::new(),
            ended: BTreeSet::new(),
            ready: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// Says that there is such a stream. An input says so too; a label does not.
    pub fn open(&mut self, stream: StreamId) {
        self.ended.remove(&stream);
        self.streams.entry(stream).or_default().known = true;
    }

    /// An input that waits for its label. Starts of one stream never decrease.
    pub fn input(&mut self, stream: StreamId, start: Timestamp, duration: TimeSpan, input: Tensor) {
        self.counts.inputs += 1;
        let backward =
            self.streams.get(&stream).and_then(|known| known.inputs.back()).is_some_and(|last| start < last.start);
        if duration < TimeSpan::ZERO || backward || !is_sound(&input) {
            self.counts.malformed += 1;
            return;
        }
        self.open(stream);
        self.held += bytes_of(&input, &Target::Class(0));
        if let Some(known) = self.streams.get_mut(&stream) {
            known.inputs.push_back(Waiting { start, end: start + duration, input: Some(input) });
        }
        self.pass(stream, start);
        self.bound();
    }

    /// A label: what the answer at `start` should have been. `duration` counts with [`Per::Stream`].
    pub fn label(&mut self, stream: StreamId, start: Timestamp, duration: TimeSpan, target: Target) {
        self.counts.labels += 1;
        if duration < TimeSpan::ZERO || !target.is_sound() {
            self.counts.malformed += 1;
            return;
        }
        if self.ended.contains(&stream) {
            self.counts.late += 1;
            return;
        }
        let known = self.streams.entry(stream).or_default();
        let whole = self.per == Per::Stream && duration == TimeSpan::ZERO;
        let end = if whole { Timestamp::MAX } else { start + duration };
        let start = if whole { Timestamp::MIN } else { start };
        if known.time.is_none_or(|time| time < start) {
            self.counts.early += 1;
        }
        self.held += bytes_of_label(&target);
        known.labels.push_back(Early { start, end, target, used: false });
        self.decide(stream);
        self.bound();
    }

    /// The time of a stream: no input that comes starts before `now`.
    pub fn advance(&mut self, stream: StreamId, now: Timestamp) {
        if self.streams.contains_key(&stream) {
            self.pass(stream, now);
        }
    }

    /// The end of a stream, of its inputs and its labels.
    pub fn end(&mut self, stream: StreamId) {
        if !self.streams.contains_key(&stream) {
            return;
        }
        self.pass(stream, Timestamp::MAX);
        if let Some(mut gone) = self.streams.remove(&stream) {
            self.give_up_inputs(&mut gone, |_| true);
            let (known, given_up) = (gone.known, gone.given_up);
            gone.labels.into_iter().for_each(|label| self.give_up_label(&label, known, given_up));
            if gone.known {
                self.ended.insert(stream);
                if self.ended.len() > ENDED {
                    self.ended.pop_first();
                }
            }
        }
    }

    /// The next sample that is joined.
    pub fn pop(&mut self) -> Option<Sample> {
        let sample = self.ready.pop_front()?;
        self.held = self.held.saturating_sub(sample.byte_len());
        Some(sample)
    }

    /// What became of everything so far.
    pub fn counts(&self) -> Counts {
        let early_waiting = self.streams.values().map(|stream| stream.labels.len() as u64).sum();
        Counts { early_waiting, ..self.counts }
    }

    /// Bytes of everything that waits.
    pub fn byte_len(&self) -> usize {
        self.held
    }

    /// Moves a stream's time on.
    fn pass(&mut self, stream: StreamId, time: Timestamp) {
        let Some(known) = self.streams.get_mut(&stream) else { return };
        if known.time.is_some_and(|before| time < before) {
            return;
        }
        known.time = Some(time);
        self.decide(stream);
        let oldest = time.saturating_sub(self.wait);
        if let Some(mut known) = self.streams.remove(&stream) {
            self.give_up_inputs(&mut known, |waiting| waiting.end < oldest);
            if self.per == Per::Stream {
                // A label of a part of the stream outlives its inputs no longer than these wait.
                let (stay, go) = known.labels.drain(..).partition(|label| label.end >= oldest);
                known.labels = stay;
                let go: VecDeque<Early> = go;
                go.iter().for_each(|label| self.give_up_label(label, true, known.given_up));
            }
            self.streams.insert(stream, known);
        }
    }

    fn give_up_label(&mut self, label: &Early, known: bool, given_up: Option<Timestamp>) {
        self.held = self.held.saturating_sub(bytes_of_label(&label.target));
        match known {
            _ if label.used => {}
            false => self.counts.wrong_stream += 1,
            true if given_up.is_some_and(|end| label.start <= end) => self.counts.late += 1,
            true => self.counts.unmatched += 1,
        }
    }

    /// Gives up inputs from the oldest on.
    fn give_up_inputs(&mut self, stream: &mut Stream, is_over: impl Fn(&Waiting) -> bool) {
        while stream.inputs.front().is_some_and(&is_over) {
            let Some(gone) = stream.inputs.pop_front() else { break };
            stream.given_up = stream.given_up.max(Some(gone.end.max(gone.start)));
            if let Some(input) = gone.input {
                self.held = self.held.saturating_sub(bytes_of(&input, &Target::Class(0)));
                self.counts.missing += 1;
            }
        }
    }

    /// Joins what can be joined.
    fn decide(&mut self, stream: StreamId) {
        let Some(mut known) = self.streams.remove(&stream) else { return };
        match self.per {
            Per::Packet => self.decide_packets(stream, &mut known),
            Per::Stream => self.decide_spans(stream, &mut known),
        }
        self.streams.insert(stream, known);
    }

    fn decide_packets(&mut self, id: StreamId, stream: &mut Stream) {
        let Some(time) = stream.time else { return };
        let mut undecided = VecDeque::new();
        while let Some(label) = stream.labels.pop_front() {
            // The inputs that start before or with the label, and those after.
            let split = stream.inputs.partition_point(|input| input.start <= label.start);
            let exact = split > 0 && stream.inputs[split - 1].start == label.start;
            if !exact && time <= label.start && time < Timestamp::MAX {
                undecided.push_back(label);
                continue;
            }
            let holds = |input: &Waiting| input.start <= label.start && label.start < input.end;
            let own = match exact {
                true => Some(split - 1),
                false => (0..split).rev().find(|at| holds(&stream.inputs[*at])),
            };
            let is_known = exact
                || match own {
                    Some(_) => time > label.start,
                    None => time > label.start + self.tolerance,
                };
            if !is_known && time < Timestamp::MAX {
                undecided.push_back(label);
                continue;
            }
            let near = || {
                let before = (0..split).max_by_key(|at| (stream.inputs[*at].end, *at));
                let after = (split < stream.inputs.len()).then_some(split);
                let distance = |at: &usize| {
                    let input = &stream.inputs[*at];
                    (input.start - label.start).max(label.start - input.end).max(TimeSpan::ZERO)
                };
                before.into_iter().chain(after).min_by_key(distance).filter(|at| distance(at) <= self.tolerance)
            };
            self.held = self.held.saturating_sub(bytes_of_label(&label.target));
            match own.or_else(near) {
                Some(at) => match stream.inputs[at].input.take() {
                    Some(input) => {
                        self.held = self.held.saturating_sub(bytes_of(&input, &Target::Class(0)));
                        self.make(Sample { input, target: label.target, stream: id, start: stream.inputs[at].start });
                    }
                    None => self.counts.duplicate += 1,
                },
                None if !stream.known => self.counts.wrong_stream += 1,
                None if stream.given_up.is_some_and(|end| label.start <= end) => self.counts.late += 1,
                None => self.counts.unmatched += 1,
            }
        }
        stream.labels = undecided;
    }

    /// The first label, by arrival, that an input starts in the span of is its own.
    fn decide_spans(&mut self, id: StreamId, stream: &mut Stream) {
        let Stream { inputs, labels, .. } = stream;
        let mut made = Vec::new();
        for waiting in inputs.iter_mut() {
            let own = labels.iter_mut().find(|label| label.start <= waiting.start && waiting.start < label.end);
            if let Some(label) = own
                && let Some(input) = waiting.input.take()
            {
                label.used = true;
                self.held = self.held.saturating_sub(bytes_of(&input, &Target::Class(0)));
                made.push(Sample { input, target: label.target.clone(), stream: id, start: waiting.start });
            }
        }
        made.into_iter().for_each(|sample| self.make(sample));
    }

    fn make(&mut self, sample: Sample) {
        self.counts.joined += 1;
        self.held += sample.byte_len();
        self.ready.push_back(sample);
    }

    /// Gives up what there is no room for: of the longest queue the oldest.
    fn bound(&mut self) {
        loop {
            let waiting: usize = self.streams.values().map(|stream| stream.inputs.len()).sum();
            let labels: usize = self.streams.values().map(|stream| stream.labels.len()).sum();
            let too_many = |count: usize| count > self.room;
            let over = self.held > self.bytes;
            if over && !self.ready.is_empty() && waiting == 0 || too_many(self.ready.len()) {
                self.pop();
                self.counts.evicted += 1;
                continue;
            }
            if too_many(labels) || over && waiting == 0 && labels > 0 {
                // Labels of a stream that nobody knows go first.
                let most = self.streams.values_mut().max_by_key(|stream| (!stream.known, stream.labels.len()));
                let Some(stream) = most else { break };
                let Some(label) = stream.labels.pop_front() else { break };
                match stream.known {
                    true => self.counts.evicted += 1,
                    false => self.counts.wrong_stream += 1,
                }
                self.held = self.held.saturating_sub(bytes_of_label(&label.target));
                self.streams.retain(|_, stream| stream.known || !stream.labels.is_empty());
                continue;
            }
            if too_many(waiting) || over && waiting > 0 {
                let Some(stream) = self.streams.values_mut().max_by_key(|stream| stream.inputs.len()) else { break };
                let Some(gone) = stream.inputs.pop_front() else { break };
                stream.given_up = stream.given_up.max(Some(gone.end.max(gone.start)));
                if let Some(input) = gone.input {
                    self.counts.evicted += 1;
                    self.held = self.held.saturating_sub(bytes_of(&input, &Target::Class(0)));
                }
                continue;
            }
            break;
        }
    }
}

fn bytes_of_label(target: &Target) -> usize {
    size_of::<Early>() + target.byte_len()
}
