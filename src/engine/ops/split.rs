//! Split: parts of its input along `axis`: of the sizes in `split`, or equal ones.
//!
//! The gradient is put together from those of the parts; a part that nothing depends on gives zeros. `split` is an
//! attribute below version 13, an input from there on; from version 18 on `num_outputs` says how many equal parts there
//! are, the last of them smaller where they cannot be equal.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Split.html>.

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

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Split", since: 2, parse };

#[derive(Clone, Debug)]
struct Split {
    axis: i64,
    sizes: Sizes,
}

#[derive(Clone, Debug)]
enum Sizes {
    /// Equal parts, or those of the attribute (below version 13).
    Attribute(Option<Vec<usize>>),
    /// Equal parts, or those of the input (version 13).
    Input,
    /// That many parts, or those of the input (from version 18 on).
    Count(Option<usize>),
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let sizes = match node.opset() {
        ..13 => Sizes::Attribute(node.sizes("split")?),
        13..18 => Sizes::Input,
        _ => {
            let count = node.int("num_outputs")?;
            let wrong = |count: i64| OpError::Attribute {
                name: "num_outputs".into(),
                expected: "1 or more".into(),
                found: count.to_string(),
            };
            let size = |count| usize::try_from(count).ok().filter(|count| *count > 0).ok_or_else(|| wrong(count));
            Sizes::Count(count.map(size).transpose()?)
        }
    };
    Ok(Box::new(Split { axis: node.int("axis")?.unwrap_or(0), sizes }))
}

impl Split {
    /// The sizes of the parts of `size` elements, as far as they are known.
    fn parts(&self, inputs: &Inputs<'_>, size: Option<usize>) -> Result<Option<Vec<usize>>, OpError> {
        let count = inputs.output_count();
        let unequal = |size: usize| OpError::Shape {
            input: 0,
            expected: format!("a size along axis {} that {count} divides, not {size}", self.axis),
            found: inputs.optional(0).map_or(SymbolicShape::Unranked, |x| x.shape.clone()),
        };
        let equal = |size: Option<usize>| match size {
            None => Ok(None),
            Some(size) if size.is_multiple_of(count) => Ok(Some(vec![size / count; count])),
            Some(size) => Err(unequal(size)),
        };
        let given = match (&self.sizes, inputs.optional(1)) {
            (Sizes::Attribute(None), _) | (Sizes::Input, None) => return equal(size),
            (Sizes::Attribute(Some(parts)), _) => parts.clone(),
            (Sizes::Count(None), None) => {
                return Err(OpError::Attribute {
                    name: "num_outputs".into(),
                    expected: "it, or the sizes as input 1".into(),
                    found: "neither".into(),
                });
            }
            (Sizes::Count(Some(parts)), None) if *parts == count => {
                let Some(size) = size else { return Ok(None) };
                let part = size.div_ceil(count);
                return Ok(Some((0..count).map(|i| part.min(size.saturating_sub(part.saturating_mul(i)))).collect()));
            }
            (Sizes::Count(Some(parts)), _) => {
                return Err(OpError::Attribute {
                    name: "num_outputs".into(),
                    expected: match inputs.optional(1) {
                        Some(_) => "nothing beside the sizes".into(),
                        None => format!("the number of outputs, {count}"),
                    },
                    found: parts.to_string(),
                });
            }
            (Sizes::Input | Sizes::Count(None), Some(_)) => {
                let Some(values) = inputs.integers(1)? else { return Ok(None) };
                let parts: Option<Vec<usize>> = values.iter().map(|value| usize::try_from(*value).ok()).collect();
                let wrong = || OpError::Value { input: 1, expected: "sizes".into(), found: format!("{values:?}") };
                parts.ok_or_else(wrong)?
            }
        };
        let sum = given.iter().try_fold(0usize, |sum, part| sum.checked_add(*part));
        if given.len() == count && sum.is_some() && (size.is_none() || sum == size) {
            return Ok(Some(given));
        }
        let expected = match size {
            Some(size) => format!("{count} sizes, {size} together"),
            None => format!("{count} sizes"),
        };
        let found = format!("{given:?}");
        Err(match self.sizes {
            Sizes::Attribute(_) => OpError::Attribute { name: "split".into(), expected, found },
            _ => OpError::Value { input: 1, expected, found },
        })
    }
}

