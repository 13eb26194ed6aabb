//! Formats and packets to try a stage with.

use crate::media::{
    Audio, Format, Image, Label, Labels, Packet, Payload, Piece, PixelFormat, Rect, Region, Regions, StreamId, Text,
    Transcript,
};
use crate::stage::Blueprint;
use crate::tensor::{DType, Dim, SymbolicShape, Tensor};
use crate::units::{Rate, TimeSpan, Timestamp};

/// How long a stream is, in windows of [`WINDOW_MS`].
const WINDOWS: u32 = 50;
const WINDOW_MS: i64 = 32;

/// Sizes of chunks, in frames. The last is more than any stream has.
pub const SIZES: [usize; 6] = [1, 7, 160, 512, 4801, 1 << 20];

/// Choices of input formats, one for each port, that the ports and the blueprint's `outputs` accept; at most 12.
pub fn choices(blueprint: &dyn Blueprint) -> Vec<Vec<Format>> {
    let mut choices = vec![Vec::new()];
    for port in &blueprint.contract().inputs {
        let candidates = candidates(&port.format);
        choices = choices
            .iter()
            .flat_map(|choice: &Vec<Format>| {
                candidates.iter().map(move |format| [&**choice, std::slice::from_ref(format)].concat())
            })
            .collect();
    }
    choices.retain(|choice| blueprint.outputs(choice).is_ok());
    choices.truncate(12);
    choices
}

/// Formats without unknowns that a port of this format accepts.
fn candidates(port: &Format) -> Vec<Format> {
    let audio = |hz, channels| Format::audio(Rate::hz(hz).ok(), Some(channels));
    let tensor = |sizes: &[usize]| Format::Tensor { dtype: Some(DType::F32), shape: SymbolicShape::known(sizes) };
    let mut candidates =
        vec![fixed(port), audio(16_000, 1), audio(48_000, 2), audio(11_025, 1), tensor(&[1]), tensor(&[4, 8])];
    let image = |pixel, width, height| Format::image(Some(pixel), Some(width), Some(height));
    candidates.extend([Format::Text, Format::Transcript, Format::Labels]);
    candidates.extend([image(PixelFormat::Rgb8, 24, 17), image(PixelFormat::Gray8, 9, 31), Format::Regions]);
    candidates.extend([image(PixelFormat::Rgba8, 40, 32), Format::Bytes]);
    // A list of tokens has a length that only the stage knows.
    candidates.extend((2..64).map(|last| tensor(&[4, last])));
    candidates.retain(|format| format.is_fixed() && port.accepts(format).is_ok());
    let mut unique: Vec<Format> = Vec::new();
    for format in candidates {
        if !unique.contains(&format) {
            unique.push(format);
        }
    }
    unique
}

/// The port's own format, with something for each unknown.
fn fixed(port: &Format) -> Format {
    match port {
        Format::Audio { sample_rate, channels } => {
            Format::audio(sample_rate.or(Rate::hz(16_000).ok()), Some(channels.unwrap_or(1)))
        }
        Format::Tensor { dtype, shape: SymbolicShape::Ranked(dims) } => Format::Tensor {
            dtype: Some(dtype.unwrap_or(DType::F32)),
            shape: SymbolicShape::Ranked(dims.iter().map(|dim| Dim::Known(dim.known().unwrap_or(4))).collect()),
        },
        Format::Image { pixel, width, height } => {
            Format::image(pixel.or(Some(PixelFormat::Rgb8)), width.or(Some(24)), height.or(Some(17)))
        }
        other => other.clone(),
    }
}

/// A packet of stream 0.
pub fn packet(start: i64, duration: i64, payload: impl Into<Payload>) -> Packet {
    Packet::new(StreamId(0), Timestamp::from_nanos(start), TimeSpan::from_nanos(duration), payload)
}

