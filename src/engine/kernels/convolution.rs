//! Convolution in one to three dimensions, forward and backward: [`winograd`](super::winograd) for windows of 3×3 over
//! many channels, [`patches`](super::patches) for many channels over few positions, [`direct`](super::direct) where that
//! is worth it, and by matrix products over blocks of window positions elsewhere.
//!
//! The positions of all items stand in one row; a block of them is gathered into a matrix with a row for each channel
//! and element of the window ("im2col") that stays in the cache, and multiplied with the filters. A block lies in one
//! item, or is several whole items where these are small.

use smallvec::SmallVec;

use super::Float;
use super::direct::{Direct, Gradients};
use super::matrix::{View, ViewMut, multiply};
use super::patches::Patches;
use super::simd::Shifted;
use super::winograd::Winograd;
use crate::engine::kernel::bytes;
use crate::engine::op::Activation;
use crate::engine::ops::window::Axis;
use crate::engine::pool::Pool;

/// Elements of the gathered matrix: it should stay in a core's own cache.
const BLOCK: usize = 96 * 1024;

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Items of the batch.
    pub items: usize,
    /// Groups.
    pub groups: usize,
    /// Channels of the input in each group.
    pub channels: usize,
    /// Filters in each group.
    pub filters: usize,
    /// The windows along depth, height and width.
    pub axes: [Axis; 3],
}

impl Sizes {
    /// Elements of the window.
    pub fn taps(&self) -> usize {
        self.axes.iter().map(|axis| axis.kernel).product()
    }

    /// Positions of the window on one item.
    pub fn positions(&self) -> usize {
        self.axes.iter().map(|axis| axis.output).product()
    }

    /// Elements of one channel of one item.
    pub fn plane(&self) -> usize {
        self.axes.iter().map(|axis| axis.input).product()
    }

    /// Elements of one filter.
    pub fn filter(&self) -> usize {
        self.channels * self.taps()
    }

    /// Elements of one item of the input.
    fn item(&self) -> usize {
        self.groups * self.channels * self.plane()
    }

    /// Elements of one item of the output.
    fn item_output(&self) -> usize {
        self.groups * self.filters * self.positions()
    }

    /// Nanoseconds that one pass takes on one core, roughly.
    fn cost(&self) -> usize {
        let products = self.items.saturating_mul(self.item_output()).saturating_mul(self.filter());
        products / 32
    }

    /// The gradient with respect to the bias: the sum of `dy` over items and positions.
    pub fn sum_filters<T: Float>(&self, dy: &[T], db: &mut [T]) {
        db.fill(T::zero());
        let positions = self.positions();
        if positions == 0 {
            return;
        }
        let count = db.len().max(1);
        for (index, plane) in dy.chunks_exact(positions).enumerate() {
            db[index % count] += sum(plane);
        }
    }
}

/// The sum, in an order that vectorises.
pub fn sum<T: Float>(values: &[T]) -> T {
    let mut lanes = [T::zero(); 16];
    let chunks = values.chunks_exact(16);
    let rest = chunks.remainder().iter().copied().sum::<T>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += *value;
        }
    }
    lanes.iter().copied().sum::<T>() + rest
}

/// A run of window positions in one row of the output.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// Where it begins in the block.
    at: usize,
    /// How many positions it has.
    len: usize,
    /// The item, the position along depth and height, and the first along width.
    item: usize,
    depth: usize,
    height: usize,
    width: usize,
}

/// Memory of one thread.
#[derive(Clone, Debug, Default)]
struct Workspace<T> {
    /// The gathered matrix.
    gathered: Vec<T>,
    /// Outputs of a block of several items.
    staged: Vec<T>,
    /// What this thread adds to the gradient with respect to the weights.
    weights: Vec<T>,
    runs: Vec<Run>,
    way: Way<T>,
}

/// How a convolution is computed.
#[derive(Clone, Debug, Default)]
enum Way<T> {
    /// By matrix products over blocks.
    #[default]
    Blocks,
    Direct(Box<Direct<T>>),
    Patches(Box<Patches<T>>),
    Winograd(Box<Winograd<T>>),
}

