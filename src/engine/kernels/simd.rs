//! Sums of shifted copies of a slice, the inside of a direct convolution, in vector instructions.
//!
//! [`Shifted::product`] is a matrix product whose right matrix is never stored: each of its rows is a piece of one slice.
//! [`Shifted::correlate`] is the product of the left matrix with the transpose of such a matrix. For f32 both are
//! written for AVX-512 and for AVX2 with FMA, chosen at run time; everything else runs the portable loops.
//!
//! This module holds `unsafe` code. Its argument: [`Product::check`] and [`Correlation::check`] hold all offsets plus
//! the length inside the slices that they are read from, and lengths are whole numbers of vectors ([`LANES`] elements);
//! the kernels reach only `offset + p` with `p` below the length, and rows below the number of rows.
#![allow(unsafe_code, reason = "vector instructions; the argument is above")]

use super::Float;

/// Lengths are multiples of this.
pub const LANES: usize = 16;

/// Rows of the left matrix that are packed together.
const ROWS: usize = 8;

/// `y[r·len + p] = Σ_j a[r, j]·x[offsets[j] + p]`.
#[derive(Clone, Copy, Debug)]
pub struct Product<'a, T> {
    /// Rows of `a` and of the result.
    pub rows: usize,
    /// Elements of each row of the result, a multiple of [`LANES`].
    pub len: usize,
    /// Where the rows of the right matrix begin in `x`.
    pub offsets: &'a [usize],
    /// The left matrix as [`pack`] writes it.
    pub a: &'a [T],
    /// What the rows of the right matrix are pieces of.
    pub x: &'a [T],
}

/// `to[r·J + j] += Σ_i Σ_p dy[i·rows·len + r·len + p]·x[i·x_stride + offsets[j] + p]`, for `J` offsets.
#[derive(Clone, Copy, Debug)]
pub struct Correlation<'a, T> {
    /// Rows of `dy` and of the result.
    pub rows: usize,
    /// Elements of each row of `dy`, a multiple of [`LANES`].
    pub len: usize,
    /// How many items are summed.
    pub items: usize,
    /// How far the items lie apart in `x`.
    pub x_stride: usize,
    /// How far the items lie apart in `dy`: at least `rows·len`.
    pub dy_stride: usize,
    /// Where the rows of the right matrix begin in each item of `x`.
    pub offsets: &'a [usize],
    /// The left matrix of each item.
    pub dy: &'a [T],
    /// What the rows of the right matrix are pieces of.
    pub x: &'a [T],
}

impl<T> Product<'_, T> {
    fn check(&self, y: &[T]) {
        let end = self.offsets.iter().copied().max().unwrap_or(0).checked_add(self.len);
        assert!(self.len.is_multiple_of(LANES), "a length that is no multiple of {LANES}");
        assert!(self.offsets.is_empty() || end.is_some_and(|end| end <= self.x.len()), "an offset outside its slice");
        assert!(self.rows.checked_mul(self.offsets.len()).is_some_and(|len| len <= self.a.len()), "too few weights");
        assert!(self.rows.checked_mul(self.len).is_some_and(|len| len <= y.len()), "too few results");
    }
}

impl<T> Correlation<'_, T> {
    fn check(&self, to: &[T]) {
        let inside = |stride: usize, extent: Option<usize>, len: usize| {
            let last = self.items.saturating_sub(1).checked_mul(stride);
            self.items == 0 || last.zip(extent).and_then(|(a, b)| a.checked_add(b)).is_some_and(|end| end <= len)
        };
        let reach = self.offsets.iter().copied().max().unwrap_or(0).checked_add(self.len);
        assert!(self.len.is_multiple_of(LANES), "a length that is no multiple of {LANES}");
        assert!(self.offsets.is_empty() || inside(self.x_stride, reach, self.x.len()), "an offset outside its slice");
        assert!(inside(self.dy_stride, self.rows.checked_mul(self.len), self.dy.len()), "too few gradients");
        assert!(self.rows.checked_mul(self.offsets.len()).is_some_and(|len| len <= to.len()), "too few results");
    }
}

