//! Runs a stage on several streams and holds it to its promises at every packet.

use crate::media::{Format, Image, Packet, Payload, StreamId, StreamInfo};
use crate::stage::{AnyState, Blueprint, Input, Item, Opened, Output, Runnable, StageError, StageObject};
use crate::units::{ClockInstant, TimeSpan, Timestamp};

/// A stage with open streams.
pub struct Rig {
    stage: StageObject,
    name: String,
    inputs: Vec<Format>,
    streams: Vec<Stream>,
}

struct Stream {
    info: StreamInfo,
    state: AnyState,
    opened: Vec<Format>,
    /// The last start on each output port.
    starts: Vec<Timestamp>,
    /// Nothing before this may come any more.
    promised: Timestamp,
    given: Vec<(usize, Packet)>,
    ended: bool,
}

/// A final result.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    port: usize,
    start: Timestamp,
    end: Timestamp,
    gap: bool,
    content: Content,
}

#[derive(Clone, Debug, PartialEq)]
enum Content {
    /// Samples by their bits, so that NaN equals itself.
    Audio {
        channels: u16,
        samples: Vec<u32>,
    },
    /// Numbers by their bits too.
    Numbers {
        shape: Vec<usize>,
        values: Vec<u32>,
    },
    Picture(Image),
    Other(String),
}

impl Rig {
    /// Builds the stage and opens streams of these names.
    pub fn open(blueprint: &dyn Blueprint, inputs: &[Format], names: &[&str], name: String) -> Rig {
        let Runnable::Stage(mut stage) = blueprint.build().unwrap_or_else(|error| panic!("{name}: {error}")) else {
            panic!("{name} is a capture");
        };
        let mut open = |(number, stream): (usize, &&str)| {
            let info = StreamInfo {
                id: StreamId(number as u32),
                name: (*stream).into(),
                group: (*stream).into(),
                live: false,
                zero: ClockInstant::default(),
                wall: None,
                file: None,
            };
            let Opened { state, outputs } = stage.open(&info, inputs).unwrap_or_else(|error| panic!("{name}: {error}"));
            let starts = vec![Timestamp::MIN; outputs.len()];
            Stream { info, state, opened: outputs, starts, promised: Timestamp::MIN, given: Vec::new(), ended: false }
        };
        let streams = names.iter().enumerate().map(&mut open).collect();
        Rig { stage, name, inputs: inputs.to_vec(), streams }
    }

    /// The formats of the outputs.
    pub fn opened(&self, stream: usize) -> &[Format] {
        &self.streams[stream].opened
    }

    /// Begins a stream anew and forgets what it gave.
    pub fn reset(&mut self, stream: usize) {
        let (inputs, stream) = (&self.inputs, &mut self.streams[stream]);
        let Opened { state, outputs } = self.stage.open(&stream.info, inputs).unwrap();
        stream.starts = vec![Timestamp::MIN; outputs.len()];
        (stream.state, stream.opened, stream.promised) = (state, outputs, Timestamp::MIN);
        stream.given.clear();
    }

    /// Takes all packets and ends the stream.
    pub fn run(&mut self, stream: usize, packets: &[(usize, Packet)]) {
        self.feed(stream, packets);
        self.flush(stream);
    }

    /// Takes packets that the stage must take, unless the stream has ended. Between them the watermark moves up to the
    /// start of the next one, which is as far as it could.
    pub fn feed(&mut self, stream: usize, packets: &[(usize, Packet)]) {
        for (at, (port, packet)) in packets.iter().enumerate() {
            let reached = packets.get(at + 1).map_or(packet.start, |(_, next)| next.start);
            let result = self.call(stream, *port, packet.clone(), reached);
            assert!(
                result.is_ok() || self.streams[stream].info.name.starts_with("poisoned"),
                "{}: {result:?}",
                self.name
            );
        }
    }

