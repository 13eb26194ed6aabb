//! Changing the sample rate of a stream.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler as _, WindowFunction};

use super::DspError;
use super::error::{in_range, sample_rate, whole_frames};

/// The shortest block, in frames of the lower rate. The filter is one block long, so this sets the steepness of its edge.
const MIN_BLOCK: u64 = 256;
/// The longest block, in samples of all channels at the higher rate.
const MAX_BLOCK: u64 = 1 << 21;
/// Samples beyond this are treated as not finite: the sums of a block of smaller ones cannot overflow.
const LARGEST: f32 = 1e30;

/// Resamples interleaved sound from one rate to another, by multiplication of block spectra (overlap-add) with a
/// windowed-sinc low-pass below the lower half rate.
#[derive(Debug)]
pub struct Resampler {
    from_hz: u32,
    to_hz: u32,
    channels: usize,
    frames_in: u64,
    frames_out: u64,
    /// `None` where both rates are the same.
    blocks: Option<Blocks>,
}

impl Resampler {
    /// A resampler of `channels` interleaved channels from `from_hz` to `to_hz`.
    ///
    /// Fails when a rate is not within 1 to [`MAX_SAMPLE_RATE_HZ`](super::MAX_SAMPLE_RATE_HZ), the channels are not
    /// within 1 to [`MAX_CHANNELS`](super::MAX_CHANNELS), or the block would exceed 2²¹ samples: rates more than a
    /// factor of 8000 apart, or high ones without a common divisor in many channels.
    pub fn new(from_hz: u32, to_hz: u32, channels: usize) -> Result<Self, DspError> {
        sample_rate("the rate of the input, in hertz,", from_hz)?;
        sample_rate("the rate of the output, in hertz,", to_hz)?;
        in_range("the number of channels", channels, 1, super::MAX_CHANNELS)?;
        let blocks = if from_hz == to_hz { None } else { Some(Blocks::new(from_hz, to_hz, channels)?) };
        Ok(Resampler { from_hz, to_hz, channels, frames_in: 0, frames_out: 0, blocks })
    }

    /// The rate of the input in hertz.
    pub fn from_hz(&self) -> u32 {
        self.from_hz
    }

    /// The rate of the output in hertz.
    pub fn to_hz(&self) -> u32 {
        self.to_hz
    }

    /// The number of interleaved channels.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// How far the output lags at most, in frames of the input: after n frames have gone in, all output before input
    /// time n − delay is out. It is the wait for a block to fill and for half of the filter; 0 where both rates are the
    /// same. The delay is in when samples come out, never in their times.
    pub fn delay_frames(&self) -> usize {
        self.blocks.as_ref().map_or(0, |blocks| blocks.block_in - 1 + blocks.block_in / 2)
    }

    /// Takes the next whole frames of the stream, appends the frames that they settle to `out`, and returns their
    /// number. Fails, and takes nothing, when the samples are not whole frames.
    pub fn push(&mut self, interleaved: &[f32], out: &mut Vec<f32>) -> Result<usize, DspError> {
        let frames = whole_frames(interleaved.len(), self.channels)?;
        self.frames_in += frames as u64;
        let appended = match &mut self.blocks {
            None => {
                out.extend_from_slice(interleaved);
                frames
            }
            Some(blocks) => blocks.push(interleaved, out),
        };
        self.frames_out += appended as u64;
        Ok(appended)
    }

    /// Ends the stream: appends the frames that were still held, up to ⌈n · to / from⌉ in all for n frames of input,
    /// and returns their number. The next push begins a new stream.
    pub fn finish(&mut self, out: &mut Vec<f32>) -> usize {
        let total = (u128::from(self.frames_in) * u128::from(self.to_hz)).div_ceil(u128::from(self.from_hz));
        let missing = usize::try_from(total - u128::from(self.frames_out))
            .expect("what is missing is less than two blocks, and blocks are bounded");
        if let Some(blocks) = &mut self.blocks {
            blocks.flush(missing, out);
        }
        self.reset();
        missing
    }

    /// Forgets the stream; the next push begins a new one.
    pub fn reset(&mut self) {
        self.frames_in = 0;
        self.frames_out = 0;
        if let Some(blocks) = &mut self.blocks {
            blocks.reset();
        }
    }
}

/// The block machine: every `block_in` frames of input give `block_out` raw frames, of which the first `block_out` / 2
/// of the stream are the filter's delay and are cut.
#[derive(Debug)]
struct Blocks {
    fft: Fft<f32>,
    channels: usize,
    block_in: usize,
    block_out: usize,
    /// Input of the block that is filling, interleaved.
    pending: Vec<f32>,
    /// Output of the last block, interleaved.
    output: Vec<f32>,
    /// Raw frames still to be cut.
    trim: usize,
    /// What samples that are not finite have spoiled.
    spoiled: Spoiled,
}

