//! Chains of elementwise operators as one: all of them run over a piece of their operands before the next piece, so that
//! what lies between them never leaves the cache and is never stored.
//!
//! What the derivatives read of the values between is computed again, piece by piece.

use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use crate::engine::cell::Slice;
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Env, Forward, Kernel, Operands, bytes};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::with_float;
use crate::engine::op::{Inputs, Mode, Op, Reads, Signature, TensorType, ValueType};
use crate::tensor::DType;

/// Elements of a piece: those of all values of a short chain fit into a core's nearest cache.
const PIECE: usize = 1024;

/// Elementwise operators that read the values from outside and one another's results; the last one's is that of the
/// chain. All values have one type and shape, but for constants of one element.
///
/// Values have numbers: first those from outside, then the result of each operator, in order.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    links: Vec<Link>,
    /// The values from outside; those that are constants of one element say so.
    outside: Vec<Option<TensorType>>,
}

/// One operator of a chain.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub op: Arc<dyn Op>,
    /// The numbers of the values that it reads, all smaller than that of its result.
    pub inputs: Vec<usize>,
}

impl Chain {
    /// A chain of `links` on values from outside, each `None` or a constant of one element.
    pub fn new(links: Vec<Link>, outside: Vec<Option<TensorType>>) -> Self {
        Chain { links, outside }
    }

    /// Whether the gradient of the result flows to each value, as far as the operators go.
    fn reached(&self) -> Vec<bool> {
        let mut reached = vec![false; self.outside.len() + self.links.len()];
        if let Some(last) = reached.last_mut() {
            *last = true;
        }
        for (index, link) in self.links.iter().enumerate().rev() {
            if reached[self.outside.len() + index] {
                for (place, value) in link.inputs.iter().enumerate() {
                    reached[*value] |= link.op.is_differentiable(place);
                }
            }
        }
        reached
    }

    /// Which values the derivatives of the operators read, and whether that takes values in between, which then have to
    /// be computed again.
    fn read_again(&self) -> (Vec<bool>, bool) {
        let (outside, last) = (self.outside.len(), self.outside.len() + self.links.len() - 1);
        let mut read = vec![false; last + 1];
        for (index, link) in self.links.iter().enumerate() {
            let reads = link.op.reads();
            for (place, value) in link.inputs.iter().enumerate() {
                read[*value] |= reads.input(place);
            }
            read[outside + index] |= reads.output(0);
        }
        let again = read[outside..last].contains(&true);
        (read, again)
    }
}

impl Op for Chain {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        let whole = self.outside.iter().position(Option::is_none).unwrap_or(0);
        let input = inputs.required(whole)?;
        Ok(vec![ValueType::new(input.dtype, input.shape.clone())])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let result = signature.output(0)?;
        let (len, dtype) = (result.len(), result.dtype);
        with_float!(dtype, T => Box::new(ChainKernel::<T>::new(self, signature, len, dtype)?))
    }

    fn is_differentiable(&self, index: usize) -> bool {
        self.outside.get(index).is_some_and(Option::is_none) && self.reached()[index]
    }

    fn reads(&self) -> Reads {
        let (read, again) = self.read_again();
        let inputs: Vec<usize> = (0..self.outside.len()).filter(|value| again || read[*value]).collect();
        Reads::of(&inputs, if read.last() == Some(&true) { &[0] } else { &[] })
    }
}

/// What becomes of a gradient that an operator computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gradient {
    /// It is not wanted.
    None,
    /// It is the first of its value.
    First,
    /// It is added to what is there.
    Added,
}

struct ChainKernel<T> {
    chain: Chain,
    mode: Mode,
    dtype: DType,
    len: usize,
    /// What becomes of the gradient of each input of each operator.
    gradients: Vec<Vec<Gradient>>,
    /// Whether each value from outside gets a gradient.
    wants: Vec<bool>,
    /// Whether the backward pass computes the values in between again.
    again: bool,
    lanes: Vec<Lane<T>>,
}

/// The kernels and the memory of one thread.
struct Lane<T> {
    /// Kernels of all operators for a whole piece, and for the last one.
    kernels: [Vec<Box<dyn Kernel>>; 2],
    /// The result of each operator, for one piece.
    values: Vec<T>,
    /// The gradient of every value, for one piece.
    gradients: Vec<Vec<T>>,
    /// Gradients that are added, one for each input of an operator.
    added: Vec<Vec<T>>,
}

