//! Axes of a tensor, as operators name them: counted from the front, or from the end when negative.

use crate::engine::error::OpError;
use crate::engine::kernels::Float;

/// The dimension that `axis` names among `rank` of them; `name` is the attribute that it comes from.
pub fn resolve(name: &str, axis: i64, rank: usize) -> Result<usize, OpError> {
    let from_front =
        if axis < 0 { i64::try_from(rank).ok().and_then(|rank| rank.checked_add(axis)) } else { Some(axis) };
    from_front.and_then(|axis| usize::try_from(axis).ok()).filter(|axis| *axis < rank).ok_or_else(|| {
        let expected =
            if rank == 0 { "no axis (a scalar has none)".into() } else { format!("-{rank} to {}", rank - 1) };
        OpError::Attribute { name: name.into(), expected, found: axis.to_string() }
    })
}

/// A tensor seen as `outer × len × inner`: operators along one axis work on the `outer · inner` lanes of `len` elements
/// that lie `inner` apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lanes {
    /// The product of the sizes before the axis.
    pub outer: usize,
    /// The size of the axis.
    pub len: usize,
    /// The product of the sizes after the axis.
    pub inner: usize,
}

impl Lanes {
    /// The lanes of `shape` along `axis`.
    pub fn along(shape: &[usize], axis: usize) -> Self {
        let (before, rest) = shape.split_at(axis.min(shape.len()));
        let len = rest.first().copied().unwrap_or(1);
        Lanes { outer: before.iter().product(), len, inner: rest.iter().skip(1).product() }
    }

    /// The rows of `shape` whose elements are all those from `axis` on.
    pub fn from(shape: &[usize], axis: usize) -> Self {
        let (before, rest) = shape.split_at(axis.min(shape.len()));
        Lanes { outer: before.iter().product(), len: rest.iter().product(), inner: 1 }
    }

    /// How many lanes there are.
    pub fn count(&self) -> usize {
        self.outer * self.inner
    }

    /// How many elements there are.
    pub fn elements(&self) -> usize {
        self.outer * self.len * self.inner
    }

    /// Where lane `index` begins; its elements lie [`inner`](Lanes::inner) apart.
    pub fn start(&self, index: usize) -> usize {
        index / self.inner.max(1) * self.len * self.inner + index % self.inner.max(1)
    }
}

/// Sums that are kept side by side: they vectorise, and lose less to rounding than one running sum.
const SIDE_BY_SIDE: usize = 16;

/// The sum of `f(x)` over a slice.
pub fn sum<T: Float>(x: &[T], f: impl Fn(T) -> T) -> T {
    let mut sums = [T::zero(); SIDE_BY_SIDE];
    let chunks = x.chunks_exact(SIDE_BY_SIDE);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum += f(*x);
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *sum += f(*x);
    }
    together(sums)
}

/// The sum of `f(a, b)` over two slices of one length.
pub fn sum_of<T: Float>(a: &[T], b: &[T], f: impl Fn(T, T) -> T) -> T {
    let mut sums = [T::zero(); SIDE_BY_SIDE];
    let (a_chunks, b_chunks) = (a.chunks_exact(SIDE_BY_SIDE), b.chunks_exact(SIDE_BY_SIDE));
    let (a_rest, b_rest) = (a_chunks.remainder(), b_chunks.remainder());
    for (a, b) in a_chunks.zip(b_chunks) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += f(*a, *b);
        }
    }
    for ((sum, a), b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum += f(*a, *b);
    }
    together(sums)
}

fn together<T: Float>(mut sums: [T; SIDE_BY_SIDE]) -> T {
    let mut width = SIDE_BY_SIDE;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            let other = sums[i + width];
            sums[i] += other;
        }
    }
    sums[0]
}

/// The largest element (NaN, if there is one), minus infinity for none.
pub fn largest<T: Float>(x: &[T]) -> T {
    let mut tops = [T::neg_infinity(); SIDE_BY_SIDE];
    let chunks = x.chunks_exact(SIDE_BY_SIDE);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (top, x) in tops.iter_mut().zip(chunk) {
            *top = larger(*top, *x);
        }
    }
    for (top, x) in tops.iter_mut().zip(rest) {
        *top = larger(*top, *x);
    }
    tops.into_iter().fold(T::neg_infinity(), larger)
}

/// The larger of two numbers; NaN, if either is.
#[inline]
pub fn larger<T: Float>(a: T, b: T) -> T {
    if a >= b || a.is_nan() { a } else { b }
}

/// The smaller of two numbers; NaN, if either is.
#[inline]
pub fn smaller<T: Float>(a: T, b: T) -> T {
    if a <= b || a.is_nan() { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes() {
        for (axis, rank, expected) in [
            (0, 3, Some(0)),
            (2, 3, Some(2)),
            (-1, 3, Some(2)),
            (-3, 3, Some(0)),
            (3, 3, None),
            (-4, 3, None),
            (0, 0, None),
        ] {
            assert_eq!(resolve("axis", axis, rank).ok(), expected, "{axis} of {rank}");
        }
        assert!(resolve("axis", i64::MIN, 3).is_err());
    }

    #[test]
    fn lanes() {
        let lanes = Lanes::along(&[2, 3, 4], 1);
        assert_eq!(lanes, Lanes { outer: 2, len: 3, inner: 4 });
        let starts: Vec<usize> = (0..lanes.count()).map(|lane| lanes.start(lane)).collect();
        assert_eq!(starts, [0, 1, 2, 3, 12, 13, 14, 15]);
        assert_eq!(Lanes::from(&[2, 3, 4], 1), Lanes { outer: 2, len: 12, inner: 1 });
        assert_eq!(Lanes::along(&[], 0).elements(), 1);
    }

    #[test]
    fn folds_equal_a_plain_loop() {
        for len in [0, 1, 15, 16, 17, 40] {
            let x: Vec<f64> = (0..len).map(|i| f64::from(i * 7 % 11) - 4.0).collect();
            assert_eq!(sum(&x, |x| x * x), x.iter().map(|x| x * x).sum::<f64>(), "{len}");
            assert_eq!(sum_of(&x, &x, |a, b| a * b), sum(&x, |x| x * x), "{len}");
            assert_eq!(largest(&x), x.iter().copied().fold(f64::NEG_INFINITY, f64::max), "{len}");
        }
        assert!(largest(&[1.0, f64::NAN, 2.0]).is_nan());
    }
}
