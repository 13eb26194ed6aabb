//! Gather: slices along `axis`, one for each index: `y[i…, j…, k…] = x[i…, indices[j…], k…]`.
//!
//! Each slice of the input receives the sum of the gradients of its copies: with axis 0, what an embedding learns from.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Gather.html>.

use std::marker::PhantomData;

use super::indexing::{Indices, index_input};
use super::rearrange::{attribute_axis, count};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::cell::Scalar;
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel, bytes};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::{with_any, with_float};
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::{DType, SymbolicShape};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Gather", since: 1, parse };

/// Elements that a piece of work has at least, for another thread.
const PIECE: usize = 16_384;

#[derive(Clone, Debug)]
struct Gather {
    axis: i64,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Gather { axis: node.int("axis")?.unwrap_or(0) }))
}

impl Op for Gather {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        if self.axis == 0 { Vec::new() } else { vec![("axis", AttributeValue::Int(self.axis))] }
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(2..=2, 1..=1)?;
        let x = inputs.required(0)?;
        let indices = index_input(inputs, 1)?;
        let Some(dims) = inputs.dims(0, 1..=usize::MAX)? else {
            return Ok(vec![ValueType::new(x.dtype, SymbolicShape::Unranked)]);
        };
        let axis = attribute_axis("axis", self.axis, dims.len())?;
        let Some(chosen) = indices.dims() else {
            return Ok(vec![ValueType::new(x.dtype, SymbolicShape::Unranked)]);
        };
        let dims = dims[..axis].iter().chain(chosen).chain(&dims[axis + 1..]);
        Ok(vec![ValueType::ranked(x.dtype, dims.cloned().collect())])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (x, indices) = (signature.input(0)?, signature.input(1)?);
        let axis = attribute_axis("axis", self.axis, x.shape.len())?;
        let rows = Rows { size: x.shape[axis], inner: count(&x.shape[axis + 1..]), chosen: vec![0; indices.len()] };
        if matches!(x.dtype, DType::F32 | DType::F64) {
            return with_float!(x.dtype, T => Box::new(FloatKernel::<T>(AnyKernel(rows, PhantomData))));
        }
        with_any!(x.dtype, T => Box::new(AnyKernel::<T>(rows, PhantomData)))
    }

    fn is_differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }
}

/// Which rows of `inner` elements are copied, out of each block of `size` rows.
struct Rows {
    size: usize,
    inner: usize,
    /// As of the last forward pass.
    chosen: Vec<usize>,
}

struct AnyKernel<T>(Rows, PhantomData<T>);

impl<T: Scalar> Kernel for AnyKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let Rows { size, inner, chosen } = &mut self.0;
        let (x, indices) = (io.input::<T>(0)?, Indices::read(io, 1)?);
        for (at, row) in chosen.iter_mut().enumerate() {
            *row = indices.within(1, at, *size)?;
        }
        let y = io.output::<T>(0)?;
        if y.is_empty() {
            return Ok(());
        }
        let (size, inner, chosen) = (*size, *inner, &*chosen);
        let rows = (PIECE / inner).max(1);
        let cost = y.len() / 2 + y.len() / inner;
        io.env.pool.for_pieces(y, rows * inner, cost, |piece, y| {
            let (mut block, mut at) = (piece * rows / chosen.len(), piece * rows % chosen.len());
            for y in y.chunks_exact_mut(inner) {
                let row = block * size + chosen[at];
                match (y, inner) {
                    ([y], 1) => *y = x[row].clone(),
                    (y, _) => y.clone_from_slice(&x[row * inner..][..inner]),
                }
                at += 1;
                if at == chosen.len() {
                    (block, at) = (block + 1, 0);
                }
            }
        });
        Ok(())
    }

    fn owned_bytes(&self) -> usize {
        bytes(&self.0.chosen)
    }
}

struct FloatKernel<T>(AnyKernel<T>);

