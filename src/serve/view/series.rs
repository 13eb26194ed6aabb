//! The curves: one point for each sample of the numbers, the last minutes of them.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

/// Points that are kept of a curve: five minutes at four a second.
const KEPT: usize = 1200;

/// Most curves; a later one is left out.
const MOST: usize = 64;

/// What a curve shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Measure {
    /// How sure a model is, 0 to 1.
    Confidence,
    /// From the end of what was captured to this output, in milliseconds.
    Latency,
    /// The loudness of sound, in dB of full scale.
    Level,
}

/// The curves, by what they show and the output they are of.
#[derive(Debug, Default)]
pub(super) struct Curves(BTreeMap<(Measure, usize), Curve>);

#[derive(Debug, Default)]
struct Curve {
    sum: f64,
    count: u32,
    points: VecDeque<(f64, f32)>,
}

/// A new point of a curve: the mean of what was seen since the last one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Point {
    pub measure: Measure,
    pub port: usize,
    pub value: f32,
}

/// A curve so far.
#[derive(Debug, Serialize)]
pub(super) struct History<'a> {
    measure: Measure,
    port: usize,
    points: &'a VecDeque<(f64, f32)>,
}

impl Curves {
    /// A value of one packet. What is not finite is no value.
    pub fn add(&mut self, measure: Measure, port: usize, value: f64) {
        if !value.is_finite() || (self.0.len() >= MOST && !self.0.contains_key(&(measure, port))) {
            return;
        }
        let curve = self.0.entry((measure, port)).or_default();
        curve.sum += value;
        curve.count += 1;
    }

    /// Ends a span at `seconds`: a point for each curve that has new values.
    pub fn sample(&mut self, seconds: f64) -> Vec<Point> {
        let mut points = Vec::new();
        for (&(measure, port), curve) in &mut self.0 {
            if curve.count == 0 {
                continue;
            }
            let value = (std::mem::take(&mut curve.sum) / f64::from(std::mem::take(&mut curve.count))) as f32;
            if curve.points.len() == KEPT {
                curve.points.pop_front();
            }
            curve.points.push_back((seconds, value));
            points.push(Point { measure, port, value });
        }
        points
    }

    /// The curves so far.
    pub fn history(&self) -> Vec<History<'_>> {
        self.0.iter().map(|(&(measure, port), curve)| History { measure, port, points: &curve.points }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_the_mean_of_its_span() {
        let mut curves = Curves::default();
        for value in [0.0, f64::NAN, 1.0, f64::INFINITY, 0.5] {
            curves.add(Measure::Confidence, 3, value);
        }
        assert_eq!(curves.sample(0.25), [Point { measure: Measure::Confidence, port: 3, value: 0.5 }]);
        assert_eq!(curves.sample(0.5), [], "nothing was seen");
        curves.add(Measure::Confidence, 3, 0.75);
        curves.add(Measure::Level, 0, -20.0);
        assert_eq!(curves.sample(0.75).len(), 2);
        let json = serde_json::to_value(curves.history()).unwrap();
        assert_eq!(json[0]["points"], serde_json::json!([[0.25, 0.5], [0.75, 0.75]]));
    }

    #[test]
    fn curves_are_bounded() {
        let mut curves = Curves::default();
        for port in 0..2 * MOST {
            curves.add(Measure::Latency, port, 1.0);
        }
        for at in 0..2 * KEPT {
            curves.add(Measure::Latency, 0, at as f64);
            curves.sample(at as f64);
        }
        assert_eq!(curves.0.len(), MOST);
        let points = &curves.0[&(Measure::Latency, 0)].points;
        assert_eq!((points.len(), points[0].0), (KEPT, KEPT as f64));
    }
}
