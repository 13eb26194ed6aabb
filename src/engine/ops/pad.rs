//! Pad: elements put in front of and behind each axis, or (negative counts) taken away.
//!
//! Modes: `constant` (a value, 0 unless given), `reflect` (mirrored at the outermost element), `edge` (the outermost
//! element), `wrap` (as if the tensor were repeated). What is taken away is so first. Each element receives the sum of
//! the gradients of its copies. The counts are an attribute below version 11, inputs from there on.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Pad.html>.

use super::rearrange::{Axis, Fill, Rearrange, built_integers, distinct_axes, kernel, strides};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::Kernel;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::{Dim, SymbolicShape};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Pad", since: 2, parse };

#[derive(Clone, Debug)]
struct Pad {
    mode: Mode,
    /// Counts and value; `None`: they are inputs.
    given: Option<(Vec<i64>, f32)>,
    /// Whether the axes may be an input.
    axes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Constant,
    Reflect,
    Edge,
    Wrap,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::Constant => "constant",
            Mode::Reflect => "reflect",
            Mode::Edge => "edge",
            Mode::Wrap => "wrap",
        }
    }

    /// The position in an axis of `size` elements that lies at `at`, which may be beyond it.
    fn position(self, at: i64, size: i64) -> Option<i64> {
        if (0..size).contains(&at) {
            return Some(at);
        }
        match self {
            Mode::Constant => None,
            Mode::Edge => Some(at.clamp(0, size - 1)),
            Mode::Wrap => Some(at.rem_euclid(size)),
            Mode::Reflect if size == 1 => Some(0),
            Mode::Reflect => {
                let at = at.rem_euclid(2 * (size - 1));
                Some(at.min(2 * (size - 1) - at))
            }
        }
    }
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let mode = match node.string("mode")? {
        None | Some("constant") => Mode::Constant,
        Some("reflect") => Mode::Reflect,
        Some("edge") => Mode::Edge,
        Some("wrap") if node.opset() >= 19 => Mode::Wrap,
        Some(found) => {
            let expected = match node.opset() {
                ..19 => "constant, reflect or edge",
                _ => "constant, reflect, edge or wrap",
            };
            return Err(OpError::Attribute { name: "mode".into(), expected: expected.into(), found: found.into() });
        }
    };
    let given = if node.opset() < 11 {
        let missing =
            || OpError::Attribute { name: "pads".into(), expected: "integers".into(), found: "nothing".into() };
        Some((node.ints("pads")?.ok_or_else(missing)?, node.float("value")?.unwrap_or(0.0)))
    } else {
        None
    };
    Ok(Box::new(Pad { mode, given, axes: node.opset() >= 18 }))
}

/// The most elements that may be put on one side.
const MAX_PAD: i64 = 1 << 34;

impl Pad {
    /// In front and behind, for each axis.
    fn counts(&self, counts: &[i64], axes: Option<&[i64]>, rank: usize) -> Result<Vec<(i64, i64)>, OpError> {
        let axes = match axes {
            Some(axes) => distinct_axes(Some(3), axes, rank)?,
            None => (0..rank).collect(),
        };
        if counts.len() != 2 * axes.len() || counts.iter().any(|count| !(-MAX_PAD..=MAX_PAD).contains(count)) {
            let expected = format!("{} counts, two for each axis, none beyond 2^34", 2 * axes.len());
            let found = format!("{counts:?}");
            return Err(match self.given {
                Some(_) => OpError::Attribute { name: "pads".into(), expected, found },
                None => OpError::Value { input: 1, expected, found },
            });
        }
        let mut pads = vec![(0, 0); rank];
        let (before, after) = counts.split_at(axes.len());
        for (axis, (before, after)) in axes.into_iter().zip(before.iter().zip(after)) {
            pads[axis] = (*before, *after);
        }
        Ok(pads)
    }

