//! Tensors as ONNX stores them (`TensorProto`, onnx.proto): every encoding is read, one is written.
//!
//! Read: `raw_data` (little endian), the typed fields (16-bit floats, small integers and booleans in `int32_data`), and
//! external files. Written: `raw_data`, and `string_data` for text, inside the model.

use prost::Message;

use super::dtype;
use super::error::OnnxError;
use super::external::Folder;
use super::place::Place;
use super::proto::TensorProto;
use super::proto::tensor_proto::DataLocation;
use crate::tensor::{DType, Tensor, TensorData, bf16, f16};

/// Reads a tensor that is stored by itself: the bytes of one `TensorProto`, as the `.pb` files of ONNX's test data hold
/// it. Its name is not kept; external data are refused.
pub fn decode_tensor(bytes: &[u8]) -> Result<Tensor, OnnxError> {
    let mut proto = TensorProto::decode(bytes)
        .map_err(|error| OnnxError::Damaged { len: bytes.len() as u64, reason: error.to_string() })?;
    let name = proto.name.take().unwrap_or_default();
    take_tensor(&mut proto, Place::Tensor { name: &name }, &Folder::none())
}

/// Moves the elements out of `proto` into a tensor; what is left in it are its name and notes.
///
/// Nothing is allocated before the length of the data was found to be what the shape asks for.
pub(super) fn take_tensor(proto: &mut TensorProto, place: Place, folder: &Folder) -> Result<Tensor, OnnxError> {
    let stored = Stored {
        float_data: std::mem::take(&mut proto.float_data),
        int32_data: std::mem::take(&mut proto.int32_data),
        int64_data: std::mem::take(&mut proto.int64_data),
        uint64_data: std::mem::take(&mut proto.uint64_data),
        double_data: std::mem::take(&mut proto.double_data),
        string_data: std::mem::take(&mut proto.string_data),
    };
    let code = proto.data_type.take().unwrap_or_default();
    let dtype = dtype::from_code(code)
        .ok_or_else(|| OnnxError::UnsupportedDType { place: place.to_string(), found: dtype::name_of_code(code) })?;
    if proto.segment.is_some() {
        let remedy = "store the tensor in one piece";
        return Err(OnnxError::Unsupported { place: place.to_string(), found: "is split in segments", remedy });
    }
    let layout = Layout::new(dtype, std::mem::take(&mut proto.dims), place)?;
    let location = proto.data_location.take().unwrap_or_default();
    let external = std::mem::take(&mut proto.external_data);
    let raw = proto.raw_data.take().filter(|raw| !raw.is_empty());
    if location == i32::from(DataLocation::External) {
        let Some(len) = layout.byte_len else {
            let remedy = "store it in the model itself";
            let found = "is text in an external file, which the format does not allow";
            return Err(OnnxError::Unsupported { place: place.to_string(), found, remedy });
        };
        let bytes = folder.read(&external, len, &place)?;
        return layout.read_bytes(&bytes);
    }
    match raw {
        Some(bytes) => layout.read_bytes(&bytes),
        None => layout.read_fields(stored),
    }
}

/// Writes `tensor` into `proto`, whose name and notes stay.
pub(super) fn fill(proto: &mut TensorProto, tensor: &Tensor) {
    fn bytes<T: Copy, const N: usize>(elements: &[T], to_le: impl Fn(T) -> [u8; N]) -> Option<Vec<u8>> {
        Some(elements.iter().flat_map(|element| to_le(*element)).collect())
    }
    proto.dims = tensor.shape().iter().map(|size| i64::try_from(*size).unwrap_or(i64::MAX)).collect();
    proto.data_type = Some(dtype::to_code(tensor.dtype()));
    proto.raw_data = match tensor.data() {
        TensorData::F16(buffer) => bytes(buffer, f16::to_le_bytes),
        TensorData::BF16(buffer) => bytes(buffer, bf16::to_le_bytes),
        TensorData::F32(buffer) => bytes(buffer, f32::to_le_bytes),
        TensorData::F64(buffer) => bytes(buffer, f64::to_le_bytes),
        TensorData::I8(buffer) => bytes(buffer, i8::to_le_bytes),
        TensorData::I16(buffer) => bytes(buffer, i16::to_le_bytes),
        TensorData::I32(buffer) => bytes(buffer, i32::to_le_bytes),
        TensorData::I64(buffer) => bytes(buffer, i64::to_le_bytes),
        TensorData::U8(buffer) => Some(buffer.to_vec()),
        TensorData::U16(buffer) => bytes(buffer, u16::to_le_bytes),
        TensorData::U32(buffer) => bytes(buffer, u32::to_le_bytes),
        TensorData::U64(buffer) => bytes(buffer, u64::to_le_bytes),
        TensorData::Bool(buffer) => bytes(buffer, |truth: bool| [u8::from(truth)]),
        TensorData::String(buffer) => {
            proto.string_data = buffer.iter().map(|text| text.clone().into_bytes()).collect();
            None
        }
    };
}

