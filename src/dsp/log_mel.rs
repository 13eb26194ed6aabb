//! Log-mel features of a stream: frames, window, spectrum, mel bands, logarithm.

use super::edges::EdgeState;
use super::error::{in_range, sample_rate};
use super::{
    DspError, Edges, Floor, Frame, Framer, Log, LogMelConfig, MelFilterbank, PreEmphasis, Spectrum, SpectrumKind, Tail,
};

/// Log-mel features of a stream that comes in pieces.
///
/// Each frame appends [`bands`](Self::bands) values, lowest band first, so the output is a row-major matrix of frames ×
/// bands. Frame t is the same whatever the chunking, and depends on no sample outside of its own (and, with
/// [`PreEmphasis::Stream`], the one before), so a NaN spoils only the frames that contain it.
#[derive(Clone, Debug)]
pub struct LogMel {
    config: LogMelConfig,
    framer: Framer,
    analysis: Analysis,
    edges: EdgeState,
    /// The last sample before the pre-emphasis of the stream.
    previous: Option<f32>,
    /// Samples after the pre-emphasis of the stream.
    conditioned: Vec<f32>,
}

impl LogMel {
    /// Plans the features of `config`. Fails when a setting is out of range, the window exceeds the FFT, or the bands
    /// exceed half the sample rate.
    pub fn new(config: LogMelConfig) -> Result<Self, DspError> {
        let analysis = Analysis::new(&config)?;
        let framer = Framer::new(analysis.window.len(), config.hop, Tail::Drop)?;
        let edges = EdgeState::new(config.edges, config.fft_size / 2);
        Ok(LogMel { config, framer, analysis, edges, previous: None, conditioned: Vec::new() })
    }

    /// The settings.
    pub fn config(&self) -> &LogMelConfig {
        &self.config
    }

    /// The number of values of a frame.
    pub fn bands(&self) -> usize {
        self.analysis.filterbank.bands()
    }

    /// The filterbank, to look for bands that stay empty.
    pub fn filterbank(&self) -> &MelFilterbank {
        &self.analysis.filterbank
    }

    /// The number of samples that a frame is computed from: the FFT's size for centred frames, else the window's.
    pub fn frame_length(&self) -> usize {
        self.analysis.window.len()
    }

    /// The index in the stream of the first sample of frame `frame`; negative where the frame begins in the padding.
    pub fn frame_start(&self, frame: u64) -> i64 {
        let start = i64::try_from(frame.saturating_mul(self.config.hop as u64)).unwrap_or(i64::MAX);
        start - self.edges.reach() as i64
    }

    /// Takes the next samples of the stream, appends the frames that they complete to `out`, and returns their number.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) -> usize {
        let mut frames = 0;
        for piece in samples.chunks(1 << 14) {
            self.condition(piece);
            let (framer, analysis) = (&mut self.framer, &mut self.analysis);
            self.edges.push(&self.conditioned, |padded| {
                frames += framer.push(padded, |frame| analysis.append(frame, out));
            });
        }
        frames
    }

    /// Ends the stream: appends the frames that reach into the padding after its last sample, and returns their
    /// number. A stream without samples has no frames. The next push begins a new stream.
    pub fn finish(&mut self, out: &mut Vec<f32>) -> usize {
        let mut frames = 0;
        let (framer, analysis) = (&mut self.framer, &mut self.analysis);
        self.edges.finish(|padded| {
            frames += framer.push(padded, |frame| analysis.append(frame, out));
        });
        self.reset();
        frames
    }

    /// Forgets the stream; the next push begins a new one.
    pub fn reset(&mut self) {
        self.framer.reset();
        self.edges.reset();
        self.previous = None;
    }

    /// Fills `conditioned` with `samples` after 16-bit scale and the pre-emphasis of the stream.
    fn condition(&mut self, samples: &[f32]) {
        let factor = if self.config.int16_scale { 32_768.0 } else { 1.0 };
        self.conditioned.clear();
        self.conditioned.extend(samples.iter().map(|x| x * factor));
        if let PreEmphasis::Stream(coefficient) = self.config.pre_emphasis {
            for x in &mut self.conditioned {
                let y = self.previous.map_or(*x, |previous| *x - coefficient * previous);
                self.previous = Some(*x);
                *x = y;
            }
        }
    }
}

/// From the samples of one frame to its bands.
#[derive(Clone, Debug)]
struct Analysis {
    window: Vec<f32>,
    spectrum: Spectrum,
    filterbank: MelFilterbank,
    kind: SpectrumKind,
    log: Log,
    floor: Floor,
    frame_emphasis: Option<f32>,
    remove_dc: bool,
    frame: Vec<f32>,
    bins: Vec<f32>,
}