/// The packets of a stream of this format: sound in one packet, anything else in windows.
pub fn whole(format: &Format, seed: u32) -> Vec<Packet> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9) | 1);
    if let Format::Audio { sample_rate: Some(rate), channels: Some(channels) } = format {
        let frames = rate.samples_in(TimeSpan::from_millis(WINDOW_MS * i64::from(WINDOWS)));
        let samples: Vec<f32> = (0..frames * u64::from(*channels))
            .map(|n| (n as f32 * 0.05).sin() * 0.4 + random.next() * 0.2 - 0.1)
            .collect();
        let audio = Audio::new(samples, *channels, *rate).unwrap();
        return vec![packet(0, rate.span(0, frames).as_nanos(), audio)];
    }
    let window = TimeSpan::from_millis(WINDOW_MS).as_nanos();
    (0..WINDOWS).map(|at| packet(i64::from(at) * window, window, payload(format, at, &mut random))).collect()
}

/// What window `at` carries. Numbers are probabilities: silence, speech, silence, speech.
fn payload(format: &Format, at: u32, random: &mut Random) -> Payload {
    let speech = (5..15).contains(&at) || at >= 40;
    let word: std::sync::Arc<str> = format!(" word{}", at / 5).into();
    let piece = Piece { text: word.clone(), log_probability: -random.next(), start: None, end: None };
    match format {
        Format::Tensor { dtype: Some(DType::F32), shape } => {
            let sizes = shape.sizes().unwrap();
            let mut value = || {
                if speech { 0.7 + 0.3 * random.next() } else { 0.3 * random.next() }
            };
            let values: Vec<f32> = (0..sizes.iter().product()).map(|_| value()).collect();
            Tensor::new(sizes, values).unwrap().into()
        }
        Format::Tensor { dtype, shape } => Tensor::zeros(dtype.unwrap(), shape.sizes().unwrap()).unwrap().into(),
        Format::Text => Text { text: word, pieces: [piece].into() }.into(),
        Format::Transcript => Transcript {
            text: word.trim().into(),
            is_final: true,
            utterance: at.into(),
            confidence: Some(random.next()),
            pieces: [piece].into(),
        }
        .into(),
        Format::Labels => {
            let label = Label { index: at as usize, name: Some(word), score: random.next() };
            Labels { entries: [label].into() }.into()
        }
        Format::Image { pixel: Some(pixel), width: Some(width), height: Some(height) } => {
            let bytes = *width as usize * *height as usize * pixel.bytes();
            let pixels: Vec<u8> = (0..bytes).map(|_| (random.next() * 255.0) as u8).collect();
            Image::new(pixels, *width, *height, *pixel).unwrap().into()
        }
        Format::Regions => {
            let bounds = Rect { x: at as f32, y: 2.0, width: 10.0, height: 8.0 };
            let label = Label { index: at as usize, name: Some(word), score: random.next() };
            let mut region = Region::new(bounds, random.next());
            region.label = Some(label);
            Regions { frame_width: 640, frame_height: 480, entries: [region].into() }.into()
        }
        Format::Bytes => Payload::Bytes(vec![at as u8; 3].into()),
        other => panic!("no payload was made up for {other}"),
    }
}

/// Payloads of all types.
pub fn payloads() -> Vec<Payload> {
    let random = &mut Random(1);
    let mut payloads: Vec<Payload> = [
        Format::Text,
        Format::Transcript,
        Format::Labels,
        Format::Regions,
        Format::Bytes,
        Format::image(Some(PixelFormat::Rgb8), Some(1), Some(1)),
        Format::image(Some(PixelFormat::Gray8), Some(640), Some(2)),
        Format::Tensor { dtype: Some(DType::F32), shape: SymbolicShape::known(&[3, 5]) },
        Format::Tensor { dtype: Some(DType::F32), shape: SymbolicShape::known(&[0]) },
        Format::Tensor { dtype: Some(DType::F64), shape: SymbolicShape::known(&[1]) },
        Format::Tensor { dtype: Some(DType::String), shape: SymbolicShape::known(&[]) },
    ]
    .iter()
    .map(|format| payload(format, 0, random))
    .collect();
    for (hz, channels) in [(16_000, 1), (16_001, 1), (48_000, 7)] {
        payloads.push(Audio::new(vec![0.5; 7 * 160], channels, Rate::hz(hz).unwrap()).unwrap().into());
    }
    payloads
}