    /// Takes one packet of each of some streams in one call.
    pub fn feed_together(&mut self, packets: &[(usize, usize, Packet)]) {
        let mut outs: Vec<Output> = packets.iter().map(|_| Output::new()).collect();
        let mut states: Vec<_> = self.streams.iter_mut().map(|stream| Some(&mut stream.state)).collect();
        let mut items: Vec<Item<'_, AnyState>> = packets
            .iter()
            .zip(&mut outs)
            .map(|((stream, port, packet), out)| {
                let mut packet = packet.clone();
                packet.stream = StreamId(*stream as u32);
                let state = states[*stream].take().expect("a batch holds a stream once");
                Item { state, input: Input { port: *port, packet }, out, result: Ok(()) }
            })
            .collect();
        self.stage.process_batch(&mut items);
        let results: Vec<_> = items.into_iter().map(|item| item.result).collect();
        for (((stream, ..), out), result) in packets.iter().zip(outs).zip(results) {
            assert!(result.is_ok(), "{}: {result:?}", self.name);
            self.streams[*stream].collect(&self.name, out);
        }
    }

    /// Takes a packet that the stage may refuse.
    pub fn try_feed(&mut self, stream: usize, port: usize, packet: Packet) -> Result<(), StageError> {
        let reached = packet.start;
        self.call(stream, port, packet, reached)
    }

