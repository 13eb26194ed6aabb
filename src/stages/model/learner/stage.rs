//! The learner while it runs.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::json;

use super::saved::Saved;
use super::targets::target;
use super::{LABELS, Learning, SAMPLES, SCORES, load};
use crate::inference::ModelSource;
use crate::learn::drift::Change;
use crate::learn::{Candidate, Drift, Figures, Joiner, Learner, Sample, Supervision, Supervisor, Verdict, confidence};
use crate::media::{Classes, Format, Packet, Payload, StreamId, StreamInfo, Text};
use crate::onnx::Model;
use crate::stage::{Draft, EventKind, Input, Opened, Output, Stage, StageError};
use crate::tensor::Tensor;
use crate::units::{Clock, ClockInstant, SystemClock, TimeSpan, Timestamp};

/// The model's last answers that are kept for each stream, until it is known what was right.
const ANSWERS: usize = 4096;
/// Inputs that wait for their answer, for each stream.
const WAITING: usize = 64;
/// Minibatches that a packet of a live stream is followed by, at most: the next packet must not wait long.
const LIVE_STEPS: u32 = 4;
/// The probability of a false alarm at a look for drift.
const DRIFT_DELTA: f64 = 0.002;

/// A learner at work.
pub(super) struct LearnerStage {
    learning: Learning,
    learner: Learner,
    saved: Saved,
    joiner: Joiner,
    drift: Drift,
    /// Measures what work costs of a live stream's time, and says until when it rests for that.
    watch: SystemClock,
    rests_until: ClockInstant,
    /// Streams that are open.
    open: u32,
    /// The time of all streams together: what passes while several are open counts once.
    now: Timestamp,
    supervisor: Supervisor,
    /// Samples that it made, not yet offered.
    made: VecDeque<Sample>,
}

/// One stream.
#[derive(Debug)]
pub(super) struct StreamState {
    id: StreamId,
    live: bool,
    /// How far its time has been counted.
    counted: Timestamp,
    answers: VecDeque<Answer>,
    /// For `confident`: the inputs whose answer is still to come.
    waiting: VecDeque<(Timestamp, Tensor)>,
    /// What it was told that it cannot use, once for each.
    told_of_input: bool,
    told_of_label: bool,
    /// The start of the last report.
    reported: Timestamp,
}

/// What a version said.
#[derive(Debug)]
struct Answer {
    start: Timestamp,
    scores: Tensor,
    version: u32,
}

impl StreamState {
    /// Keeps an input until its answer comes.
    fn waits(&mut self, start: Timestamp, input: Tensor) {
        if self.waiting.len() == WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back((start, input));
    }

    /// The input that an answer at `start` belongs to. Those before it will have none.
    fn waited_for(&mut self, start: Timestamp) -> Option<Tensor> {
        while self.waiting.front().is_some_and(|(waits, _)| *waits < start) {
            self.waiting.pop_front();
        }
        let is_its_own = self.waiting.front().is_some_and(|(waits, _)| *waits == start);
        if is_its_own { self.waiting.pop_front().map(|(_, input)| input) } else { None }
    }
}

impl LearnerStage {
    pub(super) fn new(learning: Learning, learner: Learner, saved: Saved) -> Self {
        if learning.config.supervision == Supervision::Labels {
            learning.live.desk().attend();
        }
        LearnerStage {
            joiner: Joiner::new(&learning.config),
            drift: Drift::new(DRIFT_DELTA),
            watch: SystemClock::new(),
            rests_until: ClockInstant::default(),
            open: 0,
            now: Timestamp::ZERO,
            supervisor: Supervisor::new(&learning.config),
            made: VecDeque::new(),
            learning,
            learner,
            saved,
        }
    }

