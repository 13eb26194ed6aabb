//! `resample`: sound at another sample rate.
//!
//! A model hears at the rate it was trained with; put this where a capture has another. The filter is
//! [`dsp::Resampler`](crate::dsp::Resampler): flat up to 7.5 kHz and silent above 8 kHz on the way to 16 kHz, with a delay
//! of 24 to 30 ms from the common rates, which shows in when sound comes out but not in its times. Sound that already has
//! the rate passes through as it is, without a copy, so the stage can stand in any pipeline.

use schemars::JsonSchema;
use serde::Deserialize;

use super::PreprocessError;
use super::sound::{self, AUDIO, Sound};
use crate::dsp::{MAX_SAMPLE_RATE_HZ, Resampler};
use crate::media::{Audio, Format, StreamInfo};
use crate::stage::{
    Blueprint, Contract, ContractFault, Draft, Input, Kind, Opened, Output, Role, Runnable, Stage, StageError,
};
use crate::stages::timeline::{Continuity, Timeline};
use crate::units::{Rate, Timestamp};

/// Sound at another rate: audio of any whole rate and number of channels → audio of `sample_rate_hz`, as many channels.
///
/// n frames of a contiguous run give ⌈n · `sample_rate_hz` / rate⌉ frames, and the run keeps its start.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resample {
    /// The rate of the output, in hertz: 1 to 768000. Speech models mostly want 16000.
    #[schemars(range(min = 1, max = MAX_SAMPLE_RATE_HZ))]
    pub sample_rate_hz: u32,
}

const EXAMPLE: &str = "\
percept: 1
name: sixteen-kilohertz
stages:
  - capture: microphone
  - preprocess: resample
    sample_rate_hz: 16000
  - sink: jsonl
    path: \"{stream}.jsonl\"
";

/// The registry's entry.
pub const KIND: Kind = Kind::plain::<Resample>("resample", Role::Preprocess, "sound at another sample rate", EXAMPLE);

impl Resample {
    /// The output's rate.
    fn rate(&self) -> Result<Rate, ContractFault> {
        Rate::hz(self.sample_rate_hz)
            .map_err(|error| sound::fault(AUDIO, "a `sample_rate_hz` of 1 or more", error, None))
    }

    /// A resampler from `rate`, or why there is none.
    fn resampler(&self, rate: Rate, channels: u16) -> Result<Resampler, ContractFault> {
        let Some(from_hz) = sound::whole_hz(rate) else {
            let help = Some("let the capture give a whole number of samples a second".into());
            return Err(sound::fault(AUDIO, "audio at a whole number of hertz", rate, help));
        };
        Resampler::new(from_hz, self.sample_rate_hz, channels.into()).map_err(|error| {
            let expected = format!("audio that can be resampled to {} Hz", self.sample_rate_hz);
            sound::fault(AUDIO, expected, Format::audio(Some(rate), Some(channels)), Some(error.to_string()))
        })
    }
}

impl Blueprint for Resample {
    fn contract(&self) -> Contract {
        Contract::new().input(AUDIO, Format::ANY_AUDIO).output(AUDIO)
    }

    fn outputs(&self, inputs: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        let to = self.rate().map_err(|fault| vec![fault])?;
        let (from, channels) = sound::known_sound(inputs);
        if let Some(from) = from {
            self.resampler(from, channels.unwrap_or(1)).map_err(|fault| vec![fault])?;
        }
        Ok(vec![Format::audio(Some(to), channels)])
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(ResampleStage(self.clone())))
    }
}

struct ResampleStage(Resample);

/// A stream on its way through the filter.
struct ResampleState {
    sound: Sound,
    to: Rate,
    /// `None` where the rates are equal: packets pass.
    resampler: Option<Resampler>,
    timeline: Timeline,
    /// Frames of the run that came out.
    given: u64,
    /// Whether the next output is the first behind a gap.
    gap: bool,
}

impl Stage for ResampleStage {
    type State = ResampleState;

    fn open(&mut self, _: &StreamInfo, inputs: &[Format]) -> Result<Opened<ResampleState>, StageError> {
        let (sound, outputs) = Sound::open(&self.0, inputs)?;
        let to = self.0.rate().map_err(PreprocessError::from)?;
        let resampler = self.0.resampler(sound.rate, sound.channels).map_err(PreprocessError::from)?;
        let resampler = (resampler.from_hz() != resampler.to_hz()).then_some(resampler);
        let timeline = Timeline::new(sound.rate);
        Ok(Opened { state: ResampleState { sound, to, resampler, timeline, given: 0, gap: false }, outputs })
    }

    fn process(&mut self, state: &mut ResampleState, input: Input, out: &mut Output) -> Result<(), StageError> {
        let packet = &input.packet;
        if state.resampler.is_none() {
            let audio = state.sound.of(packet)?.clone();
            out.emit(0, sound::mirrored(packet, audio));
            return Ok(());
        }
        let audio = state.sound.contiguous(packet)?;
        if state.timeline.follows_packet(packet) == Continuity::Gap {
            state.finish(out)?;
            state.gap = true;
        }
        state.timeline.accept_packet(packet, audio.frames());
        let mut samples = Vec::new();
        if let Some(resampler) = &mut state.resampler {
            resampler.push(audio.samples(), &mut samples).map_err(PreprocessError::from)?;
        }
        state.give(samples, out)
    }

    fn flush(&mut self, state: &mut ResampleState, out: &mut Output) -> Result<(), StageError> {
        state.finish(out)
    }

    fn hold_back(&self, state: &ResampleState) -> Option<Timestamp> {
        (state.resampler.is_some() && state.timeline.has_begun()).then(|| state.time_of(state.given))
    }
}

