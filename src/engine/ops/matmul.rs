//! MatMul: `Y = A·B` as numpy's `matmul`: the last two dimensions are matrices, those before are broadcast; an operand of
//! one dimension is a row on the left and a column on the right, and that dimension is dropped from the result.
//!
//! `dA = dY·Bᵀ`, `dB = Aᵀ·dY`, summed over what was repeated.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__MatMul.html>.

use std::marker::PhantomData;

use super::binary::Integer;
use super::broadcast::{self, Walk};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::with_float;
use crate::engine::kernels::matrix::{View, ViewMut, multiply};
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::tensor::{DType, Dim, SymbolicShape};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "MatMul", since: 7, parse };

#[derive(Clone, Debug)]
struct MatMul;

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(MatMul))
}

impl Op for MatMul {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(2..=2, 1..=1)?;
        let covered =
            |dtype: DType| matches!(dtype, DType::F32 | DType::F64 | DType::I32 | DType::I64 | DType::U32 | DType::U64);
        let dtype = inputs.of(0, "f32, f64, i32, i64, u32 or u64", covered)?.dtype;
        inputs.same_dtype(1, dtype)?;
        let a = inputs.dims(0, 1..=usize::MAX)?;
        let b = inputs.dims(1, 1..=usize::MAX)?;
        let (Some(a), Some(b)) = (a, b) else { return Ok(vec![ValueType::new(dtype, SymbolicShape::Unranked)]) };
        let (batch_a, m, k) = match a {
            [k] => (&a[..0], None, k),
            [batch @ .., m, k] => (batch, Some(m), k),
            [] => return Err(OpError::Plan { what: "a rank that was checked".into() }),
        };
        let (batch_b, k_of_b, n) = match b {
            [k] => (&b[..0], k, None),
            [batch @ .., k, n] => (batch, k, Some(n)),
            [] => return Err(OpError::Plan { what: "a rank that was checked".into() }),
        };
        if !k.accepts(k_of_b) {
            let expected = format!("{k} {}", if n.is_some() { "rows" } else { "elements" });
            return Err(OpError::Shape { input: 1, expected, found: inputs.required(1)?.shape.clone() });
        }
        let ranked = |dims: &[Dim]| SymbolicShape::Ranked(dims.to_vec());
        let batch = broadcast::shapes(&ranked(batch_a), &ranked(batch_b))?;
        let mut dims = batch.dims().map(<[Dim]>::to_vec).unwrap_or_default();
        dims.extend(m.into_iter().chain(n).cloned());
        Ok(vec![ValueType::ranked(dtype, dims)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (a, b) = (signature.input(0)?, signature.input(1)?);
        let products = Products::new(&a.shape, &b.shape)?;
        match a.dtype {
            DType::F32 | DType::F64 => {
                with_float!(a.dtype, T => Box::new(FloatKernel::<T>(products, PhantomData)))
            }
            DType::I32 => Ok(Box::new(IntegerKernel::<i32>(products, PhantomData))),
            DType::I64 => Ok(Box::new(IntegerKernel::<i64>(products, PhantomData))),
            DType::U32 => Ok(Box::new(IntegerKernel::<u32>(products, PhantomData))),
            DType::U64 => Ok(Box::new(IntegerKernel::<u64>(products, PhantomData))),
            found => Err(OpError::DType { input: 0, expected: "a type of matrix products", found }),
        }
    }

    fn is_differentiable(&self, _: usize) -> bool {
        true
    }

    fn reads(&self) -> Reads {
        Reads::of(&[0, 1], &[])
    }
}

/// Which matrix of `A` and which of `B` give each matrix of `Y`; each is `m × k` times `k × n`.
struct Products {
    m: usize,
    n: usize,
    k: usize,
    /// For each matrix of `Y` the numbers of those it is the product of.
    pairs: Vec<(usize, usize)>,
    /// Whether each matrix of `A` (of `B`) belongs to one product, in order.
    once: [bool; 2],
}

impl Products {
    fn new(a: &[usize], b: &[usize]) -> Result<Self, OpError> {
        let (batch_a, m, k) = match *a {
            [k] => (&a[..0], 1, k),
            [ref batch @ .., m, k] => (batch, m, k),
            [] => return Err(OpError::Plan { what: "a product of a scalar".into() }),
        };
        let (batch_b, n) = match *b {
            [_] => (&b[..0], 1),
            [ref batch @ .., _, n] => (batch, n),
            [] => return Err(OpError::Plan { what: "a product with a scalar".into() }),
        };
        if batch_b.iter().product::<usize>() == 1 {
            // One matrix on the right: all rows on the left make one product.
            let m = m * batch_a.iter().product::<usize>();
            return Ok(Products { m, n, k, pairs: vec![(0, 0)], once: [true; 2] });
        }
        let known = SymbolicShape::known;
        let batch = broadcast::shapes(&known(batch_a), &known(batch_b))?.sizes().unwrap_or_default();
        let mut pairs = Vec::with_capacity(batch.iter().product());
        Walk::new(&batch, [batch_a, batch_b]).runs(|_, [a, b], length, [step_a, step_b]| {
            pairs.extend((0..length).map(|i| (a + i * step_a, b + i * step_b)));
        });
        let once = [batch_a, batch_b].map(|part| part.iter().product::<usize>() == pairs.len());
        Ok(Products { m, n, k, pairs, once })
    }

