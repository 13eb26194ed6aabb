//! Resizing, row by row.

use super::weights::{HALF, Weights, to_sample};
use super::{Filter, PixelView, Placement};
use crate::dsp::DspError;
use crate::dsp::error::in_range;

/// Rows that go through the horizontal pass together: each weight is read once for all of them.
const ROWS: usize = 4;
/// Bytes that the vertical pass sums at a time; lines are padded to a multiple.
const BLOCK: usize = 64;
/// The most bytes of lines between the passes. Only a reduction of thousands to one over a wide line comes near.
const MAX_RING: usize = 1 << 30;

/// Resizes pictures of one size to another with the bits that Pillow gives.
///
/// Two passes, first along the rows and then down the columns, with weights and sums in 32-bit fixed point and one
/// rounding to 8 bits after each pass. Colours are weighted by their alpha, so that transparent pixels lend no colour.
/// Only as many lines are held as the filter is high: the passes alternate, and a line of the result is given away
/// before the next one is made. Buffers are made once and used for every picture.
#[derive(Clone, Debug)]
pub struct Resizer {
    placement: Placement,
    channels: usize,
    /// Whether colours are weighted by their alpha: not in a picture that stays as it is, so that it loses nothing.
    weighted: bool,
    /// `None` where the columns stay as they are.
    across: Option<Weights>,
    /// `None` where the rows stay as they are.
    down: Option<Weights>,
    /// The first column and row that are used, where they stay as they are.
    corner: (usize, usize),
    /// Lines after the first pass, in a ring of `ring_lines` (a multiple of [`ROWS`]).
    ring: Vec<u8>,
    ring_lines: usize,
    /// Bytes of a padded line.
    stride: usize,
    /// Four source rows of colour, pixel by pixel beside each other.
    woven: Vec<u8>,
    /// A line of the target after both passes, padded.
    line: Vec<u8>,
    /// A line of the output: ground, with the target's line in it while that is given away.
    whole: Vec<u8>,
    /// As much ground as a target's line covers.
    ground: Vec<u8>,
}

impl Resizer {
    /// A resizer of pictures of `channels` bytes a pixel; `ground` is the colour around a letterbox, as a pixel's
    /// bytes.
    ///
    /// Fails when the channels are not 1, 3 or 4, the ground has not as many bytes, or the lines between the passes would
    /// take over 1 GiB.
    pub fn new(placement: Placement, filter: Filter, channels: usize, ground: &[u8]) -> Result<Self, DspError> {
        if !matches!(channels, 1 | 3 | 4) {
            let expected = "1 (gray), 3 (RGB) or 4 (RGBA)";
            return Err(DspError::BadValue { what: "the channels of a picture", expected, found: channels as f64 });
        }
        if ground.len() != channels {
            let found = ground.len();
            return Err(DspError::WrongLength { what: "the ground's colour", expected: channels, found });
        }
        let [left, top, right, bottom] = placement.source().map(|edge| edge as f32);
        let target = placement.target();
        let axis = |from: f32, to: f32, input: u32, output: u32| {
            let stays = from.fract() == 0.0 && to - from == output as f32;
            (!stays).then(|| Weights::new(input as usize, from, to, output as usize, filter))
        };
        let across = axis(left, right, placement.input().0, target.width);
        let down = axis(top, bottom, placement.input().1, target.height);
        let stride = (target.width as usize * channels).next_multiple_of(BLOCK);
        let ring_lines = (down.as_ref().map_or(1, Weights::longest) + ROWS - 1).next_multiple_of(ROWS);
        in_range("the bytes of the lines that a resize holds", ring_lines.saturating_mul(stride), 1, MAX_RING)?;
        let woven = if across.is_some() && channels > 1 { 4 * ROWS * placement.input().0 as usize } else { 0 };
        let same = (target.width, target.height) == placement.input() && across.is_none() && down.is_none();
        Ok(Resizer {
            placement,
            channels,
            weighted: channels == 4 && !same,
            across,
            down,
            corner: (left as usize, top as usize),
            ring: vec![0; ring_lines * stride],
            ring_lines,
            stride,
            woven: vec![0; woven],
            line: vec![0; stride],
            whole: ground.repeat(placement.output().0 as usize),
            ground: ground.repeat(target.width as usize),
        })
    }

    /// Which part of the input goes where.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Bytes of a pixel.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The resized picture, in place of what `out` held: packed rows.
    ///
    /// Fails when the picture has not the size and the channels that the resizer was made for.
    pub fn run(&mut self, view: &PixelView<'_>, out: &mut Vec<u8>) -> Result<(), DspError> {
        let (width, height) = self.placement.output();
        out.clear();
        out.reserve(width as usize * height as usize * self.channels);
        self.each_line(view, |_, line| out.extend_from_slice(line))
    }