/// Writes a matrix of `rows × depth` as [`Product`] reads it: eight rows at a time, side by side.
pub fn pack<T: Copy>(rows: usize, depth: usize, to: &mut [T], value: impl Fn(usize, usize) -> T) {
    for first in (0..rows).step_by(ROWS) {
        let count = ROWS.min(rows - first);
        let block = &mut to[first * depth..][..count * depth];
        for (j, column) in block.chunks_exact_mut(count).enumerate() {
            for (row, to) in column.iter_mut().enumerate() {
                *to = value(first + row, j);
            }
        }
    }
}

/// Numbers that the sums are written for.
pub trait Shifted: Float {
    /// Computes `task` into `y`.
    ///
    /// # Panics
    ///
    /// When an operand lies outside its slice.
    fn product(task: &Product<'_, Self>, y: &mut [Self]) {
        task.check(y);
        portable_product(task, y);
    }

    /// Adds `task` to `to`.
    ///
    /// # Panics
    ///
    /// When an operand lies outside its slice.
    fn correlate(task: &Correlation<'_, Self>, to: &mut [Self]) {
        task.check(to);
        portable_correlate(task, to);
    }
}

impl Shifted for f64 {}

impl Shifted for f32 {
    fn product(task: &Product<'_, f32>, y: &mut [f32]) {
        task.check(y);
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                // SAFETY: the processor has AVX-512, and the task was checked.
                return unsafe { wide::product(task, y) };
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                // SAFETY: the processor has AVX2 and FMA, and the task was checked.
                return unsafe { narrow::product(task, y) };
            }
        }
        portable_product(task, y);
    }

    fn correlate(task: &Correlation<'_, f32>, to: &mut [f32]) {
        task.check(to);
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                // SAFETY: the processor has AVX-512, and the task was checked.
                return unsafe { wide::correlate(task, to) };
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                // SAFETY: the processor has AVX2 and FMA, and the task was checked.
                return unsafe { narrow::correlate(task, to) };
            }
        }
        portable_correlate(task, to);
    }
}

fn portable_product<T: Float>(task: &Product<'_, T>, y: &mut [T]) {
    let Product { rows, len, offsets, a, x } = *task;
    for (row, y) in y.chunks_exact_mut(len.max(1)).enumerate().take(rows) {
        let first = row / ROWS * ROWS;
        let count = ROWS.min(rows - first);
        y.fill(T::zero());
        for (j, offset) in offsets.iter().enumerate() {
            let weight = a[first * offsets.len() + j * count + row % ROWS];
            for (y, x) in y.iter_mut().zip(&x[*offset..*offset + len]) {
                *y += weight * *x;
            }
        }
    }
}

fn portable_correlate<T: Float>(task: &Correlation<'_, T>, to: &mut [T]) {
    let Correlation { rows, len, items, x_stride, dy_stride, offsets, dy, x } = *task;
    for row in 0..rows {
        for (j, offset) in offsets.iter().enumerate() {
            let mut total = T::zero();
            for item in 0..items {
                let dy = &dy[item * dy_stride + row * len..][..len];
                let mut sums = [T::zero(); LANES];
                for (dy, x) in dy.chunks_exact(LANES).zip(x[item * x_stride + offset..].chunks_exact(LANES)) {
                    for ((sum, dy), x) in sums.iter_mut().zip(dy).zip(x) {
                        *sum += *dy * *x;
                    }
                }
                total += sums.iter().copied().sum::<T>();
            }
            to[row * offsets.len() + j] += total;
        }
    }
}

