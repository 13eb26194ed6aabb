//! CumSum: `y[i] = Σ x[j]` over the `j <= i` along an axis; `j < i` with `exclusive`, from the end with `reverse`.
//!
//! `dx` is the same sum of `dy` in the other direction. Integers wrap around.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__CumSum.html>.

use std::marker::PhantomData;

use super::axis::{self, Lanes};
use super::binary::Integer;
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::cell::Scalar;
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::with_float;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::DType;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "CumSum", since: 11, parse };

#[derive(Clone, Debug)]
struct CumSum {
    exclusive: bool,
    reverse: bool,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(CumSum { exclusive: node.flag("exclusive", false)?, reverse: node.flag("reverse", false)? }))
}

/// The dimension that the input `axis` names.
fn resolve(axis: i64, rank: usize) -> Result<usize, OpError> {
    axis::resolve("axis", axis, rank).map_err(|error| match error {
        OpError::Attribute { expected, found, .. } => OpError::Value { input: 1, expected, found },
        other => other,
    })
}

impl Op for CumSum {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let flags = [("exclusive", self.exclusive), ("reverse", self.reverse)].into_iter();
        flags.filter(|(_, value)| *value).map(|(name, _)| (name, AttributeValue::Int(1))).collect()
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(2..=2, 1..=1)?;
        let x = inputs.of(0, "f32, f64 or an integer", |dtype| {
            !matches!(dtype, DType::Bool | DType::String | DType::F16 | DType::BF16)
        })?;
        let axis = inputs.required(1)?;
        if axis.sizes().is_some_and(|sizes| sizes.iter().any(|size| *size != 1)) {
            return Err(OpError::Shape { input: 1, expected: "a scalar".into(), found: axis.shape.clone() });
        }
        if let (Some(axis), Some(dims)) = (inputs.integers(1)?.and_then(|axis| axis.first().copied()), x.dims()) {
            resolve(axis, dims.len())?;
        }
        Ok(vec![ValueType::new(x.dtype, x.shape.clone())])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (x, axis) = (signature.input(0)?, signature.input(1)?);
        let scan = Scan { op: self.clone(), shape: x.shape.clone(), axis: axis.dtype };
        macro_rules! integer {
            ($($variant:ident($rust:ty)),*) => {
                match x.dtype {
                    DType::F32 | DType::F64 => {
                        with_float!(x.dtype, T => Box::new(FloatKernel::<T>(scan, PhantomData)) as Box<dyn Kernel>)
                    }
                    $(DType::$variant => Ok(Box::new(IntegerKernel::<$rust>(scan, PhantomData)) as Box<dyn Kernel>),)*
                    found => Err(OpError::DType { input: 0, expected: "a number", found }),
                }
            };
        }
        integer!(I8(i8), I16(i16), I32(i32), I64(i64), U8(u8), U16(u16), U32(u32), U64(u64))
    }

    fn is_differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self) -> Reads {
        Reads::of(&[1], &[])
    }
}

struct Scan {
    op: CumSum,
    shape: Vec<usize>,
    /// The type of the axis.
    axis: DType,
}

impl Scan {
    fn lanes(&self, wide: Option<&[i64]>, narrow: Option<&[i32]>) -> Result<Lanes, OpError> {
        let axis = wide.and_then(|axis| axis.first().copied());
        let axis = axis.or_else(|| narrow.and_then(|axis| axis.first().map(|axis| i64::from(*axis))));
        let axis = axis.ok_or_else(|| OpError::Plan { what: "the axis is not there".into() })?;
        Ok(Lanes::along(&self.shape, resolve(axis, self.shape.len())?))
    }

