//! `mono`: one channel of sound out of several.
//!
//! Most models of speech and sound hear one channel. Put it behind a capture that may have more, before `resample`, which
//! then has less to do. The mean is right for microphones that stand together; where each channel is a speaker of their
//! own, pick one with `channel`. Sound of one channel passes through without a copy.

use schemars::JsonSchema;
use serde::Deserialize;

use super::PreprocessError;
use super::sound::{self, AUDIO, Sound};
use crate::dsp;
use crate::media::{Audio, Format, StreamInfo};
use crate::stage::{
    Blueprint, Contract, ContractFault, Input, Kind, Opened, Output, Role, Runnable, Stage, StageError,
};

/// One channel of sound: audio of any rate and number of channels → audio of the same rate, 1 channel, packet by packet.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mono {
    /// The channel to keep, counted from 0. Left out: the mean of all channels.
    #[serde(default)]
    pub channel: Option<u16>,
}

const EXAMPLE: &str = "\
percept: 1
name: one-channel
stages:
  - capture: microphone
    channels: 2
  - preprocess: mono
    channel: 0
  - sink: jsonl
    path: \"{stream}.jsonl\"
";

/// The registry's entry.
pub const KIND: Kind = Kind::plain::<Mono>(
    "mono",
    Role::Preprocess,
    "one channel of sound out of several: their mean, or one of them",
    EXAMPLE,
);

impl Blueprint for Mono {
    fn contract(&self) -> Contract {
        Contract::new().input(AUDIO, Format::ANY_AUDIO).output(AUDIO).inline()
    }

    fn outputs(&self, inputs: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        let (rate, channels) = sound::known_sound(inputs);
        if let (Some(channel), Some(channels)) = (self.channel, channels)
            && channel >= channels
        {
            let help = match channels {
                1 => "leave `channel` out: there is only one".to_owned(),
                _ => format!("set `channel` to 0 up to {}, or leave it out for the mean", channels - 1),
            };
            let expected = format!("audio with a channel {channel}, counted from 0");
            return Err(vec![sound::fault(AUDIO, expected, format!("{channels} channels"), Some(help))]);
        }
        Ok(vec![Format::audio(rate, Some(1))])
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(MonoStage(self.clone())))
    }
}

struct MonoStage(Mono);

impl Stage for MonoStage {
    type State = Sound;

    fn open(&mut self, _: &StreamInfo, inputs: &[Format]) -> Result<Opened<Sound>, StageError> {
        let (state, outputs) = Sound::open(&self.0, inputs)?;
        Ok(Opened { state, outputs })
    }

    fn process(&mut self, state: &mut Sound, input: Input, out: &mut Output) -> Result<(), StageError> {
        let audio = state.of(&input.packet)?;
        let channels = usize::from(state.channels);
        let mono = if channels == 1 {
            audio.clone()
        } else {
            let mut samples = Vec::with_capacity(audio.frames());
            match self.0.channel {
                None => dsp::downmix(audio.samples(), channels, &mut samples),
                Some(channel) => dsp::pick_channel(audio.samples(), channels, channel.into(), &mut samples),
            }
            .map_err(PreprocessError::from)?;
            Audio::mono(samples, state.rate)
        };
        out.emit(0, sound::mirrored(&input.packet, mono));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::{Trial, hz, outputs};
    use super::*;

    #[test]
    fn channels_become_one() {
        // name, channels, the one to keep, samples, expected
        type Case = (&'static str, u16, Option<u16>, &'static [f32], &'static [f32]);
        let cases: [Case; 5] = [
            ("mean", 2, None, &[1.0, 0.0, -1.0, -0.5], &[0.5, -0.75]),
            ("picked", 2, Some(1), &[1.0, 0.25, -1.0, -0.5], &[0.25, -0.5]),
            ("one stays", 1, None, &[0.1, 0.2], &[0.1, 0.2]),
            ("the only one", 1, Some(0), &[0.1, 0.2], &[0.1, 0.2]),
            ("nothing", 3, None, &[], &[]),
        ];
        for (name, channels, channel, samples, expected) in cases {
            let mut trial = Trial::open(&Mono { channel }, Format::audio(hz(8000), Some(channels))).unwrap();
            let found = trial.audio(250_000, samples, channels, 8000).unwrap();
            assert_eq!(found.len(), 1, "{name}");
            assert_eq!(found[0].payload.format(), Format::audio(hz(8000), Some(1)), "{name}");
            assert_eq!(&**found[0].payload.audio().unwrap().samples(), expected, "{name}");
            assert_eq!(found[0].start.as_nanos(), 250_000, "{name}");
            assert_eq!(found[0].duration.as_nanos(), 125_000 * expected.len() as i64, "{name}");
        }
    }

    #[test]
    fn one_channel_is_not_copied() {
        let mut trial = Trial::open(&Mono::default(), Format::audio(hz(8000), Some(1))).unwrap();
        let packet = trial.packet(0, &[0.5; 8], 1, 8000);
        let before = packet.payload.audio().unwrap().samples().as_ptr();
        let found = trial.push(packet).unwrap();
        assert_eq!(found[0].payload.audio().unwrap().samples().as_ptr(), before);
    }

    #[test]
    fn marks_are_kept() {
        let mut trial = Trial::open(&Mono::default(), Format::audio(hz(8000), Some(2))).unwrap();
        let mut packet = trial.packet(0, &[0.5; 8], 2, 8000);
        (packet.flags.partial, packet.flags.gap, packet.revision, packet.weights) = (true, true, 3, 7);
        let found = trial.push(packet).unwrap();
        assert!(found[0].flags.partial && found[0].flags.gap);
        assert_eq!((found[0].revision, found[0].weights), (3, 7));
    }

    #[test]
    fn formats() {
        let mean = Mono::default();
        assert_eq!(outputs(&mean, Format::ANY_AUDIO), Ok(Format::audio(None, Some(1))));
        assert_eq!(outputs(&mean, Format::audio(hz(44_100), Some(6))), Ok(Format::audio(hz(44_100), Some(1))));
        let second = Mono { channel: Some(1) };
        assert_eq!(outputs(&second, Format::audio(hz(44_100), None)), Ok(Format::audio(hz(44_100), Some(1))));
        for channels in [1, 2] {
            let fault = outputs(&Mono { channel: Some(channels) }, Format::audio(None, Some(channels))).unwrap_err();
            assert!(fault.help.unwrap().contains("channel"));
        }
    }

    #[test]
    fn bad_input_is_an_error() {
        assert!(Trial::open(&Mono::default(), Format::ANY_AUDIO).is_err());
        assert!(Trial::open(&Mono { channel: Some(2) }, Format::audio(hz(8000), Some(2))).is_err());
        let mut trial = Trial::open(&Mono::default(), Format::audio(hz(8000), Some(2))).unwrap();
        for (samples, channels, rate) in [(3, 1, 8000), (3, 3, 8000), (2, 2, 8001)] {
            let error = trial.audio(0, &vec![0.0; samples], channels, rate).unwrap_err();
            assert!(matches!(error, StageError::Skip(_)), "{error:?}");
            assert!(error.to_string().contains("reopen"), "{error}");
        }
    }
}
