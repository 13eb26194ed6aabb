//! Whether a stream has changed: ADWIN (Bifet and Gavaldà, *Learning from time-changing data with adaptive windowing*, SIAM
//! International Conference on Data Mining, 2007), over the confidence of answers, and over mean and deviation of inputs.

use std::collections::{BTreeMap, VecDeque};

use super::sample::numbers;
use super::statistics::Moments;
use crate::media::StreamId;
use crate::tensor::Tensor;

/// A change of the mean of a stream of numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Change {
    /// What changed.
    pub of: Quantity,
    /// Its mean before.
    pub before: f64,
    /// Its mean since.
    pub after: f64,
    /// Numbers since the change.
    pub count: u64,
}

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Quantity {
    /// How sure the answers are.
    Confidence,
    /// The mean of the numbers of an input.
    InputMean,
    /// Their standard deviation.
    InputDeviation,
}

impl Quantity {
    /// Its name in events and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Quantity::Confidence => "confidence",
            Quantity::InputMean => "input_mean",
            Quantity::InputDeviation => "input_deviation",
        }
    }
}

/// Buckets of one size before two are joined: M of the paper.
const PER_SIZE: usize = 5;
/// Numbers from one look to the next.
const LOOK_EVERY: u64 = 8;
/// Numbers on each side of a cut, at least.
const MIN_SIDE: f64 = 8.0;

/// A window over numbers of 0 to 1 that is as long as their mean has been the same. It holds a number of buckets that
/// grows with the logarithm of its length.
#[derive(Clone, Debug)]
pub struct Adwin {
    delta: f64,
    /// By size 2^index; the oldest of each first.
    rows: Vec<VecDeque<Moment>>,
    whole: Moment,
    seen: u64,
}

/// A bucket: how many numbers, their sum, and the sum of squared differences from their mean.
#[derive(Clone, Copy, Debug, Default)]
struct Moment {
    count: f64,
    sum: f64,
    squares: f64,
}

impl Moment {
    fn joined(self, other: Moment) -> Moment {
        if self.count == 0.0 || other.count == 0.0 {
            return if self.count == 0.0 { other } else { self };
        }
        let count = self.count + other.count;
        let difference = other.sum / other.count - self.sum / self.count;
        let between = difference * difference * self.count * other.count / count;
        Moment { count, sum: self.sum + other.sum, squares: self.squares + other.squares + between }
    }
}

impl Adwin {
    /// A window that finds a change where there is none with a probability of about `delta` a look.
    pub fn new(delta: f64) -> Self {
        Adwin { delta: delta.clamp(1e-12, 0.5), rows: Vec::new(), whole: Moment::default(), seen: 0 }
    }

    /// Takes a number (held to 0 to 1; one that is not finite is passed over). Where the mean has changed, says from what to
    /// what and forgets what was before.
    pub fn add(&mut self, value: f64) -> Option<(f64, f64, u64)> {
        if !value.is_finite() {
            return None;
        }
        let own = Moment { count: 1.0, sum: value.clamp(0.0, 1.0), squares: 0.0 };
        if self.rows.is_empty() {
            self.rows.push(VecDeque::new());
        }
        self.rows[0].push_back(own);
        self.whole = self.whole.joined(own);
        self.compress();
        self.seen += 1;
        if !self.seen.is_multiple_of(LOOK_EVERY) {
            return None;
        }
        let mut change: Option<(f64, f64, u64)> = None;
        while let Some(found) = self.cut() {
            // The mean before the first cut counts.
            let before = change.map_or(found.0, |(before, ..)| before);
            change = Some((before, found.1, found.2));
        }
        change
    }

    /// The mean of the window.
    pub fn mean(&self) -> f64 {
        if self.whole.count > 0.0 { self.whole.sum / self.whole.count } else { 0.0 }
    }

    /// The length of the window.
    pub fn len(&self) -> u64 {
        self.whole.count as u64
    }

    /// Whether it holds no number.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Buckets in use.
    pub fn buckets(&self) -> usize {
        self.rows.iter().map(VecDeque::len).sum()
    }

    fn compress(&mut self) {
        let mut row = 0;
        while self.rows.get(row).is_some_and(|buckets| buckets.len() > PER_SIZE) {
            if let (Some(one), Some(other)) = (self.rows[row].pop_front(), self.rows[row].pop_front()) {
                if self.rows.len() == row + 1 {
                    self.rows.push(VecDeque::new());
                }
                self.rows[row + 1].push_back(one.joined(other));
            }
            row += 1;
        }
    }