/// The kernels in terms of the vector functions of the module around them. All of them rely on a checked task.
#[cfg(target_arch = "x86_64")]
macro_rules! kernels {
    ($features:literal, $rows:literal) => {
        use super::{Correlation, Product, ROWS};

        /// # Safety
        ///
        /// The task was checked against `y`.
        #[target_feature(enable = $features)]
        pub unsafe fn product(task: &Product<'_, f32>, y: &mut [f32]) {
            let mut p = 0;
            while p < task.len {
                let vectors = ((task.len - p) / WIDTH).min(3);
                for first in (0..task.rows).step_by(ROWS) {
                    let count = ROWS.min(task.rows - first);
                    for inside in (0..count).step_by($rows) {
                        // SAFETY: as the caller holds; `rows` of `count` packed rows from `inside` on, and `vectors`
                        // vectors from `p` on, lie inside.
                        unsafe {
                            match (count - inside).min($rows) {
                                1 => columns::<1>(task, y, first, count, inside, p, vectors),
                                2 => columns::<2>(task, y, first, count, inside, p, vectors),
                                3 => columns::<3>(task, y, first, count, inside, p, vectors),
                                4 => columns::<4>(task, y, first, count, inside, p, vectors),
                                5 => columns::<5>(task, y, first, count, inside, p, vectors),
                                6 => columns::<6>(task, y, first, count, inside, p, vectors),
                                7 => columns::<7>(task, y, first, count, inside, p, vectors),
                                _ => columns::<8>(task, y, first, count, inside, p, vectors),
                            }
                        }
                    }
                }
                p += vectors * WIDTH;
            }
        }

        #[target_feature(enable = $features)]
        unsafe fn columns<const R: usize>(
            task: &Product<'_, f32>,
            y: &mut [f32],
            first: usize,
            count: usize,
            inside: usize,
            p: usize,
            vectors: usize,
        ) {
            // SAFETY: as the caller holds.
            unsafe {
                match vectors {
                    1 => tile::<R, 1>(task, y, first, count, inside, p),
                    2 => tile::<R, 2>(task, y, first, count, inside, p),
                    _ => tile::<R, 3>(task, y, first, count, inside, p),
                }
            }
        }

        #[target_feature(enable = $features)]
        unsafe fn tile<const R: usize, const V: usize>(
            task: &Product<'_, f32>,
            y: &mut [f32],
            first: usize,
            count: usize,
            inside: usize,
            p: usize,
        ) {
            let mut sums = [[zero(); V]; R];
            // SAFETY: packed rows `first + inside + r` with r < R lie inside `a`, elements `p + v·WIDTH + lane` below
            // `len` behind every offset inside `x`, and behind every row inside `y`.
            unsafe {
                let mut a = task.a.as_ptr().add(first * task.offsets.len() + inside);
                let x = task.x.as_ptr().add(p);
                for offset in task.offsets {
                    let mut columns = [zero(); V];
                    for (v, column) in columns.iter_mut().enumerate() {
                        *column = load(x.add(offset + v * WIDTH));
                    }
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let weight = set(*a.add(r));
                        for (sum, column) in sums.iter_mut().zip(columns) {
                            *sum = fma(weight, column, *sum);
                        }
                    }
                    a = a.wrapping_add(count);
                }
                for (r, sums) in sums.iter().enumerate() {
                    let y = y.as_mut_ptr().add((first + inside + r) * task.len + p);
                    for (v, sum) in sums.iter().enumerate() {
                        store(y.add(v * WIDTH), *sum);
                    }
                }
            }
        }

        /// # Safety
        ///
        /// The task was checked against `to`.
        #[target_feature(enable = $features)]
        pub unsafe fn correlate(task: &Correlation<'_, f32>, to: &mut [f32]) {
            for row in (0..task.rows).step_by(CORRELATE_ROWS) {
                let mut j = 0;
                while j < task.offsets.len() {
                    let offsets = (task.offsets.len() - j).min(CORRELATE_OFFSETS);
                    // SAFETY: as the caller holds; the rows and offsets from `row` and `j` on lie inside.
                    unsafe {
                        match ((task.rows - row).min(CORRELATE_ROWS), offsets) {
                            (CORRELATE_ROWS, CORRELATE_OFFSETS) => {
                                dots::<CORRELATE_ROWS, CORRELATE_OFFSETS>(task, to, row, j);
                            }
                            (1, CORRELATE_OFFSETS) => dots::<1, CORRELATE_OFFSETS>(task, to, row, j),
                            (2, CORRELATE_OFFSETS) => dots::<2, CORRELATE_OFFSETS>(task, to, row, j),
                            (3, CORRELATE_OFFSETS) => dots::<3, CORRELATE_OFFSETS>(task, to, row, j),
                            (CORRELATE_ROWS, offsets) => {
                                for j in j..j + offsets {
                                    dots::<CORRELATE_ROWS, 1>(task, to, row, j);
                                }
                            }
                            (rows, offsets) => {
                                for row in row..row + rows {
                                    for j in j..j + offsets {
                                        dots::<1, 1>(task, to, row, j);
                                    }
                                }
                            }
                        }
                    }
                    j += offsets;
                }
            }
        }

        #[target_feature(enable = $features)]
        unsafe fn dots<const R: usize, const J: usize>(
            task: &Correlation<'_, f32>,
            to: &mut [f32],
            row: usize,
            j: usize,
        ) {
            let mut sums = [[zero(); J]; R];
            // SAFETY: rows `row + r` with r < R and offsets `j + i` with i < J lie inside the task, and for each item
            // every element below `len` behind them inside `dy` and `x`.
            unsafe {
                let offsets: [usize; J] = std::array::from_fn(|i| *task.offsets.get_unchecked(j + i));
                for item in 0..task.items {
                    let dy = task.dy.as_ptr().add(item * task.dy_stride + row * task.len);
                    let x = task.x.as_ptr().add(item * task.x_stride);
                    for p in (0..task.len).step_by(WIDTH) {
                        let mut rows = [zero(); R];
                        for (r, value) in rows.iter_mut().enumerate() {
                            *value = load(dy.add(r * task.len + p));
                        }
                        for (i, offset) in offsets.iter().enumerate() {
                            let x = load(x.add(offset + p));
                            for (sums, row) in sums.iter_mut().zip(rows) {
                                sums[i] = fma(row, x, sums[i]);
                            }
                        }
                    }
                }
            }
            for (r, sums) in sums.iter().enumerate() {
                for (i, sum) in sums.iter().enumerate() {
                    to[(row + r) * task.offsets.len() + j + i] += total(*sum);
                }
            }
        }
    };
}