    /// Sums along the lanes; `reverse` from the end.
    fn run<T: Copy>(&self, lanes: Lanes, reverse: bool, zero: T, from: &[T], to: &mut [T], add: impl Fn(T, T) -> T) {
        let Lanes { len, inner, .. } = lanes;
        if lanes.elements() == 0 {
            return;
        }
        if inner == 1 {
            for (from, to) in from.chunks_exact(len).zip(to.chunks_exact_mut(len)) {
                let mut total = zero;
                let mut step = |(to, from): (&mut T, &T)| {
                    let before = total;
                    total = add(total, *from);
                    *to = if self.op.exclusive { before } else { total };
                };
                match reverse {
                    true => to.iter_mut().zip(from).rev().for_each(&mut step),
                    false => to.iter_mut().zip(from).for_each(&mut step),
                }
            }
            return;
        }
        for (from, to) in from.chunks_exact(len * inner).zip(to.chunks_exact_mut(len * inner)) {
            let at = |step: usize| if reverse { len - 1 - step } else { step } * inner;
            match self.op.exclusive {
                true => to[at(0)..at(0) + inner].fill(zero),
                false => to[at(0)..at(0) + inner].copy_from_slice(&from[at(0)..at(0) + inner]),
            }
            for step in 1..len {
                let (before, here) = (at(step - 1), at(step));
                let added = if self.op.exclusive { before } else { here };
                for i in 0..inner {
                    to[here + i] = add(to[before + i], from[added + i]);
                }
            }
        }
    }

    fn forward<T: Scalar + Copy>(&self, io: &mut Forward<'_>, zero: T, add: impl Fn(T, T) -> T) -> Result<(), OpError> {
        let lanes = match self.axis {
            DType::I32 => self.lanes(None, Some(io.input::<i32>(1)?))?,
            _ => self.lanes(Some(io.input::<i64>(1)?), None)?,
        };
        let (x, y) = (io.input::<T>(0)?, io.output::<T>(0)?);
        self.run(lanes, self.op.reverse, zero, x, y, add);
        Ok(())
    }
}

struct FloatKernel<T>(Scan, PhantomData<T>);

impl<T: Float> Kernel for FloatKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        self.0.forward(io, T::zero(), |a, b| a + b)
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let scan = &self.0;
        let lanes = match scan.axis {
            DType::I32 => scan.lanes(None, Some(io.input::<i32>(1)?))?,
            _ => scan.lanes(Some(io.input::<i64>(1)?), None)?,
        };
        let dy = io.d_output::<T>(0)?;
        let Some(dx) = io.d_input::<T>(0)? else { return Ok(()) };
        scan.run(lanes, !scan.op.reverse, T::zero(), dy, dx, |a, b| a + b);
        Ok(())
    }
}

struct IntegerKernel<T>(Scan, PhantomData<T>);

impl<T: Integer> Kernel for IntegerKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        self.0.forward(io, T::default(), T::add)
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        let x = || Case::new().input(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let axis = |case: Case, axis: i64| case.tensor(Tensor::scalar(axis));
        let random = |shape: &[usize], at: i64| axis(Case::new().random_input(shape), at);
        check(
            "CumSum",
            &[
                axis(x(), 1).output(&[2, 3], &[1.0, 3.0, 6.0, 4.0, 9.0, 15.0]),
                axis(x(), -2).output(&[2, 3], &[1.0, 2.0, 3.0, 5.0, 7.0, 9.0]),
                axis(x(), 1).int("exclusive", 1).output(&[2, 3], &[0.0, 1.0, 3.0, 0.0, 4.0, 9.0]),
                axis(x(), 1).int("reverse", 1).output(&[2, 3], &[6.0, 5.0, 3.0, 15.0, 11.0, 6.0]),
                axis(x(), 1).int("reverse", 1).int("exclusive", 1).output(&[2, 3], &[5.0, 3.0, 0.0, 11.0, 6.0, 0.0]),
                x().initializer(Tensor::from_vec(vec![1i32])).output(&[2, 3], &[1.0, 3.0, 6.0, 4.0, 9.0, 15.0]),
                axis(Case::new().tensor(Tensor::from_vec(vec![200u8, 100])), 0)
                    .output_tensor(Tensor::from_vec(vec![200u8, 44])),
                random(&[2, 3, 4], 1).int("exclusive", 1),
                random(&[2, 3, 4], -1).int("reverse", 1),
                random(&[5], 0).int("exclusive", 1).int("reverse", 1),
                random(&[0, 3], 1),
                random(&[3, 0], 1),
                axis(x(), 2).error("input 1: expected -2 to 1, found 2"),
                x().initializer(Tensor::scalar(-3i64)).error("input 1: expected -2 to 1, found -3"),
                x().ints(&[2], &[0, 1]).error("expected a scalar"),
                x().random_input(&[]).error("expected i64 or i32"),
                axis(Case::new().tensor(Tensor::from_vec(vec![true])), 0).error("f32, f64 or an integer"),
                axis(x(), 0).opset(10).error("not covered"),
                x().error("expected 2 inputs, found 1"),
            ],
        );
    }
}
