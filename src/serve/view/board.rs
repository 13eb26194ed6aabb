//! Where what the page shows comes together: the newest of everything, and who looks at it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::outline::{Outline, Shows};
use super::result::{Entry, confidence};
use super::sample::Sample;
use super::series::{Curves, Measure, Point};
use super::viewer::Viewer;
use crate::dsp::{dbfs, rms};
use crate::media::{Image, Packet, Payload, StreamInfo};
use crate::tensor::Tensor;
use crate::units::{Clock, ClockInstant};

/// Results that are kept for who comes later.
const KEPT_RESULTS: usize = 200;

/// Browsers at a time.
const MOST_VIEWERS: usize = 16;

/// Results of one output that are shown in a second, and how many at once after a pause.
const RESULTS_PER_S: f64 = 50.0;
const RESULTS_AT_ONCE: f64 = 100.0;

/// The quietest level that a curve shows, in dB of full scale.
const SILENCE_DBFS: f32 = -90.0;

/// A picture for the page.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub image: Image,
    /// Its number among the pictures of its output, from 1.
    pub number: u64,
    pub stream: Arc<str>,
    pub start_s: f64,
}

/// The newest of everything, shared by the stages that look, the sampler, and the browsers.
#[derive(Debug)]
pub(super) struct Board {
    outline: Arc<str>,
    shows: Vec<Shows>,
    clock: Arc<dyn Clock>,
    began: ClockInstant,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    viewers: Vec<Arc<Viewer>>,
    stats: Option<Arc<str>>,
    curves: Curves,
    results: VecDeque<Entry>,
    frames: BTreeMap<usize, Slot>,
    paces: BTreeMap<usize, Pace>,
    left_out: u64,
    ended: Option<Arc<str>>,
}

/// The newest picture of an output, and the newest that was made for the page.
#[derive(Debug, Default)]
struct Slot {
    latest: Option<Frame>,
    seen: u64,
    shown: u64,
    event: Option<Arc<str>>,
}

/// How many more results of an output are shown just now.
#[derive(Debug)]
struct Pace {
    left: f64,
    at: f64,
}

#[derive(Serialize)]
struct Stats<'a> {
    #[serde(flatten)]
    sample: &'a Sample,
    points: Vec<Point>,
    /// Results that came faster than a page shows them.
    left_out: u64,
    viewers: usize,
}

impl Board {
    /// For a plan; the time begins now.
    pub fn new(outline: Outline, clock: Arc<dyn Clock>) -> Board {
        let json = serde_json::to_string(&outline).unwrap_or_default().into();
        let shows = outline.ports.iter().map(|port| port.shows).collect();
        Board { outline: json, shows, began: clock.now(), clock, inner: Mutex::default() }
    }

    /// The stages, links and outputs, as JSON.
    pub fn outline(&self) -> Arc<str> {
        self.outline.clone()
    }

    /// The newest numbers, as JSON.
    pub fn stats(&self) -> Arc<str> {
        self.lock().stats.clone().unwrap_or_else(|| "{}".into())
    }

    /// Seconds since the run began.
    pub fn seconds(&self) -> f64 {
        self.clock.now().since(self.began).as_seconds()
    }

    /// Takes note of a packet of the output `port`.
    pub fn see(&self, port: usize, info: &StreamInfo, packet: &Packet) {
        let mut inner = self.lock();
        match (self.shows.get(port), &packet.payload) {
            (Some(Shows::Pictures), Payload::Image(image)) => {
                let slot = inner.frames.entry(port).or_default();
                slot.seen += 1;
                let (number, stream) = (slot.seen, info.name.clone());
                let frame = Frame { image: image.clone(), number, stream, start_s: packet.start.as_seconds() };
                // What it held is freed after the lock.
                let before = slot.latest.replace(frame);
                self.latency(&mut inner, port, info, packet);
                drop(inner);
                drop(before);
            }
            (Some(Shows::Level), Payload::Audio(audio)) => {
                drop(inner);
                let level = dbfs(rms(audio.samples())).max(SILENCE_DBFS);
                self.lock().curves.add(Measure::Level, port, level.into());
            }
            (Some(Shows::Number), Payload::Tensor(tensor)) => {
                if let Some(value) = number(tensor) {
                    inner.curves.add(Measure::Confidence, port, value);
                }
            }
            (Some(Shows::Results), payload) => {
                if !packet.flags.partial {
                    if let Some(sure) = confidence(payload) {
                        inner.curves.add(Measure::Confidence, port, sure.into());
                    }
                    self.latency(&mut inner, port, info, packet);
                }
                let now = self.seconds();
                if !inner.paces.entry(port).or_insert(Pace { left: RESULTS_AT_ONCE, at: now }).allows(now) {
                    inner.left_out += 1;
                    return;
                }
                drop(inner);
                let Some(entry) = Entry::of(port, &info.name, packet) else { return };
                let mut inner = self.lock();
                if !entry.replaces_in(&mut inner.results) {
                    if inner.results.len() == KEPT_RESULTS {
                        inner.results.pop_front();
                    }
                    inner.results.push_back(entry.clone());
                }
                inner.viewers.iter().for_each(|viewer| viewer.result(&entry));
            }
            _ => {}
        }
    }

