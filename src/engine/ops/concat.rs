//! Concat: its inputs one after the other along `axis`. Each gradient is its part of the output's.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Concat.html>.

use std::marker::PhantomData;

use super::rearrange::{attribute_axis, count};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::cell::Scalar;
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::{with_any, with_float};
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::{DType, Dim, SymbolicShape};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Concat", since: 4, parse };

#[derive(Clone, Debug)]
struct Concat {
    axis: i64,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let missing = || OpError::Attribute { name: "axis".into(), expected: "an integer".into(), found: "nothing".into() };
    Ok(Box::new(Concat { axis: node.int("axis")?.ok_or_else(missing)? }))
}

impl Op for Concat {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        vec![("axis", AttributeValue::Int(self.axis))]
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(1..=usize::MAX, 1..=1)?;
        let dtype = inputs.required(0)?.dtype;
        let mut all: Option<Vec<Dim>> = None;
        let mut sum = Some(0usize);
        for index in 0..inputs.len() {
            let input = inputs.required(index)?;
            inputs.same_dtype(index, dtype)?;
            let Some(dims) = input.dims() else {
                sum = None;
                continue;
            };
            let axis = attribute_axis("axis", self.axis, dims.len())?;
            match (sum, dims[axis].known()) {
                (Some(known), Some(size)) => {
                    let too_large = || OpError::TooLarge { shape: format!("{known} + {size} along axis {axis}") };
                    sum = Some(known.checked_add(size).ok_or_else(too_large)?);
                }
                _ => sum = None,
            }
            let Some(together) = &mut all else {
                all = Some(dims.to_vec());
                continue;
            };
            let agrees = |(other, (a, b)): (usize, (&Dim, &Dim))| other == axis || a.accepts(b);
            if together.len() != dims.len() || !together.iter().zip(dims).enumerate().all(agrees) {
                let expected = format!("the shape {} but for axis {axis}", SymbolicShape::Ranked(together.clone()));
                return Err(OpError::Shape { input: index, expected, found: input.shape.clone() });
            }
            for (known, dim) in together.iter_mut().zip(dims) {
                if known.known().is_none() && (dim.known().is_some() || *known == Dim::Any) {
                    *known = dim.clone();
                }
            }
        }
        let Some(mut dims) = all else { return Ok(vec![ValueType::new(dtype, SymbolicShape::Unranked)]) };
        let axis = attribute_axis("axis", self.axis, dims.len())?;
        if inputs.len() > 1 {
            dims[axis] = sum.map_or(Dim::Any, Dim::Known);
        }
        Ok(vec![ValueType::ranked(dtype, dims)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let y = signature.output(0)?;
        let axis = attribute_axis("axis", self.axis, y.shape.len())?;
        let width = |shape: &[usize]| count(&shape[axis..]);
        let widths = (0..signature.inputs.len()).map(|index| Ok(width(&signature.input(index)?.shape)));
        let parts = Parts { widths: widths.collect::<Result<_, OpError>>()?, whole: width(&y.shape) };
        if matches!(y.dtype, DType::F32 | DType::F64) {
            return with_float!(y.dtype, T => Box::new(FloatKernel::<T>(AnyKernel(parts, PhantomData))));
        }
        with_any!(y.dtype, T => Box::new(AnyKernel::<T>(parts, PhantomData)))
    }

    fn is_differentiable(&self, _: usize) -> bool {
        true
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }
}

/// How many elements in a row each input has, and all of them together.
struct Parts {
    widths: Vec<usize>,
    whole: usize,
}

impl Parts {
    /// Each input with where it begins in a row of the whole; without those that are empty.
    fn each(&self) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> {
        let mut end = 0usize;
        let ranges = self.widths.iter().map(move |width| {
            let start = end;
            end = start.saturating_add(*width);
            start..end
        });
        ranges.enumerate().filter(|(_, range)| !range.is_empty())
    }
}

struct AnyKernel<T>(Parts, PhantomData<T>);

impl<T: Scalar> Kernel for AnyKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let y = io.output::<T>(0)?;
        for (index, range) in self.0.each() {
            let x = io.input::<T>(index)?;
            for (x, y) in x.chunks_exact(range.len()).zip(y.chunks_exact_mut(self.0.whole)) {
                y[range.clone()].clone_from_slice(x);
            }
        }
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
        let parts = &self.0.0;
        for (index, range) in parts.each() {
            let Some(dx) = io.d_input::<T>(index)? else { continue };
            for (dx, dy) in dx.chunks_exact_mut(range.len()).zip(dy.chunks_exact(parts.whole)) {
                dx.copy_from_slice(&dy[range.clone()]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Concat;
    use crate::engine::op::{Inputs, Op, ValueType};
    use crate::engine::testing::{Case, check};
    use crate::tensor::{DType, Dim, Tensor};

    #[test]
    fn cases() {
        let two = || Case::new().input(&[2, 1], &[1.0, 2.0]).input(&[2, 2], &[3.0, 4.0, 5.0, 6.0]);
        check(
            "Concat",
            &[
                two().int("axis", 1).output(&[2, 3], &[1.0, 3.0, 4.0, 2.0, 5.0, 6.0]),
                two().int("axis", -1).output(&[2, 3], &[1.0, 3.0, 4.0, 2.0, 5.0, 6.0]),
                Case::new()
                    .tensor(Tensor::from_vec(vec!["a".to_string()]))
                    .tensor(Tensor::from_vec(vec!["b".to_string()]))
                    .int("axis", 0)
                    .output_tensor(Tensor::from_vec(vec!["a".to_string(), "b".to_string()])),
                Case::new().random_input(&[3]).int("axis", 0),
                Case::new().random_input(&[2, 3, 2]).random_input(&[2, 0, 2]).random_input(&[2, 1, 2]).int("axis", 1),
                Case::new().random_input(&[2, 3]).random_input(&[1, 3]).int("axis", 0),
                Case::new().random_input(&[0, 3]).random_input(&[0, 2]).int("axis", 1),
                two().error("attribute `axis`: expected an integer, found nothing"),
                two().int("axis", 0).error("the shape [2, 1] but for axis 0"),
                two().int("axis", 2).error("an axis of rank 2"),
                Case::new().random_input(&[2]).ints(&[1], &[1]).int("axis", 0).error("input 1: expected f"),
                Case::new().random_input(&[2]).random_input(&[2, 1]).int("axis", 0).error("input 1"),
                Case::new().random_input(&[2]).left_out().int("axis", 0).error("input 1 is missing"),
                Case::new().int("axis", 0).error("at least 1 inputs"),
            ],
        );
    }

    #[test]
    fn unknown_sizes() {
        let n = || Dim::Symbol("n".into());
        let of = |a: Vec<Dim>, b: Vec<Dim>| {
            let inputs = [Some(ValueType::ranked(DType::F32, a)), Some(ValueType::ranked(DType::F32, b))];
            Concat { axis: 1 }.infer(&Inputs::new(&inputs, 1)).unwrap().remove(0).dims().unwrap().to_vec()
        };
        let k = Dim::Known;
        assert_eq!(of(vec![n(), k(1)], vec![Dim::Any, k(2)]), [n(), k(3)]);
        assert_eq!(of(vec![Dim::Any, n()], vec![k(4), k(2)]), [k(4), Dim::Any]);
    }
}
