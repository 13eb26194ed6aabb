//! What the Reduce operators share: axes as an attribute or an input, `keepdims`, and the walk over the elements.
//!
//! Without axes all of them are reduced, or none with `noop_with_empty_axes`. Of no elements a sum is 0, a product 1, the
//! largest is the lowest number there is.

use std::fmt::Debug;
use std::marker::PhantomData;

use super::axis;
use super::broadcast::Walk;
use crate::engine::attributes::NodeReader;
use crate::engine::cell::Scalar;
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel, bytes};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::with_float;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType, integers};
use crate::onnx::AttributeValue;
use crate::tensor::{DType, Dim, SymbolicShape};

/// How elements become one. Implementing it makes an operator by way of [`Reduce`].
///
/// For each result: `y = finish(join(… map(x) …))`, and `dx = dy · slope(x, y, notes)`.
pub trait Reduction: Clone + Debug + Send + Sync + 'static {
    /// The first version whose axes are an input.
    const AXES_ARE_INPUT_SINCE: i64 = 18;
    /// What the derivative reads.
    const READS: Reads;
    /// Which integers it takes.
    const INTEGERS: Integers = Integers::All;
    /// Whether the largest element is subtracted before `map`, and handed to `finish`.
    const SHIFTED: bool = false;
    /// What the [`notes`](Reduction::note) of each result begin with, where the derivative needs any.
    const NOTES: Option<[f64; 2]> = None;

    /// The result of joining nothing.
    fn start<T: Float>() -> T {
        T::zero()
    }

    /// What is joined of an element.
    fn map<T: Float>(x: T) -> T {
        x
    }

    /// Two results together. Associative and commutative.
    fn join<T: Float>(a: T, b: T) -> T {
        a + b
    }

    /// The result; `shift` was subtracted from each of `count` elements.
    fn finish<T: Float>(joined: T, shift: T, count: usize) -> T {
        let _ = (shift, count);
        joined
    }

    /// `∂y/∂x`, where `count` elements were joined. What [`READS`](Reduction::READS) leaves out is zero here.
    fn slope<T: Float>(x: T, y: T, notes: [T; 2], count: usize) -> T;

    /// Notes something about an element for [`slope`](Reduction::slope).
    fn note<T: Float>(notes: &mut [T; 2], x: T, y: T) {
        let _ = (notes, x, y);
    }

    /// The result of joining no integers of a type that goes from `least` to `most`.
    fn integer_start(least: i128, most: i128) -> i128 {
        let _ = (least, most);
        0
    }

    /// What is joined of an integer.
    fn integer_map(x: i128) -> i128 {
        x
    }

    /// Two integers together, wrapping around.
    fn integer_join(a: i128, b: i128) -> i128 {
        a.wrapping_add(b)
    }

    /// The result for `count` integers.
    fn integer_finish(joined: i128, count: usize) -> i128 {
        let _ = count;
        joined
    }
}

/// Which integers a reduction takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integers {
    /// None.
    No,
    /// All of them.
    All,
    /// All of them, and bool as the numbers 0 and 1.
    AndBool,
}

/// The operator of a [`Reduction`].
#[derive(Clone, Debug)]
pub struct Reduce<R> {
    /// The axes, where they are an attribute.
    axes: Option<Vec<i64>>,
    axes_are_input: bool,
    keep_dims: bool,
    noop_with_empty_axes: bool,
    kind: PhantomData<R>,
}

impl<R: Reduction> Reduce<R> {
    /// Reads the attributes.
    pub fn read(node: &NodeReader<'_>) -> Result<Self, OpError> {
        let axes_are_input = node.opset() >= R::AXES_ARE_INPUT_SINCE;
        Ok(Reduce {
            axes: if axes_are_input { None } else { node.ints("axes")? },
            axes_are_input,
            keep_dims: node.flag("keepdims", true)?,
            noop_with_empty_axes: axes_are_input && node.flag("noop_with_empty_axes", false)?,
            kind: PhantomData,
        })
    }

