//! Convolution with windows of 3×3 by Winograd's minimal filtering F(2×2, 3×3): 16 products where the definition has 36.
//!
//! `y = Aᵀ·[(G·g·Gᵀ) ⊙ (Bᵀ·d·B)]·A` for each tile of 2×2 outputs `y`, the 4×4 inputs `d` under it and the window `g`.
//! Summed over channels, each of the 16 elements of a tile is a matrix product of filters × channels and channels × tiles.
//! The gradient with respect to the input is the same with the windows turned round; that with respect to the windows is
//! `Gᵀ·[Σ (A·dy·Aᵀ) ⊙ (Bᵀ·d·B)]·G`, a product of filters × tiles and tiles × channels.
//!
//! A. Lavin and S. Gray, "Fast algorithms for convolutional neural networks", CVPR 2016. The tile stays 2×2: larger ones
//! lose more to rounding than the products of f32 themselves.

mod transform;
mod weights;

use smallvec::SmallVec;
use transform::{Layout, Plane, TILE, Tiles};
use weights::WeightGradient;

use super::convolution::Sizes;
use super::simd::{LANES, Product, Shifted};
use crate::engine::kernel::bytes;
use crate::engine::ops::window::Axis;
use crate::engine::pool::Pool;

/// Rows of the left matrix that [`simd`](super::simd) wants packed together.
const ROWS: usize = 8;

/// Numbers of all transformed tiles of a block: they should stay in a core's own cache.
const BLOCK: usize = 256 * 1024;

/// Channels and filters below which the transforms cost more than they save.
const LEAST: usize = 16;

/// A convolution with its memory; that of the gradients is taken when they are first asked for.
#[derive(Clone, Debug)]
pub struct Winograd<T> {
    sizes: Sizes,
    forward: Pass<T>,
    backward: Option<Pass<T>>,
    weights: Option<WeightGradient<T>>,
}

impl<T: Shifted> Winograd<T> {
    /// Bytes of its memory.
    pub fn owned_bytes(&self) -> usize {
        let passes = [Some(&self.forward), self.backward.as_ref()];
        let passes: usize = passes.into_iter().flatten().map(Pass::owned_bytes).sum();
        passes + self.weights.as_ref().map_or(0, WeightGradient::owned_bytes)
    }

    /// A convolution, where the sizes are such that this is the fastest way.
    pub fn new(sizes: &Sizes) -> Option<Self> {
        let Sizes { items, groups, channels, filters, axes: [depth, height, width] } = *sizes;
        let fits = |axis: &Axis| axis.kernel == 3 && axis.stride == 1 && axis.dilation == 1 && axis.before <= 2;
        let flat = depth.is_identity() && depth.input == 1 && groups == 1;
        if !flat || !fits(&height) || !fits(&width) || channels.min(filters) < LEAST {
            return None;
        }
        let tiles = height.output.div_ceil(2).checked_mul(width.output.div_ceil(2))?;
        // Of a tile at the edge, less counts.
        let useful = sizes.positions().checked_mul(9)?;
        if items.checked_mul(tiles)? < 4 * LANES || useful < tiles.checked_mul(TILE)? {
            return None;
        }
        let forward = Pass::new(items, [channels, filters], image(sizes), [height.output, width.output]);
        Some(Winograd { sizes: *sizes, forward, backward: None, weights: None })
    }

    /// Writes the convolution of the items `x` to `y`.
    pub fn forward(&mut self, x: &[T], w: &[T], b: Option<&[T]>, y: &mut [T], pool: Option<&Pool>) {
        let channels = self.sizes.channels;
        self.forward.windows(w, |filter, channel| filter * channels + channel, false);
        self.forward.run(x, b, y, pool);
    }

    /// Writes the gradient with respect to the items `dx`.
    pub fn input_gradient(&mut self, w: &[T], dy: &[T], dx: &mut [T], pool: Option<&Pool>) {
        let Sizes { items, channels, filters, axes: [_, height, width], .. } = self.sizes;
        let backward = self.backward.get_or_insert_with(|| {
            let before = [height, width].map(|axis| 2 - axis.before);
            let dy = Plane { height: height.output, width: width.output, before, overlap: 2 };
            Pass::new(items, [filters, channels], dy, [height.input, width.input])
        });
        backward.windows(w, |channel, filter| filter * channels + channel, true);
        backward.run(dy, None, dx, pool);
    }

    /// Writes the gradient with respect to the weights.
    pub fn weight_gradient(&mut self, x: &[T], dy: &[T], dw: &mut [T], pool: Option<&Pool>) {
        let Sizes { items, channels, filters, axes: [_, height, width], .. } = self.sizes;
        let weights = self.weights.get_or_insert_with(|| {
            WeightGradient::new(items, [channels, filters], image(&self.sizes), [height.output, width.output])
        });
        weights.run(x, dy, dw, pool);
    }
}

