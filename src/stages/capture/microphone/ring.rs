//! The wait-free ring between a device's callback and the stream that reads it.
//!
//! The callback neither allocates nor locks nor waits: it writes what fits and counts what does not. Where something is
//! missing between two samples it leaves a mark, so that the reader knows the place.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rtrb::{Consumer, Producer, RingBuffer};

/// Marks that wait to be read.
const MARKS: usize = 64;

/// Samples are missing before frame `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hole {
    /// Frames that were written before it.
    at: u64,
    /// Frames that are missing; 0: the device lost some, nobody knows how many.
    pub frames: u64,
}

#[derive(Debug, Default)]
struct Counts {
    /// Frames that found no room.
    overrun: AtomicU64,
    /// How often the device said that it lost samples.
    slips: AtomicU64,
}

/// The callback's end.
#[derive(Debug)]
pub(super) struct RingWriter {
    samples: Producer<f32>,
    marks: Producer<Hole>,
    counts: Arc<Counts>,
    channels: usize,
    written: u64,
    /// Frames dropped since the last that was written.
    missing: u64,
    /// Slips that are marked already.
    slips: u64,
}

/// The reader's end.
#[derive(Debug)]
pub(super) struct RingReader {
    samples: Consumer<f32>,
    marks: Consumer<Hole>,
    counts: Arc<Counts>,
    channels: usize,
    read: u64,
}

/// Tells the ring, from any thread, that the device lost samples.
#[derive(Clone, Debug)]
pub(super) struct SlipBell(Arc<Counts>);

/// A ring for `frames` frames of `channels` samples, at least one of each.
pub(super) fn ring(frames: usize, channels: u16) -> (RingWriter, RingReader) {
    let channels = usize::from(channels.max(1));
    let (producer, consumer) = RingBuffer::new(frames.max(1).saturating_mul(channels));
    let (mark, marks) = RingBuffer::new(MARKS);
    let counts = Arc::new(Counts::default());
    let writer = RingWriter {
        samples: producer,
        marks: mark,
        counts: counts.clone(),
        channels,
        written: 0,
        missing: 0,
        slips: 0,
    };
    (writer, RingReader { samples: consumer, marks, counts, channels, read: 0 })
}

impl RingWriter {
    pub(super) fn bell(&self) -> SlipBell {
        SlipBell(self.counts.clone())
    }

    /// Writes as many whole frames as there is room for. Wait-free; samples behind the last whole frame are left out.
    pub(super) fn write(&mut self, samples: impl ExactSizeIterator<Item = f32>) {
        let frames = samples.len() / self.channels;
        let slips = self.counts.slips.load(Ordering::Acquire);
        let fits = if self.mark(slips) { frames.min(self.samples.slots() / self.channels) } else { 0 };
        if fits > 0
            && let Ok(chunk) = self.samples.write_chunk_uninit(fits * self.channels)
        {
            chunk.fill_from_iter(samples);
            self.written += fits as u64;
        }
        let dropped = (frames - fits) as u64;
        if dropped > 0 {
            self.missing += dropped;
            self.counts.overrun.fetch_add(dropped, Ordering::Release);
        }
    }

    /// Marks what is missing before the next frame. False when there is no room for the mark: then nothing may be
    /// written.
    fn mark(&mut self, slips: u64) -> bool {
        if (self.missing == 0 && slips == self.slips) || self.samples.slots() < self.channels {
            return true;
        }
        // Of a device's own losses nobody knows the length, so neither that of both together.
        let frames = if slips == self.slips { self.missing } else { 0 };
        if self.marks.push(Hole { at: self.written, frames }).is_err() {
            return false;
        }
        self.missing = 0;
        self.slips = slips;
        true
    }
}

impl SlipBell {
    pub(super) fn ring(&self) {
        self.0.slips.fetch_add(1, Ordering::Release);
    }
}