impl<T: Shifted> Way<T> {
    fn new(sizes: &Sizes) -> Self {
        let winograd = || Winograd::new(sizes).map(|way| Way::Winograd(Box::new(way)));
        let patches = || Patches::new(sizes).map(|way| Way::Patches(Box::new(way)));
        let direct = || Direct::new(sizes).map(|way| Way::Direct(Box::new(way)));
        winograd().or_else(patches).or_else(direct).unwrap_or_default()
    }
}

/// A convolution with its memory.
#[derive(Clone, Debug)]
pub struct Convolution<T> {
    sizes: Sizes,
    /// Positions of one block.
    block: usize,
    workspaces: Vec<Workspace<T>>,
    /// The gradient before the activation, where it is computed for all items at once.
    before: Vec<T>,
}

impl<T: Shifted> Convolution<T> {
    /// Bytes of its workspaces.
    pub fn owned_bytes(&self) -> usize {
        let of = |space: &Workspace<T>| {
            let way = match &space.way {
                Way::Blocks => 0,
                Way::Direct(way) => way.owned_bytes(),
                Way::Patches(way) => way.owned_bytes(),
                Way::Winograd(way) => way.owned_bytes(),
            };
            bytes(&space.gathered) + bytes(&space.staged) + bytes(&space.weights) + bytes(&space.runs) + way
        };
        bytes(&self.before) + self.workspaces.iter().map(of).sum::<usize>()
    }

    /// A convolution of these sizes.
    pub fn new(sizes: Sizes) -> Self {
        let (positions, rows) = (sizes.positions().max(1), sizes.filter().max(1));
        let fits = (BLOCK / rows).max(16);
        let block = match fits / positions {
            // Blocks of nearly equal size.
            0 => positions.div_ceil(positions.div_ceil(fits)),
            whole => whole.min(sizes.items.max(1)) * positions,
        };
        let mut convolution = Convolution { sizes, block, workspaces: Vec::new(), before: Vec::new() };
        convolution.reserve(1);
        convolution
    }

    /// Its sizes.
    pub fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// Memory for `threads` threads; taken when a number of threads is first met.
    fn reserve(&mut self, threads: usize) {
        if self.workspaces.len() >= threads {
            return;
        }
        let (sizes, block) = (self.sizes, self.block);
        let way = Way::new(&sizes);
        if matches!(way, Way::Winograd(_) | Way::Patches(_)) {
            self.workspaces.resize_with(threads, || Workspace { way: way.clone(), ..Workspace::default() });
            return;
        }
        let gathered = if is_pointwise(&sizes, block) { 0 } else { sizes.filter() * block };
        let staged = if block > sizes.positions() { sizes.filters * block } else { 0 };
        self.workspaces.resize_with(threads, || Workspace {
            gathered: vec![T::zero(); gathered],
            staged: vec![T::zero(); staged],
            weights: Vec::new(),
            runs: Vec::new(),
            way: way.clone(),
        });
    }

    /// Among how many threads the items are shared, and how many each matrix product may use.
    fn share(&self, pool: &Pool) -> (usize, usize) {
        match pool.threads() {
            1 => (1, 1),
            threads if self.sizes.items >= threads => (threads.min(self.sizes.cost() / 20_000 + 1), 1),
            threads => (1, threads),
        }
    }

