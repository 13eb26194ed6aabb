//! Sound cut into the windows that a model takes, each with the samples before it.

use crate::media::{Audio, Packet};
use crate::stages::timeline::{Continuity, Timeline};
use crate::units::{Rate, TimeSpan, Timestamp};

/// How sound is cut, in samples of each channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSize {
    /// New samples in a window. At least 1.
    pub window: usize,
    /// From the start of one window to the start of the next. At least 1.
    pub hop: usize,
    /// Samples of the past before each window; zeros where there is no past.
    pub context: usize,
    /// Whether the last samples, which do not fill a window, make one that is filled up with zeros.
    pub pad_last: bool,
}

/// A window, ready for the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// When its first new sample starts.
    pub start: Timestamp,
    /// The span of its new samples, without those that only fill it up.
    pub duration: TimeSpan,
    /// Context and window, interleaved.
    pub samples: Vec<f32>,
}

/// What comes of a packet, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A window.
    Window(Window),
    /// A break in the stream: what follows has nothing to do with what was before.
    Break,
}

/// Cuts one stream. What comes out does not depend on how the stream was cut into packets.
#[derive(Clone, Debug)]
pub struct Windower {
    size: WindowSize,
    channels: usize,
    timeline: Timeline,
    /// Whether a packet has come.
    begun: bool,
    /// Interleaved samples of the run after its first context of zeros; the first is number `base`, counted from there.
    held: Vec<f32>,
    base: u64,
    /// Where the next window starts, in samples of the run; its context starts there in the counting of `base`.
    next: u64,
    /// Where the newest window ended, in samples of the run.
    covered: u64,
}

impl Windower {
    /// For sound of this rate and number of channels.
    pub fn new(size: WindowSize, rate: Rate, channels: u16) -> Windower {
        let channels = usize::from(channels.max(1));
        let timeline = Timeline::new(rate);
        Windower { size, channels, timeline, begun: false, held: Vec::new(), base: 0, next: 0, covered: 0 }
    }

    /// Whether sound of this rate and number of channels belongs to the stream.
    pub fn fits(&self, audio: &Audio) -> bool {
        audio.rate() == self.timeline.rate() && usize::from(audio.channels()) == self.channels
    }

    /// The number of channels.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Takes a packet's sound, which must fit. After a break the rest of what was before comes first.
    pub fn push(&mut self, packet: &Packet, audio: &Audio, steps: &mut Vec<Step>) {
        match self.timeline.follows_packet(packet) {
            Continuity::Continues => {}
            Continuity::Begins => self.begin(),
            Continuity::Gap => {
                if self.begun {
                    self.finish(steps);
                    steps.push(Step::Break);
                }
                self.begin();
            }
        }
        self.timeline.accept_packet(packet, audio.frames());
        self.held.extend_from_slice(audio.samples());
        let whole = self.size.context + self.size.window;
        let mut at = self.offset();
        while let Some(samples) = self.held.get(at..at.saturating_add(whole * self.channels)) {
            let samples = samples.to_vec();
            steps.push(self.window(samples, self.size.window));
            at = self.offset();
        }
        let passed = at.min(self.held.len());
        self.held.drain(..passed);
        self.base += (passed / self.channels) as u64;
    }

    /// Ends the stream: windows filled up with zeros, where they are wanted, until every sample was in one.
    pub fn finish(&mut self, steps: &mut Vec<Step>) {
        let whole = (self.size.context + self.size.window) * self.channels;
        while self.size.pad_last && self.begun {
            let end = self.timeline.samples();
            if self.covered >= end || self.next >= end {
                break;
            }
            let valid = usize::try_from(end - self.next).unwrap_or(usize::MAX).min(self.size.window);
            let mut samples = self.held.get(self.offset()..).unwrap_or_default().to_vec();
            samples.resize(whole, 0.0);
            steps.push(self.window(samples, valid));
        }
    }

    /// When the next window starts, if the stream has begun.
    pub fn next_start(&self) -> Option<Timestamp> {
        self.begun.then(|| self.timeline.time_of(self.next))
    }

    fn begin(&mut self) {
        self.held.clear();
        self.held.resize(self.size.context * self.channels, 0.0);
        self.begun = true;
        (self.base, self.next, self.covered) = (0, 0, 0);
    }

    /// The place in `held` where the next window's context starts.
    fn offset(&self) -> usize {
        usize::try_from(self.next - self.base).unwrap_or(usize::MAX).saturating_mul(self.channels)
    }

