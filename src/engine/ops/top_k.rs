//! TopK: the `k` largest (or smallest) elements along an axis and where they were, the best first; of equal ones the first
//! comes first. NaN counts as the largest.
//!
//! `dx` is `dvalues` where an element was taken, else 0. `sorted = 0` leaves the order open; here it is the same then.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__TopK.html>.

use std::cmp::Ordering;
use std::marker::PhantomData;

use super::axis::{self, Lanes};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::cell::Scalar;
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel, bytes};
use crate::engine::kernels::float::with_number;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::{DType, Dim, SymbolicShape};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "TopK", since: 1, parse };

#[derive(Clone, Debug)]
struct TopK {
    axis: i64,
    /// Before version 10 an attribute.
    k: Option<usize>,
    largest: bool,
    sorted: bool,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let k = if node.opset() < 10 {
        let k = node.int("k")?;
        let found = || k.map_or_else(|| "nothing".into(), |k| k.to_string());
        let wrong = || OpError::Attribute { name: "k".into(), expected: "a number of elements".into(), found: found() };
        Some(k.and_then(|k| usize::try_from(k).ok()).ok_or_else(wrong)?)
    } else {
        None
    };
    let new = node.opset() >= 11;
    Ok(Box::new(TopK {
        axis: node.int("axis")?.unwrap_or(-1),
        k,
        largest: if new { node.flag("largest", true)? } else { true },
        sorted: if new { node.flag("sorted", true)? } else { true },
    }))
}

