//! The two types that gradients flow through.

use std::iter::Sum;
use std::ops::{AddAssign, DivAssign, MulAssign, SubAssign};

use crate::engine::cell::Scalar;

/// f32 or f64.
pub trait Float:
    Scalar
    + Copy
    + super::math::Elementary
    + num_traits::Float
    + AddAssign
    + SubAssign
    + MulAssign
    + DivAssign
    + Sum
    + std::fmt::Display
{
    /// The nearest number of this type.
    fn of(value: f64) -> Self;
    /// The same number as f64.
    fn wide(self) -> f64;
    /// `to = alpha·to + a·b`, see [`matrix::multiply`](super::matrix::multiply).
    #[allow(clippy::too_many_arguments, reason = "the shape of a matrix product")]
    fn gemm(
        m: usize,
        n: usize,
        k: usize,
        to: super::matrix::ViewMut<'_, Self>,
        a: super::matrix::View<'_, Self>,
        b: super::matrix::View<'_, Self>,
        add: bool,
        threads: usize,
    );
}

macro_rules! floats {
    ($($rust:ty),*) => {$(
        impl Float for $rust {
            #[inline]
            fn of(value: f64) -> Self {
                value as $rust
            }

            #[inline]
            fn wide(self) -> f64 {
                f64::from(self)
            }

            #[inline]
            fn gemm(
                m: usize,
                n: usize,
                k: usize,
                to: super::matrix::ViewMut<'_, Self>,
                a: super::matrix::View<'_, Self>,
                b: super::matrix::View<'_, Self>,
                add: bool,
                threads: usize,
            ) {
                super::matrix::product(m, n, k, to, a, b, add, threads);
            }
        }
    )*};
}

floats!(f32, f64);

/// Makes a value for the floating-point type of a signature: `with_float!(dtype, T => expression)`, an `OpError` for any
/// other type.
macro_rules! with_float {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::tensor::DType::F32 => {
                type $T = f32;
                Ok($body)
            }
            $crate::tensor::DType::F64 => {
                type $T = f64;
                Ok($body)
            }
            found => Err($crate::engine::OpError::DType { input: 0, expected: "f32 or f64", found }),
        }
    };
}

/// The same for every number type: `with_number!(dtype, T => expression)`.
macro_rules! with_number {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::tensor::DType::F32 => {
                type $T = f32;
                Ok($body)
            }
            $crate::tensor::DType::F64 => {
                type $T = f64;
                Ok($body)
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
            found => Err($crate::engine::OpError::DType { input: 0, expected: "a number", found }),
        }
    };
}

/// The same for every element type, bool and string too: `with_any!(dtype, T => expression)`.
macro_rules! with_any {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::tensor::DType::Bool => {
                type $T = bool;
                Ok($body)
            }
            $crate::tensor::DType::String => {
                type $T = String;
                Ok($body)
            }
            $crate::tensor::DType::F16 => {
                type $T = $crate::tensor::f16;
                Ok($body)
            }
            $crate::tensor::DType::BF16 => {
                type $T = $crate::tensor::bf16;
                Ok($body)
            }
            number => $crate::engine::kernels::float::with_number!(number, $T => $body),
        }
    };
}

pub(crate) use {with_any, with_float, with_number};
