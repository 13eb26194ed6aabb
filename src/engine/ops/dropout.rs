//! Dropout: in training each element is dropped with probability `ratio`, and what stays is divided by `1 - ratio`.
//!
//! The mode that the graph is compiled for decides, not the node's `training_mode`: in inference everything passes, and in
//! training a file that was exported for inference drops as well. Which elements go follows from the seed of the step, the
//! node's `seed` and the element's position alone, so the backward pass drops the same. `dx = dy / (1 - ratio)` where `x`
//! stayed, else 0. `mask` tells what stayed.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Dropout.html>. Source: Srivastava et al., JMLR 15 (2014).

use std::marker::PhantomData;

use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::with_float;
use crate::engine::op::{Inputs, Mode, Op, Reads, Signature, ValueType};
use crate::engine::random::mix;
use crate::onnx::AttributeValue;
use crate::tensor::DType;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Dropout", since: 7, parse };

const RATIO: f32 = 0.5;
/// Elements of a piece that one thread works on; an even number.
const PIECE: usize = 4096;

#[derive(Clone, Debug)]
struct Dropout {
    ratio: f32,
    /// From version 12 on the ratio is an input.
    ratio_is_input: bool,
    /// Before version 10 the mask is of the type of `x`.
    mask_is_bool: bool,
    seed: Option<i64>,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let ratio_is_input = node.opset() >= 12;
    let ratio = if ratio_is_input { None } else { node.float("ratio")? };
    let ratio = checked(ratio.unwrap_or(RATIO).into()).map_err(|found| OpError::Attribute {
        name: "ratio".into(),
        expected: EXPECTED.into(),
        found,
    })?;
    Ok(Box::new(Dropout {
        ratio: ratio as f32,
        ratio_is_input,
        mask_is_bool: node.opset() >= 10,
        seed: if ratio_is_input { node.int("seed")? } else { None },
    }))
}

const EXPECTED: &str = "a ratio from 0 to 1";

fn checked(ratio: f64) -> Result<f64, String> {
    if (0.0..=1.0).contains(&ratio) { Ok(ratio) } else { Err(ratio.to_string()) }
}

impl Op for Dropout {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let mut attributes = Vec::new();
        if self.ratio != RATIO {
            attributes.push(("ratio", AttributeValue::Float(self.ratio)));
        }
        if let Some(seed) = self.seed {
            attributes.push(("seed", AttributeValue::Int(seed)));
        }
        attributes
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(1..=if self.ratio_is_input { 3 } else { 1 }, 1..=2)?;
        let x = inputs.float(0)?;
        if inputs.optional(1).is_some() {
            inputs.float(1)?;
            scalar(inputs, 1)?;
        }
        if inputs.optional(2).is_some() {
            inputs.of(2, "bool", |dtype| dtype == DType::Bool)?;
            scalar(inputs, 2)?;
        }
        let mask = if self.mask_is_bool { DType::Bool } else { x.dtype };
        Ok(vec![ValueType::new(x.dtype, x.shape.clone()), ValueType::new(mask, x.shape.clone())])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let ratio = signature.optional_input(1).map(|ratio| ratio.dtype);
        let (op, active) = (self.clone(), signature.mode == Mode::Training);
        with_float!(signature.input(0)?.dtype, T => {
            Box::new(DropoutKernel::<T> { op, active, ratio, kind: PhantomData })
        })
    }

    fn is_differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self) -> Reads {
        Reads::of(&[1], &[])
    }

    fn is_random(&self) -> bool {
        true
    }
}

/// Refuses an input that has not one element.
fn scalar(inputs: &Inputs<'_>, index: usize) -> Result<(), OpError> {
    let input = inputs.required(index)?;
    match input.sizes() {
        Some(sizes) if sizes.iter().any(|size| *size != 1) => {
            Err(OpError::Shape { input: index, expected: "a scalar".into(), found: input.shape.clone() })
        }
        _ => Ok(()),
    }
}

struct DropoutKernel<T> {
    op: Dropout,
    /// Whether anything is dropped.
    active: bool,
    /// The type of the input that holds the ratio, where it is given.
    ratio: Option<DType>,
    kind: PhantomData<T>,
}

/// What stays: an element whose random number is not below the threshold.
#[derive(Clone, Copy)]
struct Sieve<T> {
    seed: u64,
    /// Of 2³².
    threshold: u64,
    scale: T,
}

