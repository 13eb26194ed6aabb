//! `log_mel`: log-mel features of sound, as tensors.
//!
//! What most models of speech and sound hear instead of samples: the energy in bands as wide as the ear's. The settings
//! must be those that the model was trained with; `preset` names a family (`whisper`: librosa's features, `kaldi`:
//! Kaldi's filterbank, of sherpa, WeNet and torchaudio's `kaldi.fbank`), and each key changes one setting of it. The mathematics is
//! [`crate::dsp::LogMel`], checked against both toolkits.

use schemars::JsonSchema;
use serde::Deserialize;

use super::frame::Tail;
use super::sound::{self, AUDIO, Sound};
use crate::config::{Fault, Faults};
use crate::dsp::{
    self, DspError, Edges, Floor, Framer, Log, LogMelConfig, MelNorm, MelScale, Padding, PreEmphasis, SpectrumKind,
    Symmetry, Window,
};
use crate::media::{Format, StreamInfo};
use crate::stage::{
    Blueprint, Contract, ContractFault, Draft, Input, Kind, Opened, Output, ReadContext, Resolve, Role, Runnable,
    Stage, StageError,
};
use crate::stages::timeline::{Continuity, Timeline};
use crate::tensor::{DType, SymbolicShape, Tensor};
use crate::units::{Rate, Timestamp};

/// A family of settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Whisper and librosa: 16 kHz, Hann windows of 400 samples every 160, centred with reflection, 80 Slaney bands of
    /// power, log10 of at least 1e-10.
    #[default]
    Whisper,
    /// Kaldi: 16 kHz, full Povey windows of 400 samples every 160, FFT of 512, mean removed, pre-emphasis 0.97, 80 bands
    /// of power from 20 Hz, natural logarithm, samples scaled to 16 bits.
    Kaldi,
}

/// Where frames lie at the edges of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EdgesKey {
    /// Only full frames; frame t covers the samples from t · hop.
    Valid,
    /// Frame t is centred on sample t · hop; silence beyond the edges.
    CenterZero,
    /// Frame t is centred on sample t · hop; the sound mirrored beyond the edges.
    CenterReflect,
}

/// How the floor keeps the logarithm finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FloorBy {
    /// The larger of the band and the floor.
    Max,
    /// The sum of the band and the floor.
    Add,
}

/// What the pre-emphasis runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PreEmphasisOver {
    /// The whole stream, before it is cut into frames.
    Stream,
    /// Each frame by itself.
    Frame,
}