    /// Writes the convolution of `x` with the weights `w` and the bias `b` to `y`, and `after` applied to it.
    pub fn forward(
        &mut self,
        x: &[T],
        w: &[T],
        b: Option<&[T]>,
        y: &mut [T],
        after: Option<&dyn Activation>,
        pool: &Pool,
    ) {
        let sizes = self.sizes;
        if y.is_empty() {
            return;
        }
        let (jobs, threads) = self.share(pool);
        self.reserve(jobs);
        let block = self.block;
        let each = sizes.items.div_ceil(jobs);
        let inputs = chunks(x, each * sizes.item(), jobs);
        let outputs = y.chunks_mut(each * sizes.item_output());
        let rows = (threads > 1).then_some(pool);
        let mut jobs: SmallVec<[_; 8]> = self.workspaces.iter_mut().zip(inputs).zip(outputs).collect();
        pool.for_pieces(&mut jobs, 1, sizes.cost(), |_, jobs| {
            for ((workspace, x), y) in jobs {
                match &mut workspace.way {
                    Way::Direct(way) => {
                        way.forward(x, w, b, y, after, rows);
                        continue;
                    }
                    Way::Winograd(way) => way.forward(x, w, b, y, rows),
                    Way::Patches(way) => way.forward(x, w, b, y, rows),
                    Way::Blocks => workspace.forward(&sizes, block, x, w, b, y, threads),
                }
                if let Some(after) = after {
                    after.apply(T::slice_mut_of(y));
                }
            }
        });
    }

    /// Writes the wanted gradients with respect to the input, the weights and the bias, where `dy` is that with respect
    /// to the result, after the activation where there was one.
    pub fn gradients(&mut self, mut task: Gradients<'_, T>, pool: &Pool) {
        for gradient in [task.dw.as_deref_mut(), task.db.as_deref_mut()].into_iter().flatten() {
            gradient.fill(T::zero());
        }
        let (jobs, threads) = self.share(pool);
        self.reserve(jobs);
        let rows = (threads > 1).then_some(pool);
        match self.workspaces.first_mut().map(|workspace| &mut workspace.way) {
            Some(Way::Direct(way)) if jobs == 1 && !task.dy.is_empty() && (task.dx.is_none() || way.has_back()) => {
                way.backward(task, rows);
            }
            _ => self.gradients_of_all(task, pool),
        }
    }

    /// The same, one pass over all items after the other.
    fn gradients_of_all(&mut self, task: Gradients<'_, T>, pool: &Pool) {
        let Gradients { x, w, mut dy, after, dx, dw, db } = task;
        let mut before = std::mem::take(&mut self.before);
        if let Some((after, y)) = after {
            before.resize(dy.len(), T::zero());
            after.gradient(T::slice_of(y), T::slice_of(dy), T::slice_mut_of(&mut before));
            dy = &before;
        }
        self.backward(x, w, dy, dx, dw, pool);
        if let Some(db) = db {
            self.sizes.sum_filters(dy, db);
        }
        self.before = before;
    }

