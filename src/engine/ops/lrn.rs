//! LRN, local response normalization across channels: `y = x / s^beta` with `s = bias + alpha/size · Σ x²` over the `size`
//! channels around, as far as there are.
//!
//! `dx[j] = dy[j]/s[j]^beta - 2·alpha·beta/size · x[j] · Σ dy[i]·y[i]/s[i]` over the channels `i` in whose window `j` lies.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__LRN.html>. Source: Krizhevsky, Sutskever and Hinton, NIPS 2012.

use std::ops::Range;

use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel, bytes};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::with_float;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "LRN", since: 1, parse };

const ALPHA: f32 = 1e-4;
const BETA: f32 = 0.75;
const BIAS: f32 = 1.0;

#[derive(Clone, Debug)]
struct Lrn {
    alpha: f32,
    beta: f32,
    bias: f32,
    size: usize,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let size = node.int("size")?;
    let wrong = || OpError::Attribute {
        name: "size".into(),
        expected: "a number of channels, at least 1".into(),
        found: size.map_or_else(|| "nothing".into(), |size| size.to_string()),
    };
    Ok(Box::new(Lrn {
        alpha: node.float("alpha")?.unwrap_or(ALPHA),
        beta: node.float("beta")?.unwrap_or(BETA),
        bias: node.float("bias")?.unwrap_or(BIAS),
        size: size.and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 0).ok_or_else(wrong)?,
    }))
}

impl Op for Lrn {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let mut attributes = vec![("size", AttributeValue::Int(i64::try_from(self.size).unwrap_or(i64::MAX)))];
        for (name, value, default) in
            [("alpha", self.alpha, ALPHA), ("beta", self.beta, BETA), ("bias", self.bias, BIAS)]
        {
            if value != default {
                attributes.push((name, AttributeValue::Float(value)));
            }
        }
        attributes
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(1..=1, 1..=1)?;
        let x = inputs.float(0)?;
        inputs.dims(0, 2..=usize::MAX)?;
        Ok(vec![ValueType::new(x.dtype, x.shape.clone())])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let x = signature.input(0)?;
        let &[_, channels, ref rest @ ..] = x.shape.as_slice() else {
            return Err(OpError::Plan { what: "LRN of a rank below 2".into() });
        };
        let (op, positions, len) = (self.clone(), rest.iter().product(), x.len());
        let backward = if signature.wants(0) { len } else { 0 };
        with_float!(x.dtype, T => Box::new(LrnKernel::<T> {
            op,
            channels,
            positions,
            sums: vec![T::default(); len],
            parts: vec![T::default(); backward],
        }))
    }

    fn is_differentiable(&self, _: usize) -> bool {
        true
    }

    fn reads(&self) -> Reads {
        Reads::INPUTS
    }
}

struct LrnKernel<T> {
    op: Lrn,
    channels: usize,
    positions: usize,
    /// `s` of each element.
    sums: Vec<T>,
    /// `dy·x/s^(beta + 1)` of each element.
    parts: Vec<T>,
}

impl<T: Float> LrnKernel<T> {
    /// The rows of positions of the channels around the one of row `row`: `before` and `after` it, as far as there are.
    fn around(&self, row: usize, before: usize, after: usize) -> Range<usize> {
        let channel = row % self.channels;
        let first = row - channel;
        first + channel.saturating_sub(before)
            ..first + channel.saturating_add(after).saturating_add(1).min(self.channels)
    }

    /// `s^-beta`.
    fn power(&self) -> impl Fn(T) -> T + Copy + use<T> {
        let usual = self.op.beta == BETA;
        let exponent = T::of(-f64::from(self.op.beta));
        move |s: T| {
            if usual {
                let root = s.sqrt();
                (root * root.sqrt()).recip()
            } else {
                s.powf(exponent)
            }
        }
    }
}

