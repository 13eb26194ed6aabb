//! Matrix products of 8-bit integers, for MatMulInteger and QLinearMatMul.

use super::broadcast::{self, Walk};
use super::integer_products::Operand;
use crate::engine::error::OpError;
use crate::engine::kernel::Forward;
use crate::engine::kernels::matrix::{View, ViewMut, multiply};
use crate::engine::op::{Inputs, Signature};
use crate::tensor::{Dim, SymbolicShape};

/// The shape of the product of inputs `a` and `b`, as numpy's `matmul`.
pub fn shape(inputs: &Inputs<'_>, a: usize, b: usize) -> Result<SymbolicShape, OpError> {
    let (Some(left), Some(right)) = (inputs.dims(a, 1..=usize::MAX)?, inputs.dims(b, 1..=usize::MAX)?) else {
        return Ok(SymbolicShape::Unranked);
    };
    let (left_batch, rows) = left.split_at(left.len().saturating_sub(2));
    let (right_batch, columns) = right.split_at(right.len().saturating_sub(2));
    let (Some((k, rows)), Some((other, columns))) = (rows.split_last(), columns.split_first()) else {
        return Err(OpError::Plan { what: "a rank that was checked".into() });
    };
    if !k.accepts(other) {
        let expected = format!("{k} rows");
        return Err(OpError::Shape { input: b, expected, found: inputs.required(b)?.shape.clone() });
    }
    let ranked = |dims: &[Dim]| SymbolicShape::Ranked(dims.to_vec());
    let batch = broadcast::shapes(&ranked(left_batch), &ranked(right_batch))?;
    let mut dims = batch.dims().map(<[Dim]>::to_vec).unwrap_or_default();
    dims.extend(rows.iter().chain(columns).cloned());
    Ok(SymbolicShape::Ranked(dims))
}

/// The product, with its memory.
pub struct IntegerProduct {
    a: Operand,
    b: Operand,
    sizes: [usize; 3],
    /// Which matrices of `a` and `b` are multiplied.
    batches: Vec<[usize; 2]>,
    /// The sums.
    pub sums: Vec<f64>,
}

impl IntegerProduct {
    /// The product of inputs `a` and `b`, each with its zero point.
    pub fn new(signature: &Signature, [a, a_zero]: [usize; 2], [b, b_zero]: [usize; 2]) -> Result<Self, OpError> {
        let (left, right) = (&signature.input(a)?.shape, &signature.input(b)?.shape);
        let (m, k, left_batch) = match left.as_slice() {
            [k] => (1, *k, &[][..]),
            [batch @ .., m, k] => (*m, *k, batch),
            [] => return Err(OpError::Plan { what: "a matrix without dimensions".into() }),
        };
        let (n, right_batch) = match right.as_slice() {
            [_] => (1, &[][..]),
            [batch @ .., _, n] => (*n, batch),
            [] => return Err(OpError::Plan { what: "a matrix without dimensions".into() }),
        };
        let together = broadcast::shapes(&SymbolicShape::known(left_batch), &SymbolicShape::known(right_batch))?;
        let batch = together.sizes().unwrap_or_default();
        let mut batches = Vec::new();
        Walk::new(&batch, [left_batch, right_batch]).runs(|_, [a, b], len, [step_a, step_b]| {
            batches.extend((0..len).map(|i| [a + i * step_a, b + i * step_b]));
        });
        let sums = vec![0.0; signature.output(0)?.len()];
        let (a, b) = (Operand::new(signature, a, a_zero, 2)?, Operand::new(signature, b, b_zero, 1)?);
        Ok(IntegerProduct { a, b, sizes: [m, n, k], batches, sums })
    }

    /// Computes the sums.
    pub fn run(&mut self, io: &Forward<'_>) -> Result<(), OpError> {
        self.a.read(io)?;
        self.b.read(io)?;
        let [m, n, k] = self.sizes;
        if m * n == 0 {
            return Ok(());
        }
        for (y, [a, b]) in self.sums.chunks_exact_mut(m * n).zip(&self.batches) {
            let a = View::rows(&self.a.values[a * m * k..(a + 1) * m * k], k);
            let b = View::rows(&self.b.values[b * k * n..(b + 1) * k * n], n);
            multiply(m, n, k, ViewMut::rows(y, n), a, b, false, io.env.pool.threads());
        }
        Ok(())
    }
}
