//! The gradient with respect to the windows.
//!
//! Here the channels stand side by side in each tile, so that the transformed inputs are matrices of tiles × channels and
//! the transformed gradients packed matrices of filters × tiles.

use smallvec::SmallVec;

use super::transform::{self, Layout, Plane, TILE, Tiles};
use super::{BLOCK, ROWS, block};
use crate::engine::kernel::bytes;
use crate::engine::kernels::simd::{LANES, Product, Shifted};
use crate::engine::pool::Pool;

/// Channels side by side.
const WIDTH: usize = 64;

#[derive(Clone, Debug)]
pub(super) struct WeightGradient<T> {
    x: Plane,
    dy: Plane,
    channels: usize,
    filters: usize,
    /// Rows and columns of tiles.
    tiles: [usize; 2],
    /// Items and rows of tiles of a block.
    block: [usize; 2],
    /// Tiles of a block.
    depth: usize,
    /// Transformed inputs: for each [`WIDTH`] channels 16 matrices of tiles × channels.
    v: Vec<T>,
    /// Transformed gradients: for each [`ROWS`] filters 16 packed matrices of filters × tiles.
    n: Vec<T>,
    /// The transformed gradient: for each [`ROWS`] filters and each [`WIDTH`] channels 16 matrices of filters × channels.
    u: Vec<T>,
    stage: Vec<T>,
    rows: Vec<T>,
    /// Where the tiles begin in a matrix of `v`, and in one of the last channels.
    offsets: [Vec<usize>; 2],
    scratch: Vec<Vec<T>>,
}

impl<T: Shifted> WeightGradient<T> {
    /// Bytes of its memory.
    pub(super) fn owned_bytes(&self) -> usize {
        let vectors = [&self.v, &self.n, &self.u, &self.stage, &self.rows];
        let numbers: usize = vectors.into_iter().chain(&self.scratch).map(|vector| bytes(vector)).sum();
        numbers + self.offsets.iter().map(|offsets| bytes(offsets)).sum::<usize>()
    }

    /// The gradient of `channels` windows for each filter, from inputs of `x` and gradients of `output`.
    pub fn new(items: usize, [channels, filters]: [usize; 2], x: Plane, output: [usize; 2]) -> Self {
        let tiles = output.map(|size| size.div_ceil(2));
        let wanted = (BLOCK / (TILE * (channels + filters))).max(2 * LANES);
        let block = match tiles[0] * tiles[1] {
            // Whole items, as many as are wanted.
            item if 2 * item <= wanted => [(wanted / item).min(items.max(1)), tiles[0]],
            _ => [1, self::block(1, tiles, wanted)[1]],
        };
        let depth = block[0] * block[1] * tiles[1];
        let (wide, tall) = (channels.div_ceil(WIDTH), filters.div_ceil(ROWS));
        let tile = |lanes: usize| Tiles { rows: 0..block[1], columns: tiles[1], lanes };
        let width = |channels: usize| channels.min(WIDTH).next_multiple_of(LANES);
        let last = width(channels - channels.saturating_sub(1) / WIDTH * WIDTH);
        let widest = tile(width(channels).max(ROWS));
        WeightGradient {
            x,
            dy: Plane { height: output[0], width: output[1], before: [0; 2], overlap: 0 },
            channels,
            filters,
            tiles,
            block,
            depth,
            v: vec![T::zero(); wide * TILE * depth * WIDTH],
            n: vec![T::zero(); tall * TILE * depth * ROWS],
            u: vec![T::zero(); tall * wide * TILE * ROWS * WIDTH],
            stage: vec![T::zero(); widest.stage(2)],
            rows: vec![T::zero(); (2 * block[1] + 2) * 4 * widest.row()],
            offsets: [WIDTH, last].map(|width| (0..depth).map(|tile| tile * width).collect()),
            scratch: Vec::new(),
        }
    }

    /// Channels in block `index`, and lanes that they take.
    fn width(&self, index: usize) -> (usize, usize) {
        let count = WIDTH.min(self.channels - index * WIDTH);
        (count, count.next_multiple_of(LANES))
    }

    /// Writes the gradient of the items `x` with the gradients `dy` to `dw`.
    pub fn run(&mut self, x: &[T], dy: &[T], dw: &mut [T], pool: Option<&Pool>) {
        let WeightGradient { block, tiles, channels, filters, .. } = *self;
        let (size, positions) = (channels * self.x.height * self.x.width, filters * self.dy.height * self.dy.width);
        if size == 0 || positions == 0 || dy.is_empty() {
            dw.fill(T::zero());
            return;
        }
        let threads = pool.map_or(1, Pool::threads);
        if self.scratch.len() < threads {
            self.scratch.resize_with(threads, || vec![T::zero(); (ROWS + 21) * WIDTH]);
        }
        let mut add = false;
        for (x, dy) in x.chunks(block[0] * size).zip(dy.chunks(block[0] * positions)) {
            let items = dy.len() / positions;
            for from in (0..tiles[0]).step_by(block[1]) {
                let rows = from..tiles[0].min(from + block[1]);
                let each = rows.len() * tiles[1];
                self.take(items, rows, x, dy);
                self.multiply(items * each, add, pool);
                add = true;
            }
        }
        self.give(dw);
    }

