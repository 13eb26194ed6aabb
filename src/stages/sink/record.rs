//! The record of a packet, version 1: what [`jsonl`](super::jsonl) writes.

use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};
use serde_json::Number;

use super::SinkError;
use super::is_partial;
use crate::dsp::{dbfs, rms};
use crate::media::{Audio, Keypoint, Label, Packet, Payload, Piece, Point, Rect, Region};
use crate::tensor::{Tensor, TensorData};
use crate::units::Timestamp;

/// The version of the records' schema.
pub(super) const VERSION: u32 = 1;

/// How much of a packet goes into its record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Detail {
    /// Whether the tokens of text and transcripts are listed.
    pub pieces: bool,
    /// The most elements of a tensor that are listed.
    pub max_values: usize,
}

#[derive(Serialize)]
struct Record<'a> {
    v: u32,
    stream: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    start_s: f64,
    end_s: f64,
    sequence: u64,
    #[serde(rename = "final")]
    is_final: bool,
    revision: u32,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    gap: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    late: bool,
    #[serde(skip_serializing_if = "is_zero")]
    weights: u32,
    #[serde(flatten)]
    body: Body<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Body<'a> {
    Transcript {
        text: &'a str,
        utterance: u64,
        confidence: Option<f32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pieces: Option<Vec<PieceRecord<'a>>>,
    },
    Text {
        text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        pieces: Option<Vec<PieceRecord<'a>>>,
    },
    Labels {
        labels: Vec<LabelRecord<'a>>,
    },
    Values {
        #[serde(skip_serializing_if = "Option::is_none")]
        dtype: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        shape: Option<&'a [usize]>,
        count: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        values: Option<Values<'a>>,
    },
    Audio {
        sample_rate_hz: Number,
        channels: u16,
        frames: usize,
        rms_dbfs: f32,
    },
    Image {
        width: u32,
        height: u32,
        pixel: &'static str,
    },
    Regions {
        frame_width: u32,
        frame_height: u32,
        regions: Vec<RegionRecord<'a>>,
    },
    Custom {
        name: &'static str,
        value: Option<serde_json::Value>,
    },
}

#[derive(Serialize)]
struct PieceRecord<'a> {
    text: &'a str,
    log_probability: f32,
    start_s: Option<f64>,
    end_s: Option<f64>,
}

#[derive(Serialize)]
struct LabelRecord<'a> {
    index: usize,
    name: Option<&'a str>,
    score: f32,
}

/// In pixels of the captured frame. Masks and embeddings are left out.
#[derive(Serialize)]
struct RegionRecord<'a> {
    x: f32,
    y: f32,
    width: f32,
    height: f32,
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<LabelRecord<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    track: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    outline: Vec<[f32; 2]>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keypoints: Vec<KeypointRecord<'a>>,
}

#[derive(Serialize)]
struct KeypointRecord<'a> {
    x: f32,
    y: f32,
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

enum Values<'a> {
    Tensor(&'a TensorData),
    Bytes(&'a [u8]),
}

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Values::Bytes(bytes) => bytes.serialize(serializer),
            Values::Tensor(data) => match data {
                TensorData::F16(values) => list(serializer, values.iter().map(|x| x.to_f32())),
                TensorData::BF16(values) => list(serializer, values.iter().map(|x| x.to_f32())),
                TensorData::F32(values) => values.serialize(serializer),
                TensorData::F64(values) => values.serialize(serializer),
                TensorData::I8(values) => values.serialize(serializer),
                TensorData::I16(values) => values.serialize(serializer),
                TensorData::I32(values) => values.serialize(serializer),
                TensorData::I64(values) => values.serialize(serializer),
                TensorData::U8(values) => values.serialize(serializer),
                TensorData::U16(values) => values.serialize(serializer),
                TensorData::U32(values) => values.serialize(serializer),
                TensorData::U64(values) => values.serialize(serializer),
                TensorData::Bool(values) => values.serialize(serializer),
                TensorData::String(values) => values.serialize(serializer),
            },
        }
    }
}

fn list<S: Serializer>(serializer: S, values: impl ExactSizeIterator<Item = f32>) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(Some(values.len()))?;
    for value in values {
        list.serialize_element(&value)?;
    }
    list.end()
}

/// The packet's record: one line of JSON, its line feed included. Numbers that JSON lacks (NaN, infinities) are null.
pub(super) fn line(stream: &str, packet: &Packet, detail: Detail) -> Result<Vec<u8>, SinkError> {
    let (kind, body) = body(&packet.payload, detail);
    let record = Record {
        v: VERSION,
        stream,
        kind,
        start_s: seconds(packet.start),
        end_s: seconds(packet.end()),
        sequence: packet.sequence,
        is_final: !is_partial(packet),
        revision: packet.revision,
        gap: packet.flags.gap,
        late: packet.flags.late,
        weights: packet.weights,
        body,
    };
    let mut line =
        serde_json::to_vec(&record).map_err(|source| SinkError::Encode { sequence: packet.sequence, source })?;
    line.push(b'\n');
    Ok(line)
}