/// A part of the work: one lane's share of all operands.
type Share<'l, 'a, T> = (&'l mut Lane<T>, usize, usize, SmallVec<[Option<&'a mut [T]>; 8]>, Result<(), OpError>);

impl<T: Float> ChainKernel<T> {
    fn new(chain: &Chain, signature: &Signature, len: usize, dtype: DType) -> Result<Self, OpError> {
        let outside = chain.outside.len();
        let reached = chain.reached();
        let mut wanted: Vec<bool> = (0..outside).map(|value| signature.wants(value)).collect();
        for link in &chain.links {
            let mut inputs = link.inputs.iter().enumerate();
            wanted.push(inputs.any(|(place, value)| link.op.is_differentiable(place) && wanted[*value]));
        }
        let mut met = vec![false; wanted.len()];
        let mut gradients = vec![Vec::new(); chain.links.len()];
        for (index, link) in chain.links.iter().enumerate().rev() {
            for (place, value) in link.inputs.iter().enumerate() {
                let flows = reached[outside + index] && link.op.is_differentiable(place) && wanted[*value];
                gradients[index].push(match (flows, met[*value]) {
                    (false, _) => Gradient::None,
                    (true, false) => Gradient::First,
                    (true, true) => Gradient::Added,
                });
                met[*value] |= flows;
            }
        }
        wanted.truncate(outside);
        let again = chain.read_again().1;
        let (chain, mode) = (chain.clone(), signature.mode);
        let mut kernel = ChainKernel { chain, mode, dtype, len, gradients, wants: wanted, again, lanes: Vec::new() };
        kernel.reserve(1)?;
        Ok(kernel)
    }

    /// Lanes for `threads` threads; made when a number of threads is first met.
    fn reserve(&mut self, threads: usize) -> Result<(), OpError> {
        while self.lanes.len() < threads {
            let outside = self.chain.outside.len();
            let kernels = |len: usize| -> Result<Vec<Box<dyn Kernel>>, OpError> {
                let links = self.chain.links.iter().zip(&self.gradients);
                let build = links.map(|(link, gradients)| {
                    let value = || TensorType { dtype: self.dtype, shape: vec![len], value: None };
                    let input = |value_id: &usize| match self.chain.outside.get(*value_id) {
                        Some(Some(single)) => TensorType { shape: Vec::new(), ..single.clone() },
                        _ => value(),
                    };
                    link.op.build(&Signature {
                        inputs: link.inputs.iter().map(|value| Some(input(value))).collect(),
                        outputs: vec![Some(value())],
                        mode: self.mode,
                        wants: gradients.iter().map(|gradient| *gradient != Gradient::None).collect(),
                        frozen: Vec::new(),
                        activation: None,
                    })
                });
                build.collect()
            };
            let (whole, rest) = (PIECE.min(self.len), self.len % PIECE);
            let kernels = [kernels(whole)?, if self.len > PIECE && rest > 0 { kernels(rest)? } else { Vec::new() }];
            let wants = self.wants.contains(&true);
            let size = if wants { whole } else { 0 };
            let most = self.chain.links.iter().map(|link| link.inputs.len()).max().unwrap_or(0);
            self.lanes.push(Lane {
                kernels,
                values: vec![T::zero(); whole * self.chain.links.len()],
                gradients: vec![vec![T::zero(); size]; outside + self.chain.links.len()],
                added: vec![vec![T::zero(); size]; most],
            });
        }
        Ok(())
    }

    /// Cuts `written` into whole pieces for the threads and lets `work` do each lane's share: it is given the lane, the
    /// first place and what is written there.
    fn share<'a>(
        &mut self,
        written: SmallVec<[Option<&'a mut [T]>; 8]>,
        env: Env<'_>,
        work: impl Fn(&Setting<'_>, &mut Lane<T>, usize, usize, &mut [Option<&'a mut [T]>]) -> Result<(), OpError> + Sync,
    ) -> Result<(), OpError> {
        let cost = self.len.saturating_mul(self.chain.links.len()) / 4;
        let jobs = env.pool.threads().min(cost / 20_000 + 1).min(self.len.div_ceil(PIECE)).max(1);
        self.reserve(jobs)?;
        let setting = Setting { chain: &self.chain, gradients: &self.gradients, again: self.again };
        let each = self.len.div_ceil(PIECE).div_ceil(jobs) * PIECE;
        let mut rest = written;
        let mut shares: SmallVec<[Share<'_, 'a, T>; 4]> = SmallVec::new();
        for (job, lane) in self.lanes.iter_mut().take(jobs).enumerate() {
            let first = (job * each).min(self.len);
            let count = each.min(self.len - first);
            let mine = rest.iter_mut().map(|slice| {
                let (mine, others) = slice.take()?.split_at_mut(count);
                *slice = Some(others);
                Some(mine)
            });
            let mine = mine.collect();
            shares.push((lane, first, count, mine, Ok(())));
        }
        env.pool.for_pieces(&mut shares, 1, cost, |_, shares| {
            for (lane, first, count, written, result) in shares {
                *result = work(&setting, lane, *first, *count, written);
            }
        });
        shares.into_iter().try_for_each(|(.., result)| result)
    }
}

