//! Floor 2: pure signal functions on slices of samples, and on pictures in [`picture`].
//!
//! Nothing here knows of packets, streams or time: functions take `&[f32]`, and the streaming structs ([`Framer`],
//! [`LogMel`], [`Resampler`]) take the samples of one stream in pieces. Three promises hold for all of them:
//!
//! * **The pieces do not matter.** Any chunking of the same samples gives the same output, bit for bit.
//! * **`finish` ends the stream**: it flushes what is still held and leaves the struct as [new](Resampler::new), so the
//!   next `push` begins another stream. `reset` does the same without the flush.
//! * **A bad sample is local.** NaN and infinity give output that is not finite where it depends on them, and nowhere
//!   else.
//!
//! Multichannel sound is interleaved; full scale is ±1.0.

mod channels;
mod edges;
mod error;
mod framer;
mod level;
mod log_mel;
mod log_mel_config;
mod mel;
pub mod picture;
mod resample;
mod spectrum;
mod window;

#[cfg(test)]
mod reference;

pub use channels::{deinterleave, downmix, interleave, pick_channel};
pub use edges::{Edges, Padding};
pub use error::DspError;
pub use framer::{Frame, Framer, Tail};
pub use level::{clip, dbfs, mean_variance, normalize_peak, peak, rms, scale};
pub use log_mel::LogMel;
pub use log_mel_config::{Floor, Log, LogMelConfig, PreEmphasis};
pub use mel::{MelFilterbank, MelNorm, MelScale};
pub use resample::Resampler;
pub use spectrum::{Spectrum, SpectrumKind};
pub use window::{Symmetry, Window};

/// The largest frame or transform that is accepted, in samples: 87 s at 48 kHz. It keeps a slip in a configuration from
/// asking for all the memory of the machine.
pub const MAX_FRAME: usize = 1 << 22;
/// The highest sample rate that is accepted, in hertz.
pub const MAX_SAMPLE_RATE_HZ: u32 = 768_000;
/// The largest number of channels that is accepted.
pub const MAX_CHANNELS: usize = 1024;
