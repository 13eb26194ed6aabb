//! Mel scales and triangular filterbanks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DspError;
use super::error::{in_range, sample_rate};

/// How hertz become mels, and on which axis the triangles are straight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MelScale {
    /// Linear below 1 kHz (3 mels per 200 Hz), logarithmic above (27 mels for a factor of 6.4). Slaney, "Auditory
    /// Toolbox", Technical Report 1998-010, Interval Research. The default of librosa; used by Whisper.
    #[default]
    Slaney,
    /// 2595 log10(1 + f/700), with triangles straight over hertz. Young et al., "The HTK Book"; the default of
    /// torchaudio.
    Htk,
    /// 1127 ln(1 + f/700), with triangles straight over mels, as in Kaldi.
    Kaldi,
}

/// How the triangles are scaled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MelNorm {
    /// Every triangle has the area 1 over hertz: its height is 2 / (upper edge − lower edge). The default of librosa.
    #[default]
    Slaney,
    /// Every triangle has the height 1.
    None,
}

const SLANEY_HZ_PER_MEL: f64 = 200.0 / 3.0;
const SLANEY_BREAK_HZ: f64 = 1000.0;
const SLANEY_BREAK_MEL: f64 = 15.0;

impl MelScale {
    /// Mels of a frequency in hertz.
    pub fn from_hz(self, hz: f64) -> f64 {
        match self {
            MelScale::Slaney if hz < SLANEY_BREAK_HZ => hz / SLANEY_HZ_PER_MEL,
            MelScale::Slaney => SLANEY_BREAK_MEL + (hz / SLANEY_BREAK_HZ).ln() / slaney_log_step(),
            MelScale::Htk => 2595.0 * (1.0 + hz / 700.0).log10(),
            MelScale::Kaldi => 1127.0 * (1.0 + hz / 700.0).ln(),
        }
    }

    /// The frequency in hertz of `mel`.
    pub fn to_hz(self, mel: f64) -> f64 {
        match self {
            MelScale::Slaney if mel < SLANEY_BREAK_MEL => mel * SLANEY_HZ_PER_MEL,
            MelScale::Slaney => SLANEY_BREAK_HZ * ((mel - SLANEY_BREAK_MEL) * slaney_log_step()).exp(),
            MelScale::Htk => 700.0 * (10f64.powf(mel / 2595.0) - 1.0),
            MelScale::Kaldi => 700.0 * ((mel / 1127.0).exp() - 1.0),
        }
    }
}

/// The natural logarithm of the frequency ratio that one mel spans above the break.
fn slaney_log_step() -> f64 {
    6.4f64.ln() / 27.0
}

/// The part of a row that is not zero.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    first_bin: usize,
    weights: Vec<f32>,
}

/// Overlapping triangles, equally spaced in mels, that sum the bins of a spectrum into bands. Rows are kept sparse.
#[derive(Clone, Debug, PartialEq)]
pub struct MelFilterbank {
    bins: usize,
    rows: Vec<Row>,
}

impl MelFilterbank {
    /// `bands` triangles whose edges are equally spaced in mels from `min_hz` to `max_hz`; triangle b rises from edge b
    /// to b + 1 and falls to b + 2. They apply to spectra of `fft_size / 2 + 1` bins of sound at `sample_rate_hz`.
    ///
    /// A triangle narrower than the distance of two bins may fall between them: then its band is always zero, and
    /// [`empty_bands`](Self::empty_bands) names it.
    ///
    /// Fails when a count or a rate is out of range or `0 ≤ min_hz < max_hz ≤ sample_rate_hz / 2` does not hold.
    pub fn new(
        sample_rate_hz: u32,
        fft_size: usize,
        bands: usize,
        min_hz: f64,
        max_hz: f64,
        scale: MelScale,
        norm: MelNorm,
    ) -> Result<Self, DspError> {
        let rate = f64::from(sample_rate("the sample rate, in hertz,", sample_rate_hz)?);
        in_range("the FFT size, in samples,", fft_size, 1, super::MAX_FRAME)?;
        let bins = fft_size / 2 + 1;
        in_range("the number of mel bands", bands, 1, 4096)?;
        let nyquist_hz = rate / 2.0;
        // Written so that NaN is refused.
        if !(0.0 <= min_hz && min_hz < max_hz && max_hz <= nyquist_hz) {
            return Err(DspError::FrequencyRange { min_hz, max_hz, nyquist_hz });
        }
        let (lowest, highest) = (scale.from_hz(min_hz), scale.from_hz(max_hz));
        let edge_mel = |edge: usize| lowest + (highest - lowest) * edge as f64 / (bands + 1) as f64;
        let hz_per_bin = rate / fft_size as f64;
        let rows = (0..bands)
            .map(|band| {
                let mels = [edge_mel(band), edge_mel(band + 1), edge_mel(band + 2)];
                let hertz = mels.map(|mel| scale.to_hz(mel));
                let height = match norm {
                    MelNorm::Slaney => 2.0 / (hertz[2] - hertz[0]),
                    MelNorm::None => 1.0,
                };
                let weight = |bin: usize| {
                    let hz = bin as f64 * hz_per_bin;
                    height
                        * match scale {
                            MelScale::Kaldi => triangle(mels, scale.from_hz(hz)),
                            MelScale::Slaney | MelScale::Htk => triangle(hertz, hz),
                        }
                };
                sparse_row(weight, (hertz[0] / hz_per_bin) as usize, (hertz[2] / hz_per_bin) as usize + 1, bins)
            })
            .collect();
        Ok(MelFilterbank { bins, rows })
    }

