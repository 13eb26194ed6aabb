//! MaxPool: `Y[n, c, p]` is the largest element under the window at `p`; the second output says where it lies.
//!
//! The gradient goes to that element: the first of equal ones. A NaN counts as the largest. A window that lies on
//! padding alone gives the lowest number and index -1.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__MaxPool.html>.

use super::pooling::{self, Pooling};
use super::window::Window;
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::cell::Scalar;
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::with_float;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::DType;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "MaxPool", since: 1, parse };

#[derive(Clone, Debug)]
struct MaxPool {
    window: Window,
    /// Indices count along the first spatial dimension first.
    column_major: bool,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(MaxPool { window: Window::parse_pool(node)?, column_major: node.flag("storage_order", false)? }))
}

impl Op for MaxPool {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let mut attributes = self.window.attributes();
        if self.column_major {
            attributes.push(("storage_order", AttributeValue::Int(1)));
        }
        attributes
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(1..=1, 1..=2)?;
        let pooled = |dtype| matches!(dtype, DType::F32 | DType::F64 | DType::I8 | DType::U8);
        let dtype = inputs.of(0, "f32, f64, i8 or u8", pooled)?.dtype;
        let shape = pooling::shape(inputs, &self.window)?;
        Ok(vec![ValueType::new(dtype, shape.clone()), ValueType::new(DType::I64, shape)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let x = signature.input(0)?;
        let pooling = Pooling::new(&self.window, &x.shape)?;
        if pooling.plane() > u32::MAX as usize - 1 {
            return Err(OpError::TooLarge { shape: format!("{:?}", x.shape) });
        }
        let column_major = self.column_major;
        let kept = if signature.wants(0) { pooling.output_len() } else { 0 };
        match x.dtype {
            DType::I8 => Ok(Box::new(Pool { pooling, column_major, lowest: i8::MIN, winners: Vec::new() })),
            DType::U8 => Ok(Box::new(Pool { pooling, column_major, lowest: u8::MIN, winners: Vec::new() })),
            dtype => with_float!(dtype, T => {
                let lowest = <T as num_traits::Float>::neg_infinity();
                Box::new(Differentiable(Pool { pooling, column_major, lowest, winners: vec![0; kept] }))
            }),
        }
    }

    fn is_differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }
}

/// No element won: the window lies on padding alone.
const NONE: u32 = u32::MAX;

struct Pool<T> {
    pooling: Pooling,
    column_major: bool,
    lowest: T,
    /// For each output the element of its plane that won; empty when there is no backward pass.
    winners: Vec<u32>,
}

impl<T: Scalar + Copy + PartialOrd> Pool<T> {
    /// The winner of each window of one plane.
    fn plane(&self, x: &[T], mut each: impl FnMut(usize, T, u32)) {
        self.pooling.windows(|to, window| {
            let (mut best, mut winner) = (self.lowest, NONE);
            window.elements(|at| {
                let value = x[at];
                #[allow(clippy::eq_op, reason = "only a NaN differs from itself")]
                if winner == NONE || value > best || (value != value && best == best) {
                    (best, winner) = (value, at as u32);
                }
            });
            each(to, best, winner);
        });
    }

    /// Windows of two by two elements side by side, without padding.
    fn squares(&self, x: &[T], mut each: impl FnMut(usize, T, u32)) {
        let [_, h, w] = &self.pooling.axes;
        let mut to = 0;
        for height in 0..h.output {
            let from = 2 * height * w.input;
            let (upper, lower) = x[from..from + 2 * w.input].split_at(w.input);
            for (column, (upper, lower)) in upper.chunks_exact(2).zip(lower.chunks_exact(2)).enumerate() {
                let at = (from + 2 * column) as u32;
                let larger = |a: (T, u32), b: (T, u32)| {
                    #[allow(clippy::eq_op, reason = "only a NaN differs from itself")]
                    if b.0 > a.0 || (b.0 != b.0 && a.0 == a.0) { b } else { a }
                };
                let top = larger((upper[0], at), (upper[1], at + 1));
                let below = w.input as u32 + at;
                let bottom = larger((lower[0], below), (lower[1], below + 1));
                let (best, winner) = larger(top, bottom);
                each(to, best, winner);
                to += 1;
            }
        }
    }

    fn visit(&self, x: &[T], each: impl FnMut(usize, T, u32)) {
        let [d, h, w] = &self.pooling.axes;
        let two = |axis: &super::window::Axis| {
            (axis.kernel, axis.stride, axis.dilation, axis.before) == (2, 2, 1, 0) && axis.output == axis.input / 2
        };
        match d.is_identity() && d.input == 1 && two(h) && two(w) {
            true => self.squares(x, each),
            false => self.plane(x, each),
        }
    }

    /// The index that the second output has for element `winner` of plane `index`.
    fn index(&self, index: usize, winner: u32) -> i64 {
        if winner == NONE {
            return -1;
        }
        let [d, h, w] = self.pooling.axes.map(|axis| axis.input);
        let winner = winner as usize;
        let within = match self.column_major {
            false => winner,
            true => winner / (h * w) + d * (winner / w % h + h * (winner % w)),
        };
        (index * self.pooling.plane() + within) as i64
    }
}