/// The keys of `log_mel`. A key that is left out has the value of the preset.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogMelKeys {
    /// The settings that the other keys change: `whisper` or `kaldi`. Default: whisper.
    #[serde(default)]
    pub preset: Preset,
    /// Rate of the sound in hertz. Default: 16000 in both presets.
    #[serde(default)]
    #[schemars(range(min = 1, max = dsp::MAX_SAMPLE_RATE_HZ))]
    pub sample_rate_hz: Option<u32>,
    /// Length of the window in samples. Default: 400 in both presets.
    #[serde(default)]
    #[schemars(range(min = 1, max = dsp::MAX_FRAME))]
    pub window: Option<usize>,
    /// Distance of two frames in samples. Default: 160 in both presets.
    #[serde(default)]
    #[schemars(range(min = 1, max = dsp::MAX_FRAME))]
    pub hop: Option<usize>,
    /// Size of the transform in samples, at least `window`. Default: `window` for whisper, the next power of two for kaldi.
    #[serde(default)]
    #[schemars(range(min = 1, max = dsp::MAX_FRAME))]
    pub fft_size: Option<usize>,
    /// The window function. Default: hann for whisper, povey for kaldi.
    #[serde(default)]
    pub window_function: Option<Window>,
    /// Whether the window function is `periodic` or `symmetric`. Default: periodic for whisper, symmetric for kaldi.
    #[serde(default)]
    pub symmetry: Option<Symmetry>,
    /// Number of mel bands. Default: 80 in both presets.
    #[serde(default)]
    #[schemars(range(min = 1, max = 4096))]
    pub bands: Option<usize>,
    /// Lower edge of the lowest band in hertz. Default: 0 for whisper, 20 for kaldi.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub min_hz: Option<f64>,
    /// Upper edge of the highest band in hertz. Default: half the sample rate.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub max_hz: Option<f64>,
    /// The mel scale. Default: slaney for whisper, kaldi for kaldi.
    #[serde(default)]
    pub mel_scale: Option<MelScale>,
    /// How the triangles are scaled: `slaney` to area 1, `none` to height 1. Default: slaney for whisper, none for kaldi.
    #[serde(default)]
    pub mel_norm: Option<MelNorm>,
    /// Whether the bands sum powers or magnitudes. Default: power in both presets.
    #[serde(default)]
    pub spectrum: Option<SpectrumKind>,
    /// The logarithm. Default: log10 for whisper, natural for kaldi.
    #[serde(default)]
    pub log: Option<Log>,
    /// What keeps the logarithm of silence finite. Default: 1e-10 for whisper, 1.1920929e-7 for kaldi.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub floor: Option<f32>,
    /// Whether a band is at least the floor (`max`) or the floor is added to it (`add`). Default: max in both presets.
    #[serde(default)]
    pub floor_by: Option<FloorBy>,
    /// Where frames lie at the edges of the stream. Default: center_reflect for whisper, valid for kaldi.
    #[serde(default)]
    pub edges: Option<EdgesKey>,
    /// Coefficient of the high-pass before the window, 0 to 1; 0 turns it off. Default: 0 for whisper, 0.97 for kaldi.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub pre_emphasis: Option<f32>,
    /// Whether the high-pass runs over the `stream` or each `frame`. Default: stream for whisper, frame for kaldi.
    #[serde(default)]
    pub pre_emphasis_over: Option<PreEmphasisOver>,
    /// Whether each frame's mean is subtracted first. Default: false for whisper, true for kaldi.
    #[serde(default)]
    pub remove_dc: Option<bool>,
    /// Whether samples are multiplied by 32768 first, for models trained on 16-bit numbers. Default: false for whisper,
    /// true for kaldi.
    #[serde(default)]
    pub int16_scale: Option<bool>,
    /// Gives blocks of this many frames as tensors `[frames, bands]`. Left out: each frame by itself, as a tensor `[bands]`.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65_536))]
    pub frames: Option<usize>,
    /// Distance of two blocks in frames. Default: `frames`, so that blocks lie side by side.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65_536))]
    pub frames_hop: Option<usize>,
    /// What becomes of the last frames that do not fill a block: `pad` with the features of silence, or `drop`. Default: pad.
    #[serde(default)]
    pub tail: Tail,
}

