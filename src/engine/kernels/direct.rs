//! Direct convolution, without a gathered matrix.
//!
//! A group of one item is copied once into a *grid*: padded, and with every stride's phases apart, so that each channel
//! and element of the window reads one contiguous piece of it for all positions of the window. The convolution is then a
//! sum of such pieces ([`simd`](super::simd)) over positions laid out with the grid's pitch; the few positions between
//! rows are computed for nothing.
//!
//! The gradient with respect to the input is the convolution of `dy` with the weights turned round, or, where that would
//! compute much more for nothing, the sum of what every element of the window gives back, piece by piece.

use super::convolution::{Sizes, sum};
use super::math::vectorised;
use super::simd::{Correlation, LANES, Product, Shifted, pack};
use crate::engine::kernel::bytes;
use crate::engine::op::Activation;
use crate::engine::ops::window::Axis;
use crate::engine::pool::Pool;

/// Elements of the grids and gradients that are summed over at once: they should stay in a core's own cache.
const TOGETHER: usize = 128 * 1024;

/// Elements that are given back at once, before they are added up.
const GIVEN_BACK: usize = 32 * 1024;

/// Where the elements of one group of an item lie.
#[derive(Clone, Debug)]
struct Grid {
    axes: [Axis; 3],
    channels: usize,
    /// Elements of each phase along each dimension.
    pitch: [usize; 3],
    /// Elements of one channel, all phases.
    plane: usize,
    /// Elements of all channels.
    size: usize,
    /// Elements that are read past the last, so that rows are whole vectors.
    len: usize,
    /// Where the piece of each channel and element of the window begins.
    offsets: Vec<usize>,
    /// The runs of input elements of one channel that lie in the grid.
    runs: Vec<Run>,
}

/// Elements of the input, as far apart as the stride along the width, that lie side by side in the grid.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// The first one in a channel of the input.
    input: usize,
    /// The first one in a channel of the grid.
    grid: usize,
    len: usize,
}

impl Grid {
    /// Bytes of its memory.
    fn owned_bytes(&self) -> usize {
        bytes(&self.offsets) + bytes(&self.runs)
    }

    /// `None` where it would have more than `most` elements.
    fn new(axes: [Axis; 3], channels: usize, most: usize) -> Option<Self> {
        let product = |sizes: [usize; 3]| sizes.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        let pitch = axes.map(|axis| axis.output + (axis.kernel - 1) * axis.dilation / axis.stride);
        let [d, h, w] = axes;
        let strides = product(axes.map(|axis| axis.stride))?;
        let phase = product(pitch)?;
        let plane = phase.checked_mul(strides)?;
        let all = channels.checked_mul(plane).filter(|all| *all <= most)?;
        let last = |axis: &Axis| axis.output.saturating_sub(1);
        // At most `phase`.
        let len = (last(&d) * pitch[1] + last(&h)) * pitch[2] + w.output;
        let len = len.next_multiple_of(LANES);
        let size = all + len;
        if size > most {
            return None;
        }
        // Each has a place of its own in the grid.
        let mut offsets = Vec::with_capacity(channels * d.kernel * h.kernel * w.kernel);
        let split = |axis: &Axis, tap: usize| (tap * axis.dilation % axis.stride, tap * axis.dilation / axis.stride);
        for channel in 0..channels {
            for k in 0..d.kernel {
                for j in 0..h.kernel {
                    for i in 0..w.kernel {
                        let ((pd, sd), (ph, sh), (pw, sw)) = (split(&d, k), split(&h, j), split(&w, i));
                        let at = (pd * h.stride + ph) * w.stride + pw;
                        offsets.push(channel * plane + at * phase + (sd * pitch[1] + sh) * pitch[2] + sw);
                    }
                }
            }
        }
        let runs = runs(&axes, &pitch);
        Some(Grid { axes, channels, pitch, plane, size, len, offsets, runs })
    }

