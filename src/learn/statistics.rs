//! Tests of paired and of separate samples, and the distributions that they need.
//!
//! - Differences of right and wrong answers (−1, 0 or 1): the exact test of McNemar (*Psychometrika* 12, 1947), and exact
//!   bounds of both rates of change (Clopper and Pearson, *Biometrika* 26, 1934) that hold together by Bonferroni.
//! - Other differences: Student's t (*Biometrika* 6, 1908).
//! - Two separate samples: Welch's t (*Biometrika* 34, 1947).
//! - A test that is repeated, look by look, spends its error probability as α/(k·(k+1)) at look k, which sums to α.

/// The error probability of look `look` (from 1) of a test that may be wrong with `alpha` in all looks together.
pub(super) fn spend(alpha: f64, look: u64) -> f64 {
    let look = look.max(1) as f64;
    alpha / (look * (look + 1.0))
}

/// The mean and the variance (with n − 1) of some numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Moments {
    pub count: u64,
    pub mean: f64,
    squares: f64,
}

impl Moments {
    /// Adds a number (Welford, *Technometrics* 4, 1962).
    pub fn add(&mut self, value: f64) {
        self.count += 1;
        let difference = value - self.mean;
        self.mean += difference / self.count as f64;
        self.squares += difference * (value - self.mean);
    }

    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut moments = Moments::default();
        values.into_iter().for_each(|value| moments.add(value));
        moments
    }

    /// The variance; 0 of fewer than two.
    pub fn variance(&self) -> f64 {
        if self.count < 2 { 0.0 } else { self.squares / (self.count - 1) as f64 }
    }
}

/// How often a difference of answers is −1 and 1, where it is nothing else but 0.
fn changes(differences: &[f64]) -> Option<(u64, u64)> {
    let (mut better, mut worse) = (0, 0);
    for difference in differences {
        match *difference {
            -1.0 => better += 1,
            1.0 => worse += 1,
            0.0 => {}
            _ => return None,
        }
    }
    Some((better, worse))
}

/// Samples of numbers of any size below which Student's distribution is not trusted.
pub(super) const MIN_FOR_STUDENT: usize = 10;

/// The number that the true mean of paired differences exceeds with a probability of at most `alpha`. Infinite where
/// there are too few of them to say.
pub(super) fn upper_bound(differences: &[f64], alpha: f64) -> f64 {
    let count = differences.len();
    if let Some((better, worse)) = changes(differences) {
        if count == 0 {
            return f64::INFINITY;
        }
        let count = count as u64;
        return upper_rate(worse, count, alpha / 2.0) - lower_rate(better, count, alpha / 2.0);
    }
    let moments = Moments::of(differences.iter().copied());
    if count < MIN_FOR_STUDENT || !moments.mean.is_finite() {
        return f64::INFINITY;
    }
    moments.mean + student_quantile(alpha, (count - 1) as f64) * (moments.variance() / count as f64).sqrt()
}

/// The probability of differences as low as these or lower, where their true mean is 0 or more: a small one is evidence
/// that it is below. 1 where there are too few to say.
pub(super) fn p_value_below(differences: &[f64]) -> f64 {
    if let Some((better, worse)) = changes(differences) {
        return match better + worse {
            0 => 1.0,
            // At least `better` of so many, each by half a chance.
            changed => binomial_tail(better, changed, 0.5),
        };
    }
    let count = differences.len();
    let moments = Moments::of(differences.iter().copied());
    if count < MIN_FOR_STUDENT || !moments.mean.is_finite() {
        return 1.0;
    }
    let error = (moments.variance() / count as f64).sqrt();
    tail_of_t(-moments.mean, error, (count - 1) as f64)
}

/// The probability that `after` is as much above `before` as it is, or more, where both have one true mean.
pub(super) fn p_value_of_rise(before: &Moments, after: &Moments) -> f64 {
    if before.count < 2 || after.count < 2 {
        return 1.0;
    }
    let (first, second) = (before.variance() / before.count as f64, after.variance() / after.count as f64);
    let variance = first + second;
    let freedom = match variance > 0.0 {
        true => {
            let parts = first * first / (before.count - 1) as f64 + second * second / (after.count - 1) as f64;
            (variance * variance / parts).max(1.0)
        }
        false => 1.0,
    };
    tail_of_t(after.mean - before.mean, variance.sqrt(), freedom)
}

