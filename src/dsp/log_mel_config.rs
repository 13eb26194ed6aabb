//! The settings of log-mel features.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Edges, MelNorm, MelScale, Padding, SpectrumKind, Symmetry, Window};

/// A first-order high-pass, y(n) = x(n) − a · x(n − 1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PreEmphasis {
    /// None.
    Off,
    /// Over the whole stream, before framing, with y(0) = x(0) (NeMo).
    Stream(f32),
    /// Over each frame, before the window, with y(0) = x(0) − a · x(0) (Kaldi).
    Frame(f32),
}

/// The scale of the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Log {
    /// No logarithm: the bands as they are.
    Off,
    /// ln x.
    #[default]
    Natural,
    /// log10 x.
    Log10,
    /// Decibels: 10 log10 of a power, 20 log10 of a magnitude. Reference 1.
    Decibel,
}

/// What keeps the logarithm of silence finite. Also applied with [`Log::Off`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Floor {
    /// The larger of the band and this value (Whisper, Kaldi, librosa's `amin`).
    Max(f32),
    /// The sum of the band and this value (NeMo).
    Add(f32),
}

/// The settings of [`LogMel`](super::LogMel). [`Default`] is what Whisper hears before its normalisation,
/// [`kaldi`](Self::kaldi) what Kaldi's descendants hear; set fields from there.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LogMelConfig {
    /// Samples per second.
    pub sample_rate_hz: u32,
    /// Length of the window in samples, at most `fft_size`.
    pub window_length: usize,
    /// Distance of two frames in samples.
    pub hop: usize,
    /// Size of the transform in samples. A shorter window lies in its middle with [`Edges::Center`], at its start with
    /// [`Edges::Valid`].
    pub fft_size: usize,
    /// The window function.
    pub window: Window,
    /// Whether the window is periodic or symmetric.
    pub symmetry: Symmetry,
    /// Number of mel bands.
    pub bands: usize,
    /// Lower edge of the lowest band in hertz.
    pub min_hz: f64,
    /// Upper edge of the highest band in hertz; `None` is half the sample rate.
    pub max_hz: Option<f64>,
    /// The mel scale.
    pub scale: MelScale,
    /// The scaling of the triangles.
    pub norm: MelNorm,
    /// Whether the bands sum powers or magnitudes.
    pub spectrum: SpectrumKind,
    /// The logarithm.
    pub log: Log,
    /// What keeps it finite.
    pub floor: Floor,
    /// Where frames lie at the edges.
    pub edges: Edges,
    /// The high-pass before the window.
    pub pre_emphasis: PreEmphasis,
    /// Subtract each frame's mean before the pre-emphasis of the frame and the window.
    pub remove_dc: bool,
    /// Multiply the samples by 32768 first, for models trained on 16-bit numbers.
    pub int16_scale: bool,
}

impl Default for LogMelConfig {
    /// 16 kHz, frames of 25 ms every 10 ms, centred with reflection, periodic Hann, FFT of 400, 80 Slaney bands of
    /// power up to 8 kHz, log10 with a floor of 1e-10.
    fn default() -> Self {
        LogMelConfig {
            sample_rate_hz: 16_000,
            window_length: 400,
            hop: 160,
            fft_size: 400,
            window: Window::Hann,
            symmetry: Symmetry::Periodic,
            bands: 80,
            min_hz: 0.0,
            max_hz: None,
            scale: MelScale::Slaney,
            norm: MelNorm::Slaney,
            spectrum: SpectrumKind::Power,
            log: Log::Log10,
            floor: Floor::Max(1e-10),
            edges: Edges::Center(Padding::Reflect),
            pre_emphasis: PreEmphasis::Off,
            remove_dc: false,
            int16_scale: false,
        }
    }
}

impl LogMelConfig {
    /// The filterbank of Kaldi (`compute-fbank-feats` without dither): 16 kHz, full frames of 25 ms every 10 ms, Povey
    /// window, mean removed, pre-emphasis 0.97, FFT of 512, 80 bands of power from 20 Hz, natural logarithm, samples
    /// scaled to 16 bits.
    pub fn kaldi() -> Self {
        LogMelConfig {
            fft_size: 512,
            window: Window::Povey,
            symmetry: Symmetry::Symmetric,
            min_hz: 20.0,
            scale: MelScale::Kaldi,
            norm: MelNorm::None,
            log: Log::Natural,
            floor: Floor::Max(f32::EPSILON),
            edges: Edges::Valid,
            pre_emphasis: PreEmphasis::Frame(0.97),
            remove_dc: true,
            int16_scale: true,
            ..Self::default()
        }
    }
}