impl LogMelKeys {
    /// The settings: the preset's, changed by the keys that are there.
    fn features(&self) -> LogMelConfig {
        let mut config = match self.preset {
            Preset::Whisper => LogMelConfig::default(),
            Preset::Kaldi => LogMelConfig::kaldi(),
        };
        fn set<T: Copy>(place: &mut T, key: Option<T>) {
            *place = key.unwrap_or(*place);
        }
        set(&mut config.sample_rate_hz, self.sample_rate_hz);
        set(&mut config.window_length, self.window);
        set(&mut config.hop, self.hop);
        config.fft_size = self.fft_size.unwrap_or(match self.preset {
            Preset::Whisper => config.window_length,
            Preset::Kaldi => config.window_length.next_power_of_two(),
        });
        set(&mut config.window, self.window_function);
        set(&mut config.symmetry, self.symmetry);
        set(&mut config.bands, self.bands);
        set(&mut config.min_hz, self.min_hz);
        config.max_hz = self.max_hz.or(config.max_hz);
        set(&mut config.scale, self.mel_scale);
        set(&mut config.norm, self.mel_norm);
        set(&mut config.spectrum, self.spectrum);
        set(&mut config.log, self.log);
        let (mut by, mut floor) = match config.floor {
            Floor::Max(floor) => (FloorBy::Max, floor),
            Floor::Add(floor) => (FloorBy::Add, floor),
        };
        set(&mut by, self.floor_by);
        set(&mut floor, self.floor);
        config.floor = match by {
            FloorBy::Max => Floor::Max(floor),
            FloorBy::Add => Floor::Add(floor),
        };
        if let Some(edges) = self.edges {
            config.edges = match edges {
                EdgesKey::Valid => Edges::Valid,
                EdgesKey::CenterZero => Edges::Center(Padding::Zero),
                EdgesKey::CenterReflect => Edges::Center(Padding::Reflect),
            };
        }
        let (mut over, mut coefficient) = match config.pre_emphasis {
            PreEmphasis::Off => (PreEmphasisOver::Stream, 0.0),
            PreEmphasis::Stream(coefficient) => (PreEmphasisOver::Stream, coefficient),
            PreEmphasis::Frame(coefficient) => (PreEmphasisOver::Frame, coefficient),
        };
        set(&mut over, self.pre_emphasis_over);
        set(&mut coefficient, self.pre_emphasis);
        config.pre_emphasis = match over {
            _ if coefficient == 0.0 => PreEmphasis::Off,
            PreEmphasisOver::Stream => PreEmphasis::Stream(coefficient),
            PreEmphasisOver::Frame => PreEmphasis::Frame(coefficient),
        };
        set(&mut config.remove_dc, self.remove_dc);
        set(&mut config.int16_scale, self.int16_scale);
        config
    }
}

impl Resolve for LogMelKeys {
    fn resolve(self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        let kind =
            LogMel { features: self.features(), frames: self.frames, frames_hop: self.frames_hop, tail: self.tail };
        if self.frames.is_none() && self.frames_hop.is_some() {
            let fault = context.fault(
                "frames_hop",
                "missing-key",
                "`frames_hop` is the distance of blocks, and there are none",
            );
            return Err(fault.help("add `frames`, or leave it out").into());
        }
        match kind.machine() {
            Ok(_) => Ok(Box::new(kind)),
            Err(error) => {
                let key = match &error {
                    DspError::WindowExceedsFft { .. } => "fft_size",
                    DspError::FrequencyRange { .. } if self.max_hz.is_some() => "max_hz",
                    DspError::FrequencyRange { .. } => "min_hz",
                    DspError::BadValue { .. } if self.floor.is_some() => "floor",
                    _ if self.bands.is_some() => "bands",
                    _ => "preset",
                };
                Err(context.fault(key, "bad-features", error.to_string()).into())
            }
        }
    }
}

/// Log-mel features: audio of the config's rate, 1 channel → tensor f32 `[bands]` a frame, or `[frames, bands]` a block.
///
/// Feature frame t of a contiguous run stands for the time from `t · hop` to `(t + 1) · hop` samples into it, whatever the
/// length of its window, so that packets of blocks side by side touch exactly. A padded last block lasts as long as the
/// frames in it.
#[derive(Clone, Debug, PartialEq)]
pub struct LogMel {
    /// The settings of the features.
    pub features: LogMelConfig,
    /// Frames of a block; `None`: each frame by itself.
    pub frames: Option<usize>,
    /// Distance of two blocks in frames; `None`: side by side.
    pub frames_hop: Option<usize>,
    /// What becomes of frames that do not fill a block.
    pub tail: Tail,
}

const EXAMPLE: &str = "\
percept: 1
name: features
stages:
  - capture: microphone
  - preprocess: resample
    sample_rate_hz: 16000
  - preprocess: log_mel
    preset: kaldi
    bands: 40
    frames: 100
  - sink: jsonl
    path: \"{stream}.jsonl\"
";

/// The registry's entry.
pub const KIND: Kind =
    Kind::resolved::<LogMelKeys>("log_mel", Role::Preprocess, "log-mel features of sound, as tensors", EXAMPLE);

impl LogMel {
    /// Frame by frame.
    pub fn new(features: LogMelConfig) -> Self {
        LogMel { features, frames: None, frames_hop: None, tail: Tail::default() }
    }

