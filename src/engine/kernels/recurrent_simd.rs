//! What recurrent operators compute in every time step: products of a few rows with a weight matrix, sigmoid and tanh.
//!
//! A step at batch 1 is a matrix–vector product, bound by how fast the matrix can be read. [`Packed`] holds it in panels
//! of [`PANEL`] columns, each panel one run of memory that a kernel reads once, front to back, with all sums in
//! registers. Vectors of AVX-512 and AVX2 are used where the processor has them (asked when running), for f32.
//!
//! `exp(x) = 2ⁿ·exp(r)` with `n = round(x / ln 2)`, `|r| ≤ ln 2 / 2`, and the Taylor series of `exp(r)` to degree 7
//! (remainder below 6·10⁻⁹). `sigmoid(x) = 1 / (1 + exp(-x))`; `tanh(x) = 1 - 2 / (exp(2x) + 1)`, and below 0.5 its Taylor
//! series to degree 15. Both are within 5·10⁻⁷ of the true value, relative.
#![allow(unsafe_code, reason = "vector instructions on pointers; each use states why it stays inside its slice")]

use super::Float;

/// Columns of a panel.
pub const PANEL: usize = 64;

/// A weight matrix of `depth × columns`, ready for [`product`](Packed::product).
#[derive(Clone, Debug)]
pub struct Packed<T> {
    depth: usize,
    columns: usize,
    /// `columns / PANEL` panels (rounded up), each `depth` rows of `PANEL` elements; zeros beyond the last column.
    panels: Vec<T>,
}

impl<T: Lanes> Packed<T> {
    /// A matrix of zeros.
    pub fn new(depth: usize, columns: usize) -> Self {
        Packed { depth, columns, panels: vec![T::zero(); columns.div_ceil(PANEL) * PANEL * depth] }
    }

    /// Takes the elements of a row-major matrix of `depth × columns`.
    pub fn pack(&mut self, matrix: &[T]) {
        let Packed { depth, columns, .. } = *self;
        assert_eq!(matrix.len(), depth * columns, "the matrix has another size");
        if depth == 0 {
            return;
        }
        for (index, panel) in self.panels.chunks_exact_mut(PANEL * depth).enumerate() {
            let from = index * PANEL;
            let count = PANEL.min(columns - from);
            for (to, row) in panel.chunks_exact_mut(PANEL).zip(matrix.chunks_exact(columns)) {
                to[..count].copy_from_slice(&row[from..from + count]);
            }
        }
    }

    /// Takes the elements of the transpose of a row-major matrix of `columns × depth`.
    pub fn pack_transposed(&mut self, matrix: &[T]) {
        let Packed { depth, columns, .. } = *self;
        assert_eq!(matrix.len(), depth * columns, "the matrix has another size");
        if depth == 0 {
            return;
        }
        for (panel, rows) in self.panels.chunks_exact_mut(PANEL * depth).zip(matrix.chunks(PANEL * depth)) {
            // Sixteen by sixteen, so that what is read and what is written stay in the nearest cache.
            for from in (0..depth).step_by(16) {
                let to = (from + 16).min(depth);
                for (column, row) in rows.chunks_exact(depth).enumerate() {
                    for (k, value) in row[from..to].iter().enumerate() {
                        panel[(from + k) * PANEL + column] = *value;
                    }
                }
            }
        }
    }

    /// `y = x·matrix`, or `y += x·matrix` with `add`: `rows` rows, which begin `x_stride` (`y_stride`) elements apart.
    ///
    /// # Panics
    ///
    /// When the last row does not lie inside its slice.
    pub fn product(&self, rows: usize, x: &[T], x_stride: usize, y: &mut [T], y_stride: usize, add: bool) {
        if rows == 0 || self.columns == 0 {
            return;
        }
        let end = |stride: usize, width: usize| (rows - 1).checked_mul(stride).and_then(|last| last.checked_add(width));
        assert!(end(x_stride, self.depth).is_some_and(|end| end <= x.len()), "the rows lie outside their slice");
        assert!(end(y_stride, self.columns).is_some_and(|end| end <= y.len()), "the product lies outside its slice");
        T::product(&Task { packed: self, rows, x, x_stride, y_stride, add }, y);
    }
}

/// A product whose rows were checked to lie inside their slices.
#[derive(Debug)]
pub struct Task<'a, T> {
    packed: &'a Packed<T>,
    rows: usize,
    x: &'a [T],
    x_stride: usize,
    y_stride: usize,
    add: bool,
}

