//! Sparse tensors (`SparseTensorProto`, onnx.proto).

use super::error::OnnxError;
use super::external::Folder;
use super::place::Place;
use super::proto::{SparseTensorProto, TensorProto};
use super::weights;
use crate::tensor::{DType, Tensor};

/// A tensor that stores only its elements other than zero, in coordinate format.
#[derive(Clone, Debug, PartialEq)]
pub struct SparseTensor {
    values: Tensor,
    indices: Tensor,
    shape: Vec<usize>,
}

impl SparseTensor {
    /// A sparse tensor of `shape`. `values` is `[n]`; `indices` is i64, `[n]` (places in row-major order) or
    /// `[n, rank]` (coordinates). Fails when a shape, the type of the indices or an index does not fit.
    pub fn new(values: Tensor, indices: Tensor, shape: Vec<usize>) -> Result<Self, OnnxError> {
        Self::checked(values, indices, shape, &"the tensor")
    }

    /// The stored elements, `[n]`.
    pub fn values(&self) -> &Tensor {
        &self.values
    }

    /// Where they are, `[n]` or `[n, rank]`, i64; every index is inside the shape.
    pub fn indices(&self) -> &Tensor {
        &self.indices
    }

    /// The shape of the whole.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn checked(
        values: Tensor,
        indices: Tensor,
        shape: Vec<usize>,
        place: &dyn std::fmt::Display,
    ) -> Result<Self, OnnxError> {
        let fault = |expected: String, found: String| OnnxError::Sparse { place: place.to_string(), expected, found };
        let product = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        let product = product.ok_or_else(|| fault("a shape that memory can hold".into(), format!("{shape:?}")))?;
        let [count] = *values.shape() else {
            return Err(fault("values of rank 1".into(), format!("shape {:?}", values.shape())));
        };
        let bounds: &[usize] = match *indices.shape() {
            [n] if n == count => &[product],
            [n, rank] if n == count && rank == shape.len() => &shape,
            _ => {
                let expected = format!("indices of shape [{count}] or [{count}, {}]", shape.len());
                return Err(fault(expected, format!("shape {:?}", indices.shape())));
            }
        };
        let places = indices.as_slice::<i64>();
        let places = places.map_err(|_| fault(format!("indices of {}", DType::I64), indices.dtype().to_string()))?;
        for (index, bound) in places.iter().zip(bounds.iter().cycle()) {
            if usize::try_from(*index).ok().is_none_or(|index| index >= *bound) {
                return Err(fault(format!("indices from 0 to below {bound}"), index.to_string()));
            }
        }
        Ok(SparseTensor { values, indices, shape })
    }

    /// Reads a tensor and its name.
    pub(super) fn from_proto(mut proto: SparseTensorProto, folder: &Folder) -> Result<(String, Self), OnnxError> {
        let mut values = proto.values.take().unwrap_or_default();
        let name = values.name.take().unwrap_or_default();
        let place = |part| Place::Sparse { name: &name, part };
        let values = weights::take_tensor(&mut values, place("values"), folder)?;
        let indices = weights::take_tensor(&mut proto.indices.take().unwrap_or_default(), place("indices"), folder)?;
        let shape: Option<Vec<usize>> = proto.dims.iter().map(|size| usize::try_from(*size).ok()).collect();
        let Some(shape) = shape else {
            return Err(OnnxError::Shape { place: place("shape").to_string(), dims: proto.dims });
        };
        let sparse = Self::checked(values, indices, shape, &place("parts"))?;
        Ok((name, sparse))
    }

    pub(super) fn to_proto(&self, name: &str) -> SparseTensorProto {
        let tensor = |tensor: &Tensor, name: Option<String>| {
            let mut proto = TensorProto { name, ..TensorProto::default() };
            weights::fill(&mut proto, tensor);
            Some(proto)
        };
        SparseTensorProto {
            values: tensor(&self.values, super::kept::some_text(name)),
            indices: tensor(&self.indices, None),
            dims: self.shape.iter().map(|size| i64::try_from(*size).unwrap_or(i64::MAX)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(values: usize, indices: Tensor, shape: &[usize]) -> Result<SparseTensor, OnnxError> {
        SparseTensor::new(Tensor::zeros(DType::F32, vec![values]).unwrap(), indices, shape.to_vec())
    }

    #[test]
    fn both_kinds_of_indices_round_trip() {
        let coordinates = Tensor::new(vec![2, 2], vec![0i64, 1, 1, 2]).unwrap();
        for indices in [Tensor::from_vec(vec![1i64, 5]), coordinates] {
            let sparse = made(2, indices, &[2, 3]).unwrap();
            let (name, back) = SparseTensor::from_proto(sparse.to_proto("s"), &Folder::none()).unwrap();
            assert_eq!((name.as_str(), back), ("s", sparse));
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let cases = [
            (made(2, Tensor::from_vec(vec![1i64, 6]), &[2, 3]), "from 0 to below 6, found 6"),
            (made(1, Tensor::from_vec(vec![-1i64]), &[2, 3]), "found -1"),
            (made(1, Tensor::new(vec![1, 2], vec![0i64, 3]).unwrap(), &[2, 3]), "below 3, found 3"),
            (made(1, Tensor::from_vec(vec![0i32]), &[2]), "indices of i64, found i32"),
            (made(2, Tensor::from_vec(vec![0i64]), &[2]), "[2] or [2, 1], found shape [1]"),
            (made(0, Tensor::from_vec(Vec::<i64>::new()), &[usize::MAX, 2]), "memory can hold"),
            (made(0, Tensor::new(vec![0, 0], Vec::<i64>::new()).unwrap(), &[]), ""),
        ];
        for (result, part) in cases {
            match result {
                Ok(_) => assert_eq!(part, ""),
                Err(error) => assert!(!part.is_empty() && error.to_string().contains(part), "{error}"),
            }
        }
        assert!(SparseTensor::from_proto(SparseTensorProto::default(), &Folder::none()).is_err());
    }
}
