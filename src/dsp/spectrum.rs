//! The power or magnitude spectrum of one frame.

use std::fmt;
use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DspError;
use super::error::in_range;

/// What is made of a complex spectrum X.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SpectrumKind {
    /// |X|.
    Magnitude,
    /// |X|².
    #[default]
    Power,
}

/// A planned real FFT, with its buffers, for spectra of frames of one size. Not normalised: a constant 1 over N samples
/// has a magnitude of N at bin 0.
#[derive(Clone)]
pub struct Spectrum {
    fft_size: usize,
    fft: Arc<dyn RealToComplex<f32>>,
    input: Vec<f32>,
    bins: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
}

impl Spectrum {
    /// Plans transforms of `fft_size` samples; any size works, products of small primes are fastest.
    ///
    /// Fails when `fft_size` is zero or above [`MAX_FRAME`](super::MAX_FRAME).
    pub fn new(fft_size: usize) -> Result<Self, DspError> {
        in_range("the FFT size, in samples,", fft_size, 1, super::MAX_FRAME)?;
        let fft = RealFftPlanner::<f32>::new().plan_fft_forward(fft_size);
        let (input, bins, scratch) = (fft.make_input_vec(), fft.make_output_vec(), fft.make_scratch_vec());
        Ok(Spectrum { fft_size, fft, input, bins, scratch })
    }

    /// The number of samples of a transform.
    pub fn fft_size(&self) -> usize {
        self.fft_size
    }

    /// The number of values of a spectrum: `fft_size / 2 + 1`, from 0 Hz to half the sample rate. Bin k is at
    /// k · sample rate / fft_size.
    pub fn bins(&self) -> usize {
        self.bins.len()
    }

    /// Writes the spectrum of `frame` to `out`. A frame shorter than the transform is padded with zeros at its end.
    ///
    /// Fails when the frame is longer than [`fft_size`](Self::fft_size) or `out` does not hold [`bins`](Self::bins)
    /// values. A NaN or an overflow in the frame gives values that are not finite in this spectrum only.
    pub fn compute(&mut self, kind: SpectrumKind, frame: &[f32], out: &mut [f32]) -> Result<(), DspError> {
        if frame.len() > self.fft_size {
            return Err(DspError::WindowExceedsFft { window: frame.len(), fft_size: self.fft_size });
        }
        if out.len() != self.bins.len() {
            return Err(DspError::WrongLength { what: "a spectrum", expected: self.bins.len(), found: out.len() });
        }
        let (head, tail) = self.input.split_at_mut(frame.len());
        head.copy_from_slice(frame);
        tail.fill(0.0);
        self.fft
            .process_with_scratch(&mut self.input, &mut self.bins, &mut self.scratch)
            .expect("the plan made its own buffers, so their sizes fit");
        for (out, bin) in out.iter_mut().zip(&self.bins) {
            let power = bin.re * bin.re + bin.im * bin.im;
            *out = match kind {
                SpectrumKind::Power => power,
                SpectrumKind::Magnitude => power.sqrt(),
            };
        }
        Ok(())
    }
}

impl fmt::Debug for Spectrum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spectrum").field("fft_size", &self.fft_size).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    /// |X(k)|² by the defining sum.
    fn by_definition(frame: &[f32], fft_size: usize) -> Vec<f64> {
        (0..=fft_size / 2)
            .map(|k| {
                let (mut re, mut im) = (0.0, 0.0);
                for (n, x) in frame.iter().enumerate() {
                    let angle = TAU * (k * n % fft_size) as f64 / fft_size as f64;
                    re += f64::from(*x) * angle.cos();
                    im -= f64::from(*x) * angle.sin();
                }
                re * re + im * im
            })
            .collect()
    }

    #[test]
    fn equals_the_defining_sum_at_any_size() {
        for (frame_length, fft_size) in
            [(1, 1), (2, 2), (3, 3), (5, 8), (0, 8), (16, 16), (25, 31), (400, 512), (400, 400)]
        {
            let frame: Vec<f32> = (0..frame_length).map(|n| ((n * n * 7 + 3 * n) % 19) as f32 / 9.0 - 1.0).collect();
            let mut spectrum = Spectrum::new(fft_size).unwrap();
            let mut power = vec![f32::NAN; spectrum.bins()];
            let mut magnitude = power.clone();
            spectrum.compute(SpectrumKind::Power, &frame, &mut power).unwrap();
            spectrum.compute(SpectrumKind::Magnitude, &frame, &mut magnitude).unwrap();
            let expected = by_definition(&frame, fft_size);
            assert_eq!(power.len(), expected.len());
            let largest = expected.iter().copied().fold(1e-3, f64::max);
            for ((power, magnitude), expected) in power.iter().zip(&magnitude).zip(expected) {
                let error = (f64::from(*power) - expected).abs() / largest;
                assert!(error < 1e-5, "{fft_size}: {power} for {expected}");
                assert_eq!(*magnitude, power.sqrt());
            }
        }
    }

    #[test]
    fn bad_frames_do_not_stay() {
        let mut spectrum = Spectrum::new(8).unwrap();
        let (mut clean, mut out) = ([0.0; 5], [0.0; 5]);
        spectrum.compute(SpectrumKind::Power, &[1.0; 8], &mut clean).unwrap();
        for bad in [f32::NAN, f32::INFINITY, f32::MAX] {
            spectrum.compute(SpectrumKind::Power, &[bad; 8], &mut out).unwrap();
            assert!(!out[0].is_finite(), "{bad}");
            spectrum.compute(SpectrumKind::Power, &[1.0; 8], &mut out).unwrap();
            assert_eq!(out, clean);
        }
    }

    #[test]
    fn sizes_that_are_refused() {
        assert!(matches!(Spectrum::new(0), Err(DspError::OutOfRange { .. })));
        assert!(matches!(Spectrum::new(usize::MAX), Err(DspError::OutOfRange { .. })));
        let mut spectrum = Spectrum::new(8).unwrap();
        let long = spectrum.compute(SpectrumKind::Power, &[0.0; 9], &mut [0.0; 5]);
        assert_eq!(long, Err(DspError::WindowExceedsFft { window: 9, fft_size: 8 }));
        let short = spectrum.compute(SpectrumKind::Power, &[0.0; 8], &mut [0.0; 4]);
        assert!(matches!(short, Err(DspError::WrongLength { expected: 5, found: 4, .. })));
    }
}
