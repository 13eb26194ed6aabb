//! Payloads as bytes, and back: bit for bit. The layouts stand in [`Kind::layout`], which every record carries too.

use std::sync::Arc;

use super::cursor::{Cursor, Malformed, TEXT_BYTES, put_count, put_option, put_text};
use crate::media::{
    Affine, Audio, Image, Keypoint, Label, Labels, Mask, Payload, Piece, PixelFormat, Place, Point, Rect, Region,
    Regions, Text, Transcript,
};
use crate::tensor::{Buffer, DType, Element, Tensor, TensorData, bf16, f16};
use crate::units::{Rate, Timestamp};

/// The payload types that a record keeps, each with a schema of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Audio,
    Image,
    Tensor,
    Text,
    Transcript,
    Labels,
    Regions,
    Bytes,
}

/// Sizes of the smallest piece, label, point, keypoint and region, in bytes.
const PIECE_BYTES: usize = TEXT_BYTES + 4 + 2;
const LABEL_BYTES: usize = 8 + 1 + 4;
const POINT_BYTES: usize = 8;
const KEYPOINT_BYTES: usize = POINT_BYTES + 4 + 1;
const REGION_BYTES: usize = 5 * 4 + 1 + 4 + 4 + 1 + 1 + 1;

impl Kind {
    pub(super) const ALL: [Kind; 8] = [
        Kind::Audio,
        Kind::Image,
        Kind::Tensor,
        Kind::Text,
        Kind::Transcript,
        Kind::Labels,
        Kind::Regions,
        Kind::Bytes,
    ];

    /// The name of its schema.
    pub(super) const fn schema(self) -> &'static str {
        match self {
            Kind::Audio => "percept.Audio",
            Kind::Image => "percept.Image",
            Kind::Tensor => "percept.Tensor",
            Kind::Text => "percept.Text",
            Kind::Transcript => "percept.Transcript",
            Kind::Labels => "percept.Labels",
            Kind::Regions => "percept.Regions",
            Kind::Bytes => "percept.Bytes",
        }
    }

    /// How its bytes lie behind the packet's head.
    pub(super) const fn layout(self) -> &'static str {
        match self {
            Kind::Audio => {
                "rate_numerator u32, rate_denominator u32, channels u16, samples f32[…] interleaved, to the end"
            }
            Kind::Image => {
                "pixel u8 (1 gray8, 2 rgb8, 3 rgba8), width u32, height u32, to_frame f64[6] (a b c d e f of x' = ax + by \
                 + c, y' = dx + ey + f), frame_width u32, frame_height u32, pixels u8[…] row by row, to the end"
            }
            Kind::Tensor => {
                "dtype u8 (1 f16, 2 bf16, 3 f32, 4 f64, 5 i8, 6 i16, 7 i32, 8 i64, 9 u8, 10 u16, 11 u32, 12 u64, 13 bool, \
                 14 string), rank u32, shape u64[rank], elements row by row, to the end; bool: a byte 0 or 1; string: text"
            }
            Kind::Text => "text, pieces list of {text, log_probability f32, start option i64 ns, end option i64 ns}",
            Kind::Transcript => {
                "text, is_final u8, utterance u64, confidence option f32, pieces list of {text, log_probability f32, start \
                 option i64 ns, end option i64 ns}"
            }
            Kind::Labels => "labels list of {index u64, name option text, score f32}",
            Kind::Regions => {
                "frame_width u32, frame_height u32, regions list of {x f32, y f32, width f32, height f32, score f32, label \
                 option {index u64, name option text, score f32}, outline list of {x f32, y f32}, keypoints list of {x \
                 f32, y f32, score f32, name option text}, mask option {width u32, height u32, to_frame f64[6], values \
                 list of u8}, track option u64, embedding option list of f32}"
            }
            Kind::Bytes => "bytes u8[…], to the end",
        }
    }

    /// The type of a payload; `None` for one of the user's own.
    pub(super) fn of(payload: &Payload) -> Option<Kind> {
        Some(match payload {
            Payload::Audio(_) => Kind::Audio,
            Payload::Image(_) => Kind::Image,
            Payload::Tensor(_) => Kind::Tensor,
            Payload::Text(_) => Kind::Text,
            Payload::Transcript(_) => Kind::Transcript,
            Payload::Labels(_) => Kind::Labels,
            Payload::Regions(_) => Kind::Regions,
            Payload::Bytes(_) => Kind::Bytes,
            Payload::Custom(_) => return None,
        })
    }

    /// The type with this schema.
    pub(super) fn from_schema(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.schema() == name)
    }
}

const fn pixel_code(format: PixelFormat) -> u8 {
    match format {
        PixelFormat::Gray8 => 1,
        PixelFormat::Rgb8 => 2,
        PixelFormat::Rgba8 => 3,
    }
}

