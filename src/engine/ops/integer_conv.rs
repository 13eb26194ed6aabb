//! Convolutions of 8-bit integers, for ConvInteger and QLinearConv.

use super::integer_products::{Operand, single};
use super::window::Window;
use crate::engine::error::OpError;
use crate::engine::kernel::Forward;
use crate::engine::kernels::convolution::{Convolution, Sizes};
use crate::engine::op::Signature;

/// The convolution, with its memory.
pub struct IntegerConvolution {
    x: Operand,
    w: Operand,
    convolution: Convolution<f64>,
    bias: Option<Vec<f64>>,
    /// The sums.
    pub sums: Vec<f64>,
}

impl IntegerConvolution {
    /// The convolution of input `x` with the weights at `w`, each with its zero point, and an i32 bias at `b`.
    pub fn new(
        signature: &Signature,
        [x, x_zero]: [usize; 2],
        [w, w_zero]: [usize; 2],
        b: Option<usize>,
        group: usize,
        window: &Window,
    ) -> Result<Self, OpError> {
        single(signature, x_zero)?;
        let (image, weights) = (&signature.input(x)?.shape, &signature.input(w)?.shape);
        let (&[items, _, ref image @ ..], &[filters, channels, ref kernel @ ..]) =
            (image.as_slice(), weights.as_slice())
        else {
            return Err(OpError::Plan { what: "a convolution of rank 1".into() });
        };
        let axes = window.axes(image, kernel)?;
        let sizes = Sizes { items, groups: group, channels, filters: filters / group, axes };
        let bias = b.and_then(|b| signature.optional_input(b)).map(|b| vec![0.0; b.len()]);
        let w = Operand::new(signature, w, w_zero, weights.len())?;
        let x = Operand::new(signature, x, x_zero, 1)?;
        let sums = vec![0.0; signature.output(0)?.len()];
        Ok(IntegerConvolution { x, w, convolution: Convolution::new(sizes), bias, sums })
    }

    /// Computes the sums.
    pub fn run(&mut self, io: &Forward<'_>, b: Option<&[i32]>) -> Result<(), OpError> {
        self.x.read(io)?;
        self.w.read(io)?;
        if let (Some(to), Some(b)) = (&mut self.bias, b) {
            for (to, b) in to.iter_mut().zip(b) {
                *to = f64::from(*b);
            }
        }
        let (x, w) = (&self.x.values, &self.w.values);
        self.convolution.forward(x, w, self.bias.as_deref(), &mut self.sums, None, io.env.pool);
        Ok(())
    }
}