impl Blocks {
    fn new(from_hz: u32, to_hz: u32, channels: usize) -> Result<Self, DspError> {
        let divisor = greatest_common_divisor(from_hz, to_hz);
        let (unit_in, unit_out) = (u64::from(from_hz / divisor), u64::from(to_hz / divisor));
        // An even number of units, so that half a block is a whole number of frames at both rates.
        let units = MIN_BLOCK.div_ceil(unit_in.min(unit_out)).next_multiple_of(2);
        let block = units * unit_in.max(unit_out);
        let max = MAX_BLOCK / channels as u64;
        if block > max {
            return Err(DspError::RatesTooFarApart { from_hz, to_hz, channels, block, max });
        }
        let (block_in, block_out) = ((units * unit_in) as usize, (units * unit_out) as usize);
        let fft = Fft::new_custom(
            from_hz as usize,
            to_hz as usize,
            block_in,
            1,
            channels,
            WindowFunction::BlackmanHarris,
            FixedSync::Both,
        )
        .expect("both rates and the block were checked to be positive");
        Ok(Blocks {
            fft,
            channels,
            block_in,
            block_out,
            pending: Vec::with_capacity(block_in * channels),
            output: vec![0.0; block_out * channels],
            trim: block_out / 2,
            spoiled: Spoiled::new(channels),
        })
    }

    /// Takes whole frames, appends what they settle, and returns the number of frames appended.
    fn push(&mut self, mut interleaved: &[f32], out: &mut Vec<f32>) -> usize {
        let mut appended = 0;
        let full = self.block_in * self.channels;
        while !interleaved.is_empty() {
            let (now, later) = interleaved.split_at(interleaved.len().min(full - self.pending.len()));
            self.pending.extend_from_slice(now);
            interleaved = later;
            if self.pending.len() == full {
                appended += self.run(usize::MAX, out);
            }
        }
        appended
    }

    /// Appends `missing` frames, feeding silence.
    fn flush(&mut self, mut missing: usize, out: &mut Vec<f32>) {
        while missing > 0 {
            self.pending.resize(self.block_in * self.channels, 0.0);
            missing -= self.run(missing, out);
        }
    }

    /// Resamples the full block, appends at most `limit` of its frames, and returns their number.
    fn run(&mut self, limit: usize, out: &mut Vec<f32>) -> usize {
        self.spoiled.take(&mut self.pending, self.block_in, self.block_out);
        let input = InterleavedSlice::new(&self.pending, self.channels, self.block_in);
        let output = InterleavedSlice::new_mut(&mut self.output, self.channels, self.block_out);
        let (input, mut output) = input.ok().zip(output.ok()).expect("both buffers hold a block of every channel");
        self.fft
            .process_into_buffer(&input, &mut output, None)
            .expect("a block of finite samples in buffers of its size is always accepted");
        self.spoiled.mark(&mut self.output, self.block_out);
        self.pending.clear();
        let first = self.trim.min(self.block_out);
        let frames = (self.block_out - first).min(limit);
        self.trim -= first;
        out.extend_from_slice(&self.output[first * self.channels..(first + frames) * self.channels]);
        frames
    }

    fn reset(&mut self) {
        self.fft.reset();
        self.pending.clear();
        self.trim = self.block_out / 2;
        self.spoiled = Spoiled::new(self.channels);
    }
}

/// Keeps samples that are not finite out of the transform, where they would spoil whole blocks, and puts NaN where the
/// filter would have carried them.
#[derive(Debug)]
struct Spoiled {
    /// For each channel, how many frames of the next raw output block are spoiled already.
    carried: Vec<usize>,
    /// Spoiled frames of the present raw output block: channel, first, one past the last.
    ranges: Vec<(usize, usize, usize)>,
}

impl Spoiled {
    fn new(channels: usize) -> Self {
        Spoiled { carried: vec![0; channels], ranges: Vec::new() }
    }

