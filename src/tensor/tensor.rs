//! The tensor itself.

use thiserror::Error;

use super::{Buffer, DType, Element, SymbolicShape, bf16, f16};

/// The elements of a tensor, by data type.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant is the data type it is named after")]
pub enum TensorData {
    F16(Buffer<f16>),
    BF16(Buffer<bf16>),
    F32(Buffer<f32>),
    F64(Buffer<f64>),
    I8(Buffer<i8>),
    I16(Buffer<i16>),
    I32(Buffer<i32>),
    I64(Buffer<i64>),
    U8(Buffer<u8>),
    U16(Buffer<u16>),
    U32(Buffer<u32>),
    U64(Buffer<u64>),
    Bool(Buffer<bool>),
    String(Buffer<String>),
}

/// Calls `$body` with `$buffer` bound to the typed buffer of `$data`.
macro_rules! with_buffer {
    ($data:expr, $buffer:ident => $body:expr) => {
        match $data {
            TensorData::F16($buffer) => $body,
            TensorData::BF16($buffer) => $body,
            TensorData::F32($buffer) => $body,
            TensorData::F64($buffer) => $body,
            TensorData::I8($buffer) => $body,
            TensorData::I16($buffer) => $body,
            TensorData::I32($buffer) => $body,
            TensorData::I64($buffer) => $body,
            TensorData::U8($buffer) => $body,
            TensorData::U16($buffer) => $body,
            TensorData::U32($buffer) => $body,
            TensorData::U64($buffer) => $body,
            TensorData::Bool($buffer) => $body,
            TensorData::String($buffer) => $body,
        }
    };
}

/// Why a tensor cannot be made or read as asked.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TensorError {
    /// The number of elements is not the product of the shape.
    #[error("shape {shape:?} holds {expected} elements, found {found}")]
    Count {
        /// The shape asked for.
        shape: Vec<usize>,
        /// Its product (`usize::MAX` when that overflows).
        expected: usize,
        /// The elements given.
        found: usize,
    },
    /// The tensor holds another data type.
    #[error("expected a tensor of {expected}, found {found}")]
    DType {
        /// What was asked for.
        expected: DType,
        /// What the tensor holds.
        found: DType,
    },
    /// Tensors cannot be joined or split along the first axis.
    #[error("cannot {what}: {reason}")]
    Rows {
        /// The operation.
        what: &'static str,
        /// What stands in its way.
        reason: String,
    },
}

/// A dense row-major array: data type, shape and shared immutable elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: TensorData,
}

impl Tensor {
    /// A tensor of `shape` over `elements`, which are not copied. Fails when their number is not the shape's product.
    pub fn new<T: Element>(shape: Vec<usize>, elements: impl Into<Buffer<T>>) -> Result<Self, TensorError> {
        let elements = elements.into();
        let expected = element_count(&shape);
        if expected != Some(elements.len()) {
            return Err(TensorError::Count { shape, expected: expected.unwrap_or(usize::MAX), found: elements.len() });
        }
        Ok(Tensor { shape, data: T::wrap(elements) })
    }

    /// A tensor of rank 1.
    pub fn from_vec<T: Element>(elements: Vec<T>) -> Self {
        Tensor { shape: vec![elements.len()], data: T::wrap(elements.into()) }
    }

    /// A tensor of rank 0.
    pub fn scalar<T: Element>(value: T) -> Self {
        Tensor { shape: Vec::new(), data: T::wrap(vec![value].into()) }
    }

    /// A tensor of `shape` whose elements are all zero, false or empty. Fails when the shape's product overflows.
    pub fn zeros(dtype: DType, shape: Vec<usize>) -> Result<Self, TensorError> {
        fn filled<T: Element + Default>(count: usize) -> TensorData {
            T::wrap(vec![T::default(); count].into())
        }
        let Some(count) = element_count(&shape) else {
            return Err(TensorError::Count { shape, expected: usize::MAX, found: 0 });
        };
        let data = match dtype {
            DType::F16 => filled::<f16>(count),
            DType::BF16 => filled::<bf16>(count),
            DType::F32 => filled::<f32>(count),
            DType::F64 => filled::<f64>(count),
            DType::I8 => filled::<i8>(count),
            DType::I16 => filled::<i16>(count),
            DType::I32 => filled::<i32>(count),
            DType::I64 => filled::<i64>(count),
            DType::U8 => filled::<u8>(count),
            DType::U16 => filled::<u16>(count),
            DType::U32 => filled::<u32>(count),
            DType::U64 => filled::<u64>(count),
            DType::Bool => filled::<bool>(count),
            DType::String => filled::<String>(count),
        };
        Ok(Tensor { shape, data })
    }