/// The planes of the input.
fn image(sizes: &Sizes) -> Plane {
    let [_, height, width] = sizes.axes;
    Plane { height: height.input, width: width.input, before: [height.before, width.before], overlap: 2 }
}

/// How many items and how many rows of tiles stand in one block of about `wanted` tiles.
fn block(items: usize, [rows, columns]: [usize; 2], wanted: usize) -> [usize; 2] {
    // Equal shares, no larger than asked for.
    let even = |all: usize, each: usize| all.div_ceil(all.div_ceil(each.clamp(1, all.max(1))).max(1));
    let (row, item) = (columns.max(1), (rows * columns).max(1));
    // Rows of tiles should fill a vector.
    let together = (wanted / item).max(LANES.div_ceil(row)).min(items.max(1));
    let together = if row >= LANES && wanted < 2 * item { 1 } else { even(items, together) };
    [together, even(rows, wanted / (row * together))]
}

/// Transforms of one thread.
#[derive(Clone, Debug, Default)]
struct Scratch<T> {
    stage: Vec<T>,
    rows: Vec<T>,
    outputs: Vec<T>,
}

/// One direction of the convolution.
#[derive(Clone, Debug)]
struct Pass<T> {
    plane: Plane,
    channels: usize,
    filters: usize,
    /// Rows and columns of the result.
    output: [usize; 2],
    /// Rows and columns of tiles.
    tiles: [usize; 2],
    /// Items and rows of tiles of a block.
    block: [usize; 2],
    /// Transformed windows: 16 packed matrices of filters × channels.
    u: Vec<T>,
    /// Transformed input: for each channel 16 rows of tiles.
    v: Vec<T>,
    /// Transformed output: 16 matrices of filters × tiles.
    m: Vec<T>,
    /// Where the channels begin in `v`.
    offsets: Vec<usize>,
    scratch: Vec<Scratch<T>>,
}

impl<T: Shifted> Pass<T> {
    /// Bytes of its memory.
    fn owned_bytes(&self) -> usize {
        let of = |scratch: &Scratch<T>| bytes(&scratch.stage) + bytes(&scratch.rows) + bytes(&scratch.outputs);
        let scratch: usize = self.scratch.iter().map(of).sum();
        bytes(&self.u) + bytes(&self.v) + bytes(&self.m) + bytes(&self.offsets) + scratch
    }

    fn new(items: usize, [channels, filters]: [usize; 2], plane: Plane, output: [usize; 2]) -> Self {
        let tiles = output.map(|size| size.div_ceil(2));
        let wanted = (BLOCK / (TILE * (channels + filters))).max(2 * LANES);
        let block = block(items, tiles, wanted);
        let len = (block[0] * block[1] * tiles[1]).next_multiple_of(LANES);
        // Neighbours lie an odd number of cache lines apart, so that they do not drive each other out.
        let stride = TILE * len + LANES;
        Pass {
            plane,
            channels,
            filters,
            output,
            tiles,
            block,
            u: vec![T::zero(); TILE * (filters * channels + LANES)],
            v: vec![T::zero(); channels * stride],
            m: vec![T::zero(); TILE * (filters * len + LANES)],
            offsets: (0..channels).map(|channel| channel * stride).collect(),
            scratch: Vec::new(),
        }
    }

    /// Takes the windows `w` in; `index(filter, channel)` is the number of a window.
    fn windows(&mut self, w: &[T], index: impl Fn(usize, usize) -> usize, turned: bool) {
        /// Channels at a time.
        const STEP: usize = 32;
        let (filters, channels) = (self.filters, self.channels);
        let mut taps = [T::zero(); 9 * STEP * ROWS];
        let mut rows = [T::zero(); 12 * STEP * ROWS];
        let layout = Layout { element: self.u.len() / TILE };
        for first in (0..filters).step_by(ROWS) {
            let count = ROWS.min(filters - first);
            for from in (0..channels).step_by(STEP) {
                let end = channels.min(from + STEP);
                let len = (end - from) * count;
                for row in 0..count {
                    for channel in from..end {
                        let window = &w[9 * index(first + row, channel)..][..9];
                        let at = (channel - from) * count + row;
                        for (tap, value) in window.iter().enumerate() {
                            let tap = if turned { 8 - tap } else { tap };
                            taps[tap * len + at] = *value;
                        }
                    }
                }
                transform::window(&taps, len, &mut rows, &mut self.u, layout, first * channels + from * count);
            }
        }
    }

    /// Convolves the items `x` with the windows taken in.
    fn run(&mut self, x: &[T], b: Option<&[T]>, y: &mut [T], pool: Option<&Pool>) {
        let Pass { plane, channels, filters, output, tiles, block, .. } = *self;
        let (size, positions) = (channels * plane.height * plane.width, filters * output[0] * output[1]);
        if size == 0 || positions == 0 {
            y.fill(T::zero());
            return;
        }
        let items = x.chunks(block[0] * size).zip(y.chunks_mut(block[0] * positions));
        for (x, y) in items {
            let lanes = y.len() / positions;
            for from in (0..tiles[0]).step_by(block[1]) {
                let rows = from..tiles[0].min(from + block[1]);
                let tiles = Tiles { rows, columns: tiles[1], lanes };
                let len = tiles.len().next_multiple_of(LANES);
                self.take(&tiles, len, x, pool);
                self.multiply(len, pool);
                self.give(&tiles, len, b, y, pool);
            }
        }
    }