    /// Looks for a place at which older and newer part differ by more than ε of the paper's section 4 (the form that
    /// takes account of the variance), and drops the oldest bucket where there is one.
    fn cut(&mut self) -> Option<(f64, f64, u64)> {
        let whole = self.whole;
        if whole.count < 2.0 * MIN_SIDE {
            return None;
        }
        let delta = self.delta / whole.count.ln();
        let variance = whole.squares / whole.count;
        let log = (2.0 / delta).ln();
        let mut old = Moment::default();
        // From the oldest on: the longest row first.
        for bucket in self.rows.iter().rev().flatten() {
            old = old.joined(*bucket);
            let (count, rest) = (old.count, whole.count - old.count);
            if rest < MIN_SIDE {
                break;
            }
            if count < MIN_SIDE {
                continue;
            }
            let (before, after) = (old.sum / count, (whole.sum - old.sum) / rest);
            let harmonic = 1.0 / (1.0 / count + 1.0 / rest);
            let epsilon = (2.0 / harmonic * variance * log).sqrt() + 2.0 / (3.0 * harmonic) * log;
            if (before - after).abs() > epsilon {
                self.drop_oldest();
                return Some((before, after, rest as u64));
            }
        }
        None
    }

    fn drop_oldest(&mut self) {
        while self.rows.last().is_some_and(VecDeque::is_empty) {
            self.rows.pop();
        }
        if let Some(row) = self.rows.last_mut() {
            row.pop_front();
        }
        // Summed anew, so that errors of rounding do not add up.
        self.whole = self.rows.iter().rev().flatten().fold(Moment::default(), |sum, bucket| sum.joined(*bucket));
    }
}

/// Numbers of a quantity without bounds by which it is brought to 0 to 1.
const CALIBRATION: u64 = 32;
/// Deviations of the calibration that 0 to 1 spans.
const SPAN: f64 = 12.0;

/// A quantity of any size, brought to 0 to 1: the first numbers say where its middle is, and how far it goes.
#[derive(Clone, Debug)]
struct Scaled {
    first: Moments,
    adwin: Adwin,
}

impl Scaled {
    fn scale(&self) -> f64 {
        // What never changes has a deviation of 0: then a thousandth of its size counts as one.
        let least = (self.first.mean.abs() * 1e-3).max(1e-9);
        SPAN * self.first.variance().sqrt().max(least)
    }

    fn add(&mut self, value: f64) -> Option<(f64, f64, u64)> {
        if !value.is_finite() {
            return None;
        }
        if self.first.count < CALIBRATION {
            self.first.add(value);
            return None;
        }
        let (middle, scale) = (self.first.mean, self.scale());
        let (before, after, count) = self.adwin.add((value - middle) / scale + 0.5)?;
        let back = |value: f64| (value - 0.5) * scale + middle;
        // A change of the level is a new level to calibrate by.
        let change = (back(before), back(after), count);
        *self = Scaled { first: Moments::default(), adwin: Adwin::new(self.adwin.delta) };
        Some(change)
    }
}

/// Watches streams for changes, each on its own.
pub struct Drift {
    delta: f64,
    confidence: BTreeMap<StreamId, Adwin>,
    inputs: BTreeMap<(StreamId, Quantity), Scaled>,
}

impl Drift {
    /// A watch that finds a change where there is none with a probability of about `delta` a look (0.002 is usual).
    pub fn new(delta: f64) -> Self {
        Drift { delta, confidence: BTreeMap::new(), inputs: BTreeMap::new() }
    }

    /// How sure an answer was, from 0 to 1.
    pub fn confidence(&mut self, stream: StreamId, value: f64) -> Option<Change> {
        let delta = self.delta;
        let adwin = self.confidence.entry(stream).or_insert_with(|| Adwin::new(delta));
        let (before, after, count) = adwin.add(value)?;
        Some(Change { of: Quantity::Confidence, before, after, count })
    }

