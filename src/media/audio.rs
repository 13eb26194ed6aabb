//! Sound: interleaved samples at a rate.

use std::ops::Range;

use thiserror::Error;

use crate::tensor::Buffer;
use crate::units::Rate;

/// Sound: `frames × channels` interleaved samples, nominally in −1..1, sharing their memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Audio {
    samples: Buffer<f32>,
    channels: u16,
    rate: Rate,
}

/// Samples that do not make whole frames.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{samples} samples do not divide into frames of {channels} channels")]
pub struct AudioError {
    samples: usize,
    channels: u16,
}

impl Audio {
    /// Sound over `samples`, which are not copied. Fails when `channels` is zero or does not divide their number.
    pub fn new(samples: impl Into<Buffer<f32>>, channels: u16, rate: Rate) -> Result<Self, AudioError> {
        let samples = samples.into();
        if channels == 0 || samples.len() % usize::from(channels) != 0 {
            return Err(AudioError { samples: samples.len(), channels });
        }
        Ok(Audio { samples, channels, rate })
    }

    /// One channel of sound over `samples`, which are not copied.
    pub fn mono(samples: impl Into<Buffer<f32>>, rate: Rate) -> Self {
        Audio { samples: samples.into(), channels: 1, rate }
    }

    /// The interleaved samples.
    pub fn samples(&self) -> &Buffer<f32> {
        &self.samples
    }

    /// Samples per frame.
    pub fn channels(&self) -> u16 {
        self.channels
    }

    /// Frames per second.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// The number of frames: samples per channel.
    pub fn frames(&self) -> usize {
        self.samples.len() / usize::from(self.channels)
    }

    /// The frames `range`, sharing memory. `None` when they are not all here.
    pub fn slice(&self, range: Range<usize>) -> Option<Audio> {
        let channels = usize::from(self.channels);
        let samples = range.start.checked_mul(channels)?..range.end.checked_mul(channels)?;
        Some(Audio { samples: self.samples.slice(samples)?, channels: self.channels, rate: self.rate })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_whole() {
        let rate = Rate::hz(8000).unwrap();
        assert!(Audio::new(vec![0.0; 3], 2, rate).is_err());
        assert!(Audio::new(vec![0.0; 3], 0, rate).is_err());
        let audio = Audio::new(vec![0.0, 1.0, 2.0, 3.0], 2, rate).unwrap();
        assert_eq!(audio.frames(), 2);
        assert_eq!(&**audio.slice(1..2).unwrap().samples(), &[2.0, 3.0]);
        assert!(audio.slice(1..3).is_none());
        assert!(audio.slice(0..usize::MAX).is_none());
    }
}
