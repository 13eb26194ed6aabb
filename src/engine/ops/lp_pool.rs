//! LpPool: `Y[n, c, p]` is the `p`-norm of the elements under the window at `p`; padding is zero.
//!
//! `dX = Σ dY·sign(X)·(|X|/Y)^(p−1)` over the windows that an element lies under.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__LpPool.html>.

use std::marker::PhantomData;

use super::lp_norm;
use super::pooling::{self, Pooling};
use super::window::Window;
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::with_float;
use crate::engine::op::{Inputs, Op, Signature, ValueType};
use crate::onnx::AttributeValue;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "LpPool", since: 2, parse };

#[derive(Clone, Debug)]
struct LpPool {
    window: Window,
    p: u16,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(LpPool { window: Window::parse_pool(node)?, p: lp_norm::order(node)? }))
}

impl Op for LpPool {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let mut attributes = self.window.attributes();
        if self.p != 2 {
            attributes.push(("p", AttributeValue::Int(self.p.into())));
        }
        attributes
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(1..=1, 1..=1)?;
        Ok(vec![ValueType::new(inputs.float(0)?.dtype, pooling::shape(inputs, &self.window)?)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let x = signature.input(0)?;
        let (pooling, p) = (Pooling::new(&self.window, &x.shape)?, self.p);
        with_float!(x.dtype, T => Box::new(LpKernel::<T> { pooling, p, kind: PhantomData }))
    }

    fn is_differentiable(&self, _: usize) -> bool {
        true
    }
}

struct LpKernel<T> {
    pooling: Pooling,
    p: u16,
    kind: PhantomData<fn(T)>,
}

impl<T: Float> Kernel for LpKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let (x, y) = (io.input::<T>(0)?, io.output::<T>(0)?);
        let (plane, p) = (self.pooling.plane(), self.p);
        let cost = self.pooling.cost(y.len());
        io.env.pool.for_pieces(y, self.pooling.positions(), cost, |index, y| {
            let x = &x[index * plane..(index + 1) * plane];
            self.pooling.windows(|to, window| {
                let mut sum = T::zero();
                window.elements(|at| sum += lp_norm::power(x[at], p));
                y[to] = lp_norm::root(sum, p);
            });
        });
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let (x, y, dy) = (io.input::<T>(0)?, io.output::<T>(0)?, io.d_output::<T>(0)?);
        let Some(dx) = io.d_input::<T>(0)? else { return Ok(()) };
        dx.fill(T::zero());
        let (plane, positions) = (self.pooling.plane().max(1), self.pooling.positions().max(1));
        let outputs = y.chunks_exact(positions).zip(dy.chunks_exact(positions));
        for ((dx, x), (y, dy)) in dx.chunks_exact_mut(plane).zip(x.chunks_exact(plane)).zip(outputs) {
            self.pooling.windows(|to, window| {
                window.elements(|at| dx[at] += dy[to] * lp_norm::derivative(x[at], y[to], self.p));
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
        let one = || Case::new().input(&[1, 1, 4], &[3., -4., 0., 1.]).ints_attribute("kernel_shape", &[2]);
        let case =
            |shape: &[usize], kernel: &[i64]| Case::new().random_input(shape).ints_attribute("kernel_shape", kernel);
        check(
            "LpPool",
            &[
                one().output(&[1, 1, 3], &[5., 4., 1.]),
                one()
                    .int("p", 1)
                    .ints_attribute("pads", &[1, 0])
                    .output(&[1, 1, 4], &[3., 7., 4., 1.])
                    .without_gradient(),
                case(&[2, 3, 5, 6], &[2, 3]).int("p", 3).ints_attribute("pads", &[1, 0, 1, 2]),
                case(&[1, 2, 3, 4, 3], &[2, 2, 2]).int("p", 4).ints_attribute("strides", &[2, 2, 1]),
                case(&[1, 2, 7], &[3]).int("p", 1).ints_attribute("dilations", &[2]),
                case(&[0, 2, 5], &[2]),
                one().int("p", 0).error("`p`: expected an integer from 1"),
                one().int("count_include_pad", 0).error("count_include_pad"),
            ],
        );
    }
}
