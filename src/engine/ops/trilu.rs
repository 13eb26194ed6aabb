//! Trilu: the upper (or lower) triangle of each matrix, zeros elsewhere. The gradient passes where the elements do.
//!
//! The triangle begins (ends) at diagonal `k`, 0 unless given: what stays is `column − row ≥ k` (`≤ k`).
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Trilu.html>.

use std::marker::PhantomData;
use std::ops::Range;

use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::cell::Scalar;
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::{with_any, with_float};
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::DType;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Trilu", since: 14, parse };

#[derive(Clone, Debug)]
struct Trilu {
    upper: bool,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Trilu { upper: node.flag("upper", true)? }))
}

impl Op for Trilu {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        if self.upper { Vec::new() } else { vec![("upper", AttributeValue::Int(0))] }
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(1..=2, 1..=1)?;
        inputs.dims(0, 2..=usize::MAX)?;
        inputs.same_dtype(1, DType::I64)?;
        if let Some(k) = inputs.optional(1)
            && k.sizes().is_some_and(|sizes| !sizes.is_empty() && sizes != [1])
        {
            return Err(OpError::Shape { input: 1, expected: "one number".into(), found: k.shape.clone() });
        }
        let x = inputs.required(0)?;
        Ok(vec![ValueType::new(x.dtype, x.shape.clone())])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let x = signature.input(0)?;
        let &[.., rows, columns] = x.shape.as_slice() else {
            return Err(OpError::Plan { what: "an input of rank below 2".into() });
        };
        let triangle = Triangle { upper: self.upper, rows, columns, k: 0 };
        if matches!(x.dtype, DType::F32 | DType::F64) {
            return with_float!(x.dtype, T => Box::new(FloatKernel::<T>(AnyKernel(triangle, PhantomData))));
        }
        with_any!(x.dtype, T => Box::new(AnyKernel::<T>(triangle, PhantomData)))
    }

    fn is_differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }
}

struct Triangle {
    upper: bool,
    rows: usize,
    columns: usize,
    /// As of the last forward pass.
    k: i64,
}

impl Triangle {
    /// The columns of `row` that stay.
    fn kept(&self, row: usize) -> Range<usize> {
        let clamp = |column: i64| column.clamp(0, self.columns as i64) as usize;
        let diagonal = (row as i64).saturating_add(self.k);
        match self.upper {
            true => clamp(diagonal)..self.columns,
            false => 0..clamp(diagonal.saturating_add(1)),
        }
    }

    fn copy<T: Scalar>(&self, x: &[T], y: &mut [T]) {
        if y.is_empty() {
            return;
        }
        for (number, (x, y)) in x.chunks_exact(self.columns).zip(y.chunks_exact_mut(self.columns)).enumerate() {
            let kept = self.kept(number % self.rows);
            y[..kept.start].fill(T::default());
            y[kept.end..].fill(T::default());
            y[kept.clone()].clone_from_slice(&x[kept]);
        }
    }
}

struct AnyKernel<T>(Triangle, PhantomData<T>);

impl<T: Scalar> Kernel for AnyKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        self.0.k = io.optional_input::<i64>(1)?.and_then(<[i64]>::first).copied().unwrap_or(0);
        self.0.copy(io.input::<T>(0)?, io.output::<T>(0)?);
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
            self.0.0.copy(dy, dx);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        let x = || Case::new().input(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        check(
            "Trilu",
            &[
                x().output(&[2, 3], &[1.0, 2.0, 3.0, 0.0, 5.0, 6.0]),
                x().ints(&[], &[1]).output(&[2, 3], &[0.0, 2.0, 3.0, 0.0, 0.0, 6.0]),
                x().ints(&[1], &[-1]).output(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
                x().int("upper", 0).output(&[2, 3], &[1.0, 0.0, 0.0, 4.0, 5.0, 0.0]),
                x().int("upper", 0).ints(&[], &[1]).output(&[2, 3], &[1.0, 2.0, 0.0, 4.0, 5.0, 6.0]),
                x().int("upper", 0).ints(&[], &[-2]).output(&[2, 3], &[0.0; 6]),
                x().ints(&[], &[i64::MAX]).output(&[2, 3], &[0.0; 6]),
                x().int("upper", 0).ints(&[], &[i64::MIN]).output(&[2, 3], &[0.0; 6]),
                x().int("upper", 0).ints(&[], &[i64::MAX]).output(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
                Case::new()
                    .tensor(Tensor::new(vec![2, 2], vec![true; 4]).unwrap())
                    .output_tensor(Tensor::new(vec![2, 2], vec![true, true, false, true]).unwrap()),
                Case::new().random_input(&[2, 3, 4, 2]).ints(&[], &[-1]),
                Case::new().random_input(&[2, 0, 3]),
                Case::new().random_input(&[2, 3, 0]),
                Case::new().random_input(&[3]).error("expected rank 2 or more"),
                x().tensor(Tensor::scalar(1i32)).error("input 1: expected i64"),
                x().ints(&[2], &[1, 2]).error("one number"),
                x().int("upper", 2).error("expected 0 or 1"),
            ],
        );
    }
}
