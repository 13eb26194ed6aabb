//! Samples prepared by the stages that prepare a stream.

use std::sync::{Arc, Mutex, PoisonError};

use super::{DataError, DataSet, Raw, Sample, Tokens};
use crate::media::{Audio, Packet, Payload, StreamId};
use crate::pipeline::{Chain, ChainRun};
use crate::tensor::Tensor;
use crate::units::{TimeSpan, Timestamp};

/// A data set whose samples go through a chain of stages, each as a stream of its own, as in a pipeline.
///
/// What comes out at the end is the input:
///
/// * tensors: there must be one, as a model is run on one packet at a time;
/// * sound: all of it, `[samples]`, or `[channels, samples]` when there are several channels or the model takes a
///   dimension for them.
pub struct Preprocessed {
    data: Arc<dyn DataSet>,
    chain: Chain,
    channel_axis: bool,
    /// Stages that are built and wait for their next stream.
    idle: Mutex<Vec<ChainRun>>,
}

/// Most stages that wait; threads beyond that build their own.
const MAX_IDLE: usize = 64;

impl Preprocessed {
    /// The samples of `data` through `chain`. With `channel_axis` sound of one channel is `[1, samples]`.
    pub fn new(data: Arc<dyn DataSet>, chain: Chain, channel_axis: bool) -> Self {
        Preprocessed { data, chain, channel_axis, idle: Mutex::new(Vec::new()) }
    }

    /// Stages that are ready for a stream of the payload's format.
    fn run(&self, name: &str, payload: &Payload) -> Result<ChainRun, DataError> {
        let format = payload.format();
        let refused = |source| DataError::Preprocess { name: name.to_owned(), source };
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let place = idle.iter().position(|run| *run.input() == format);
        let found = place.map(|place| idle.swap_remove(place));
        drop(idle);
        match found {
            Some(mut run) => run.restart().map(|()| run).map_err(refused),
            None => self.chain.open(name, format).map_err(refused),
        }
    }

    fn prepared(&self, name: &str, payload: Payload) -> Result<Tensor, DataError> {
        let mut run = self.run(name, &payload)?;
        let duration = match &payload {
            Payload::Audio(audio) => audio.rate().span(0, audio.frames() as u64),
            _ => TimeSpan::ZERO,
        };
        let packet = Packet::new(StreamId(0), Timestamp::ZERO, duration, payload);
        let refused = |source| DataError::Preprocess { name: name.to_owned(), source };
        let mut packets = run.push(packet).map_err(refused)?;
        packets.extend(run.flush().map_err(refused)?);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(run);
        }
        drop(idle);
        self.joined(name, packets)
    }

    /// The input that these packets make.
    fn joined(&self, name: &str, packets: Vec<Packet>) -> Result<Tensor, DataError> {
        let fault = |found: String, help| DataError::Packets { name: name.to_owned(), found, help };
        let packets: Vec<Packet> = packets.into_iter().filter(|packet| !packet.flags.partial).collect();
        let sound: Option<Vec<&Audio>> = packets.iter().map(|packet| packet.payload.audio().ok()).collect();
        match (sound, packets.as_slice()) {
            (_, []) => {
                Err(fault("none".into(), "is the sample too short for them? `tail: pad` fills up the last frames"))
            }
            (Some(sound), _) => self.sound(&sound),
            (None, [packet]) => match &packet.payload {
                Payload::Tensor(tensor) => Ok(tensor.clone()),
                other => Err(fault(other.format().to_string(), "end them with one that gives tensors or sound")),
            },
            (None, several) => Err(fault(
                several.len().to_string(),
                "let them give one for the whole sample (`frames` of `log_mel`, `window_ms` of `frame`), or set `seconds`",
            )),
        }
    }

    /// Sound joined, channel after channel.
    fn sound(&self, pieces: &[&Audio]) -> Result<Tensor, DataError> {
        let channels = pieces.first().map_or(1, |audio| usize::from(audio.channels()));
        let frames: usize = pieces.iter().map(|audio| audio.frames()).sum();
        let mut samples: Vec<f32> = Vec::with_capacity(frames * channels);
        for channel in 0..channels {
            for audio in pieces {
                samples.extend(audio.samples().iter().skip(channel).step_by(channels));
            }
        }
        let shape = if channels == 1 && !self.channel_axis { vec![frames] } else { vec![channels, frames] };
        Ok(Tensor::new(shape, samples)?)
    }
}

impl DataSet for Preprocessed {
    fn len(&self) -> usize {
        self.data.len()
    }

    fn sample(&self, index: usize) -> Result<Sample, DataError> {
        let Raw { name, payload, target } = self.data.raw(index)?;
        Ok(Sample { input: self.prepared(&name, payload)?, target })
    }

    fn target(&self, index: usize) -> Result<Tensor, DataError> {
        self.data.target(index)
    }

    fn raw(&self, index: usize) -> Result<Raw, DataError> {
        self.data.raw(index)
    }

    fn labels(&self) -> &[String] {
        self.data.labels()
    }

    fn vocabulary(&self) -> &[String] {
        self.data.vocabulary()
    }

