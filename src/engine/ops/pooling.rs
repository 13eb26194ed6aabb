//! What the pooling operators have in common: windows over planes, one plane for each item and channel.

use super::window::{Axis, Window};
use crate::engine::error::OpError;
use crate::engine::op::Inputs;
use crate::tensor::{Dim, SymbolicShape};

/// The shape of input 0 pooled by `window`.
pub fn shape(inputs: &Inputs<'_>, window: &Window) -> Result<SymbolicShape, OpError> {
    let Some(dims) = inputs.dims(0, 3..=5)? else { return Ok(SymbolicShape::Unranked) };
    let kernel = kernel(window, dims.len() - 2)?;
    let kernel: Vec<Dim> = kernel.iter().map(|size| Dim::Known(*size)).collect();
    let mut shape = dims[..2].to_vec();
    shape.extend(window.outputs(&dims[2..], &kernel)?);
    Ok(SymbolicShape::Ranked(shape))
}

/// The attribute `kernel_shape`, for windows of `rank` dimensions.
pub fn kernel(window: &Window, rank: usize) -> Result<&[usize], OpError> {
    let kernel = window.kernel().unwrap_or_default();
    match kernel.len() == rank {
        true => Ok(kernel),
        false => Err(OpError::Attribute {
            name: "kernel_shape".into(),
            expected: format!("{rank} values"),
            found: format!("{} values", kernel.len()),
        }),
    }
}

/// Windows over planes.
#[derive(Clone, Debug)]
pub struct Pooling {
    /// How many planes there are.
    pub planes: usize,
    /// The windows along depth, height and width.
    pub axes: [Axis; 3],
}

impl Pooling {
    /// The windows over an input of `shape`.
    pub fn new(window: &Window, shape: &[usize]) -> Result<Self, OpError> {
        let &[items, channels, ref sizes @ ..] = shape else {
            return Err(OpError::Plan { what: "pooling of rank 1".into() });
        };
        Ok(Pooling { planes: items * channels, axes: window.axes(sizes, kernel(window, sizes.len())?)? })
    }

    /// Elements of one plane of the input.
    pub fn plane(&self) -> usize {
        self.axes.iter().map(|axis| axis.input).product()
    }

    /// Elements of one plane of the output.
    pub fn positions(&self) -> usize {
        self.axes.iter().map(|axis| axis.output).product()
    }

    /// Elements of the output.
    pub fn output_len(&self) -> usize {
        self.planes * self.positions()
    }
}
