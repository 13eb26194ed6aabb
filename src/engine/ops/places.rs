//! Operators that read or write rows of a tensor at places that indices give: GatherElements, GatherND and their
//! counterparts that scatter.

use std::marker::PhantomData;

use smallvec::SmallVec;

use super::indexing::Indices;
use super::rearrange::{count, strides};
use crate::engine::attributes::NodeReader;
use crate::engine::cell::Scalar;
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel, bytes};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::{with_any, with_float, with_number};
use crate::engine::op::Reads;
use crate::tensor::DType;

/// Where rows of a tensor begin, by the values of indices.
#[derive(Clone, Debug)]
pub struct Places {
    by: By,
    /// The elements of a row.
    width: usize,
    /// Where each row begins, as of the last forward pass.
    starts: Vec<usize>,
}

#[derive(Clone, Debug)]
enum By {
    /// Each index replaces the coordinate along `axis` of its own place.
    Element {
        sizes: Vec<usize>,
        /// Of the tensor.
        strides: Vec<usize>,
        axis: usize,
        size: usize,
    },
    /// Tuples of indices are the coordinates along some axes; `batch` tuples each lie in a part of their own.
    Tuple { sizes: Vec<usize>, strides: Vec<usize>, batch: usize, part: usize },
}

impl Places {
    /// Single elements of a tensor of shape `data`, which has the rank of `indices`.
    pub fn elements(data: &[usize], indices: &[usize], axis: usize) -> Self {
        let by = By::Element { sizes: indices.to_vec(), strides: strides(data), axis, size: data[axis] };
        Places { by, width: 1, starts: vec![0; count(indices)] }
    }

    /// Parts of a tensor of shape `data`, by the tuples that the last axis of `indices` holds; the first `batch_dims`
    /// axes of both go together.
    pub fn tuples(data: &[usize], indices: &[usize], batch_dims: usize) -> Result<Self, OpError> {
        let wrong = || OpError::Plan { what: "tuples of indices longer than the rank".into() };
        let (len, outer) = indices.split_last().ok_or_else(wrong)?;
        let end = batch_dims + len;
        let (sizes, rest) = (data.get(batch_dims..end).ok_or_else(wrong)?, data.get(end..).ok_or_else(wrong)?);
        let by = By::Tuple {
            sizes: sizes.to_vec(),
            strides: strides(data)[batch_dims..end].to_vec(),
            batch: count(outer.get(batch_dims..).ok_or_else(wrong)?),
            part: count(&data[batch_dims..]),
        };
        Ok(Places { by, width: count(rest), starts: vec![0; count(outer)] })
    }

    /// Takes over the values of the indices, which are input 1.
    fn resolve(&mut self, indices: Indices<'_>) -> Result<(), OpError> {
        match &self.by {
            By::Element { sizes, strides, axis, size } => {
                let mut at: SmallVec<[usize; 8]> = smallvec::smallvec![0; sizes.len()];
                let mut base = 0;
                for (number, start) in self.starts.iter_mut().enumerate() {
                    *start = base + indices.within(1, number, *size)? * strides[*axis];
                    for dimension in (0..sizes.len()).rev() {
                        let stride = if dimension == *axis { 0 } else { strides[dimension] };
                        at[dimension] += 1;
                        base += stride;
                        if at[dimension] < sizes[dimension] {
                            break;
                        }
                        base -= stride * sizes[dimension];
                        at[dimension] = 0;
                    }
                }
            }
            By::Tuple { sizes, strides, batch, part } => {
                for (number, start) in self.starts.iter_mut().enumerate() {
                    *start = number / batch * part;
                    for (i, (size, stride)) in sizes.iter().zip(strides).enumerate() {
                        *start += indices.within(1, number * sizes.len() + i, *size)? * stride;
                    }
                }
            }
        }
        Ok(())
    }

    /// Calls `visit` with each row of `data` and the same row of `rows`.
    fn each<T, U>(&self, rows: &[T], data: &mut [U], mut visit: impl FnMut(&T, &mut U)) {
        if self.width == 1 {
            for (row, start) in rows.iter().zip(&self.starts) {
                visit(row, &mut data[*start]);
            }
            return;
        }
        for (row, start) in rows.chunks_exact(self.width.max(1)).zip(&self.starts) {
            row.iter().zip(&mut data[*start..][..self.width]).for_each(|(row, data)| visit(row, data));
        }
    }

    /// Writes the derivatives with respect to data and updates that are wanted: of each value, what is known of its place,
    /// and where that is.
    fn write<T: Copy, W: Copy>(
        &self,
        work: &[W],
        [data, updates]: [(&[T], Option<&mut [T]>); 2],
        derivative: impl Fn(T, W, usize) -> T,
    ) {
        if let (values, Some(to)) = data {
            for (at, ((to, value), work)) in to.iter_mut().zip(values).zip(work).enumerate() {
                *to = derivative(*value, *work, at);
            }
        }
        if let (values, Some(to)) = updates {
            let places = self.starts.iter().flat_map(|start| *start..*start + self.width);
            for ((to, value), at) in to.iter_mut().zip(values).zip(places) {
                *to = derivative(*value, work[at], at);
            }
        }
    }

