//! Slice: along each of `axes` the elements from `start` to (not including) `end`, every `step`-th.
//!
//! Bounds beyond an axis are moved to its ends, negative ones count from its back; a negative step walks backwards. The
//! gradient is put back in place, among zeros. The bounds are attributes below version 10, inputs from there on.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Slice.html>.

use super::rearrange::{Axis, Fill, Rearrange, distinct_axes, kernel, strides};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::Kernel;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType, integers};
use crate::onnx::AttributeValue;
use crate::tensor::{Dim, SymbolicShape, Tensor};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Slice", since: 1, parse };

#[derive(Clone, Debug)]
struct Slice {
    /// `None`: they are inputs.
    bounds: Option<Bounds>,
}

#[derive(Clone, Debug)]
struct Bounds {
    starts: Vec<i64>,
    ends: Vec<i64>,
    axes: Option<Vec<i64>>,
    steps: Option<Vec<i64>>,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    if node.opset() >= 10 {
        return Ok(Box::new(Slice { bounds: None }));
    }
    let required = |name: &'static str| {
        let missing = || OpError::Attribute { name: name.into(), expected: "integers".into(), found: "nothing".into() };
        node.ints(name)?.ok_or_else(missing)
    };
    let (starts, ends) = (required("starts")?, required("ends")?);
    Ok(Box::new(Slice { bounds: Some(Bounds { starts, ends, axes: node.ints("axes")?, steps: None }) }))
}

/// What is taken of one axis.
#[derive(Clone, Copy, Debug)]
struct Range {
    axis: usize,
    start: i64,
    end: i64,
    step: i64,
}

impl Range {
    /// The first position and how many there are, of an axis of `size`.
    fn within(self, size: usize) -> (usize, usize) {
        let count = i64::try_from(size).unwrap_or(i64::MAX);
        let from_front = |at: i64| if at < 0 { at.saturating_add(count) } else { at };
        let (start, end) = (from_front(self.start), from_front(self.end));
        if size == 0 {
            return (0, 0);
        }
        let (start, distance) = if self.step > 0 {
            let start = start.clamp(0, count);
            (start, end.clamp(0, count) - start)
        } else {
            let start = start.clamp(0, count - 1);
            (start, start - end.clamp(-1, count - 1))
        };
        let taken = usize::try_from(distance).unwrap_or(0) as u64;
        (start as usize, taken.div_ceil(self.step.unsigned_abs()) as usize)
    }

    /// Whether it takes all of any axis.
    fn is_whole(self) -> bool {
        self.start == 0 && self.step == 1 && self.end >= i64::from(i32::MAX)
    }
}

impl Bounds {
    fn ranges(&self, input: Option<usize>, rank: usize) -> Result<Vec<Range>, OpError> {
        let count = self.starts.len();
        let axes = match &self.axes {
            Some(axes) => distinct_axes(input.map(|_| 3), axes, rank)?,
            None => (0..count).collect(),
        };
        let steps = self.steps.clone().unwrap_or_else(|| vec![1; count]);
        if self.ends.len() != count || axes.len() != count || steps.len() != count || count > rank {
            let expected = format!("as many starts, ends, axes and steps, at most {rank}");
            let found = format!("{count}, {}, {} and {}", self.ends.len(), axes.len(), steps.len());
            return Err(match input {
                Some(input) => OpError::Value { input, expected, found },
                None => OpError::Attribute { name: "starts".into(), expected, found },
            });
        }
        if steps.contains(&0) {
            return Err(OpError::Value {
                input: 4,
                expected: "steps other than 0".into(),
                found: format!("{steps:?}"),
            });
        }
        let range = |((axis, start), (end, step))| Range { axis, start, end, step };
        let bounds = self.ends.iter().copied().zip(steps);
        Ok(axes.into_iter().zip(self.starts.iter().copied()).zip(bounds).map(range).collect())
    }
}

impl Slice {
    fn bounds<'a>(&self, value: impl Fn(usize) -> Option<&'a Tensor>, given: impl Fn(usize) -> bool) -> Option<Bounds> {
        if let Some(bounds) = &self.bounds {
            return Some(bounds.clone());
        }
        let known = |input: usize| value(input).and_then(integers);
        let optional = |input: usize| if given(input) { known(input).map(Some) } else { Some(None) };
        Some(Bounds { starts: known(1)?, ends: known(2)?, axes: optional(3)?, steps: optional(4)? })
    }

    fn first_input(&self) -> Option<usize> {
        self.bounds.is_none().then_some(1)
    }
}