    /// About the nanoseconds that all products take on one thread.
    fn cost(&self) -> usize {
        (self.m * self.n).saturating_mul(self.k).saturating_mul(self.pairs.len()) / 32
    }
}

/// Matrix number `index` among those of `len` elements.
fn matrix<T>(elements: &[T], index: usize, len: usize) -> &[T] {
    &elements[index * len..][..len]
}

struct FloatKernel<T>(Products, PhantomData<T>);

impl<T: Float> Kernel for FloatKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let Products { m, n, k, ref pairs, .. } = self.0;
        let (a, b) = (io.input::<T>(0)?, io.input::<T>(1)?);
        let y = io.output::<T>(0)?;
        let threads = if pairs.len() == 1 { io.env.pool.threads() } else { 1 };
        io.env.pool.for_pieces(y, m * n, self.0.cost(), |index, y| {
            let Some((at_a, at_b)) = pairs.get(index) else { return };
            let (a, b) = (matrix(a, *at_a, m * k), matrix(b, *at_b, k * n));
            multiply(m, n, k, ViewMut::rows(y, n), View::rows(a, k), View::rows(b, n), false, threads);
        });
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let Products { m, n, k, ref pairs, once, .. } = self.0;
        let (a, b, dy) = (io.input::<T>(0)?, io.input::<T>(1)?, io.d_output::<T>(0)?);
        let pool = io.env.pool;
        let threads = if pairs.len() == 1 { pool.threads() } else { 1 };
        if let Some(da) = io.d_input::<T>(0)? {
            let product = |index: usize, da: &mut [T], add: bool| {
                let Some((_, at_b)) = pairs.get(index) else { return };
                let (dy, b) = (matrix(dy, index, m * n), matrix(b, *at_b, k * n));
                multiply(m, k, n, ViewMut::rows(da, k), View::rows(dy, n), View::transposed(b, n), add, threads);
            };
            if once[0] {
                pool.for_pieces(da, m * k, self.0.cost(), |index, da| product(index, da, false));
            } else {
                da.fill(T::zero());
                for (index, (at, _)) in pairs.iter().enumerate() {
                    product(index, &mut da[at * m * k..][..m * k], true);
                }
            }
        }
        if let Some(db) = io.d_input::<T>(1)? {
            let product = |index: usize, db: &mut [T], add: bool| {
                let Some((at_a, _)) = pairs.get(index) else { return };
                let (a, dy) = (matrix(a, *at_a, m * k), matrix(dy, index, m * n));
                multiply(k, n, m, ViewMut::rows(db, n), View::transposed(a, k), View::rows(dy, n), add, threads);
            };
            if once[1] {
                pool.for_pieces(db, k * n, self.0.cost(), |index, db| product(index, db, false));
            } else {
                db.fill(T::zero());
                for (index, (_, at)) in pairs.iter().enumerate() {
                    product(index, &mut db[at * k * n..][..k * n], true);
                }
            }
        }
        Ok(())
    }
}

struct IntegerKernel<T>(Products, PhantomData<T>);

