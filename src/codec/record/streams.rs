//! What a record says of its streams, as JSON: which ports there are, when a stream opens and with which formats, when it
//! ends, and the names of classes.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::media::{Format, PixelFormat, StreamInfo};
use crate::tensor::{DType, Dim, SymbolicShape};
use crate::units::{ClockInstant, Rate};

/// One message of the channel of streams.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum StreamEvent {
    /// The first message of a record.
    Record { version: u64, ports: Vec<String> },
    /// A stream begins; or goes on in other formats, when it has begun before.
    Open {
        stream: u32,
        name: String,
        group: String,
        live: bool,
        zero_ns: i64,
        wall_ns: Option<i64>,
        file: Option<String>,
        formats: Vec<JsonFormat>,
    },
    /// A stream ends, until it opens again.
    Close { stream: u32, failed: bool },
    /// Names of classes, which packets refer to by number.
    Classes { number: u32, names: Vec<String> },
}

/// The JSON Schema of these messages.
pub(super) const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "percept.Stream",
  "description": "What a record of percept says of its streams. `record` comes first; `open` begins a stream, or lets it go on in other formats; `close` ends it; `classes` gives names to the classes that packets refer to by number.",
  "type": "object",
  "properties": {
    "event": {"enum": ["record", "open", "close", "classes"]},
    "version": {"type": "integer"},
    "ports": {"type": "array", "items": {"type": "string"}},
    "stream": {"type": "integer"},
    "name": {"type": "string"},
    "group": {"type": "string"},
    "live": {"type": "boolean"},
    "zero_ns": {"type": "integer", "description": "reading of the pipeline's monotonic clock at stream time zero"},
    "wall_ns": {"type": ["integer", "null"], "description": "nanoseconds since 1970 at stream time zero"},
    "file": {"type": ["string", "null"]},
    "formats": {"type": "array", "items": {"type": "object"}, "description": "one for each port, in the order of `ports`"},
    "failed": {"type": "boolean"},
    "number": {"type": "integer"},
    "names": {"type": "array", "items": {"type": "string"}}
  },
  "required": ["event"]
}"#;

/// A format as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum JsonFormat {
    Any,
    Audio { sample_rate: Option<[u32; 2]>, channels: Option<u16> },
    Image { pixel: Option<String>, width: Option<u32>, height: Option<u32> },
    Tensor { dtype: Option<String>, shape: Option<Vec<JsonDim>> },
    Text,
    Transcript,
    Labels,
    Regions,
    Bytes,
}

/// A dimension: a size, a name, or null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum JsonDim {
    Known(usize),
    Symbol(String),
    Any(()),
}

impl JsonFormat {
    /// A format as JSON; one of the user's own is `any`, since no packet of it can be recorded.
    pub(super) fn of(format: &Format) -> JsonFormat {
        match format {
            Format::Any | Format::Custom(_) => JsonFormat::Any,
            Format::Audio { sample_rate, channels } => {
                let fraction = |rate: Rate| <[u32; 2]>::from(rate.fraction());
                JsonFormat::Audio { sample_rate: sample_rate.map(fraction), channels: *channels }
            }
            Format::Image { pixel, width, height } => {
                let pixel = pixel.map(|pixel| pixel.name().to_owned());
                JsonFormat::Image { pixel, width: *width, height: *height }
            }
            Format::Tensor { dtype, shape } => {
                let dims = shape.dims().map(|dims| dims.iter().map(JsonDim::of).collect());
                JsonFormat::Tensor { dtype: dtype.map(|dtype| dtype.name().to_owned()), shape: dims }
            }
            Format::Text => JsonFormat::Text,
            Format::Transcript => JsonFormat::Transcript,
            Format::Labels => JsonFormat::Labels,
            Format::Regions => JsonFormat::Regions,
            Format::Bytes => JsonFormat::Bytes,
        }
    }

