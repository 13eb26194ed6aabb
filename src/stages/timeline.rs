//! The times of a stream of samples: where its present run begins, and when each sample of the run starts.
//!
//! Samples that come packet after packet without a break are one *run*. A stage that holds samples back (frames, filters,
//! utterances) counts them from the beginning of the run and asks the [`Timeline`] for times. Since times come from
//! counts, and the anchor of a run from its first packet alone, they are the same for any cutting of the run into packets.

use crate::media::Packet;
use crate::units::{Rate, TimeSpan, Timestamp};

/// How a packet follows the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// It is the stream's first.
    Begins,
    /// It goes on where the last one ended, give or take one sample period.
    Continues,
    /// Something between them is missing, or both overlap: a new run begins. What is held of the old run is flushed
    /// first, while the timeline still knows its times.
    Gap,
}

/// Counts the samples (for sound: frames) of a run and tells their times.
///
/// A packet begins a new run when it is flagged [`gap`](crate::media::Flags::gap), or starts more than one sample period
/// away from where the last one ended. The run is anchored at its start, but never before the end of the run before it:
/// sound that overlaps what came before is placed after it, so that times never go back.
///
/// ```
/// use percept::stages::timeline::{Continuity, Timeline};
/// use percept::units::{Rate, Timestamp};
///
/// let mut timeline = Timeline::new(Rate::hz(16_000)?);
/// let start = Timestamp::from_nanos(1_000_000_000);
/// assert_eq!(timeline.accept(start, 160, false), Continuity::Begins);
/// assert_eq!(timeline.end(), Timestamp::from_nanos(1_010_000_000));
/// assert_eq!(timeline.accept(timeline.end(), 160, false), Continuity::Continues);
/// assert_eq!(timeline.time_of(240).as_nanos(), 1_015_000_000);
/// # Ok::<(), percept::units::RateError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Timeline {
    rate: Rate,
    /// The time of sample 0 of the run; `None` before the first packet.
    anchor: Option<Timestamp>,
    /// Samples of the run so far.
    samples: u64,
    /// How much later the run is placed than its packets say, because it overlapped the run before it. Never negative.
    shift: TimeSpan,
}

impl Timeline {
    /// A stream of `rate` samples per second that has not begun.
    pub fn new(rate: Rate) -> Self {
        Timeline { rate, anchor: None, samples: 0, shift: TimeSpan::ZERO }
    }

    /// Samples per second.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// How samples that start at `start` follow what was accepted so far; changes nothing. `gap` is the packet's flag.
    pub fn follows(&self, start: Timestamp, gap: bool) -> Continuity {
        if gap {
            return Continuity::Gap;
        }
        if self.anchor.is_none() {
            return Continuity::Begins;
        }
        let away = start.since(self.end() - self.shift).as_nanos().unsigned_abs();
        if away > self.rate.span(0, 1).as_nanos().unsigned_abs() { Continuity::Gap } else { Continuity::Continues }
    }

    /// Takes `samples` samples that start at `start`, and says how they follow. Unless they continue the run, they begin
    /// a new one, and every time and count from now on is the new run's.
    pub fn accept(&mut self, start: Timestamp, samples: usize, gap: bool) -> Continuity {
        let continuity = self.follows(start, gap);
        if continuity != Continuity::Continues {
            let anchor = if self.anchor.is_some() { start.max(self.end()) } else { start };
            self.shift = anchor - start;
            self.anchor = Some(anchor);
            self.samples = 0;
        }
        self.samples = self.samples.saturating_add(samples as u64);
        continuity
    }

    /// [`follows`](Self::follows) for a packet.
    pub fn follows_packet(&self, packet: &Packet) -> Continuity {
        self.follows(packet.start, packet.flags.gap)
    }

    /// [`accept`](Self::accept) for a packet of `samples` samples.
    pub fn accept_packet(&mut self, packet: &Packet, samples: usize) -> Continuity {
        self.accept(packet.start, samples, packet.flags.gap)
    }

    /// Samples of the present run so far.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Whether a packet has come.
    pub fn has_begun(&self) -> bool {
        self.anchor.is_some()
    }

    /// When the present run begins; zero before the first packet.
    pub fn anchor(&self) -> Timestamp {
        self.anchor.unwrap_or(Timestamp::ZERO)
    }

    /// When sample `index` of the present run starts; it need not have come yet.
    pub fn time_of(&self, index: u64) -> Timestamp {
        self.time_at(self.rate, index)
    }

    /// When sample `index` of a signal of another `rate` starts that begins with the present run: of the run resampled.
    pub fn time_at(&self, rate: Rate, index: u64) -> Timestamp {
        self.anchor() + rate.time_of(index).since(Timestamp::ZERO)
    }

    /// The span from sample `from` to sample `to` of the present run; neighbouring spans touch exactly.
    pub fn span(&self, from: u64, to: u64) -> TimeSpan {
        self.time_of(to) - self.time_of(from)
    }

    /// When the samples that have come so far end.
    pub fn end(&self) -> Timestamp {
        self.time_of(self.samples)
    }