    /// Writes the wanted gradients with respect to the input and the weights.
    pub fn backward(
        &mut self,
        x: &[T],
        w: &[T],
        dy: &[T],
        mut dx: Option<&mut [T]>,
        mut dw: Option<&mut [T]>,
        pool: &Pool,
    ) {
        let sizes = self.sizes;
        let way = self.workspaces.first().map(|workspace| &workspace.way);
        // Some ways write what others add to.
        let (sets_dx, sets_dw) =
            (matches!(way, Some(Way::Winograd(_))), matches!(way, Some(Way::Patches(_) | Way::Winograd(_))));
        if let Some(dx) = dx.as_deref_mut()
            && (!sets_dx || dy.is_empty())
        {
            dx.fill(T::zero());
        }
        if let Some(dw) = dw.as_deref_mut()
            && (!sets_dw || dy.is_empty())
        {
            dw.fill(T::zero());
        }
        if dy.is_empty() || dx.is_none() && dw.is_none() {
            return;
        }
        let (jobs, threads) = self.share(pool);
        self.reserve(jobs);
        let block = self.block;
        let each = sizes.items.div_ceil(jobs);
        let inputs = chunks(x, each * sizes.item(), jobs);
        let outputs = chunks(dy, each * sizes.item_output(), jobs);
        let wants_dx = dx.is_some();
        let mut gradients = dx.unwrap_or_default().chunks_mut((each * sizes.item()).max(1));
        let mut work: SmallVec<[_; 8]> = SmallVec::new();
        let (first, others) = match self.workspaces.split_first_mut() {
            Some(split) => split,
            None => return,
        };
        let mut weights = dw;
        let wants_dw = weights.is_some();
        // The first thread adds to the gradient itself, each other to one of its own.
        for (index, ((workspace, x), dy)) in
            std::iter::once(first).chain(others.iter_mut()).zip(inputs).zip(outputs).enumerate()
        {
            let dx = if wants_dx { Some(gradients.next().unwrap_or_default()) } else { None };
            let dw = if index == 0 { weights.take() } else { None };
            work.push((workspace, x, dy, dx, dw));
        }
        let rows = (threads > 1).then_some(pool);
        pool.for_pieces(&mut work, 1, 2 * sizes.cost(), |_, jobs| {
            for (workspace, x, dy, dx, dw) in jobs {
                let mut dx = dx.as_deref_mut();
                let has_own = dw.is_none() && wants_dw;
                let mut own = std::mem::take(&mut workspace.weights);
                if has_own {
                    own.clear();
                    own.resize(w.len(), T::zero());
                }
                let mut dw = if has_own { Some(own.as_mut_slice()) } else { dw.as_deref_mut() };
                match &mut workspace.way {
                    Way::Winograd(way) => {
                        dw.take().into_iter().for_each(|dw| way.weight_gradient(x, dy, dw, rows));
                        dx.take().into_iter().for_each(|dx| way.input_gradient(w, dy, dx, rows));
                    }
                    Way::Patches(way) => {
                        dw.take().into_iter().for_each(|dw| way.weight_gradient(x, dy, dw, rows));
                        dx.take().into_iter().for_each(|dx| way.input_gradient(w, dy, dx, rows));
                    }
                    Way::Direct(way) => {
                        dw.take().into_iter().for_each(|dw| way.weight_gradient(x, dy, dw, rows));
                        if way.has_back() {
                            dx.take().into_iter().for_each(|dx| way.input_gradient(w, dy, dx, rows));
                        }
                    }
                    Way::Blocks => {}
                }
                if dx.is_some() || dw.is_some() {
                    workspace.backward(&sizes, block, x, w, dy, dx, dw, threads);
                }
                workspace.weights = own;
            }
        });
        if wants_dw {
            let (first, others) = work.split_at_mut(1);
            if let Some((.., Some(dw))) = first.first_mut() {
                for (workspace, ..) in others {
                    for (sum, part) in dw.iter_mut().zip(&workspace.weights) {
                        *sum += *part;
                    }
                }
            }
        }
    }
}

/// `count` slices of `size` elements; empty ones where there is nothing.
fn chunks<T>(elements: &[T], size: usize, count: usize) -> impl Iterator<Item = &[T]> {
    (0..count).map(move |index| {
        let from = (index * size).min(elements.len());
        &elements[from..(from + size).min(elements.len())]
    })
}

/// Whether the input is the gathered matrix already.
fn is_pointwise(sizes: &Sizes, block: usize) -> bool {
    sizes.axes.iter().all(Axis::is_identity) && block <= sizes.positions()
}

