//! Operators of two numbers with broadcasting: `y[i] = f(a[i], b[i])`.

use std::fmt::Debug;
use std::marker::PhantomData;

use super::broadcast::{self, Walk};
use super::unary::pieces;
use crate::engine::cell::Scalar;
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Env, Forward, Kernel};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::with_float;
use crate::engine::kernels::math::vectorised;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::tensor::DType;

/// A function of two numbers. Implementing it makes an operator by way of [`Broadcast`].
///
/// Mark the functions `#[inline(always)]`, so that their loops become vector code.
pub trait Binary: Clone + Debug + Send + Sync + 'static {
    /// What the derivatives read.
    const READS: Reads;

    /// `f(a, b)` for integers; wraps around.
    fn integer<T: Integer>(a: T, b: T) -> T;

    /// `f(a, b)`.
    fn value<T: Float>(a: T, b: T) -> T;

    /// `(∂f/∂a, ∂f/∂b)` at `a`, `b`, where `y = f(a, b)`. What [`READS`](Binary::READS) leaves out is zero here.
    fn derivatives<T: Float>(a: T, b: T, y: T) -> (T, T);
}

/// What integer arithmetic needs: it wraps around, and dividing by zero gives zero.
#[allow(missing_docs, reason = "the names say it")]
pub trait Integer: Scalar + Copy + Ord {
    fn one() -> Self;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    /// What remains, with the sign of `self`.
    fn rem(self, other: Self) -> Self;
    /// What remains, with the sign of `other`.
    fn modulo(self, other: Self) -> Self;
    /// A negative exponent gives the quotient towards zero.
    fn pow(self, exponent: i64) -> Self;
    fn and(self, other: Self) -> Self;
    fn or(self, other: Self) -> Self;
    fn xor(self, other: Self) -> Self;
    fn not(self) -> Self;
    /// The nearest number of f64.
    fn wide(self) -> f64;
    /// Towards zero; the nearest end of the range beyond it.
    fn narrow(value: f64) -> Self;
}

macro_rules! integers {
    ($($rust:ty),*) => {$(
        impl Integer for $rust {
            #[inline]
            fn one() -> Self {
                1
            }
            #[inline]
            fn add(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            #[inline]
            fn sub(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }
            #[inline]
            fn mul(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
            #[inline]
            fn div(self, other: Self) -> Self {
                if other == 0 { 0 } else { self.wrapping_div(other) }
            }
            #[inline]
            fn rem(self, other: Self) -> Self {
                if other == 0 { 0 } else { self.wrapping_rem(other) }
            }
            #[inline]
            #[allow(unused_comparisons, reason = "for integers without a sign")]
            fn modulo(self, other: Self) -> Self {
                let rest = Integer::rem(self, other);
                if rest != 0 && (rest < 0) != (other < 0) { rest.wrapping_add(other) } else { rest }
            }
            fn pow(self, exponent: i64) -> Self {
                let Ok(mut left) = u64::try_from(exponent) else {
                    return Integer::div(1, Integer::pow(self, exponent.checked_neg().unwrap_or(i64::MAX)));
                };
                let (mut power, mut square) = (1 as $rust, self);
                while left > 0 {
                    if left & 1 == 1 {
                        power = power.wrapping_mul(square);
                    }
                    square = square.wrapping_mul(square);
                    left >>= 1;
                }
                power
            }
            #[inline]
            fn and(self, other: Self) -> Self {
                self & other
            }
            #[inline]
            fn or(self, other: Self) -> Self {
                self | other
            }
            #[inline]
            fn xor(self, other: Self) -> Self {
                self ^ other
            }
            #[inline]
            fn not(self) -> Self {
                !self
            }
            #[inline]
            fn wide(self) -> f64 {
                self as f64
            }
            #[inline]
            fn narrow(value: f64) -> Self {
                value as $rust
            }
        }
    )*};
}

integers!(i8, i16, i32, i64, u8, u16, u32, u64);

/// Makes a value for the integer type of a signature: `with_integer!(dtype, T => expression)`, an `OpError` for any other
/// type.
macro_rules! with_integer {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::tensor::DType::F32 | $crate::tensor::DType::F64 => {
                Err($crate::engine::OpError::DType { input: 0, expected: "an integer", found: $dtype })
            }
            $crate::tensor::DType::I8 => {
                type $T = i8;
                Ok($body)
            }
            $crate::tensor::DType::I16 => {
                type $T = i16;
                Ok($body)
            }
            $crate::tensor::DType::I32 => {
                type $T = i32;
                Ok($body)
            }
            $crate::tensor::DType::I64 => {
                type $T = i64;
                Ok($body)
            }
            $crate::tensor::DType::U8 => {
                type $T = u8;
                Ok($body)
            }
            $crate::tensor::DType::U16 => {
                type $T = u16;
                Ok($body)
            }
            $crate::tensor::DType::U32 => {
                type $T = u32;
                Ok($body)
            }
            $crate::tensor::DType::U64 => {
                type $T = u64;
                Ok($body)
            }
            found => Err($crate::engine::OpError::DType { input: 0, expected: "an integer", found }),
        }
    };
}

