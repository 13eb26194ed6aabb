//! BatchNormalization: `y = scale[c]·(x - mean[c]) / √(var[c] + epsilon) + bias[c]`, channel by channel.
//!
//! Compiled for inference, `mean` and `var` are the running statistics that the file holds. Compiled for training, they are
//! the mean and the variance (of the population, not of a sample) of the channel over the batch and all positions, and the
//! running statistics become `running·momentum + batch·(1 - momentum)`, whether or not the node names those outputs and
//! whatever its `training_mode`; an empty batch leaves them as they are. A node with `training_mode`, or before version
//! 14 one with more than one output, uses the batch's statistics in inference as well, as the specification says.
//!
//! Where the training freezes both running statistics, they are used as in inference and stay as they are; `scale` and
//! `bias` are trained all the same (fine-tuning in small batches).
//!
//! With `n = x`'s elements of a channel and `z = (x - mean) / √(var + epsilon)`: `dbias = Σ dy`, `dscale = Σ dy·z`,
//! `dx = scale / √(var + epsilon) · (dy - dbias/n - z·dscale/n)` (Ioffe and Szegedy, ICML 2015). With running statistics
//! in `z` the same but `dx = scale / √(var + epsilon) · dy`, as they do not depend on `x`.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__BatchNormalization.html>.

use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel, bytes};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::with_float;
use crate::engine::kernels::math::vectorised;
use crate::engine::op::{Inputs, Mode, Op, Reads, Signature, ValueType};
use crate::engine::pool::Pool;
use crate::onnx::AttributeValue;
use crate::tensor::{Dim, SymbolicShape};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "BatchNormalization", since: 7, parse };

#[derive(Clone, Debug)]
struct BatchNormalization {
    epsilon: f32,
    momentum: f32,
    training_mode: bool,
    /// Before version 14 a node has up to five outputs, and more than one of them says that it trains.
    outputs_tell: bool,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    if node.opset() < 9 && !node.flag("spatial", true)? {
        return Err(OpError::NotCovered { what: "a mean for each position (`spatial` = 0)".into() });
    }
    Ok(Box::new(BatchNormalization {
        epsilon: node.float("epsilon")?.unwrap_or(EPSILON),
        momentum: node.float("momentum")?.unwrap_or(MOMENTUM),
        training_mode: node.opset() >= 14 && node.flag("training_mode", false)?,
        outputs_tell: node.opset() < 14,
    }))
}

const EPSILON: f32 = 1e-5;
const MOMENTUM: f32 = 0.9;

impl Op for BatchNormalization {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let mut attributes = Vec::new();
        for (name, value, default) in [("epsilon", self.epsilon, EPSILON), ("momentum", self.momentum, MOMENTUM)] {
            if value != default {
                attributes.push((name, AttributeValue::Float(value)));
            }
        }
        if self.training_mode {
            attributes.push(("training_mode", AttributeValue::Int(1)));
        }
        attributes
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(5..=5, 1..=if self.outputs_tell { 5 } else { 3 })?;
        let x = inputs.float(0)?;
        let mut channels = match inputs.dims(0, 1..=usize::MAX)? {
            Some(dims) => dims.get(1).cloned().unwrap_or(Dim::Known(1)),
            None => Dim::Any,
        };
        for index in 1..5 {
            inputs.same_dtype(index, x.dtype)?;
            let Some([found]) = inputs.dims(index, 1..=1)? else { continue };
            if !channels.accepts(found) {
                let (expected, found) = (format!("{channels} channels"), inputs.required(index)?.shape.clone());
                return Err(OpError::Shape { input: index, expected, found });
            }
            if channels.known().is_none() {
                channels = found.clone();
            }
        }
        let statistics = ValueType::new(x.dtype, SymbolicShape::Ranked(vec![channels]));
        let mut outputs = vec![ValueType::new(x.dtype, x.shape.clone())];
        outputs.extend(std::iter::repeat_n(statistics, 4));
        Ok(outputs)
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let x = signature.input(0)?;
        let grid = Grid {
            batch: x.shape.first().copied().unwrap_or(1),
            channels: x.shape.get(1).copied().unwrap_or(1),
            positions: x.shape.iter().skip(2).product(),
        };
        let frozen = signature.is_frozen(3) && signature.is_frozen(4);
        let of_batch = signature.mode == Mode::Training && !frozen
            || self.training_mode
            || self.outputs_tell && signature.outputs.iter().skip(1).any(Option::is_some);
        let (epsilon, momentum) = (f64::from(self.epsilon), f64::from(self.momentum));
        with_float!(x.dtype, T => Box::new(BatchKernel::<T> {
            grid,
            of_batch,
            epsilon: T::of(epsilon),
            momentum: T::of(momentum),
            moments: vec![[T::default(); 2]; grid.channels],
            factors: vec![[T::default(); 3]; grid.channels],
        }))
    }

    fn is_differentiable(&self, index: usize) -> bool {
        index < 3
    }

    fn reads(&self) -> Reads {
        Reads::of(&[0, 1], &[])
    }

    fn updates(&self) -> &'static [(usize, usize)] {
        &[(1, 3), (2, 4)]
    }
}

