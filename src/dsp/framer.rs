//! Overlapping frames of a stream of samples.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DspError;
use super::error::in_range;

/// What becomes of the samples at the end of a stream that do not fill a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tail {
    /// They are dropped: every frame is full.
    #[default]
    Drop,
    /// They make one more frame, filled up with zeros, unless every one of them was in a frame already.
    ZeroPad,
}

/// One frame: `window` samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frame<'a> {
    /// The index in the stream of its first sample: frame number × hop.
    pub start: u64,
    /// The samples, always `window` of them.
    pub samples: &'a [f32],
    /// How many of them came from the stream; those after are zeros. Less than the window only for a padded last frame.
    pub valid: usize,
}

/// Cuts a stream of samples into frames of `window` samples, one every `hop`. Holds less than a window.
///
/// A hop above the window leaves samples out between frames.
#[derive(Clone, Debug)]
pub struct Framer {
    window: usize,
    hop: usize,
    tail: Tail,
    /// Samples of the stream from `start` on.
    held: Vec<f32>,
    /// Index in the stream of the next frame.
    start: u64,
    /// Samples still to be passed over before `start`.
    skip: usize,
}

impl Framer {
    /// Frames of `window` samples, one every `hop` samples. Fails when either is zero or above
    /// [`MAX_FRAME`](super::MAX_FRAME).
    pub fn new(window: usize, hop: usize, tail: Tail) -> Result<Self, DspError> {
        in_range("the window, in samples,", window, 1, super::MAX_FRAME)?;
        in_range("the hop, in samples,", hop, 1, super::MAX_FRAME)?;
        Ok(Framer { window, hop, tail, held: Vec::new(), start: 0, skip: 0 })
    }

    /// The length of a frame in samples.
    pub fn window(&self) -> usize {
        self.window
    }

    /// The distance of two frames in samples.
    pub fn hop(&self) -> usize {
        self.hop
    }