    /// Which dimensions are reduced, of `rank`.
    fn reduced(&self, axes: &[i64], rank: usize) -> Result<Vec<bool>, OpError> {
        if axes.is_empty() {
            return Ok(vec![!self.noop_with_empty_axes; rank]);
        }
        let mut reduced = vec![false; rank];
        for axis in axes {
            let at = axis::resolve("axes", *axis, rank).map_err(|error| match error {
                OpError::Attribute { expected, found, .. } if self.axes_are_input => {
                    OpError::Value { input: 1, expected: format!("axes of {expected}"), found }
                }
                other => other,
            })?;
            if std::mem::replace(&mut reduced[at], true) {
                let (expected, found) = ("each axis once".to_owned(), format!("{axes:?}"));
                return Err(match self.axes_are_input {
                    true => OpError::Value { input: 1, expected, found },
                    false => OpError::Attribute { name: "axes".into(), expected, found },
                });
            }
        }
        Ok(reduced)
    }
}

impl<R: Reduction> Op for Reduce<R> {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let mut attributes = Vec::new();
        if let Some(axes) = &self.axes {
            attributes.push(("axes", AttributeValue::Ints(axes.clone())));
        }
        if !self.keep_dims {
            attributes.push(("keepdims", AttributeValue::Int(0)));
        }
        if self.noop_with_empty_axes {
            attributes.push(("noop_with_empty_axes", AttributeValue::Int(1)));
        }
        attributes
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(1..=if self.axes_are_input { 2 } else { 1 }, 1..=1)?;
        let x = match R::INTEGERS {
            Integers::No => inputs.float(0)?,
            Integers::All => inputs.of(0, "f32, f64 or an integer", |dtype| {
                !matches!(dtype, DType::Bool | DType::String | DType::F16 | DType::BF16)
            })?,
            Integers::AndBool => inputs.of(0, "f32, f64, an integer or bool", |dtype| {
                !matches!(dtype, DType::String | DType::F16 | DType::BF16)
            })?,
        };
        let axes = match inputs.optional(1) {
            None => Some(self.axes.clone().unwrap_or_default()),
            Some(_) => inputs.integers(1)?,
        };
        let shape = match (x.dims(), axes) {
            (Some(dims), Some(axes)) => {
                let reduced = self.reduced(&axes, dims.len())?;
                let kept = dims.iter().zip(reduced).filter_map(|(dim, reduced)| match reduced {
                    false => Some(dim.clone()),
                    true => self.keep_dims.then_some(Dim::Known(1)),
                });
                SymbolicShape::Ranked(kept.collect())
            }
            (Some(dims), None) if self.keep_dims => SymbolicShape::Ranked(vec![Dim::Any; dims.len()]),
            _ => SymbolicShape::Unranked,
        };
        Ok(vec![ValueType::new(x.dtype, shape)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let x = signature.input(0)?;
        let axes = match signature.optional_input(1) {
            None => self.axes.clone().unwrap_or_default(),
            Some(axes) => axes.value.as_ref().and_then(integers).unwrap_or_default(),
        };
        let reduced = self.reduced(&axes, x.shape.len())?;
        let cut = Cut::new(&x.shape, &reduced);
        macro_rules! integer {
            ($($variant:ident($rust:ty)),*) => {
                match x.dtype {
                    DType::F32 | DType::F64 => with_float!(x.dtype, T => {
                        let backward = R::NOTES.filter(|_| signature.wants(0)).map_or(0, |_| cut.results);
                        Box::new(FloatKernel::<R, T> {
                            shifts: vec![T::default(); if R::SHIFTED { cut.results } else { 0 }],
                            notes: vec![[T::default(); 2]; backward],
                            cut,
                            kind: PhantomData,
                        }) as Box<dyn Kernel>
                    }),
                    $(DType::$variant => {
                        let joined = vec![0; cut.results];
                        Ok(Box::new(IntegerKernel::<R, $rust> { cut, joined, kind: PhantomData }) as Box<dyn Kernel>)
                    })*
                    found => Err(OpError::DType { input: 0, expected: "a number", found }),
                }
            };
        }
        integer!(I8(i8), I16(i16), I32(i32), I64(i64), U8(u8), U16(u16), U32(u32), U64(u64), Bool(bool))
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1]
    }

    fn is_differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self) -> Reads {
        R::READS
    }
}

/// The input cut along its first kept dimensions: pieces that no result shares.
struct Cut {
    /// How many pieces there are.
    pieces: usize,
    /// Elements in a piece.
    elements: usize,
    /// Results of a piece.
    piece_results: usize,
    /// All results.
    results: usize,
    /// How many elements become one result.
    count: usize,
    /// From the elements of a piece to its results.
    walk: Walk<1>,
}

