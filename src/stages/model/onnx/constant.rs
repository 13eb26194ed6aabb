//! Values written in a pipeline file as tensors of a graph's input.

use serde_json::Value as Json;

use crate::inference::Port;
use crate::tensor::{DType, Dim, Element, SymbolicShape, Tensor, bf16, f16};

/// Most elements that a constant or a first state may have: 64 MiB of f32.
pub const MAX_ELEMENTS: usize = 1 << 24;

/// The tensor that `value` means for `port`: a number, true or false, or text; or lists of them, nested as deep as the
/// shape or flat. A single value fills the whole shape, where unknown sizes are 1. A flat list settles one unknown
/// size.
///
/// Fails with what was expected and what was found, in words.
pub fn tensor(value: &Json, port: &Port) -> Result<Tensor, String> {
    let (mut written, mut elements) = (Vec::new(), Vec::new());
    flatten(value, 0, &mut written, &mut elements)?;
    let shape = match (&port.shape, written.is_empty()) {
        (SymbolicShape::Unranked, _) => written,
        (shape, true) => {
            let shape = known_or_one(shape);
            let count = count(&shape)?;
            elements = vec![value; count];
            shape
        }
        (SymbolicShape::Ranked(dims), false) if written.len() == 1 && dims.len() != 1 => unfold(dims, elements.len())?,
        (shape, false) => {
            shape.accepts(&SymbolicShape::known(&written)).map_err(|error| error.to_string())?;
            written
        }
    };
    build(port.dtype, shape, &elements)
}

/// Zeros for `port`, or for `sizes` where they are given; unknown sizes are 1. Fails for a shape without a rank.
pub fn zeros(port: &Port, sizes: Option<&[usize]>) -> Result<Tensor, String> {
    let shape = match sizes {
        Some(sizes) => {
            port.shape.accepts(&SymbolicShape::known(sizes)).map_err(|error| error.to_string())?;
            sizes.to_vec()
        }
        None if port.shape.rank().is_none() => return Err("its rank is unknown".to_owned()),
        None => known_or_one(&port.shape),
    };
    count(&shape)?;
    Tensor::zeros(port.dtype, shape).map_err(|error| error.to_string())
}

fn known_or_one(shape: &SymbolicShape) -> Vec<usize> {
    shape.dims().unwrap_or_default().iter().map(|dim| dim.known().unwrap_or(1)).collect()
}

fn count(shape: &[usize]) -> Result<usize, String> {
    let count = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    count
        .filter(|count| *count <= MAX_ELEMENTS)
        .ok_or_else(|| format!("shape {shape:?} is beyond {MAX_ELEMENTS} elements"))
}

/// Sizes of `dims` for `count` elements; at most one of them is unknown.
fn unfold(dims: &[Dim], count: usize) -> Result<Vec<usize>, String> {
    let known = self::count(&dims.iter().filter_map(Dim::known).collect::<Vec<_>>())?;
    let shape = SymbolicShape::Ranked(dims.to_vec());
    let unknown = dims.iter().filter(|dim| dim.known().is_none()).count();
    let fits = match unknown {
        0 => known == count,
        1 => known > 0 && count.is_multiple_of(known),
        _ => {
            return Err(format!("expected lists nested as deep as shape {shape}, found a flat one"));
        }
    };
    if !fits {
        return Err(format!("expected elements for shape {shape}, found {count}"));
    }
    Ok(dims.iter().map(|dim| dim.known().unwrap_or(count / known.max(1))).collect())
}

/// Adds the elements of nested lists in order, and notes the sizes, which must be regular.
fn flatten<'a>(
    value: &'a Json,
    depth: usize,
    shape: &mut Vec<usize>,
    elements: &mut Vec<&'a Json>,
) -> Result<(), String> {
    let uneven = || "the lists are of uneven length or depth".to_owned();
    match value {
        Json::Array(items) => {
            match shape.get(depth) {
                // A first list at this depth that comes after elements is uneven.
                None if elements.is_empty() => shape.push(items.len()),
                Some(size) if *size == items.len() => {}
                _ => return Err(uneven()),
            }
            items.iter().try_for_each(|item| flatten(item, depth + 1, shape, elements))
        }
        Json::Object(_) => Err("expected a value or a list, found a mapping".to_owned()),
        _ if depth == shape.len() => {
            elements.push(value);
            Ok(())
        }
        _ => Err(uneven()),
    }
}

fn build(dtype: DType, shape: Vec<usize>, elements: &[&Json]) -> Result<Tensor, String> {
    fn typed<T: Element>(
        shape: Vec<usize>,
        elements: &[&Json],
        read: impl Fn(&Json) -> Option<T>,
    ) -> Result<Tensor, String> {
        let wrong = |value: &Json| match value {
            Json::Null => format!("expected {}, found nothing or no finite number", T::DTYPE),
            value => format!("expected {}, found {value}", T::DTYPE),
        };
        let read =
            elements.iter().map(|value| read(value).ok_or_else(|| wrong(value))).collect::<Result<Vec<T>, _>>()?;
        Tensor::new(shape, read).map_err(|error| error.to_string())
    }
    fn signed<T: TryFrom<i64>>(value: &Json) -> Option<T> {
        T::try_from(whole(value)?.try_into().ok()?).ok()
    }
    fn unsigned<T: TryFrom<u64>>(value: &Json) -> Option<T> {
        T::try_from(whole(value)?.try_into().ok()?).ok()
    }
    match dtype {
        DType::F16 => typed(shape, elements, |value| value.as_f64().map(f16::from_f64)),
        DType::BF16 => typed(shape, elements, |value| value.as_f64().map(bf16::from_f64)),
        DType::F32 => typed(shape, elements, |value| value.as_f64().map(|value| value as f32)),
        DType::F64 => typed(shape, elements, Json::as_f64),
        DType::I8 => typed(shape, elements, signed::<i8>),
        DType::I16 => typed(shape, elements, signed::<i16>),
        DType::I32 => typed(shape, elements, signed::<i32>),
        DType::I64 => typed(shape, elements, signed::<i64>),
        DType::U8 => typed(shape, elements, unsigned::<u8>),
        DType::U16 => typed(shape, elements, unsigned::<u16>),
        DType::U32 => typed(shape, elements, unsigned::<u32>),
        DType::U64 => typed(shape, elements, unsigned::<u64>),
        DType::Bool => typed(shape, elements, Json::as_bool),
        DType::String => typed(shape, elements, |value| value.as_str().map(str::to_owned)),
    }
}