    fn sample(&mut self, state: &mut StreamState, packet: &Packet, out: &mut Output) {
        let Some(input) = input(packet) else {
            if !std::mem::replace(&mut state.told_of_input, true) {
                let found = packet.payload.format();
                out.event(
                    EventKind::Notice,
                    format!("nothing is learned from {found}: a tensor or mono sound is needed"),
                );
            }
            return;
        };
        if let Some(change) = self.drift.input(state.id, &input) {
            self.changed(&change, out);
        }
        let config = &self.learning.config;
        if config.supervision == Supervision::Labels {
            self.learning.live.desk().see(state.id, packet.start);
            self.joiner.input(state.id, packet.start, packet.duration, input);
            return;
        }
        if packet.flags.gap {
            self.supervisor.forget(state.id);
        }
        let sure = matches!(config.supervision, Supervision::Confident { .. });
        if sure && state.live {
            // What serves says it soon.
            state.waits(packet.start, input);
            return;
        }
        let scores = if sure { self.learner.answer(&input) } else { None };
        let sample = self.supervisor.see(state.id, packet.start, &input, scores.as_ref());
        self.made.extend(sample);
    }

    fn answer(&mut self, state: &mut StreamState, packet: &Packet, out: &mut Output) {
        let Ok(scores) = packet.payload.tensor() else { return };
        if let Some((_, likely)) = confidence(scores)
            && let Some(change) = self.drift.confidence(state.id, likely)
        {
            self.changed(&change, out);
        }
        if let Some(input) = state.waited_for(packet.start) {
            let sample = self.supervisor.see(state.id, packet.start, &input, Some(scores));
            self.made.extend(sample);
        }
        if state.answers.len() == ANSWERS {
            state.answers.pop_front();
        }
        state.answers.push_back(Answer { start: packet.start, scores: scores.clone(), version: packet.weights });
    }

    fn label(&mut self, state: &mut StreamState, packet: &Packet, out: &mut Output) {
        match target(packet, self.learning.config.labels.threshold) {
            Some(target) => self.joiner.label(state.id, packet.start, packet.duration, target),
            None if !std::mem::replace(&mut state.told_of_label, true) => {
                let text =
                    format!("what starts at {} names nothing that is right, and is not learned from", packet.start);
                out.event(EventKind::Notice, text);
            }
            None => {}
        }
    }

    fn changed(&mut self, change: &Change, out: &mut Output) {
        let Change { of, before, after, count, .. } = change;
        let change = format!("its {} was {before:.3}, and is {after:.3} over the last {count} packets", of.name());
        self.learner.drifted();
        metrics::counter!("percept_drift_total", "model" => self.learning.live.name().to_owned()).increment(1);
        out.event(EventKind::Notice, format!("the stream has changed: {change}"));
    }

    /// Learns from what was joined, and judges. `at`: the time of this stream, for what is reported.
    fn work(&mut self, state: &mut StreamState, at: Timestamp, out: &mut Output) -> Result<(), StageError> {
        self.follow(out)?;
        state.reported = state.reported.max(at);
        let at = state.reported;
        for (stream, start, target) in self.learning.live.desk().take() {
            self.joiner.label(stream, start, TimeSpan::ZERO, target);
        }
        while let Some(sample) = self.joiner.pop().or_else(|| self.made.pop_front()) {
            self.look_back(state, &sample);
            self.learner.offer(sample);
        }
        if !state.live {
            while self.learner.train() {}
            return self.judge(at, out);
        }
        let before = self.watch.now();
        if before < self.rests_until {
            return Ok(());
        }
        let mut steps = 1;
        while self.learner.train() && steps < LIVE_STEPS {
            steps += 1;
        }
        let judged = self.judge(at, out);
        self.rest(before);
        judged
    }

    /// Compares the versions, where it is time to.
    fn judge(&mut self, at: Timestamp, out: &mut Output) -> Result<(), StageError> {
        match self.learner.consider(self.now) {
            Verdict::Wait => Ok(()),
            Verdict::Keep { reason, figures } => {
                let reason = format!("{reason:?}");
                self.report(at, &json!({"type": "kept", "reason": reason, "figures": figures}), out);
                Ok(())
            }
            Verdict::Promote(candidate) => self.promote(*candidate, at, out),
            Verdict::RollBack { to, figures } => self.go_back(to, &figures, at, out),
        }
    }