impl Op for Split {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let mut attributes = Vec::new();
        if self.axis != 0 {
            attributes.push(("axis", AttributeValue::Int(self.axis)));
        }
        match &self.sizes {
            Sizes::Attribute(Some(sizes)) => {
                attributes.push(("split", AttributeValue::Ints(sizes.iter().map(|size| *size as i64).collect())));
            }
            Sizes::Count(Some(count)) => attributes.push(("num_outputs", AttributeValue::Int(*count as i64))),
            _ => {}
        }
        attributes
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        let most = if matches!(self.sizes, Sizes::Attribute(_)) { 1 } else { 2 };
        inputs.expect(1..=most, 1..=usize::MAX)?;
        let x = inputs.required(0)?;
        let count = inputs.output_count();
        let Some(dims) = x.dims() else {
            return Ok(vec![ValueType::new(x.dtype, SymbolicShape::Unranked); count]);
        };
        let axis = attribute_axis("axis", self.axis, dims.len())?;
        let parts = self.parts(inputs, dims[axis].known())?;
        let part = |index: usize| {
            let mut dims = dims.to_vec();
            dims[axis] = parts.as_ref().and_then(|parts| parts.get(index)).map_or(Dim::Any, |size| Dim::Known(*size));
            ValueType::ranked(x.dtype, dims)
        };
        Ok((0..count).map(part).collect())
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let x = signature.input(0)?;
        let axis = attribute_axis("axis", self.axis, x.shape.len())?;
        let inner = count(&x.shape[axis + 1..]);
        let size = x.shape[axis];
        // Outputs that nobody wants have their place all the same.
        let types: Vec<Option<ValueType>> = signature
            .inputs
            .iter()
            .map(|input| {
                let known = |input: &crate::engine::op::TensorType| ValueType {
                    value: input.value.clone(),
                    ..ValueType::known(input.dtype, &input.shape)
                };
                input.as_ref().map(known)
            })
            .collect();
        let parts = self.parts(&Inputs::new(&types, signature.outputs.len()), Some(size))?;
        let parts = parts.ok_or_else(|| OpError::Plan { what: "the sizes of the parts are not known".into() })?;
        let parts = Parts {
            widths: parts.iter().map(|part| part.saturating_mul(inner)).collect(),
            whole: size.saturating_mul(inner),
        };
        if matches!(x.dtype, DType::F32 | DType::F64) {
            return with_float!(x.dtype, T => Box::new(FloatKernel::<T>(AnyKernel(parts, PhantomData))));
        }
        with_any!(x.dtype, T => Box::new(AnyKernel::<T>(parts, PhantomData)))
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1]
    }

    fn is_differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }
}

/// How many elements in a row each part has, and all of them together.
struct Parts {
    widths: Vec<usize>,
    whole: usize,
}

impl Parts {
    /// Each part with where it lies in a row of the whole; without those that are empty.
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
        let x = io.input::<T>(0)?;
        for (index, range) in self.0.each() {
            let Some(y) = io.optional_output::<T>(index)? else { continue };
            for (y, x) in y.chunks_exact_mut(range.len()).zip(x.chunks_exact(self.0.whole)) {
                y.clone_from_slice(&x[range.clone()]);
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
        let Some(dx) = io.d_input::<T>(0)? else { return Ok(()) };
        let parts = &self.0.0;
        for (index, range) in parts.each() {
            let rows = dx.chunks_exact_mut(parts.whole);
            match io.optional_d_output::<T>(index)? {
                Some(dy) => {
                    rows.zip(dy.chunks_exact(range.len())).for_each(|(dx, dy)| dx[range.clone()].copy_from_slice(dy))
                }
                None => rows.for_each(|dx| dx[range.clone()].fill(T::zero())),
            }
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
        let split = |case: Case| case.output(&[2, 1], &[1.0, 4.0]).output(&[2, 2], &[2.0, 3.0, 5.0, 6.0]);
        check(
            "Split",
            &[
                split(x().int("axis", 1).constant_ints(&[1, 2])),
                split(x().int("axis", -1).ints(&[2], &[1, 2])),
                split(x().int("axis", 1).opset(13).constant_ints(&[1, 2])),
                split(x().int("axis", 1).opset(11).ints_attribute("split", &[1, 2])),
                split(x().int("axis", 1).opset(7).ints_attribute("split", &[1, 2])),
                x().output(&[1, 3], &[1.0, 2.0, 3.0]).output(&[1, 3], &[4.0, 5.0, 6.0]).int("num_outputs", 2),
                x().output(&[1, 3], &[1.0, 2.0, 3.0]).output(&[1, 3], &[4.0, 5.0, 6.0]).opset(13),
                Case::new()
                    .input(&[5], &[1.0, 2.0, 3.0, 4.0, 5.0])
                    .int("num_outputs", 4)
                    .output(&[2], &[1.0, 2.0])
                    .output(&[2], &[3.0, 4.0])
                    .output(&[1], &[5.0])
                    .output(&[0], &[]),
                Case::new().random_input(&[2, 6, 2]).int("axis", 1).int("num_outputs", 3).output_count(3),
                Case::new().random_input(&[0, 2]).int("axis", 1).int("num_outputs", 2).output_count(2),
                Case::new()
                    .tensor(Tensor::from_vec(vec![true, false]))
                    .int("num_outputs", 2)
                    .output_tensor(Tensor::from_vec(vec![true]))
                    .output_tensor(Tensor::from_vec(vec![false])),
                x().int("num_outputs", 3).output_count(2).error("the number of outputs, 2"),
                x().int("num_outputs", 0).error("1 or more"),
                x().output_count(2).error("attribute `num_outputs`: expected it, or the sizes"),
                x().int("num_outputs", 2).constant_ints(&[1, 1]).output_count(2).error("nothing beside"),
                x().constant_ints(&[1, 2]).output_count(2).error("2 sizes, 2 together"),
                x().constant_ints(&[-1, 3]).output_count(2).error("input 1: expected sizes"),
                x().int("axis", 1).opset(13).output_count(2).error("that 2 divides"),
                x().int("axis", 2).opset(13).error("an axis of rank 2"),
                x().opset(11).ints_attribute("split", &[-1]).error("not negative"),
            ],
        );
    }
}
