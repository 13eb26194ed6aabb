//! The same thing from frame to frame.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::assignment::assign;
use super::{Bounds, Candidate};

/// The settings of a [`Tracker`]. Defaults are those of the paper and its authors' code.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrackerConfig {
    /// The least intersection over union of a box with the one that is expected of a track, for it to be the same
    /// thing; 0 to 1.
    pub min_iou: f64,
    /// How many frames a track outlives without a box.
    pub max_missed: u32,
    /// How many frames in a row must show a thing before it gets a number. In the first frames of a stream it gets one
    /// at once.
    pub min_hits: u32,
}

impl Default for TrackerConfig {
    fn default() -> Self {
        TrackerConfig { min_iou: 0.3, max_missed: 1, min_hits: 3 }
    }
}

/// A box that was found, as part of a track.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tracked {
    /// Which of the candidates it is.
    pub candidate: usize,
    /// The number of its track, from 0 in the order in which tracks are confirmed; never used again.
    pub track: u64,
    /// Its box, smoothed.
    pub bounds: Bounds,
}

/// Follows boxes over frames: each track expects its box by a Kalman filter of constant velocity, and boxes are given
/// to tracks of their class so that the sum of their overlaps is greatest. A. Bewley et al., "Simple Online and
/// Realtime Tracking" (SORT, 2016).
///
/// The filter's state is the box's centre, area and proportions, and the speed of the first three (section 3.2). The
/// noise is that of the authors' code; as none of it is shared between the four, they are four filters.
#[derive(Clone, Debug)]
pub struct Tracker {
    config: TrackerConfig,
    tracks: Vec<Track>,
    frames: u64,
    next: u64,
}

#[derive(Clone, Debug)]
struct Track {
    class: usize,
    centre_x: Filter,
    centre_y: Filter,
    area: Filter,
    /// Width over height; without a speed.
    proportions: Filter,
    /// Frames in a row that showed it.
    hits: u32,
    /// Frames since one showed it.
    missed: u32,
    number: Option<u64>,
}

/// A Kalman filter of a number and its change from frame to frame.
#[derive(Clone, Copy, Debug)]
struct Filter {
    value: f64,
    speed: f64,
    /// Variance of the value, covariance, variance of the speed.
    covariance: [f64; 3],
    /// What each frame adds to the variances of value and speed.
    process: [f64; 2],
    /// The variance of what is measured.
    measured: f64,
}

impl Filter {
    fn moving(value: f64, speed_noise: f64, measured: f64) -> Self {
        Filter { value, speed: 0.0, covariance: [10.0, 0.0, 10_000.0], process: [1.0, speed_noise], measured }
    }

    fn still(value: f64, measured: f64) -> Self {
        Filter { value, speed: 0.0, covariance: [10.0, 0.0, 0.0], process: [1.0, 0.0], measured }
    }

    /// A frame later.
    fn predict(&mut self) {
        let [value, both, speed] = self.covariance;
        self.value += self.speed;
        self.covariance = [value + 2.0 * both + speed + self.process[0], both + speed, speed + self.process[1]];
    }

    /// What was measured.
    fn correct(&mut self, measured: f64) {
        let [value, both, speed] = self.covariance;
        let total = value + self.measured;
        let (gain, speed_gain) = (value / total, both / total);
        let surprise = measured - self.value;
        self.value += gain * surprise;
        self.speed += speed_gain * surprise;
        self.covariance = [(1.0 - gain) * value, (1.0 - gain) * both, speed - speed_gain * both];
    }
}

/// Centre, area and proportions of a box.
fn shape(bounds: &Bounds) -> [f64; 4] {
    let (width, height) = (f64::from(bounds.width), f64::from(bounds.height));
    [f64::from(bounds.x) + width / 2.0, f64::from(bounds.y) + height / 2.0, width * height, width / height]
}

impl Track {
    fn new(candidate: &Candidate) -> Self {
        let [x, y, area, proportions] = shape(&candidate.bounds);
        Track {
            class: candidate.class,
            centre_x: Filter::moving(x, 0.01, 1.0),
            centre_y: Filter::moving(y, 0.01, 1.0),
            area: Filter::moving(area, 0.0001, 10.0),
            proportions: Filter::still(proportions, 10.0),
            hits: 0,
            missed: 0,
            number: None,
        }
    }

    fn predict(&mut self) {
        if self.area.value + self.area.speed <= 0.0 {
            self.area.speed = 0.0;
        }
        for filter in [&mut self.centre_x, &mut self.centre_y, &mut self.area, &mut self.proportions] {
            filter.predict();
        }
    }

    fn correct(&mut self, bounds: &Bounds) {
        let filters = [&mut self.centre_x, &mut self.centre_y, &mut self.area, &mut self.proportions];
        for (filter, measured) in filters.into_iter().zip(shape(bounds)) {
            filter.correct(measured);
        }
    }