fn pixel_of(code: u8) -> Result<PixelFormat, Malformed> {
    let known = [PixelFormat::Gray8, PixelFormat::Rgb8, PixelFormat::Rgba8];
    let found = known.into_iter().find(|format| pixel_code(*format) == code);
    found.ok_or_else(|| Malformed(format!("expected pixels of the kinds 1 to 3, found {code}")))
}

/// The place in [`DType::ALL`], from 1.
fn dtype_code(dtype: DType) -> u8 {
    DType::ALL.iter().zip(1..).find(|(known, _)| **known == dtype).map_or(0, |(_, code)| code)
}

fn dtype_of(code: u8) -> Result<DType, Malformed> {
    let found = usize::from(code).checked_sub(1).and_then(|place| DType::ALL.get(place));
    found.copied().ok_or_else(|| Malformed(format!("expected a data type from 1 to 14, found {code}")))
}

/// Writes a payload; nothing for one of the user's own.
pub(super) fn put(out: &mut Vec<u8>, payload: &Payload) {
    match payload {
        Payload::Audio(audio) => {
            let (numerator, denominator) = audio.rate().fraction();
            out.extend(numerator.to_le_bytes());
            out.extend(denominator.to_le_bytes());
            out.extend(audio.channels().to_le_bytes());
            put_floats(out, audio.samples());
        }
        Payload::Image(image) => {
            out.push(pixel_code(image.format()));
            out.extend(image.width().to_le_bytes());
            out.extend(image.height().to_le_bytes());
            put_place(out, image.place());
            image.rows().for_each(|row| out.extend_from_slice(row));
        }
        Payload::Tensor(tensor) => put_tensor(out, tensor),
        Payload::Text(text) => {
            put_text(out, &text.text);
            put_pieces(out, &text.pieces);
        }
        Payload::Transcript(transcript) => {
            put_text(out, &transcript.text);
            out.push(u8::from(transcript.is_final));
            out.extend(transcript.utterance.to_le_bytes());
            put_option(out, transcript.confidence, |out, value| out.extend(value.to_le_bytes()));
            put_pieces(out, &transcript.pieces);
        }
        Payload::Labels(labels) => {
            put_count(out, labels.entries.len());
            labels.entries.iter().for_each(|label| put_label(out, label));
        }
        Payload::Regions(regions) => {
            out.extend(regions.frame_width.to_le_bytes());
            out.extend(regions.frame_height.to_le_bytes());
            put_count(out, regions.entries.len());
            regions.entries.iter().for_each(|region| put_region(out, region));
        }
        Payload::Bytes(bytes) => out.extend_from_slice(bytes),
        Payload::Custom(_) => {}
    }
}

/// Reads a payload of this type, which must fill the bytes.
pub(super) fn get(kind: Kind, bytes: &mut Cursor<'_>) -> Result<Payload, Malformed> {
    let payload = match kind {
        Kind::Audio => {
            let rate = Rate::new(bytes.u32()?, bytes.u32()?).map_err(|error| Malformed(error.to_string()))?;
            let channels = bytes.u16()?;
            let samples = to_the_end(bytes, f32::from_le_bytes)?;
            Audio::new(samples, channels, rate).map_err(|error| Malformed(error.to_string()))?.into()
        }
        Kind::Image => {
            let format = pixel_of(bytes.u8()?)?;
            let (width, height) = (bytes.u32()?, bytes.u32()?);
            let place = place(bytes)?;
            let image = Image::new(bytes.rest().to_vec(), width, height, format);
            image.map_err(|error| Malformed(error.to_string()))?.at(place).into()
        }
        Kind::Tensor => tensor(bytes)?.into(),
        Kind::Text => Text { text: bytes.shared_text()?, pieces: pieces(bytes)? }.into(),
        Kind::Transcript => Transcript {
            text: bytes.shared_text()?,
            is_final: bytes.bool()?,
            utterance: bytes.u64()?,
            confidence: bytes.option(Cursor::f32)?,
            pieces: pieces(bytes)?,
        }
        .into(),
        Kind::Labels => {
            let count = bytes.count(LABEL_BYTES)?;
            Labels { entries: bytes.list(count, LABEL_BYTES, label)?.into() }.into()
        }
        Kind::Regions => {
            let (frame_width, frame_height) = (bytes.u32()?, bytes.u32()?);
            let count = bytes.count(REGION_BYTES)?;
            Regions { frame_width, frame_height, entries: bytes.list(count, REGION_BYTES, region)?.into() }.into()
        }
        Kind::Bytes => Payload::Bytes(bytes.rest().to_vec().into()),
    };
    bytes.end()?;
    Ok(payload)
}

fn put_floats(out: &mut Vec<u8>, values: &[f32]) {
    out.reserve(values.len().saturating_mul(4));
    values.iter().for_each(|value| out.extend(value.to_le_bytes()));
}