    /// In blocks of `frames` frames, side by side.
    pub fn blocks(mut self, frames: usize) -> Self {
        self.frames = Some(frames);
        self
    }

    /// Frames of a block and the distance of two blocks.
    fn block(&self) -> (usize, usize) {
        let frames = self.frames.unwrap_or(1);
        (frames, self.frames_hop.unwrap_or(frames))
    }

    /// The features and the framer that makes blocks of them.
    fn machine(&self) -> Result<(dsp::LogMel, Framer), DspError> {
        let features = dsp::LogMel::new(self.features.clone())?;
        let ((frames, hop), bands) = (self.block(), features.bands());
        let blocks = Framer::new(frames.saturating_mul(bands), hop.saturating_mul(bands), self.tail.into())?;
        Ok((features, blocks))
    }

    /// The features of a frame of silence.
    fn silence(&self) -> Result<Vec<f32>, DspError> {
        let mut features = dsp::LogMel::new(LogMelConfig { edges: Edges::Valid, ..self.features.clone() })?;
        let mut row = Vec::new();
        features.push(&vec![0.0; features.frame_length()], &mut row);
        Ok(row)
    }
}

impl Blueprint for LogMel {
    fn contract(&self) -> Contract {
        Contract::new().input(AUDIO, Format::ANY_AUDIO).output("features")
    }

    fn outputs(&self, inputs: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        let (rate, channels) = sound::known_sound(inputs);
        let wanted_hz = self.features.sample_rate_hz;
        let found = || inputs.first().unwrap_or(&Format::Any);
        let expected = format!("audio {wanted_hz} Hz, 1 channel");
        let mut faults = Vec::new();
        if channels.is_some_and(|channels| channels != 1) {
            faults.push(sound::fault(AUDIO, &*expected, found(), Some("insert `- preprocess: mono`".into())));
        }
        if rate.is_some_and(|rate| sound::whole_hz(rate) != Some(wanted_hz)) {
            let help = format!("insert `- preprocess: resample` with `sample_rate_hz: {wanted_hz}`");
            faults.push(sound::fault(AUDIO, &*expected, found(), Some(help)));
        }
        if let Err(error) = self.machine() {
            faults.push(sound::fault(AUDIO, expected, found(), Some(error.to_string())));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let bands = self.features.bands;
        let shape = self.frames.map_or(SymbolicShape::known(&[bands]), |frames| SymbolicShape::known(&[frames, bands]));
        Ok(vec![Format::Tensor { dtype: Some(DType::F32), shape }])
    }

    fn build(&self) -> Result<Runnable, StageError> {
        let (features, blocks) = self.machine().map_err(StageError::fatal)?;
        let silence = self.silence().map_err(StageError::fatal)?;
        Ok(Runnable::stage(LogMelStage { kind: self.clone(), features, blocks, silence }))
    }

    fn probe(&self) -> Vec<Fault> {
        let empty = self.machine().map_or(0, |(features, _)| features.filterbank().empty_bands().count());
        if empty == 0 {
            return Vec::new();
        }
        let message = format!(
            "{empty} of the {} mel bands hold no bin of the transform: they are always silent",
            self.features.bands
        );
        vec![Fault::warning("empty-bands", message).help("make `fft_size` larger, or `bands` fewer")]
    }
}

struct LogMelStage {
    kind: LogMel,
    /// Planned once, cloned for each stream.
    features: dsp::LogMel,
    blocks: Framer,
    silence: Vec<f32>,
}

/// A stream being heard.
struct LogMelState {
    sound: Sound,
    features: dsp::LogMel,
    /// Cuts the rows of features, laid end to end, into blocks.
    blocks: Framer,
    rows: Vec<f32>,
    cut: Cut,
}

/// Where the cutting into blocks stands.
struct Cut {
    timeline: Timeline,
    shape: Vec<usize>,
    silence: Vec<f32>,
    /// Samples from a frame to the next.
    hop: u64,
    /// Frames from a block to the next.
    block_hop: u64,
    /// The first frame of the next block of the run.
    next: u64,
    /// Whether the next block is the first behind a gap.
    gap: bool,
}

impl Stage for LogMelStage {
    type State = LogMelState;

