//! What a signal function refuses.

use thiserror::Error;

/// A setting or an input that a signal function cannot work with.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum DspError {
    /// A count or a rate outside of what is supported.
    #[error("{what} must be from {min} to {max}, found {found}")]
    OutOfRange {
        /// The setting, with its unit.
        what: &'static str,
        /// The smallest value that is accepted.
        min: u64,
        /// The largest value that is accepted.
        max: u64,
        /// The value given.
        found: u64,
    },
    /// A real-valued setting that is not a number or has no meaning.
    #[error("{what} must be {expected}, found {found}")]
    BadValue {
        /// The setting, with its unit.
        what: &'static str,
        /// What would be accepted.
        expected: &'static str,
        /// The value given.
        found: f64,
    },
    /// A buffer whose size does not fit.
    #[error("{what} must hold {expected} values, found {found}")]
    WrongLength {
        /// The buffer.
        what: &'static str,
        /// The number of values that it must hold.
        expected: usize,
        /// The number of values that it holds.
        found: usize,
    },
    /// Interleaved samples that do not divide into whole frames of one sample per channel.
    #[error("{samples} interleaved samples are not whole frames of {channels} channels: pass a multiple of {channels}")]
    PartialFrame {
        /// The number of samples given.
        samples: usize,
        /// The number of channels.
        channels: usize,
    },
    /// A channel that is not there.
    #[error("there is no channel {channel}: the sound has {channels}, counted from 0")]
    NoSuchChannel {
        /// The channel asked for.
        channel: usize,
        /// The number of channels.
        channels: usize,
    },
    /// A frequency range that is empty or reaches beyond half the sample rate.
    #[error(
        "the mel bands must lie within 0 to {nyquist_hz} Hz (half the sample rate), lowest below highest; \
         found {min_hz} to {max_hz} Hz"
    )]
    FrequencyRange {
        /// The lower edge of the lowest band.
        min_hz: f64,
        /// The upper edge of the highest band.
        max_hz: f64,
        /// Half the sample rate.
        nyquist_hz: f64,
    },
    /// A window that does not fit into its transform.
    #[error("a window of {window} samples does not fit an FFT of {fft_size}: make fft_size at least {window}")]
    WindowExceedsFft {
        /// The length of the window.
        window: usize,
        /// The length of the transform.
        fft_size: usize,
    },
    /// Two rates whose conversion needs a filter that is too long to be of use.
    #[error(
        "resampling {from_hz} Hz to {to_hz} Hz ({channels} channels) works in blocks of {block} frames, more than \
         {max}: go through a rate that shares a larger divisor with both"
    )]
    RatesTooFarApart {
        /// The rate of the input.
        from_hz: u32,
        /// The rate of the output.
        to_hz: u32,
        /// The number of channels.
        channels: usize,
        /// The block that the conversion would need, in frames of the higher rate.
        block: u64,
        /// The longest block for this number of channels.
        max: u64,
    },
}

/// `found` when it lies in `min..=max`.
pub(super) fn in_range(what: &'static str, found: usize, min: usize, max: usize) -> Result<usize, DspError> {
    if (min..=max).contains(&found) {
        Ok(found)
    } else {
        Err(DspError::OutOfRange { what, min: min as u64, max: max as u64, found: found as u64 })
    }
}

/// The sample rate when it is one that is supported.
pub(super) fn sample_rate(what: &'static str, hz: u32) -> Result<u32, DspError> {
    let max = super::MAX_SAMPLE_RATE_HZ;
    if (1..=max).contains(&hz) {
        Ok(hz)
    } else {
        Err(DspError::OutOfRange { what, min: 1, max: max.into(), found: hz.into() })
    }
}

/// The number of frames in `samples` interleaved samples.
pub(super) fn whole_frames(samples: usize, channels: usize) -> Result<usize, DspError> {
    in_range("the number of channels", channels, 1, super::MAX_CHANNELS)?;
    if samples.is_multiple_of(channels) {
        Ok(samples / channels)
    } else {
        Err(DspError::PartialFrame { samples, channels })
    }
}
