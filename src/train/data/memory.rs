//! Samples that a program holds.

use super::{DataError, DataSet, Sample, expect_index};
use crate::tensor::Tensor;

/// A data set of samples in memory. Cloning and reading share the tensors.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    samples: Vec<Sample>,
    labels: Vec<String>,
}

impl Memory {
    /// A data set of these samples.
    pub fn new(samples: Vec<Sample>) -> Self {
        Memory { samples, labels: Vec::new() }
    }

    /// Sample k is row k of both tensors: the part of index k along their first dimensions, which must be equal.
    pub fn from_rows(inputs: &Tensor, targets: &Tensor) -> Result<Self, DataError> {
        let (rows, other) = (inputs.shape().first().copied(), targets.shape().first().copied());
        let (Some(rows), true) = (rows, rows == other) else {
            return Err(DataError::Setting {
                setting: "rows",
                expected: "inputs and targets with first dimensions of one size".into(),
                found: format!("shapes {:?} and {:?}", inputs.shape(), targets.shape()),
            });
        };
        let row = |tensor: &Tensor, index| -> Result<Tensor, DataError> {
            Ok(tensor.narrow(0, index, index + 1)?.reshape(tensor.shape()[1..].to_vec())?)
        };
        let samples = (0..rows).map(|index| Ok(Sample { input: row(inputs, index)?, target: row(targets, index)? }));
        Ok(Memory::new(samples.collect::<Result<_, DataError>>()?))
    }

    /// Names the classes, in the order of their numbers.
    pub fn with_labels(mut self, labels: Vec<String>) -> Self {
        self.labels = labels;
        self
    }
}

impl DataSet for Memory {
    fn len(&self) -> usize {
        self.samples.len()
    }

    fn sample(&self, index: usize) -> Result<Sample, DataError> {
        expect_index(index, self.len())?;
        Ok(self.samples[index].clone())
    }

    fn target(&self, index: usize) -> Result<Tensor, DataError> {
        expect_index(index, self.len())?;
        Ok(self.samples[index].target.clone())
    }

    fn labels(&self) -> &[String] {
        &self.labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::DType;

    #[test]
    fn rows_become_samples() {
        let inputs = Tensor::new(vec![2, 1, 2], vec![1.0f32, 2.0, 3.0, 4.0]).unwrap();
        let data = Memory::from_rows(&inputs, &Tensor::from_vec(vec![5i64, 6])).unwrap().with_labels(vec!["a".into()]);
        assert_eq!((data.len(), data.labels()), (2, &["a".to_owned()][..]));
        let expected = Tensor::new(vec![1, 2], vec![3.0f32, 4.0]).unwrap();
        assert_eq!(data.sample(1).unwrap(), Sample { input: expected, target: Tensor::scalar(6i64) });
        assert_eq!(data.target(0).unwrap(), Tensor::scalar(5i64));
        assert!(matches!(data.sample(2), Err(DataError::Index { index: 2, len: 2 })));
    }

    #[test]
    fn unequal_rows_are_refused() {
        let zeros = |shape: &[usize]| Tensor::zeros(DType::F32, shape.to_vec()).unwrap();
        for (inputs, targets) in [(&[2, 3][..], &[3][..]), (&[], &[]), (&[1], &[])] {
            let error = Memory::from_rows(&zeros(inputs), &zeros(targets)).unwrap_err().to_string();
            assert!(error.starts_with("rows: expected inputs and targets"), "{error}");
        }
    }
}
