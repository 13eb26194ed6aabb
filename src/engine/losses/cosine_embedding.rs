//! Cosine embedding: for pairs that belong together (target 1) the mean of `1 − cos(a, b)`, for others (target −1) of
//! `max(0, cos(a, b) − margin)`. Rows `a`, `b`: f32 or f64 `[N, D]`; target: `[N]` of the same type.
//!
//! `∂cos/∂a = b/(|a||b|) − cos·a/|a|²`. With `|x|² + ε` for `|x|²` (ε = 1e-12), as PyTorch has it, so that zero rows are
//! no fault. Source: Bromley et al., *Signature verification using a "siamese" time delay neural network*, NIPS 1993.

use std::marker::PhantomData;

use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::with_float;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::engine::ops::DOMAIN;
use crate::onnx::AttributeValue;
use crate::tensor::SymbolicShape;

pub(super) const ENTRY: OpEntry = OpEntry { domain: DOMAIN, op_type: "CosineEmbedding", since: 1, parse };

#[derive(Clone, Debug)]
struct CosineEmbedding {
    /// 0 unless given; between −1 and 1.
    margin: f32,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let margin = node.float("margin")?.unwrap_or(0.0);
    if !(-1.0..=1.0).contains(&margin) {
        let expected = "between -1 and 1".into();
        return Err(OpError::Attribute { name: "margin".into(), expected, found: margin.to_string() });
    }
    Ok(Box::new(CosineEmbedding { margin }))
}

impl Op for CosineEmbedding {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        if self.margin == 0.0 { Vec::new() } else { vec![("margin", AttributeValue::Float(self.margin))] }
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(3..=3, 1..=1)?;
        let a = inputs.float(0)?;
        inputs.same_dtype(1, a.dtype)?;
        inputs.same_dtype(2, a.dtype)?;
        let dims = inputs.dims(0, 2..=2)?;
        let b = inputs.required(1)?;
        if a.shape.accepts(&b.shape).is_err() {
            return Err(OpError::Shape { input: 1, expected: format!("shape {}", a.shape), found: b.shape.clone() });
        }
        let target = inputs.required(2)?;
        if let Some(dims) = dims
            && SymbolicShape::Ranked(vec![dims[0].clone()]).accepts(&target.shape).is_err()
        {
            let expected = format!("shape [{}]", dims[0]);
            return Err(OpError::Shape { input: 2, expected, found: target.shape.clone() });
        }
        Ok(vec![ValueType::known(a.dtype, &[])])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let a = signature.input(0)?;
        let &[rows, size] = a.shape.as_slice() else {
            return Err(OpError::Plan { what: "rows of another rank".into() });
        };
        let margin = f64::from(self.margin);
        with_float!(a.dtype, T => Box::new(CosineKernel::<T> { rows, size, margin, kind: PhantomData }))
    }

    fn is_differentiable(&self, index: usize) -> bool {
        index < 2
    }

    fn reads(&self) -> Reads {
        Reads::INPUTS
    }
}

struct CosineKernel<T> {
    rows: usize,
    size: usize,
    margin: f64,
    kind: PhantomData<T>,
}

const EPSILON: f64 = 1e-12;

/// `(a·b, |a|², |b|²)`, the squares with ε.
fn products<T: Float>(a: &[T], b: &[T]) -> (f64, f64, f64) {
    let dot = |x: &[T], y: &[T]| x.iter().zip(y).map(|(x, y)| x.wide() * y.wide()).sum::<f64>();
    (dot(a, b), dot(a, a) + EPSILON, dot(b, b) + EPSILON)
}

impl<T: Float> Kernel for CosineKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let (a, b, target) = (io.input::<T>(0)?, io.input::<T>(1)?, io.input::<T>(2)?);
        let mut sum = 0.0;
        for (row, target) in target.iter().enumerate().take(self.rows) {
            let range = row * self.size..(row + 1) * self.size;
            let (dot, aa, bb) = products(&a[range.clone()], &b[range]);
            let cosine = dot / (aa * bb).sqrt();
            sum += if *target > T::zero() { 1.0 - cosine } else { (cosine - self.margin).max(0.0) };
        }
        io.output::<T>(0)?.fill(T::of(sum / self.rows.max(1) as f64));
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let (a, b, target) = (io.input::<T>(0)?, io.input::<T>(1)?, io.input::<T>(2)?);
        let d_loss = io.d_output::<T>(0)?.first().map_or(0.0, |d| d.wide()) / self.rows.max(1) as f64;
        let (mut da, mut db) = (io.d_input::<T>(0)?, io.d_input::<T>(1)?);
        for (row, target) in target.iter().enumerate().take(self.rows) {
            let range = row * self.size..(row + 1) * self.size;
            let (a, b) = (&a[range.clone()], &b[range.clone()]);
            let (dot, aa, bb) = products(a, b);
            let norm = (aa * bb).sqrt();
            let cosine = dot / norm;
            let by_cosine = match *target > T::zero() {
                true => -d_loss,
                false if cosine > self.margin => d_loss,
                false => 0.0,
            };
            let fill = |to: &mut Option<&mut [T]>, own: &[T], other: &[T], square: f64| {
                let Some(to) = to else { return };
                for ((to, own), other) in to[range.clone()].iter_mut().zip(own).zip(other) {
                    *to = T::of(by_cosine * (other.wide() / norm - cosine * own.wide() / square));
                }
            };
            fill(&mut da, a, b, aa);
            fill(&mut db, b, a, bb);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::ops::DOMAIN;
    use crate::engine::testing::{Case, check_in};

    #[test]
    fn cases() {
        check_in(
            DOMAIN,
            "CosineEmbedding",
            &[
                Case::new()
                    .input(&[2, 2], &[1.0, 0.0, 1.0, 0.0])
                    .input(&[2, 2], &[0.0, 2.0, 3.0, 3.0])
                    .input(&[2], &[1.0, -1.0])
                    .output(&[], &[(1.0 + 0.5f64.sqrt()) / 2.0]),
                Case::new()
                    .random_input(&[3, 4])
                    .random_input(&[3, 4])
                    .input(&[3], &[1.0, -1.0, 1.0])
                    .float("margin", -0.9),
                Case::new().random_input(&[3, 4]).random_input(&[3, 5]).input(&[3], &[1.0; 3]).error("expected shape"),
                Case::new()
                    .random_input(&[3, 4])
                    .random_input(&[3, 4])
                    .input(&[2], &[1.0; 2])
                    .error("expected shape [3]"),
                Case::new()
                    .random_input(&[1, 4])
                    .random_input(&[1, 4])
                    .input(&[1], &[1.0])
                    .float("margin", 2.0)
                    .error("margin"),
            ],
        );
    }
}