/// Values of `N` bytes each, up to the end.
fn to_the_end<T, const N: usize>(bytes: &mut Cursor<'_>, read: fn([u8; N]) -> T) -> Result<Vec<T>, Malformed> {
    let (values, left) = bytes.rest().as_chunks::<N>();
    match left.len() {
        0 => Ok(values.iter().map(|value| read(*value)).collect()),
        left => Err(Malformed(format!("expected values of {N} bytes each, found {left} bytes too many"))),
    }
}

pub(super) fn put_place(out: &mut Vec<u8>, place: &Place) {
    put_affine(out, &place.to_frame);
    out.extend(place.frame_width.to_le_bytes());
    out.extend(place.frame_height.to_le_bytes());
}

pub(super) fn place(bytes: &mut Cursor<'_>) -> Result<Place, Malformed> {
    Ok(Place { to_frame: affine(bytes)?, frame_width: bytes.u32()?, frame_height: bytes.u32()? })
}

fn put_affine(out: &mut Vec<u8>, map: &Affine) {
    map.rows().as_flattened().iter().for_each(|value| out.extend(value.to_le_bytes()));
}

fn affine(bytes: &mut Cursor<'_>) -> Result<Affine, Malformed> {
    let mut row = || -> Result<[f64; 3], Malformed> { Ok([bytes.f64()?, bytes.f64()?, bytes.f64()?]) };
    Ok(Affine::new([row()?, row()?]))
}

fn put_pieces(out: &mut Vec<u8>, pieces: &[Piece]) {
    put_count(out, pieces.len());
    for piece in pieces {
        put_text(out, &piece.text);
        out.extend(piece.log_probability.to_le_bytes());
        for time in [piece.start, piece.end] {
            put_option(out, time, |out, time| out.extend(time.as_nanos().to_le_bytes()));
        }
    }
}

fn pieces(bytes: &mut Cursor<'_>) -> Result<Arc<[Piece]>, Malformed> {
    let count = bytes.count(PIECE_BYTES)?;
    let time = |bytes: &mut Cursor<'_>| bytes.option(|bytes| bytes.i64().map(Timestamp::from_nanos));
    let pieces = bytes.list(count, PIECE_BYTES, |bytes| {
        Ok(Piece { text: bytes.shared_text()?, log_probability: bytes.f32()?, start: time(bytes)?, end: time(bytes)? })
    })?;
    Ok(pieces.into())
}

fn put_label(out: &mut Vec<u8>, label: &Label) {
    out.extend((label.index as u64).to_le_bytes());
    put_option(out, label.name.as_deref(), put_text);
    out.extend(label.score.to_le_bytes());
}

fn label(bytes: &mut Cursor<'_>) -> Result<Label, Malformed> {
    let index = bytes.u64()?;
    let index = usize::try_from(index).map_err(|_| Malformed(format!("no class can have the index {index}")))?;
    Ok(Label { index, name: bytes.option(Cursor::shared_text)?, score: bytes.f32()? })
}

fn put_point(out: &mut Vec<u8>, point: &Point) {
    put_floats(out, &[point.x, point.y]);
}

fn point(bytes: &mut Cursor<'_>) -> Result<Point, Malformed> {
    Ok(Point { x: bytes.f32()?, y: bytes.f32()? })
}

fn put_region(out: &mut Vec<u8>, region: &Region) {
    let Rect { x, y, width, height } = region.bounds;
    put_floats(out, &[x, y, width, height, region.score]);
    put_option(out, region.label.as_ref(), put_label);
    put_count(out, region.outline.len());
    region.outline.iter().for_each(|point| put_point(out, point));
    put_count(out, region.keypoints.len());
    for keypoint in region.keypoints.iter() {
        put_point(out, &keypoint.point);
        out.extend(keypoint.score.to_le_bytes());
        put_option(out, keypoint.name.as_deref(), put_text);
    }
    put_option(out, region.mask.as_ref(), |out, mask| {
        out.extend(mask.width.to_le_bytes());
        out.extend(mask.height.to_le_bytes());
        put_affine(out, &mask.to_frame);
        put_count(out, mask.values.len());
        out.extend_from_slice(&mask.values);
    });
    put_option(out, region.track, |out, track| out.extend(track.to_le_bytes()));
    put_option(out, region.embedding.as_ref(), |out, embedding| {
        put_count(out, embedding.len());
        put_floats(out, embedding);
    });
}