    fn bounds(&self) -> Bounds {
        let (area, proportions) = (self.area.value.max(0.0), self.proportions.value.max(0.0));
        let width = (area * proportions).sqrt();
        let height = if width > 0.0 { area / width } else { 0.0 };
        Bounds {
            x: (self.centre_x.value - width / 2.0) as f32,
            y: (self.centre_y.value - height / 2.0) as f32,
            width: width as f32,
            height: height as f32,
        }
    }
}

impl Tracker {
    /// A tracker of one stream.
    pub fn new(config: TrackerConfig) -> Self {
        Tracker { config, tracks: Vec::new(), frames: 0, next: 0 }
    }

    /// Takes what was found in the next frame, and returns what of it belongs to a confirmed track, in the order of the
    /// candidates. A frame in which nothing was found counts too.
    ///
    /// Candidates whose box is not finite or has no area belong to no track. Scores play no part.
    pub fn step(&mut self, candidates: &[Candidate]) -> Vec<Tracked> {
        self.frames = self.frames.saturating_add(1);
        self.tracks.iter_mut().for_each(Track::predict);
        let usable: Vec<usize> = (0..candidates.len()).filter(|at| candidates[*at].bounds.is_proper()).collect();
        let expected: Vec<Bounds> = self.tracks.iter().map(Track::bounds).collect();
        let overlap = |track: usize, at: usize| {
            let candidate = &candidates[usable[at]];
            let same = self.tracks[track].class == candidate.class;
            if same { expected[track].iou(&candidate.bounds) } else { 0.0 }
        };
        let pairs = assign(self.tracks.len(), usable.len(), &|track, at| -overlap(track, at));
        let least = self.config.min_iou.max(f64::MIN_POSITIVE);
        let pairs: Vec<Option<usize>> = pairs
            .into_iter()
            .enumerate()
            .map(|(track, at)| at.filter(|at| overlap(track, *at) >= least).map(|at| usable[at]))
            .collect();
        let mut taken = vec![false; candidates.len()];
        let mut shown = Vec::new();
        for (track, candidate) in self.tracks.iter_mut().zip(&pairs) {
            match candidate {
                Some(at) => {
                    track.hits = if track.missed > 0 { 1 } else { track.hits.saturating_add(1) };
                    track.missed = 0;
                    track.correct(&candidates[*at].bounds);
                    taken[*at] = true;
                    shown.push((*at, track));
                }
                None => {
                    track.missed = track.missed.saturating_add(1);
                    track.hits = 0;
                }
            }
        }
        let early = self.frames <= u64::from(self.config.min_hits);
        // In the order of the candidates, so that numbers do not depend on that of the tracks.
        shown.sort_by_key(|(at, _)| *at);
        let mut found: Vec<Tracked> = Vec::new();
        for (at, track) in shown {
            found.extend(show(track, at, early || track.hits >= self.config.min_hits, &mut self.next));
        }
        for at in usable.into_iter().filter(|at| !taken[*at]) {
            let mut track = Track::new(&candidates[at]);
            found.extend(show(&mut track, at, early || self.config.min_hits == 0, &mut self.next));
            self.tracks.push(track);
        }
        found.sort_by_key(|tracked| tracked.candidate);
        let most = self.config.max_missed;
        self.tracks.retain(|track| track.missed <= most);
        found
    }

    /// Forgets all tracks; numbers begin at 0 again.
    pub fn reset(&mut self) {
        *self = Tracker::new(self.config);
    }
}