    /// Copies the channels `x` into the grid. What is padding stays as it is: zero.
    fn fill<T: Copy>(&self, x: &[T], to: &mut [T]) {
        let (plane, stride) = (self.axes.iter().map(|axis| axis.input).product::<usize>(), self.axes[2].stride);
        for (x, to) in x.chunks_exact(plane.max(1)).zip(to.chunks_exact_mut(self.plane)) {
            for Run { input, grid, len } in &self.runs {
                let to = &mut to[*grid..grid + len];
                if stride == 1 {
                    copy(&x[*input..input + len], to);
                } else {
                    for (to, x) in to.iter_mut().zip(x[*input..].iter().step_by(stride)) {
                        *to = *x;
                    }
                }
            }
        }
    }

    /// Copies the grid to the channels `x`: the reverse of [`fill`](Self::fill). What does not lie in the grid is zero.
    fn empty<T: Shifted>(&self, from: &[T], x: &mut [T]) {
        let (plane, stride) = (self.axes.iter().map(|axis| axis.input).product::<usize>(), self.axes[2].stride);
        if self.runs.iter().map(|run| run.len).sum::<usize>() < plane {
            x.fill(T::zero());
        }
        for (x, from) in x.chunks_exact_mut(plane.max(1)).zip(from.chunks_exact(self.plane)) {
            for Run { input, grid, len } in &self.runs {
                let from = &from[*grid..grid + len];
                if stride == 1 {
                    copy(from, &mut x[*input..input + len]);
                } else {
                    for (x, from) in x[*input..].iter_mut().step_by(stride).zip(from) {
                        *x = *from;
                    }
                }
            }
        }
    }

    /// Calls `visit` with where each row of positions lies among `len`, and where in the output.
    fn rows(&self, mut visit: impl FnMut(usize, usize)) {
        let [d, h, w] = &self.axes;
        for depth in 0..d.output {
            for height in 0..h.output {
                visit((depth * self.pitch[1] + height) * self.pitch[2], (depth * h.output + height) * w.output);
            }
        }
    }

    /// Lays the positions of each filter out as in the grid. What lies between rows stays as it is: zero.
    fn lay<T: Copy>(&self, positions: usize, dy: &[T], to: &mut [T]) {
        let width = self.axes[2].output;
        for (to, dy) in to.chunks_exact_mut(self.len).zip(dy.chunks_exact(positions)) {
            self.rows(|to_row, row| copy(&dy[row..row + width], &mut to[to_row..to_row + width]));
        }
    }
}

/// The runs of one channel.
fn runs([d, h, w]: &[Axis; 3], pitch: &[usize; 3]) -> Vec<Run> {
    let phase = pitch.iter().product::<usize>();
    let place = |axis: &Axis, pitch: usize, at: usize| {
        let (phase, index) = ((at + axis.before) % axis.stride, (at + axis.before) / axis.stride);
        (index < pitch).then_some((phase, index))
    };
    let mut runs = Vec::new();
    for depth in 0..d.input {
        for height in 0..h.input {
            let (Some((pd, to_depth)), Some((ph, to_height))) = (place(d, pitch[0], depth), place(h, pitch[1], height))
            else {
                continue;
            };
            let line = (to_depth * pitch[1] + to_height) * pitch[2];
            for pw in 0..w.stride {
                // The first element of the row in this phase, and where it lies.
                let first = (pw + w.stride - w.before % w.stride) % w.stride;
                let begin = (first + w.before) / w.stride;
                let plane = (pd * h.stride + ph) * w.stride + pw;
                let len = w.input.saturating_sub(first).div_ceil(w.stride);
                let len = len.min(pitch[2].saturating_sub(begin));
                if len > 0 {
                    let input = (depth * h.input + height) * w.input + first;
                    runs.push(Run { input, grid: plane * phase + line + begin, len });
                }
            }
        }
    }
    runs
}

/// Copies a short slice to one of the same length, without a call.
#[inline(always)]
fn copy<T: Copy>(from: &[T], to: &mut [T]) {
    const PIECE: usize = 8;
    let len = from.len();
    if !(PIECE..=8 * PIECE).contains(&len) || to.len() != len {
        return to.copy_from_slice(from);
    }
    let (pieces, _) = from.as_chunks::<PIECE>();
    for (to, from) in to.as_chunks_mut::<PIECE>().0.iter_mut().zip(pieces) {
        *to = *from;
    }
    // The last piece may overlap the one before.
    to[len - PIECE..].copy_from_slice(&from[len - PIECE..][..PIECE]);
}