    /// Starts again from what serves now, where somebody else has put another model there.
    fn follow(&mut self, out: &mut Output) -> Result<(), StageError> {
        let newest = self.learning.live.newest();
        if u64::from(newest.version) == self.learner.version() {
            return Ok(());
        }
        let model = load(&newest).map_err(StageError::fatal)?;
        let names = self.learning.names(&newest);
        self.note(newest.version, &model, &names, None, out);
        self.learner.replaced(newest.version.into(), &model, names).map_err(StageError::fatal)
    }

    /// Notes in the folder of versions what serves.
    fn note(&mut self, version: u32, model: &Model, names: &[String], figures: Option<&Figures>, out: &mut Output) {
        if let Err(error) = self.saved.serves(model, names, figures) {
            out.event(EventKind::Notice, format!("version {version} serves, and could not be saved: {error}"));
        }
    }

    /// What the model had said of a sample, now that it is known what was right.
    fn look_back(&mut self, state: &mut StreamState, sample: &Sample) {
        if sample.stream != state.id {
            return;
        }
        // Which version had answered when is a matter of chance where files wait for the learner; what the serving one
        // answers is not.
        if !state.live {
            if let Some(scores) = self.learner.answer(&sample.input) {
                let version = self.learner.version();
                self.learner.live(sample.stream, &sample.target, &scores, version);
            }
            return;
        }
        let place = state.answers.partition_point(|answer| answer.start < sample.start);
        if let Some(answer) = state.answers.get(place).filter(|answer| answer.start == sample.start) {
            self.learner.live(sample.stream, &sample.target, &answer.scores, answer.version.into());
        }
    }

    fn promote(&mut self, candidate: Candidate, at: Timestamp, out: &mut Output) -> Result<(), StageError> {
        let Candidate { model, classes, figures, .. } = &candidate;
        let names = (!classes.is_empty()).then(|| Classes::new(classes.iter().map(|name| Arc::from(name.as_str()))));
        let live = self.learning.live.clone();
        let over = u32::try_from(self.learner.version()).ok();
        let next = self.learner.version() + 1;
        let source = ModelSource::Memory {
            name: format!("{}, version {next}", live.name()).into(),
            bytes: model.encode().into(),
        };
        match live.swap_over(source, names, over) {
            Ok(version) => {
                self.learner.adopted(version.into()).map_err(StageError::fatal)?;
                metrics::gauge!("percept_weights_version", "model" => live.name().to_owned()).set(f64::from(version));
                self.note(version, model, classes, Some(figures), out);
                out.event(EventKind::Notice, format!("version {version} serves: {}", words(figures)));
                self.report(at, &json!({"type": "promoted", "version": version, "figures": figures}), out);
            }
            Err(error) => {
                self.learner.not_adopted();
                out.event(EventKind::Notice, format!("a better version could not be adopted: {error}"));
            }
        }
        Ok(())
    }

    fn go_back(&mut self, to: u64, figures: &Figures, at: Timestamp, out: &mut Output) -> Result<(), StageError> {
        let from = self.learner.version();
        let live = self.learning.live.clone();
        match live.rollback_over(u32::try_from(to).ok(), u32::try_from(from).ok()) {
            Ok(version) => {
                let newest = live.newest();
                let (model, names) = (load(&newest).map_err(StageError::fatal)?, self.learning.names(&newest));
                self.note(version, &model, &names, None, out);
                self.learner.rolled_back(version.into(), &model, names).map_err(StageError::fatal)?;
                out.event(
                    EventKind::Notice,
                    format!(
                        "version {from} was worse and is taken back; version {to} serves as {version}: {}",
                        words(figures)
                    ),
                );
                let report = json!({"type": "rolled_back", "version": version, "to": to, "figures": figures});
                self.report(at, &report, out);
            }
            Err(error) => {
                self.learner.not_adopted();
                out.event(EventKind::Notice, format!("version {from} is worse, and cannot be taken back: {error}"));
            }
        }
        Ok(())
    }

