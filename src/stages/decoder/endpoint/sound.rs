//! The run of sound that may still be needed.

use std::collections::VecDeque;
use std::ops::Range;

/// Unbroken sound whose samples are numbered from 0; the oldest ones can be forgotten.
#[derive(Clone, Debug, Default)]
pub(super) struct Sound {
    /// The number of the oldest sample kept.
    first: u64,
    samples: VecDeque<f32>,
}

impl Sound {
    /// Samples so far, forgotten ones included.
    pub fn len(&self) -> u64 {
        self.first.saturating_add(self.samples.len() as u64)
    }

    /// Samples in memory.
    #[cfg(test)]
    pub fn kept(&self) -> usize {
        self.samples.len()
    }

    /// Adds samples at the end.
    pub fn push(&mut self, samples: &[f32]) {
        self.samples.extend(samples);
    }

    /// Forgets the samples before `index`.
    pub fn forget_before(&mut self, index: u64) {
        let count = index.saturating_sub(self.first).min(self.samples.len() as u64);
        self.samples.drain(..count as usize);
        self.first += count;
    }

    /// The samples `range`, as many of them as are kept.
    pub fn copy(&self, range: Range<u64>) -> Vec<f32> {
        let at = |index: u64| index.saturating_sub(self.first).min(self.samples.len() as u64) as usize;
        let (from, to) = (at(range.start), at(range.end));
        self.samples.range(from..to.max(from)).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_had_as_long_as_they_are_kept() {
        let mut sound = Sound::default();
        sound.push(&[0.0, 1.0, 2.0]);
        sound.push(&[3.0, 4.0]);
        sound.forget_before(2);
        assert_eq!((sound.len(), sound.kept()), (5, 3));
        for (range, samples) in
            [(2..5, vec![2.0, 3.0, 4.0]), (0..3, vec![2.0]), (4..9, vec![4.0]), (0..1, vec![]), (7..9, vec![])]
        {
            assert_eq!(sound.copy(range.clone()), samples, "{range:?}");
        }
        sound.forget_before(99);
        assert_eq!((sound.len(), sound.kept()), (5, 0));
    }
}