/// A whole number, also when it is written as `2.0`.
fn whole(value: &Json) -> Option<i128> {
    let exact = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
    exact.or_else(|| {
        let value = value.as_f64().filter(|value| value.fract() == 0.0 && value.abs() < 9e15)?;
        Some(value as i128)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn port(dtype: DType, shape: &str) -> Port {
        let dims = shape.split_whitespace().map(|dim| match dim.parse() {
            Ok(size) => Dim::Known(size),
            Err(_) => Dim::Symbol(dim.into()),
        });
        let shape = if shape == "…" { SymbolicShape::Unranked } else { SymbolicShape::Ranked(dims.collect()) };
        Port { name: "c".into(), dtype, shape }
    }

    #[test]
    fn what_a_value_becomes() {
        let i64s = |shape: &[usize], elements: &[i64]| Tensor::new(shape.to_vec(), elements.to_vec()).unwrap();
        let f32s = |shape: &[usize], elements: &[f32]| Tensor::new(shape.to_vec(), elements.to_vec()).unwrap();
        for (value, port, tensor) in [
            (json!(16000), port(DType::I64, ""), i64s(&[], &[16000])),
            (json!(16000.0), port(DType::I64, ""), i64s(&[], &[16000])),
            (json!(3), port(DType::I64, "N"), i64s(&[1], &[3])),
            (json!(3), port(DType::I64, "2 2"), i64s(&[2, 2], &[3; 4])),
            (json!(3), port(DType::F32, "…"), f32s(&[], &[3.0])),
            (json!([1, 2.5]), port(DType::F32, "N"), f32s(&[2], &[1.0, 2.5])),
            (json!([1, 2, 3, 4]), port(DType::F32, "2 N"), f32s(&[2, 2], &[1.0, 2.0, 3.0, 4.0])),
            (json!([[1, 2], [3, 4]]), port(DType::F32, "N M"), f32s(&[2, 2], &[1.0, 2.0, 3.0, 4.0])),
            (json!([[1], [2]]), port(DType::I64, "…"), i64s(&[2, 1], &[1, 2])),
            (json!(true), port(DType::Bool, "1"), Tensor::new(vec![1], vec![true]).unwrap()),
            (json!("en"), port(DType::String, ""), Tensor::scalar("en".to_owned())),
            (json!([]), port(DType::I64, "N"), i64s(&[0], &[])),
            (json!(u64::MAX), port(DType::U64, ""), Tensor::scalar(u64::MAX)),
            (json!(-128), port(DType::I8, ""), Tensor::scalar(-128i8)),
        ] {
            assert_eq!(super::tensor(&value, &port), Ok(tensor), "{value} for {port}");
        }
    }

    #[test]
    fn what_is_refused() {
        for (value, port, says) in [
            (json!(1.5), port(DType::I64, ""), "expected i64, found 1.5"),
            (json!(300), port(DType::U8, ""), "expected u8, found 300"),
            (json!(-1), port(DType::U64, ""), "expected u64, found -1"),
            (json!("x"), port(DType::F32, ""), "expected f32, found \"x\""),
            (json!(1), port(DType::Bool, ""), "expected bool, found 1"),
            (json!(null), port(DType::F32, ""), "no finite number"),
            (json!({"a": 1}), port(DType::F32, ""), "a mapping"),
            (json!([1, 2]), port(DType::F32, "3"), "expected shape [3], found [2]"),
            (json!([1, 2, 3]), port(DType::F32, "2 N"), "expected elements for shape [2, N], found 3"),
            (json!([1, 2, 3]), port(DType::F32, "M N"), "nested as deep as shape [M, N]"),
            (json!([[1, 2], [3]]), port(DType::F32, "2 2"), "uneven"),
            (json!([[1, 2], 3]), port(DType::F32, "2 2"), "uneven"),
            (json!([1, [2]]), port(DType::F32, "2 2"), "uneven"),
            (json!(0), port(DType::F32, "100000 100000"), "is beyond"),
            (json!([1]), port(DType::F32, "18446744073709551615 3"), "is beyond"),
        ] {
            let error = super::tensor(&value, &port).unwrap_err();
            assert!(error.contains(says), "{value} for {port}: {error}");
        }
    }

    #[test]
    fn zeros_for_a_first_state() {
        let state = port(DType::F32, "2 batch 128");
        assert_eq!(zeros(&state, None).unwrap().shape(), [2, 1, 128]);
        assert_eq!(zeros(&state, Some(&[2, 3, 128])).unwrap().shape(), [2, 3, 128]);
        assert!(zeros(&state, Some(&[3, 3, 128])).unwrap_err().contains("expected shape [2, batch, 128]"));
        assert!(zeros(&port(DType::F32, "…"), None).unwrap_err().contains("rank"));
        assert!(zeros(&port(DType::F32, "100000 100000"), None).unwrap_err().contains("is beyond"));
    }
}
