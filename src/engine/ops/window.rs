//! Windows that slide over the last dimensions: what convolution and pooling have in common.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Conv.html>, <https://onnx.ai/onnx/operators/onnx__MaxPool.html>.

use std::ops::Range;

use crate::engine::attributes::NodeReader;
use crate::engine::error::OpError;
use crate::onnx::AttributeValue;
use crate::tensor::Dim;

/// No attribute may be larger: sums and products of two stay far from overflow.
const LARGEST: usize = i32::MAX as usize;

/// Where padding comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoPad {
    /// The attribute `pads`.
    NotSet,
    /// As many outputs as inputs per stride; an odd one goes to the end.
    SameUpper,
    /// The same; an odd one goes to the beginning.
    SameLower,
    /// None.
    Valid,
}

/// `strides`, `dilations` and `pads` with a value for each dimension, and `auto_pad`.
pub type Settings = (Vec<usize>, Vec<usize>, Vec<usize>, AutoPad);

/// The attributes of a sliding window.
#[derive(Clone, Debug)]
pub struct Window {
    kernel: Option<Vec<usize>>,
    strides: Option<Vec<usize>>,
    dilations: Option<Vec<usize>>,
    pads: Option<Vec<usize>>,
    auto_pad: AutoPad,
    ceil: bool,
}

/// A window along one dimension, all sizes known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Elements of the input.
    pub input: usize,
    /// Positions of the window.
    pub output: usize,
    /// Elements of the window.
    pub kernel: usize,
    /// Input elements between neighbouring positions.
    pub stride: usize,
    /// Input elements between neighbouring elements of the window.
    pub dilation: usize,
    /// Padding before the input.
    pub before: usize,
    /// Padding after the input.
    pub after: usize,
}

impl Axis {
    /// A dimension that does nothing.
    pub const ONE: Axis = Axis { input: 1, output: 1, kernel: 1, stride: 1, dilation: 1, before: 0, after: 0 };

    /// The positions at which element `tap` of the window lies on the input.
    pub fn positions(&self, tap: usize) -> Range<usize> {
        let shift = tap * self.dilation;
        let first = self.before.saturating_sub(shift).div_ceil(self.stride).min(self.output);
        let end = (self.input + self.before).saturating_sub(shift).div_ceil(self.stride).min(self.output);
        first..end.max(first)
    }

    /// The elements of the window that lie on the input at `position`.
    pub fn taps(&self, position: usize) -> Range<usize> {
        let shift = position * self.stride;
        let first = self.before.saturating_sub(shift).div_ceil(self.dilation).min(self.kernel);
        let end = (self.input + self.before).saturating_sub(shift).div_ceil(self.dilation).min(self.kernel);
        first..end.max(first)
    }

    /// The input element under element `tap` at `position`, which must lie on the input.
    pub fn at(&self, position: usize, tap: usize) -> usize {
        position * self.stride + tap * self.dilation - self.before
    }

    /// Whether the window is one element that visits each input element once.
    pub fn is_identity(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.before == 0 && self.after == 0
    }
}

impl Window {
    /// Reads `kernel_shape`, `strides`, `dilations`, `pads` and `auto_pad`.
    pub fn parse(node: &NodeReader<'_>) -> Result<Self, OpError> {
        let auto_pad = match node.string("auto_pad")? {
            None | Some("NOTSET" | "") => AutoPad::NotSet,
            Some("SAME_UPPER") => AutoPad::SameUpper,
            Some("SAME_LOWER") => AutoPad::SameLower,
            Some("VALID") => AutoPad::Valid,
            Some(found) => {
                return Err(OpError::Attribute {
                    name: "auto_pad".into(),
                    expected: "NOTSET, SAME_UPPER, SAME_LOWER or VALID".into(),
                    found: found.into(),
                });
            }
        };
        let window = Window {
            kernel: bounded(node, "kernel_shape", 1)?,
            strides: bounded(node, "strides", 1)?,
            dilations: bounded(node, "dilations", 1)?,
            pads: bounded(node, "pads", 0)?,
            auto_pad,
            ceil: false,
        };
        match &window.pads {
            Some(pads) if auto_pad != AutoPad::NotSet && pads.iter().any(|pad| *pad > 0) => Err(OpError::Attribute {
                name: "pads".into(),
                expected: "none beside auto_pad".into(),
                found: format!("{pads:?}"),
            }),
            _ => Ok(window),
        }
    }