    fn window(&mut self, samples: Vec<f32>, valid: usize) -> Step {
        let end = self.next + valid as u64;
        let window =
            Window { start: self.timeline.time_of(self.next), duration: self.timeline.span(self.next, end), samples };
        self.covered = end;
        self.next += self.size.hop as u64;
        Step::Window(window)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::StreamId;

    fn rate() -> Rate {
        Rate::hz(1000).unwrap()
    }

    fn size(window: usize, hop: usize, context: usize, pad_last: bool) -> WindowSize {
        WindowSize { window, hop, context, pad_last }
    }

    fn packet(from: u64, frames: usize, channels: u16) -> (Packet, Audio) {
        let channels = usize::from(channels);
        let first = from as usize * channels;
        let samples: Vec<f32> = (first..first + frames * channels).map(|i| (i + 1) as f32).collect();
        let audio = Audio::new(samples, channels as u16, rate()).unwrap();
        let end = from + frames as u64;
        (Packet::new(StreamId(0), rate().time_of(from), rate().span(from, end), audio.clone()), audio)
    }

    /// Start in samples, samples, valid samples of each window.
    fn cut(size: WindowSize, channels: u16, frames: usize, cuts: &[usize]) -> Vec<(u64, Vec<f32>, u64)> {
        let mut windower = Windower::new(size, rate(), channels);
        let (mut steps, mut from) = (Vec::new(), 0);
        for &cut in cuts.iter().chain([&frames]) {
            let cut = cut.min(frames - from);
            let (packet, audio) = packet(from as u64, cut, channels);
            windower.push(&packet, &audio, &mut steps);
            from += cut;
        }
        windower.finish(&mut steps);
        windows(&steps)
    }

    fn windows(steps: &[Step]) -> Vec<(u64, Vec<f32>, u64)> {
        steps
            .iter()
            .filter_map(|step| match step {
                Step::Window(window) => {
                    let valid = rate().samples_in(window.duration);
                    Some((rate().index_at(window.start), window.samples.clone(), valid))
                }
                Step::Break => None,
            })
            .collect()
    }

    #[test]
    fn what_windows_hold() {
        type Expected = Vec<(u64, Vec<f32>, u64)>;
        let cases: Vec<(&str, WindowSize, u16, usize, Expected)> = vec![
            ("in a row", size(2, 2, 0, true), 1, 4, vec![(0, vec![1., 2.], 2), (2, vec![3., 4.], 2)]),
            ("the rest padded", size(2, 2, 0, true), 1, 3, vec![(0, vec![1., 2.], 2), (2, vec![3., 0.], 1)]),
            ("the rest dropped", size(2, 2, 0, false), 1, 3, vec![(0, vec![1., 2.], 2)]),
            ("context", size(2, 2, 1, true), 1, 3, vec![(0, vec![0., 1., 2.], 2), (2, vec![2., 3., 0.], 1)]),
            (
                "overlap: no window more than needed",
                size(3, 1, 0, true),
                1,
                4,
                vec![(0, vec![1., 2., 3.], 3), (1, vec![2., 3., 4.], 3)],
            ),
            ("overlap of a short stream", size(3, 1, 0, true), 1, 2, vec![(0, vec![1., 2., 0.], 2)]),
            ("a hop that leaves out", size(1, 3, 1, true), 1, 5, vec![(0, vec![0., 1.], 1), (3, vec![3., 4.], 1)]),
            ("channels", size(2, 2, 1, true), 2, 2, vec![(0, vec![0., 0., 1., 2., 3., 4.], 2)]),
            ("nothing", size(2, 2, 1, true), 1, 0, vec![]),
        ];
        for (name, size, channels, frames, expected) in cases {
            assert_eq!(cut(size, channels, frames, &[]), expected, "{name}");
            assert_eq!(cut(size, channels, frames, &vec![1; frames]), expected, "{name}, sample by sample");
        }
    }

    #[test]
    fn after_a_break_all_begins_anew() {
        let mut windower = Windower::new(size(2, 2, 1, true), rate(), 1);
        let mut steps = Vec::new();
        let (first, audio) = packet(0, 3, 1);
        windower.push(&first, &audio, &mut steps);
        assert_eq!(windower.next_start(), Some(rate().time_of(2)));
        let (later, audio) = packet(10, 2, 1);
        windower.push(&later, &audio, &mut steps);
        assert_eq!(steps.iter().position(|step| *step == Step::Break), Some(2));
        let expected = vec![(0, vec![0., 1., 2.], 2), (2, vec![2., 3., 0.], 1), (10, vec![0., 11., 12.], 2)];
        assert_eq!(windows(&steps), expected);
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same(
            window in 1usize..7, hop in 1usize..9, context in 0usize..5, pad in any::<bool>(), channels in 1u16..3,
            frames in 0usize..40, cuts in proptest::collection::vec(0usize..9, 0..20),
        ) {
            let size = size(window, hop, context, pad);
            prop_assert_eq!(cut(size, channels, frames, &cuts), cut(size, channels, frames, &[]));
        }

        #[test]
        fn padded_windows_hold_every_sample(
            (window, hop) in (1usize..7).prop_flat_map(|window| (Just(window), 1..=window)), frames in 0usize..40,
        ) {
            let windows = cut(size(window, hop, 0, true), 1, frames, &[]);
            let mut seen = vec![false; frames];
            for (start, samples, valid) in &windows {
                prop_assert_eq!(samples.len(), window);
                for i in 0..*valid {
                    seen[(start + i) as usize] = true;
                }
            }
            prop_assert!(seen.iter().all(|seen| *seen));
        }
    }
}