/// The input as `batch × channels × positions`.
#[derive(Clone, Copy)]
struct Grid {
    batch: usize,
    channels: usize,
    positions: usize,
}

impl Grid {
    /// How many elements a channel has.
    fn count(&self) -> usize {
        self.batch * self.positions
    }

    fn elements(&self) -> usize {
        self.count() * self.channels
    }

    /// For each channel the two sums of what `each(channel)` makes of its elements, of `x` and `other`.
    fn sums<T: Float, E: Fn(T, T) -> [T; 2]>(
        &self,
        pool: &Pool,
        sums: &mut [[T; 2]],
        (x, other): (&[T], &[T]),
        each: impl Fn(usize) -> E + Sync,
    ) {
        if self.positions == 1 {
            sums.fill([T::zero(); 2]);
            let samples = x.chunks_exact(self.channels.max(1)).zip(other.chunks_exact(self.channels.max(1)));
            for (x, other) in samples {
                for (channel, ((sums, x), other)) in sums.iter_mut().zip(x).zip(other).enumerate() {
                    let [a, b] = each(channel)(*x, *other);
                    sums[0] += a;
                    sums[1] += b;
                }
            }
            return;
        }
        pool.for_pieces(sums, 1, self.elements(), |channel, sums| {
            let each = each(channel);
            sums.fill(self.total(0..self.batch, channel, (x, other), each));
        });
    }

    /// The two sums of what `each` makes of the elements of a channel in some samples, of `x` and `other`. Sixteen sums are
    /// kept side by side: they vectorise, and lose less to rounding than one.
    fn total<T: Float>(
        &self,
        samples: std::ops::Range<usize>,
        channel: usize,
        (x, other): (&[T], &[T]),
        each: impl Fn(T, T) -> [T; 2],
    ) -> [T; 2] {
        const LANES: usize = 16;
        let (mut first, mut second) = ([T::zero(); LANES], [T::zero(); LANES]);
        vectorised(
            #[inline(always)]
            || {
                for sample in samples {
                    let start = (sample * self.channels + channel) * self.positions;
                    let (x, other) = (&x[start..start + self.positions], &other[start..start + self.positions]);
                    let (x, x_rest) = x.as_chunks::<LANES>();
                    let (other, other_rest) = other.as_chunks::<LANES>();
                    for (x, other) in x.iter().zip(other) {
                        for lane in 0..LANES {
                            let [a, b] = each(x[lane], other[lane]);
                            first[lane] += a;
                            second[lane] += b;
                        }
                    }
                    for (((x, other), first), second) in x_rest.iter().zip(other_rest).zip(&mut first).zip(&mut second)
                    {
                        let [a, b] = each(*x, *other);
                        *first += a;
                        *second += b;
                    }
                }
                for width in [8, 4, 2, 1] {
                    for lane in 0..width {
                        let (a, b) = (first[lane + width], second[lane + width]);
                        first[lane] += a;
                        second[lane] += b;
                    }
                }
            },
        );
        [first[0], second[0]]
    }