impl Op for TopK {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let mut attributes = Vec::new();
        if self.axis != -1 {
            attributes.push(("axis", AttributeValue::Int(self.axis)));
        }
        if let Some(k) = self.k {
            attributes.push(("k", AttributeValue::Int(i64::try_from(k).unwrap_or(i64::MAX))));
        }
        for (name, value) in [("largest", self.largest), ("sorted", self.sorted)] {
            if !value {
                attributes.push((name, AttributeValue::Int(0)));
            }
        }
        attributes
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        let count = if self.k.is_some() { 1 } else { 2 };
        inputs.expect(count..=count, 1..=2)?;
        let x = inputs.number(0)?;
        let k = match self.k {
            Some(k) => Some(k),
            None => match inputs.integers(1)?.as_deref() {
                None => None,
                Some([k]) if *k >= 0 => usize::try_from(*k).ok(),
                Some(found) => {
                    let (expected, found) = ("one number of elements".into(), format!("{found:?}"));
                    return Err(OpError::Value { input: 1, expected, found });
                }
            },
        };
        let shape = match x.dims() {
            None => SymbolicShape::Unranked,
            Some(dims) => {
                let axis = axis::resolve("axis", self.axis, dims.len())?;
                if let (Some(k), Some(len)) = (k, dims[axis].known())
                    && k > len
                {
                    let (expected, found) = (format!("at most the {len} elements along axis {axis}"), k.to_string());
                    return Err(match self.k {
                        Some(_) => OpError::Attribute { name: "k".into(), expected, found },
                        None => OpError::Value { input: 1, expected, found },
                    });
                }
                let mut dims = dims.to_vec();
                dims[axis] = k.map_or(Dim::Any, Dim::Known);
                SymbolicShape::Ranked(dims)
            }
        };
        Ok(vec![ValueType::new(x.dtype, shape.clone()), ValueType::new(DType::I64, shape)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let x = signature.input(0)?;
        let axis = axis::resolve("axis", self.axis, x.shape.len())?;
        let taken = signature.optional_output(0).or(signature.optional_output(1));
        let taken = taken.ok_or_else(|| OpError::Plan { what: "TopK without an output".into() })?;
        let lanes = Lanes::along(&x.shape, axis);
        let k = taken.shape.get(axis).copied().unwrap_or(0).min(lanes.len);
        let (order, positions) = (Vec::with_capacity(lanes.len.min(x.len())), vec![0; taken.len()]);
        let largest = self.largest;
        with_number!(x.dtype, T => Box::new(TopKernel::<T> { lanes, k, largest, order, positions, kind: PhantomData }))
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

struct TopKernel<T> {
    lanes: Lanes,
    k: usize,
    largest: bool,
    /// Where the elements of a lane are, the best first.
    order: Vec<usize>,
    /// Where in `x` each element of the output was.
    positions: Vec<usize>,
    kind: PhantomData<T>,
}

/// From the smallest to the largest; NaN comes last.
#[allow(clippy::eq_op, reason = "only NaN differs from itself")]
fn compare<T: Copy + PartialOrd>(a: T, b: T) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| (a != a).cmp(&(b != b)))
}

impl<T: Scalar + Copy + PartialOrd> Kernel for TopKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let x = io.input::<T>(0)?;
        let TopKernel { lanes, k, largest, order, positions, .. } = self;
        let taken = Lanes { len: *k, ..*lanes };
        for lane in 0..if *k == 0 { 0 } else { lanes.count() } {
            let (start, to) = (lanes.start(lane), taken.start(lane));
            // Positions are in the order of the lane, so that of equal elements the first is the lower number.
            order.clear();
            order.extend((0..lanes.len).map(|index| start + index * lanes.inner));
            let better = |a: &usize, b: &usize| {
                let by_value = if *largest { compare(x[*b], x[*a]) } else { compare(x[*a], x[*b]) };
                by_value.then(a.cmp(b))
            };
            if *k < lanes.len {
                order.select_nth_unstable_by(*k, better);
            }
            order[..*k].sort_unstable_by(better);
            for (rank, from) in order[..*k].iter().enumerate() {
                positions[to + rank * lanes.inner] = *from;
            }
        }
        if let Some(values) = io.optional_output::<T>(0)? {
            values.iter_mut().zip(positions.iter()).for_each(|(value, from)| *value = x[*from]);
        }
        if let Some(indices) = io.optional_output::<i64>(1)? {
            let index = |from: usize| from / lanes.inner.max(1) % lanes.len.max(1);
            indices.iter_mut().zip(positions.iter()).for_each(|(to, from)| *to = index(*from) as i64);
        }
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let d_values = io.optional_d_output::<T>(0)?;
        let Some(dx) = io.d_input::<T>(0)? else { return Ok(()) };
        dx.fill(T::default());
        for (from, dy) in self.positions.iter().zip(d_values.unwrap_or_default()) {
            dx[*from] = *dy;
        }
        Ok(())
    }

    fn owned_bytes(&self) -> usize {
        bytes(&self.order) + bytes(&self.positions)
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        let x = || Case::new().input(&[2, 4], &[1.0, 4.0, 4.0, 2.0, 7.0, 5.0, 8.0, 6.0]);
        let indices = |shape: &[usize], values: &[i64]| Tensor::new(shape.to_vec(), values.to_vec()).unwrap();
        check(
            "TopK",
            &[
                x().constant_ints(&[3])
                    .output(&[2, 3], &[4.0, 4.0, 2.0, 8.0, 7.0, 6.0])
                    .output_tensor(indices(&[2, 3], &[1, 2, 3, 2, 0, 3]))
                    .without_gradient(),
                x().constant_ints(&[1])
                    .int("axis", 0)
                    .int("largest", 0)
                    .output(&[1, 4], &[1.0, 4.0, 4.0, 2.0])
                    .output_tensor(indices(&[1, 4], &[0; 4])),
                x().int("k", 1)
                    .opset(9)
                    .output(&[2, 1], &[4.0, 8.0])
                    .output_tensor(indices(&[2, 1], &[1, 2]))
                    .without_gradient(),
                x().constant_ints(&[1]).opset(10).output(&[2, 1], &[4.0, 8.0]).without_gradient(),
                x().ints(&[1], &[0]).output(&[2, 0], &[]),
                Case::new()
                    .input(&[4], &[1.0, f64::NAN, 3.0, f64::NEG_INFINITY])
                    .constant_ints(&[4])
                    .output(&[4], &[f64::NAN, 3.0, 1.0, f64::NEG_INFINITY])
                    .output_tensor(indices(&[4], &[1, 2, 0, 3]))
                    .without_gradient(),
                Case::new()
                    .tensor(Tensor::from_vec(vec![3u8, 200, 4]))
                    .constant_ints(&[2])
                    .output_tensor(Tensor::from_vec(vec![200u8, 4])),
                Case::new().random_input(&[2, 5, 3]).constant_ints(&[2]).int("axis", 1).output_count(2),
                Case::new().random_input(&[3, 7]).constant_ints(&[4]).int("largest", 0).int("sorted", 0),
                Case::new().random_input(&[3, 7]).ints(&[1], &[7]),
                Case::new().random_input(&[0, 7]).constant_ints(&[2]),
                x().constant_ints(&[5]).error("at most the 4 elements along axis 1, found 5"),
                x().int("k", 5).opset(9).error("attribute `k`: expected at most the 4"),
                x().opset(9).error("found nothing"),
                x().constant_ints(&[-1]).error("one number of elements"),
                x().constant_ints(&[1, 1]).error("one number of elements"),
                x().constant_ints(&[1]).int("axis", 2).error("expected -2 to 1"),
                x().constant_ints(&[1]).opset(10).int("largest", 1).error("attribute `largest`"),
                x().error("expected 2 inputs, found 1"),
                Case::new().tensor(Tensor::from_vec(vec![true])).constant_ints(&[1]).error("expected a number"),
            ],
        );
    }
}
