//! The transforms of F(2×2, 3×3), each over many tiles at once.
//!
//! A *stage* holds rows of a plane with even and odd columns apart, and `lanes` planes (items, or channels) side by side
//! in every column. Column `t` of either phase is then where tile `t` begins, so that each transform is a sum of
//! contiguous slices.

use std::ops::Range;

use crate::engine::kernels::Float;
use crate::engine::kernels::math::vectorised;

/// Elements of a tile: 4×4.
pub const TILE: usize = 16;

/// A plane, and where the first tile lies on it.
#[derive(Clone, Copy, Debug)]
pub struct Plane {
    pub height: usize,
    pub width: usize,
    /// Zeros before the first row and before the first column.
    pub before: [usize; 2],
    /// Rows and columns that a tile shares with the next one: 2 where it covers 4×4 elements, 0 where 2×2.
    pub overlap: usize,
}

/// Tiles that are transformed together.
#[derive(Clone, Debug)]
pub struct Tiles {
    /// Rows of tiles.
    pub rows: Range<usize>,
    /// Tiles in each row.
    pub columns: usize,
    /// Planes side by side.
    pub lanes: usize,
}

impl Tiles {
    /// Numbers of one row of tiles.
    pub fn row(&self) -> usize {
        self.columns * self.lanes
    }

    /// Numbers of all rows.
    pub fn len(&self) -> usize {
        self.rows.len() * self.row()
    }

    /// Numbers of one phase of a row of the stage.
    fn phase(&self, overlap: usize) -> usize {
        (self.columns + overlap / 2) * self.lanes
    }

    /// Numbers of a stage.
    pub fn stage(&self, overlap: usize) -> usize {
        (2 * self.rows.len() + overlap) * 2 * self.phase(overlap)
    }
}

/// Copies what lies under the tiles into the stage: `planes(lane)` is the plane of each lane. What lies outside the planes
/// stays as it is, for all planes the same.
pub fn gather<'a, T: Float>(
    plane: &Plane,
    tiles: &Tiles,
    count: usize,
    planes: impl Fn(usize) -> &'a [T],
    stage: &mut [T],
) {
    let (lanes, phase) = (tiles.lanes, tiles.phase(plane.overlap));
    let [above, left] = plane.before;
    let (first, is_odd) = (left / 2 * lanes, left % 2 == 1);
    for (row, to) in stage.chunks_exact_mut(2 * phase).enumerate() {
        let Some(at) = (2 * tiles.rows.start + row).checked_sub(above).filter(|at| *at < plane.height) else {
            continue;
        };
        let (even, odd) = to.split_at_mut(phase);
        for lane in 0..count.min(lanes) {
            let mut from = &planes(lane)[at * plane.width..(at + 1) * plane.width];
            let mut even_from = first;
            if is_odd
                && let Some((value, rest)) = from.split_first()
                && let Some(to) = odd.get_mut(first + lane)
            {
                *to = *value;
                from = rest;
                even_from += lanes;
            }
            let (even, odd) = (&mut even[even_from.min(phase)..], &mut odd[even_from.min(phase)..]);
            if lanes == 1 {
                apart(from, even, odd);
                continue;
            }
            let to = even.chunks_exact_mut(lanes).zip(odd.chunks_exact_mut(lanes));
            for ((even, odd), from) in to.zip(from.chunks_exact(2)) {
                (even[lane], odd[lane]) = (from[0], from[1]);
            }
            if let [last] = from.chunks_exact(2).remainder()
                && let Some(to) = even.get_mut(from.len() / 2 * lanes + lane)
            {
                *to = *last;
            }
        }
    }
}

/// Splits a row into its even and its odd elements.
fn apart<T: Float>(from: &[T], even: &mut [T], odd: &mut [T]) {
    vectorised(
        #[inline(always)]
        || {
            for ((even, odd), from) in even.iter_mut().zip(odd.iter_mut()).zip(from.chunks_exact(2)) {
                (*even, *odd) = (from[0], from[1]);
            }
        },
    );
    if let [last] = from.chunks_exact(2).remainder()
        && let Some(to) = even.get_mut(from.len() / 2)
    {
        *to = *last;
    }
}

/// Where the numbers of a transformed tile lie: element `i` of all tiles from `i·element` on.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub element: usize,
}

