//! Operators whose elements are those of their input in other places: slices, repeats, paddings, permutations.
//!
//! The place that an output element is copied from is a sum over the output's axes: `y[i, j, …] = x[a[i] + b[j] + …]`,
//! and where an axis says "nowhere" the element is a fill value. Derivative: each place receives the sum of the
//! gradients of its copies.

use smallvec::SmallVec;

use crate::engine::cell::Scalar;
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::{with_any, with_float};
use crate::engine::op::{Signature, TensorType, integers};
use crate::engine::pool::Pool;
use crate::tensor::{DType, Dim};

/// Elements that a piece of work has at least, for another thread.
const PIECE: usize = 4096;
/// Where an outer axis has nothing to copy from.
const NOWHERE: usize = usize::MAX;

/// The number of elements under these sizes. Tensors without elements may have axes beyond any memory, so it saturates.
pub fn count(sizes: &[usize]) -> usize {
    sizes.iter().fold(1, |count, size| count.saturating_mul(*size))
}

/// The distance between neighbours along each axis of a tensor of this shape; it saturates as [`count`] does.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}

/// `axis` counted from the front; a negative one counts from the back. `None` outside of `rank`.
pub fn from_front(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let axis = if axis < 0 { axis.checked_add(rank)? } else { axis };
    if (0..rank).contains(&axis) { usize::try_from(axis).ok() } else { None }
}

/// The axis that attribute `name` gives, counted from the front.
pub fn attribute_axis(name: &str, axis: i64, rank: usize) -> Result<usize, OpError> {
    from_front(axis, rank).ok_or_else(|| OpError::Attribute {
        name: name.into(),
        expected: format!("an axis of rank {rank}"),
        found: axis.to_string(),
    })
}

/// Axes, counted from the front, none twice. The error names input `input`, or the attribute `axes` without one.
pub fn distinct_axes(input: Option<usize>, axes: &[i64], rank: usize) -> Result<Vec<usize>, OpError> {
    let fail = || {
        let (expected, found) = (format!("different axes of rank {rank}"), format!("{axes:?}"));
        match input {
            Some(input) => OpError::Value { input, expected, found },
            None => OpError::Attribute { name: "axes".into(), expected, found },
        }
    };
    let mut known = Vec::with_capacity(axes.len());
    for axis in axes {
        let axis = from_front(*axis, rank).filter(|axis| !known.contains(axis)).ok_or_else(fail)?;
        known.push(axis);
    }
    Ok(known)
}

/// The number of elements under these dimensions, as far as known.
pub fn product(dims: &[Dim]) -> Result<Dim, OpError> {
    if dims.contains(&Dim::Known(0)) {
        return Ok(Dim::Known(0));
    }
    let known = dims.iter().filter_map(Dim::known).try_fold(1usize, usize::checked_mul);
    let known = known.ok_or_else(|| OpError::TooLarge { shape: format!("{dims:?}") })?;
    let mut unknown = dims.iter().filter(|dim| dim.known().is_none());
    Ok(match (unknown.next(), unknown.next()) {
        (None, _) => Dim::Known(known),
        (Some(dim), None) if known == 1 => dim.clone(),
        _ => Dim::Any,
    })
}

/// The values of an integer input that must be known when a kernel is built; `None` where it is left out.
pub fn built_integers(signature: &Signature, index: usize) -> Result<Option<Vec<i64>>, OpError> {
    let Some(input) = signature.optional_input(index) else { return Ok(None) };
    let known = input.value.as_ref().and_then(integers);
    known.map(Some).ok_or_else(|| OpError::Plan { what: format!("the value of input {index} is not known") })
}

/// A run of places: `len` elements from `from` on (nowhere, without one), `step` apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    len: usize,
    from: Option<usize>,
    step: isize,
}

/// Where the elements along one axis of the output come from.
#[derive(Clone, Debug)]
pub struct Axis {
    runs: Vec<Run>,
    len: usize,
}

