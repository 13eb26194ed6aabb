//! Convolution over few positions and many channels: the last layers of a network for pictures.
//!
//! There the weights are the large operand, and each is met only a few times, so that rearranging them ("packing") costs as
//! much as the products. Here they are read where they lie: what is under the window at each position is gathered into a
//! row as long as a filter, so that all three passes walk along the filters: the forward pass as dot products of filters
//! and rows, the gradients as sums of filters and of rows ([`simd`](super::simd)).

use super::convolution::Sizes;
use super::simd::{Correlation, LANES, Product, Shifted, pack};
use crate::engine::kernel::bytes;
use crate::engine::pool::Pool;

/// Positions of all items up to which the weights are the large operand.
const MOST: usize = 160;

/// Elements of a filter from which on it is worth it.
const LEAST: usize = 256;

/// Rows that [`simd`](super::simd) packs together.
const ROWS: usize = 8;

/// A convolution with its memory.
#[derive(Clone, Debug)]
pub struct Patches<T> {
    sizes: Sizes,
    /// What lies under the window, a row for each position of each item; or the gradient with respect to it.
    rows: Vec<T>,
    /// The gradient with respect to the output, packed.
    packed: Vec<T>,
    /// The output as filters × positions of all items.
    outputs: Vec<T>,
    /// Where rows, or filters, begin.
    offsets: Vec<usize>,
}

impl<T: Shifted> Patches<T> {
    /// A convolution, where the sizes are such that this is the fastest way.
    pub fn new(sizes: &Sizes) -> Option<Self> {
        let (count, depth) = (sizes.items.checked_mul(sizes.positions())?, sizes.filter());
        let filters = sizes.filters;
        let is_for = sizes.groups == 1 && (1..=MOST).contains(&count) && filters >= LANES;
        if !is_for || depth < LEAST || !depth.is_multiple_of(LANES) {
            return None;
        }
        Some(Patches {
            sizes: *sizes,
            rows: vec![T::zero(); count * depth],
            packed: vec![T::zero(); count * filters],
            outputs: vec![T::zero(); count * filters],
            offsets: (0..count.max(filters)).map(|row| row * depth).collect(),
        })
    }

    /// Bytes of its memory.
    pub fn owned_bytes(&self) -> usize {
        let vectors = [&self.rows, &self.packed, &self.outputs];
        vectors.iter().map(|vector| bytes(vector)).sum::<usize>() + bytes(&self.offsets)
    }

    /// Writes the convolution of the items `x` to `y`.
    pub fn forward(&mut self, x: &[T], w: &[T], b: Option<&[T]>, y: &mut [T], pool: Option<&Pool>) {
        let (filters, depth, positions) = (self.sizes.filters, self.sizes.filter(), self.sizes.positions());
        let count = y.len() / filters;
        gather(&self.sizes, x, &mut self.rows[..count * depth]);
        let (x, offsets, each) = (&self.rows, &self.offsets[..count], share(filters, pool));
        let outputs = &mut self.outputs[..filters * count];
        let run = |index: usize, to: &mut [T]| {
            to.fill(T::zero());
            let (rows, dy) = (to.len() / count, &w[index * each * depth..]);
            T::correlate(&Correlation { rows, len: depth, items: 1, x_stride: 0, dy_stride: 0, offsets, dy, x }, to);
        };
        in_pieces(pool, outputs, each * count, depth, run);
        for (item, y) in y.chunks_exact_mut(filters * positions).enumerate() {
            for (filter, y) in y.chunks_exact_mut(positions).enumerate() {
                let bias = b.map_or(T::zero(), |b| b[filter]);
                for (y, from) in y.iter_mut().zip(&outputs[filter * count + item * positions..]) {
                    *y = *from + bias;
                }
            }
        }
    }