    /// The format, or what in it makes no sense.
    pub(super) fn format(&self) -> Result<Format, String> {
        Ok(match self {
            JsonFormat::Any => Format::Any,
            JsonFormat::Audio { sample_rate, channels } => {
                let rate = sample_rate.map(|[numerator, denominator]| Rate::new(numerator, denominator)).transpose();
                Format::audio(rate.map_err(|error| error.to_string())?, *channels)
            }
            JsonFormat::Image { pixel, width, height } => {
                let known = [PixelFormat::Gray8, PixelFormat::Rgb8, PixelFormat::Rgba8];
                let find = |name: &String| {
                    let found = known.into_iter().find(|format| format.name() == name);
                    found.ok_or_else(|| format!("there are no pixels called `{name}`"))
                };
                Format::image(pixel.as_ref().map(find).transpose()?, *width, *height)
            }
            JsonFormat::Tensor { dtype, shape } => {
                let find =
                    |name: &String| DType::from_name(name).ok_or_else(|| format!("there is no data type `{name}`"));
                let shape = match shape {
                    Some(dims) => SymbolicShape::Ranked(dims.iter().map(JsonDim::dim).collect()),
                    None => SymbolicShape::Unranked,
                };
                Format::Tensor { dtype: dtype.as_ref().map(find).transpose()?, shape }
            }
            JsonFormat::Text => Format::Text,
            JsonFormat::Transcript => Format::Transcript,
            JsonFormat::Labels => Format::Labels,
            JsonFormat::Regions => Format::Regions,
            JsonFormat::Bytes => Format::Bytes,
        })
    }
}

impl JsonDim {
    fn of(dim: &Dim) -> JsonDim {
        match dim {
            Dim::Known(size) => JsonDim::Known(*size),
            Dim::Symbol(name) => JsonDim::Symbol(name.to_string()),
            Dim::Any => JsonDim::Any(()),
        }
    }

    fn dim(&self) -> Dim {
        match self {
            JsonDim::Known(size) => Dim::Known(*size),
            JsonDim::Symbol(name) => Dim::Symbol(name.as_str().into()),
            JsonDim::Any(()) => Dim::Any,
        }
    }
}

/// What both formats are: what differs between them becomes unknown.
pub(super) fn widened(a: &Format, b: &Format) -> Format {
    fn same<T: Clone + PartialEq>(a: &Option<T>, b: &Option<T>) -> Option<T> {
        if a == b { a.clone() } else { None }
    }
    match (a, b) {
        (Format::Audio { sample_rate, channels }, Format::Audio { sample_rate: rate, channels: count }) => {
            Format::audio(same(sample_rate, rate), same(channels, count))
        }
        (Format::Image { pixel, width, height }, Format::Image { pixel: p, width: w, height: h }) => {
            Format::image(same(pixel, p), same(width, w), same(height, h))
        }
        (Format::Tensor { dtype, shape }, Format::Tensor { dtype: d, shape: s }) => {
            let shape = match (shape.dims(), s.dims()) {
                (Some(ours), Some(theirs)) if ours.len() == theirs.len() => {
                    let dims = ours.iter().zip(theirs);
                    SymbolicShape::Ranked(dims.map(|(a, b)| if a == b { a.clone() } else { Dim::Any }).collect())
                }
                _ => SymbolicShape::Unranked,
            };
            Format::Tensor { dtype: same(dtype, d), shape }
        }
        (a, b) if a == b => a.clone(),
        _ => Format::Any,
    }
}

/// What a record knows of a stream.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RecordedStream {
    /// Its name.
    pub name: Arc<str>,
    /// Its group: streams recorded together share one.
    pub group: Arc<str>,
    /// Whether it came in real time.
    pub live: bool,
    /// The reading of the recording pipeline's clock at stream time zero: tells how streams lay to each other.
    pub zero: ClockInstant,
    /// The time of day at stream time zero, where it was known, between the years 1678 and 2262.
    pub wall: Option<SystemTime>,
    /// The file that it was read from, if it was.
    pub file: Option<Arc<Path>>,
}

impl RecordedStream {
    /// What a record keeps of `info`.
    pub fn of(info: &StreamInfo) -> RecordedStream {
        RecordedStream {
            name: info.name.clone(),
            group: info.group.clone(),
            live: info.live,
            zero: info.zero,
            wall: info.wall.and_then(nanos_of).map(wall_of),
            file: info.file.clone(),
        }
    }