    /// The size of an axis of `size` with `pads`.
    fn size(&self, size: usize, (before, after): (i64, i64)) -> Result<usize, OpError> {
        let wrong = |expected: String| OpError::Value { input: 1, expected, found: format!("{before} and {after}") };
        let given = i64::try_from(size).unwrap_or(i64::MAX);
        let kept = given + before.min(0) + after.min(0);
        if kept < 0 {
            return Err(wrong(format!("to take away at most the {size} elements of an axis")));
        }
        let total = kept.saturating_add(before.max(0)).saturating_add(after.max(0));
        if kept == 0 && total > 0 && self.mode != Mode::Constant {
            return Err(wrong(format!("no elements put to an empty axis in mode {}", self.mode.name())));
        }
        usize::try_from(total).map_err(|_| wrong("fewer elements".into()))
    }
}

impl Op for Pad {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let mut attributes = Vec::new();
        if self.mode != Mode::Constant {
            attributes.push(("mode", AttributeValue::String(self.mode.name().into())));
        }
        if let Some((pads, value)) = &self.given {
            attributes.push(("pads", AttributeValue::Ints(pads.clone())));
            if *value != 0.0 {
                attributes.push(("value", AttributeValue::Float(*value)));
            }
        }
        attributes
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        let x = inputs.required(0)?;
        let counts = match &self.given {
            Some((counts, _)) => {
                inputs.expect(1..=1, 1..=1)?;
                inputs.float(0)?;
                Some(counts.clone())
            }
            None => {
                inputs.expect(2..=if self.axes { 4 } else { 3 }, 1..=1)?;
                inputs.integers(1)?
            }
        };
        inputs.same_dtype(2, x.dtype)?;
        if let Some(value) = inputs.optional(2)
            && value.sizes().is_some_and(|sizes| sizes.iter().copied().fold(1, usize::saturating_mul) > 1)
        {
            return Err(OpError::Shape { input: 2, expected: "one value".into(), found: value.shape.clone() });
        }
        let axes = match inputs.optional(3) {
            None => Some(None),
            Some(_) => inputs.integers(3)?.map(Some),
        };
        let Some(dims) = x.dims() else { return Ok(vec![ValueType::new(x.dtype, SymbolicShape::Unranked)]) };
        let (Some(counts), Some(axes)) = (counts, axes) else {
            return Ok(vec![ValueType::ranked(x.dtype, vec![Dim::Any; dims.len()])]);
        };
        let pads = self.counts(&counts, axes.as_deref(), dims.len())?;
        let dims = dims.iter().zip(pads).map(|(dim, pads)| {
            Ok(match dim {
                Dim::Known(size) => Dim::Known(self.size(*size, pads)?),
                unknown if pads == (0, 0) => unknown.clone(),
                _ => Dim::Any,
            })
        });
        Ok(vec![ValueType::ranked(x.dtype, dims.collect::<Result<_, OpError>>()?)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (x, y) = (signature.input(0)?, signature.output(0)?);
        let (counts, fill) = match &self.given {
            Some((counts, value)) => (Some(counts.clone()), Fill::Number(*value)),
            None => (built_integers(signature, 1)?, Fill::Input(2)),
        };
        let counts = counts.ok_or(OpError::MissingInput { input: 1 })?;
        let axes = built_integers(signature, 3)?;
        let pads = self.counts(&counts, axes.as_deref(), x.shape.len())?;
        let places = strides(&x.shape);
        let axes = x.shape.iter().zip(&y.shape).zip(places).zip(pads).map(|(((given, size), stride), pads)| {
            let (before, after) = pads;
            // What is left of the axis, from `first` on.
            let first = -before.min(0);
            let kept = *given as i64 - first + after.min(0);
            let position =
                |at: usize| self.mode.position(at as i64 - before.max(0), kept).map(|at| (at + first) as usize);
            Axis::new(stride, (0..*size).map(position))
        });
        kernel(x, Rearrange::new(&y.shape, axes), fill)
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1, 3]
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
        let line = || Case::new().input(&[3], &[1.0, 2.0, 3.0]);
        let plane = || Case::new().random_input(&[3, 4]);
        let is = |case: Case, values: &[f64]| case.output(&[values.len()], values);
        let mode = |mode: &str| line().string("mode", mode);
        check(
            "Pad",
            &[
                is(line().constant_ints(&[2, 1]), &[0.0, 0.0, 1.0, 2.0, 3.0, 0.0]),
                is(line().constant_ints(&[2, 1]).input(&[], &[9.0]), &[9.0, 9.0, 1.0, 2.0, 3.0, 9.0])
                    .without_gradient(),
                is(line().ints(&[2], &[0, 1]).input(&[1], &[9.0]).without_gradient(), &[1.0, 2.0, 3.0, 9.0]),
                is(line().constant_ints(&[-1, 1]), &[2.0, 3.0, 0.0]),
                is(line().constant_ints(&[-1, -2]), &[]),
                is(mode("reflect").constant_ints(&[2, 1]), &[3.0, 2.0, 1.0, 2.0, 3.0, 2.0]),
                is(mode("reflect").constant_ints(&[0, 5]), &[1.0, 2.0, 3.0, 2.0, 1.0, 2.0, 3.0, 2.0]),
                is(mode("reflect").constant_ints(&[-1, 2]), &[2.0, 3.0, 2.0, 3.0]),
                is(mode("edge").constant_ints(&[2, 1]), &[1.0, 1.0, 1.0, 2.0, 3.0, 3.0]),
                is(mode("edge").constant_ints(&[2, -1]), &[1.0, 1.0, 1.0, 2.0]),
                is(mode("wrap").constant_ints(&[2, 4]), &[2.0, 3.0, 1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 1.0]),
                is(line().opset(10).ints_attribute("pads", &[1, 0]).float("value", 0.5), &[0.5, 1.0, 2.0, 3.0]),
                is(line().opset(13).constant_ints(&[1, 0]), &[0.0, 1.0, 2.0, 3.0]),
                plane().constant_ints(&[1, 2]).left_out().constant_ints(&[-1]),
                plane().constant_ints(&[1, 2, 0, 1]).string("mode", "reflect"),
                plane().constant_ints(&[1, 2, 4, 1]).string("mode", "edge"),
                plane().constant_ints(&[1, -2, 4, 1]).string("mode", "wrap"),
                plane().constant_ints(&[0, 1, 2, 0]),
                Case::new().random_input(&[0, 2]).constant_ints(&[1, 1, 0, 0]),
                Case::new().random_input(&[]).constant_ints(&[]),
                Case::new()
                    .input(&[1], &[5.0])
                    .constant_ints(&[2, 1])
                    .string("mode", "reflect")
                    .output(&[4], &[5.0; 4]),
                Case::new()
                    .tensor(Tensor::from_vec(vec![1i32]))
                    .constant_ints(&[0, 1])
                    .tensor(Tensor::scalar(7i32))
                    .output_tensor(Tensor::from_vec(vec![1i32, 7])),
                line().constant_ints(&[1]).error("2 counts, two for each axis"),
                line().constant_ints(&[i64::MIN, 0]).error("none beyond 2^34"),
                line().constant_ints(&[-2, -2]).error("at most the 3 elements"),
                line().constant_ints(&[1, 1]).input(&[2], &[0.0, 0.0]).error("one value"),
                line().constant_ints(&[1, 1]).ints(&[], &[0]).error("input 2: expected"),
                line().constant_ints(&[1, 1]).left_out().constant_ints(&[1]).error("different axes of rank 1"),
                line().opset(13).constant_ints(&[1, 1]).left_out().constant_ints(&[0]).error("expected 2 to 3 inputs"),
                line().opset(10).error("attribute `pads`"),
                mode("mirror").constant_ints(&[1, 1]).error("constant, reflect, edge or wrap"),
                mode("wrap").opset(18).constant_ints(&[1, 1]).error("constant, reflect or edge"),
                Case::new().random_input(&[0]).constant_ints(&[1, 1]).string("mode", "edge").error("an empty axis"),
            ],
        );
    }
}
