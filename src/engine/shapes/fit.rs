//! A size as an expression of symbols, from what it was at several assignments of them.

use std::sync::Arc;

use crate::tensor::Dim;

/// What a size was under one assignment of the symbols.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample<'a> {
    /// The size of each symbol.
    pub sizes: &'a [usize],
    /// The size in question.
    pub size: usize,
}

/// The largest divisor of a rounded quotient that is looked for.
const LARGEST_DIVISOR: i128 = 64;
/// The fewest values of a symbol that an expression of it is drawn from.
const FEWEST_VALUES: usize = 4;

/// What the size is: known, a symbol, or the first of these expressions that agrees with every sample:
/// `(p·s + k)/q`, `floor((s + k)/q)`, `p·s + r·t + k`, and `(p·s·t + k)/q` with whole p, q, r, k. [`Dim::Any`] where none
/// does, where it would hold a symbol without a name or with one that is no identifier, and where the samples leave more
/// than one open.
pub(super) fn fit(names: &[Option<Arc<str>>], samples: &[Sample<'_>]) -> Dim {
    let Some(first) = samples.first() else { return Dim::Any };
    if samples.iter().all(|sample| sample.size == first.size) {
        return Dim::Known(first.size);
    }
    let symbols = 0..names.len();
    if let Some(symbol) = symbols.clone().find(|symbol| samples.iter().all(|s| s.sizes[*symbol] == s.size)) {
        return names[symbol].clone().map_or(Dim::Any, Dim::Symbol);
    }
    // The values of a symbol, or of a product, beside the size.
    let pairs = |of: &dyn Fn(&[usize]) -> i128| -> Vec<(i128, i128)> {
        samples.iter().map(|sample| (of(sample.sizes), sample.size as i128)).collect()
    };
    let expression = |used: &[usize], text: String| {
        let plain = |name: &Arc<str>| {
            let body = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
            name.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_') && name.chars().all(body)
        };
        let named = used.iter().all(|symbol| names[*symbol].as_ref().is_some_and(plain));
        if named { Dim::Symbol(text.into()) } else { Dim::Any }
    };
    let name = |symbol: usize| names[symbol].as_deref().unwrap_or_default();
    let at = |sizes: &[usize], symbol: usize| sizes[symbol] as i128;
    for symbol in symbols.clone() {
        let pairs = pairs(&|sizes| at(sizes, symbol));
        if let Some(line) = Line::through(&pairs) {
            return expression(&[symbol], line.text(name(symbol)));
        }
    }
    for symbol in symbols.clone() {
        if let Some((offset, divisor)) = rounded(&pairs(&|sizes| at(sizes, symbol))) {
            return expression(&[symbol], format!("floor({}/{divisor})", grouped(name(symbol), offset)));
        }
    }
    for (a, b) in symbols.clone().flat_map(|a| (a + 1..names.len()).map(move |b| (a, b))) {
        if let Some([p, r, k]) = plane(samples, a, b) {
            let terms = format!("{} + {}", times(p, name(a)), times(r, name(b)));
            return expression(&[a, b], plus(&terms, k));
        }
    }
    for (a, b) in symbols.clone().flat_map(|a| (a..names.len()).map(move |b| (a, b))) {
        let pairs = pairs(&|sizes| at(sizes, a) * at(sizes, b));
        if let Some(line) = Line::through(&pairs) {
            return expression(&[a, b], line.text(&format!("{}*{}", name(a), name(b))));
        }
    }
    Dim::Any
}

/// `(p·x + k)/q`, without remainder.
struct Line {
    p: i128,
    k: i128,
    q: i128,
}

impl Line {
    /// The line through all points `(x, y)`, if there is one that rises and enough of them.
    fn through(points: &[(i128, i128)]) -> Option<Self> {
        let first = points.first()?;
        let last = points.iter().find(|(x, _)| *x != first.0)?;
        let (dx, dy) = (last.0 - first.0, last.1 - first.1);
        if dy == 0 || (dx > 0) != (dy > 0) || values(points) < FEWEST_VALUES {
            return None;
        }
        let divisor = greatest_common_divisor(dx.abs(), dy.abs());
        let (p, q) = (dy.abs() / divisor, dx.abs() / divisor);
        let k = q * first.1 - p * first.0;
        points.iter().all(|(x, y)| q * y == p * x + k).then_some(Line { p, k, q })
    }

    fn text(&self, of: &str) -> String {
        let Line { p, k, q } = *self;
        match q {
            1 => plus(&times(p, of), k),
            _ => format!("{}/{q}", grouped(&times(p, of), k)),
        }
    }
}

/// How many values of x there are.
fn values(points: &[(i128, i128)]) -> usize {
    let mut all: Vec<i128> = points.iter().map(|(x, _)| *x).collect();
    all.sort_unstable();
    all.dedup();
    all.len()
}

/// k and q of `y = floor((x + k)/q)`, where the points leave one k and the smallest q that agrees.
fn rounded(points: &[(i128, i128)]) -> Option<(i128, i128)> {
    if values(points) < FEWEST_VALUES {
        return None;
    }
    (2..=LARGEST_DIVISOR).find_map(|q| {
        // q·y <= x + k < q·y + q.
        let least = points.iter().map(|(x, y)| q * y - x).max()?;
        let most = points.iter().map(|(x, y)| q * y - x + q - 1).min()?;
        (least == most).then_some((least, q))
    })
}

/// p, r and k of `y = p·s + r·t + k` with p, r above 0.
fn plane(samples: &[Sample<'_>], a: usize, b: usize) -> Option<[i128; 3]> {
    let point = |sample: &Sample<'_>| (sample.sizes[a] as i128, sample.sizes[b] as i128, sample.size as i128);
    let origin = point(samples.first()?);
    let from = |sample: &Sample<'_>| {
        let (s, t, y) = point(sample);
        (s - origin.0, t - origin.1, y - origin.2)
    };
    let first = samples.iter().map(from).find(|(s, t, _)| (*s, *t) != (0, 0))?;
    let determinant = |other: &(i128, i128, i128)| first.0 * other.1 - first.1 * other.0;
    let second = samples.iter().map(from).find(|other| determinant(other) != 0)?;
    let whole = |value: i128| (value % determinant(&second) == 0).then(|| value / determinant(&second));
    let p = whole(first.2 * second.1 - first.1 * second.2).filter(|p| *p > 0)?;
    let r = whole(first.0 * second.2 - first.2 * second.0).filter(|r| *r > 0)?;
    let k = origin.2 - p * origin.0 - r * origin.1;
    let holds = |(s, t, y): (i128, i128, i128)| y == p * s + r * t + k;
    (samples.len() > FEWEST_VALUES && samples.iter().map(point).all(holds)).then_some([p, r, k])
}

fn greatest_common_divisor(mut a: i128, mut b: i128) -> i128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn times(factor: i128, of: &str) -> String {
    if factor == 1 { of.to_owned() } else { format!("{factor}*{of}") }
}

fn plus(terms: &str, constant: i128) -> String {
    match constant {
        0 => terms.to_owned(),
        1.. => format!("{terms} + {constant}"),
        _ => format!("{terms} - {}", -constant),
    }
}

/// The same, in brackets where there is something to hold together.
fn grouped(terms: &str, constant: i128) -> String {
    match constant {
        0 => terms.to_owned(),
        _ => format!("({})", plus(terms, constant)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(names: &[&str], sizes: &[&[usize]], size: impl Fn(&[usize]) -> usize) -> String {
        let names: Vec<Option<Arc<str>>> = names.iter().map(|name| (*name != "?").then(|| (*name).into())).collect();
        let samples: Vec<Sample<'_>> = sizes.iter().map(|sizes| Sample { sizes, size: size(sizes) }).collect();
        fit(&names, &samples).to_string()
    }

    #[test]
    fn expressions() {
        let one: Vec<Vec<usize>> = (1..40).map(|n| vec![n]).collect();
        let one: Vec<&[usize]> = one.iter().map(Vec::as_slice).collect();
        type Case = (fn(&[usize]) -> usize, &'static str);
        let cases: &[Case] = &[
            (|_| 7, "7"),
            (|s| s[0], "N"),
            (|s| s[0] + 3, "N + 3"),
            (|s| 2 * s[0], "2*N"),
            (|s| 3 * s[0] - 2, "3*N - 2"),
            (|s| s[0] / 2, "floor(N/2)"),
            (|s| s[0].div_ceil(2), "floor((N + 1)/2)"),
            (|s| (s[0] + 63) / 16, "floor((N + 63)/16)"),
            (|s| s[0] * s[0], "N*N"),
            (|s| s[0].min(10), "?"),
            (|s| s[0] % 3, "?"),
            (|s| 100 - s[0], "?"),
        ];
        for (size, expected) in cases {
            assert_eq!(of(&["N"], &one, size), *expected);
        }
        let even: Vec<&[usize]> = one.iter().copied().filter(|sizes| sizes[0] % 4 == 0).collect();
        assert_eq!(of(&["N"], &even, |s| s[0] / 4), "N/4");
        assert_eq!(of(&["N"], &even, |s| 3 * s[0] / 4 + 1), "(3*N + 4)/4");

        let two: Vec<Vec<usize>> = (1..20).map(|n| vec![n, 7 * n % 23 + 1]).collect();
        let two: Vec<&[usize]> = two.iter().map(Vec::as_slice).collect();
        let cases: &[Case] = &[
            (|s| s[1], "T"),
            (|s| s[0] + s[1], "N + T"),
            (|s| 2 * s[0] + 3 * s[1] - 1, "2*N + 3*T - 1"),
            (|s| s[0] * s[1], "N*T"),
            (|s| 8 * s[0] * s[1], "8*N*T"),
            (|s| s[1] / 3, "floor(T/3)"),
            (|s| s[0].max(s[1]), "?"),
        ];
        for (size, expected) in cases {
            assert_eq!(of(&["N", "T"], &two, size), *expected);
        }
        // Nothing is said of what has no name, nor in terms of it.
        assert_eq!(of(&["?"], &one, |s| s[0]), "?");
        assert_eq!(of(&["?"], &one, |s| s[0] + 1), "?");
        assert_eq!(of(&["a name"], &one, |s| s[0]), "a name");
        assert_eq!(of(&["a name"], &one, |s| s[0] + 1), "?");
        assert_eq!(of(&["N"], &one[..3], |s| s[0] + 1), "?", "too few");
        assert_eq!(of(&["N"], &[], |s| s[0]), "?");
    }

    proptest! {
        #[test]
        fn a_rounded_quotient_is_found(offset in 0usize..40, divisor in 2usize..30) {
            let sizes: Vec<Vec<usize>> = (1..80).map(|n| vec![n]).collect();
            let sizes: Vec<&[usize]> = sizes.iter().map(Vec::as_slice).collect();
            let found = of(&["N"], &sizes, |s| (s[0] + offset) / divisor);
            let inner = if offset == 0 { "N".to_owned() } else { format!("(N + {offset})") };
            prop_assert_eq!(found, format!("floor({inner}/{divisor})"));
        }
    }
}
