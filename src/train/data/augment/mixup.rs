//! Mixup: pairs of samples mixed, with their targets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::DataError;
use super::super::random::Random;
use super::expect_within;
use crate::tensor::{DType, Tensor};

/// Each sample of a minibatch mixed with another of it: λ·x + (1 − λ)·x′, and the targets likewise, with λ drawn from
/// the distribution Beta(α, α) once a minibatch. Class numbers become probabilities `[N, classes]`, which cross-entropy
/// takes.
///
/// Source: Zhang et al., *mixup: Beyond Empirical Risk Minimization*, ICLR 2018, section 2.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mixup {
    /// α: the larger, the more evenly samples are mixed. From 0.01 to 4. Default: 0.2.
    #[serde(default = "default_alpha")]
    #[schemars(range(min = 0.01, max = 4))]
    pub alpha: f64,
}

fn default_alpha() -> f64 {
    0.2
}

impl Default for Mixup {
    fn default() -> Self {
        Mixup { alpha: default_alpha() }
    }
}

impl Mixup {
    pub(super) fn check(&self) -> Result<(), DataError> {
        expect_within("mixup: alpha", self.alpha, 0.01, 4.0)
    }

    /// Inputs f32 `[N, …]`; targets i64 `[N]` below `classes`, or f32 `[N, …]`.
    pub(super) fn apply(
        &self,
        inputs: &Tensor,
        targets: &Tensor,
        classes: usize,
        random: &mut Random,
    ) -> Result<(Tensor, Tensor), DataError> {
        let targets = match targets.dtype() {
            DType::I64 => probabilities(targets, classes)?,
            _ => targets.clone(),
        };
        let rows = inputs.shape().first().copied().unwrap_or(0);
        if targets.shape().first() != Some(&rows) {
            let found = format!("shapes {:?} and {:?}", inputs.shape(), targets.shape());
            return Err(DataError::setting("mixup", "as many targets as inputs", found));
        }
        let lambda = self.draw(random);
        let mut partners: Vec<usize> = (0..rows).collect();
        random.shuffle(&mut partners);
        let mix = |tensor: &Tensor| -> Result<Tensor, DataError> {
            let values = tensor.as_slice::<f32>()?;
            let width = values.len().checked_div(rows).unwrap_or(0);
            let mixed: Vec<f32> = (0..rows)
                .flat_map(|row| {
                    let (own, other) = (row * width, partners[row] * width);
                    (0..width).map(move |k| lambda * values[own + k] + (1.0 - lambda) * values[other + k])
                })
                .collect();
            Ok(Tensor::new(tensor.shape().to_vec(), mixed)?)
        };
        Ok((mix(inputs)?, mix(&targets)?))
    }

    /// λ by Jöhnk's method (1964), in logarithms, since u^(1/α) underflows for a small α.
    fn draw(&self, random: &mut Random) -> f32 {
        loop {
            let mut power = || (1.0 - random.unit()).ln() / self.alpha;
            let (x, y) = (power(), power());
            let largest = x.max(y);
            let log_sum = largest + ((x - largest).exp() + (y - largest).exp()).ln();
            if log_sum <= 0.0 {
                return (x - log_sum).exp() as f32;
            }
        }
    }
}

