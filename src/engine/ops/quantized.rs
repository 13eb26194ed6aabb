//! Integers that stand for numbers: `x = (q − zero point)·scale`, with one scale for a tensor, for each index along an
//! axis, or for each block of elements along it.

use crate::engine::attributes::NodeReader;
use crate::engine::cell::Scalar;
use crate::engine::error::OpError;
use crate::engine::op::Inputs;
use crate::onnx::AttributeValue;
use crate::tensor::{DType, Dim};

/// An integer type that numbers are quantized to.
pub trait Quantum: Scalar + Copy {
    /// The integer.
    fn integer(self) -> i64;
    /// The nearest integer of this type.
    fn saturated(value: i64) -> Self;
}

macro_rules! quanta {
    ($($rust:ty),*) => {$(
        impl Quantum for $rust {
            fn integer(self) -> i64 {
                i64::from(self)
            }

            fn saturated(value: i64) -> Self {
                value.clamp(i64::from(<$rust>::MIN), i64::from(<$rust>::MAX)) as $rust
            }
        }
    )*};
}

quanta!(u8, i8, u16, i16, i32);

/// Makes a value for an integer type: `with_quantum!(dtype, T => expression)`, an `OpError` for any other type.
macro_rules! with_quantum {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::tensor::DType::U8 => {
                type $T = u8;
                Ok($body)
            }
            $crate::tensor::DType::I8 => {
                type $T = i8;
                Ok($body)
            }
            $crate::tensor::DType::U16 => {
                type $T = u16;
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
            found => Err($crate::engine::OpError::DType { input: 0, expected: "u8, i8, u16, i16 or i32", found }),
        }
    };
}

pub(crate) use with_quantum;

/// The nearest integer, halves to the even one; NaN is 0.
pub fn round(value: f32) -> i64 {
    value.round_ties_even() as i64
}

/// The attributes that QuantizeLinear and DequantizeLinear have in common.
#[derive(Clone, Debug)]
pub struct Scaling {
    axis: i64,
    block: usize,
    /// `output_dtype`, by its number in ONNX.
    pub output: Option<i64>,
}

impl Scaling {
    /// Reads `axis`, `block_size` and `output_dtype`.
    pub fn parse(node: &NodeReader<'_>) -> Result<Self, OpError> {
        let block = node.int("block_size")?.unwrap_or(0);
        let block = usize::try_from(block).map_err(|_| OpError::Attribute {
            name: "block_size".into(),
            expected: "0 or the size of a block".into(),
            found: block.to_string(),
        })?;
        let output = node.int("output_dtype")?.filter(|dtype| *dtype != 0);
        Ok(Scaling { axis: node.int("axis")?.unwrap_or(1), block, output })
    }

    /// The attributes, without defaults.
    pub fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let mut attributes = Vec::new();
        if self.axis != 1 {
            attributes.push(("axis", AttributeValue::Int(self.axis)));
        }
        if self.block != 0 {
            attributes.push(("block_size", AttributeValue::Int(self.block as i64)));
        }
        if let Some(output) = self.output {
            attributes.push(("output_dtype", AttributeValue::Int(output)));
        }
        attributes
    }

    /// Refuses scales (input 1) and zero points (input 2) that do not fit input 0.
    pub fn check(&self, inputs: &Inputs<'_>) -> Result<(), OpError> {
        let (x, scale) = (inputs.required(0)?, inputs.required(1)?);
        if let Some(zero) = inputs.optional(2)
            && zero.shape.accepts(&scale.shape).is_err()
        {
            let expected = format!("the shape of the scales, {}", scale.shape);
            return Err(OpError::Shape { input: 2, expected, found: zero.shape.clone() });
        }
        match (x.sizes(), scale.sizes()) {
            (Some(x), Some(scale)) => self.parts(&x, &scale).map(|_| ()),
            _ => Ok(()),
        }
    }

    /// How scales of shape `scale` lie on elements of shape `x`.
    pub fn parts(&self, x: &[usize], scale: &[usize]) -> Result<Parts, OpError> {
        let wrong = |expected: String| {
            let found = crate::tensor::SymbolicShape::Ranked(scale.iter().map(|size| Dim::Known(*size)).collect());
            OpError::Shape { input: 1, expected, found }
        };
        let whole = Parts { outer: 1, size: 1, inner: x.iter().product(), block: 1, each: false };
        if self.block == 0 && (scale.is_empty() || (scale == [1] && x.len() != 1)) {
            return Ok(whole);
        }
        let rank = x.len() as i64;
        let axis = if self.axis < 0 { self.axis + rank } else { self.axis };
        // A tensor of one dimension has only that axis; the default is beyond it.
        let axis = usize::try_from(axis).ok().filter(|axis| *axis < x.len());
        let Some(axis) = axis else {
            if scale == [1] {
                return Ok(whole);
            }
            return Err(OpError::Attribute {
                name: "axis".into(),
                expected: format!("an axis of {rank} dimensions"),
                found: self.axis.to_string(),
            });
        };
        let outer: usize = x[..axis].iter().product();
        let inner: usize = x[axis + 1..].iter().product();
        if self.block == 0 {
            if scale != [x[axis]] && scale != [1] {
                return Err(wrong(format!("one scale, or {} along axis {axis}", x[axis])));
            }
            return match scale {
                [1] if x[axis] != 1 => Ok(whole),
                _ => Ok(Parts { outer, size: x[axis], inner, block: 1, each: false }),
            };
        }
        let mut expected = x.to_vec();
        expected[axis] = x[axis].div_ceil(self.block);
        match expected == scale {
            true => Ok(Parts { outer, size: x[axis], inner, block: self.block, each: true }),
            false => Err(wrong(format!("{expected:?}, for blocks of {}", self.block))),
        }
    }
}

/// How scales lie on the elements of a tensor.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    outer: usize,
    size: usize,
    inner: usize,
    block: usize,
    /// Each element before and after the axis has its own.
    each: bool,
}

impl Parts {
    /// Calls `run(first element, length, first scale, distance of the scales)`.
    pub fn runs(&self, mut run: impl FnMut(usize, usize, usize, usize)) {
        let blocks = self.size.div_ceil(self.block);
        for outer in 0..self.outer {
            for index in 0..self.size {
                let first = (outer * self.size + index) * self.inner;
                match self.each {
                    true => run(first, self.inner, (outer * blocks + index / self.block) * self.inner, 1),
                    false => run(first, self.inner, index, 0),
                }
            }
        }
    }
}

/// The data type that QuantizeLinear writes.
pub fn written(output: Option<i64>, zero: Option<DType>) -> Result<DType, OpError> {
    let asked = match output {
        None => None,
        Some(2) => Some(DType::U8),
        Some(3) => Some(DType::I8),
        Some(4) => Some(DType::U16),
        Some(5) => Some(DType::I16),
        Some(other) => return Err(OpError::NotCovered { what: format!("`output_dtype` {other}") }),
    };
    match (asked, zero) {
        (Some(asked), Some(zero)) if asked != zero => {
            Err(OpError::DType { input: 2, expected: asked.name(), found: zero })
        }
        (asked, zero) => Ok(zero.or(asked).unwrap_or(DType::U8)),
    }
}
