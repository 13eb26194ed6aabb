//! ReverseSequence: the first `sequence_lens[b]` steps of each sequence `b` in reverse order, the others as they are.
//!
//! The gradient is reversed likewise. ONNX: <https://onnx.ai/onnx/operators/onnx__ReverseSequence.html>.

use std::marker::PhantomData;

use super::rearrange::count;
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::cell::Scalar;
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::{with_any, with_float};
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::DType;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "ReverseSequence", since: 10, parse };

#[derive(Clone, Debug)]
struct ReverseSequence {
    /// Axis 0 counts the sequences and axis 1 the steps; else the other way round.
    batch_first: bool,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let (time, batch) = (node.int("time_axis")?.unwrap_or(0), node.int("batch_axis")?.unwrap_or(1));
    match (time, batch) {
        (0, 1) => Ok(Box::new(ReverseSequence { batch_first: false })),
        (1, 0) => Ok(Box::new(ReverseSequence { batch_first: true })),
        _ => Err(OpError::Attribute {
            name: "time_axis".into(),
            expected: "0 or 1, and batch_axis the other one".into(),
            found: format!("{time}, and batch_axis {batch}"),
        }),
    }
}

impl Op for ReverseSequence {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        match self.batch_first {
            true => vec![("time_axis", AttributeValue::Int(1)), ("batch_axis", AttributeValue::Int(0))],
            false => Vec::new(),
        }
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(2..=2, 1..=1)?;
        let x = inputs.required(0)?;
        let lengths = inputs.of(1, "i64", |dtype| dtype == DType::I64)?;
        let (dims, counts) = (inputs.dims(0, 2..=usize::MAX)?, inputs.dims(1, 1..=1)?);
        if let (Some(dims), Some([count])) = (dims, counts) {
            let batch = &dims[usize::from(!self.batch_first)];
            if !batch.accepts(count) {
                let expected = format!("{batch} lengths, one for each sequence");
                return Err(OpError::Shape { input: 1, expected, found: lengths.shape.clone() });
            }
        }
        Ok(vec![ValueType::new(x.dtype, x.shape.clone())])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let x = signature.input(0)?;
        let [first, second, inner @ ..] = x.shape.as_slice() else {
            return Err(OpError::Plan { what: "an input of rank below 2".into() });
        };
        let inner = count(inner);
        let (batch, steps) = if self.batch_first { (*first, *second) } else { (*second, *first) };
        let (of_batch, of_step) =
            if self.batch_first { (steps.saturating_mul(inner), inner) } else { (inner, batch.saturating_mul(inner)) };
        let plan = Plan { steps, inner, of_batch, of_step, lengths: vec![0; batch] };
        if matches!(x.dtype, DType::F32 | DType::F64) {
            return with_float!(x.dtype, T => Box::new(FloatKernel::<T>(AnyKernel(plan, PhantomData))));
        }
        with_any!(x.dtype, T => Box::new(AnyKernel::<T>(plan, PhantomData)))
    }

    fn is_differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }
}

struct Plan {
    steps: usize,
    inner: usize,
    /// From one sequence, and from one step, to the next.
    of_batch: usize,
    of_step: usize,
    /// As of the last forward pass.
    lengths: Vec<usize>,
}

impl Plan {
    fn copy<T: Scalar>(&self, x: &[T], y: &mut [T]) {
        if y.is_empty() {
            return;
        }
        for (batch, length) in self.lengths.iter().enumerate() {
            for step in 0..self.steps {
                let from = if step < *length { length - 1 - step } else { step };
                let place = |step: usize| batch * self.of_batch + step * self.of_step;
                y[place(step)..][..self.inner].clone_from_slice(&x[place(from)..][..self.inner]);
            }
        }
    }
}

struct AnyKernel<T>(Plan, PhantomData<T>);

impl<T: Scalar> Kernel for AnyKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let plan = &mut self.0;
        for (length, given) in plan.lengths.iter_mut().zip(io.input::<i64>(1)?) {
            let known = usize::try_from(*given).ok().filter(|length| *length <= plan.steps);
            *length = known.ok_or_else(|| OpError::Value {
                input: 1,
                expected: format!("lengths up to {}", plan.steps),
                found: given.to_string(),
            })?;
        }
        plan.copy(io.input::<T>(0)?, io.output::<T>(0)?);
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

    #[test]
    fn cases() {
        let x = || Case::new().input(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let batch_first = |case: Case| case.int("time_axis", 1).int("batch_axis", 0);
        check(
            "ReverseSequence",
            &[
                x().ints(&[2], &[3, 2]).output(&[3, 2], &[5.0, 4.0, 3.0, 2.0, 1.0, 6.0]),
                batch_first(x()).ints(&[3], &[1, 2, 0]).output(&[3, 2], &[1.0, 2.0, 4.0, 3.0, 5.0, 6.0]),
                Case::new().random_input(&[4, 3, 2]).ints(&[3], &[1, 4, 2]),
                batch_first(Case::new().random_input(&[2, 3, 2, 2])).ints(&[2], &[3, 2]),
                Case::new().random_input(&[0, 2]).ints(&[2], &[0, 0]),
                Case::new().random_input(&[2, 2, 0]).ints(&[2], &[1, 2]),
                x().ints(&[2], &[4, 0]).error("lengths up to 3, found 4"),
                x().ints(&[2], &[-1, 0]).error("lengths up to 3"),
                x().ints(&[3], &[1, 1, 1]).error("2 lengths, one for each sequence"),
                x().int("time_axis", 1).ints(&[2], &[1, 1]).error("batch_axis the other one"),
                x().input(&[2], &[1.0, 1.0]).error("input 1: expected i64"),
                Case::new().random_input(&[3]).ints(&[1], &[1]).error("expected rank 2 or more"),
            ],
        );
    }
}