    /// Writes the rows of `data` to `rows`.
    fn gather<T: Scalar>(&self, data: &[T], rows: &mut [T]) {
        if self.width == 1 {
            for (row, start) in rows.iter_mut().zip(&self.starts) {
                *row = data[*start].clone();
            }
            return;
        }
        for (row, start) in rows.chunks_exact_mut(self.width.max(1)).zip(&self.starts) {
            row.clone_from_slice(&data[*start..][..self.width]);
        }
    }
}

/// A kernel that writes the rows of input 0 that input 1 names.
pub fn gather(dtype: DType, places: Places) -> Result<Box<dyn Kernel>, OpError> {
    if matches!(dtype, DType::F32 | DType::F64) {
        return with_float!(dtype, T => Box::new(GatherFloat::<T>(Gather(places, PhantomData))));
    }
    with_any!(dtype, T => Box::new(Gather::<T>(places, PhantomData)))
}

struct Gather<T>(Places, PhantomData<T>);

impl<T: Scalar> Kernel for Gather<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        self.0.resolve(Indices::read(io, 1)?)?;
        self.0.gather(io.input::<T>(0)?, io.output::<T>(0)?);
        Ok(())
    }

    fn owned_bytes(&self) -> usize {
        bytes(&self.0.starts)
    }
}

struct GatherFloat<T>(Gather<T>);

impl<T: Float> Kernel for GatherFloat<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        self.0.forward(io)
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let dy = io.d_output::<T>(0)?;
        let Some(dx) = io.d_input::<T>(0)? else { return Ok(()) };
        dx.fill(T::zero());
        self.0.0.each(dy, dx, |dy, dx| *dx += *dy);
        Ok(())
    }

    fn owned_bytes(&self) -> usize {
        self.0.owned_bytes()
    }
}

/// What becomes of an element and an update of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// The update.
    None,
    /// Their sum.
    Add,
    /// Their product.
    Mul,
    /// The larger one.
    Max,
    /// The smaller one.
    Min,
}

impl Reduction {
    /// As the attribute `reduction` says; versions below 16 have none, those below 18 neither `max` nor `min`.
    pub fn parse(node: &NodeReader<'_>) -> Result<Self, OpError> {
        if node.opset() < 16 {
            return Ok(Reduction::None);
        }
        let fail = |found: &str| OpError::Attribute {
            name: "reduction".into(),
            expected: if node.opset() < 18 { "none, add or mul" } else { "none, add, mul, max or min" }.into(),
            found: found.into(),
        };
        Ok(match node.string("reduction")? {
            None | Some("none") => Reduction::None,
            Some("add") => Reduction::Add,
            Some("mul") => Reduction::Mul,
            Some("max") if node.opset() >= 18 => Reduction::Max,
            Some("min") if node.opset() >= 18 => Reduction::Min,
            Some(found) => return Err(fail(found)),
        })
    }

    /// Whether its derivative depends on the values that are combined.
    fn needs_values(self) -> bool {
        matches!(self, Reduction::Mul | Reduction::Max | Reduction::Min)
    }

    /// What its derivative reads.
    pub fn reads(self) -> Reads {
        match self {
            Reduction::None | Reduction::Add => Reads::NOTHING,
            Reduction::Mul => Reads::of(&[0, 2], &[]),
            Reduction::Max | Reduction::Min => Reads::of(&[0, 2], &[0]),
        }
    }

    /// Its name, unless it is the default.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Reduction::None => None,
            Reduction::Add => Some("add"),
            Reduction::Mul => Some("mul"),
            Reduction::Max => Some("max"),
            Reduction::Min => Some("min"),
        }
    }
}

/// Numbers that updates can be combined with; integers wrap around.
pub trait Combine: Scalar + Copy + PartialOrd {
    /// Their sum.
    fn plus(self, other: Self) -> Self;
    /// Their product.
    fn times(self, other: Self) -> Self;
    /// Whether it is no number.
    fn is_none(self) -> bool;
}