/// `Bᵀ·d·B` of the 4×4 elements `d` under each tile.
pub fn image<T: Float>(tiles: &Tiles, stage: &[T], rows: &mut [T], to: &mut [T], layout: Layout) {
    let (row, phase, lanes) = (tiles.row(), tiles.phase(2), tiles.lanes);
    vectorised(
        #[inline(always)]
        || {
            for (stage, to) in stage.chunks_exact(2 * phase).zip(rows.chunks_exact_mut(4 * row)) {
                let (even, odd) = stage.split_at(phase);
                let (next_even, next_odd) = (&even[lanes..], &odd[lanes..]);
                let [a, b, c, d] = parts(to, row);
                for i in 0..row {
                    let (e, o, f, p) = (even[i], odd[i], next_even[i], next_odd[i]);
                    (a[i], b[i], c[i], d[i]) = (e - f, o + f, f - o, o - p);
                }
            }
            for tile in 0..tiles.rows.len() {
                let rows = &rows[tile * 8 * row..][..16 * row];
                for j in 0..4 {
                    let from = |i: usize| &rows[(4 * i + j) * row..][..row];
                    let (r0, r1, r2, r3) = (from(0), from(1), from(2), from(3));
                    let [a, b, c, d] = elements(to, layout.element, j, tile * row, row, 4);
                    for i in 0..row {
                        let (x0, x1, x2, x3) = (r0[i], r1[i], r2[i], r3[i]);
                        (a[i], b[i], c[i], d[i]) = (x0 - x2, x1 + x2, x2 - x1, x1 - x3);
                    }
                }
            }
        },
    );
}

/// `A·y·Aᵀ` of the 2×2 elements `y` under each tile.
pub fn gradient<T: Float>(tiles: &Tiles, stage: &[T], rows: &mut [T], to: &mut [T], layout: Layout) {
    let (row, phase) = (tiles.row(), tiles.phase(0));
    vectorised(
        #[inline(always)]
        || {
            for (stage, to) in stage.chunks_exact(2 * phase).zip(rows.chunks_exact_mut(4 * row)) {
                let (even, odd) = stage.split_at(phase);
                let [a, b, c, d] = parts(to, row);
                for i in 0..row {
                    let (e, o) = (even[i], odd[i]);
                    (a[i], b[i], c[i], d[i]) = (e, e + o, e - o, -o);
                }
            }
            for tile in 0..tiles.rows.len() {
                let rows = &rows[tile * 8 * row..][..8 * row];
                for j in 0..4 {
                    let from = |i: usize| &rows[(4 * i + j) * row..][..row];
                    let (r0, r1) = (from(0), from(1));
                    let [a, b, c, d] = elements(to, layout.element, j, tile * row, row, 4);
                    for i in 0..row {
                        let (x0, x1) = (r0[i], r1[i]);
                        (a[i], b[i], c[i], d[i]) = (x0, x0 + x1, x0 - x1, -x1);
                    }
                }
            }
        },
    );
}

/// `Aᵀ·m·A` of the tiles of row `tile`: two rows of outputs, each with its phases apart.
pub fn output<T: Float>(tiles: &Tiles, m: &[T], layout: Layout, tile: usize, sums: &mut [T], to: &mut [T]) {
    let row = tiles.row();
    let (sums, to) = (&mut sums[..8 * row], &mut to[..4 * row]);
    vectorised(
        #[inline(always)]
        || {
            for j in 0..4 {
                let from = |i: usize| &m[(4 * i + j) * layout.element + tile * row..][..row];
                let (m0, m1, m2, m3) = (from(0), from(1), from(2), from(3));
                let (first, second) = sums.split_at_mut(4 * row);
                let (first, second) = (&mut first[j * row..][..row], &mut second[j * row..][..row]);
                for i in 0..row {
                    let (x0, x1, x2, x3) = (m0[i], m1[i], m2[i], m3[i]);
                    (first[i], second[i]) = (x0 + x1 + x2, x1 - x2 - x3);
                }
            }
            for (sums, to) in sums.chunks_exact(4 * row).zip(to.chunks_exact_mut(2 * row)) {
                let from = |j: usize| &sums[j * row..][..row];
                let (s0, s1, s2, s3) = (from(0), from(1), from(2), from(3));
                let (even, odd) = to.split_at_mut(row);
                for i in 0..row {
                    let (x0, x1, x2, x3) = (s0[i], s1[i], s2[i], s3[i]);
                    (even[i], odd[i]) = (x0 + x1 + x2, x1 - x2 - x3);
                }
            }
        },
    );
}

