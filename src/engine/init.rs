//! Initialisers: the first values of weights, by seed.

use rand::{Rng, RngExt};
use rand_pcg::Pcg64;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::tensor::Tensor;

/// How a weight is filled at first. *Fan in* and *fan out* are the numbers of connections into and out of one unit: for
/// a weight `[out, in, d…]`, `in·Πd` and `out·Πd`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Initializer {
    /// All zero.
    Zeros,
    /// All one.
    Ones,
    /// Uniform between −a and a.
    Uniform(f64),
    /// Normal around 0 with this standard deviation.
    Normal(f64),
    /// Normal with variance 1/fan in (LeCun et al., *Efficient BackProp*, 1998, section 4.6).
    #[serde(rename = "lecun")]
    LeCun,
    /// Uniform between ±√(6 / (fan in + fan out)) (Glorot and Bengio, AISTATS 2010, equation 16).
    Xavier,
    /// Uniform between ±√(6 / fan in), for rectifiers (He et al., ICCV 2015, equation 10).
    He,
    /// Uniform between ±1/√(fan in): what PyTorch gives linear and convolution layers.
    #[default]
    FanIn,
    /// Rows (or columns, where there are fewer) orthonormal (Saxe, McClelland and Ganguli, ICLR 2014).
    Orthogonal,
}

impl Initializer {
    /// Values for a weight of `shape`, with these fans (`None`: from the shape).
    pub(super) fn fill(self, shape: &[usize], fans: Option<(usize, usize)>, random: &mut Pcg64) -> Vec<f32> {
        let count: usize = shape.iter().product();
        let (fan_in, fan_out) = fans.unwrap_or_else(|| fans_of(shape));
        let (fan_in, fan_out) = (fan_in.max(1) as f64, fan_out.max(1) as f64);
        let mut uniform = |bound: f64| (0..count).map(|_| (bound * (2.0 * unit(random) - 1.0)) as f32).collect();
        match self {
            Initializer::Zeros => vec![0.0; count],
            Initializer::Ones => vec![1.0; count],
            Initializer::Uniform(bound) => uniform(bound),
            Initializer::Xavier => uniform((6.0 / (fan_in + fan_out)).sqrt()),
            Initializer::He => uniform((6.0 / fan_in).sqrt()),
            Initializer::FanIn => uniform(1.0 / fan_in.sqrt()),
            Initializer::Normal(deviation) => (0..count).map(|_| (deviation * normal(random)) as f32).collect(),
            Initializer::LeCun => (0..count).map(|_| (normal(random) / fan_in.sqrt()) as f32).collect(),
            Initializer::Orthogonal => orthogonal(shape, random),
        }
    }

    /// The same as a tensor, from a seed of its own.
    pub fn tensor(self, shape: &[usize], seed: u64) -> Tensor {
        let values = self.fill(shape, None, &mut Pcg64::new(u128::from(seed), STREAM));
        Tensor::new(shape.to_vec(), values).unwrap_or_else(|_| Tensor::scalar(0.0f32))
    }
}

/// The stream of random numbers that initialisers use.
pub(super) const STREAM: u128 = 0x0a02_bdbf_7bb3_c0a7_ac28_fa16_a64a_bf96;

fn fans_of(shape: &[usize]) -> (usize, usize) {
    match shape {
        [] => (1, 1),
        [count] => (*count, *count),
        [out, input, rest @ ..] => {
            let inner = rest.iter().fold(1usize, |inner, size| inner.saturating_mul(*size));
            (input.saturating_mul(inner), out.saturating_mul(inner))
        }
    }
}

/// At least 0 and below 1.
fn unit(random: &mut impl Rng) -> f64 {
    random.random::<f64>()
}

/// A standard normal number (Box and Muller, 1958).
fn normal(random: &mut impl Rng) -> f64 {
    let radius = (-2.0 * (1.0 - unit(random)).ln()).sqrt();
    radius * (2.0 * std::f64::consts::PI * unit(random)).cos()
}

/// Gram and Schmidt on normal rows, twice for accuracy.
fn orthogonal(shape: &[usize], random: &mut Pcg64) -> Vec<f32> {
    let count: usize = shape.iter().product();
    let rows = shape.first().copied().unwrap_or(1);
    let columns = count.checked_div(rows).unwrap_or(0);
    if count == 0 {
        return Vec::new();
    }
    let (few, long) = (rows.min(columns), rows.max(columns));
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(few);
    while basis.len() < few {
        let mut row: Vec<f64> = (0..long).map(|_| normal(random)).collect();
        for _ in 0..2 {
            for earlier in &basis {
                let along: f64 = row.iter().zip(earlier).map(|(a, b)| a * b).sum();
                row.iter_mut().zip(earlier).for_each(|(a, b)| *a -= along * b);
            }
        }
        let length = row.iter().map(|value| value * value).sum::<f64>().sqrt();
        if length > 1e-6 {
            basis.push(row.into_iter().map(|value| value / length).collect());
        }
    }
    let at = |row: usize, column: usize| if rows <= columns { basis[row][column] } else { basis[column][row] };
    (0..count).map(|index| at(index / columns, index % columns) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(values: &[f32]) -> (f64, f64) {
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / values.len() as f64;
        (mean, variance.sqrt())
    }

    #[test]
    fn spread_is_as_published() {
        for (initializer, expected) in [
            (Initializer::Uniform(0.3), 0.3 / 3f64.sqrt()),
            (Initializer::Normal(0.2), 0.2),
            (Initializer::LeCun, 1.0 / 200f64.sqrt()),
            (Initializer::Xavier, (2.0 / 500.0f64).sqrt()),
            (Initializer::He, (2.0 / 200.0f64).sqrt()),
            (Initializer::FanIn, (1.0 / 600.0f64).sqrt()),
        ] {
            let tensor = initializer.tensor(&[300, 200], 5);
            let (mean, deviation) = moments(tensor.as_slice::<f32>().unwrap());
            assert!(
                mean.abs() < 0.01 && (deviation / expected - 1.0).abs() < 0.02,
                "{initializer:?}: {mean} {deviation}"
            );
        }
    }

    #[test]
    fn orthogonal_rows_are_orthonormal() {
        for shape in [[4usize, 9], [9, 4], [5, 5]] {
            let tensor = Initializer::Orthogonal.tensor(&shape, 3);
            let values = tensor.as_slice::<f32>().unwrap();
            let (few, long) = (shape[0].min(shape[1]), shape[0].max(shape[1]));
            let at = |i: usize, j: usize| if shape[0] <= shape[1] { values[i * long + j] } else { values[j * few + i] };
            for a in 0..few {
                for b in 0..few {
                    let dot: f32 = (0..long).map(|j| at(a, j) * at(b, j)).sum();
                    assert!((dot - if a == b { 1.0 } else { 0.0 }).abs() < 1e-5, "{shape:?} {a} {b} {dot}");
                }
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_values() {
        let (a, b) = (Initializer::He.tensor(&[7, 3], 1), Initializer::He.tensor(&[7, 3], 1));
        assert_eq!(a, b);
        assert_ne!(a, Initializer::He.tensor(&[7, 3], 2));
        assert_eq!(Initializer::Ones.tensor(&[2], 0), Tensor::from_vec(vec![1.0f32; 2]));
        assert_eq!(fans_of(&[0, usize::MAX, 3]), (usize::MAX, 0));
    }
}
