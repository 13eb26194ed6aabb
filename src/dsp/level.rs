//! Levels of a slice of samples, and changing them.
//!
//! NaN is never hidden: a measure of samples that hold one is NaN. Nothing is an empty slice's fault: it is silent.

/// The root of the mean square, √(Σx² / N), summed in 64 bits; 0 for an empty slice.
pub fn rms(samples: &[f32]) -> f32 {
    if samples.is_empty() {
        return 0.0;
    }
    let sum: f64 = samples.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    (sum / samples.len() as f64).sqrt() as f32
}

/// The largest |x|; 0 for an empty slice, NaN when the slice holds one.
pub fn peak(samples: &[f32]) -> f32 {
    samples.iter().fold(0.0, |peak: f32, x| if peak.is_nan() || x.is_nan() { f32::NAN } else { peak.max(x.abs()) })
}

/// An amplitude (an [`rms`] or a [`peak`]) in decibels relative to full scale, 20 log10 |amplitude|: 1.0 is 0 dBFS,
/// silence is −∞.
pub fn dbfs(amplitude: f32) -> f32 {
    20.0 * amplitude.abs().log10()
}

/// Multiplies every sample by `factor`.
pub fn scale(samples: &mut [f32], factor: f32) {
    for x in samples {
        *x *= factor;
    }
}

/// Scales so that the [`peak`] becomes `target`; silence, and samples that are not all finite, are left as they are.
/// Returns the factor that was applied.
pub fn normalize_peak(samples: &mut [f32], target: f32) -> f32 {
    let peak = f64::from(peak(samples));
    if peak == 0.0 || !peak.is_finite() {
        return 1.0;
    }
    // In 64 bits: the factor for a very small peak is beyond 32.
    let factor = f64::from(target) / peak;
    for x in samples {
        *x = (f64::from(*x) * factor) as f32;
    }
    factor as f32
}

/// Shifts and scales to mean 0 and variance 1: (x − mean) / √(variance + `epsilon`), with the variance Σ(x − mean)² / N
/// and both sums in 64 bits. `epsilon` keeps silence silent; 1e-7 is what wav2vec 2.0 was trained with.
///
/// One sample that is not finite makes all of them NaN: the result depends on it.
pub fn mean_variance(samples: &mut [f32], epsilon: f32) {
    if samples.is_empty() {
        return;
    }
    let count = samples.len() as f64;
    let mean = samples.iter().copied().map(f64::from).sum::<f64>() / count;
    let variance = samples.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / count;
    let deviation = (variance + f64::from(epsilon)).sqrt();
    for x in samples {
        let centred = f64::from(*x) - mean;
        *x = if centred == 0.0 { 0.0 } else { (centred / deviation) as f32 };
    }
}

/// Limits every sample to ±`limit`; NaN stays NaN, and the sign of `limit` does not matter. A `limit` of NaN changes
/// nothing.
pub fn clip(samples: &mut [f32], limit: f32) {
    let limit = limit.abs();
    if limit.is_nan() {
        return;
    }
    for x in samples {
        *x = x.clamp(-limit, limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures() {
        for (samples, expected_rms, expected_peak) in [
            (&[][..], 0.0, 0.0),
            (&[0.0, -0.0][..], 0.0, 0.0),
            (&[0.5, -0.5], 0.5, 0.5),
            (&[3.0, -4.0], 12.5f32.sqrt(), 4.0),
            (&[f32::MAX, f32::MAX], f32::MAX, f32::MAX),
            (&[f32::NEG_INFINITY], f32::INFINITY, f32::INFINITY),
        ] {
            assert_eq!(rms(samples), expected_rms, "{samples:?}");
            assert_eq!(peak(samples), expected_peak, "{samples:?}");
        }
        for samples in [[f32::NAN, 1.0], [1.0, f32::NAN]] {
            assert!(rms(&samples).is_nan() && peak(&samples).is_nan());
        }
    }

    #[test]
    fn decibels() {
        for (amplitude, expected) in [(1.0, 0.0), (0.1, -20.0), (-0.5, -6.020_6), (0.0, f32::NEG_INFINITY)] {
            let found = dbfs(amplitude);
            assert!(found == expected || (found - expected).abs() < 1e-4, "{amplitude}: {found}");
        }
    }

    #[test]
    fn peak_normaliser() {
        for (samples, target, expected) in [
            ([0.25, -0.5], 1.0, [0.5, -1.0]),
            ([0.0, 0.0], 1.0, [0.0, 0.0]),
            ([f32::MAX, 0.0], 0.5, [0.5, 0.0]),
            ([f32::MIN_POSITIVE, 0.0], 1.0, [1.0, 0.0]),
            ([1e-45, 0.0], 1.0, [1.0, 0.0]),
            ([f32::INFINITY, 1.0], 1.0, [f32::INFINITY, 1.0]),
        ] {
            let mut found = samples;
            normalize_peak(&mut found, target);
            assert_eq!(found, expected, "{samples:?}");
        }
        let mut bad = [f32::NAN, 0.5];
        assert_eq!(normalize_peak(&mut bad, 1.0), 1.0);
        assert_eq!(bad[1], 0.5);
        assert_eq!(normalize_peak(&mut [], 1.0), 1.0);
    }

    #[test]
    fn mean_and_variance() {
        let mut samples: Vec<f32> = (0..1000).map(|n| 1000.0 + (n % 17) as f32).collect();
        mean_variance(&mut samples, 1e-7);
        let mean = samples.iter().sum::<f32>() / 1000.0;
        assert!(mean.abs() < 1e-5 && (rms(&samples) - 1.0).abs() < 1e-5, "{mean} {}", rms(&samples));
        for constant in [0.0, 5.0, f32::MAX] {
            for epsilon in [0.0, 1e-7] {
                let mut samples = [constant; 3];
                mean_variance(&mut samples, epsilon);
                assert_eq!(samples, [0.0; 3], "{constant} {epsilon}");
            }
        }
        mean_variance(&mut [], 0.0);
    }

    #[test]
    fn clip_and_scale() {
        for limit in [1.0, -1.0] {
            let mut samples = [-3.0, 0.5, f32::INFINITY, f32::NAN];
            clip(&mut samples, limit);
            assert_eq!(samples[..3], [-1.0, 0.5, 1.0]);
            assert!(samples[3].is_nan());
        }
        let mut samples = [2.0];
        clip(&mut samples, f32::NAN);
        assert_eq!(samples, [2.0]);
        scale(&mut samples, -0.25);
        assert_eq!(samples, [-0.5]);
    }
}