    pub(super) fn opens(&self, stream: u32, formats: &[Format]) -> StreamEvent {
        StreamEvent::Open {
            stream,
            name: self.name.to_string(),
            group: self.group.to_string(),
            live: self.live,
            zero_ns: self.zero.as_nanos(),
            wall_ns: self.wall.and_then(nanos_of),
            file: self.file.as_ref().map(|file| file.to_string_lossy().into_owned()),
            formats: formats.iter().map(JsonFormat::of).collect(),
        }
    }

    /// The time of day at stream time zero in nanoseconds; 0 where it is not known.
    pub(super) fn wall_nanos(&self) -> i64 {
        self.wall.and_then(nanos_of).unwrap_or(0)
    }
}

/// Nanoseconds since 1970.
fn nanos_of(wall: SystemTime) -> Option<i64> {
    match wall.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).ok(),
        Err(before) => i64::try_from(before.duration().as_nanos()).ok().map(|nanos| -nanos),
    }
}

pub(super) fn wall_of(nanos: i64) -> SystemTime {
    let span = Duration::from_nanos(nanos.unsigned_abs());
    if nanos < 0 { SystemTime::UNIX_EPOCH - span } else { SystemTime::UNIX_EPOCH + span }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formats() -> Vec<Format> {
        let shape = SymbolicShape::Ranked(vec![Dim::Known(1), Dim::Symbol("N".into()), Dim::Any]);
        vec![
            Format::Any,
            Format::ANY_AUDIO,
            Format::audio(Rate::new(30_000, 1001).ok(), Some(2)),
            Format::ANY_IMAGE,
            Format::image(Some(PixelFormat::Rgba8), Some(640), Some(480)),
            Format::ANY_TENSOR,
            Format::Tensor { dtype: Some(DType::BF16), shape },
            Format::Tensor { dtype: None, shape: SymbolicShape::known(&[]) },
            Format::Text,
            Format::Transcript,
            Format::Labels,
            Format::Regions,
            Format::Bytes,
        ]
    }

    #[test]
    fn formats_come_back() {
        for format in formats() {
            let text = serde_json::to_string(&JsonFormat::of(&format)).unwrap();
            let back: JsonFormat = serde_json::from_str(&text).unwrap();
            assert_eq!(back.format().unwrap(), format, "{text}");
        }
        assert_eq!(JsonFormat::of(&Format::Custom("pose")), JsonFormat::Any);
        for text in [
            r#"{"type":"audio","sample_rate":[0,1],"channels":1}"#,
            r#"{"type":"image","pixel":"rgb9","width":1,"height":1}"#,
            r#"{"type":"tensor","dtype":"float","shape":null}"#,
        ] {
            assert!(serde_json::from_str::<JsonFormat>(text).unwrap().format().is_err(), "{text}");
        }
    }

    #[test]
    fn what_differs_is_unknown() {
        let tensor = |dtype, sizes: &[usize]| Format::Tensor { dtype, shape: SymbolicShape::known(sizes) };
        let open = |dims: Vec<Dim>| Format::Tensor { dtype: Some(DType::F32), shape: SymbolicShape::Ranked(dims) };
        for (a, b, both) in [
            (
                Format::audio(Rate::hz(8000).ok(), Some(1)),
                Format::audio(Rate::hz(8000).ok(), Some(2)),
                Format::audio(Rate::hz(8000).ok(), None),
            ),
            (tensor(Some(DType::F32), &[1, 2]), tensor(Some(DType::F32), &[1, 3]), open(vec![Dim::Known(1), Dim::Any])),
            (tensor(Some(DType::F32), &[1]), tensor(Some(DType::F64), &[1, 3]), Format::ANY_TENSOR),
            (Format::Text, Format::Labels, Format::Any),
        ] {
            assert_eq!(widened(&a, &b), both);
            assert_eq!(widened(&b, &a), both);
        }
        for format in formats() {
            assert_eq!(widened(&format, &format), format);
        }
    }

    #[test]
    fn times_of_day_come_back() {
        for nanos in [0, 1, -1, i64::MAX, i64::MIN + 1, 1_700_000_000_123_456_789] {
            assert_eq!(nanos_of(wall_of(nanos)), Some(nanos));
        }
    }
}