/// What all lanes share.
struct Setting<'k> {
    chain: &'k Chain,
    gradients: &'k [Vec<Gradient>],
    again: bool,
}

impl Setting<'_> {
    /// `count` elements of value `number`: from outside, or of those computed so far.
    fn value<'v, T: Float>(
        &self,
        number: usize,
        outside: &[Option<&'v [T]>],
        computed: &'v [T],
        size: usize,
        range: std::ops::Range<usize>,
    ) -> Slice<'v> {
        let count = range.len();
        match self.chain.outside.get(number) {
            None => T::slice_of(&computed[(number - outside.len()) * size..][..count]),
            Some(single) => match outside[number] {
                Some(values) if single.is_some() => T::slice_of(values),
                Some(values) => T::slice_of(&values[range]),
                None => Slice::Absent,
            },
        }
    }

    /// Computes the values of the first `links` operators of one piece; the last of all goes to `result`, where it is
    /// given.
    #[allow(clippy::too_many_arguments, reason = "one piece of all operands")]
    fn forward<T: Float>(
        &self,
        lane: &mut Lane<T>,
        links: usize,
        outside: &[Option<&[T]>],
        range: std::ops::Range<usize>,
        mut result: Option<&mut [T]>,
        env: Env<'_>,
    ) -> Result<(), OpError> {
        let size = lane.values.len() / self.chain.links.len();
        let kernels = &mut lane.kernels[usize::from(range.len() < size)];
        for (index, (link, kernel)) in self.chain.links.iter().zip(kernels).enumerate().take(links) {
            let (computed, rest) = lane.values.split_at_mut(index * size);
            let reads: Operands<Slice<'_>> =
                link.inputs.iter().map(|value| self.value(*value, outside, computed, size, range.clone())).collect();
            let is_last = index + 1 == self.chain.links.len();
            let to = match &mut result {
                Some(result) if is_last => &mut **result,
                _ => &mut rest[..range.len()],
            };
            kernel.forward(&mut Forward::new(reads, smallvec![T::slice_mut_of(to)], env))?;
        }
        Ok(())
    }

    /// Computes the gradients of one piece, of all values.
    fn backward<T: Float>(
        &self,
        lane: &mut Lane<T>,
        outside: &[Option<&[T]>],
        result: Option<&[T]>,
        dy: &[T],
        range: std::ops::Range<usize>,
        env: Env<'_>,
    ) -> Result<(), OpError> {
        let (first, count) = (self.chain.outside.len(), range.len());
        let size = lane.values.len() / self.chain.links.len();
        let kernels = &mut lane.kernels[usize::from(count < size)];
        for (index, (link, kernel)) in self.chain.links.iter().zip(kernels).enumerate().rev() {
            let kinds = &self.gradients[index];
            if kinds.iter().all(|kind| *kind == Gradient::None) {
                continue;
            }
            let own = std::mem::take(&mut lane.gradients[first + index]);
            // The gradients are taken out of their places while they are written.
            let mut written: SmallVec<[Vec<T>; 8]> = kinds
                .iter()
                .enumerate()
                .map(|(place, kind)| match kind {
                    Gradient::None => Vec::new(),
                    Gradient::First => std::mem::take(&mut lane.gradients[link.inputs[place]]),
                    Gradient::Added => std::mem::take(&mut lane.added[place]),
                })
                .collect();
            let is_last = index + 1 == self.chain.links.len();
            let reads = link.op.reads();
            let values = &lane.values;
            let inputs: Operands<Slice<'_>> = link
                .inputs
                .iter()
                .enumerate()
                .map(|(place, value)| match reads.input(place) {
                    true => self.value(*value, outside, values, size, range.clone()),
                    false => Slice::Absent,
                })
                .collect();
            let output = match (reads.output(0), result) {
                (false, _) => Slice::Absent,
                (true, Some(result)) if is_last => T::slice_of(&result[range.clone()]),
                (true, _) => T::slice_of(&values[index * size..][..count]),
            };
            let d_output = T::slice_of(if is_last { &dy[range.clone()] } else { &own[..count] });
            let writes = written.iter_mut().zip(kinds).map(|(to, kind)| match kind {
                Gradient::None => crate::engine::cell::SliceMut::Absent,
                _ => T::slice_mut_of(&mut to[..count]),
            });
            let writes = writes.collect();
            let mut io = Backward::new(inputs, smallvec![output], smallvec![d_output], writes, env);
            let done = kernel.backward(&mut io);
            drop(io);
            lane.gradients[first + index] = own;
            for (place, (gradient, kind)) in written.iter_mut().zip(kinds).enumerate() {
                if *kind == Gradient::First {
                    lane.gradients[link.inputs[place]] = std::mem::take(gradient);
                }
            }
            for (place, (gradient, kind)) in written.into_iter().zip(kinds).enumerate() {
                if *kind == Gradient::Added {
                    let sum = &mut lane.gradients[link.inputs[place]][..count];
                    sum.iter_mut().zip(&gradient).for_each(|(sum, gradient)| *sum += *gradient);
                    lane.added[place] = gradient;
                }
            }
            done?;
        }
        Ok(())
    }
}