impl Analysis {
    fn new(config: &LogMelConfig) -> Result<Self, DspError> {
        let rate = sample_rate("the sample rate, in hertz,", config.sample_rate_hz)?;
        in_range("the window, in samples,", config.window_length, 1, super::MAX_FRAME)?;
        in_range("the FFT size, in samples,", config.fft_size, 1, super::MAX_FRAME)?;
        if config.window_length > config.fft_size {
            return Err(DspError::WindowExceedsFft { window: config.window_length, fft_size: config.fft_size });
        }
        let (Floor::Max(floor) | Floor::Add(floor)) = config.floor;
        if !(floor.is_finite() && floor >= 0.0) {
            let expected = "a finite number, 0 or above";
            return Err(DspError::BadValue { what: "the floor of the logarithm", expected, found: floor.into() });
        }
        let frame_emphasis = match config.pre_emphasis {
            PreEmphasis::Off => None,
            PreEmphasis::Stream(a) | PreEmphasis::Frame(a) if !(0.0..=1.0).contains(&a) => {
                let expected = "from 0 to 1";
                return Err(DspError::BadValue { what: "the pre-emphasis", expected, found: a.into() });
            }
            PreEmphasis::Stream(_) => None,
            PreEmphasis::Frame(a) => Some(a),
        };
        let max_hz = config.max_hz.unwrap_or(f64::from(rate) / 2.0);
        let filterbank =
            MelFilterbank::new(rate, config.fft_size, config.bands, config.min_hz, max_hz, config.scale, config.norm)?;
        let mut window = config.window.coefficients(config.window_length, config.symmetry)?;
        if let Edges::Center(_) = config.edges {
            let before = (config.fft_size - config.window_length) / 2;
            window.splice(0..0, std::iter::repeat_n(0.0, before));
            window.resize(config.fft_size, 0.0);
        }
        let spectrum = Spectrum::new(config.fft_size)?;
        let (frame, bins) = (vec![0.0; window.len()], vec![0.0; spectrum.bins()]);
        Ok(Analysis {
            window,
            spectrum,
            filterbank,
            kind: config.spectrum,
            log: config.log,
            floor: config.floor,
            frame_emphasis,
            remove_dc: config.remove_dc,
            frame,
            bins,
        })
    }

    /// Appends the bands of one frame.
    fn append(&mut self, frame: Frame<'_>, out: &mut Vec<f32>) {
        self.frame.copy_from_slice(frame.samples);
        if self.remove_dc {
            let sum: f64 = self.frame.iter().copied().map(f64::from).sum();
            let mean = (sum / self.frame.len() as f64) as f32;
            self.frame.iter_mut().for_each(|x| *x -= mean);
        }
        if let Some(coefficient) = self.frame_emphasis {
            let mut previous = self.frame.first().copied().unwrap_or(0.0);
            for x in &mut self.frame {
                (previous, *x) = (*x, *x - coefficient * previous);
            }
        }
        for (x, weight) in self.frame.iter_mut().zip(&self.window) {
            *x *= weight;
        }
        let start = out.len();
        out.resize(start + self.filterbank.bands(), 0.0);
        let bands = &mut out[start..];
        self.spectrum
            .compute(self.kind, &self.frame, &mut self.bins)
            .and_then(|()| self.filterbank.apply(&self.bins, bands))
            .expect("the constructor sized the window, the transform and the filterbank for each other");
        for band in bands {
            *band = self.compress(*band);
        }
    }

