//! Gemm: `Y = alpha·A'·B' + beta·C`, where `A'` is `A` or its transpose, likewise `B'`, and `C` is broadcast.
//!
//! `dA' = alpha·dY·B'ᵀ`, `dB' = alpha·A'ᵀ·dY`, `dC = beta·dY`, summed over what was repeated.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Gemm.html>.

use std::sync::Arc;

use super::broadcast::{self, Walk};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel, bytes};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::with_float;
use crate::engine::kernels::matrix::{View, ViewMut, multiply};
use crate::engine::op::{Activation, Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::{Dim, SymbolicShape};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Gemm", since: 7, parse };

#[derive(Clone, Debug)]
struct Gemm {
    alpha: f32,
    beta: f32,
    trans_a: bool,
    trans_b: bool,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Gemm {
        alpha: node.float("alpha")?.unwrap_or(1.0),
        beta: node.float("beta")?.unwrap_or(1.0),
        trans_a: node.flag("transA", false)?,
        trans_b: node.flag("transB", false)?,
    }))
}

impl Op for Gemm {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let mut attributes = Vec::new();
        for (name, value) in [("alpha", self.alpha), ("beta", self.beta)] {
            if value != 1.0 {
                attributes.push((name, AttributeValue::Float(value)));
            }
        }
        for (name, value) in [("transA", self.trans_a), ("transB", self.trans_b)] {
            if value {
                attributes.push((name, AttributeValue::Int(1)));
            }
        }
        attributes
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(2..=3, 1..=1)?;
        let dtype = inputs.float(0)?.dtype;
        inputs.same_dtype(1, dtype)?;
        inputs.same_dtype(2, dtype)?;
        let oriented = |index: usize, transposed: bool| -> Result<(Dim, Dim), OpError> {
            Ok(match inputs.dims(index, 2..=2)? {
                Some([rows, columns]) if transposed => (columns.clone(), rows.clone()),
                Some([rows, columns]) => (rows.clone(), columns.clone()),
                _ => (Dim::Any, Dim::Any),
            })
        };
        let (m, k) = oriented(0, self.trans_a)?;
        let (k_of_b, n) = oriented(1, self.trans_b)?;
        if !k.accepts(&k_of_b) {
            let expected = format!("{k} {}", if self.trans_b { "columns (transB)" } else { "rows" });
            return Err(OpError::Shape { input: 1, expected, found: inputs.required(1)?.shape.clone() });
        }
        let shape = SymbolicShape::Ranked(vec![m, n]);
        if let Some(c) = inputs.optional(2) {
            let together = broadcast::shapes(&shape, &c.shape)?;
            if together.accepts(&shape).is_err() {
                let expected = format!("a shape that can be repeated to {shape}");
                return Err(OpError::Shape { input: 2, expected, found: c.shape.clone() });
            }
        }
        Ok(vec![ValueType::new(dtype, shape)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (a, b, y) = (signature.input(0)?, signature.input(1)?, signature.output(0)?);
        let (&[m, n], &[rows, columns]) = (y.shape.as_slice(), a.shape.as_slice()) else {
            return Err(OpError::Plan { what: "a matrix product of other ranks than 2".into() });
        };
        let k = if self.trans_a { rows } else { columns };
        let bias = signature.optional_input(2).map(|c| Walk::new(&[m, n], [&c.shape]));
        let op = self.clone();
        let after = signature.activation.clone();
        let before = if after.is_some() && signature.wants.contains(&true) { y.len() } else { 0 };
        with_float!(b.dtype, T => {
            Box::new(GemmKernel::<T> { op, m, n, k, bias, after, before: vec![<T as num_traits::Zero>::zero(); before] })
        })
    }

    fn is_differentiable(&self, _: usize) -> bool {
        true
    }

    fn reads(&self) -> Reads {
        Reads::of(&[0, 1], &[])
    }

    fn takes_activation(&self) -> bool {
        true
    }
}

struct GemmKernel<T> {
    op: Gemm,
    m: usize,
    n: usize,
    k: usize,
    bias: Option<Walk<1>>,
    after: Option<Arc<dyn Activation>>,
    /// The gradient before the activation.
    before: Vec<T>,
}

impl<T: Float> GemmKernel<T> {
    fn scale(&self, values: &mut [T]) {
        if self.op.alpha != 1.0 {
            let alpha = T::of(f64::from(self.op.alpha));
            values.iter_mut().for_each(|value| *value *= alpha);
        }
    }
}

impl<T: Float> Kernel for GemmKernel<T> {
    fn owned_bytes(&self) -> usize {
        bytes(&self.before)
    }

    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let GemmKernel { m, n, k, .. } = *self;
        let (a, b, c) = (io.input::<T>(0)?, io.input::<T>(1)?, io.optional_input::<T>(2)?);
        let y = io.output::<T>(0)?;
        let a = View::oriented(a, if self.op.trans_a { m } else { k }, self.op.trans_a);
        let b = View::oriented(b, if self.op.trans_b { k } else { n }, self.op.trans_b);
        let beta = T::of(f64::from(self.op.beta));
        match (&self.bias, c) {
            // The bias is there before the product is added to it.
            (Some(walk), Some(c)) if self.op.alpha == 1.0 => {
                walk.runs(|result, [at], length, [step]| {
                    let y = &mut y[result..result + length];
                    match step {
                        0 => y.fill(beta * c[at]),
                        // The bias lies side by side.
                        1 => y.iter_mut().zip(&c[at..at + length]).for_each(|(y, c)| *y = beta * *c),
                        _ => y.iter_mut().zip(c[at..].iter().step_by(step)).for_each(|(y, c)| *y = beta * *c),
                    }
                });
                multiply(m, n, k, ViewMut::rows(y, n), a, b, true, io.env.pool.threads());
            }
            (walk, c) => {
                multiply(m, n, k, ViewMut::rows(y, n), a, b, false, io.env.pool.threads());
                self.scale(y);
                if let (Some(walk), Some(c)) = (walk, c) {
                    walk.runs(|result, [at], length, [step]| {
                        for (i, y) in y[result..result + length].iter_mut().enumerate() {
                            *y += beta * c[at + i * step];
                        }
                    });
                }
            }
        }
        if let Some(after) = &self.after {
            after.apply(T::slice_mut_of(y));
        }
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let GemmKernel { m, n, k, .. } = *self;
        let (a, b, mut dy) = (io.input::<T>(0)?, io.input::<T>(1)?, io.d_output::<T>(0)?);
        if let Some(after) = &self.after {
            let y = io.output::<T>(0)?;
            after.gradient(T::slice_of(y), T::slice_of(dy), T::slice_mut_of(&mut self.before));
            dy = &self.before;
        }
        let threads = io.env.pool.threads();
        if let Some(da) = io.d_input::<T>(0)? {
            let b = View::oriented(b, if self.op.trans_b { k } else { n }, !self.op.trans_b);
            let to = if self.op.trans_a { ViewMut::transposed(da, m) } else { ViewMut::rows(da, k) };
            multiply(m, k, n, to, View::rows(dy, n), b, false, threads);
            self.scale(da);
        }
        if let Some(db) = io.d_input::<T>(1)? {
            let a = View::oriented(a, if self.op.trans_a { m } else { k }, !self.op.trans_a);
            let to = if self.op.trans_b { ViewMut::transposed(db, k) } else { ViewMut::rows(db, n) };
            multiply(k, n, m, to, a, View::rows(dy, n), false, threads);
            self.scale(db);
        }
        if let (Some(dc), Some(walk)) = (io.d_input::<T>(2)?, &self.bias) {
            dc.fill(T::zero());
            walk.runs(|result, [at], length, [step]| {
                let dy = &dy[result..result + length];
                match step {
                    1 => dc[at..at + length].iter_mut().zip(dy).for_each(|(dc, dy)| *dc += *dy),
                    _ => dy.iter().enumerate().for_each(|(i, dy)| dc[at + i * step] += *dy),
                }
            });
            if self.op.beta != 1.0 {
                let beta = T::of(f64::from(self.op.beta));
                dc.iter_mut().for_each(|dc| *dc *= beta);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        let two = || Case::new().input(&[1, 2], &[1.0, 2.0]).input(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
        check(
            "Gemm",
            &[
                two().output(&[1, 2], &[7.0, 10.0]),
                two().int("transB", 1).input(&[2], &[0.5, -0.5]).output(&[1, 2], &[5.5, 10.5]),
                two().input(&[], &[1.0]).float("alpha", 2.0).float("beta", 0.5).output(&[1, 2], &[14.5, 20.5]),
                Case::new().random_input(&[3, 4]).random_input(&[4, 5]).random_input(&[5]),
                Case::new().random_input(&[4, 3]).random_input(&[4, 5]).random_input(&[3, 1]).int("transA", 1),
                Case::new()
                    .random_input(&[4, 3])
                    .random_input(&[5, 4])
                    .int("transA", 1)
                    .int("transB", 1)
                    .float("alpha", 0.5),
                Case::new()
                    .random_input(&[3, 4])
                    .random_input(&[5, 4])
                    .random_input(&[1, 5])
                    .int("transB", 1)
                    .float("beta", 2.0),
                Case::new().random_input(&[0, 4]).random_input(&[4, 5]).random_input(&[5]),
                Case::new().random_input(&[3, 0]).random_input(&[0, 5]).random_input(&[5]),
                Case::new().random_input(&[3, 4]).random_input(&[3, 5]).error("expected 4 rows"),
                Case::new().random_input(&[3]).random_input(&[3, 5]).error("expected rank 2"),
                Case::new().random_input(&[3, 4]).random_input(&[4, 5]).random_input(&[7]).error("cannot be broadcast"),
                Case::new().random_input(&[1, 4]).random_input(&[4, 5]).random_input(&[3, 5]).error("repeated to"),
                Case::new().ints(&[1, 1], &[1]).ints(&[1, 1], &[1]).error("expected f32 or f64"),
                two().int("transB", 2).error("expected 0 or 1"),
            ],
        );
    }
}