    /// Calls `give` with the number and the bytes of each line of the output, from the top.
    pub(super) fn each_line(
        &mut self,
        view: &PixelView<'_>,
        mut give: impl FnMut(usize, &[u8]),
    ) -> Result<(), DspError> {
        self.check(view)?;
        let target = self.placement.target();
        let (width, height) = (self.placement.output().0 as usize, self.placement.output().1 as usize);
        let (above, below) = (target.y as usize, (target.y + target.height) as usize);
        let start = target.x as usize * self.channels;
        let bytes = target.width as usize * self.channels;
        (0..above).for_each(|y| give(y, &self.whole));
        // Lines of the first pass so far, counted from the first one that is needed.
        let mut ready = 0;
        let last = self.span(target.height as usize - 1).1;
        for y in 0..target.height as usize {
            let (_, end) = self.span(y);
            while ready < end {
                self.first_pass(view, ready, last);
                ready += ROWS;
            }
            self.second_pass(y);
            if target.width as usize == width {
                give(above + y, &self.line[..bytes]);
            } else {
                self.whole[start..start + bytes].copy_from_slice(&self.line[..bytes]);
                give(above + y, &self.whole);
            }
        }
        self.whole[start..start + bytes].copy_from_slice(&self.ground);
        (below..height).for_each(|y| give(y, &self.whole));
        Ok(())
    }

    fn check(&self, view: &PixelView<'_>) -> Result<(), DspError> {
        let (width, height) = self.placement.input();
        for (what, expected, found) in [
            ("a row of the picture (in pixels)", width as usize, view.width()),
            ("the picture (in rows)", height as usize, view.height()),
            ("a pixel of the picture", self.channels, view.channels()),
        ] {
            if expected != found {
                return Err(DspError::WrongLength { what, expected, found });
            }
        }
        Ok(())
    }

    /// The lines of the first pass, counted from the first one, that target line `y` needs: start and end.
    fn span(&self, y: usize) -> (usize, usize) {
        match &self.down {
            None => (y, y + 1),
            Some(down) => {
                let (first, weights) = down.of(y);
                let first = first - down.of(0).0;
                (first, first + weights.len())
            }
        }
    }

    /// Makes lines `ready..ready + ROWS` of the first pass, none of them from `last` on.
    fn first_pass(&mut self, view: &PixelView<'_>, ready: usize, last: usize) {
        let channels = self.channels;
        let top = self.down.as_ref().map_or(self.corner.1, |down| down.of(0).0) + ready;
        let count = ROWS.min(last - ready);
        // Where there are fewer rows, the last one stands for those missing.
        let rows: [&[u8]; ROWS] = std::array::from_fn(|at| view.row(top + at.min(count - 1)));
        let lines = &mut self.ring[ready % self.ring_lines * self.stride..][..ROWS * self.stride];
        let (stride, left) = (self.stride, self.corner.0 * channels);
        match &self.across {
            None => {
                let bytes = self.placement.target().width as usize * channels;
                for (line, row) in lines.chunks_exact_mut(stride).zip(rows) {
                    line[..bytes].copy_from_slice(&row[left..left + bytes]);
                    if self.weighted {
                        multiply_alpha(&mut line[..bytes]);
                    }
                }
            }
            Some(weights) => {
                let woven = &mut self.woven;
                Across { rows, woven, weights, channels, lines, stride }.run();
            }
        }
    }

    /// Makes target line `y` of the lines of the first pass.
    fn second_pass(&mut self, y: usize) {
        let (first, _) = self.span(y);
        match &self.down {
            None => {
                let line = first % self.ring_lines * self.stride;
                self.line.copy_from_slice(&self.ring[line..line + self.stride]);
            }
            Some(down) => {
                let weights = down.of(y).1;
                let (ring, lines, stride) = (&self.ring, self.ring_lines, self.stride);
                Down { ring, lines, stride, first, weights, out: &mut self.line }.run();
            }
        }
        if self.weighted {
            divide_alpha(&mut self.line);
        }
    }
}

/// The horizontal pass of four rows.
struct Across<'a> {
    rows: [&'a [u8]; ROWS],
    woven: &'a mut [u8],
    weights: &'a Weights,
    channels: usize,
    lines: &'a mut [u8],
    stride: usize,
}