    fn take(&mut self, items: usize, rows: std::ops::Range<usize>, x: &[T], dy: &[T]) {
        let WeightGradient { channels, filters, tiles, depth, .. } = *self;
        let each = rows.len() * tiles[1];
        let (size, positions) = (self.x.height * self.x.width, self.dy.height * self.dy.width);
        for index in 0..channels.div_ceil(WIDTH) {
            let (count, lanes) = self.width(index);
            let tiles = Tiles { rows: rows.clone(), columns: tiles[1], lanes };
            let stage = &mut self.stage[..tiles.stage(2)];
            stage.fill(T::zero());
            for item in 0..items {
                let x = |lane: usize| &x[(item * channels + index * WIDTH + lane) * size..][..size];
                transform::gather(&self.x, &tiles, count, x, stage);
                let v = &mut self.v[index * TILE * depth * WIDTH + item * each * lanes..];
                transform::image(&tiles, stage, &mut self.rows, v, Layout { element: depth * WIDTH });
            }
        }
        for index in 0..filters.div_ceil(ROWS) {
            let count = ROWS.min(filters - index * ROWS);
            let tiles = Tiles { rows: rows.clone(), columns: tiles[1], lanes: count };
            let stage = &mut self.stage[..tiles.stage(0)];
            stage.fill(T::zero());
            for item in 0..items {
                let dy = |lane: usize| &dy[(item * filters + index * ROWS + lane) * positions..][..positions];
                transform::gather(&self.dy, &tiles, count, dy, stage);
                let n = &mut self.n[index * TILE * depth * ROWS + item * each * count..];
                transform::gradient(&tiles, stage, &mut self.rows, n, Layout { element: depth * ROWS });
            }
        }
    }

    /// The products of a block of `len` tiles, added to `u`, or written to it.
    fn multiply(&mut self, len: usize, add: bool, pool: Option<&Pool>) {
        let (wide, scratch) = (self.channels.div_ceil(WIDTH), &mut self.scratch);
        let (filters, depth) = (self.filters, self.depth);
        let channels = self.channels;
        let (v, n, offsets) = (&self.v, &self.n, &self.offsets);
        let size = wide * TILE * ROWS * WIDTH;
        let count = filters.div_ceil(ROWS).div_ceil(pool.map_or(1, Pool::threads));
        let mut parts: SmallVec<[_; 8]> = self.u.chunks_mut(count * size).zip(scratch).enumerate().collect();
        super::for_parts(pool, &mut parts, |(part, (u, scratch))| {
            for (block, u) in u.chunks_exact_mut(size).enumerate() {
                let block = *part * count + block;
                let rows = ROWS.min(filters - block * ROWS);
                for (index, u) in u.chunks_exact_mut(TILE * ROWS * WIDTH).enumerate() {
                    let width = WIDTH.min(channels - index * WIDTH).next_multiple_of(LANES);
                    let offsets = if index + 1 == wide { &offsets[1] } else { &offsets[0] };
                    for (element, u) in u.chunks_exact_mut(ROWS * WIDTH).enumerate() {
                        let a = &n[(block * TILE + element) * depth * ROWS..][..len * rows];
                        let x = &v[(index * TILE + element) * depth * WIDTH..][..len * width];
                        let task = Product { rows, len: width, offsets: &offsets[..len], a, x };
                        if !add {
                            T::product(&task, u);
                            continue;
                        }
                        let sums = &mut scratch[..rows * width];
                        T::product(&task, sums);
                        for (u, sum) in u.iter_mut().zip(sums) {
                            *u += *sum;
                        }
                    }
                }
            }
        });
    }

    fn give(&mut self, dw: &mut [T]) {
        let (channels, wide) = (self.channels, self.channels.div_ceil(WIDTH));
        let Some(scratch) = self.scratch.first_mut() else { return };
        for (filter, dw) in dw.chunks_exact_mut(9 * channels).enumerate() {
            let (block, row) = (filter / ROWS, filter % ROWS);
            for (index, dw) in dw.chunks_mut(9 * WIDTH).enumerate() {
                let count = dw.len() / 9;
                let width = count.next_multiple_of(LANES);
                let u = &self.u[(block * wide + index) * TILE * ROWS * WIDTH..];
                let (rows, taps) = scratch.split_at_mut(12 * WIDTH);
                let layout = Layout { element: ROWS * WIDTH };
                transform::window_gradient(u, layout, row * width, count, rows, taps);
                for (channel, dw) in dw.chunks_exact_mut(9).enumerate() {
                    for (tap, dw) in dw.iter_mut().enumerate() {
                        *dw = taps[tap * count + channel];
                    }
                }
            }
        }
    }
}
