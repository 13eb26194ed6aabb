//! Measures of how good a model is.

mod spelling;

use std::collections::BTreeMap;
use std::fmt;

use rustc_hash::FxHashMap;

pub use spelling::{Spelling, TextErrors};

use crate::tensor::{DType, Tensor};

/// How often class `said` was given where `true` was right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    /// By right class and by what was said, which may be none of the classes; only what occurred.
    counts: FxHashMap<(usize, Option<usize>), u64>,
    /// How often the right class was among the `k` best, for the `k` asked for.
    top_k: Vec<(usize, u64)>,
}

impl Confusion {
    /// An empty table; `top_k` lists the `k` for which [`top_k`](Confusion::top_k) will be known.
    pub fn new(classes: usize, top_k: &[usize]) -> Self {
        let top_k = top_k.iter().map(|k| (*k, 0)).collect();
        Confusion { classes, counts: FxHashMap::default(), top_k }
    }

    /// Adds a batch: scores `[N, C]` or `[N, C, d…]` of f32 or f64, and right classes `[N]` or `[N, d…]` of i64; nothing
    /// when the shapes are others. With two classes and one score, class 1 is a score above zero, and `[N, 1]` may stand
    /// for `[N]`.
    ///
    /// Right classes that are negative or none of the table's are left out. An answer that is none of them is wrong, and
    /// so is one where all scores are NaN, which is never the best.
    pub fn add(&mut self, scores: &Tensor, right: &Tensor) {
        let (Some(scores_wide), Ok(right_classes)) = (wide(scores), right.as_slice::<i64>()) else { return };
        let [rows, classes, rest @ ..] = scores.shape() else { return };
        let (rows, classes, inner) = (*rows, *classes, rest.iter().product::<usize>());
        let single = classes == 1 && self.classes == 2;
        let one_each = right.shape().split_first().is_some_and(|(first, others)| *first == rows && others == rest);
        if !(one_each || single && right.shape() == scores.shape()) {
            return;
        }
        for row in 0..rows {
            for position in 0..inner {
                let Some(right) = right_classes.get(row * inner + position) else { continue };
                let Some(right) = usize::try_from(*right).ok().filter(|right| *right < self.classes) else { continue };
                let score = |class: usize| scores_wide[(row * classes + class) * inner + position];
                if single {
                    let said = (!score(0).is_nan()).then(|| usize::from(score(0) > 0.0));
                    self.count_answer(right, said);
                    continue;
                }
                // The first of equals, as everywhere.
                let numbers = (0..classes).filter(|class| !score(*class).is_nan());
                let best = numbers.reduce(|best, class| if score(class) > score(best) { class } else { best });
                self.count_answer(right, best);
                if right >= classes || score(right).is_nan() {
                    continue;
                }
                let better = (0..classes).filter(|class| score(*class) > score(right)).count();
                for (k, count) in &mut self.top_k {
                    *count += u64::from(better < *k);
                }
            }
        }
    }

    fn count_answer(&mut self, right: usize, said: Option<usize>) {
        *self.counts.entry((right, said.filter(|said| *said < self.classes))).or_default() += 1;
    }

    /// How many answers were counted.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// How often `said` was given where `right` was right.
    pub fn count(&self, right: usize, said: usize) -> u64 {
        self.counts.get(&(right, Some(said))).copied().unwrap_or(0)
    }

    /// The share of right answers; 0 of none.
    pub fn accuracy(&self) -> f64 {
        let right: u64 = self.counts.iter().filter(|((right, said), _)| *said == Some(*right)).map(|(_, n)| n).sum();
        right as f64 / self.total().max(1) as f64
    }

    /// The share of answers whose right class was among the `k` best; `None` unless asked for at first.
    pub fn top_k(&self, k: usize) -> Option<f64> {
        let (_, count) = self.top_k.iter().find(|(known, _)| *known == k)?;
        Some(*count as f64 / self.total().max(1) as f64)
    }

    /// Each `k` that was asked for at first, with its share.
    pub fn top_ks(&self) -> impl Iterator<Item = (usize, f64)> {
        self.top_k.iter().map(|(k, count)| (*k, *count as f64 / self.total().max(1) as f64))
    }

    /// The mean over the classes that occur of `2·precision·recall / (precision + recall)` (macro-averaged F1).
    pub fn f1(&self) -> f64 {
        // By class: hits, and how often it was said or right.
        let mut classes: BTreeMap<usize, (u64, u64)> = BTreeMap::new();
        for ((right, said), count) in &self.counts {
            classes.entry(*right).or_default().1 += count;
            if let Some(said) = said {
                let (hits, occurs) = classes.entry(*said).or_default();
                *occurs += count;
                *hits += if said == right { *count } else { 0 };
            }
        }
        let scores: Vec<f64> = classes.values().map(|(hits, occurs)| 2.0 * *hits as f64 / *occurs as f64).collect();
        scores.iter().sum::<f64>() / scores.len().max(1) as f64
    }
}