    /// The sizes of its dimensions.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its shape as one that could also hold unknowns.
    pub fn symbolic_shape(&self) -> SymbolicShape {
        SymbolicShape::known(&self.shape)
    }

    /// The data type of its elements.
    pub fn dtype(&self) -> DType {
        fn of<T: Element>(_: &Buffer<T>) -> DType {
            T::DTYPE
        }
        with_buffer!(&self.data, buffer => of(buffer))
    }

    /// Its elements, by data type.
    pub fn data(&self) -> &TensorData {
        &self.data
    }

    /// The number of its elements.
    pub fn len(&self) -> usize {
        with_buffer!(&self.data, buffer => buffer.len())
    }

    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that its elements take.
    pub fn byte_len(&self) -> usize {
        with_buffer!(&self.data, buffer => buffer.byte_len())
    }

    /// Its elements as `T`, row by row. Fails when it holds another type.
    pub fn as_slice<T: Element>(&self) -> Result<&[T], TensorError> {
        self.buffer::<T>().map(|buffer| &**buffer)
    }

    /// Its elements as a shared buffer of `T`. Fails when it holds another type.
    pub fn buffer<T: Element>(&self) -> Result<&Buffer<T>, TensorError> {
        T::unwrap(&self.data).ok_or_else(|| TensorError::DType { expected: T::DTYPE, found: self.dtype() })
    }

    /// The same elements in another shape of the same product.
    pub fn reshape(&self, shape: Vec<usize>) -> Result<Self, TensorError> {
        let expected = element_count(&shape);
        if expected != Some(self.len()) {
            return Err(TensorError::Count { shape, expected: expected.unwrap_or(usize::MAX), found: self.len() });
        }
        Ok(Tensor { shape, data: self.data.clone() })
    }

    /// Joins tensors along `axis`, copying their elements. They must have one data type and agree in the other axes.
    pub fn concat(tensors: &[Tensor], axis: usize) -> Result<Tensor, TensorError> {
        fn join<T: Element>(tensors: &[Tensor], outer: usize, inner: &[usize]) -> Result<TensorData, TensorError> {
            let mut joined = Vec::with_capacity(outer * inner.iter().sum::<usize>());
            let slices = tensors.iter().map(Tensor::as_slice::<T>).collect::<Result<Vec<_>, _>>()?;
            for row in 0..outer {
                for (slice, width) in slices.iter().zip(inner) {
                    joined.extend_from_slice(&slice[row * width..(row + 1) * width]);
                }
            }
            Ok(T::wrap(joined.into()))
        }
        let fail = |reason: String| TensorError::Rows { what: "join tensors", reason };
        let first = tensors.first().ok_or_else(|| fail("there are none".into()))?;
        if axis >= first.shape.len() {
            return Err(fail(format!("axis {axis} of a tensor of rank {}", first.shape.len())));
        }
        for tensor in tensors {
            let mut shape = tensor.shape.clone();
            if let Some(size) = shape.get_mut(axis) {
                *size = first.shape[axis];
            }
            if shape != first.shape {
                return Err(fail(format!("shapes {:?} and {:?} differ beyond axis {axis}", first.shape, tensor.shape)));
            }
        }
        let outer = first.shape[..axis].iter().product();
        let inner: Vec<usize> = tensors.iter().map(|tensor| tensor.shape[axis..].iter().product()).collect();
        let mut shape = first.shape.clone();
        shape[axis] = tensors.iter().map(|tensor| tensor.shape[axis]).sum();
        fn join_as<T: Element>(_: &Buffer<T>, t: &[Tensor], o: usize, i: &[usize]) -> Result<TensorData, TensorError> {
            join::<T>(t, o, i)
        }
        let data = with_buffer!(&first.data, buffer => join_as(buffer, tensors, outer, &inner)?);
        Ok(Tensor { shape, data })
    }