    /// Memory for the transforms of `threads` threads; taken when a number of threads is first met.
    fn reserve(&mut self, threads: usize) {
        if self.scratch.len() >= threads {
            return;
        }
        let tiles = Tiles { rows: 0..self.block[1], columns: self.tiles[1], lanes: self.block[0] };
        let stage = tiles.stage(self.plane.overlap);
        self.scratch.resize_with(threads, || Scratch {
            stage: vec![T::zero(); stage],
            rows: vec![T::zero(); (2 * self.block[1] + 2).max(2) * 4 * tiles.row()],
            outputs: vec![T::zero(); 4 * tiles.row()],
        });
    }

    fn take(&mut self, tiles: &Tiles, len: usize, x: &[T], pool: Option<&Pool>) {
        let Pass { plane, channels, .. } = *self;
        let size = plane.height * plane.width;
        let threads = pool.map_or(1, Pool::threads);
        self.reserve(threads);
        let each = channels.div_ceil(threads);
        let stride = self.v.len() / channels;
        let parts = self.v.chunks_mut(each * stride).zip(&mut self.scratch);
        let mut parts: SmallVec<[_; 8]> = parts.enumerate().collect();
        for_parts(pool, &mut parts, |(index, (v, scratch))| {
            let stage = &mut scratch.stage[..tiles.stage(plane.overlap)];
            stage.fill(T::zero());
            for (channel, v) in v.chunks_exact_mut(stride).enumerate() {
                let x = |lane: usize| &x[(lane * channels + *index * each + channel) * size..][..size];
                transform::gather(&plane, tiles, tiles.lanes, x, stage);
                transform::image(tiles, stage, &mut scratch.rows, v, Layout { element: len });
                for row in v.chunks_exact_mut(len).take(TILE) {
                    row[tiles.len()..].fill(T::zero());
                }
            }
        });
    }

    fn multiply(&mut self, len: usize, pool: Option<&Pool>) {
        let Pass { filters, channels, u, v, m, offsets, .. } = self;
        let (size, matrix) = (m.len() / TILE, u.len() / TILE);
        let run = |element: usize, m: &mut [T]| {
            let a = &u[element * matrix..][..matrix];
            let x = &v[element * len..];
            T::product(&Product { rows: *filters, len, offsets, a, x }, m);
        };
        match pool {
            Some(pool) => pool.for_pieces(m, size, TILE * *filters * *channels * len / 32, run),
            None => m.chunks_exact_mut(size).enumerate().for_each(|(element, m)| run(element, m)),
        }
    }

    fn give(&mut self, tiles: &Tiles, len: usize, b: Option<&[T]>, y: &mut [T], pool: Option<&Pool>) {
        let Pass { filters, output, ref m, .. } = *self;
        let layout = Layout { element: m.len() / TILE };
        let positions = output[0] * output[1];
        // One item's filters can be shared among threads.
        let pool = pool.filter(|_| tiles.lanes == 1);
        let each = if pool.is_some() { filters.div_ceil(self.scratch.len()) } else { filters };
        let parts = y.chunks_mut(each * tiles.lanes * positions).zip(&mut self.scratch);
        let mut parts: SmallVec<[_; 8]> = parts.enumerate().collect();
        for_parts(pool, &mut parts, |(index, (y, scratch))| {
            let own = y.len() / (tiles.lanes * positions);
            for filter in 0..own {
                let number = *index * each + filter;
                let bias = b.map_or(T::zero(), |b| b[number]);
                for tile in 0..tiles.rows.len() {
                    let m = &m[number * len..];
                    transform::output(tiles, m, layout, tile, &mut scratch.rows, &mut scratch.outputs);
                    for lane in 0..tiles.lanes {
                        let y = &mut y[(lane * own + filter) * positions..][..positions];
                        let first = 2 * (tiles.rows.start + tile);
                        let rows = y.chunks_exact_mut(output[1]).skip(first).take(2);
                        for (y, sums) in rows.zip(scratch.outputs.chunks_exact(2 * tiles.row())) {
                            transform::scatter(tiles, lane, sums, bias, y);
                        }
                    }
                }
            }
        });
    }
}

/// Does `work` with each part, on the threads of `pool`.
fn for_parts<P: Send>(pool: Option<&Pool>, parts: &mut [P], work: impl Fn(&mut P) + Sync) {
    match pool {
        Some(pool) => pool.for_pieces(parts, 1, usize::MAX, |_, parts| parts.iter_mut().for_each(&work)),
        None => parts.iter_mut().for_each(work),
    }
}
