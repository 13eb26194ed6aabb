//! Direct convolution, without a gathered matrix.
//!
//! A group of one item is copied once into a *grid*: padded, and with every stride's phases apart, so that each channel
//! and element of the window reads one contiguous piece of it for all positions of the window. The convolution is then a
//! sum of such pieces ([`simd`](super::simd)) over positions laid out with the grid's pitch; the few positions between
//! rows are computed for nothing.

use super::convolution::Sizes;
use super::simd::{Correlation, LANES, Product, Shifted, pack};
use crate::engine::ops::window::Axis;
use crate::engine::pool::Pool;

/// Elements of the grids and gradients that are summed over at once: they should stay in a core's own cache.
const TOGETHER: usize = 128 * 1024;

/// Where the elements of one group of an item lie.
#[derive(Clone, Debug)]
struct Grid {
    axes: [Axis; 3],
    channels: usize,
    /// Elements of each phase along each dimension.
    pitch: [usize; 3],
    /// Elements of all channels.
    size: usize,
    /// Elements that are read past the last, so that rows are whole vectors.
    len: usize,
    /// Where the piece of each channel and element of the window begins.
    offsets: Vec<usize>,
}

impl Grid {
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
        Some(Grid { axes, channels, pitch, size, len, offsets })
    }

    /// Copies the channels `x` into the grid. What is padding stays as it is: zero.
    fn fill<T: Copy>(&self, x: &[T], to: &mut [T]) {
        let [d, h, w] = &self.axes;
        let phase = self.pitch.iter().product::<usize>();
        let place = |axis: &Axis, pitch: usize, at: usize| {
            let (phase, index) = ((at + axis.before) % axis.stride, (at + axis.before) / axis.stride);
            (index < pitch).then_some((phase, index))
        };
        let mut rows = x.chunks_exact(w.input);
        for channel in 0..self.channels {
            for depth in 0..d.input {
                for height in 0..h.input {
                    let Some(row) = rows.next() else { return };
                    let (Some((pd, depth)), Some((ph, height))) =
                        (place(d, self.pitch[0], depth), place(h, self.pitch[1], height))
                    else {
                        continue;
                    };
                    let line = (depth * self.pitch[1] + height) * self.pitch[2];
                    for pw in 0..w.stride {
                        // The first element of the row in this phase, and where it lies.
                        let first = (pw + w.stride - w.before % w.stride) % w.stride;
                        let begin = (first + w.before) / w.stride;
                        let plane = ((channel * d.stride + pd) * h.stride + ph) * w.stride + pw;
                        let count = row.len().saturating_sub(first).div_ceil(w.stride);
                        let count = count.min(self.pitch[2].saturating_sub(begin));
                        if count == 0 {
                            continue;
                        }
                        let to = &mut to[plane * phase + line + begin..][..count];
                        if w.stride == 1 {
                            to.copy_from_slice(&row[..count]);
                        } else {
                            for (to, x) in to.iter_mut().zip(row[first..].iter().step_by(w.stride)) {
                                *to = *x;
                            }
                        }
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
}

/// A direct convolution with its memory.
#[derive(Clone, Debug)]
pub struct Direct<T> {
    sizes: Sizes,
    grid: Grid,
    /// How many grids there are side by side.
    together: usize,
    grids: Vec<T>,
    /// Positions laid out as in the grid, for each filter of the items that are side by side.
    wide: Vec<T>,
    weights: Vec<T>,
    /// For the gradient with respect to the input.
    back: Option<Back<T>>,
}

/// The convolution of `dy` with the weights turned round.
#[derive(Clone, Debug)]
struct Back<T> {
    grid: Grid,
    values: Vec<T>,
    wide: Vec<T>,
}

impl<T: Shifted> Direct<T> {
    /// A direct convolution, where that is worth it.
    pub fn new(sizes: &Sizes) -> Option<Self> {
        let positions = sizes.positions();
        if positions == 0 || sizes.filter() == 0 || sizes.filters == 0 || sizes.items == 0 {
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
        let back = turned(&sizes.axes).and_then(|axes| {
            let grid = Grid::new(axes, sizes.filters, 4 * TOGETHER)?;
            (grid.len <= sizes.plane() * 7 / 4 + 2 * LANES).then(|| Back {
                values: vec![T::zero(); grid.size],
                wide: vec![T::zero(); sizes.channels * grid.len],
                grid,
            })
        });
        Some(Direct {
            sizes: *sizes,
            together,
            grids: vec![T::zero(); together * grid.size],
            wide: vec![T::zero(); together * sizes.filters * grid.len],
            weights: vec![T::zero(); sizes.filters * sizes.filter()],
            grid,
            back,
        })
    }

    /// Whether the gradient with respect to the input can be had.
    pub fn has_back(&self) -> bool {
        self.back.is_some()
    }

    /// Writes the convolution of the items `x` to `y`.
    pub fn forward(&mut self, x: &[T], w: &[T], b: Option<&[T]>, y: &mut [T], pool: Option<&Pool>) {
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
                let wide = &mut wide[..filters * grid.len];
                product(filters, grid, weights, &grids[..grid.size], wide, pool);
                let y = &mut y[group * filters * positions..(group + 1) * filters * positions];
                for (filter, (y, wide)) in y.chunks_exact_mut(positions).zip(wide.chunks_exact(grid.len)).enumerate() {
                    let bias = b.map_or(T::zero(), |b| b[group * filters + filter]);
                    grid.rows(|from, to| {
                        for (y, wide) in y[to..to + width].iter_mut().zip(&wide[from..from + width]) {
                            *y = *wide + bias;
                        }
                    });
                }
            }
        }
    }

    /// Writes the gradient with respect to the items `dx`; nothing unless [`has_back`](Self::has_back).
    pub fn input_gradient(&mut self, w: &[T], dy: &[T], dx: &mut [T], pool: Option<&Pool>) {
        let Direct { sizes, weights, back: Some(Back { grid, values, wide }), .. } = self else { return };
        let (filters, channels, taps) = (sizes.filters, sizes.channels, sizes.taps());
        let (plane, output, width) = (sizes.plane(), filters * sizes.positions(), sizes.axes[2].input);
        for group in 0..sizes.groups {
            let w = &w[group * filters * channels * taps..(group + 1) * filters * channels * taps];
            pack(channels, filters * taps, weights, |channel, j| {
                w[(j / taps * channels + channel) * taps + taps - 1 - j % taps]
            });
            let items =
                dy.chunks_exact(sizes.groups * output).zip(dx.chunks_exact_mut(sizes.groups * channels * plane));
            for (dy, dx) in items {
                grid.fill(&dy[group * output..(group + 1) * output], values);
                product(channels, grid, weights, values, wide, pool);
                let dx = &mut dx[group * channels * plane..(group + 1) * channels * plane];
                for (dx, wide) in dx.chunks_exact_mut(plane).zip(wide.chunks_exact(grid.len)) {
                    grid.rows(|from, to| dx[to..to + width].copy_from_slice(&wide[from..from + width]));
                }
            }
        }
    }

    /// Adds the gradient with respect to the weights.
    pub fn weight_gradient(&mut self, x: &[T], dy: &[T], dw: &mut [T], pool: Option<&Pool>) {
        let Direct { sizes, grid, grids, wide, together, .. } = self;
        let (filters, depth, positions) = (sizes.filters, sizes.filter(), sizes.positions());
        let (input, output, width) = (sizes.channels * sizes.plane(), filters * positions, sizes.axes[2].output);
        // Between the rows of positions there must be zeros: what `forward` computed there must not count.
        wide.fill(T::zero());
        for group in 0..sizes.groups {
            let dw = &mut dw[group * filters * depth..(group + 1) * filters * depth];
            let batches = x.chunks(*together * sizes.groups * input).zip(dy.chunks(*together * sizes.groups * output));
            for (x, dy) in batches {
                let items = dy.len() / (sizes.groups * output);
                for item in 0..items {
                    let x = &x[(item * sizes.groups + group) * input..][..input];
                    grid.fill(x, &mut grids[item * grid.size..][..grid.size]);
                    let dy = &dy[(item * sizes.groups + group) * output..][..output];
                    let wide = &mut wide[item * filters * grid.len..][..filters * grid.len];
                    for (wide, dy) in wide.chunks_exact_mut(grid.len).zip(dy.chunks_exact(positions)) {
                        grid.rows(|to, from| wide[to..to + width].copy_from_slice(&dy[from..from + width]));
                    }
                }
                let rows = share(filters, pool);
                let run = |index: usize, dw: &mut [T]| {
                    let task = Correlation {
                        rows: dw.len() / depth,
                        len: grid.len,
                        items,
                        x_stride: grid.size,
                        dy_stride: filters * grid.len,
                        offsets: &grid.offsets,
                        dy: &wide[index * rows * grid.len..],
                        x: grids,
                    };
                    T::correlate(&task, dw);
                };
                match pool {
                    None => run(0, dw),
                    Some(pool) => pool.for_pieces(dw, rows * depth, filters * depth * grid.len / 32, run),
                }
            }
        }
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

fn product<T: Shifted>(rows: usize, grid: &Grid, a: &[T], x: &[T], y: &mut [T], pool: Option<&Pool>) {
    let each = share(rows, pool);
    let depth = grid.offsets.len();
    let run = |index: usize, y: &mut [T]| {
        let a = &a[index * each * depth..];
        T::product(&Product { rows: y.len() / grid.len, len: grid.len, offsets: &grid.offsets, a, x }, y);
    };
    match pool {
        None => run(0, y),
        Some(pool) => pool.for_pieces(y, each * grid.len, rows * depth * grid.len / 32, run),
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
                direct.forward(&x, &w, Some(&b), &mut found, pool);
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