/// What differs between f32, which has vector kernels, and f64, which does without.
pub trait Lanes: Float {
    /// Does what [`Packed::product`] says.
    fn product(task: &Task<'_, Self>, y: &mut [Self]);
    /// Replaces each element by its sigmoid.
    fn sigmoid_all(values: &mut [Self]);
    /// Replaces each element by its hyperbolic tangent.
    fn tanh_all(values: &mut [Self]);
}

impl Lanes for f64 {
    fn product(task: &Task<'_, Self>, y: &mut [Self]) {
        portable(task, y);
    }

    fn sigmoid_all(values: &mut [Self]) {
        portable_sigmoid(values);
    }

    fn tanh_all(values: &mut [Self]) {
        portable_tanh(values);
    }
}

/// Calls `$function` of the best instructions that this processor has, or `$otherwise`.
macro_rules! best {
    ($function:ident($($argument:expr),*), $otherwise:expr) => {{
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                // SAFETY: the processor has the instructions.
                return unsafe { avx512::$function($($argument),*) };
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                // SAFETY: the processor has the instructions.
                return unsafe { avx2::$function($($argument),*) };
            }
        }
        $otherwise
    }};
}

impl Lanes for f32 {
    fn product(task: &Task<'_, Self>, y: &mut [Self]) {
        best!(product(task, y), portable(task, y))
    }

    fn sigmoid_all(values: &mut [Self]) {
        best!(sigmoid(values), portable_sigmoid(values))
    }

    fn tanh_all(values: &mut [Self]) {
        best!(tanh(values), portable_tanh(values))
    }
}

fn portable_sigmoid<T: Float>(values: &mut [T]) {
    values.iter_mut().for_each(|value| *value = T::one() / (T::one() + (-*value).exp()));
}

fn portable_tanh<T: Float>(values: &mut [T]) {
    values.iter_mut().for_each(|value| *value = value.tanh());
}

fn portable<T: Float>(task: &Task<'_, T>, y: &mut [T]) {
    let Packed { depth, columns, ref panels } = *task.packed;
    for row in 0..task.rows {
        let x = &task.x[row * task.x_stride..][..depth];
        let y = &mut y[row * task.y_stride..][..columns];
        for (index, y) in y.chunks_mut(PANEL).enumerate() {
            let mut sums = [T::zero(); PANEL];
            for (x, weights) in x.iter().zip(panels[index * PANEL * depth..].chunks_exact(PANEL)) {
                sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += *x * *weight);
            }
            match task.add {
                true => y.iter_mut().zip(sums).for_each(|(y, sum)| *y += sum),
                false => y.copy_from_slice(&sums[..y.len()]),
            }
        }
    }
}