pub(crate) use with_integer;

/// Input `index`, of f32, f64 or an integer type.
pub fn number<'a>(inputs: &Inputs<'a>, index: usize) -> Result<&'a ValueType, OpError> {
    inputs.of(index, "f32, f64 or an integer", |dtype| {
        !matches!(dtype, DType::Bool | DType::String | DType::F16 | DType::BF16)
    })
}

/// The operator that applies a [`Binary`] function with broadcasting.
#[derive(Clone, Debug)]
pub struct Broadcast<F>(pub PhantomData<F>);

impl<F> Broadcast<F> {
    /// The operator.
    #[allow(clippy::new_without_default, reason = "made by the table of operators alone")]
    pub fn new() -> Self {
        Broadcast(PhantomData)
    }
}

impl<F: Binary> Op for Broadcast<F> {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(2..=2, 1..=1)?;
        let (a, b) = (number(inputs, 0)?, inputs.required(1)?);
        inputs.same_dtype(1, a.dtype)?;
        Ok(vec![ValueType::new(a.dtype, broadcast::shapes(&a.shape, &b.shape)?)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (a, b, y) = (signature.input(0)?, signature.input(1)?, signature.output(0)?);
        let walk = Walk::new(&y.shape, [&a.shape, &b.shape]);
        let whole = [a.len() == y.len(), b.len() == y.len()];
        if matches!(a.dtype, DType::F32 | DType::F64) {
            return with_float!(a.dtype, T => Box::new(FloatKernel::<F, T> { walk, whole, of: PhantomData }));
        }
        with_integer!(a.dtype, T => Box::new(IntegerKernel::<F, T>(walk, PhantomData)))
    }

    fn is_differentiable(&self, _: usize) -> bool {
        true
    }

    fn is_elementwise(&self) -> bool {
        true
    }

    fn reads(&self) -> Reads {
        F::READS
    }
}

struct FloatKernel<F, T> {
    walk: Walk<2>,
    /// Whether each operand is as large as the result, so that no element of it is repeated.
    whole: [bool; 2],
    of: PhantomData<(F, T)>,
}

impl<F: Binary, T: Float> Kernel for FloatKernel<F, T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        forward::<T, T>(
            &self.walk,
            io,
            #[inline(always)]
            |a, b| F::value(*a, *b),
        )
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let dy = io.d_output::<T>(0)?;
        let (a, b) = (io.optional_input::<T>(0)?, io.optional_input::<T>(1)?);
        let of =
            Operands { dy, a: a.unwrap_or(&[]), b: b.unwrap_or(&[]), y: io.optional_output::<T>(0)?.unwrap_or(&[]) };
        if let Some(da) = io.d_input::<T>(0)? {
            self.gradient(&io.env, da, 0, &of, |a, b, y| F::derivatives(a, b, y).0);
        }
        if let Some(db) = io.d_input::<T>(1)? {
            self.gradient(&io.env, db, 1, &of, |a, b, y| F::derivatives(a, b, y).1);
        }
        Ok(())
    }
}

/// What the backward pass reads; empty where it does not.
struct Operands<'a, T> {
    dy: &'a [T],
    a: &'a [T],
    b: &'a [T],
    y: &'a [T],
}

impl<F: Binary, T: Float> FloatKernel<F, T> {
    /// Writes the gradient with respect to operand `side`, whose derivative is `by`.
    fn gradient(
        &self,
        env: &Env<'_>,
        d: &mut [T],
        side: usize,
        of: &Operands<'_, T>,
        by: impl Fn(T, T, T) -> T + Sync,
    ) {
        if let (Some(strides), true) = (self.walk.single(), self.whole[side]) {
            pieces(env.pool, d, 500, |at, d| {
                product::<F, T>(d, of, at, [at * strides[0], at * strides[1]], strides, &by);
            });
            return;
        }
        if self.whole[side] {
            // Walked in the order of the result, an operand that repeats nothing is walked in its own order.
            self.walk.runs(|result, starts, length, strides| {
                product::<F, T>(&mut d[result..result + length], of, result, starts, strides, &by);
            });
            return;
        }
        d.fill(T::zero());
        let mut tile = [T::zero(); TILE];
        self.walk.runs(|result, starts, length, strides| {
            for first in (0..length).step_by(TILE) {
                let tile = &mut tile[..TILE.min(length - first)];
                let starts = [starts[0] + first * strides[0], starts[1] + first * strides[1]];
                product::<F, T>(tile, of, result + first, starts, strides, &by);
                let at = starts[side];
                match strides[side] {
                    0 => d[at] += sum(tile),
                    1 => add(&mut d[at..at + tile.len()], tile),
                    stride => tile.iter().enumerate().for_each(|(i, tile)| d[at + i * stride] += *tile),
                }
            }
        });
    }
}

/// Products that are computed before they are summed.
const TILE: usize = 256;