impl ResampleState {
    /// When frame `index` of the run's output starts.
    fn time_of(&self, index: u64) -> Timestamp {
        self.timeline.time_at(self.to, index)
    }

    /// Emits the next frames of the run.
    fn give(&mut self, samples: Vec<f32>, out: &mut Output) -> Result<(), StageError> {
        if samples.is_empty() {
            return Ok(());
        }
        let audio = Audio::new(samples, self.sound.channels, self.to).map_err(StageError::reset_stream)?;
        let start = self.time_of(self.given);
        self.given += audio.frames() as u64;
        let duration = self.time_of(self.given) - start;
        out.emit(0, Draft::new(start, duration, audio).gap(std::mem::take(&mut self.gap)));
        Ok(())
    }

    /// Ends the run: gives what the filter still holds.
    fn finish(&mut self, out: &mut Output) -> Result<(), StageError> {
        let mut samples = Vec::new();
        if let Some(resampler) = &mut self.resampler {
            resampler.finish(&mut samples);
        }
        self.give(samples, out)?;
        self.given = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::{Trial, hz, outputs, times};
    use super::*;
    use crate::media::Packet;

    const TO_16K: Resample = Resample { sample_rate_hz: 16_000 };

    fn samples(packets: &[Packet]) -> Vec<f32> {
        packets.iter().flat_map(|packet| packet.payload.audio().unwrap().samples().to_vec()).collect()
    }

    #[test]
    fn length_and_times_come_from_counts() {
        for (from, channels, frames) in [(48_000, 1, 4801), (44_100, 2, 10_000), (8000, 3, 999), (16_000, 2, 77)] {
            let start = 12_345;
            let mut trial = Trial::open(&TO_16K, Format::audio(hz(from), Some(channels))).unwrap();
            assert_eq!(*trial.format(), Format::audio(hz(16_000), Some(channels)));
            let input = vec![0.25; frames * usize::from(channels)];
            let mut found = trial.audio(start, &input, channels, from).unwrap();
            found.extend(trial.flush());
            let expected = (frames as u64 * 16_000).div_ceil(from.into());
            assert_eq!(samples(&found).len() as u64, expected * u64::from(channels), "{from}");
            let mut at = start;
            for (from, to) in times(&found) {
                assert_eq!(from, at, "packets touch");
                at = to;
            }
            assert_eq!(at, start + Rate::hz(16_000).unwrap().time_of(expected).as_nanos(), "{from}");
        }
    }

    #[test]
    fn equal_rates_pass_without_a_copy() {
        let mut trial = Trial::open(&TO_16K, Format::audio(hz(16_000), Some(1))).unwrap();
        let mut packet = trial.packet(5, &[0.5; 100], 1, 16_000);
        packet.flags.partial = true;
        let before = packet.payload.audio().unwrap().samples().as_ptr();
        let found = trial.push(packet).unwrap();
        assert_eq!(found[0].payload.audio().unwrap().samples().as_ptr(), before);
        assert!(found[0].flags.partial);
        assert_eq!(times(&found), [(5, 6_250_005)]);
        assert!(trial.flush().is_empty() && trial.hold_back().is_none());
    }

    #[test]
    fn a_gap_flushes_and_begins_anew() {
        let run = |trial: &mut Trial, start| {
            let mut found = trial.audio(start, &[0.5; 4800], 1, 48_000).unwrap();
            found.extend(trial.flush());
            found
        };
        let open = || Trial::open(&TO_16K, Format::audio(hz(48_000), Some(1))).unwrap();
        let (alone, second_start) = (run(&mut open(), 0), 150_000_000);
        let mut trial = open();
        let mut found = trial.audio(0, &[0.5; 4800], 1, 48_000).unwrap();
        assert!(trial.hold_back().unwrap() < 100_000_000);
        found.extend(run(&mut trial, second_start));
        assert_eq!(samples(&found), [samples(&alone), samples(&alone)].concat());
        let gaps: Vec<_> =
            found.iter().filter(|packet| packet.flags.gap).map(|packet| packet.start.as_nanos()).collect();
        assert_eq!(gaps, [second_start]);
        assert_eq!(found.last().unwrap().end().as_nanos(), second_start + 100_000_000);
    }

    #[test]
    fn what_is_refused() {
        for (from, channels, to, what) in [
            (Rate::hz(16_000), 1, 0, "sample_rate_hz"),
            (Rate::new(30_000, 1001), 1, 16_000, "whole"),
            (Rate::hz(767_999), 1000, 768_000, "blocks"),
            (Rate::hz(1_000_000), 1, 16_000, "768000"),
        ] {
            let kind = Resample { sample_rate_hz: to };
            let format = Format::audio(Some(from.unwrap()), Some(channels));
            let fault = outputs(&kind, format.clone()).unwrap_err();
            assert!(format!("{fault:?}").contains(what), "{fault:?}");
            assert!(Trial::open(&kind, format).is_err());
        }
        assert_eq!(outputs(&TO_16K, Format::ANY_AUDIO), Ok(Format::audio(hz(16_000), None)));
    }

    #[test]
    fn a_partial_result_is_not_contiguous_sound() {
        let mut trial = Trial::open(&TO_16K, Format::audio(hz(48_000), Some(1))).unwrap();
        let mut packet = trial.packet(0, &[0.5; 100], 1, 48_000);
        packet.flags.partial = true;
        let error = trial.push(packet).unwrap_err();
        assert!(matches!(error, StageError::Skip(_)) && error.to_string().contains("partial"), "{error}");
    }
}