    fn compress(&self, band: f32) -> f32 {
        let value = match self.floor {
            Floor::Add(floor) => band + floor,
            // A comparison, since `max` would turn NaN into the floor.
            Floor::Max(floor) if band < floor => floor,
            Floor::Max(_) => band,
        };
        match (self.log, self.kind) {
            (Log::Off, _) => value,
            (Log::Natural, _) => value.ln(),
            (Log::Log10, _) => value.log10(),
            (Log::Decibel, SpectrumKind::Power) => 10.0 * value.log10(),
            (Log::Decibel, SpectrumKind::Magnitude) => 20.0 * value.log10(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dsp::{MelNorm, MelScale, Padding, Symmetry, Window, reference};

    /// The configurations of `tests/reference/dsp.py`, by name.
    fn reference_config(name: &str) -> LogMelConfig {
        let base = LogMelConfig::default();
        match name {
            "whisper" => base,
            "htk_magnitude" => LogMelConfig {
                sample_rate_hz: 22_050,
                window_length: 800,
                hop: 256,
                fft_size: 1024,
                window: Window::Hamming,
                bands: 64,
                min_hz: 55.0,
                max_hz: Some(8000.0),
                scale: MelScale::Htk,
                norm: MelNorm::None,
                spectrum: SpectrumKind::Magnitude,
                log: Log::Natural,
                floor: Floor::Max(1e-5),
                edges: Edges::Center(Padding::Zero),
                ..base
            },
            "decibel" => LogMelConfig {
                window_length: 512,
                hop: 200,
                fft_size: 512,
                window: Window::Blackman,
                bands: 40,
                min_hz: 20.0,
                max_hz: Some(7600.0),
                log: Log::Decibel,
                floor: Floor::Max(1e-8),
                edges: Edges::Valid,
                pre_emphasis: PreEmphasis::Stream(0.97),
                ..base
            },
            "nemo" => LogMelConfig {
                window_length: 320,
                fft_size: 512,
                symmetry: Symmetry::Symmetric,
                bands: 64,
                log: Log::Natural,
                floor: Floor::Add(2f32.powi(-24)),
                edges: Edges::Center(Padding::Zero),
                pre_emphasis: PreEmphasis::Stream(0.97),
                ..base
            },
            "kaldi" => LogMelConfig::kaldi(),
            other => panic!("the reference {other} has no configuration here"),
        }
    }

    fn whole(features: &mut LogMel, samples: &[f32]) -> Vec<f32> {
        let mut out = Vec::new();
        let frames = features.push(samples, &mut out) + features.finish(&mut out);
        assert_eq!(out.len(), frames * features.bands());
        out
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    #[test]
    fn equals_librosa_and_kaldi() {
        let signal = reference::signal();
        let cases = reference::log_mels();
        assert_eq!(cases.len(), 5);
        for (name, expected) in cases {
            let mut features = LogMel::new(reference_config(&name)).unwrap();
            let found = whole(&mut features, &signal);
            assert_eq!(features.bands(), expected.bands, "{name}");
            assert_eq!(found.len(), expected.frames * expected.bands, "{name}");
            let largest = expected.values.iter().fold(0.0, |largest: f32, value| largest.max(value.abs()));
            for (index, (found, expected_value)) in found.iter().zip(&expected.values).enumerate() {
                let error = (found - expected_value).abs() / largest;
                let (frame, band) = (index / expected.bands, index % expected.bands);
                assert!(error < 1e-4, "{name}, frame {frame}, band {band}: {found} for {expected_value}");
            }
        }
    }

    #[test]
    fn frames_are_counted_and_placed() {
        let with = |edges, fft_size| LogMelConfig { edges, fft_size, bands: 4, ..LogMelConfig::default() };
        for (edges, fft_size, samples, frames, first_start) in [
            (Edges::Valid, 512, 0, 0, 0),
            (Edges::Valid, 512, 399, 0, 0),
            (Edges::Valid, 512, 400, 1, 0),
            (Edges::Valid, 512, 560, 2, 0),
            (Edges::Center(Padding::Zero), 400, 0, 0, -200),
            (Edges::Center(Padding::Zero), 400, 1, 1, -200),
            (Edges::Center(Padding::Zero), 401, 160, 1, -200),
            (Edges::Center(Padding::Zero), 401, 161, 2, -200),
            (Edges::Center(Padding::Reflect), 400, 1, 1, -200),
            (Edges::Center(Padding::Reflect), 400, 200, 2, -200),
            (Edges::Center(Padding::Reflect), 400, 1600, 11, -200),
        ] {
            let mut features = LogMel::new(with(edges, fft_size)).unwrap();
            let found = whole(&mut features, &vec![0.1; samples]).len() / 4;
            assert_eq!(found, frames, "{edges:?}, {samples} samples");
            assert_eq!(features.frame_start(0), first_start);
            assert_eq!(features.frame_start(3), first_start + 480);
        }
        assert_eq!(LogMel::new(with(Edges::Valid, 512)).unwrap().frame_length(), 400);
        assert_eq!(LogMel::new(with(Edges::Center(Padding::Zero), 512)).unwrap().frame_length(), 512);
    }

    #[test]
    fn a_bad_sample_spoils_only_the_frames_that_contain_it() {
        let clean = reference::signal();
        for name in ["whisper", "decibel", "kaldi"] {
            let mut features = LogMel::new(reference_config(name)).unwrap();
            let expected = whole(&mut features, &clean);
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut spoiled = clean.clone();
                spoiled[1000] = bad;
                let found = whole(&mut features, &spoiled);
                let bands = features.bands();
                let mut spoiled_frames = 0;
                for (frame, (found, expected)) in found.chunks(bands).zip(expected.chunks(bands)).enumerate() {
                    let start = features.frame_start(frame as u64);
                    let samples = start..start + features.frame_length() as i64;
                    let emphasised = matches!(features.config().pre_emphasis, PreEmphasis::Stream(_));
                    if samples.contains(&1000) || (emphasised && samples.contains(&1001)) {
                        assert!(
                            found.iter().all(|value| !value.is_finite()),
                            "{name}, frame {frame}: {bad} was hidden"
                        );
                        spoiled_frames += 1;
                    } else {
                        assert_eq!(bits(found), bits(expected), "{name}, frame {frame}, {bad}");
                    }
                }
                assert!(spoiled_frames > 0, "{name}: no frame contains the sample");
            }
        }
    }

    #[test]
    fn silence_is_the_floor_and_huge_values_do_not_panic() {
        let mut features = LogMel::new(LogMelConfig::default()).unwrap();
        assert!(whole(&mut features, &[0.0; 800]).iter().all(|value| *value == -10.0));
        whole(&mut features, &[f32::MAX; 800]);
        let mut linear = LogMel::new(LogMelConfig { log: Log::Off, ..LogMelConfig::default() }).unwrap();
        assert!(whole(&mut linear, &[0.0; 800]).iter().all(|value| *value == 1e-10));
    }

    #[test]
    fn the_smallest_transforms_work() {
        for fft_size in 1..=5 {
            for window_length in 1..=fft_size {
                for edges in [Edges::Valid, Edges::Center(Padding::Zero), Edges::Center(Padding::Reflect)] {
                    let config =
                        LogMelConfig { window_length, fft_size, edges, hop: 7, bands: 2, ..LogMelConfig::default() };
                    let mut features = LogMel::new(config).unwrap();
                    for samples in 0..30 {
                        let frames = whole(&mut features, &vec![0.5; samples]).len() / 2;
                        let length = features.frame_length() as i64;
                        let padded = samples as i64 - 2 * features.frame_start(0);
                        let expected = if samples > 0 && padded >= length { 1 + (padded - length) / 7 } else { 0 };
                        assert_eq!(frames as i64, expected, "{fft_size} {window_length} {edges:?} {samples}");
                    }
                }
            }
        }
    }

    #[test]
    fn settings_that_are_refused() {
        let base = LogMelConfig::default;
        type Check = fn(&DspError) -> bool;
        let range: Check = |error| matches!(error, DspError::OutOfRange { .. });
        let value: Check = |error| matches!(error, DspError::BadValue { .. });
        let cases: [(LogMelConfig, Check); 12] = [
            (LogMelConfig { sample_rate_hz: 0, ..base() }, range),
            (LogMelConfig { window_length: 0, ..base() }, range),
            (LogMelConfig { window_length: usize::MAX, ..base() }, range),
            (LogMelConfig { hop: 0, ..base() }, range),
            (LogMelConfig { fft_size: 0, ..base() }, range),
            (LogMelConfig { fft_size: usize::MAX, ..base() }, range),
            (LogMelConfig { bands: 0, ..base() }, range),
            (LogMelConfig { fft_size: 399, ..base() }, |error| matches!(error, DspError::WindowExceedsFft { .. })),
            (LogMelConfig { max_hz: Some(9000.0), ..base() }, |error| matches!(error, DspError::FrequencyRange { .. })),
            (LogMelConfig { floor: Floor::Max(f32::NAN), ..base() }, value),
            (LogMelConfig { floor: Floor::Add(-1.0), ..base() }, value),
            (LogMelConfig { pre_emphasis: PreEmphasis::Stream(f32::NAN), ..base() }, value),
        ];
        for (config, expected) in cases {
            let shown = format!("{config:?}");
            match LogMel::new(config) {
                Err(error) => assert!(expected(&error), "{shown}: {error}"),
                Ok(_) => panic!("accepted: {shown}"),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_chunking_gives_the_same_bits(
            name in prop::sample::select(vec!["whisper", "htk_magnitude", "decibel", "nemo", "kaldi"]),
            count in 0usize..4000,
            cuts in prop::collection::vec(1usize..600, 0..12),
            by_one in any::<bool>(),
        ) {
            let signal = &reference::signal()[..count];
            let mut features = LogMel::new(reference_config(name)).unwrap();
            let expected = whole(&mut features, signal);
            let mut found = Vec::new();
            let mut rest = signal;
            for cut in cuts {
                let (chunk, after) = rest.split_at(cut.min(rest.len()));
                features.push(chunk, &mut found);
                rest = after;
            }
            for chunk in rest.chunks(if by_one { 1 } else { rest.len().max(1) }) {
                features.push(chunk, &mut found);
            }
            features.finish(&mut found);
            prop_assert_eq!(bits(&found), bits(&expected));
            features.push(signal, &mut found);
            features.reset();
            prop_assert_eq!(bits(&whole(&mut features, signal)), bits(&expected));
        }
    }
}