/// The typed fields.
struct Stored {
    float_data: Vec<f32>,
    int32_data: Vec<i32>,
    int64_data: Vec<i64>,
    uint64_data: Vec<u64>,
    double_data: Vec<f64>,
    string_data: Vec<Vec<u8>>,
}

/// A checked data type and shape.
struct Layout<'a> {
    dtype: DType,
    shape: Vec<usize>,
    count: u64,
    byte_len: Option<u64>,
    place: Place<'a>,
}

impl<'a> Layout<'a> {
    fn new(dtype: DType, dims: Vec<i64>, place: Place<'a>) -> Result<Self, OnnxError> {
        let checked = || {
            let shape = dims.iter().map(|size| usize::try_from(*size).ok()).collect::<Option<Vec<_>>>()?;
            let count = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size))?;
            let byte_len = match dtype.byte_width() {
                Some(width) => Some(u64::try_from(count.checked_mul(width)?).ok()?),
                None => None,
            };
            Some((shape, u64::try_from(count).ok()?, byte_len))
        };
        match checked() {
            Some((shape, count, byte_len)) => Ok(Layout { dtype, shape, count, byte_len, place }),
            None => Err(OnnxError::Shape { place: place.to_string(), dims }),
        }
    }

    fn size_fault(&self, expected: u64, found: usize, unit: &'static str) -> OnnxError {
        let (place, shape) = (self.place.to_string(), self.shape.clone());
        OnnxError::Size { place, dtype: self.dtype, shape, expected, found: found as u64, unit }
    }

    fn element_fault(&self, index: usize, found: String) -> OnnxError {
        OnnxError::Element { place: self.place.to_string(), index, dtype: self.dtype, found }
    }

    fn tensor<T: crate::tensor::Element>(&self, elements: Vec<T>) -> Result<Tensor, OnnxError> {
        let found = elements.len();
        Tensor::new(self.shape.clone(), elements).map_err(|_| self.size_fault(self.count, found, "elements"))
    }

    /// A tensor over little-endian bytes.
    fn read_bytes(&self, bytes: &[u8]) -> Result<Tensor, OnnxError> {
        let Some(expected) = self.byte_len else {
            let remedy = "export it with `string_data`";
            let found = "is text in `raw_data`, which the format does not allow";
            return Err(OnnxError::Unsupported { place: self.place.to_string(), found, remedy });
        };
        if expected != bytes.len() as u64 {
            return Err(self.size_fault(expected, bytes.len(), "bytes"));
        }
        match self.dtype {
            DType::F16 => self.tensor(elements(bytes, f16::from_le_bytes)),
            DType::BF16 => self.tensor(elements(bytes, bf16::from_le_bytes)),
            DType::F32 => self.tensor(elements(bytes, f32::from_le_bytes)),
            DType::F64 => self.tensor(elements(bytes, f64::from_le_bytes)),
            DType::I8 => self.tensor(elements(bytes, i8::from_le_bytes)),
            DType::I16 => self.tensor(elements(bytes, i16::from_le_bytes)),
            DType::I32 => self.tensor(elements(bytes, i32::from_le_bytes)),
            DType::I64 => self.tensor(elements(bytes, i64::from_le_bytes)),
            DType::U8 => self.tensor(bytes.to_vec()),
            DType::U16 => self.tensor(elements(bytes, u16::from_le_bytes)),
            DType::U32 => self.tensor(elements(bytes, u32::from_le_bytes)),
            DType::U64 => self.tensor(elements(bytes, u64::from_le_bytes)),
            DType::Bool => self.tensor(elements(bytes, |[byte]: [u8; 1]| byte != 0)),
            DType::String => Err(self.size_fault(self.count, 0, "elements")),
        }
    }

    /// A tensor over the field that the format assigns to its data type.
    fn read_fields(&self, stored: Stored) -> Result<Tensor, OnnxError> {
        match self.dtype {
            DType::F32 => self.tensor(stored.float_data),
            DType::F64 => self.tensor(stored.double_data),
            DType::I32 => self.tensor(stored.int32_data),
            DType::I64 => self.tensor(stored.int64_data),
            DType::U64 => self.tensor(stored.uint64_data),
            DType::U32 => self.convert(stored.uint64_data, |value| u32::try_from(value).ok()),
            DType::I8 => self.convert(stored.int32_data, |value| i8::try_from(value).ok()),
            DType::I16 => self.convert(stored.int32_data, |value| i16::try_from(value).ok()),
            DType::U8 => self.convert(stored.int32_data, |value| u8::try_from(value).ok()),
            DType::U16 => self.convert(stored.int32_data, |value| u16::try_from(value).ok()),
            DType::F16 => self.convert(stored.int32_data, |value| u16::try_from(value).ok().map(f16::from_bits)),
            DType::BF16 => self.convert(stored.int32_data, |value| u16::try_from(value).ok().map(bf16::from_bits)),
            DType::Bool => self.convert(stored.int32_data, |value| Some(value != 0)),
            DType::String => {
                let texts = stored.string_data.into_iter().enumerate().map(|(index, bytes)| {
                    String::from_utf8(bytes)
                        .map_err(|fault| self.element_fault(index, format!("{:?}", fault.as_bytes())))
                });
                self.tensor(texts.collect::<Result<Vec<_>, _>>()?)
            }
        }
    }

    fn convert<S: Copy + ToString, T: crate::tensor::Element>(
        &self,
        stored: Vec<S>,
        to: impl Fn(S) -> Option<T>,
    ) -> Result<Tensor, OnnxError> {
        let converted = stored.into_iter().enumerate();
        let converted = converted.map(|(i, value)| to(value).ok_or_else(|| self.element_fault(i, value.to_string())));
        self.tensor(converted.collect::<Result<Vec<_>, _>>()?)
    }
}