/// A direct convolution with its memory.
#[derive(Clone, Debug)]
pub struct Direct<T> {
    sizes: Sizes,
    grid: Grid,
    /// How many grids there are side by side.
    together: usize,
    grids: Vec<T>,
    /// Positions laid out as in the grid, for each filter of one item.
    wide: Vec<T>,
    /// The gradient laid out so, of the items that are side by side; zero between rows.
    laid: Vec<T>,
    /// The gradient of one item before the activation.
    before: Vec<T>,
    weights: Vec<T>,
    /// For the gradient with respect to the input.
    back: Option<Back<T>>,
}

/// How the gradient with respect to the input is had.
#[derive(Clone, Debug)]
enum Back<T> {
    /// The convolution of `dy` with the weights turned round.
    Turned { grid: Box<Grid>, values: Vec<T>, wide: Vec<T> },
    /// Every element of the window gives back to its piece of the grid.
    Given {
        /// Where each filter begins in an item of the laid out gradient.
        offsets: Vec<usize>,
        /// What some elements of the window give back.
        given: Vec<T>,
        /// The sum, laid out as the input.
        sums: Vec<T>,
    },
}

/// The operands of a backward pass.
#[derive(Debug)]
pub struct Gradients<'a, T> {
    /// The input.
    pub x: &'a [T],
    /// The weights.
    pub w: &'a [T],
    /// The gradient with respect to the result, after the activation where there is one.
    pub dy: &'a [T],
    /// What was applied to the convolution, and the result.
    pub after: Option<(&'a dyn Activation, &'a [T])>,
    /// Where the gradient with respect to the input is written.
    pub dx: Option<&'a mut [T]>,
    /// Where the gradient with respect to the weights is added.
    pub dw: Option<&'a mut [T]>,
    /// Where the gradient with respect to the bias is added.
    pub db: Option<&'a mut [T]>,
}

impl<T: Shifted> Direct<T> {
    /// Bytes of its memory.
    pub fn owned_bytes(&self) -> usize {
        let back = match &self.back {
            Some(Back::Turned { grid, values, wide }) => grid.owned_bytes() + bytes(values) + bytes(wide),
            Some(Back::Given { offsets, given, sums }) => bytes(offsets) + bytes(given) + bytes(sums),
            None => 0,
        };
        let vectors = [&self.grids, &self.wide, &self.laid, &self.before, &self.weights];
        self.grid.owned_bytes() + vectors.iter().map(|vector| bytes(vector)).sum::<usize>() + back
    }

    /// A direct convolution, where that is worth it.
    pub fn new(sizes: &Sizes) -> Option<Self> {
        let positions = sizes.positions();
        if positions == 0 || sizes.filter() == 0 || sizes.filters == 0 || sizes.items == 0 || sizes.plane() == 0 {
            return None;
        }
        // The input is the right matrix already.
        if sizes.axes.iter().all(Axis::is_identity) {
            return None;
        }
        let grid = Grid::new(sizes.axes, sizes.channels, 4 * TOGETHER)?;
        let wanted = positions.checked_mul(7)? / 4 + 2 * LANES;
        if positions < 32 || grid.len > wanted {
            return None;
        }
        let item = grid.size + sizes.filters * grid.len;
        let together = (TOGETHER / item).clamp(1, sizes.items);
        Some(Direct {
            sizes: *sizes,
            together,
            grids: vec![T::zero(); together * grid.size],
            wide: vec![T::zero(); sizes.filters * grid.len],
            laid: vec![T::zero(); together * sizes.filters * grid.len],
            before: vec![T::zero(); sizes.filters * positions],
            weights: vec![T::zero(); sizes.filters * sizes.filter()],
            back: Back::new(sizes, &grid),
            grid,
        })
    }

    /// Whether the gradient with respect to the input can be had.
    pub fn has_back(&self) -> bool {
        self.back.is_some()
    }