impl Axis {
    /// One position in the input for each in the output (`None`: nowhere); neighbours there lie `stride` apart.
    pub fn new(stride: usize, positions: impl IntoIterator<Item = Option<usize>>) -> Self {
        let mut runs: Vec<Run> = Vec::new();
        let mut len = 0;
        for position in positions {
            len += 1;
            let from = position.map(|position| position * stride);
            if let Some(run) = runs.last_mut() {
                match (run.from, from) {
                    (None, None) => {
                        run.len += 1;
                        continue;
                    }
                    (Some(first), Some(from)) => {
                        let distance = from as isize - first as isize;
                        if run.len == 1 {
                            run.step = distance;
                        }
                        if run.step * run.len as isize == distance {
                            run.len += 1;
                            continue;
                        }
                    }
                    _ => {}
                }
            }
            runs.push(Run { len: 1, from, step: 0 });
        }
        Axis { runs, len }
    }

    /// All of an axis of the input.
    pub fn whole(stride: usize, size: usize) -> Self {
        Axis::new(stride, (0..size).map(Some))
    }

    /// This axis and the one within it as one, where that takes no more runs.
    fn merged(&self, inner: &Axis) -> Option<Axis> {
        let [within] = inner.runs.as_slice() else { return None };
        let len = self.len.checked_mul(inner.len)?;
        let Some(start) = within.from else {
            return Some(Axis { runs: vec![Run { len, from: None, step: 0 }], len });
        };
        let span = within.step * within.len as isize;
        let merge = |run: &Run| -> Option<Run> {
            let from = run.from.map(|from| from + start);
            match (within.len, run.len) {
                (1, _) => Some(Run { from, ..*run }),
                (_, 1) => Some(Run { len: within.len, from, step: within.step }),
                _ if run.from.is_none() || run.step == span => {
                    Some(Run { len: run.len * within.len, from, step: within.step })
                }
                _ => None,
            }
        };
        let runs: Option<Vec<Run>> = self.runs.iter().map(merge).collect();
        Some(Axis { runs: runs?, len })
    }

    fn places(&self) -> Vec<usize> {
        let places = |run: &Run| {
            let Run { len, from, step } = *run;
            (0..len).map(move |i| from.map_or(NOWHERE, |from| from.wrapping_add_signed(step * i as isize)))
        };
        self.runs.iter().flat_map(places).collect()
    }
}

/// How an output is put together from an input.
#[derive(Clone, Debug)]
pub struct Rearrange {
    /// Places along the outer axes.
    outer: Vec<Vec<usize>>,
    inner: Inner,
    /// Elements of the innermost axis.
    width: usize,
    rows: usize,
}

#[derive(Clone, Debug)]
enum Inner {
    Runs(Vec<Run>),
    /// The runs are too short to be worth their while.
    Table(Vec<usize>),
}

impl Rearrange {
    /// An output of `shape` with these axes, the last one innermost. They are not asked for when it has no elements.
    pub fn new(shape: &[usize], axes: impl IntoIterator<Item = Axis>) -> Self {
        if shape.contains(&0) {
            return Rearrange { outer: Vec::new(), inner: Inner::Table(Vec::new()), width: 0, rows: 0 };
        }
        let axes: Vec<Axis> = axes.into_iter().collect();
        let mut merged: Vec<Axis> = Vec::with_capacity(axes.len());
        // From the innermost to the outermost.
        for axis in axes.into_iter().rev() {
            match merged.last().and_then(|inner| axis.merged(inner)) {
                Some(both) => {
                    merged.pop();
                    merged.push(both);
                }
                None => merged.push(axis),
            }
        }
        let mut merged = merged.into_iter();
        let inner = merged.next().unwrap_or_else(|| Axis::whole(1, 1));
        let mut outer: Vec<Vec<usize>> = merged.map(|axis| axis.places()).collect();
        outer.reverse();
        let rows = outer.iter().map(Vec::len).product();
        let width = inner.len;
        let table = inner.runs.len() * 4 > width;
        let inner = if table { Inner::Table(inner.places()) } else { Inner::Runs(inner.runs) };
        Rearrange { outer, inner, width, rows }
    }

    /// Calls `visit` with the start of each of `count` rows from row `first` on; `None` where there is nothing to copy.
    fn each_row(&self, first: usize, count: usize, mut visit: impl FnMut(Option<usize>)) {
        let mut at: SmallVec<[usize; 8]> = smallvec::smallvec![0; self.outer.len()];
        let mut rest = first;
        for (at, table) in at.iter_mut().zip(&self.outer).rev() {
            *at = rest % table.len().max(1);
            rest /= table.len().max(1);
        }
        for _ in 0..count {
            let mut start = Some(0usize);
            for (at, table) in at.iter().zip(&self.outer) {
                let place = table[*at];
                start = if place == NOWHERE { None } else { start.map(|start| start + place) };
            }
            visit(start);
            for (at, table) in at.iter_mut().zip(&self.outer).rev() {
                *at += 1;
                if *at < table.len() {
                    break;
                }
                *at = 0;
            }
        }
    }