    /// The part `from..to` of `axis`. Along axis 0 (or where all axes before it are 1) it shares memory, else it copies.
    pub fn narrow(&self, axis: usize, from: usize, to: usize) -> Result<Tensor, TensorError> {
        fn cut<T: Element>(buffer: &Buffer<T>, outer: usize, whole: usize, part: std::ops::Range<usize>) -> TensorData {
            if outer == 1
                && let Some(slice) = buffer.slice(part.clone())
            {
                return T::wrap(slice);
            }
            let mut elements = Vec::with_capacity(outer * part.len());
            for row in 0..outer {
                elements.extend_from_slice(&buffer[row * whole + part.start..row * whole + part.end]);
            }
            T::wrap(elements.into())
        }
        let size = self.shape.get(axis).copied();
        if from > to || size.is_none_or(|size| to > size) {
            let reason = format!("{from}..{to} of axis {axis} of shape {:?}", self.shape);
            return Err(TensorError::Rows { what: "take a part", reason });
        }
        let size = self.shape[axis];
        let outer = self.shape[..axis].iter().product();
        let inner: usize = self.shape[axis + 1..].iter().product();
        let data = with_buffer!(&self.data, buffer => cut(buffer, outer, size * inner, from * inner..to * inner));
        let mut shape = self.shape.clone();
        shape[axis] = to - from;
        Ok(Tensor { shape, data })
    }
}

/// The product of a shape; `None` when the sizes other than zero have none, so that no part of a shape can overflow.
fn element_count(shape: &[usize]) -> Option<usize> {
    let product = shape.iter().try_fold(1usize, |product, size| product.checked_mul((*size).max(1)))?;
    Some(if shape.contains(&0) { 0 } else { product })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_count_is_an_error_even_when_the_product_overflows() {
        assert!(Tensor::new(vec![2, 2], vec![1.0f32; 4]).is_ok());
        assert!(Tensor::new(vec![2, 3], vec![1.0f32; 4]).is_err());
        assert!(Tensor::new(vec![usize::MAX, 3], vec![1.0f32; 4]).is_err());
        assert!(Tensor::zeros(DType::F32, vec![usize::MAX, 2]).is_err());
    }

    #[test]
    fn reading_as_another_type_says_what_it_is() {
        let error = Tensor::scalar(1i64).as_slice::<f32>().unwrap_err();
        assert_eq!(error, TensorError::DType { expected: DType::F32, found: DType::I64 });
    }

    #[test]
    fn concat_and_narrow_are_inverse_on_every_axis() {
        let a = Tensor::new(vec![2, 1, 3], (0..6).collect::<Vec<i32>>()).unwrap();
        let b = Tensor::new(vec![2, 1, 3], (6..12).collect::<Vec<i32>>()).unwrap();
        for axis in 0..3 {
            let joined = Tensor::concat(&[a.clone(), b.clone()], axis).unwrap();
            let size = a.shape()[axis];
            assert_eq!(joined.narrow(axis, 0, size).unwrap(), a, "axis {axis}");
            assert_eq!(joined.narrow(axis, size, 2 * size).unwrap(), b, "axis {axis}");
        }
    }

    #[test]
    fn bad_parts_are_errors() {
        let tensor = Tensor::new(vec![2, 2], vec![0u8; 4]).unwrap();
        assert!(tensor.narrow(0, 1, 3).is_err());
        assert!(tensor.narrow(2, 0, 0).is_err());
        assert!(Tensor::concat(&[], 0).is_err());
        assert!(Tensor::concat(&[tensor.clone(), Tensor::scalar(0u8)], 0).is_err());
        assert!(Tensor::concat(&[tensor.clone(), Tensor::zeros(DType::F32, vec![2, 2]).unwrap()], 0).is_err());
        assert!(tensor.reshape(vec![5]).is_err());
    }
}