impl Confusion {
    /// How many classes there are.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// A table: rows are right classes, columns what was said; the last column is what was none of the classes, where
    /// that was said. Rows begin with the name of their class, where it is among `labels`, columns with its number.
    pub fn table(&self, labels: &[String]) -> String {
        let name = |class: usize| match labels.get(class) {
            Some(label) => format!("{class} {label}"),
            None => class.to_string(),
        };
        let names: Vec<String> = (0..self.classes).map(name).collect();
        let first = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(8);
        let width = self.counts.values().max().map_or(1, |most| most.to_string().len()).max(4);
        let mut table = format!("{:>first$}", "right");
        (0..self.classes).for_each(|class| table.push_str(&format!(" {class:>width$}")));
        let others = self.counts.keys().any(|(_, said)| said.is_none());
        if others {
            table.push_str(&format!(" {:>width$}", "none"));
        }
        for (right, name) in names.iter().enumerate() {
            table.push_str(&format!("\n{name:>first$}"));
            (0..self.classes).for_each(|said| table.push_str(&format!(" {:>width$}", self.count(right, said))));
            if others {
                let count = self.counts.get(&(right, None)).copied().unwrap_or(0);
                table.push_str(&format!(" {count:>width$}"));
            }
        }
        table
    }
}

impl fmt::Display for Confusion {
    /// The table of numbers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.table(&[]))
    }
}

/// The least number of insertions, deletions and substitutions that make `found` of `expected`
/// (Levenshtein, 1966; by Wagner and Fischer, 1974).
pub fn edit_distance<T: PartialEq>(expected: &[T], found: &[T]) -> usize {
    let mut row: Vec<usize> = (0..=found.len()).collect();
    for (i, expected) in expected.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, found) in found.iter().enumerate() {
            let substituted = diagonal + usize::from(expected != found);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[found.len()]
}

/// Edit distance over all pairs, divided by the length of all that was expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorRate {
    errors: usize,
    length: usize,
}

impl ErrorRate {
    /// Adds a pair of words, characters or tokens.
    pub fn add<T: PartialEq>(&mut self, expected: &[T], found: &[T]) {
        self.errors += edit_distance(expected, found);
        self.length += expected.len();
    }

    /// How many words, characters or tokens were expected.
    pub fn expected(&self) -> usize {
        self.length
    }

    /// The rate; 0 of nothing, and it may be above 1.
    pub fn rate(&self) -> f64 {
        self.errors as f64 / self.length.max(1) as f64
    }
}

