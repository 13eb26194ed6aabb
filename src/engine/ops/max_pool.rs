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
use crate::engine::kernel::{Backward, Forward, Kernel, bytes};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::with_float;
use crate::engine::kernels::math::vectorised;
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

    /// Whether the windows are two by two elements side by side, without padding.
    fn is_squares(&self) -> bool {
        let [d, h, w] = &self.pooling.axes;
        let two = |axis: &super::window::Axis| {
            (axis.kernel, axis.stride, axis.dilation, axis.before) == (2, 2, 1, 0) && axis.output == axis.input / 2
        };
        d.is_identity() && d.input == 1 && two(h) && two(w)
    }

    /// One plane: the largest elements, and the winners where there is room for them.
    fn pool(&self, x: &[T], y: &mut [T], winners: &mut [u32]) {
        let [_, h, w] = self.pooling.axes;
        if self.is_squares() {
            return vectorised(
                #[inline(always)]
                || squares::forward(x, [h.output, w.output], w.input, y, winners),
            );
        }
        self.plane(x, |to, best, winner| {
            y[to] = best;
            if let Some(to) = winners.get_mut(to) {
                *to = winner;
            }
        });
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
                    self.pool(&x[index * plane..(index + 1) * plane], y, &mut []);
                });
            }
            None => {
                let planes = x.chunks_exact(plane).zip(y.chunks_exact_mut(positions));
                for ((x, y), winners) in planes.zip(winners.chunks_exact_mut(positions)) {
                    self.pool(x, y, winners);
                }
            }
            Some(indices) => {
                let planes = x.chunks_exact(plane).zip(y.chunks_exact_mut(positions));
                for (number, ((x, y), indices)) in planes.zip(indices.chunks_exact_mut(positions)).enumerate() {
                    let mut winners = winners.get_mut(number * positions..(number + 1) * positions);
                    self.plane(x, |to, best, winner| {
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

    fn owned_bytes(&self) -> usize {
        bytes(&self.winners)
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
        let Pool { pooling, winners, .. } = &self.0;
        let (plane, positions) = (pooling.plane(), pooling.positions());
        let Some(dy) = dy.filter(|dy| !dy.is_empty() && plane > 0) else {
            dx.fill(T::zero());
            return Ok(());
        };
        let planes = dy.chunks_exact(positions).zip(winners.chunks_exact(positions));
        dx.fill(T::zero());
        for (dx, (dy, winners)) in dx.chunks_exact_mut(plane).zip(planes) {
            for (dy, winner) in dy.iter().zip(winners) {
                if let Some(dx) = dx.get_mut(*winner as usize) {
                    *dx += *dy;
                }
            }
        }
        Ok(())
    }

    fn owned_bytes(&self) -> usize {
        self.0.owned_bytes()
    }
}

/// Windows of two by two elements side by side. A row of windows is computed in runs of eight or four, the last of which
/// overlaps the one before: rows of small planes are hardly longer than a vector.
mod squares {
    use super::NONE;

    /// The larger of two elements with their places: the first of equal ones, a NaN before numbers.
    #[inline(always)]
    fn larger<T: Copy + PartialOrd>(a: (T, u32), b: (T, u32)) -> (T, u32) {
        #[allow(clippy::eq_op, clippy::neg_cmp_op_on_partial_ord, reason = "only a NaN differs from itself")]
        let second = !(b.0 <= a.0) & (a.0 == a.0);
        (if second { b.0 } else { a.0 }, if second { b.1 } else { a.1 })
    }

    /// Writes the largest elements of a plane with rows of `width` elements, and where they lie.
    #[inline(always)]
    pub fn forward<T: Copy + PartialOrd>(
        x: &[T],
        [rows, columns]: [usize; 2],
        width: usize,
        y: &mut [T],
        winners: &mut [u32],
    ) {
        for row in 0..rows {
            let (from, to) = (2 * row * width, row * columns);
            let (upper, lower) = x[from..from + 2 * width].split_at(width);
            let y = &mut y[to..to + columns];
            let winners = winners.get_mut(to..to + columns).unwrap_or_default();
            runs(columns, |first, length| match length {
                8 => run::<T, 8>(upper, lower, first, from, y, winners),
                4 => run::<T, 4>(upper, lower, first, from, y, winners),
                _ => run::<T, 1>(upper, lower, first, from, y, winners),
            });
        }
    }

    #[inline(always)]
    fn run<T: Copy + PartialOrd, const N: usize>(
        upper: &[T],
        lower: &[T],
        first: usize,
        from: usize,
        y: &mut [T],
        winners: &mut [u32],
    ) {
        let width = upper.len() as u32;
        let (upper, lower) = (&upper[2 * first..][..2 * N], &lower[2 * first..][..2 * N]);
        let y = &mut y[first..first + N];
        let mut places = [NONE; N];
        for i in 0..N {
            let at = (from + 2 * (first + i)) as u32;
            let top = larger((upper[2 * i], at), (upper[2 * i + 1], at + 1));
            let bottom = larger((lower[2 * i], at + width), (lower[2 * i + 1], at + width + 1));
            (y[i], places[i]) = larger(top, bottom);
        }
        if let Some(winners) = winners.get_mut(first..first + N) {
            winners.copy_from_slice(&places);
        }
    }

    /// Calls `each` with the first and the length of runs that cover `count` places.
    #[inline(always)]
    fn runs(count: usize, mut each: impl FnMut(usize, usize)) {
        let length = match count {
            8.. => 8,
            4.. => 4,
            _ => 1,
        };
        let mut first = 0;
        while first + length <= count {
            each(first, length);
            first += length;
        }
        if first < count {
            each(count - length, length);
        }
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