    fn report(&self, at: Timestamp, report: &serde_json::Value, out: &mut Output) {
        let text = Text { text: report.to_string().into(), pieces: [].into() };
        out.emit(0, Draft::new(at, TimeSpan::ZERO, text));
    }

    /// Leaves the processor to others for so long that of all time, what was computed since `before` included, only
    /// `budget.max_cpu` was.
    fn rest(&mut self, before: ClockInstant) {
        let (share, now) = (self.learning.config.budget.max_cpu, self.watch.now());
        if share > 0.0 && share < 1.0 {
            let rest = now.since(before).as_seconds() * (1.0 / share - 1.0);
            self.rests_until = now.after(TimeSpan::from_seconds(rest));
        }
    }

    /// Moves the time of all streams on by what passed in this one.
    fn advance(&mut self, state: &mut StreamState, to: Timestamp) {
        let passed = to - state.counted;
        if passed > TimeSpan::ZERO {
            state.counted = to;
            self.now = self.now + TimeSpan::from_nanos(passed.as_nanos() / i64::from(self.open.max(1)));
        }
    }
}

impl Stage for LearnerStage {
    type State = StreamState;

    fn open(&mut self, stream: &StreamInfo, _: &[Format]) -> Result<Opened<StreamState>, StageError> {
        self.open += 1;
        self.joiner.open(stream.id);
        self.learning.live.desk().open(stream.id, &stream.name);
        let state = StreamState {
            id: stream.id,
            live: stream.live,
            counted: Timestamp::ZERO,
            answers: VecDeque::new(),
            waiting: VecDeque::new(),
            told_of_input: false,
            told_of_label: false,
            reported: Timestamp::ZERO,
        };
        Ok(Opened { state, outputs: vec![Format::Text] })
    }

    fn process(&mut self, state: &mut StreamState, input: Input, out: &mut Output) -> Result<(), StageError> {
        let packet = &input.packet;
        // What is replaced later is no answer yet.
        if packet.flags.partial {
            return Ok(());
        }
        match input.port {
            SAMPLES => self.sample(state, packet, out),
            SCORES => self.answer(state, packet, out),
            LABELS => self.label(state, packet, out),
            _ => {}
        }
        self.advance(state, packet.end());
        self.work(state, packet.start, out)
    }

    fn tick(&mut self, state: &mut StreamState, now: Timestamp, out: &mut Output) -> Result<(), StageError> {
        // A stream that is not live has no time but its packets'.
        if !state.live {
            return Ok(());
        }
        // An input comes when it is over, and what is before the model takes its time.
        let wait = TimeSpan::from_millis(self.learning.config.labels.wait_ms.into());
        self.joiner.advance(state.id, now.saturating_sub(wait));
        self.advance(state, now);
        self.work(state, now, out)
    }

    fn flush(&mut self, state: &mut StreamState, out: &mut Output) -> Result<(), StageError> {
        self.learning.live.desk().close(state.id);
        self.joiner.end(state.id);
        self.drift.end(state.id);
        self.supervisor.forget(state.id);
        self.open = self.open.saturating_sub(1);
        self.work(state, state.counted, out)
    }
}

/// What the model was given.
fn input(packet: &Packet) -> Option<Tensor> {
    match &packet.payload {
        Payload::Tensor(tensor) => Some(tensor.clone()),
        Payload::Audio(sound) if sound.channels() == 1 => Some(Tensor::from_vec(sound.samples().to_vec())),
        _ => None,
    }
}

/// What a judgement is based on, in words.
fn words(figures: &Figures) -> String {
    let Figures { serving, other, samples, p_value, .. } = figures;
    format!("{serving:.3} before, {other:.3} after, on {samples} samples (less is better; p = {p_value:.4})")
}