impl<T: Float> Sieve<T> {
    /// Whether the elements `2·pair` and `2·pair + 1` stay: each has 32 bits of one random number.
    fn pair(&self, pair: usize) -> [bool; 2] {
        let bits = mix(self.seed, pair as u64);
        [bits >> 32 >= self.threshold, bits & u64::from(u32::MAX) >= self.threshold]
    }

    fn keeps(&self, position: usize) -> bool {
        self.pair(position / 2)[position % 2]
    }
}

impl<T: Float> DropoutKernel<T> {
    /// The input that holds the ratio, where it is given.
    fn ratio<'a>(
        &self,
        narrow: impl FnOnce() -> Result<&'a [f32], OpError>,
        wide: impl FnOnce() -> Result<&'a [f64], OpError>,
    ) -> Result<Option<f64>, OpError> {
        Ok(match self.ratio {
            None => None,
            Some(DType::F32) => narrow()?.first().map(|ratio| f64::from(*ratio)),
            Some(_) => wide()?.first().copied(),
        })
    }

    /// `None` when everything stays. `ratio` is the input of that name, where it is given.
    fn sieve(&self, seed: u64, ratio: Option<f64>) -> Result<Option<Sieve<T>>, OpError> {
        if !self.active {
            return Ok(None);
        }
        let ratio = checked(ratio.unwrap_or(self.op.ratio.into())).map_err(|found| OpError::Value {
            input: 1,
            expected: EXPECTED.into(),
            found,
        })?;
        let threshold = (ratio * (1u64 << 32) as f64) as u64;
        let seed = self.op.seed.map_or(seed, |own| mix(seed, own as u64));
        let scale = if ratio < 1.0 { T::of(1.0 / (1.0 - ratio)) } else { T::zero() };
        Ok((threshold > 0).then_some(Sieve { seed, threshold, scale }))
    }
}

impl<T: Float> Kernel for DropoutKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let x = io.input::<T>(0)?;
        let ratio = self.ratio(|| io.input::<f32>(1), || io.input::<f64>(1))?;
        let sieve = self.sieve(io.env.seed, ratio)?;
        if self.op.mask_is_bool {
            if let Some(mask) = io.optional_output::<bool>(1)? {
                for (position, mask) in mask.iter_mut().enumerate() {
                    *mask = sieve.is_none_or(|sieve| sieve.keeps(position));
                }
            }
        } else if let Some(mask) = io.optional_output::<T>(1)? {
            for (position, mask) in mask.iter_mut().enumerate() {
                *mask = if sieve.is_none_or(|sieve| sieve.keeps(position)) { T::one() } else { T::zero() };
            }
        }
        apply(io.env.pool, sieve, x, io.output::<T>(0)?);
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let ratio = self.ratio(|| io.input::<f32>(1), || io.input::<f64>(1))?;
        let sieve = self.sieve(io.env.seed, ratio)?;
        let Some(dx) = io.d_input::<T>(0)? else { return Ok(()) };
        match io.optional_d_output::<T>(0)? {
            Some(dy) => apply(io.env.pool, sieve, dy, dx),
            None => dx.fill(T::zero()),
        }
        Ok(())
    }
}

