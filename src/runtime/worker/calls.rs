//! The calls into the stage, and what follows from their results.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::lent::{Lent, LentStreams, Notice, Outcome, Place, position};
use super::shared::{StageShared, StreamEntry};
use super::text::{chain, panic_text};
use super::{Exit, Worker};
use crate::media::{Format, Origin, StreamInfo};
use crate::runtime::inbox::Delivery;
use crate::stage::{AnyState, Event, EventKind, Input, Item, Opened, Output, Placement, Role, StageError, StageObject};
use crate::units::{Clock, Timestamp};

impl Worker {
    /// Deals with one delivery. An error is the stage's crash.
    pub(super) fn handle(
        &mut self,
        stage: &mut StageObject,
        lent: &mut LentStreams,
        delivery: Delivery,
    ) -> Result<(), String> {
        match delivery {
            Delivery::Packet(input) => {
                let Some(at) = position(lent, input.packet.stream) else {
                    self.tally.skipped += 1;
                    return Ok(());
                };
                self.process(stage, &mut lent[at].1, input)
            }
            Delivery::Watermark { stream, at } => {
                if let Some(place) = position(lent, stream) {
                    let lent = &mut lent[place].1;
                    lent.reached = lent.reached.max(at);
                    self.promise(stage, lent, at);
                }
                Ok(())
            }
            Delivery::Open { info, capture, formats, broken } => self.open(stage, lent, info, capture, formats, broken),
            Delivery::Close { stream, capture, failed } => {
                let Some(at) = position(lent, stream) else {
                    // It ended before it could open here; who reads on must know.
                    self.put(Outcome::Close { stream, capture, failed });
                    return Ok(());
                };
                let lent = &mut lent[at].1;
                lent.closed = true;
                if lent.failed {
                    return Ok(());
                }
                let flushed = self.flush(stage, lent);
                let failed = failed || !matches!(flushed, Ok(true));
                self.put(Outcome::Close { stream, capture: lent.capture, failed });
                flushed.map(|_| ())
            }
            Delivery::Starved { stream, full, starving } => {
                if let Some(at) = position(lent, stream) {
                    let name = |link: usize| self.shared.link_names.get(link).map_or("?", String::as_str);
                    let text = format!(
                        "link {} is at its byte bound while nothing comes on link {}; a stage between them holds back \
                         too long, or one of the two branches drops what the other waits for: raise `queue_bytes` or \
                         mend the branch",
                        name(full),
                        name(starving)
                    );
                    self.give_up(&mut lent[at].1, &text);
                }
                Ok(())
            }
        }
    }

    pub(super) fn open(
        &mut self,
        stage: &mut StageObject,
        lent: &mut LentStreams,
        info: Arc<StreamInfo>,
        capture: usize,
        formats: Vec<Format>,
        broken: bool,
    ) -> Result<(), String> {
        let place = match position(lent, info.id) {
            Some(at) => {
                // The same stream in another format: what is left of the old one comes out first.
                if !lent[at].1.failed {
                    let _whole = self.flush(stage, &mut lent[at].1)?;
                }
                at
            }
            None => {
                lent.push((info.id, Lent::new(info.clone(), capture)));
                lent.len() - 1
            }
        };
        let lent = &mut lent[place].1;
        // A copy of its own: counting the holders of one that all stages share would pass it from core to core.
        lent.info = Arc::new(StreamInfo::clone(&info));
        lent.inputs = formats.into();
        lent.failed = false;
        lent.reached = Timestamp::MIN;
        lent.state = None;
        if broken {
            self.close_failed(lent, None);
            return Ok(());
        }
        match self.open_state(stage, lent)? {
            Some(outputs) => self.put(Outcome::Open { info, capture, formats: outputs }),
            None => debug_assert!(lent.failed),
        }
        Ok(())
    }

    /// Makes a stream's state. A stage that cannot open a stream gives it up; one that panics over it is rebuilt besides.
    pub(super) fn open_state(
        &mut self,
        stage: &mut StageObject,
        lent: &mut Lent,
    ) -> Result<Option<Vec<Format>>, String> {
        let (info, inputs) = (lent.info.clone(), lent.inputs.clone());
        match call(&self.shared, self.generation, || stage.open(&info, &inputs)) {
            Ok(Ok(Opened { state, outputs })) => {
                lent.state = Some(state);
                Ok(Some(outputs))
            }
            Ok(Err(StageError::Fatal(error))) => {
                let text = chain(&*error);
                self.give_up(lent, &text);
                Err(text)
            }
            Ok(Err(error)) => {
                self.give_up(lent, &chain(&error));
                Ok(None)
            }
            Err(panic) => {
                self.give_up(lent, &panic);
                Err(panic)
            }
        }
    }