impl Across<'_> {
    fn run(self) {
        match self.channels {
            1 => weigh_gray(self.rows, self.weights, self.lines, self.stride),
            3 => {
                weave::<3>(self.rows, self.woven);
                weigh_woven::<3>(self.woven, self.weights, self.lines, self.stride);
            }
            _ => {
                weave::<4>(self.rows, self.woven);
                multiply_alpha(self.woven);
                weigh_woven::<4>(self.woven, self.weights, self.lines, self.stride);
            }
        }
    }
}

/// The vertical pass of one line.
struct Down<'a> {
    ring: &'a [u8],
    lines: usize,
    stride: usize,
    first: usize,
    weights: &'a [i32],
    out: &'a mut [u8],
}

impl Down<'_> {
    fn run(self) {
        weigh_lines(self.ring, self.lines, self.stride, self.first, self.weights, self.out);
    }
}

/// Four rows of pixels of `C` bytes as one of four pixels of four bytes, so that a weight meets a whole vector. Where
/// `C` is 3 the fourth byte is of no account.
#[inline(always)]
fn weave<const C: usize>(rows: [&[u8]; ROWS], woven: &mut [u8]) {
    for (at, row) in rows.into_iter().enumerate() {
        let lane = 4 * at..4 * at + 4;
        for (out, pixel) in woven.chunks_exact_mut(4 * ROWS).zip(row.windows(4).step_by(C)) {
            out[lane.clone()].copy_from_slice(pixel);
        }
        // The last pixel has no fourth byte behind it.
        if let (Some(out), Some(pixel)) = (woven.last_chunk_mut::<{ 4 * ROWS }>(), row.last_chunk::<C>()) {
            out[4 * at..4 * at + C].copy_from_slice(pixel);
        }
    }
}

/// The horizontal pass of four woven rows, back to lines of pixels of `C` bytes.
#[inline(always)]
fn weigh_woven<const C: usize>(woven: &[u8], weights: &Weights, lines: &mut [u8], stride: usize) {
    for x in 0..weights.len() {
        let (first, weights) = weights.of(x);
        let mut sums = [HALF; 4 * ROWS];
        let pixels = woven[first * 4 * ROWS..].chunks_exact(4 * ROWS);
        for (&weight, pixels) in weights.iter().zip(pixels) {
            for (sum, &sample) in sums.iter_mut().zip(pixels) {
                *sum += weight * i32::from(sample);
            }
        }
        let samples = sums.map(to_sample);
        for (line, samples) in lines.chunks_exact_mut(stride).zip(samples.chunks_exact(4)) {
            line[x * C..(x + 1) * C].copy_from_slice(&samples[..C]);
        }
    }
}

/// The horizontal pass of four rows of bytes.
#[inline(always)]
fn weigh_gray(rows: [&[u8]; ROWS], weights: &Weights, lines: &mut [u8], stride: usize) {
    for (line, row) in lines.chunks_exact_mut(stride).zip(rows) {
        for (x, out) in line[..weights.len()].iter_mut().enumerate() {
            let (first, weights) = weights.of(x);
            let span = &row[first..first + weights.len()];
            let sum: i32 = span.iter().zip(weights).map(|(&sample, &weight)| weight * i32::from(sample)).sum();
            *out = to_sample(HALF + sum);
        }
    }
}

/// The vertical pass: the weighted sum of the ring's lines from `first` on.
#[inline(always)]
fn weigh_lines(ring: &[u8], lines: usize, stride: usize, first: usize, weights: &[i32], out: &mut [u8]) {
    for (block, out) in out.chunks_exact_mut(BLOCK).enumerate() {
        let mut sums = [HALF; BLOCK];
        for (at, &weight) in weights.iter().enumerate() {
            let start = (first + at) % lines * stride + block * BLOCK;
            let samples = &ring[start..start + BLOCK];
            for (sum, &sample) in sums.iter_mut().zip(samples) {
                *sum += weight * i32::from(sample);
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = to_sample(sum);
        }
    }
}

/// Colours times alpha, rounded to nearest, as Pillow's mode `RGBa`.
#[inline(always)]
fn multiply_alpha(row: &mut [u8]) {
    for pixel in row.chunks_exact_mut(4) {
        let alpha = u32::from(pixel[3]);
        for sample in &mut pixel[..3] {
            let product = u32::from(*sample) * alpha + 128;
            *sample = (((product >> 8) + product) >> 8) as u8;
        }
    }
}

/// The way back: colours over alpha, rounded down; a transparent pixel keeps what it has.
fn divide_alpha(row: &mut [u8]) {
    for pixel in row.chunks_exact_mut(4) {
        let alpha = u32::from(pixel[3]);
        if !matches!(alpha, 0 | 255) {
            for sample in &mut pixel[..3] {
                *sample = (255 * u32::from(*sample) / alpha).min(255) as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests;