    /// An input: its mean and its deviation. Of both, the mean's change is told first.
    pub fn input(&mut self, stream: StreamId, input: &Tensor) -> Option<Change> {
        let values = Moments::of(numbers(input)?);
        let mut add = |of: Quantity, value: f64| {
            let new = || Scaled { first: Moments::default(), adwin: Adwin::new(self.delta) };
            let (before, after, count) = self.inputs.entry((stream, of)).or_insert_with(new).add(value)?;
            Some(Change { of, before, after, count })
        };
        let mean = add(Quantity::InputMean, values.mean);
        let deviation = add(Quantity::InputDeviation, values.variance().sqrt());
        mean.or(deviation)
    }

    /// Forgets a stream that has ended.
    pub fn end(&mut self, stream: StreamId) {
        self.confidence.remove(&stream);
        self.inputs.retain(|(known, _), _| *known != stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::random::{Purpose, Random};

    const A: StreamId = StreamId(0);

    fn random(seed: u64) -> Random {
        Random::new(seed, Purpose::Keep)
    }

    #[test]
    fn a_steady_stream_raises_few_alarms_and_is_held_in_few_buckets() {
        let mut alarms = 0;
        for seed in 0..100 {
            let (mut random, mut adwin) = (random(seed), Adwin::new(0.002));
            for _ in 0..5000 {
                alarms += usize::from(adwin.add(f64::from(random.unit() < 0.3)).is_some());
            }
            assert!(adwin.buckets() <= (PER_SIZE + 1) * 14, "{}", adwin.buckets());
            assert!((adwin.mean() - 0.3).abs() < 0.2);
        }
        assert!(alarms <= 5, "{alarms} alarms in 100 streams of 5000");
    }

    #[test]
    fn a_change_is_found_soon_and_the_old_is_forgotten() {
        for (from, to, within) in [(0.9, 0.4, 80), (0.3, 0.6, 250), (0.9, 0.8, 1500)] {
            for seed in 0..20 {
                let (mut random, mut adwin) = (random(seed), Adwin::new(0.002));
                for _ in 0..2000 {
                    adwin.add(from + 0.2 * (random.unit() - 0.5));
                }
                let found = (0..within).find_map(|_| {
                    let flip = f64::from(random.unit() < to);
                    adwin.add(flip)
                });
                let (before, after, _) = found.unwrap_or_else(|| panic!("{from} to {to}, seed {seed}: not found"));
                assert!((before - from).abs() < 0.1 && (after - before).abs() > 0.02, "{before} {after}");
                for _ in 0..2000 {
                    adwin.add(f64::from(random.unit() < to));
                }
                assert!((adwin.mean() - to).abs() < 0.06, "{}", adwin.mean());
            }
        }
    }

    #[test]
    fn each_stream_and_quantity_has_a_window_of_its_own() {
        let mut drift = Drift::new(0.002);
        let mut noise = random(3);
        let mut input = |drift: &mut Drift, stream, level: f32, width: f32| {
            let values: Vec<f32> = (0..64).map(|_| level + width * (noise.unit() as f32 - 0.5)).collect();
            drift.input(stream, &Tensor::from_vec(values))
        };
        for _ in 0..300 {
            assert_eq!(input(&mut drift, A, 100.0, 20.0), None);
            assert_eq!(input(&mut drift, StreamId(1), -3.0, 1.0), None);
        }
        let change = (0..200).find_map(|_| input(&mut drift, A, 150.0, 20.0)).unwrap();
        assert_eq!(change.of, Quantity::InputMean);
        assert!((change.before - 100.0).abs() < 3.0 && change.after > 101.0, "{change:?}");
        let change = (0..200).find_map(|_| input(&mut drift, StreamId(1), -3.0, 2.0)).unwrap();
        assert_eq!(change.of, Quantity::InputDeviation);
        drift.end(A);
        assert!(drift.inputs.keys().all(|(stream, _)| *stream != A));
    }

    #[test]
    fn what_is_no_number_changes_nothing() {
        let mut drift = Drift::new(0.002);
        for value in [f64::NAN, f64::INFINITY, -1.0, 2.0] {
            assert_eq!(drift.confidence(A, value), None);
        }
        assert_eq!(drift.confidence[&A].len(), 2);
        assert_eq!(drift.input(A, &Tensor::from_vec(vec![f32::NAN])), None);
        assert_eq!(drift.input(A, &Tensor::from_vec(vec!["text".to_owned()])), None);
        assert_eq!(drift.input(A, &Tensor::from_vec(Vec::<f32>::new())), None);
    }
}