/// Class numbers `[N]` as probabilities `[N, classes]`.
fn probabilities(targets: &Tensor, classes: usize) -> Result<Tensor, DataError> {
    let expected = || format!("targets that are one class a sample, from 0 to below {classes}, or numbers");
    let numbers = targets.as_slice::<i64>()?;
    if targets.shape().len() != 1 {
        return Err(DataError::setting("mixup", expected(), format!("shape {:?}", targets.shape())));
    }
    let mut rows = vec![0.0f32; numbers.len() * classes];
    for (row, number) in numbers.iter().enumerate() {
        let class = usize::try_from(*number).ok().filter(|class| *class < classes);
        let class = class.ok_or_else(|| DataError::setting("mixup", expected(), number))?;
        rows[row * classes + class] = 1.0;
    }
    Ok(Tensor::new(vec![numbers.len(), classes], rows)?)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::floats;
    use super::super::testing::{counted, random, tensor};
    use super::*;

    #[test]
    fn inputs_and_targets_are_mixed_alike() {
        // Sample k is k everywhere and of class k, so a mixed input is the mean class of its mixed target.
        let inputs = tensor(&[4, 2], &[0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0]);
        let classes = Tensor::from_vec(vec![0i64, 1, 2, 3]);
        let mut mixed_somewhere = false;
        for seed in 0..50 {
            let (inputs, targets) = Mixup { alpha: 1.0 }.apply(&inputs, &classes, 5, &mut random(seed)).unwrap();
            assert_eq!((inputs.shape(), targets.shape()), (&[4, 2][..], &[4, 5][..]));
            let (inputs, targets) = (floats(&inputs), floats(&targets));
            for (row, soft) in targets.chunks_exact(5).enumerate() {
                assert!((soft.iter().sum::<f32>() - 1.0).abs() < 1e-6 && soft.iter().all(|p| *p >= 0.0));
                let mean: f32 = soft.iter().enumerate().map(|(class, p)| class as f32 * p).sum();
                assert!((inputs[row * 2] - mean).abs() < 1e-5 && inputs[row * 2] == inputs[row * 2 + 1]);
                mixed_somewhere |= soft.iter().filter(|p| **p > 0.1).count() == 2;
            }
        }
        assert!(mixed_somewhere);
        let (inputs, targets) = Mixup::default().apply(&inputs, &counted(&[4, 1]), 0, &mut random(1)).unwrap();
        let (inputs, targets) = (floats(&inputs), floats(&targets));
        assert!((0..4).all(|row| (inputs[row * 2] - targets[row]).abs() < 1e-6));
    }

    #[test]
    fn lambda_is_distributed_as_it_should() {
        // Beta(α, α) has mean 1/2 and variance 1 / (4·(2α + 1)).
        for alpha in [0.01, 0.2, 1.0, 4.0] {
            let random = &mut random(3);
            let drawn: Vec<f64> = (0..4000).map(|_| f64::from(Mixup { alpha }.draw(random))).collect();
            assert!(drawn.iter().all(|lambda| (0.0..=1.0).contains(lambda)));
            let mean = drawn.iter().sum::<f64>() / 4000.0;
            let variance = drawn.iter().map(|lambda| (lambda - mean).powi(2)).sum::<f64>() / 4000.0;
            let expected = 0.25 / (2.0 * alpha + 1.0);
            assert!((mean - 0.5).abs() < 0.03 && (variance / expected - 1.0).abs() < 0.1, "{alpha}: {mean} {variance}");
        }
    }

    #[test]
    fn bad_input() {
        let inputs = counted(&[2, 2]);
        let expected = "mixup: expected targets that are one class a sample, from 0 to below 3, or numbers, found";
        for (targets, found) in [
            (Tensor::from_vec(vec![0i64, 3]), format!("{expected} 3")),
            (Tensor::from_vec(vec![0i64, -1]), format!("{expected} -1")),
            (Tensor::new(vec![2, 1], vec![0i64, 1]).unwrap(), format!("{expected} shape [2, 1]")),
            (
                Tensor::from_vec(vec![0i64]),
                "mixup: expected as many targets as inputs, found shapes [2, 2] and [1, 3]".into(),
            ),
            (Tensor::from_vec(vec![true, false]), "expected a tensor of f32, found bool".into()),
        ] {
            assert_eq!(Mixup::default().apply(&inputs, &targets, 3, &mut random(0)).unwrap_err().to_string(), found);
        }
        for alpha in [0.0, 5.0, f64::NAN] {
            assert!(Mixup { alpha }.check().is_err());
        }
    }
}