fn body(payload: &Payload, detail: Detail) -> (&'static str, Body<'_>) {
    match payload {
        Payload::Transcript(transcript) => {
            let (text, utterance, confidence) = (&*transcript.text, transcript.utterance, transcript.confidence);
            ("transcript", Body::Transcript { text, utterance, confidence, pieces: listed(&transcript.pieces, detail) })
        }
        Payload::Text(text) => ("text", Body::Text { text: &text.text, pieces: listed(&text.pieces, detail) }),
        Payload::Labels(labels) => ("labels", Body::Labels { labels: labels.entries.iter().map(label).collect() }),
        Payload::Tensor(tensor) => ("tensor", tensor_body(tensor, detail)),
        Payload::Audio(audio) => ("audio", audio_body(audio)),
        Payload::Image(image) => {
            ("image", Body::Image { width: image.width(), height: image.height(), pixel: image.format().name() })
        }
        Payload::Regions(regions) => {
            let (frame_width, frame_height) = (regions.frame_width, regions.frame_height);
            let regions = regions.entries.iter().map(region).collect();
            ("regions", Body::Regions { frame_width, frame_height, regions })
        }
        Payload::Bytes(bytes) => {
            let values = (bytes.len() <= detail.max_values).then_some(Values::Bytes(bytes));
            ("bytes", Body::Values { dtype: None, shape: None, count: bytes.len(), values })
        }
        Payload::Custom(custom) => ("custom", Body::Custom { name: custom.type_name(), value: custom.encode() }),
    }
}

fn tensor_body(tensor: &Tensor, detail: Detail) -> Body<'_> {
    let values = (tensor.len() <= detail.max_values).then_some(Values::Tensor(tensor.data()));
    Body::Values { dtype: Some(tensor.dtype().name()), shape: Some(tensor.shape()), count: tensor.len(), values }
}

fn audio_body(audio: &Audio) -> Body<'static> {
    let hz = audio.rate().as_hz();
    let sample_rate_hz = match hz.fract() == 0.0 {
        true => Number::from(hz as u64),
        // A rate is finite.
        false => Number::from_f64(hz).unwrap_or_else(|| Number::from(0)),
    };
    // A hundredth of a decibel is below what anybody hears.
    let rms_dbfs = (dbfs(rms(audio.samples())) * 100.0).round() / 100.0;
    Body::Audio { sample_rate_hz, channels: audio.channels(), frames: audio.frames(), rms_dbfs }
}

fn listed(pieces: &[Piece], detail: Detail) -> Option<Vec<PieceRecord<'_>>> {
    detail.pieces.then(|| pieces.iter().map(piece).collect())
}

fn piece(piece: &Piece) -> PieceRecord<'_> {
    PieceRecord {
        text: &piece.text,
        log_probability: piece.log_probability,
        start_s: piece.start.map(seconds),
        end_s: piece.end.map(seconds),
    }
}

fn label(label: &Label) -> LabelRecord<'_> {
    LabelRecord { index: label.index, name: label.name.as_deref(), score: label.score }
}

fn region(region: &Region) -> RegionRecord<'_> {
    let Rect { x, y, width, height } = region.bounds;
    RegionRecord {
        x,
        y,
        width,
        height,
        score: region.score,
        label: region.label.as_ref().map(label),
        track: region.track,
        outline: region.outline.iter().map(|point| [point.x, point.y]).collect(),
        keypoints: region.keypoints.iter().map(keypoint).collect(),
    }
}

fn keypoint(keypoint: &Keypoint) -> KeypointRecord<'_> {
    let Point { x, y } = keypoint.point;
    KeypointRecord { x, y, score: keypoint.score, name: keypoint.name.as_deref() }
}