impl<T: Scalar + Copy + PartialOrd> Kernel for Pool<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let x = io.input::<T>(0)?;
        let (y, mut indices) = (io.output::<T>(0)?, io.optional_output::<i64>(1)?);
        let (plane, positions) = (self.pooling.plane(), self.pooling.positions());
        if plane == 0 {
            y.fill(self.lowest);
            self.winners.fill(NONE);
            indices.iter_mut().for_each(|indices| indices.fill(-1));
        }
        if positions == 0 || plane == 0 {
            return Ok(());
        }
        let mut winners = std::mem::take(&mut self.winners);
        match indices {
            None if winners.is_empty() => {
                let cost = x.len();
                io.env.pool.for_pieces(y, positions, cost, |index, y| {
                    self.visit(&x[index * plane..(index + 1) * plane], |to, best, _| y[to] = best);
                });
            }
            None => {
                for ((x, y), winners) in
                    x.chunks_exact(plane).zip(y.chunks_exact_mut(positions)).zip(winners.chunks_exact_mut(positions))
                {
                    self.visit(x, |to, best, winner| (y[to], winners[to]) = (best, winner));
                }
            }
            Some(indices) => {
                let planes = x.chunks_exact(plane).zip(y.chunks_exact_mut(positions));
                for (number, ((x, y), indices)) in planes.zip(indices.chunks_exact_mut(positions)).enumerate() {
                    let mut winners = winners.get_mut(number * positions..(number + 1) * positions);
                    self.visit(x, |to, best, winner| {
                        (y[to], indices[to]) = (best, self.index(number, winner));
                        if let Some(winners) = winners.as_deref_mut() {
                            winners[to] = winner;
                        }
                    });
                }
            }
        }
        self.winners = winners;
        Ok(())
    }
}

struct Differentiable<T>(Pool<T>);