/// `G·g·Gᵀ` of windows whose nine elements lie `len` apart: sixteen slices from `at` on, `element` apart.
pub fn window<T: Float>(taps: &[T], len: usize, rows: &mut [T], to: &mut [T], layout: Layout, at: usize) {
    let half = T::of(0.5);
    let spread = |a: T, b: T, c: T| {
        let (ends, middle) = ((a + c) * half, b * half);
        [a, ends + middle, ends - middle, c]
    };
    let rows = &mut rows[..12 * len];
    vectorised(
        #[inline(always)]
        || {
            for j in 0..3 {
                let from = |i: usize| &taps[(3 * i + j) * len..][..len];
                let (t0, t1, t2) = (from(0), from(1), from(2));
                let [a, b, c, d] = elements(rows, len, j, 0, len, 3);
                for k in 0..len {
                    [a[k], b[k], c[k], d[k]] = spread(t0[k], t1[k], t2[k]);
                }
            }
            for (i, rows) in rows.chunks_exact(3 * len).enumerate() {
                let from = |j: usize| &rows[j * len..][..len];
                let (r0, r1, r2) = (from(0), from(1), from(2));
                let [a, b, c, d] = elements(to, layout.element, 4 * i, at, len, 1);
                for k in 0..len {
                    [a[k], b[k], c[k], d[k]] = spread(r0[k], r1[k], r2[k]);
                }
            }
        },
    );
}

/// `Gᵀ·u·G` of sixteen slices `element` apart: nine slices, `len` apart.
pub fn window_gradient<T: Float>(u: &[T], layout: Layout, at: usize, len: usize, rows: &mut [T], to: &mut [T]) {
    let half = T::of(0.5);
    let fold = |a: T, b: T, c: T, d: T| {
        let (sum, difference) = ((b + c) * half, (b - c) * half);
        [a + sum, difference, sum + d]
    };
    let rows = &mut rows[..12 * len];
    vectorised(
        #[inline(always)]
        || {
            for j in 0..4 {
                let from = |i: usize| &u[(4 * i + j) * layout.element + at..][..len];
                let (u0, u1, u2, u3) = (from(0), from(1), from(2), from(3));
                let (r0, rest) = rows[j * len..].split_at_mut(4 * len);
                let (r1, r2) = rest.split_at_mut(4 * len);
                let (r0, r1, r2) = (&mut r0[..len], &mut r1[..len], &mut r2[..len]);
                for k in 0..len {
                    [r0[k], r1[k], r2[k]] = fold(u0[k], u1[k], u2[k], u3[k]);
                }
            }
            for (rows, to) in rows.chunks_exact(4 * len).zip(to.chunks_exact_mut(3 * len)) {
                let from = |j: usize| &rows[j * len..][..len];
                let (s0, s1, s2, s3) = (from(0), from(1), from(2), from(3));
                let (a, rest) = to.split_at_mut(len);
                let (b, c) = rest.split_at_mut(len);
                for k in 0..len {
                    [a[k], b[k], c[k]] = fold(s0[k], s1[k], s2[k], s3[k]);
                }
            }
        },
    );
}

/// Four slices of `len` numbers, one after another.
#[inline(always)]
fn parts<T>(all: &mut [T], len: usize) -> [&mut [T]; 4] {
    let (a, rest) = all.split_at_mut(len);
    let (b, rest) = rest.split_at_mut(len);
    let (c, d) = rest.split_at_mut(len);
    [a, b, c, &mut d[..len]]
}

/// Elements `j`, `step + j`, `2·step + j` and `3·step + j`: `len` numbers of each, from `at` on.
#[inline(always)]
fn elements<T>(all: &mut [T], element: usize, j: usize, at: usize, len: usize, step: usize) -> [&mut [T]; 4] {
    let (a, rest) = all[j * element..].split_at_mut(step * element);
    let (b, rest) = rest.split_at_mut(step * element);
    let (c, d) = rest.split_at_mut(step * element);
    [&mut a[at..at + len], &mut b[at..at + len], &mut c[at..at + len], &mut d[at..at + len]]
}

/// Writes lane `lane` of a row of outputs, with its phases apart, plus `bias` to the row `y`.
pub fn scatter<T: Float>(tiles: &Tiles, lane: usize, sums: &[T], bias: T, y: &mut [T]) {
    let (even, odd) = sums.split_at(tiles.row());
    let (lanes, width) = (tiles.lanes, y.len());
    if lanes == 1 {
        vectorised(
            #[inline(always)]
            || {
                for ((y, even), odd) in y.chunks_exact_mut(2).zip(even).zip(odd) {
                    (y[0], y[1]) = (*even + bias, *odd + bias);
                }
            },
        );
    } else {
        let from = even.chunks_exact(lanes).zip(odd.chunks_exact(lanes));
        for (y, (even, odd)) in y.chunks_exact_mut(2).zip(from) {
            (y[0], y[1]) = (even[lane] + bias, odd[lane] + bias);
        }
    }
    if width % 2 == 1 {
        y[width - 1] = even[width / 2 * lanes + lane] + bias;
    }
}