    /// Of a stream that comes in real time: how long ago what the packet tells of had been captured.
    fn latency(&self, inner: &mut Inner, port: usize, info: &StreamInfo, packet: &Packet) {
        if info.live {
            let latency = self.clock.now().since(info.clock_at(packet.end()));
            inner.curves.add(Measure::Latency, port, latency.as_millis().max(0.0));
        }
    }

    /// New numbers, with the points of the curves up to now.
    pub fn publish(&self, sample: &Sample) {
        let mut inner = self.lock();
        let points = inner.curves.sample(sample.t);
        let stats = Stats { sample, points, left_out: inner.left_out, viewers: inner.viewers.len() };
        let Ok(json) = serde_json::to_string(&stats) else { return };
        let json: Arc<str> = json.into();
        inner.viewers.iter().for_each(|viewer| viewer.stats(&json));
        inner.stats = Some(json);
    }

    /// The newest pictures that were not made for the page yet; none while nobody looks.
    pub fn wanted_frames(&self) -> Vec<(usize, Frame)> {
        let inner = self.lock();
        if inner.viewers.is_empty() {
            return Vec::new();
        }
        let newest = inner.frames.iter().filter_map(|(port, slot)| Some((*port, slot, slot.latest.as_ref()?)));
        newest
            .filter(|(_, slot, frame)| frame.number > slot.shown)
            .map(|(port, _, frame)| (port, frame.clone()))
            .collect()
    }

    /// A picture was made for the page.
    pub fn show(&self, port: usize, number: u64, event: Arc<str>) {
        let mut inner = self.lock();
        inner.viewers.iter().for_each(|viewer| viewer.frame(port, &event));
        let slot = inner.frames.entry(port).or_default();
        slot.shown = number;
        slot.event = Some(event);
    }

    /// A picture could not be made for the page, and is not tried again.
    pub fn pass_over(&self, port: usize, number: u64) {
        self.lock().frames.entry(port).or_default().shown = number;
    }

    /// Another browser looks; `None` when there are too many.
    pub fn join(&self) -> Option<Arc<Viewer>> {
        let mut inner = self.lock();
        if inner.viewers.len() >= MOST_VIEWERS {
            return None;
        }
        let history = serde_json::to_string(&inner.curves.history()).ok()?;
        let results: Vec<&str> = inner.results.iter().map(|entry| &*entry.json).collect();
        let hello = format!("{{\"history\":{history},\"results\":[{}]}}", results.join(","));
        let viewer = Arc::new(Viewer::new(hello));
        inner.stats.iter().for_each(|stats| viewer.stats(stats));
        for (port, slot) in &inner.frames {
            slot.event.iter().for_each(|event| viewer.frame(*port, event));
        }
        inner.ended.iter().for_each(|word| viewer.end(word));
        inner.viewers.push(viewer.clone());
        Some(viewer)
    }

    /// A browser is gone.
    pub fn leave(&self, viewer: &Arc<Viewer>) {
        self.lock().viewers.retain(|known| !Arc::ptr_eq(known, viewer));
    }

    /// The run is over.
    pub fn end(&self, word: &str) {
        let word: Arc<str> = serde_json::Value::from(word).to_string().into();
        let mut inner = self.lock();
        inner.viewers.iter().for_each(|viewer| viewer.end(&word));
        inner.ended = Some(word);
    }

    /// Whether the run is over.
    pub fn has_ended(&self) -> bool {
        self.lock().ended.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics between two steps that belong together.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pace {
    fn allows(&mut self, now: f64) -> bool {
        self.left = (self.left + (now - self.at).max(0.0) * RESULTS_PER_S).min(RESULTS_AT_ONCE);
        self.at = now;
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }
}

/// The only element of a tensor of numbers.
fn number(tensor: &Tensor) -> Option<f64> {
    match (tensor.as_slice::<f32>(), tensor.as_slice::<f64>()) {
        (Ok([value]), _) => Some((*value).into()),
        (_, Ok([value])) => Some(*value),
        _ => None,
    }
}