fn wide(tensor: &Tensor) -> Option<Vec<f64>> {
    match tensor.dtype() {
        DType::F32 => Some(tensor.as_slice::<f32>().ok()?.iter().map(|value| f64::from(*value)).collect()),
        DType::F64 => Some(tensor.as_slice::<f64>().ok()?.to_vec()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confusion_counts() {
        let mut confusion = Confusion::new(3, &[1, 2]);
        let scores = vec![0.1f32, 0.7, 0.2, 0.5, 0.4, 0.1, 0.0, 0.1, 0.9, 0.3, 0.3, 0.1];
        let scores = Tensor::new(vec![4, 3], scores).unwrap();
        confusion.add(&scores, &Tensor::from_vec(vec![1i64, 1, -1, 0]));
        assert_eq!(
            (confusion.total(), confusion.count(1, 1), confusion.count(1, 0), confusion.count(0, 0)),
            (3, 1, 1, 1)
        );
        assert!((confusion.accuracy() - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!((confusion.top_k(2), confusion.top_k(3)), (Some(1.0), None));
        assert_eq!(confusion.top_ks().collect::<Vec<_>>(), [(1, 2.0 / 3.0), (2, 1.0)]);
        // Class 0: 1 hit, said 2, occurs 1; class 1: 1 hit, said 1, occurs 2; class 2 never occurs.
        assert!((confusion.f1() - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(confusion.to_string().lines().count(), 4);
        let labels = ["cat".to_owned(), "wild boar".to_owned()];
        let lines = ["      right    0    1    2", "      0 cat    1    0    0", "1 wild boar    1    1    0"];
        let last = "          2    0    0    0";
        assert_eq!(confusion.table(&labels).lines().collect::<Vec<_>>(), [&lines[..], &[last]].concat());
    }

    #[test]
    fn one_score_decides_between_two_classes() {
        let mut confusion = Confusion::new(2, &[]);
        confusion
            .add(&Tensor::new(vec![3, 1], vec![2.0f64, -1.0, f64::NAN]).unwrap(), &Tensor::from_vec(vec![1i64, 1, 0]));
        assert_eq!((confusion.count(1, 1), confusion.count(1, 0), confusion.count(0, 0)), (1, 1, 0));
        assert_eq!(confusion.total(), 3, "NaN is no answer");
    }

    #[test]
    fn answers_beyond_the_classes_and_nan_are_wrong() {
        let nan = f32::NAN;
        // The classes known, the scores of one sample, the right class, the class said, and whether it is a hit of top 2.
        for (classes, scores, right, said, hit) in [
            (2, vec![0.1, 0.2, 0.9], 1i64, None, true),
            (2, vec![0.1, 0.2, 0.9], 0, None, false),
            (4, vec![0.5, 0.2], 3, Some(0), false),
            (3, vec![nan, 0.2, 0.1], 1, Some(1), true),
            (3, vec![nan, 0.2, 0.1], 0, Some(1), false),
            (3, vec![0.3, nan, 0.1], 2, Some(0), true),
            (3, vec![nan, nan, nan], 0, None, false),
            (3, vec![f32::NEG_INFINITY, nan, f32::NEG_INFINITY], 0, Some(0), true),
        ] {
            let mut confusion = Confusion::new(classes, &[2]);
            let shown = format!("{scores:?} {right}");
            confusion.add(&Tensor::new(vec![1, scores.len()], scores).unwrap(), &Tensor::from_vec(vec![right]));
            assert_eq!(confusion.total(), 1, "{shown}");
            let found = (0..classes).find(|said| confusion.count(right as usize, *said) == 1);
            assert_eq!(found, said, "{shown}");
            assert_eq!(confusion.accuracy(), f64::from(u8::from(said == Some(right as usize))), "{shown}");
            assert_eq!(confusion.top_k(2), Some(f64::from(u8::from(hit))), "{shown}");
        }
        let mut confusion = Confusion::new(2, &[]);
        confusion.add(&Tensor::new(vec![1, 2], vec![0.0f32, 1.0]).unwrap(), &Tensor::from_vec(vec![1i64]));
        confusion.add(&Tensor::new(vec![1, 3], vec![0.0f32, 0.0, 1.0]).unwrap(), &Tensor::from_vec(vec![1i64]));
        // Class 1: 1 hit, said 1, occurs 2.
        assert_eq!((confusion.accuracy(), confusion.f1()), (0.5, 2.0 / 3.0));
        assert_eq!(confusion.to_string().lines().last().unwrap(), "       1    0    1    1");
        // A class of any number takes no more room than another.
        let mut confusion = Confusion::new(usize::MAX, &[1]);
        confusion.add(&Tensor::new(vec![1, 2], vec![0.0f32, 1.0]).unwrap(), &Tensor::from_vec(vec![i64::MAX]));
        assert_eq!((confusion.total(), confusion.accuracy(), confusion.f1()), (1, 0.0, 0.0));
    }

    #[test]
    fn shapes_that_do_not_belong_together_count_nothing() {
        for (scores, right) in [
            (vec![2, 4, 3], vec![2, 5]),
            (vec![2, 4, 3], vec![2, 4]),
            (vec![2, 3], vec![3]),
            (vec![2, 3], vec![2, 3]),
            (vec![2, 3, 4], vec![2]),
            (vec![0, 3], vec![2]),
            (vec![], vec![]),
            (vec![3], vec![3]),
            (vec![2, 0], vec![2]),
        ] {
            let count = |shape: &[usize]| shape.iter().product::<usize>();
            let mut confusion = Confusion::new(3, &[1]);
            let shown = format!("{scores:?} {right:?}");
            let right = Tensor::new(right.clone(), vec![2i64; count(&right)]).unwrap();
            confusion.add(&Tensor::new(scores.clone(), vec![0.5f32; count(&scores)]).unwrap(), &right);
            let expected = if scores == [2, 0] { 2 } else { 0 };
            assert_eq!((confusion.total(), confusion.accuracy()), (expected, 0.0), "{shown}");
        }
    }

    #[test]
    fn edit_distances() {
        for (expected, found, distance) in
            [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("abc", "abc", 0), ("flaw", "lawn", 2)]
        {
            let (expected, found): (Vec<char>, Vec<char>) = (expected.chars().collect(), found.chars().collect());
            assert_eq!(edit_distance(&expected, &found), distance);
        }
        let mut rate = ErrorRate::default();
        rate.add(&["the", "cat"], &["a", "cat", "sat"]);
        assert_eq!(rate.rate(), 1.0);
    }
}