    /// The mean and the variance of each channel.
    ///
    /// A few samples are measured while they are in the cache, and put together with those before them (Chan, Golub and
    /// LeVeque, 1979).
    fn moments<T: Float>(&self, pool: &Pool, moments: &mut [[T; 2]], factors: &mut [[T; 3]], x: &[T]) {
        /// Elements that stay in the cache.
        const CACHED: usize = 4096;
        let count = T::of(self.count().max(1) as f64);
        if self.positions != 1 {
            let together = (CACHED / self.positions.max(1)).max(1);
            pool.for_pieces(moments, 1, self.elements(), |channel, moments| {
                let (mut mean, mut squares, mut before) = (T::zero(), T::zero(), T::zero());
                for first in (0..self.batch).step_by(together) {
                    let samples = first..self.batch.min(first + together);
                    let length = T::of((samples.len() * self.positions).max(1) as f64);
                    let [sum, _] = self.total(samples.clone(), channel, (x, x), |x, _| [x, T::zero()]);
                    let own = sum / length;
                    let [around, _] = self.total(samples, channel, (x, x), |x, _| [(x - own) * (x - own), T::zero()]);
                    let (step, all) = (own - mean, before + length);
                    squares += around + step * step * before * length / all;
                    mean += step * length / all;
                    before = all;
                }
                moments.fill([mean, squares / count]);
            });
            return;
        }
        self.sums(pool, moments, (x, x), |_| |x, _| [x, T::zero()]);
        for (factors, [total, _]) in factors.iter_mut().zip(moments.iter()) {
            factors[0] = *total / count;
        }
        self.sums(pool, moments, (x, x), |channel| {
            let mean = factors[channel][0];
            move |x, _| [T::zero(), (x - mean) * (x - mean)]
        });
        for (moments, [mean, ..]) in moments.iter_mut().zip(factors.iter()) {
            *moments = [*mean, moments[1] / count];
        }
    }

    /// Writes `to` from `x` and `other`: `to = a·x + b·other + c`, with `[a, b, c]` by channel.
    fn combine<T: Float>(&self, pool: &Pool, to: &mut [T], x: &[T], other: Option<&[T]>, factors: &[[T; 3]]) {
        /// Elements of a piece of work.
        const LEAST: usize = 1024;
        let cost = self.elements() / 2;
        if self.positions == 1 {
            let channels = self.channels;
            pool.for_pieces(to, channels, cost, |sample, to| {
                let at = sample * channels..(sample + 1) * channels;
                let x = &x[at.clone()];
                match other.map(|other| &other[at]) {
                    Some(other) => {
                        for (((to, x), other), [a, b, c]) in to.iter_mut().zip(x).zip(other).zip(factors) {
                            *to = *a * *x + *b * *other + *c;
                        }
                    }
                    None => {
                        for ((to, x), [a, _, c]) in to.iter_mut().zip(x).zip(factors) {
                            *to = *a * *x + *c;
                        }
                    }
                }
            });
            return;
        }
        // Some rows at a time: they may be short.
        let together = (LEAST / self.positions.max(1)).max(1);
        pool.for_pieces(to, together * self.positions, cost, |piece, to| {
            let first = piece * together;
            vectorised(
                #[inline(always)]
                || {
                    for (row, to) in (first..).zip(to.chunks_exact_mut(self.positions)) {
                        let at = row * self.positions..(row + 1) * self.positions;
                        let [a, b, c] = factors[row % self.channels];
                        let x = &x[at.clone()];
                        match other.map(|other| &other[at]) {
                            Some(other) => {
                                for ((to, x), other) in to.iter_mut().zip(x).zip(other) {
                                    *to = a * *x + b * *other + c;
                                }
                            }
                            None => to.iter_mut().zip(x).for_each(
                                #[inline(always)]
                                |(to, x)| *to = a * *x + c,
                            ),
                        }
                    }
                },
            );
        });
    }
}

struct BatchKernel<T> {
    grid: Grid,
    /// Whether the statistics are those of the batch.
    of_batch: bool,
    epsilon: T,
    momentum: T,
    /// The mean and the variance of each channel.
    moments: Vec<[T; 2]>,
    /// By channel, for [`Grid::combine`].
    factors: Vec<[T; 3]>,
}