/// `to[i] = dy[i]·by(a, b, y)` for a run of the result that begins at `result`.
fn product<F: Binary, T: Float>(
    to: &mut [T],
    of: &Operands<'_, T>,
    result: usize,
    [at_a, at_b]: [usize; 2],
    strides: [usize; 2],
    by: &impl Fn(T, T, T) -> T,
) {
    let length = to.len();
    let dy = &of.dy[result..result + length];
    // What READS leaves out is never looked at: its slice is empty.
    let (reads_a, reads_b) = (F::READS.input(0), F::READS.input(1));
    let y = if F::READS.output(0) { &of.y[result..result + length] } else { dy };
    let y_of = |y: T| if F::READS.output(0) { y } else { T::zero() };
    let one = |values: &[T], at: usize, read: bool| if read { values[at] } else { T::zero() };
    vectorised(
        #[inline(always)]
        || match strides {
            [1, 1] => {
                let a = if reads_a { &of.a[at_a..at_a + length] } else { dy };
                let b = if reads_b { &of.b[at_b..at_b + length] } else { dy };
                for ((((to, dy), a), b), y) in to.iter_mut().zip(dy).zip(a).zip(b).zip(y) {
                    let a = if reads_a { *a } else { T::zero() };
                    let b = if reads_b { *b } else { T::zero() };
                    *to = *dy * by(a, b, y_of(*y));
                }
            }
            [1, 0] => {
                let b = one(of.b, at_b, reads_b);
                let a = if reads_a { &of.a[at_a..at_a + length] } else { dy };
                for (((to, dy), a), y) in to.iter_mut().zip(dy).zip(a).zip(y) {
                    *to = *dy * by(if reads_a { *a } else { T::zero() }, b, y_of(*y));
                }
            }
            [0, 1] => {
                let a = one(of.a, at_a, reads_a);
                let b = if reads_b { &of.b[at_b..at_b + length] } else { dy };
                for (((to, dy), b), y) in to.iter_mut().zip(dy).zip(b).zip(y) {
                    *to = *dy * by(a, if reads_b { *b } else { T::zero() }, y_of(*y));
                }
            }
            [step_a, step_b] => {
                for (i, ((to, dy), y)) in to.iter_mut().zip(dy).zip(y).enumerate() {
                    let (a, b) = (one(of.a, at_a + i * step_a, reads_a), one(of.b, at_b + i * step_b, reads_b));
                    *to = *dy * by(a, b, y_of(*y));
                }
            }
        },
    );
}

/// `to += from`.
pub fn add<T: Float>(to: &mut [T], from: &[T]) {
    vectorised(
        #[inline(always)]
        || to.iter_mut().zip(from).for_each(|(to, from)| *to += *from),
    );
}

/// The sum, in eight interleaved parts.
pub fn sum<T: Float>(values: &[T]) -> T {
    vectorised(
        #[inline(always)]
        || {
            let mut lanes = [T::zero(); 8];
            let (eights, rest) = values.as_chunks::<8>();
            for eight in eights {
                for (lane, value) in lanes.iter_mut().zip(eight) {
                    *lane += *value;
                }
            }
            let [a, b, c, d, e, f, g, h] = lanes;
            rest.iter().fold(((a + e) + (b + f)) + ((c + g) + (d + h)), |sum, value| sum + *value)
        },
    )
}

struct IntegerKernel<F, T>(Walk<2>, PhantomData<(F, T)>);

impl<F: Binary, T: Integer> Kernel for IntegerKernel<F, T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        forward::<T, T>(&self.0, io, |a, b| F::integer(*a, *b))
    }
}

/// `y = f(a, b)` along `walk`.
pub fn forward<T: Scalar, R: Scalar>(
    walk: &Walk<2>,
    io: &mut Forward<'_>,
    f: impl Fn(&T, &T) -> R + Sync,
) -> Result<(), OpError> {
    let (a, b) = (io.input::<T>(0)?, io.input::<T>(1)?);
    let y = io.output::<R>(0)?;
    if let Some(strides) = walk.single() {
        pieces(io.env.pool, y, 500, |at, y| run(y, a, b, [at * strides[0], at * strides[1]], strides, &f));
        return Ok(());
    }
    walk.runs(|result, starts, length, strides| run(&mut y[result..result + length], a, b, starts, strides, &f));
    Ok(())
}

#[inline(always)]
fn run<T, R>(y: &mut [R], a: &[T], b: &[T], [at_a, at_b]: [usize; 2], strides: [usize; 2], f: &impl Fn(&T, &T) -> R) {
    let length = y.len();
    vectorised(
        #[inline(always)]
        || match strides {
            [1, 1] => {
                let (a, b) = (&a[at_a..at_a + length], &b[at_b..at_b + length]);
                y.iter_mut().zip(a).zip(b).for_each(|((y, a), b)| *y = f(a, b));
            }
            [1, 0] => {
                let b = &b[at_b];
                y.iter_mut().zip(&a[at_a..at_a + length]).for_each(|(y, a)| *y = f(a, b));
            }
            [0, 1] => {
                let a = &a[at_a];
                y.iter_mut().zip(&b[at_b..at_b + length]).for_each(|(y, b)| *y = f(a, b));
            }
            [step_a, step_b] => {
                for (i, y) in y.iter_mut().enumerate() {
                    *y = f(&a[at_a + i * step_a], &b[at_b + i * step_b]);
                }
            }
        },
    );
}