    pub(super) fn process(&mut self, stage: &mut StageObject, lent: &mut Lent, input: Input) -> Result<(), String> {
        let Some(mut state) = lent.state.take().filter(|_| !lent.failed) else {
            self.tally.skipped += 1;
            return Ok(());
        };
        let place = Place::of(&input);
        let out = &mut self.out;
        let result = call(&self.shared, self.generation, || stage.process(&mut state, input, out));
        self.tally.calls += 1;
        self.collect(lent, Some(place.origin));
        match result {
            Ok(result) => {
                lent.state = Some(state);
                self.settle(stage, lent, place, result)
            }
            Err(panic) => {
                self.tally.lost += 1;
                Err(panic)
            }
        }
    }

    /// One call for packets of several streams.
    pub(super) fn process_group(
        &mut self,
        stage: &mut StageObject,
        lent: &mut LentStreams,
        group: Vec<Input>,
    ) -> Result<(), String> {
        let mut places: Vec<(usize, Place, AnyState, Output)> = Vec::with_capacity(group.len());
        let mut inputs: Vec<Input> = Vec::with_capacity(group.len());
        for input in group {
            let usable = position(lent, input.packet.stream).filter(|&at| !lent[at].1.failed);
            match usable.and_then(|at| Some((at, lent[at].1.state.take()?))) {
                Some((at, state)) => {
                    places.push((at, Place::of(&input), state, Output::new()));
                    inputs.push(input);
                }
                None => self.tally.skipped += 1,
            }
        }
        if places.is_empty() {
            return Ok(());
        }
        let mut items: Vec<Item<'_, AnyState>> = places
            .iter_mut()
            .zip(inputs)
            .map(|((_, _, state, out), input)| Item { state, input, out, result: Ok(()) })
            .collect();
        let called = call(&self.shared, self.generation, || stage.process_batch(&mut items));
        self.tally.calls += 1;
        let results: Vec<_> = items.into_iter().map(|item| item.result).collect();
        if let Err(panic) = called {
            self.tally.lost += places.len() as u64;
            return Err(panic);
        }
        let mut crash = Ok(());
        for ((at, place, state, mut out), result) in places.into_iter().zip(results) {
            let lent = &mut lent[at].1;
            self.out.append_emitted(&mut out);
            self.events.extend(out.drain_events().map(|event| (lent.info.clone(), event)));
            self.collect(lent, Some(place.origin));
            lent.state = Some(state);
            crash = crash.and(self.settle(stage, lent, place, result));
        }
        crash
    }

    /// What follows from a call's result: counts, resets, gives up, or crashes.
    pub(super) fn settle(
        &mut self,
        stage: &mut StageObject,
        lent: &mut Lent,
        place: Place,
        result: Result<(), StageError>,
    ) -> Result<(), String> {
        match result {
            Ok(()) => {
                self.tally.done += 1;
                if self.shared.plan.role == Role::Sink && lent.info.live && !place.partial {
                    let now = self.shared.clock.now();
                    self.shared.meters.latency(now.since(lent.info.clock_at(place.end)));
                }
            }
            Err(error) => {
                let text = chain(&error);
                match error {
                    // It came back because it was asked to.
                    StageError::Skip(_) if place.partial && self.shared.inbox.gave_up() => self.tally.late += 1,
                    StageError::Skip(_) => {
                        self.tally.skipped += 1;
                        self.skip(lent, place.start, text);
                    }
                    StageError::ResetStream(_) => {
                        self.tally.skipped += 1;
                        self.skip(lent, place.start, text);
                        lent.state = None;
                        self.open_state(stage, lent)?;
                    }
                    StageError::EndStream(_) => {
                        self.tally.skipped += 1;
                        self.give_up(lent, &text);
                    }
                    StageError::Fatal(_) => {
                        self.tally.lost += 1;
                        return Err(text);
                    }
                }
            }
        }
        lent.reached = lent.reached.max(place.start);
        self.promise(stage, lent, place.start);
        Ok(())
    }

    /// Passes a watermark on, as far as the stage does not hold it back.
    pub(super) fn promise(&mut self, stage: &StageObject, lent: &Lent, reached: Timestamp) {
        if !self.shared.watermarks || lent.failed {
            return;
        }
        let Some(state) = &lent.state else { return };
        let at = match stage.hold_back(state) {
            Some(hold) => hold.min(reached),
            None => reached,
        };
        self.put(Outcome::Watermark { stream: lent.info.id, at });
    }

    /// Flushes a stream's state; whether all of it came out.
    pub(super) fn flush(&mut self, stage: &mut StageObject, lent: &mut Lent) -> Result<bool, String> {
        let Some(mut state) = lent.state.take() else { return Ok(true) };
        let out = &mut self.out;
        let result = call(&self.shared, self.generation, || stage.flush(&mut state, out));
        self.collect(lent, None);
        let (why, flushed) = match result {
            Ok(Ok(())) => return Ok(true),
            Ok(Err(StageError::Fatal(error))) => (chain(&*error), Err(chain(&*error))),
            Ok(Err(error)) => (chain(&error), Ok(false)),
            Err(panic) => (panic.clone(), Err(panic)),
        };
        let why = format!("what was left of it at its end is lost: {why}");
        self.notices.push(Notice::Broken { info: lent.info.clone(), why });
        flushed
    }

