//! Window functions.

use std::f64::consts::TAU;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DspError;
use super::error::in_range;

/// A window function `w(n)`, n = 0 … N − 1. With the phase φ = 2πn / D, where D is set by the [`Symmetry`]:
///
/// | window | formula |
/// |---|---|
/// | `rectangular` | 1 |
/// | `hann` | 0.5 − 0.5 cos φ |
/// | `hamming` | 0.54 − 0.46 cos φ |
/// | `blackman` | 0.42 − 0.5 cos φ + 0.08 cos 2φ |
/// | `povey` | (0.5 − 0.5 cos φ)^0.85, from Kaldi: like Hamming, but zero at the ends |
///
/// Harris, "On the use of windows for harmonic analysis with the discrete Fourier transform", Proc. IEEE 66 (1978).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Window {
    /// No shaping: all ones.
    Rectangular,
    /// Raised cosine, zero at the ends.
    #[default]
    Hann,
    /// Raised cosine on a pedestal of 0.08.
    Hamming,
    /// Three-term cosine sum: wider main lobe, lower side lobes.
    Blackman,
    /// Hann to the power of 0.85, the default of Kaldi.
    Povey,
}

/// Where the window's period ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Symmetry {
    /// D = N: one period of a periodic function, right for spectra (SciPy's `fftbins=True`, librosa, PyTorch).
    #[default]
    Periodic,
    /// D = N − 1: the last value equals the first, right for filter design (NumPy, Kaldi).
    Symmetric,
}

impl Window {
    /// The `length` values of the window. A window of one sample is 1.
    ///
    /// Fails when `length` is zero or above [`MAX_FRAME`](super::MAX_FRAME).
    pub fn coefficients(self, length: usize, symmetry: Symmetry) -> Result<Vec<f32>, DspError> {
        in_range("the length of a window, in samples,", length, 1, super::MAX_FRAME)?;
        if length == 1 {
            return Ok(vec![1.0]);
        }
        let period = match symmetry {
            Symmetry::Periodic => length,
            Symmetry::Symmetric => length - 1,
        };
        Ok((0..length).map(|n| self.at(TAU * n as f64 / period as f64) as f32).collect())
    }

    /// The value at `phase`, which runs from 0 to 2π.
    fn at(self, phase: f64) -> f64 {
        match self {
            Window::Rectangular => 1.0,
            Window::Hann => 0.5 - 0.5 * phase.cos(),
            Window::Hamming => 0.54 - 0.46 * phase.cos(),
            Window::Blackman => 0.42 - 0.5 * phase.cos() + 0.08 * (2.0 * phase).cos(),
            Window::Povey => (0.5 - 0.5 * phase.cos()).powf(0.85),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Window; 5] = [Window::Rectangular, Window::Hann, Window::Hamming, Window::Blackman, Window::Povey];

    #[test]
    fn values_of_scipy() {
        // scipy.signal.get_window(name, 5, fftbins); povey is the symmetric Hann to the power of 0.85.
        let cases: [(Window, Symmetry, [f32; 5]); 8] = [
            (Window::Rectangular, Symmetry::Periodic, [1.0; 5]),
            (Window::Hann, Symmetry::Periodic, [0.0, 0.345_491_5, 0.904_508_5, 0.904_508_5, 0.345_491_5]),
            (Window::Hann, Symmetry::Symmetric, [0.0, 0.5, 1.0, 0.5, 0.0]),
            (Window::Hamming, Symmetry::Periodic, [0.08, 0.397_852_2, 0.912_147_8, 0.912_147_8, 0.397_852_2]),
            (Window::Hamming, Symmetry::Symmetric, [0.08, 0.54, 1.0, 0.54, 0.08]),
            (Window::Blackman, Symmetry::Periodic, [0.0, 0.200_770_1, 0.849_229_9, 0.849_229_9, 0.200_770_1]),
            (Window::Blackman, Symmetry::Symmetric, [0.0, 0.34, 1.0, 0.34, 0.0]),
            (Window::Povey, Symmetry::Symmetric, [0.0, 0.554_784_7, 1.0, 0.554_784_7, 0.0]),
        ];
        for (window, symmetry, expected) in cases {
            let found = window.coefficients(5, symmetry).unwrap();
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-6, "{window:?} {symmetry:?}: {found} for {expected}");
            }
        }
    }

    #[test]
    fn a_window_of_one_sample_is_one() {
        for window in ALL {
            assert_eq!(window.coefficients(1, Symmetry::Periodic).unwrap(), [1.0], "{window:?}");
            assert_eq!(window.coefficients(1, Symmetry::Symmetric).unwrap(), [1.0], "{window:?}");
        }
    }

    #[test]
    fn the_symmetric_window_is_a_palindrome_and_contains_the_periodic_one() {
        for window in ALL {
            let symmetric = window.coefficients(34, Symmetry::Symmetric).unwrap();
            let periodic = window.coefficients(33, Symmetry::Periodic).unwrap();
            assert_eq!(symmetric[..33], periodic, "{window:?}");
            for (front, back) in symmetric.iter().zip(symmetric.iter().rev()) {
                assert!((front - back).abs() < 1e-6, "{window:?}");
            }
        }
    }

    #[test]
    fn lengths_that_are_refused() {
        for length in [0, super::super::MAX_FRAME + 1, usize::MAX] {
            assert!(
                matches!(Window::Hann.coefficients(length, Symmetry::Periodic), Err(DspError::OutOfRange { .. })),
                "{length}"
            );
        }
    }
}
