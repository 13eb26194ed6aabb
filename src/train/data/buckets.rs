//! Samples of varying lengths in minibatches of a few shapes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DataError, Sample};
use crate::tensor::{DType, Tensor};

/// The class that losses ignore: what targets of i64 are filled with.
const IGNORED: i64 = -100;

/// Puts samples of similar length into one minibatch and fills them up with zeros at their ends, so that all minibatches
/// together have few shapes: a graph is compiled once for each.
///
/// A minibatch is complete when a bucket has enough samples; what is left in the buckets at the end of a pass is put
/// together, shortest first, and what is left of that, less than a minibatch, is filled up to the largest bound. The
/// lengths go along, so that the model and the loss can tell steps from filling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Buckets {
    /// The bounds in steps, ascending. A sample goes to the first bucket that it fits in; a longer one than the last
    /// bound is bad.
    #[schemars(length(min = 1))]
    pub lengths: Vec<usize>,
    /// Along which dimension of an input its steps lie, counted from the back where negative. Default: -1, the last.
    #[serde(default = "last")]
    pub axis: i64,
    /// The numbers of each target where targets have lengths of their own (the texts of CTC): shorter ones are filled
    /// with -100, longer ones are bad. Default: a target is one number or class, or has as many steps as its input
    /// along its last dimension, and is filled up with it: with -100, which losses ignore, or with 0.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub target_length: Option<usize>,
}

fn last() -> i64 {
    -1
}

/// A sample in its bucket.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    /// Filled up.
    pub sample: Sample,
    /// Its number.
    pub index: usize,
    /// Its steps before it was filled up.
    pub steps: usize,
}

impl Buckets {
    /// Buckets with these bounds, steps along the last dimension of an input, targets without lengths of their own.
    pub fn new(lengths: Vec<usize>) -> Self {
        Buckets { lengths, axis: last(), target_length: None }
    }

    /// Fails unless the bounds ascend from at least 1.
    pub fn check(&self) -> Result<(), DataError> {
        let ascending = self.lengths.windows(2).all(|pair| pair[0] < pair[1]);
        if !ascending || self.lengths.first().is_none_or(|first| *first == 0) {
            let expected = "ascending bounds of at least 1 step";
            return Err(DataError::setting("buckets.lengths", expected, format!("{:?}", self.lengths)));
        }
        if self.target_length == Some(0) {
            return Err(DataError::setting("buckets.target_length", "at least 1 number", 0));
        }
        Ok(())
    }

    /// The largest bound.
    pub(super) fn longest(&self) -> usize {
        self.lengths.last().copied().unwrap_or(0)
    }

    /// The bucket of sample `index`, and the sample filled up to its bound.
    pub(super) fn place(&self, index: usize, sample: Sample) -> Result<(usize, Placed), DataError> {
        let steps = self.steps(index, &sample.input)?;
        let Some(bucket) = self.lengths.iter().position(|bound| steps <= *bound) else {
            return Err(DataError::Shape {
                index,
                expected: format!("at most {} steps (`buckets.lengths`)", self.longest()),
                found: format!("{steps}, in an input of shape {:?}", sample.input.shape()),
            });
        };
        let sample = self.filled(index, sample, self.lengths[bucket])?;
        Ok((bucket, Placed { sample, index, steps }))
    }

    /// The sample with its steps filled up to `bound`.
    pub(super) fn filled(&self, index: usize, sample: Sample, bound: usize) -> Result<Sample, DataError> {
        let (axis, steps) = (self.dimension(index, &sample.input)?, self.steps(index, &sample.input)?);
        let Sample { input, target } = sample;
        let input = filled_up(input, axis, bound, false)?;
        let Some(last) = target.shape().len().checked_sub(1) else { return Ok(Sample { input, target }) };
        let (own, bound, expected) = match self.target_length {
            Some(length) => (target.shape()[last] <= length, length, format!("a target of at most {length} numbers")),
            None => (target.shape()[last] == steps, bound, format!("a target of {steps} steps, as its input has")),
        };
        if !own {
            let found = format!("{} {:?}", target.dtype(), target.shape());
            return Err(DataError::Shape { index, expected, found });
        }
        Ok(Sample { input, target: filled_up(target, last, bound, true)? })
    }

    /// What all samples of a data set share: the types and shapes but for the number of steps.
    pub(super) fn kind(&self, sample: &Sample) -> [(DType, Vec<usize>); 2] {
        let rank = sample.input.shape().len();
        let own = |tensor: &Tensor, axis: Option<usize>| {
            let mut shape = tensor.shape().to_vec();
            if let Some(size) = axis.and_then(|axis| shape.get_mut(axis)) {
                *size = 0;
            }
            (tensor.dtype(), shape)
        };
        [own(&sample.input, resolved(self.axis, rank)), own(&sample.target, sample.target.shape().len().checked_sub(1))]
    }

    fn dimension(&self, index: usize, input: &Tensor) -> Result<usize, DataError> {
        resolved(self.axis, input.shape().len()).ok_or_else(|| DataError::Shape {
            index,
            expected: format!("an input with a dimension {} (`buckets.axis`)", self.axis),
            found: format!("{} {:?}", input.dtype(), input.shape()),
        })
    }