impl Op for Slice {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let Some(bounds) = &self.bounds else { return Vec::new() };
        let mut attributes = vec![
            ("starts", AttributeValue::Ints(bounds.starts.clone())),
            ("ends", AttributeValue::Ints(bounds.ends.clone())),
        ];
        attributes.extend(bounds.axes.iter().map(|axes| ("axes", AttributeValue::Ints(axes.clone()))));
        attributes
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(if self.bounds.is_some() { 1..=1 } else { 3..=5 }, 1..=1)?;
        let x = inputs.required(0)?;
        for index in 1..inputs.len() {
            if index < 3 || inputs.optional(index).is_some() {
                inputs.integers(index)?;
            }
        }
        let value = |index: usize| inputs.optional(index).and_then(|input| input.value.as_ref());
        let bounds = self.bounds(value, |index| inputs.optional(index).is_some());
        let Some(dims) = x.dims() else { return Ok(vec![ValueType::new(x.dtype, SymbolicShape::Unranked)]) };
        let Some(bounds) = bounds else { return Ok(vec![ValueType::ranked(x.dtype, vec![Dim::Any; dims.len()])]) };
        let mut dims = dims.to_vec();
        for range in bounds.ranges(self.first_input(), dims.len())? {
            let dim = &mut dims[range.axis];
            match dim.known() {
                Some(size) => *dim = Dim::Known(range.within(size).1),
                None if range.is_whole() => {}
                None => *dim = Dim::Any,
            }
        }
        Ok(vec![ValueType::ranked(x.dtype, dims)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let x = signature.input(0)?;
        let value = |index: usize| signature.optional_input(index).and_then(|input| input.value.as_ref());
        let bounds = self.bounds(value, |index| signature.optional_input(index).is_some());
        let bounds = bounds.ok_or_else(|| OpError::Plan { what: "the bounds are not known".into() })?;
        let ranges = bounds.ranges(self.first_input(), x.shape.len())?;
        let axes = x.shape.iter().zip(strides(&x.shape)).enumerate().map(|(axis, (size, stride))| {
            let Some(range) = ranges.iter().find(|range| range.axis == axis) else { return Axis::whole(stride, *size) };
            let (start, count) = range.within(*size);
            let position = |i: usize| start.checked_add_signed(range.step.saturating_mul(i as i64) as isize);
            Axis::new(stride, (0..count).map(position))
        });
        kernel(x, Rearrange::new(&signature.output(0)?.shape, axes), Fill::Number(0.0))
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1, 2, 3, 4]
    }

    fn is_differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        let line = || Case::new().input(&[5], &[0.0, 1.0, 2.0, 3.0, 4.0]);
        let cut = |start: i64, end: i64, step: i64| {
            line().constant_ints(&[start]).constant_ints(&[end]).constant_ints(&[0]).constant_ints(&[step])
        };
        let is = |case: Case, values: &[f64]| case.output(&[values.len()], values);
        let cube = || Case::new().random_input(&[3, 4, 5]);
        check(
            "Slice",
            &[
                is(cut(1, 3, 1), &[1.0, 2.0]),
                is(cut(1, 100, 2), &[1.0, 3.0]),
                is(cut(-2, i64::MAX, 1), &[3.0, 4.0]),
                is(cut(4, 0, -2), &[4.0, 2.0]),
                is(cut(-1, i64::MIN, -1), &[4.0, 3.0, 2.0, 1.0, 0.0]),
                is(cut(100, -100, -3), &[4.0, 1.0]),
                is(cut(3, 3, 1), &[]),
                is(cut(3, 1, 1), &[]),
                is(cut(1, 3, -1), &[]),
                is(cut(0, 5, i64::MAX), &[0.0]),
                is(cut(4, -6, i64::MIN), &[4.0]),
                is(cut(1000, 1000, 1), &[]),
                is(line().constant_ints(&[1]).constant_ints(&[3]), &[1.0, 2.0]),
                is(line().ints(&[1], &[1]).ints(&[1], &[3]), &[1.0, 2.0]),
                is(line().constant_ints(&[1]).constant_ints(&[3]).left_out().constant_ints(&[2]), &[1.0]),
                is(
                    line()
                        .initializer(Tensor::from_vec(vec![1i32]))
                        .initializer(Tensor::from_vec(vec![3i32]))
                        .initializer(Tensor::from_vec(vec![-1i32])),
                    &[1.0, 2.0],
                ),
                is(line().opset(9).ints_attribute("starts", &[1]).ints_attribute("ends", &[-1]), &[1.0, 2.0, 3.0]),
                cube()
                    .opset(9)
                    .ints_attribute("starts", &[1])
                    .ints_attribute("ends", &[3])
                    .ints_attribute("axes", &[2]),
                cube().constant_ints(&[0, -1]).constant_ints(&[2, 0]).constant_ints(&[0, -1]).constant_ints(&[1, -2]),
                cube().constant_ints(&[1, 1, 1]).constant_ints(&[2, 3, 4]),
                cube().constant_ints(&[]).constant_ints(&[]),
                Case::new()
                    .random_input(&[0, 2])
                    .constant_ints(&[-1])
                    .constant_ints(&[-9])
                    .constant_ints(&[0])
                    .constant_ints(&[-1]),
                Case::new()
                    .tensor(Tensor::from_vec(vec!["a".to_string(), "b".to_string()]))
                    .constant_ints(&[-1])
                    .constant_ints(&[9])
                    .output_tensor(Tensor::from_vec(vec!["b".to_string()])),
                cut(0, 1, 0).error("steps other than 0"),
                line().constant_ints(&[1]).error("expected 3 to 5 inputs, found 2"),
                line().constant_ints(&[1, 2]).constant_ints(&[3]).error("as many starts"),
                line().constant_ints(&[1, 2]).constant_ints(&[3, 4]).error("as many starts"),
                cube().constant_ints(&[1, 1]).constant_ints(&[2, 2]).constant_ints(&[0, -3]).error("different axes"),
                line().constant_ints(&[1]).constant_ints(&[2]).constant_ints(&[1]).error("input 3"),
                line().input(&[1], &[1.0]).constant_ints(&[2]).error("expected i64 or i32"),
                line().opset(9).ints_attribute("starts", &[1]).error("attribute `ends`"),
                line().opset(9).ints_attribute("starts", &[1]).ints_attribute("ends", &[]).error("as many starts"),
            ],
        );
    }
}
