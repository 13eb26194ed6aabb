//! `frame`: overlapping frames of sound, as tensors.
//!
//! For models that hear raw samples in windows of a fixed length: voice activity, keywords, sound events. A model that
//! wants spectra reads `log_mel` instead, which makes its own frames. Voice gates hear windows side by side (the hop is the
//! window, the default); a shorter hop lets windows overlap, a longer one leaves sound out between them.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

use super::PreprocessError;
use super::sound::{self, AUDIO, Sound};
use crate::config::{Fault, Faults};
use crate::dsp::{self, Framer};
use crate::media::{Format, StreamInfo};
use crate::stage::{
    Blueprint, Contract, ContractFault, Draft, Input, Kind, Opened, Output, ReadContext, Resolve, Role, Runnable,
    Stage, StageError,
};
use crate::stages::timeline::{Continuity, Timeline};
use crate::tensor::{DType, Dim, SymbolicShape, Tensor};
use crate::units::{Rate, Timestamp};

/// What becomes of the end of a run of sound that does not fill a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tail {
    /// It is dropped: every frame is full of sound.
    Drop,
    /// It is filled up with silence, unless all of it was in a frame already: nothing is lost.
    #[default]
    Pad,
}

impl From<Tail> for dsp::Tail {
    fn from(tail: Tail) -> Self {
        match tail {
            Tail::Drop => dsp::Tail::Drop,
            Tail::Pad => dsp::Tail::ZeroPad,
        }
    }
}

/// A length of sound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Length {
    /// In samples of each channel.
    Samples(usize),
    /// In milliseconds, rounded to the nearest sample at the sound's rate.
    Millis(f64),
}

impl Length {
    /// In samples at `rate`; `None` while that is unknown.
    fn samples(self, rate: Option<Rate>) -> Option<usize> {
        match self {
            Length::Samples(samples) => Some(samples),
            // The cast saturates, and NaN becomes 0, which no framer takes.
            Length::Millis(millis) => rate.map(|rate| (millis / 1000.0 * rate.as_hz()).round() as usize),
        }
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Length::Samples(samples) => write!(f, "{samples} samples"),
            Length::Millis(millis) => write!(f, "{millis} ms"),
        }
    }
}

/// The keys of `frame`. The window is given once, in milliseconds or in samples; so is the hop, or it is the window.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FrameConfig {
    /// Length of a frame in milliseconds, rounded to the nearest sample.
    #[serde(default)]
    #[schemars(range(min = 0.001, max = 600_000))]
    pub window_ms: Option<f64>,
    /// Length of a frame in samples of each channel.
    #[serde(default)]
    #[schemars(range(min = 1, max = dsp::MAX_FRAME))]
    pub window: Option<usize>,
    /// Distance of two frames in milliseconds, rounded to the nearest sample. Default: the window.
    #[serde(default)]
    #[schemars(range(min = 0.001, max = 600_000))]
    pub hop_ms: Option<f64>,
    /// Distance of two frames in samples of each channel. Default: the window.
    #[serde(default)]
    #[schemars(range(min = 1, max = dsp::MAX_FRAME))]
    pub hop: Option<usize>,
    /// What becomes of the end of the stream, or of the sound before a gap, that does not fill a frame: `pad` with silence
    /// or `drop`. Default: pad.
    #[serde(default)]
    pub tail: Tail,
}

impl Resolve for FrameConfig {
    fn resolve(self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        let mut faults = Faults::new();
        let mut one_of = |in_ms: (&str, Option<f64>), in_samples: (&str, Option<usize>)| match (in_ms.1, in_samples.1) {
            (Some(_), Some(_)) => {
                let message = format!("`{}` and `{}` both say how long it is", in_ms.0, in_samples.0);
                faults.push(context.fault(in_samples.0, "two-lengths", message).help("keep one of them"));
                None
            }
            (Some(millis), None) => Some(Length::Millis(millis)),
            (None, samples) => samples.map(Length::Samples),
        };
        let window = one_of(("window_ms", self.window_ms), ("window", self.window));
        let hop = one_of(("hop_ms", self.hop_ms), ("hop", self.hop));
        if self.window_ms.is_none() && self.window.is_none() {
            faults.push(
                Fault::error("missing-key", "a frame needs a length")
                    .expected("`window_ms` or `window`")
                    .help("add `window_ms: 32`, say")
                    .at_node(context.node, context.source),
            );
        }
        match window {
            Some(window) if faults.is_empty() => {
                Ok(Box::new(Frame { window, hop: hop.unwrap_or(window), tail: self.tail }))
            }
            _ => Err(faults),
        }
    }
}