impl<T: Float> Kernel for LrnKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let (x, y) = (io.input::<T>(0)?, io.output::<T>(0)?);
        let positions = self.positions;
        let (before, after) = ((self.op.size - 1) / 2, self.op.size / 2);
        let (bias, weight) = (T::of(self.op.bias.into()), T::of(f64::from(self.op.alpha) / self.op.size as f64));
        let mut sums = std::mem::take(&mut self.sums);
        let cost = x.len().saturating_mul(self.op.size.min(self.channels));
        io.env.pool.for_pieces(&mut sums, positions, cost, |row, sums| {
            sums.fill(T::zero());
            for other in self.around(row, before, after) {
                for (sum, x) in sums.iter_mut().zip(&x[other * positions..]) {
                    *sum += *x * *x;
                }
            }
            sums.iter_mut().for_each(|sum| *sum = bias + weight * *sum);
        });
        let power = self.power();
        io.env.pool.for_pieces(y, positions, 4 * x.len(), |row, y| {
            let at = row * positions..(row + 1) * positions;
            for ((y, x), sum) in y.iter_mut().zip(&x[at.clone()]).zip(&sums[at]) {
                *y = *x * power(*sum);
            }
        });
        self.sums = sums;
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let (x, dy) = (io.input::<T>(0)?, io.d_output::<T>(0)?);
        let Some(dx) = io.d_input::<T>(0)? else { return Ok(()) };
        let power = self.power();
        let mut parts = std::mem::take(&mut self.parts);
        for (((part, x), dy), sum) in parts.iter_mut().zip(x).zip(dy).zip(&self.sums) {
            *part = *dy * *x * power(*sum) / *sum;
        }
        let positions = self.positions;
        // The window of `i` reaches `j` where that of `j`, turned around, reaches `i`.
        let (before, after) = (self.op.size / 2, (self.op.size - 1) / 2);
        let weight = T::of(-2.0 * f64::from(self.op.alpha) * f64::from(self.op.beta) / self.op.size as f64);
        let cost = x.len().saturating_mul(4 + self.op.size.min(self.channels));
        io.env.pool.for_pieces(dx, positions, cost, |row, dx| {
            dx.fill(T::zero());
            for other in self.around(row, before, after) {
                dx.iter_mut().zip(&parts[other * positions..]).for_each(|(dx, part)| *dx += *part);
            }
            let at = row * positions..(row + 1) * positions;
            for (((dx, x), dy), sum) in dx.iter_mut().zip(&x[at.clone()]).zip(&dy[at.clone()]).zip(&self.sums[at]) {
                *dx = *dy * power(*sum) + weight * *x * *dx;
            }
        });
        self.parts = parts;
        Ok(())
    }

    fn owned_bytes(&self) -> usize {
        bytes(&self.sums) + bytes(&self.parts)
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        let strong = |case: Case, size| case.int("size", size).float("alpha", 2.0).float("bias", 0.5);
        check(
            "LRN",
            &[
                // Channels 1, 2, 3 with a window of 2: the next channel, not the one before.
                Case::new()
                    .input(&[1, 3, 1], &[1.0, 2.0, 3.0])
                    .int("size", 2)
                    .float("alpha", 2.0)
                    .float("beta", 1.0)
                    .output(&[1, 3, 1], &[1.0 / 6.0, 2.0 / 14.0, 3.0 / 10.0]),
                Case::new()
                    .input(&[1, 1, 2], &[1.0, 2.0])
                    .int("size", 1)
                    .float("alpha", 15.0)
                    .output(&[1, 1, 2], &[0.125, 2.0 / 61f64.powf(0.75)]),
                strong(Case::new().random_input(&[2, 7, 2, 3]), 3),
                strong(Case::new().random_input(&[1, 5, 3]), 4),
                strong(Case::new().random_input(&[2, 3]), 100).float("beta", 0.3),
                strong(Case::new().random_input(&[2, 0, 3]), 3),
                strong(Case::new().random_input(&[0, 3, 2]), 3),
                strong(Case::new().random_input(&[2, 3, 0]), 3),
                Case::new().random_input(&[2, 3]).int("size", i64::MAX),
                Case::new().random_input(&[2, 3]).error("found nothing"),
                Case::new().random_input(&[2, 3]).int("size", 0).error("at least 1"),
                Case::new().random_input(&[3]).int("size", 1).error("expected rank 2 or more"),
                Case::new().ints(&[1, 1], &[1]).int("size", 1).error("expected f32 or f64"),
            ],
        );
    }
}