    /// Writes the convolution of the items `x` to `y`, and `after` applied to it.
    pub fn forward(
        &mut self,
        x: &[T],
        w: &[T],
        b: Option<&[T]>,
        y: &mut [T],
        after: Option<&dyn Activation>,
        pool: Option<&Pool>,
    ) {
        let Direct { sizes, grid, grids, wide, weights, .. } = self;
        let (filters, depth, positions) = (sizes.filters, sizes.filter(), sizes.positions());
        let (input, width) = (sizes.channels * sizes.plane(), sizes.axes[2].output);
        for group in 0..sizes.groups {
            let w = &w[group * filters * depth..(group + 1) * filters * depth];
            pack(filters, depth, weights, |row, j| w[row * depth + j]);
            let items =
                x.chunks_exact(sizes.groups * input).zip(y.chunks_exact_mut(sizes.groups * filters * positions));
            for (x, y) in items {
                grid.fill(&x[group * input..(group + 1) * input], &mut grids[..grid.size]);
                product(filters, grid.len, &grid.offsets, weights, &grids[..grid.size], wide, pool);
                let y = &mut y[group * filters * positions..(group + 1) * filters * positions];
                for (filter, (y, wide)) in y.chunks_exact_mut(positions).zip(wide.chunks_exact(grid.len)).enumerate() {
                    let bias = b.map_or(T::zero(), |b| b[group * filters + filter]);
                    grid.rows(|from, to| {
                        for (y, wide) in y[to..to + width].iter_mut().zip(&wide[from..from + width]) {
                            *y = *wide + bias;
                        }
                    });
                }
                if let Some(after) = after {
                    after.apply(T::slice_mut_of(y));
                }
            }
        }
    }

    /// Writes the gradient with respect to the items `dx`; nothing unless [`has_back`](Self::has_back).
    pub fn input_gradient(&mut self, w: &[T], dy: &[T], dx: &mut [T], pool: Option<&Pool>) {
        self.backward(Gradients { x: &[], w, dy, after: None, dx: Some(dx), dw: None, db: None }, pool);
    }

    /// Adds the gradient with respect to the weights.
    pub fn weight_gradient(&mut self, x: &[T], dy: &[T], dw: &mut [T], pool: Option<&Pool>) {
        self.backward(Gradients { x, w: &[], dy, after: None, dx: None, dw: Some(dw), db: None }, pool);
    }

    /// Computes the gradients that are wanted.
    pub fn backward(&mut self, task: Gradients<'_, T>, pool: Option<&Pool>) {
        let Direct { sizes, grid, grids, together, laid, before, weights, back, .. } = self;
        let Gradients { x, w, dy, after, mut dx, mut dw, mut db } = task;
        let (groups, filters, depth, positions) = (sizes.groups, sizes.filters, sizes.filter(), sizes.positions());
        let (input, output) = (sizes.channels * sizes.plane(), filters * positions);
        let lays = dw.is_some() || dx.is_some() && matches!(back, Some(Back::Given { .. }));
        for group in 0..groups {
            if let (Some(back), true) = (back.as_ref(), dx.is_some()) {
                back.pack(sizes, &w[group * filters * depth..][..filters * depth], weights);
            }
            let items = dy.len() / (groups * output);
            for first in (0..items).step_by(*together) {
                let count = (*together).min(items - first);
                for item in 0..count {
                    let at = ((first + item) * groups + group) * output;
                    let mut dy = &dy[at..at + output];
                    if let Some((after, y)) = after {
                        after.gradient(T::slice_of(&y[at..at + output]), T::slice_of(dy), T::slice_mut_of(before));
                        dy = before;
                    }
                    if let Some(db) = db.as_deref_mut() {
                        for (db, dy) in db[group * filters..].iter_mut().zip(dy.chunks_exact(positions)) {
                            *db += sum(dy);
                        }
                    }
                    let laid = &mut laid[item * filters * grid.len..][..filters * grid.len];
                    if lays {
                        grid.lay(positions, dy, laid);
                    }
                    let at = ((first + item) * groups + group) * input;
                    if let (Some(back), Some(dx)) = (back.as_mut(), dx.as_deref_mut()) {
                        back.input(grid, weights, dy, laid, &mut dx[at..at + input], pool);
                    }
                    if dw.is_some() {
                        grid.fill(&x[at..at + input], &mut grids[item * grid.size..][..grid.size]);
                    }
                }
                if let Some(dw) = dw.as_deref_mut() {
                    let dw = &mut dw[group * filters * depth..][..filters * depth];
                    correlate(filters, grid, count, laid, grids, dw, pool);
                }
            }
        }
    }
}

