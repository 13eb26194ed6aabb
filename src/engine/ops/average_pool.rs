//! AveragePool: `Y[n, c, p]` is the mean of the elements under the window at `p`, those on padding counted as zeros with
//! `count_include_pad`, left out without. A window that lies on padding alone gives 0.
//!
//! The gradient is shared evenly. ONNX: <https://onnx.ai/onnx/operators/onnx__AveragePool.html>.

use super::pooling::{self, Pooling};
use super::window::Window;
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::with_float;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "AveragePool", since: 1, parse };

#[derive(Clone, Debug)]
struct AveragePool {
    window: Window,
    with_padding: bool,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(AveragePool {
        window: Window::parse_pool(node)?,
        with_padding: node.flag("count_include_pad", false)?,
    }))
}

impl Op for AveragePool {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let mut attributes = self.window.attributes();
        if self.with_padding {
            attributes.push(("count_include_pad", AttributeValue::Int(1)));
        }
        attributes
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(1..=1, 1..=1)?;
        Ok(vec![ValueType::new(inputs.float(0)?.dtype, pooling::shape(inputs, &self.window)?)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let x = signature.input(0)?;
        let pooling = Pooling::new(&self.window, &x.shape)?;
        with_float!(x.dtype, T => {
            let mut weights = Vec::with_capacity(pooling.positions());
            pooling.windows(|_, window| weights.push(T::of(1.0 / window.count(self.with_padding).max(1.0))));
            Box::new(AverageKernel { pooling, weights })
        })
    }

    fn is_differentiable(&self, _: usize) -> bool {
        true
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }
}

struct AverageKernel<T> {
    pooling: Pooling,
    /// What each element counts, by position.
    weights: Vec<T>,
}

impl<T: Float> Kernel for AverageKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let (x, y) = (io.input::<T>(0)?, io.output::<T>(0)?);
        let plane = self.pooling.plane();
        let cost = self.pooling.cost(y.len());
        io.env.pool.for_pieces(y, self.pooling.positions(), cost, |index, y| {
            let x = &x[index * plane..(index + 1) * plane];
            self.pooling.windows(|to, window| {
                let mut sum = T::zero();
                window.elements(|at| sum += x[at]);
                y[to] = sum * self.weights[to];
            });
        });
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let dy = io.d_output::<T>(0)?;
        let Some(dx) = io.d_input::<T>(0)? else { return Ok(()) };
        dx.fill(T::zero());
        let (plane, positions) = (self.pooling.plane().max(1), self.pooling.positions().max(1));
        for (dx, dy) in dx.chunks_exact_mut(plane).zip(dy.chunks_exact(positions)) {
            self.pooling.windows(|to, window| {
                let share = dy[to] * self.weights[to];
                window.elements(|at| dx[at] += share);
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        let one = || Case::new().input(&[1, 1, 4], &[1., 2., 3., 5.]).ints_attribute("kernel_shape", &[2]);
        let case =
            |shape: &[usize], kernel: &[i64]| Case::new().random_input(shape).ints_attribute("kernel_shape", kernel);
        check(
            "AveragePool",
            &[
                one().output(&[1, 1, 3], &[1.5, 2.5, 4.0]),
                one().ints_attribute("pads", &[1, 1]).output(&[1, 1, 5], &[1., 1.5, 2.5, 4., 5.]),
                one()
                    .ints_attribute("pads", &[1, 1])
                    .int("count_include_pad", 1)
                    .output(&[1, 1, 5], &[0.5, 1.5, 2.5, 4., 2.5]),
                one().ints_attribute("dilations", &[2]).output(&[1, 1, 2], &[2., 3.5]),
                // What lies beyond the padding does not count.
                one()
                    .ints_attribute("strides", &[3])
                    .int("ceil_mode", 1)
                    .int("count_include_pad", 1)
                    .output(&[1, 1, 2], &[1.5, 5.]),
                one().string("auto_pad", "SAME_LOWER").output(&[1, 1, 4], &[1., 1.5, 2.5, 4.]),
                case(&[2, 3, 5, 6], &[2, 3]).ints_attribute("pads", &[1, 0, 1, 2]).ints_attribute("strides", &[2, 1]),
                case(&[1, 2, 3, 4, 3], &[2, 2, 2]).int("ceil_mode", 1).ints_attribute("strides", &[2, 2, 2]),
                case(&[0, 2, 5], &[2]),
                case(&[0, 1, 1 << 17, 1 << 17], &[1, 1]).error("which is more than the"),
                // All but one element of the window lies on padding.
                Case::new()
                    .input(&[1, 1, 1, 1, 1], &[3.])
                    .ints_attribute("kernel_shape", &[i64::from(i32::MAX); 3])
                    .ints_attribute(
                        "pads",
                        &[i64::from(i32::MAX) - 1, 0, 7, 0, i64::from(i32::MAX) - 1, i64::from(i32::MAX) - 8],
                    )
                    .output(&[1, 1, 1, 1, 1], &[3.]),
                case(&[1, 1, 3], &[4]).error("fits into 3 elements"),
                case(&[1, 3], &[]).error("expected rank 3 to 5"),
                one().int("count_include_pad", 3).error("expected 0 or 1"),
                one().int("storage_order", 0).error("storage_order"),
            ],
        );
    }
}