impl Cut {
    fn new(shape: &[usize], reduced: &[bool]) -> Self {
        let first = reduced.iter().position(|reduced| *reduced).unwrap_or(shape.len());
        let pieces = shape[..first].iter().product();
        let (rest, reduced) = (&shape[first..], &reduced[first..]);
        let sizes = || rest.iter().zip(reduced);
        let results: Vec<usize> = sizes().map(|(size, reduced)| if *reduced { 1 } else { *size }).collect();
        let piece_results: usize = results.iter().product();
        Cut {
            pieces,
            elements: rest.iter().product(),
            piece_results,
            results: pieces * piece_results,
            count: sizes().filter(|(_, reduced)| **reduced).map(|(size, _)| *size).product(),
            walk: Walk::new(rest, [&results]),
        }
    }

    /// Cuts `y` where it cuts `x`.
    fn each<X: Sync, Y: Send>(
        &self,
        pool: &crate::engine::pool::Pool,
        x: &[X],
        y: &mut [Y],
        work: impl Fn(&[X], &mut [Y]) + Sync,
    ) {
        pool.for_pieces(y, self.piece_results, self.pieces * self.elements, |piece, y| {
            work(&x[piece * self.elements..][..self.elements], y);
        });
    }

    /// Joins what `map` makes of each element to its result.
    fn join<T: Float>(&self, x: &[T], y: &mut [T], map: impl Fn(T, usize) -> T, join: impl Fn(T, T) -> T + Copy) {
        self.walk.runs(|from, [at], length, [step]| {
            let x = &x[from..from + length];
            if step == 0 {
                // Joined side by side first, which vectorises and rounds less.
                const WIDTH: usize = 16;
                let chunks = x.chunks_exact(WIDTH);
                let rest = chunks.remainder();
                let mut chunks = chunks;
                if let Some(first) = chunks.next() {
                    let mut side = [T::zero(); WIDTH];
                    side.iter_mut().zip(first).for_each(|(side, x)| *side = map(*x, at));
                    for chunk in chunks {
                        side.iter_mut().zip(chunk).for_each(|(side, x)| *side = join(*side, map(*x, at)));
                    }
                    let mut width = WIDTH;
                    while width > 1 {
                        width /= 2;
                        for i in 0..width {
                            side[i] = join(side[i], side[i + width]);
                        }
                    }
                    y[at] = join(y[at], side[0]);
                }
                y[at] = rest.iter().fold(y[at], |joined, x| join(joined, map(*x, at)));
            } else {
                for (i, (y, x)) in y[at..at + length].iter_mut().zip(x).enumerate() {
                    *y = join(*y, map(*x, at + i));
                }
            }
        });
    }
}

struct FloatKernel<R, T> {
    cut: Cut,
    /// What is subtracted from the elements of each result.
    shifts: Vec<T>,
    notes: Vec<[T; 2]>,
    kind: PhantomData<R>,
}