    fn open(&mut self, _: &StreamInfo, inputs: &[Format]) -> Result<Opened<LogMelState>, StageError> {
        let (sound, outputs) = Sound::open(&self.kind, inputs)?;
        let (bands, (_, block_hop)) = (self.features.bands(), self.kind.block());
        let cut = Cut {
            // The rate of the settings, which the stream's equals.
            timeline: Timeline::new(Rate::hz(self.kind.features.sample_rate_hz).unwrap_or(sound.rate)),
            shape: self.kind.frames.map_or(vec![bands], |frames| vec![frames, bands]),
            silence: self.silence.clone(),
            hop: self.kind.features.hop as u64,
            block_hop: block_hop as u64,
            next: 0,
            gap: false,
        };
        let (features, blocks) = (self.features.clone(), self.blocks.clone());
        Ok(Opened { state: LogMelState { sound, features, blocks, rows: Vec::new(), cut }, outputs })
    }

    fn process(&mut self, state: &mut LogMelState, input: Input, out: &mut Output) -> Result<(), StageError> {
        let audio = state.sound.contiguous(&input.packet)?;
        if state.cut.timeline.follows_packet(&input.packet) == Continuity::Gap {
            state.finish(out);
            state.cut.gap = true;
        }
        state.cut.timeline.accept_packet(&input.packet, audio.frames());
        state.features.push(audio.samples(), &mut state.rows);
        state.give(out);
        Ok(())
    }

    fn flush(&mut self, state: &mut LogMelState, out: &mut Output) -> Result<(), StageError> {
        state.finish(out);
        Ok(())
    }

    fn hold_back(&self, state: &LogMelState) -> Option<Timestamp> {
        state.cut.timeline.has_begun().then(|| state.cut.start())
    }
}

impl LogMelState {
    /// Emits the blocks that the new rows complete.
    fn give(&mut self, out: &mut Output) {
        let cut = &mut self.cut;
        self.blocks.push(&self.rows, |block| cut.give(block, out));
        self.rows.clear();
    }

    /// Ends the run: gives the frames at its edge, and the padded block, if there is one.
    fn finish(&mut self, out: &mut Output) {
        self.features.finish(&mut self.rows);
        self.give(out);
        let cut = &mut self.cut;
        self.blocks.finish(|block| cut.give(block, out));
        cut.next = 0;
    }
}

impl Cut {
    /// When the next block starts.
    fn start(&self) -> Timestamp {
        self.timeline.time_of(self.next.saturating_mul(self.hop))
    }