/// AVX-512: vectors of 16, 32 registers.
#[cfg(target_arch = "x86_64")]
mod wide {
    use std::arch::x86_64::*;

    const WIDTH: usize = 16;
    const CORRELATE_ROWS: usize = 4;
    const CORRELATE_OFFSETS: usize = 6;

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn zero() -> __m512 {
        _mm512_setzero_ps()
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn set(value: f32) -> __m512 {
        _mm512_set1_ps(value)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        _mm512_fmadd_ps(a, b, c)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn total(a: __m512) -> f32 {
        _mm512_reduce_add_ps(a)
    }

    /// # Safety
    ///
    /// 16 elements lie at `from`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load(from: *const f32) -> __m512 {
        // SAFETY: as the caller holds.
        unsafe { _mm512_loadu_ps(from) }
    }

    /// # Safety
    ///
    /// 16 elements lie at `to`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn store(to: *mut f32, a: __m512) {
        // SAFETY: as the caller holds.
        unsafe { _mm512_storeu_ps(to, a) }
    }

    kernels!("avx512f", 8);
}

/// AVX2 with FMA: vectors of 8, 16 registers.
#[cfg(target_arch = "x86_64")]
mod narrow {
    use std::arch::x86_64::*;

    const WIDTH: usize = 8;
    const CORRELATE_ROWS: usize = 4;
    const CORRELATE_OFFSETS: usize = 2;

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn zero() -> __m256 {
        _mm256_setzero_ps()
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn set(value: f32) -> __m256 {
        _mm256_set1_ps(value)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        _mm256_fmadd_ps(a, b, c)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn total(a: __m256) -> f32 {
        let half = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
        let quarter = _mm_add_ps(half, _mm_movehl_ps(half, half));
        _mm_cvtss_f32(_mm_add_ss(quarter, _mm_shuffle_ps::<1>(quarter, quarter)))
    }

    /// # Safety
    ///
    /// 8 elements lie at `from`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn load(from: *const f32) -> __m256 {
        // SAFETY: as the caller holds.
        unsafe { _mm256_loadu_ps(from) }
    }

    /// # Safety
    ///
    /// 8 elements lie at `to`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn store(to: *mut f32, a: __m256) {
        // SAFETY: as the caller holds.
        unsafe { _mm256_storeu_ps(to, a) }
    }

