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

    /// Nanoseconds that `len` outputs take on one core, roughly.
    pub fn cost(&self, len: usize) -> usize {
        self.axes.iter().fold(len, |cost, axis| cost.saturating_mul(axis.kernel))
    }

    /// Elements of the output.
    pub fn output_len(&self) -> usize {
        self.planes * self.positions()
    }

    /// Calls `each` with the number of every position on a plane and the window there.
    pub fn windows(&self, mut each: impl FnMut(usize, Place<'_>)) {
        let [d, h, w] = &self.axes;
        let mut to = 0;
        for depth in 0..d.output {
            for height in 0..h.output {
                for width in 0..w.output {
                    each(to, Place { axes: &self.axes, position: [depth, height, width] });
                    to += 1;
                }
            }
        }
    }
}

/// A window at a position.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    axes: &'a [Axis; 3],
    position: [usize; 3],
}

impl Place<'_> {
    /// Calls `each` with every element of the plane that lies under the window, row by row.
    pub fn elements(&self, mut each: impl FnMut(usize)) {
        let [d, h, w] = self.axes;
        let [depth, height, width] = self.position;
        let columns = w.taps(width);
        if columns.is_empty() {
            return;
        }
        for k in d.taps(depth) {
            let plane = d.at(depth, k) * h.input;
            for j in h.taps(height) {
                let first = (plane + h.at(height, j)) * w.input + w.at(width, columns.start);
                for at in (first..).step_by(w.dilation).take(columns.len()) {
                    each(at);
                }
            }
        }
    }

    /// How many elements of the window lie on the input, or on the input and its padding; they may be more than can be
    /// counted by integers.
    pub fn count(&self, with_padding: bool) -> f64 {
        let along = |(axis, position): (&Axis, &usize)| match with_padding {
            false => axis.taps(*position).len() as f64,
            true => {
                let padded = Axis { input: axis.before + axis.input + axis.after, before: 0, ..*axis };
                padded.taps(*position).len() as f64
            }
        };
        self.axes.iter().zip(&self.position).map(along).product()
    }
}
