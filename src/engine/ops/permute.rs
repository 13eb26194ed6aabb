//! The axes of a tensor in another order.

use super::rearrange::{Axis, Rearrange, strides};
use crate::engine::cell::Scalar;
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::{with_any, with_float};
use crate::engine::pool::Pool;
use crate::tensor::DType;

/// The side of a block that is transposed at once, so that its lines stay in the cache.
const BLOCK: usize = 16;
/// Elements that a piece of work has at least, for another thread.
const PIECE: usize = 4096;

/// A permutation of the axes of a tensor of a certain shape.
#[derive(Clone, Debug)]
pub enum Permute {
    /// The innermost axis stays innermost.
    Rows(Rearrange),
    /// Another one becomes innermost.
    Blocks {
        /// The sizes of the output's axes; neighbours that stay together are one.
        sizes: Vec<usize>,
        /// The distances between neighbours along them in the input.
        from: Vec<usize>,
        /// The same in the output.
        to: Vec<usize>,
        /// The axis of the output that is innermost in the input.
        innermost: usize,
    },
}

impl Permute {
    /// Axis `i` of the output is axis `order[i]` of an input of `shape`.
    pub fn new(shape: &[usize], order: &[usize]) -> Self {
        let given = strides(shape);
        let mut sizes: Vec<usize> = Vec::new();
        let mut from: Vec<usize> = Vec::new();
        for (size, stride) in order.iter().map(|axis| (shape[*axis], given[*axis])).filter(|(size, _)| *size != 1) {
            match (sizes.last_mut(), from.last_mut()) {
                (Some(outer), Some(outer_stride)) if *outer_stride == stride * size => {
                    *outer *= size;
                    *outer_stride = stride;
                }
                _ => {
                    sizes.push(size);
                    from.push(stride);
                }
            }
        }
        let to = strides(&sizes);
        match from.iter().position(|stride| *stride == 1) {
            Some(innermost) if innermost + 1 < sizes.len() && !sizes.contains(&0) => {
                Permute::Blocks { sizes, from, to, innermost }
            }
            _ => {
                let axes = sizes.iter().zip(&from).map(|(size, stride)| Axis::whole(*stride, *size));
                Permute::Rows(Rearrange::new(&sizes, axes))
            }
        }
    }

    /// Writes all of `y`.
    pub fn run<T: Scalar>(&self, x: &[T], y: &mut [T], pool: &Pool) {
        match self {
            Permute::Rows(plan) => plan.forward(x, y, &T::default(), pool),
            Permute::Blocks { sizes, from, to, innermost } => {
                let (Some(step), Some(row)) = (from.first(), to.first()) else { return };
                let rows = PIECE.div_ceil(*row).max(1);
                let cost = y.len();
                pool.for_pieces(y, rows * row, cost, |piece, y| {
                    blocks(&x[piece * rows * step..], y, y_rows(y.len(), *row), [sizes, from, to], *innermost);
                });
            }
        }
    }
}

fn y_rows(len: usize, row: usize) -> usize {
    len / row
}

/// Transposes the first `rows` along axis 0.
fn blocks<T: Scalar>(x: &[T], y: &mut [T], rows: usize, [sizes, from, to]: [&Vec<usize>; 3], innermost: usize) {
    let size = |axis: usize| if axis == 0 { rows } else { sizes[axis] };
    let last = sizes.len() - 1;
    let mut at: smallvec::SmallVec<[usize; 8]> = smallvec::smallvec![0; sizes.len()];
    let (mut start, mut target) = (0, 0);
    loop {
        for i in (0..size(innermost)).step_by(BLOCK) {
            let height = BLOCK.min(size(innermost) - i);
            for j in (0..size(last)).step_by(BLOCK) {
                let width = BLOCK.min(size(last) - j);
                for i in i..i + height {
                    let y = &mut y[target + i * to[innermost] + j..][..width];
                    let x = &x[start + i + j * from[last]..];
                    for (y, x) in y.iter_mut().zip(x.iter().step_by(from[last])) {
                        *y = x.clone();
                    }
                }
            }
        }
        let mut axis = last;
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            if axis == innermost {
                continue;
            }
            at[axis] += 1;
            start += from[axis];
            target += to[axis];
            if at[axis] < size(axis) {
                break;
            }
            start -= from[axis] * size(axis);
            target -= to[axis] * size(axis);
            at[axis] = 0;
        }
    }
}

/// A kernel that permutes input 0 of `shape`; its derivative permutes back.
pub fn kernel(dtype: DType, shape: &[usize], order: &[usize]) -> Result<Box<dyn Kernel>, OpError> {
    let there = Permute::new(shape, order);
    if !matches!(dtype, DType::F32 | DType::F64) {
        return with_any!(dtype, T => Box::new(AnyKernel::<T>(there, std::marker::PhantomData)));
    }
    let permuted: Vec<usize> = order.iter().map(|axis| shape[*axis]).collect();
    let mut inverse = vec![0; order.len()];
    for (index, axis) in order.iter().enumerate() {
        inverse[*axis] = index;
    }
    let back = Permute::new(&permuted, &inverse);
    with_float!(dtype, T => Box::new(FloatKernel::<T> { there, back, kind: std::marker::PhantomData }))
}

struct AnyKernel<T>(Permute, std::marker::PhantomData<T>);

impl<T: Scalar> Kernel for AnyKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let x = io.input::<T>(0)?;
        self.0.run(x, io.output::<T>(0)?, io.env.pool);
        Ok(())
    }
}

struct FloatKernel<T> {
    there: Permute,
    back: Permute,
    kind: std::marker::PhantomData<T>,
}

impl<T: Float> Kernel for FloatKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let x = io.input::<T>(0)?;
        self.there.run(x, io.output::<T>(0)?, io.env.pool);
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let dy = io.d_output::<T>(0)?;
        if let Some(dx) = io.d_input::<T>(0)? {
            self.back.run(dy, dx, io.env.pool);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_permutation_is_what_indexing_says() {
        let shapes: [&[usize]; 8] =
            [&[], &[5], &[3, 4], &[40, 35], &[2, 3, 4], &[17, 1, 33], &[3, 0, 2], &[2, 18, 3, 20]];
        for shape in shapes {
            for code in 0..24 {
                // Every order of up to four axes.
                let mut left: Vec<usize> = (0..shape.len()).collect();
                let mut rest = code;
                let mut order = Vec::new();
                while !left.is_empty() {
                    order.push(left.remove(rest % left.len()));
                    rest /= 2;
                }
                let count: usize = shape.iter().product();
                let x: Vec<i32> = (0..count as i32).collect();
                let given = strides(shape);
                let sizes: Vec<usize> = order.iter().map(|axis| shape[*axis]).collect();
                let expected: Vec<i32> = (0..count)
                    .map(|mut flat| {
                        let mut at = 0;
                        for (size, axis) in sizes.iter().zip(&order).rev() {
                            at += flat % size * given[*axis];
                            flat /= size;
                        }
                        x[at]
                    })
                    .collect();
                for threads in [1, 2] {
                    let pool = Pool::new(threads).unwrap();
                    let mut y = vec![-1; count];
                    pool.install(|| Permute::new(shape, &order).run(&x, &mut y, &pool));
                    assert_eq!(y, expected, "{shape:?} {order:?}");
                }
            }
        }
    }
}
