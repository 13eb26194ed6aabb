//! What products of 8-bit integers have in common: operands less their zero points, and results scaled to 8 bits.
//!
//! The sums are formed in f64, which holds them exactly: a product is below 2¹⁷, so 2³⁶ of them may be added.

use super::broadcast::{self, Walk};
use super::quantized::Quantum;
use crate::engine::error::OpError;
use crate::engine::kernel::Forward;
use crate::engine::op::{Inputs, Signature};
use crate::tensor::{DType, SymbolicShape};

/// Refuses an input that is neither u8 nor i8.
pub fn byte(inputs: &Inputs<'_>, index: usize) -> Result<DType, OpError> {
    Ok(inputs.of(index, "u8 or i8", |dtype| matches!(dtype, DType::U8 | DType::I8))?.dtype)
}

/// How parameter `index` (a scale or zero point) lies on an operand of shape `on`: one for all, one for each index along
/// the axis that is `from_end` dimensions from the end, or any shape that is broadcast to it.
pub fn walk(signature: &Signature, index: usize, on: &[usize], from_end: usize) -> Result<Walk<1>, OpError> {
    let Some(parameter) = signature.optional_input(index) else { return Ok(Walk::new(on, [&[]])) };
    let shape = match parameter.shape.as_slice() {
        [1] => Vec::new(),
        &[size] if on.len() >= from_end => {
            let mut shape = vec![1; from_end];
            shape[0] = size;
            shape
        }
        shape => shape.to_vec(),
    };
    let whole = SymbolicShape::known(on);
    match broadcast::shapes(&whole, &SymbolicShape::known(&shape)) {
        Ok(together) if together == whole => Ok(Walk::new(on, [&shape])),
        _ => Err(OpError::Shape {
            input: index,
            expected: format!("one value, or a shape that can be repeated to {whole}"),
            found: SymbolicShape::known(&parameter.shape),
        }),
    }
}

/// Refuses a parameter of more than one element.
pub fn single(signature: &Signature, index: usize) -> Result<(), OpError> {
    match signature.optional_input(index) {
        Some(parameter) if parameter.len() != 1 => Err(OpError::Shape {
            input: index,
            expected: "one value".into(),
            found: SymbolicShape::known(&parameter.shape),
        }),
        _ => Ok(()),
    }
}

/// An operand of a product of integers.
pub struct Operand {
    input: usize,
    zero: usize,
    dtype: DType,
    walk: Walk<1>,
    /// Its elements less their zero points, after [`read`](Operand::read).
    pub values: Vec<f64>,
}

impl Operand {
    /// Input `input` with its zero point at input `zero`, one for all or for each index along an axis.
    pub fn new(signature: &Signature, input: usize, zero: usize, from_end: usize) -> Result<Self, OpError> {
        let x = signature.input(input)?;
        let walk = walk(signature, zero, &x.shape, from_end)?;
        Ok(Operand { input, zero, dtype: x.dtype, walk, values: vec![0.0; x.len()] })
    }

    /// Reads it.
    pub fn read(&mut self, io: &Forward<'_>) -> Result<(), OpError> {
        match self.dtype {
            DType::I8 => self.read_as::<i8>(io),
            _ => self.read_as::<u8>(io),
        }
    }

    fn read_as<T: Quantum>(&mut self, io: &Forward<'_>) -> Result<(), OpError> {
        let (x, zero) = (io.input::<T>(self.input)?, io.optional_input::<T>(self.zero)?);
        let values = &mut self.values;
        self.walk.runs(|first, [at], len, [step]| {
            for (i, (to, x)) in values[first..first + len].iter_mut().zip(&x[first..first + len]).enumerate() {
                let zero = zero.map_or(0, |zero| zero[at + i * step].integer());
                *to = (x.integer() - zero) as f64;
            }
        });
        Ok(())
    }
}

/// Writes sums as i32, wrapping around.
pub fn write_integers(sums: &[f64], y: &mut [i32]) {
    for (y, sum) in y.iter_mut().zip(sums) {
        *y = *sum as i64 as i32;
    }
}

/// `y = saturate(round(sum · a scale · b scale / y scale + y zero point))`, the scales of `a` and `b` as they lie on `y`.
pub struct Requantize {
    /// The inputs that hold the scales of `a` and `b`, and the scale and zero point of `y`.
    inputs: [usize; 4],
    dtype: DType,
    walks: [Walk<1>; 2],
    multipliers: Vec<f64>,
}

impl Requantize {
    /// For output 0; `on` says how far from the end of its shape the axes of the scales of `a` and `b` are.
    pub fn new(signature: &Signature, inputs: [usize; 4], on: [usize; 2]) -> Result<Self, OpError> {
        let y = signature.output(0)?;
        single(signature, inputs[2])?;
        single(signature, inputs[3])?;
        let walks = [walk(signature, inputs[0], &y.shape, on[0])?, walk(signature, inputs[1], &y.shape, on[1])?];
        Ok(Requantize { inputs, dtype: y.dtype, walks, multipliers: vec![0.0; y.len()] })
    }

    /// Writes output 0.
    pub fn write(&mut self, io: &mut Forward<'_>, sums: &[f64]) -> Result<(), OpError> {
        let [a, b, scale, _] = self.inputs;
        let scale = f64::from(io.input::<f32>(scale)?.first().copied().unwrap_or(1.0));
        let multipliers = &mut self.multipliers;
        multipliers.fill(1.0 / scale);
        for (walk, input) in self.walks.iter().zip([a, b]) {
            let scales = io.input::<f32>(input)?;
            walk.runs(|first, [at], len, [step]| {
                for (i, to) in multipliers[first..first + len].iter_mut().enumerate() {
                    *to *= f64::from(scales[at + i * step]);
                }
            });
        }
        match self.dtype {
            DType::I8 => self.write_as::<i8>(io, sums),
            _ => self.write_as::<u8>(io, sums),
        }
    }

    fn write_as<T: Quantum>(&self, io: &mut Forward<'_>, sums: &[f64]) -> Result<(), OpError> {
        let zero = io.input::<T>(self.inputs[3])?.first().map_or(0, |zero| zero.integer());
        for ((y, sum), multiplier) in io.output::<T>(0)?.iter_mut().zip(sums).zip(&self.multipliers) {
            *y = T::saturated(((sum * multiplier).round_ties_even() as i64).saturating_add(zero));
        }
        Ok(())
    }
}