    /// Writes all of `y`.
    pub fn forward<T: Scalar>(&self, x: &[T], y: &mut [T], fill: &T, pool: &Pool) {
        if y.is_empty() || self.width == 0 {
            return;
        }
        let rows = (PIECE / self.width).max(1);
        let cost = y.len() / 2;
        pool.for_pieces(y, rows * self.width, cost, |piece, y| {
            let mut pieces = y.chunks_exact_mut(self.width);
            self.each_row(piece * rows, pieces.len(), |start| {
                let Some(y) = pieces.next() else { return };
                match start {
                    Some(start) => self.row(&x[start..], y, fill),
                    None => y.fill(fill.clone()),
                }
            });
        });
    }

    #[inline]
    fn row<T: Scalar>(&self, x: &[T], y: &mut [T], fill: &T) {
        match &self.inner {
            Inner::Table(table) => {
                for (y, place) in y.iter_mut().zip(table) {
                    *y = if *place == NOWHERE { fill.clone() } else { x[*place].clone() };
                }
            }
            Inner::Runs(runs) => {
                let mut rest = y;
                for Run { len, from, step } in runs {
                    let (y, after) = rest.split_at_mut(*len);
                    rest = after;
                    match (from, step) {
                        (None, _) => y.fill(fill.clone()),
                        (Some(from), 1) => y.clone_from_slice(&x[*from..from + len]),
                        (Some(from), 0) => y.fill(x[*from].clone()),
                        (Some(from), step) => {
                            let mut place = *from;
                            for y in y {
                                *y = x[place].clone();
                                place = place.wrapping_add_signed(*step);
                            }
                        }
                    }
                }
            }
        }
    }

    /// Writes all of `dx`: the sums of what was copied from each place.
    pub fn backward<T: Float>(&self, dy: &[T], dx: &mut [T]) {
        dx.fill(T::zero());
        if dy.is_empty() || self.width == 0 {
            return;
        }
        let mut pieces = dy.chunks_exact(self.width);
        self.each_row(0, self.rows, |start| {
            let (Some(dy), Some(start)) = (pieces.next(), start) else { return };
            let dx = &mut dx[start..];
            match &self.inner {
                Inner::Table(table) => {
                    for (dy, place) in dy.iter().zip(table).filter(|(_, place)| **place != NOWHERE) {
                        dx[*place] += *dy;
                    }
                }
                Inner::Runs(runs) => {
                    let mut rest = dy;
                    for Run { len, from, step } in runs {
                        let (dy, after) = rest.split_at(*len);
                        rest = after;
                        match (from, step) {
                            (None, _) => {}
                            (Some(from), 1) => {
                                dx[*from..from + len].iter_mut().zip(dy).for_each(|(dx, dy)| *dx += *dy);
                            }
                            (Some(from), 0) => dx[*from] += dy.iter().copied().sum(),
                            (Some(from), step) => {
                                let mut place = *from;
                                for dy in dy {
                                    dx[place] += *dy;
                                    place = place.wrapping_add_signed(*step);
                                }
                            }
                        }
                    }
                }
            }
        });
    }
}

/// What lies where there is nothing to copy from.
#[derive(Clone, Copy, Debug)]
pub enum Fill {
    /// This number; zero, false or empty for types other than f32 and f64.
    Number(f32),
    /// The scalar that this input holds, where it is given.
    Input(usize),
}

/// A kernel from input 0 to output 0.
pub fn kernel(x: &TensorType, plan: Rearrange, fill: Fill) -> Result<Box<dyn Kernel>, OpError> {
    if matches!(x.dtype, DType::F32 | DType::F64) {
        return with_float!(x.dtype, T => {
            let number = if let Fill::Number(number) = fill { T::of(f64::from(number)) } else { T::default() };
            Box::new(FloatKernel::<T>(AnyKernel { plan, fill, number }))
        });
    }
    with_any!(x.dtype, T => Box::new(AnyKernel::<T> { plan, fill, number: T::default() }))
}

