//! ONNX data types and percept's.

use super::proto::tensor_proto::DataType;
use crate::tensor::DType;

/// The data type of an ONNX type code; `None` for undefined ones and those that [`DType`] lacks.
pub(super) fn from_code(code: i32) -> Option<DType> {
    Some(match DataType::try_from(code).ok()? {
        DataType::Float => DType::F32,
        DataType::Uint8 => DType::U8,
        DataType::Int8 => DType::I8,
        DataType::Uint16 => DType::U16,
        DataType::Int16 => DType::I16,
        DataType::Int32 => DType::I32,
        DataType::Int64 => DType::I64,
        DataType::String => DType::String,
        DataType::Bool => DType::Bool,
        DataType::Float16 => DType::F16,
        DataType::Double => DType::F64,
        DataType::Uint32 => DType::U32,
        DataType::Uint64 => DType::U64,
        DataType::Bfloat16 => DType::BF16,
        _ => return None,
    })
}

/// The ONNX type code of a data type.
pub(super) fn to_code(dtype: DType) -> i32 {
    let code = match dtype {
        DType::F16 => DataType::Float16,
        DType::BF16 => DataType::Bfloat16,
        DType::F32 => DataType::Float,
        DType::F64 => DataType::Double,
        DType::I8 => DataType::Int8,
        DType::I16 => DataType::Int16,
        DType::I32 => DataType::Int32,
        DType::I64 => DataType::Int64,
        DType::U8 => DataType::Uint8,
        DType::U16 => DataType::Uint16,
        DType::U32 => DataType::Uint32,
        DType::U64 => DataType::Uint64,
        DType::Bool => DataType::Bool,
        DType::String => DataType::String,
    };
    code.into()
}

/// The name for messages: percept's where there is one, else ONNX's in lower case, else the number.
pub(super) fn name_of_code(code: i32) -> String {
    match (from_code(code), DataType::try_from(code)) {
        (Some(dtype), _) => dtype.name().to_owned(),
        (None, Ok(other)) => other.as_str_name().to_ascii_lowercase(),
        (None, Err(_)) => format!("number {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dtype_has_a_code_of_its_own_and_the_others_a_name() {
        for dtype in DType::ALL {
            assert_eq!(from_code(to_code(dtype)), Some(dtype));
        }
        let supported = (0..100).filter(|code| from_code(*code).is_some()).count();
        assert_eq!(supported, DType::ALL.len());
        for (code, name) in [(1, "f32"), (17, "float8e4m3fn"), (22, "int4"), (14, "complex64"), (99, "number 99")] {
            assert_eq!(name_of_code(code), name);
        }
    }
}