    pub(super) fn tick_streams(&mut self, stage: &mut StageObject) -> Result<(), Exit> {
        let shared = self.shared.clone();
        let mut lent: LentStreams = {
            let mut core = shared.present(self.generation)?;
            self.writer = core.lend_writer(shared.plan.contract.placement);
            let ticking =
                |entry: &StreamEntry| entry.info.live && !entry.failed && !entry.held && entry.state.is_some();
            core.streams.iter_mut().filter(|(_, entry)| ticking(entry)).map(|(id, entry)| (*id, entry.lend())).collect()
        };
        let started = shared.watch.now();
        let now = shared.clock.now();
        let mut crash = None;
        for (_, lent) in &mut lent {
            let Some(mut state) = lent.state.take() else { continue };
            let time = lent.info.time_at(now);
            let out = &mut self.out;
            let result = call(&shared, self.generation, || stage.tick(&mut state, time, out));
            self.collect(lent, None);
            match result {
                Ok(Ok(())) => lent.state = Some(state),
                Ok(Err(StageError::Fatal(error))) => crash = Some(chain(&*error)),
                Ok(Err(StageError::EndStream(error))) => self.give_up(lent, &chain(&*error)),
                Ok(Err(StageError::ResetStream(_))) => crash = self.open_state(stage, lent).err(),
                Ok(Err(error)) => {
                    lent.state = Some(state);
                    let message = format!("tick: {}", chain(&error));
                    self.events.push((lent.info.clone(), Event { kind: EventKind::Notice, message }));
                }
                Err(panic) => crash = Some(panic),
            }
            if crash.is_some() {
                break;
            }
        }
        let busy = shared.watch.now().since(started);
        self.commit(lent, Vec::new(), busy)?;
        crash.map_or(Ok(()), |message| Err(Exit::Crashed(message)))
    }

    /// Writes what is no packet, or puts it among the round's results.
    pub(super) fn put(&mut self, outcome: Outcome) {
        match &mut self.writer {
            Some(writer) => self.written.add(outcome.write(&self.shared, writer, &mut std::iter::empty())),
            None => self.results.push(outcome),
        }
    }

    /// Writes what a call emitted, or puts it among the round's results.
    pub(super) fn collect(&mut self, lent: &Lent, origin: Option<Origin>) {
        let (stream, count) = (lent.info.id, self.out.emitted().len());
        match &mut self.writer {
            _ if count == 0 => {}
            Some(writer) => self.written.add(writer.write(stream, origin, self.out.drain_emitted(), count)),
            None => {
                self.out.seal();
                self.results.push(Outcome::Packets { stream, origin, count });
            }
        }
        self.events.extend(self.out.drain_events().map(|event| (lent.info.clone(), event)));
    }

    /// Ends a stream that cannot go on, and says so.
    pub(super) fn give_up(&mut self, lent: &mut Lent, why: &str) {
        self.close_failed(lent, Some(why.to_owned()));
    }

    /// Says of a packet that it was skipped.
    pub(super) fn skip(&mut self, lent: &Lent, at: Timestamp, why: String) {
        self.notices.push(Notice::Skipped { info: lent.info.clone(), at, why });
    }

    pub(super) fn close_failed(&mut self, lent: &mut Lent, why: Option<String>) {
        lent.failed = true;
        lent.state = None;
        self.notices.push(Notice::Failed { info: lent.info.clone(), why });
        self.put(Outcome::Close { stream: lent.info.id, capture: lent.capture, failed: true });
    }
}

/// Calls into the stage; a panic comes back as its text.
pub(super) fn call<T>(shared: &StageShared, generation: u64, call: impl FnOnce() -> T) -> Result<T, String> {
    if shared.plan.contract.placement == Placement::Inline {
        return catch_unwind(AssertUnwindSafe(call)).map_err(|panic| format!("panicked: {}", panic_text(&*panic)));
    }
    let started = shared.watch.now().as_nanos().max(1);
    shared.call_started.store(started, Ordering::Release);
    let result = catch_unwind(AssertUnwindSafe(call));
    // Only its own mark: an abandoned thread that comes back must not take away its successor's.
    let _ = shared.call_started.compare_exchange(started, 0, Ordering::AcqRel, Ordering::Acquire);
    if shared.generation.load(Ordering::Acquire) != generation {
        return Err("it came back after it was abandoned".to_owned());
    }
    result.map_err(|panic| format!("panicked: {}", panic_text(&*panic)))
}