    /// Replaces bad samples of an interleaved input block by silence, and remembers what they spoil: the filter is as
    /// long as a block, so input frame i reaches the raw output from input time i to i + `block_in`.
    fn take(&mut self, input: &mut [f32], block_in: usize, block_out: usize) {
        self.ranges.clear();
        let channels = self.carried.len();
        for (channel, carried) in self.carried.iter_mut().enumerate() {
            let mut end = *carried;
            if end > 0 {
                self.ranges.push((channel, 0, end));
            }
            for (frame, sample) in input.iter_mut().skip(channel).step_by(channels).enumerate() {
                // Written so that NaN is bad too.
                if !(sample.abs() <= LARGEST) {
                    *sample = 0.0;
                    let start = (frame * block_out).div_ceil(block_in).max(end);
                    end = (frame + block_in) * block_out / block_in + 1;
                    self.ranges.push((channel, start, end));
                }
            }
            *carried = end.saturating_sub(block_out);
        }
    }

    /// Writes NaN over the spoiled frames of an interleaved raw output block.
    fn mark(&self, output: &mut [f32], block_out: usize) {
        let channels = self.carried.len();
        for (channel, start, end) in &self.ranges {
            for frame in *start..(*end).min(block_out) {
                output[frame * channels + channel] = f32::NAN;
            }
        }
    }
}

fn greatest_common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use proptest::prelude::*;

    use super::*;

    fn tone(hz: f64, rate: u32, count: usize) -> Vec<f32> {
        (0..count).map(|n| (TAU * hz * n as f64 / f64::from(rate)).sin() as f32).collect()
    }

    fn noise(count: usize) -> Vec<f32> {
        let mut state = 1u32;
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / 8_388_608.0 - 1.0
            })
            .collect()
    }

    fn whole(resampler: &mut Resampler, samples: &[f32]) -> Vec<f32> {
        let mut out = Vec::new();
        let frames = resampler.push(samples, &mut out).unwrap() + resampler.finish(&mut out);
        assert_eq!(out.len(), frames * resampler.channels());
        out
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    fn decibels(samples: &[f32]) -> f32 {
        // A sine of amplitude 1 is 0 dB.
        super::super::dbfs(super::super::rms(samples) * 2f32.sqrt())
    }

    #[test]
    fn measure() {
        for (from, to) in [(8000u32, 16_000u32), (44_100, 16_000), (48_000, 16_000), (44_100, 48_000), (192_000, 16_000)] {
            let r = Resampler::new(from, to, 1).unwrap();
            let b = r.blocks.as_ref().unwrap();
            eprintln!("{from}->{to} block {} {} delay {} = {:.1} ms cutoff {}", b.block_in, b.block_out, r.delay_frames(), r.delay_frames() as f64 * 1e3 / from as f64, b.fft.cutoff());
            for hz in [100.0, 1000.0, 3500.0, 3900.0, 7000.0, 7200.0, 7400.0, 7500.0, 7600.0, 7800.0, 7900.0, 8000.0, 8050.0, 8100.0, 8200.0, 9000.0, 10000.0, 12000.0, 15000.0, 20000.0] {
                if hz >= from as f64 / 2.0 { continue; }
                let mut r = Resampler::new(from, to, 1).unwrap();
                let out = whole(&mut r, &tone(hz, from, from as usize));
                let mid = &out[out.len() / 4..out.len() * 3 / 4];
                let exact = tone(hz, to, out.len());
                let err: Vec<f32> = mid.iter().zip(&exact[out.len() / 4..]).map(|(a, b)| a - b).collect();
                eprintln!("   {hz}: {:.3} dB, error {:.1} dB", decibels(mid), decibels(&err));
            }
        }
        use rubato::{Async, FixedAsync, SincInterpolationParameters, SincInterpolationType};
        for len in [128usize, 256, 512] {
            let p = SincInterpolationParameters::new(len, WindowFunction::BlackmanHarris2).interpolation(SincInterpolationType::Linear);
            let mut r = Async::<f32>::new_sinc(16000.0 / 44100.0, 1.0, &p, 160, 1, FixedAsync::Output).unwrap();
            eprintln!("sinc {len} delay {}", r.output_delay());
            for hz in [1000.0, 6000.0, 7000.0, 7500.0, 8200.0, 9000.0, 10000.0] {
                r.reset();
                let x = tone(hz, 44100, 44100);
                let mut pos = 0;
                let mut out = Vec::new();
                loop {
                    let need = r.input_frames_next();
                    if pos + need > x.len() { break; }
                    let i = InterleavedSlice::new(&x[pos..pos + need], 1, need).unwrap();
                    let mut buf = vec![0.0; 160];
                    let mut o = InterleavedSlice::new_mut(&mut buf[..], 1, 160).unwrap();
                    let (a, b) = r.process_into_buffer(&i, &mut o, None).unwrap();
                    pos += a;
                    out.extend_from_slice(&buf[..b]);
                }
                eprintln!("   {hz}: {:.3} dB", decibels(&out[out.len() / 4..out.len() * 3 / 4]));
            }
        }
    }
}