impl<T: Shifted> Back<T> {
    /// The way that computes less; `None` where neither is worth it.
    fn new(sizes: &Sizes, grid: &Grid) -> Option<Self> {
        let turned = Grid::new(turned(&sizes.axes)?, sizes.filters, 4 * TOGETHER);
        // Each element of the window gives back to all positions, which are then read and added once more.
        let cost_of_given = grid.len.checked_mul(sizes.filters + 3)?;
        let cost_of_turned =
            turned.as_ref().map_or(Some(usize::MAX), |turned| turned.len.checked_mul(sizes.filters))?;
        if cost_of_given < cost_of_turned {
            let rows = sizes.channels * sizes.taps();
            let at_once = rows_at_once(grid.len).min(rows);
            return Some(Back::Given {
                offsets: (0..sizes.filters).map(|filter| filter * grid.len).collect(),
                given: vec![T::zero(); at_once * grid.len],
                sums: vec![T::zero(); grid.size],
            });
        }
        let turned = turned.filter(|turned| turned.len <= sizes.plane() * 7 / 4 + 2 * LANES)?;
        Some(Back::Turned {
            values: vec![T::zero(); turned.size],
            wide: vec![T::zero(); sizes.channels * turned.len],
            grid: Box::new(turned),
        })
    }

    /// Packs the weights of a group.
    fn pack(&self, sizes: &Sizes, w: &[T], to: &mut [T]) {
        let (channels, taps, depth) = (sizes.channels, sizes.taps(), sizes.filter());
        match self {
            Back::Turned { .. } => pack(channels, sizes.filters * taps, to, |channel, j| {
                w[(j / taps * channels + channel) * taps + taps - 1 - j % taps]
            }),
            Back::Given { .. } => pack(depth, sizes.filters, to, |row, filter| w[filter * depth + row]),
        }
    }

    /// Writes the gradient with respect to a group of one item, from `dy` as it is and laid out as in `forward`, the grid
    /// of the input.
    fn input(&mut self, forward: &Grid, weights: &[T], dy: &[T], laid: &[T], dx: &mut [T], pool: Option<&Pool>) {
        match self {
            Back::Turned { grid, values, wide } => {
                let (plane, width) = (dx.len() / forward.channels, grid.axes[2].output);
                grid.fill(dy, values);
                product(forward.channels, grid.len, &grid.offsets, weights, values, wide, pool);
                for (dx, wide) in dx.chunks_exact_mut(plane).zip(wide.chunks_exact(grid.len)) {
                    grid.rows(|from, to| copy(&wide[from..from + width], &mut dx[to..to + width]));
                }
            }
            Back::Given { offsets, given, sums } => {
                sums.fill(T::zero());
                let at_once = rows_at_once(forward.len);
                for (part, pieces) in forward.offsets.chunks(at_once).enumerate() {
                    let given = &mut given[..pieces.len() * forward.len];
                    let weights = &weights[part * at_once * offsets.len()..];
                    product(pieces.len(), forward.len, offsets, weights, laid, given, pool);
                    vectorised(
                        #[inline(always)]
                        || {
                            for (piece, given) in pieces.iter().zip(given.chunks_exact(forward.len)) {
                                let sums = &mut sums[*piece..piece + forward.len];
                                sums.iter_mut().zip(given).for_each(|(sum, given)| *sum += *given);
                            }
                        },
                    );
                }
                forward.empty(sums, dx);
            }
        }
    }
}

