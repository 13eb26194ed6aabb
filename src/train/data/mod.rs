//! Data sets: numbered samples, each an input and a target.

use thiserror::Error;

use crate::tensor::{Tensor, TensorError};

/// One sample: a tensor for the model's input and one for the loss, both without the batch dimension.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What the model sees.
    pub input: Tensor,
    /// What it should say: an i64 scalar for a class, i64 `[T]` for a class at each step, numbers otherwise.
    pub target: Tensor,
}

/// Numbered samples that can be read in any order, from several threads.
pub trait DataSet: Send + Sync {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sample `index`, below [`len`](DataSet::len). A bad sample is an error that names it; the trainer counts and
    /// skips it up to a limit.
    fn sample(&self, index: usize) -> Result<Sample, DataError>;

    /// The names of the classes, where targets are class indices and the names are known.
    fn labels(&self) -> &[String] {
        &[]
    }
}

/// Why data cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file cannot be opened or read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}{place}: expected {expected}, found {found}")]
    Format {
        /// The file.
        path: String,
        /// Where in it: begins with `, ` unless empty.
        place: String,
        /// What it should hold.
        expected: String,
        /// What it holds.
        found: String,
    },
    /// Samples do not fit together.
    #[error("sample {index}: expected {expected}, found {found}")]
    Shape {
        /// Its number.
        index: usize,
        /// The shape and type of the samples before.
        expected: String,
        /// Its own.
        found: String,
    },
    /// A tensor cannot be made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// Stacks samples along a new first dimension: inputs and targets. All must have the same shapes and types.
pub fn collate(samples: &[Sample]) -> Result<(Tensor, Tensor), DataError> {
    let stack = |select: fn(&Sample) -> &Tensor| -> Result<Tensor, DataError> {
        let rows: Result<Vec<Tensor>, DataError> = samples
            .iter()
            .enumerate()
            .map(|(index, sample)| {
                let (tensor, first) = (select(sample), select(&samples[0]));
                if tensor.shape() != first.shape() || tensor.dtype() != first.dtype() {
                    return Err(DataError::Shape {
                        index,
                        expected: format!("{} {:?}", first.dtype(), first.shape()),
                        found: format!("{} {:?}", tensor.dtype(), tensor.shape()),
                    });
                }
                let mut shape = vec![1];
                shape.extend(tensor.shape());
                Ok(tensor.reshape(shape)?)
            })
            .collect();
        Ok(Tensor::concat(&rows?, 0)?)
    };
    Ok((stack(|sample| &sample.input)?, stack(|sample| &sample.target)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_stacked() {
        let sample = |value: f32, class: i64| Sample {
            input: Tensor::from_vec(vec![value, value + 1.0]),
            target: Tensor::scalar(class),
        };
        let (inputs, targets) = collate(&[sample(1.0, 0), sample(3.0, 2)]).unwrap();
        assert_eq!(inputs, Tensor::new(vec![2, 2], vec![1.0f32, 2.0, 3.0, 4.0]).unwrap());
        assert_eq!(targets, Tensor::from_vec(vec![0i64, 2]));
        let odd = Sample { input: Tensor::from_vec(vec![1.0f32]), target: Tensor::scalar(0i64) };
        let error = collate(&[sample(1.0, 0), odd]).unwrap_err().to_string();
        assert_eq!(error, "sample 1: expected f32 [2], found f32 [1]");
    }
}