    fn steps(&self, index: usize, input: &Tensor) -> Result<usize, DataError> {
        self.dimension(index, input).map(|axis| input.shape()[axis])
    }
}

/// The dimension of `rank` that `axis` means.
fn resolved(axis: i64, rank: usize) -> Option<usize> {
    let rank_wide = i64::try_from(rank).ok()?;
    let at = if axis < 0 { axis.checked_add(rank_wide)? } else { axis };
    usize::try_from(at).ok().filter(|at| *at < rank)
}

/// The tensor with `size` elements along `axis`: zeros behind its own; in a target of i64 the class that is ignored.
fn filled_up(tensor: Tensor, axis: usize, size: usize, is_target: bool) -> Result<Tensor, DataError> {
    let own = tensor.shape()[axis];
    if own >= size {
        return Ok(tensor);
    }
    let mut shape = tensor.shape().to_vec();
    shape[axis] = size - own;
    let rest = match tensor.dtype() {
        DType::I64 if is_target => {
            let count = shape.iter().product();
            Tensor::new(shape, vec![IGNORED; count])?
        }
        dtype => Tensor::zeros(dtype, shape)?,
    };
    Ok(Tensor::concat(&[tensor, rest], axis)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(steps: usize, target: Tensor) -> Sample {
        Sample { input: Tensor::new(vec![2, steps], (1..=2 * steps as i64).collect::<Vec<_>>()).unwrap(), target }
    }

    fn ints(values: &[i64]) -> Tensor {
        Tensor::from_vec(values.to_vec())
    }

    #[test]
    fn samples_are_filled_up() {
        let steps = Buckets::new(vec![2, 4]);
        let texts = Buckets { target_length: Some(3), ..steps.clone() };
        let first = Buckets { axis: 0, ..Buckets::new(vec![3]) };
        let floats = Tensor::from_vec(vec![1.0f32, 2.0, 3.0]);
        for (buckets, given, bucket, shape, input, target) in [
            (&steps, sample(2, ints(&[5, 6])), 0, [2, 2], vec![1, 2, 3, 4], ints(&[5, 6])),
            (&steps, sample(3, ints(&[5, 6, 7])), 1, [2, 4], vec![1, 2, 3, 0, 4, 5, 6, 0], ints(&[5, 6, 7, -100])),
            (&steps, sample(1, Tensor::scalar(9i64)), 0, [2, 2], vec![1, 0, 2, 0], Tensor::scalar(9i64)),
            (
                &steps,
                sample(3, floats),
                1,
                [2, 4],
                vec![1, 2, 3, 0, 4, 5, 6, 0],
                Tensor::from_vec(vec![1.0f32, 2.0, 3.0, 0.0]),
            ),
            (&texts, sample(4, ints(&[5])), 1, [2, 4], (1..=8).collect(), ints(&[5, -100, -100])),
            (&first, sample(1, Tensor::scalar(0i64)), 0, [3, 1], vec![1, 2, 0], Tensor::scalar(0i64)),
        ] {
            let (found, placed) = buckets.place(7, given.clone()).unwrap();
            assert_eq!((found, placed.index), (bucket, 7));
            assert_eq!(placed.steps, given.input.shape()[usize::from(buckets.axis != 0)]);
            let input: Vec<i64> = input;
            assert_eq!(placed.sample.input, Tensor::new(shape.to_vec(), input).unwrap());
            assert_eq!(placed.sample.target, target);
        }
    }

    #[test]
    fn bad_settings_and_samples() {
        for (lengths, target_length, expected) in [
            (vec![], None, "buckets.lengths: expected ascending bounds of at least 1 step, found []"),
            (vec![0, 2], None, "buckets.lengths: expected ascending bounds of at least 1 step, found [0, 2]"),
            (vec![4, 4], None, "buckets.lengths: expected ascending bounds of at least 1 step, found [4, 4]"),
            (vec![4], Some(0), "buckets.target_length: expected at least 1 number, found 0"),
        ] {
            let buckets = Buckets { target_length, ..Buckets::new(lengths) };
            assert_eq!(buckets.check().unwrap_err().to_string(), expected);
        }
        let steps = Buckets::new(vec![2, 4]);
        let texts = Buckets { target_length: Some(1), ..steps.clone() };
        let scalar = Sample { input: Tensor::scalar(1i64), target: Tensor::scalar(1i64) };
        for (buckets, sample, expected) in [
            (&steps, sample(5, Tensor::scalar(1i64)), "at most 4 steps (`buckets.lengths`), found 5"),
            (&steps, sample(3, ints(&[1, 2])), "expected a target of 3 steps, as its input has, found i64 [2]"),
            (&texts, sample(3, ints(&[1, 2])), "expected a target of at most 1 numbers, found i64 [2]"),
            (&steps, scalar, "expected an input with a dimension -1 (`buckets.axis`), found i64 []"),
        ] {
            let error = buckets.place(3, sample).unwrap_err().to_string();
            assert!(error.starts_with("sample 3: ") && error.contains(expected), "{error}");
        }
    }
}