impl<T: Float> Kernel for BatchKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let (x, scale, bias) = (io.input::<T>(0)?, io.input::<T>(1)?, io.input::<T>(2)?);
        let running = [io.input::<T>(3)?, io.input::<T>(4)?];
        let y = io.output::<T>(0)?;
        if self.of_batch {
            self.grid.moments(io.env.pool, &mut self.moments, &mut self.factors, x);
        } else {
            for ((moments, mean), var) in self.moments.iter_mut().zip(running[0]).zip(running[1]) {
                *moments = [*mean, *var];
            }
        }
        let empty = self.grid.count() == 0;
        for (which, running) in running.into_iter().enumerate() {
            let keep = if empty || !self.of_batch { T::one() } else { self.momentum };
            if let Some(updated) = io.optional_output::<T>(which + 1)? {
                for ((updated, running), moments) in updated.iter_mut().zip(running).zip(&self.moments) {
                    *updated = *running * keep + moments[which] * (T::one() - keep);
                }
            }
            if let Some(saved) = io.optional_output::<T>(which + 3)? {
                saved.iter_mut().zip(&self.moments).for_each(|(saved, moments)| *saved = moments[which]);
            }
        }
        let channels = self.factors.iter_mut().zip(&self.moments).zip(scale.iter().zip(bias));
        for ((factors, [mean, var]), (scale, bias)) in channels {
            let slope = *scale / (*var + self.epsilon).sqrt();
            *factors = [slope, T::zero(), *bias - *mean * slope];
        }
        self.grid.combine(io.env.pool, y, x, None, &self.factors);
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let (x, scale, dy) = (io.input::<T>(0)?, io.input::<T>(1)?, io.d_output::<T>(0)?);
        let BatchKernel { grid, of_batch, epsilon, moments, factors, .. } = self;
        let deviation = |var: T| (var + *epsilon).sqrt().recip();
        // The mean and the reciprocal deviation stay in `factors`, the two sums take their place in `moments`.
        for (factors, [mean, var]) in factors.iter_mut().zip(moments.iter()) {
            *factors = [*mean, deviation(*var), *var];
        }
        grid.sums(io.env.pool, moments, (x, dy), |channel| {
            let [mean, deviation, _] = factors[channel];
            move |x, dy| [dy, (x - mean) * deviation * dy]
        });
        for (which, index) in [(1, 1), (0, 2)] {
            if let Some(gradient) = io.d_input::<T>(index)? {
                gradient.iter_mut().zip(moments.iter()).for_each(|(gradient, sums)| *gradient = sums[which]);
            }
        }
        if !*of_batch {
            for ((factors, moments), scale) in factors.iter_mut().zip(moments.iter_mut()).zip(scale) {
                let [mean, deviation, var] = *factors;
                *factors = [*scale * deviation, T::zero(), T::zero()];
                *moments = [mean, var];
            }
            if let Some(dx) = io.d_input::<T>(0)? {
                grid.combine(io.env.pool, dx, dy, None, factors);
            }
            return Ok(());
        }
        let count = T::of(grid.count().max(1) as f64);
        for ((factors, moments), scale) in factors.iter_mut().zip(moments.iter_mut()).zip(scale) {
            let ([mean, deviation, var], [d_bias, d_scale]) = (*factors, *moments);
            let slope = *scale * deviation;
            if !*of_batch {
                (*factors, *moments) = ([slope, T::zero(), T::zero()], [mean, var]);
                continue;
            }
            let by_x = -slope * deviation * d_scale / count;
            *factors = [by_x, slope, -slope * d_bias / count - by_x * mean];
            *moments = [mean, var];
        }
        if let Some(dx) = io.d_input::<T>(0)? {
            match of_batch {
                true => grid.combine(io.env.pool, dx, x, Some(dy), factors),
                false => grid.combine(io.env.pool, dx, dy, None, factors),
            }
        }
        Ok(())
    }

    fn owned_bytes(&self) -> usize {
        bytes(&self.moments) + bytes(&self.factors)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::engine::network::{Gradient, Network};
    use crate::engine::op::Mode;
    use crate::engine::optimizers::Sgd;
    use crate::engine::testing::{Case, check, random, wide};
    use crate::engine::{Loss, Optimizer, Training, TrainingOptions};
    use crate::onnx::{Graph, Model, Node, ValueInfo};
    use crate::tensor::{DType, SymbolicShape, Tensor};

    #[test]
    fn cases() {
        let statistics = |case: Case| {
            case.input(&[2], &[2.0, 0.5]).input(&[2], &[1.0, -1.0]).input(&[2], &[3.0, 0.0]).input(&[2], &[4.0, 1.0])
        };
        let random = |case: Case, channels: usize| {
            case.random_input(&[channels])
                .random_input(&[channels])
                .random_input(&[channels])
                .input(&[channels], &vec![0.7; channels])
        };
        let x = || Case::new().input(&[2, 2, 1], &[1.0, 2.0, 3.0, 6.0]);
        let named = |case: Case| case.float("epsilon", 0.0);
        check(
            "BatchNormalization",
            &[
                named(statistics(x())).output(&[2, 2, 1], &[-1.0, 0.0, 1.0, 2.0]),
                named(statistics(x()))
                    .int("training_mode", 1)
                    .float("momentum", 0.5)
                    .output(&[2, 2, 1], &[-1.0, -1.5, 3.0, -0.5])
                    .output(&[2], &[2.5, 2.0])
                    .output(&[2], &[2.5, 2.5])
                    .without_gradient(),
                named(statistics(x()))
                    .opset(9)
                    .float("momentum", 0.5)
                    .output(&[2, 2, 1], &[-1.0, -1.5, 3.0, -0.5])
                    .output(&[2], &[2.5, 2.0])
                    .output(&[2], &[2.5, 2.5])
                    .output(&[2], &[2.0, 4.0])
                    .output(&[2], &[1.0, 4.0])
                    .without_gradient(),
                named(statistics(x())).opset(7).int("spatial", 1).output(&[2, 2, 1], &[-1.0, 0.0, 1.0, 2.0]),
                random(Case::new().random_input(&[3, 2, 3, 5]), 2),
                random(Case::new().random_input(&[2, 2, 37]), 2),
                random(Case::new().random_input(&[5, 3]), 3),
                random(Case::new().random_input(&[4]), 1),
                random(Case::new().random_input(&[2, 3, 1, 1]), 3),
                random(Case::new().random_input(&[0, 3, 2]), 3),
                random(Case::new().random_input(&[2, 0, 2]), 0),
                random(Case::new().random_input(&[3, 2]), 3).error("expected 2 channels"),
                random(Case::new().random_input(&[]), 1).error("expected rank 1 or more"),
                random(Case::new().ints(&[1, 1], &[1]), 1).error("expected f32 or f64"),
                random(x(), 2).random_input(&[2]).error("expected 5 inputs, found 6"),
                random(x(), 2).output_count(4).error("expected 1 to 3 outputs, found 4"),
                random(x(), 2).opset(8).int("spatial", 0).error("is not covered"),
                random(x(), 2).opset(13).int("training_mode", 1).error("attribute `training_mode`"),
                random(x(), 2).int("training_mode", 2).error("expected 0 or 1"),
            ],
        );
    }

    /// A file that was exported for inference trains: its node names one output, its statistics are weights.
    #[test]
    fn a_training_step_replaces_the_running_statistics() {
        let mut graph = Graph::new("norm");
        graph.inputs.push(ValueInfo::tensor("x", DType::F64, SymbolicShape::known(&[2, 1, 2])));
        for (name, value) in [("scale", 1.0f64), ("bias", 0.0), ("mean", 10.0), ("var", 1.0)] {
            graph.initializers.push((name.into(), Tensor::from_vec(vec![value])));
        }
        graph.outputs.push(ValueInfo::tensor("y", DType::F64, SymbolicShape::Unranked));
        let node = Node::new("BatchNormalization", ["x", "scale", "bias", "mean", "var"], ["y"]);
        graph.nodes.push(node.with("momentum", crate::onnx::AttributeValue::Float(0.75)));
        let mut network = Network::new(&Model::new(graph, 15)).unwrap();
        let x = Tensor::new(vec![2, 1, 2], vec![1.0f64, 2.0, 3.0, 6.0]).unwrap();
        let inputs = network.sort_inputs(&[("x", &x)]).unwrap();
        let outputs = [network.output_id("y").unwrap()];
        for mode in [Mode::Inference, Mode::Training] {
            let gradient = match mode {
                Mode::Inference => Gradient::None,
                Mode::Training => Gradient::OfAll(std::sync::Arc::new(BTreeSet::from([network.weight_id(0)]))),
            };
            let read = |plan: &mut crate::engine::plan::Plan, given: crate::engine::plan::Given<'_>| {
                let updates = plan.updates.iter().map(|(weight, place)| (*weight, plan.read(*place, given)));
                updates.map(|(weight, slice)| (weight, format!("{slice:?}"))).collect::<Vec<_>>()
            };
            let updates = network.execute(&inputs, &[&x], mode, &outputs, &gradient, 0, read).unwrap();
            // The batch has mean 3 and variance 3.5.
            let expected = [(2, "F64([8.25])".to_owned()), (3, "F64([1.625])".to_owned())];
            assert_eq!(updates, if mode == Mode::Training { &expected[..] } else { &[] }, "{mode:?}");
        }
        let inference = network.run(&[("x", &x)]).unwrap();
        let first = wide(&inference[0]).unwrap()[0];
        assert!((first - (1.0 - 10.0) / 1.00001f64.sqrt()).abs() < 1e-6, "{first}");
    }

    /// Frozen statistics are neither measured nor changed, and the derivatives are those of what inference computes.
    #[test]
    fn scale_and_bias_are_trained_with_frozen_statistics() {
        for shape in [&[3usize, 2, 4][..], &[5, 2]] {
            let mut graph = Graph::new("norm");
            graph.inputs.push(ValueInfo::tensor("x", DType::F64, SymbolicShape::known(shape)));
            for (name, values) in [
                ("in.scale", [1.5f64, -0.5]),
                ("in.bias", [0.25, 1.0]),
                ("scale", [0.5, 2.0]),
                ("bias", [1.0, -1.0]),
                ("mean", [0.3, -0.2]),
                ("var", [2.0, 0.5]),
            ] {
                graph.initializers.push((name.into(), Tensor::from_vec(values.to_vec())));
            }
            graph.outputs.push(ValueInfo::tensor("y", DType::F64, SymbolicShape::Unranked));
            // The first one's gradient is that of the second one's input.
            let statistics = |x: &str, scale: &str, bias: &str, y: &str| {
                Node::new("BatchNormalization", [x, scale, bias, "mean", "var"], [y])
            };
            graph.nodes.push(statistics("x", "in.scale", "in.bias", "h"));
            graph.nodes.push(statistics("h", "scale", "bias", "y"));
            let model = Model::new(graph, 15);
            let sgd = || Optimizer::Sgd(Sgd { learning_rate: 1.0 });
            let options = || TrainingOptions::new(Loss::squared(), sgd()).freeze("mean").freeze("var");
            let (x, target) = (random(shape, 1), random(shape, 2));
            let given = [("x", &x), ("target", &target)];
            let mut training = Training::new(&model, options()).unwrap();
            let before = training.evaluate(&given).unwrap();
            assert!((training.step(&given).unwrap() - before).abs() < 1e-12, "as in inference");
            let after = training.model();
            for (name, old) in &model.graph.initializers {
                let (old, new) = (old.as_slice::<f64>().unwrap(), after.graph.initializer(name).unwrap());
                let new = new.as_slice::<f64>().unwrap();
                if ["mean", "var"].contains(&name.as_str()) {
                    assert_eq!(old, new, "{name}");
                    continue;
                }
                for channel in 0..2 {
                    let loss = |step: f64| {
                        let mut moved = model.clone();
                        let mut values = old.to_vec();
                        values[channel] += step;
                        let stored = moved.graph.initializers.iter_mut().find(|(known, _)| known == name).unwrap();
                        stored.1 = Tensor::from_vec(values);
                        Training::new(&moved, options()).unwrap().evaluate(&given).unwrap()
                    };
                    let expected = (loss(1e-5) - loss(-1e-5)) / 2e-5;
                    let found = old[channel] - new[channel];
                    assert!((found - expected).abs() < 1e-8, "{name}[{channel}]: expected {expected}, found {found}");
                }
            }
        }
    }
}
