//! MeanVarianceNormalization: `y = (x - mean) / (σ + 1e-9)`, mean and deviation over `axes` (0, 2 and 3 unless given).
//!
//! With `d = σ + 1e-9` and `n` elements each: `dx = (dy - Σdy/n - (x - mean)/(n·σ·d)·Σ dy·(x - mean)) / d`, where the last
//! term is 0 for `σ = 0`. ONNX: <https://onnx.ai/onnx/operators/onnx__MeanVarianceNormalization.html>.

use super::axis::{self, sum_of};
use super::broadcast::Walk;
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel, bytes};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::with_float;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "MeanVarianceNormalization", since: 9, parse };

const AXES: [i64; 3] = [0, 2, 3];
const EPSILON: f64 = 1e-9;

#[derive(Clone, Debug)]
struct MeanVarianceNormalization {
    axes: Vec<i64>,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(MeanVarianceNormalization { axes: node.ints("axes")?.unwrap_or_else(|| AXES.to_vec()) }))
}

impl MeanVarianceNormalization {
    /// Which dimensions are normalised, of `rank`.
    fn normalised(&self, rank: usize) -> Result<Vec<bool>, OpError> {
        let mut normalised = vec![false; rank];
        for axis in &self.axes {
            normalised[axis::resolve("axes", *axis, rank)?] = true;
        }
        Ok(normalised)
    }
}

impl Op for MeanVarianceNormalization {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        if self.axes == AXES { Vec::new() } else { vec![("axes", AttributeValue::Ints(self.axes.clone()))] }
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(1..=1, 1..=1)?;
        let x = inputs.float(0)?;
        if let Some(dims) = x.dims() {
            self.normalised(dims.len())?;
        }
        Ok(vec![ValueType::new(x.dtype, x.shape.clone())])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let x = signature.input(0)?;
        let normalised = self.normalised(x.shape.len())?;
        let sizes = || x.shape.iter().zip(&normalised);
        let groups: Vec<usize> = sizes().map(|(size, normalised)| if *normalised { 1 } else { *size }).collect();
        let count: usize = sizes().filter(|(_, normalised)| **normalised).map(|(size, _)| *size).product();
        let walk = Walk::new(&x.shape, [&groups]);
        let groups = if x.is_empty() { 0 } else { groups.iter().product() };
        with_float!(x.dtype, T => Box::new(MeanVarianceKernel::<T> {
            walk,
            count: T::of(count.max(1) as f64),
            moments: vec![[T::default(); 2]; groups],
            sums: vec![[T::default(); 2]; groups],
        }))
    }

    fn is_differentiable(&self, _: usize) -> bool {
        true
    }

    fn reads(&self) -> Reads {
        Reads::INPUTS
    }
}

struct MeanVarianceKernel<T> {
    walk: Walk<1>,
    /// Elements of a group.
    count: T,
    /// The mean and the deviation of each group.
    moments: Vec<[T; 2]>,
    sums: Vec<[T; 2]>,
}

/// Adds the two sums that `each` gives for the elements of `a` and `b` to those of their group.
fn accumulate<T: Float>(
    walk: &Walk<1>,
    sums: &mut [[T; 2]],
    (a, b): (&[T], &[T]),
    each: impl Fn(usize, T, T) -> [T; 2],
) {
    sums.fill([T::zero(); 2]);
    walk.runs(|from, [group], length, [step]| {
        let (a, b) = (&a[from..from + length], &b[from..from + length]);
        if step == 0 {
            sums[group][0] += sum_of(a, b, |a, b| each(group, a, b)[0]);
            sums[group][1] += sum_of(a, b, |a, b| each(group, a, b)[1]);
        } else {
            for (i, ((sums, a), b)) in sums[group..group + length].iter_mut().zip(a).zip(b).enumerate() {
                let [first, second] = each(group + i, *a, *b);
                sums[0] += first;
                sums[1] += second;
            }
        }
    });
}