    /// The sample of the present run that starts nearest to `time`; 0 for times before the run.
    pub fn index_at(&self, time: Timestamp) -> u64 {
        self.rate.index_at(Timestamp::ZERO + time.since(self.anchor()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Continuity::{Begins, Continues, Gap};
    use super::*;

    fn at(nanos: i64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    #[test]
    fn continuity_cases() {
        // At 1 kHz a sample lasts 1 ms. Each step: start in µs, samples, flagged, what it is, end of the run in µs.
        type Step = (i64, usize, bool, Continuity, i64);
        let cases: [(&str, &[Step]); 8] = [
            ("contiguous", &[(0, 10, false, Begins, 10_000), (10_000, 5, false, Continues, 15_000)]),
            ("from anywhere", &[(-7_300, 10, false, Begins, 2_700), (2_700, 1, false, Continues, 3_700)]),
            (
                "within one period nothing moves",
                &[
                    (0, 10, false, Begins, 10_000),
                    (11_000, 5, false, Continues, 15_000),
                    (14_000, 1, false, Continues, 16_000),
                ],
            ),
            ("more than one period late", &[(0, 10, false, Begins, 10_000), (11_001, 5, false, Gap, 16_001)]),
            ("flagged", &[(0, 10, false, Begins, 10_000), (10_000, 5, true, Gap, 15_000)]),
            ("flagged at once", &[(3_000, 1, true, Gap, 4_000)]),
            (
                "overlap is placed after, once, and the next real gap sets it right",
                &[
                    (0, 10, false, Begins, 10_000),
                    (5_000, 10, false, Gap, 20_000),
                    (15_000, 10, false, Continues, 30_000),
                    (27_000, 1, false, Gap, 31_000),
                    (50_000, 1, false, Gap, 51_000),
                    (51_000, 1, false, Continues, 52_000),
                ],
            ),
            (
                "nothing in it",
                &[(0, 0, false, Begins, 0), (0, 3, false, Continues, 3_000), (3_000, 0, false, Continues, 3_000)],
            ),
        ];
        for (name, steps) in cases {
            let mut timeline = Timeline::new(Rate::hz(1000).unwrap());
            for (start, samples, gap, expected, end) in steps {
                assert_eq!(timeline.follows(at(start * 1000), *gap), *expected, "{name}: {start}");
                assert_eq!(timeline.accept(at(start * 1000), *samples, *gap), *expected, "{name}: {start}");
                assert_eq!(timeline.end(), at(end * 1000), "{name}: {start}");
            }
        }
    }

    #[test]
    fn another_rate_counts_from_the_same_anchor() {
        let mut timeline = Timeline::new(Rate::hz(48_000).unwrap());
        timeline.accept(at(2_000), 480, false);
        assert_eq!(timeline.time_at(Rate::hz(16_000).unwrap(), 160), at(10_002_000));
        assert_eq!(timeline.end(), at(10_002_000));
    }

    #[test]
    fn the_ends_of_the_scale_do_not_wrap() {
        for start in [Timestamp::MIN, Timestamp::MAX] {
            let mut timeline = Timeline::new(Rate::hz(1).unwrap());
            timeline.accept(start, usize::MAX, false);
            timeline.accept(Timestamp::MAX, usize::MAX, false);
            timeline.accept(Timestamp::MIN, usize::MAX, true);
            assert!(timeline.end() >= timeline.anchor());
            assert!(timeline.span(0, u64::MAX) >= TimeSpan::ZERO);
            timeline.index_at(Timestamp::MIN);
        }
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same_times(
            hz in 1u32..400_000,
            anchor in -1i64 << 40..1 << 50,
            cuts in proptest::collection::vec(0usize..10_000, 1..20),
        ) {
            let mut timeline = Timeline::new(Rate::hz(hz).unwrap());
            let mut source = 0;
            for cut in &cuts {
                let start = at(anchor) + timeline.rate().time_of(source).since(Timestamp::ZERO);
                prop_assert_ne!(timeline.accept(start, *cut, false), Gap);
                source += *cut as u64;
            }
            prop_assert_eq!(timeline.anchor(), at(anchor));
            prop_assert_eq!(timeline.samples(), source);
            prop_assert_eq!(timeline.index_at(timeline.end()), source);
            prop_assert_eq!(timeline.span(0, source / 2) + timeline.span(source / 2, source), timeline.end() - at(anchor));
        }

        #[test]
        fn runs_never_go_back(steps in proptest::collection::vec((0i64..3_000_000, 0usize..3000, any::<bool>()), 1..30)) {
            let mut timeline = Timeline::new(Rate::hz(1000).unwrap());
            let (mut start, mut end) = (0, Timestamp::MIN);
            for (later, samples, gap) in steps {
                start += later;
                timeline.accept(at(start), samples, gap);
                // The first of the new samples starts where the old ones end, or later.
                prop_assert!(timeline.time_of(timeline.samples() - samples as u64) >= end);
                end = timeline.end();
            }
        }
    }
}