/// Seconds, rounded to the microsecond, so that they print with at most six decimals.
fn seconds(time: Timestamp) -> f64 {
    let micros = (i128::from(time.as_nanos()) + 500).div_euclid(1000);
    micros as f64 / 1e6
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::media::{Custom, CustomPayload, Image, Labels, PixelFormat, Regions, Text, Transcript};
    use crate::stages::sink::kit::{packet, transcript};
    use crate::tensor::{Buffer, bf16, f16};
    use crate::units::Rate;

    const BRIEF: Detail = Detail { pieces: false, max_values: 4 };

    fn text(packet: &Packet, detail: Detail) -> String {
        let line = String::from_utf8(line("a/b.wav", packet, detail).unwrap()).unwrap();
        line.strip_suffix('\n').unwrap().to_owned()
    }

    fn pieces() -> Vec<Piece> {
        let at = |millis: i64| Some(Timestamp::from_nanos(millis * 1_000_000));
        vec![
            Piece { text: " two".into(), log_probability: -0.1, start: at(1000), end: at(1250) },
            Piece { text: "!".into(), log_probability: f32::NAN, start: None, end: None },
        ]
    }

    #[test]
    fn whole_records() {
        let mut partial = transcript(3210, 7900, "hello", false);
        partial.revision = 3;
        partial.sequence = 9;
        partial.flags.gap = true;
        partial.weights = 12;
        let settled = Transcript {
            text: "two \"quoted\"\nlines\u{2028}!".into(),
            is_final: true,
            utterance: 4,
            confidence: Some(0.1),
            pieces: pieces().into(),
        };
        let rate = Rate::hz(16_000).unwrap();
        for (packet, expected) in [
            (
                partial,
                r#"{"v":1,"stream":"a/b.wav","type":"transcript","start_s":3.21,"end_s":7.9,"sequence":9,"final":false,"revision":3,"gap":true,"weights":12,"text":"hello","utterance":0,"confidence":null}"#,
            ),
            (
                packet(0, 1000, settled),
                "{\"v\":1,\"stream\":\"a/b.wav\",\"type\":\"transcript\",\"start_s\":0.0,\"end_s\":1.0,\"sequence\":0,\"final\":true,\"revision\":0,\"text\":\"two \\\"quoted\\\"\\nlines\u{2028}!\",\"utterance\":4,\"confidence\":0.1}",
            ),
            (
                packet(-20, 0, Audio::new(vec![0.5f32; 320], 2, rate).unwrap()),
                r#"{"v":1,"stream":"a/b.wav","type":"audio","start_s":-0.02,"end_s":0.0,"sequence":0,"final":true,"revision":0,"sample_rate_hz":16000,"channels":2,"frames":160,"rms_dbfs":-6.02}"#,
            ),
            (
                packet(0, 0, Tensor::new(vec![1, 2], vec![0.1f32, f32::INFINITY]).unwrap()),
                r#"{"v":1,"stream":"a/b.wav","type":"tensor","start_s":0.0,"end_s":0.0,"sequence":0,"final":true,"revision":0,"dtype":"f32","shape":[1,2],"count":2,"values":[0.1,null]}"#,
            ),
        ] {
            assert_eq!(text(&packet, BRIEF), expected);
        }
    }

    #[derive(Debug)]
    struct Pose(Option<f64>);

    impl CustomPayload for Pose {
        fn type_name(&self) -> &'static str {
            "pose"
        }

        fn byte_len(&self) -> usize {
            8
        }

        fn encode(&self) -> Option<Value> {
            self.0.map(|x| json!({ "x": x }))
        }
    }

    #[test]
    fn what_each_type_adds() {
        let entries = vec![
            Label { index: 7, name: Some("cat".into()), score: 0.9 },
            Label { index: 2, name: None, score: f32::NEG_INFINITY },
        ];
        let silence = Audio::mono(vec![0.0f32; 3], Rate::new(30_000, 1001).unwrap());
        let hello = Text { text: "hello".into(), pieces: pieces().into() };
        let image = Image::new(vec![0u8; 6], 3, 2, PixelFormat::Gray8).unwrap();
        let plain = Region::new(Rect { x: 1.0, y: 2.0, width: 3.0, height: 4.0 }, 0.5);
        let mut known = Region::new(Rect::default(), 0.25);
        known.label = Some(Label { index: 3, name: Some("cat".into()), score: 0.75 });
        known.track = Some(9);
        known.outline = [Point { x: 5.0, y: 6.0 }].into();
        known.keypoints = [Keypoint { point: Point { x: 7.0, y: 8.0 }, score: 1.0, name: Some("eye".into()) }].into();
        let regions = Regions { frame_width: 640, frame_height: 480, entries: [plain, known].into() };
        for (payload, kind, expected) in [
            (
                Labels { entries: entries.into() }.into(),
                "labels",
                json!({"labels": [{"index": 7, "name": "cat", "score": 0.9}, {"index": 2, "name": null, "score": null}]}),
            ),
            (Payload::from(hello), "text", json!({"text": "hello"})),
            (
                silence.into(),
                "audio",
                json!({"sample_rate_hz": 30_000.0 / 1001.0, "channels": 1, "frames": 3, "rms_dbfs": null}),
            ),
            (
                Tensor::zeros(crate::tensor::DType::I64, vec![5]).unwrap().into(),
                "tensor",
                json!({"dtype": "i64", "shape": [5], "count": 5}),
            ),
            (
                Tensor::from_vec(vec![u64::MAX, 0]).into(),
                "tensor",
                json!({"dtype": "u64", "shape": [2], "count": 2, "values": [u64::MAX, 0]}),
            ),
            (
                Tensor::from_vec(vec![f16::from_f32(0.5), f16::NAN]).into(),
                "tensor",
                json!({"dtype": "f16", "shape": [2], "count": 2, "values": [0.5, null]}),
            ),
            (
                Tensor::scalar(bf16::from_f32(-2.0)).into(),
                "tensor",
                json!({"dtype": "bf16", "shape": [], "count": 1, "values": [-2.0]}),
            ),
            (
                Tensor::from_vec(vec!["a\n".to_owned()]).into(),
                "tensor",
                json!({"dtype": "string", "shape": [1], "count": 1, "values": ["a\n"]}),
            ),
            (
                Tensor::from_vec(vec![true, false]).into(),
                "tensor",
                json!({"dtype": "bool", "shape": [2], "count": 2, "values": [true, false]}),
            ),
            (Payload::Bytes(Buffer::from(vec![1u8, 255])), "bytes", json!({"count": 2, "values": [1, 255]})),
            (Payload::Bytes(Buffer::from(vec![0u8; 5])), "bytes", json!({"count": 5})),
            (image.into(), "image", json!({"width": 3, "height": 2, "pixel": "gray8"})),
            (
                regions.into(),
                "regions",
                json!({"frame_width": 640, "frame_height": 480, "regions": [
                    {"x": 1.0, "y": 2.0, "width": 3.0, "height": 4.0, "score": 0.5},
                    {
                        "x": 0.0, "y": 0.0, "width": 0.0, "height": 0.0, "score": 0.25,
                        "label": {"index": 3, "name": "cat", "score": 0.75}, "track": 9,
                        "outline": [[5.0, 6.0]], "keypoints": [{"x": 7.0, "y": 8.0, "score": 1.0, "name": "eye"}],
                    },
                ]}),
            ),
            (Custom::new(Pose(Some(1.5))).into(), "custom", json!({"name": "pose", "value": {"x": 1.5}})),
            (Custom::new(Pose(None)).into(), "custom", json!({"name": "pose", "value": null})),
        ] {
            let record: Value = serde_json::from_str(&text(&packet(0, 0, payload), BRIEF)).unwrap();
            assert_eq!(record["type"], kind);
            let common = ["v", "stream", "type", "start_s", "end_s", "sequence", "final", "revision"];
            let mut rest = record.as_object().unwrap().clone();
            rest.retain(|key, _| !common.contains(&key.as_str()));
            assert_eq!(Value::Object(rest), expected, "{kind}");
        }
    }

    #[test]
    fn pieces_are_listed_when_asked_for() {
        let hello = Text { text: "hello".into(), pieces: pieces().into() };
        let record: Value =
            serde_json::from_str(&text(&packet(0, 0, hello), Detail { pieces: true, ..BRIEF })).unwrap();
        assert_eq!(
            record["pieces"],
            json!([
                {"text": " two", "log_probability": -0.1, "start_s": 1.0, "end_s": 1.25},
                {"text": "!", "log_probability": null, "start_s": null, "end_s": null},
            ])
        );
    }

    proptest! {
        #[test]
        fn seconds_have_at_most_six_decimals(nanos in -1_000_000_000_000_000_000i64..1_000_000_000_000_000_000) {
            let printed = serde_json::to_string(&seconds(Timestamp::from_nanos(nanos))).unwrap();
            let (whole, decimals) = printed.split_once('.').unwrap();
            prop_assert!(decimals.len() <= 6, "{}", printed);
            let micros: i128 = format!("{whole}{decimals:0<6}").parse().unwrap();
            prop_assert!((micros * 1000 - i128::from(nanos)).abs() <= 500, "{} for {}", printed, nanos);
        }

        #[test]
        fn any_packet_is_one_line_of_json(
            start in any::<i64>(),
            length in any::<i64>(),
            words in ".*",
            name in ".*",
            values in proptest::collection::vec(any::<f32>(), 0..9),
        ) {
            let (start, length) = (Timestamp::from_nanos(start), crate::units::TimeSpan::from_nanos(length));
            let said = Text { text: words.as_str().into(), pieces: Default::default() };
            for payload in [Payload::from(said), Tensor::from_vec(values.clone()).into()] {
                let packet = Packet::new(crate::media::StreamId(0), start, length, payload);
                let line = line(&name, &packet, Detail { pieces: true, max_values: 8 }).unwrap();
                prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
                let record: Value = serde_json::from_slice(&line).unwrap();
                prop_assert_eq!(&record["stream"], &json!(name));
                prop_assert!(record["type"] != "text" || record["text"] == json!(words));
            }
        }
    }
}