/// Overlapping frames of sound: audio of any rate → tensor f32 `[window]`, or `[channels, window]` where there are several.
///
/// Frame k of a contiguous run starts `k · hop` samples into it and lasts `window` samples; a padded last frame lasts as
/// long as the sound in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Length of a frame.
    pub window: Length,
    /// Distance of two frames.
    pub hop: Length,
    /// What becomes of what does not fill a frame.
    pub tail: Tail,
}

const EXAMPLE: &str = "\
percept: 1
name: windows
stages:
  - capture: microphone
  - preprocess: resample
    sample_rate_hz: 16000
  - preprocess: frame
    window_ms: 32
    hop_ms: 16
  - sink: jsonl
    path: \"{stream}.jsonl\"
";

/// The registry's entry.
pub const KIND: Kind =
    Kind::resolved::<FrameConfig>("frame", Role::Preprocess, "overlapping frames of sound, as tensors", EXAMPLE);

impl Frame {
    /// Frames side by side, the last one padded.
    pub fn new(window: Length) -> Self {
        Frame { window, hop: window, tail: Tail::default() }
    }

    /// Overlapping frames, or frames with something left out between them.
    pub fn hop(mut self, hop: Length) -> Self {
        self.hop = hop;
        self
    }

    /// A framer of interleaved samples, or why there is none.
    fn framer(&self, rate: Option<Rate>, channels: u16) -> Result<Option<Framer>, ContractFault> {
        let (Some(window), Some(hop)) = (self.window.samples(rate), self.hop.samples(rate)) else {
            return Ok(None);
        };
        let channels = usize::from(channels);
        let framer = Framer::new(window.saturating_mul(channels), hop.saturating_mul(channels), self.tail.into());
        framer.map(Some).map_err(|error| {
            let expected = format!("audio that frames of {} every {} can be cut from", self.window, self.hop);
            let found = Format::audio(rate, Some(channels as u16));
            sound::fault(AUDIO, expected, found, Some(error.to_string()))
        })
    }
}

impl Blueprint for Frame {
    fn contract(&self) -> Contract {
        Contract::new().input(AUDIO, Format::ANY_AUDIO).output("frames").inline()
    }

    fn outputs(&self, inputs: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        let (rate, channels) = sound::known_sound(inputs);
        self.framer(rate, channels.unwrap_or(1)).map_err(|fault| vec![fault])?;
        let window = self.window.samples(rate).map_or(Dim::Any, Dim::Known);
        let shape = match channels {
            None => SymbolicShape::Unranked,
            Some(1) => SymbolicShape::Ranked(vec![window]),
            Some(channels) => SymbolicShape::Ranked(vec![Dim::Known(channels.into()), window]),
        };
        Ok(vec![Format::Tensor { dtype: Some(DType::F32), shape }])
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(FrameStage(self.clone())))
    }
}

struct FrameStage(Frame);

/// A stream being cut.
struct FrameState {
    sound: Sound,
    /// Of interleaved samples.
    framer: Framer,
    cut: Cut,
}

/// Where the cutting stands.
struct Cut {
    timeline: Timeline,
    channels: usize,
    /// Where the next frame of the run starts, in samples of each channel.
    next: u64,
    /// Whether the next frame is the first behind a gap.
    gap: bool,
}

impl Stage for FrameStage {
    type State = FrameState;

    fn open(&mut self, _: &StreamInfo, inputs: &[Format]) -> Result<Opened<FrameState>, StageError> {
        let (sound, outputs) = Sound::open(&self.0, inputs)?;
        let framer = self.0.framer(Some(sound.rate), sound.channels).map_err(PreprocessError::from)?;
        let framer = framer.expect("at a known rate both lengths are known");
        let timeline = Timeline::new(sound.rate);
        let cut = Cut { timeline, channels: sound.channels.into(), next: 0, gap: false };
        Ok(Opened { state: FrameState { sound, framer, cut }, outputs })
    }