/// Cuts the sound of each packet into pieces of these sizes in frames, over and over; other payloads stay whole.
pub fn cut(packets: &[Packet], sizes: &[usize]) -> Vec<Packet> {
    let mut pieces = Vec::new();
    let mut sizes = sizes.iter().copied().cycle();
    for packet in packets {
        let Payload::Audio(audio) = &packet.payload else {
            pieces.push(packet.clone());
            continue;
        };
        let mut from = 0;
        while from < audio.frames() {
            let to = (from + sizes.next().unwrap()).min(audio.frames());
            pieces.push(part(packet, audio, from, to));
            from = to;
        }
    }
    pieces
}

/// The frames `from..to` of a packet of sound.
fn part(packet: &Packet, audio: &Audio, from: usize, to: usize) -> Packet {
    let mut piece = packet.clone();
    piece.start = packet.start + audio.rate().span(0, from as u64);
    piece.duration = audio.rate().span(from as u64, to as u64);
    piece.flags.gap = packet.flags.gap && from == 0;
    piece.payload = audio.slice(from..to).unwrap().into();
    piece
}

/// The stream with all that comes after `share` of it moved `seconds` later. Sound is split there.
pub fn cut_at(packets: &[Packet], share: f64, seconds: f64) -> Vec<Packet> {
    let end = packets.last().unwrap().end().as_nanos() as f64;
    let moment = Timestamp::from_nanos((end * share) as i64);
    let mut moved = Vec::new();
    for packet in packets {
        match &packet.payload {
            Payload::Audio(audio) => {
                let middle = (audio.frames() as f64 * share) as usize;
                moved.push(part(packet, audio, 0, middle));
                moved.push(part(packet, audio, middle, audio.frames()));
            }
            _ => moved.push(packet.clone()),
        }
    }
    for packet in moved.iter_mut().filter(|packet| packet.start + TimeSpan::from_millis(1) >= moment) {
        packet.start = packet.start + TimeSpan::from_seconds(seconds);
    }
    moved
}

/// The stream with a packet of no frames before each packet of sound, and one at the end.
pub fn with_empty(packets: &[Packet]) -> Vec<Packet> {
    let mut padded = Vec::new();
    for packet in packets {
        if let Payload::Audio(audio) = &packet.payload {
            padded.push(part(packet, audio, 0, 0));
        }
        padded.push(packet.clone());
    }
    if let Some((last, Payload::Audio(audio))) = packets.last().map(|packet| (packet, &packet.payload)) {
        padded.push(part(last, audio, audio.frames(), audio.frames()));
    }
    padded
}

/// The stream with numbers that are none: in some packets every other one, in others one.
pub fn poison(packets: &[Packet]) -> Vec<Packet> {
    let bad = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX];
    let spoil = |values: &[f32], at: usize| -> Vec<f32> {
        let every = if at.is_multiple_of(2) { 2 } else { values.len().max(1) };
        let spoiled = |(n, value): (usize, &f32)| {
            if n % every == 0 { bad[(at + n) % bad.len()] } else { *value }
        };
        values.iter().enumerate().map(spoiled).collect()
    };
    let mut poisoned = packets.to_vec();
    for (at, packet) in poisoned.iter_mut().enumerate() {
        let payload: Payload = match &packet.payload {
            Payload::Audio(audio) => {
                Audio::new(spoil(audio.samples(), at), audio.channels(), audio.rate()).unwrap().into()
            }
            Payload::Tensor(tensor) => match tensor.as_slice::<f32>() {
                Ok(values) => Tensor::new(tensor.shape().to_vec(), spoil(values, at)).unwrap().into(),
                Err(_) => continue,
            },
            _ => continue,
        };
        packet.payload = payload;
    }
    poisoned
}

/// The packets of all ports in the order in which the runtime delivers them: by start, the earlier port first.
pub fn schedule(ports: &[Vec<Packet>]) -> Vec<(usize, Packet)> {
    let mut all: Vec<(usize, Packet)> = ports
        .iter()
        .enumerate()
        .flat_map(|(port, packets)| packets.iter().map(move |packet| (port, packet.clone())))
        .collect();
    all.sort_by_key(|(port, packet)| (packet.start, *port));
    all
}

/// Marsaglia's xorshift (2003), for numbers in 0..1.
struct Random(u32);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 as f32 / u32::MAX as f32
    }
}