macro_rules! combine {
    ($($float:ty),*; $($integer:ty),*) => {
        $(impl Combine for $float {
            fn plus(self, other: Self) -> Self {
                self + other
            }
            fn times(self, other: Self) -> Self {
                self * other
            }
            fn is_none(self) -> bool {
                self.is_nan()
            }
        })*
        $(impl Combine for $integer {
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            fn times(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
            fn is_none(self) -> bool {
                false
            }
        })*
    };
}

combine!(f32, f64; i8, i16, i32, i64, u8, u16, u32, u64);

/// A kernel that writes input 0, of shape `data`, with the rows that input 1 names updated by input 2.
///
/// Derivatives: what `none` writes twice is the last update, and the derivative that of elements updated at most once, as
/// ONNX demands. That of `add` is one for all. That of `mul` with respect to a factor is the product of all others, zeros
/// among them or not. That of `max` and `min` is shared evenly between all that are equal to the result, the element of
/// input 0 among them; a result that is no number has none. So PyTorch has it (`scatter_reduce` with `include_self`).
pub fn scatter(dtype: DType, data: &[usize], places: Places, reduction: Reduction) -> Result<Box<dyn Kernel>, OpError> {
    let len = count(data);
    match (reduction, dtype) {
        (_, DType::F32 | DType::F64) => {
            let elements = if reduction.needs_values() { len } else { 0 };
            with_float!(dtype, T => Box::new(ScatterFloat::<T> {
                reduce: Reduce(places, reduction, PhantomData),
                work: vec![(T::default(), 0); elements],
            }))
        }
        (Reduction::None, _) => with_any!(dtype, T => Box::new(Replace::<T>(places, PhantomData))),
        _ => with_number!(dtype, T => Box::new(Reduce::<T>(places, reduction, PhantomData))),
    }
}

struct Replace<T>(Places, PhantomData<T>);

impl<T: Scalar> Kernel for Replace<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        self.0.resolve(Indices::read(io, 1)?)?;
        let (data, updates) = (io.input::<T>(0)?, io.input::<T>(2)?);
        let y = io.output::<T>(0)?;
        y.clone_from_slice(data);
        self.0.each(updates, y, |update, y| *y = update.clone());
        Ok(())
    }

    fn owned_bytes(&self) -> usize {
        bytes(&self.0.starts)
    }
}

struct Reduce<T>(Places, Reduction, PhantomData<T>);

impl<T: Combine> Kernel for Reduce<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        self.0.resolve(Indices::read(io, 1)?)?;
        let (data, updates) = (io.input::<T>(0)?, io.input::<T>(2)?);
        let y = io.output::<T>(0)?;
        y.copy_from_slice(data);
        match self.1 {
            Reduction::None => self.0.each(updates, y, |update, y| *y = *update),
            Reduction::Add => self.0.each(updates, y, |update, y| *y = y.plus(*update)),
            Reduction::Mul => self.0.each(updates, y, |update, y| *y = y.times(*update)),
            // What is no number stays so.
            Reduction::Max => self.0.each(updates, y, |update, y| {
                *y = if y.is_none() || *y >= *update { *y } else { *update };
            }),
            Reduction::Min => self.0.each(updates, y, |update, y| {
                *y = if y.is_none() || *y <= *update { *y } else { *update };
            }),
        }
        Ok(())
    }

    fn owned_bytes(&self) -> usize {
        bytes(&self.0.starts)
    }
}

struct ScatterFloat<T> {
    reduce: Reduce<T>,
    /// For each element of the output the product of its factors other than zero and how many are zero, or how many are
    /// equal to it.
    work: Vec<(T, u32)>,
}

impl<T: Float + Combine> ScatterFloat<T> {
    /// Writes the derivatives of a product or an extreme.
    fn shared(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let ScatterFloat { reduce: Reduce(places, reduction, _), work } = self;
        let (data, updates, dy) = (io.input::<T>(0)?, io.input::<T>(2)?, io.d_output::<T>(0)?);
        let (d_data, d_updates) = (io.d_input::<T>(0)?, io.d_input::<T>(2)?);
        if *reduction == Reduction::Mul {
            let combine = |factor: &T, work: &mut (T, u32)| match *factor == T::zero() {
                true => work.1 += 1,
                false => work.0 *= *factor,
            };
            work.fill((T::one(), 0));
            data.iter().zip(work.iter_mut()).for_each(|(factor, work)| combine(factor, work));
            places.each(updates, work, combine);
            places.write(work, [(data, d_data), (updates, d_updates)], |factor, (product, zeros), at| {
                match (zeros, factor == T::zero()) {
                    (0, _) => dy[at] * product / factor,
                    (1, true) => dy[at] * product,
                    _ => T::zero(),
                }
            });
            return Ok(());
        }
        let y = io.output::<T>(0)?;
        for ((work, y), x) in work.iter_mut().zip(y).zip(data) {
            *work = (*y, u32::from(x == y));
        }
        places.each(updates, work, |update, (y, equal)| *equal += u32::from(update == y));
        places.write(work, [(data, d_data), (updates, d_updates)], |x, (y, equal), at| match x == y {
            true => dy[at] / T::of(f64::from(equal)),
            false => T::zero(),
        });
        Ok(())
    }
}

impl<T: Float + Combine> Kernel for ScatterFloat<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        self.reduce.forward(io)
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let Reduce(places, reduction, _) = &self.reduce;
        if reduction.needs_values() {
            return self.shared(io);
        }
        let dy = io.d_output::<T>(0)?;
        if let Some(data) = io.d_input::<T>(0)? {
            data.copy_from_slice(dy);
            if *reduction == Reduction::None {
                for start in &places.starts {
                    data[*start..][..places.width].fill(T::zero());
                }
            }
        }
        if let Some(updates) = io.d_input::<T>(2)? {
            places.gather(dy, updates);
        }
        Ok(())
    }

    fn owned_bytes(&self) -> usize {
        self.reduce.owned_bytes() + bytes(&self.work)
    }
}