impl<T: Float> Kernel for Differentiable<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        self.0.forward(io)
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let dy = io.optional_d_output::<T>(0)?;
        let Some(dx) = io.d_input::<T>(0)? else { return Ok(()) };
        dx.fill(T::zero());
        let Pool { pooling, winners, .. } = &self.0;
        let (plane, positions) = (pooling.plane(), pooling.positions());
        let Some(dy) = dy.filter(|dy| !dy.is_empty() && plane > 0) else { return Ok(()) };
        let planes = dy.chunks_exact(positions).zip(winners.chunks_exact(positions));
        for (dx, (dy, winners)) in dx.chunks_exact_mut(plane).zip(planes) {
            for (dy, winner) in dy.iter().zip(winners) {
                if let Some(dx) = dx.get_mut(*winner as usize) {
                    *dx += *dy;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    fn ones() -> Vec<f64> {
        (1..=25).map(f64::from).collect()
    }

    #[test]
    fn values() {
        let square = || Case::new().input(&[1, 1, 5, 5], &ones()).without_gradient();
        let ints = |values: &[i64]| Tensor::new(vec![1, 1, 2, 2], values.to_vec()).unwrap();
        check(
            "MaxPool",
            &[
                // The examples of the specification.
                square()
                    .ints_attribute("kernel_shape", &[2, 2])
                    .ints_attribute("strides", &[2, 2])
                    .output(&[1, 1, 2, 2], &[7., 9., 17., 19.])
                    .output_tensor(ints(&[6, 8, 16, 18])),
                square()
                    .ints_attribute("kernel_shape", &[2, 2])
                    .ints_attribute("strides", &[2, 2])
                    .int("storage_order", 1)
                    .output(&[1, 1, 2, 2], &[7., 9., 17., 19.])
                    .output_tensor(ints(&[6, 16, 8, 18])),
                square()
                    .ints_attribute("kernel_shape", &[3, 3])
                    .ints_attribute("strides", &[2, 2])
                    .string("auto_pad", "SAME_UPPER")
                    .output(&[1, 1, 3, 3], &[7., 9., 10., 17., 19., 20., 22., 24., 25.]),
                Case::new()
                    .input(&[1, 1, 4, 4], &ones()[..16])
                    .ints_attribute("kernel_shape", &[3, 3])
                    .ints_attribute("strides", &[2, 2])
                    .int("ceil_mode", 1)
                    .output(&[1, 1, 2, 2], &[11., 12., 15., 16.])
                    .without_gradient(),
                Case::new()
                    .input(&[1, 1, 4, 4], &ones()[..16])
                    .ints_attribute("kernel_shape", &[2, 2])
                    .ints_attribute("dilations", &[2, 2])
                    .output(&[1, 1, 2, 2], &[11., 12., 15., 16.])
                    .without_gradient(),
                // A further position would begin in the padding after the input.
                Case::new()
                    .input(&[1, 1, 2, 2], &[1., 2., 3., 4.])
                    .ints_attribute("kernel_shape", &[1, 1])
                    .ints_attribute("strides", &[2, 2])
                    .int("ceil_mode", 1)
                    .output(&[1, 1, 1, 1], &[1.])
                    .without_gradient(),
                Case::new()
                    .input(&[1, 1, 4], &[1., f64::NAN, 3., f64::NEG_INFINITY])
                    .ints_attribute("kernel_shape", &[2])
                    .ints_attribute("strides", &[1])
                    .output(&[1, 1, 3], &[f64::NAN, f64::NAN, 3.])
                    .without_gradient(),
                Case::new()
                    .input(&[1, 1, 1], &[5.])
                    .ints_attribute("kernel_shape", &[2])
                    .ints_attribute("dilations", &[2])
                    .ints_attribute("pads", &[1, 1])
                    .output(&[1, 1, 1], &[f64::NEG_INFINITY])
                    .output_tensor(Tensor::new(vec![1, 1, 1], vec![-1i64]).unwrap())
                    .without_gradient(),
                // Nothing but padding.
                Case::new()
                    .input(&[1, 2, 0], &[])
                    .ints_attribute("kernel_shape", &[2])
                    .ints_attribute("pads", &[1, 1])
                    .output(&[1, 2, 1], &[f64::NEG_INFINITY; 2])
                    .output_tensor(Tensor::new(vec![1, 2, 1], vec![-1i64; 2]).unwrap())
                    .without_gradient(),
                Case::new()
                    .tensor(Tensor::new(vec![1, 1, 0], Vec::<u8>::new()).unwrap())
                    .ints_attribute("kernel_shape", &[2])
                    .ints_attribute("pads", &[1, 1])
                    .output_tensor(Tensor::new(vec![1, 1, 1], vec![0u8]).unwrap()),
                Case::new()
                    .tensor(Tensor::new(vec![1, 1, 3], vec![-3i8, -5, -4]).unwrap())
                    .ints_attribute("kernel_shape", &[2])
                    .ints_attribute("pads", &[1, 0])
                    .output_tensor(Tensor::new(vec![1, 1, 3], vec![-3i8, -3, -4]).unwrap()),
                Case::new()
                    .tensor(Tensor::new(vec![1, 1, 2, 2], vec![1u8, 7, 3, 4]).unwrap())
                    .ints_attribute("kernel_shape", &[2, 2])
                    .output_tensor(Tensor::new(vec![1, 1, 1, 1], vec![7u8]).unwrap()),
            ],
        );
    }

    #[test]
    fn gradients() {
        let case =
            |shape: &[usize], kernel: &[i64]| Case::new().random_input(shape).ints_attribute("kernel_shape", kernel);
        check(
            "MaxPool",
            &[
                case(&[2, 3, 9], &[3]),
                case(&[2, 3, 9], &[2]).ints_attribute("strides", &[2]),
                case(&[2, 3, 4, 6], &[2, 2]).ints_attribute("strides", &[2, 2]),
                case(&[1, 2, 5, 7], &[2, 2]).ints_attribute("strides", &[2, 2]),
                case(&[1, 2, 5, 7], &[2, 2]).ints_attribute("strides", &[2, 2]).int("ceil_mode", 1),
                case(&[2, 2, 6, 5], &[3, 2]).ints_attribute("pads", &[1, 0, 2, 1]).ints_attribute("dilations", &[2, 1]),
                case(&[1, 2, 4, 3, 5], &[2, 3, 2]).ints_attribute("strides", &[2, 1, 1]),
                case(&[0, 2, 5], &[2]),
                case(&[1, 0, 5], &[2]),
                case(&[1, 1, 0], &[2]).ints_attribute("pads", &[1, 1]).output(&[1, 1, 1], &[f64::NEG_INFINITY]),
            ],
        );
    }

    #[test]
    fn refused() {
        let case = || Case::new().random_input(&[1, 1, 4]);
        check(
            "MaxPool",
            &[
                case().error("`kernel_shape`: expected the size"),
                case().ints_attribute("kernel_shape", &[0]).error("`kernel_shape`: expected integers from 1"),
                case().ints_attribute("kernel_shape", &[2, 2]).error("`kernel_shape`: expected 1 values"),
                case().ints_attribute("kernel_shape", &[5]).error("fits into 4 elements"),
                case().ints_attribute("kernel_shape", &[2]).int("storage_order", 2).error("expected 0 or 1"),
                case().ints_attribute("kernel_shape", &[2]).output_count(3).error("1 to 2 outputs"),
                case().ints_attribute("kernel_shape", &[2]).int("count_include_pad", 1).error("count_include_pad"),
                Case::new().random_input(&[4, 4]).ints_attribute("kernel_shape", &[2]).error("expected rank 3 to 5"),
                Case::new().ints(&[1, 1, 2], &[1, 2]).ints_attribute("kernel_shape", &[2]).error("f32, f64, i8 or u8"),
            ],
        );
    }
}