    /// The same, with `ceil_mode`, and with `kernel_shape` required.
    pub fn parse_pool(node: &NodeReader<'_>) -> Result<Self, OpError> {
        Window { ceil: node.flag("ceil_mode", false)?, ..Window::parse(node)? }.with_kernel()
    }

    /// `kernel_shape`, `strides` and `pads` alone, with `kernel_shape` required.
    pub fn parse_unpool(node: &NodeReader<'_>) -> Result<Self, OpError> {
        let window = Window {
            kernel: bounded(node, "kernel_shape", 1)?,
            strides: bounded(node, "strides", 1)?,
            dilations: None,
            pads: bounded(node, "pads", 0)?,
            auto_pad: AutoPad::NotSet,
            ceil: false,
        };
        window.with_kernel()
    }

    fn with_kernel(self) -> Result<Self, OpError> {
        match self.kernel {
            Some(_) => Ok(self),
            None => Err(OpError::Attribute {
                name: "kernel_shape".into(),
                expected: "the size of the window".into(),
                found: "none".into(),
            }),
        }
    }

    /// The attributes, without those that are not needed.
    pub fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let mut attributes = Vec::new();
        let lists = [
            ("kernel_shape", &self.kernel),
            ("strides", &self.strides),
            ("dilations", &self.dilations),
            ("pads", &self.pads),
        ];
        for (name, list) in lists {
            if let Some(list) = list {
                attributes.push((name, AttributeValue::Ints(list.iter().map(|value| *value as i64).collect())));
            }
        }
        let auto_pad = match self.auto_pad {
            AutoPad::NotSet => None,
            AutoPad::SameUpper => Some("SAME_UPPER"),
            AutoPad::SameLower => Some("SAME_LOWER"),
            AutoPad::Valid => Some("VALID"),
        };
        if let Some(auto_pad) = auto_pad {
            attributes.push(("auto_pad", AttributeValue::String(auto_pad.into())));
        }
        if self.ceil {
            attributes.push(("ceil_mode", AttributeValue::Int(1)));
        }
        attributes
    }

    /// The attribute `kernel_shape`.
    pub fn kernel(&self) -> Option<&[usize]> {
        self.kernel.as_deref()
    }

    /// The attributes `strides`, `dilations` and `pads` for `rank` dimensions, and `auto_pad`.
    pub fn settings(&self, rank: usize) -> Result<Settings, OpError> {
        Ok((
            listed("strides", &self.strides, rank, 1)?,
            listed("dilations", &self.dilations, rank, 1)?,
            listed("pads", &self.pads, 2 * rank, 0)?,
            self.auto_pad,
        ))
    }

    /// Refuses a `kernel_shape` that disagrees with the `kernel` that the weights have.
    pub fn expect_kernel(&self, kernel: &[Dim]) -> Result<(), OpError> {
        let Some(own) = &self.kernel else { return Ok(()) };
        let agree =
            own.len() == kernel.len() && own.iter().zip(kernel).all(|(own, dim)| dim.accepts(&Dim::Known(*own)));
        if agree {
            return Ok(());
        }
        let sizes: Vec<String> = kernel.iter().map(Dim::to_string).collect();
        Err(OpError::Attribute {
            name: "kernel_shape".into(),
            expected: format!("[{}], as the weights are", sizes.join(", ")),
            found: format!("{own:?}"),
        })
    }

    /// The windows over an input of `sizes` with a kernel of `kernel`; `None` where either is unknown.
    fn resolve(&self, input: &[Option<usize>], kernel: &[Option<usize>]) -> Result<Vec<Option<Axis>>, OpError> {
        let rank = input.len();
        let (strides, dilations, pads, auto_pad) = self.settings(rank)?;
        let mut axes = Vec::with_capacity(rank);
        for index in 0..rank {
            let (Some(input), Some(kernel)) = (input[index], kernel[index]) else {
                axes.push(None);
                continue;
            };
            let (stride, dilation) = (strides[index], dilations[index]);
            let does_not_fit = |input: usize| OpError::Attribute {
                name: "kernel_shape".into(),
                expected: format!("a window that fits into {input} elements with their padding"),
                found: format!("{kernel} elements, dilated by {dilation}"),
            };
            if kernel == 0 || kernel > LARGEST || input > isize::MAX as usize / 4 {
                return Err(does_not_fit(input));
            }
            let extent = (kernel - 1) * dilation + 1;
            let (before, after, output) = match auto_pad {
                AutoPad::SameUpper | AutoPad::SameLower => {
                    let output = input.div_ceil(stride);
                    let total = (output.saturating_sub(1) * stride + extent).saturating_sub(input);
                    let (less, more) = (total / 2, total - total / 2);
                    match auto_pad {
                        AutoPad::SameUpper => (less, more, output),
                        _ => (more, less, output),
                    }
                }
                AutoPad::NotSet | AutoPad::Valid => {
                    let (before, after) = match auto_pad {
                        AutoPad::NotSet => (pads[index], pads[index + rank]),
                        _ => (0, 0),
                    };
                    let room = (input + before + after).checked_sub(extent).ok_or_else(|| does_not_fit(input))?;
                    let mut output = room / stride + 1;
                    if self.ceil {
                        output = room.div_ceil(stride) + 1;
                        // The last position does not begin in the padding after the input.
                        if (output - 1) * stride >= input + before {
                            output -= 1;
                        }
                    }
                    (before, after, output)
                }
            };
            if output > LARGEST {
                return Err(OpError::TooLarge { shape: format!("[…, {output}, …]") });
            }
            axes.push(Some(Axis { input, output, kernel, stride, dilation, before, after }));
        }
        Ok(axes)
    }

    /// How many positions there are along each dimension, where known. `kernel` has as many dimensions as `input`.
    pub fn outputs(&self, input: &[Dim], kernel: &[Dim]) -> Result<Vec<Dim>, OpError> {
        let known = |dims: &[Dim]| dims.iter().map(Dim::known).collect::<Vec<_>>();
        let axes = self.resolve(&known(input), &known(kernel))?;
        Ok(axes.into_iter().map(|axis| axis.map_or(Dim::Any, |axis| Dim::Known(axis.output))).collect())
    }

    /// The windows along one to three dimensions; where there are fewer than three, the first do nothing.
    pub fn axes(&self, input: &[usize], kernel: &[usize]) -> Result<[Axis; 3], OpError> {
        let known = |sizes: &[usize]| sizes.iter().map(|size| Some(*size)).collect::<Vec<_>>();
        let resolved = self.resolve(&known(input), &known(kernel))?;
        let mut axes = [Axis::ONE; 3];
        for (to, axis) in axes.iter_mut().rev().zip(resolved.into_iter().rev().flatten()) {
            *to = axis;
        }
        Ok(axes)
    }
}