    kernels!("avx2,fma", 4);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize, step: f32) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * step).sin()).collect()
    }

    fn close(found: &[f32], expected: &[f32], what: &str) {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-4, "{what}: {found} {expected}");
        }
    }

    type Products = Vec<(&'static str, fn(&Product<'_, f32>, &mut [f32]))>;
    type Correlations = Vec<(&'static str, fn(&Correlation<'_, f32>, &mut [f32]))>;

    fn products() -> Products {
        let mut kernels: Products = vec![("portable", portable_product), ("chosen", Shifted::product)];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                // SAFETY: the processor has what it needs, and the test checks its tasks.
                kernels.push(("narrow", |task, y| unsafe { narrow::product(task, y) }));
            }
        }
        kernels
    }

    fn correlations() -> Correlations {
        let mut kernels: Correlations = vec![("portable", portable_correlate), ("chosen", Shifted::correlate)];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                // SAFETY: the processor has what it needs, and the test checks its tasks.
                kernels.push(("narrow", |task, to| unsafe { narrow::correlate(task, to) }));
            }
        }
        kernels
    }

    #[test]
    fn products_equal_the_definition() {
        let x = values(200, 0.37);
        for rows in (1..=9).chain([16, 19]) {
            for (len, depth) in [(16, 1), (32, 5), (48, 25), (64, 7), (112, 3), (16, 0), (0, 2)] {
                let offsets: Vec<usize> = (0..depth).map(|j| (j * 31) % (x.len() - len)).collect();
                let w = values(rows * depth, 0.73);
                let mut a = vec![0.0; rows * depth];
                pack(rows, depth, &mut a, |row, j| w[row * depth + j]);
                let sum = |row: usize, p: usize| (0..depth).map(|j| w[row * depth + j] * x[offsets[j] + p]).sum();
                let expected: Vec<f32> = (0..rows * len).map(|i| sum(i / len, i % len)).collect();
                let task = Product { rows, len, offsets: &offsets, a: &a, x: &x };
                for (name, kernel) in products() {
                    let mut y = vec![7.0; rows * len];
                    task.check(&y);
                    kernel(&task, &mut y);
                    close(&y, &expected, &format!("{name} {rows} {len} {depth}"));
                }
            }
        }
    }

    #[test]
    fn correlations_equal_the_definition() {
        let (x, items) = (values(600, 0.37), 3);
        for rows in (1..=9).chain([13]) {
            for (len, depth) in [(16, 1), (32, 5), (48, 25), (64, 7), (112, 6), (16, 0), (0, 2)] {
                let offsets: Vec<usize> = (0..depth).map(|j| (j * 31) % (200 - len)).collect();
                let dy = values(items * rows * len, 0.73);
                let sum = |row: usize, j: usize| -> f32 {
                    let one = |i: usize, p: usize| dy[(i * rows + row) * len + p] * x[i * 200 + offsets[j] + p];
                    (0..items * len).map(|i| one(i / len, i % len)).sum()
                };
                let expected: Vec<f32> = (0..rows * depth).map(|i| 1.0 + sum(i / depth, i % depth)).collect();
                let task = Correlation {
                    rows,
                    len,
                    items,
                    x_stride: 200,
                    dy_stride: rows * len,
                    offsets: &offsets,
                    dy: &dy,
                    x: &x,
                };
                for (name, kernel) in correlations() {
                    let mut to = vec![1.0; rows * depth];
                    task.check(&to);
                    kernel(&task, &mut to);
                    close(&to, &expected, &format!("{name} {rows} {len} {depth}"));
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "outside its slice")]
    fn an_offset_outside_its_slice_is_refused() {
        f32::product(&Product { rows: 1, len: 16, offsets: &[5], a: &[1.0], x: &[0.0; 20] }, &mut [0.0; 16]);
    }

    #[test]
    #[should_panic(expected = "too few results")]
    fn a_result_that_is_too_short_is_refused() {
        f32::product(&Product { rows: 2, len: 16, offsets: &[0], a: &[1.0; 2], x: &[0.0; 20] }, &mut [0.0; 16]);
    }
}