    /// Takes the next samples of the stream and hands each frame that they complete to `each`, in order. Returns the
    /// number of frames.
    pub fn push(&mut self, samples: &[f32], mut each: impl FnMut(Frame<'_>)) -> usize {
        let mut frames = 0;
        // In pieces, so that a whole recording in one call is not copied at once.
        for piece in samples.chunks(self.window.max(1 << 14)) {
            let skipped = self.skip.min(piece.len());
            self.skip -= skipped;
            self.held.extend_from_slice(&piece[skipped..]);
            let mut first = 0;
            while let Some(frame) = self.held.get(first..first + self.window) {
                each(Frame { start: self.start, samples: frame, valid: self.window });
                frames += 1;
                self.start += self.hop as u64;
                first += self.hop;
                if first > self.held.len() {
                    self.skip = first - self.held.len();
                    break;
                }
            }
            self.held.drain(..first.min(self.held.len()));
        }
        frames
    }

    /// Ends the stream: hands the padded last frame to `each` when [`Tail::ZeroPad`] calls for one, and returns the
    /// number of frames, 0 or 1. The next push begins a new stream.
    pub fn finish(&mut self, mut each: impl FnMut(Frame<'_>)) -> usize {
        let overlap = if self.start == 0 { 0 } else { self.window.saturating_sub(self.hop) };
        let padded = self.tail == Tail::ZeroPad && self.held.len() > overlap;
        if padded {
            let valid = self.held.len();
            self.held.resize(self.window, 0.0);
            each(Frame { start: self.start, samples: &self.held, valid });
        }
        self.reset();
        usize::from(padded)
    }

    /// Forgets the stream; the next push begins a new one.
    pub fn reset(&mut self) {
        self.held.clear();
        self.start = 0;
        self.skip = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Owned = (u64, Vec<f32>, usize);

    fn run(framer: &mut Framer, chunks: &[&[f32]]) -> Vec<Owned> {
        let mut frames: Vec<Owned> = Vec::new();
        let mut counted = 0;
        let mut keep = |frame: Frame<'_>| frames.push((frame.start, frame.samples.to_vec(), frame.valid));
        for chunk in chunks {
            counted += framer.push(chunk, &mut keep);
        }
        counted += framer.finish(&mut keep);
        assert_eq!(counted, frames.len());
        frames
    }

    /// The frames by their definition.
    fn by_definition(samples: &[f32], window: usize, hop: usize, tail: Tail) -> Vec<Owned> {
        let mut frames = Vec::new();
        let (mut start, mut covered) = (0, 0);
        while start + window <= samples.len() {
            frames.push((start as u64, samples[start..start + window].to_vec(), window));
            covered = start + window;
            start += hop;
        }
        if tail == Tail::ZeroPad && start < samples.len() && covered < samples.len() {
            let mut last = samples[start..].to_vec();
            let valid = last.len();
            last.resize(window, 0.0);
            frames.push((start as u64, last, valid));
        }
        frames
    }

    #[test]
    fn cases() {
        // samples, window, hop, tail, starts of the frames, valid samples of the last
        for (count, window, hop, tail, starts, last_valid) in [
            (0, 4, 2, Tail::ZeroPad, &[][..], 0),
            (3, 4, 2, Tail::Drop, &[], 0),
            (3, 4, 2, Tail::ZeroPad, &[0], 3),
            (4, 4, 2, Tail::ZeroPad, &[0], 4),
            (5, 4, 2, Tail::ZeroPad, &[0, 2], 3),
            (6, 4, 2, Tail::ZeroPad, &[0, 2], 4),
            (7, 2, 5, Tail::ZeroPad, &[0, 5], 2),
            (6, 2, 5, Tail::ZeroPad, &[0, 5], 1),
            (5, 2, 5, Tail::ZeroPad, &[0], 2),
            (3, 1, 1, Tail::Drop, &[0, 1, 2], 1),
        ] {
            let samples: Vec<f32> = (1..=count).map(|n| n as f32).collect();
            let frames = run(&mut Framer::new(window, hop, tail).unwrap(), &[&samples]);
            assert_eq!(
                frames.iter().map(|frame| frame.0).collect::<Vec<_>>(),
                starts,
                "{count} {window} {hop} {tail:?}"
            );
            assert_eq!(frames.last().map_or(0, |frame| frame.2), last_valid, "{count} {window} {hop} {tail:?}");
        }
    }

    #[test]
    fn sizes_that_are_refused() {
        for (window, hop) in [(0, 1), (1, 0), (usize::MAX, 1), (1, usize::MAX)] {
            assert!(matches!(Framer::new(window, hop, Tail::Drop), Err(DspError::OutOfRange { .. })), "{window} {hop}");
        }
    }

    #[test]
    fn holds_less_than_a_window_however_much_is_pushed() {
        let mut framer = Framer::new(400, 160, Tail::Drop).unwrap();
        assert_eq!(framer.push(&vec![0.5; 1_000_000], |_| ()), (1_000_000 - 400) / 160 + 1);
        assert!(framer.held.len() < 400 && framer.held.capacity() < 1 << 16, "{}", framer.held.capacity());
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_frames_of_the_definition(
            count in 0usize..120,
            window in 1usize..20,
            hop in 1usize..30,
            pad in any::<bool>(),
            cuts in proptest::collection::vec(1usize..40, 0..40),
        ) {
            let tail = if pad { Tail::ZeroPad } else { Tail::Drop };
            let samples: Vec<f32> = (0..count).map(|n| n as f32).collect();
            let mut rest = samples.as_slice();
            let mut chunks = Vec::new();
            for cut in cuts {
                let (chunk, after) = rest.split_at(cut.min(rest.len()));
                chunks.push(chunk);
                rest = after;
            }
            chunks.push(rest);
            let mut framer = Framer::new(window, hop, tail).unwrap();
            let expected = by_definition(&samples, window, hop, tail);
            prop_assert_eq!(&run(&mut framer, &chunks), &expected);
            // A finished framer is as new, and so is one that was reset in the midst of a stream.
            framer.push(&samples, |_| ());
            framer.reset();
            prop_assert_eq!(&run(&mut framer, &[&samples]), &expected);
        }
    }
}
