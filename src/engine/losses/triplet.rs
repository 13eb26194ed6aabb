//! Triplet margin: the mean of `max(0, |a − p| − |a − n| + margin)`, for an anchor `a`, a positive `p` and a negative
//! `n`: f32 or f64 `[N, D]` each.
//!
//! `∂|a − p|/∂a = (a − p)/|a − p|`, 0 where they are equal. Source: Schroff, Kalenichenko and Philbin, *FaceNet*, CVPR
//! 2015, section 3.1; with distances instead of their squares, as PyTorch has it.

use std::marker::PhantomData;

use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::with_float;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::engine::ops::DOMAIN;
use crate::onnx::AttributeValue;

pub(super) const ENTRY: OpEntry = OpEntry { domain: DOMAIN, op_type: "TripletMargin", since: 1, parse };

#[derive(Clone, Debug)]
struct TripletMargin {
    /// 1 unless given.
    margin: f32,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let margin = node.float("margin")?.unwrap_or(1.0);
    if !(margin.is_finite() && margin >= 0.0) {
        let expected = "a number that is not negative".into();
        return Err(OpError::Attribute { name: "margin".into(), expected, found: margin.to_string() });
    }
    Ok(Box::new(TripletMargin { margin }))
}

impl Op for TripletMargin {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        if self.margin == 1.0 { Vec::new() } else { vec![("margin", AttributeValue::Float(self.margin))] }
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(3..=3, 1..=1)?;
        let anchor = inputs.float(0)?;
        inputs.dims(0, 2..=2)?;
        for index in [1, 2] {
            inputs.same_dtype(index, anchor.dtype)?;
            let other = inputs.required(index)?;
            if anchor.shape.accepts(&other.shape).is_err() {
                let expected = format!("shape {}", anchor.shape);
                return Err(OpError::Shape { input: index, expected, found: other.shape.clone() });
            }
        }
        Ok(vec![ValueType::known(anchor.dtype, &[])])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let anchor = signature.input(0)?;
        let &[rows, size] = anchor.shape.as_slice() else {
            return Err(OpError::Plan { what: "rows of another rank".into() });
        };
        let margin = f64::from(self.margin);
        with_float!(anchor.dtype, T => Box::new(TripletKernel::<T> { rows, size, margin, kind: PhantomData }))
    }

    fn is_differentiable(&self, _: usize) -> bool {
        true
    }

    fn reads(&self) -> Reads {
        Reads::INPUTS
    }
}

struct TripletKernel<T> {
    rows: usize,
    size: usize,
    margin: f64,
    kind: PhantomData<T>,
}

fn distance<T: Float>(a: &[T], b: &[T]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a.wide() - b.wide()).powi(2)).sum::<f64>().sqrt()
}

impl<T: Float> Kernel for TripletKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let (a, p, n) = (io.input::<T>(0)?, io.input::<T>(1)?, io.input::<T>(2)?);
        let rows = (0..self.rows).map(|row| row * self.size..(row + 1) * self.size);
        let losses = rows.map(|row| {
            let (near, far) = (distance(&a[row.clone()], &p[row.clone()]), distance(&a[row.clone()], &n[row]));
            (near - far + self.margin).max(0.0)
        });
        let mean = losses.sum::<f64>() / self.rows.max(1) as f64;
        io.output::<T>(0)?.fill(T::of(mean));
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let (a, p, n) = (io.input::<T>(0)?, io.input::<T>(1)?, io.input::<T>(2)?);
        let d_loss = io.d_output::<T>(0)?.first().map_or(0.0, |d| d.wide()) / self.rows.max(1) as f64;
        let (mut da, mut dp, mut dn) = (io.d_input::<T>(0)?, io.d_input::<T>(1)?, io.d_input::<T>(2)?);
        for row in 0..self.rows {
            let range = row * self.size..(row + 1) * self.size;
            let (near, far) =
                (distance(&a[range.clone()], &p[range.clone()]), distance(&a[range.clone()], &n[range.clone()]));
            let scale = if near - far + self.margin > 0.0 { d_loss } else { 0.0 };
            for at in range {
                let toward = |other: T, distance: f64| {
                    if distance == 0.0 { 0.0 } else { scale * (a[at].wide() - other.wide()) / distance }
                };
                let (by_near, by_far) = (toward(p[at], near), toward(n[at], far));
                for (gradient, value) in [(&mut da, by_near - by_far), (&mut dp, -by_near), (&mut dn, by_far)] {
                    if let Some(gradient) = gradient {
                        gradient[at] = T::of(value);
                    }
                }
            }
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
            "TripletMargin",
            &[
                Case::new()
                    .input(&[1, 2], &[0.0, 0.0])
                    .input(&[1, 2], &[3.0, 4.0])
                    .input(&[1, 2], &[0.0, 2.0])
                    .output(&[], &[4.0]),
                Case::new().random_input(&[3, 4]).random_input(&[3, 4]).random_input(&[3, 4]).float("margin", 0.3),
                Case::new()
                    .random_input(&[3, 4])
                    .random_input(&[3, 4])
                    .random_input(&[2, 4])
                    .error("input 2: expected shape"),
                Case::new().random_input(&[3]).random_input(&[3]).random_input(&[3]).error("expected rank 2"),
            ],
        );
    }
}
