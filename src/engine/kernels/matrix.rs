//! Matrix products, on the `gemm` crate.

use gemm::Parallelism;

use super::Float;

/// A matrix to be read: elements and the distances between neighbours in a column and in a row.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, T> {
    elements: &'a [T],
    row_stride: usize,
    column_stride: usize,
}

/// A matrix to be written.
#[derive(Debug)]
pub struct ViewMut<'a, T> {
    elements: &'a mut [T],
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T> View<'a, T> {
    /// A row-major matrix with `columns` columns.
    pub fn rows(elements: &'a [T], columns: usize) -> Self {
        View { elements, row_stride: columns, column_stride: 1 }
    }

    /// The transpose of a row-major matrix with `columns` columns.
    pub fn transposed(elements: &'a [T], columns: usize) -> Self {
        View { elements, row_stride: 1, column_stride: columns }
    }

    /// A row-major matrix with `columns` columns, or its transpose.
    pub fn oriented(elements: &'a [T], columns: usize, transposed: bool) -> Self {
        if transposed { View::transposed(elements, columns) } else { View::rows(elements, columns) }
    }

    /// A matrix with any strides.
    pub fn strided(elements: &'a [T], row_stride: usize, column_stride: usize) -> Self {
        View { elements, row_stride, column_stride }
    }
}

impl<'a, T> ViewMut<'a, T> {
    /// A row-major matrix with `columns` columns.
    pub fn rows(elements: &'a mut [T], columns: usize) -> Self {
        ViewMut { elements, row_stride: columns, column_stride: 1 }
    }

    /// The transpose of a row-major matrix with `columns` columns.
    pub fn transposed(elements: &'a mut [T], columns: usize) -> Self {
        ViewMut { elements, row_stride: 1, column_stride: columns }
    }

    /// A matrix with any strides.
    pub fn strided(elements: &'a mut [T], row_stride: usize, column_stride: usize) -> Self {
        ViewMut { elements, row_stride, column_stride }
    }
}

/// `to = a·b`, or `to += a·b` with `add`, where `a` is `m × k`, `b` is `k × n` and `to` is `m × n`. With `k = 0` the
/// product is zero.
///
/// # Panics
///
/// When a matrix does not lie inside its slice.
#[allow(clippy::too_many_arguments, reason = "the shape of a matrix product")]
pub fn multiply<T: Float>(
    m: usize,
    n: usize,
    k: usize,
    to: ViewMut<'_, T>,
    a: View<'_, T>,
    b: View<'_, T>,
    add: bool,
    threads: usize,
) {
    T::gemm(m, n, k, to, a, b, add, threads);
}

/// The element after the last of a matrix.
fn extent(rows: usize, columns: usize, row_stride: usize, column_stride: usize) -> usize {
    if rows == 0 || columns == 0 {
        return 0;
    }
    let last = |size: usize, stride: usize| (size - 1).checked_mul(stride);
    let end =
        last(rows, row_stride).zip(last(columns, column_stride)).and_then(|(a, b)| a.checked_add(b)?.checked_add(1));
    end.unwrap_or(usize::MAX)
}

#[allow(clippy::too_many_arguments, reason = "the shape of a matrix product")]
#[allow(unsafe_code, reason = "the gemm crate takes pointers; every element that it reaches is checked here")]
pub(super) fn product<T: Float + 'static>(
    m: usize,
    n: usize,
    k: usize,
    to: ViewMut<'_, T>,
    a: View<'_, T>,
    b: View<'_, T>,
    add: bool,
    threads: usize,
) {
    assert!(extent(m, n, to.row_stride, to.column_stride) <= to.elements.len(), "the product lies outside its slice");
    assert!(extent(m, k, a.row_stride, a.column_stride) <= a.elements.len(), "the left matrix lies outside its slice");
    assert!(extent(k, n, b.row_stride, b.column_stride) <= b.elements.len(), "the right matrix lies outside its slice");
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if !add {
            for row in 0..m {
                for column in 0..n {
                    to.elements[row * to.row_stride + column * to.column_stride] = T::zero();
                }
            }
        }
        return;
    }
    let work = m.saturating_mul(n).saturating_mul(k);
    let parallelism = if threads > 1 && work > 1 << 18 { Parallelism::Rayon(threads) } else { Parallelism::None };
    // SAFETY: the asserts above hold every element (i, j) of the three matrices inside its slice; `to` is borrowed
    // mutably, so it overlaps neither of the others; all strides fit isize because slices are at most isize::MAX long
    // (a stride is used only when there is a second row or column, which lies inside).
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            to.elements.as_mut_ptr(),
            to.column_stride as isize,
            to.row_stride as isize,
            add,
            a.elements.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.elements.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            T::one(),
            T::one(),
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(m: usize, n: usize, k: usize, a: &[f64], b: &[f64], ta: bool, tb: bool) -> Vec<f64> {
        let mut c = vec![0.0; m * n];
        for i in 0..m {
            for j in 0..n {
                for p in 0..k {
                    let x = if ta { a[p * m + i] } else { a[i * k + p] };
                    let y = if tb { b[j * k + p] } else { b[p * n + j] };
                    c[i * n + j] += x * y;
                }
            }
        }
        c
    }

    #[test]
    fn every_orientation_equals_the_definition() {
        for (m, n, k) in [(1, 1, 1), (3, 5, 2), (17, 4, 9), (1, 33, 65), (40, 1, 7), (3, 4, 0), (0, 3, 2), (64, 70, 33)]
        {
            for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
                let a: Vec<f64> = (0..m * k).map(|i| (i as f64 * 0.7).sin()).collect();
                let b: Vec<f64> = (0..k * n).map(|i| (i as f64 * 0.3).cos()).collect();
                let mut c = vec![7.0; m * n];
                let left = View::oriented(&a, if ta { m } else { k }, ta);
                let right = View::oriented(&b, if tb { k } else { n }, tb);
                multiply(m, n, k, ViewMut::rows(&mut c, n), left, right, false, 1);
                let expected = naive(m, n, k, &a, &b, ta, tb);
                for (found, expected) in c.iter().zip(&expected) {
                    assert!((found - expected).abs() < 1e-12, "{m}x{n}x{k} {ta} {tb}: {found} {expected}");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "outside its slice")]
    fn a_matrix_outside_its_slice_is_refused() {
        multiply(
            2,
            2,
            2,
            ViewMut::rows(&mut [0.0f32; 3], 2),
            View::rows(&[0.0; 4], 2),
            View::rows(&[0.0; 4], 2),
            false,
            1,
        );
    }
}