    /// Adds the gradient with respect to the items to `dx`.
    pub fn input_gradient(&mut self, w: &[T], dy: &[T], dx: &mut [T], pool: Option<&Pool>) {
        let (filters, depth, positions) = (self.sizes.filters, self.sizes.filter(), self.sizes.positions());
        let count = dy.len() / filters;
        pack(count, filters, &mut self.packed, |row, filter| {
            dy[(row / positions * filters + filter) * positions + row % positions]
        });
        let (packed, offsets, each) = (&self.packed, &self.offsets[..filters], share(count, pool));
        let rows = &mut self.rows[..count * depth];
        let run = |index: usize, y: &mut [T]| {
            let a = &packed[index * each * filters..];
            T::product(&Product { rows: y.len() / depth, len: depth, offsets, a, x: w }, y);
        };
        in_pieces(pool, rows, each * depth, filters, run);
        scatter(&self.sizes, rows, dx);
    }

    /// Writes the gradient with respect to the weights.
    pub fn weight_gradient(&mut self, x: &[T], dy: &[T], dw: &mut [T], pool: Option<&Pool>) {
        let (filters, depth, positions) = (self.sizes.filters, self.sizes.filter(), self.sizes.positions());
        let count = dy.len() / filters;
        gather(&self.sizes, x, &mut self.rows[..count * depth]);
        pack(filters, count, &mut self.packed, |filter, row| {
            dy[(row / positions * filters + filter) * positions + row % positions]
        });
        let (packed, x, offsets) = (&self.packed, &self.rows, &self.offsets[..count]);
        let each = share(filters, pool);
        let run = |index: usize, y: &mut [T]| {
            let a = &packed[index * each * count..];
            T::product(&Product { rows: y.len() / depth, len: depth, offsets, a, x }, y);
        };
        in_pieces(pool, dw, each * depth, count, run);
    }
}

/// Rows of each thread: whole packed blocks.
fn share(rows: usize, pool: Option<&Pool>) -> usize {
    pool.map_or(rows, |pool| rows.div_ceil(pool.threads()).next_multiple_of(ROWS))
}

/// Does `run` with pieces of `size` elements, each the sum of `depth` products.
fn in_pieces<T: Send>(
    pool: Option<&Pool>,
    to: &mut [T],
    size: usize,
    depth: usize,
    run: impl Fn(usize, &mut [T]) + Sync,
) {
    match pool {
        Some(pool) => pool.for_pieces(to, size, to.len() * depth / 32, run),
        None => run(0, to),
    }
}

/// Calls `visit` with each run of elements of the window that lies on the input: where it begins in the rows and in the
/// input, and its length. Elements along width lie `dilation` apart in the input.
fn for_runs(sizes: &Sizes, items: usize, mut visit: impl FnMut(usize, usize, usize)) {
    let ([d, h, w], taps, plane) = (sizes.axes, sizes.taps(), sizes.plane());
    let mut row = 0;
    for item in 0..items {
        for z in 0..d.output {
            for y in 0..h.output {
                for x in 0..w.output {
                    let (zs, ys, xs) = (d.taps(z), h.taps(y), w.taps(x));
                    for channel in 0..sizes.channels {
                        let to = row * sizes.filter() + channel * taps;
                        let from = (item * sizes.channels + channel) * plane;
                        for k in zs.clone() {
                            for j in ys.clone() {
                                if xs.is_empty() {
                                    continue;
                                }
                                let at = (d.at(z, k) * h.input + h.at(y, j)) * w.input + w.at(x, xs.start);
                                visit(to + (k * h.kernel + j) * w.kernel + xs.start, from + at, xs.len());
                            }
                        }
                    }
                    row += 1;
                }
            }
        }
    }
}

/// Gathers what lies under the window: zero where that is padding.
fn gather<T: Shifted>(sizes: &Sizes, x: &[T], rows: &mut [T]) {
    let step = sizes.axes[2].dilation;
    rows.fill(T::zero());
    let items = rows.len() / (sizes.filter() * sizes.positions());
    for_runs(sizes, items, |to, from, len| {
        for (to, from) in rows[to..to + len].iter_mut().zip(x[from..].iter().step_by(step)) {
            *to = *from;
        }
    });
}

/// Adds rows to where they were gathered from.
fn scatter<T: Shifted>(sizes: &Sizes, rows: &[T], dx: &mut [T]) {
    let step = sizes.axes[2].dilation;
    let items = rows.len() / (sizes.filter() * sizes.positions());
    for_runs(sizes, items, |from, to, len| {
        for (to, from) in dx[to..].iter_mut().step_by(step).zip(&rows[from..from + len]) {
            *to += *from;
        }
    });
}