fn region(bytes: &mut Cursor<'_>) -> Result<Region, Malformed> {
    let bounds = Rect { x: bytes.f32()?, y: bytes.f32()?, width: bytes.f32()?, height: bytes.f32()? };
    let mut region = Region::new(bounds, bytes.f32()?);
    region.label = bytes.option(label)?;
    let count = bytes.count(POINT_BYTES)?;
    region.outline = bytes.list(count, POINT_BYTES, point)?.into();
    let count = bytes.count(KEYPOINT_BYTES)?;
    let keypoints = bytes.list(count, KEYPOINT_BYTES, |bytes| {
        Ok(Keypoint { point: point(bytes)?, score: bytes.f32()?, name: bytes.option(Cursor::shared_text)? })
    })?;
    region.keypoints = keypoints.into();
    region.mask = bytes.option(|bytes| {
        let (width, height, to_frame) = (bytes.u32()?, bytes.u32()?, affine(bytes)?);
        let count = bytes.count(1)?;
        Ok(Mask { width, height, values: bytes.take(count)?.to_vec().into(), to_frame })
    })?;
    region.track = bytes.option(Cursor::u64)?;
    region.embedding = bytes.option(|bytes| {
        let count = bytes.count(4)?;
        Ok(Buffer::from(bytes.list(count, 4, Cursor::f32)?))
    })?;
    Ok(region)
}

fn put_tensor(out: &mut Vec<u8>, tensor: &Tensor) {
    fn raw<T: Copy, const N: usize>(out: &mut Vec<u8>, values: &[T], bytes: fn(T) -> [u8; N]) {
        out.reserve(values.len().saturating_mul(N));
        values.iter().for_each(|value| out.extend(bytes(*value)));
    }
    out.push(dtype_code(tensor.dtype()));
    put_count(out, tensor.shape().len());
    tensor.shape().iter().for_each(|size| out.extend((*size as u64).to_le_bytes()));
    match tensor.data() {
        TensorData::F16(values) => raw(out, values, f16::to_le_bytes),
        TensorData::BF16(values) => raw(out, values, bf16::to_le_bytes),
        TensorData::F32(values) => raw(out, values, f32::to_le_bytes),
        TensorData::F64(values) => raw(out, values, f64::to_le_bytes),
        TensorData::I8(values) => raw(out, values, i8::to_le_bytes),
        TensorData::I16(values) => raw(out, values, i16::to_le_bytes),
        TensorData::I32(values) => raw(out, values, i32::to_le_bytes),
        TensorData::I64(values) => raw(out, values, i64::to_le_bytes),
        TensorData::U8(values) => out.extend_from_slice(values),
        TensorData::U16(values) => raw(out, values, u16::to_le_bytes),
        TensorData::U32(values) => raw(out, values, u32::to_le_bytes),
        TensorData::U64(values) => raw(out, values, u64::to_le_bytes),
        TensorData::Bool(values) => out.extend(values.iter().map(|value| u8::from(*value))),
        TensorData::String(values) => values.iter().for_each(|value| put_text(out, value)),
    }
}

fn tensor(bytes: &mut Cursor<'_>) -> Result<Tensor, Malformed> {
    fn made<T: Element>(shape: Vec<usize>, elements: Vec<T>) -> Result<Tensor, Malformed> {
        Tensor::new(shape, elements).map_err(|error| Malformed(error.to_string()))
    }
    let dtype = dtype_of(bytes.u8()?)?;
    let rank = bytes.count(8)?;
    let shape = bytes.list(rank, 8, |bytes| {
        let size = bytes.u64()?;
        usize::try_from(size).map_err(|_| Malformed(format!("no tensor can have a side of {size}")))
    })?;
    match dtype {
        DType::F16 => made(shape, to_the_end(bytes, f16::from_le_bytes)?),
        DType::BF16 => made(shape, to_the_end(bytes, bf16::from_le_bytes)?),
        DType::F32 => made(shape, to_the_end(bytes, f32::from_le_bytes)?),
        DType::F64 => made(shape, to_the_end(bytes, f64::from_le_bytes)?),
        DType::I8 => made(shape, to_the_end(bytes, i8::from_le_bytes)?),
        DType::I16 => made(shape, to_the_end(bytes, i16::from_le_bytes)?),
        DType::I32 => made(shape, to_the_end(bytes, i32::from_le_bytes)?),
        DType::I64 => made(shape, to_the_end(bytes, i64::from_le_bytes)?),
        DType::U8 => made(shape, bytes.rest().to_vec()),
        DType::U16 => made(shape, to_the_end(bytes, u16::from_le_bytes)?),
        DType::U32 => made(shape, to_the_end(bytes, u32::from_le_bytes)?),
        DType::U64 => made(shape, to_the_end(bytes, u64::from_le_bytes)?),
        DType::Bool => {
            let count = bytes.len();
            made(shape, bytes.list(count, 1, Cursor::bool)?)
        }
        DType::String => {
            let mut values = Vec::new();
            while bytes.len() > 0 {
                values.push(bytes.text()?.to_owned());
            }
            made(shape, values)
        }
    }
}