struct AnyKernel<T> {
    plan: Rearrange,
    fill: Fill,
    number: T,
}

impl<T: Scalar> Kernel for AnyKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let x = io.input::<T>(0)?;
        let given = match self.fill {
            Fill::Number(_) => None,
            Fill::Input(input) => io.optional_input::<T>(input)?.and_then(<[T]>::first),
        };
        let y = io.output::<T>(0)?;
        self.plan.forward(x, y, given.unwrap_or(&self.number), io.env.pool);
        Ok(())
    }
}

struct FloatKernel<T>(AnyKernel<T>);

impl<T: Float> Kernel for FloatKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        self.0.forward(io)
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let dy = io.d_output::<T>(0)?;
        if let Some(dx) = io.d_input::<T>(0)? {
            self.0.plan.backward(dy, dx);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plan_copies_what_its_axes_say() {
        // Positions along each axis of a 3 × 4 × 5 input, NOWHERE where there is nothing.
        let n = NOWHERE;
        let cases: [[&[usize]; 3]; 8] = [
            [&[0, 1, 2], &[0, 1, 2, 3], &[0, 1, 2, 3, 4]],
            [&[2, 1], &[0, 2], &[4, 3, 2, 1, 0]],
            [&[0, 0, 1, 1, 2, 2], &[3], &[0, 0, 1, 1, 2, 2]],
            [&[n, 0, n], &[n, n], &[0, 1]],
            [&[0, 1, 2, n], &[n, 0, 1, 2, 3, n], &[n, n, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4]],
            [&[1], &[2], &[3]],
            [&[], &[2], &[3]],
            [&[0, 1, 2, 0, 1, 2], &[0, 1, 2, 3, 0, 1, 2, 3], &[0, 1, 2, 3, 4]],
        ];
        let x: Vec<f64> = (1..=60).map(f64::from).collect();
        for threads in [1, 2] {
            let pool = Pool::new(threads).unwrap();
            for axes in cases {
                let strides = [20, 5, 1];
                let positions = |axis: usize| axes[axis].iter().map(|p| (*p != n).then_some(*p));
                let sizes: Vec<usize> = axes.iter().map(|axis| axis.len()).collect();
                let plan = Rearrange::new(&sizes, (0..3).map(|axis| Axis::new(strides[axis], positions(axis))));
                let mut expected = Vec::new();
                let mut gradient = vec![0.0; 60];
                for a in positions(0) {
                    for b in positions(1) {
                        for c in positions(2) {
                            let at = a.zip(b).zip(c).map(|((a, b), c)| 20 * a + 5 * b + c);
                            expected.push(at.map_or(-1.0, |at| x[at]));
                            if let Some(at) = at {
                                gradient[at] += expected.len() as f64;
                            }
                        }
                    }
                }
                let mut y = vec![0.0; expected.len()];
                pool.install(|| plan.forward(&x, &mut y, &-1.0, &pool));
                assert_eq!(y, expected, "{axes:?}");
                let dy: Vec<f64> = (1..=expected.len()).map(|i| i as f64).collect();
                let mut dx = vec![7.0; 60];
                plan.backward(&dy, &mut dx);
                assert_eq!(dx, gradient, "{axes:?}");
            }
        }
    }

    #[test]
    fn axes_and_products() {
        for (axis, rank, expected) in
            [(0, 1, Some(0)), (-1, 3, Some(2)), (3, 3, None), (-4, 3, None), (i64::MIN, 2, None), (0, 0, None)]
        {
            assert_eq!(from_front(axis, rank), expected, "{axis} of {rank}");
        }
        let n = || Dim::Symbol("n".into());
        assert_eq!(product(&[]).unwrap(), Dim::Known(1));
        assert_eq!(product(&[n(), Dim::Known(1)]).unwrap(), n());
        assert_eq!(product(&[n(), Dim::Known(2)]).unwrap(), Dim::Any);
        assert_eq!(product(&[n(), Dim::Known(0)]).unwrap(), Dim::Known(0));
        assert!(product(&[Dim::Known(usize::MAX), Dim::Known(2)]).is_err());
        assert_eq!(strides(&[2, 3, 4]), [12, 4, 1]);
    }
}