    fn tokens(&self) -> Option<Tokens> {
        self.data.tokens()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{floats, open};
    use super::super::{Memory, format_named};
    use super::*;
    use crate::codec::{WavSampleFormat, WavWriter};
    use crate::config::{Source, parse};
    use crate::stage::{Role, Settings};
    use crate::stages::REGISTRY;
    use crate::units::Rate;

    fn chain(yaml: &str) -> Chain {
        let source = Source::new("recipe.yaml", yaml);
        let node = parse(&source).unwrap();
        Chain::read(&node, &source, "preprocess", Role::Preprocess, &REGISTRY, &Settings::default())
    }

    /// A folder with recordings of one class: a tone, half as loud on the second channel.
    fn recordings(files: &[(u32, u16, usize)]) -> (tempfile::TempDir, Arc<dyn DataSet>) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        for (number, (hz, channels, frames)) in files.iter().enumerate() {
            let path = folder.path().join(format!("a/{number}.wav"));
            let mut writer = WavWriter::create(&path, Rate::hz(*hz).unwrap(), *channels, WavSampleFormat::F32).unwrap();
            let sample = |frame: usize, channel: u16| (frame as f32 * 0.3).sin() / f32::from(channel + 1);
            let samples: Vec<f32> =
                (0..*frames).flat_map(|frame| (0..*channels).map(move |channel| sample(frame, channel))).collect();
            writer.write(&samples).unwrap();
            writer.finalize().unwrap();
        }
        let data = open(format_named("wav_folder").unwrap(), "path: .", folder.path()).unwrap();
        (folder, data.into())
    }

    #[test]
    fn recordings_become_what_the_stages_make_of_them() {
        let (_folder, data) = recordings(&[(16_000, 1, 4000), (8000, 2, 2000), (16_000, 1, 4000)]);
        // The stages, whether a dimension is for channels, and the shapes of all inputs.
        for (stages, channel_axis, shapes) in [
            ("[]", false, [&[4000][..], &[2, 2000], &[4000]]),
            ("[]", true, [&[1, 4000], &[2, 2000], &[1, 4000]]),
            ("[{preprocess: mono}, {preprocess: resample, sample_rate_hz: 8000}]", false, [&[2000], &[2000], &[2000]]),
            (
                "[{preprocess: mono}, {preprocess: resample, sample_rate_hz: 16000}, \
                 {preprocess: log_mel, preset: kaldi, bands: 20, frames: 30}]",
                false,
                [&[30, 20], &[30, 20], &[30, 20]],
            ),
        ] {
            let data = Preprocessed::new(data.clone(), chain(stages), channel_axis);
            let samples: Vec<Sample> = (0..3).map(|index| data.sample(index).unwrap()).collect();
            let found: Vec<&[usize]> = samples.iter().map(|sample| sample.input.shape()).collect();
            assert_eq!(found, shapes, "{stages}");
            // Stages that are used again remember nothing.
            assert_eq!(data.sample(0).unwrap(), samples[0]);
            assert_eq!(samples[2].input, samples[0].input);
            assert!(data.idle.lock().unwrap().len() <= 2);
            assert_eq!((data.len(), data.labels()), (3, &["a".to_owned()][..]));
            assert_eq!(data.target(1).unwrap(), samples[1].target);
        }
        let planar = Preprocessed::new(data, chain("[]"), false).sample(1).unwrap().input;
        let samples = floats(&planar);
        assert!((0..2000).all(|frame| samples[frame] == 2.0 * samples[2000 + frame]));
    }

    #[test]
    fn tensors_are_prepared_too() {
        let rows = |values: Vec<f32>| Sample { input: Tensor::from_vec(values), target: Tensor::scalar(1i64) };
        let data: Arc<dyn DataSet> = Arc::new(Memory::new(vec![rows(vec![1.0, 5.0]), rows(vec![3.0, 1.0])]));
        let list = chain("[{preprocess: normalize, mean: [1, 1], std: [2, 4]}]");
        let data = Preprocessed::new(data, list, false);
        assert_eq!(floats(&data.sample(0).unwrap().input), [0.0, 1.0]);
        assert_eq!(floats(&data.sample(1).unwrap().input), [1.0, 0.0]);
    }

    #[test]
    fn bad_samples_are_named() {
        let (_folder, data) = recordings(&[(44_100, 1, 4000), (16_000, 1, 9000), (16_000, 1, 100)]);
        let list = "[{preprocess: log_mel, preset: kaldi, frames: 20, tail: drop}]";
        let data = Preprocessed::new(data, chain(list), false);
        for (index, says) in [
            (0, "insert `- preprocess: resample` with `sample_rate_hz: 16000`"),
            (1, "expected one packet from the preprocess stages, found 2; let them give one"),
            (2, "expected one packet from the preprocess stages, found none; is the sample too short"),
        ] {
            let error = data.sample(index).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains(&format!("a/{index}.wav: ")), "{error}");
        }
        assert!(matches!(data.sample(3), Err(DataError::Index { index: 3, len: 3 })));
    }
}