/// Rows of `len` elements that are given back at once: whole packed blocks.
fn rows_at_once(len: usize) -> usize {
    (GIVEN_BACK / len.max(1) / 8 * 8).max(8)
}

/// Adds the gradient with respect to the weights of a group, from that of `items` items, laid out, and their grids.
fn correlate<T: Shifted>(
    filters: usize,
    grid: &Grid,
    items: usize,
    laid: &[T],
    grids: &[T],
    dw: &mut [T],
    pool: Option<&Pool>,
) {
    let (rows, depth) = (share(filters, pool), grid.offsets.len());
    let run = |index: usize, dw: &mut [T]| {
        let task = Correlation {
            rows: dw.len() / depth,
            len: grid.len,
            items,
            x_stride: grid.size,
            dy_stride: filters * grid.len,
            offsets: &grid.offsets,
            dy: &laid[index * rows * grid.len..],
            x: grids,
        };
        T::correlate(&task, dw);
    };
    match pool {
        None => run(0, dw),
        Some(pool) => pool.for_pieces(dw, rows * depth, filters * depth * grid.len / 32, run),
    }
}

/// The windows over `dy` that give the gradient with respect to the input; `None` where there are none.
fn turned(axes: &[Axis; 3]) -> Option<[Axis; 3]> {
    let mut turned = *axes;
    for (turned, axis) in turned.iter_mut().zip(axes) {
        let reach = (axis.kernel - 1) * axis.dilation;
        let before = reach.checked_sub(axis.before)?;
        if axis.stride != 1 || before + axis.output > axis.input + reach {
            return None;
        }
        *turned = Axis { input: axis.output, output: axis.input, before, after: 0, ..*axis };
    }
    Some(turned)
}

/// Rows of each thread: whole packed blocks.
fn share(rows: usize, pool: Option<&Pool>) -> usize {
    pool.map_or(rows, |pool| rows.div_ceil(pool.threads()).next_multiple_of(8).min(rows))
}