/// The kernels in terms of the vector functions of the module around them.
#[cfg(target_arch = "x86_64")]
macro_rules! kernels {
    ($features:literal, $rows:literal, $vectors:literal) => {
        use super::{PANEL, Packed, Task};

        #[target_feature(enable = $features)]
        pub fn product(task: &Task<'_, f32>, y: &mut [f32]) {
            let mut row = 0;
            while row < task.rows {
                let rows = if task.rows - row >= $rows { $rows } else { task.rows - row };
                match rows {
                    1 => few_rows::<1, { PANEL / WIDTH }>(task, row, y),
                    2 => few_rows::<2, $vectors>(task, row, y),
                    3 => few_rows::<3, $vectors>(task, row, y),
                    4 => few_rows::<4, $vectors>(task, row, y),
                    5 => few_rows::<5, $vectors>(task, row, y),
                    _ => few_rows::<6, $vectors>(task, row, y),
                }
                row += rows.min(6);
            }
        }

        /// `ROWS` rows from `first` on, `VECTORS` vectors of columns at a time. The caller holds `first + ROWS` at or
        /// below the rows of the task.
        #[target_feature(enable = $features)]
        fn few_rows<const ROWS: usize, const VECTORS: usize>(task: &Task<'_, f32>, first: usize, y: &mut [f32]) {
            let Packed { depth, columns, ref panels } = *task.packed;
            for column in (0..columns).step_by(VECTORS * WIDTH) {
                let panel = &panels[column / PANEL * PANEL * depth..][..PANEL * depth];
                let inside = column % PANEL;
                let mut sums = [[zero(); VECTORS]; ROWS];
                // A second set of sums where there are few: additions to one sum wait for each other.
                let mut odd = [[zero(); VECTORS]; ROWS];
                let add = |sums: &mut [[Vector; VECTORS]; ROWS], k: usize| {
                    for vector in 0..VECTORS {
                        // SAFETY: k < depth, and the panel holds PANEL elements for each k, of which
                        // inside + VECTORS·WIDTH ≤ PANEL are reached (both are multiples of VECTORS·WIDTH, which
                        // divides PANEL).
                        let weights = unsafe { load(panel.as_ptr().add(k * PANEL + inside + vector * WIDTH)) };
                        for row in 0..ROWS {
                            // SAFETY: Packed::product checked that element `depth - 1` of the last row is inside `x`.
                            let x = unsafe { *task.x.get_unchecked((first + row) * task.x_stride + k) };
                            sums[row][vector] = fma(set(x), weights, sums[row][vector]);
                        }
                    }
                };
                if ROWS == 1 {
                    for k in 0..depth / 2 {
                        add(&mut sums, 2 * k);
                        add(&mut odd, 2 * k + 1);
                    }
                    if depth % 2 == 1 {
                        add(&mut sums, depth - 1);
                    }
                    for (sum, odd) in sums.iter_mut().flatten().zip(odd.iter().flatten()) {
                        *sum = plus(*sum, *odd);
                    }
                } else {
                    for k in 0..depth {
                        add(&mut sums, k);
                    }
                }
                let count = (columns - column).min(VECTORS * WIDTH);
                for (row, sums) in sums.iter().enumerate() {
                    let y = &mut y[(first + row) * task.y_stride + column..][..count];
                    for (y, sum) in y.chunks_mut(WIDTH).zip(sums) {
                        let mut whole = [0.0f32; WIDTH];
                        if y.len() == WIDTH {
                            // SAFETY: `y` holds WIDTH elements.
                            unsafe {
                                let sum = if task.add { plus(load(y.as_ptr()), *sum) } else { *sum };
                                store(y.as_mut_ptr(), sum);
                            }
                            continue;
                        }
                        // SAFETY: `whole` holds WIDTH elements.
                        unsafe { store(whole.as_mut_ptr(), *sum) };
                        for (y, sum) in y.iter_mut().zip(whole) {
                            *y = if task.add { *y + sum } else { sum };
                        }
                    }
                }
            }
        }

        #[target_feature(enable = $features)]
        pub fn sigmoid(values: &mut [f32]) {
            let (whole, rest) = values.as_chunks_mut::<WIDTH>();
            let one = set(1.0);
            for chunk in whole {
                // SAFETY: a chunk holds WIDTH elements.
                unsafe {
                    let x = load(chunk.as_ptr());
                    store(chunk.as_mut_ptr(), over(one, plus(one, exp(minus(zero(), x)))));
                }
            }
            if !rest.is_empty() {
                let mut chunk = [0.0; WIDTH];
                chunk[..rest.len()].copy_from_slice(rest);
                sigmoid(&mut chunk);
                rest.copy_from_slice(&chunk[..rest.len()]);
            }
        }

        #[target_feature(enable = $features)]
        pub fn tanh(values: &mut [f32]) {
            let (whole, rest) = values.as_chunks_mut::<WIDTH>();
            let (one, two) = (set(1.0), set(2.0));
            for chunk in whole {
                // SAFETY: a chunk holds WIDTH elements.
                let x = unsafe { load(chunk.as_ptr()) };
                let far = minus(one, over(two, plus(exp(times(two, x)), one)));
                let square = times(x, x);
                let mut series = set(super::TANH[0]);
                for coefficient in &super::TANH[1..] {
                    series = fma(series, square, set(*coefficient));
                }
                let near = fma(times(series, square), x, x);
                // SAFETY: as above.
                unsafe { store(chunk.as_mut_ptr(), select_below(square, set(0.25), near, far)) };
            }
            if !rest.is_empty() {
                let mut chunk = [0.0; WIDTH];
                chunk[..rest.len()].copy_from_slice(rest);
                tanh(&mut chunk);
                rest.copy_from_slice(&chunk[..rest.len()]);
            }
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn exp(x: Vector) -> Vector {
            // Beyond these the result is 0 or too large; a NaN stays one (the second operand is taken then).
            let x = least(set(88.37), greatest(set(-87.33), x));
            let n = round(times(x, set(std::f32::consts::LOG2_E)));
            // ln 2 in two parts, the first with few bits, so that n times it is exact.
            let r = fma(n, set(-0.693_359_4), x);
            let r = fma(n, set(2.121_944_4e-4), r);
            let mut series = set(1.0 / 5040.0);
            for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
                series = fma(series, r, set(coefficient));
            }
            scale(series, n)
        }
    };
}