fn elements<T, const N: usize>(bytes: &[u8], from_le: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (whole, _) = bytes.as_chunks::<N>();
    whole.iter().map(|chunk| from_le(*chunk)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::onnx::proto::tensor_proto::{DataType, Segment};

    const PLACE: Place = Place::Initializer { name: "w" };

    fn read(mut proto: TensorProto) -> Result<Tensor, OnnxError> {
        take_tensor(&mut proto, PLACE, &Folder::none())
    }

    fn proto(data_type: DataType, dims: &[i64]) -> TensorProto {
        TensorProto { data_type: Some(data_type.into()), dims: dims.to_vec(), ..TensorProto::default() }
    }

    #[test]
    fn typed_fields_are_read_as_the_format_assigns_them() {
        let ints = |data_type, int32_data: &[i32]| TensorProto {
            int32_data: int32_data.to_vec(),
            ..proto(data_type, &[int32_data.len() as i64])
        };
        let cases = [
            (ints(DataType::Float16, &[0x3c00, 0xc000]), Tensor::from_vec(vec![f16::ONE, f16::from_f32(-2.0)])),
            (ints(DataType::Bfloat16, &[0x3f80]), Tensor::from_vec(vec![bf16::ONE])),
            (ints(DataType::Int8, &[-128, 127]), Tensor::from_vec(vec![-128i8, 127])),
            (ints(DataType::Int16, &[-300]), Tensor::from_vec(vec![-300i16])),
            (ints(DataType::Int32, &[i32::MIN]), Tensor::from_vec(vec![i32::MIN])),
            (ints(DataType::Uint8, &[255]), Tensor::from_vec(vec![255u8])),
            (ints(DataType::Uint16, &[65535]), Tensor::from_vec(vec![65535u16])),
            (ints(DataType::Bool, &[0, 1, 2]), Tensor::from_vec(vec![false, true, true])),
            (
                TensorProto { uint64_data: vec![u32::MAX.into()], ..proto(DataType::Uint32, &[1]) },
                Tensor::from_vec(vec![u32::MAX]),
            ),
            (TensorProto { float_data: vec![1.5], ..proto(DataType::Float, &[]) }, Tensor::scalar(1.5f32)),
            (
                TensorProto { string_data: vec!["é".into()], ..proto(DataType::String, &[1]) },
                Tensor::from_vec(vec!["é".to_owned()]),
            ),
            (proto(DataType::Double, &[3, 0]), Tensor::zeros(DType::F64, vec![3, 0]).unwrap()),
            (
                TensorProto { raw_data: Some(vec![1, 0, 255, 255]), ..proto(DataType::Int16, &[2]) },
                Tensor::from_vec(vec![1i16, -1]),
            ),
        ];
        for (stored, expected) in cases {
            assert_eq!(read(stored.clone()).unwrap(), expected, "{stored:?}");
        }
    }

    #[test]
    fn a_tensor_by_itself_is_read_or_refused() {
        let tensor = Tensor::new(vec![2, 1], vec![1.5f64, -2.0]).unwrap();
        let mut proto = TensorProto { name: Some("y".into()), ..TensorProto::default() };
        fill(&mut proto, &tensor);
        let bytes = proto.encode_to_vec();
        assert_eq!(decode_tensor(&bytes).unwrap(), tensor);
        let external = TensorProto {
            data_location: Some(DataLocation::External.into()),
            ..TensorProto { name: Some("y".into()), ..self::proto(DataType::Float, &[1]) }
        };
        let cases: [(&[u8], &str); 4] = [
            (&bytes[..bytes.len() - 1], "cut off or damaged"),
            (b"\xff\xff\xff", "cut off or damaged"),
            (b"", "tensor \"\" has data type undefined"),
            (&external.encode_to_vec(), "tensor \"y\""),
        ];
        for (bytes, part) in cases {
            let message = decode_tensor(bytes).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn faults_name_the_tensor_and_what_was_expected() {
        let raw = |data_type, dims: &[i64], len| TensorProto { raw_data: Some(vec![0; len]), ..proto(data_type, dims) };
        let cases = [
            (proto(DataType::Float8e4m3fn, &[1]), "data type float8e4m3fn"),
            (proto(DataType::Int4, &[1]), "data type int4"),
            (proto(DataType::Complex64, &[1]), "data type complex64"),
            (TensorProto::default(), "data type undefined"),
            (proto(DataType::Float, &[-1]), "shape [-1]"),
            (proto(DataType::Float, &[i64::MAX, 2]), "not the shape of a tensor"),
            (proto(DataType::Double, &[1 << 61]), "not the shape of a tensor"),
            (proto(DataType::Float, &[1 << 50]), "takes 1125899906842624 elements, found 0"),
            (raw(DataType::Float, &[2], 7), "takes 8 bytes, found 7"),
            (raw(DataType::Float, &[1 << 40], 8), "takes 4398046511104 bytes, found 8"),
            (raw(DataType::String, &[1], 8), "text in `raw_data`"),
            (TensorProto { int32_data: vec![0, 128], ..proto(DataType::Int8, &[2]) }, "element 1: 128 is no i8"),
            (TensorProto { int32_data: vec![-1], ..proto(DataType::Float16, &[1]) }, "-1 is no f16"),
            (TensorProto { uint64_data: vec![1 << 32], ..proto(DataType::Uint32, &[1]) }, "is no u32"),
            (TensorProto { string_data: vec![vec![0xff]], ..proto(DataType::String, &[1]) }, "is no string"),
            (TensorProto { float_data: vec![1.0], ..proto(DataType::Double, &[1]) }, "takes 1 elements, found 0"),
            (TensorProto { segment: Some(Segment::default()), ..proto(DataType::Float, &[0]) }, "split in segments"),
            (TensorProto { data_location: Some(1), ..proto(DataType::String, &[1]) }, "text in an external file"),
            (TensorProto { data_location: Some(1), ..proto(DataType::Float, &[1]) }, "load it from its path"),
        ];
        for (stored, part) in cases {
            let error = read(stored).unwrap_err().to_string();
            assert!(error.starts_with("initializer \"w\"") && error.contains(part), "{error}");
        }
    }

    fn round_trip(tensor: Tensor) -> Result<(), TestCaseError> {
        let mut proto = TensorProto { name: Some("w".into()), ..TensorProto::default() };
        fill(&mut proto, &tensor);
        let back = take_tensor(&mut proto, PLACE, &Folder::none()).unwrap();
        prop_assert_eq!(back, tensor);
        prop_assert_eq!(proto, TensorProto { name: Some("w".into()), ..TensorProto::default() });
        Ok(())
    }

    proptest! {
        #[test]
        fn every_data_type_round_trips(
            floats in prop::collection::vec(-1e30f64..1e30, 0..20), ints in prop::collection::vec(any::<i64>(), 0..20),
            texts in prop::collection::vec(".{0,5}", 0..4),
        ) {
            round_trip(Tensor::from_vec(floats.iter().map(|x| f16::from_f64(*x)).collect()))?;
            round_trip(Tensor::from_vec(floats.iter().map(|x| bf16::from_f64(*x)).collect()))?;
            round_trip(Tensor::from_vec(floats.iter().map(|x| *x as f32).collect()))?;
            round_trip(Tensor::from_vec(floats))?;
            round_trip(Tensor::from_vec(ints.iter().map(|x| *x as i8).collect()))?;
            round_trip(Tensor::from_vec(ints.iter().map(|x| *x as i16).collect()))?;
            round_trip(Tensor::from_vec(ints.iter().map(|x| *x as i32).collect()))?;
            round_trip(Tensor::from_vec(ints.iter().map(|x| *x as u8).collect()))?;
            round_trip(Tensor::from_vec(ints.iter().map(|x| *x as u16).collect()))?;
            round_trip(Tensor::from_vec(ints.iter().map(|x| *x as u32).collect()))?;
            round_trip(Tensor::from_vec(ints.iter().map(|x| *x as u64).collect()))?;
            round_trip(Tensor::from_vec(ints.iter().map(|x| *x % 2 == 0).collect()))?;
            round_trip(Tensor::new(vec![1, ints.len()], ints).unwrap())?;
            round_trip(Tensor::from_vec(texts))?;
        }
    }
}