/// Writes `to` from `a` and `b` and the group of each element.
fn combine<T: Float>(walk: &Walk<1>, to: &mut [T], (a, b): (&[T], &[T]), each: impl Fn(usize, T, T) -> T) {
    walk.runs(|from, [group], length, [step]| {
        let (a, b) = (&a[from..from + length], &b[from..from + length]);
        for (i, ((to, a), b)) in to[from..from + length].iter_mut().zip(a).zip(b).enumerate() {
            *to = each(group + i * step, *a, *b);
        }
    });
}

impl<T: Float> Kernel for MeanVarianceKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let (x, y) = (io.input::<T>(0)?, io.output::<T>(0)?);
        let MeanVarianceKernel { walk, count, moments, sums } = self;
        accumulate(walk, sums, (x, x), |_, x, _| [x, T::zero()]);
        for (moments, sums) in moments.iter_mut().zip(sums.iter()) {
            moments[0] = sums[0] / *count;
        }
        // The differences are summed as well: what rounding left in the mean is taken out of the variance.
        accumulate(walk, sums, (x, x), |group, x, _| {
            let difference = x - moments[group][0];
            [difference, difference * difference]
        });
        for (moments, [rest, squares]) in moments.iter_mut().zip(sums.iter()) {
            moments[1] = ((*squares - *rest * *rest / *count) / *count).max(T::zero()).sqrt();
        }
        let epsilon = T::of(EPSILON);
        combine(walk, y, (x, x), |group, x, _| {
            let [mean, deviation] = moments[group];
            (x - mean) / (deviation + epsilon)
        });
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let (x, dy) = (io.input::<T>(0)?, io.d_output::<T>(0)?);
        let Some(dx) = io.d_input::<T>(0)? else { return Ok(()) };
        let MeanVarianceKernel { walk, count, moments, sums } = self;
        accumulate(walk, sums, (x, dy), |group, x, dy| [dy, dy * (x - moments[group][0])]);
        let epsilon = T::of(EPSILON);
        for (sums, [_, deviation]) in sums.iter_mut().zip(moments.iter()) {
            let slope = sums[1] / (*count * *deviation * (*deviation + epsilon));
            *sums = [sums[0] / *count, if *deviation == T::zero() { T::zero() } else { slope }];
        }
        combine(walk, dx, (x, dy), |group, x, dy| {
            let ([mean, deviation], [average, slope]) = (moments[group], sums[group]);
            (dy - average - (x - mean) * slope) / (deviation + epsilon)
        });
        Ok(())
    }

    fn owned_bytes(&self) -> usize {
        bytes(&self.moments) + bytes(&self.sums)
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        check(
            "MeanVarianceNormalization",
            &[
                Case::new().input(&[2, 2], &[1.0, 3.0, -2.0, 2.0]).ints_attribute("axes", &[1]).output(
                    &[2, 2],
                    &[-1.0 / (1.0 + 1e-9), 1.0 / (1.0 + 1e-9), -2.0 / (2.0 + 1e-9), 2.0 / (2.0 + 1e-9)],
                ),
                Case::new()
                    .input(&[2, 1, 1, 1], &[1.0, 3.0])
                    .output(&[2, 1, 1, 1], &[-1.0 / (1.0 + 1e-9), 1.0 / (1.0 + 1e-9)]),
                Case::new()
                    .input(&[1, 2], &[3.0, 3.0])
                    .ints_attribute("axes", &[-1])
                    .output(&[1, 2], &[0.0, 0.0])
                    .without_gradient(),
                Case::new().random_input(&[2, 3, 4, 5]),
                Case::new().random_input(&[2, 3, 4, 5]).opset(9).ints_attribute("axes", &[1, -1]),
                Case::new().random_input(&[5, 3]).ints_attribute("axes", &[0]),
                Case::new().random_input(&[3, 40]).ints_attribute("axes", &[0, 1]),
                Case::new().random_input(&[0, 3]).ints_attribute("axes", &[0]),
                Case::new().random_input(&[0, 3]).ints_attribute("axes", &[1]),
                Case::new().random_input(&[2, 3]).error("attribute `axes`: expected -2 to 1, found 2"),
                Case::new().ints(&[1], &[1]).ints_attribute("axes", &[0]).error("expected f32 or f64"),
                Case::new().random_input(&[2]).int("axes", 0).error("expected integers"),
            ],
        );
    }
}