/// Calls `each` with every piece of `count` elements from `first` on: where it lies among all, and in the share.
fn pieces(
    first: usize,
    count: usize,
    mut each: impl FnMut(std::ops::Range<usize>, std::ops::Range<usize>) -> Result<(), OpError>,
) -> Result<(), OpError> {
    (0..count).step_by(PIECE).try_for_each(|at| {
        let end = (at + PIECE).min(count);
        each(first + at..first + end, at..end)
    })
}

impl<T> Lane<T> {
    /// Bytes of its memory.
    fn owned_bytes(&self) -> usize {
        let kernels: usize = self.kernels.iter().flatten().map(|kernel| kernel.owned_bytes()).sum();
        let vectors = self.gradients.iter().chain(&self.added).map(|vector| bytes(vector));
        kernels + bytes(&self.values) + vectors.sum::<usize>()
    }
}

impl<T: Float> Kernel for ChainKernel<T> {
    fn owned_bytes(&self) -> usize {
        self.lanes.iter().map(Lane::owned_bytes).sum()
    }

    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let outside: Result<SmallVec<[Option<&[T]>; 8]>, OpError> =
            (0..self.chain.outside.len()).map(|index| io.optional_input::<T>(index)).collect();
        let (outside, y, env) = (outside?, io.output::<T>(0)?, io.env);
        self.share(smallvec![Some(y)], env, |setting, lane, first, count, written| {
            let Some(Some(y)) = written.first_mut() else { return Ok(()) };
            pieces(first, count, |range, mine| {
                setting.forward(lane, setting.chain.links.len(), &outside, range, Some(&mut y[mine]), env)
            })
        })
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let count = self.chain.outside.len();
        let outside: Result<SmallVec<[Option<&[T]>; 8]>, OpError> =
            (0..count).map(|index| io.optional_input::<T>(index)).collect();
        let (outside, result, dy, env) = (outside?, io.optional_output::<T>(0)?, io.d_output::<T>(0)?, io.env);
        let written: Result<SmallVec<[Option<&mut [T]>; 8]>, OpError> =
            (0..count).map(|index| io.d_input::<T>(index)).collect();
        self.share(written?, env, |setting, lane, first, count, written| {
            pieces(first, count, |range, mine| {
                if setting.again {
                    let between = setting.chain.links.len() - 1;
                    setting.forward(lane, between, &outside, range.clone(), None, env)?;
                }
                setting.backward(lane, &outside, result, dy, range, env)?;
                for (dx, gradient) in written.iter_mut().zip(&lane.gradients) {
                    if let Some(dx) = dx {
                        let dx = &mut dx[mine.clone()];
                        dx.copy_from_slice(&gradient[..dx.len()]);
                    }
                }
                Ok(())
            })
        })
    }
}