    /// Emits a block.
    fn give(&mut self, block: dsp::Frame<'_>, out: &mut Output) {
        let mut rows = block.samples.to_vec();
        for row in rows[block.valid..].chunks_mut(self.silence.len()) {
            row.copy_from_slice(&self.silence);
        }
        let valid = (block.valid / self.silence.len()) as u64;
        let tensor = Tensor::new(self.shape.clone(), rows).expect("a block is as long as the product of its shape");
        let start = self.start();
        let duration = self.timeline.time_of((self.next + valid).saturating_mul(self.hop)) - start;
        self.next += self.block_hop;
        out.emit(0, Draft::new(start, duration, tensor).gap(std::mem::take(&mut self.gap)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::{Trial, faults, hz, outputs, read, times};
    use super::*;
    use crate::media::Packet;

    fn sound(count: usize) -> Vec<f32> {
        (0..count).map(|n| ((n * n) as f32 * 0.001).sin() * 0.3).collect()
    }

    fn values(packets: &[Packet]) -> Vec<f32> {
        packets.iter().flat_map(|packet| packet.payload.tensor().unwrap().as_slice::<f32>().unwrap().to_vec()).collect()
    }

    fn run(kind: &LogMel, pieces: &[&[f32]]) -> (Trial, Vec<Packet>) {
        let mut trial = Trial::open(kind, Format::audio(hz(16_000), Some(1))).unwrap();
        let (mut found, mut at) = (Vec::new(), 0);
        for piece in pieces {
            let start = Rate::hz(16_000).unwrap().time_of(at);
            found.extend(trial.audio(start.as_nanos(), piece, 1, 16_000).unwrap());
            at += piece.len() as u64;
        }
        found.extend(trial.flush());
        (trial, found)
    }

    #[test]
    fn frames_are_those_of_the_signal_function_with_times_by_hop() {
        for config in [LogMelConfig::default(), LogMelConfig::kaldi()] {
            let (samples, mut expected) = (sound(1700), Vec::new());
            let mut features = dsp::LogMel::new(config.clone()).unwrap();
            let frames = features.push(&samples, &mut expected) + features.finish(&mut expected);
            let (trial, found) = run(&LogMel::new(config.clone()), &[&samples[..99], &samples[99..]]);
            assert_eq!((found.len(), values(&found)), (frames, expected));
            assert_eq!(found[0].payload.format(), *trial.format());
            for (index, (start, end)) in times(&found).into_iter().enumerate() {
                assert_eq!((start, end), (10_000_000 * index as i64, 10_000_000 * (index as i64 + 1)));
            }
        }
    }

    #[test]
    fn blocks_hold_the_same_frames_and_the_last_is_padded_with_silence() {
        let samples = sound(1700);
        let single = LogMel::new(LogMelConfig::kaldi());
        let rows = values(&run(&single, &[&samples]).1);
        assert_eq!(rows.len(), 9 * 80);
        let (trial, found) = run(&single.clone().blocks(4), &[&samples]);
        assert_eq!(found[0].payload.format(), *trial.format());
        let values = values(&found);
        assert_eq!(values[..rows.len()], rows);
        let silence = f32::EPSILON.ln();
        assert_eq!(values.len(), 12 * 80);
        assert!(values[rows.len()..].iter().all(|value| (value - silence).abs() < 1e-5));
        assert_eq!(times(&found), [(0, 40_000_000), (40_000_000, 80_000_000), (80_000_000, 90_000_000)]);
        let drop = LogMel { tail: Tail::Drop, ..single.clone().blocks(4) };
        assert_eq!(run(&drop, &[&samples]).1.len(), 2);
        let overlapping = LogMel { frames_hop: Some(2), ..single.blocks(4) };
        let starts: Vec<_> =
            times(&run(&overlapping, &[&samples]).1).iter().map(|(start, _)| start / 1_000_000).collect();
        assert_eq!(starts, [0, 20, 40, 60]);
    }

    #[test]
    fn a_gap_ends_the_run() {
        let kind = LogMel::new(LogMelConfig::default());
        let samples = sound(480);
        let alone = values(&run(&kind, &[&samples]).1);
        let mut trial = Trial::open(&kind, Format::audio(hz(16_000), Some(1))).unwrap();
        let mut found = trial.audio(0, &samples, 1, 16_000).unwrap();
        assert_eq!(trial.hold_back(), Some(20_000_000), "centred frames wait for half a window");
        found.extend(trial.audio(500_000_000, &samples, 1, 16_000).unwrap());
        found.extend(trial.flush());
        assert_eq!(values(&found), [&*alone, &*alone].concat());
        let starts: Vec<_> = times(&found).iter().map(|(start, _)| start / 1_000_000).collect();
        assert_eq!(starts, [0, 10, 20, 30, 500, 510, 520, 530]);
        assert_eq!(found.iter().position(|packet| packet.flags.gap), Some(4));
    }

    #[test]
    fn formats() {
        let kind = LogMel::new(LogMelConfig::default());
        let tensor =
            |sizes: &[usize]| Ok(Format::Tensor { dtype: Some(DType::F32), shape: SymbolicShape::known(sizes) });
        assert_eq!(outputs(&kind, Format::ANY_AUDIO), tensor(&[80]));
        assert_eq!(outputs(&kind.clone().blocks(3000), Format::audio(hz(16_000), Some(1))), tensor(&[3000, 80]));
        let faults = kind.outputs(&[Format::audio(hz(44_100), Some(2))]).unwrap_err();
        let help: Vec<_> = faults.into_iter().filter_map(|fault| fault.help).collect();
        assert_eq!(
            help,
            ["insert `- preprocess: mono`", "insert `- preprocess: resample` with `sample_rate_hz: 16000`"]
        );
        assert!(Trial::open(&kind, Format::audio(hz(44_100), Some(1))).is_err());
    }

    #[test]
    fn a_key_changes_one_setting_of_the_preset() {
        let features = |config: LogMelConfig| Ok(format!("{:?}", LogMel::new(config)));
        let (whisper, kaldi) = (LogMelConfig::default(), LogMelConfig::kaldi());
        for (yaml, expected) in [
            ("{}", whisper.clone()),
            ("{preset: kaldi}", kaldi.clone()),
            ("{window: 512}", LogMelConfig { window_length: 512, fft_size: 512, ..whisper.clone() }),
            ("{preset: kaldi, window: 200}", LogMelConfig { window_length: 200, fft_size: 256, ..kaldi.clone() }),
            ("{pre_emphasis: 0.9}", LogMelConfig { pre_emphasis: PreEmphasis::Stream(0.9), ..whisper.clone() }),
            (
                "{preset: kaldi, pre_emphasis: 0.9}",
                LogMelConfig { pre_emphasis: PreEmphasis::Frame(0.9), ..kaldi.clone() },
            ),
            ("{preset: kaldi, pre_emphasis: 0}", LogMelConfig { pre_emphasis: PreEmphasis::Off, ..kaldi }),
            ("{floor: 0.5, floor_by: add}", LogMelConfig { floor: Floor::Add(0.5), ..whisper.clone() }),
            ("{edges: center_zero}", LogMelConfig { edges: Edges::Center(Padding::Zero), ..whisper.clone() }),
            (
                "{window_function: hamming, symmetry: symmetric, bands: 128, min_hz: 20, max_hz: 7000, mel_scale: htk}",
                LogMelConfig {
                    window: Window::Hamming,
                    symmetry: Symmetry::Symmetric,
                    bands: 128,
                    min_hz: 20.0,
                    max_hz: Some(7000.0),
                    scale: MelScale::Htk,
                    ..whisper.clone()
                },
            ),
            (
                "{mel_norm: none, spectrum: magnitude, log: decibel, remove_dc: true, int16_scale: true, hop: 100}",
                LogMelConfig {
                    norm: MelNorm::None,
                    spectrum: SpectrumKind::Magnitude,
                    log: Log::Decibel,
                    remove_dc: true,
                    int16_scale: true,
                    hop: 100,
                    ..whisper
                },
            ),
        ] {
            assert_eq!(read(&KIND, yaml), features(expected), "{yaml}");
        }
    }

    #[test]
    fn bad_configs() {
        for (yaml, code) in [
            ("{frames_hop: 3}", "missing-key"),
            ("{fft_size: 256}", "bad-features"),
            ("{max_hz: 9000}", "bad-features"),
            ("{min_hz: 9000}", "bad-features"),
            ("{bands: 4096, frames: 65536}", "bad-features"),
        ] {
            assert_eq!(faults(&KIND, yaml), [code], "{yaml}");
        }
        for yaml in ["{bands: 0}", "{hop: 0}", "{preset: nemo}", "{frames: 0}", "{pre_emphasis: 2}", "{log: 10}"] {
            assert_eq!(faults(&KIND, yaml).len(), 1, "{yaml}");
        }
    }

    #[test]
    fn bands_without_a_bin_are_a_warning() {
        assert!(LogMel::new(LogMelConfig::default()).probe().is_empty());
        let narrow = LogMel::new(LogMelConfig { bands: 400, ..LogMelConfig::default() });
        assert!(narrow.probe()[0].message.contains("silent"));
    }
}
