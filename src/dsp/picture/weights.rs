//! How much of which source pixels makes a pixel of the result, along one axis.

use super::Filter;

/// Bits behind the point of a weight. Eight bits of sample, two of headroom for sums of negative and positive weights.
pub(super) const PRECISION: u32 = 32 - 8 - 2;
/// Half a level: what sums begin with, so that they round to nearest.
pub(super) const HALF: i32 = 1 << (PRECISION - 1);

/// A sum of weighted samples, begun with [`HALF`], as a sample.
#[inline(always)]
pub(super) fn to_sample(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// The weights of every output pixel along one axis, in fixed point.
#[derive(Clone, Debug)]
pub(super) struct Weights {
    /// For each output pixel, the first source pixel and the number of them, at least 1.
    spans: Vec<(usize, usize)>,
    /// `longest` weights for each output pixel; those beyond its number are 0.
    values: Vec<i32>,
    longest: usize,
}

impl Weights {
    /// The weights that make `output` pixels of the stretch `from..to` of `input` pixels; 0 ≤ from < to ≤ input.
    ///
    /// The centre of output pixel i lies at `from + (i + ½)(to − from) / output`. The filter is stretched by the
    /// reduction where there is one, taken at the centres of the source pixels within its support, and its values are
    /// scaled to sum 1; the picture ends at its edge, nothing is made up beyond. The stretch is in single precision, as
    /// Pillow takes it: so parts with fractional edges give the same bits too.
    pub(super) fn new(input: usize, from: f32, to: f32, output: usize, filter: Filter) -> Self {
        let scale = f64::from(to - from) / output as f64;
        let from = f64::from(from);
        let stretch = scale.max(1.0);
        let support = filter.support() * stretch;
        let mut spans = Vec::with_capacity(output);
        let mut real: Vec<Vec<f64>> = Vec::with_capacity(output);
        for pixel in 0..output {
            let centre = from + (pixel as f64 + 0.5) * scale;
            // Float to integer saturates at 0.
            let first = ((centre - support + 0.5) as usize).min(input - 1);
            let end = ((centre + support + 0.5) as usize).clamp(first + 1, input);
            let mut weights: Vec<f64> =
                (first..end).map(|x| filter.weight((x as f64 - centre + 0.5) / stretch)).collect();
            let sum: f64 = weights.iter().sum();
            if sum != 0.0 {
                weights.iter_mut().for_each(|weight| *weight /= sum);
            }
            spans.push((first, weights.len()));
            real.push(weights);
        }
        let longest = real.iter().map(Vec::len).max().unwrap_or(1);
        let mut values = vec![0; longest * output];
        for (fixed, real) in values.chunks_exact_mut(longest).zip(&real) {
            for (fixed, real) in fixed.iter_mut().zip(real) {
                // To nearest, halves away from zero.
                *fixed = (real * f64::from(1 << PRECISION)).round() as i32;
            }
        }
        Weights { spans, values, longest }
    }

    /// Output pixels.
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// The most source pixels that one output pixel needs.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// The first source pixel of output pixel `index`, and its weights.
    #[inline(always)]
    pub(super) fn of(&self, index: usize) -> (usize, &[i32]) {
        let (first, count) = self.spans[index];
        (first, &self.values[index * self.longest..][..count])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(weights: &Weights, index: usize) -> (usize, Vec<f64>) {
        let (first, values) = weights.of(index);
        (first, values.iter().map(|value| f64::from(*value) / f64::from(1 << PRECISION)).collect())
    }

    #[test]
    fn weights_by_hand() {
        // Two pixels into one: each counts half under a box; under a triangle of support 2 as well.
        for filter in [Filter::Box, Filter::Bilinear] {
            assert_eq!(shares(&Weights::new(2, 0.0, 2.0, 1, filter), 0), (0, vec![0.5, 0.5]));
        }
        // Two into four: the centres lie at ¼, ¾, 1¼, 1¾.
        let up = Weights::new(2, 0.0, 2.0, 4, Filter::Bilinear);
        assert_eq!(shares(&up, 0), (0, vec![1.0]));
        assert_eq!(shares(&up, 1), (0, vec![0.75, 0.25]));
        // The right half of four pixels.
        let part = Weights::new(4, 2.0, 4.0, 1, Filter::Box);
        assert_eq!(shares(&part, 0), (2, vec![0.5, 0.5]));
    }

    proptest! {
        #[test]
        fn weights_lie_inside_and_sum_to_one(
            input in 1usize..400, output in 1usize..400, ends in prop::array::uniform2(0.0f32..=1.0),
            filter in prop::sample::select(vec![Filter::Box, Filter::Bilinear, Filter::Bicubic, Filter::Lanczos]),
        ) {
            let (from, to) = (ends[0].min(ends[1]) * input as f32, ends[0].max(ends[1]) * input as f32);
            prop_assume!(to - from > 1e-3);
            let weights = Weights::new(input, from, to, output, filter);
            prop_assert_eq!(weights.len(), output);
            let mut last = 0;
            for index in 0..output {
                let (first, values) = weights.of(index);
                prop_assert!(first >= last && !values.is_empty() && first + values.len() <= input);
                last = first;
                let sum: i64 = values.iter().map(|value| i64::from(*value)).sum();
                prop_assert!((sum - (1 << PRECISION)).abs() <= values.len() as i64, "{}", sum);
                // So that no sum of samples leaves 32 bits.
                let most: i64 = values.iter().map(|value| i64::from(*value).abs() * 255).sum();
                prop_assert!(most + i64::from(HALF) <= i64::from(i32::MAX), "{}", most);
            }
        }
    }
}
