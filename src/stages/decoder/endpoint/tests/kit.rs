//! Streams for the tests of `endpoint`, and what comes of them.

use std::sync::Arc;

use super::super::*;
use crate::media::{Audio, Packet, Payload, StreamId};
use crate::stage::Draft;
use crate::tensor::Tensor;
use crate::units::ClockInstant;

pub const WINDOW: u64 = 512;

pub fn hz(rate: u32) -> Rate {
    Rate::hz(rate).unwrap()
}

pub fn stream(live: bool) -> StreamInfo {
    StreamInfo {
        id: StreamId(0),
        name: Arc::from("test"),
        group: Arc::from("test"),
        live,
        zero: ClockInstant::default(),
        wall: None,
        file: None,
    }
}

pub fn formats(rate: Rate) -> Vec<Format> {
    vec![Format::ANY_TENSOR, Format::audio(Some(rate), Some(1))]
}

/// An emitted packet on the sample grid; the samples of test sound are their own positions, which is checked here.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    pub start: u64,
    pub end: u64,
    pub partial: bool,
    pub revision: u32,
}

pub fn heard(
    rate: Rate,
    start: Timestamp,
    duration: TimeSpan,
    payload: &Payload,
    partial: bool,
    revision: u32,
) -> Heard {
    let audio = payload.audio().unwrap();
    let (first, end) = (rate.index_at(start), rate.index_at(start + duration));
    assert_eq!((rate.time_of(first), rate.span(first, end)), (start, duration), "times come from sample counts");
    let expected: Vec<f32> = (first..end).map(|index| index as f32).collect();
    assert_eq!(&**audio.samples(), &expected[..], "the samples of {first}..{end}");
    Heard { start: first, end, partial, revision }
}

/// A stream of test sound at `rate` whose samples are their positions, and voice windows of 512 samples at 16 kHz.
#[derive(Clone)]
pub struct Script {
    pub rate: Rate,
    /// Positions at which the sound is cut into packets.
    pub cuts: Vec<u64>,
    pub total: u64,
    pub voice: Vec<f32>,
}

impl Script {
    pub fn new(total: u64, voice: &[f32]) -> Self {
        Script { rate: hz(16_000), cuts: (0..total).step_by(160).collect(), total, voice: voice.to_vec() }
    }

    pub fn window(&self, k: usize) -> (Timestamp, TimeSpan) {
        let begin = WINDOW * k as u64;
        (hz(16_000).time_of(begin), hz(16_000).span(begin, begin + WINDOW))
    }

    pub fn voice_packet(&self, k: usize) -> Packet {
        let (start, duration) = self.window(k);
        Packet::new(StreamId(0), start, duration, Tensor::from_vec(vec![self.voice[k]]))
    }

    pub fn sound_packet(&self, from: u64, to: u64) -> Packet {
        let samples: Vec<f32> = (from..to).map(|index| index as f32).collect();
        let (start, duration) = (self.rate.time_of(from), self.rate.span(from, to));
        Packet::new(StreamId(0), start, duration, Audio::mono(samples, self.rate))
    }

    /// All packets in the order in which the runtime delivers them.
    pub fn packets(&self) -> Vec<(usize, Packet)> {
        let mut cuts: Vec<u64> = self.cuts.iter().copied().filter(|cut| *cut < self.total).collect();
        cuts.push(0);
        cuts.push(self.total);
        cuts.sort_unstable();
        let mut packets: Vec<_> = (0..self.voice.len()).map(|k| (VOICE, self.voice_packet(k))).collect();
        packets.extend(cuts.windows(2).map(|pair| (AUDIO, self.sound_packet(pair[0], pair[1]))));
        packets.sort_by_key(|(port, packet)| (packet.start, *port));
        packets
    }

    /// What comes out, checking on the way that no promise of `hold_back` is broken and that memory is bounded.
    pub fn run(&self, settings: &Endpoint, live: bool) -> Vec<Heard> {
        let mut stage = Endpointer { settings: settings.clone() };
        let mut state = stage.open(&stream(live), &formats(self.rate)).unwrap().state;
        let mut promised = Timestamp::MIN;
        let mut last = Timestamp::MIN;
        let mut out = Output::new();
        let mut result = Vec::new();
        let packets = self.packets();
        let longest = packets.iter().map(|(_, packet)| packet.payload.audio_frames()).max().unwrap_or(0);
        let ms = settings.max_length_ms + settings.pad_before_ms + settings.stall_ms;
        let bound = u64::from(ms) * self.rate.as_hz() as u64 / 1000 + 4 * WINDOW + 2 * longest;
        for step in packets.into_iter().map(Some).chain([None]) {
            let mut at = Timestamp::MIN;
            match step {
                Some((port, packet)) => {
                    at = packet.start;
                    stage.process(&mut state, Input { port, packet }, &mut out).unwrap();
                    assert!((state.kept() as u64) < bound, "{} samples kept", state.kept());
                }
                None => stage.flush(&mut state, &mut out).unwrap(),
            }
            for Draft { start, duration, payload, flags, revision, .. } in
                out.drain_emitted().map(|emitted| emitted.draft)
            {
                assert!(start >= last && start >= promised, "{start} after {last} and the promise of {promised}");
                last = start;
                result.push(heard(self.rate, start, duration, &payload, flags.partial, revision));
            }
            promised = promised.max(stage.hold_back(&state).unwrap_or(at).min(at));
        }
        result
    }
}

pub fn finals(heard: Vec<Heard>) -> Vec<(u64, u64)> {
    heard.into_iter().filter(|one| !one.partial).map(|one| (one.start, one.end)).collect()
}

/// `count` windows of each probability.
pub fn stretches(stretches: &[(f32, usize)]) -> Vec<f32> {
    stretches.iter().flat_map(|&(level, count)| vec![level; count]).collect()
}

/// Runs packets through the stage as they are and gives the utterances and the events of it.
pub struct Run {
    pub stage: Endpointer,
    pub state: Listening,
    pub out: Output,
}

impl Run {
    pub fn new(settings: Endpoint, live: bool) -> Self {
        let mut stage = Endpointer { settings };
        let state = stage.open(&stream(live), &formats(hz(16_000))).unwrap().state;
        Run { stage, state, out: Output::new() }
    }

    pub fn push(&mut self, port: usize, packet: Packet) {
        self.stage.process(&mut self.state, Input { port, packet }, &mut self.out).unwrap();
    }

    pub fn push_all(&mut self, script: &Script) {
        for (port, packet) in script.packets() {
            self.push(port, packet);
        }
    }

    pub fn tick(&mut self, ms: i64) {
        let now = Timestamp::ZERO + TimeSpan::from_millis(ms);
        self.stage.tick(&mut self.state, now, &mut self.out).unwrap();
    }

    pub fn flush(&mut self) {
        self.stage.flush(&mut self.state, &mut self.out).unwrap();
    }

    /// Final utterances so far, as milliseconds.
    pub fn finals(&mut self) -> Vec<(i64, i64)> {
        let ms = |time: Timestamp| time.as_nanos() / 1_000_000;
        self.out
            .drain_emitted()
            .filter(|emitted| !emitted.draft.flags.partial)
            .map(|emitted| (ms(emitted.draft.start), ms(emitted.draft.start + emitted.draft.duration)))
            .collect()
    }

    pub fn events(&mut self) -> Vec<String> {
        self.out.drain_events().map(|event| event.message).collect()
    }
}