/// The candidate as part of its track, when that has a number or may get one now.
fn show(track: &mut Track, candidate: usize, confirmed: bool, next: &mut u64) -> Option<Tracked> {
    if track.number.is_none() && confirmed {
        track.number = Some(*next);
        *next += 1;
    }
    track.number.map(|number| Tracked { candidate, track: number, bounds: track.bounds() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(x: f32, y: f32, class: usize) -> Candidate {
        Candidate { bounds: Bounds { x, y, width: 20.0, height: 10.0 }, score: 1.0, class }
    }

    fn numbers(tracked: &[Tracked]) -> Vec<(usize, u64)> {
        tracked.iter().map(|tracked| (tracked.candidate, tracked.track)).collect()
    }

    #[test]
    fn two_things_that_pass_each_other_keep_their_numbers() {
        let mut tracker = Tracker::new(TrackerConfig::default());
        for frame in 0..60u8 {
            let x = f32::from(frame) * 4.0;
            let (right, left) = (at(x, 0.0, 0), at(236.0 - x, 6.0, 0));
            // The detector gives them in changing order.
            if frame % 2 == 0 {
                assert_eq!(numbers(&tracker.step(&[right, left])), [(0, 0), (1, 1)], "{frame}");
            } else {
                assert_eq!(numbers(&tracker.step(&[left, right])), [(0, 1), (1, 0)], "{frame}");
            }
        }
    }

    #[test]
    fn a_track_outlives_the_frames_it_may_miss() {
        for (missing, max_missed, same) in [(1, 1, true), (2, 1, false), (5, 5, true), (6, 5, false)] {
            let mut tracker = Tracker::new(TrackerConfig { max_missed, min_hits: 1, ..TrackerConfig::default() });
            for frame in 0..10u8 {
                tracker.step(&[at(f32::from(frame) * 5.0, 0.0, 0)]);
            }
            (0..missing).for_each(|_| assert!(tracker.step(&[]).is_empty()));
            let again = at((10 + missing) as f32 * 5.0, 0.0, 0);
            let first = tracker.step(&[again]);
            let second = tracker.step(&[at((11 + missing) as f32 * 5.0, 0.0, 0)]);
            let number = if same { 0 } else { 1 };
            assert_eq!(numbers(&first), if same { vec![(0, 0)] } else { vec![] }, "{missing} {max_missed}");
            assert_eq!(numbers(&second), [(0, number)], "{missing} {max_missed}");
        }
    }

    #[test]
    fn a_number_takes_some_frames() {
        let mut tracker = Tracker::new(TrackerConfig::default());
        // The first frames of a stream are exempt.
        assert_eq!(numbers(&tracker.step(&[at(0.0, 0.0, 0)])), [(0, 0)]);
        (0..9).for_each(|_| drop(tracker.step(&[at(0.0, 0.0, 0)])));
        let both = [at(0.0, 0.0, 0), at(300.0, 0.0, 0)];
        for _ in 0..3 {
            assert_eq!(numbers(&tracker.step(&both)), [(0, 0)]);
        }
        assert_eq!(numbers(&tracker.step(&both)), [(0, 0), (1, 1)]);
        tracker.reset();
        assert_eq!(numbers(&tracker.step(&both)), [(0, 0), (1, 1)]);
    }

    #[test]
    fn classes_do_not_mix() {
        let mut tracker = Tracker::new(TrackerConfig { min_hits: 1, ..TrackerConfig::default() });
        tracker.step(&[at(0.0, 0.0, 7)]);
        assert_eq!(numbers(&tracker.step(&[at(0.0, 0.0, 8)])), []);
        assert_eq!(numbers(&tracker.step(&[at(0.0, 0.0, 8), at(0.0, 0.0, 7)])), [(0, 1), (1, 0)]);
    }

    #[test]
    fn noise_is_smoothed_and_speed_learnt() {
        let mut tracker = Tracker::new(TrackerConfig { min_hits: 0, ..TrackerConfig::default() });
        let (mut raw, mut smooth) = (0.0, 0.0);
        for frame in 0..200u16 {
            let truth = f32::from(frame) * 3.0;
            let noise = [1.5, -1.0, 0.5, -2.0, 1.0][usize::from(frame) % 5];
            let found = tracker.step(&[at(truth + noise, 0.0, 0)]);
            if frame >= 100 {
                raw += noise * noise;
                smooth += (found[0].bounds.x - truth).powi(2);
                assert!((found[0].bounds.width - 20.0).abs() < 0.01 && (found[0].bounds.height - 10.0).abs() < 0.01);
            }
        }
        assert!(smooth < raw, "{smooth} {raw}");
    }

    #[test]
    fn the_filter_is_the_one_of_the_books() {
        // By hand: predicted variance 10 + 10000 + 1, gain 10011 / 10012.
        let mut filter = Filter::moving(5.0, 0.01, 1.0);
        filter.predict();
        filter.correct(8.0);
        assert!((filter.value - (5.0 + 3.0 * 10_011.0 / 10_012.0)).abs() < 1e-12);
        assert!((filter.speed - 3.0 * 10_000.0 / 10_012.0).abs() < 1e-12);
        assert!((filter.covariance[0] - 10_011.0 / 10_012.0).abs() < 1e-9);
        assert!((filter.covariance[2] - (10_000.01 - 1e8 / 10_012.0)).abs() < 1e-6);
    }

    fn width() -> impl Strategy<Value = f32> {
        prop::sample::select(vec![1.0f32, 20.0, 0.0, -1.0, f32::NAN, f32::INFINITY, 1e38])
    }

    proptest! {
        #[test]
        fn whatever_is_found_no_number_comes_twice_in_a_frame(frames in prop::collection::vec(
            prop::collection::vec((any::<f32>(), -9.0f32..9.0, width(), 0usize..2), 0..6), 0..12,
        )) {
            let mut tracker = Tracker::new(TrackerConfig::default());
            for frame in frames {
                let candidate = |(x, y, width, class): &(f32, f32, f32, usize)| {
                    let x = if *class == 0 { *x } else { x % 50.0 };
                    Candidate { bounds: Bounds { x, y: *y, width: *width, height: 10.0 }, score: 0.5, class: *class }
                };
                let candidates: Vec<Candidate> = frame.iter().map(candidate).collect();
                let found = tracker.step(&candidates);
                let mut numbers: Vec<u64> = found.iter().map(|tracked| tracked.track).collect();
                numbers.sort_unstable();
                numbers.dedup();
                prop_assert_eq!(numbers.len(), found.len());
                prop_assert!(found.is_sorted_by_key(|tracked| tracked.candidate));
                prop_assert!(found.iter().all(|tracked| candidates[tracked.candidate].bounds.is_proper()));
            }
        }
    }
}