    /// The number of bands.
    pub fn bands(&self) -> usize {
        self.rows.len()
    }

    /// The number of bins of the spectra that it applies to.
    pub fn bins(&self) -> usize {
        self.bins
    }

    /// The bands that no bin reaches: they are zero for every input. Fewer bands or a larger FFT avoid them.
    pub fn empty_bands(&self) -> impl Iterator<Item = usize> + '_ {
        self.rows.iter().enumerate().filter(|(_, row)| row.weights.is_empty()).map(|(band, _)| band)
    }

    /// The weights of one band over all bins; `None` beyond the last band.
    pub fn weights(&self, band: usize) -> Option<Vec<f32>> {
        let row = self.rows.get(band)?;
        let mut dense = vec![0.0; self.bins];
        dense[row.first_bin..row.first_bin + row.weights.len()].copy_from_slice(&row.weights);
        Some(dense)
    }

    /// Sums the `bins` of `spectrum` into the `bands` of `out`. Fails when a size does not fit.
    pub fn apply(&self, spectrum: &[f32], out: &mut [f32]) -> Result<(), DspError> {
        if spectrum.len() != self.bins {
            return Err(DspError::WrongLength { what: "a spectrum", expected: self.bins, found: spectrum.len() });
        }
        if out.len() != self.rows.len() {
            return Err(DspError::WrongLength { what: "the mel bands", expected: self.rows.len(), found: out.len() });
        }
        for (row, out) in self.rows.iter().zip(out) {
            let bins = &spectrum[row.first_bin..row.first_bin + row.weights.len()];
            *out = row.weights.iter().zip(bins).map(|(weight, bin)| weight * bin).sum();
        }
        Ok(())
    }
}

/// The height at `x` of a triangle of height 1 with the three `edges`; zero outside and on its feet.
fn triangle([left, peak, right]: [f64; 3], x: f64) -> f64 {
    ((x - left) / (peak - left)).min((right - x) / (right - peak)).max(0.0)
}