/// The probability of t = `mean`/`error` or more.
fn tail_of_t(mean: f64, error: f64, freedom: f64) -> f64 {
    if !mean.is_finite() || !error.is_finite() {
        return 1.0;
    }
    if error == 0.0 {
        return if mean > 0.0 { 0.0 } else { 1.0 };
    }
    student_tail(mean / error, freedom)
}

/// The rate that makes `count` or fewer of `total` as unlikely as `alpha`.
fn upper_rate(count: u64, total: u64, alpha: f64) -> f64 {
    if count >= total {
        return 1.0;
    }
    // P(X ≤ count) = 1 − P(X ≥ count + 1).
    bisect(0.0, 1.0, |rate| 1.0 - binomial_tail(count + 1, total, rate) > alpha)
}

/// The rate that makes `count` or more of `total` as unlikely as `alpha`.
fn lower_rate(count: u64, total: u64, alpha: f64) -> f64 {
    if count == 0 {
        return 0.0;
    }
    bisect(0.0, 1.0, |rate| binomial_tail(count, total, rate) < alpha)
}

/// P(X ≥ `count`) of a binomial distribution: I_rate(count, total − count + 1).
fn binomial_tail(count: u64, total: u64, rate: f64) -> f64 {
    match count {
        0 => 1.0,
        count if count > total => 0.0,
        count => incomplete_beta(count as f64, (total - count + 1) as f64, rate),
    }
}

/// P(T ≥ t) of Student's distribution.
fn student_tail(t: f64, freedom: f64) -> f64 {
    let both = incomplete_beta(freedom / 2.0, 0.5, freedom / (freedom + t * t));
    if t >= 0.0 { both / 2.0 } else { 1.0 - both / 2.0 }
}

/// The t whose upper tail is `alpha`, at most a half.
fn student_quantile(alpha: f64, freedom: f64) -> f64 {
    bisect(0.0, 1e8, |t| student_tail(t, freedom) > alpha)
}

/// The point of `low..high` up to which `holds` does.
fn bisect(mut low: f64, mut high: f64, holds: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if holds(middle) { low = middle } else { high = middle }
    }
    high
}

/// The regularized incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22) in the manner of Lentz
/// (*Applied Optics* 15, 1976).
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    // It converges fast on this side; the other is its mirror.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, 1.0 - x);
    }
    const TINY: f64 = 1e-300;
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp() / a;
    let away = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for m in 1..10_000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away(1.0 + even * d);
        c = away(1.0 + even / c);
        fraction *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away(1.0 + odd * d);
        c = away(1.0 + odd / c);
        let factor = d * c;
        fraction *= factor;
        if (factor - 1.0).abs() < 1e-15 {
            break;
        }
    }
    (front * fraction).clamp(0.0, 1.0)
}

