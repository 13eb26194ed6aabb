//! OneHot: a new axis of `depth` places, `on` at the place that the index names and `off` elsewhere; `values` is `[off, on]`.
//!
//! A negative index counts from the end; one outside of `-depth..depth` turns nothing on. Indices that are no integers are
//! cut to integers. No gradient flows to `values`. ONNX: <https://onnx.ai/onnx/operators/onnx__OneHot.html>.

use std::marker::PhantomData;

use num_traits::ToPrimitive;

use super::axis::{self, Lanes};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::cell::Scalar;
use crate::engine::error::OpError;
use crate::engine::kernel::{Forward, Kernel, bytes};
use crate::engine::kernels::float::{with_any, with_number};
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::{DType, Dim, SymbolicShape, Tensor};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "OneHot", since: 9, parse };

#[derive(Clone, Debug)]
struct OneHot {
    axis: i64,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(OneHot { axis: node.int("axis")?.unwrap_or(-1) }))
}

/// The only element of a tensor of numbers, as an integer that is not negative.
fn depth(tensor: &Tensor) -> Option<usize> {
    fn only<T: crate::tensor::Element + Copy + ToPrimitive>(tensor: &Tensor) -> Option<usize> {
        match tensor.as_slice::<T>().ok()? {
            [depth] => depth.to_usize(),
            _ => None,
        }
    }
    let depth: Result<Option<usize>, OpError> = with_number!(tensor.dtype(), T => only::<T>(tensor));
    depth.ok().flatten()
}

impl Op for OneHot {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        if self.axis == -1 { Vec::new() } else { vec![("axis", AttributeValue::Int(self.axis))] }
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(3..=3, 1..=1)?;
        let is_number = |dtype| !matches!(dtype, DType::Bool | DType::String | DType::F16 | DType::BF16);
        let indices = inputs.of(0, "f32, f64 or an integer", is_number)?;
        let depth = match &inputs.of(1, "f32, f64 or an integer", is_number)?.value {
            None => Dim::Any,
            Some(value) => Dim::Known(depth(value).ok_or_else(|| OpError::Value {
                input: 1,
                expected: "one number of places, not negative".into(),
                found: format!("{value:?}"),
            })?),
        };
        let values = inputs.required(2)?;
        if let Some([size]) = inputs.dims(2, 1..=1)?
            && !size.accepts(&Dim::Known(2))
        {
            let expected = "two values, [off, on]".into();
            return Err(OpError::Shape { input: 2, expected, found: values.shape.clone() });
        }
        let shape = match indices.dims() {
            None => SymbolicShape::Unranked,
            Some(dims) => {
                let mut dims = dims.to_vec();
                dims.insert(axis::resolve("axis", self.axis, dims.len() + 1)?, depth);
                SymbolicShape::Ranked(dims)
            }
        };
        Ok(vec![ValueType::new(values.dtype, shape)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (indices, y) = (signature.input(0)?, signature.output(0)?);
        let lanes = Lanes::along(&y.shape, axis::resolve("axis", self.axis, y.shape.len())?);
        let (dtype, places) = (indices.dtype, vec![None; indices.len()]);
        with_any!(y.dtype, T => Box::new(OneHotKernel::<T> { lanes, dtype, places, kind: PhantomData }))
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1]
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }
}

struct OneHotKernel<T> {
    lanes: Lanes,
    /// The type of the indices.
    dtype: DType,
    /// Where each index points.
    places: Vec<Option<usize>>,
    kind: PhantomData<T>,
}

/// Where each index points among `depth` places.
fn places<T: Scalar + Copy + ToPrimitive>(
    io: &Forward<'_>,
    depth: usize,
    to: &mut [Option<usize>],
) -> Result<(), OpError> {
    let depth = i64::try_from(depth).unwrap_or(i64::MAX);
    for (to, index) in to.iter_mut().zip(io.input::<T>(0)?) {
        let index = index.to_i64().map(|index| if index < 0 { index.saturating_add(depth) } else { index });
        *to = index.filter(|index| (0..depth).contains(index)).map(|index| index as usize);
    }
    Ok(())
}

impl<T: Scalar> Kernel for OneHotKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let OneHotKernel { lanes, dtype, places: found, .. } = self;
        with_number!(*dtype, I => places::<I>(io, lanes.len, found)?)?;
        let [off, on] = io.input::<T>(2)? else {
            return Err(OpError::Plan { what: "OneHot without two values".into() });
        };
        let y = io.output::<T>(0)?;
        y.fill(off.clone());
        for (lane, place) in found.iter().enumerate() {
            if let Some(place) = place {
                y[lanes.start(lane) + place * lanes.inner] = on.clone();
            }
        }
        Ok(())
    }

    fn owned_bytes(&self) -> usize {
        bytes(&self.places)
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        let values = || Tensor::from_vec(vec![2i32, 5]);
        let of = |case: Case| case.constant_ints(&[3]).tensor(values());
        let expected = |shape: &[usize], values: &[i32]| Tensor::new(shape.to_vec(), values.to_vec()).unwrap();
        check(
            "OneHot",
            &[
                of(Case::new().ints(&[4], &[0, -1, 3, -4]))
                    .output_tensor(expected(&[4, 3], &[5, 2, 2, 2, 2, 5, 2, 2, 2, 2, 2, 2])),
                of(Case::new().ints(&[2], &[0, 2]))
                    .int("axis", 0)
                    .output_tensor(expected(&[3, 2], &[5, 2, 2, 2, 2, 5])),
                of(Case::new().ints(&[1, 2], &[1, -2]))
                    .int("axis", 1)
                    .output_tensor(expected(&[1, 3, 2], &[2, 2, 5, 5, 2, 2])),
                of(Case::new().input(&[2], &[1.9, f64::NAN]))
                    .opset(9)
                    .output_tensor(expected(&[2, 3], &[2, 5, 2, 2, 2, 2])),
                of(Case::new().ints(&[], &[1])).output_tensor(expected(&[3], &[2, 5, 2])),
                of(Case::new().tensor(Tensor::from_vec(vec![u64::MAX]))).output_tensor(expected(&[1, 3], &[2, 2, 2])),
                Case::new()
                    .ints(&[1], &[1])
                    .tensor(Tensor::scalar(2.0f32))
                    .tensor(Tensor::from_vec(vec![String::from("no"), String::from("yes")]))
                    .output_tensor(Tensor::new(vec![1, 2], vec![String::from("no"), String::from("yes")]).unwrap()),
                Case::new().ints(&[1], &[0]).constant_ints(&[0]).tensor(values()).output_tensor(expected(&[1, 0], &[])),
                of(Case::new().ints(&[0], &[])).output_tensor(expected(&[0, 3], &[])),
                of(Case::new().ints(&[2], &[0, 2])).int("axis", 2).error("expected -2 to 1, found 2"),
                of(Case::new().tensor(Tensor::from_vec(vec![true]))).error("expected f32, f64 or an integer"),
                Case::new().ints(&[1], &[1]).constant_ints(&[-1]).tensor(values()).error("one number of places"),
                Case::new().ints(&[1], &[1]).constant_ints(&[1, 2]).tensor(values()).error("one number of places"),
                Case::new().ints(&[1], &[1]).constant_ints(&[1]).ints(&[3], &[1, 2, 3]).error("two values"),
                Case::new().ints(&[1], &[1]).constant_ints(&[i64::MAX]).tensor(values()).error("which is more than"),
                Case::new().ints(&[1], &[1]).constant_ints(&[1]).error("expected 3 inputs, found 2"),
            ],
        );
    }
}