/// The weights that are not zero among the bins from `first` to `last`.
fn sparse_row(weight: impl Fn(usize) -> f64, first: usize, last: usize, bins: usize) -> Row {
    let range = first.min(bins)..last.saturating_add(1).min(bins);
    let weights: Vec<f32> = range.clone().map(|bin| weight(bin) as f32).collect();
    let Some(start) = weights.iter().position(|weight| *weight > 0.0) else {
        return Row { first_bin: 0, weights: Vec::new() };
    };
    let end = weights.iter().rposition(|weight| *weight > 0.0).map_or(start, |last| last + 1);
    Row { first_bin: range.start + start, weights: weights[start..end].to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsp::reference;

    #[test]
    fn scales_have_the_values_of_their_definitions() {
        // librosa.hz_to_mel(hz, htk=False | True); Kaldi's constant differs in the fifth digit.
        for (scale, hz, mel) in [
            (MelScale::Slaney, 0.0, 0.0),
            (MelScale::Slaney, 200.0, 3.0),
            (MelScale::Slaney, 1000.0, 15.0),
            (MelScale::Slaney, 6400.0, 42.0),
            (MelScale::Slaney, 8000.0, 45.245_640_471_924_965),
            (MelScale::Htk, 0.0, 0.0),
            (MelScale::Htk, 700.0, 781.172_838_743_031_2),
            (MelScale::Htk, 8000.0, 2_840.023_046_708_319),
            (MelScale::Kaldi, 8000.0, 2_840.037_711_738_908),
        ] {
            assert!((scale.from_hz(hz) - mel).abs() < 1e-6, "{scale:?} {hz}: {}", scale.from_hz(hz));
            assert!((scale.to_hz(mel) - hz).abs() < 1e-6, "{scale:?} {mel}: {}", scale.to_hz(mel));
        }
    }

    #[test]
    fn scales_are_inverse_and_rise() {
        for scale in [MelScale::Slaney, MelScale::Htk, MelScale::Kaldi] {
            let mut last = -1.0;
            for hz in (0..24_000).step_by(13).map(f64::from) {
                let mel = scale.from_hz(hz);
                assert!(mel > last, "{scale:?} at {hz} Hz");
                assert!((scale.to_hz(mel) - hz).abs() < 1e-6, "{scale:?} at {hz} Hz");
                last = mel;
            }
        }
    }

    #[test]
    fn filterbanks_equal_librosa() {
        for case in reference::filterbanks() {
            let found = MelFilterbank::new(
                case.sample_rate_hz,
                case.fft_size,
                case.bands,
                case.min_hz,
                case.max_hz,
                case.scale,
                case.norm,
            )
            .unwrap();
            let largest = case.weights.iter().copied().fold(0.0, f32::max);
            let found: Vec<f32> = (0..case.bands).flat_map(|band| found.weights(band).unwrap()).collect();
            assert_eq!(found.len(), case.weights.len());
            for (index, (found, expected)) in found.iter().zip(&case.weights).enumerate() {
                assert!(
                    (found - expected).abs() < 1e-6 * largest,
                    "{:?} {:?}, value {index}: {found} for {expected}",
                    case.scale,
                    case.norm
                );
            }
        }
    }

    #[test]
    fn apply_is_the_product_with_the_dense_matrix() {
        let bank = MelFilterbank::new(16_000, 128, 10, 100.0, 7000.0, MelScale::Htk, MelNorm::Slaney).unwrap();
        let spectrum: Vec<f32> = (0..bank.bins()).map(|bin| (bin % 7) as f32 + 0.5).collect();
        let mut out = vec![0.0; 10];
        bank.apply(&spectrum, &mut out).unwrap();
        for (band, out) in out.iter().enumerate() {
            let expected: f32 = bank.weights(band).unwrap().iter().zip(&spectrum).map(|(w, s)| w * s).sum();
            assert!((out - expected).abs() <= 1e-6 * expected, "{out} for {expected}");
        }
        assert_eq!(bank.weights(10), None);
    }

    #[test]
    fn bands_between_two_bins_are_named() {
        let bank = MelFilterbank::new(16_000, 32, 40, 0.0, 8000.0, MelScale::Slaney, MelNorm::None).unwrap();
        let empty: Vec<usize> = bank.empty_bands().collect();
        assert!(empty.contains(&0) && empty.len() < 40, "{empty:?}");
        let mut out = vec![9.0; 40];
        bank.apply(&[1.0; 17], &mut out).unwrap();
        assert_eq!(out[0], 0.0);
        let wide = MelFilterbank::new(16_000, 400, 80, 0.0, 8000.0, MelScale::Slaney, MelNorm::Slaney).unwrap();
        assert_eq!(wide.empty_bands().count(), 0);
    }

    #[test]
    fn settings_that_are_refused() {
        let with = |rate, fft_size, bands, min_hz, max_hz| {
            MelFilterbank::new(rate, fft_size, bands, min_hz, max_hz, MelScale::Slaney, MelNorm::Slaney)
        };
        for (rate, fft_size, bands) in [
            (0, 512, 80),
            (768_001, 512, 80),
            (16_000, 0, 80),
            (16_000, usize::MAX, 80),
            (16_000, 512, 0),
            (16_000, 512, 4097),
        ] {
            assert!(
                matches!(with(rate, fft_size, bands, 0.0, 0.4), Err(DspError::OutOfRange { .. })),
                "{rate} {fft_size} {bands}"
            );
        }
        for (min_hz, max_hz) in
            [(-1.0, 8000.0), (0.0, 8000.1), (100.0, 100.0), (200.0, 100.0), (f64::NAN, 8000.0), (0.0, f64::NAN)]
        {
            assert!(
                matches!(with(16_000, 512, 80, min_hz, max_hz), Err(DspError::FrequencyRange { .. })),
                "{min_hz} {max_hz}"
            );
        }
        let bank = with(16_000, 32, 4, 0.0, 8000.0).unwrap();
        assert!(matches!(bank.apply(&[0.0; 16], &mut [0.0; 4]), Err(DspError::WrongLength { expected: 17, .. })));
        assert!(matches!(bank.apply(&[0.0; 17], &mut [0.0; 5]), Err(DspError::WrongLength { expected: 4, .. })));
    }
}