/// ln Γ(x) for x > 0: Stirling's series (DLMF 5.11.1) above 10, reached by Γ(x + 1) = x·Γ(x).
fn ln_gamma(mut x: f64) -> f64 {
    let mut shift = 0.0;
    while x < 10.0 {
        shift += x.ln();
        x += 1.0;
    }
    let square = x * x;
    let series = 1.0 / 12.0
        - (1.0 / 360.0 - (1.0 / 1260.0 - (1.0 / 1680.0 - 1.0 / (1188.0 * square)) / square) / square) / square;
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series / x - shift
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 2e-6 * expected.abs().max(1.0), "{found} is not {expected}");
    }

    /// Values of SciPy 1: `special.gammaln`, `stats.t.isf`, `stats.binom.sf`, `stats.beta.ppf`.
    #[test]
    fn distributions_equal_published_values() {
        close(ln_gamma(0.5), 0.5723649429247001);
        close(ln_gamma(1.0), 0.0);
        close(ln_gamma(7.0), 6.579251212010101);
        close(ln_gamma(171.0), 706.5730622457874);
        close(student_quantile(0.05, 1.0), 6.313751514675043);
        close(student_quantile(0.05, 10.0), 1.8124611228107335);
        close(student_quantile(0.025, 30.0), 2.0422724563012373);
        close(student_quantile(0.05, 1e6), 1.6448551507220774);
        close(student_tail(-1.0, 5.0), 0.8183912661754386);
        close(binomial_tail(8, 10, 0.5), 56.0 / 1024.0);
        close(binomial_tail(1, 100, 0.01), 1.0 - 0.99f64.powi(100));
        // No event in n: 1 − α^(1/n), near the rule of three.
        close(upper_rate(0, 100, 0.05), 1.0 - 0.05f64.powf(0.01));
        close(lower_rate(100, 100, 0.05), 0.05f64.powf(0.01));
        close(upper_rate(5, 50, 0.025), 0.21813537);
        close(lower_rate(5, 50, 0.025), 0.03327509);
        close(upper_rate(9, 9, 0.05), 1.0);
    }

    #[test]
    fn what_is_spent_in_all_looks_is_the_whole() {
        let sum: f64 = (1..100_000).map(|look| spend(0.05, look)).sum();
        assert!(sum < 0.05 && sum > 0.0499, "{sum}");
    }

    #[test]
    fn few_samples_prove_nothing() {
        assert_eq!(upper_bound(&[], 0.05), f64::INFINITY);
        assert_eq!(upper_bound(&[0.1; 9], 0.05), f64::INFINITY);
        assert!(upper_bound(&[0.0; 10], 0.05) > 0.2, "no change in ten tells of no rate below a fifth");
        assert!(upper_bound(&[0.0; 300], 0.05) < 0.02);
        assert_eq!(p_value_below(&[0.0; 50]), 1.0);
        assert_eq!(p_value_below(&[-0.5; 9]), 1.0);
        close(p_value_below(&[-1.0, -1.0, -1.0, -1.0, 1.0, 0.0]), 6.0 / 32.0);
        assert_eq!(p_value_below(&[f64::NAN; 20]), 1.0);
        assert_eq!(upper_bound(&[f64::INFINITY; 20], 0.05), f64::INFINITY);
    }

    /// The bound must hold as often as it says, and the test err no more than it says.
    #[test]
    fn bounds_and_tests_hold_as_often_as_they_say() {
        use crate::learn::random::{Purpose, Random};
        let mut random = Random::new(7, Purpose::Keep);
        let (rounds, count) = (1000, 80);
        for (better, worse) in [(0.1, 0.1), (0.02, 0.12), (0.0, 0.01)] {
            let (mut broken, mut wrongly) = (0, 0);
            for _ in 0..rounds {
                let differences: Vec<f64> = (0..count)
                    .map(|_| match random.unit() {
                        unit if unit < better => -1.0,
                        unit if unit < better + worse => 1.0,
                        _ => 0.0,
                    })
                    .collect();
                broken += usize::from(upper_bound(&differences, 0.05) < worse - better);
                wrongly += usize::from(p_value_below(&differences) < 0.05);
            }
            assert!(broken <= rounds / 20 && wrongly <= rounds / 20, "{better} {worse}: {broken}, {wrongly}");
        }
        let mut broken = 0;
        for _ in 0..rounds {
            let differences: Vec<f64> = (0..count).map(|_| random.unit() + random.unit() - 0.9).collect();
            broken += usize::from(upper_bound(&differences, 0.05) < 0.1);
        }
        assert!((20..=85).contains(&broken), "{broken} of {rounds}, expected about 50");
    }

    #[test]
    fn a_rise_is_found_and_none_is_not() {
        let moments = |wrong: u64, right: u64| Moments::of((0..wrong).map(|_| 1.0).chain((0..right).map(|_| 0.0)));
        assert!(p_value_of_rise(&moments(10, 90), &moments(40, 60)) < 1e-4);
        assert!(p_value_of_rise(&moments(10, 90), &moments(11, 89)) > 0.3);
        assert!(p_value_of_rise(&moments(40, 60), &moments(10, 90)) > 0.99);
        assert_eq!(p_value_of_rise(&moments(0, 30), &moments(30, 0)), 0.0);
        assert_eq!(p_value_of_rise(&moments(0, 30), &moments(0, 30)), 1.0);
        assert_eq!(p_value_of_rise(&moments(0, 1), &moments(30, 0)), 1.0);
        close(moments(25, 75).variance(), 0.1875 * 100.0 / 99.0);
    }
}