impl<R: Reduction, T: Float> Kernel for FloatKernel<R, T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let (x, y) = (io.input::<T>(0)?, io.output::<T>(0)?);
        let cut = &self.cut;
        if R::SHIFTED {
            self.shifts.fill(T::neg_infinity());
            cut.each(io.env.pool, x, &mut self.shifts, |x, shifts| {
                cut.join(x, shifts, |x, _| x, axis::larger);
                for shift in shifts {
                    // Infinite results need no shift (and NaN would come of it).
                    *shift = if shift.is_infinite() { T::zero() } else { *shift };
                }
            });
            for piece in 0..cut.pieces {
                let results = piece * cut.piece_results..(piece + 1) * cut.piece_results;
                let (shifts, y) = (&self.shifts[results.clone()], &mut y[results]);
                y.fill(R::start());
                cut.join(&x[piece * cut.elements..][..cut.elements], y, |x, at| R::map(x - shifts[at]), R::join);
                for (y, shift) in y.iter_mut().zip(shifts) {
                    *y = R::finish(*y, *shift, cut.count);
                }
            }
            return Ok(());
        }
        cut.each(io.env.pool, x, y, |x, y| {
            y.fill(R::start());
            cut.join(x, y, |x, _| R::map(x), R::join);
            for y in y {
                *y = R::finish(*y, T::zero(), cut.count);
            }
        });
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let dy = io.d_output::<T>(0)?;
        let (x, y) = (io.optional_input::<T>(0)?, io.optional_output::<T>(0)?);
        let Some(dx) = io.d_input::<T>(0)? else { return Ok(()) };
        let FloatKernel { cut, notes, .. } = self;
        if cut.elements == 0 {
            return Ok(());
        }
        if let (Some(start), Some(x)) = (R::NOTES, x) {
            notes.fill(start.map(T::of));
            for (piece, x) in x.chunks_exact(cut.elements).enumerate() {
                let base = piece * cut.piece_results;
                cut.walk.runs(|from, [at], length, [step]| {
                    for (i, x) in x[from..from + length].iter().enumerate() {
                        let at = base + at + i * step;
                        R::note(&mut notes[at], *x, y.map_or(T::zero(), |y| y[at]));
                    }
                });
            }
        }
        let notes = &*notes;
        io.env.pool.for_pieces(dx, cut.elements, 2 * cut.pieces * cut.elements, |piece, dx| {
            let base = piece * cut.piece_results;
            let x = x.map(|x| &x[piece * cut.elements..][..cut.elements]);
            cut.walk.runs(|from, [at], length, [step]| {
                let dx = &mut dx[from..from + length];
                let one = |at: usize| {
                    (dy[at], y.map_or(T::zero(), |y| y[at]), notes.get(at).copied().unwrap_or([T::zero(); 2]))
                };
                match (x.map(|x| &x[from..from + length]), step) {
                    (Some(x), 0) => {
                        let (dy, y, notes) = one(base + at);
                        dx.iter_mut().zip(x).for_each(|(dx, x)| *dx = dy * R::slope(*x, y, notes, cut.count));
                    }
                    (None, 0) => {
                        let (dy, y, notes) = one(base + at);
                        dx.fill(dy * R::slope(T::zero(), y, notes, cut.count));
                    }
                    (x, _) => {
                        for (i, dx) in dx.iter_mut().enumerate() {
                            let (dy, y, notes) = one(base + at + i);
                            *dx = dy * R::slope(x.map_or(T::zero(), |x| x[i]), y, notes, cut.count);
                        }
                    }
                }
            });
        });
        Ok(())
    }

    fn owned_bytes(&self) -> usize {
        bytes(&self.shifts) + bytes(&self.notes)
    }
}

/// Integers and bool, computed in 128 bits and cut back: sums and products wrap around as they would in their own type.
trait Whole: Scalar + Copy {
    const LEAST: i128;
    const MOST: i128;
    fn wide(self) -> i128;
    fn cut(wide: i128) -> Self;
}

macro_rules! whole {
    ($($rust:ty),*) => {$(
        impl Whole for $rust {
            const LEAST: i128 = <$rust>::MIN as i128;
            const MOST: i128 = <$rust>::MAX as i128;
            fn wide(self) -> i128 {
                self as i128
            }
            fn cut(wide: i128) -> Self {
                wide as $rust
            }
        }
    )*};
}

whole!(i8, i16, i32, i64, u8, u16, u32, u64);

impl Whole for bool {
    const LEAST: i128 = 0;
    const MOST: i128 = 1;
    fn wide(self) -> i128 {
        self.into()
    }
    fn cut(wide: i128) -> Self {
        wide != 0
    }
}

struct IntegerKernel<R, T> {
    cut: Cut,
    joined: Vec<i128>,
    kind: PhantomData<(R, T)>,
}

impl<R: Reduction, T: Whole> Kernel for IntegerKernel<R, T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let (x, y) = (io.input::<T>(0)?, io.output::<T>(0)?);
        let IntegerKernel { cut, joined, .. } = self;
        joined.fill(R::integer_start(T::LEAST, T::MOST));
        if cut.elements > 0 {
            for (x, joined) in x.chunks_exact(cut.elements).zip(joined.chunks_exact_mut(cut.piece_results)) {
                cut.walk.runs(|from, [at], length, [step]| {
                    for (i, x) in x[from..from + length].iter().enumerate() {
                        let joined = &mut joined[at + i * step];
                        *joined = R::integer_join(*joined, R::integer_map(x.wide()));
                    }
                });
            }
        }
        for (y, joined) in y.iter_mut().zip(joined) {
            *y = T::cut(R::integer_finish(*joined, cut.count));
        }
        Ok(())
    }

    fn owned_bytes(&self) -> usize {
        bytes(&self.joined)
    }
}