/// The series of `tanh(x) / x - 1` in `x²`, highest power first, without the factor `x²`.
#[cfg(target_arch = "x86_64")]
const TANH: [f32; 7] = [
    -929_569.0 / 638_512_875.0,
    21_844.0 / 6_081_075.0,
    -1_382.0 / 155_925.0,
    62.0 / 2_835.0,
    -17.0 / 315.0,
    2.0 / 15.0,
    -1.0 / 3.0,
];

/// Vector functions by the names that the kernels use.
#[cfg(target_arch = "x86_64")]
macro_rules! vector_functions {
    ($features:literal, $($name:ident($($argument:ident: $kind:ty),*) = $body:expr;)*) => {$(
        #[inline]
        #[target_feature(enable = $features)]
        fn $name($($argument: $kind),*) -> Vector {
            $body
        }
    )*};
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    type Vector = __m512;
    const WIDTH: usize = 16;

    vector_functions! { "avx512f",
        zero() = _mm512_setzero_ps();
        set(x: f32) = _mm512_set1_ps(x);
        fma(a: Vector, b: Vector, c: Vector) = _mm512_fmadd_ps(a, b, c);
        plus(a: Vector, b: Vector) = _mm512_add_ps(a, b);
        minus(a: Vector, b: Vector) = _mm512_sub_ps(a, b);
        times(a: Vector, b: Vector) = _mm512_mul_ps(a, b);
        over(a: Vector, b: Vector) = _mm512_div_ps(a, b);
        least(a: Vector, b: Vector) = _mm512_min_ps(a, b);
        greatest(a: Vector, b: Vector) = _mm512_max_ps(a, b);
        round(x: Vector) = _mm512_roundscale_ps::<0>(x);
        scale(x: Vector, n: Vector) = _mm512_scalef_ps(x, n);
        select_below(a: Vector, b: Vector, yes: Vector, no: Vector) =
            _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), no, yes);
    }

    /// # Safety
    ///
    /// `from` points to `WIDTH` elements.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load(from: *const f32) -> Vector {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_ps(from) }
    }

    /// # Safety
    ///
    /// `to` points to `WIDTH` elements that may be written.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn store(to: *mut f32, x: Vector) {
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_ps(to, x) }
    }

    kernels!("avx512f", 6, 4);
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    type Vector = __m256;
    const WIDTH: usize = 8;

    vector_functions! { "avx2,fma",
        zero() = _mm256_setzero_ps();
        set(x: f32) = _mm256_set1_ps(x);
        fma(a: Vector, b: Vector, c: Vector) = _mm256_fmadd_ps(a, b, c);
        plus(a: Vector, b: Vector) = _mm256_add_ps(a, b);
        minus(a: Vector, b: Vector) = _mm256_sub_ps(a, b);
        times(a: Vector, b: Vector) = _mm256_mul_ps(a, b);
        over(a: Vector, b: Vector) = _mm256_div_ps(a, b);
        least(a: Vector, b: Vector) = _mm256_min_ps(a, b);
        greatest(a: Vector, b: Vector) = _mm256_max_ps(a, b);
        round(x: Vector) = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
        // n lies between -126 and 127, so that 2ⁿ is the exponent bits alone.
        scale(x: Vector, n: Vector) = {
            let bits = _mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)));
            _mm256_mul_ps(x, _mm256_castsi256_ps(bits))
        };
        select_below(a: Vector, b: Vector, yes: Vector, no: Vector) =
            _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_LT_OQ>(a, b));
    }

    /// # Safety
    ///
    /// `from` points to `WIDTH` elements.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn load(from: *const f32) -> Vector {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_ps(from) }
    }

    /// # Safety
    ///
    /// `to` points to `WIDTH` elements that may be written.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn store(to: *mut f32, x: Vector) {
        // SAFETY: the caller's promise.
        unsafe { _mm256_storeu_ps(to, x) }
    }

    kernels!("avx2,fma", 6, 2);
}

#[cfg(test)]
mod tests {
    use super::*;

