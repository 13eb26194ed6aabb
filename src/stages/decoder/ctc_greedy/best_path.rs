//! Best-path decoding of connectionist temporal classification.
//!
//! Graves, Fernández, Gomez and Schmidhuber, "Connectionist Temporal Classification", ICML 2006, section 3.1 (the map
//! from paths to labellings: first repeated symbols are merged, then blanks removed) and section 3.2 (best path: the
//! most probable symbol of each frame).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the numbers of a model's output are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Scores {
    /// Any numbers: their softmax is the probability.
    #[default]
    Logits,
    /// Natural logarithms of probabilities.
    LogProbs,
    /// Probabilities.
    Probs,
}

/// How far rounding may carry a probability, or its logarithm, out of its range.
const SLACK: f32 = 1e-3;

impl Scores {
    /// The most probable symbol of a frame (the first of equals) and the logarithm of its probability; or what is wrong
    /// with the frame.
    pub(super) fn best(self, frame: &[f32]) -> Result<(usize, f32), String> {
        if frame.iter().any(|score| score.is_nan()) {
            return Err("a NaN".to_owned());
        }
        // `max_by` gives the last of equals, hence the reversal.
        let best = frame.iter().copied().enumerate().rev().max_by(|(_, a), (_, b)| a.total_cmp(b));
        let Some((symbol, score)) = best else {
            return Err("no score at all".to_owned());
        };
        if score.is_infinite() {
            return Err(format!("{score} as its highest score"));
        }
        let log_probability = match self {
            Scores::Logits => {
                let sum: f64 = frame.iter().map(|other| f64::from(other - score).exp()).sum();
                -(sum.ln() as f32)
            }
            Scores::LogProbs if score > SLACK => {
                return Err(format!("the logarithm {score} of a probability; set `input: logits` if it is none"));
            }
            Scores::LogProbs => score,
            Scores::Probs if score > 1.0 + SLACK || score <= 0.0 => {
                return Err(format!("the highest probability {score}; set `input: logits` if it is none"));
            }
            Scores::Probs => score.ln(),
        };
        Ok((symbol, log_probability.min(0.0)))
    }
}

/// A symbol of the labelling and the frames `from..to` of its path that were merged into it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Merged {
    pub symbol: usize,
    pub from: u64,
    pub to: u64,
    /// The logarithm of its probability in the frame where that is highest.
    pub log_probability: f32,
}

/// Merges repeated symbols and drops blanks, frame by frame.
#[derive(Clone, Debug)]
pub(super) struct Merger {
    blank: usize,
    open: Option<Merged>,
}

impl Merger {
    pub fn new(blank: usize) -> Self {
        Merger { blank, open: None }
    }

    /// The symbol that still goes on.
    pub fn open(&self) -> Option<&Merged> {
        self.open.as_ref()
    }

    /// Takes the best symbol of the next frame, number `frame`; gives the symbol that ended before it.
    pub fn step(&mut self, frame: u64, symbol: usize, log_probability: f32) -> Option<Merged> {
        let to = frame.saturating_add(1);
        if let Some(open) = &mut self.open
            && open.symbol == symbol
        {
            open.to = to;
            open.log_probability = open.log_probability.max(log_probability);
            return None;
        }
        let next = (symbol != self.blank).then_some(Merged { symbol, from: frame, to, log_probability });
        std::mem::replace(&mut self.open, next)
    }

    /// Gives the symbol that still goes on: no frame follows.
    pub fn finish(&mut self) -> Option<Merged> {
        self.open.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The labelling of a path, `-` being the blank.
    fn labelling(path: &str) -> String {
        let mut merger = Merger::new(usize::from(b'-'));
        let mut result = String::new();
        for (frame, symbol) in path.bytes().enumerate() {
            result
                .extend(merger.step(frame as u64, usize::from(symbol), 0.0).map(|merged| merged.symbol as u8 as char));
        }
        result.extend(merger.finish().map(|merged| merged.symbol as u8 as char));
        result
    }

    #[test]
    fn the_map_of_the_paper() {
        // Section 3.1 gives the first two.
        for (path, expected) in
            [("a-ab-", "aab"), ("-aa--abb", "aab"), ("", ""), ("---", ""), ("aaa", "a"), ("ab", "ab"), ("a-a", "aa")]
        {
            assert_eq!(labelling(path), expected, "{path}");
        }
    }

    #[test]
    fn frames_and_probabilities_of_a_merged_symbol() {
        let mut merger = Merger::new(0);
        assert_eq!(merger.step(4, 2, -3.0), None);
        assert_eq!(merger.step(5, 2, -1.0), None);
        assert_eq!(merger.step(6, 2, -2.0), None);
        let merged = Merged { symbol: 2, from: 4, to: 7, log_probability: -1.0 };
        assert_eq!(merger.open(), Some(&merged));
        assert_eq!(merger.step(7, 0, -0.1), Some(merged));
        assert_eq!(merger.finish(), None);
    }

    #[test]
    fn best_symbols() {
        let ln = f32::ln;
        for (scores, frame, expected) in [
            (Scores::Logits, &[0.0, 0.0][..], (0, ln(0.5))),
            (Scores::Logits, &[1e30, -1e30, f32::NEG_INFINITY], (0, 0.0)),
            (Scores::Logits, &[ln(1.0), ln(3.0)], (1, ln(0.75))),
            (Scores::LogProbs, &[f32::NEG_INFINITY, ln(0.25), ln(0.75)], (2, ln(0.75))),
            (Scores::LogProbs, &[1e-6], (0, 0.0)),
            (Scores::Probs, &[0.25, 0.75, 0.0], (1, ln(0.75))),
            (Scores::Probs, &[1.0001, 0.0], (0, 0.0)),
        ] {
            let (symbol, log_probability) = scores.best(frame).unwrap();
            assert_eq!(symbol, expected.0, "{scores:?} {frame:?}");
            assert!((log_probability - expected.1).abs() < 1e-6, "{scores:?} {frame:?}: {log_probability}");
        }
    }

    #[test]
    fn frames_that_are_no_scores() {
        for (scores, frame, words) in [
            (Scores::Logits, &[0.0, f32::NAN][..], "a NaN"),
            (Scores::Logits, &[], "no score"),
            (Scores::Logits, &[f32::INFINITY, 0.0], "inf as"),
            (Scores::Logits, &[f32::NEG_INFINITY], "-inf as"),
            (Scores::LogProbs, &[0.1], "set `input: logits`"),
            (Scores::Probs, &[1.1], "set `input: logits`"),
            (Scores::Probs, &[-0.5, 0.0], "set `input: logits`"),
        ] {
            let error = scores.best(frame).unwrap_err();
            assert!(error.contains(words), "{scores:?} {frame:?}: {error}");
        }
    }
}
