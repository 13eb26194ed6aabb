//! What lies before the first and after the last sample of a stream.

use std::collections::VecDeque;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where frames lie at the edges of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Edges {
    /// Frame t covers the samples from t · hop to t · hop + `window_length`; only full frames. Kaldi's
    /// `snip_edges = true`; librosa's `center = False` where the window is as long as the FFT.
    Valid,
    /// Frame t is centred on sample t · hop, beyond the edges lie `fft_size / 2` samples of padding: 1 + samples / hop
    /// frames where `fft_size` is even. librosa's and PyTorch's `center = True`.
    Center(Padding),
}

/// What lies beyond the edges of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// Silence (librosa's `constant`).
    #[default]
    Zero,
    /// The signal mirrored at its first and last sample, which are not repeated (NumPy's `reflect`; Whisper). Frames
    /// start to come out once `fft_size / 2 + 1` samples are there.
    Reflect,
}

/// The padding around a stream, made while it comes in.
#[derive(Clone, Debug)]
pub(super) enum EdgeState {
    /// No padding.
    Valid,
    /// `reach` zeros on each side.
    Zero { reach: usize, started: bool },
    /// `reach` mirrored samples on each side. Until `started`, `recent` holds the whole stream, then its last
    /// `reach` + 1 samples.
    Reflect { reach: usize, started: bool, recent: VecDeque<f32> },
}

impl EdgeState {
    /// `reach` is the number of samples of padding on each side, where `edges` ask for any.
    pub(super) fn new(edges: Edges, reach: usize) -> Self {
        match edges {
            Edges::Valid => EdgeState::Valid,
            Edges::Center(Padding::Zero) => EdgeState::Zero { reach, started: false },
            Edges::Center(Padding::Reflect) => EdgeState::Reflect { reach, started: false, recent: VecDeque::new() },
        }
    }

    /// The number of samples of padding on each side.
    pub(super) fn reach(&self) -> usize {
        match self {
            EdgeState::Valid => 0,
            EdgeState::Zero { reach, .. } | EdgeState::Reflect { reach, .. } => *reach,
        }
    }

    /// Hands the samples of the padded stream that are known after `samples` to `emit`.
    pub(super) fn push(&mut self, samples: &[f32], mut emit: impl FnMut(&[f32])) {
        match self {
            EdgeState::Valid => emit(samples),
            EdgeState::Zero { reach, started } => {
                if !*started && !samples.is_empty() {
                    *started = true;
                    emit(&vec![0.0; *reach]);
                }
                emit(samples);
            }
            EdgeState::Reflect { reach, started, recent } => {
                recent.extend(samples);
                if *started {
                    emit(samples);
                } else if recent.len() > *reach {
                    *started = true;
                    let head = recent.make_contiguous();
                    let mirrored: Vec<f32> = head[1..=*reach].iter().rev().copied().collect();
                    emit(&mirrored);
                    emit(head);
                }
                if *started {
                    recent.drain(..recent.len() - (*reach + 1));
                }
            }
        }
    }

    /// Hands the padding after the last sample to `emit`.
    pub(super) fn finish(&mut self, mut emit: impl FnMut(&[f32])) {
        match self {
            EdgeState::Valid | EdgeState::Zero { started: false, .. } => {}
            EdgeState::Zero { reach, .. } => emit(&vec![0.0; *reach]),
            EdgeState::Reflect { reach, started: true, recent } => {
                let mirrored: Vec<f32> = recent.iter().rev().skip(1).take(*reach).copied().collect();
                emit(&mirrored);
            }
            EdgeState::Reflect { reach, recent, .. } => {
                // A stream shorter than the padding is mirrored back and forth.
                let (reach, count) = (*reach as i64, recent.len() as i64);
                if count > 0 {
                    let period = (2 * (count - 1)).max(1);
                    let padded: Vec<f32> = (-reach..count + reach)
                        .map(|index| {
                            let phase = index.rem_euclid(period);
                            recent[phase.min(period - phase).min(count - 1) as usize]
                        })
                        .collect();
                    emit(&padded);
                }
            }
        }
    }

    /// Forgets the stream.
    pub(super) fn reset(&mut self) {
        match self {
            EdgeState::Valid => {}
            EdgeState::Zero { started, .. } => *started = false,
            EdgeState::Reflect { started, recent, .. } => {
                *started = false;
                recent.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn padded(edges: Edges, reach: usize, samples: &[f32], chunk: usize) -> Vec<f32> {
        let mut state = EdgeState::new(edges, reach);
        let mut out = Vec::new();
        // Twice: the second stream must not see the first.
        for _ in 0..2 {
            out.clear();
            for piece in samples.chunks(chunk) {
                state.push(piece, |part| out.extend_from_slice(part));
            }
            state.finish(|part| out.extend_from_slice(part));
            state.reset();
        }
        out
    }

    #[test]
    fn padding_is_that_of_numpy() {
        // numpy.pad(samples, reach, mode="constant" | "reflect")
        let zero = Edges::Center(Padding::Zero);
        let reflect = Edges::Center(Padding::Reflect);
        for (edges, reach, samples, expected) in [
            (Edges::Valid, 2, &[1.0, 2.0][..], &[1.0, 2.0][..]),
            (zero, 2, &[], &[]),
            (zero, 2, &[1.0], &[0.0, 0.0, 1.0, 0.0, 0.0]),
            (reflect, 2, &[], &[]),
            (reflect, 2, &[1.0], &[1.0; 5]),
            (reflect, 3, &[1.0, 2.0], &[2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0]),
            (reflect, 2, &[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0]),
            (reflect, 3, &[1.0, 2.0, 3.0], &[2.0, 3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0, 2.0]),
            (reflect, 1, &[1.0, 2.0, 3.0, 4.0], &[2.0, 1.0, 2.0, 3.0, 4.0, 3.0]),
            (reflect, 0, &[1.0, 2.0], &[1.0, 2.0]),
        ] {
            for chunk in 1..=samples.len().max(1) {
                assert_eq!(padded(edges, reach, samples, chunk), expected, "{edges:?} {reach} {samples:?} by {chunk}");
            }
        }
    }
}