impl RingReader {
    /// Appends what is there up to the next hole to `out`. Gives the number of frames, and the hole that was reached; call
    /// again after a hole.
    pub(super) fn read(&mut self, out: &mut Vec<f32>) -> (usize, Option<Hole>) {
        // Samples first: the mark of a hole before any of these was written before them.
        let there = self.samples.slots() / self.channels;
        let hole = self.marks.peek().ok().copied();
        let until = hole.map_or(u64::MAX, |hole| hole.at.saturating_sub(self.read));
        let frames = there.min(usize::try_from(until).unwrap_or(usize::MAX));
        if let Ok(chunk) = self.samples.read_chunk(frames * self.channels) {
            let (first, second) = chunk.as_slices();
            out.extend_from_slice(first);
            out.extend_from_slice(second);
            chunk.commit_all();
        }
        self.read += frames as u64;
        let reached = hole.filter(|hole| hole.at <= self.read);
        if reached.is_some() {
            // It was seen a moment ago, and only this end takes marks.
            let _ = self.marks.pop();
        }
        (frames, reached)
    }

    /// Frames that wait.
    pub(super) fn waiting(&self) -> usize {
        self.samples.slots() / self.channels
    }

    /// Frames that found no room so far.
    pub(super) fn overrun(&self) -> u64 {
        self.counts.overrun.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers(range: std::ops::Range<u32>) -> impl ExactSizeIterator<Item = f32> {
        range.map(|number| number as f32)
    }

    #[test]
    fn what_has_no_room_is_counted_and_its_place_marked() {
        let (mut writer, mut reader) = ring(4, 1);
        let mut out = Vec::new();
        writer.write(numbers(0..6));
        assert_eq!(reader.read(&mut out), (4, None));
        assert_eq!(reader.overrun(), 2);
        writer.write(numbers(6..8));
        assert_eq!(reader.read(&mut out), (0, Some(Hole { at: 4, frames: 2 })));
        assert_eq!(reader.read(&mut out), (2, None));
        assert_eq!(out, [0.0, 1.0, 2.0, 3.0, 6.0, 7.0]);
    }

    #[test]
    fn a_device_s_own_loss_is_marked_before_the_samples_after_it() {
        let (mut writer, mut reader) = ring(8, 2);
        let bell = writer.bell();
        let mut out = Vec::new();
        writer.write(numbers(0..4));
        bell.ring();
        bell.ring();
        writer.write(numbers(4..6));
        assert_eq!(reader.read(&mut out), (2, Some(Hole { at: 2, frames: 0 })));
        assert_eq!(reader.read(&mut out), (1, None));
        assert_eq!(reader.read(&mut out), (0, None));
        assert_eq!(reader.overrun(), 0);
    }

    proptest! {
        /// Frames written, dropped and read add up, and every frame is where its number says.
        #[test]
        fn no_frame_is_lost_unseen(
            channels in 1u16..4,
            capacity in 1usize..40,
            steps in proptest::collection::vec((0u32..30, any::<bool>()), 1..400),
        ) {
            let (mut writer, mut reader) = ring(capacity, channels);
            let width = u32::from(channels);
            let (mut written, mut position) = (0u32, 0u64);
            let mut read_all = |reader: &mut RingReader| loop {
                let mut out = Vec::new();
                let (frames, hole) = reader.read(&mut out);
                for (index, sample) in out.iter().enumerate() {
                    assert_eq!(*sample, (position * u64::from(width) + index as u64) as f32);
                }
                position += frames as u64 + hole.map_or(0, |hole| hole.frames);
                if hole.is_none() && frames == 0 {
                    return position;
                }
            };
            for (frames, read) in steps {
                writer.write(numbers(written * width..(written + frames) * width));
                written += frames;
                if read {
                    read_all(&mut reader);
                }
            }
            let seen = read_all(&mut reader);
            prop_assert_eq!(seen + writer.missing, u64::from(written));
        }
    }
}
