//! What tests of augmentation share.

use super::super::DataError;
use super::super::random::{Purpose, Random};
use super::Change;
use crate::tensor::Tensor;

pub(super) fn tensor(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::new(shape.to_vec(), values.to_vec()).unwrap()
}

/// 0, 1, 2, … in this shape.
pub(super) fn counted(shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    tensor(shape, &(0..count).map(|k| k as f32).collect::<Vec<_>>())
}

pub(super) fn random(seed: u64) -> Random {
    Random::new(seed, Purpose::Sample, &[])
}

/// What the change makes of `input`, by a hundred seeds.
pub(super) fn outcomes(change: &dyn Change, input: &Tensor) -> Vec<Tensor> {
    change.check().unwrap();
    (0..100).map(|seed| change.apply(input, &mut random(seed)).unwrap()).collect()
}

pub(super) fn refusal(change: &dyn Change) -> String {
    match change.check() {
        Err(error @ DataError::Setting { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}