impl<T: Float> Kernel for FloatKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        self.0.forward(io)
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let Rows { size, inner, chosen } = &self.0.0;
        let (size, inner) = (*size, *inner);
        let dy = io.d_output::<T>(0)?;
        let Some(dx) = io.d_input::<T>(0)? else { return Ok(()) };
        if dx.is_empty() {
            return Ok(());
        }
        // Every thread has rows of its own, and adds to them in the order of the indices.
        let threads = io.env.pool.threads();
        let rows = (dx.len() / inner).div_ceil(threads).max((PIECE / inner).max(1));
        let cost = dx.len() / 8 + dy.len() / 2 + dy.len() / inner;
        io.env.pool.for_pieces(dx, rows * inner, cost, |piece, dx| {
            dx.fill(T::zero());
            let (first, count) = (piece * rows, dx.len() / inner);
            let blocks = first / size..(first + count).div_ceil(size);
            for block in blocks {
                for (at, row) in chosen.iter().enumerate() {
                    let Some(place) = (block * size + row).checked_sub(first).filter(|place| *place < count) else {
                        continue;
                    };
                    let from = block * chosen.len() + at;
                    if inner == 1 {
                        dx[place] += dy[from];
                        continue;
                    }
                    let (dx, dy) = (&mut dx[place * inner..][..inner], &dy[from * inner..][..inner]);
                    dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += *dy);
                }
            }
        });
        Ok(())
    }

    fn owned_bytes(&self) -> usize {
        self.0.owned_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::op::{Mode, TensorType};
    use crate::engine::pool::Pool;
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        let x = || Case::new().input(&[3, 2], &[1.0, 1.2, 2.3, 3.4, 4.5, 5.7]);
        check(
            "Gather",
            &[
                x().ints(&[2, 2], &[0, 1, 1, 2]).output(&[2, 2, 2], &[1.0, 1.2, 2.3, 3.4, 2.3, 3.4, 4.5, 5.7]),
                x().ints(&[1, 2], &[0, -1]).int("axis", 1).output(&[3, 1, 2], &[1.0, 1.2, 2.3, 3.4, 4.5, 5.7]),
                x().ints(&[], &[-3]).output(&[2], &[1.0, 1.2]),
                x().tensor(Tensor::scalar(1i32)).int("axis", -1).output(&[3], &[1.2, 3.4, 5.7]),
                Case::new()
                    .tensor(Tensor::from_vec(vec!["a".to_string(), "b".to_string()]))
                    .ints(&[1], &[1])
                    .output_tensor(Tensor::from_vec(vec!["b".to_string()])),
                Case::new().random_input(&[2, 4, 3]).ints(&[5], &[3, 3, 0, -2, 3]).int("axis", 1),
                Case::new().random_input(&[4]).ints(&[3], &[3, 3, 0]),
                Case::new().random_input(&[2, 3]).ints(&[0], &[]),
                Case::new().random_input(&[2, 0]).ints(&[2], &[0, 1]),
                x().ints(&[1], &[3]).error("input 1: expected indices from -3 to below 3, found 3"),
                x().ints(&[1], &[i64::MIN]).error("input 1: expected indices"),
                Case::new().random_input(&[0, 2]).ints(&[1], &[0]).error("input 1: expected indices"),
                x().ints(&[1], &[0]).int("axis", 2).error("an axis of rank 2"),
                x().input(&[1], &[0.0]).error("expected i64 or i32"),
                Case::new().random_input(&[]).ints(&[1], &[0]).error("expected rank 1 or more"),
                x().error("expected 2 inputs, found 1"),
            ],
        );
    }

    #[test]
    fn large_gradients_are_the_same_on_any_number_of_threads() {
        let typed = |dtype, shape: &[usize]| Some(TensorType { dtype, shape: shape.to_vec(), value: None });
        let signature = Signature {
            inputs: vec![typed(DType::F32, &[3, 700, 33]), typed(DType::I64, &[500])],
            outputs: vec![typed(DType::F32, &[3, 500, 33])],
            mode: Mode::Training,
            wants: vec![true, false],
            frozen: Vec::new(),
            activation: None,
        };
        let x: Vec<f32> = (0..3 * 700 * 33).map(|i| (i % 1013) as f32).collect();
        let indices: Vec<i64> = (0..500).map(|i| i * i * 7 % 700).collect();
        let mut results = Vec::new();
        for threads in [1, 2, 3] {
            use crate::engine::cell::{Slice, SliceMut};
            let pool = Pool::new(threads).unwrap();
            let mut kernel = Gather { axis: 1 }.build(&signature).unwrap();
            let (mut y, mut dx) = (vec![0f32; 3 * 500 * 33], vec![7f32; x.len()]);
            let env = crate::engine::kernel::Env { pool: &pool, seed: 0 };
            let inputs = smallvec::smallvec![Slice::F32(&x), Slice::I64(&indices)];
            let outputs = smallvec::smallvec![SliceMut::F32(&mut y)];
            pool.install(|| kernel.forward(&mut Forward::new(inputs, outputs, env))).unwrap();
            let mut expected = vec![0f32; x.len()];
            for block in 0..3 {
                for (at, row) in indices.iter().enumerate() {
                    for i in 0..33 {
                        let from = (block * 500 + at) * 33 + i;
                        let to = (block * 700 + *row as usize) * 33 + i;
                        assert_eq!(y[from], x[to]);
                        expected[to] += y[from] * 0.1;
                    }
                }
            }
            let dy: Vec<f32> = y.iter().map(|y| y * 0.1).collect();
            let none = smallvec::SmallVec::new;
            let d_outputs = smallvec::smallvec![Slice::F32(&dy)];
            let d_inputs = smallvec::smallvec![SliceMut::F32(&mut dx), SliceMut::Absent];
            pool.install(|| kernel.backward(&mut Backward::new(none(), none(), d_outputs, d_inputs, env))).unwrap();
            assert_eq!(dx, expected, "{threads} threads");
            results.push(dx);
        }
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
    }
}