/// `y = a·x`, where row `j` of `x` is the piece of `len` elements at `offsets[j]`.
fn product<T: Shifted>(rows: usize, len: usize, offsets: &[usize], a: &[T], x: &[T], y: &mut [T], pool: Option<&Pool>) {
    let each = share(rows, pool);
    let depth = offsets.len();
    let run = |index: usize, y: &mut [T]| {
        let a = &a[index * each * depth..];
        T::product(&Product { rows: y.len() / len, len, offsets, a, x }, y);
    };
    match pool {
        None => run(0, y),
        Some(pool) => pool.for_pieces(y, each * len, rows * depth * len / 32, run),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(input: usize, kernel: usize, stride: usize, dilation: usize, before: usize, after: usize) -> Axis {
        let output = (input + before + after - (kernel - 1) * dilation - 1) / stride + 1;
        Axis { input, output, kernel, stride, dilation, before, after }
    }

    /// Calls `visit` with the elements of `y`, `w` and `x` of every product of the definition.
    fn products(sizes: &Sizes, mut visit: impl FnMut(usize, usize, usize)) {
        let (channels, filters, taps) = (sizes.channels, sizes.filters, sizes.taps());
        let at = |index: usize, sizes: [usize; 3]| {
            [index / (sizes[1] * sizes[2]), index / sizes[2] % sizes[1], index % sizes[2]]
        };
        for y in 0..sizes.items * sizes.groups * filters * sizes.positions() {
            let (row, position) = (y / sizes.positions(), at(y % sizes.positions(), sizes.axes.map(|a| a.output)));
            let (item, filter) = (row / (sizes.groups * filters), row % (sizes.groups * filters));
            for j in 0..channels * taps {
                let tap = at(j % taps, sizes.axes.map(|a| a.kernel));
                let mut x = (item * sizes.groups + filter / filters) * channels + j / taps;
                let mut inside = true;
                for ((axis, position), tap) in sizes.axes.iter().zip(position).zip(tap) {
                    let place = (position * axis.stride + tap * axis.dilation).wrapping_sub(axis.before);
                    inside &= place < axis.input;
                    x = x.wrapping_mul(axis.input).wrapping_add(place);
                }
                if inside {
                    visit(y, filter * channels * taps + j, x);
                }
            }
        }
    }

    #[test]
    fn every_geometry_equals_the_definition() {
        let one = Axis::ONE;
        let cases = [
            (1, 1, 1, 6, [one, axis(28, 5, 1, 1, 2, 2), axis(28, 5, 1, 1, 2, 2)]),
            (3, 1, 6, 16, [one, axis(14, 5, 1, 1, 0, 0), axis(14, 5, 1, 1, 0, 0)]),
            (2, 1, 5, 9, [one, axis(17, 3, 1, 1, 1, 1), axis(13, 3, 1, 1, 1, 0)]),
            (2, 1, 3, 9, [one, axis(24, 7, 2, 1, 3, 3), axis(25, 7, 2, 1, 3, 3)]),
            (2, 2, 3, 4, [one, axis(23, 3, 3, 1, 1, 2), axis(40, 2, 2, 3, 0, 1)]),
            (2, 8, 1, 1, [one, axis(12, 3, 1, 1, 1, 1), axis(12, 3, 1, 1, 1, 1)]),
            (2, 1, 7, 12, [one, one, axis(200, 5, 1, 2, 0, 3)]),
            (2, 1, 7, 12, [one, one, axis(50, 1, 1, 1, 1, 0)]),
            (1, 1, 2, 3, [axis(8, 3, 1, 1, 1, 1), axis(7, 2, 1, 1, 0, 0), axis(9, 3, 1, 1, 1, 1)]),
            (1, 1, 2, 3, [axis(9, 3, 2, 1, 1, 1), axis(11, 2, 2, 1, 0, 0), axis(19, 3, 2, 1, 1, 1)]),
            // Elements of the input that no window reaches, and padding that is wider than the window.
            (1, 1, 2, 3, [one, axis(21, 1, 4, 1, 0, 0), axis(40, 2, 3, 1, 0, 0)]),
            (1, 1, 2, 3, [one, one, axis(40, 2, 1, 1, 4, 3)]),
        ];
        let mut turned = 0;
        for (items, groups, channels, filters, axes) in cases {
            let sizes = Sizes { items, groups, channels, filters, axes };
            let values = |count: usize, step: f32| (0..count).map(|i| (i as f32 * step).sin()).collect::<Vec<f32>>();
            let x = values(items * groups * channels * sizes.plane(), 0.7);
            let w = values(groups * filters * sizes.filter(), 0.3);
            let dy = values(items * groups * filters * sizes.positions(), 0.9);
            let b = values(groups * filters, 1.1);
            let bias = |i: usize| b[i / sizes.positions() % (groups * filters)];
            let mut y: Vec<f32> = (0..dy.len()).map(bias).collect();
            let (mut dx, mut dw) = (vec![0.0; x.len()], vec![1.0; w.len()]);
            products(&sizes, |i, j, k| {
                y[i] += w[j] * x[k];
                dx[k] += w[j] * dy[i];
                dw[j] += dy[i] * x[k];
            });
            let mut direct = Direct::new(&sizes).unwrap_or_else(|| panic!("not direct: {sizes:?}"));
            let close = |found: &[f32], expected: &[f32], what: &str| {
                for (found, expected) in found.iter().zip(expected) {
                    assert!((found - expected).abs() < 2e-3, "{what} {sizes:?}: {found} {expected}");
                }
            };
            let pool = Pool::new(2).unwrap();
            // Twice: what one pass leaves behind does not change the next; and with threads.
            for pool in [None, None, Some(&pool)] {
                let mut found = vec![9.0; y.len()];
                direct.forward(&x, &w, Some(&b), &mut found, None, pool);
                close(&found, &y, "forward");
                let mut found = vec![1.0; w.len()];
                direct.weight_gradient(&x, &dy, &mut found, pool);
                close(&found, &dw, "weights");
                if direct.has_back() {
                    turned += 1;
                    let mut found = vec![9.0; x.len()];
                    direct.input_gradient(&w, &dy, &mut found, pool);
                    close(&found, &dx, "input");
                }
            }
        }
        assert_eq!(turned, 6 * 3);
    }
}