impl<T: Shifted> Workspace<T> {
    #[allow(clippy::too_many_arguments, reason = "the operands of a convolution")]
    fn forward(&mut self, sizes: &Sizes, block: usize, x: &[T], w: &[T], b: Option<&[T]>, y: &mut [T], threads: usize) {
        let (filters, rows, positions) = (sizes.filters, sizes.filter(), sizes.positions());
        let total = y.len() / sizes.item_output() * positions;
        let pointwise = is_pointwise(sizes, block);
        for (from, len) in blocks(total, positions, block) {
            self.find_runs(sizes, from, len);
            let (item, position) = (from / positions, from % positions);
            for group in 0..sizes.groups {
                let w = View::rows(&w[group * filters * rows..(group + 1) * filters * rows], rows);
                let bias = |filter: usize| b.map_or(T::zero(), |b| b[group * filters + filter]);
                let gathered = if pointwise {
                    let first = (item * sizes.groups + group) * sizes.channels * positions + position;
                    View::strided(&x[first.min(x.len())..], positions, 1)
                } else {
                    self.gather(sizes, x, group, len);
                    View::rows(&self.gathered, len)
                };
                if len <= positions {
                    let first = (item * sizes.groups + group) * filters * positions + position;
                    let y = &mut y[first..];
                    if b.is_some() {
                        for filter in 0..filters {
                            y[filter * positions..][..len].fill(bias(filter));
                        }
                    }
                    let to = ViewMut::strided(y, positions, 1);
                    multiply(filters, len, rows, to, w, gathered, b.is_some(), threads);
                    continue;
                }
                multiply(filters, len, rows, ViewMut::rows(&mut self.staged, len), w, gathered, false, threads);
                for (index, staged) in self.staged.chunks_exact(positions).enumerate().take(filters * len / positions) {
                    let items = len / positions;
                    let (filter, item) = (index / items, item + index % items);
                    let to = ((item * sizes.groups + group) * filters + filter) * positions;
                    let bias = bias(filter);
                    for (y, staged) in y[to..to + positions].iter_mut().zip(staged) {
                        *y = *staged + bias;
                    }
                }
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the operands of a convolution")]
    fn backward(
        &mut self,
        sizes: &Sizes,
        block: usize,
        x: &[T],
        w: &[T],
        dy: &[T],
        mut dx: Option<&mut [T]>,
        mut dw: Option<&mut [T]>,
        threads: usize,
    ) {
        let (filters, rows, positions) = (sizes.filters, sizes.filter(), sizes.positions());
        if rows == 0 {
            return;
        }
        let total = dy.len() / sizes.item_output() * positions;
        let pointwise = is_pointwise(sizes, block);
        for (from, len) in blocks(total, positions, block) {
            self.find_runs(sizes, from, len);
            let (item, position) = (from / positions, from % positions);
            for group in 0..sizes.groups {
                let weights = group * filters * rows..(group + 1) * filters * rows;
                let direct = len <= positions;
                if !direct {
                    let items = len / positions;
                    for (index, staged) in self.staged.chunks_exact_mut(positions).enumerate().take(filters * items) {
                        let (filter, item) = (index / items, item + index % items);
                        let at = ((item * sizes.groups + group) * filters + filter) * positions;
                        staged.copy_from_slice(&dy[at..at + positions]);
                    }
                }
                let first = (item * sizes.groups + group) * filters * positions + position;
                let first_input = (item * sizes.groups + group) * sizes.channels * positions + position;
                if let Some(dw) = dw.as_deref_mut() {
                    if !pointwise {
                        self.gather(sizes, x, group, len);
                    }
                    let gathered = match pointwise {
                        true => View::strided(&x[first_input..], 1, positions),
                        false => View::transposed(&self.gathered, len),
                    };
                    let dy = match direct {
                        true => View::strided(&dy[first..], positions, 1),
                        false => View::rows(&self.staged, len),
                    };
                    let to = ViewMut::rows(&mut dw[weights.clone()], rows);
                    multiply(filters, rows, len, to, dy, gathered, true, threads);
                }
                if let Some(dx) = dx.as_deref_mut() {
                    let w = View::transposed(&w[weights], rows);
                    let dy = match direct {
                        true => View::strided(&dy[first..], positions, 1),
                        false => View::rows(&self.staged, len),
                    };
                    if pointwise {
                        let to = ViewMut::strided(&mut dx[first_input..], positions, 1);
                        multiply(rows, len, filters, to, w, dy, false, threads);
                        continue;
                    }
                    multiply(rows, len, filters, ViewMut::rows(&mut self.gathered, len), w, dy, false, threads);
                    self.scatter(sizes, dx, group, len);
                }
            }
        }
    }

    /// The runs of the `len` positions from `from`.
    fn find_runs(&mut self, sizes: &Sizes, from: usize, len: usize) {
        let [_, height, width] = sizes.axes.map(|axis| axis.output);
        let positions = sizes.positions();
        self.runs.clear();
        let mut at = 0;
        while at < len {
            let (item, position) = ((from + at) / positions, (from + at) % positions);
            let (row, first) = (position / width, position % width);
            let run = (width - first).min(len - at);
            self.runs.push(Run { at, len: run, item, depth: row / height, height: row % height, width: first });
            at += run;
        }
    }

    /// Gathers what lies under the window at the positions of all runs: zero where that is padding.
    fn gather(&mut self, sizes: &Sizes, x: &[T], group: usize, len: usize) {
        let (stride, runs) = (sizes.axes[2].stride, &self.runs);
        for_rows(sizes, group, |row, tap| {
            let to = &mut self.gathered[row * len..(row + 1) * len];
            for run in runs {
                let to = &mut to[run.at..run.at + run.len];
                let Some((from, first, end)) = tap.on_input(sizes, run) else {
                    to.fill(T::zero());
                    continue;
                };
                to[..first].fill(T::zero());
                to[end..].fill(T::zero());
                let to = &mut to[first..end];
                if stride == 1 {
                    to.copy_from_slice(&x[from..from + to.len()]);
                } else {
                    for (to, x) in to.iter_mut().zip(x[from..].iter().step_by(stride)) {
                        *to = *x;
                    }
                }
            }
        });
    }

    /// Adds the gathered matrix back to where it was gathered from.
    fn scatter(&mut self, sizes: &Sizes, dx: &mut [T], group: usize, len: usize) {
        let (stride, runs) = (sizes.axes[2].stride, &self.runs);
        for_rows(sizes, group, |row, tap| {
            let values = &self.gathered[row * len..(row + 1) * len];
            for run in runs {
                let Some((to, first, end)) = tap.on_input(sizes, run) else { continue };
                let values = &values[run.at + first..run.at + end];
                if stride == 1 {
                    for (dx, value) in dx[to..to + values.len()].iter_mut().zip(values) {
                        *dx += *value;
                    }
                } else {
                    for (dx, value) in dx[to..].iter_mut().step_by(stride).zip(values) {
                        *dx += *value;
                    }
                }
            }
        });
    }
}

/// A channel and an element of the window.
struct Tap {
    channel: usize,
    depth: usize,
    height: usize,
    width: usize,
    /// The positions along width at which it lies on the input.
    columns: std::ops::Range<usize>,
}

impl Tap {
    /// The first input element under a run, and which of its positions lie on the input; `None` where none does.
    fn on_input(&self, sizes: &Sizes, run: &Run) -> Option<(usize, usize, usize)> {
        let [d, h, w] = &sizes.axes;
        let place = |axis: &Axis, position: usize, tap: usize| {
            let at = (position * axis.stride + tap * axis.dilation).checked_sub(axis.before)?;
            (at < axis.input).then_some(at)
        };
        let (depth, height) = (place(d, run.depth, self.depth)?, place(h, run.height, self.height)?);
        let first = self.columns.start.max(run.width);
        let end = self.columns.end.min(run.width + run.len);
        if first >= end {
            return None;
        }
        let plane = (run.item * sizes.groups * sizes.channels + self.channel) * d.input;
        let from = ((plane + depth) * h.input + height) * w.input + w.at(first, self.width);
        Some((from, first - run.width, end - run.width))
    }
}

/// Calls `visit` with each row of the gathered matrix and what it stands for.
fn for_rows(sizes: &Sizes, group: usize, mut visit: impl FnMut(usize, &Tap)) {
    let [d, h, w] = &sizes.axes;
    let mut row = 0;
    for channel in group * sizes.channels..(group + 1) * sizes.channels {
        for depth in 0..d.kernel {
            for height in 0..h.kernel {
                for width in 0..w.kernel {
                    visit(row, &Tap { channel, depth, height, width, columns: w.positions(width) });
                    row += 1;
                }
            }
        }
    }
}

/// The blocks of `total` positions, as (first, length): inside one item, or several whole ones.
fn blocks(total: usize, positions: usize, block: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let room = if block >= positions { total - from } else { positions - from % positions };
        let len = room.min(block).min(total - from);
        from += len;
        (len > 0).then_some((from - len, len))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_everything_once() {
        for (items, positions, block) in [(3, 10, 4), (3, 10, 10), (5, 10, 20), (1, 7, 7), (0, 5, 5), (2, 5, 100)] {
            let mut next = 0;
            for (from, len) in blocks(items * positions, positions, block) {
                assert_eq!(from, next);
                assert!(len <= block && len > 0);
                assert!(from / positions == (from + len - 1) / positions || from % positions == 0);
                assert!(len <= positions || len % positions == 0);
                next += len;
            }
            assert_eq!(next, items * positions);
        }
    }

    /// An axis from input, kernel, stride, dilation, and padding before and after.
    fn axis([input, kernel, stride, dilation, before, after]: [usize; 6]) -> Axis {
        let output = (input + before + after - (kernel - 1) * dilation - 1) / stride + 1;
        Axis { input, output, kernel, stride, dilation, before, after }
    }

    /// The output without bias and both gradients, by the definition.
    fn definition(sizes: &Sizes, x: &[f32], w: &[f32], dy: &[f32]) -> [Vec<f64>; 3] {
        let [_, h, v] = sizes.axes;
        let mut found = [vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; w.len()]];
        for (at, dy) in dy.iter().enumerate() {
            let (row, position) = (at / sizes.positions(), at % sizes.positions());
            let (item, filter) = (row / sizes.filters, row % sizes.filters);
            let (top, left) = (position / v.output, position % v.output);
            for channel in 0..sizes.channels {
                for j in h.taps(top) {
                    for i in v.taps(left) {
                        let tap = ((filter * sizes.channels + channel) * h.kernel + j) * v.kernel + i;
                        let from = (item * sizes.channels + channel) * h.input + h.at(top, j);
                        let from = from * v.input + v.at(left, i);
                        let (x, w, dy) = (f64::from(x[from]), f64::from(w[tap]), f64::from(*dy));
                        found[0][at] += w * x;
                        found[1][from] += w * dy;
                        found[2][tap] += x * dy;
                    }
                }
            }
        }
        found
    }

    #[test]
    fn every_way_equals_the_definition() {
        // Items, channels, filters, and the axes along height and width.
        let cases = [
            ("winograd", [2, 16, 16], [[12, 3, 1, 1, 1, 1], [13, 3, 1, 1, 1, 1]]),
            ("winograd", [3, 17, 19], [[9, 3, 1, 1, 0, 2], [10, 3, 1, 1, 2, 1]]),
            ("winograd", [4, 70, 24], [[8, 3, 1, 1, 1, 1], [8, 3, 1, 1, 1, 1]]),
            ("winograd", [9, 16, 33], [[6, 3, 1, 1, 1, 1], [7, 3, 1, 1, 0, 0]]),
            ("winograd", [1, 16, 18], [[40, 3, 1, 1, 1, 1], [37, 3, 1, 1, 2, 4]]),
            ("winograd", [5, 129, 16], [[8, 3, 1, 1, 1, 1], [7, 3, 1, 1, 1, 1]]),
            ("patches", [8, 32, 16], [[2, 3, 1, 1, 1, 1], [2, 3, 1, 1, 1, 1]]),
            ("patches", [3, 48, 21], [[5, 3, 2, 1, 1, 1], [4, 3, 2, 1, 1, 1]]),
            ("patches", [5, 256, 16], [[3, 1, 2, 1, 0, 0], [5, 1, 2, 1, 0, 0]]),
            ("patches", [2, 48, 17], [[4, 2, 1, 1, 1, 3], [9, 4, 1, 3, 5, 2]]),
            ("patches", [1, 64, 18], [[1, 1, 1, 1, 0, 0], [7, 5, 1, 1, 2, 2]]),
            ("direct", [2, 5, 9], [[17, 3, 1, 1, 1, 1], [13, 3, 1, 1, 1, 0]]),
            ("direct", [2, 3, 9], [[24, 7, 2, 1, 3, 3], [25, 7, 2, 1, 3, 3]]),
            ("blocks", [3, 5, 9], [[4, 3, 1, 1, 1, 1], [4, 3, 1, 1, 1, 1]]),
            ("blocks", [2, 9, 20], [[9, 1, 1, 1, 0, 0], [9, 1, 1, 1, 0, 0]]),
        ];
        for (way, [items, channels, filters], axes) in cases {
            let sizes = Sizes { items, groups: 1, channels, filters, axes: [Axis::ONE, axis(axes[0]), axis(axes[1])] };
            let values = |count: usize, step: f32| (0..count).map(|i| (i as f32 * step).sin()).collect::<Vec<f32>>();
            let (x, w) = (values(items * sizes.item(), 0.7), values(filters * sizes.filter(), 0.3));
            let (dy, b) = (values(items * sizes.item_output(), 0.9), values(filters, 1.1));
            let [mut y, dx, dw] = definition(&sizes, &x, &w, &dy);
            for (row, y) in y.chunks_exact_mut(sizes.positions()).enumerate() {
                y.iter_mut().for_each(|y| *y += f64::from(b[row % filters]));
            }
            let mut convolution = Convolution::new(sizes);
            let found = match convolution.workspaces[0].way {
                Way::Winograd(_) => "winograd",
                Way::Patches(_) => "patches",
                Way::Direct(_) => "direct",
                Way::Blocks => "blocks",
            };
            assert_eq!(found, way, "{sizes:?}");
            // Twice: what one pass leaves behind does not change the next; and with threads.
            for threads in [1, 1, 2, 3] {
                let pool = Pool::new(threads).unwrap();
                let mut found = [vec![9.0; y.len()], vec![9.0; x.len()], vec![9.0; w.len()]];
                let [found_y, found_dx, found_dw] = &mut found;
                pool.install(|| {
                    convolution.forward(&x, &w, Some(&b), found_y, None, &pool);
                    convolution.backward(&x, &w, &dy, Some(found_dx), Some(found_dw), &pool);
                });
                for (found, expected) in found.iter().zip([&y, &dx, &dw]) {
                    let most = expected.iter().fold(0.0f64, |most, value| most.max(value.abs()));
                    for (found, expected) in found.iter().zip(expected) {
                        let error = (f64::from(*found) - expected).abs();
                        assert!(error < 5e-6 * most, "{sizes:?} {threads}: {found} {expected}");
                    }
                }
            }
        }
    }

    #[test]
    fn threads_give_the_same_gradients() {
        let axis = |input: usize| Axis { input, output: input, kernel: 3, stride: 1, dilation: 1, before: 1, after: 1 };
        for (items, size) in [(5, 24), (4, 40), (1, 30)] {
            let axes = [Axis::ONE, axis(size), axis(size)];
            let sizes = Sizes { items, groups: 1, channels: 8, filters: 8, axes };
            let values = |count: usize, step: f64| (0..count).map(|i| (i as f64 * step).sin()).collect::<Vec<f64>>();
            let x = values(items * 8 * size * size, 0.7);
            let (w, b) = (values(8 * 72, 0.3), values(8, 0.9));
            let run = |threads: usize| {
                let pool = Pool::new(threads).unwrap();
                let mut convolution = Convolution::new(sizes);
                let (mut y, mut dx, mut dw) = (vec![9.0; x.len()], vec![9.0; x.len()], vec![9.0; w.len()]);
                pool.install(|| {
                    convolution.forward(&x, &w, Some(&b), &mut y, None, &pool);
                    convolution.backward(&x, &w, &y, Some(&mut dx), Some(&mut dw), &pool);
                });
                (y, dx, dw)
            };
            let (y, dx, dw) = run(1);
            for threads in [2, 3] {
                let found = run(threads);
                assert_eq!(found, run(threads));
                for (found, expected) in [(&found.0, &y), (&found.1, &dx), (&found.2, &dw)] {
                    for (found, expected) in found.iter().zip(expected) {
                        assert!((found - expected).abs() < 1e-9 * (1.0 + expected.abs()), "{threads} threads");
                    }
                }
            }
        }
    }
}
