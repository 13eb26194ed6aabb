//! Changing the sample rate of a stream.

use std::fmt;

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler as _, WindowFunction};

use super::DspError;
use super::error::{in_range, sample_rate, whole_frames};

/// The shortest block, in frames of the lower rate. The filter is one block long, so this sets how steep its edge is.
const MIN_BLOCK: u64 = 256;
/// The longest block, in samples of all channels at the higher rate.
const MAX_BLOCK: u64 = 1 << 21;
/// Samples beyond this are treated as not finite: the sums of a block of smaller ones cannot overflow.
const LARGEST: f32 = 1e30;

/// Resamples interleaved sound from one rate to another: block spectra (overlap-add) times a Blackman-Harris windowed
/// sinc. The ratio is exact, so nothing drifts.
///
/// * **Time**: output frame k is the input at time k / `to_hz`. The delay of the filter is cut at the start and flushed
///   at the end.
/// * **Length**: n frames of input give ⌈n · `to_hz` / `from_hz`⌉ frames, one for every output instant before the end
///   of the input. Equal rates pass every sample through untouched.
/// * **Chunks**: the output is the same for any chunking, bit for bit.
/// * **Bad samples**: NaN, infinities and samples beyond ±1e30 give NaN within half the filter's length, in their
///   channel, and nothing after.
///
/// The filter is one block long: the least even multiple of `rate / gcd(from_hz, to_hz)` with at least 256 frames at
/// the lower rate. Measured, to 16 kHz:
///
/// | from | filter | delay | 7.5 kHz | 8 kHz | from 8.05 kHz up |
/// |---|---|---|---|---|---|
/// | 44.1 kHz | 882 frames | 30 ms | 0.00 dB | −145 dB | −142 dB or less |
/// | 48 kHz | 768 frames | 24 ms | 0.00 dB | −148 dB | −121 dB or less |
/// | 192 kHz | 3072 frames | 24 ms | 0.00 dB | −267 dB | −121 dB or less |
///
/// The edge is 6 dB down at 7.75 to 7.8 kHz. Tones up to 7.5 kHz differ from the exact ones by −108 dB or less. Rates
/// without a large common divisor need long blocks: 44101 Hz to 16 kHz has a delay of 3 s.
///
/// rubato's windowed-sinc interpolator was measured beside it from 44.1 to 16 kHz: with 256 taps it takes 0.1 dB from
/// 7 kHz, 4.3 dB from 7.5 kHz and lets 8.2 kHz through at −42 dB, with 512 taps −66 dB.
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

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocks")
            .field("block_in", &self.block_in)
            .field("block_out", &self.block_out)
            .finish_non_exhaustive()
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
                if sample.is_nan() || sample.abs() > LARGEST {
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

    /// The pairs that occur, up and down, with and without a large common divisor.
    const PAIRS: [(u32, u32); 12] = [
        (8000, 16_000),
        (11_025, 16_000),
        (22_050, 16_000),
        (24_000, 16_000),
        (44_100, 16_000),
        (48_000, 16_000),
        (96_000, 16_000),
        (192_000, 16_000),
        (16_000, 44_100),
        (44_100, 48_000),
        (16_000, 8000),
        (50, 128),
    ];

    /// The number of output frames of a stream of `frames`.
    fn expected_frames(frames: usize, from: u32, to: u32) -> usize {
        (frames * to as usize).div_ceil(from as usize)
    }

    #[test]
    fn output_sample_k_is_the_input_at_time_k() {
        for (from, to) in PAIRS {
            let hz = f64::from(from.min(to)) * 0.2;
            let mut resampler = Resampler::new(from, to, 1).unwrap();
            let out = whole(&mut resampler, &tone(hz, from, 2 * from.max(4000) as usize));
            assert_eq!(out.len(), expected_frames(2 * from.max(4000) as usize, from, to));
            // Away from the ends, where the tone is cut off.
            let inner = out.len() / 4..out.len() * 3 / 4;
            let exact = tone(hz, to, out.len());
            let error: Vec<f32> = out[inner.clone()].iter().zip(&exact[inner]).map(|(x, exact)| x - exact).collect();
            assert!(decibels(&error) < -100.0, "{from} to {to} Hz: {} dB", decibels(&error));
        }
    }

    #[test]
    fn tones_below_the_edge_are_kept_and_those_above_are_rejected() {
        for from in [44_100, 48_000, 96_000, 192_000] {
            let mut resampler = Resampler::new(from, 16_000, 1).unwrap();
            for hz in [50.0, 3000.0, 7000.0, 7500.0, 8000.0, 8050.0, 9000.0, 10_000.0, 15_000.0, 20_000.0] {
                let out = whole(&mut resampler, &tone(hz, from, from as usize / 2));
                let level = decibels(&out[2000..6000]);
                if hz <= 7500.0 {
                    assert!(level.abs() < 0.01, "{from} Hz: a tone of {hz} Hz came out at {level} dB");
                } else {
                    assert!(level < -110.0, "{from} Hz: a tone of {hz} Hz came out at {level} dB");
                }
            }
        }
    }

    #[test]
    fn every_length_gives_the_promised_number_of_frames() {
        for (from, to) in PAIRS {
            let mut resampler = Resampler::new(from, to, 1).unwrap();
            for frames in [0, 1, 2, 3, 100, 255, 256, 257, 881, 882, 883, 5000] {
                let out = whole(&mut resampler, &vec![0.25; frames]);
                assert_eq!(out.len(), expected_frames(frames, from, to), "{frames} frames, {from} to {to} Hz");
            }
        }
    }

    #[test]
    fn the_lag_is_at_most_the_delay_and_reaches_it() {
        for (from, to) in PAIRS {
            let mut resampler = Resampler::new(from, to, 1).unwrap();
            let delay = resampler.delay_frames();
            let (mut out, mut largest_lag) = (Vec::new(), 0);
            for pushed in 1..=4 * delay {
                resampler.push(&[0.5], &mut out).unwrap();
                let settled = expected_frames(pushed.saturating_sub(delay), from, to);
                assert!(out.len() >= settled, "{from} to {to} Hz: {} of {settled} after {pushed}", out.len());
                largest_lag = largest_lag.max(pushed - out.len() * from as usize / to as usize);
            }
            assert_eq!(largest_lag, delay, "{from} to {to} Hz");
        }
    }

    #[test]
    fn equal_rates_pass_through() {
        let samples = [0.5, f32::NAN, -1.0, f32::INFINITY];
        let mut resampler = Resampler::new(16_000, 16_000, 2).unwrap();
        let mut out = Vec::new();
        assert_eq!(resampler.push(&samples, &mut out), Ok(2));
        assert_eq!((resampler.finish(&mut out), resampler.delay_frames()), (0, 0));
        assert_eq!(bits(&out), bits(&samples));
    }

    #[test]
    fn channels_do_not_mix() {
        let (left, right) = (noise(3000), tone(440.0, 44_100, 3000));
        let mut interleaved = Vec::new();
        super::super::interleave(&[&left, &right], &mut interleaved).unwrap();
        let both = whole(&mut Resampler::new(44_100, 16_000, 2).unwrap(), &interleaved);
        let both = super::super::deinterleave(&both, 2).unwrap();
        let mut mono = Resampler::new(44_100, 16_000, 1).unwrap();
        assert_eq!(bits(&both[0]), bits(&whole(&mut mono, &left)));
        assert_eq!(bits(&both[1]), bits(&whole(&mut mono, &right)));
    }

    #[test]
    fn a_bad_sample_spoils_the_length_of_the_filter_in_its_channel_only() {
        for (from, to) in PAIRS {
            let mut resampler = Resampler::new(from, to, 2).unwrap();
            let filter = (resampler.delay_frames() * 2 / 3 + 1) as f64;
            let count = (filter * 8.0) as usize;
            let clean = noise(2 * count);
            let expected = whole(&mut resampler, &clean);
            for (at, bad) in [
                (0, f32::NAN),
                (count / 2, f32::NAN),
                (count / 2 + 1, f32::INFINITY),
                (count / 3, f32::NEG_INFINITY),
                (count / 2 + 7, f32::MAX),
                (count - 1, f32::NAN),
            ] {
                let mut spoiled = clean.clone();
                spoiled[2 * at] = bad;
                let found = whole(&mut resampler, &spoiled);
                assert_eq!(found.len(), expected.len());
                for (frame, (found, expected)) in found.chunks(2).zip(expected.chunks(2)).enumerate() {
                    assert_eq!(found[1].to_bits(), expected[1].to_bits(), "the other channel, {from} to {to} Hz");
                    let distance = (frame as f64 * f64::from(from) / f64::from(to) - at as f64).abs();
                    if distance <= filter / 2.0 {
                        assert!(found[0].is_nan(), "{from} to {to} Hz: {bad} at {at} is hidden at {frame}");
                    } else {
                        // The transform rounds a little differently in the blocks that held the bad sample.
                        let error = (found[0] - expected[0]).abs();
                        assert!(error < 1e-5, "{from} to {to} Hz: {bad} at {at} reaches {frame} ({distance} frames)");
                    }
                    if distance > 2.0 * filter {
                        assert_eq!(found[0].to_bits(), expected[0].to_bits());
                    }
                }
            }
        }
    }

    #[test]
    fn a_stream_of_nothing_but_bad_samples_ends_with_the_stream() {
        let mut resampler = Resampler::new(44_100, 16_000, 1).unwrap();
        let expected = whole(&mut resampler, &noise(3000));
        for bad in [f32::NAN, f32::MAX, 1e31] {
            assert!(whole(&mut resampler, &[bad; 3000]).iter().all(|x| x.is_nan()));
            assert_eq!(bits(&whole(&mut resampler, &noise(3000))), bits(&expected));
        }
        assert!(whole(&mut resampler, &[LARGEST; 3000]).iter().all(|x| x.is_finite()));
    }

    #[test]
    fn settings_and_samples_that_are_refused() {
        for (from, to, channels) in [(0, 16_000, 1), (16_000, 0, 1), (768_001, 16_000, 1), (16_000, u32::MAX, 1)] {
            let error = Resampler::new(from, to, channels).unwrap_err();
            assert!(matches!(error, DspError::OutOfRange { max: 768_000, .. }), "{from} {to}: {error}");
        }
        for channels in [0, 1025, usize::MAX] {
            let error = Resampler::new(44_100, 16_000, channels).unwrap_err();
            assert!(matches!(error, DspError::OutOfRange { max: 1024, .. }), "{channels}: {error}");
        }
        for (from, to, channels) in [(1, 768_000, 1), (768_000, 1, 1), (44_101, 16_000, 1000)] {
            let error = Resampler::new(from, to, channels).unwrap_err();
            assert!(matches!(error, DspError::RatesTooFarApart { .. }), "{from} {to} {channels}: {error}");
        }
        for (from, to, channels) in [(100, 48_000, 1), (48_000, 100, 8), (44_101, 16_000, 2), (16_000, 48_000, 1024)] {
            assert!(Resampler::new(from, to, channels).is_ok(), "{from} {to} {channels}");
        }
        let mut resampler = Resampler::new(44_100, 16_000, 2).unwrap();
        let mut out = Vec::new();
        assert_eq!(resampler.push(&[0.0; 3], &mut out), Err(DspError::PartialFrame { samples: 3, channels: 2 }));
        assert_eq!(resampler.finish(&mut out), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn any_chunking_gives_the_same_bits(
            (from, to) in prop::sample::select(&PAIRS[..]),
            channels in 1usize..4,
            count in 0usize..6000,
            cuts in prop::collection::vec(1usize..900, 0..20),
            by_one in any::<bool>(),
        ) {
            let samples = noise(count * channels);
            let mut resampler = Resampler::new(from, to, channels).unwrap();
            let expected = whole(&mut resampler, &samples);
            prop_assert_eq!(expected.len(), channels * expected_frames(count, from, to));
            let (mut found, mut frames) = (Vec::new(), 0);
            let mut rest = samples.as_slice();
            for cut in cuts {
                let (chunk, after) = rest.split_at((cut * channels).min(rest.len()));
                frames += resampler.push(chunk, &mut found).unwrap();
                rest = after;
            }
            for chunk in rest.chunks(if by_one { channels } else { rest.len().max(1) }) {
                frames += resampler.push(chunk, &mut found).unwrap();
            }
            frames += resampler.finish(&mut found);
            prop_assert_eq!(frames * channels, found.len());
            prop_assert_eq!(bits(&found), bits(&expected));
            resampler.push(&samples, &mut found).unwrap();
            resampler.reset();
            prop_assert_eq!(bits(&whole(&mut resampler, &samples)), bits(&expected));
        }
    }
}