    fn process(&mut self, state: &mut FrameState, input: Input, out: &mut Output) -> Result<(), StageError> {
        let audio = state.sound.contiguous(&input.packet)?;
        if state.cut.timeline.follows_packet(&input.packet) == Continuity::Gap {
            state.finish(out);
            state.cut.gap = true;
        }
        state.cut.timeline.accept_packet(&input.packet, audio.frames());
        let (framer, cut) = (&mut state.framer, &mut state.cut);
        let hop = framer.hop() / cut.channels;
        framer.push(audio.samples(), |frame| cut.give(frame, hop, out));
        Ok(())
    }

    fn flush(&mut self, state: &mut FrameState, out: &mut Output) -> Result<(), StageError> {
        state.finish(out);
        Ok(())
    }

    fn hold_back(&self, state: &FrameState) -> Option<Timestamp> {
        let cut = &state.cut;
        cut.timeline.has_begun().then(|| cut.timeline.time_of(cut.next))
    }
}

impl FrameState {
    /// Ends the run: gives the padded frame, if there is one.
    fn finish(&mut self, out: &mut Output) {
        let (framer, cut) = (&mut self.framer, &mut self.cut);
        framer.finish(|frame| cut.give(frame, 0, out));
        cut.next = 0;
    }
}

impl Cut {
    /// Emits a frame; the next one starts `hop` samples later.
    fn give(&mut self, frame: dsp::Frame<'_>, hop: usize, out: &mut Output) {
        let channels = self.channels;
        let (samples, shape) = if channels == 1 {
            (frame.samples.to_vec(), vec![frame.samples.len()])
        } else {
            let channel = |index| frame.samples.iter().skip(index).step_by(channels).copied();
            ((0..channels).flat_map(channel).collect(), vec![channels, frame.samples.len() / channels])
        };
        let tensor = Tensor::new(shape, samples).expect("the shape was taken from the samples");
        let valid = (frame.valid / channels) as u64;
        let (start, duration) = (self.timeline.time_of(self.next), self.timeline.span(self.next, self.next + valid));
        self.next += hop as u64;
        out.emit(0, Draft::new(start, duration, tensor).gap(std::mem::take(&mut self.gap)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::{Trial, faults, hz, outputs, read, times};
    use super::*;
    use crate::media::Packet;

    fn rows(packets: &[Packet]) -> Vec<Vec<f32>> {
        packets.iter().map(|packet| packet.payload.tensor().unwrap().as_slice().unwrap().to_vec()).collect()
    }

    fn frames(window: usize, hop: usize, tail: Tail) -> Frame {
        Frame { window: Length::Samples(window), hop: Length::Samples(hop), tail }
    }

    #[test]
    fn frames_overlap_and_the_tail_is_padded_or_dropped() {
        // At 1 kHz: six samples, the window, the hop, the tail → the frames and their times in milliseconds.
        type Case = (usize, usize, Tail, &'static [&'static [f32]], &'static [(i64, i64)]);
        let cases: [Case; 5] = [
            (4, 4, Tail::Pad, &[&[1., 2., 3., 4.], &[5., 6., 0., 0.]], &[(0, 4), (4, 6)]),
            (4, 4, Tail::Drop, &[&[1., 2., 3., 4.]], &[(0, 4)]),
            (4, 2, Tail::Pad, &[&[1., 2., 3., 4.], &[3., 4., 5., 6.]], &[(0, 4), (2, 6)]),
            (2, 3, Tail::Pad, &[&[1., 2.], &[4., 5.]], &[(0, 2), (3, 5)]),
            (7, 7, Tail::Pad, &[&[1., 2., 3., 4., 5., 6., 0.]], &[(0, 6)]),
        ];
        for (window, hop, tail, expected, at) in cases {
            let mut trial = Trial::open(&frames(window, hop, tail), Format::audio(hz(1000), Some(1))).unwrap();
            let mut found = trial.audio(0, &[1., 2., 3., 4.], 1, 1000).unwrap();
            found.extend(trial.audio(4_000_000, &[5., 6.], 1, 1000).unwrap());
            found.extend(trial.flush());
            assert_eq!(rows(&found), expected, "{window} {hop} {tail:?}");
            let millis: Vec<_> = times(&found).iter().map(|(from, to)| (from / 1_000_000, to / 1_000_000)).collect();
            assert_eq!(millis, at, "{window} {hop} {tail:?}");
        }
    }

    #[test]
    fn channels_are_rows() {
        let mut trial = Trial::open(&frames(2, 2, Tail::Pad), Format::audio(hz(1000), Some(2))).unwrap();
        let mut found = trial.audio(0, &[1., -1., 2., -2., 3., -3.], 2, 1000).unwrap();
        found.extend(trial.flush());
        assert_eq!(rows(&found), [[1., 2., -1., -2.], [3., 0., -3., 0.]]);
        assert_eq!(found[0].payload.format(), *trial.format());
        assert_eq!(times(&found), [(0, 2_000_000), (2_000_000, 3_000_000)]);
    }

    #[test]
    fn a_gap_ends_the_run() {
        let mut trial = Trial::open(&frames(4, 4, Tail::Pad), Format::audio(hz(1000), Some(1))).unwrap();
        trial.audio(0, &[1., 2., 3.], 1, 1000).unwrap();
        assert_eq!(trial.hold_back(), Some(0));
        let mut found = trial.audio(10_000_000, &[4., 5., 6., 7., 8.], 1, 1000).unwrap();
        assert_eq!(trial.hold_back(), Some(14_000_000));
        found.extend(trial.flush());
        assert_eq!(rows(&found), [[1., 2., 3., 0.], [4., 5., 6., 7.], [8., 0., 0., 0.]]);
        assert_eq!(times(&found), [(0, 3_000_000), (10_000_000, 14_000_000), (14_000_000, 15_000_000)]);
        assert_eq!(found.iter().map(|packet| packet.flags.gap).collect::<Vec<_>>(), [false, true, false]);
    }

    #[test]
    fn formats() {
        let tensor = |shape| Ok(Format::Tensor { dtype: Some(DType::F32), shape });
        let millis = Frame::new(Length::Millis(25.0)).hop(Length::Millis(10.0));
        for (kind, format, expected) in [
            (&millis, Format::audio(hz(16_000), Some(1)), SymbolicShape::known(&[400])),
            (&millis, Format::audio(hz(11_025), Some(2)), SymbolicShape::known(&[2, 276])),
            (&millis, Format::audio(None, Some(1)), SymbolicShape::Ranked(vec![Dim::Any])),
            (&millis, Format::ANY_AUDIO, SymbolicShape::Unranked),
            (&frames(512, 1, Tail::Pad), Format::audio(None, Some(1)), SymbolicShape::known(&[512])),
        ] {
            assert_eq!(outputs(kind, format), tensor(expected));
        }
        for (kind, channels) in [
            (Frame::new(Length::Millis(0.001)), 1),
            (Frame::new(Length::Millis(f64::NAN)), 1),
            (frames(1, 0, Tail::Pad), 1),
            (frames(dsp::MAX_FRAME, 1, Tail::Pad), 2),
            (frames(usize::MAX, 1, Tail::Pad), 2),
        ] {
            let format = Format::audio(hz(16_000), Some(channels));
            assert!(outputs(&kind, format.clone()).unwrap_err().help.is_some(), "{kind:?}");
            assert!(Trial::open(&kind, format).is_err());
        }
    }

    #[test]
    fn configs() {
        assert_eq!(
            read(&KIND, "{window_ms: 32}"),
            Ok("Frame { window: Millis(32.0), hop: Millis(32.0), tail: Pad }".into())
        );
        assert_eq!(
            read(&KIND, "{window: 512, hop_ms: 10, tail: drop}"),
            Ok("Frame { window: Samples(512), hop: Millis(10.0), tail: Drop }".into())
        );
        for (yaml, codes) in [
            ("{}", &["missing-key"][..]),
            ("{hop: 3}", &["missing-key"]),
            ("{window: 3, window_ms: 1, hop: 3, hop_ms: 1}", &["two-lengths", "two-lengths"]),
        ] {
            assert_eq!(faults(&KIND, yaml), codes, "{yaml}");
        }
        for yaml in [
            "{window: 0}",
            "{window_ms: 0}",
            "{window_ms: .nan}",
            "{window: 1, hop: 0}",
            "{window: 9999999}",
            "{windo: 1}",
        ] {
            assert_eq!(faults(&KIND, yaml).len(), 1, "{yaml}");
        }
    }
}
