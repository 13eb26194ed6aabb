//! Indices that are read while running.

use crate::engine::error::OpError;
use crate::engine::kernel::Forward;
use crate::engine::op::{Inputs, ValueType};
use crate::tensor::DType;

/// Integers of either type that indices may have.
#[derive(Clone, Copy, Debug)]
pub enum Indices<'a> {
    /// Of i32.
    I32(&'a [i32]),
    /// Of i64.
    I64(&'a [i64]),
}

impl<'a> Indices<'a> {
    /// Those of input `index`.
    pub fn read(io: &Forward<'a>, index: usize) -> Result<Self, OpError> {
        match io.input::<i64>(index) {
            Ok(indices) => Ok(Indices::I64(indices)),
            Err(_) => io.input::<i32>(index).map(Indices::I32),
        }
    }

    /// Number `at` of them.
    #[inline]
    pub fn get(self, at: usize) -> i64 {
        match self {
            Indices::I32(indices) => i64::from(indices[at]),
            Indices::I64(indices) => indices[at],
        }
    }

    /// Number `at` of them, counted from the front of an axis of `size`; negative ones count from the back.
    #[inline]
    pub fn within(self, input: usize, at: usize, size: usize) -> Result<usize, OpError> {
        let index = self.get(at);
        let place = if index < 0 { index.wrapping_add(size as i64) } else { index };
        if (0..size as i64).contains(&place) { Ok(place as usize) } else { Err(outside(input, index, size)) }
    }
}

#[cold]
fn outside(input: usize, index: i64, size: usize) -> OpError {
    OpError::Value { input, expected: format!("indices from -{size} to below {size}"), found: index.to_string() }
}

/// Input `index`, of a type that indices may have.
pub fn index_input<'a>(inputs: &Inputs<'a>, index: usize) -> Result<&'a ValueType, OpError> {
    inputs.of(index, "i64 or i32", |dtype| matches!(dtype, DType::I64 | DType::I32))
}