fn apply<T: Float>(pool: &crate::engine::pool::Pool, sieve: Option<Sieve<T>>, from: &[T], to: &mut [T]) {
    let Some(sieve) = sieve else {
        to.copy_from_slice(from);
        return;
    };
    pool.for_pieces(to, PIECE, 2 * from.len(), |piece, to| {
        let first = piece * PIECE;
        // A table has no branch that is guessed wrong every other time.
        let factors = [T::zero(), sieve.scale];
        for (pair, (to, from)) in to.chunks_mut(2).zip(from[first..].chunks(2)).enumerate() {
            let kept = sieve.pair(first / 2 + pair);
            for ((to, from), kept) in to.iter_mut().zip(from).zip(kept) {
                *to = *from * factors[usize::from(kept)];
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use crate::engine::Network;
    use crate::engine::testing::{Case, check};
    use crate::onnx::{AttributeValue, Graph, Model, Node, ValueInfo};
    use crate::tensor::{DType, SymbolicShape, Tensor};

    #[test]
    fn cases() {
        let two = || Case::new().input(&[2], &[1.0, 2.0]);
        check(
            "Dropout",
            &[
                two().output(&[2], &[1.0, 2.0]).output_tensor(Tensor::from_vec(vec![true, true])).without_gradient(),
                two()
                    .opset(9)
                    .float("ratio", 0.1)
                    .output(&[2], &[1.0, 2.0])
                    .output(&[2], &[1.0, 1.0])
                    .without_gradient(),
                two().input(&[], &[0.75]).output(&[2], &[1.0, 2.0]),
                two().left_out().tensor(Tensor::scalar(true)).int("seed", 3).output(&[2], &[1.0, 2.0]),
                Case::new().random_input(&[7, 5]),
                Case::new().random_input(&[7, 5]).opset(10).float("ratio", 0.25),
                Case::new().random_input(&[7, 5]).initializer(Tensor::scalar(0.9f32)).int("seed", -1),
                Case::new().random_input(&[3]).input(&[], &[1.0]),
                Case::new().random_input(&[0, 3]),
                two().opset(11).float("ratio", 1.5).error("expected a ratio from 0 to 1, found 1.5"),
                two().float("ratio", 0.5).error("attribute `ratio`"),
                two().input(&[2], &[0.5, 0.5]).error("expected a scalar"),
                two().ints(&[], &[1]).error("input 1: expected f32 or f64"),
                two().left_out().ints(&[], &[1]).error("input 2: expected bool"),
                Case::new().ints(&[1], &[1]).error("expected f32 or f64"),
            ],
        );
    }

    fn network(ratio: f32) -> Network {
        let mut graph = Graph::new("dropout");
        graph.inputs.push(ValueInfo::tensor("x", DType::F32, SymbolicShape::known(&[10_000])));
        graph.outputs.push(ValueInfo::tensor("y", DType::F32, SymbolicShape::Unranked));
        graph.outputs.push(ValueInfo::tensor("mask", DType::Bool, SymbolicShape::Unranked));
        graph.nodes.push(Node::new("Dropout", ["x"], ["y", "mask"]).with("ratio", AttributeValue::Float(ratio)));
        Network::new(&Model::new(graph, 11)).unwrap()
    }

    #[test]
    fn training_drops_the_ratio_and_scales_the_rest_the_same_way_backward() {
        for ratio in [0.0f32, 0.25, 0.5, 1.0] {
            let mut network = network(ratio);
            let ones = Tensor::from_vec(vec![1.0f32; 10_000]);
            let cotangents = [ones.clone(), ones.clone()];
            let mut run = |seed| network.gradients(&[("x", &ones)], &cotangents, &["x"], seed).unwrap();
            let (outputs, gradients) = run(1);
            let (y, mask) = (outputs[0].as_slice::<f32>().unwrap(), outputs[1].as_slice::<bool>().unwrap());
            let kept = mask.iter().filter(|kept| **kept).count() as f32 / 10_000.0;
            assert!((kept - (1.0 - ratio)).abs() < 0.02, "{ratio}: {kept} kept");
            for (y, kept) in y.iter().zip(mask) {
                assert_eq!(*y, if *kept { 1.0 / (1.0 - ratio) } else { 0.0 });
            }
            assert_eq!(gradients[0].as_ref(), Some(&outputs[0]), "{ratio}");
            assert_eq!(run(1).0, outputs, "the same seed drops the same");
            assert_eq!(run(2).0 == outputs, ratio == 0.0 || ratio == 1.0, "another seed drops others: {ratio}");
        }
    }

    #[test]
    fn a_ratio_out_of_range_is_an_error_when_it_is_read() {
        let mut graph = Graph::new("dropout");
        for name in ["x", "ratio"] {
            graph.inputs.push(ValueInfo::tensor(name, DType::F32, SymbolicShape::Unranked));
        }
        graph.outputs.push(ValueInfo::tensor("y", DType::F32, SymbolicShape::Unranked));
        graph.nodes.push(Node::new("Dropout", ["x", "ratio"], ["y"]));
        let mut network = Network::new(&Model::new(graph, 13)).unwrap();
        for (ratio, good) in [(0.5f32, true), (-0.1, false), (1.1, false), (f32::NAN, false)] {
            let (x, ratio) = (Tensor::from_vec(vec![1.0f32]), Tensor::scalar(ratio));
            let result = network.gradients(&[("x", &x), ("ratio", &ratio)], std::slice::from_ref(&x), &["x"], 0);
            assert_eq!(result.is_ok(), good, "{ratio:?}");
        }
    }
}