    /// Ends the stream.
    pub fn flush(&mut self, stream: usize) {
        self.try_flush(stream).unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// Ends a stream, which may fail.
    pub fn try_flush(&mut self, stream: usize) -> Result<(), StageError> {
        let (stream, mut out) = (&mut self.streams[stream], Output::new());
        if stream.ended {
            return Ok(());
        }
        let result = self.stage.flush(&mut stream.state, &mut out);
        stream.collect(&self.name, out);
        result
    }

    fn call(&mut self, number: usize, port: usize, mut packet: Packet, reached: Timestamp) -> Result<(), StageError> {
        let (stream, mut out) = (&mut self.streams[number], Output::new());
        if stream.ended {
            return Ok(());
        }
        packet.stream = stream.info.id;
        let result = self.stage.process(&mut stream.state, Input { port, packet }, &mut out);
        stream.collect(&self.name, out);
        match &result {
            Ok(()) | Err(StageError::Skip(_)) => {
                let hold = self.stage.hold_back(&stream.state).unwrap_or(reached);
                stream.promised = stream.promised.max(hold.min(reached));
            }
            Err(StageError::ResetStream(_)) => self.reset(number),
            Err(StageError::EndStream(_)) => stream.ended = true,
            Err(StageError::Fatal(error)) => panic!("{}: one stream's packet ended the stage: {error}", self.name),
        }
        result
    }

    /// The final results of a stream; with `joined`, sound that touches is one piece.
    pub fn seen(&self, stream: usize, joined: bool) -> Vec<Seen> {
        let mut all: Vec<Seen> = Vec::new();
        let mut given: Vec<_> = self.streams[stream].given.iter().filter(|(_, packet)| !packet.flags.partial).collect();
        given.sort_by_key(|(port, _)| *port);
        for (port, packet) in given {
            let content = match &packet.payload {
                Payload::Audio(audio) if joined && audio.frames() == 0 => continue,
                Payload::Audio(audio) => {
                    let samples = audio.samples().iter().map(|sample| sample.to_bits()).collect();
                    Content::Audio { channels: audio.channels(), samples }
                }
                Payload::Tensor(tensor) if tensor.as_slice::<f32>().is_ok() => Content::Numbers {
                    shape: tensor.shape().to_vec(),
                    values: tensor.as_slice::<f32>().unwrap().iter().map(|value| value.to_bits()).collect(),
                },
                Payload::Image(image) => Content::Picture(image.clone()),
                other => Content::Other(format!("{other:?}")),
            };
            let seen = Seen { port: *port, start: packet.start, end: packet.end(), gap: packet.flags.gap, content };
            match (all.last_mut(), seen) {
                (
                    Some(Seen { port, end, content: Content::Audio { samples, .. }, .. }),
                    Seen {
                        port: next_port,
                        start,
                        end: next_end,
                        gap: false,
                        content: Content::Audio { samples: next, .. },
                    },
                ) if joined && *port == next_port && *end == start => {
                    samples.extend(next);
                    *end = next_end;
                }
                (_, seen) => all.push(seen),
            }
        }
        all
    }
}

impl Stream {
    /// Takes what the stage emitted and checks it against what was promised.
    fn collect(&mut self, name: &str, mut out: Output) {
        for emitted in out.drain_emitted() {
            let (port, draft) = (emitted.port, emitted.draft);
            let opened = self.opened.get(port).unwrap_or_else(|| panic!("{name}: there is no output port {port}"));
            let format = draft.payload.format();
            assert!(opened.accepts(&format).is_ok(), "{name}: opened with {opened}, gave {format}");
            assert!(draft.duration >= TimeSpan::ZERO, "{name}: gave a negative duration");
            assert!(draft.start >= self.starts[port], "{name}: {} came after {}", draft.start, self.starts[port]);
            assert!(
                draft.start >= self.promised,
                "{name}: gave {} after promising that nothing before {} would come: hold_back is wrong",
                draft.start.as_nanos(),
                self.promised.as_nanos()
            );
            self.starts[port] = draft.start;
            let mut packet = Packet::new(self.info.id, draft.start, draft.duration, draft.payload);
            packet.flags = draft.flags;
            self.given.push((port, packet));
        }
    }
}

/// Where two runs differ first, in words.
pub fn difference(expected: &[Seen], found: &[Seen]) -> Result<(), String> {
    first_difference(expected, found, |expected, found| expected == found)
}

/// The same, but for numbers that differ by no more than `tolerance`.
pub fn nearly(expected: &[Seen], found: &[Seen], tolerance: f32) -> Result<(), String> {
    first_difference(expected, found, |expected, found| match (&expected.content, &found.content) {
        (Content::Numbers { shape, values }, Content::Numbers { shape: other_shape, values: others }) => {
            let near = |(value, other): (&u32, &u32)| {
                value == other || (f32::from_bits(*value) - f32::from_bits(*other)).abs() <= tolerance
            };
            let rest = |seen: &Seen| (seen.port, seen.start, seen.end, seen.gap);
            rest(expected) == rest(found) && shape == other_shape && values.iter().zip(others).all(near)
        }
        _ => expected == found,
    })
}

fn first_difference(expected: &[Seen], found: &[Seen], same: impl Fn(&Seen, &Seen) -> bool) -> Result<(), String> {
    let words = |seen: &Seen| {
        let content = match &seen.content {
            Content::Audio { channels, samples } => format!("{} samples of {channels} channels", samples.len()),
            Content::Numbers { shape, values } => {
                let first: Vec<_> = values.iter().take(8).map(|bits| f32::from_bits(*bits)).collect();
                format!("{shape:?} {first:?}")
            }
            Content::Picture(image) => {
                let first: Vec<_> = image.packed().iter().take(8).copied().collect();
                format!("{} × {} pixels of {} {first:?}", image.width(), image.height(), image.format())
            }
            Content::Other(text) => text.chars().take(200).collect(),
        };
        format!("{}..{} ns, gap {}: {content}", seen.start.as_nanos(), seen.end.as_nanos(), seen.gap)
    };
    for (at, (expected, found)) in expected.iter().zip(found).enumerate() {
        if !same(expected, found) {
            return Err(format!("result {at} differs\n  expected {}\n  found    {}", words(expected), words(found)));
        }
    }
    match expected.len() == found.len() {
        true => Ok(()),
        false => Err(format!("expected {} results, found {}", expected.len(), found.len())),
    }
}
