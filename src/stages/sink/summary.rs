//! A packet's payload in one line, for people.

use std::fmt::{Display, Write};

use crate::dsp::{dbfs, rms};
use crate::media::{Label, Payload, Rect, Region};
use crate::tensor::{Tensor, TensorData};

/// The most elements of a tensor, or labels, that are shown.
const MAX_SHOWN: usize = 8;

/// What `payload` says, or what it is, in one line; control characters become spaces.
pub(super) fn summary(payload: &Payload) -> String {
    let text = match payload {
        Payload::Transcript(transcript) => transcript.text.to_string(),
        Payload::Text(text) => text.text.trim().to_owned(),
        Payload::Labels(labels) => some(&labels.entries, label),
        Payload::Tensor(tensor) => format!("{} {}", payload.format(), elements(tensor)).trim_end().to_owned(),
        Payload::Audio(audio) => {
            let level = dbfs(rms(audio.samples()));
            format!("{}, {} frames, {level:.1} dBFS", payload.format(), audio.frames())
        }
        Payload::Image(_) => payload.format().to_string(),
        Payload::Regions(regions) => some(&regions.entries, region),
        Payload::Bytes(bytes) => format!("{} bytes", bytes.len()),
        Payload::Custom(custom) => match custom.encode() {
            Some(value) => format!("{} {value}", custom.type_name()),
            None => custom.type_name().to_owned(),
        },
    };
    printable(&text)
}

/// `text` without what would break a line or command a terminal.
pub(super) fn printable(text: &str) -> String {
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    text.chars().map(|c| if breaks(c) { ' ' } else { c }).collect()
}

fn label(label: &Label) -> String {
    match &label.name {
        Some(name) => format!("{name} {:.2}", label.score),
        None => format!("{} {:.2}", label.index, label.score),
    }
}

/// What it is, as `face 0.93 at 12, 30 (40 × 50)`.
fn region(region: &Region) -> String {
    let what = match &region.label {
        Some(what) => label(what),
        None => format!("{:.2}", region.score),
    };
    let Rect { x, y, width, height } = region.bounds;
    format!("{what} at {x:.0}, {y:.0} ({width:.0} × {height:.0})")
}

fn elements(tensor: &Tensor) -> String {
    match tensor.data() {
        TensorData::F16(values) => some(values, |x| x.to_f32()),
        TensorData::BF16(values) => some(values, |x| x.to_f32()),
        TensorData::F32(values) => some(values, |x| *x),
        TensorData::F64(values) => some(values, |x| *x),
        TensorData::I8(values) => some(values, |x| *x),
        TensorData::I16(values) => some(values, |x| *x),
        TensorData::I32(values) => some(values, |x| *x),
        TensorData::I64(values) => some(values, |x| *x),
        TensorData::U8(values) => some(values, |x| *x),
        TensorData::U16(values) => some(values, |x| *x),
        TensorData::U32(values) => some(values, |x| *x),
        TensorData::U64(values) => some(values, |x| *x),
        TensorData::Bool(values) => some(values, |x| *x),
        TensorData::String(values) => some(values, |x| format!("{x:?}")),
    }
}

/// The first few of `items`, and that there are more.
fn some<T, D: Display>(items: &[T], show: impl Fn(&T) -> D) -> String {
    let mut text = String::new();
    for (position, item) in items.iter().take(MAX_SHOWN).enumerate() {
        let separator = if position == 0 { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{separator}{}", show(item));
    }
    if items.len() > MAX_SHOWN {
        text.push_str(", …");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Audio, Image, Labels, PixelFormat, Regions, Text};
    use crate::tensor::Buffer;
    use crate::units::Rate;

    #[test]
    fn cases() {
        let entries: Vec<Label> = [(7, Some("cat"), 0.934), (2, None, 0.05)]
            .map(|(index, name, score)| Label { index, name: name.map(Into::into), score })
            .into();
        let hello = Text { text: " hello\n\u{1b}[2Jworld\u{2028}".into(), pieces: Default::default() };
        let rate = Rate::hz(16_000).unwrap();
        let mut cat = Region::new(Rect { x: 1.0, y: 2.0, width: 3.0, height: 4.0 }, 0.9);
        cat.label = Some(Label { index: 0, name: Some("cat".into()), score: 0.9 });
        let bare = Region::new(Rect::default(), 0.5);
        let regions = Regions { frame_width: 9, frame_height: 9, entries: [cat, bare].into() };
        for (payload, expected) in [
            (Payload::from(hello), "hello  [2Jworld"),
            (Labels { entries: entries.into() }.into(), "cat 0.93, 2 0.05"),
            (Labels::default().into(), ""),
            (Tensor::from_vec(vec![0.1f32, f32::NAN]).into(), "tensor f32 [2] 0.1, NaN"),
            (Tensor::from_vec((0..9i64).collect()).into(), "tensor i64 [9] 0, 1, 2, 3, 4, 5, 6, 7, …"),
            (Tensor::from_vec(Vec::<f32>::new()).into(), "tensor f32 [0]"),
            (Audio::mono(vec![0.5f32; 160], rate).into(), "audio 16000 Hz, 1 channel, 160 frames, -6.0 dBFS"),
            (Audio::mono(vec![], rate).into(), "audio 16000 Hz, 1 channel, 0 frames, -inf dBFS"),
            (Payload::Bytes(Buffer::from(vec![0u8; 3])), "3 bytes"),
            (Image::new(vec![0u8; 6], 2, 1, PixelFormat::Rgb8).unwrap().into(), "image rgb8 2 × 1"),
            (regions.into(), "cat 0.90 at 1, 2 (3 × 4), 0.50 at 0, 0 (0 × 0)"),
            (Regions::default().into(), ""),
        ] {
            assert_eq!(summary(&payload), expected);
        }
    }
}
