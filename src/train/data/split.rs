//! Training, validation and test parts of one data set.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::random::{Purpose, Random};
use super::{DataError, DataSet};
use crate::tensor::Tensor;

/// Parts of one data set: validation and test samples drawn at random, the rest for training.
///
/// Where targets are single class numbers, each class is divided in the same proportion (to within one sample a part),
/// so that a rare class is found in every part.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// The share of samples by which models are compared while they train. Default: 0.1.
    #[serde(default = "tenth")]
    #[schemars(range(min = 0, max = 1))]
    pub validation: f64,
    /// The share of samples that are read once, at the end. Default: 0.1.
    #[serde(default = "tenth")]
    #[schemars(range(min = 0, max = 1))]
    pub test: f64,
    /// Where the random choice starts. Default: 0.
    #[serde(default)]
    pub seed: u64,
    /// Divides each class in the same proportion, where there are classes. Default: true.
    #[serde(default = "yes")]
    pub stratified: bool,
}

fn tenth() -> f64 {
    0.1
}

fn yes() -> bool {
    true
}

impl Default for Split {
    fn default() -> Self {
        Split { validation: tenth(), test: tenth(), seed: 0, stratified: true }
    }
}

/// The numbers of the samples of each part, ascending. Each sample is in exactly one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// To train on.
    pub train: Vec<usize>,
    /// To choose models by.
    pub validation: Vec<usize>,
    /// To be read once, at the end.
    pub test: Vec<usize>,
}

impl Split {
    /// Divides the samples of `data`: ⌊n·share + ½⌋ to the test part, the nearest whole number to n·share (±1) to the
    /// validation part. Reads all targets when it is stratified; samples whose target cannot be read are divided like a
    /// class of their own. The same seed and targets give the same parts.
    ///
    /// Fails when a share is not from 0 to 1, or both together exceed 1.
    pub fn divide(&self, data: &dyn DataSet) -> Result<Parts, DataError> {
        for (name, share) in [("validation", self.validation), ("test", self.test)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(DataError::setting(name, "a share from 0 to 1", share));
            }
        }
        let together = self.validation + self.test;
        if together > 1.0 + 1e-9 {
            return Err(DataError::setting("validation and test", "shares of at most 1 together", together));
        }
        let mut strata: BTreeMap<Option<i64>, Vec<usize>> = BTreeMap::new();
        for index in 0..data.len() {
            let class = if self.stratified { data.target(index).ok().as_ref().and_then(class_of) } else { None };
            strata.entry(class).or_default().push(index);
        }
        let mut random = Random::new(self.seed, Purpose::Split, &[]);
        for stratum in strata.values_mut() {
            random.shuffle(stratum);
        }
        // Taking every k-th of all strata in a row keeps both each stratum's share and the whole's to within one.
        let (test, rest) = take_evenly(strata.into_values().flatten(), self.test);
        let share = if self.test < 1.0 { (self.validation / (1.0 - self.test)).min(1.0) } else { 0.0 };
        let (validation, train) = take_evenly(rest.into_iter(), share);
        let mut parts = Parts { train, validation, test };
        for part in [&mut parts.train, &mut parts.validation, &mut parts.test] {
            part.sort_unstable();
        }
        Ok(parts)
    }
}

fn class_of(target: &Tensor) -> Option<i64> {
    if target.shape().is_empty() { target.as_slice::<i64>().ok()?.first().copied() } else { None }
}

/// Takes ⌊n·share + ½⌋ of n items at even distances: those taken, and the others.
fn take_evenly(items: impl Iterator<Item = usize>, share: f64) -> (Vec<usize>, Vec<usize>) {
    let taken_by = |count: usize| (count as f64 * share + 0.5).floor();
    let (mut taken, mut others) = (Vec::new(), Vec::new());
    for (place, item) in items.enumerate() {
        if taken_by(place + 1) > taken_by(place) { taken.push(item) } else { others.push(item) }
    }
    (taken, others)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::numbered;
    use super::super::{Memory, Sample};
    use super::*;

    fn classes(classes: &[i64]) -> Memory {
        Memory::new(
            classes.iter().map(|c| Sample { input: Tensor::scalar(0.0f32), target: Tensor::scalar(*c) }).collect(),
        )
    }

    #[test]
    fn sizes_of_parts() {
        for (count, validation, test, expected) in [
            (100, 0.1, 0.2, (70, 10, 20)),
            (10, 0.0, 0.0, (10, 0, 0)),
            (10, 0.0, 1.0, (0, 0, 10)),
            (10, 1.0, 0.0, (0, 10, 0)),
            (10, 0.5, 0.5, (0, 5, 5)),
            (0, 0.1, 0.1, (0, 0, 0)),
            (1, 0.1, 0.1, (1, 0, 0)),
        ] {
            for stratified in [true, false] {
                let split = Split { validation, test, seed: 3, stratified };
                let parts = split.divide(&numbered(count)).unwrap();
                let sizes = (parts.train.len(), parts.validation.len(), parts.test.len());
                assert_eq!(sizes, expected, "{count} {validation} {test}");
            }
        }
    }

    #[test]
    fn a_rare_class_is_in_every_part() {
        let targets: Vec<i64> = (0..1000).map(|index| i64::from(index % 100 == 0)).collect();
        let data = classes(&targets);
        let parts = Split { validation: 0.2, test: 0.2, ..Split::default() }.divide(&data).unwrap();
        let rare = |part: &[usize]| part.iter().filter(|index| targets[**index] == 1).count();
        assert_eq!((rare(&parts.train), rare(&parts.validation), rare(&parts.test)), (6, 2, 2));
    }

    #[test]
    fn the_seed_decides() {
        let data = numbered(50);
        let parts = |seed| Split { seed, ..Split::default() }.divide(&data).unwrap();
        assert_eq!(parts(1), parts(1));
        assert_ne!(parts(1), parts(2));
    }

    #[test]
    fn bad_shares() {
        for (validation, test, expected) in [
            (1.5, 0.0, "validation: expected a share from 0 to 1, found 1.5"),
            (0.1, f64::NAN, "test: expected a share from 0 to 1, found NaN"),
            (0.75, 0.5, "validation and test: expected shares of at most 1 together, found 1.25"),
        ] {
            let error = Split { validation, test, ..Split::default() }.divide(&numbered(3)).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    proptest! {
        #[test]
        fn a_split_is_a_partition_that_keeps_proportions(
            targets in prop::collection::vec(0i64..4, 0..200),
            validation in 0.0f64..0.5,
            test in 0.0f64..0.5,
            seed: u64,
            stratified: bool,
        ) {
            let parts = Split { validation, test, seed, stratified }.divide(&classes(&targets)).unwrap();
            let mut all = [parts.train.clone(), parts.validation.clone(), parts.test.clone()].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..targets.len()).collect::<Vec<_>>());
            if stratified {
                for class in 0..4 {
                    let count = |part: &[usize]| part.iter().filter(|index| targets[**index] == class).count() as f64;
                    let whole = count(&(0..targets.len()).collect::<Vec<_>>());
                    prop_assert!((count(&parts.test) - whole * test).abs() <= 1.0 + 1e-9);
                    prop_assert!((count(&parts.validation) - whole * validation).abs() <= 2.0 + 1e-9);
                }
            }
        }
    }
}