impl<T: Integer> Kernel for IntegerKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let Products { m, n, k, ref pairs, .. } = self.0;
        let (a, b) = (io.input::<T>(0)?, io.input::<T>(1)?);
        let y = io.output::<T>(0)?;
        y.fill(T::default());
        if n == 0 || k == 0 {
            return Ok(());
        }
        for (index, (at_a, at_b)) in pairs.iter().enumerate() {
            let (a, b) = (matrix(a, *at_a, m * k), matrix(b, *at_b, k * n));
            for (y, a) in y[index * m * n..][..m * n].chunks_exact_mut(n).zip(a.chunks_exact(k)) {
                for (a, b) in a.iter().zip(b.chunks_exact(n)) {
                    y.iter_mut().zip(b).for_each(|(y, b)| *y = y.add(a.mul(*b)));
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

    #[test]
    fn cases() {
        let random = |a: &[usize], b: &[usize]| Case::new().random_input(a).random_input(b);
        check(
            "MatMul",
            &[
                Case::new()
                    .input(&[2, 2], &[1.0, 2.0, 3.0, 4.0])
                    .input(&[2, 1], &[5.0, 6.0])
                    .output(&[2, 1], &[17.0, 39.0]),
                Case::new().input(&[2], &[1.0, 2.0]).input(&[2], &[3.0, 4.0]).output(&[], &[11.0]),
                Case::new().input(&[2], &[1.0, 2.0]).input(&[2, 2], &[1.0, 2.0, 3.0, 4.0]).output(&[2], &[7.0, 10.0]),
                Case::new().input(&[2, 2], &[1.0, 2.0, 3.0, 4.0]).input(&[2], &[1.0, 2.0]).output(&[2], &[5.0, 11.0]),
                // A batch on the left, on both sides, on the right.
                Case::new()
                    .input(&[2, 1, 2], &[1.0, 2.0, 3.0, 4.0])
                    .input(&[2, 1], &[1.0, -1.0])
                    .output(&[2, 1, 1], &[-1.0, -1.0]),
                Case::new()
                    .input(&[2, 1, 1], &[2.0, 3.0])
                    .input(&[2, 1, 2], &[1.0, 2.0, 3.0, 4.0])
                    .output(&[2, 1, 2], &[2.0, 4.0, 9.0, 12.0]),
                Case::new()
                    .input(&[1, 1], &[2.0])
                    .input(&[2, 1, 2], &[1.0, 2.0, 3.0, 4.0])
                    .output(&[2, 1, 2], &[2.0, 4.0, 6.0, 8.0]),
                // Broadcast against each other: y[i, j] = a[i]·b[j].
                Case::new()
                    .input(&[2, 1, 1, 1], &[2.0, 3.0])
                    .input(&[2, 1, 1], &[5.0, 7.0])
                    .output(&[2, 2, 1, 1], &[10.0, 14.0, 15.0, 21.0]),
                random(&[3, 4], &[4, 5]),
                random(&[2, 3, 4], &[4, 5]),
                random(&[2, 3, 3, 4], &[3, 4, 2]),
                random(&[3, 1, 2, 3], &[2, 3, 2]),
                random(&[3, 4], &[2, 1, 4, 2]),
                random(&[1, 2, 3], &[2, 1, 3, 2]),
                random(&[4], &[2, 4, 3]),
                random(&[2, 3, 4], &[4]),
                random(&[5], &[5]),
                random(&[3, 0], &[0, 2]),
                random(&[2, 0, 3], &[2, 3, 2]),
                random(&[0, 2, 3], &[1, 3, 2]),
                random(&[0, 2, 3], &[3, 2]),
                random(&[2, 3, 0], &[2, 0, 4]),
                Case::new()
                    .ints(&[1, 2], &[3, -4])
                    .ints(&[2, 2], &[1, 2, 3, 4])
                    .output_tensor(ints(&[1, 2], &[-9, -10])),
                Case::new().ints(&[2, 0], &[]).ints(&[0, 1], &[]).output_tensor(ints(&[2, 1], &[0, 0])),
                Case::new().ints(&[1], &[i64::MAX]).ints(&[1], &[2]).output_tensor(ints(&[], &[-2])),
                random(&[3, 4], &[3, 5]).error("expected 4 rows"),
                random(&[4], &[3]).error("expected 4 elements"),
                random(&[2, 3, 4], &[3, 4, 5]).error("cannot be broadcast"),
                random(&[], &[3]).error("expected rank 1 or more"),
                random(&[2, 2], &[]).error("expected rank 1 or more"),
                Case::new().random_input(&[2, 2]).error("expected 2 inputs"),
                random(&[2, 2], &[2, 2]).int("transA", 1).error("transA"),
                Case::new().random_input(&[2, 2]).ints(&[2, 2], &[1, 2, 3, 4]).error("found i64"),
                Case::new()
                    .tensor(Tensor::from_vec(vec![true]))
                    .tensor(Tensor::from_vec(vec![true]))
                    .error("found bool"),
            ],
        );
    }

    fn ints(shape: &[usize], values: &[i64]) -> Tensor {
        Tensor::new(shape.to_vec(), values.to_vec()).unwrap()
    }
}