/// An attribute of sizes, none smaller than `least`.
pub(super) fn bounded(node: &NodeReader<'_>, name: &'static str, least: usize) -> Result<Option<Vec<usize>>, OpError> {
    let sizes = node.sizes(name)?;
    match &sizes {
        Some(values) if values.iter().any(|value| *value < least || *value > LARGEST) => Err(OpError::Attribute {
            name: name.into(),
            expected: format!("integers from {least} to {LARGEST}"),
            found: format!("{values:?}"),
        }),
        _ => Ok(sizes),
    }
}

fn listed(name: &str, list: &Option<Vec<usize>>, count: usize, default: usize) -> Result<Vec<usize>, OpError> {
    match list {
        None => Ok(vec![default; count]),
        Some(list) if list.len() == count => Ok(list.clone()),
        Some(list) => Err(OpError::Attribute {
            name: name.into(),
            expected: format!("{count} values"),
            found: format!("{} values", list.len()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_and_taps_are_those_on_the_input() {
        for input in [1usize, 2, 5, 9] {
            for (kernel, stride, dilation, before, after) in
                [(1, 1, 1, 0, 0), (3, 1, 1, 1, 1), (3, 2, 1, 0, 1), (2, 3, 2, 2, 1), (5, 1, 2, 4, 6), (1, 2, 1, 3, 3)]
            {
                let Some(room) = (input + before + after).checked_sub((kernel - 1) * dilation + 1) else {
                    continue;
                };
                let axis = Axis { input, output: room / stride + 1, kernel, stride, dilation, before, after };
                let on = |o: usize, k: usize| (before..before + input).contains(&(o * stride + k * dilation));
                for tap in 0..kernel {
                    let expected: Vec<usize> = (0..axis.output).filter(|o| on(*o, tap)).collect();
                    assert_eq!(axis.positions(tap).collect::<Vec<_>>(), expected, "{axis:?} tap {tap}");
                }
                for position in 0..axis.output {
                    let expected: Vec<usize> = (0..kernel).filter(|k| on(position, *k)).collect();
                    assert_eq!(axis.taps(position).collect::<Vec<_>>(), expected, "{axis:?} position {position}");
                }
            }
        }
    }
}