    type Product = fn(&Task<'_, f32>, &mut [f32]);
    type Function = fn(&mut [f32]);

    /// Every implementation that this processor can run.
    fn implementations() -> Vec<(&'static str, Product, Function, Function)> {
        let mut all: Vec<(&'static str, Product, Function, Function)> = vec![
            ("portable", portable::<f32>, portable_sigmoid::<f32>, portable_tanh::<f32>),
            ("best", f32::product, f32::sigmoid_all, f32::tanh_all),
        ];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY (all three): the processor has the instructions.
            all.push((
                "avx2",
                |task, y| unsafe { avx2::product(task, y) },
                |values| unsafe { avx2::sigmoid(values) },
                |values| unsafe { avx2::tanh(values) },
            ));
        }
        all
    }

    #[test]
    fn a_product_equals_the_definition() {
        for (rows, depth, columns) in [
            (1, 1, 1),
            (1, 7, 64),
            (1, 8, 130),
            (2, 5, 63),
            (3, 16, 17),
            (4, 3, 65),
            (5, 4, 200),
            (6, 2, 9),
            (17, 33, 71),
            (2, 0, 5),
            (0, 3, 3),
            (3, 3, 0),
        ] {
            let (x_stride, y_stride) = (depth + 2, columns + 3);
            let x: Vec<f32> = (0..rows * x_stride).map(|i| (i as f32 * 0.7).sin()).collect();
            let matrix: Vec<f32> = (0..depth * columns).map(|i| (i as f32 * 0.3).cos()).collect();
            let mut transposed = vec![0.0; matrix.len()];
            for k in 0..depth {
                for column in 0..columns {
                    transposed[column * depth + k] = matrix[k * columns + column];
                }
            }
            let mut packed = Packed::new(depth, columns);
            packed.pack(&matrix);
            let mut again = Packed::new(depth, columns);
            again.pack_transposed(&transposed);
            assert_eq!(packed.panels, again.panels, "{rows}x{depth}x{columns}");
            for (name, product, ..) in implementations() {
                for add in [false, true] {
                    let before: Vec<f32> = (0..rows * y_stride).map(|i| i as f32).collect();
                    let mut y = before.clone();
                    if rows > 0 && columns > 0 {
                        product(&Task { packed: &packed, rows, x: &x, x_stride, y_stride, add }, &mut y);
                    }
                    for (at, (found, before)) in y.iter().zip(&before).enumerate() {
                        let (row, column) = (at / y_stride, at % y_stride);
                        let sum: f32 = match column < columns {
                            true => (0..depth).map(|k| x[row * x_stride + k] * matrix[k * columns + column]).sum(),
                            false => 0.0,
                        };
                        let expected = if add || column >= columns { before + sum } else { sum };
                        let close = (found - expected).abs() <= 1e-5 * expected.abs().max(1.0);
                        assert!(close, "{name} {rows}x{depth}x{columns} {add}: {at}: {found} {expected}");
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "outside its slice")]
    fn a_product_outside_its_slice_is_refused() {
        Packed::<f32>::new(2, 3).product(2, &[0.0; 4], 2, &mut [0.0; 5], 3, false);
    }

    #[test]
    #[should_panic(expected = "outside their slice")]
    fn rows_outside_their_slice_are_refused() {
        Packed::<f32>::new(2, 3).product(2, &[0.0; 3], 2, &mut [0.0; 6], 3, false);
    }

    #[test]
    fn functions_are_near_the_true_ones_everywhere() {
        let mut points: Vec<f32> = (-4000..=4000).map(|i| i as f32 * 0.025).collect();
        points.extend([
            0.0,
            -0.0,
            1e-30,
            -1e-8,
            1e-4,
            0.4999,
            0.5001,
            f32::MAX,
            f32::MIN,
            f32::INFINITY,
            -f32::INFINITY,
        ]);
        for (name, _, sigmoid, tanh) in implementations() {
            for (what, function, truth) in [
                ("sigmoid", sigmoid, (|x| 1.0 / (1.0 + (-x).exp())) as fn(f64) -> f64),
                ("tanh", tanh, f64::tanh as fn(f64) -> f64),
            ] {
                let mut found = points.clone();
                function(&mut found);
                for (x, y) in points.iter().zip(&found) {
                    let expected = truth(f64::from(*x));
                    let error = (f64::from(*y) - expected).abs();
                    assert!(error <= 5e-7 * expected.abs() + 2e-38, "{name} {what}({x}): {y} {expected}");
                }
                let mut nan = [f32::NAN; 3];
                function(&mut nan);
                assert!(nan.iter().all(|y| y.is_nan()), "{name} {what}");
            }
        }
    }
}
